"""Reading studies from MLflow: the list of studies, their headers, artifacts and trials."""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.goals import Goals
from hpo.goals.leaders import ranked
from hpo.trial import Trial
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.parents import HEADER_FILE
from pipelines.store.records import decode_trial
from pipelines.store.tracking import (
    as_store_error,
    children,
    connect,
    experiments,
    first_line,
    search,
)

logger = logging.getLogger(__name__)

OVERLAP = 10.0  # seconds before the last known end that are read again: writers may overtake


def leaderboard(
    run_id: str,
    n: int | None = None,
    *,
    goals: Goals | None = None,
    tracking_uri: str | None = None,
) -> list[dict[str, Any]]:
    """The trials of a study, best first and those without a result last.

    They are sorted here, because not every store sorts them alike.

    Args:
        run_id: of the study.
        n: how many; None for all.
        goals: by which they are ordered; None for the smallest loss.
        tracking_uri: of the store; None uses MLflow's current one.

    Returns:
        For each trial number, name, run_id, status, budget, origin, failure, reports, params,
        metrics (of its best report), seconds (of training), started and ended (seconds since 1970).

    Raises:
        StudyError: when there is no such study.
    """
    client = connect(tracking_uri)
    run = find_study(client, run_id)
    found = list(trial_runs(client, run.info.experiment_id, run_id))
    best = ranked([trial for trial, _ in found], goals) if goals else ()
    place = {trial.number: place for place, trial in enumerate(best)}
    found.sort(key=lambda p: (place.get(p[0].number, len(place)), p[0].loss, p[0].number))
    rows: dict[int, dict[str, Any]] = {}
    for trial, child in found:
        rows.setdefault(trial.number, _row(trial, child))
    logger.debug("study %s has %d trials", run_id, len(rows))
    return list(rows.values())[:n]


def trial_runs(
    client: MlflowClient, experiment_id: str, study: str, rule: str = ""
) -> Iterator[tuple[Trial, Run]]:
    """The trials of a study and their runs that match a rule, newest first."""
    for run in children(client, experiment_id, study, "trial", rule=rule):
        trial = decode_trial(run.data.tags, run.data.params)
        if trial is not None:
            yield trial, run


def _row(trial: Trial, run: Run) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": run.info.run_name,
        "run_id": run.info.run_id,
        "status": run.info.status,
        "budget": trial.reached,
        "origin": trial.origin,
        "failure": trial.failure,
        "reports": trial.reports,
        "params": dict(trial.params),
        "metrics": dict(trial.best.metrics) if trial.best else {},
        "seconds": trial.seconds,
        "started": run.info.start_time / 1000,
        "ended": (run.info.end_time or run.info.start_time) / 1000,
    }


def studies(experiment: str | None = None, *, tracking_uri: str | None = None) -> list[Run]:
    """The parent runs of the studies in an experiment, newest first.

    Args:
        experiment: its name; None for all experiments.
        tracking_uri: of the store; None uses MLflow's current one.
    """
    client = connect(tracking_uri)
    ids = _experiment_ids(client, experiment)
    if not ids:
        return []
    runs = search(client, ids, f"tags.`{schema.ROLE}` = 'study'")
    return [run for run in runs if schema.SCHEMA in run.data.tags]


def _experiment_ids(client: MlflowClient, name: str | None) -> list[str]:
    if name is None:
        return [str(found.experiment_id) for found in experiments(client)]
    found = client.get_experiment_by_name(name)
    return [str(found.experiment_id)] if found else []


