"""Checks of the options of `tune(objective=…)`."""

from collections.abc import Collection, Iterator
from typing import Any

from hpo.algorithms import is_same
from hpo.errors import ParameterError, StudyError, raise_all
from pipelines.objectives.code import Code
from pipelines.objectives.code.planning import budgets
from pipelines.objectives.code.results import goal_of, goals_of
from pipelines.objectives.scoring.goals import as_began, goal_mistakes
from pipelines.objectives.space import ANOTHER, read_space
from pipelines.study.options import TuneOptions
from pipelines.study.plan import Plan

# The options that a study of code has; the others are for tables.
OF_CODE = (
    "objective",
    "space",
    "metric",
    "limits",
    "prefer",
    "algorithm",
    "trials",
    "timeout",
    "patience",
    "min_gain",
    "budget",
    "price",
    "trial_timeout",
    "workers",
    "executor",
    "ray_address",
    "slurm",
    "min_budget",
    "max_budget",
    "eta",
    "seed",
    "study",
    "register",
    "warm_start",
    "checkpoints",
    "dry_run",
    "quiet",
    "verbose",
)


def mistakes(options: TuneOptions, wrong: Collection[str]) -> Iterator[str]:
    """The options that are for tables, and a metric without a direction.

    `wrong` are the options whose values are mistakes already.
    """
    for name in options.given():
        if name not in OF_CODE:
            yield f"{name} is for tables, and objective is the user's own code; leave {name} out"
    if {"metric", "limits", "prefer"} & set(wrong):
        return
    found = [*goal_mistakes(options)]
    if options.study is None:
        try:
            goals_of(options)
        except ParameterError as error:
            found.append(str(error))
    yield from dict.fromkeys(found)


def check_unchanged(what: str, options: TuneOptions, plan: Plan, code: Code) -> None:
    """Check that options given with a resumed study are those that it began with.

    Raises:
        StudyError: naming each option that differs.
    """
    given = options.fixed()
    began = _began_with(plan, code, options, given)
    raise_all(
        StudyError,
        (
            f"{what} began with {name}={began[name]!r}, but got {value!r}; leave {name} out, or "
            "start a new study"
            for name, value in given.items()
            if name in began and began[name] != value
        ),
    )
    wrong = [name for name in given if name not in OF_CODE]
    raise_all(
        ParameterError,
        (f"{name} is for tables, and {what} evaluates {code.name}; leave it out" for name in wrong),
    )


def _began_with(
    plan: Plan, code: Code, options: TuneOptions, given: dict[str, Any]
) -> dict[str, Any]:
    """The options of a plan; a given value that means the same is returned as it is."""
    began: dict[str, Any] = {**vars(plan), **vars(plan.extent)}
    if "algorithm" in given and is_same(given["algorithm"], plan.algorithm):
        began["algorithm"] = given["algorithm"]
    began |= as_began(plan.goals, given, goal_of, own=True)
    if "space" in given:
        same = read_space(given["space"], code.name).space == plan.space
        began["space"] = given["space"] if same else ANOTHER
    if "max_budget" in given:
        began["max_budget"], began["min_budget"] = int(plan.rungs[-1]), int(plan.rungs[0])
        if budgets(options, code) == plan.rungs:
            began |= {name: given[name] for name in ("min_budget", "max_budget") if name in given}
    began["checkpoints"] = given.get("checkpoints")
    return began
