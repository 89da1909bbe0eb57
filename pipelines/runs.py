"""Small reads and writes on single runs, for the entry points."""

from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import schema
from pipelines.storage import find_study, read_header
from pipelines.tracking import connect

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


def fail_run(run_id: str, reason: str, status: str = "FAILED") -> bool:
    """End a run that came to nothing, with the reason; False when MLflow cannot be reached."""
    client = MlflowClient()
    try:
        client.set_tag(run_id, schema.FAILURE, schema.cut(reason))
        client.set_terminated(run_id, status)
    except MlflowException:
        return False
    return True
