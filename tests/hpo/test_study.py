import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import StudyError
from hpo.history import History
from hpo.schedulers.full import Full
from hpo.space import Float, SearchSpace, Value
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study
from hpo.trial import Failure, Report, Trial

SPACE = SearchSpace((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
FIRST = (
    FirstPoint({"x": 0.5, "y": 0.5}, "default"),
    FirstPoint({"x": 0.1, "y": 0.2}, "tuned default"),
)


class Follower:
    """A sampler whose answer depends on the whole history."""

    def min_results(self, space: SearchSpace) -> int:
        return 1

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        seen = [
            history.x.sum(),
            np.minimum(history.losses, 9).sum(),
            history.pending.sum(),
            history.n_sampled,
        ]
        x, y = (sum(seen) + rng.random(2)) % 1.0
        return {"x": float(x), "y": float(y)}


def make(storage: MemoryStorage, lag: int = 1, trials: int = 9) -> Study:
    return Study(
        SPACE, Follower(), Full(10), storage, seed=3, max_trials=trials, first_points=FIRST, lag=lag
    )


def outcome(trial: Trial) -> Report | Failure:
    if trial.number % 4 == 3:
        return Failure("of the test")
    return Report(trial.budget, float(trial.params["x"]) ** 2 + float(trial.params["y"]))


def run(study: Study) -> tuple[Trial, ...]:
    while trial := study.ask():
        study.tell(trial.number, outcome(trial))
    return study.trials


def test_first_points_come_first_and_say_where_they_are_from() -> None:
    trials = run(make(MemoryStorage()))
    assert [t.origin for t in trials[:3]] == ["default", "tuned default", "sampler"]
    assert trials[0].params == FIRST[0].params
    assert len(trials) == 9


def test_best_trial_is_the_smallest_finite_loss_and_the_earliest_of_equals() -> None:
    study = make(MemoryStorage(), trials=4)
    assert study.best_trial is None
    losses: list[Report | Failure] = [
        Report(10, 2.0),
        Report(10, 1.0),
        Report(10, 1.0),
        Report(10, float("nan")),
    ]
    for loss in losses:
        trial = study.ask()
        assert trial is not None
        study.tell(trial.number, loss)
    assert study.best_trial is not None
    assert study.best_trial.number == 1
    assert study.trials[3].failure == "loss is nan; a finite number was expected"


def test_a_trial_that_was_deleted_is_missed() -> None:
    storage = MemoryStorage()
    for trial in run(make(MemoryStorage())):
        if trial.number != 3:
            storage.add(trial)
    with pytest.raises(
        StudyError, match=r"\[3\] are missing; if their runs were deleted, restore them"
    ):
        make(storage)


class KilledError(Exception):
    pass


class Mortal(MemoryStorage):
    """Raises at the n-th write, before or after writing."""

    def __init__(self, until: int, before: bool) -> None:
        super().__init__()
        self.until, self.before = until, before

    def _write(self, trial: Trial) -> None:
        self.until -= 1
        if self.until == 0 and self.before:
            raise KilledError
        super().update(trial)
        if self.until == 0:
            raise KilledError

    def add(self, trial: Trial) -> None:
        self._write(trial)

    def update(self, trial: Trial) -> None:
        self._write(trial)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("until", range(1, 19))
def test_a_study_killed_at_any_write_goes_on_as_if_it_had_not_been(
    until: int, before: bool
) -> None:
    expected = run(make(MemoryStorage()))
    storage = Mortal(until, before)
    with pytest.raises(KilledError):
        run(make(storage))
    storage.until = 10**9
    assert run(make(storage)) == expected


@given(st.integers(1, 4), st.randoms(use_true_random=False), st.integers(0, 3))
def test_with_lag_the_order_of_completion_changes_nothing(
    workers: int, random: object, extra: int
) -> None:
    lag = workers + extra
    expected = run(make(MemoryStorage(), lag, 14))
    study = make(MemoryStorage(), lag, 14)
    running: list[Trial] = []
    while True:
        while len(running) < workers and (trial := study.ask()):
            running.append(trial)
        if not running:
            break
        trial = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        study.tell(trial.number, outcome(trial))
    assert study.trials == expected


def test_a_longer_budget_continues_a_finished_study() -> None:
    storage = MemoryStorage()
    run(make(storage, trials=5))
    assert run(make(storage, trials=9)) == run(make(MemoryStorage(), trials=9))


def test_a_leg_is_told_once() -> None:
    study = make(MemoryStorage())
    with pytest.raises(StudyError, match="trial 0 was never granted"):
        study.tell(0, Failure("x"))
    study.ask()
    study.tell(0, Report(10, 1.0))
    with pytest.raises(StudyError, match="trial 0 is finished already"):
        study.tell(0, Report(10, 1.0))


def test_gaps_are_noticed() -> None:
    storage = MemoryStorage()
    storage.add(Trial(1, {"x": 0.0, "y": 0.0}, 10))
    with pytest.raises(StudyError, match=r"\[0\] are missing"):
        make(storage)
