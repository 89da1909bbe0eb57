"""Which runs of an experiment that this project did not log are trials."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.adoption.families import runs_of_other_families
from pipelines.adoption.mapping import Mapped, find_meanings
from pipelines.adoption.metrics import LoggedMetric
from pipelines.adoption.runs import OPTUNA_STATE, ForeignRun
from pipelines.store import schema

MIN_TRIALS = 5  # nothing is learned from fewer

# Why a run is not a trial; each follows "12 not counted: ".
OURS = "logged by this project"
GROUPS = "parent runs that only group others"
PARTS = "parts of a run that counts, such as its folds"
FAILED = "failed"
UNFINISHED = "unfinished"
PRUNED = "pruned by Optuna, or failed"
NO_METRIC = "without the metric"
NOT_FINITE = "with a metric that is not finite"
NO_PARAMETERS = "without a parameter of the model"
OTHER_FAMILY = (
    "trainings of {0}, by the autologging tag or by most of their parameters: adopt them with "
    "model={0}, or say with mapping what the parameters mean"
)

_MAX_METRIC = 1e300  # MLflow stores infinity as 1.8e308
_STATUS_PROBLEMS = {schema.FINISHED: None, schema.FAILED: FAILED}


@dataclass(frozen=True)
class Found:
    """The runs that are trials, in their original order, and the counts of others by reason."""

    trials: tuple[ForeignRun, ...]
    others: Mapping[str, int]


def trials_among(
    runs: Sequence[ForeignRun], metric: LoggedMetric, model: str, given: Mapped
) -> Found:
    """The runs that have the metric and a configuration of the model.

    Runs of another model family do not count, unless a mapping is `given`, which defines what the
    names mean. A parent run only groups its nested runs, even if it repeats the best of them. But
    if all nested runs have the configuration of their parent, they are parts of it, such as folds.
    """
    parents = {run.parent for run in runs}
    problems = {run.run_id: _problem(run, metric, run.run_id in parents) for run in runs}
    candidates = [run for run in runs if problems[run.run_id] is None]
    configurations = _configurations(runs, model, given)
    others = {} if given else runs_of_other_families(candidates, model)
    for run in candidates:
        if run.run_id in others:
            problems[run.run_id] = OTHER_FAMILY.format(others[run.run_id])
        elif not configurations[run.run_id]:
            problems[run.run_id] = NO_PARAMETERS
    _resolve_nesting(runs, configurations, problems)
    trials = tuple(run for run in runs if problems[run.run_id] is None)
    return Found(trials, Counter(filter(None, problems.values())))


def _problem(run: ForeignRun, metric: LoggedMetric, is_parent: bool) -> str | None:
    """Why a run is not a trial of any model; None if it may be one."""
    if schema.ROLE in run.tags:
        return OURS
    if problem := _STATUS_PROBLEMS.get(run.status, UNFINISHED):
        return problem
    if run.tags.get(OPTUNA_STATE) in ("PRUNED", "FAIL"):
        return PRUNED
    if metric.logged not in run.metrics:
        return GROUPS if is_parent else NO_METRIC
    value = run.metrics[metric.logged]
    return None if math.isfinite(value) and abs(value) <= _MAX_METRIC else NOT_FINITE


def _configurations(
    runs: Sequence[ForeignRun], model: str, given: Mapped
) -> dict[str, dict[str, str]]:
    """The logged parameters of the model, by run id."""
    meanings, _ = find_meanings(model, {name for run in runs for name in run.params}, given)
    return {
        run.run_id: {name: text for name, text in run.params.items() if name in meanings}
        for run in runs
    }


def _resolve_nesting(
    runs: Sequence[ForeignRun],
    configurations: Mapping[str, Mapping[str, str]],
    problems: dict[str, str | None],
) -> None:
    """Decide in `problems` whether a parent run or its nested runs are trials."""
    nested: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        if run.parent and problems[run.run_id] is None:
            nested[run.parent].append(run.run_id)
    for run_id in problems:
        children = nested.get(run_id)
        if not children:
            continue
        own = configurations[run_id]
        repeated = all(configurations[child] == own for child in children)
        if problems[run_id] is None and repeated:
            problems.update(dict.fromkeys(children, PARTS))
        else:
            problems[run_id] = GROUPS
