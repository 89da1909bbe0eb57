"""The entry point `tune`: search the hyperparameters of a model for one table."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, StudyError, raise_all
from hpo.space import SearchSpace
from hpo.workers.cores import WorkerPlan, available_cores, plan_threads
from pipelines import entry_points
from pipelines.files.checkpoints import Checkpoints
from pipelines.models import ALL, FAMILIES, settings
from pipelines.study.auto_space import mended_from
from pipelines.study.plan import (
    OFF,
    PAST,
    Plan,
    budget_of,
    first_points,
    mistakes_in,
    read_space,
    rungs,
    sources,
    usual_trials,
)
from pipelines.study.result import StudyResult
from pipelines.study.session import run_study
from pipelines.study.workshop import Workshop, workshop
from pipelines.table.metrics import metric_for
from pipelines.table.source import Source, absolute, described, same_again

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

# What a resumed study may be given anew; everything else is as it began.
_OF_RACES = (
    "min_budget",
    "eta",
    "fidelity",
    "checkpoints",
)  # not for every algorithm; a study in hand has its own
_FREE = ("study", "trials", "timeout", "register", "data", "workers", "confirm")


def tune(
    data: str | Path | pd.DataFrame | None = None,
    target: str | None = None,
    model: str = "lightgbm",
    algorithm: str = "tpe",
    trials: int | None = None,
    timeout: float | None = None,
    metric: str = "auto",
    workers: int | None = None,
    seed: int = 0,
    space: str | Path | SearchSpace | Mapping[str, Any] = "default",
    study: str | None = None,
    register: str | None = None,
    warm_start: str = "auto",
    task: str = "auto",
    split: str = "random",
    test_share: float = 0.2,
    validation: str = "holdout",
    min_budget: int | None = None,
    max_budget: int | None = None,
    eta: float = 3.0,
    fidelity: str = "auto",
    checkpoints: str | None = None,
    trial_timeout: float | None = None,
    confirm: int | None = None,
) -> StudyResult:
    """Search the hyperparameters of a model for a table; every trial is a nested run of one study in MLflow.

    Args:
        data: The table: CSV (compressed too), Parquet or Feather, as a path or any URI that fsspec
            opens.
        target: The column to predict.
        model: lightgbm, xgboost, mlp, or all for one search over the three.
        algorithm: tpe, bohb, asha, hyperband, successive_halving, hyperopt, random, grid; or pairs
            such as tpe+asha.
        trials: How many trials the study has in all; none is as many as 50 full trainings cost.
        timeout: Seconds after which the search ends; none for no limit.
        metric: What decides; auto is roc_auc for two classes, log_loss for more, rmse for numbers.
        workers: Worker processes; none takes one for each core, or as many as the study in hand
            began with.
        seed: Of the splits, the models and the search.
        space: A YAML file; default is the model's own, past where past studies did well,
        auto:RUN_ID one's, mended.
        study: The run id of a study to go on with; everything else is then as that study began.
        register: The name under which the best model is registered, as challenger; none registers
            nothing.
        warm_start: Which past studies to learn from: auto, off, or run ids and experiment names
            with commas between.
        task: auto, binary, multiclass or regression.
        split: How test rows are held out: random, time:COLUMN or group:COLUMN.
        test_share: The share of rows that is held out and never seen by the search.
        validation: holdout, or cv:K for K folds.
        min_budget: No rung of bohb and its like is below: rounds or steps (percent for all, and of
            rows); none is the model's.
        max_budget: A full training, in the same unit; none is the model's own.
        eta: One of eta trials goes on from a rung to the next, which is eta times as large; the
            last is max_budget.
        fidelity: What a smaller budget means: rounds, scheduled, scaled or rows; auto is what ranks
            best.
        checkpoints: Where trials that may go on are kept, as a URI that fsspec opens; none is on
            this machine. A study that goes on may be given a new place.
        trial_timeout: Seconds after which a trial, or one leg of it, fails; none is one hour.
        confirm: How many of the best trials are scored again on 2 x 5 folds before the winner is
            named; none is 0.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    given = entry_points.given(tune, locals())
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    checked = given if study is None else {k: v for k, v in given.items() if k not in _OF_RACES}
    check(checked | {"test_share": test_share, "warm_start": warm_start, "model": model})
    if study is not None:
        return _resume(study, given, run_id)
    if data is None or target is None:
        raise ParameterError("data and target are needed, unless study names a study to go on with")
    source = Source(data, target, task, split, test_share, validation, seed)
    hands = plan_threads(workers)
    if checkpoints is not None:
        checkpoints = absolute(checkpoints)
        Checkpoints(checkpoints).check()
    mended = mended_from(space, model)
    with workshop(model, hands) as shop:
        prepared = source.prepare()
        plan = new_plan(
            source,
            prepared,
            hands,
            model=model,
            algorithm=algorithm,
            metric=metric,
            space=mended.space if mended else space,
            min_budget=min_budget,
            max_budget=max_budget,
            eta=eta,
            fidelity=fidelity,
            checkpoints=checkpoints,
            trials=trials,
            timeout=timeout,
            trial_timeout=trial_timeout,
            register=register,
            confirm=confirm,
            warm_start=warm_start,
        )
        kept = header(plan, prepared) | ({"space_from": mended.to_header()} if mended else {})
        narrow = isinstance(space, str) and space == PAST
        return begin(plan, kept, prepared, shop, run_id, narrow=narrow)


