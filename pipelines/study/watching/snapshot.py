"""A study at one moment, computed from what MLflow has of it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.goals import Goals
from hpo.goals.leaders import leaders
from hpo.trial import Trial
from pipelines.findings.scales import first_line, number, short
from pipelines.store import schema
from pipelines.store.lease import Driver
from pipelines.store.studies import Seen
from pipelines.study.watching.shown import Line, Rung, Snapshot
from pipelines.study.watching.target import Target
from warmstart.families import short_name

LAST = 8  # trials that are listed
RUNNING = 3  # of those, at most so many that run
RECENT = 100  # ended trials that the rate is computed from
REASONS = 3  # most common reasons of failures


@dataclass(frozen=True)
class Facts:
    """What a study is read from.

    Attributes:
        name: of its run.
        header: what it was created with.
        status: of its run.
        tags: of its run.
        trials: by number.
    """

    name: str
    header: Mapping[str, Any]
    status: str
    tags: Mapping[str, str]
    trials: Mapping[int, Seen]


def snapshot(facts: Facts, now: float) -> Snapshot:
    """A study at one moment.

    Args:
        facts: of the study.
        now: in seconds since 1970.
    """
    header = facts.header
    goals = Goals.from_dict(header)
    seen = list(facts.trials.values())
    trials = [each.trial for each in seen]
    target = Target.from_tag(facts.tags.get(schema.SESSION))
    is_over = facts.status != schema.RUNNING
    moment = _last_end(seen) if is_over else now
    share = target.done(sum(map(_trained, trials))) if target and target.budgets else None
    best = _best(trials, goals)
    return Snapshot(
        title=f"{short_name(str(header['model']))} by {header['algorithm']}, study {facts.name}",
        state=_state(facts, now),
        trials=len(trials),
        total=_total(target, header, len(trials), is_over),
        running=0 if is_over else sum(each.is_running for each in seen),
        failed=sum(bool(trial.failure) and not trial.reports for trial in trials),
        share=1.0 if is_over and share else share,
        per_second=_rate(seen, moment),
        left=math.inf if is_over or not target else target.seconds_left(share or 0.0, now),
        best=_scored(best, goals) if best else "",
        configuration=_configuration(best) if best else {},
        rungs=_rungs(trials, header.get("rungs") or (), goals),
        last=[_line(each, goals, is_over) for each in _newest(seen)],
        reasons=_reasons(trials),
    )


def _trained(trial: Trial) -> float:
    """The budget that is done with a trial; what a failed one was granted is done, too."""
    return trial.budget if trial.failure else trial.reached


def _total(
    target: Target | None, header: Mapping[str, Any], known: int, is_over: bool
) -> int | None:
    total = target.trials if target else header.get("trials")
    return None if is_over or total is None or total < known else int(total)


def _last_end(seen: Iterable[Seen]) -> float:
    return max((each.ended for each in seen if each.ended is not None), default=0.0)


def _rate(seen: Iterable[Seen], now: float) -> float | None:
    """Trials per second, from the last `RECENT` that ended until `now`; None before the second."""
    ends = sorted(each.ended for each in seen if each.ended is not None)[-RECENT:]
    if len(ends) < 2 or max(now, ends[-1]) <= ends[0]:
        return None
    return (len(ends) - 1) / (max(now, ends[-1]) - ends[0])


def _best(trials: Sequence[Trial], goals: Goals) -> Trial | None:
    scored = [trial for trial in trials if trial.reports]
    if goals.is_single:
        return min(scored, key=lambda trial: (trial.loss, trial.number), default=None)
    number_ = leaders(scored, goals).best
    return next((trial for trial in scored if trial.number == number_), None)


def _scored(trial: Trial, goals: Goals) -> str:
    at = trial.best
    return f"best {goals.text(at)} (trial {trial.number})" if at else ""


def _configuration(trial: Trial) -> dict[str, str]:
    return {short(name, 40): short(number(value), 40) for name, value in trial.params.items()}


def _rungs(trials: Iterable[Trial], budgets: Sequence[float], goals: Goals) -> list[Rung]:
    if len(budgets) < 2:
        return []
    reached, running = Counter[float](), Counter[float]()
    best: dict[float, float] = {}
    for trial in trials:
        for report in trial.reports:
            reached[report.budget] += 1
            best[report.budget] = min(best.get(report.budget, math.inf), report.loss)
        if not trial.finished:
            running[trial.budget] += 1
    return [
        Rung(
            float(each),
            reached[each],
            running[each],
            goals.first.from_loss(best[each]) if each in best else None,
        )
        for each in budgets
    ]


def _newest(seen: Iterable[Seen]) -> list[Seen]:
    """The last trials that were started and run, then those that ended last; `LAST` in all."""
    running: list[Seen] = []
    others: list[Seen] = []
    for each in seen:
        (running if each.is_running else others).append(each)
    running.sort(key=lambda each: -each.trial.number)
    others.sort(key=lambda each: (each.ended or 0.0, each.trial.number), reverse=True)
    shown = running[:RUNNING]
    return [*shown, *others[: LAST - len(shown)]]


def _line(seen: Seen, goals: Goals, is_over: bool) -> Line:
    trial = seen.trial
    if trial.failure:
        state = f"failed: {first_line(trial.failure, 60)}"
    elif trial.finished:
        state = f"at {trial.reached:g}"
    else:
        state = f"{'stopped' if is_over else 'running'} to {trial.budget:g}"
    scores = goals.text(trial.best) if trial.best else "–"
    seconds = f"{trial.seconds:.1f} s" if trial.reports else "–"
    return Line(trial.number, state, scores, seconds, short(trial.origin, 30))


def _reasons(trials: Iterable[Trial]) -> list[tuple[str, int]]:
    found = Counter(
        first_line(trial.failure, 100) or "no reason was given" for trial in trials if trial.failure
    )
    return found.most_common(REASONS)


def _state(facts: Facts, now: float) -> str:
    """Whether the study runs, and who runs it."""
    if facts.status != schema.RUNNING:
        words = {"FINISHED": "finished", "KILLED": "stopped", "FAILED": "failed"}
        state = words.get(facts.status, facts.status.lower())
        reason = facts.tags.get(schema.FAILURE)
        return f"{state}: {first_line(reason, 200)}" if reason else state
    driver = Driver.from_tag(facts.tags.get(schema.DRIVER))
    return "no process runs it" if driver is None else f"run by {driver}"
