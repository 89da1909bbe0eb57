"""Many workers, and many studies at once: what a driver and a store bear.

The workers are simulated: a training is a time, so 1,000 of them fit on a laptop. Everything else
is what a real study does: proposals, the outbox, MLflow. Each driver is a process. Lag is the time
from the end of a training until its result is in the store; requests are counted where they leave
the driver. A store on a server is `mlflow server` with one process on PostgreSQL.
"""

import argparse
import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from benchmarks import postgresql
from benchmarks.markdown import table
from benchmarks.report import machine, write
from hpo.algorithms import algorithm
from hpo.loop import Job, Stop, run
from hpo.space import Float, SearchSpace
from hpo.study import Study
from hpo.trial import Report
from pipelines.store import study_run, tracking
from pipelines.store.delivery.writers import Fence, Writer
from pipelines.store.records import Record
from pipelines.store.storage import MlflowStorage
from pipelines.store.study_run import Connection
from pipelines.store.tracking import children, connect

SPACE = SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(10)))
DRAIN = 600.0  # seconds for what is not written at the end of the measurement
STORES = ("sqlite", "postgresql", "server")


@dataclass(frozen=True)
class Load:
    """One measurement: drivers with workers whose trainings take so many seconds."""

    store: str
    drivers: int
    workers: int
    seconds: float
    length: float


@dataclass(frozen=True)
class Borne:
    """What one driver bore.

    Attributes:
        trials: that were told.
        stored: of them, in MLflow afterwards with their result.
        per_second: trials until the end of the measurement.
        cpu: seconds of the driver's process per second.
        lag: seconds from the end of a training until it was stored, the median.
        longest: the same, the largest.
        drained: seconds until everything was stored, after the last trial.
        requests: per second, of the store's HTTP interface.
    """

    trials: int
    stored: int
    per_second: float
    cpu: float
    lag: float
    longest: float
    drained: float
    requests: float


