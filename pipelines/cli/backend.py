"""The backend `hpo` of MLflow projects: `mlflow run URI -e ENTRY --backend hpo` is a study.

`--backend-config search.json` holds the options of `tune`, such as `{"space": {"rate": {"low":
0.001, "high": 1.0, "log": true}}, "metric": "-err", "trials": 20}`. Parameters given with `-P` are
the same in each trial.
"""

from collections.abc import Mapping
from typing import Any

from mlflow.entities import RunStatus
from mlflow.exceptions import ExecutionException
from mlflow.projects import SubmittedRun
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.utils import (
    MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG,
    PROJECT_BUILD_IMAGE,
    PROJECT_DOCKER_ARGS,
    PROJECT_DOCKER_AUTH,
    PROJECT_ENV_MANAGER,
    PROJECT_STORAGE_DIR,
    PROJECT_SYNCHRONOUS,
)

from hpo.errors import ParameterError, UserError, raise_all
from pipelines.files.environment import environment
from pipelines.study.result import StudyResult
from pipelines.tune import tune

_OF_MLFLOW = (  # entries that MLflow itself adds to the configuration
    PROJECT_BUILD_IMAGE,
    PROJECT_DOCKER_ARGS,
    PROJECT_DOCKER_AUTH,
    PROJECT_ENV_MANAGER,
    PROJECT_STORAGE_DIR,
    PROJECT_SYNCHRONOUS,
    MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG,
)


class Backend(AbstractBackend):
    """Runs a study whose trials are runs of the project."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any],
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> "FinishedStudy":
        """Run the study to its end.

        Raises:
            ExecutionException: with what is wrong and the way out; `mlflow run` prints it.
        """
        env = backend_config.get(PROJECT_ENV_MANAGER)
        chosen = f"?env={env}" if env else ""
        try:
            if version:
                raise ParameterError(f"version={version!r}: name the commit in the project's URI")
            options = _options(backend_config, params)
            place = {
                "MLFLOW_TRACKING_URI": tracking_uri,
                "MLFLOW_EXPERIMENT_ID": str(experiment_id),
            }
            with environment({**place, "MLFLOW_EXPERIMENT_NAME": None}):
                result = tune(objective=f"project:{project_uri}#{entry_point}{chosen}", **options)
        except UserError as error:
            raise ExecutionException(str(error)) from error
        print(result)
        return FinishedStudy(result)


def _options(backend_config: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `tune`: those of the configuration, with the given parameters in the space."""
    own = {k: v for k, v in backend_config.items() if k not in _OF_MLFLOW}
    if "objective" in own:
        raise ParameterError(
            "objective in --backend-config: the project itself is the objective; leave it out"
        )
    if own.get("dry_run"):
        raise ParameterError(
            "dry_run in --backend-config: MLflow expects a run; take the entry point tune with "
            "objective=project:URI#entry and dry_run=true"
        )
    if not own:
        raise ParameterError(
            "--backend-config is needed: a JSON file with the options of tune, such as "
            '{"space": {"rate": {"low": 0.001, "high": 1.0}}, "metric": "-err", "trials": 20}'
        )
    space = own.pop("space", {})
    if not isinstance(space, Mapping):
        raise ParameterError(
            f"space={space!r} in --backend-config must be an object of parameters, such as "
            '{"rate": {"low": 0.001, "high": 1.0}}'
        )
    raise_all(
        ParameterError,
        (
            f"-P {name}={value}: {name} is in the space of --backend-config, too; leave it out of "
            "one of them"
            for name, value in params.items()
            if name in space
        ),
    )
    return {**own, "space": {**space, **{name: [value] for name, value in params.items()}}}


class FinishedStudy(SubmittedRun):
    """A study that has ended, as MLflow sees a run.

    Args:
        result: of the study.
    """

    def __init__(self, result: StudyResult) -> None:
        self._result = result

    @property
    def run_id(self) -> str:
        """The id of the study."""
        return self._result.run_id

    def wait(self) -> bool:
        """Whether it has a winner."""
        return self._result.winner is not None

    def get_status(self) -> str:
        """The status of its run."""
        ended = RunStatus.FINISHED if self.wait() else RunStatus.KILLED
        return str(RunStatus.to_string(ended))

    def cancel(self) -> None:
        """Nothing is left to cancel."""
