"""The benchmark of faults: its short form, and that it would notice what is lost."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.product.faults.check import Printed, n_legs, problems
from benchmarks.product.faults.proxy import FAULTS, Proxy, spoiled
from benchmarks.product.faults.scenarios import FAULTS as ROWS
from benchmarks.product.faults.scenarios import Result
from benchmarks.product.faults.table import chosen, summary
from hpo.trial import Failure, Report, Trial
from tests import stores

ROOT = Path(__file__).parents[3]
TEXT = """study {study}: tpe over 2 parameters
trial 0/3 (default)  auc 0.5  0.1 s  best 0.5 (trial 0)  1.00 trials/s  ETA 0:01
trial 1/3 FAILED: WorkerDied: it was killed  best 0.5 (trial 0)
trial 2/3 (sampler) at 27 rounds  auc 0.71235  0.1 s  best 0.71235 (trial 2)  ETA 0:00
"""


@pytest.mark.timeout(1200)
def test_the_short_form_survives(tmp_path: Path) -> None:
    """A few drivers and workers are killed, frozen and refused, through the product's command."""
    command = [sys.executable, "-m", "benchmarks", "faults", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "faults.json").read_text())
    assert sum(found["tried"].values()) >= 4
    assert not any(found["lost"].values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Printed]:
    """A study as it should be, in a database of its own, and what was printed of it."""
    database = tmp_path_factory.mktemp("faults") / "mlflow.db"
    stores.empty_database(database)
    store = stores.study(f"sqlite:///{database}", rungs=[9, 27])
    for number, auc in ((0, 0.5), (1, None), (2, 0.712345)):
        budget = 9 if number == 0 else 27
        trial = Trial(number, {"rate": 0.5}, budget)
        told = Failure("killed") if auc is None else Report(budget, -auc, {"auc": auc})
        store.add(trial.with_outcome(told))
    for name in ("trivial", "ridge"):
        store.notes.add_baseline(name, {"auc": 0.5})
    store.close(complete=True)
    store.client._tracking_client.store.engine.dispose()
    printed = Printed()
    printed.add(TEXT.format(study=store.run_id))
    return database, printed


def test_a_study_that_is_whole_has_no_problems(finished: tuple[Path, Printed]) -> None:
    database, printed = finished
    assert n_legs(TEXT) == len(printed.legs) == 2
    assert problems(f"sqlite:///{database}", printed, 3, "auc") == []


OF_TRIAL_2 = "run_uuid = (SELECT run_uuid FROM tags WHERE key = 'hpo.trial.number' AND value = '2')"
DAMAGE = {
    "a lost trial": (f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE {OF_TRIAL_2}", "numbers"),
    "a number twice": (
        "UPDATE tags SET value = '0' WHERE key = 'hpo.trial.number' AND value = '2'",
        r"numbers \[0, 0, 1\]",
    ),
    "a lost result": (
        f"UPDATE tags SET value = '[]' WHERE key = 'hpo.trial.reports' AND {OF_TRIAL_2}",
        "0.71235 was printed, and is not stored",
    ),
    "a report twice": (
        "UPDATE tags SET value = '[[9,-0.5,0,{}],[9,-0.5,0,{}]]' WHERE key = 'hpo.trial.reports' "
        f"AND NOT {OF_TRIAL_2}",
        r"has reports at \[9, 9\]",
    ),
    "a trial that seems to run": (
        f"UPDATE runs SET status = 'RUNNING' WHERE {OF_TRIAL_2}",
        "trial 2 is RUNNING",
    ),
    "a trial that seems to wait": (
        "UPDATE tags SET value = 'paused at 9' WHERE value = 'left at 9'",
        "'paused at 9'",
    ),
    "a study that seems to run": (
        "UPDATE runs SET status = 'RUNNING' WHERE status = 'FINISHED'",
        "the study is RUNNING",
    ),
    "a lease": ("UPDATE tags SET value = 'me' WHERE key = 'hpo.driver'", "hpo.driver is me"),
    "a reason": (
        "INSERT INTO tags (key, value, run_uuid) SELECT 'hpo.failure', 'full', run_uuid FROM tags "
        "WHERE key = 'hpo.schema'",
        "hpo.failure is full",
    ),
    "a baseline twice": (
        "UPDATE tags SET value = 'ridge' WHERE key = 'hpo.baseline'",
        "baselines",
    ),
    "a metric twice": (
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
        "SELECT key, value, timestamp + 1, run_uuid, step, is_nan "
        "FROM metrics WHERE key = 'auc'",
        "has metrics twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_lost_or_wrong_is_noticed(
    name: str, finished: tuple[Path, Printed], tmp_path: Path
) -> None:
    statement, words = DAMAGE[name]
    database = tmp_path / "damaged.db"
    shutil.copy(finished[0], database)
    with contextlib.closing(sqlite3.connect(database)) as store, store:
        assert store.execute(statement).rowcount > 0
    found = "; ".join(problems(f"sqlite:///{database}", finished[1], 3, "auc"))
    assert re.search(words, found), found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.add("Traceback (most recent call last):\n"), "1 tracebacks"),
        (lambda p: p.add(TEXT.format(study="0" * 32)), "trained twice"),
        (lambda p: p.failed.clear(), "printed otherwise"),
    ],
)
def test_what_drivers_print_counts(
    change: Callable[[Printed], None], words: str, finished: tuple[Path, Printed]
) -> None:
    database, good = finished
    printed = replace(good, legs=list(good.legs), failed=set(good.failed))
    change(printed)
    assert words in "; ".join(problems(f"sqlite:///{database}", printed, 3, "auc"))
    assert problems(f"sqlite:///{database}", Printed(), 3, "auc") == ["no study began"]


def test_answers_are_spoiled() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + b'{"runs": []}'
    assert spoiled(answer, "") == spoiled(answer, "slow") == answer
    assert spoiled(answer, "lose_answer") == b""
    assert spoiled(answer, "cut_head") == answer[:20]
    assert spoiled(answer, "cut_body") == answer[:-5]
    assert spoiled(answer, "empty").endswith(b"Content-Length: 0\r\n\r\n")


def test_faults_come_as_often_as_they_should() -> None:
    proxy = Proxy(0, 1, {"refuse": 0.2, "empty": 0.1})
    drawn = [proxy.fault() for _ in range(4000)]
    assert set(drawn) == {"", "refuse", "empty"} <= {"", *FAULTS}
    assert drawn.count("refuse") == pytest.approx(800, abs=150)  # six standard deviations
    assert drawn.count("empty") == pytest.approx(400, abs=115)


def test_the_table_says_what_was_lost_and_what_was_not_tried() -> None:
    found = {"killed": Result(), "full": Result(skipped="only root can"), "cut": Result(2)}
    found["killed"].add(["numbers [0]", "and more"], tries=2)
    found["killed"].add([])
    text = summary(found, {"killed": 3.0, "full": 0.0, "cut": 1.0})
    assert "| killed | 3 | 1 | 3 |" in text
    assert "| full | not tried: only root can |  | 0 |" in text
    assert "| **all** | **5** | **3** | 4 |" in text
    assert text.count("- killed: numbers [0]; and more") == 1


def test_the_whole_table_kills_often_enough() -> None:
    assert len({fault.name for fault in ROWS}) == len(ROWS)
    kills = chosen(["killed"])
    assert sum(fault.tries for fault in kills) >= 200
    for algorithm in ("tpe", "bohb"):
        assert sum(fault.tries for fault in kills if algorithm in fault.name) >= 100
