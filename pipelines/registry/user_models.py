"""Models that the user's code has logged in a trial."""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from pipelines.registry.versions import CHALLENGER, STUDY, TRIAL, check_model_name


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


def register(client: MlflowClient, model: UserModel, name: str, study: str) -> int:
    """Register a model as a new version with the alias `challenger`; the same model only once.

    Args:
        client: of the store.
        model: to register.
        name: of the registered model.
        study: run id of the study.

    Returns:
        The version.

    Raises:
        ParameterError: when the name is refused.
    """
    check_model_name(name)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {STUDY: study, TRIAL: model.run_id}
    known = client.search_model_versions(f"name = '{name}'")
    found = next((version for version in known if version.model_id == model.model_id), None)
    found = found or client.create_model_version(
        name, source=model.uri, run_id=model.run_id, tags=tags, model_id=model.model_id
    )
    client.set_registered_model_alias(name, CHALLENGER, found.version)
    return int(found.version)
