"""A past study made of foreign runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import ParameterError
from hpo.trial import Report, Trial
from pipelines.adoption.mapping import Mapped
from pipelines.adoption.metrics import LoggedMetric, impossible_values
from pipelines.adoption.result import Adoption, listed
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.translation import Translation, translate
from pipelines.adoption.trials import MIN_TRIALS, Found, trials_among
from pipelines.models import settings
from pipelines.table.source import Source, described

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

ADOPTED = "adopted"  # the algorithm of such a study, and the key of its sources in the header
FULL_BUDGET = 1.0  # every run counts as a full training


@dataclass(frozen=True)
class ForeignRuns:
    """Runs of an experiment, and how to read them.

    Attributes:
        experiment: The name of the experiment.
        runs: All of its runs.
        metric: The metric to compare them by.
        model: The model family of their parameters.
        mapping: The user's mapping of parameter names.
    """

    experiment: str
    runs: Sequence[ForeignRun]
    metric: LoggedMetric
    model: str
    mapping: Mapped


@dataclass(frozen=True)
class AdoptedStudy:
    """A study to write.

    Attributes:
        header: As of every study, with its sources under the key `ADOPTED`.
        trials: Full trainings with losses.
        best_value: The best value of its metric.
        description: For people who find the run in MLflow, in Markdown.
    """

    header: Mapping[str, Any]
    trials: tuple[Trial, ...]
    best_value: float
    description: str


def read_trials(foreign: ForeignRuns, prepared: "Prepared") -> Adoption:
    """The trials among foreign runs that were trained on the `prepared` table.

    Raises:
        ParameterError: If there are too few, or the metric has impossible values.
    """
    metric, model, kind = foreign.metric, foreign.model, prepared.task.kind
    found = trials_among(foreign.runs, metric, model, foreign.mapping)
    mistake = impossible_values(metric, [run.metrics[metric.logged] for run in found.trials])
    if mistake:
        raise ParameterError(mistake)
    own = settings(model, kind=kind, has_categorical=bool(prepared.features.cardinalities))
    translation = translate(found.trials, own, foreign.mapping)
    readable = [run for run in found.trials if run.run_id in translation.configurations]
    _check_enough(foreign, len(readable), found, translation)
    trials = tuple(_trials(readable, metric, translation))
    best = readable[min(trials, key=lambda trial: trial.loss).number]
    return Adoption(
        experiment=foreign.experiment,
        model=model,
        metric=metric,
        task=kind,
        target=prepared.target_name,
        found=found,
        translation=translation,
        trials=trials,
        best=best,
    )


def _trials(
    runs: Sequence[ForeignRun], metric: LoggedMetric, translation: Translation
) -> Iterator[Trial]:
    for number, run in enumerate(runs):
        report = Report(FULL_BUDGET, metric.loss(run.metrics[metric.logged]))
        params = translation.configurations[run.run_id]
        yield Trial(number, params, FULL_BUDGET, origin=run.run_id, reports=(report,))


def _check_enough(
    foreign: ForeignRuns, n_trials: int, found: Found, translation: Translation
) -> None:
    experiment, model = foreign.experiment, foreign.model
    if n_trials < MIN_TRIALS:
        raise ParameterError(
            f"{n_trials} of {len(foreign.runs)} runs of experiment {experiment!r} count as trials "
            f"of {model}, and {MIN_TRIALS} are needed; {_not_counted(found, translation)}"
        )
    if not len(translation.space):
        reasons = [f"{reason}: {listed(names)}" for reason, names in translation.left_out.items()]
        raise ParameterError(
            f"no parameter of {model} differs between the {n_trials} trials of experiment "
            f"{experiment!r}; {'; '.join(reasons)}"
        )


def _not_counted(found: Found, translation: Translation) -> str:
    unreadable = {reason: len(ids) for reason, ids in translation.unreadable.items()}
    counts = {**found.others, **unreadable}
    reasons = [f"{count} ({reason})" for reason, count in counts.items()]
    return f"not counted: {listed(reasons)}" if reasons else "there are no others"


def adopted_study(
    found: Adoption, source: Source, prepared: "Prepared", experiment_id: str
) -> AdoptedStudy:
    """The study to write for an adoption."""
    data = source.plan(prepared)
    header = {
        "model": found.model,
        "algorithm": ADOPTED,
        "metric": found.metric.name,
        "direction": found.metric.goal.direction,
        "data": asdict(data),
        "target": data.target,
        "task": data.task,
        "space": found.translation.space.to_dict(),
        "rungs": [FULL_BUDGET],
        "meta_features": described(prepared),
        ADOPTED: _sources(found, experiment_id),
    }
    return AdoptedStudy(header, found.trials, found.best_value, _description(found))


def _sources(found: Adoption, experiment_id: str) -> dict[str, Any]:
    """The runs that the study was made from, and how they were read."""
    return {
        "experiment": found.experiment,
        "experiment_id": experiment_id,
        "metric": found.metric.logged,
        "names": found.translation.names,
        "left_out": found.translation.left_out,
        "notes": found.translation.notes,
        "trials": [
            {
                "run_id": trial.origin,
                "value": found.metric.goal.from_loss(trial.loss),
                "params": trial.params,
            }
            for trial in found.trials
        ],
    }


def _description(found: Adoption) -> str:
    experiment = " ".join(found.experiment.replace("`", "'").split())
    return (
        f"**Adopted**: {len(found.trials)} runs of the experiment `{experiment}`, which this "
        "project did not log, as a past study that later ones learn from. `study.json` lists the "
        "runs, which were not changed. The study cannot be resumed; to undo the adoption, delete "
        "this run, or run `adopt` with `undo=true`."
    )
