"""The contract of objectives: races, failures, MLflow calls, and studies that are killed.

Every kind of the registry is tested. Sessions run in this process, by an executor without workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sklearn.linear_model import Ridge

from hpo.loop import Job
from hpo.trial import Report, Trial
from hpo.workers.inline import InlineExecutor
from pipelines.files.exchange import Exchange
from pipelines.objectives import start as of_tables
from pipelines.objectives.code import start as of_code
from pipelines.objectives.code.evaluation import CodeJob
from pipelines.objectives.code.kinds import FUNCTION, KINDS
from pipelines.store.studies import leaderboard
from pipelines.study import workshop
from pipelines.study.result import StudyResult
from pipelines.study.session import Setup, run_study
from pipelines.tune import tune
from tests.tables import regression

TABLE, ESTIMATOR = "table", "estimator"
X = {"x": {"low": 0.0, "high": 1.0}}
_PROJECT = """
name: theirs
entry_points:
  main:
    parameters: {x: float, budget: float}
    command: python -S -E train.py {x} {budget}
"""
_LOGS = """
import os, sqlite3, sys, time

x, budget = map(float, sys.argv[1:])
if x > 0.75:
    raise SystemExit("too large")
run, store = os.environ["MLFLOW_RUN_ID"], os.environ["MLFLOW_TRACKING_URI"]
with sqlite3.connect(store.removeprefix("sqlite:///"), timeout=60) as database:
    for name, value in (("loss", (x - 0.3) ** 2 + 1 / budget), ("mine", 0.0)):
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"insert or replace into {table} (key, value, timestamp, run_uuid, step, is_nan)"
                " values (?, ?, ?, ?, ?, 0)",
                (name, value, round(1e3 * time.time()), run, budget),
            )
"""
_PRINTS = """
set -e
[ ! -f "$3/steps" ] || cat "$3/steps"
echo "$2" > "$3/steps"
awk -v x="$1" -v b="$2" 'BEGIN { if (x > 0.75) exit 1; printf "%.17g\\n", (x - 0.3) ^ 2 + 1 / b }'
"""


@dataclass(frozen=True)
class Kind:
    """One kind of objective: the options of its study, and what is so of it."""

    options: Callable[[Path], dict[str, Any]]
    fails: bool = True
    logs: bool = False
    given_again: tuple[str, ...] = ()


def command(folder: Path) -> dict[str, Any]:
    (folder / "train.sh").write_text(_PRINTS)
    return {"objective": f"cmd:sh {folder}/train.sh {{x}} {{budget}} {{checkpoint}}", "space": X}


def project(folder: Path) -> dict[str, Any]:
    (folder / "MLproject").write_text(_PROJECT)
    (folder / "train.py").write_text(_LOGS)
    return {"objective": f"project:{folder}#main?env=local", "metric": "-loss", "space": X}


def function(folder: Path) -> dict[str, Any]:
    return {"objective": "tests.contracts.own_code:trained", "space": X}


def table(folder: Path) -> dict[str, Any]:
    return {"data": regression(), "target": "y", "model": "lightgbm"}


def estimator(folder: Path) -> dict[str, Any]:
    space = {"alpha": [-1.0, 0.1, 1.0, 10.0]}  # a negative one is refused by `fit`
    return {"data": regression(), "target": "y", "estimator": Ridge(), "space": space}


OF = {
    "cmd:": Kind(command),
    "project:": Kind(project, logs=True),
    FUNCTION: Kind(function, logs=True),
    TABLE: Kind(table, fails=False, given_again=("data",)),
    ESTIMATOR: Kind(estimator, given_again=("data",)),
}


class KilledError(BaseException):
    """The driver dies."""


class Mortal(InlineExecutor[Any, Any, Report]):
    """Dies at an event: before a training (odd) or after it, before it is reported (even)."""

    events = 0
    dies_at: int | None = None
    log_is_named = False

    def submit(self, job: Any, time_limit: float | None = None) -> Any:
        if not isinstance(job, Job | CodeJob):  # a baseline, or what is trained at the end
            return super().submit(job, time_limit)
        self._event()
        future = super().submit(job, time_limit)
        self._event()
        return future

    @classmethod
    def _event(cls) -> None:
        cls.events += 1
        if cls.events == cls.dies_at:
            raise KilledError


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sessions in this process, without reports."""

    def workers(worker: Any, worker_plan: Any, folder: Path) -> Mortal:
        return Mortal(worker.make, Exchange(str(folder)))

    def run(setup: Setup) -> StudyResult:
        return run_study(replace(setup, make_report=None))

    monkeypatch.setattr(workshop, "_workers", workers)
    for module in (of_code, of_tables):
        monkeypatch.setattr(module, "run_study", run)
    yield
    Mortal.events, Mortal.dies_at = 0, None


def session(dies_at: int | None = None, **options: Any) -> StudyResult | None:
    """One session; None if it dies."""
    Mortal.events, Mortal.dies_at = 0, dies_at
    try:
        return tune(workers=1, **options)
    except KilledError:
        return None


def facts(trials: tuple[Trial, ...]) -> list[Any]:
    return [
        (dict(t.params), t.origin, t.reached, t.loss, (t.failure or "").splitlines()[:1])
        for t in trials
    ]


def test_every_kind_is_here() -> None:
    assert set(OF) == {*KINDS, TABLE, ESTIMATOR}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF)
def test_a_race_that_is_killed_at_every_event_is_as_if_never_killed(
    name: str, store: str, tmp_path: Path
) -> None:
    kind = OF[name]
    given = kind.options(tmp_path)
    race: dict[str, Any] = {
        "algorithm": "asha",
        "max_budget": 9 if name != ESTIMATOR else None,
        "trials": 5,
    }
    if name == TABLE:
        race["min_budget"] = 1
    whole = session(**given, **race, seed=2, warm_start="off")
    assert whole is not None
    assert len({trial.reached for trial in whole.trials if trial.finished}) > 1, "a race"
    assert any(trial.failure for trial in whole.trials) is kind.fails
    rows = leaderboard(whole.run_id)
    if kind.logs:
        runs = [MlflowClient(store).get_run(r["run_id"]) for r in rows if not r["failure"]]
        assert all("mine" in run.data.metrics for run in runs)

    assert session(1, **given, **race, seed=2, warm_start="off") is None
    client = MlflowClient(store)
    (killed,) = client.search_runs(
        [client.get_run(whole.run_id).info.experiment_id],
        f"tags.`hpo.schema` != '' AND attributes.run_id != '{whole.run_id}'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    again = {name: given[name] for name in kind.given_again}
    for dies_at in (2, 3) * 20:  # a training is lost, and a report is stored
        result = session(dies_at, study=killed.info.run_id, **again)
        if result is not None:
            break
    assert result is not None, "it goes on"
    assert facts(result.trials) == facts(whole.trials)
    assert result.winner is not None
    assert whole.winner is not None
    assert result.winner.number == whole.winner.number
