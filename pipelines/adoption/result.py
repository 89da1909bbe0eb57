"""What `adopt` found and did, as values and as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpo.space.parameters import Categorical, Parameter, Value
from hpo.trial import Trial
from pipelines.adoption.metrics import LoggedMetric
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.translation import Translation
from pipelines.adoption.trials import Found
from pipelines.files.commands import command

MAX_LISTED = 12  # names in a list


@dataclass(frozen=True)
class Adoption:
    """What `adopt` found, and the past study that it made of it.

    Attributes:
        experiment: The name of the experiment with the runs.
        model: The model family of their parameters.
        metric: The metric that they are compared by.
        task: The kind of task.
        target: The target column of the table.
        found: The runs that are trials, and the counts of others.
        translation: Their parameters.
        trials: The trials of the study, with losses.
        best: The run with the smallest loss.
        study: The run id of the adopted study; None in a dry run.
        replaced: Run ids of earlier adoptions of the same runs.
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

    @property
    def best_value(self) -> float:
        """The metric of the best run."""
        return self.metric.value(self.best.metrics[self.metric.logged])

    def __str__(self) -> str:
        """What was found, how it was read, and what was written."""
        notes = [f"note: {note}" for note in self.translation.notes]
        return "\n".join(
            [*self._runs(), *self._metric(), *self._parameters(), *notes, "", *self._written()]
        )

    def _runs(self) -> Iterator[str]:
        yield (
            f"experiment {self.experiment!r}: {len(self.trials)} runs count as trials of "
            f"{self.model}, {self.task} of {self.target!r}"
        )
        for reason, count in self.found.others.items():
            yield f"  {count} not counted: {reason}"
        unreadable = sorted(self.translation.unreadable.items(), key=_count, reverse=True)
        for reason, run_ids in unreadable[:MAX_LISTED]:
            yield f"  {len(run_ids)} not counted: {reason}"

    def _metric(self) -> Iterator[str]:
        metric = self.metric
        values = [metric.goal.from_loss(trial.loss) for trial in self.trials]
        negated = " (negated)" if metric.sign < 0 else ""
        meaning = "" if metric.name == metric.logged else f", read as {metric.name},"
        yield (
            f"metric {metric.logged}{negated}{meaning} lies between {min(values):.5g} and "
            f"{max(values):.5g}; {metric.goal.better} is better"
        )
        if not metric.ours:
            yield (
                "  it is not a metric of this project, so studies cannot learn from it; if it "
                "stands for one, adopt it again with means=, such as means=roc_auc"
            )
        yield f"best: run {self.best.run_id}, {self.best_value:.5g}"

    def _parameters(self) -> Iterator[str]:
        best = self.translation.configurations[self.best.run_id]
        rows = [("parameter", "in the runs", "searched", "best")]
        for parameter in self.translation.space:
            logged = ", ".join(self.translation.names[parameter.name])
            value = _format(best.get(parameter.name, ""))
            rows.append((parameter.name, logged, _format_range(parameter), value))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = map(str.ljust, row, widths)
            yield f"  {'  '.join(cells)}".rstrip()
        for reason, names in self.translation.left_out.items():
            yield f"left out, {reason}: {listed(names)}"

    def _written(self) -> Iterator[str]:
        if self.study is None:
            yield "nothing was written; run it again without dry_run"
            return
        yield f"adopted as study {self.study}; no run of {self.experiment!r} was changed"
        if self.replaced:
            yield (
                f"it replaces {', '.join(self.replaced)}, adopted from the same runs, now in "
                "MLflow's trash"
            )
        yield f"to undo it: {command('adopt', experiment=self.experiment, undo='true')}"


@dataclass(frozen=True)
class Undone:
    """The adopted studies of an experiment that were deleted (in a dry run: would be)."""

    experiment: str
    studies: tuple[str, ...]
    dry_run: bool

    def __str__(self) -> str:
        """What happened."""
        studies = f"{', '.join(self.studies)}, adopted from {self.experiment!r},"
        if self.dry_run:
            return (
                f"{studies} would go to MLflow's trash; nothing was changed: run it again without "
                "dry_run"
            )
        return f"{studies} went to MLflow's trash; no other run was changed"


def listed(names: Sequence[str]) -> str:
    """The first of `names`, and how many more there are."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _count(item: tuple[str, Sequence[str]]) -> int:
    return len(item[1])


def _format(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _format_range(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(map(str, parameter.choices))
    return f"{parameter.low:g} to {parameter.high:g}{', log' if parameter.log else ''}"
