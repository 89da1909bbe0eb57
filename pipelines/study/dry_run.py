"""What a study would do, without doing it: `tune(dry_run=True)`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from hpo.algorithms import algorithm
from hpo.configurations import Identity, n_searched
from hpo.errors import StudyError, counted
from hpo.space.tree import tree
from hpo.storage import MemoryStorage
from hpo.study import Study, StudySettings
from pipelines.findings.scales import duration
from pipelines.store.parents import check_experiment, check_header
from pipelines.store.tracking import connect, unread_store
from pipelines.study.objective import Objective, header_of
from pipelines.study.options import AUTO, OFF, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.runs import Pace, pace_of
from pipelines.study.warm_start import Beginning, WarmStart, begin
from warmstart.families import is_code

_PAST = 3  # studies whose pace is read


@dataclass(frozen=True)
class Rung:
    """The share of the trials that reach a budget, and what a trial costs there on the mean.

    Costs are in full trainings.
    """

    budget: float
    share: float
    cost: float


@dataclass(frozen=True)
class Forecast:
    """How long the trials take, from past studies.

    Attributes:
        seconds: with the workers of the plan, and no longer than its timeout.
        studies: how many past studies say so.
        scaled: whether those were of other tables, so that their seconds count by rows.
    """

    seconds: float
    studies: int
    scaled: bool

    def __str__(self) -> str:
        of = counted(self.studies, "past study")
        how = f"{of} of other tables, by their rows" if self.scaled else of
        return f"about {duration(self.seconds)} for the trials (from {how}); the end comes on top"


@dataclass(frozen=True)
class DryRun:
    """What a study would do. Nothing is trained, and nothing is written.

    Attributes:
        plan: of the study.
        objective: what is evaluated, in sentences: of a table its rows, columns and splits.
        done: trials that a resumed study has already.
        trials: how many there will be in all; fewer than in the plan in a small space. None where
            time alone ends the search.
        rungs: the budgets and their cost.
        past: what is learned from past studies, in sentences.
        neighbours: the run ids of those studies, the most similar first.
        forecast: how long the rest takes; None if nothing is known.
    """

    plan: Plan
    objective: tuple[str, ...]
    done: int
    trials: int | None
    rungs: tuple[Rung, ...]
    past: tuple[str, ...]
    neighbours: tuple[str, ...]
    forecast: Forecast | None

    def __str__(self) -> str:
        """All of it, in paragraphs."""
        plan = self.plan
        points = ", ".join(point.origin for point in plan.first_points)
        there = f", {self.done} of them there already" if self.done else ""
        trials = "as many trials as fit" if self.trials is None else counted(self.trials, "trial")
        search = [
            f"{plan.algorithm} over {counted(n_searched(plan.space), 'parameter')} of {plan.model}",
            f"{trials}{there}, {plan.worker_plan}",
            *([f"first: {points}"] if points else []),
        ]
        parts = {
            "Objective": self.objective,
            "Search": search,
            "Space": tree(plan.space),
            "Budgets": list(self._budgets()),
            "Past studies": self.past,
            "Time": list(self._time()),
        }
        found = ["Dry run: nothing is trained, and nothing is written."]
        found += [
            "\n".join([head, *(f"  {line}" for line in text)]) for head, text in parts.items()
        ]
        return "\n\n".join(found)

    def _budgets(self) -> Iterator[str]:
        unit, full = self.plan.budget_unit, self.plan.rungs[-1]
        if not self.plan.races:
            is_one = is_code(self.plan.model) and full == 1
            what = "one evaluation" if is_one else f"a full training: {full:g} {unit}"
            yield f"each trial is {what}"
            return
        total = sum(rung.cost for rung in self.rungs)
        for rung in self.rungs:
            if self.trials is None:
                reached, cost = f"{rung.share:.0%}", f"takes {rung.cost / total:.0%} of the time"
            else:
                reached = f"{max(round(self.trials * rung.share), 1)}"
                cost = f"costs {self.trials * rung.cost:.1f} full trainings"
            at = f"{rung.budget:>8g} {unit}"
            yield f"{at}: reached by about {reached} of the trials, which {cost}"
        if self.trials is not None:
            yield f"together about {self.trials * total:.1f} full trainings of {full:g} {unit}"

    def _time(self) -> Iterator[str]:
        if self.plan.extent.budget is not None:
            yield f"the search ends when the trainings have cost {self.plan.extent.budget} (budget)"
        if self.trials is not None:
            yield self._estimate()
        if self.plan.extent.timeout is not None:
            yield f"the search ends after {duration(self.plan.extent.timeout)} (timeout)"

    def _estimate(self) -> str:
        if self.forecast is not None:
            return str(self.forecast)
        if self.plan.warm_start == OFF:
            return "no estimate, because past studies are not read (warm_start=off)"
        return "no estimate: it needs a past study of the same model with timed trials"


def check_store(options: TuneOptions) -> str | None:
    """Check the tracking store as a study would, and open nothing that does not exist.

    Returns:
        Why the store cannot be read without changing it; None where it can be read.

    Raises:
        StudyError: when it cannot be used, or when it is needed and cannot be read.
    """
    reason = unread_store()
    if reason is None:
        check_experiment(connect(reading=True))
        return None
    needed: Mapping[str, Any] = {
        "study": options.study,
        "space": str(options.space).startswith("auto:") and options.space,
        "warm_start": options.warm_start not in (AUTO, OFF) and options.warm_start,
    }
    for name, value in needed.items():
        if value:
            raise StudyError(f"{name}={value}: the tracking store {reason}, so it has no studies")
    return reason


def previewed(
    plan: Plan,
    objective: Objective,
    lines: Sequence[str],
    unread: str | None,
    *,
    narrow: bool = False,
) -> DryRun:
    """What a new study would do.

    Args:
        plan: of the study.
        objective: of the study.
        lines: that describe what is evaluated.
        unread: why past studies cannot be read.
        narrow: whether they narrow the space.

    Raises:
        UserError: for what would stop the study before its first trial.
    """
    header = header_of(plan, objective)
    check_header(header)
    if unread is None:
        known = begin(plan, header, narrow=narrow)
        past = list(known.warm.lines()) if known.warm else ["none are used (warm_start=off)"]
    else:
        known = Beginning(plan, WarmStart() if plan.warm_start != OFF else None)
        past = [f"the tracking store {unread}"]
    return dry_run(known, objective.identity, lines, past, rows=_rows(header))


def dry_run(
    known: Beginning,
    identity: Identity | None,
    lines: Sequence[str],
    past: Sequence[str],
    *,
    done: int = 0,
    rows: int = 0,
    own: str | None = None,
) -> DryRun:
    """What a study would do with what it knows of past ones.

    Args:
        known: its plan, and past studies.
        identity: of its configurations.
        lines: that describe what is evaluated.
        past: what is learned from past studies, in sentences.
        done: trials that are there already.
        rows: of the table; 0 without one.
        own: the run id of a study that is resumed, which knows its own pace best.
    """
    plan = known.plan
    sampler, scheduler = algorithm(plan.algorithm, plan.rungs, plan.eta, known.past)
    study = Study(
        plan.space,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=plan.seed,
        max_trials=plan.extent.trials,
        settings=StudySettings(plan.first_points, identity=identity),
    )
    trials = plan.extent.n_trials(study.proposals.total)
    shares = zip(plan.rungs, scheduler.reaching, scheduler.costs, strict=True)
    neighbours = known.warm.neighbours if known.warm else ()
    missing = math.inf if trials is None else max(trials - done, 0)
    left = missing * scheduler.cost * plan.rungs[-1]
    of_model = [n for n in neighbours if n.study.model == plan.model]
    same = [n.study.run_id for n in of_model if n.same_table]
    others = [] if same or own else [n.study.run_id for n in of_model]
    return DryRun(
        plan=plan,
        objective=tuple(lines),
        done=done,
        trials=trials,
        rungs=tuple(Rung(at, share, cost) for at, share, cost in shares),
        past=tuple(past),
        neighbours=tuple(neighbour.study.run_id for neighbour in neighbours),
        forecast=_forecast(plan, left, [own] if own else same or others, rows if others else 0),
    )


def _forecast(plan: Plan, budget: float, studies: Sequence[str], rows: int) -> Forecast | None:
    """How long a budget takes; with `rows`, in proportion to the rows of the studies' tables."""
    paces = [pace for pace in map(_pace, studies[:_PAST]) if pace and pace.unit == plan.budget_unit]
    found = [
        pace.seconds * (rows / pace.rows if rows and pace.rows else 1.0) * budget / plan.workers
        for pace in paces
    ]
    if not found or math.isinf(budget):
        return None
    limit = plan.extent.timeout or float("inf")
    return Forecast(min(median(found), limit), len(found), bool(rows))


def _pace(study: str) -> Pace | None:
    """How fast a past study was; None where it cannot be read."""
    with suppress(StudyError):
        return pace_of(study)
    return None


def _rows(header: Mapping[str, Any]) -> int:
    return int((header.get("data") or {}).get("rows") or 0)