class Simulated:
    """Workers whose trainings take their time and nothing else."""

    def __init__(self, workers: int, seconds: float, seed: int) -> None:
        self.free = workers
        self._seconds = seconds
        self._rng = np.random.default_rng(seed)
        self._ends: list[tuple[float, int, Future[Report], Job]] = []
        self._n = 0

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Begin a training, of between half and one and a half times the seconds."""
        future: Future[Report] = Future()
        end = time.monotonic() + self._seconds * self._rng.uniform(0.5, 1.5)
        self._n += 1
        heapq.heappush(self._ends, (end, self._n, future, job))
        self.free -= 1
        return future

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> Collection["Future[Report]"]:
        """The trainings that have ended by now; waits for the first."""
        pause = self._ends[0][0] - time.monotonic() if self._ends else timeout
        time.sleep(min(max(pause, 0.0), timeout))
        done = []
        while self._ends and self._ends[0][0] <= time.monotonic():
            _, _, future, job = heapq.heappop(self._ends)
            loss = sum(float(value) for value in job.params.values())
            future.set_result(Report(job.to, loss, {"rmse": loss}, self._seconds))
            self.free += 1
            done.append(future)
        return done


def drive(uri: str, load: Load, seed: int) -> Borne:
    """Run one study in this process."""
    requests, lags = _count_requests(), list[float]()
    connection = Connection(uri, make_writer=partial(_timed, lags))
    storage = MlflowStorage.create(_header(), experiment="load", connection=connection)
    sampler, scheduler = algorithm("random", rungs=(1,))
    study = Study(SPACE, sampler, scheduler, storage, seed=seed)
    workers = Simulated(load.workers, load.seconds, seed)
    before, began = _cpu(), time.monotonic()
    told = sum(1 for _ in run(study, workers, stop=Stop(), deadline=began + load.length))
    ended = time.monotonic()
    used, asked = _cpu() - before, len(requests)
    storage.flush(DRAIN)
    drained = time.monotonic() - ended
    storage.close(timeout=DRAIN)
    found = children(connect(uri), storage.experiment_id, storage.run_id, "trial")
    stored = sum("hpo.trial.reports" in child.data.tags for child in found)
    length = ended - began
    return Borne(
        told,
        stored,
        told / length,
        used / length,
        float(np.median(lags)),
        max(lags),
        drained,
        asked / length,
    )


def _timed(
    lags: list[float],
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    run_ids: MutableMapping[str, str],
) -> Writer:
    """The usual writer of a store, which notes how old each result is when it is written."""
    real = study_run.usual_writer(client, experiment_id, run_id, run_ids)

    def timed(records: Sequence[Record], fence: Fence) -> None:
        real(records, fence)
        now = time.time()
        lags.extend(now - record.end / 1000 for record in records if record.end is not None)

    return timed


def _header() -> dict[str, object]:
    return {
        "space": SPACE.to_dict(),
        "metric": "rmse",
        "direction": "minimize",
        "model": "function:load:train",
        "algorithm": "random",
        "rungs": [1.0],
        "seed": 0,
    }


def _count_requests() -> list[float]:
    """A list that grows by one with each request."""
    found: list[float] = []
    real = tracking.http_request

    def counted(*args: object, **kwargs: object) -> object:
        found.append(time.monotonic())
        return real(*args, **kwargs)

    tracking.http_request = counted
    return found


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(load: Load) -> list[Borne]:
    """Run the drivers of a load side by side."""
    with ExitStack() as stack:
        uri = stack.enter_context(_store(load.store))
        connect(uri)
        drivers = []
        for seed in range(load.drivers):
            command = [sys.executable, "-m", "benchmarks.product.load", uri, str(seed)]
            environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
            drivers.append(
                subprocess.Popen(
                    [*command, json.dumps(asdict(load))],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        texts = [driver.communicate()[0] for driver in drivers]
        return [Borne(**json.loads(text.splitlines()[-1])) for text in texts]


@contextmanager
def _store(kind: str) -> Iterator[str]:
    """The URI of an empty store."""
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/mlflow.db"
            return
        database = postgresql.started()
        if kind == "postgresql":
            yield database
            return
        from benchmarks.services import plain_server

        with plain_server(database, Path(folder)) as uri:
            yield uri


def summary(loads: Sequence[Load], borne: Sequence[Sequence[Borne]]) -> str:
    """Markdown: what each load did to drivers and store."""
    rows = []
    for load, found in zip(loads, borne, strict=True):
        lost = sum(each.trials - each.stored for each in found)
        rows.append(
            [
                load.store,
                str(load.drivers),
                f"{load.workers:,} × {load.seconds:g} s",
                f"{sum(each.per_second for each in found):.0f}",
                f"{max(each.cpu for each in found):.2f}",
                f"{max(each.lag for each in found):.1f} s",
                f"{max(each.longest for each in found):.1f} s",
                f"{max(each.drained for each in found):.1f} s",
                f"{max(each.requests for each in found):.1f}",
                f"{lost} of {sum(each.trials for each in found):,}",
            ]
        )
    header = ["store", "drivers", "workers of each", "trials/s, all", "cores of a driver"]
    header += ["lag, median", "at most", "written after", "requests/s of a driver", "lost"]
    return table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", nargs="*", choices=STORES, default=STORES)
    parser.add_argument("--drivers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a training")
    parser.add_argument("--length", type=float, default=300.0, help="seconds of a measurement")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args(arguments)
    loads, borne = [], []
    for store in options.stores:
        load = Load(store, options.drivers, options.workers, options.seconds, options.length)
        borne.append(measure(load))
        loads.append(load)
        print(summary(loads[-1:], borne[-1:]), flush=True)
    values = {
        "machine": machine(),
        "loads": [asdict(load) for load in loads],
        "borne": [[asdict(each) for each in found] for found in borne],
    }
    write(options.output, "load", summary(loads, borne), values)


if __name__ == "__main__":
    uri_, seed_, load_ = sys.argv[1:]
    print(json.dumps(asdict(drive(uri_, Load(**json.loads(load_)), int(seed_)))))
