"""Reading studies back from MLflow: which there are, what each was created with, and its trials as rows."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.parents import HEADER_FILE
from pipelines.store.tracking import children, connect, experiments, first_line, search

logger = logging.getLogger(__name__)


def leaderboard(
    run_id: str, n: int | None = None, *, tracking_uri: str | None = None
) -> list[dict[str, Any]]:
    """The study's trials as rows, best first, those without a result last; sorted here, never by the server.

    Each row has number, name, run_id, status, budget, origin, failure, reports, params, metrics (of
    the best report), seconds (of training), started and ended (seconds since 1970).

    Raises:
        StudyError: when there is no such study.
    """
    client = connect(tracking_uri)
    run = find_study(client, run_id)
    tags = run.data.tags
    rows = []
    for child in children(client, run.info.experiment_id, run_id, "trial"):
        trial = schema.decode_trial(child.data.tags, child.data.params)
        if trial is not None:
            rows.append((trial, child))
    rows.sort(key=lambda row: (row[0].loss, row[0].number))
    best: dict[int, dict[str, Any]] = {}
    for trial, child in rows:
        best.setdefault(trial.number, _row(trial, child))
    logger.debug("study %s of %s has %d trials", run_id, tags.get("hpo.model"), len(best))
    return list(best.values())[:n]


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
    """The parent runs of all studies of an experiment (of all experiments without it), the newest first."""
    client = connect(tracking_uri)
    if experiment is None:
        places = experiments(client)
    else:
        places = [place for place in [client.get_experiment_by_name(experiment)] if place]
    ids = [str(place.experiment_id) for place in places]
    if not ids:
        return []
    return [
        run
        for run in search(client, ids, f"tags.`{schema.ROLE}` = 'study'")
        if schema.SCHEMA in run.data.tags
    ]


def find_study(client: MlflowClient, run_id: str) -> Run:
    """The parent run of a study.

    Raises:
        StudyError: when the run is missing, deleted, no study, or of another schema.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)} ({first_line(error)}); "
            "a study is named by the id of its parent run"
        ) from error
    tags = run.data.tags
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise StudyError(f"study {run_id} was deleted; restore its run in MLflow first")
    if (experiment := tags.get(schema.ADOPTED)) is not None:
        raise StudyError(
            f"study {run_id} was adopted: its trials are the runs of experiment {experiment!r}, listed in its artifact "
            f"{HEADER_FILE}; later studies learn from it, but there is nothing in it to resume or to report"
        )
    if tags.get(schema.ROLE) == "validation":
        raise StudyError(
            f"run {run_id} is a validation; the studies nested in it are reported one by one"
        )
    if schema.SCHEMA not in tags:
        parent = tags.get(schema.PARENT_RUN)
        role = tags.get(schema.ROLE)
        if role in ("trial", "baseline") and parent:
            raise StudyError(f"run {run_id} is a {role} of study {parent}; give that id")
        raise StudyError(
            f"run {run_id} is no study, or its driver died before it had begun; start a new one"
        )
    if tags[schema.SCHEMA] != schema.VERSION:
        raise StudyError(
            f"study {run_id} has schema {tags[schema.SCHEMA]}, but this version reads {schema.VERSION}; "
            "use the version that wrote it, or start a new study"
        )
    return run


def read_header(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """What a study was created with.

    Raises:
        StudyError: when the artifact is missing or unreadable.
    """
    try:
        header: dict[str, Any] = json.loads(read_artifact(client, run_id, HEADER_FILE))
        return header
    except ValueError as error:
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
        f"study {run_id} cannot be read: its artifact {name} is missing or damaged ({first_line(error)})"
    )
