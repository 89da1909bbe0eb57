"""Faults that a pool survives, and the environment of its workers."""

import gc
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import JobError, ParameterError, PoolBroken, TimeLimitExceeded, WorkerDied
from hpo.workers.cores import worker_environment
from hpo.workers.pool import WorkerPool
from tests.hpo.workers.pools import Pool, alive, eventually, linux, outcome, run, start
from tests.jobs import (
    PATIENCE,
    WAYS_TO_RUN_OUT,
    Evaluate,
    Job,
    StubbornError,
    dies_at_start,
    never_ready,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with start() as started:
        yield started


# Faults
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "limit", "kind", "message"),
    [
        (
            ("kill", signal.SIGKILL),
            None,
            WorkerDied,
            "signal 9 (SIGKILL); if nobody killed it, the memory ran out",
        ),
        (("kill", signal.SIGTERM), None, WorkerDied, "signal 15 (SIGTERM)"),
        (("kill", signal.SIGSEGV), None, WorkerDied, "signal 11 (SIGSEGV); native code crashed"),
        (
            ("exit", 3),
            None,
            WorkerDied,
            "ended itself with exit code 3; a job must return or raise",
        ),
        (("exit", 0), None, WorkerDied, "ended itself with exit code 0"),
        (("sys.exit", 3), None, JobError, "SystemExit: 3"),
        (("lambda",), None, JobError, "pickle"),
        (("broken",), None, JobError, "ValueError: this result does not unpickle"),
        (("sleep", 600), 0.1, TimeLimitExceeded, "longer than its limit of 0.1 s"),
        (("hold", 600), 0.1, TimeLimitExceeded, "longer than its limit of 0.1 s"),
        (("ignore sigterm",), 0.1, TimeLimitExceeded, "longer than its limit of 0.1 s"),
    ],
)
def test_a_fault_costs_its_own_job_only(
    pool: Pool, job: Job, limit: float | None, kind: type[Exception], message: str
) -> None:
    beside = pool.submit(("sleep", 0.2))
    faulty = pool.submit(job, limit)
    behind = [pool.submit(("echo", number)) for number in range(5)]
    error = outcome(faulty)
    assert isinstance(error, kind)
    assert message in str(error)
    assert outcome(beside) is None
    assert [outcome(future) for future in behind] == list(range(5))
    assert pool.free == 2


@linux
@pytest.mark.parametrize("way", WAYS_TO_RUN_OUT)
def test_a_job_that_runs_out_of_memory_is_told_so_and_the_next_has_a_new_worker(
    tmp_path: Path, way: str
) -> None:
    with start(workers=1, log=tmp_path / "log") as pool:
        before = outcome(pool.submit(("pids",)))[0]
        error = outcome(pool.submit(("memory", way)))
        assert isinstance(error, JobError | WorkerDied)
        assert str(error).count("the memory ran out: use fewer workers") == 1
        assert outcome(pool.submit(("pids",)))[0] != before


def test_what_does_not_pickle_fails_alone(pool: Pool) -> None:
    error = outcome(pool.submit(("echo", threading.Lock())))
    assert isinstance(error, JobError)
    assert error.kind == "TypeError"
    assert pool.free == 2


def test_a_worker_keeps_its_state_after_a_result_that_does_not_pickle() -> None:
    with start(workers=1) as pool:
        before = outcome(pool.submit(("state",)))
        assert isinstance(outcome(pool.submit(("lambda",))), JobError)
        assert outcome(pool.submit(("state",)))[2] == before[2]


