"""The scores of the best trials on the same repeated folds, and tests of their differences."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import counted

if TYPE_CHECKING:
    from pipelines.table.scores.estimates import Difference, Estimate

SIGNIFICANCE = 0.05  # a greater p-value is no evidence of a difference


@dataclass(frozen=True)
class Confirmation:
    """The best trials of a search on repeated folds.

    Attributes:
        metric: the deciding one.
        winner: the trial with the best mean.
        searched: the best trial of the search itself.
        default: the trial of the library's default; None without one.
        scores: `(n_parts,)` by trial number.
        estimate: the mean of the winner's scores.
        against: the gain of the winner over each other trial, best trial first.
        failures: why a trial has no scores, by trial number.
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
        """The winner, its comparison with the default and the runner-up, and the failures."""
        lines = [self._headline()]
        for number in dict.fromkeys((self.default, self.runner_up)):
            if number is not None and number in self.against:
                lines.append(f"  {self._comparison(number)}")
        for number, reason in self.failures.items():
            lines.append(f"  trial {number} failed: {reason:.200}")
        return lines

    def _headline(self) -> str:
        n_parts, mean = len(self.scores[self.winner]), self.estimate
        changed = self.searched != self.winner
        note = f"; the search's best was trial {self.searched}" if changed else ""
        return (
            f"Confirmed on {n_parts} parts of the search's rows, "
            f"{counted(len(self.scores), 'trial')}: trial {self.winner}, {self.metric} "
            f"{mean.mean:.5g} [{mean.low:.5g}, {mean.high:.5g}]"
            f"{note}"
        )

    def _comparison(self, number: int) -> str:
        name = "the runner-up" if number == self.runner_up else "the default"
        test, n_tests = self.against[number], len(self.against)
        gain = test.estimate
        significant = test.adjusted <= SIGNIFICANCE
        verdict = "more than chance gives" if significant else "no more than chance may give"
        of = f" (of {n_tests} tests)" if n_tests > 1 else ""
        return (
            f"better than {name}, trial {number}, by {gain.mean:.3g} "
            f"[{gain.low:.3g}, {gain.high:.3g}], p = {test.adjusted:.2g}{of}: {verdict}"
        )

    def to_tag(self) -> str:
        """JSON, with the mean of each trial and the test against each other trial."""
        tests = [
            {"trial": number, "p": test.p, "p_holm": test.adjusted, **asdict(test.estimate)}
            for number, test in self.against.items()
        ]
        found = {"winner": self.winner, "searched": self.searched, "means": self.means}
        return json.dumps(found | {"tests": tests})
