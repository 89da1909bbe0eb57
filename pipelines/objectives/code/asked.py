"""Code that calls the study, instead of being called by it: `pipelines.ask`."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from types import TracebackType
from typing import Any, Self

from hpo.errors import ParameterError, StudyError, counted
from hpo.past import Past
from hpo.trial import Failure, Report, Trial
from pipelines.objectives.code import BUDGET, Evaluate
from pipelines.objectives.code.objective import CodeObjective
from pipelines.objectives.code.results import ResultError, metrics_of
from pipelines.objectives.code.trial_run import Place, active
from pipelines.store.storage import MlflowStorage
from pipelines.study.choice.front import log_front
from pipelines.study.plan import Plan
from pipelines.study.search import Search

logger = logging.getLogger(__name__)

ASKED = "ask:"  # before the title


@dataclass(frozen=True)
class AskedCode:
    """Code that asks for configurations and tells their results.

    Attributes:
        title: names what is evaluated.
        budgets: whether trials get budgets.
    """

    title: str
    budgets: bool

    @property
    def name(self) -> str:
        """The title."""
        return f"{ASKED}{self.title}"

    text = None
    digest = ""
    needs_run = False

    @property
    def takes(self) -> frozenset[str]:
        """Whether trials get budgets."""
        return frozenset((BUDGET,)) if self.budgets else frozenset()

    def check(self, names: frozenset[str]) -> None:
        """Nothing can be checked."""

    def worker(self) -> Evaluate:
        """There are no workers.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a study that is asked has no workers")


class OpenStudy:
    """A study in MLflow that is asked for configurations and told their results.

    Made by `pipelines.ask.open_study`. This process has the study until it is closed; as a context
    manager it is closed at the end.

    Args:
        plan: of the study.
        storage: of the study.
        past: the model of past studies, if it learns from them.
    """

    def __init__(self, plan: Plan, storage: MlflowStorage, past: Past | None) -> None:
        objective = CodeObjective(plan, AskedCode(plan.model.partition(":")[2], plan.races))
        self._plan = plan
        self._storage = storage
        self._study = Search(plan, objective, storage, past).study
        self._asked: dict[int, float] = {}
        self._closed = False

    @property
    def run_id(self) -> str:
        """The id of the study, by which `open_study` opens it again."""
        return self._storage.run_id

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of their numbers."""
        return self._study.trials

    @property
    def best_trial(self) -> Trial | None:
        """The trial with the best score; None until one has succeeded."""
        return self._study.best_trial

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one dominates; with one goal, the best."""
        return self._study.front

    @property
    def best_params(self) -> Mapping[str, object]:
        """The configuration of the best trial; empty without one."""
        return self.best_trial.params if self.best_trial else {}

    @property
    def best_score(self) -> float:
        """The score of the best trial; nan without one."""
        best = self.best_trial
        return self._plan.goal.from_loss(best.loss) if best else math.nan

    def ask(self) -> Trial | None:
        """The next trial: `params` to evaluate, and with a racing algorithm the `budget`.

        Trials that an earlier process has asked for and not told come first.

        Returns:
            None when all trials are started, or the result of another one is needed first.

        Raises:
            StudyError: when the study is closed.
        """
        self._check_open()
        trial = self._study.ask()
        if trial is not None:
            self._asked[trial.number] = time.monotonic()
        return trial

    @contextmanager
    def run(self, trial: Trial | int) -> Iterator[None]:
        """Let MLflow calls within log to the run of a trial.

        Raises:
            UserError: when there is no such trial.
        """
        number, storage = self._number(trial), self._storage
        run_id = storage.trial_run_id(number)
        uri, experiment = storage.tracking_uri, storage.experiment_id
        with active(Place(uri, experiment, self.run_id, number, run_id)):
            yield

    def tell(self, trial: Trial | int, value: Any = None, *, failure: str | None = None) -> Trial:
        """Store the result of a trial.

        Args:
            trial: or its number.
            value: a number, or a mapping of metrics with the deciding one.
            failure: why there is no value.

        Returns:
            The trial with its result.

        Raises:
            ParameterError: for what is no trial or no result; the trial can still be told.
            StudyError: when the trial is not running, or the study is closed.
        """
        self._check_open()
        number = self._number(trial)
        if failure is not None:
            if not isinstance(failure, str) or value is not None:
                raise ParameterError(
                    f"failure={failure!r:.80} must be text that says why there is no value; give "
                    "a value or a failure"
                )
            return self._study.tell(number, Failure(failure))
        goal = self._plan.goal
        try:
            metrics = metrics_of(value, self._plan.goals)
        except ResultError as error:
            raise ParameterError(_told(str(error))) from error
        now = time.monotonic()
        seconds = now - self._asked.pop(number, now)
        budget = self.trials[number].budget
        report = Report(budget, goal.to_loss(metrics[goal.name]), metrics, seconds)
        return self._study.tell(number, report)

    def close(self, status: str = "FINISHED", reason: str | None = None) -> None:
        """Write everything and release the study. Trials without a result can be told later."""
        if self._closed:
            return
        self._closed = True
        if self.best_trial is not None:
            self._storage.notes.set_winner(self.best_trial.number)
            log_front(self._study, self._storage.notes, logger.warning)
        self._storage.close(status, reason)

    def _number(self, trial: object) -> int:
        given = trial.number if isinstance(trial, Trial) else trial
        if not isinstance(given, Integral) or isinstance(given, bool):
            raise ParameterError(
                f"trial={trial!r:.80} must be what ask has returned, or the number of a trial"
            )
        number = int(given)
        if not 0 <= number < len(self.trials):
            raise StudyError(
                f"there is no trial {number}; the study has {counted(len(self.trials), 'trial')}"
            )
        return number

    def _check_open(self) -> None:
        if self._closed:
            raise StudyError(
                f"study {self.run_id} is closed; open it again: open_study(study={self.run_id!r})"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, KeyboardInterrupt):
            self.close("KILLED", "interrupted")
        else:
            self.close("FAILED", f"{type(error).__name__}: {error}")


def _told(message: str) -> str:
    """The message about what an objective returned, for a result that was told."""
    for of_objective, of_tell in (
        ("the objective returned", "tell got"),
        ("must return", "must be"),
        ("; return it", "; tell it"),
    ):
        message = message.replace(of_objective, of_tell)
    return message
