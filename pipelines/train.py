"""The entry point `train`: one configuration at the full budget, scored, logged and registered like a winner."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import ParameterError, SpaceError
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value
from hpo.space.yaml import load_file
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, plan_threads
from pipelines.entry_points import entry_point
from pipelines.models import search_model, settings
from pipelines.objectives.planning import check, new_plan, source_of
from pipelines.objectives.space import SpaceChoice
from pipelines.objectives.start import run
from pipelines.objectives.table import publish_folds
from pipelines.objectives.training import table_worker
from pipelines.study.options import OFF, SearchOptions, TrainOptions
from pipelines.study.plan import Plan
from pipelines.study.result import StudyResult
from pipelines.study.workshop import Workshop, workshop
from pipelines.table.source import rebuild_source

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

# The options that a trial leaves open.
FREE = ("trial", "data", "register", "rows")


@entry_point(TrainOptions)
def train(options: TrainOptions) -> StudyResult:
    """Train one configuration at the full budget: that of an earlier trial, or one from a file.

    A trial is trained at its study's full budget even when it was left at a lower one.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if (options.trial is None) == (options.params is None):
        raise ParameterError(
            "give either trial (the run id of a trial) or params (a YAML file), and not both"
        )
    if options.trial is None:
        check(options)
        return _from_file(options, run_id)
    check(options, _superfluous(options))
    return _again(options.trial, options, run_id)


def _superfluous(options: TrainOptions) -> list[str]:
    """The options that were given although a trial brings its own."""
    return [
        f"{name}={value!r} is for params; a trial brings its own {name}: leave it out"
        for name, value in options.given().items()
        if name not in FREE
    ]


def _from_file(options: TrainOptions, run_id: str | None) -> StudyResult:
    source = source_of(options, options.test_share, " with params")
    params = _read(str(options.params), options.model)
    search = SearchOptions(
        model=options.model,
        metric=options.metric,
        algorithm="random",
        trials=1,
        max_budget=options.budget,
    )
    worker_plan = plan_threads(1)
    with workshop(table_worker(options.model), worker_plan) as shop:
        prepared = publish_folds(source.prepare(), shop.exchange)
        plan = replace(
            new_plan(search, SpaceChoice(_only(params)), source, prepared, worker_plan),
            first_points=(FirstPoint(params, "given"),),
            register=options.register,
            rows=options.rows,
        )
        return _run(plan, prepared, shop, run_id)


def _again(trial: str, options: TrainOptions, run_id: str | None) -> StudyResult:
    from pipelines.study.runs import study_of_trial

    header, found = study_of_trial(trial)
    plan = replace(
        Plan.from_header(header),
        algorithm="random",  # no race: the one trial gets the largest budget
        first_points=(FirstPoint(found.params, f"trial {trial}"),),
        trials=1,
        timeout=None,
        trial_timeout=None,  # that of the study was meant for one leg
        register=options.register,
        rows=options.rows,
        confirm=None,
        warm_start=OFF,
    )
    source = rebuild_source(plan.data, plan.seed, options.data)
    with workshop(table_worker(plan.model), WorkerPlan(1, plan.threads)) as shop:
        prepared = publish_folds(source.prepare(), shop.exchange)
        plan.refuse_other(source.plan(prepared))
        return _run(plan, prepared, shop, run_id)


def _run(plan: Plan, prepared: "Prepared", shop: Workshop, run_id: str | None) -> StudyResult:
    from pipelines.store.storage import MlflowStorage

    return run(plan, prepared, shop, MlflowStorage.create(plan.to_header(), run_id=run_id))


def _read(path: str, model: str) -> Params:
    if not Path(path).is_file():
        raise ParameterError(
            f"params={path!r} is not a file; it must be YAML like `learning_rate: 0.05`"
        )
    values = load_file(Path(path))
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(
        isinstance(v, bool | int | float | str) for v in values.values()
    ):
        raise ParameterError(
            f"{path} must map each parameter to one value, like `learning_rate: 0.05`"
        )
    try:
        search_model(model).check_space(_only(values) or settings(model).space)
    except SpaceError as error:
        raise ParameterError(f"{path}: {error}") from error
    return values


def _only(params: dict[str, Value] | Params) -> SearchSpace | None:
    """The space that holds just this configuration."""
    return (
        SearchSpace(tuple(Categorical(name, (value,)) for name, value in params.items()))
        if params
        else None
    )
