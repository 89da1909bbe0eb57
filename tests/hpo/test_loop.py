import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from threading import Timer

import pytest

from hpo.algorithms import algorithm
from hpo.errors import time_limit_exceeded
from hpo.loop import Job, Stop, StopLevel, run
from hpo.schedulers.full import Full
from hpo.space import Float, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Failure, Report, Trial
from hpo.workers import first_done

SPACE = SearchSpace((Float("x", 0.0, 1.0),))


class Never:
    def min_results(self, space: SearchSpace) -> int:
        return 0

    def suggest(self, history: object, rng: object) -> None:
        return None


def make(n: int) -> Study:
    points = [FirstPoint({"x": i / n}, "test") for i in range(n)]
    return Study(
        SPACE,
        Never(),
        Full(1),
        MemoryStorage(),
        seed=0,
        settings=StudySettings(first_points=points),
    )


class Workers:
    """Jobs end when they are waited for, except that of trial 1, which the test settles."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.jobs: list[tuple[Job, Future[Report]]] = []
        self.ends: list[tuple[Job, Future[Report]]] = []

    @property
    def free(self) -> int:
        return self.n - sum(not future.done() for _, future in self.jobs)

    def wait(self, futures: Collection[Future[Report]], timeout: float) -> set[Future[Report]]:
        while self.ends:
            job, future = self.ends.pop()
            future.set_result(Report(1, float(job.params["x"])))
        return first_done(futures, timeout)

    def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
        future: Future[Report] = Future()
        self.jobs.append((job, future))
        if job.number != 1:
            self.ends.append((job, future))
        return future


def test_all_trials_are_told_and_failures_cost_only_themselves() -> None:
    class Raising(Workers):
        def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
            future = super().submit(job)
            if job.number == 1:
                future.set_exception(ZeroDivisionError("of the test"))
            return future

    study = make(5)
    told = list(run(study, Raising(2), stop=Stop()))
    assert sorted(trial.number for trial in told) == [0, 1, 2, 3, 4]
    assert study.trials[1].failure == "ZeroDivisionError: of the test"
    assert study.best_trial is not None
    assert study.best_trial.number == 0


def test_first_request_finishes_what_runs() -> None:
    study, workers, stop = make(5), Workers(2), Stop()
    told = []
    for trial in run(study, workers, stop=stop):
        told.append(trial.number)
        if stop.level == StopLevel.CONTINUE:
            stop.level = StopLevel.FINISH_RUNNING
            granted = len(study.trials)
            workers.jobs[1][1].set_result(Report(1, 0.5))
    assert sorted(told) == list(range(granted))
    assert 1 in told


def test_second_request_leaves_what_runs() -> None:
    study, workers, stop = make(5), Workers(2), Stop()
    for _ in run(study, workers, stop=stop):
        stop.level = StopLevel.NOW
    assert not study.trials[1].finished


def test_at_the_deadline_running_legs_are_given_up() -> None:
    study, workers = make(4), Workers(4)
    told = [
        trial.number for trial in run(study, workers, stop=Stop(), deadline=time.monotonic() + 0.3)
    ]
    assert told == [0, 2, 3]
    assert not study.trials[1].finished


class Limited(Workers):
    """Notes the time limits; trial 1 is over its limit, or ends late, as the test says."""

    def __init__(self, n: int, late: float) -> None:
        super().__init__(n)
        self.late = late
        self.limits: dict[int, float | None] = {}

    def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
        self.limits[job.number] = time_limit
        future = super().submit(job)
        if job.number == 1:
            Timer(self.late, future.set_exception, [time_limit_exceeded(1.0)]).start()
        return future


def test_once_there_is_a_result_legs_are_stopped_soon_after_the_deadline() -> None:
    workers = Limited(1, late=0.1)
    end = time.monotonic() + 50.0
    for trial in run(study := make(3), workers, stop=Stop(), deadline=end, time_limit=60.0):
        assert trial.failure is None
    assert workers.limits[0] == 60.0  # the search waits for a first result
    assert workers.limits[1] is not None
    assert 45.0 < workers.limits[1] < 51.0
    assert not study.trials[1].finished  # stopped, not failed: a resumed study grants it again


def test_a_limit_before_the_deadline_is_that_of_a_trial() -> None:
    study, workers = make(3), Limited(1, late=0.0)
    end = time.monotonic() + 50.0
    list(run(study, workers, stop=Stop(), deadline=end, time_limit=10.0))
    assert workers.limits == {0: 10.0, 1: 10.0, 2: 10.0}
    assert "limit" in (study.trials[1].failure or "")


def test_a_deadline_may_move_while_the_search_runs() -> None:
    study, ends = make(4), [float("inf")]
    told = []
    for trial in run(study, Workers(1), stop=Stop(), deadline=lambda: ends[0]):
        told.append(trial.number)
        ends[0] = 0.0
    assert told == [0]


def test_without_a_result_the_deadline_waits_for_the_first() -> None:
    class Slow(Workers):
        def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
            future: Future[Report] = Future()
            self.jobs.append((job, future))
            if job.number == 1:
                Timer(0.4, future.set_result, [Report(1, 0.5)]).start()
            return future

    study = make(4)
    told = [t.number for t in run(study, Slow(2), stop=Stop(), deadline=time.monotonic() + 0.1)]
    assert told == [1]
    assert len(study.trials) == 2


def test_workers_that_are_busy_elsewhere_are_waited_for() -> None:
    class Busy(Workers):
        looks = 0

        @property
        def free(self) -> int:
            self.looks += 1
            return 0 if self.looks < 3 else 1

    workers = Busy(1)
    told = [trial.number for trial in run(make(1), workers, stop=Stop())]
    assert told == [0]


def test_the_first_success_is_not_waited_for_beyond_the_grace() -> None:
    class Hanging(Workers):
        def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
            future: Future[Report] = Future()
            self.jobs.append((job, future))
            return future

    study = make(4)
    assert (
        list(run(study, Hanging(2), stop=Stop(), deadline=time.monotonic() + 0.1, grace=0.2)) == []
    )
    assert len(study.trials) == 2


class Timed:
    """One worker whose clock advances by a second for each unit of budget."""

    def __init__(self) -> None:
        self.now, self.free = 0.0, 1

    def clock(self) -> float:
        return self.now

    def wait(
        self, futures: Collection[Future[Report]], timeout: float
    ) -> Collection[Future[Report]]:
        self.free = 1
        return futures

    def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
        self.free = 0
        seconds = job.to - job.start
        self.now += seconds
        future: Future[Report] = Future()
        future.set_result(Report(job.to, float(job.params["x"]) + 1 / job.to, seconds=seconds))
        return future


def race(seconds: float, *, finishing: bool, name: str = "asha") -> Study:
    worker, (sampler, scheduler) = Timed(), algorithm(name, (9.0, 27.0, 81.0))
    study = Study(SPACE, sampler, scheduler, MemoryStorage(), seed=0)
    trials: Iterator[Trial] = run(
        study, worker, stop=Stop(), deadline=seconds, finishing=finishing, clock=worker.clock
    )
    assert all(trial.finished for trial in trials)
    return study


@pytest.mark.parametrize("name", ["asha", "hyperband"])
@pytest.mark.parametrize("seconds", range(90, 300, 15))
def test_a_race_that_ends_by_the_clock_ends_with_a_full_training(seconds: float, name: str) -> None:
    study = race(seconds, finishing=True, name=name)
    assert any(trial.reached == 81 for trial in study.trials)
    assert sum(trial.seconds for trial in study.trials) < seconds + 81


def test_without_it_a_race_may_end_with_part_of_a_training() -> None:
    assert all(trial.reached < 81 for trial in race(100.0, finishing=False).trials)


def test_what_would_not_be_finished_in_time_is_not_begun() -> None:
    study = race(40.0, finishing=True)
    assert max(trial.budget for trial in study.trials) == 27


def test_a_best_trial_that_failed_on_the_way_up_is_left() -> None:
    sampler, scheduler = algorithm("asha", (9.0, 27.0, 81.0))
    study = Study(SPACE, sampler, scheduler, MemoryStorage(), seed=0)
    first = study.ask()
    assert first is not None
    study.tell(first.number, Report(9.0, 0.0, seconds=9.0))
    assert study.finish_best() is not None
    study.tell(first.number, Failure("of the test"))
    worker = Timed()
    for _ in run(study, worker, stop=Stop(), deadline=100.0, finishing=True, clock=worker.clock):
        pass
    assert study.trials[0].failure == "of the test"
    assert len(study.trials) > 1


class Crowd(Timed):
    """Two workers whose jobs end one at a time, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Future[Report]] = []
        self.free = 2

    def wait(
        self, futures: Collection[Future[Report]], timeout: float
    ) -> Collection[Future[Report]]:
        self.free += 1
        return [self.waiting.pop(0)]

    def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
        left = self.free
        self.waiting.append(super().submit(job, time_limit))
        self.free = left - 1
        return self.waiting[-1]


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb"])
@pytest.mark.parametrize("seconds", range(90, 600, 30))
def test_a_best_trial_that_runs_is_not_granted_again(seconds: float, name: str) -> None:
    worker, (sampler, scheduler) = Crowd(), algorithm(name, (9.0, 27.0, 81.0))
    study = Study(SPACE, sampler, scheduler, MemoryStorage(), seed=0)
    for _ in run(study, worker, stop=Stop(), deadline=seconds, finishing=True, clock=worker.clock):
        best = study.best_trial
        assert best is not None
        assert best == study.trials[best.number], "what is granted to it is known of it"
    for trial in study.trials:
        budgets = [report.budget for report in trial.reports]
        assert budgets == sorted(set(budgets))


def test_a_trial_that_runs_cannot_be_finished() -> None:
    sampler, scheduler = algorithm("asha", (9.0, 27.0, 81.0))
    study = Study(SPACE, sampler, scheduler, MemoryStorage(), seed=0)
    assert study.finish_best() is None
    first = study.ask()
    assert first is not None
    study.tell(first.number, Report(9.0, 0.0))
    granted = study.finish_best()
    assert granted is not None
    assert granted.budget == 81.0
    assert study.finish_best() is None
    study.tell(first.number, Report(81.0, 0.0))
    assert study.finish_best() is None


class Prompt(Timed):
    """A worker that is done at once and is free before the outcome of its last job is read."""

    def submit(self, job: Job, time_limit: float | None = None) -> Future[Report]:
        future = super().submit(job, time_limit)
        self.free = 1
        return future


def test_what_is_done_is_told_before_the_next_leg_is_chosen() -> None:
    sampler, scheduler = algorithm("asha", (9.0, 27.0, 81.0))
    study = Study(SPACE, sampler, scheduler, MemoryStorage(), seed=0, max_trials=9)
    worker = Prompt()
    for _ in run(study, worker, stop=Stop(), clock=worker.clock):
        assert all(trial.finished for trial in study.trials)
    assert study.complete
