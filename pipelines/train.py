"""The entry point `train`: one configuration at the full budget, logged like a winner."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from hpo.errors import ParameterError, SpaceError
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value
from hpo.space.yaml import load_file
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, plan_threads
from pipelines.entry_points import entry_point
from pipelines.models import search_model, settings
from pipelines.objectives.mistakes import check_all, every_mistake
from pipelines.objectives.model import with_model
from pipelines.objectives.planning import new_plan
from pipelines.objectives.space import SpaceChoice
from pipelines.objectives.start import run
from pipelines.objectives.table import TableObjective, publish_folds
from pipelines.objectives.training import table_worker
from pipelines.objectives.unchanged import check_unchanged
from pipelines.study.objective import check_same
from pipelines.study.options import OFF, SearchOptions, TrainOptions
from pipelines.study.plan import Plan
from pipelines.study.progress import shown
from pipelines.study.result import StudyResult
from pipelines.study.sources import source_of, tables_of
from pipelines.study.workshop import Workshop, workshop
from pipelines.table.source import DATA, DataPlan, rebuild_source

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


@entry_point(TrainOptions, check_all)
def train(options: TrainOptions) -> StudyResult:
    """Train one configuration at the full budget: that of an earlier trial, or one from a file.

    A trial that stopped at a smaller budget is trained at the full budget of its study, too.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if (options.trial is None) == (options.params is None):
        raise ParameterError(
            "give either trial (the run id of a trial) or params (a YAML file), and not both"
        )
    options = with_model(options)
    check_all(options)
    with shown(quiet=options.quiet, verbose=options.verbose):
        if options.trial is None:
            return _from_file(options, run_id)
        return _from_trial(options.trial, options, run_id)


def _from_file(options: TrainOptions, run_id: str | None) -> StudyResult:
    from pipelines.store.tracking import connect

    connect()  # what cannot be reached is told before a table is read
    with every_mistake(options):
        source = source_of(options, " with params")
        params = _read_params(str(options.params), options.model)
    search = SearchOptions(
        model=options.model,
        metric=options.metric,
        algorithm="random",
        trials=1,
        max_budget=options.max_budget,
        refit=options.refit,
        ensemble=OFF,
        device=options.device,
        calibrate=options.calibrate,
        threshold=options.threshold,
    )
    worker_plan = plan_threads(1)
    with workshop(table_worker(options.model, options.device), worker_plan) as shop:
        with every_mistake(options):
            prepared = source.prepare()
            plan = new_plan(search, SpaceChoice(_space_of(params)), source, prepared, worker_plan)
        prepared = publish_folds(prepared, shop.exchange)
        plan = replace(
            plan,
            first_points=(FirstPoint(params, "given"),),
            register=options.register,
        )
        return _run(plan, source.plan(prepared), prepared, shop, run_id)


def _from_trial(trial: str, options: TrainOptions, run_id: str | None) -> StudyResult:
    from pipelines.study.runs import study_of_trial, values_before

    header, found = study_of_trial(trial)
    began, table = Plan.from_header(header), DataPlan.from_header(header)
    way_out = "give the values of the trial in a file, as params="
    check_unchanged(f"trial {trial}", options, began, table, instead=way_out)
    plan = replace(
        began,
        algorithm="random",  # no race: the trial gets the full budget at once
        first_points=(FirstPoint(found.params, f"trial {trial}"),),
        before=() if found.parent is None else values_before(trial, found),
        extent=replace(
            began.extent,
            trials=1,
            timeout=None,
            trial_timeout=None,  # the study's is for a single leg
            patience=None,
            min_gain=None,
        ),
        register=options.register,
        refit=options.refit,
        calibrate=options.calibrate,
        threshold=options.threshold,
        ensemble=OFF,
        device=options.given().get("device", began.device),
        confirm=None,
        warm_start=OFF,
    )
    source = rebuild_source(table, plan.seed, {DATA: options.data, **tables_of(options)})
    with workshop(table_worker(plan.model, plan.device), WorkerPlan(1, plan.threads)) as shop:
        prepared = publish_folds(source.prepare(), shop.exchange)
        data = source.plan(prepared)
        check_same(TableObjective(plan, data, prepared), header)
        return _run(plan, data, prepared, shop, run_id)


def _run(
    plan: Plan, data: DataPlan, prepared: "Prepared", shop: Workshop, run_id: str | None
) -> StudyResult:
    from pipelines.store.storage import MlflowStorage

    header = plan.to_header() | data.to_header()  # nothing to learn from: no meta-features
    return run(plan, data, prepared, shop, MlflowStorage.create(header, run_id=run_id))


def _read_params(path: str, model: str) -> Params:
    """Read a configuration from YAML; an empty file stands for the library's defaults."""
    if not Path(path).is_file():
        raise ParameterError(
            f"params={path!r} is not a file; it must be YAML like `learning_rate: 0.05`"
        )
    values = load_file(Path(path))
    if values is None:
        return {}
    if not _is_configuration(values):
        raise ParameterError(
            f"{path} must map each parameter to one value, like `learning_rate: 0.05`"
        )
    try:
        search_model(model).check_space(_space_of(values) or settings(model).space)
    except SpaceError as error:
        raise ParameterError(f"{path}: {error}") from error
    return values


def _is_configuration(values: object) -> TypeGuard[dict[str, Value]]:
    if not isinstance(values, dict):
        return False
    return all(isinstance(value, bool | int | float | str) for value in values.values())


def _space_of(params: Params) -> SearchSpace | None:
    """The space with this configuration alone; None for an empty one."""
    if not params:
        return None
    return SearchSpace(tuple(Categorical(name, (value,)) for name, value in params.items()))
