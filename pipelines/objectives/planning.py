"""The plan of a study, from its options, the table, the model and the machine."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hpo.algorithms import (
    grants_budgets,
    is_population,
    resolved,
    sampler_of,
    scheduler_name,
    scheduler_of,
)
from hpo.configurations import Identity
from hpo.errors import Mistakes, ParameterError, counted
from hpo.rungs import Budgets
from hpo.samplers.grid import GridSampler
from hpo.samplers.llm import check_endpoint
from hpo.space import SearchSpace
from hpo.space.center import middle, nearest_allowed
from hpo.space.parameters import Categorical, Parameter, Params, Value
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, available_cores
from pipelines.models import (
    PERCENT_OF_ROWS,
    Budget,
    SearchModel,
    Settings,
    identity,
    search_model,
    settings,
)
from pipelines.models.effective import NO_LIMIT
from pipelines.objectives.deciding.checks import check_decisions
from pipelines.objectives.model import check_changeable, check_trainable
from pipelines.objectives.scoring.goals import goals_of
from pipelines.objectives.space import SpaceChoice
from pipelines.study.extent import Extent
from pipelines.study.options import AUTO, SearchOptions, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.sources import wanted_of
from pipelines.table.source import Source, absolute

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

INTERVALS = 10  # of population-based training, unless `min_budget` is given
PRIOR = "prior"  # the origin of the configuration that a user believes in
FULL_TRAININGS = 50  # the cost of a study if the number of trials is not given
# options that stand in a plan as they are; those of `tune` alone keep their defaults elsewhere
_AS_GIVEN = ("eta", "register", "warm_start")
_OF_EXTENT = ("timeout", "trial_timeout", "patience", "min_gain", "budget", "price")
_MOST = 1e300  # compared instead of no limit
SHARES_OF_ROWS = Budget(PERCENT_OF_ROWS, 10, 100)


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
    kind, mistakes = prepared.task.kind, Mistakes()
    with mistakes:
        check_trainable(options.model, prepared)
    with mistakes:
        check_decisions(options.calibrate, options.threshold, kind)
    with mistakes:
        goals = goals_of(
            options,
            wanted_of(source),
            kind,
            prepared.y,
            weighted=bool(source.roles.weight),
            frame=prepared.frame,
            target=prepared.target_name,
        )
    has_categorical = bool(prepared.features.cardinalities)
    rows = len(prepared.rows.folds[0][0])
    defaults = settings(options.model, kind=kind, has_categorical=has_categorical, rows=rows)
    space = defaults.space if chosen.space is None else chosen.space
    budget = budget_of(defaults.budget, options.algorithm, options.fidelity)
    with mistakes:
        check_changeable(options, space)
    with mistakes:
        low, high = options.min_budget, options.max_budget
        steps = rungs(options.algorithm, budget, low, high, options.eta)
    mistakes.raise_all()
    plan = plan_of(
        options,
        space,
        steps,
        worker_plan,
        model=options.model,
        goals=goals,
        seed=source.seed,
        first_points=(),
        budget_unit=budget.unit,
        fidelity=budget.fidelity,
        confirm=options.confirm,
        refit=options.refit,
        ensemble=str(options.ensemble),
        device=options.device,
        calibrate=options.calibrate,
        threshold=options.threshold,
    )
    points = _first_points(options.model, plan.algorithm, chosen.space, defaults, kind, rows)
    return replace(plan, first_points=points)


def plan_of(
    options: SearchOptions,
    space: SearchSpace,
    steps: tuple[float, ...],
    worker_plan: WorkerPlan,
    **own: Any,
) -> Plan:
    """A plan with the search that the options ask for, on budgets that may end at `steps`.

    Args:
        options: of the search.
        space: that is searched.
        steps: the budgets at which trials may stop.
        worker_plan: the workers.
        own: the values of `Plan` that depend on what is evaluated.
    """
    trials = n_trials(options, steps)
    if options.algorithm != AUTO:
        check_endpoint(sampler_of(options.algorithm))
    given = {name: getattr(options, name) for name in _AS_GIVEN if hasattr(options, name)}
    ends = {name: getattr(options, name) for name in _OF_EXTENT if hasattr(options, name)}
    place = getattr(options, "checkpoints", None)
    return Plan(
        algorithm=resolved(options.algorithm, space, trials or FULL_TRAININGS),
        space=space,
        rungs=steps,
        checkpoints=None if place is None else absolute(place),
        workers=worker_plan.workers,
        threads=worker_plan.threads,
        lag=lag_of(options.algorithm, worker_plan),
        extent=Extent(trials, **ends),
        **given,
        **own,
    )


def lag_of(algorithm: str, worker_plan: WorkerPlan) -> int:
    """How many results the sampler waits for, so that the study does not depend on their order.

    Races ask when a worker is free, whatever is still missing; and so do workers whose number
    changes.
    """
    workers = worker_plan.workers
    waits = workers > 1 and worker_plan.fixed and not grants_budgets(algorithm)
    return 2 * workers if waits else 0


def worker_plan_of(plan: Plan, workers: int | None) -> WorkerPlan:
    """The workers of a resumed study: as many as before, or `workers`.

    The threads of a worker stay the same, because the results of trials depend on them.

    Raises:
        ParameterError: for more workers than there are cores.
    """
    max_workers = max(available_cores() // plan.threads, 1)
    if workers is None:
        return WorkerPlan(min(plan.workers, max_workers), plan.threads)
    if workers > max_workers:
        raise ParameterError(
            f"workers={workers} with {counted(plan.threads, 'thread')} each, as the study began, "
            f"exceed the {counted(available_cores(), 'core')} that this process may use; take "
            f"workers={max_workers} or fewer, or leave it out"
        )
    return WorkerPlan(workers, plan.threads)


def budget_of(own: Budget, algorithm: str, fidelity: str) -> Budget:
    """The budget of the trials: that of the model, or shares of the rows."""
    if not grants_budgets(algorithm):
        return replace(own, fidelity="rounds")
    kind = own.fidelity if fidelity == AUTO else fidelity
    return replace(SHARES_OF_ROWS if kind == "rows" else own, fidelity=kind)


def rungs(
    algorithm: str, own: Budget, low: int | None, high: int | None, eta: float
) -> tuple[float, ...]:
    """The budgets at which the trials of a study may stop, ascending.

    Args:
        algorithm: of the study.
        own: the model's budget.
        low: the smallest budget; None takes that of the model.
        high: the largest budget; None takes that of the model.
        eta: the factor between budgets.

    Raises:
        ParameterError: when they do not fit together.
    """
    largest = float(high or own.max)
    if own.is_share and largest > 100:
        raise ParameterError(
            f"max_budget={largest:g} must be 100 or less: budgets are {own.unit} here"
        )
    if not grants_budgets(algorithm):
        return (largest,)
    if high is None and low is not None and low > largest:
        raise ParameterError(
            f"min_budget={low} must not exceed the model's own max_budget={own.max}; give both"
        )
    if is_population(algorithm):
        return _intervals(algorithm, low, largest)
    smallest = float(low) if low else min(own.min, max(largest // eta, 1.0))
    found = Budgets(smallest, largest, eta).rungs
    if len(found) < 2:
        raise ParameterError(
            f"min_budget={smallest:g} leaves no rung below max_budget={largest:g} with "
            f"eta={eta:g}; {algorithm} needs at least two rungs: take {_two_rungs(largest, eta)}"
        )
    return found


def _intervals(algorithm: str, low: int | None, largest: float) -> tuple[float, ...]:
    """The budgets after which a population is compared: multiples of the smallest one.

    Raises:
        ParameterError: when they are fewer than two.
    """
    interval = float(low) if low else max(largest // INTERVALS, 1.0)
    if 2 * interval > largest:
        raise ParameterError(
            f"min_budget={interval:g} is the interval of {algorithm.partition(':')[0]}, and "
            f"max_budget={largest:g} has to be two of them at least; take a smaller min_budget"
        )
    steps = [interval * i for i in range(1, int(largest / interval) + 1)]
    steps[-1] = largest
    return tuple(steps)


def _two_rungs(largest: float, eta: float) -> str:
    """The options that leave a rung below the largest budget."""
    lower = math.floor(largest / eta + 1e-9)
    return f"min_budget={lower} or less" if lower >= 1 else f"max_budget={math.ceil(eta)} or more"


def n_trials(options: SearchOptions, steps: tuple[float, ...]) -> int | None:
    """How many trials a study has; None where only its time ends it.

    Without any limit, they cost as much as `FULL_TRAININGS` full trainings.
    """
    has_budget = isinstance(options, TuneOptions) and options.budget is not None
    if options.trials is not None or options.timeout is not None or has_budget:
        return options.trials
    scheduler = scheduler_of(scheduler_name(options.algorithm), steps, options.eta)
    return math.ceil(FULL_TRAININGS / scheduler.cost)


def _first_points(
    name: str, algorithm: str, space: SearchSpace | None, own: Settings, kind: str, rows: int
) -> tuple[FirstPoint, ...]:
    """The library's default and the tuned defaults, projected onto a space that is not the model's.

    The defaults may lie outside the model's own space on purpose.
    """
    if space is None:
        return distinct(own.first_points, identity(name))
    model, sampler = search_model(name), sampler_of(algorithm)
    grid = sampler if isinstance(sampler, GridSampler) else None
    defaults = model.defaults(kind, rows)
    points = tuple(projected(model, point, space, grid) for point in defaults)
    found = distinct(points, identity(name))
    believed = {each.name: each.prior.value for each in space if each.prior is not None}
    if not believed:
        return found
    mode = projected(model, {**defaults[-1], **believed}, space, grid)
    same = identity(name)
    others = [point for point in found if same(point.params) != same(mode)]
    return (*others[:1], FirstPoint(mode, PRIOR), *others[1:])


def distinct(points: Sequence[Params], identity: Identity) -> tuple[FirstPoint, ...]:
    """The default and the tuned defaults, without those that are the same training."""
    found: dict[Hashable, FirstPoint] = {}
    for i, params in enumerate(points):
        found.setdefault(identity(params), FirstPoint(params, "tuned default" if i else "default"))
    return tuple(found.values())


def projected(
    model: SearchModel, point: Params, space: SearchSpace, grid: GridSampler | None = None
) -> dict[str, Value]:
    """The allowed configuration of a space, or of a grid in it, that is nearest to a point.

    Parents come first.

    A parameter that the point does not name has the middle of its range, or its first choice.
    """
    known = {model.canonical_name(name): value for name, value in point.items()}
    found: dict[str, Value] = {}
    for parameter in space:
        if parameter.name in space.active(found):
            name = model.canonical_name(parameter.name)
            value = _nearest(parameter, known.get(name), name.rpartition(".")[2])
            found[parameter.name] = grid.nearest(parameter, value) if grid else value
    return nearest_allowed(space, found)


def _nearest(parameter: Parameter, value: Value | None, name: str) -> Value:
    """The value of a parameter that is nearest to one of the library's parameter `name`."""
    if isinstance(parameter, Categorical):
        if value is not None and parameter.index(value) >= 0:
            return parameter.choices[parameter.index(value)]
        numbers = [choice for choice in parameter.choices if _is_number(choice)]
        if value is None or not _is_number(value) or len(numbers) < parameter.n_levels:
            return parameter.choices[0]
        at = min(_size(value, name), _MOST)
        return min(numbers, key=lambda choice: abs(at - min(_size(choice, name), _MOST)))
    if value is None or not _is_number(value):
        return middle(parameter)
    inside = min(max(_size(value, name), parameter.low), parameter.high)
    if parameter.n_levels is None:
        return float(inside)
    return parameter.from_unit(parameter.to_unit(inside))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: Value, name: str) -> float:
    """A number, infinite where it stands for no limit."""
    return math.inf if name in NO_LIMIT and float(value) <= 0 else float(value)
