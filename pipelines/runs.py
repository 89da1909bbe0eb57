"""Small reads and writes on single runs, for the entry points."""

from contextlib import suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines import schema
from pipelines.storage import find_study, read_header
from pipelines.tracking import connect
from pipelines.uris import safe

RESUMED = "hpo.study"  # on a run of `mlflow run` that went on with a study: the study's run id


def study_header(run_id: str) -> dict[str, Any]:
    """What a study was created with.

    Raises:
        StudyError: when there is no such study, or it cannot be read.
    """
    client = connect(None)
    find_study(client, run_id)
    return read_header(client, run_id)


def note_resumed(run_id: str, study: str) -> None:
    """Say on a run that its work went into an existing study."""
    client = connect(None)
    client.set_tag(run_id, schema.ROLE, "resume")
    client.set_tag(run_id, RESUMED, study)


def put_text(run_id: str, text: str, name: str) -> None:
    """Keep a text as an artifact of a run."""
    connect(None).log_text(run_id, text, name)


def fail_run(run_id: str, reason: str, status: str = "FAILED") -> None:
    """End a run that came to nothing, with the reason, if MLflow can be reached.

    A run that is a study says by itself how it ended, and is left alone.
    """
    client = MlflowClient()
    with suppress(MlflowException):
        if schema.SCHEMA not in client.get_run(run_id).data.tags:
            client.set_tag(run_id, schema.FAILURE, schema.cut(reason))
            client.set_terminated(run_id, status)


def study_of_trial(run_id: str) -> tuple[dict[str, Any], Trial]:
    """The header of the study that a trial belongs to, and the trial.

    Raises:
        StudyError: when the run is no trial.
    """
    client = connect(None)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)}; a trial is named by its run id"
        ) from error
    trial = schema.decode_trial(run.data.tags, run.data.params)
    if trial is None:
        raise StudyError(f"run {run_id} is no trial; `report` lists the trials of a study with their run ids")
    return study_header(run.data.tags[schema.PARENT_RUN]), trial
