"""Drivers, servers and proxies: how they are started, watched and ended.

A driver is a fork of this process, which has imported the project, and runs the console command. So
it is the product's own command, without the seconds of its imports.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.product.faults import proxy
from hpo.errors import UserError
from pipelines.cli import main

# What drivers import on the way.
IMPORTED = (
    "pipelines.tune",
    "pipelines.findings.figures",
    "pipelines.objectives.ending.finished",
    "pipelines.objectives.start",
    "pipelines.objectives.ending.winner",
    "pipelines.store.storage",
    "pipelines.study.gain",
    "pipelines.table.scores.bootstrap",
)
_POLL = 0.02  # seconds
_SERVER_SECONDS = 120.0
_groups: set[int] = set()  # process groups that this process has started


def warm_up() -> None:
    """Import what drivers need, which are forks of this process."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all pages


@dataclass
class Driver:
    """A running command.

    Attributes:
        pid: of its process.
        log: what it prints.
        code: its exit code, once it has ended; negative for a signal.
    """

    pid: int
    log: Path
    code: int | None = None

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def poll(self) -> int | None:
        """Its exit code, or None."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                _groups.discard(self.pid)
        return self.code

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None if it has not ended after so many seconds."""
        until(lambda: self.poll() is not None, seconds)
        return self.code

    def waits_for(self, condition: Callable[[str], bool], seconds: float) -> bool:
        """Whether its output meets a condition before it ends and before so many seconds."""
        until(lambda: condition(self.text) or self.poll() is not None, seconds)
        return condition(self.text) and self.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait(60)


def start(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    change: Callable[[], None] | None = None,
) -> Driver:
    """Start a command in a process of its own; `change` is called there first."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        _groups.add(pid)
        return Driver(pid, log)
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        if change is not None:
            change()
        code = _run(arguments)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    try:
        main(list(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; False if it is not met after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


def children(pid: int) -> list[int]:
    """The processes that a process has started and that run."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):  # each knows those that it has started
        with contextlib.suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def free_port() -> int:
    """A port that nothing listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """A process that listens to a port."""

    def __init__(self, command: Sequence[str], port: int, folder: Path) -> None:
        self.port = port
        self._command = list(command)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            UserError: when it does not.
        """
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        _groups.add(self._process.pid)
        if not until(self._listens, _SERVER_SECONDS):
            raise UserError(f"no server came up; see {self._folder / 'server.log'}")

    def _listens(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):  # noqa: S310
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to it and its children."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            _groups.discard(self._process.pid)
            self._process = None


def tracking_server(database: Path, folder: Path) -> Server:
    """A tracking server of MLflow."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    return Server(command, port, folder)


@contextlib.contextmanager
def faulty(
    server: Server, seed: int, shares: Mapping[str, float], folder: Path
) -> Iterator[Server]:
    """A proxy before a server."""
    port = free_port()
    numbers = [str(port), str(server.port), str(seed)]
    command = [sys.executable, "-S", proxy.__file__, *numbers, json.dumps(dict(shares))]
    running = Server(command, port, folder)
    running.start()
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.signal(signal.SIGCONT)
            running.stop()


@atexit.register
def _end_all() -> None:
    for group in _groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
