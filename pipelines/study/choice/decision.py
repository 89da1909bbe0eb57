"""How the winner's probabilities and labels were decided, and what that is worth."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from serving.decision import HALF, Decision


@dataclass(frozen=True)
class Change:
    """A score of the same rows before and after, by the name of its metric."""

    metric: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.metric} {self.before:.5g} before, {self.after:.5g} after"


@dataclass(frozen=True)
class Judged:
    """A decision, fitted on the validation rows, and its scores on rows that did not fit it.

    These scores are means over halves of the validation rows: one half fits, the other is scored.

    Attributes:
        decision: that is served.
        calibration: log loss and expected calibration error without and with the calibration; ()
            where none was tried.
        tuned: the metric that the threshold was tuned for, without and with it; None if it was not.
        held_out: as `calibration`, on the held-out rows.
        keeps_labels: whether the labels are those before the calibration.
    """

    decision: Decision
    calibration: tuple[Change, ...] = ()
    tuned: Change | None = None
    held_out: tuple[Change, ...] = ()
    keeps_labels: bool = False

    def lines(self) -> list[str]:
        """The calibration and the threshold, a line each."""
        rows = "on validation rows that did not fit it"
        lines = []
        if self.calibration:
            used = "" if self.decision.calibration else ", so it is left out"
            changes = "; ".join(map(str, self.calibration))
            lines.append(f"Calibration: {changes}, {rows}{used}")
            if self.held_out:
                lines.append(f"  {'; '.join(map(str, self.held_out))}, on the held-out rows")
        if self.tuned is not None:
            what = f"Threshold {self.decision.threshold or HALF:.4g}"
            used = ", so the labels stay" if self.keeps_labels else ""
            lines.append(f"{what}: {self.tuned}, {rows}{used}")
        elif self.decision.threshold is not None:
            why = "which keeps the labels" if self.keeps_labels else "as given"
            lines.append(f"Threshold {self.decision.threshold:.4g}, {why}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {**asdict(self), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Judged":
        """The inverse of `to_dict`."""
        tuned = plain["tuned"]
        return cls(
            Decision.from_dict(plain["decision"]),
            tuple(Change(**change) for change in plain["calibration"]),
            None if tuned is None else Change(**tuned),
            tuple(Change(**change) for change in plain["held_out"]),
            bool(plain["keeps_labels"]),
        )
