"""Reading studies from MLflow: the list of studies, their headers, artifacts and trials."""

import json
import logging
import tempfile
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
from pipelines.store.tracking import children, connect, experiments, first_line, search

logger = logging.getLogger(__name__)


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
    found: list[tuple[Trial, Run]] = []
    for child in children(client, run.info.experiment_id, run_id, "trial"):
        trial = decode_trial(child.data.tags, child.data.params)
        if trial is not None:
            found.append((trial, child))
    best = ranked([trial for trial, _ in found], goals) if goals else ()
    place = {trial.number: place for place, trial in enumerate(best)}
    found.sort(key=lambda p: (place.get(p[0].number, len(place)), p[0].loss, p[0].number))
    rows: dict[int, dict[str, Any]] = {}
    for trial, child in found:
        rows.setdefault(trial.number, _row(trial, child))
    logger.debug("study %s has %d trials", run_id, len(rows))
    return list(rows.values())[:n]


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