def find_study(client: MlflowClient, run_id: str) -> Run:
    """The parent run of a study.

    Raises:
        StudyError: when the run is missing, deleted, not a study, or of another schema version.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)} ({first_line(error)}); "
            "give the id of the study's parent run"
        ) from error
    if problem := _problem(run):
        raise StudyError(problem)
    return run


def _problem(run: Run) -> str | None:
    """Why a run cannot be read as a study; None when it can."""
    run_id, tags = run.info.run_id, run.data.tags
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        return f"study {run_id} was deleted; restore its run in MLflow first"
    if schema.ADOPTED in tags:
        return (
            f"study {run_id} was adopted: its trials are the runs of experiment "
            f"{tags[schema.ADOPTED]!r}, listed in its artifact {HEADER_FILE}; later studies learn "
            "from it, but it cannot be resumed or reported"
        )
    if tags.get(schema.ROLE) == "validation":
        return f"run {run_id} is a validation; give the id of one of the studies nested in it"
    if schema.SCHEMA not in tags:
        return _not_a_study(run_id, tags.get(schema.ROLE), tags.get(schema.PARENT_RUN))
    if tags[schema.SCHEMA] != schema.VERSION:
        return (
            f"study {run_id} has schema {tags[schema.SCHEMA]}, but this version reads "
            f"{schema.VERSION}; use the version that wrote it, or start a new study"
        )
    return None


def _not_a_study(run_id: str, role: str | None, parent: str | None) -> str:
    if role in ("trial", "baseline") and parent:
        return f"run {run_id} is a {role} of study {parent}; give that id"
    return f"run {run_id} is not a study, or its driver died while creating it; start a new study"


def read_header(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """The header of a study.

    Raises:
        StudyError: when the artifact is missing or unreadable.
    """
    try:
        header: dict[str, Any] = json.loads(read_artifact(client, run_id, HEADER_FILE))
        return header
    except (ValueError, RecursionError) as error:
        raise _unreadable(run_id, HEADER_FILE, error) from error


def read_artifact(client: MlflowClient, run_id: str, name: str) -> str:
    """The text of an artifact of a study.

    Raises:
        StudyError: when it is missing or unreadable.
    """
    try:
        with tempfile.TemporaryDirectory() as directory:
            path = client.download_artifacts(run_id, name, directory)
            return Path(path).read_text(encoding="utf-8")
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(run_id, name, error) from error


def _unreadable(run_id: str, name: str, error: Exception) -> StudyError:
    return StudyError(
        f"study {run_id} cannot be read: its artifact {name} is missing or damaged "
        f"({first_line(error)}); start a new study"
    )


@dataclass(frozen=True)
class Seen:
    """A trial as MLflow has it.

    Attributes:
        trial: without curves.
        status: of its run.
        ended: when its last leg ended, in seconds since 1970; None if none has.
    """

    trial: Trial
    status: str
    ended: float | None

    @property
    def is_running(self) -> bool:
        """Whether a worker has the trial, as far as MLflow knows."""
        return self.status == schema.RUNNING and not self.trial.finished


class Follower:
    """Reads a study again and again, and of its trials only those that may have changed.

    The first reading takes all trials; each later one makes three requests: the study, the trials
    that run, and those that have ended since. A trial's end is written by the clock of the driver,
    so ends are compared with ends, never with the clock of this machine.

    Attributes:
        run_id: of the study.
        header: what the study was created with.
        name: of its run.
        status: of its run.
        tags: of its run.
        trials: by number.

    Raises:
        StudyError: when there is no such study.
    """

    def __init__(
        self,
        run_id: str,
        *,
        tracking_uri: str | None = None,
        pause: float = 1.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = connect(tracking_uri, reading=True)
        run = find_study(self._client, run_id)
        self.run_id = run_id
        self.header = read_header(self._client, run_id)
        self.trials: dict[int, Seen] = {}
        self._experiment = str(run.info.experiment_id)
        self._pause, self._sleep = pause, sleep
        self._asked = time.monotonic()
        self._since: float | None = None
        self._note(run)

    def refresh(self) -> None:
        """Read what has changed; at most one request in `pause` seconds.

        Raises:
            Unreachable: when the store does not answer for now.
            StudyError: when the study is not there any more, or may not be read.
        """
        with as_store_error(f"study {self.run_id} cannot be read"):
            self._note(self._study())
            if self._since is None:
                self._take(self._found())
            else:
                running = self._found("attributes.status = 'RUNNING'")
                ended = self._found(f"attributes.end_time >= {round(1000 * self._since)}")
                lost = self._running - set(running) - set(ended)
                self._take(running | ended)
                if lost:  # they ended before the others, and were written later: read all again
                    self._since = None

    @property
    def is_over(self) -> bool:
        """Whether the study's run has ended."""
        return self.status != schema.RUNNING

    @property
    def is_whole(self) -> bool:
        """Whether the trials are all that the study can have: numbers without gaps, none running.

        After the end of a study this is so, unless its last results were written late.
        """
        is_dense = len(self.trials) == max(self.trials, default=-1) + 1
        return is_dense and self._since is not None and not self._running

    def start_over(self) -> None:
        """Read all trials with the next `refresh`."""
        self._since = None

    @property
    def _running(self) -> set[int]:
        return {number for number, seen in self.trials.items() if seen.status == schema.RUNNING}

    def _note(self, run: Run) -> None:
        self.name, self.status = str(run.info.run_name), str(run.info.status)
        self.tags: Mapping[str, str] = run.data.tags

    def _study(self) -> Run:
        self._wait()
        found = search(self._client, [self._experiment], f"attributes.run_id = '{self.run_id}'")
        run = next(found, None)
        if run is None:
            raise StudyError(f"study {self.run_id} was deleted")
        return run

    def _found(self, rule: str = "") -> dict[int, Seen]:
        """The trials that match a rule, by number."""
        self._wait()
        found: dict[int, Seen] = {}
        for trial, run in trial_runs(self._client, self._experiment, self.run_id, rule):
            end = run.info.end_time
            found[trial.number] = Seen(trial, str(run.info.status), end and end / 1000)
        return found

    def _take(self, found: Mapping[int, Seen]) -> None:
        self.trials |= found
        ends = [seen.ended for seen in found.values() if seen.ended is not None]
        self._since = max([self._since or 0.0, *(end - OVERLAP for end in ends)])

    def _wait(self) -> None:
        left = self._asked + self._pause - time.monotonic()
        if left > 0:
            self._sleep(left)
        self._asked = time.monotonic()
