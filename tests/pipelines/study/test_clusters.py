"""Where a study runs: mistakes that are told before anything runs, and what travels."""

import importlib.util
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.errors import ParameterError, UserError, WorkerDied
from hpo.trial import Report
from hpo.workers.cores import WorkerPlan
from pipelines.files.exchange import Exchange
from pipelines.files.reach import Mark, Reached, unreached
from pipelines.objectives.checks import check
from pipelines.study.options import TuneOptions
from pipelines.study.workshop import Worker, workshop
from pipelines.study.workshop.clusters import cluster_of

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
needs_slurm = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="needs submitit"
)


def message(**options: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        check(TuneOptions("t.csv", "y", **options))
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"executor": "rey"},
            "unknown executor 'rey', did you mean 'ray'?; executors: processes, ray, slurm",
        ),
        (
            {"ray_address": "auto"},
            "ray_address is for executor=ray, but executor=processes; take executor=ray, or leave "
            "ray_address out",
        ),
        (
            {"slurm": {"time": 3}},
            "slurm is for executor=slurm, but executor=processes; take executor=slurm, or leave "
            "slurm out",
        ),
    ],
)
def test_mistakes_in_where_to_run(options: dict[str, Any], expected: str) -> None:
    assert message(**options) == expected


@needs_ray
@pytest.mark.parametrize("address", ["somewhere", "http://x:1", "x:port", "ray://", "x:70000"])
def test_an_address_of_ray_has_a_form(address: str) -> None:
    assert message(executor="ray", ray_address=address) == (
        f"ray_address={address!r} must be auto, host:port, or ray://host:port of a Ray client "
        "server"
    )


@needs_slurm
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"partitoin": "cpu"}, "slurm: unknown setting 'partitoin', did you mean 'partition'?"),
        ({"time": "1\n#SBATCH --wrap=x"}, "must be a number or one line of text"),
        ({"mem": None}, "slurm: mem=None must be a number or one line of text"),
        ({"cluster": "debug"}, "slurm: cluster='debug' must be slurm, or local"),
        ("{time: [}", "slurm is not valid YAML"),
        ("nowhere.yaml", "nowhere.yaml"),
        (3, "slurm=3 must be a YAML file or a mapping"),
    ],
)
def test_mistakes_in_what_slurm_is_asked_for(settings: Any, expected: str) -> None:
    assert expected in message(executor="slurm", slurm=settings, workers=2)


@needs_slurm
def test_slurm_needs_a_number_of_workers() -> None:
    assert message(executor="slurm") == (
        "executor=slurm needs workers: how many jobs Slurm is asked for"
    )


@pytest.mark.parametrize(("executor", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_library_that_is_not_installed_is_named(
    executor: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert message(executor=executor, workers=1) == (
        f"executor={executor} needs {library}, which is not installed; run "
        f'pip install "mlflow-warmstart[{executor}]"'
    )


@needs_ray
def test_a_ray_cluster_that_asks_for_a_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        try:
            raise RuntimeError("RPC error: InvalidAuthToken: the token is missing or incorrect")
        except RuntimeError as error:
            raise ConnectionError("Failed to connect to Ray cluster") from error

    monkeypatch.setattr("ray.init", refused)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = TuneOptions("t.csv", "y", executor="ray", ray_address=address)
        with pytest.raises(UserError, match="RAY_AUTH_MODE=token"), cluster_of(options, "auto"):
            pass


@needs_ray
def test_a_ray_cluster_that_does_not_answer_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    for given in (address, f"ray://{address}"):
        options = TuneOptions("t.csv", "y", executor="ray", ray_address=given)
        with (
            pytest.raises(UserError, match=f"the Ray cluster at {address} does not answer"),
            cluster_of(options, "auto"),
        ):
            pass
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(address)  # of a cluster that has ended
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(UserError, match="does not answer"),
        cluster_of(TuneOptions("t.csv", "y", executor="ray"), "auto"),
    ):
        pass


@needs_slurm
def test_slurm_needs_sbatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = TuneOptions("t.csv", "y", executor="slurm", workers=1)
    with pytest.raises(UserError, match="no sbatch on this machine"), cluster_of(options, "auto"):
        pass


def test_a_mark_tells_whether_a_place_is_the_same(tmp_path: Path) -> None:
    mark = Mark.left(str(tmp_path / "here"))
    assert unreached(mark) == Reached(mark)() == ""
    elsewhere = Mark(str(tmp_path / "there"), mark.name)
    assert Reached(elsewhere)() == (
        f"{tmp_path / 'there'}, the place of the checkpoints, is not reached: what the driver has "
        "written is not there"
    )
    mark.remove()
    assert list((tmp_path / "here").iterdir()) == []


class Adds:
    """Adds what the driver has put, puts the sum for the driver, and prints."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def __call__(self, job: str) -> Report:
        total = np.load(self.exchange.get("in/put") / "x.npy").sum() + len(job)
        self.exchange.put(f"models/{job}", lambda folder: np.save(folder / "y.npy", total))
        self.exchange.printed.mkdir(exist_ok=True)
        (self.exchange.printed / f"{job}.txt").write_text(f"words of {job}")
        if job == "fails":
            raise ValueError("no report")
        if job == "dies":
            os._exit(3)
        return Report(1.0, float(os.getpid()))


@needs_slurm
def test_what_driver_and_workers_put_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    options = TuneOptions(executor="slurm", slurm={"cluster": "local"}, workers=1)
    make: Callable[[Exchange], Any] = Adds
    with (
        cluster_of(options, "auto") as cluster,
        workshop(Worker(make), WorkerPlan(1, 1), cluster) as shop,
    ):
        shop.exchange.put("in/put", lambda folder: np.save(folder / "x.npy", np.arange(4)))
        failed = shop.pool.submit("fails").exception(timeout=60)
        died = shop.pool.submit("dies").exception(timeout=60)
        report = shop.pool.submit("four").result(timeout=60)
        assert report.loss != os.getpid()
        assert np.load(shop.exchange.get("models/four") / "y.npy") == 10
        assert "no report" in str(failed)
        assert isinstance(died, WorkerDied)
        assert not shop.exchange.has("models/fails")
        printed = {path.name: path.read_text() for path in shop.exchange.printed.iterdir()}
        assert printed == {f"{job}.txt": f"words of {job}" for job in ("fails", "dies", "four")}
    assert list((tmp_path / "slurm").iterdir()) == []
