"""Baselines of a session: trainings whose scores a search must beat, run beside it."""

from collections.abc import Callable

from hpo.errors import JobError, TimeLimitExceeded, WorkerDied
from hpo.loop import Stop
from pipelines.store import StudyNotes
from pipelines.study.objective import Objective
from pipelines.study.workshop import Pool, wait_for

SECONDS = 120.0  # after which a baseline fails


class Baselines:
    """The baselines of an objective, which start at once."""

    def __init__(self, objective: Objective, pool: Pool) -> None:
        self._goal = objective.goal
        self._futures = {
            name: pool.submit(job, SECONDS) for name, job in objective.baselines().items()
        }

    def scores(self, notes: StudyNotes, stop: Stop, say: Callable[[str], None]) -> dict[str, float]:
        """Wait for the scores and store them; when the user stops that, those that there are."""
        found: dict[str, float] = {}
        for name, future in self._futures.items():
            if not wait_for(future, stop):
                break
            try:
                report = future.result()
            except (JobError, WorkerDied, TimeLimitExceeded) as error:
                say(f"baseline {name} failed: {error}")
                continue
            found[name] = self._goal.from_loss(report.loss)
            notes.add_baseline(name, report.metrics, seconds=report.seconds)
        return found
