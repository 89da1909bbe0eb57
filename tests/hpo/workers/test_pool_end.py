"""The end of a pool: shutdown, interrupts, and a driver that is killed."""

import signal
import sys
import textwrap
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from tests.hpo.workers.pools import alive, eventually, outcome, run, start
from tests.jobs import Job


def test_the_constructor_does_not_wait(tmp_path: Path) -> None:
    gate = tmp_path / "gate.py"
    go = tmp_path / "go"
    gate.write_text(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with start(preload=["gate"]) as pool:
            future = pool.submit(("echo", 5))
            assert (pool.free, future.done()) == (1, False)
            go.touch()
            assert outcome(future) == 5
    finally:
        sys.path.remove(str(tmp_path))


def test_shutdown_finishes_what_waits() -> None:
    pool = start(workers=1)
    futures = [pool.submit(("sleep", 0.05)) for _ in range(5)]
    pool.shutdown()
    assert [future.exception(timeout=0) for future in futures] == [None] * 5
    with pytest.raises(RuntimeError, match="has been shut down"):
        pool.submit(("echo", 1))
    pool.shutdown()


def test_shutdown_now_stops_what_runs(tmp_path: Path) -> None:
    pool = start(workers=1)
    path = tmp_path / "child"
    running = pool.submit(("child", str(path), True))
    waiting = pool.submit(("echo", 1))
    assert eventually(lambda: path.exists() and path.read_text() != "")
    pool.shutdown(now=True)
    assert isinstance(running.exception(timeout=0), CancelledError)
    assert waiting.cancelled()
    assert eventually(lambda: not alive(int(path.read_text())))


def test_an_exception_ends_the_pool_now() -> None:
    def interrupted() -> None:
        with start() as pool:
            futures.append(pool.submit(("sleep", 600)))
            raise KeyboardInterrupt

    futures: list[Future[Any]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert futures[0].done()


def test_a_waiting_job_can_be_cancelled() -> None:
    with start(workers=1) as pool:
        first, second = pool.submit(("sleep", 0.2)), pool.submit(("echo", 2))
        assert second.cancel()
        assert outcome(pool.submit(("echo", 3))) == 3
        assert first.done()
        assert pool.free == 1


@pytest.mark.parametrize(
    "job", [("sleep", 600), ("hold", 600), ("ignore sigterm",), ("child", "child", True)]
)
def test_nothing_outlives_a_killed_driver(tmp_path: Path, job: Job) -> None:
    """All processes of the pool hold the driver's stdout, so when it closes all have ended."""
    script = f"""
        import os, signal, time
        from hpo.workers.pool import WorkerPool
        from tests.jobs import Evaluate
        pool = WorkerPool(Evaluate, "", workers=2, threads=1)
        pool.submit(("echo", 1)).result()
        jobs = [pool.submit({job!r}) for _ in range(2)]
        while not all(job.running() for job in jobs):
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(tmp_path, "-c", textwrap.dedent(script)).returncode == -signal.SIGKILL


def test_nothing_outlives_a_driver_killed_during_the_preload(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    script = """
        import os, signal, time
        from hpo.workers.pool import WorkerPool
        from tests.jobs import Evaluate
        pool = WorkerPool(Evaluate, "", workers=2, threads=1, preload=["slow"])
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(tmp_path, "-c", textwrap.dedent(script)).returncode == -signal.SIGKILL


def test_the_terminal_interrupts_the_driver_alone(tmp_path: Path) -> None:
    script = """
        import os, signal, time
        from hpo.workers.pool import WorkerPool
        from tests.jobs import Evaluate
        signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
        os.setpgid(0, 0)
        with WorkerPool(Evaluate, "", workers=1, threads=1) as pool:
            pool.submit(("echo", 1)).result()
            job = pool.submit(("sleep", 0.5))
            time.sleep(0.1)
            os.killpg(0, signal.SIGINT)
            job.result()
            print("finished", pool.submit(("kill", signal.SIGINT)).result())
    """
    done = run(tmp_path, "-c", textwrap.dedent(script))
    assert done.stdout == "interrupted\nfinished None\n", done.stderr
