"""The contract of executors."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import JobError, TimeLimitExceeded, WorkerDied
from hpo.workers import Executor
from hpo.workers.inline import InlineExecutor
from hpo.workers.pool import WorkerPool
from tests.hpo.workers.pools import eventually
from tests.hpo.workers.remote_jobs import ray_cluster, setup, slurm_pool
from tests.jobs import PATIENCE, Evaluate, Job, StubbornError, UnprintableError, never_ready

Jobs = Executor[Job, Any]
Make = Callable[[str], Callable[[Job], Any]]


def inline(make: Make, request: pytest.FixtureRequest) -> AbstractContextManager[Jobs]:
    return InlineExecutor(make, "spec")


def pool(make: Make, request: pytest.FixtureRequest) -> AbstractContextManager[Jobs]:
    return WorkerPool(make, "spec", workers=1, threads=1, preload=["tests.jobs"])


def slurm(make: Make, request: pytest.FixtureRequest) -> AbstractContextManager[Jobs]:
    pytest.importorskip("submitit", reason="pip install 'mlflow-warmstart[slurm]'")
    return slurm_pool(make, request.getfixturevalue("jobs"))


def ray(make: Make, request: pytest.FixtureRequest) -> AbstractContextManager[Jobs]:
    pytest.importorskip("ray", reason="pip install 'mlflow-warmstart[ray]'")
    from hpo.workers.ray import RayCluster, Share

    cluster: RayCluster = request.getfixturevalue("machines")
    return cluster.open_pool(setup(make), workers=1, share=Share(1))


EXECUTORS = {"inline": inline, "pool": pool, "slurm": slurm, "ray": ray}
NAMES = ("inline", "pool", "slurm", pytest.param("ray", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    from hpo.workers.ray import connected

    with ray_cluster(nodes=2) as machines, connected(machines.address) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=NAMES)
def executor(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    with EXECUTORS[request.param](Evaluate, request) as made:
        assert eventually(lambda: made.free == 1)
        yield made


def is_inline(executor: Jobs) -> bool:
    return isinstance(executor, InlineExecutor)


def result(future: "Future[Any]") -> Any:
    return future.result(timeout=PATIENCE)


def test_results_come_back(executor: Jobs) -> None:
    futures = [executor.submit(("echo", number)) for number in range(20)]
    assert [result(future) for future in futures] == list(range(20))


def test_evaluate_is_built_once_and_stays(executor: Jobs) -> None:
    first = result(executor.submit(("state",)))
    second = result(executor.submit(("state",)))
    assert first[0] == "spec"
    assert second == (first[0], first[1] + 1, first[2])


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ValueError, ("too large",), "too large"),
        (KeyError, ("name",), "'name'"),
        (ValueError, (), ""),
        (StubbornError, ("one ", "two"), "one two"),
        (UnprintableError, (), "<exception str() failed>"),
    ],
)
def test_what_a_job_raises_is_told(
    executor: Jobs, kind: type[Exception], arguments: tuple[str, ...], message: str
) -> None:
    error = executor.submit(("raise", kind, *arguments)).exception(timeout=PATIENCE)
    assert isinstance(error, JobError)
    assert (error.kind, error.message) == (kind.__name__, message)
    assert str(error) == (f"{kind.__name__}: {message}" if message else kind.__name__)
    assert "refuse_with" in error.traceback
    assert result(executor.submit(("echo", 1))) == 1


def test_a_job_over_its_limit_fails_and_the_next_one_runs(executor: Jobs) -> None:
    error = executor.submit(("sleep", 0.3), 0.1).exception(timeout=PATIENCE)
    assert isinstance(error, TimeLimitExceeded)
    assert str(error) == "the job ran for longer than its limit of 0.1 s; raise the limit"
    assert result(executor.submit(("echo", 1), 30.0)) == 1


def test_free_counts_the_jobs_that_would_start_at_once(executor: Jobs) -> None:
    before = executor.free
    assert before == 1
    result(executor.submit(("echo", 1)))
    assert executor.free == before


def test_wait_returns_futures_that_are_done(executor: Jobs) -> None:
    futures = [executor.submit(("echo", number)) for number in range(3)]
    done: set[Future[Any]] = set()
    while len(done) < len(futures):
        found = executor.wait(set(futures) - done, PATIENCE)
        assert found
        assert all(future.done() for future in found)
        done |= set(found)
    assert sorted(map(result, futures)) == [0, 1, 2]


def test_callbacks_run_once(executor: Jobs) -> None:
    called: list[int] = []
    done = threading.Event()

    def callback(future: "Future[Any]") -> None:
        called.append(future.result())
        done.set()

    executor.submit(("echo", 3)).add_done_callback(callback)
    assert done.wait(30)
    assert called == [3]


def test_a_killed_worker_fails_its_own_job_only(executor: Jobs) -> None:
    if is_inline(executor):
        pytest.skip("jobs run in this process")
    killed = executor.submit(("kill", signal.SIGKILL))
    assert isinstance(killed.exception(timeout=PATIENCE), WorkerDied)
    assert "SIGKILL" in str(killed.exception())
    assert result(executor.submit(("echo", 1))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_building_evaluate_may_fail(name: str, request: pytest.FixtureRequest) -> None:
    made = EXECUTORS[name](never_ready, request)
    with made as executor, pytest.raises(Exception, match="cannot read spec"):  # noqa: B017
        executor.submit(("echo", 1)).result(timeout=PATIENCE)


@pytest.mark.parametrize("name", NAMES)
def test_what_runs_when_the_executor_is_left_by_an_exception_is_cancelled(
    name: str, request: pytest.FixtureRequest
) -> None:
    if name == "inline":
        pytest.skip("jobs run inside submit")
    futures: list[Future[Any]] = []

    def interrupted() -> None:
        with EXECUTORS[name](Evaluate, request) as executor:
            assert result(executor.submit(("echo", 1))) == 1
            futures.extend((executor.submit(("sleep", 600)), executor.submit(("echo", 2))))
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert isinstance(_error(futures[0]), CancelledError)
    assert isinstance(_error(futures[1]), CancelledError)


def _error(future: "Future[Any]") -> BaseException | None:
    try:
        return future.exception(timeout=0)
    except CancelledError as error:
        return error
