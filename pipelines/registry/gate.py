"""What a promotion is decided by: recorded scores, the user's limits, and the table of checks.

Nothing here depends on MLflow. Scores are stored as tags of the model versions, because the
registry has no metrics. `pipelines.registry.comparison` makes the checks.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hpo.errors import ParameterError, UserError, closest, raise_all
from hpo.goals import MAXIMIZE, MINIMIZE, Goal, Goals

# Tags of every version: its score on the held-out rows.
METRIC = "hpo.metric"
DIRECTION = "hpo.metric.direction"
SCORE = "hpo.test.score"
BASELINE = "hpo.test.baseline"
DATA = "hpo.test.data"
SPLIT = "hpo.test.split"
ROWS = "hpo.test.rows"
TRAINED_ON = "hpo.trained_on"  # also on a logged model: train, train+validation or ALL_ROWS
ALL_ROWS = "all"  # the held-out rows among them, after the score
GOALS = "hpo.goals"  # several goals or limits, as JSON (`hpo.goals.Goals.to_dict`)
_REQUIRED = (METRIC, DIRECTION, SCORE, DATA, SPLIT, ROWS)

# Tags of a version that was promoted.
EVIDENCE = "hpo.promotion"  # the comparison in one sentence
PROBABILITY = "hpo.promotion.probability"
TABLE = "hpo.promotion.table"  # the artifact with all checks
REPLACED = "hpo.promotion.replaced"  # the version of the previous champion, or NOBODY
NOBODY = "none"
ROLLED_BACK = "hpo.rollback"  # on a former champion that is promoted again only by number

LATENCIES = ("p50", "p99", "p50x1000", "p99x1000")
"""Percentiles of the milliseconds that a request of one row, or of 1,000 rows, takes."""

MAX_SLICES_SHOWN = 20

_GREATER_IS_BETTER = {"maximize": True, "minimize": False}
_PASSED: Mapping[bool | None, str] = {True: "ok", False: "REFUSED", None: ""}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would execute


class PromotionRefusedError(UserError):
    """The challenger is not promoted; the message gives the numbers and the way out."""


@dataclass(frozen=True)
class HeldOutScore:
    """A model's score on held-out rows, and what identifies these rows.

    Two scores are of the same rows only if both `data` and `split` agree.

    Attributes:
        metric: The name of the metric.
        greater_is_better: Its direction.
        value: The score, in the metric's units.
        baseline: The score of the trivial model on the same rows; nan if it is unknown.
        data: The digest of the table.
        split: The digest of how the rows were held out, including the seed.
        rows: The number of held-out rows.
        goals: All goals and limits of the study, if it had several.
    """

    metric: str
    greater_is_better: bool
    value: float
    baseline: float
    data: str
    split: str
    rows: int
    goals: Goals | None = None

    @property
    def goal(self) -> Goal:
        """The metric with its direction."""
        return Goal(self.metric, MAXIMIZE if self.greater_is_better else MINIMIZE)

    def to_tags(self) -> dict[str, str]:
        """The score as tags of a model version."""
        return {
            METRIC: self.metric,
            DIRECTION: self.goal.direction,
            SCORE: repr(self.value),
            BASELINE: repr(self.baseline),
            DATA: self.data,
            SPLIT: self.split,
            ROWS: str(self.rows),
            **({GOALS: json.dumps(self.goals.to_dict())} if self.goals else {}),
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], owner: str) -> "HeldOutScore":
        """Read the tags of the version that messages call `owner`.

        Raises:
            PromotionRefusedError: If a tag is missing or unreadable.
        """
        missing = [tag for tag in _REQUIRED if tag not in tags]
        if missing:
            raise PromotionRefusedError(
                f"{owner} has no held-out score to compare (it lacks the tags "
                f"{', '.join(missing)}); versions that `tune` registers have one: use "
                "-P register=NAME"
            )
        try:
            return cls(
                metric=tags[METRIC],
                greater_is_better=_GREATER_IS_BETTER[tags[DIRECTION]],
                value=float(tags[SCORE]),
                baseline=float(tags.get(BASELINE, "nan")),
                data=tags[DATA],
                split=tags[SPLIT],
                rows=int(tags[ROWS]),
                goals=Goals.from_dict(json.loads(tags[GOALS])) if GOALS in tags else None,
            )
        except (KeyError, ValueError) as error:
            found = ", ".join(f"{tag}={tags[tag]!r}" for tag in (DIRECTION, SCORE, ROWS))
            raise PromotionRefusedError(
                f"{owner} has an unreadable score: {found}; the direction must be one of "
                f"{', '.join(_GREATER_IS_BETTER)} and the others numbers. Register the model again "
                "with `tune -P register=NAME`"
            ) from error

    def unseen_by(self, tags: Mapping[str, str]) -> bool:
        """Whether a version with these tags was scored on the same rows, and not trained on them.

        Only then is a comparison on these rows fair.
        """
        same = (tags.get(DATA), tags.get(SPLIT)) == (self.data, self.split)
        return same and tags.get(TRAINED_ON) != ALL_ROWS

    def __str__(self) -> str:
        """The metric and its value."""
        return f"{self.metric} {self.value:.6g}"


@dataclass(frozen=True)
class Candidate:
    """A version of a registered model, the run that its model belongs to, and its tags."""

    name: str
    version: int
    run_id: str | None
    tags: Mapping[str, str]

    def __str__(self) -> str:
        """The version's name in messages."""
        return f"version {self.version} of {self.name}"


