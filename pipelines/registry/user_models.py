"""Models that the user's code has logged in a trial."""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus


@dataclass(frozen=True)
class UserModel:
    """A logged model.

    Attributes:
        model_id: its id.
        run_id: of the trial.
    """

    model_id: str
    run_id: str

    @property
    def uri(self) -> str:
        """For `mlflow.pyfunc.load_model` and `mlflow models serve -m`."""
        return f"models:/{self.model_id}"


def logged_by(client: MlflowClient, run_id: str) -> UserModel | None:
    """The newest complete model that was logged in a run; None without one."""
    place = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([place], filter_string=f"source_run_id = '{run_id}'")
    ready = [model for model in found if model.status == LoggedModelStatus.READY]
    newest = max(ready, key=lambda model: model.creation_timestamp, default=None)
    return None if newest is None else UserModel(newest.model_id, run_id)
