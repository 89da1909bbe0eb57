"""Where the studies of the benchmark run: their table, their stores, and their drivers."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.product.faults import check
from benchmarks.product.faults.processes import Driver, Server, start, tracking_server

METRIC = "roc_auc"
TARGET = "y"
PATIENCE = 240.0  # seconds for a driver to end
_BUDGETS = {
    "tpe": {"max_budget": 120},
    "bohb": {"min_budget": 15, "max_budget": 135},
}
# MLflow's own pauses between attempts, up to minutes, shortened so that the table takes less time.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@dataclass
class Place:
    """A folder with an empty database to copy, a table, and a tracking server.

    Attributes:
        folder: of everything.
        trials: of each study.
    """

    folder: Path
    trials: int = 10
    _used: int = 0

    def __post_init__(self) -> None:
        os.environ.update(_ENVIRONMENT)
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
            os.environ.pop(name, None)
        _write_table(self.table)

    @property
    def table(self) -> Path:
        """A small table."""
        return self.folder / "table.csv"

    @cached_property
    def _empty(self) -> Path:
        """A migrated database."""
        database = self.folder / "empty.db"
        pid = os.fork()
        if pid == 0:  # no connection may stay open in the process that forks the drivers
            code = 1
            try:
                from pipelines.store.tracking import connect

                os.environ["HPO_CACHE_DIR"] = str(self.folder / "cache")
                connect(f"sqlite:///{database}")
                code = 0
            finally:
                os._exit(code)
        os.waitpid(pid, 0)
        return database

    def database(self, path: Path, artifacts: Path) -> Path:
        """A new, empty database, whose artifacts are stored in a folder."""
        shutil.copy(self._empty, path)
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = ?", [str(artifacts / "0")])
        return path

    @cached_property
    def server(self) -> Server:
        """A tracking server, which all studies over HTTP share."""
        folder = self.new_folder("server")
        database = folder / "mlflow.db"
        shutil.copy(self._empty, database)
        with contextlib.closing(sqlite3.connect(database)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
        server = tracking_server(database, folder)
        server.start()
        self.served = database
        return server

    def new_folder(self, name: str) -> Path:
        """A folder for one study."""
        self._used += 1
        folder = self.folder / f"{self._used:03d}-{name}"
        folder.mkdir()
        return folder

    def course(self, algorithm: str, seed: int, *, http: bool = False) -> "Course":
        """A study to be run."""
        folder = self.new_folder(algorithm)
        if http:
            uri = self.server.uri
            return Course(self, algorithm, seed, folder, uri, self.served)
        database = self.database(folder / "mlflow.db", folder / "mlruns")
        return Course(self, algorithm, seed, folder, f"sqlite:///{database}", database)


@dataclass
class Course:
    """One study, from its first driver to its last.

    Attributes:
        place: where it runs.
        algorithm: that searches.
        seed: of the study.
        folder: of its drivers.
        uri: of the store, as the drivers reach it.
        database: of the store.
        environment: of its drivers.
        printed: what its drivers have printed.
    """

    place: Place
    algorithm: str
    seed: int
    folder: Path
    uri: str
    database: Path
    environment: dict[str, str] = field(default_factory=dict)
    printed: check.Printed = field(default_factory=check.Printed)
    drivers: int = 0

    def start(
        self,
        *,
        trials: int | None = None,
        change: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Driver:
        """Start the study, or resume it."""
        self.drivers += 1
        log = self.folder / f"{self.drivers}.log"
        log.touch()
        settings = {
            "MLFLOW_TRACKING_URI": self.uri,
            "HPO_CACHE_DIR": str(self.folder / "cache"),
            **self.environment,
            **(environment or {}),
        }
        study = self.printed.study
        arguments = [f"--study={study}"] if study else self._new(trials or self.place.trials)
        return start(["tune", *arguments], self.folder, settings, log, change)

    def _new(self, trials: int) -> list[str]:
        options = {
            "data": self.place.table,
            "target": TARGET,
            "metric": METRIC,
            "algorithm": self.algorithm,
            "seed": self.seed,
            "trials": trials,
            "warm_start": "off",
            "refit": "off",
            **_BUDGETS[self.algorithm],
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def note(self, driver: Driver) -> None:
        """Read what a driver has printed, when it has ended."""
        self.printed.add(driver.text)

    def ends(self, driver: Driver) -> int | None:
        """Wait for a driver's end, and return its exit code; None if it hangs and is killed."""
        code = driver.wait(PATIENCE)
        if code is None:
            driver.signal(signal.SIGABRT)  # a stack of all threads
            driver.wait(5)
            driver.kill()
        self.note(driver)
        return code

    def finish(self, attempts: int = 4, trials: int | None = None) -> list[str]:
        """Resume the study until a driver ends well; what is wrong then."""
        codes: list[int | None] = []
        for _ in range(attempts):
            driver = self.start()
            codes.append(self.ends(driver))
            if codes[-1] == 0:
                return self.problems(trials)
        return [f"its drivers ended with {codes}: {driver.text[-300:]}"]

    def problems(self, trials: int | None = None) -> list[str]:
        """What is wrong with the study, which has ended."""
        expected = trials or self.place.trials
        return check.problems(self.database, self.printed, expected, METRIC)


def _write_table(path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    target = (x[:, 0] + 0.5 * x[:, 1] ** 2 + rng.normal(size=400) > 0.4).astype(int)
    frame = pd.DataFrame(x.round(4), columns=["a", "b", "c", "d"])
    frame.assign(kind=rng.choice(["u", "v", "w"], 400), **{TARGET: target}).to_csv(
        path, index=False
    )
