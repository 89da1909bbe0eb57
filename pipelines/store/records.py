"""Records of runs, and how a trial is written as a run and read back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from hpo.errors import StudyError
from hpo.goals import Goal
from hpo.space.parameters import plain
from hpo.trial import Report, Trial
from pipelines.store import schema
from pipelines.store.schema import cut

MAX_NOTE = 160  # characters of a configuration in a description

Point = tuple[str, float, int, int]
"""One value of a metric: name, value, milliseconds since 1970, step.

A plain tuple, because a study has many: JSON of named tuples takes half as long again.
"""


@dataclass(frozen=True)
class State:
    """What MLflow says of the end of a trial: its run's status and end, and the tag `ENDED`."""

    status: str
    end: int | None = None
    ended: str = ""


@dataclass(frozen=True)
class Record:
    """Changes to one run that are not in MLflow yet. Writing a record twice has no effect.

    Attributes:
        key: identifies the run in its study: `trial-7`, `baseline-linear` or `study`.
        name: of the run.
        tags: to set.
        params: to log.
        metrics: to log.
        mark: the tag that marks the run as complete; it is written last.
        status: of the run; None leaves it unchanged.
        start: milliseconds since 1970.
        end: milliseconds since 1970.
        texts: to store as artifacts, by file name.
    """

    key: str
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()
    mark: tuple[str, str] | None = None
    status: str | None = None
    start: int | None = None
    end: int | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the texts storable: SQLite takes nearly any, PostgreSQL no long ones and no NUL."""
        for each, texts in (("tags", self.tags), ("params", self.params)):
            storable = {name: schema.storable(text) for name, text in texts.items()}
            object.__setattr__(self, each, storable)

    @property
    def marked_tags(self) -> dict[str, str]:
        """The tags, and the mark as the last of them."""
        return {**self.tags, **dict([self.mark] if self.mark else [])}

    def then(self, later: "Record") -> "Record":
        """Merge with a later record of the same run, whose values win."""
        return Record(
            key=self.key,
            name=later.name or self.name,
            tags={**self.tags, **later.tags},
            params={**self.params, **later.params},
            metrics=tuple(dict.fromkeys((*self.metrics, *later.metrics))),
            mark=later.mark or self.mark,
            status=later.status or self.status,
            start=self.start if self.start is not None else later.start,
            end=later.end if later.status else self.end,
            texts={**self.texts, **later.texts},
        )

    def to_json(self) -> str:
        """Encode as one line."""
        return json.dumps(self.__dict__, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """Decode a line of `to_json`.

        Raises:
            ValueError: when the line is not a record.
        """
        try:
            plain = json.loads(line)
            points = plain.pop("metrics")
            metrics = tuple((str(k), float(v), int(t), int(s)) for k, v, t, s in points)
            mark = plain.pop("mark")
            return cls(metrics=metrics, mark=tuple(mark) if mark else None, **plain)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a record: {line[:80]!r}") from error


def grant(trial: Trial, name: str, common: Mapping[str, str], now: int) -> Record:
    """The record of a new trial.

    Args:
        trial: without reports.
        name: of its run.
        common: tags that all nested runs of the study have.
        now: milliseconds since 1970.
    """
    tags = {
        **common,
        schema.ROLE: "trial",
        schema.BUDGET: schema.encode_value(trial.budget),
        schema.ENDED: "running",
        schema.ORIGIN: cut(trial.origin),
        schema.RUN_NAME: name,
        schema.NOTE: f"{cut(trial.origin)}: {_short(trial)}" if trial.params else cut(trial.origin),
    }
    if trial.parent is not None:
        tags[schema.PARENT_TRIAL] = str(trial.parent)
    params = schema.encode_params(trial.params)
    exact = _compact_json({name: plain(value) for name, value in trial.params.items()})
    if len(exact) <= schema.MAX_TAG:  # then the texts may be those that the user's code logs
        tags[schema.PARAMS] = exact
        params |= {name: str(value) for name, value in trial.params.items() if value != ""}
    return Record(
        key=schema.trial_key(trial.number),
        name=name,
        tags=tags,
        params=params,
        mark=(schema.NUMBER, str(trial.number)),
        status=schema.RUNNING,
        start=now,
    )


def outcome(trial: Trial, goal: Goal, known: int, now: int, full: float | None = None) -> Record:
    """The record of a trial's new reports and its present state.

    Args:
        trial: with all its reports.
        goal: the study's metric and direction.
        known: how many reports were recorded before.
        now: milliseconds since 1970.
        full: the budget of a full training; None when trials have one budget only.
    """
    tags = {
        schema.BUDGET: schema.encode_value(trial.budget),
        schema.ENDED: _state(trial, full),
    }
    points: list[Point] = []
    seconds = accumulate(report.seconds for report in trial.reports)
    for report, total in list(zip(trial.reports, seconds, strict=True))[known:]:
        points += report_points(report, goal, total, now)
        tags |= _report_tags(report)
    if trial.reports:
        tags[schema.REPORTS] = encode_reports(trial)
        score = f"{goal.name} {goal.from_loss(trial.loss):.5g} after {trial.reached:g}"
        tags[schema.NOTE] = f"{score}, {cut(trial.origin)}: {_short(trial)}"
    if trial.failure is not None:
        tags[schema.FAILURE] = cut(trial.failure or "failed without a reason")
    status = status_of(trial)
    return Record(
        schema.trial_key(trial.number),
        tags=tags,
        metrics=tuple(points),
        status=status,
        end=None if status == schema.RUNNING else now,
    )


def _short(trial: Trial) -> str:
    """The configuration in one line, for the run's description."""
    values = [
        f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in trial.params.items()
    ]
    text = ", ".join(values).replace("\n", " ")
    return text if len(text) <= MAX_NOTE else f"{text[: MAX_NOTE - 1]}…"


