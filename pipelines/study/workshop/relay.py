"""The exchange of a session whose workers are on other machines.

What the driver puts into it is published to all machines, and a worker finds it in a folder there.
What a worker puts into it, and what it prints, travels with the end of its job. So no job names a
path of the driver's disk.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from hpo.trial import Report
from hpo.workers.remote.fleet import Shelf
from hpo.workers.remote.folder import Files, read_files, write_files
from hpo.workers.remote.host import Place
from hpo.workers.remote.pool import RemotePool
from pipelines.files.excerpt import taken
from pipelines.files.exchange import Exchange
from pipelines.files.uris import first_line
from pipelines.study.workshop.around import PoolAround


class Left(NamedTuple):
    """What a job has left on its machine.

    Attributes:
        put: what it has put into the exchange, by name.
        printed: what it has printed, by the names of the files.
    """

    put: Mapping[str, Files]
    printed: Mapping[str, str]


@dataclass(frozen=True)
class Relayed:
    """Makes, on another machine, what turns a job into a report.

    Attributes:
        make: makes of an exchange what turns a job into a report.
    """

    make: Callable[[Exchange], Callable[[Any], Report]]

    def __call__(self, place: Place) -> Callable[[Any], Report]:
        """What a worker at `place` evaluates jobs with."""
        exchange = _exchange_at(place)
        exchange.scratch.mkdir(exist_ok=True)
        return self.make(exchange)


def collected(place: Place) -> Left:
    """What a job has left at `place`; it is deleted there."""
    exchange = _exchange_at(place)
    put = {name: read_files(folder) for name, folder in exchange.sent()}
    exchange.forget_sent()
    return Left(put, {path.name: taken(path) for path in exchange.printed.glob("*")})


def _exchange_at(place: Place) -> Exchange:
    return Exchange(str(place.shared), place.own / "work")


@dataclass(frozen=True)
class PublishedExchange(Exchange):
    """The driver's side of the exchange: what it puts there is published to all workers.

    Attributes:
        shelf: where that is noted.
    """

    shelf: Shelf = field(default_factory=Shelf)

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Store the files that `write` puts into an empty folder, and publish them."""
        super().put(name, write)
        self.shelf.folders[name] = self.get(name)


class Relay(PoolAround[RemotePool[Any, Report]]):
    """A pool on other machines whose jobs put things into the driver's exchange.

    Args:
        pool: that runs them.
        folder: of the driver's exchange.
    """

    def __init__(self, pool: RemotePool[Any, Report], folder: Path) -> None:
        super().__init__(pool)
        self._exchange = Exchange(str(folder))

    def submit(self, job: Any, time_limit: float | None = None) -> "Future[Report]":
        """Start a job; its future is done when the driver has what the job has put."""
        future: Future[Report] = Future()

        def settle(done: "Future[Report]") -> None:
            error: BaseException | None
            left: Left | None = self._pool.collected(done)
            if left is not None:
                self._keep(left.printed)
            try:
                error = done.exception()
            except CancelledError as cancelled:
                error = cancelled
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(self._stored(done.result(), left.put if left else {}))

        self._pool.submit(job, time_limit).add_done_callback(settle)
        return future

    def _keep(self, printed: Mapping[str, str]) -> None:
        """Write what a job has printed to where it would be from a worker of this machine."""
        folder = self._exchange.printed
        with suppress(OSError):  # it is worth less than the report
            for name, text in printed.items():
                folder.mkdir(exist_ok=True)
                (folder / Path(name).name).write_text(text, encoding="utf-8")

    def _stored(self, report: Report, put: Mapping[str, Files]) -> Report:
        """The report, when what came with it is in the exchange."""
        for name, files in put.items():
            try:
                self._exchange.put(name, _writer(files))
            except OSError as error:  # as in a worker of this machine
                note = f"its model was not stored: {first_line(error)}"
                report = replace(report, note="; ".join(filter(None, (report.note, note))))
        return report


def _writer(files: Files) -> Callable[[Path], None]:
    return lambda folder: write_files(folder, files)
