"""Starts the fork server of a pool."""

import contextlib
import os
import pickle
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hpo.workers.worker import Setup, Signal, Start, command

_TAIL = 1 << 16  # bytes of the log that are read to find out why a worker ended
_END = 5.0  # seconds for the fork server to end after its workers


@dataclass
class ForkServer:
    """A running fork server, seen from the driver.

    Attributes:
        process: its process.
        connection: our end of the connection to it.
        preloaded: whether it has reported that it can start workers.
    """

    process: "subprocess.Popen[bytes]"
    connection: Connection
    preloaded: bool = False

    def send(self, message: Start | Signal, descriptor: int | None = None) -> None:
        """Send a message, and a file descriptor with it; do nothing if the server has died."""
        with contextlib.suppress(OSError):
            self.connection.send(message)
            if descriptor is not None:
                with socket.socket(fileno=os.dup(self.connection.fileno())) as channel:
                    socket.send_fds(channel, [b"."], [descriptor])

    def end(self) -> None:
        """Close the connection, whereupon the server kills its workers and ends."""
        self.connection.close()
        if not self.preloaded:  # no workers yet, and it cannot notice while it imports
            self.process.kill()
        try:
            self.process.wait(_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Launch:
    """How to start a fork server.

    Attributes:
        setup: the first message to the server.
        environment: its environment variables, and those of the workers.
        log: file to which its output and that of the workers is appended; None for the driver's.
    """

    setup: Setup
    environment: Mapping[str, str]
    log: Path | None

    def __call__(self) -> ForkServer:
        """Start a server and send it its setup."""
        ours, theirs = socket.socketpair()
        with theirs, self.output() as output:
            process = subprocess.Popen(
                command(theirs.fileno()),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C and hang-ups of the terminal are for the driver
            )
        connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # it died at once: the supervisor notices
            connection.send_bytes(pickle.dumps(self.setup))
        return ForkServer(process, connection)

    @property
    def printed(self) -> int:
        """How many bytes the log has; 0 without one."""
        try:
            return self.log.stat().st_size if self.log else 0
        except OSError:
            return 0

    def said(self, since: int) -> str:
        """The end of what was printed to the log after its first `since` bytes."""
        try:
            with self.log.open("rb") if self.log else contextlib.nullcontext() as log:
                if log is None:
                    return ""
                log.seek(max(since, self.printed - _TAIL))
                return log.read(_TAIL).decode(errors="replace")
        except OSError:
            return ""

    def output(self) -> contextlib.AbstractContextManager[Any]:
        """The file for the output of the server and the workers; None for the driver's own."""
        if self.log is None:
            return contextlib.nullcontext()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.log, flags, 0o600), "ab")


def main_module() -> dict[str, str]:
    """How a worker can import this process's `__main__`, if a job needs something from it."""
    data = spawn.get_preparation_data("worker")
    names = ("init_main_from_name", "init_main_from_path")
    return {name: data[name] for name in names if data.get(name)}
