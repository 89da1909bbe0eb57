"""The entry point `adopt`: runs that this project did not log, as a past study that later ones learn from."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import ParameterError, UserError, closest, raise_all
from hpo.trial import Report, Trial
from pipelines.adoption.mapping import Mapped, load_mapping, mapping_mistakes, read_mapping
from pipelines.adoption.metrics import (
    AUTO,
    DIRECTIONS,
    LoggedMetric,
    impossible_values,
    logged_metric,
)
from pipelines.adoption.result import Adoption, Undone, listed
from pipelines.adoption.runs import FEWEST, ForeignRun, Found, said_direction, trials_among
from pipelines.adoption.translation import Translation, translate
from pipelines.models import FAMILIES, settings
from pipelines.table.source import Source, described

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

ADOPTION = "adopted"  # the algorithm of such a study, and the part of its header that says what it was made of
FULL = 1.0  # the budget of a trial: every run counts as a full training
# As in a study that says nothing else, so that the meta-features are those of such a study.
_SPLIT, _TEST_SHARE, _VALIDATION, _SEED = "random", 0.2, "holdout", 0


def adopt(
    experiment: str,
    data: str | Path | pd.DataFrame | None = None,
    target: str | None = None,
    model: str = "lightgbm",
    metric: str | None = None,
    direction: str = AUTO,
    means: str | None = None,
    mapping: str | Path | Mapping[str, Any] | None = None,
    filter: str | None = None,
    task: str = "auto",
    dry_run: bool = False,
    undo: bool = False,
) -> Adoption | Undone:
    """Let runs that this project did not log count as a past study, for later ones to learn from.

    The study is a run of its own; the runs that it is made of are read and never changed.

    Args:
        experiment: The name of the MLflow experiment with the runs, nested or not.
        data: The table that they were trained on.
        target: The column that they predict.
        model: What their parameters are of: lightgbm, xgboost or mlp.
        metric: The logged metric to judge them by.
        direction: minimize or maximize; auto where the metric is one of this project's, or Optuna
            logged the runs.
        means: Which of this project's metrics the logged one is, where its name does not say so.
        mapping: A YAML file with names in the runs and names here, for those that differ from the
            library's.
        filter: Which runs of the experiment, as a filter of MLflow's run search; none for all.
        task: auto, binary, multiclass or regression.
        dry_run: Only show what would count and what it means here, and write nothing.
        undo: Take back what was adopted from the experiment; nothing but its name is needed then.

    Raises:
        UserError: with all that is wrong and the way out, before anything is written.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    from pipelines.adoption import store
    from pipelines.store.tracking import connect

    client = connect()
    if undo:
        studies = tuple(run.info.run_id for run in store.adopted_from(client, experiment))
        if not dry_run:
            store.forget(client, studies)
        return Undone(experiment, studies, dry_run)
    entries: Mapping[str, Any] = {}
    runs: Sequence[ForeignRun] = ()
    mistakes = list(_mistakes(data, target, model, direction))
    with _told(mistakes):
        entries = load_mapping(mapping)
        mistakes += mapping_mistakes(entries, model) if model in FAMILIES else []
    with _told(mistakes):
        place = store.find_experiment(client, experiment)
        runs = store.runs_of(client, place, filter or "", run_id)
        mistakes += _mistakes_in_runs(runs, experiment, metric, entries)
    kind = None
    with _told(mistakes):
        if data is not None and target is not None:
            source = Source(data, target, task, _SPLIT, _TEST_SHARE, _VALIDATION, _SEED)
            prepared = source.prepare()
            kind = prepared.task.kind
    with _told(mistakes):
        if metric and runs:
            says = said_direction(runs, metric) if direction == AUTO else None
            judged = logged_metric(metric, kind, says or direction, means)
    raise_all(ParameterError, mistakes)
    found = _adoption(experiment, runs, judged, prepared, model, read_mapping(entries, model))
    if dry_run:
        return found
    header = _header(found, source, prepared, place.experiment_id)
    replaced = store.overlapping(client, place, (run.run_id for run in found.found.trials))
    study = store.keep(
        client,
        place,
        header,
        found.trials,
        found.metric.value(found.best.metrics[judged.logged]),
        run_id=run_id,
        description=_description(found),
    )
    store.forget(client, replaced)
    return replace(found, study=study, replaced=tuple(replaced))


