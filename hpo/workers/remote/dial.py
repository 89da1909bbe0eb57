"""Hosts that dial back to the driver: the two ends of their connection.

Both ends prove with a random key that they belong together before anything is unpickled
(`multiprocessing.connection`). What follows is not encrypted: it is for the network of a cluster.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hpo.workers.remote.fleet import Answered, Event, Lost, Order, Up
from hpo.workers.remote.folder import read_files
from hpo.workers.remote.host import Host, HostSetup

_HANDSHAKE = 10.0  # seconds for the other end to prove who it is
_ATTEMPT = 5.0  # seconds for one address to answer
_RETRY = 60.0  # seconds in which a host tries to reach the driver
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, times


@dataclass(frozen=True)
class Line:
    """How a host reaches the driver.

    Attributes:
        addresses: of the driver's machine; the first that answers is taken.
        port: of the driver.
        key: the file with the key, which only the user can read.
    """

    addresses: Sequence[str]
    port: int
    key: Path

    def dial(self) -> Connection:
        """Connect to the driver.

        Raises:
            ConnectionError: when it does not answer.
        """
        key, end, error = self.key.read_bytes(), time.monotonic() + _RETRY, "no address"
        while time.monotonic() < end:
            for address in self.addresses:
                try:
                    connected = socket.create_connection((address, self.port), _ATTEMPT)
                    return _proved(connected, key, ours_first=False)
                except (OSError, EOFError, AuthenticationError) as failed:
                    error = f"{address}: {failed}"
            time.sleep(1.0)
        raise ConnectionError(f"the driver of the study does not answer ({error})")


def serve(line: Line, serial: int, setup: HostSetup) -> None:
    """Run jobs for the driver until it hangs up or dies."""
    host = Host(setup)
    lock = threading.Lock()
    try:
        with line.dial() as connection:
            connection.send(Up(serial, host.name))

            def answer(job: bytes, limit: float | None) -> None:
                found = host.run(job, limit)
                with contextlib.suppress(OSError), lock:  # the driver has gone: the loop ends
                    connection.send(found)

            while True:
                match connection.recv():
                    case (str(name), dict(files)):
                        host.receive(name, files)
                    case (bytes(job), limit):
                        threading.Thread(target=answer, args=(job, limit), daemon=True).start()
    except (EOFError, OSError):
        pass  # the driver has ended
    finally:
        host.close()


class Switchboard:
    """The driver's end of all connections.

    Args:
        events: what hosts report.
        bind: the address to listen at; "" for all of this machine.
    """

    def __init__(self, events: "SimpleQueue[Event]", bind: str) -> None:
        self.key = os.urandom(32)
        self._events = events
        self._lines: dict[int, Connection] = {}
        self._lock = threading.Lock()
        self._socket = socket.create_server((bind, 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, name="switchboard", daemon=True).start()

    def connected(self, serial: int) -> bool:
        """Whether a host has a connection."""
        with self._lock:
            return serial in self._lines

    def send(self, serial: int, order: Order) -> None:
        """Send a job to a host, and before it what the host lacks."""
        with self._lock:
            line = self._lines.get(serial)
        if line is None:
            return  # its end is reported
        with contextlib.suppress(OSError):  # as above
            for name, folder in order.shared.items():
                line.send((name, read_files(folder)))
            line.send((order.job, order.time_limit))

    def hang_up(self, serial: int) -> None:
        """End the connection of a host, whereupon the host ends."""
        with self._lock:
            line = self._lines.pop(serial, None)
        if line is not None:
            _shut(line)

    def close(self) -> None:
        """End all connections, and accept no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for serial in list(self._lines):
            self.hang_up(serial)

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._listen, args=(connected,), daemon=True).start()

    def _listen(self, connected: socket.socket) -> None:
        """Report what one host says, from its call to its end."""
        try:
            line = _proved(connected, self.key, ours_first=True)
            up: Up = line.recv()
        except (OSError, EOFError, AuthenticationError):
            return  # somebody else, or it has ended already
        with self._lock:
            before, self._lines[up.serial] = self._lines.get(up.serial), line
        if before is not None:
            _shut(before)
        self._events.put(up)
        with contextlib.suppress(EOFError, OSError, TypeError):  # TypeError: closed while it reads
            while True:
                self._events.put(Answered(up.serial, line.recv()))
        with self._lock:
            ours = self._lines.get(up.serial) is line
            if ours:
                del self._lines[up.serial]
        if ours:
            self._events.put(Lost(up.serial, "its connection has ended"))
        line.close()


def _proved(connected: socket.socket, key: bytes, *, ours_first: bool) -> Connection:
    """The connection, when both ends have proved that they have the key.

    Raises:
        AuthenticationError, OSError, EOFError: when the other end has not.
    """
    connected.setblocking(True)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    _limit(connected, _HANDSHAKE)
    line: Any = Connection(os.dup(connected.fileno()))
    steps: list[Callable[[Any, bytes], None]] = [deliver_challenge, answer_challenge]
    try:
        for step in steps if ours_first else reversed(steps):
            step(line, key)
    except BaseException:
        line.close()
        raise
    else:
        _limit(connected, 0.0)
    finally:
        connected.close()
    return line  # type: ignore[no-any-return]


def _limit(connected: socket.socket, seconds: float) -> None:
    """Limit how long the system waits for the other end to say something; 0 for no limit."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))


def _shut(line: Connection) -> None:
    """End a connection that another thread may be reading."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(line.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