def begin(
    plan: Plan,
    kept: Mapping[str, Any],
    prepared: "Prepared",
    shop: Workshop,
    run_id: str | None,
    *,
    narrow: bool,
) -> StudyResult:
    """Look at the past, make the study in MLflow with what is to be `kept` of it, and run it.

    With a past the space may `narrow`.

    Raises:
        StudyError: when a past study that is named does not exist, or no trial succeeded.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import ARTIFACT, look_back, narrowed_by, started_with
    from warmstart.metafeatures import MetaFeatures

    if plan.warm_start == OFF:
        return run_study(plan, prepared, shop, MlflowStorage.create(kept, run_id=run_id))
    warm = look_back(plan, MetaFeatures.from_dict(kept["meta_features"]), exclude=run_id)
    if narrow:
        plan, warm = narrowed_by(plan, warm)
    plan = started_with(plan, warm)
    storage = MlflowStorage.create(
        {**kept, **plan.to_header()}, run_id=run_id, artifacts={ARTIFACT: warm.to_json()}
    )
    return run_study(plan, prepared, shop, storage, warm)


def new_plan(
    source: Source,
    prepared: "Prepared",
    hands: WorkerPlan,
    *,
    model: str,
    algorithm: str,
    metric: str,
    space: str | Path | SearchSpace | Mapping[str, Any],
    min_budget: int | None,
    max_budget: int | None,
    eta: float,
    fidelity: str,
    checkpoints: str | None,
    trials: int | None,
    timeout: float | None,
    trial_timeout: float | None,
    register: str | None,
    confirm: int | None,
    warm_start: str = OFF,
) -> Plan:
    """The plan of a study that does not exist yet, with everything settled that `tune` leaves to the table.

    Raises:
        UserError: for what does not go together.
    """
    chosen = metric_for("" if metric == "auto" else metric, prepared.task.kind, prepared.y)
    own = settings(
        model, kind=prepared.task.kind, has_categorical=bool(prepared.features.cardinalities)
    )
    searched = read_space(space, own)
    granted = budget_of(own.budget, algorithm, fidelity)
    steps = rungs(algorithm, granted, min_budget, max_budget, eta)
    return Plan(
        model=model,
        algorithm=algorithm,
        metric=chosen.name,
        direction="maximize" if chosen.greater_is_better else "minimize",
        seed=source.seed,
        data=source.plan(prepared),
        space=searched,
        first_points=first_points(own, searched),
        rungs=steps,
        eta=eta,
        budget_unit=granted.unit,
        fidelity=granted.fidelity,
        checkpoints=checkpoints,
        workers=hands.workers,
        threads=hands.threads,
        lag=2 * hands.workers if hands.workers > 1 and not grants_budgets(algorithm) else 0,
        trials=usual_trials(algorithm, steps, eta) if trials is None else trials,
        timeout=timeout,
        trial_timeout=trial_timeout,
        register=register,
        confirm=confirm,
        warm_start=warm_start,
    )


def header(plan: Plan, prepared: "Prepared") -> dict[str, Any]:
    """What a new study is created with."""
    return plan.to_header() | {"meta_features": described(prepared)}


def _resume(study: str, given: Mapping[str, Any], run_id: str | None) -> StudyResult:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import note_resumed, read_text, study_header
    from pipelines.study.warm_start import ARTIFACT, WarmStart

    plan = Plan.from_header(study_header(study))
    _refuse_changes(study, plan, given)
    source = same_again(plan.data, plan.seed, given.get("data"))
    plan = plan.going_on(
        trials=given.get("trials"),
        timeout=given.get("timeout"),
        register=given.get("register"),
        confirm=given.get("confirm"),
        checkpoints=absolute(given["checkpoints"]) if "checkpoints" in given else None,
    )
    if plan.checkpoints is not None:
        Checkpoints(plan.checkpoints).check()
    with workshop(plan.model, hands_of(plan, given.get("workers"))) as shop:
        prepared = source.prepare()
        plan.refuse_other(source.plan(prepared))
        warm = WarmStart.from_json(read_text(study, ARTIFACT)) if plan.warm_start != OFF else None
        storage = MlflowStorage.open(study)
        if run_id is not None:
            note_resumed(run_id, study)
        return run_study(plan, prepared, shop, storage, warm)


def hands_of(plan: Plan, workers: int | None) -> WorkerPlan:
    """As many workers as before, or as given; a trial keeps its threads, which its result depends on."""
    most = max(available_cores() // plan.threads, 1)
    if workers is None:
        return WorkerPlan(min(plan.workers, most), plan.threads)
    if workers > most:
        raise ParameterError(
            f"workers={workers} with {plan.threads} thread(s) each, as the study began, exceed the "
            f"{available_cores()} core(s) that this process may use; take workers={most} or fewer, or leave it out"
        )
    return WorkerPlan(workers, plan.threads)


def _refuse_changes(study: str, plan: Plan, given: Mapping[str, Any]) -> None:
    began = {
        name: getattr(plan, name)
        for name in ("model", "algorithm", "metric", "seed", "trial_timeout", "warm_start")
    }
    began |= {
        name: getattr(plan.data, name)
        for name in ("target", "task", "split", "test_share", "validation")
    }
    ladder = {name: given[name] for name in ("min_budget", "max_budget", "eta") if name in given}
    if ladder:
        equal = _rungs(plan, **ladder) == plan.rungs
        ends = {
            "min_budget": int(plan.rungs[0]),
            "max_budget": int(plan.rungs[-1]),
            "eta": plan.eta,
        }
        began |= ladder if equal else ends
    moved = given.get("checkpoints") if grants_budgets(plan.algorithm) else None
    began |= {"fidelity": plan.fidelity, "checkpoints": moved}  # what is not there is trained again
    if "space" in given:
        own = settings(plan.model, kind=plan.data.task)
        mended = mended_from(given["space"], plan.model)
        wanted = mended.space if mended else read_space(given["space"], own)
        if given["space"] == PAST:  # what the past was then is in the study itself
            wanted = plan.space
        began["space"] = given["space"] if wanted == plan.space else "another one"
    raise_all(
        StudyError,
        (
            f"study {study} began with {name}={began[name]!r}, but got {value!r}; "
            f"leave {name} out, or start a new study"
            for name, value in given.items()
            if name not in _FREE and began[name] != value
        ),
    )


def _rungs(
    plan: Plan,
    min_budget: int | None = None,
    max_budget: int | None = None,
    eta: float | None = None,
) -> tuple[float, ...]:
    """The rungs that a plan's study would have had with these values."""
    own = budget_of(settings(plan.model, kind=plan.data.task).budget, plan.algorithm, plan.fidelity)
    low, high = min_budget or int(plan.rungs[0]), max_budget or int(plan.rungs[-1])
    return rungs(plan.algorithm, own, low, high, eta or plan.eta)


def check(given: Mapping[str, Any]) -> None:
    """Check what needs no table, all at once.

    Raises:
        ParameterError: naming every mistake.
    """
    mistakes = list(mistakes_in(given, (*FAMILIES, ALL)))
    try:
        sources(given.get("warm_start", OFF))
    except ParameterError as error:
        mistakes.append(str(error))
    if given.get("space") == PAST and given.get("warm_start") == OFF:
        mistakes.append(
            "space=past narrows the space to where past studies did well; it needs warm_start=auto"
        )
    raise_all(ParameterError, mistakes)
    if given.get("register"):
        from pipelines.registry.versions import check_model_name

        check_model_name(given["register"])
