"""What decides about a promotion: recorded scores, the limits that a user sets, and the table of checks.

Nothing here knows MLflow; scores stand as tags on the model versions, because the registry itself
keeps no metrics. How the checks come about is in `pipelines.registry.comparison`.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hpo.errors import ParameterError, UserError, closest, raise_all

METRIC = "hpo.metric"
DIRECTION = "hpo.metric.direction"
SCORE = "hpo.test.score"
BASELINE = "hpo.test.baseline"
DATA = "hpo.test.data"
SPLIT = "hpo.test.split"
ROWS = "hpo.test.rows"

# Tags of a version that was promoted.
EVIDENCE = "hpo.promotion"  # the comparison in a sentence
PROBABILITY = "hpo.promotion.probability"
TABLE = "hpo.promotion.table"  # the artifact with all checks
REPLACED = "hpo.promotion.replaced"  # the champion before it, or NOBODY
NOBODY = "none"
ROLLED_BACK = "hpo.rollback"  # of one that was champion and is not to be so again by itself

LATENCIES = ("p50", "p99", "p50x1000", "p99x1000")
"""Percentiles of the milliseconds that a request of one row, or of 1,000 rows, takes."""

SHOWN_SLICES = 20

_DIRECTIONS = {"maximize": True, "minimize": False}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class PromotionRefusedError(UserError):
    """A challenger that does not become champion; the message holds the numbers and the way out."""


@dataclass(frozen=True)
class HeldOutScore:
    """A model's score on the held-out rows, and all that tells which rows these were.

    `value` and `baseline` (the trivial model on the same rows, nan when it is not known) are in the
    metric's own units. `data` is the digest of the table and `split` says how its held-out rows
    were chosen, the seed included: scores are of the same rows only when both agree. `rows` is
    their number.
    """

    metric: str
    greater_is_better: bool
    value: float
    baseline: float
    data: str
    split: str
    rows: int

    def to_tags(self) -> dict[str, str]:
        """The score as tags of a model version."""
        return {
            METRIC: self.metric,
            DIRECTION: "maximize" if self.greater_is_better else "minimize",
            SCORE: repr(self.value),
            BASELINE: repr(self.baseline),
            DATA: self.data,
            SPLIT: self.split,
            ROWS: str(self.rows),
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], owner: str) -> "HeldOutScore":
        """What `to_tags` wrote on the version that `owner` names.

        Raises:
            PromotionRefusedError: when a tag is missing or unreadable.
        """
        needed = (METRIC, DIRECTION, SCORE, DATA, SPLIT, ROWS)
        lacking = [tag for tag in needed if tag not in tags]
        if lacking:
            raise PromotionRefusedError(
                f"{owner} has no held-out score to compare (it lacks the tags {', '.join(lacking)}); versions that "
                "`tune` registers have one: use -P register=NAME"
            )
        try:
            return cls(
                metric=tags[METRIC],
                greater_is_better=_DIRECTIONS[tags[DIRECTION]],
                value=float(tags[SCORE]),
                baseline=float(tags.get(BASELINE, "nan")),
                data=tags[DATA],
                split=tags[SPLIT],
                rows=int(tags[ROWS]),
            )
        except (KeyError, ValueError) as error:
            raise PromotionRefusedError(
                f"{owner} has an unreadable score: {DIRECTION}={tags[DIRECTION]!r}, {SCORE}={tags[SCORE]!r}, "
                f"{ROWS}={tags[ROWS]!r}; the direction must be one of {', '.join(_DIRECTIONS)} and the others "
                "numbers. Register the model again with `tune -P register=NAME`"
            ) from error

    def same_rows(self, tags: Mapping[str, str]) -> bool:
        """Whether a version with these tags was scored on the same rows, so that neither has trained on them."""
        return (tags.get(DATA), tags.get(SPLIT)) == (self.data, self.split)

    def __str__(self) -> str:
        """The metric with its value."""
        return f"{self.metric} {self.value:.6g}"


@dataclass(frozen=True)
class Candidate:
    """A version of a registered model, the run that its model belongs to, and its tags."""

    name: str
    version: int
    run_id: str | None
    tags: Mapping[str, str]

    def __str__(self) -> str:
        """As it stands in messages."""
        return f"version {self.version} of {self.name}"


@dataclass(frozen=True)
class Limits:
    """What a challenger must keep to.

    `margin` and `tolerance` are in the metric's units: it must be better by more than the one with
    the probability `confidence`, and on no group of the column `slice` surely worse by more than
    the other. `latency` gives the most milliseconds for any of `LATENCIES`, `size` the most
    megabytes of the model's files.
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
            ParameterError: listing all that is wrong.
        """
        mistakes = []
        if not 0 <= self.margin < math.inf:
            mistakes.append(f"margin={self.margin} must be 0 or greater")
        if not 0.5 <= self.confidence < 1:
            mistakes.append(
                f"confidence={self.confidence} must be at least 0.5 and less than 1, like 0.95"
            )
        if not 0 <= self.tolerance < math.inf:
            mistakes.append(f"tolerance={self.tolerance} must be 0 or greater")
        if self.size is not None and not self.size > 0:
            mistakes.append(f"max_size={self.size} must be greater than 0; it is in megabytes")
        mistakes += [
            f"max_latency={name}:{limit:g} must be greater than 0; it is in milliseconds"
            for name, limit in self.latency.items()
            if not limit > 0
        ]
        raise_all(ParameterError, mistakes)


def read_latency(text: str | float | None) -> dict[str, float]:
    """The limits that `max_latency` means: a number for `p99`, or `p50:5,p99x1000:80`.

    Raises:
        ParameterError: when it is neither.
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
                f"max_latency={text!r} must be milliseconds, like 20 (the 99th percentile of a request of one row) or "
                "p50:5,p99x1000:80"
            ) from None
        if name not in LATENCIES:
            raise ParameterError(
                f"max_latency={text!r}: unknown percentile {name!r}{closest(name, LATENCIES)}; one of "
                f"{', '.join(LATENCIES)}"
            )
    return limits


@dataclass(frozen=True)
class Check:
    """One line of the table: what was looked at, what was found, what is asked for, and whether it passed.

    `passed` is None for what is only told.
    """

    name: str
    found: str
    rule: str
    passed: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """All checks of a challenger.

    `summary` is the comparison in one sentence, `probability` that of the challenger being better
    by more than the margin (nan when it was never compared). `notes` are sentences for the user.
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
        hidden = sorted(slices, key=lambda check: check.passed is not False)[SHOWN_SLICES:]
        shown = [check for check in self.checks if check not in hidden]
        rows = [(c.name, c.found, c.rule, _WORDS[c.passed]) for c in shown]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            "  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip()
            for row in rows
        ]
        if hidden:
            lines.append(f"… {len(hidden)} more slices in the artifact")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_csv(self) -> str:
        """The checks as CSV; a text cell that a spreadsheet would take for a formula begins with an apostrophe."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("check", "found", "rule", "passed"))
        for check in self.checks:
            cells = (check.name, check.found, check.rule, _WORDS[check.passed])
            table.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
        return out.getvalue()


_WORDS: Mapping[bool | None, str] = MappingProxyType({True: "ok", False: "REFUSED", None: ""})


def set_alias(candidate: Candidate) -> str:
    """The Python call by which a person makes a version champion."""
    call = f'set_registered_model_alias("{candidate.name}", "champion", "{candidate.version}")'
    return f"mlflow.MlflowClient().{call}"
