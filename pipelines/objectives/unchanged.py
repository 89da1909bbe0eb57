"""Options given again: to a resumed study or validation, or to the training of an earlier trial.

All but those marked `later` (`pipelines.study.options`) were decided when it began, so they may be
repeated but not changed.
"""

from collections.abc import Mapping
from typing import Any

from hpo.algorithms import is_same
from hpo.errors import ParameterError, StudyError, raise_all
from pipelines.models import settings
from pipelines.objectives.planning import budget_of, rungs
from pipelines.objectives.scoring.goals import as_began, table_goal
from pipelines.objectives.space import ANOTHER, choose_space
from pipelines.study.options import AUTO, PAST, Options
from pipelines.study.plan import Plan
from pipelines.study.sources import is_table
from pipelines.table.division.validation import Validation
from pipelines.table.overrides import as_options, parse_overrides
from pipelines.table.roles import Roles
from pipelines.table.scores.losses import Loss
from pipelines.table.source import DataPlan
from pipelines.table.splits import Outer
from serving.names import normal_name

OF_COLUMNS = ("types", "drop")
OF_ROLES = ("weight", "positive", "monotone", "balance")
OF_BUDGETS = ("min_budget", "max_budget", "eta")


def check_unchanged(
    what: str, options: Options, plan: Plan, data: DataPlan, *, instead: str
) -> None:
    """Check that the given options are those that something began with.

    Args:
        what: it is, such as "study" and its run id.
        options: given now.
        plan: that it began with.
        data: the table that it began with.
        instead: what to do to have other values, after "leave it out, or".

    Raises:
        StudyError: naming each option that differs.
    """
    given = options.fixed()
    began = _began_with(plan, data, given)
    raise_all(
        StudyError,
        (
            f"{what} began with {name}={began[name]!r}, but got {value!r}; leave {name} out, or "
            f"{instead}"
            for name, value in given.items()
            if began[name] != value
        ),
    )


def _began_with(plan: Plan, data: DataPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a plan.

    A given value that means the same as that of the plan is returned as it is.
    """
    began = {**vars(data), **vars(plan), **vars(plan.extent)}
    began |= _budgets(plan, data.task, {name: given[name] for name in OF_BUDGETS if name in given})
    if data.outer:
        began["folds"] = Outer.parse(data.outer).folds
    # Trials whose checkpoints are not at the new place are trained from the beginning.
    began["checkpoints"] = given.get("checkpoints") if plan.races else None
    began |= {name: _as_began(data, name, given[name]) for name in OF_COLUMNS if name in given}
    began |= _validation(data, given)
    if "algorithm" in given and is_same(given["algorithm"], plan.algorithm):
        began["algorithm"] = given["algorithm"]
    began |= as_began(plan.goals, given, table_goal(data.task))
    if str(given.get("ensemble")) == plan.ensemble:  # a number, or the same as text
        began["ensemble"] = given["ensemble"]
    loss = given.get("loss")
    began["loss"] = loss if loss and str(Loss.parse(loss)) == data.loss else data.loss or None
    began |= {name: _role(data, name, given[name]) for name in OF_ROLES if name in given}
    if "space" in given:
        began["space"] = given["space"] if _same_space(plan, data.task, given["space"]) else ANOTHER
    return began


def _validation(data: DataPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options `validation` and `fold`; the content of a table is compared later."""
    began = Validation.parse(data.validation)
    fold, value = given.get("fold"), given.get("validation")
    if began.given and is_table(value):
        return {"validation": value, "fold": None}
    return {
        "validation": AUTO if began.column else str(began),
        "fold": fold if fold and normal_name(fold) == began.column else began.column or None,
    }


def _as_began(data: DataPlan, name: str, value: Any) -> Any:
    """The value of `types` or `drop` that it began with; the given one if it is the same."""
    began = as_options(data.overrides).get(name)
    same = as_options(parse_overrides(**{name: value})).get(name) == began
    return value if same else began


def _role(data: DataPlan, name: str, value: Any) -> Any:
    """The value of an option of `Roles` that it began with; the given one if it is the same."""
    began = data.roles.as_options().get(name)
    return value if Roles.of(**{name: value}).as_options().get(name) == began else began


def _same_space(plan: Plan, task: str, space: object) -> bool:
    if isinstance(space, str) and space == PAST:
        return True  # the study has stored the space that the past studies gave
    chosen = choose_space(space, plan.model).space
    return (chosen or settings(plan.model, kind=task).space) == plan.space


def _budgets(plan: Plan, task: str, given: dict[str, Any]) -> dict[str, Any]:
    """The budget options of a plan; those given if they make the same rungs."""
    if not given:
        return {}
    began: dict[str, Any] = {
        "min_budget": int(plan.rungs[0]),
        "max_budget": int(plan.rungs[-1]),
        "eta": plan.eta,
    }
    wanted = began | given
    own = budget_of(settings(plan.model, kind=task).budget, plan.algorithm, plan.fidelity)
    ends = wanted["min_budget"], wanted["max_budget"]
    try:
        same = rungs(plan.algorithm, own, *ends, wanted["eta"]) == plan.rungs
    except ParameterError:  # they make no rungs
        same = False
    return given if same else began
