"""What decides about a promotion: scores on held-out rows, and the rule by which two of them are compared.

Nothing here knows MLflow; scores stand as tags on the model versions, because the registry itself keeps no metrics.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hpo.errors import UserError

METRIC = "hpo.metric"
DIRECTION = "hpo.metric.direction"
SCORE = "hpo.test.score"
BASELINE = "hpo.test.baseline"
DATA = "hpo.test.data"
SPLIT = "hpo.test.split"
ROWS = "hpo.test.rows"

_DIRECTIONS = {"maximize": True, "minimize": False}


class PromotionRefusedError(UserError):
    """A challenger that does not become champion; the message holds the numbers and the way out."""


@dataclass(frozen=True)
class HeldOutScore:
    """A model's score on the held-out rows, and all that is needed to compare it with another one.

    `value` and `baseline` (the trivial model on the same rows, nan when it is not known) are in the metric's own
    units. `data` is the digest of the table and `split` says how its held-out rows were chosen, the seed included:
    scores are of the same rows only when both agree. `rows` is their number.
    """

    metric: str
    greater_is_better: bool
    value: float
    baseline: float
    data: str
    split: str
    rows: int

    def better_than(self, other: float) -> bool:
        """Whether the score is strictly better than `other`; never when one of them is nan."""
        return self.value > other if self.greater_is_better else self.value < other

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

    def __str__(self) -> str:
        """The metric with its value."""
        return f"{self.metric} {self.value:.6g}"

    @property
    def rule(self) -> str:
        """Which direction is better, and where it was measured."""
        return f"{'higher' if self.greater_is_better else 'lower'} is better, {self.rows:,} held-out rows"


@dataclass(frozen=True)
class Candidate:
    """A version of a registered model with its score."""

    name: str
    version: int
    score: HeldOutScore

    def __str__(self) -> str:
        """As it stands in messages."""
        return f"version {self.version} of {self.name}"


def judge(challenger: Candidate, champion: Candidate | None) -> None:
    """Let pass a challenger that deserves to be champion.

    It must beat the trivial baseline, and the present champion, if there is one, on the same held-out rows.

    Raises:
        PromotionRefusedError: in every other case.
    """
    score = challenger.score
    if not math.isfinite(score.value):
        raise PromotionRefusedError(
            f"{challenger} scored {score.value} on the held-out rows; it must be a finite number"
        )
    if not score.better_than(score.baseline):
        raise PromotionRefusedError(_below_baseline(challenger))
    if champion is None:
        return
    if differences := _differences(score, champion.score):
        raise PromotionRefusedError(_not_comparable(challenger, champion, differences))
    if not score.better_than(champion.score.value):
        raise PromotionRefusedError(
            f"{challenger} is not better than the champion: {score} against {champion.score.value:.6g} of version "
            f"{champion.version} ({score.rule}); the champion stays. Search on (`tune -P register={challenger.name}` "
            f"with more trials or `-P study=` of the last study), or decide by hand: {set_alias(challenger)}"
        )


def set_alias(candidate: Candidate) -> str:
    """The Python call by which a person makes a version champion."""
    call = f'set_registered_model_alias("{candidate.name}", "champion", "{candidate.version}")'
    return f"mlflow.MlflowClient().{call}"


def _below_baseline(challenger: Candidate) -> str:
    score = challenger.score
    if math.isnan(score.baseline):
        return (
            f"{challenger} has no trivial baseline to beat (tag {BASELINE}); register the model again with "
            "`tune -P register=NAME`, which records one"
        )
    return (
        f"{challenger} does not beat the trivial baseline, which ignores all features: {score} against "
        f"{score.baseline:.6g} ({score.rule}); such a model is worth nothing. Look at the data and the target first"
    )


def _differences(one: HeldOutScore, other: HeldOutScore) -> list[str]:
    pairs = [
        ("metric", one.metric, other.metric),
        ("direction", one.greater_is_better, other.greater_is_better),
        ("data", one.data, other.data),
        ("split", one.split, other.split),
        ("held-out rows", one.rows, other.rows),
    ]
    return [f"{what} {mine} against {theirs}" for what, mine, theirs in pairs if mine != theirs]


def _not_comparable(challenger: Candidate, champion: Candidate, differences: list[str]) -> str:
    return (
        f"{challenger} ({challenger.score}) and the champion, version {champion.version} ({champion.score}), were "
        f"not measured alike: {'; '.join(differences)}. Scores of other rows or metrics say nothing about which is "
        "better; run `tune` for both with the same data, split, seed and metric, or decide by hand: "
        f"{set_alias(challenger)}"
    )
