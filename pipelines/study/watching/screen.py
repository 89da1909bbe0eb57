"""A watched study on a terminal: a picture that is drawn again, elsewhere one line per change."""

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.study.progress import QuietConsole
from pipelines.study.watching.shown import Snapshot

_BAR = 40  # characters


class Screen(AbstractContextManager["Screen"]):
    """Shows snapshots.

    Args:
        stream: where to; standard error if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = QuietConsole(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._console.soft_wrap = False
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._said = ""

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot, note: str = "") -> None:
        """Draw a snapshot, or print its line if that has changed.

        Args:
            snapshot: of the study.
            note: beside it, such as that the server does not answer.
        """
        if self._live:
            self._live.update(drawn(snapshot, note), refresh=True)
            return
        line = f"{snapshot}; {note}" if note else str(snapshot)
        if line != self._said:
            self._said = line
            self._console.print(line, markup=False)


def drawn(snapshot: Snapshot, note: str = "") -> RenderableType:
    """A snapshot as a picture for a terminal."""
    return Group(*_parts(snapshot, note))


def _parts(snapshot: Snapshot, note: str) -> Iterator[RenderableType]:
    yield Text(snapshot.title, style="bold")
    yield Text(snapshot.state, style="dim")
    if note:
        yield Text(note, style="yellow")
    yield Text("")
    if snapshot.share is not None:
        bar = Table.grid(padding=(0, 1))
        percent = f"{math.floor(100 * snapshot.share)} %"
        bar.add_row(ProgressBar(total=1.0, completed=snapshot.share, width=_BAR), percent)
        yield bar
    yield Text(snapshot.progress)
    yield Text(snapshot.best or "no result yet", style="bold green" if snapshot.best else "")
    if snapshot.configuration:
        values = (f"{name}={value}" for name, value in snapshot.configuration.items())
        yield Text(f"  {', '.join(values)}")
    if snapshot.rungs:
        yield Text("")
        yield _rungs(snapshot)
    if snapshot.last:
        yield Text("")
        yield _last(snapshot)
    for reason, trials in snapshot.reasons:
        yield Text(f"{trials} failed: {reason}", style="red")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    return table


def _rungs(snapshot: Snapshot) -> Table:
    table = _table("budget", "reached", "running", "best there")
    for rung in snapshot.rungs:
        best = "–" if rung.best is None else f"{rung.best:.5g}"
        table.add_row(f"{rung.budget:g}", str(rung.reached), str(rung.running or "–"), best)
    return table


def _last(snapshot: Snapshot) -> Table:
    table = _table("trial", "", "score", "training", "from")
    for line in snapshot.last:
        cells = (str(line.number), line.state, line.scores, line.seconds, line.origin)
        table.add_row(*map(Text, cells))
    return table
