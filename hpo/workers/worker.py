"""What runs outside the driver: the fork server that starts the workers, and the worker itself.

    driver ── socket ──► fork server ── fork ──► worker (one process group each)
       └──────────────── socket ──────────────────┘

The server imports the libraries once and then forks a worker for each request; it never runs a job,
so that OpenMP and torch have not started their threads when it forks. It is the parent of all
workers: it alone signals and reaps them, so that no signal reaches a process that got a dead
worker's id, and it ends them when the driver is gone. It is started with `python -c` and the
driver's `sys.path`; the driver's environment is not touched. A child that a job starts ends with
its worker, unless it starts a process group of its own.
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

_LINUX = sys.platform == "linux"
_PRCTL = ctypes.CDLL(None).prctl if _LINUX else None
_PR_SET_PDEATHSIG = 1
_ORPHAN_CHECK = 0.5  # seconds between looks at who the server's parent is
_OOM_SCORE = 500  # of 1000: when memory runs out the kernel ends a worker, not the driver
_TRACEBACK_CHARACTERS = 10_000


@dataclass(frozen=True)
class Setup:
    """What the server gets first.

    Args:
        preload: modules to import before the first fork.
        make_evaluate: pickled `(make_evaluate, spec)`.
        main: how to import the driver's `__main__`, as `multiprocessing.spawn.prepare` takes it.
    """

    preload: tuple[str, ...]
    make_evaluate: bytes
    main: dict[str, str]


class Ready(NamedTuple):
    """From the server: the libraries are imported; `error` is a traceback when one of them is not."""

    error: str


class Started(NamedTuple):
    """From the server: worker `serial` runs as process `pid`."""

    serial: int
    pid: int


class Exited(NamedTuple):
    """From the server: worker `serial` and its process group are gone; `code` as `waitstatus_to_exitcode` has it."""

    serial: int
    code: int


class Start(NamedTuple):
    """To the server: fork worker `serial`; one file descriptor follows, the worker's end of its socket."""

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
    """The texts of an exception; works for one whose `__str__` raises, too."""
    kind = type(error).__name__
    line = "".join(traceback.format_exception_only(error)).strip()
    message = line.split(f"{kind}: ", 1)[1] if f"{kind}: " in line else ""
    return Raised(
        kind, message, "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    )


def command(descriptor: int) -> list[str]:
    """The command line of a fork server that talks over `descriptor`.

    Nothing is bound in its `__main__`: names pickled from the driver's `__main__` must not be found
    there by accident.
    """
    main = f"__import__('hpo.workers.worker', fromlist=['main']).main({descriptor}, {os.getpid()})"
    return [sys.executable, "-c", f"__import__('sys').path[:] = {[*map(str, sys.path)]}; {main}"]


def main(descriptor: int, driver: int) -> None:
    """Run the fork server until the driver closes its end of the socket, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    faulthandler.enable()
    gone = (EOFError, OSError)
    with Connection(descriptor) as connection, contextlib.suppress(*gone):
        setup: Setup = pickle.loads(connection.recv_bytes())
        _die_with(driver)  # while it is too busy to notice
        error = _preload(setup.preload)
        _outlive_parent()  # from now on it notices, and ends the workers' children as well
        connection.send(Ready(error))
        if not error:
            _Server(connection, setup, driver).run()


def _preload(modules: tuple[str, ...]) -> str:
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception:  # a foreign import may raise anything; the driver tells the user
        return traceback.format_exc()
    gc.collect()
    gc.freeze()  # what is imported is never collected: its pages stay shared
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
            pass  # the driver is done, or dead
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
        os.set_inheritable(descriptor, False)  # a worker's children must not hold it open
        pid = os.fork()
        if pid == 0:
            self.become_worker(descriptor)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # the worker does it, too: whoever comes first
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
            code = 0  # the driver is gone
        except BaseException:
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)  # the server's own frames and exit handlers are not the worker's

    def kill(self, serial: int, number: int) -> None:
        """Signal a worker and its children; nothing when it has been reaped."""
        if serial in self.workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.workers[serial], number)

    def reap(self) -> None:
        for serial, pid in list(self.workers.items()):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                self.kill(
                    serial, signal.SIGKILL
                )  # its children; they keep the group's number taken
                del self.workers[serial]
                self.connection.send(Exited(serial, os.waitstatus_to_exitcode(status)))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its parent, dies (Linux; nothing elsewhere)."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before that call
            os._exit(0)


def _outlive_parent() -> None:
    """Undo `_die_with`."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def work(descriptor: int, setup: Setup) -> None:
    """Build `evaluate` once, then answer jobs until the driver closes the socket.

    The first answer is `(True, None)` or what building raised; each later one belongs to a job:
    `(True, result)` or `(False, Raised)`.
    """
    if _LINUX:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    load = _Loader(setup.main)
    with Connection(descriptor) as connection:
        try:
            make_evaluate, spec = load(setup.make_evaluate)
            evaluate = make_evaluate(spec)
        except BaseException as error:  # whatever it is, the driver decides
            connection.send_bytes(pickle.dumps((False, raised(error))))
            return
        connection.send_bytes(pickle.dumps((True, None)))
        while True:
            connection.send_bytes(_answer(evaluate, load, connection.recv_bytes()))


def _answer(evaluate: Callable[[Any], Any], load: "_Loader", job: bytes) -> bytes:
    try:
        return pickle.dumps((True, evaluate(load(job))), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # SystemExit, too: a job costs its own trial only
        return pickle.dumps((False, raised(error)))
    finally:
        _flush()


def _flush() -> None:
    """Bring what was printed to its file: workers are killed, sooner or later."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        sys.stderr.flush()


class _Loader:
    """Unpickles; imports the driver's `__main__` only when something in it is asked for.

    `multiprocessing` imports it in every worker, and with it whatever a command line program
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
        this._inheriting = (
            True  # so that a `__main__` without its guard does not start a pool in here
        )
        try:
            spawn.prepare(main)
        finally:
            del this._inheriting
        return pickle.loads(pickled)
