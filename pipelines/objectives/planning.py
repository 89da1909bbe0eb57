"""The plan of a study, from its options, the table, the model and the machine."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hpo.algorithms import algorithm as named
from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, raise_all
from hpo.rungs import Budgets
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, available_cores
from pipelines.models import (
    ALL,
    FAMILIES,
    PERCENT_OF_ROWS,
    Budget,
    SearchModel,
    Settings,
    search_model,
    settings,
)
from pipelines.objectives.space import SpaceChoice
from pipelines.study.options import (
    AUTO,
    Options,
    SearchOptions,
    TrainOptions,
    TuneOptions,
    mistakes,
)
from pipelines.study.plan import Plan
from pipelines.table.metrics import metric_for
from pipelines.table.source import Source, described

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

FULL_TRAININGS = 50  # the cost of a study whose number of trials is not given
_ROWS = Budget(PERCENT_OF_ROWS, 10, 100)


def check(options: Options, others: Sequence[str] = ()) -> None:
    """Check what needs no table, all at once; `others` are mistakes that are known already.

    Raises:
        ParameterError: naming every mistake.
    """
    one = isinstance(options, TrainOptions)
    models = tuple(FAMILIES) if one else (*FAMILIES, ALL)
    raise_all(ParameterError, [*mistakes(options, models), *others])
    register = options.register if isinstance(options, TuneOptions | TrainOptions) else None
    if register:
        from pipelines.registry.versions import check_model_name

        check_model_name(register)


def source_of(options: Options, test_share: float, unless: str) -> Source:
    """The table of some options and how its rows are divided.

    Raises:
        ParameterError: without a table or a target, which are needed `unless` something holds.
    """
    if options.data is None or options.target is None:
        raise ParameterError(f"data and target are needed{unless}")
    return Source(
        options.data,
        options.target,
        options.task,
        options.split,
        test_share,
        options.validation,
        options.seed,
    )


def new_plan(
    options: SearchOptions,
    chosen: SpaceChoice,
    source: Source,
    prepared: "Prepared",
    worker_plan: WorkerPlan,
) -> Plan:
    """The plan of a new study.

    Raises:
        UserError: for options that do not go together.
    """
    kind, wanted = prepared.task.kind, "" if options.metric == AUTO else options.metric
    metric = metric_for(wanted, kind, prepared.y)
    has_categorical = bool(prepared.features.cardinalities)
    own = settings(options.model, kind=kind, has_categorical=has_categorical)
    space = own.space if chosen.space is None else chosen.space
    granted = budget_of(own.budget, options.algorithm, options.fidelity)
    low, high = options.min_budget, options.max_budget
    steps = rungs(options.algorithm, granted, low, high, options.eta)
    usual = usual_trials(options.algorithm, steps, options.eta)
    workers = worker_plan.workers
    waits = workers > 1 and not grants_budgets(options.algorithm)
    return Plan(
        model=options.model,
        algorithm=options.algorithm,
        metric=metric.name,
        direction="maximize" if metric.greater_is_better else "minimize",
        seed=source.seed,
        data=source.plan(prepared),
        space=space,
        first_points=first_points(own, space),
        rungs=steps,
        eta=options.eta,
        budget_unit=granted.unit,
        fidelity=granted.fidelity,
        checkpoints=None,
        workers=workers,
        threads=worker_plan.threads,
        lag=2 * workers if waits else 0,
        trials=usual if options.trials is None else options.trials,
        timeout=options.timeout,
        trial_timeout=options.trial_timeout,
        confirm=options.confirm,
    )


def header(plan: Plan, prepared: "Prepared") -> dict[str, Any]:
    """What a new study is created with."""
    return plan.to_header() | {"meta_features": described(prepared)}


def worker_plan_of(plan: Plan, workers: int | None) -> WorkerPlan:
    """The workers of a resumed study: as many as before, or as given.

    The threads of a trial stay the same, because its result depends on them.

    Raises:
        ParameterError: for more workers than there are cores.
    """
    most = max(available_cores() // plan.threads, 1)
    if workers is None:
        return WorkerPlan(min(plan.workers, most), plan.threads)
    if workers > most:
        raise ParameterError(
            f"workers={workers} with {plan.threads} thread(s) each, as the study began, exceed the "
            f"{available_cores()} core(s) that this process may use; take workers={most} or fewer, "
            "or leave it out"
        )
    return WorkerPlan(workers, plan.threads)


def budget_of(own: Budget, algorithm: str, fidelity: str) -> Budget:
    """What trials are granted: the model's own budget, or shares of the rows."""
    if not grants_budgets(algorithm):
        return replace(own, fidelity="rounds")
    kind = own.fidelity if fidelity == AUTO else fidelity
    return replace(_ROWS if kind == "rows" else own, fidelity=kind)


def rungs(
    algorithm: str, own: Budget, low: int | None, high: int | None, eta: float
) -> tuple[float, ...]:
    """The budgets at which the trials of a study may stop; where none is given, those of `own`.

    Raises:
        ParameterError: when they do not fit together.
    """
    most = float(high or own.max)
    if own.is_share and most > 100:
        raise ParameterError(
            f"max_budget={most:g} must be 100 or less: budgets are {own.unit} here"
        )
    if not grants_budgets(algorithm):
        return (most,)
    if high is None and low is not None and low > most:
        raise ParameterError(
            f"min_budget={low} must not exceed the model's own max_budget={own.max}; give both"
        )
    least = float(low) if low else min(own.min, max(most // eta, 1.0))
    found = Budgets(least, most, eta).rungs
    if len(found) < 2:
        lower = math.floor(most / eta + 1e-9)
        way_out = (
            f"min_budget={lower} or less" if lower >= 1 else f"max_budget={math.ceil(eta)} or more"
        )
        raise ParameterError(
            f"min_budget={least:g} leaves no rung below max_budget={most:g} with eta={eta:g}; "
            f"{algorithm} needs at least two rungs: take {way_out}"
        )
    return found


def usual_trials(algorithm: str, steps: tuple[float, ...], eta: float) -> int:
    """How many configurations an algorithm tries at the cost of `FULL_TRAININGS`."""
    return math.ceil(FULL_TRAININGS / named(algorithm, steps, eta)[1].cost)


def first_points(settings: Settings, space: SearchSpace) -> tuple[FirstPoint, ...]:
    """The library's default and the tuned default, as far as the parameters of `space` go.

    A parameter that a default does not name is left to the library, unless the space leaves it one
    choice only.
    """
    names = ["default"] + ["tuned default"] * (len(settings.first_points) - 1)
    model = search_model(settings.name)
    points = [_projected(model, point, space) for point in settings.first_points]
    unique = [i for i, point in enumerate(points) if point not in points[:i]]
    return tuple(FirstPoint(points[i], names[i]) for i in unique)


def _projected(model: SearchModel, point: Params, space: SearchSpace) -> dict[str, Value]:
    known = {model.canonical_name(name): value for name, value in point.items()}
    chosen: dict[str, Value] = {}
    for parameter in space:
        if parameter.name not in space.active(chosen):
            continue
        value = known.get(model.canonical_name(parameter.name))
        if isinstance(parameter, Categorical) and (value is None or parameter.index(value) < 0):
            value = (
                parameter.choices[0]
                if parameter.n_levels == 1 or _is_parent(space, parameter.name)
                else None
            )
        if value is not None:
            chosen[parameter.name] = value
    return chosen


def _is_parent(space: SearchSpace, name: str) -> bool:
    return any(name in parameter.when for parameter in space)