def _report_tags(report: Report) -> dict[str, str]:
    tags = {}
    undefined = [name for name, value in report.metrics.items() if not math.isfinite(value)]
    if undefined:
        tags[schema.UNDEFINED] = cut(", ".join(undefined))
    if report.note:
        tags[schema.NOTED] = cut(report.note)
    return tags


def is_behind(record: Record, trial: Trial) -> bool:
    """Whether a record of a running trial is older than `trial`, which was read from MLflow."""
    if record.status != schema.RUNNING:
        return False
    budget = record.tags.get(schema.BUDGET)
    return budget is None or float(schema.decode_value(budget)) <= trial.budget


def status_of(trial: Trial) -> str:
    """The status of a trial's run.

    A trial that failed on the way to a larger budget is `FINISHED`, because it has a result.
    """
    if not trial.finished:
        return schema.RUNNING
    return schema.FINISHED if trial.reports else schema.FAILED


def _state(trial: Trial, full: float | None) -> str:
    """The value of the tag `ENDED`."""
    if trial.failure is not None:
        return f"failed after {trial.reached:g}" if trial.reports else "failed"
    if not trial.finished:
        return "running"
    if is_paused(trial, full):
        return f"paused at {trial.reached:g}"
    return "stopped early" if trial.reports[-1].over else "full budget"


def is_paused(trial: Trial, full: float | None) -> bool:
    """Whether a race has not granted a trial the full budget, and may do so later."""
    return trial.finished and trial.failure is None and full is not None and trial.reached < full


def corrected(trial: Trial, state: State, full: float | None, now: int) -> Record | None:
    """The record that gives a run the state of its trial; None if it has that.

    Args:
        trial: as it was read back, without the remark that its training ended by itself.
        state: of its run.
        full: the budget of a full training; None when trials have one budget only.
        now: milliseconds since 1970.
    """
    status, ended = status_of(trial), _state(trial, full)
    same = {ended, "stopped early"} if ended == "full budget" else {ended}
    if is_paused(trial, full):
        same.add(left_at(trial))
    if state.status == status and state.ended in same:
        return None
    return Record(
        schema.trial_key(trial.number),
        tags={schema.ENDED: state.ended if state.ended in same else ended},
        status=status,
        end=state.end or now if status != schema.RUNNING else None,
    )


def left_at(trial: Trial) -> str:
    """The state of a paused trial at the end of its study."""
    return f"left at {trial.reached:g}"


def left(trial: Trial, complete: bool, full: float | None, now: int) -> Record | None:
    """The record of a trial that has more to do when its study closes; None if it has not.

    Args:
        trial: as it is then.
        complete: whether the study ends for good, so that none of its trials is paused any more.
        full: the largest budget of a race.
        now: milliseconds since 1970.
    """
    if not trial.finished:
        return _stopped(trial, now)
    if complete and is_paused(trial, full):
        return Record(schema.trial_key(trial.number), tags={schema.ENDED: left_at(trial)})
    return None


