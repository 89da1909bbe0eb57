"""The entry point `train`: one configuration at the full budget, scored, logged and registered like a winner."""

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.errors import ParameterError, SpaceError, closest, raise_all
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value
from hpo.space.yaml import load_file
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, plan_threads
from pipelines.models import FAMILIES, check_space, settings
from pipelines.study.plan import OFF, ROWS, TRAIN, Plan, mistakes_in
from pipelines.study.result import StudyResult
from pipelines.study.session import run_study
from pipelines.study.workshop import workshop
from pipelines.table.metrics import metric_for
from pipelines.table.source import Source, same_again


def train(
    trial: str | None = None,
    params: str | None = None,
    data: str | Path | pd.DataFrame | None = None,
    target: str | None = None,
    model: str = "lightgbm",
    metric: str = "auto",
    seed: int = 0,
    register: str | None = None,
    task: str = "auto",
    split: str = "random",
    test_share: float = 0.2,
    validation: str = "holdout",
    budget: int | None = None,
    rows: str = TRAIN,
) -> StudyResult:
    """Train one configuration at the full budget: that of an earlier trial, or one from a file.

    A trial is trained at its study's full budget even when it was left at a lower one.

    Args:
        trial: The run id of a trial; its table, model and settings are taken over.
        params: A YAML file with the values that are not to be the library's defaults.
        data: The table; needed with params, and with a trial whose table has moved.
        target: The column to predict; needed with params.
        model: lightgbm, xgboost or mlp; a trial brings its own.
        metric: What it is scored by; auto is roc_auc for two classes, log_loss for more, rmse for
            numbers.
        seed: Of the splits and the model; a trial brings its own.
        register: The name under which the model is registered, as challenger; none registers
            nothing.
        task: auto, binary, multiclass or regression.
        split: How test rows are held out: random, time:COLUMN or group:COLUMN.
        test_share: The share of rows that is held out.
        validation: holdout, or cv:K for K folds.
        budget: The boosting rounds or training steps; none takes the model's own.
        rows: train, or train+validation for a model trained once more on both, for as long as was
            best without.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if (trial is None) == (params is None):
        raise ParameterError(
            "give either trial (the run id of a trial) or params (a YAML file), and not both"
        )
    given: dict[str, Any] = {
        **{
            "target": target,
            "model": model,
            "metric": metric,
            "seed": seed,
            "task": task,
            "split": split,
        },
        **{"test_share": test_share, "validation": validation, "budget": budget},
    }
    mistakes = [*mistakes_in(given, [*FAMILIES]), *(_refused(given) if trial else ())]
    if rows not in ROWS:
        mistakes.append(
            f"unknown rows={rows!r}{closest(rows, ROWS)}; it must be {' or '.join(ROWS)}"
        )
    raise_all(ParameterError, mistakes)
    if register:
        from pipelines.registry.versions import check_model_name

        check_model_name(register)
    if trial is not None:
        return _again(trial, data, register, rows, run_id)
    if data is None or target is None:
        raise ParameterError("data and target are needed with params")
    point = FirstPoint(_read(str(params), model), "given")
    hands = plan_threads(1)
    source = Source(data, target, task, split, test_share, validation, seed)
    with workshop(model, hands) as shop:
        prepared = source.prepare()
        chosen = metric_for("" if metric == "auto" else metric, prepared.task.kind, prepared.y)
        own = settings(model, kind=prepared.task.kind)
        plan = Plan(
            model=model,
            algorithm="random",
            metric=chosen.name,
            direction="maximize" if chosen.greater_is_better else "minimize",
            seed=seed,
            data=source.plan(prepared),
            space=_only(point.params) or own.space,
            first_points=(point,),
            rungs=(float(budget or own.budget.max),),
            eta=float(own.budget.eta),
            budget_unit=own.budget.unit,
            fidelity="rounds",
            checkpoints=None,
            workers=hands.workers,
            threads=hands.threads,
            lag=0,
            trials=1,
            timeout=None,
            trial_timeout=None,
            register=register,
            rows=rows,
        )
        from pipelines.store.storage import MlflowStorage

        return run_study(
            plan, prepared, shop, MlflowStorage.create(plan.to_header(), run_id=run_id)
        )


def _refused(given: Mapping[str, Any]) -> Iterator[str]:
    """What was given although a trial brings its own."""
    defaults = inspect.signature(train).parameters
    for name, value in given.items():
        if value != defaults[name].default:
            yield f"{name}={value!r} is for params; a trial brings its own {name}: leave it out"


def _again(
    trial: str,
    data: str | Path | pd.DataFrame | None,
    register: str | None,
    rows: str,
    run_id: str | None,
) -> StudyResult:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import study_of_trial

    header, found = study_of_trial(trial)
    before = Plan.from_header(header)
    plan = replace(
        before,
        algorithm="random",  # no race: the one trial gets the largest budget
        first_points=(FirstPoint(found.params, f"trial {trial}"),),
        trials=1,
        timeout=None,
        trial_timeout=None,  # it was meant for one leg
        register=register,
        rows=rows,
        confirm=None,
        warm_start=OFF,
    )
    source = same_again(plan.data, plan.seed, data)
    with workshop(plan.model, WorkerPlan(1, plan.threads)) as shop:
        prepared = source.prepare()
        plan.refuse_other(source.plan(prepared))
        return run_study(
            plan, prepared, shop, MlflowStorage.create(plan.to_header(), run_id=run_id)
        )


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
        check_space(model, _only(values) or settings(model).space)
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
