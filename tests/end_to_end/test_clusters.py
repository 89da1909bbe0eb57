"""Studies on a real Ray cluster of several nodes on this machine; slow, as raylets start slowly."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError
from hpo.workers.ray import Share, connected
from pipelines.tune import tune
from tests.hpo.workers.pools import ROOT, alive, eventually
from tests.hpo.workers.remote_jobs import NODE, ray_cluster, setup
from tests.jobs import PATIENCE, Evaluate
from tests.tables import regression

pytestmark = pytest.mark.slow


@pytest.fixture
def machines() -> Iterator[Any]:
    with ray_cluster(nodes=2) as cluster:
        yield cluster


def _pids(calls: Path) -> set[str]:
    """The workers that have left their ids."""
    return {path.name.split("-")[0] for path in calls.iterdir()}


def test_a_node_that_dies_costs_a_study_no_trial(machines: Any, store: str, tmp_path: Path) -> None:
    """The study goes on with what is left, is resumed on this machine, and then is complete."""
    node = machines.list_all_nodes()[-1]
    calls = tmp_path / "calls"
    calls.mkdir()

    def kill() -> None:
        assert eventually(lambda: len(_pids(calls)) == 2, PATIENCE)
        machines.remove_node(node)
        (tmp_path / "killed").touch()

    def objective(params: dict[str, Any]) -> dict[str, float]:
        (calls / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        while not (tmp_path / "killed").exists():
            time.sleep(0.05)
        return {"loss": (params["x"] - 1.0) ** 2}

    killer = threading.Thread(target=kill)
    killer.start()
    options: dict[str, Any] = {"objective": objective, "metric": "-loss", "warm_start": "off"}
    space = {"x": {"low": -5.0, "high": 5.0}}
    result = tune(
        **options, space=space, trials=16, executor="ray", ray_address=machines.address, quiet=True
    )
    killer.join()
    assert [trial.failure for trial in result.trials] == [None] * 16
    assert len(list(calls.iterdir())) == 17  # the leg that was lost ran again
    assert len(_pids(calls)) == 2
    more = tune(**options, study=result.run_id, trials=18, executor="processes", quiet=True)
    assert len(more.trials) == 18


def test_a_table_is_searched_in_races_on_several_nodes(machines: Any, store: str) -> None:
    result = tune(
        regression(),
        "y",
        algorithm="bohb",
        max_budget=9,
        trials=6,
        executor="ray",
        ray_address=machines.address,
        warm_start="off",
        quiet=True,
    )
    assert result.complete
    assert [trial.failure for trial in result.trials] == [None] * 6
    notes = [report.note for trial in result.trials for report in trial.reports]
    assert notes == [""] * len(notes)  # promoted trials found their checkpoints
    assert result.model_uri


def test_workers_follow_the_cluster(machines: Any) -> None:
    with (
        connected(machines.address) as cluster,
        cluster.open_pool(setup(Evaluate), workers=None, share=Share(1)) as pool,
    ):
        assert eventually(lambda: pool.size == 2)
        added = machines.add_node(**NODE)
        assert eventually(lambda: pool.size == 3)
        futures = [pool.submit(("sleep", 1.0)) for _ in range(6)]
        machines.remove_node(added)
        assert [future.exception(timeout=PATIENCE) for future in futures] == [None] * 6
        assert eventually(lambda: pool.size == 2)


def test_a_node_that_lacks_the_place_of_the_checkpoints_is_named(
    machines: Any, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr("pipelines.study.workshop.clusters.unreached", _away)
    with pytest.raises(UserError, match=r"is not reached by 2 of 2 nodes .*: no answer"):
        tune(
            regression(),
            "y",
            algorithm="bohb",
            checkpoints=f"{Path.cwd()}/shared",
            executor="ray",
            ray_address=machines.address,
        )


def _away(mark: Any) -> str:
    return "no answer"


def test_nothing_runs_on_after_a_driver_that_is_killed(machines: Any, tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from hpo.errors import UserError
from hpo.workers.ray import Share, connected
        from tests.hpo.workers.remote_jobs import setup
        from tests.jobs import Evaluate
        with connected({machines.address!r}) as cluster:
            pool = cluster.open_pool(setup(Evaluate), workers=2, share=Share(1))
            pids = [pool.submit(("pids",)).result() for _ in range(2)]
            jobs = [pool.submit(("sleep", 600)) for _ in range(2)]
            while pool.free or pool.size < 2:
                pass
            print(*pids[0][:2], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 2
    assert eventually(lambda: not any(map(alive, pids)), PATIENCE)
