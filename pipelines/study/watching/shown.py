"""What a watcher sees of a study, as plain values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.files.commands import command
from pipelines.findings.scales import duration


@dataclass(frozen=True)
class Rung:
    """How many trials reached a budget, how many are on the way there, and the best score there."""

    budget: float
    reached: int
    running: int
    best: float | None


@dataclass(frozen=True)
class Line:
    """A trial of the list: its number, state, scores, seconds and origin, for people."""

    number: int
    state: str
    scores: str
    seconds: str
    origin: str


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        title: model, algorithm and name.
        state: whether it runs, who runs it, and how it ended.
        trials: known so far.
        total: how many there will be; None if unknown.
        running: trials that workers have.
        failed: trials without a result.
        share: of the training that is done, from 0 to 1; None if unknown.
        per_second: trials that ended lately; None before the second.
        left: seconds until the end; infinite if unknown.
        best: the best score so far with its trial; empty before the first.
        configuration: that of the best trial, for people.
        rungs: of a race, ascending; empty for a single budget.
        last: the trials that changed last, the newest first.
        reasons: the most common reasons of failures, and how many trials each has.
    """

    title: str
    state: str
    trials: int
    total: int | None
    running: int
    failed: int
    share: float | None
    per_second: float | None
    left: float
    best: str
    configuration: Mapping[str, str]
    rungs: Sequence[Rung]
    last: Sequence[Line]
    reasons: Sequence[tuple[str, int]]

    @property
    def progress(self) -> str:
        """Trials, rate and time left in one line."""
        of = f"/{self.total:,}" if self.total else ""
        parts = [f"{self.trials:,}{of} trials"]
        if self.running:
            parts.append(f"{self.running} running")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.per_second is not None:
            parts.append(rate(self.per_second))
        if self.left < math.inf:
            parts.append(f"ETA {duration(self.left)}")
        return ", ".join(parts)

    def __str__(self) -> str:
        """The snapshot in one line."""
        return f"{self.progress}; {self.best or 'no result yet'}"


def rate(per_second: float) -> str:
    """A rate in the unit that has whole numbers: `3.2 trials/s`, `14 trials/min`."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.2g} trials/{unit}"
    return f"{per_second * 3600:.2g} trials/h"


@dataclass(frozen=True)
class Watched:
    """A study as it was seen last.

    Attributes:
        study: its run id.
        last: the last snapshot.
        stopped: whether the watcher was stopped by Ctrl-C, before the study ended.
        lost: whether no process runs the study, which has not ended.
    """

    study: str
    last: Snapshot
    stopped: bool = False
    lost: bool = False

    def __str__(self) -> str:
        """The state of the study, its best configuration, and the next command."""
        values = [f"  {name}: {value}" for name, value in self.last.configuration.items()]
        return "\n".join([self._state, self.last.progress, *self._best, *values, "", self._next])

    @property
    def _state(self) -> str:
        if self.lost:
            return f"study {self.study}: its driver gives no sign any more"
        return f"study {self.study}: {'still ' if self.stopped else ''}{self.last.state}"

    @property
    def _best(self) -> list[str]:
        return [self.last.best] if self.last.best else []

    @property
    def _next(self) -> str:
        if self.lost:
            return f"Resume it: {command('tune', study=self.study)}"
        if self.stopped:
            return f"Watch it again: {command('watch', study=self.study)}"
        return f"Next: {command('report', study=self.study)}"
