"""What a running study shows: best so far, rate, time left."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.findings.scales import duration

_WHOLE = 1000  # what the bar shows of a study, in parts


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

    `total` is the number of trials the study will have and `timeout` its seconds, each None when it
    has no such end; `share` is how much of the study was done before this process began, and `unit`
    that of the budgets, where trials stop at several.
    """

    goal: Goal
    total: int | None
    timeout: float | None
    share: float = 0.0
    unit: str | None = None
    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def __post_init__(self) -> None:
        self._console = _Patient(file=self.stream, highlight=False, soft_wrap=True)
        self._start = time.monotonic()
        self._told = 0
        self._share = self.share
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
            self._bar.add_task(
                "starting workers", total=_WHOLE, completed=round(_WHOLE * self.share)
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
        (self._bar.console if self._bar else self._console).print(text, markup=False)

    def told(self, trial: Trial, best: Trial | None, share: float) -> None:
        """Show one more finished leg, after which this share of the study is done."""
        self._told += 1
        self._share = share
        line = f"{self._result(trial)}  {self._best(best)}  {self._pace()}"
        if self._bar:
            self._bar.update(
                self._bar.task_ids[0],
                completed=round(_WHOLE * share),
                description=f"{self._best(best)}  {self._pace()}",
            )
        if trial.failure or not self._bar:
            self.say(line)
        if trial.reports and trial.reports[-1].note:
            self.say(f"trial {trial.number}: {trial.reports[-1].note}")

    def _result(self, trial: Trial) -> str:
        of = f"/{self.total}" if self.total else ""
        if trial.failure:
            return f"trial {trial.number}{of} FAILED: {trial.failure.splitlines()[0]:.200}"
        value = self._in_users_direction(trial.reports[-1].loss)
        at = f" at {trial.reached:g} {self.unit}" if self.unit else ""
        return f"trial {trial.number}{of} ({trial.origin}){at}  {self.goal.name} {value:.5g}  {trial.seconds:.1f} s"

    def _best(self, best: Trial | None) -> str:
        return (
            f"best {self._in_users_direction(best.loss):.5g} (trial {best.number})"
            if best
            else "no result yet"
        )

    def _pace(self) -> str:
        elapsed = time.monotonic() - self._start
        rate = self._told / elapsed if elapsed > 0 else 0.0
        made = self._share - self.share
        ends = [elapsed * (1 - self._share) / made] if made > 0 else []
        ends += [self.timeout - elapsed] if self.timeout else []
        eta = f"  ETA {duration(min(ends))}" if ends else ""
        legs = "legs" if self.unit else "trials"
        return f"{rate:.2f} {legs}/s{eta}"

    def _in_users_direction(self, loss: float) -> float:
        return self.goal.from_loss(loss)
