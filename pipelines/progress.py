"""What a running study shows: best so far, rate, time left."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpo.trial import Trial
from pipelines.metrics import Metric


def duration(seconds: float) -> str:
    """Seconds as `0:42` or `1:02:03`."""
    whole = max(round(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class _Patient(Console):
    """A console whose reader may go away (`… | head`, a closed terminal, a full disk): nothing is shown then."""

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.quiet = True

    def on_broken_pipe(self) -> None:
        self.quiet = True  # rich would end the process


@dataclass
class Reporter:
    """Shows trials as they are told: a live bar on a terminal, one line each elsewhere.

    When nobody can read it any more the study goes on all the same.

    `total` is the number of trials the study will have and `timeout` its seconds, each None when it has no such end;
    `done` are the trials that were finished before this process began.
    """

    metric: Metric
    total: int | None
    timeout: float | None
    done: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def __post_init__(self) -> None:
        self._console = _Patient(file=self.stream, highlight=False, soft_wrap=True)
        self._start = time.monotonic()
        self._told = 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bar.start()
            self._bar.add_task("starting workers", total=self.total, completed=self.done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        (self._bar.console if self._bar else self._console).print(text, markup=False)

    def told(self, trial: Trial, best: Trial | None) -> None:
        """Show one more finished trial."""
        self._told += 1
        line = f"{self._result(trial)}  {self._best(best)}  {self._pace()}"
        if self._bar:
            self._bar.update(
                self._bar.task_ids[0], advance=1, description=f"{self._best(best)}  {self._pace()}"
            )
        if trial.failure or not self._bar:
            self.say(line)

    def _result(self, trial: Trial) -> str:
        of = f"/{self.total}" if self.total else ""
        if trial.failure:
            return f"trial {trial.number}{of} FAILED: {trial.failure.splitlines()[0]:.200}"
        value = self._in_users_direction(trial.loss)
        return f"trial {trial.number}{of} ({trial.origin})  {self.metric.name} {value:.5g}  {trial.seconds:.1f} s"

    def _best(self, best: Trial | None) -> str:
        return (
            f"best {self._in_users_direction(best.loss):.5g} (trial {best.number})"
            if best
            else "no result yet"
        )

    def _pace(self) -> str:
        elapsed = time.monotonic() - self._start
        rate = self._told / elapsed if elapsed > 0 else 0.0
        ends = [(self.total - self.done - self._told) / rate] if self.total and rate else []
        ends += [self.timeout - elapsed] if self.timeout else []
        eta = f"  ETA {duration(min(ends))}" if ends else ""
        return f"{rate:.2f} trials/s{eta}"

    def _in_users_direction(self, loss: float) -> float:
        return self.metric.from_loss(loss)
