"""How a study ends, as the session sees it: which trial wins, and what becomes of it.

A conclusion lives in the driver. `pipelines.objectives.ending.conclusion` is the one for tables.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from hpo.goals import Goal
from hpo.loop import Stop, StopLevel
from hpo.trial import Trial
from pipelines.store import StudyStore, schema
from pipelines.study.choice.confirmation import Confirmation
from pipelines.study.choice.decision import Judged
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.plan import Plan
from pipelines.study.result import Outcome
from pipelines.study.workshop import POLL, Pool, Workshop
from serving.decision import UNDECIDED, Decision

STOPPED = 2.0  # seconds after the search by which the legs it did not wait for have been stopped


@dataclass(frozen=True)
class Ending:
    """What a conclusion is given when the search is over.

    Attributes:
        plan: of the study.
        trials: all of them.
        baselines: scores of the baselines, by name.
        workshop: where more jobs can run.
        store: of the study.
        stop: what the user asks for meanwhile.
        say: shows a line to the user.
        until: when trainings are to end, on `time.monotonic`: the timeout leaves time for logging
            and the report.
    """

    plan: Plan
    trials: tuple[Trial, ...]
    baselines: Mapping[str, float]
    workshop: Workshop
    store: StudyStore
    stop: Stop
    say: Callable[[str], None]
    until: float = math.inf

    def has_time_for(self, seconds: float) -> bool:
        """Whether all workers together can train until the timeout for what takes one `seconds`."""
        return seconds / max(self.plan.workers, 1) <= max(self.until - time.monotonic(), 0.0)

    @property
    def goal(self) -> Goal:
        """The score that decides."""
        return self.plan.goal

    def end_legs(self) -> bool:
        """End the workers that are busy with legs the search did not wait for.

        Legs are stopped soon after the deadline of the search, and their workers are then free.

        Returns:
            Whether there are none.
        """
        if all(trial.finished for trial in self.trials):
            return True
        pool, until = self.workshop.pool, time.monotonic() + STOPPED
        while time.monotonic() < until and self.stop.level == StopLevel.CONTINUE:
            if pool.free >= self.workshop.worker_plan.workers:
                return True
            time.sleep(POLL)
        pool.shutdown(now=True)
        return False

    @contextmanager
    def idle_workers(self) -> Iterator[Pool]:
        """The workers of the search; others where those are busy with legs it did not wait for."""
        if self.end_legs():
            yield self.workshop.pool
            return
        with self.workshop.open_pool(self.workshop.worker_plan) as others:
            yield others


@dataclass(frozen=True)
class Choice:
    """What wins, and how the best few were compared, if they were.

    Attributes:
        winner: the best trial; of an ensemble, the one with the largest weight.
        confirmation: how the best few did on repeated folds.
        ensemble: the trials whose mean prediction wins; None for a single trial.
        decision: how its probabilities are calibrated and made to labels; None as they are.
    """

    winner: Trial
    confirmation: Confirmation | None = None
    ensemble: Ensemble | None = None
    decision: Judged | None = None

    def __str__(self) -> str:
        """Names the trials."""
        if self.ensemble is None:
            return f"trial {self.winner.number}"
        numbers = ", ".join(map(str, self.ensemble.weights))
        return f"an ensemble of trials {numbers}"

    def members(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials whose models predict, among those of the study."""
        if self.ensemble is None:
            return [self.winner]
        return [trials[number] for number in self.ensemble.weights]

    @property
    def tags(self) -> Mapping[str, str]:
        """The members of an ensemble with their weights, as a tag of the model."""
        if self.ensemble is None:
            return {}
        return {schema.ENSEMBLE: json.dumps(list(self.ensemble.weights.items()))}

    @property
    def served_decision(self) -> Decision:
        """How the predictions are calibrated and made to labels."""
        return UNDECIDED if self.decision is None else self.decision.decision

    @property
    def model_tags(self) -> Mapping[str, str]:
        """The tags of the logged model: the members, and the decision about its predictions."""
        if self.decision is None:
            return self.tags
        return {**self.tags, schema.DECISION: json.dumps(self.decision.decision.to_dict())}


class Conclusion(Protocol):
    """What follows the search of a study."""

    def seconds(self, trials: Sequence[Trial], workers: int) -> float:
        """How long the trainings that follow the search will take, as its trials predict it."""
        ...

    def choose(self, best: Trial, ending: Ending) -> Choice:
        """Choose the winner; `best` is the best trial of the search."""
        ...

    def finished(self, choice: Choice, ending: Ending) -> Outcome | None:
        """The outcome that an earlier session has stored, with everything that belongs to it."""
        ...

    def ensure_model(self, choice: Choice, ending: Ending) -> Choice | None:
        """Make sure that everything exists that `finish` needs.

        Returns:
            What wins; None when the user stops it.

        Raises:
            StudyError: when that fails.
        """
        ...

    def finish(self, choice: Choice, ending: Ending) -> Outcome:
        """Score, log and register the winner.

        Raises:
            StudyError: when MLflow does not take it.
        """
        ...
