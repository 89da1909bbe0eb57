"""Entry point `adopt`: turns runs that this project did not log into a past study."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.errors import ParameterError, UserError, closest, raise_all
from pipelines.adoption.mapping import load_mapping, mapping_mistakes, read_mapping
from pipelines.adoption.metrics import AUTO, DIRECTIONS, logged_metric
from pipelines.adoption.result import Adoption, Undone, listed
from pipelines.adoption.runs import ForeignRun, optuna_direction
from pipelines.adoption.study import ForeignRuns, adopted_study, read_trials
from pipelines.models import FAMILIES
from pipelines.table.source import Source

# The defaults of `tune`, so that the meta-features are those of such a study.
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
    """Adopt runs that this project did not log as a past study, for later studies to learn from.

    The study is a run of its own; the runs that it is made from are read and never changed.

    Args:
        experiment: The name of the MLflow experiment with the runs, nested or not.
        data: The table that they were trained on.
        target: The column that they predict.
        model: The model of their parameters: lightgbm, xgboost or mlp.
        metric: The logged metric to compare them by.
        direction: minimize or maximize; auto for metrics of this project and for runs that Optuna
            logged.
        means: The metric of this project that the logged one stands for, if its name does not say.
        mapping: A YAML file from logged names to parameters of the model, for names that the
            library does not know.
        filter: Which runs of the experiment, as a filter of MLflow's run search; none for all.
        task: auto, binary, multiclass or regression.
        dry_run: Only show which runs count and how they are read; write nothing.
        undo: Delete the studies that were adopted from the experiment; only its name is needed.

    Raises:
        UserError: If the input is invalid; the message lists all mistakes. Nothing was written.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    from pipelines.adoption import store
    from pipelines.store.tracking import connect

    if undo:
        return _undo(experiment, dry_run)
    client = connect()
    mistakes = list(_argument_mistakes(data, target, model, direction))
    entries: Mapping[str, Any] = {}
    with _collecting(mistakes):
        entries = load_mapping(mapping)
        mistakes += mapping_mistakes(entries, model) if model in FAMILIES else []
    runs: Sequence[ForeignRun] = ()
    with _collecting(mistakes):
        place = store.find_experiment(client, experiment)
        runs = store.read_runs(client, place, filter or "", run_id)
        mistakes += _run_mistakes(runs, experiment, metric, entries)
    kind = None
    with _collecting(mistakes):
        if data is not None and target is not None:
            source = Source(data, target, task, _SPLIT, _TEST_SHARE, _VALIDATION, _SEED)
            prepared = source.prepare()
            kind = prepared.task.kind
    with _collecting(mistakes):
        if metric and runs:
            logged = optuna_direction(runs, metric) if direction == AUTO else None
            judged = logged_metric(metric, kind, logged or direction, means)
    raise_all(ParameterError, mistakes)
    foreign = ForeignRuns(experiment, runs, judged, model, read_mapping(entries, model))
    found = read_trials(foreign, prepared)
    if dry_run:
        return found
    study = adopted_study(found, source, prepared, place.experiment_id)
    replaced = store.overlapping(client, place, [run.run_id for run in found.found.trials])
    saved = store.save_study(client, place, study, run_id)
    store.delete_studies(client, replaced)
    return replace(found, study=saved, replaced=tuple(replaced))


def _undo(experiment: str, dry_run: bool) -> Undone:
    from pipelines.adoption import store
    from pipelines.store.tracking import connect

    client = connect()
    studies = store.adopted_from(client, experiment)
    if not dry_run:
        store.delete_studies(client, studies)
    return Undone(experiment, tuple(studies), dry_run)


@contextmanager
def _collecting(mistakes: list[str]) -> Iterator[None]:
    """Collect the message of a user error, to report all mistakes at once."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _argument_mistakes(
    data: object, target: str | None, model: str, direction: str
) -> Iterator[str]:
    if data is None or target is None:
        yield "data and target are needed: later studies find this one by the features of its table"
    if model not in FAMILIES:
        yield f"unknown model {model!r}{closest(model, FAMILIES)}; models: {', '.join(FAMILIES)}"
    directions = (AUTO, *DIRECTIONS)
    if direction not in directions:
        hint = closest(direction, DIRECTIONS)
        yield f"unknown direction {direction!r}{hint}; directions: {', '.join(directions)}"


def _run_mistakes(
    runs: Sequence[ForeignRun], experiment: str, metric: str | None, entries: Mapping[str, Any]
) -> Iterator[str]:
    """Metrics and parameters that were asked for and that no run has."""
    if not runs:
        yield f"experiment {experiment!r} has no runs, or none that match the filter"
        return
    counts = Counter(name for run in runs for name in run.metrics)
    if metric not in counts:
        known = listed([f"{name} ({n} runs)" for name, n in counts.most_common()]) or "none"
        problem = (
            f"no run has a metric {metric!r}{closest(metric, counts)}"
            if metric
            else "metric is needed"
        )
        yield f"{problem}; metrics of {experiment!r}: {known}"
    names = {name for run in runs for name in run.params}
    for logged in sorted(entries.keys() - names):
        yield f"mapping: no run has a parameter {logged!r}{closest(logged, names)}"
