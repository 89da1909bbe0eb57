"""The persistent format: which names stand on which run, and how a trial becomes a run and comes back.

`docs/mlflow-schema.md` describes it for readers; `VERSION` counts its breaking changes.
"""

import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hpo.errors import ParameterError, StudyError
from hpo.space.parameters import Params, Value
from hpo.trial import Report, Trial

if TYPE_CHECKING:
    from pipelines.table.bootstrap import Interval

VERSION = "1"

SCHEMA = "hpo.schema"  # on the parent, last: the study exists
ROLE = "hpo.role"
NUMBER = "hpo.trial.number"  # on a trial, last: the trial exists
BUDGET = "hpo.trial.budget"
ORIGIN = "hpo.trial.origin"
PARENT_TRIAL = "hpo.trial.parent"
REPORTS = "hpo.trial.reports"
UNDEFINED = "hpo.trial.undefined"
ENDED = "hpo.trial.ended"  # where a trial stands, in words
NOTED = "hpo.trial.note"
CONFIRMED = "hpo.trial.confirmed"
OUTER = "hpo.outer"  # on a study inside a validation: which outer fold it holds out, like 2/5
OUTER_RESULT = "hpo.outer.result"  # on such a study, last: what came of it
VALIDATION = "hpo.validation.result"  # on a validation's run: what all folds say
CONFIRMATION = "hpo.confirmation"  # on the parent: the tests between the winner and the others
FAILURE = "hpo.failure"
BASELINE = "hpo.baseline"
DRIVER = "hpo.driver"
WINNER = "hpo.winner"
WINNER_NUMBER = "hpo.winner.trial"
SUMMARY = (
    "hpo.summary"  # what later studies learn from; its text in tags of that name with .0, .1, …
)
ADOPTED = (
    "hpo.adopted"  # on a study whose trials somebody else has logged: the name of their experiment
)
ADOPTED_ID = "hpo.adopted.experiment"  # and its id
SECONDS = "hpo.seconds"
PARENT_RUN = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"

MAX_TAG = 8_000
MAX_PARAM = 6_000
MAX_CURVE = 50

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
STUDY_KEY = "study"

_PLAIN_NAME = re.compile(r"[\w\-./: ]{1,250}")
_NUMBER_TEXT = re.compile(r"[+-]?(\d+|(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?|inf|nan)")

Point = tuple[str, float, int, int]
"""One metric value: name, value, milliseconds since 1970, step."""


@dataclass(frozen=True)
class Record:
    """What is still to be written of one run; writing it twice changes nothing.

    `key` names the run inside its study (`trial-7`, `baseline-linear`, `study`), `start` and `end`
    are milliseconds since 1970, and `mark` is the commit mark, written after everything else.
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

    def then(self, later: "Record") -> "Record":
        """Both records as one, `later` winning."""
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
        )

    def to_json(self) -> str:
        """One line without line breaks."""
        return json.dumps(self.__dict__, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """The record of one line.

        Raises:
            ValueError: when the line is not one.
        """
        try:
            plain = json.loads(line)
            metrics = tuple(
                (str(k), float(v), int(t), int(s)) for k, v, t, s in plain.pop("metrics")
            )
            mark = plain.pop("mark")
            return cls(metrics=metrics, mark=tuple(mark) if mark else None, **plain)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a record: {line[:80]!r}") from error


def test_metrics(
    metric: str, test: Mapping[str, float], interval: "Interval | None"
) -> dict[str, float]:
    """The winner's scores on the held-out rows, with the bounds of that by the study's `metric`, as they are logged."""
    named = {f"test_{name}": value for name, value in test.items()}
    if interval is not None:
        named |= {f"test_{metric}_low": interval.low, f"test_{metric}_high": interval.high}
    return named


@dataclass(frozen=True)
class Confirmed:
    """What is known of a trial on the rows divided anew.

    `rows` is the digest of the division, `budget` that of each training, `scores` the metric by
    part, and `failure` why there will be no more of them.
    """

    rows: str
    budget: float
    scores: Mapping[int, float]
    failure: str | None = None

    def to_tag(self) -> str:
        """The text of the tag `CONFIRMED`, exact."""
        failure = None if self.failure is None else cut(self.failure, MAX_TAG // 4)
        return json.dumps([self.rows, self.budget, sorted(self.scores.items()), failure])

    @classmethod
    def from_tag(cls, text: str) -> "Confirmed | None":
        """What `to_tag` wrote; None for any other text."""
        try:
            rows, budget, scores, failure = json.loads(text)
            return cls(str(rows), float(budget), {int(i): float(s) for i, s in scores}, failure)
        except (TypeError, ValueError):
            return None


def trial_key(number: int) -> str:
    """The key of a trial's record."""
    return f"trial-{number}"


