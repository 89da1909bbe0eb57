"""How a session ends, with workers and a store that the test plays itself."""

import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Self

import pytest

from hpo.errors import JobError, StudyError, TakenError
from hpo.loop import Job, Stop, StopLevel
from hpo.trial import Report, Trial
from hpo.workers import first_done
from hpo.workers.cores import WorkerPlan
from pipelines.files.exchange import Exchange
from pipelines.models import settings
from pipelines.objectives.ending.conclusion import TableConclusion
from pipelines.objectives.jobs import Baseline, Rebuild, Refit, models_of
from pipelines.objectives.table import TableObjective
from pipelines.study import session
from pipelines.study.ending import Ending
from pipelines.study.session import Setup, run_study
from pipelines.study.watching.target import Target
from pipelines.study.workshop import Workshop
from pipelines.table.data import Prepared
from pipelines.table.source import Source
from tests.memory import MemoryStore
from tests.plans import changed, plan
from tests.tables import prepare, regression

Answer = Callable[["Future[Report]", object], None]


class Workers:
    """`answer` settles, or does not, what it is asked for."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.free = 1

    def submit(self, job: object, time_limit: float | None = None) -> "Future[Report]":
        future: Future[Report] = Future()
        self.answer(future, job)
        return future

    def wait(self, futures: Collection["Future[Report]"], timeout: float) -> set["Future[Report]"]:
        return first_done(futures, timeout)

    def shutdown(self, now: bool = False) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def hang(future: "Future[Report]", job: object) -> None:
    pass


def succeed(future: "Future[Report]", job: object) -> None:
    future.set_result(Report(5, 1.0, {"rmse": 1.0}))


def only_baselines_hang(future: "Future[Report]", job: object) -> None:
    if isinstance(job, Job):
        succeed(future, job)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """What the user asks for."""
    stop = Stop()

    @contextmanager
    def interrupts() -> Iterator[Stop]:
        yield stop

    monkeypatch.setattr(session, "interrupts", interrupts)
    return stop


def _answer_to(job: object, answer: Answer, again: Answer | None) -> Answer:
    """What trains the winner once more has an answer of its own."""
    is_last = isinstance(job, Refit | Rebuild) or (isinstance(job, Baseline) and job.whole)
    return again if again is not None and is_last else answer


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    prepared: Prepared = prepare(regression(), "y")
    data = Source(regression(), "y").plan(prepared)
    chosen = plan(
        algorithm="random",
        space=settings("lightgbm").space,
        rungs=(5.0,),
        lag=1,
    )

    def start(
        answer: Answer, store: MemoryStore, again: Answer | None = None, **changes: Any
    ) -> Any:
        shop = Workshop(
            Workers(lambda future, job: (_answer_to(job, answer, again))(future, job)),
            Exchange(str(tmp_path)),
            WorkerPlan(1, 1),
            lambda _: Workers(again or answer),
        )
        own = changed(chosen, **changes)
        objective, end = TableObjective(own, data, prepared), TableConclusion(own, data, prepared)
        return run_study(Setup(own, objective, end, shop, store))

    return start


class Stopping(Workers):
    """Busy with a leg until the pool was looked at so many times."""

    def __init__(self, looks: float) -> None:
        super().__init__(hang)
        self.looks = looks
        self.was_shut_down = False

    @property
    def free(self) -> int:
        self.looks -= 1
        return int(self.looks < 0)

    @free.setter
    def free(self, value: int) -> None:
        pass

    def shutdown(self, now: bool = False) -> None:
        self.was_shut_down = True


@pytest.mark.parametrize(
    ("looks", "level", "is_kept"),
    [
        (2, StopLevel.CONTINUE, True),
        (math.inf, StopLevel.CONTINUE, False),
        (2, StopLevel.NOW, False),
    ],
)
def test_workers_whose_legs_are_stopped_are_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: float, level: StopLevel, is_kept: bool
) -> None:
    monkeypatch.setattr("pipelines.study.ending.POLL", 0.001)
    monkeypatch.setattr("pipelines.study.ending.STOPPED", 0.05)
    pool, others = Stopping(looks), Workers(hang)
    ending = Ending(
        plan=plan(space=settings("lightgbm").space),
        trials=(Trial(0, {}, 5.0, "sampler"),),
        baselines={},
        workshop=Workshop(pool, Exchange(str(tmp_path)), WorkerPlan(1, 1), lambda _: others),
        store=MemoryStore(),
        stop=Stop(level),
        say=print,
    )
    with ending.idle_workers() as used:
        assert used is (pool if is_kept else others)
    assert pool.was_shut_down != is_kept


def ask_later(stop: Stop, level: StopLevel) -> None:
    Timer(0.3, setattr, [stop, "level", level]).start()


@pytest.mark.parametrize("level", [StopLevel.FINISH_RUNNING, StopLevel.NOW])
def test_asked_to_end_before_a_trial_is_not_a_failure(
    asked: Stop, run: Callable[..., Any], level: StopLevel
) -> None:
    asked.level = level
    store = MemoryStore()
    result = run(succeed, store)
    assert (result.stopped, result.interrupted, result.trials) == (True, True, ())
    assert store.closed == ["KILLED", None]
    assert "resume" in str(result)


def test_a_session_stores_how_far_it_is_to_go(asked: Stop, run: Callable[..., Any]) -> None:
    asked.level = StopLevel.NOW
    store = MemoryStore()
    run(succeed, store, trials=4, timeout=60.0)
    target = Target.from_tag(store.notes.tags["hpo.session"])
    assert target is not None
    assert (target.trials, target.timeout, target.budgets, target.share) == (4, 60.0, 20.0, 0.0)
    assert abs(target.began - time.time()) < 60


@pytest.mark.parametrize(
    ("answer", "reachable"), [(hang, True), (only_baselines_hang, True), (succeed, False)]
)
@pytest.mark.timeout(30)
def test_stopping_now_works_whatever_is_waited_for(
    asked: Stop,
    run: Callable[..., Any],
    tmp_path: Path,
    answer: Answer,
    reachable: bool,
) -> None:
    (tmp_path / models_of("trial-0-at-5")).mkdir(parents=True)
    ask_later(asked, StopLevel.NOW)
    store = MemoryStore(reachable)
    result = run(answer, store)
    assert result.stopped
    assert result.winner is None
    assert store.closed == ["KILLED", None]


@pytest.mark.timeout(30)
def test_stopping_now_works_while_the_winner_is_trained_again(
    asked: Stop, run: Callable[..., Any]
) -> None:
    ask_later(asked, StopLevel.NOW)
    assert run(succeed, MemoryStore(), hang).stopped


def test_a_winner_that_cannot_be_trained_again_costs_no_trial(
    asked: Stop, run: Callable[..., Any]
) -> None:
    def refuse(future: "Future[Report]", job: object) -> None:
        future.set_exception(JobError("MemoryError", "of the test"))

    store = MemoryStore()
    with pytest.raises(
        StudyError,
        match=r"training trial 0 once more failed: MemoryError: of the test; all trials are stored",
    ):
        run(succeed, store, refuse)
    assert store.closed[0] == "FAILED"


def test_a_study_without_a_success_names_the_reason(asked: Stop, run: Callable[..., Any]) -> None:
    def refuse(future: "Future[Report]", job: object) -> None:
        future.set_exception(JobError("ValueError", "of the test"))

    store = MemoryStore()
    with pytest.raises(
        StudyError,
        match="no trial succeeded; the most common reason of 1 failure: ValueError: of the test",
    ):
        run(refuse, store)
    assert store.closed[0] == "FAILED"
    assert "no trial succeeded" in str(store.closed[1])


def test_what_goes_wrong_while_closing_does_not_hide_the_reason(
    asked: Stop, run: Callable[..., Any]
) -> None:
    class Full(MemoryStore):
        def close(self, *_: object, **__: object) -> bool:
            raise StudyError("the disk is full")

    def interrupted(future: "Future[Report]", job: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, Full())


def test_a_driver_that_lost_its_study_says_so_once(
    asked: Stop, run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Lost(MemoryStore):
        def add(self, trial: Trial) -> None:
            raise TakenError("another driver has it")

        def close(self, *_: object, **__: object) -> bool:
            raise TakenError("another driver has it")

    with pytest.raises(TakenError, match="another driver has it"):
        run(succeed, Lost())
    assert not caplog.records


def test_a_session_deletes_checkpoints_that_nobody_resumed(
    asked: Stop, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    old, new = (tmp_path / "cache" / "checkpoints" / name for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    asked.level = StopLevel.FINISH_RUNNING
    run(succeed, MemoryStore())
    assert not old.exists()
    assert new.exists()


def test_a_search_ends_when_its_budget_is_spent(asked: Stop, run: Callable[..., Any]) -> None:
    """Its trainings take a minute each; what follows the search stops at once."""

    def one_minute(future: "Future[Report]", job: object) -> None:
        future.set_result(Report(5, 1.0, {"rmse": 1.0}, seconds=60.0))

    def stop_now(future: "Future[Report]", job: object) -> None:
        asked.level = StopLevel.NOW

    result = run(one_minute, MemoryStore(), stop_now, trials=9, threads=1, budget="2.5 min")
    assert len(result.trials) == 3
    assert result.spent
