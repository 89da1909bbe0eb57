import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError, WorkerDied
from hpo.loop import Job
from hpo.workers.cores import WorkerPlan
from pipelines.objectives.jobs import FOLDS, Work
from pipelines.objectives.training import table_worker
from pipelines.study.workshop import PREFIX, sweep, worker_log, workshop
from tests.tables import prepare, regression


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))


def folders() -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


class Fatal:
    """A job that ends the process in which it is read, with or without a word."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.write(2, {self.words.encode()!r}); os._exit(3)",)


def grow_old(folder: Path) -> None:
    os.utime(folder, (0, time.time() - 3600))


def test_everything_is_gone_afterwards(tmp_path: Path) -> None:
    with workshop(table_worker("lightgbm"), WorkerPlan(1, 1)) as shop:
        folder = shop.exchange.scratch
        shop.exchange.put(FOLDS, prepare(regression(), "y").save)
        Work("lightgbm", "rmse", seed=1, threads=1, rungs=(5.0,)).write(shop.exchange)
        report = shop.pool.submit(Job(0, {"num_leaves": 4}, 0, 5)).result(timeout=60)
        assert report.loss > 0
        assert folders() == [folder]
        assert worker_log().exists()
        grow_old(folder)
        sweep()
        assert folder.is_dir()
    assert folders() == []
    assert not worker_log().exists()


def test_of_a_mistake_only_a_log_that_says_something_stays() -> None:
    def fail(text: str) -> None:
        with workshop(table_worker("lightgbm"), WorkerPlan(1, 1)):
            with worker_log().open("a") as log:
                log.write(text)
            raise UserError("a mistake")

    for text in ("", "words of a worker"):
        with pytest.raises(UserError, match="a mistake"):
            fail(text)
        assert worker_log().exists() == bool(text)
        assert folders() == []


def test_a_log_that_the_failure_of_a_trial_names_stays(tmp_path: Path) -> None:
    with workshop(table_worker("lightgbm"), WorkerPlan(1, 1)) as shop:
        silent = shop.pool.submit(Fatal("")).exception(timeout=60)
        assert str(silent).endswith("exit code 3; a job must return or raise")
        died = shop.pool.submit(Fatal("last words"))
        with pytest.raises(WorkerDied, match=f"what it printed is in {worker_log()}"):
            died.result(timeout=60)
        assert stat.S_IMODE(worker_log().stat().st_mode) == 0o600
        assert stat.S_IMODE(worker_log().parent.stat().st_mode) == 0o700
    assert worker_log().read_text() == "last words"
    worker_log().unlink()


def test_logs_of_killed_drivers_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    mine = worker_log()
    empty, recent, other = (
        mine.with_name(name) for name in (f"{child.pid}.log", "99999998.log", "of-me.log")
    )
    for log in (mine, empty, other):
        log.touch()
    recent.write_text("words")
    sweep()
    assert sorted(mine.parent.iterdir()) == sorted([mine, recent, other])
    os.utime(recent, (0, 0))
    sweep()
    assert sorted(mine.parent.iterdir()) == sorted([mine, other])


def test_what_a_killed_driver_left_goes_with_the_next_one() -> None:
    code = (
        "import time\nfrom pipelines.study.workshop import _folder\n"
        "with _folder() as folder:\n print(folder, flush=True)\n time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout
        folder = Path(driver.stdout.readline().strip())
        grow_old(folder)
        sweep()
        assert folder.is_dir()
        driver.send_signal(signal.SIGKILL)
    sweep()
    assert not folder.exists()


def test_a_young_folder_and_one_without_a_lock_are_left_alone(tmp_path: Path) -> None:
    young, strange = tmp_path / f"{PREFIX}young", tmp_path / f"{PREFIX}strange"
    young.mkdir()
    (young / "in-use").touch()
    strange.mkdir()
    grow_old(strange)
    sweep()
    assert folders() == [strange, young]


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set HPO_CACHE_DIR"):
        worker_log()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with (
        pytest.raises(UserError, match="set TMPDIR"),
        workshop(table_worker("lightgbm"), WorkerPlan(1, 1)),
    ):
        pass
