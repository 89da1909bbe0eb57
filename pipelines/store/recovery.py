"""What a new driver finds: the runs of a study in MLflow, and what an earlier driver did not deliver."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.trial import Trial
from pipelines.store import schema
from pipelines.store.schema import Confirmed, Record
from pipelines.store.tracking import children


@dataclass
class Found:
    """The nested runs of a study.

    Attributes:
        trials: by number.
        confirmed: their scores on repeated folds, by number.
        run_ids: of trials and baselines, by the key of their record.
        orphans: ids of runs without a commit mark. They never counted as trials.
    """

    trials: dict[int, Trial] = field(default_factory=dict)
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)


def read_runs(client: MlflowClient, experiment_id: str, run_id: str) -> Found:
    """Read the nested runs of a study and end those that a dead driver left running."""
    found = Found()
    chosen: dict[int, tuple[Trial, Run]] = {}
    for run in children(client, experiment_id, run_id):
        tags = run.data.tags
        trial = schema.decode_trial(tags, run.data.params)
        if trial is not None:
            other = chosen.get(trial.number)
            if other is None or _precedence(trial, run) < _precedence(*other):
                chosen[trial.number] = (trial, run)
        elif schema.BASELINE in tags:
            found.run_ids[schema.baseline_key(tags[schema.BASELINE])] = str(run.info.run_id)
        elif tags.get(schema.ROLE) in ("trial", "baseline"):
            found.orphans.append(str(run.info.run_id))
    for number, (trial, run) in chosen.items():
        found.trials[number] = trial
        found.run_ids[schema.trial_key(number)] = str(run.info.run_id)
        confirmed = Confirmed.from_tag(run.data.tags.get(schema.CONFIRMED, ""))
        if confirmed is not None:
            found.confirmed[number] = confirmed
        _end_if_finished(client, trial, run)
    return found


def undelivered(journal: Iterable[Record], trials: Mapping[int, Trial]) -> Sequence[Record]:
    """The records of a journal that say more than MLflow has, one for each run."""
    merged: dict[str, Record] = {}
    for record in journal:
        before = merged.get(record.key)
        merged[record.key] = before.then(record) if before else record
    finished = {schema.trial_key(t.number): t for t in trials.values() if t.finished}
    return [
        record
        for record in merged.values()
        if record.key not in finished or not schema.is_behind(record, finished[record.key])
    ]


def _precedence(trial: Trial, run: Run) -> tuple[Any, ...]:
    """Of two runs of one trial, the one that got further comes first, then the older one."""
    got = (-len(trial.reports), trial.failure is not None)
    return (*got, run.info.start_time, run.info.run_id)


def _end_if_finished(client: MlflowClient, trial: Trial, run: Run) -> None:
    """End the run of a finished trial whose driver died between the report and the run's end."""
    if trial.finished and run.info.status not in (schema.FINISHED, schema.FAILED):
        client.set_terminated(run.info.run_id, schema.status_of(trial), run.info.end_time)
