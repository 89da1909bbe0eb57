"""The objective of `tune(objective=…)`: what the user's code returns for a configuration."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from hpo.configurations import Identity, by_value
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.objectives.code import CHECKPOINT, Code
from pipelines.objectives.code.evaluation import CODE, Terms
from pipelines.objectives.code.kinds import must_be_given
from pipelines.study.plan import Plan
from pipelines.study.warm_start import NO_FEATURES

OBJECTIVE, SOURCE, FOLDER = "objective", "source", "folder"  # entries of the header


class CodeObjective:
    """Calls the user's code with each configuration.

    Args:
        plan: of the study.
        code: that is called.
        began: the header of the study when it is resumed.
    """

    def __init__(self, plan: Plan, code: Code, began: Mapping[str, Any] | None = None):
        self._plan = plan
        self._code = code
        self._began = began

    @cached_property
    def goal(self) -> Goal:
        """The metric of the study."""
        return self._plan.goal

    @property
    def name(self) -> str:
        """That of the code."""
        return self._code.name

    @property
    def identity(self) -> Identity | None:
        """Equal configurations are one evaluation."""
        return by_value

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The name of the code. Its source may change; `notes` says so."""
        return {OBJECTIVE: self._code.name}

    @property
    def again(self) -> Mapping[str, str | None]:
        """The code, where a later process cannot import it or does not run it unasked."""
        text = self._code.text
        return {OBJECTIVE: text} if text is None or must_be_given(text) else {}

    def described(self) -> Mapping[str, Any]:
        """How a later process finds the code, and which source it has."""
        return {
            "data": dict(self.fingerprint),
            OBJECTIVE: self._code.text or "",
            SOURCE: self._code.digest,
            FOLDER: str(getattr(self._code, "folder", "")),
        }

    def meta_features(self) -> Mapping[str, Any]:
        """None are known of code: all past studies are equally similar."""
        return NO_FEATURES.to_dict()

    @property
    def notes(self) -> Sequence[str]:
        """Whether the source has changed since the study began."""
        if self._began is None or self._began.get(SOURCE) == self._code.digest:
            return []
        return [
            f"warning: the source of {self._code.name} has changed since the study began; earlier "
            "trials are not evaluated again"
        ]

    def describe(self) -> str:
        """The direction of the metric."""
        return self.goal.direction

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        """Put the code into the exchange."""
        continues = checkpoints if CHECKPOINT in self._code.takes else None
        terms = Terms(
            self._plan.goals.to_dict(),
            tuple(sorted(self._code.takes)),
            self._plan.rungs[-1],
            continues,
        )

        exchange.put(CODE, lambda folder: terms.write(folder, self._code.worker()))

    def baselines(self) -> Mapping[str, Any]:
        """None: what is easy for the user's code is not known."""
        return {}

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        """Nothing is left behind by an evaluation."""
