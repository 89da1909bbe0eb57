"""Commands that start at once: a server that has imported the project forks one process for each.

Importing MLflow and the project takes most of the time of a short command. `shims` writes a folder
of commands for `PATH`: `mlflow`, `mlflow-warmstart`, and a `python` that sends `-m pipelines`,
`-m benchmarks` and scripts to the server and runs everything else itself. What runs is the same
code, in a process of its own, with the working directory, the environment and the output of the
caller.

The first pools of workers of a command start in the same way: processes that have imported LightGBM
wait to become their fork servers. So do those of studies in the process of the tests
(`pools_of_tests`). The tests of `hpo.workers` start theirs as users do.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest

IMPORTED = (
    "mlflow.cli",
    "pipelines.cli",
    "pipelines.adopt",
    "pipelines.promote",
    "pipelines.report",
    "pipelines.rollback",
    "pipelines.train",
    "pipelines.tune",
    "pipelines.validate",
    "pipelines.objectives.start",
    "pipelines.objectives.table",
    "pipelines.findings.figures",
    "pipelines.registry.logged",
    "pipelines.store.storage",
    "scipy.stats",
)
# What the workers of most studies import.
OF_WORKERS = (
    "pipelines.objectives.training",
    "pipelines.models.lightgbm",
    "pipelines.models.baselines",
    "pipelines.objectives.code.evaluation",
)
# What a command runs: a function of a module.
COMMANDS = {
    "mlflow": ("mlflow.cli", "cli"),
    "mlflow-warmstart": ("pipelines.cli", "main"),
    "pipelines": ("pipelines.cli", "main"),
    "benchmarks": ("tests.prefork", "benchmarks"),
    "script": ("tests.prefork", "script"),
}
SECONDS_TO_START = 120
POOLS = 2  # of a study: for its trials, and for its last models
_POOL = "fork server"  # a request that is no command
_SET_CHILD_SUBREAPER = 36  # of prctl
_CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = [{command!r}, sys.argv, os.getcwd(), dict(os.environ)]
data = json.dumps(request).encode()
socket.send_fds(connection, [len(data).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(data)
sys.exit(int(connection.recv(16) or b"1"))
"""
_PYTHON = """#!/bin/sh
if [ "$1" = -m ] && [ "$2" = pipelines ]; then shift 2; exec {folder}/pipelines "$@"; fi
if [ "$1" = -m ] && [ "$2" = benchmarks ]; then shift 2; exec {folder}/benchmarks "$@"; fi
case "$1" in *.py) exec {folder}/script "$@";; esac
exec {python} "$@"
"""


def benchmarks() -> int:
    """`python -m benchmarks`."""
    from benchmarks.__main__ import main

    return main(sys.argv[1:])


def script() -> None:
    """`python FILE`, as the interpreter runs it: in a new module `__main__`."""
    del sys.argv[0]
    path = Path(sys.argv[0])
    main = ModuleType("__main__")
    main.__file__ = str(path)
    sys.modules["__main__"] = main
    sys.path[0] = str(path.parent.absolute())
    exec(compile(path.read_bytes(), path, "exec"), vars(main))


