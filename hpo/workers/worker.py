"""The processes of a pool: the fork server that starts the workers, and the workers.

    driver ── socket ──► fork server ── fork ──► worker (one process group each)
       └──────────────── socket ──────────────────┘

The server imports the libraries once and then forks a worker for each request. It never runs a job
itself, so that OpenMP and torch have not started their threads when it forks. It is the parent of
all workers, and only the parent signals and reaps them, so that no signal reaches a process that
was given a dead worker's id. It ends the workers when the driver has died. It is started with
`python -c` and the driver's `sys.path`; the driver's environment is not changed. A child that a job
starts ends with its worker, unless it starts a process group of its own.
"""

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import process, spawn
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from hpo.errors import OUT_OF_MEMORY, tells_no_memory

_LINUX = sys.platform == "linux"
_PRCTL = ctypes.CDLL(None).prctl if _LINUX else None
_PR_SET_PDEATHSIG = 1
_ORPHAN_CHECK = 0.5  # seconds between checks that the driver is alive
_OOM_SCORE = 500  # of 1000: without memory the kernel kills a worker rather than the driver
_TRACEBACK_CHARACTERS = 10_000


@dataclass(frozen=True)
class Setup:
    """The first message to the server.

    Args:
        preload: modules to import before the first fork.
        make_evaluate: pickled `(make_evaluate, spec)`.
        main: how to import the driver's `__main__`: the data for `multiprocessing.spawn.prepare`.
    """

    preload: tuple[str, ...]
    make_evaluate: bytes
    main: dict[str, str]


class Ready(NamedTuple):
    """From the server: preloading has ended; `error` is the traceback of a failed import."""

    error: str


class Started(NamedTuple):
    """From the server: worker `serial` runs as process `pid`."""

    serial: int
    pid: int


class Exited(NamedTuple):
    """From the server: worker `serial` has ended with `code`, as in `subprocess`."""

    serial: int
    code: int


class Start(NamedTuple):
    """To the server: fork worker `serial`; the worker's end of its socket follows."""

    serial: int


class Signal(NamedTuple):
    """To the server: send a signal to the process group of worker `serial`."""

    serial: int
    number: int


class Raised(NamedTuple):
    """An exception as text, since not every exception survives pickling."""

    kind: str
    message: str
    traceback: str


