"""Where the studies of the benchmark run: their table, their stores, and their drivers."""

import contextlib
import json
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
from sqlalchemy import NullPool, create_engine, text

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
        postgresql: the URI of a server of PostgreSQL for the databases; "" for SQLite files.
    """

    folder: Path
    trials: int = 10
    postgresql: str = ""
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
        self._migrate(f"sqlite:///{database}")
        return database

    def _migrate(self, uri: str) -> None:
        """Create MLflow's tables in a database."""
        pid = os.fork()
        if pid == 0:  # no connection may stay open in the process that forks the drivers
            code = 1
            try:
                from pipelines.store.tracking import connect

                os.environ["HPO_CACHE_DIR"] = str(self.folder / "cache")
                connect(uri)
                code = 0
            finally:
                os._exit(code)
        os.waitpid(pid, 0)

    def database(self, path: Path, artifacts: Path) -> Path:
        """A new, empty database, whose artifacts are stored in a folder."""
        shutil.copy(self._empty, path)
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = ?", [str(artifacts / "0")])
        return path

    @cached_property
    def _template(self) -> str:
        """The name of a migrated database of PostgreSQL."""
        self._create("empty")
        self._migrate(self._of_server("empty"))
        return "empty"

    def _of_server(self, name: str) -> str:
        return f"{self.postgresql.rpartition('/')[0]}/{name}"

    def _create(self, name: str, template: str = "template0") -> None:
        engine = create_engine(check.driven(self.postgresql), poolclass=NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
            server.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))

    def _postgresql(self, folder: Path) -> str:
        """The URI of a new, empty database of PostgreSQL, with artifacts in a folder."""
        name = f"study_{self._used}"
        self._create(name, self._template)
        uri = self._of_server(name)
        with create_engine(check.driven(uri), poolclass=NullPool).begin() as store:
            place = {"place": str(folder / "mlruns" / "0")}
            store.execute(text("UPDATE experiments SET artifact_location = :place"), place)
        return uri

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
            return Course(self, algorithm, seed, folder, uri, f"sqlite:///{self.served}")
        if self.postgresql:
            uri = self._postgresql(folder)
        else:
            uri = f"sqlite:///{self.database(folder / 'mlflow.db', folder / 'mlruns')}"
        return Course(self, algorithm, seed, folder, uri, uri)


@dataclass
class Course:
    """One study, from its first driver to its last.

    Attributes:
        place: where it runs.
        algorithm: that searches.
        seed: of the study.
        folder: of its drivers.
        uri: of the store, as the drivers reach it.
        database: the URI of the store's database.
        environment: of its drivers.
        printed: what its drivers have printed.
    """

    place: Place
    algorithm: str
    seed: int
    folder: Path
    uri: str
    database: str
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

    def age_lease(self) -> None:
        """Make the lease of a frozen driver as old as if that was some minutes ago."""
        where = "run_uuid = :study AND key = 'hpo.driver'"
        with create_engine(check.driven(self.database), poolclass=NullPool).begin() as store:
            study = {"study": self.printed.study}
            query = text(f"SELECT value FROM tags WHERE {where}")  # noqa: S608
            driver = json.loads(store.execute(query, study).scalar_one())
            driver["seen"] -= 300
            change = text(f"UPDATE tags SET value = :value WHERE {where}")  # noqa: S608
            store.execute(change, {"value": json.dumps(driver), **study})


def _write_table(path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    target = (x[:, 0] + 0.5 * x[:, 1] ** 2 + rng.normal(size=400) > 0.4).astype(int)
    frame = pd.DataFrame(x.round(4), columns=["a", "b", "c", "d"])
    frame.assign(kind=rng.choice(["u", "v", "w"], 400), **{TARGET: target}).to_csv(
        path, index=False
    )
