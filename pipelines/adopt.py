"""Entry point `adopt`: turns runs that this project did not log into a past study."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.errors import Mistakes, ParameterError, closest, raise_all
from hpo.goals import DIRECTIONS
from pipelines.adoption.mapping import load_mapping, mapping_mistakes, read_mapping
from pipelines.adoption.metrics import AUTO, logged_metric
from pipelines.adoption.optuna import AdoptedOptuna, OptunaStudies, metric_name, past_of, runs_of
from pipelines.adoption.result import Adoption, Undone, listed
from pipelines.adoption.runs import ForeignPlace, ForeignRun, optuna_direction
from pipelines.adoption.study import ForeignRuns, adopted_study, read_trials
from pipelines.entry_points import entry_point
from pipelines.models import FAMILIES
from pipelines.table.source import Source

# The defaults of `tune`, so that the meta-features are those of such a study.


@dataclass(frozen=True)
class AdoptOptions:
    """Which runs are adopted, and how they are read.

    Args:
        experiment: The name of the MLflow experiment with the runs, nested or not; or the URL of an
            Optuna storage (sqlite:///optuna.db), with #NAME for one of its studies.
        data: The table that they were trained on. Without data and target, the studies of an Optuna
            storage become past studies of code; with them, one study that of a model on the table.
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
    """

    experiment: str
    data: str | Path | pd.DataFrame | None = None
    target: str | None = None
    model: str = "lightgbm"
    metric: str | None = None
    direction: str = AUTO
    means: str | None = None
    mapping: str | Path | Mapping[str, Any] | None = None
    filter: str | None = None
    task: str = "auto"
    dry_run: bool = False
    undo: bool = False

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the options, as far as that can be said without the runs."""
        if self.data is None or self.target is None:
            yield (
                "data and target are needed: later studies find this one by the features of its "
                "table"
            )
        if self.model not in FAMILIES:
            hint = closest(self.model, FAMILIES)
            yield f"unknown model {self.model!r}{hint}; models: {', '.join(FAMILIES)}"
        directions = (AUTO, *DIRECTIONS)
        if self.direction not in directions:
            hint = closest(self.direction, DIRECTIONS)
            yield f"unknown direction {self.direction!r}{hint}; directions: {', '.join(directions)}"

    def not_for_storages(self) -> Iterator[str]:
        """Options that say how runs of a table are read."""
        for option in fields(self):
            if option.name not in ("experiment", "dry_run", "undo"):
                value = getattr(self, option.name)
                if value is not None and not (isinstance(value, str) and value == option.default):
                    yield option.name


@entry_point(AdoptOptions)
def adopt(options: AdoptOptions) -> Adoption | AdoptedOptuna | Undone:
    """Adopt runs that this project did not log as a past study, for later studies to learn from.

    The study is a run of its own; the runs that it is made from are read and never changed. The
    studies of an Optuna storage become past studies of code: of `tune(objective=…)`, `open_study`
    and `WarmstartSampler` under the name that they have in Optuna.

    Raises:
        UserError: If the input is invalid; the message lists all mistakes. Nothing was written.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    from pipelines.adoption import store
    from pipelines.store.tracking import connect

    storage = OptunaStudies.of(options.experiment)
    if options.undo:
        return _undo(str(storage or options.experiment), options.dry_run)
    if storage is not None and (options.data is None or options.target is None):
        return _adopt_optuna(storage, options, run_id)
    client = connect()
    mistakes = Mistakes()
    with mistakes:
        raise_all(ParameterError, options.mistakes())
    entries: Mapping[str, Any] = {}
    with mistakes:
        entries = load_mapping(options.mapping)
        if options.model in FAMILIES:
            raise_all(ParameterError, mapping_mistakes(entries, options.model))
    place = ForeignPlace(options.experiment, "", ())
    with mistakes:
        if storage is not None:
            options, place = _of_table(storage, options)
        else:
            place = store.place_of(client, options.experiment, options.filter or "", run_id)
        name, metric = options.experiment, options.metric
        raise_all(ParameterError, _run_mistakes(place.runs, name, metric, entries))
    kind = None
    with mistakes:
        if options.data is not None and options.target is not None:
            source = Source(options.data, options.target, options.task)
            prepared = source.prepare()
            kind = prepared.task.kind
    with mistakes:
        if options.metric and place.runs and options.direction in (AUTO, *DIRECTIONS):
            logged = (
                optuna_direction(place.runs, options.metric) if options.direction == AUTO else None
            )
            judged = logged_metric(options.metric, kind, logged or options.direction, options.means)
    mistakes.raise_all()
    mapped = read_mapping(entries, options.model)
    found = read_trials(
        ForeignRuns(options.experiment, place.runs, judged, options.model, mapped), prepared
    )
    if options.dry_run:
        return found
    study = adopted_study(found, source, prepared, place.source_id)
    replaced = store.overlapping(client, place, [run.run_id for run in found.found.trials])
    saved = store.save_study(client, place.name, place.source_id, study, run_id)
    store.delete_studies(client, replaced)
    return replace(found, study=saved, replaced=tuple(replaced))


def _of_table(storage: OptunaStudies, options: AdoptOptions) -> tuple[AdoptOptions, ForeignPlace]:
    """One study of an Optuna storage as runs of a table, and the options that read them.

    Raises:
        ParameterError: When the storage has several studies and none is named.
    """
    if options.filter is not None:
        raise ParameterError(
            f"filter={options.filter!r} is for runs in MLflow, and all complete trials of "
            "Optuna count; leave filter out"
        )
    study = storage.only()
    logged = metric_name(study)
    means = options.means or (options.metric if options.metric != logged else None)
    place = ForeignPlace(
        storage.name_of(study.study_name), storage.id_of(study.study_name), tuple(runs_of(study))
    )
    return replace(options, experiment=place.name, metric=logged, means=means), place


def _adopt_optuna(
    storage: OptunaStudies, options: AdoptOptions, run_id: str | None
) -> AdoptedOptuna:
    """Adopt the studies of an Optuna storage."""
    from pipelines.adoption import store
    from pipelines.objectives.code.asked import ASKED
    from pipelines.store.tracking import connect

    if wrong := ", ".join(options.not_for_storages()):
        raise ParameterError(
            f"{wrong}: the studies of an Optuna storage say themselves what they searched and "
            f"minimised; with experiment={storage} leave {wrong} out, or give data and target for "
            "a study of a model on a table"
        )
    found = past_of(storage.read(), str(storage), ASKED)
    if options.dry_run:
        return found
    client = connect()
    saved: list[str] = []
    replaced: list[str] = []
    for name, study in found.studies:
        source_id = storage.id_of(name)
        earlier = store.adopted_as(client, source_id)
        saved.append(store.save_study(client, storage.name_of(name), source_id, study, run_id))
        store.delete_studies(client, earlier)
        replaced += earlier
        run_id = None  # the run of `mlflow run` is one study
    return replace(found, saved=tuple(saved), replaced=tuple(replaced))


def _undo(experiment: str, dry_run: bool) -> Undone:
    from pipelines.adoption import store
    from pipelines.store.tracking import connect

    client = connect()
    studies = store.adopted_from(client, experiment)
    if not dry_run:
        store.delete_studies(client, studies)
    return Undone(experiment, tuple(studies), dry_run)


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
