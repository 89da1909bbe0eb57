"""The contract of schedulers, over generated orders of results, with failures, restarts and kills.

All races and algorithms of the registry are tested.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.algorithms import ALGORITHMS, RACES, algorithm, parts
from hpo.rungs import hyperband, successive_halving
from hpo.schedulers import MAX_FAILURES
from hpo.schedulers.asynchronous import Asynchronous
from hpo.schedulers.full import Full
from hpo.schedulers.population import PopulationBased
from hpo.schedulers.synchronous import Synchronous
from hpo.space import Float, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Failure, Report, Trial

SPACE = SearchSpace((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
RUNGS = (1.0, 3.0, 9.0, 27.0)
ETA = 3.0
NAMES = [*ALGORITHMS, "random+async_hyperband", "tpe+asha", "hyperopt+hyperband"]

each_race = pytest.mark.parametrize("name", RACES)
each_algorithm = pytest.mark.parametrize("name", NAMES)


def make(name: str, storage: MemoryStorage, trials: int, seed: int = 1) -> Study:
    sampler, scheduler = algorithm(name if name in NAMES else f"random+{name}", RUNGS, ETA)
    return Study(
        SPACE,
        sampler,
        scheduler,
        storage,
        seed=seed,
        max_trials=trials,
        settings=StudySettings(first_points=(FirstPoint({"x": 0.5, "y": 0.5}, "default"),)),
    )


def loss_at(trial: Trial, noise: float = 0.3) -> float:
    """Falls with the budget; the ranking changes a little from rung to rung."""
    x, y = float(trial.params["x"]), float(trial.params["y"])
    wobble = np.random.default_rng([trial.number, round(trial.budget)]).random()
    return (x - 0.3) ** 2 + (y - 0.7) ** 2 + noise * wobble / trial.budget


Outcome = Callable[[Trial], Report | Failure]


def succeed(trial: Trial) -> Report | Failure:
    return Report(trial.budget, loss_at(trial))


def sometimes_fail(seed: int) -> Outcome:
    """A third of the legs fails or has the loss nan."""

    def outcome(trial: Trial) -> Report | Failure:
        kind = np.random.default_rng([seed, trial.number, round(trial.budget)]).integers(6)
        if kind == 0:
            return Failure("of the test")
        return Report(trial.budget, float("nan") if kind == 1 else loss_at(trial))

    return outcome


@dataclass
class Legs:
    """The granted legs in order, with checks at each grant."""

    study: Study
    granted: list[tuple[int, float]] = field(default_factory=list)
    running: list[Trial] = field(default_factory=list)
    lost: list[tuple[int, float]] = field(default_factory=list)

    def start(self, workers: int) -> None:
        while len(self.running) < workers and (trial := self.study.ask()):
            assert (trial.number, trial.budget) not in self.granted, "a leg was granted twice"
            assert all(trial.number != other.number for other in self.running), (
                "a running trial was granted"
            )
            self.granted.append((trial.number, trial.budget))
            self.running.append(trial)
            again = (trial.number, trial.budget) in self.lost
            if (
                trial.reports
                and not again
                and not isinstance(self.study.scheduler, Full | PopulationBased)
            ):
                assert _standing(self.study, trial) <= 1, (
                    "a promoted trial is among the best of its rung"
                )

    def finish(self, index: int, outcome: Outcome) -> Trial:
        trial = self.running.pop(index % len(self.running))
        return self.study.tell(trial.number, outcome(trial))


def _races(study: Study) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    numbers = np.arange(len(study.trials))
    if isinstance(study.scheduler, Synchronous):
        return study.scheduler.race(numbers)
    assert isinstance(study.scheduler, Asynchronous)
    return study.scheduler.bracket(numbers)


def _standing(study: Study, trial: Trial) -> float:
    """How many trials of its rung and race are better, divided by the places in the next rung."""
    rung, races = trial.reports[-1].budget, _races(study)
    mine = [other for other in study.trials if races[other.number] == races[trial.number]]
    told = [
        {report.budget: report.loss for report in other.reports}.get(rung, np.inf)
        for other in mine
        if other.reached >= rung or (other.failure is not None and other.budget == rung)
    ]
    fallen = sum(other.failure is not None and other.budget > rung for other in mine)
    return (sum(loss < trial.reports[-1].loss for loss in told) - fallen) / max(
        int(len(told) / ETA + 1e-9), 1
    )


def run(study: Study, workers: int, order: list[int], outcome: Outcome) -> Legs:
    legs = Legs(study)
    legs.start(workers)
    for i in range(10_000):
        if not legs.running:
            return legs
        legs.finish(order[i % len(order)], outcome)
        legs.start(workers)
    raise AssertionError("the study does not end")


orders = st.lists(st.integers(0, 7), min_size=1, max_size=40)


@each_race
@settings(max_examples=25)
@given(workers=st.integers(1, 6), order=orders, trials=st.integers(1, 70), failing=st.booleans())
def test_a_race_with_results_in_any_order(
    name: str, workers: int, order: list[int], trials: int, failing: bool
) -> None:
    study = make(name, MemoryStorage(), trials)
    legs = run(study, workers, order, sometimes_fail(trials) if failing else succeed)

    done = study.trials
    assert len(done) == trials, "every configuration was started"
    assert all(trial.finished for trial in done), "and nothing is left hanging"
    for trial in done:
        budgets = [report.budget for report in trial.reports]
        assert budgets == [
            rung for rung in RUNGS if budgets and budgets[0] <= rung <= budgets[-1]
        ], "rung by rung"
    _check_counts(study, trials)
    losses = [trial.loss for trial in done if trial.reports]
    if losses:
        assert study.best_trial is not None
        assert study.best_trial.loss == min(losses), "the best is never lost"
    assert len(legs.granted) == len(set(legs.granted))


def _check_counts(study: Study, trials: int) -> None:
    """No rung of a race holds more trials than its bracket says."""
    scheduler, races = study.scheduler, _races(study)
    assert len(races) == trials
    if not isinstance(scheduler, Synchronous):
        return  # late results make place for more than were there at any moment
    for race in set(races):
        bracket = scheduler.brackets[race % len(scheduler.brackets)]
        mine = [trial for trial in study.trials if races[trial.number] == race]
        for rung in range(bracket.first, len(RUNGS) - 1):
            here = sum(trial.budget >= RUNGS[rung] for trial in mine)
            above = sum(trial.budget > RUNGS[rung] and trial.failure is None for trial in mine)
            fallen = sum(trial.budget > RUNGS[rung] and trial.failure is not None for trial in mine)
            assert above + fallen <= max(bracket.capacity(rung + 1), MAX_FAILURES)
            assert above <= bracket.capacity(rung + 1)
            assert above <= max(here / ETA, 1)


@each_race
def test_only_the_best_of_a_rung_are_promoted(name: str) -> None:
    """With one worker and no noise, promoted trials are better than the others of rung and race."""
    study = make(name, MemoryStorage(), 120)
    run(study, 1, [0], lambda trial: Report(trial.budget, loss_at(trial, noise=0.0)))
    scheduler = study.scheduler
    if not isinstance(scheduler, Synchronous):
        return  # there a trial may be promoted early on that later results would have kept back
    races = scheduler.race(np.arange(120))
    for race in set(races[races < max(races)]):
        mine = [trial for trial in study.trials if races[trial.number] == race]
        for rung in RUNGS[:-1]:
            here = [
                trial for trial in mine if trial.budget >= rung and trial.reports[0].budget <= rung
            ]
            stayed = [trial.loss for trial in here if trial.budget == rung]
            went = [trial.loss for trial in here if trial.budget > rung]
            assert not went or not stayed or max(went) <= min(stayed)


@each_race
@settings(max_examples=15)
@given(workers=st.integers(1, 5), order=orders)
def test_no_worker_idles_while_configurations_may_be_started(
    name: str, workers: int, order: list[int]
) -> None:
    legs = Legs(make(name, MemoryStorage(), 60))
    legs.start(workers)
    for index in order:
        assert len(legs.running) == workers or len(legs.study.trials) == 60
        if not legs.running:
            break
        legs.finish(index, sometimes_fail(3))
        legs.start(workers)


@each_algorithm
@pytest.mark.parametrize("outcome", [succeed, sometimes_fail(5)], ids=["all succeed", "some fail"])
def test_a_serial_study_resumed_at_any_event_equals_the_uninterrupted_one(
    name: str, outcome: Outcome
) -> None:
    whole = run(make(name, MemoryStorage(), 25), 1, [0], outcome).study.trials
    storage = MemoryStorage()
    for _ in range(1_000):
        study = make(name, storage, 25)  # killed after every grant ...
        trial = study.ask()
        if trial is None:
            break
        study = make(name, storage, 25)  # ... and before every result
        again = study.ask()
        assert again == trial, "a lost leg is handed out again, first"
        study.tell(trial.number, outcome(trial))
    assert study.trials == whole


@each_race
@settings(max_examples=20)
@given(order=orders, kills=st.sets(st.integers(0, 40), max_size=6), failing=st.booleans())
def test_a_parallel_study_that_is_killed_keeps_the_contract(
    name: str, order: list[int], kills: set[int], failing: bool
) -> None:
    storage, outcome = MemoryStorage(), sometimes_fail(9) if failing else succeed
    legs = Legs(make(name, storage, 40))
    legs.start(3)
    for i in range(1_000):
        if not legs.running:
            break
        if i in kills:
            lost = sorted((trial.number, trial.budget) for trial in legs.running)
            legs = Legs(
                make(name, storage, 40), [leg for leg in legs.granted if leg not in lost], [], lost
            )
            legs.start(3)
            assert (
                sorted((trial.number, trial.budget) for trial in legs.running)[: len(lost)] == lost
            )
        legs.finish(order[i % len(order)], outcome)
        legs.start(3)
    assert len(legs.study.trials) == 40
    assert all(trial.finished for trial in legs.study.trials)
    _check_counts(legs.study, 40)


@each_race
def test_more_trials_for_a_finished_study(name: str) -> None:
    storage = MemoryStorage()
    run(make(name, storage, 20), 2, [1, 0, 0], succeed)
    study = make(name, storage, 90)
    run(study, 2, [0, 1], succeed)
    assert len(study.trials) == 90
    assert any(trial.reached == RUNGS[-1] for trial in study.trials)


@each_race
def test_even_a_short_race_ends_with_a_full_training(name: str) -> None:
    study = make(name, MemoryStorage(), 3)
    run(study, 1, [0], succeed)
    assert any(trial.reached == RUNGS[-1] for trial in study.trials)
    assert study.complete


@each_race
@pytest.mark.parametrize("trials", [3, 27, 60])
def test_a_failure_at_the_top_is_replaced(name: str, trials: int) -> None:
    failed: list[int] = []

    def fail_twice(trial: Trial) -> Report | Failure:
        if trial.budget == RUNGS[-1] and trial.reports and len(failed) < 2:
            failed.append(trial.number)
            return Failure("out of memory")
        return succeed(trial)

    study = make(name, MemoryStorage(), trials)
    run(study, 2, [0], fail_twice)
    assert len(failed) == 2
    assert any(trial.reached == RUNGS[-1] for trial in study.trials)


@each_race
def test_a_race_ends_when_all_fail_at_the_top(name: str) -> None:
    study = make(name, MemoryStorage(), 27)

    def fail_at_the_top(trial: Trial) -> Report | Failure:
        return Failure("out of memory") if trial.budget == RUNGS[-1] else succeed(trial)

    run(study, 1, [0], fail_at_the_top)
    assert sum(trial.budget == RUNGS[-1] and len(trial.reports) > 0 for trial in study.trials) <= 12
    assert study.complete
    assert study.best_trial is not None


def test_a_larger_budget_takes_nothing_away() -> None:
    study = make("asha", MemoryStorage(), 9)
    run(study, 1, [0], lambda trial: Report(trial.budget, trial.number + trial.budget))
    assert study.best_trial is not None
    assert (study.best_trial.number, study.best_trial.loss) == (0, 1.0)
    assert study.best_trial.best is not None
    assert study.best_trial.best.budget == 1.0
    assert study.best_trial.reached > 1.0


@each_race
@settings(max_examples=10)
@given(order=orders)
def test_who_is_promoted_was_promotable(name: str, order: list[int]) -> None:
    legs = Legs(make(name, MemoryStorage(), 50))
    legs.start(2)
    most = (
        0 if name in ("successive_halving", "hyperband") else 50
    )  # whose places say how many go on
    before: Mapping[float, list[int]] = {}
    for index in order:
        if not legs.running:
            break
        legs.finish(index, sometimes_fail(2))
        before = legs.study.scheduler.promotable(legs.study.standings, most)
        seen = len(legs.granted)
        legs.start(2)
        for number, budget in legs.granted[seen:]:
            if legs.study.trials[number].reports:
                assert number in before[RUNGS[RUNGS.index(budget) - 1]]


def test_promotable_trials_are_limited_by_places_or_by_the_limit() -> None:
    for name, wanted in (("successive_halving", 9), ("asha", 5)):
        study = make(name, MemoryStorage(), 81)
        for trial in [study.ask() for _ in range(27)]:  # one race of the synchronous kind
            assert trial is not None
            study.tell(trial.number, Report(trial.budget, float(trial.number)))
        waiting = study.scheduler.promotable(study.standings, 5)[RUNGS[0]]
        assert waiting == [*range(wanted)]


def test_brackets_are_the_only_difference_between_halving_and_hyperband() -> None:
    for name, brackets in (("asha", successive_halving), ("async_hyperband", hyperband)):
        made = algorithm(f"random+{name}", RUNGS, ETA)[1]
        assert made == type(made)(RUNGS, ETA, brackets(len(RUNGS), ETA))  # type: ignore[call-arg]
    assert parts("bohb") == ("kde", "async_hyperband")
