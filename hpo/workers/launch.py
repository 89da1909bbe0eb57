"""Starting the fork server of a pool: with which environment and output, and what it is told first."""

import contextlib
import pickle
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hpo.workers.worker import Setup, command


@dataclass(frozen=True)
class Launch:
    """How to start a fork server."""

    setup: Setup
    environment: Mapping[str, str]
    log: Path | None

    def __call__(self) -> tuple["subprocess.Popen[bytes]", Connection]:
        """A fork server that has been told its setup, and our end of the connection to it."""
        ours, theirs = socket.socketpair()
        with theirs, self.output() as output:
            process = subprocess.Popen(
                command(theirs.fileno()),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C and hang-up are for the driver
            )
        connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # it died at once: `listen` sees it
            connection.send_bytes(pickle.dumps(self.setup))
        return process, connection

    def output(self) -> contextlib.AbstractContextManager[Any]:
        """What takes the output of the server and of the workers; None leaves them the driver's."""
        return self.log.open("ab") if self.log else contextlib.nullcontext()


def main_module() -> dict[str, str]:
    """How a worker can import this process's `__main__`, should a job need something from it."""
    data = spawn.get_preparation_data("worker")
    return {
        name: data[name]
        for name in ("init_main_from_name", "init_main_from_path")
        if data.get(name)
    }
