"""An MLflow server as a team shares one: users with passwords, PostgreSQL, artifacts in S3.

`python -m benchmarks.services` starts it on this machine and prints how to reach it, until Ctrl-C;
with a command after `--`, the command runs with the server as its tracking store. S3 is played by
moto, which keeps objects in memory. Everything ends with this process.
"""

import configparser
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks import postgresql

BUCKET = "mlflow"
ADMIN, PASSWORD = "admin", "a password for tests"  # noqa: S105  (of a server that ends with us)
NO_PERMISSIONS = "NO_PERMISSIONS"
_PATIENCE = 180.0  # seconds for the server's first start, which creates the tables


def obstacle() -> str:
    """Why the services cannot be started here; empty if they can."""
    if reason := postgresql.obstacle():
        return reason
    needed = {"flask_wtf": "Flask-WTF", "moto": "moto[server]", "boto3": "boto3"}
    for module, package in needed.items():
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed: pip install '{package}'"
    return ""


@dataclass
class Services:
    """A running server.

    Attributes:
        uri: of the server.
        database: URI of MLflow's database.
        s3: address of the S3 server.
        folder: for logs and settings.
        is_open: whether there are no users, and artifacts are in the folder.
    """

    uri: str
    database: str
    s3: str
    folder: Path
    is_open: bool = False
    _server: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def environment(self, user: str = ADMIN, password: str = PASSWORD) -> dict[str, str]:
        """The variables with which a user reaches the server."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: with the server's log, when it does not.
        """
        port = self.uri.rpartition(":")[2]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", port, "--workers", "1", "--backend-store-uri", self.database]
        place = str(self.folder / "artifacts") if self.is_open else f"s3://{BUCKET}/artifacts"
        command += ["--artifacts-destination", place, "--serve-artifacts"]
        command += [] if self.is_open else ["--app-name", "basic-auth"]
        log = self.folder / "server.log"
        with log.open("a") as out:
            self._server = subprocess.Popen(
                command,
                env={**_without_mlflow(os.environ), **self._settings},
                cwd=self.folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._server.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)  # noqa: S310
                return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.2)
        raise RuntimeError(log.read_text())

    def stop(self) -> None:
        """End the server; the databases and the objects stay."""
        if self._server is not None and self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._server = None

    def add_user(self, name: str, password: str) -> None:
        """Add a user, who may read and write only what is their own."""
        from mlflow.server import get_app_client

        get_app_client("basic-auth", tracking_uri=self.uri).create_user(name, password)

    def objects(self) -> list[str]:
        """The keys of the objects in the bucket."""
        pages = _s3(self.s3).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [str(item["Key"]) for page in pages for item in page.get("Contents", ())]

    @property
    def _settings(self) -> Mapping[str, str]:
        if self.is_open:
            return {
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            }
        return {
            **_s3_environment(self.s3),
            "MLFLOW_S3_ENDPOINT_URL": self.s3,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs the cookies of a server for tests",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


@contextmanager
def services() -> Iterator[Services]:
    """A server with a database and a bucket of its own.

    Raises:
        RuntimeError: when it cannot be started here (`obstacle`), or does not answer.
    """
    if reason := obstacle():
        raise RuntimeError(reason)
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    bucket = ThreadedMotoServer("127.0.0.1", port=_free_port(), verbose=False)
    bucket.start()
    host, port = bucket.get_host_and_port()
    found = None
    try:
        with tempfile.TemporaryDirectory(prefix="services-") as folder:
            s3 = f"http://{host}:{port}"
            _s3(s3).create_bucket(Bucket=BUCKET)
            database = postgresql.started()
            users = postgresql.another(database, "users")
            _write_auth(Path(folder) / "auth.ini", users)
            found = Services(f"http://127.0.0.1:{_free_port()}", database, s3, Path(folder))
            try:
                found.start()
                yield found
            finally:
                found.stop()
    finally:
        bucket.stop()


@contextmanager
def plain_server(database: str, folder: Path) -> Iterator[str]:
    """The URI of a server without users on a database, with artifacts in a folder."""
    found = Services(f"http://127.0.0.1:{_free_port()}", database, "", folder, is_open=True)
    try:
        found.start()
        yield found.uri
    finally:
        found.stop()


def _write_auth(path: Path, database: str) -> None:
    settings = configparser.ConfigParser()
    settings["mlflow"] = {
        "default_permission": NO_PERMISSIONS,
        "database_uri": database,
        "admin_username": ADMIN,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "60",  # otherwise each request hashes the password
    }
    with path.open("w") as file:
        settings.write(file)
    path.chmod(0o600)


def _without_mlflow(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if not name.startswith("MLFLOW_")}


def _s3_environment(s3: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }


def _s3(address: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  (boto3 has no types)
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="an-id",
        aws_secret_access_key="a-secret",  # noqa: S106
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _leave(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Start the services, and run a command with them, or wait for Ctrl-C."""
    if reason := obstacle():
        print(f"the services cannot be started: {reason}", file=sys.stderr)
        return 3
    signal.signal(signal.SIGTERM, _leave)
    with services() as found:
        environment = found.environment()
        if arguments[:1] == ["--"]:
            more = {"HPO_TEST_SERVER": found.uri}
            return subprocess.run(
                arguments[1:], env={**os.environ, **environment, **more}
            ).returncode
        for name, value in environment.items():
            print(f"export {name}='{value}'")
        print(f"# MLflow: {found.uri}, PostgreSQL: {found.database}, S3: {found.s3}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
