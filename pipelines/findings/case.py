"""A study with a winner: the input of rules and figures."""

import math
from dataclasses import dataclass

import numpy as np

from hpo.configurations import n_searched
from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines.findings.analysis import Analysis
from pipelines.findings.evidence import Evidence

PER_PARAMETER = 5  # trials that a sampler needs for each parameter
DEFAULTS = ("default", "tuned default")  # origins of the configurations that a search starts from


@dataclass(frozen=True)
class Case:
    """A study, its winner, and the analysis of its parameters if there are enough trials."""

    evidence: Evidence
    winner: Trial
    analysis: Analysis | None

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.evidence.scope.space

    @property
    def columns(self) -> list[int]:
        """The parameters that are active in any comparable trial, the most important first."""
        x = self.evidence.comparable.x
        order = self.analysis.order if self.analysis else range(len(self.space))
        return [j for j in order if np.isfinite(x[:, j]).any()]

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.evidence.scope.goal.name

    @property
    def n_finished(self) -> int:
        """How many trials are finished."""
        return sum(trial.finished for trial in self.evidence.trials)

    @property
    def n_searched(self) -> int:
        """How many parameters have more than one value."""
        return n_searched(self.space)

    @property
    def n_needed(self) -> int:
        """How many trials show which parameters matter."""
        return PER_PARAMETER * self.n_searched

    @property
    def default_won(self) -> bool:
        """Whether the winner is a configuration that the search started from."""
        return self.winner.origin in DEFAULTS

    def score_range(self, otherwise: float) -> float:
        """The distance from the trivial baseline to the winner; `otherwise` if it is not known."""
        trivial = self.evidence.baselines.get("trivial")
        if trivial is None:
            return otherwise
        distance = abs(self.evidence.scope.goal.to_loss(trivial) - self.winner.loss)
        return distance if math.isfinite(distance) else otherwise
