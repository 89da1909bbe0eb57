"""The trials of a study as they are stored: which of them lead, and which still run."""

from collections.abc import Sequence

from hpo.errors import StudyError
from hpo.goals import Goals
from hpo.goals.leaders import leaders
from hpo.goals.stagnation import Stagnation
from hpo.storage import Storage
from hpo.trial import Trial


class Ledger:
    """All trials of a study; every change is stored at once.

    Args:
        storage: saves the trials; those that it already holds are continued.
        goals: what is searched for.
        patience: see `Stagnation`.
        min_gain: see `Stagnation`.
        races: see `Stagnation`.

    Attributes:
        trials: in order of their numbers.
        goals: what is searched for.
        stagnation: whether more trials are worth it.

    Raises:
        StudyError: when trials are missing in the storage.
    """

    def __init__(
        self,
        storage: Storage,
        goals: Goals,
        patience: int | None,
        min_gain: float | None,
        *,
        races: bool,
    ) -> None:
        self.trials = list(storage.load())
        _check_numbers(self.trials)
        self.goals = goals
        self._storage = storage
        self._lost = [trial.number for trial in reversed(self.trials) if not trial.finished]
        self._leaders = leaders(self.trials, goals)
        self.stagnation = Stagnation(self._leaders, self.trials, patience, min_gain, races=races)

    @property
    def best(self) -> Trial | None:
        """The leading trial that the goals' weights choose; None until one has succeeded."""
        best = self._leaders.best
        return None if best is None else self.trials[best]

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one dominates, in order of their numbers."""
        return tuple(self.trials[number] for number in self._leaders.front)

    @property
    def has_lost(self) -> bool:
        """Whether legs that were lost with an earlier process wait to run again."""
        return bool(self._lost)

    def next_lost(self) -> Trial | None:
        """The next trial whose leg was lost with an earlier process; None when there is none."""
        while self._lost:
            trial = self.trials[self._lost.pop()]
            if not trial.finished:  # it may have been told since
                return trial
        return None

    def running(self, number: int) -> Trial:
        """The trial with a number, whose leg runs.

        Raises:
            StudyError: when the trial does not exist, or is not running.
        """
        if not 0 <= number < len(self.trials):
            raise StudyError(
                f"trial {number} was never granted; the study has {len(self.trials)} trials"
            )
        if self.trials[number].finished:
            raise StudyError(f"trial {number} is finished already; report each leg once")
        return self.trials[number]

    def add(self, trial: Trial) -> None:
        """Add a trial that has just been granted."""
        self.trials.append(trial)
        self._storage.add(trial)

    def promote(self, trial: Trial) -> None:
        """Take in a trial with a larger budget."""
        self.trials[trial.number] = trial
        self._storage.update(trial)

    def finish(self, trial: Trial) -> None:
        """Take in a trial whose leg has ended."""
        self.trials[trial.number] = trial
        self._storage.update(trial)
        self.stagnation.update(trial, leads=self._leaders.update(trial))


def _check_numbers(trials: Sequence[Trial]) -> None:
    numbers = [trial.number for trial in trials]
    if numbers != list(range(len(numbers))):
        missing = sorted(set(range(numbers[-1])) - set(numbers))
        raise StudyError(
            f"trials must be numbered without gaps, but {missing} are missing; "
            "if their runs were deleted, restore them, or start a new study"
        )