def test_random_faults_among_many_jobs() -> None:
    expected: dict[str, type[Any]] = {
        "echo": int,
        "raise": JobError,
        "kill": WorkerDied,
        "exit": WorkerDied,
    }
    expected |= {"lambda": JobError, "broken": JobError, "sleep": TimeLimitExceeded}
    faults: list[tuple[Job, float | None]] = [
        (("raise", StubbornError, "a", "b"), None),
        (("kill", signal.SIGKILL), None),
        (("exit", 1), None),
        (("lambda",), None),
        (("broken",), None),
        (("sleep", 600), 0.05),
    ]
    rng = random.Random(3)
    jobs = [rng.choice(faults) if rng.random() < 0.2 else (("echo", i), None) for i in range(200)]
    settled: list[Future[Any]] = []
    with start() as pool:
        futures = [pool.submit(job, limit) for job, limit in jobs]
        for future in futures:
            future.add_done_callback(settled.append)
        assert not wait(futures, timeout=PATIENCE).not_done
    assert sorted(map(id, settled)) == sorted(map(id, futures))
    for (job, _), future in zip(jobs, futures, strict=True):
        assert isinstance(outcome(future), expected[job[0]]), job
        assert job[0] != "echo" or outcome(future) == job[1]


def test_a_worker_killed_while_idle_is_replaced() -> None:
    with start(workers=1) as pool:
        pid = outcome(pool.submit(("pids",)))[0]
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not alive(pid))
        answers = [outcome(pool.submit(("echo", 1))) for _ in range(2)]
    assert answers[1] == 1


def test_the_fork_server_is_replaced() -> None:
    with start() as pool:
        worker, server, _ = outcome(pool.submit(("pids",)))
        busy = pool.submit(("sleep", 600))
        assert eventually(busy.running)  # one that waits would go to the next server's workers
        os.kill(server, signal.SIGKILL)
        assert isinstance(outcome(busy), WorkerDied)
        assert outcome(pool.submit(("pids",)))[1] != server
        assert eventually(lambda: not alive(worker))


def test_a_job_that_kills_the_fork_server_is_the_only_one_that_fails() -> None:
    with start(workers=2) as pool:
        outcome(pool.submit(("echo", 1)))
        other = pool.submit(("sleep", 0.5))
        assert eventually(other.running)
        killer = pool.submit(("kill server",))
        queued = pool.submit(("echo", 2))
        assert isinstance(outcome(killer), WorkerDied)
        assert outcome(other) is None
        assert outcome(queued) == 2


@pytest.mark.parametrize("fault", [None, ("kill", signal.SIGKILL), ("exit", 1)])
def test_children_end_with_their_worker(tmp_path: Path, fault: Job | None) -> None:
    """The children of a worker end when it exceeds its time, is killed from outside, or exits."""
    path = tmp_path / "child"
    with start(workers=1) as pool:
        outcome(pool.submit(("child", str(path), fault is None), 0.5))
        child = int(path.read_text())
        if fault:
            assert alive(child)
            outcome(pool.submit(fault))
        assert eventually(lambda: not alive(child))


def test_large_answers_and_jobs(pool: Pool) -> None:
    size = 3_000_000
    assert len(outcome(pool.submit(("big", size)))) == size
    assert len(outcome(pool.submit(("echo", b"y" * size)))) == size


@linux
def test_nothing_leaks_over_respawns() -> None:
    def open_files(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with start(workers=1) as pool:
        server = outcome(pool.submit(("pids",)))[1]
        outcome(pool.submit(("exit", 1)))
        outcome(pool.submit(("echo", 1)))
        gc.collect()
        before = open_files(os.getpid()), open_files(server)
        for _ in range(20):
            outcome(pool.submit(("exit", 1)))
        outcome(pool.submit(("echo", 1)))
        gc.collect()
        assert (open_files(os.getpid()), open_files(server)) == before
        stats = [path.read_text().rpartition(")")[2].split() for path in processes()]
        states = [state for state, parent, *_ in stats if int(parent) == server]
        assert len(states) == 1
        assert "Z" not in states
    assert not alive(server)


def processes() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]