def ended(trial: Trial, now: int) -> Record:
    """The record that ends the run of a trial."""
    status = status_of(trial)
    if status == schema.RUNNING:
        return _stopped(trial, now)
    return Record(schema.trial_key(trial.number), status=status, end=now)


def _stopped(trial: Trial, now: int) -> Record:
    """The record of a trial that is left on the way to its granted budget."""
    state = f"stopped on the way from {trial.reached:g} to {trial.budget:g}"
    key = schema.trial_key(trial.number)
    return Record(key, tags={schema.ENDED: state}, status=schema.KILLED, end=now)


def report_points(report: Report, goal: Goal, seconds: float, now: int) -> list[Point]:
    """The values of a report at step = budget, and the training curve before that step.

    The points of the curve have an earlier time, so that MLflow shows the report as the last value.

    Args:
        report: of one leg.
        goal: the study's metric and direction.
        seconds: training time of the trial up to this report.
        now: milliseconds since 1970.
    """
    step = round(report.budget)
    values = {goal.name: goal.from_loss(report.loss), **report.metrics, schema.SECONDS: seconds}
    schema.check_names(values)
    # A curve beyond the budget counts in a unit of its own; it ends with the score itself.
    beyond = any(round(budget) > step for budget, _ in report.curve)
    earlier = [(b, v) for b, v in report.curve if (beyond or round(b) < step) and math.isfinite(v)]
    curve = earlier[-schema.MAX_CURVE :]
    points = [(goal.name, float(value), now - 1, round(budget)) for budget, value in curve]
    points += [(name, value, now, step) for name, value in schema.finite(values).items()]
    return points


def encode_reports(trial: Trial) -> str:
    """Encode the reports of a trial as one tag, without their curves.

    The text is `[[budget, loss, seconds, {metrics}], ...]` with exact numbers. With it, one request
    reads a whole study, while MLflow serves the history of metrics run by run only. When the text
    is longer than a tag, the oldest reports lose their metrics here; the history still has them.

    Raises:
        StudyError: when a loss is not finite, or the reports do not fit without metrics either.
    """
    if not all(math.isfinite(report.loss) for report in trial.reports):
        raise StudyError(
            f"trial {trial.number} reports a loss that is not finite; report a Failure instead"
        )
    legs: list[list[Any]] = [
        [report.budget, report.loss, report.seconds, schema.finite(report.metrics)]
        for report in trial.reports
    ]
    text = _compact_json(legs)
    for leg in legs:
        if len(text) <= schema.MAX_TAG:
            break
        leg[3] = {}
        text = _compact_json(legs)
    if len(text) > schema.MAX_TAG:
        raise StudyError(
            f"trial {trial.number} has {len(legs)} reports, but a tag holds about 150; "
            "use fewer rungs"
        )
    return text


def _compact_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def decode_trial(tags: Mapping[str, str], params: Mapping[str, str]) -> Trial | None:
    """Read a trial from the tags and parameters of its run; None when the run has no mark."""
    if schema.NUMBER not in tags:
        return None
    budget = schema.decode_value(tags[schema.BUDGET])
    parent = tags.get(schema.PARENT_TRIAL)
    legs = json.loads(tags.get(schema.REPORTS, "[]"))
    # Code that a trial runs may have logged more parameters to its run.
    own = json.loads(tags[schema.PARAMS]) if schema.PARAMS in tags else None
    return Trial(
        number=int(tags[schema.NUMBER]),
        params=own or {name: schema.decode_value(text) for name, text in params.items()},
        budget=budget if isinstance(budget, int) else float(budget),
        origin=tags.get(schema.ORIGIN, "sampler"),
        reports=tuple(Report(b, loss, metrics, s) for b, loss, s, metrics in legs),
        parent=None if parent is None else int(parent),
        failure=tags.get(schema.FAILURE),
    )


def without_curves(trial: Trial) -> Trial:
    """The trial as `decode_trial` reads it: without curves and metrics that are not finite."""
    reports = tuple(
        replace(report, curve=(), over=False, metrics=schema.finite(report.metrics))
        for report in trial.reports
    )
    return replace(trial, params=dict(trial.params), reports=reports)
