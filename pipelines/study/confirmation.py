"""How the best few trials of a study did on the same repeated folds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipelines.table.estimates import Difference, Estimate

ALIKE = 0.05  # a p-value above this is no evidence of a difference


@dataclass(frozen=True)
class Confirmation:
    """How the best few trials did on the same parts, and what that says.

    `scores` are `(n_parts,)` values of the metric by trial number, `estimate` the mean of the
    winner's, `against` by how much the winner is better than each other trial, the best first.
    `searched` is the trial that the search itself found best, `default` the library's default, and
    `failures` say why a trial is missing.
    """

    metric: str
    winner: int
    searched: int
    default: int | None
    scores: Mapping[int, tuple[float, ...]]
    estimate: "Estimate"
    against: Mapping[int, "Difference"]
    failures: Mapping[int, str]

    @property
    def means(self) -> Mapping[int, float]:
        """The mean score of each trial."""
        return {number: float(np.mean(scores)) for number, scores in self.scores.items()}

    @property
    def runner_up(self) -> int | None:
        """The trial with the second best mean."""
        return next(iter(self.against), None)

    def lines(self) -> list[str]:
        """What it comes to, for a reader."""
        n, found = len(self.scores[self.winner]), self.estimate
        lines = [
            f"Confirmed on {n} parts of the search's rows, {len(self.scores)} trials: trial {self.winner}, "
            f"{self.metric} {found.mean:.5g} [{found.low:.5g}, {found.high:.5g}]"
            + (
                f"; the search's best was trial {self.searched}"
                if self.searched != self.winner
                else ""
            )
        ]
        shown = dict.fromkeys(
            number for number in (self.default, self.runner_up) if number in self.against
        )
        lines += [f"  {self._compared(number)}" for number in shown if number is not None]
        lines += [
            f"  trial {number} failed: {reason:.200}" for number, reason in self.failures.items()
        ]
        return lines

    def _compared(self, number: int) -> str:
        names = {self.default: "the default", self.runner_up: "the runner-up"}
        found = self.against[number]
        verdict = (
            "no more than chance may give" if found.adjusted > ALIKE else "more than chance gives"
        )
        of = f" (of {len(self.against)} tests)" if len(self.against) > 1 else ""
        return (
            f"better than {names[number]}, trial {number}, by {found.estimate.mean:.3g} [{found.estimate.low:.3g}, "
            f"{found.estimate.high:.3g}], p = {found.adjusted:.2g}{of}: {verdict}"
        )

    def to_tag(self) -> str:
        """The same for programs, as JSON."""
        return json.dumps(
            {
                "winner": self.winner,
                "searched": self.searched,
                "means": self.means,
                "tests": [
                    {
                        "trial": number,
                        "p": found.p,
                        "p_holm": found.adjusted,
                        **found.estimate.__dict__,
                    }
                    for number, found in self.against.items()
                ],
            }
        )
