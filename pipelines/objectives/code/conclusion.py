"""The end of `tune(objective=…)`: the best trial wins, and the model that it has logged."""

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.files.uris import first_line
from pipelines.registry.user_models import logged_by
from pipelines.registry.versions import STUDY, TRIAL, register
from pipelines.study.ending import Choice, Ending
from pipelines.study.result import Outcome


class CodeConclusion:
    """Names the best trial as the winner, and registers the model that the user's code has logged.

    Args:
        registered: the name of the registered model; None registers nothing.
    """

    def __init__(self, registered: str | None) -> None:
        self._registered = registered

    def seconds(self, trials: Sequence[Trial], workers: int) -> float:
        """Nothing is trained after the search."""
        return 0.0

    def choose(self, best: Trial, ending: Ending) -> Choice:
        """The best trial wins."""
        return Choice(best)

    def finished(self, choice: Choice, ending: Ending) -> Outcome | None:
        """Nothing is trained at the end, so that it is not worth remembering."""
        return None

    def ensure_model(self, choice: Choice, ending: Ending) -> Choice:
        """A model is what the code has logged."""
        return choice

    def finish(self, choice: Choice, ending: Ending) -> Outcome:
        """Note the winner, and register the model that it has logged.

        Raises:
            StudyError: when MLflow does not take it.
        """
        store = ending.store
        store.notes.set_winner(choice.winner.number)
        client = MlflowClient(store.tracking_uri)
        try:
            model = logged_by(client, store.trial_run_id(choice.winner.number))
            name = self._registered
            if model is None:
                if name:
                    ending.say(
                        f"warning: trial {choice.winner.number} has logged no model, so nothing is "
                        f"registered as {name}; log one in the objective, such as with "
                        "mlflow.sklearn.log_model"
                    )
                return Outcome({})
            tags = {STUDY: store.run_id, TRIAL: model.run_id}
            version = register(client, model, name, tags).version if name else None
        except MlflowException as error:
            raise StudyError(
                f"MLflow refused the winner ({first_line(error)}); all trials are stored: when "
                f"this is repaired, resume with study={store.run_id}"
            ) from error
        return Outcome({}, model_uri=model.uri, version=version)
