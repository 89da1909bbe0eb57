"""Recovery of a study: its runs in MLflow, and results that an earlier driver did not write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.trial import Trial
from pipelines.store import schema
from pipelines.store.records import Record, State, decode_trial, is_behind
from pipelines.store.schema import Confirmed
from pipelines.store.tracking import children, search


@dataclass
class Found:
    """The nested runs of a study.

    Attributes:
        trials: by number.
        confirmed: their scores on repeated folds, by number.
        run_ids: of trials and baselines, by the key of their record.
        states: of the runs of trials, by number.
        orphans: ids of runs that do not count: those without a mark, and second runs of a trial,
            which a driver made that had lost the study.
    """

    trials: dict[int, Trial] = field(default_factory=dict)
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)


def read_runs(
    client: MlflowClient, experiment_id: str, run_id: str, known: Mapping[str, str]
) -> Found:
    """Read the nested runs of a study.

    Args:
        client: of the store.
        experiment_id: of the study.
        run_id: of the study.
        known: the runs that this driver writes to, by the key of their record.
    """
    found = Found()
    runs: dict[int, list[tuple[Trial, Run]]] = {}
    for run in children(client, experiment_id, run_id):
        trial = decode_trial(run.data.tags, run.data.params)
        if trial is None:
            _add_other(found, run)
        else:
            runs.setdefault(trial.number, []).append((trial, run))
    for number, same in runs.items():
        mine = known.get(schema.trial_key(number))
        (trial, run), *others = sorted(same, key=lambda pair: _precedence(pair[0], pair[1], mine))
        _add_trial(found, trial, run)
        found.orphans += [str(other.info.run_id) for _, other in others]
    return found


def _add_trial(found: Found, trial: Trial, run: Run) -> None:
    found.trials[trial.number] = trial
    found.run_ids[schema.trial_key(trial.number)] = str(run.info.run_id)
    ended = run.data.tags.get(schema.ENDED, "")
    found.states[trial.number] = State(run.info.status, run.info.end_time or None, ended)
    confirmed = Confirmed.from_tag(run.data.tags.get(schema.CONFIRMED, ""))
    if confirmed is not None:
        found.confirmed[trial.number] = confirmed


def _add_other(found: Found, run: Run) -> None:
    """Add a run that is not a trial: a baseline, an orphan, or a run that somebody else nested."""
    tags, run_id = run.data.tags, str(run.info.run_id)
    if schema.BASELINE in tags:
        found.run_ids[schema.baseline_key(tags[schema.BASELINE])] = run_id
    elif tags.get(schema.ROLE) in ("trial", "baseline"):
        found.orphans.append(run_id)


def undelivered(journal: Iterable[Record], trials: Mapping[int, Trial]) -> Sequence[Record]:
    """The records of a journal that are newer than MLflow, one for each run."""
    merged: dict[str, Record] = {}
    for record in journal:
        before = merged.get(record.key)
        merged[record.key] = before.then(record) if before else record
    for trial in trials.values():
        key = schema.trial_key(trial.number)
        if trial.finished and key in merged and is_behind(merged[key], trial):
            del merged[key]
    return list(merged.values())


def _precedence(trial: Trial, run: Run, mine: str | None) -> tuple[Any, ...]:
    """Sorts several runs of one trial: this driver's, then more reports, then the older run."""
    return (
        run.info.run_id != mine,
        -len(trial.reports),
        trial.failure is not None,
        run.info.start_time,
        run.info.run_id,
    )


def still_running(
    client: MlflowClient, experiment_id: str, run_id: str, known: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Nested runs with the status RUNNING, after all records are written.

    One search that returns few runs, however many the study has.

    Returns:
        The keys of those in `known`, and the ids of orphans.
    """
    rule = f"tags.`{schema.PARENT_RUN}` = '{run_id}' AND attributes.status = '{schema.RUNNING}'"
    keys = {known_id: key for key, known_id in known.items()}
    found: list[str] = []
    orphans: list[str] = []
    for run in search(client, [experiment_id], rule):
        if run.info.run_id in keys:
            found.append(keys[run.info.run_id])
        elif run.data.tags.get(schema.ROLE) in ("trial", "baseline"):
            orphans.append(str(run.info.run_id))
    return found, orphans