@functools.cache
def shims(python_path: str) -> Path:
    """A folder of commands for `PATH`; the server behind them runs until this process ends.

    Args:
        python_path: whose code the commands run.
    """
    folder = Path(tempfile.mkdtemp(prefix="prefork-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = folder / "socket"
    for command in COMMANDS:
        text = _CLIENT.format(python=sys.executable, address=str(address), command=command)
        _write(folder / command, text)
    _write(folder / "python", _PYTHON.format(folder=folder, python=sys.executable))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.prefork", str(address)],
        env={**environment, "PYTHONPATH": python_path, "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(_stop, server)
    _wait_for(address, server)
    return folder


def _stop(server: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _wait_for(path: Path, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS_TO_START
    while not path.exists():
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server did not start: exit code {server.poll()}")
        time.sleep(0.05)


def serve(address: str) -> None:
    """Answer requests until killed."""
    for module in (*IMPORTED, *OF_WORKERS):
        importlib.import_module(module)
    _fill_caches()
    gc.freeze()  # a collection in a child would copy all pages
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _answer(connection)
        connection.close()


def _fill_caches() -> None:
    """Read once what each command would read again: YAML files, and what packages hold.

    MLflow lists the modules of all installed packages before it stores a model.
    """
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    from pipelines.models.catalog import FAMILIES, single_family

    for name in FAMILIES:
        single_family(name)
    warn_dependency_requirement_mismatches(["mlflow"])


def _answer(connection: socket.socket) -> NoReturn:
    """Run one command in a process of its own and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, descriptors, _, _ = socket.recv_fds(connection, 8, 4)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(length, "big")))
    child = os.fork()
    if child == 0:
        connection.close()
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        if request[0] == _POOL:
            _run_pool(descriptors[3], *request[1:])
        _run(*request)
    if request[0] == _POOL:  # its driver waits for it
        connection.sendall(child.to_bytes(8, "big"))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):  # the caller was killed
        connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def _run(command: str, argv: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Become the command."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    _start_pools_from([_Waiting.fork() for _ in range(POOLS)])
    module, function = COMMANDS[command]
    code: object = 1
    try:
        code = getattr(importlib.import_module(module), function)()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    # What an interpreter does at its end, without taking the imported modules apart: seconds here.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


class _Child(subprocess.Popen[bytes]):
    """A child of this process that `subprocess` has not started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.args = "fork server"
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        self._waitpid_lock = threading.Lock()
        self._sigint_wait_secs = 0.25
        self._child_created = True


class _Waiting(_Child):
    """A process that waits to become a fork server; it ends when this process does."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        super().__init__(pid)
        self._connection = connection

    @classmethod
    def fork(cls) -> "_Waiting":
        """Fork one."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _become_fork_server(theirs, os.getppid())
        theirs.close()
        return cls(pid, ours)

    def go(self, options: Mapping[str, Any]) -> "_Waiting":
        (descriptor,), output = options["pass_fds"], options["stdout"]
        descriptors = [descriptor, 1 if output is None else output.fileno()]
        descriptors.append(2 if output is None else descriptors[1])
        environment = json.dumps(dict(options["env"])).encode()
        with self._connection as connection:
            socket.send_fds(connection, [len(environment).to_bytes(8, "big")], descriptors)
            connection.sendall(environment)
        return self


def _start_pools_from(waiting: list[_Waiting]) -> None:
    """Let the first pools of this process take these as their fork servers."""
    from hpo.workers import launch

    driver = os.getpid()

    def popen(*command: object, **options: Any) -> "subprocess.Popen[bytes]":
        if waiting and os.getpid() == driver:
            return waiting.pop().go(options)
        return subprocess.Popen(*command, **options)  # type: ignore[call-overload,no-any-return]

    vars(launch)["subprocess"] = _subprocess(popen)


def _subprocess(popen: Callable[..., "subprocess.Popen[bytes]"]) -> SimpleNamespace:
    """What `hpo.workers.launch` uses of `subprocess`."""
    return SimpleNamespace(
        Popen=popen, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )


def pools_of_tests(patch: pytest.MonkeyPatch, python_path: str) -> None:
    """Let all pools of this process take a fork of the server as their fork server.

    It becomes a child of this process, as the pool expects: the process between them ends while
    this one is the reaper of its descendants. The server starts with the first pool.
    """
    from hpo.workers import launch

    def popen(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        output = options["stdout"].fileno() if options["stdout"] else 1
        (own,) = options["pass_fds"]
        driver = [os.getpid(), own, command[-1], dict(options["env"])]
        request = json.dumps([_POOL, *driver]).encode()
        reaper = ctypes.CDLL(None).prctl
        with socket.socket(socket.AF_UNIX) as connection, open(os.devnull) as nothing:
            connection.connect(str(shims(python_path) / "socket"))
            reaper(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                descriptors = [nothing.fileno(), output, output, own]
                socket.send_fds(connection, [len(request).to_bytes(8, "big")], descriptors)
                connection.sendall(request)
                child = int.from_bytes(connection.recv(8), "big")
                while _parent(child) != os.getpid():
                    time.sleep(0.001)
            finally:
                reaper(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return _Child(child)

    patch.setattr(launch, "subprocess", _subprocess(popen))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _run_pool(ours: int, driver: int, own: int, code: str, environment: dict[str, str]) -> NoReturn:
    """Become the fork server of a pool whose driver gives it the descriptor `own`."""
    try:
        while os.getppid() != driver:
            time.sleep(0.001)
        os.setsid()
        os.environ.clear()
        os.environ.update(environment)
        if ours != own:
            os.dup2(ours, own)
            os.close(ours)
        exec(code, {})
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _become_fork_server(connection: socket.socket, driver: int) -> NoReturn:
    try:
        length, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
        if length:
            with connection, connection.makefile("rb") as stream:
                environment = json.loads(stream.read(int.from_bytes(length, "big")))
            os.setsid()
            os.environ.clear()
            os.environ.update(environment)
            own, *outputs = descriptors
            for number, descriptor in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
                os.dup2(descriptor, number)
                os.close(descriptor)
            importlib.import_module("hpo.workers.worker").main(own, driver)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
