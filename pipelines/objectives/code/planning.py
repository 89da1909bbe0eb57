"""The plan of a study of the user's code, from its options."""

from hpo.algorithms import grants_budgets, is_population
from hpo.errors import ParameterError
from hpo.space import SearchSpace
from hpo.space.center import center
from hpo.study import FirstPoint
from hpo.workers.cores import WorkerPlan, available_cores, plan_threads
from pipelines.models import Budget
from pipelines.objectives.code import BUDGET, CHECKPOINT, Code
from pipelines.objectives.code.results import goals_of
from pipelines.objectives.planning import plan_of, rungs
from pipelines.objectives.space import SpaceChoice, read_space
from pipelines.study.options import DEFAULT, PAST, TuneOptions
from pipelines.study.plan import Plan

CENTER = "center of the space"  # the origin of the first point
_LOWEST = 27  # without min_budget, the lowest rung is at least this part of max_budget


def space_of(options: TuneOptions, code: Code) -> SpaceChoice:
    """The space of a new study.

    Raises:
        UserError: when there is none, or it cannot be read.
    """
    space = options.space
    if isinstance(space, str) and space in (DEFAULT, PAST):
        what = "is needed with objective" if space == DEFAULT else "narrows the space of a model"
        raise ParameterError(
            f"space={space!r}: a space {what}; give a YAML file, or from Python a mapping such as "
            '{"x": {"low": 0.0, "high": 1.0}}'
        )
    return read_space(space, code.name)


def new_plan(
    options: TuneOptions, code: Code, chosen: SpaceChoice, worker_plan: WorkerPlan
) -> Plan:
    """The plan of a new study.

    Raises:
        ParameterError: for options that do not go together.
    """
    steps = budgets(options, code)
    space = chosen.space if chosen.space is not None else SearchSpace(())
    return plan_of(
        options,
        space,
        steps,
        worker_plan,
        model=code.name,
        goals=goals_of(options),
        seed=options.seed,
        first_points=(FirstPoint(center(space), CENTER),),
        budget_unit=BUDGET,
        fidelity=BUDGET,
    )


def budgets(options: TuneOptions, code: Code) -> tuple[float, ...]:
    """The budgets at which trials may stop, ascending; (1,) for code without a budget.

    Raises:
        ParameterError: when the algorithm grants budgets and the code takes none, or the largest
            one is not given.
    """
    if BUDGET not in code.takes:
        if grants_budgets(options.algorithm):
            raise ParameterError(
                f"algorithm={options.algorithm} grants budgets, but objective={code.name} has no "
                "argument `budget`; add it, or take an algorithm without budgets such as tpe"
            )
        if options.max_budget is not None:
            raise ParameterError(
                f"max_budget={options.max_budget}: objective={code.name} has no argument `budget`; "
                "add it, or leave max_budget out"
            )
        return (1.0,)
    if is_population(options.algorithm) and CHECKPOINT not in code.takes:
        raise ParameterError(
            f"algorithm={options.algorithm} copies the checkpoints of trials, but objective="
            f"{code.name} has no argument `checkpoint`; add it, or take bohb or asha"
        )
    if options.max_budget is None:
        raise ParameterError(
            f"objective={code.name} takes `budget`, so max_budget is needed: what a full "
            "evaluation is given, such as its epochs"
        )
    largest = options.max_budget
    own = Budget(BUDGET, max(1, round(largest / _LOWEST)), largest)
    return rungs(options.algorithm, own, options.min_budget, largest, options.eta)


def workers_of(workers: int | None) -> WorkerPlan:
    """The workers, and their threads: more workers than cores are allowed, since code may wait.

    Raises:
        ParameterError: when the number is negative.
    """
    if workers is None or workers <= available_cores():
        return plan_threads(workers)
    return WorkerPlan(workers, 1)


def workers_again(plan: Plan, workers: int | None) -> WorkerPlan:
    """The workers of a resumed study: as many as before, or `workers`."""
    return WorkerPlan(workers or plan.workers, plan.threads)