@dataclass(frozen=True)
class Limits:
    """What a challenger must satisfy.

    Attributes:
        margin: It must be better than the champion by more than this, in the metric's units.
        confidence: The probability with which it must be better.
        slice: A column; on none of its groups may the challenger be worse by more than `tolerance`.
        tolerance: In the metric's units.
        latency: The most milliseconds for any of `LATENCIES`.
        size: The most megabytes of the model's files; None for no limit.
    """

    margin: float = 0.0
    confidence: float = 0.95
    slice: str | None = None
    tolerance: float = 0.01
    latency: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    size: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ParameterError: Listing all mistakes.
        """
        raise_all(ParameterError, self._mistakes())

    def _mistakes(self) -> Iterator[str]:
        if not 0 <= self.margin < math.inf:
            yield f"margin={self.margin} must be 0 or greater"
        if not 0.5 <= self.confidence < 1:
            yield f"confidence={self.confidence} must be at least 0.5 and less than 1, like 0.95"
        if not 0 <= self.tolerance < math.inf:
            yield f"tolerance={self.tolerance} must be 0 or greater"
        if self.size is not None and not self.size > 0:
            yield f"max_size={self.size} must be greater than 0; it is in megabytes"
        for name, limit in self.latency.items():
            if not limit > 0:
                yield f"max_latency={name}:{limit:g} must be greater than 0; it is in milliseconds"


def read_latency(text: str | float | None) -> dict[str, float]:
    """Parse `max_latency`: a number limits `p99`; otherwise limits by name, `p50:5,p99x1000:80`.

    Raises:
        ParameterError: If the text is neither.
    """
    if text is None:
        return {}
    limits = {}
    for part in str(text).split(","):
        name, colon, number = part.strip().rpartition(":")
        name = name.strip() if colon else "p99"
        try:
            limits[name] = float(number)
        except ValueError:
            raise ParameterError(
                f"max_latency={text!r} must be milliseconds, like 20 (the 99th percentile of a "
                "request of one row) or p50:5,p99x1000:80"
            ) from None
        if name not in LATENCIES:
            raise ParameterError(
                f"max_latency={text!r}: unknown percentile {name!r}{closest(name, LATENCIES)}; "
                f"percentiles: {', '.join(LATENCIES)}"
            )
    return limits


@dataclass(frozen=True)
class Check:
    """One line of the table: its name, the result, the rule, and whether it passed.

    `passed` is None if there is no rule, so that the result is for information only.
    """

    name: str
    found: str
    rule: str
    passed: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The line of the table."""
        return self.name, self.found, self.rule, _PASSED[self.passed]


@dataclass(frozen=True)
class Verdict:
    """All checks of a challenger.

    Attributes:
        checks: In the order of the table.
        summary: The comparison in one sentence.
        probability: Of a gain above the margin; nan if the models were not scored.
        notes: Sentences for the user.
    """

    checks: tuple[Check, ...]
    summary: str
    probability: float
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that were not passed."""
        return tuple(check for check in self.checks if check.passed is False)

    def table(self) -> str:
        """The checks as aligned text; of many slices those that failed and the first others."""
        slices = [check for check in self.checks if check.name.startswith("slice ")]
        slices.sort(key=lambda check: check.passed is not False)
        hidden = slices[MAX_SLICES_SHOWN:]
        rows = [check.cells for check in self.checks if check not in hidden]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        if hidden:
            lines.append(f"… {len(hidden)} more slices in the artifact")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_csv(self) -> str:
        """The checks as CSV; an apostrophe precedes text that a spreadsheet would execute."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("check", "found", "rule", "passed"))
        for check in self.checks:
            table.writerow(map(_escaped, check.cells))
        return out.getvalue()


def _escaped(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def set_alias(candidate: Candidate) -> str:
    """The Python call that makes a version champion without any check."""
    call = f'set_registered_model_alias("{candidate.name}", "champion", "{candidate.version}")'
    return f"mlflow.MlflowClient().{call}"
