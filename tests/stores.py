"""Tracking stores for tests: one database and one server, a new experiment for each study."""

import atexit
import contextlib
import functools
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from hpo.trial import Report
from pipelines.store import lease
from pipelines.store.delivery.outbox import Pace
from pipelines.store.delivery.writers import CallWriter, ClientRuns, Writer
from pipelines.store.storage import MlflowStorage
from pipelines.store.study_run import Connection, WriterMaker
from pipelines.store.tracking import connect
from tests.postgresql import postgresql_uri

HASTE = Pace(gather=0.0, beat=60.0, retry=0.01, max_retry=0.05)
SPACE: dict[str, Any] = {
    "model": {"type": "categorical", "choices": ["a", "b"]},
    "rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    "depth": {"type": "integer", "low": 1, "high": 9},
    "flag": {"type": "categorical", "choices": [True, False], "when": {"model": ["b"]}},
}
HEADER: dict[str, Any] = {
    "space": SPACE,
    "metric": "auc",
    "direction": "maximize",
    "model": "lightgbm",
    "algorithm": "tpe",
    "seed": 3,
    "target": "income",
    "data": {"uri": "data/adult.csv", "digest": "d1", "rows": 10, "columns": 3},
}


@functools.cache
def _directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="stores-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    os.environ["HPO_CACHE_DIR"] = str(path / "cache")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return path


@functools.cache
def sqlite_uri() -> str:
    """A migrated database that is written without waiting for the disk."""
    uri = f"sqlite:///{_directory()}/tracking.db"
    do_not_wait(connect(uri))
    shutil.copy(_directory() / "tracking.db", _directory() / "empty.db")
    return uri


def empty_database(path: Path) -> None:
    """Write an empty, migrated database; its artifacts are stored beside it."""
    sqlite_uri()
    shutil.copy(_directory() / "empty.db", path)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        place = str(path.parent / "mlruns" / "0")
        database.execute("UPDATE experiments SET artifact_location = ?", [place])


def do_not_wait(client: MlflowClient) -> None:
    """Switch off synchronous writes to an SQLite store in this process."""
    engine = client._tracking_client.store.engine
    import sqlalchemy as sa

    @sa.event.listens_for(engine, "connect")
    def fast(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    engine.dispose()


@functools.cache
def http_uri() -> str:
    """A tracking server on a copy of the database, or that of `make services-test`."""
    sqlite_uri()
    if running := os.environ.get("HPO_TEST_SERVER"):
        return running
    database = _directory() / "served.db"
    shutil.copy(_directory() / "tracking.db", database)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(_directory() / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = (_directory() / "server.log").open("w")
    server = subprocess.Popen(
        command, env=environment, cwd=_directory(), stdout=log, stderr=log, start_new_session=True
    )
    atexit.register(_stop, server)
    uri = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5)  # noqa: S310
            return uri
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError((_directory() / "server.log").read_text())


def _stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, 15)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, 9)


def client(uri: str | None = None) -> MlflowClient:
    """A client of the SQLite store, or of `uri`."""
    return MlflowClient(uri or sqlite_uri())


def calls(
    client: MlflowClient, experiment_id: str, run_id: str, run_ids: MutableMapping[str, str]
) -> Writer:
    """A writer that uses MLflow's public client with every kind of store."""
    return CallWriter(ClientRuns(client), experiment_id, run_ids)


def connection(
    uri: str | None = None, make_writer: WriterMaker | None = None, pace: Pace = HASTE
) -> Connection:
    """A connection to the SQLite store, or to `uri`."""
    return Connection(uri or sqlite_uri(), make_writer, pace)


def study(
    uri: str | None = None, make_writer: WriterMaker | None = None, **changes: Any
) -> MlflowStorage:
    """Create a study in an experiment of its own; `changes` go into the header or to `create`."""
    options = {name: changes.pop(name) for name in ("run_id", "name") if name in changes}
    pace = changes.pop("pace", HASTE)
    return MlflowStorage.create(
        {**HEADER, **changes},
        experiment=f"test-{uuid.uuid4().hex}",
        connection=connection(uri, make_writer, pace),
        **options,
    )


def reopen(
    run_id: str, uri: str | None = None, make_writer: WriterMaker | None = None
) -> MlflowStorage:
    """Open a study again."""
    return MlflowStorage.open(run_id, connection=connection(uri, make_writer))


def report(budget: float, number: int) -> Report:
    """A report of trial `number`, with a curve."""
    auc = number / 10 + budget / 100
    curve = tuple((b, auc / 2) for b in range(1, int(budget), 4))
    return Report(budget, -auc, {"auc": auc, "f1": 0.5}, 0.25, curve)


def abandon(storage: MlflowStorage) -> None:
    """Abandon a study like `kill -9`: flush nothing, release nothing, leave the journal."""
    outbox = storage._run._outbox
    with outbox._changed:
        open_still = not outbox._closed
        outbox._closed = outbox._closing = True
        outbox._changed.notify_all()
    outbox._thread.join(10)
    if open_still:
        os.close(outbox._journal._file)
        os.close(outbox._journal._lock)
        bury(storage)


def bury(storage: MlflowStorage) -> None:
    """Make the holder of the lease a process that has ended."""
    dead = lease.Driver(**{**storage._run._lease._me.__dict__, "born": "long ago"})
    storage.client.set_tag(storage.run_id, "hpo.driver", dead.to_tag())


STORES: dict[str, Callable[[], tuple[str, WriterMaker | None]]] = {
    "sqlite in bulk": lambda: (sqlite_uri(), None),
    "sqlite by calls": lambda: (sqlite_uri(), calls),
    "http": lambda: (http_uri(), None),
    "postgresql in bulk": lambda: (postgresql_uri(), None),
    "postgresql by calls": lambda: (postgresql_uri(), calls),
}