# A pool that cannot work
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"make": never_ready}, "no worker came up in 3 attempts: .*ValueError: cannot read spec"),
        ({"make": dies_at_start}, "no worker came up in 3 attempts"),
        (
            {"preload": ["tests.no_such_module"]},
            "cannot import all of tests.no_such_module:.*No module named",
        ),
        ({"log": Path("/no/such/folder/log")}, "No such file or directory"),
    ],
)
def test_one_clear_error_when_no_worker_comes_up(options: dict[str, Any], message: str) -> None:
    with start(workers=1, **options) as pool:
        futures = [pool.submit(("echo", number)) for number in range(3)]
        for future in futures:
            with pytest.raises(PoolBroken, match=f"(?s){message}"):
                future.result(timeout=PATIENCE)
        with pytest.raises(PoolBroken, match=f"(?s){message}"):
            pool.submit(("echo", 1))


def test_impossible_pools() -> None:
    with pytest.raises(
        ParameterError, match="workers and threads must be at least 1, but got 0 and 1"
    ):
        start(workers=0)
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        start(make=lambda spec: lambda job: None)


# What workers see
# --------------------------------------------------------------------------------------------


def test_workers_get_the_planned_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("KEPT", "yes")
    driver = dict(os.environ)
    with WorkerPool(Evaluate, "spec", workers=1, threads=2, env={"EXTRA": "1"}) as pool:
        seen = outcome(pool.submit(("environment",)))
    assert os.environ == driver
    assert not [name for name in seen if name.startswith("MLFLOW_")]
    expected = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    expected |= {"OMP_WAIT_POLICY": "PASSIVE", "KEPT": "yes", "EXTRA": "1"}
    assert expected.items() <= seen.items()


def test_own_variables_win() -> None:
    assert worker_environment(2, {"OMP_NUM_THREADS": "1"}, {})["OMP_NUM_THREADS"] == "1"


def test_preloads_are_imported_once_before_the_fork() -> None:
    with start() as pool:
        pids = {outcome(pool.submit(("pids",))) for _ in range(10)}
        outcome(pool.submit(("kill", signal.SIGKILL)))
        pids |= {outcome(pool.submit(("pids",))) for _ in range(10)}
    assert {server for _, server, _ in pids} == {imported for _, _, imported in pids}
    assert all(worker != server for worker, server, _ in pids)


def test_output_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "workers.log"
    with start(log=log) as pool:
        outcome(pool.submit(("print", "a word from a worker")))
        assert "a word from a worker" in log.read_text()
        error = outcome(pool.submit(("kill", signal.SIGSEGV)))
    assert str(error).endswith(f"what it printed is in {log}")
    assert "Fatal Python error: Segmentation fault" in log.read_text()
    assert capfd.readouterr() == ("", "")


MAIN = """
import sys
from hpo.workers.pool import WorkerPool
print("imported as", __name__, flush=True)
class Own:
    def __init__(self, spec):
        self.spec = spec
    def __call__(self, job):
        return self.spec + job
def main():
    with WorkerPool(Own, 40, workers=1, threads=1) as pool:
        print(pool.submit(2).result(timeout=30), flush=True)
GUARD main()
"""


@pytest.mark.parametrize(
    ("file", "command"), [("own.py", ["own.py"]), ("own.py", ["-m", "own"]), ("tune", ["tune"])]
)
def test_what_stands_in_main_is_found(tmp_path: Path, file: str, command: list[str]) -> None:
    (tmp_path / file).write_text(MAIN.replace("GUARD", 'if __name__ == "__main__":'))
    done = run(tmp_path, *command)
    assert done.stdout.split("\n") == [
        "imported as __main__",
        "imported as __mp_main__",
        "42",
        "",
    ], done.stderr


def test_main_without_a_guard_starts_no_pools_in_workers(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MAIN.replace("GUARD ", ""))
    done = run(tmp_path, "own.py")
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr


def test_main_is_not_imported_without_need(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        MAIN.replace("WorkerPool(Own, 40", "WorkerPool(elsewhere.Own, 40").replace(
            "GUARD", "import elsewhere\nif __name__ == '__main__':"
        )
    )
    (tmp_path / "elsewhere.py").write_text(MAIN.replace("GUARD main()", ""))
    done = run(tmp_path, "own.py")
    assert done.stdout.count("imported as __m") == 1, done.stdout
    assert done.stdout.endswith("42\n"), done.stderr