@contextmanager
def _told(mistakes: list[str]) -> Iterator[None]:
    """Keep what is wrong, to be told with the rest."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _mistakes(data: object, target: str | None, model: str, direction: str) -> Iterator[str]:
    if data is None or target is None:
        yield "data and target are needed: later studies find this one by what its table is like"
    if model not in FAMILIES:
        yield f"unknown model {model!r}{closest(model, FAMILIES)}; models: {', '.join(FAMILIES)}"
    if direction not in (AUTO, *DIRECTIONS):
        yield f"unknown direction {direction!r}{closest(direction, DIRECTIONS)}; take {', '.join((AUTO, *DIRECTIONS))}"


def _mistakes_in_runs(
    runs: Sequence[ForeignRun], experiment: str, metric: str | None, entries: Mapping[str, Any]
) -> Iterator[str]:
    """What the runs do not have that they should have."""
    if not runs:
        yield f"experiment {experiment!r} has no runs, or none that match the filter"
        return
    metrics = Counter(name for run in runs for name in run.metrics)
    if metric not in metrics:
        shown = listed([f"{name} ({n} runs)" for name, n in metrics.most_common()]) or "none"
        what = (
            f"no run has a metric {metric!r}{closest(metric, metrics)}"
            if metric
            else "metric is needed"
        )
        yield f"{what}; metrics of {experiment!r}: {shown}"
    names = {name for run in runs for name in run.params}
    for theirs in sorted(entries.keys() - names):
        yield f"mapping: no run has a parameter {theirs!r}{closest(theirs, names)}"


def _adoption(
    experiment: str,
    runs: Sequence[ForeignRun],
    metric: LoggedMetric,
    prepared: "Prepared",
    model: str,
    given: Mapped,
) -> Adoption:
    """What there is to adopt.

    Raises:
        ParameterError: when that is too little, or the metric has values that it cannot have.
    """
    kind, target = prepared.task.kind, prepared.target_name
    own = settings(model, kind=kind, has_categorical=bool(prepared.features.cardinalities))
    found = trials_among(runs, metric, model, given)
    if mistake := impossible_values(metric, [run.metrics[metric.logged] for run in found.trials]):
        raise ParameterError(mistake)
    translation = translate(found.trials, own, given)
    read = [run for run in found.trials if run.run_id in translation.configurations]
    if len(read) < FEWEST or not len(translation.space):
        raise ParameterError(_too_little(experiment, len(read), model, runs, found, translation))
    trials = tuple(
        Trial(
            number,
            translation.configurations[run.run_id],
            FULL,
            origin=run.run_id,
            reports=(Report(FULL, metric.loss(run.metrics[metric.logged])),),
        )
        for number, run in enumerate(read)
    )
    best = read[min(trials, key=lambda trial: trial.loss).number]
    return Adoption(experiment, model, metric, kind, target, found, translation, trials, best)


def _too_little(
    experiment: str,
    n: int,
    model: str,
    runs: Sequence[ForeignRun],
    found: Found,
    translation: Translation,
) -> str:
    """Why there is nothing to learn, and what was found instead."""
    reasons = [f"{count} because {why}" for why, count in found.others.items()]
    reasons += [f"{len(ids)} because {reason}" for reason, ids in translation.unreadable.items()]
    counted = f"not counted: {listed(reasons)}" if reasons else "there are no others"
    if n < FEWEST:
        return (
            f"{n} of {len(runs)} runs of experiment {experiment!r} count as trials of {model}, and {FEWEST} are "
            f"needed; {counted}"
        )
    left = "; ".join(f"{why}: {listed(names)}" for why, names in translation.left_out.items())
    return f"no parameter of {model} differs between the {n} trials of experiment {experiment!r}; {left}"


def _header(
    found: Adoption, source: Source, prepared: "Prepared", experiment_id: str
) -> dict[str, Any]:
    """What the study is, as every study says it, and where it comes from."""
    data = source.plan(prepared)
    metric, translation = found.metric, found.translation
    return {
        "model": found.model,
        "algorithm": ADOPTION,
        "metric": metric.name,
        "direction": "maximize" if metric.greater_is_better else "minimize",
        "data": asdict(data),
        "target": data.target,
        "task": data.task,
        "space": translation.space.to_dict(),
        "rungs": [FULL],
        "meta_features": described(prepared),
        ADOPTION: {
            "experiment": found.experiment,
            "experiment_id": experiment_id,
            "metric": metric.logged,
            "names": translation.names,
            "left_out": translation.left_out,
            "notes": translation.notes,
            "trials": [
                {
                    "run_id": trial.origin,
                    "value": metric.from_loss(trial.loss),
                    "params": trial.params,
                }
                for trial in found.trials
            ],
        },
    }


def _description(found: Adoption) -> str:
    """For people who come upon the run in MLflow."""
    experiment = found.experiment.replace("`", "'")
    return (
        f"**Adopted**: {len(found.trials)} runs of the experiment `{' '.join(experiment.split())}`, which this project "
        "did not log, as a past study that later ones learn from. They are listed in `study.json`, and were not "
        "changed. There is nothing here to resume; to take the adoption back, delete this run, or run `adopt` with "
        "`undo=true`."
    )
