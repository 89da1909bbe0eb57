"""What `adopt` found and did, as values and as text."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpo.space.parameters import Categorical, Parameter, Value
from hpo.trial import Trial
from pipelines.adoption.metrics import LoggedMetric
from pipelines.adoption.runs import ForeignRun, Found
from pipelines.adoption.translation import Translation

SHOWN = 12  # names in a list


@dataclass(frozen=True)
class Adoption:
    """What `adopt` found, and what it has made of it.

    Attributes:
        experiment: the name of the experiment with the runs.
        model: the family that their parameters are of.
        metric: that they were judged by.
        task: of the table, and `target` its column.
        found: which runs are trials.
        translation: of their parameters.
        trials: those that count, with the losses.
        best: the best of them.
        study: the run id of the adopted study; None in a dry run.
        replaced: run ids of earlier adoptions of the same runs.
    """

    experiment: str
    model: str
    metric: LoggedMetric
    task: str
    target: str
    found: Found
    translation: Translation
    trials: tuple[Trial, ...]
    best: ForeignRun
    study: str | None = None
    replaced: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What was found, what it means here, and what was written or would be."""
        return "\n".join(
            (*self._found(), *self._parameters(), *self._notes(), "", *self._written())
        )

    def _found(self) -> Iterator[str]:
        metric, values = (
            self.metric,
            sorted(self.metric.from_loss(trial.loss) for trial in self.trials),
        )
        yield (
            f"experiment {self.experiment!r}: {len(self.trials)} runs count as trials of {self.model}, {self.task} of "
            f"{self.target!r}"
        )
        yield from (f"  {n} not counted: {why}" for why, n in self.found.others.items())
        unreadable = self.translation.unreadable
        for reason, runs in sorted(unreadable.items(), key=lambda item: -len(item[1]))[:SHOWN]:
            yield f"  {len(runs)} not counted: {reason}"
        negated = ", negated," if metric.sign < 0 else ""
        named = "" if metric.name == metric.logged else f" counts as {metric.name} and"
        better = "more" if metric.greater_is_better else "less"
        yield (
            f"metric {metric.logged}{negated}{named} lies between {values[0]:.5g} and {values[-1]:.5g}; {better} is "
            "better"
        )
        if not metric.ours:
            yield "  it is none of this project's metrics: no study learns from it until means= says which one it is"
        yield f"best: run {self.best.run_id}, {metric.value(self.best.metrics[metric.logged]):.5g}"

    def _parameters(self) -> Iterator[str]:
        best = self.translation.configurations[self.best.run_id]
        rows = [
            (
                p.name,
                ", ".join(self.translation.names[p.name]),
                _range(p),
                _shown(best.get(p.name, "")),
            )
            for p in self.translation.space
        ]
        head = ("parameter", "in the runs", "searched", "best")
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            yield ("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip()
        for reason, names in self.translation.left_out.items():
            yield f"left out, {reason}: {listed(names)}"

    def _notes(self) -> Iterator[str]:
        yield from (f"note: {note}" for note in self.translation.notes)

    def _written(self) -> Iterator[str]:
        if self.study is None:
            yield "nothing was written; run it again without dry_run"
            return
        yield f"adopted as study {self.study}; not one run of {self.experiment!r} was changed"
        if self.replaced:
            yield f"it replaces {', '.join(self.replaced)}, made of the same runs, now in MLflow's trash"
        undo = shlex.quote(f"experiment={self.experiment}")
        yield f"To take it back: mlflow run . -e adopt --env-manager local -P {undo} -P undo=true"


@dataclass(frozen=True)
class Undone:
    """The studies that were adopted from an experiment, and are no more (in a dry run: would be no more)."""

    experiment: str
    studies: tuple[str, ...]
    dry_run: bool

    def __str__(self) -> str:
        """What happened."""
        studies = f"{', '.join(self.studies)}, adopted from {self.experiment!r},"
        if self.dry_run:
            return f"{studies} would go to MLflow's trash; nothing was changed: run it again without dry_run"
        return f"{studies} went to MLflow's trash; nothing else had been written"


def _shown(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(map(str, parameter.choices))
    return f"{parameter.low:g} to {parameter.high:g}{', log' if parameter.log else ''}"


def listed(names: Sequence[str]) -> str:
    """The first of `names`, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
