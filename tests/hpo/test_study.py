import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.algorithms import algorithm
from hpo.errors import StudyError
from hpo.history import History
from hpo.schedulers.full import Full
from hpo.space import Float, SearchSpace, Value
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
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
        SPACE,
        Follower(),
        Full(10),
        storage,
        seed=3,
        max_trials=trials,
        settings=StudySettings(first_points=FIRST, lag=lag),
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


def test_patience_ends_a_search_that_brings_nothing_better() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0),))
    sampler, scheduler = algorithm("random", rungs=(1,))
    storage = MemoryStorage()

    def opened(patience: int | None) -> Study:
        return Study(
            space,
            sampler,
            scheduler,
            storage,
            seed=0,
            max_trials=50,
            settings=StudySettings(patience=patience),
        )

    study = opened(4)
    losses = [3.0, 1.0, 2.0, 0.5, 5.0, 6.0, 7.0, 8.0, 0.0]
    while (trial := study.ask()) is not None:
        outcome: Report | Failure = Report(1, losses[trial.number])
        study.tell(trial.number, Failure("lost") if trial.number == 6 else outcome)
    assert len(study.trials) == 8, "four trials after the best one"
    assert study.stagnation.stalled
    assert study.complete
    assert not study.proposals.exhausted
    assert opened(4).ask() is None, "also when it is resumed"
    more = opened(5)
    assert not more.stagnation.stalled
    assert more.ask() is not None


def test_patience_counts_a_trial_of_a_race_once() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0),))
    sampler, scheduler = algorithm("random+asha", rungs=(1, 3, 9), eta=3)
    study = Study(
        space,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=0,
        max_trials=60,
        settings=StudySettings(patience=12),
    )
    while (trial := study.ask()) is not None:
        study.tell(trial.number, Report(trial.budget, float(trial.number) - trial.budget))
    best = study.best_trial
    assert best is not None
    assert len(study.trials) - 1 - best.number == 12
    assert study.complete
