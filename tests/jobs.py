"""Jobs for the tests of executors: each names what it does to the process that runs it."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

IMPORTED_BY = os.getpid()
PATIENCE = 180  # seconds: only what hangs takes so long, on however busy a machine
Job = tuple[Any, ...]


class StubbornError(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Broken:
    """Pickles, but does not unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ("this result does not unpickle",)


def refuse(message: str) -> NoReturn:
    raise ValueError(message)


class Evaluate:
    """Counts the jobs that it got."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.calls = 0
        self.born = (os.getpid(), time.monotonic_ns())

    def __call__(self, job: Job) -> Any:
        self.calls += 1
        name, *arguments = job
        return JOBS[name](self, *arguments)


def never_ready(spec: str) -> Callable[[Job], Any]:
    raise ValueError(f"cannot read {spec}")


def dies_at_start(spec: str) -> Callable[[Job], Any]:
    os._exit(int(spec))


def refuse_with(kind: type[Exception], *arguments: str) -> NoReturn:
    raise kind(*arguments)


def kill_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def start_child(path: str, hang: bool) -> int:
    """A child that keeps running; its id is left in a file."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(path, "w") as file:
        file.write(str(child.pid))
    if hang:
        time.sleep(600)
    return child.pid


def hold_the_interpreter(seconds: int) -> None:
    """Native code that does not let any other Python thread run."""
    ctypes.PyDLL(None).sleep(seconds)


def limited(me: Evaluate, way: str) -> Any:
    """Run out of an address space that has room for little more than what is there."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
    try:
        return WAYS_TO_RUN_OUT[way]()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def abort_like_native_code() -> NoReturn:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def exit_like_native_code() -> NoReturn:
    os.write(2, b"OpenBLAS error: Memory allocation still failed after 10 retries, giving up.\n")
    os._exit(1)


def fill() -> list[bytes]:
    """Take what is left in small pieces, so that nothing is left for the error itself."""
    pieces = []
    while True:
        pieces.append(bytes(1 << 10))


WAYS_TO_RUN_OUT: dict[str, Callable[[], Any]] = {
    "at once": lambda: bytes(1 << 30),
    "in pieces": fill,
    "in an array": lambda: np.ones(1 << 28),
    "in native code": abort_like_native_code,
    "in BLAS": exit_like_native_code,
}
JOBS: dict[str, Callable[..., Any]] = {
    "echo": lambda _, value: value,
    "state": lambda me: (me.spec, me.calls, me.born),
    "pids": lambda _: (os.getpid(), os.getppid(), IMPORTED_BY),
    "environment": lambda _: dict(os.environ),
    "print": lambda _, text: print(text),
    "sleep": lambda _, seconds: time.sleep(seconds),
    "raise": lambda _, kind, *arguments: refuse_with(kind, *arguments),
    "exit": lambda _, code: os._exit(code),
    "sys.exit": lambda _, code: sys.exit(code),
    "kill": lambda _, number: os.kill(os.getpid(), number),
    "kill server": lambda _: kill_server(),
    "ignore sigterm": lambda _: ignore_sigterm(),
    "hold": lambda _, seconds: hold_the_interpreter(seconds),
    "lambda": lambda _: lambda: None,
    "broken": lambda _: Broken(),
    "child": lambda _, path, hang: start_child(path, hang),
    "memory": limited,
    "big": lambda _, size: b"x" * size,
}
