"""The progress of a running study: the best score so far, the rate, the time left."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpo.goals import Goals
from hpo.goals.forecast import HORIZON
from hpo.trial import Trial
from pipelines.findings.scales import duration

WARNING = "warning: "  # lines with it are always shown
QUIET, NORMAL, VERBOSE = 0, 1, 2
_level: ContextVar[int] = ContextVar("level", default=NORMAL)
_BAR_LENGTH = 1000  # steps of the bar for a whole study


@contextmanager
def shown(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Choose what studies show meanwhile: with `quiet` warnings only, with `verbose` all trials."""
    token = _level.set(QUIET if quiet else VERBOSE if verbose else _level.get())
    try:
        yield
    finally:
        _level.reset(token)


def is_quiet() -> bool:
    """Whether nothing is shown but warnings and results."""
    return _level.get() == QUIET


class QuietConsole(Console):
    """A console that goes quiet if nobody reads it: `… | head`, a closed terminal, a full disk."""

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Go quiet."""
        self.quiet = True  # rich would end the process


@dataclass
class Reporter:
    """Shows trials as they report: a live bar on a terminal, otherwise one line for each.

    Attributes:
        goals: the deciding scores.
        total: the number of trials; None for no limit.
        timeout: seconds until the end of the session; None for no limit.
        share: the share of the study that was done before this session.
        unit: of the budgets; None if trials stop at a single one.
        stream: where the progress is printed.
        level: how much is shown (`shown`).
    """

    goals: Goals
    total: int | None
    timeout: float | None
    share: float = 0.0
    unit: str | None = None
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    level: int = field(default_factory=_level.get)

    def __post_init__(self) -> None:
        self._console = QuietConsole(file=self.stream, highlight=False, soft_wrap=True)
        self._start = time.monotonic()
        self._n_reports = 0
        self._share = self.share
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and self.level != QUIET:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bar.start()
            self._bar.add_task(
                "starting workers", total=_BAR_LENGTH, completed=round(_BAR_LENGTH * self.share)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        if self.level == QUIET and WARNING not in text:
            return
        (self._bar.console if self._bar else self._console).print(text, markup=False)

    def show(
        self, trial: Trial, best: Trial | None, share: float, gain: float | None = None
    ) -> None:
        """Show a finished leg.

        Args:
            trial: whose leg it is.
            best: the best trial so far.
            share: the share of the study that is done with it.
            gain: what the next trials are expected to improve; None if that is unknown.
        """
        self._n_reports += 1
        self._share = share
        forecast = "" if gain is None else f"  next {HORIZON} trials +{gain:.2g}"
        state = f"{self._best(best)}{forecast}  {self._pace()}"
        if self._bar:
            if self.total is None and self.timeout:
                share = min((time.monotonic() - self._start) / self.timeout, 1.0)
            done = round(_BAR_LENGTH * share)
            self._bar.update(self._bar.task_ids[0], completed=done, description=state)
        if trial.failure or not self._bar or self.level == VERBOSE:
            self.say(f"{self._result(trial)}  {state}")
        if self.level == VERBOSE:
            self.say(f"  {', '.join(f'{name}={value}' for name, value in trial.params.items())}")
        if trial.reports and trial.reports[-1].note:
            self.say(f"trial {trial.number}: {trial.reports[-1].note}")

    def _result(self, trial: Trial) -> str:
        of = f"/{self.total}" if self.total else ""
        if trial.failure:
            return f"trial {trial.number}{of} FAILED: {trial.failure.splitlines()[0]:.200}"
        at = f" at {trial.reached:g} {self.unit}" if self.unit else ""
        return (
            f"trial {trial.number}{of} ({trial.origin}){at}  "
            f"{self.goals.text(trial.reports[-1])}  {trial.seconds:.1f} s"
        )

    def _best(self, best: Trial | None) -> str:
        if best is None or best.best is None:
            return "no result yet"
        scores = (f"{value:.5g}" for value in self.goals.scores(best.best).values())
        return f"best {', '.join(scores)} (trial {best.number})"

    def _pace(self) -> str:
        elapsed = time.monotonic() - self._start
        rate = self._n_reports / elapsed if elapsed > 0 else 0.0
        left = self._seconds_left(elapsed)
        eta = f"  ETA {duration(left)}" if left < math.inf else ""
        legs = "legs" if self.unit else "trials"
        return f"{rate:.2f} {legs}/s{eta}"

    def _seconds_left(self, elapsed: float) -> float:
        """Until the last trial or the timeout, whichever comes first; inf if unknown."""
        left = self.timeout - elapsed if self.timeout else math.inf
        done = self._share - self.share
        if done > 0:
            left = min(left, elapsed * (1 - self._share) / done)
        return left
