"""An ensemble of trials: its weights, and how much better it is than the best single trial."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pipelines.study.choice.confirmation import SIGNIFICANCE

if TYPE_CHECKING:
    from pipelines.table.scores.estimates import Difference


@dataclass(frozen=True)
class Ensemble:
    """Trials whose weighted mean prediction is compared with the best single trial.

    Both are chosen on one part of the validation rows and scored on the other, several times. So
    the scores are not those of the rows that the weights fit.

    Attributes:
        metric: the deciding one.
        weights: by trial number, the heaviest first; they sum to 1.
        score: the mean score of the ensemble on rows that did not choose it.
        single: that of the best single trial on the same rows.
        gain: of the ensemble over the single trial; positive is better.
        basis: names what it was chosen from.
    """

    metric: str
    weights: Mapping[int, float]
    score: float
    single: float
    gain: "Difference"
    basis: str = ""

    @property
    def leader(self) -> int:
        """The trial with the largest weight."""
        return next(iter(self.weights))

    @property
    def is_better(self) -> bool:
        """Whether it has several members and the better mean, the rule of `confirm`."""
        return len(self.weights) > 1 and self.gain.estimate.mean > 0

    def only(self, numbers: "set[int]") -> "Ensemble":
        """The ensemble of some of its trials."""
        left = {number: weight for number, weight in self.weights.items() if number in numbers}
        total = sum(left.values())
        return replace(self, weights={number: weight / total for number, weight in left.items()})

    def lines(self) -> list[str]:
        """The members, and the comparison with the best single trial."""
        gain = self.gain.estimate
        scores = (
            f"{self.metric} {self.score:.5g} against {self.single:.5g} of the best single trial"
        )
        if not self.is_better:
            return [f"No ensemble: {scores}, on validation rows that were not used to choose them"]
        members = ", ".join(f"{weight:.2g} × {n}" for n, weight in self.weights.items())
        significant = self.gain.p <= SIGNIFICANCE
        verdict = "more than chance gives" if significant else "no more than chance may give"
        return [
            f"Ensemble of {len(self.weights)} trials: {members}",
            f"  {scores}, on validation rows that were not used to choose them",
            f"  better by {gain.mean:.3g} [{gain.low:.3g}, {gain.high:.3g}], "
            f"p = {self.gain.p:.2g}: {verdict}",
        ]

    def to_tag(self) -> str:
        """JSON, exact."""
        weights = [[number, weight] for number, weight in self.weights.items()]
        found = {"metric": self.metric, "score": self.score, "single": self.single}
        return json.dumps(
            {"basis": self.basis, "weights": weights, **found, "gain": asdict(self.gain)}
        )

    @classmethod
    def from_tag(cls, text: str, basis: str) -> "Ensemble | None":
        """Decode a value of `to_tag`; None for one with another basis, and for any other text."""
        from pipelines.table.scores.estimates import Difference, Estimate

        try:
            found = json.loads(text)
            if found["basis"] != basis:
                return None
            gain = found["gain"]
            return cls(
                metric=str(found["metric"]),
                weights={int(number): float(weight) for number, weight in found["weights"]},
                score=float(found["score"]),
                single=float(found["single"]),
                gain=Difference(Estimate(**gain["estimate"]), gain["p"], gain["adjusted"]),
                basis=basis,
            )
        except (KeyError, TypeError, ValueError):
            return None