def raised(error: BaseException) -> Raised:
    """The texts of an exception, even if its `__str__` raises."""
    kind = type(error).__name__
    line = "".join(traceback.format_exception_only(error)).strip()
    message = line.split(f"{kind}: ", 1)[1] if f"{kind}: " in line else ""
    if tells_no_memory(line):
        message = "; ".join(filter(None, (message, OUT_OF_MEMORY)))
    return Raised(
        kind, message, "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    )


def command(descriptor: int) -> list[str]:
    """The command line of a fork server that talks over `descriptor`.

    It defines no names in its `__main__`, where names pickled from the driver's `__main__` would be
    looked up.
    """
    main = f"__import__('hpo.workers.worker', fromlist=['main']).main({descriptor}, {os.getpid()})"
    return [sys.executable, "-c", f"__import__('sys').path[:] = {[*map(str, sys.path)]}; {main}"]


def main(descriptor: int, driver: int) -> None:
    """Run the fork server until the driver closes its end of the socket, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
    faulthandler.enable()
    gone = (EOFError, OSError)
    with Connection(descriptor) as connection, contextlib.suppress(*gone):
        setup: Setup = pickle.loads(connection.recv_bytes())
        _die_with(driver)  # while importing, it cannot notice that the driver has died
        error = _preload(setup.preload)
        _outlive_parent()  # from now on it notices, and also ends the workers' children
        connection.send(Ready(error))
        if not error:
            _Server(connection, setup, driver).run()


def _preload(modules: tuple[str, ...]) -> str:
    gc.disable()  # imports make many objects and little garbage: a third of their time
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception:  # an import may raise anything; the driver reports it
        return traceback.format_exc()
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()  # imported objects are never collected, so their pages stay shared
    return ""


class _Server:
    """Forks, signals and reaps the workers."""

    def __init__(self, connection: Connection, setup: Setup, driver: int) -> None:
        self.connection = connection
        self.setup = setup
        self.driver = driver
        self.workers: dict[int, int] = {}  # serial -> pid, until reaped
        self.wake_read, self.wake_write = os.pipe()
        self.pid = os.getpid()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)

    def run(self) -> None:
        sources: list[Any] = [self.connection, self.wake_read]
        try:
            while os.getppid() == self.driver:
                readable, _, _ = select.select(sources, [], [], _ORPHAN_CHECK)
                if self.connection in readable:
                    self.handle(self.connection.recv())
                if self.wake_read in readable:
                    os.read(self.wake_read, 4096)
                    self.reap()
        except EOFError:
            pass  # the driver has ended
        finally:
            for serial, pid in self.workers.items():
                self.kill(serial, signal.SIGKILL)
                os.waitpid(pid, 0)

    def handle(self, message: Start | Signal) -> None:
        if isinstance(message, Start):
            self.start(message.serial)
        else:
            self.kill(message.serial, message.number)

    def start(self, serial: int) -> None:
        with socket.socket(fileno=os.dup(self.connection.fileno())) as channel:
            _, (descriptor,), _, _ = socket.recv_fds(channel, 1, 1)
        os.set_inheritable(descriptor, False)  # a worker's children must not keep it open
        pid = os.fork()
        if pid == 0:
            self.become_worker(descriptor)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # the worker does the same, because either may be first
            os.setpgid(pid, pid)
        self.workers[serial] = pid
        self.connection.send(Started(serial, pid))

    def become_worker(self, descriptor: int) -> None:
        code = 1
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _die_with(self.pid)
            for unused in (self.connection.fileno(), self.wake_read, self.wake_write):
                os.close(unused)
            work(descriptor, self.setup)
            code = 0
        except (EOFError, OSError):
            code = 0  # the driver has ended
        except BaseException:
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)  # skip the server's own frames and exit handlers

    def kill(self, serial: int, number: int) -> None:
        """Send a signal to a worker and its children, unless it has been reaped."""
        if serial in self.workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.workers[serial], number)

    def reap(self) -> None:
        for serial, pid in list(self.workers.items()):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                # Its children; until they end, the number of the group is not reused.
                self.kill(serial, signal.SIGKILL)
                del self.workers[serial]
                self.connection.send(Exited(serial, os.waitstatus_to_exitcode(status)))


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (on Linux only)."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before that call
            os._exit(0)


def _outlive_parent() -> None:
    """Undo `_die_with`."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def work(descriptor: int, setup: Setup) -> None:
    """Build `evaluate` once, then answer jobs until the driver closes the socket.

    The first answer is `(True, None)`, or `(False, Raised)` if building failed. Each later one
    belongs to a job: `(True, result)` or `(False, Raised)`.
    """
    if _LINUX:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    load = _Loader(setup.main)
    with Connection(descriptor) as connection:
        try:
            make_evaluate, spec = load(setup.make_evaluate)
            evaluate = make_evaluate(spec)
        except BaseException as error:  # the driver decides what follows
            connection.send_bytes(pickle.dumps((False, raised(error))))
            return
        connection.send_bytes(pickle.dumps((True, None)))
        worker = os.getpid()
        while True:
            answer = _answer(evaluate, load, connection.recv_bytes())
            if os.getpid() != worker:  # a process that the job has forked
                os._exit(0)
            connection.send_bytes(answer)


def _answer(evaluate: Callable[[Any], Any], load: "_Loader", job: bytes) -> bytes:
    try:
        return pickle.dumps((True, evaluate(load(job))), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # also SystemExit: a job fails its own trial only
        traceback.clear_frames(error.__traceback__)  # the job's memory, which may be all there is
        return pickle.dumps((False, raised(error)))
    finally:
        _flush()


def _flush() -> None:
    """Write buffered output to its file, because workers may be killed at any time."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        sys.stderr.flush()


class _Loader:
    """Unpickles, and imports the driver's `__main__` only if an object needs it.

    `multiprocessing` imports it in every worker, with everything that a command line program
    imports.
    """

    def __init__(self, main: dict[str, str]) -> None:
        self.main = main

    def __call__(self, pickled: bytes) -> Any:
        try:
            return pickle.loads(pickled)
        except AttributeError:
            if b"__main__" not in pickled or not self.main:
                raise
        main, self.main = self.main, {}
        this: Any = process.current_process()
        # As in multiprocessing, a `__main__` without a guard cannot start a pool here.
        this._inheriting = True
        try:
            spawn.prepare(main)
        finally:
            del this._inheriting
        return pickle.loads(pickled)