def baseline_key(name: str) -> str:
    """The key of a baseline's record, and its run's name."""
    return f"baseline-{name}"


def encode_value(value: Value) -> str:
    """A parameter's value as text from which `decode_value` makes the same value of the same type.

    Numbers are written by `repr`, which round-trips; strings as they are, unless they read as
    something else.
    """
    if isinstance(value, bool | int | float):
        return repr(value)
    looks_otherwise = (
        value in ("True", "False", "") or value[0] == '"' or _NUMBER_TEXT.fullmatch(value)
    )
    return json.dumps(value, ensure_ascii=False) if looks_otherwise else value


def decode_value(text: str) -> Value:
    """The value that `encode_value` wrote."""
    if text in ("True", "False"):
        return text == "True"
    if text.startswith('"'):
        return str(json.loads(text))
    if not _NUMBER_TEXT.fullmatch(text):
        return text
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def encode_params(params: Params) -> dict[str, str]:
    """A configuration as MLflow parameters.

    Raises:
        ParameterError: for a value that is no plain value, or one that MLflow would cut.
    """
    encoded = {}
    for name, value in params.items():
        plain = value.item() if hasattr(value, "item") else value
        if not isinstance(plain, bool | int | float | str):
            raise ParameterError(
                f"{name}={value!r} must be a string, a number or a boolean, to be kept in MLflow"
            )
        encoded[name] = encode_value(plain)
        if len(encoded[name]) > MAX_PARAM:
            raise ParameterError(
                f"{name} has {len(encoded[name]):,} characters, but MLflow keeps {MAX_PARAM:,} of a parameter; "
                "give the choice a short name and look the long value up in the objective"
            )
    check_names(encoded)
    return encoded


def check_names(names: Mapping[str, object]) -> None:
    """Check that MLflow takes `names` as they are.

    Raises:
        ParameterError: naming the first that it would refuse.
    """
    for name in names:
        path = posixpath.normpath(name)
        if (
            not _PLAIN_NAME.fullmatch(name)
            or path != name
            or path == "."
            or path.startswith(("..", "/"))
        ):
            raise ParameterError(
                f"{name!r} cannot be a parameter or metric in MLflow: letters, digits and _ - . / : and spaces, "
                "250 at most, and no path like `../x`; rename it"
            )


def cut(text: str, limit: int = MAX_TAG) -> str:
    """`text`, or its beginning with a word on what is missing when MLflow would cut it silently."""
    if len(text) <= limit:
        return text
    note = f" … (cut, {len(text):,} characters in all)"
    return text[: limit - len(note)] + note


def grant(trial: Trial, name: str, common: Mapping[str, str], now: int) -> Record:
    """The record of a trial that has just been granted."""
    tags = {
        **common,
        ROLE: "trial",
        BUDGET: encode_value(trial.budget),
        ENDED: "running",
        ORIGIN: cut(trial.origin),
        RUN_NAME: name,
    }
    if trial.parent is not None:
        tags[PARENT_TRIAL] = str(trial.parent)
    return Record(
        key=trial_key(trial.number),
        name=name,
        tags=tags,
        params=encode_params(trial.params),
        mark=(NUMBER, str(trial.number)),
        status=RUNNING,
        start=now,
    )


def outcome(
    trial: Trial, metric: str, sign: float, known: int, now: int, full: float | None = None
) -> Record:
    """The record of what has been told of a trial since its first `known` reports.

    `metric` is the objective's name and `sign` * metric = loss; `full` is the budget of a full
    training.
    """
    tags = {BUDGET: encode_value(trial.budget), ENDED: _ended(trial, full)}
    points: list[Point] = []
    seconds = sum(report.seconds for report in trial.reports[:known])
    for report in trial.reports[known:]:
        seconds += report.seconds
        points += report_points(report, metric, sign, seconds, now)
        if undefined := [
            name for name, value in report.metrics.items() if not math.isfinite(value)
        ]:
            tags[UNDEFINED] = cut(", ".join(undefined))
        if report.note:
            tags[NOTED] = cut(report.note)
    if trial.reports:
        tags[REPORTS] = encode_reports(trial)
    if trial.failure is not None:
        tags[FAILURE] = cut(trial.failure or "failed without a reason")
    status = status_of(trial)
    end = None if status == RUNNING else now
    return Record(trial_key(trial.number), tags=tags, metrics=tuple(points), status=status, end=end)


