"""The objective of `tune(objective=…)`: what the user's code returns for a configuration."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.configurations import Identity, by_value
from hpo.errors import StudyError
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.files.uris import first_line
from pipelines.objectives.code import CHECKPOINT, Code
from pipelines.objectives.code.evaluation import CODE, Terms
from pipelines.objectives.code.kinds import must_be_given
from pipelines.registry.user_models import logged_by
from pipelines.registry.versions import STUDY, TRIAL, register
from pipelines.study.objective import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.study.result import Outcome
from pipelines.study.warm_start import NO_FEATURES

OBJECTIVE, SOURCE, FOLDER = "objective", "source", "folder"  # entries of the header


class CodeObjective:
    """Calls the user's code with each configuration; the winner is the best one.

    Args:
        plan: of the study.
        code: that is called.
        began: the header of the study when it is resumed.
    """

    def __init__(self, plan: Plan, code: Code, began: Mapping[str, Any] | None = None):
        self._plan = plan
        self._code = code
        self._began = began

    @cached_property
    def goal(self) -> Goal:
        """The metric of the study."""
        return self._plan.goal

    @property
    def name(self) -> str:
        """That of the code."""
        return self._code.name

    @property
    def identity(self) -> Identity | None:
        """Equal configurations are one evaluation."""
        return by_value

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The name of the code. Its source may change; `notes` says so."""
        return {OBJECTIVE: self._code.name}

    @property
    def again(self) -> Mapping[str, str | None]:
        """The code, where a later process cannot import it or does not run it unasked."""
        text = self._code.text
        return {OBJECTIVE: text} if text is None or must_be_given(text) else {}

    def seconds_of_end(self, trials: Sequence[Trial], workers: int) -> float:
        """Nothing is trained after the search."""
        return 0.0

    def described(self) -> Mapping[str, Any]:
        """How a later process finds the code, and which source it has."""
        return {
            "data": dict(self.fingerprint),
            OBJECTIVE: self._code.text or "",
            SOURCE: self._code.digest,
            FOLDER: str(getattr(self._code, "folder", "")),
        }

    def meta_features(self) -> Mapping[str, Any]:
        """None are known of code: all past studies are equally similar."""
        return NO_FEATURES.to_dict()

    @property
    def notes(self) -> Sequence[str]:
        """Whether the source has changed since the study began."""
        if self._began is None or self._began.get(SOURCE) == self._code.digest:
            return []
        return [
            f"warning: the source of {self._code.name} has changed since the study began; earlier "
            "trials are not evaluated again"
        ]

    def describe(self) -> str:
        """The direction of the metric."""
        return self.goal.direction

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        """Put the code into the exchange."""
        continues = checkpoints if CHECKPOINT in self._code.takes else None
        terms = Terms(
            self._plan.goals.to_dict(),
            tuple(sorted(self._code.takes)),
            self._plan.rungs[-1],
            continues,
        )

        exchange.put(CODE, lambda folder: terms.write(folder, self._code.worker()))

    def baselines(self) -> Mapping[str, Any]:
        """None: what is easy for the user's code is not known."""
        return {}

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        """Nothing is left behind by an evaluation."""

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
            name = self._plan.register
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