def is_behind(record: Record, trial: Trial) -> bool:
    """Whether a record that calls a trial running knows less of it than `trial`, as MLflow has it, says."""
    if record.status != RUNNING:
        return False
    budget = record.tags.get(BUDGET)
    return budget is None or float(decode_value(budget)) <= trial.budget


def status_of(trial: Trial) -> str:
    """The status of a trial's run: a trial that failed on the way to a larger budget still has its result."""
    if not trial.finished:
        return RUNNING
    return FINISHED if trial.reports else FAILED


def _ended(trial: Trial, full: float | None) -> str:
    if trial.failure is not None:
        return f"failed after {trial.reached:g}" if trial.reports else "failed"
    if not trial.finished:
        return "running"
    if full is not None and trial.reached < full:
        return f"left at {trial.reached:g}"
    return "stopped early" if trial.reports[-1].over else "full budget"


def report_points(
    report: Report, metric: str, sign: float, seconds: float, now: int
) -> list[Point]:
    """Every finite metric of a report at step = budget, with the trial's seconds until then, and the curve before it.

    The curve's points carry an earlier time, so that the report stays the run's last value.
    """
    step = round(report.budget)
    values = {metric: sign * report.loss, **report.metrics, SECONDS: seconds}
    check_names(values)
    curve = [(b, v) for b, v in report.curve if round(b) < step and math.isfinite(v)][-MAX_CURVE:]
    points = [(metric, float(value), now - 1, round(budget)) for budget, value in curve]
    return points + [(name, float(v), now, step) for name, v in values.items() if math.isfinite(v)]


def encode_reports(trial: Trial) -> str:
    """The legs of a trial as one tag: `[[budget, loss, seconds, {metrics}], …]`, exact and without the curves.

    MLflow serves the history of a metric only run by run; this makes a study readable in one
    request. When it gets longer than a tag may be, the oldest legs lose their metrics (which stay
    in the history).

    Raises:
        StudyError: for a loss that is not a finite number, or legs that do not fit even so.
    """
    if not all(math.isfinite(report.loss) for report in trial.reports):
        raise StudyError(
            f"trial {trial.number} reports a loss that is not finite; tell a Failure instead"
        )
    legs: list[list[Any]] = [
        [
            r.budget,
            r.loss,
            r.seconds,
            {k: float(v) for k, v in r.metrics.items() if math.isfinite(v)},
        ]
        for r in trial.reports
    ]
    text = json.dumps(legs, separators=(",", ":"))
    for leg in legs:
        if len(text) <= MAX_TAG:
            return text
        leg[3] = {}
        text = json.dumps(legs, separators=(",", ":"))
    if len(text) > MAX_TAG:
        raise StudyError(
            f"trial {trial.number} has {len(legs)} reports; a run's tag holds about 150"
        )
    return text


def decode_trial(tags: Mapping[str, str], params: Mapping[str, str]) -> Trial | None:
    """The trial that a run holds; None when the run has no commit mark."""
    if NUMBER not in tags:
        return None
    budget = decode_value(tags[BUDGET])
    parent = tags.get(PARENT_TRIAL)
    return Trial(
        number=int(tags[NUMBER]),
        params={name: decode_value(text) for name, text in params.items()},
        budget=budget if isinstance(budget, int) else float(budget),
        origin=tags.get(ORIGIN, "sampler"),
        reports=tuple(
            Report(b, loss, m, s) for b, loss, s, m in json.loads(tags.get(REPORTS, "[]"))
        ),
        parent=None if parent is None else int(parent),
        failure=tags.get(FAILURE),
    )


def without_curves(trial: Trial) -> Trial:
    """The trial as it is read back: curves stay in the metric history, and only finite metrics are kept."""
    kept = tuple(
        replace(
            r,
            curve=(),
            over=False,
            metrics={k: v for k, v in r.metrics.items() if math.isfinite(v)},
        )
        for r in trial.reports
    )
    return replace(trial, params=dict(trial.params), reports=kept)
