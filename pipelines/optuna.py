"""Our search as a sampler of Optuna, with past studies of MLflow as its warm start."""

import logging

from hpo.errors import StudyError
from hpo.past import Past
from hpo.space import Params, SearchSpace
from pipelines.objectives.code.asked import ASKED
from pipelines.objectives.code.results import goal_of
from pipelines.store.knowledge import past_studies
from pipelines.store.summaries import prediction
from pipelines.study.options import AUTO, OFF, past_sources
from pipelines.study.warm_start import NO_FEATURES
from warmstart.past import PastStudy
from warmstart.transfer import learned, neighbours

try:
    from hpo.samplers.optuna import DefineByRunSampler
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; install Optuna with: pip install 'mlflow-warmstart[optuna]'", name=error.name
    ) from error

logger = logging.getLogger(__name__)


class WarmstartSampler(DefineByRunSampler):
    """Our search in Optuna: `optuna.create_study(sampler=WarmstartSampler("digits", seed=0))`.

    It takes spaces that are defined by run, both directions, pruners, constraints and several
    workers. Nothing is written to MLflow: `adopt` makes a past study of an Optuna study.

    Args:
        objective: names what is evaluated: a function as in `tune` (`module:function`), or a name
            as in `open_study` and `adopt`. Past studies of MLflow, those of this name first, are
            the warm start. None learns from none.
        seed: of every random choice; the same seed gives the same study. None takes a new one.
        metric: as in `tune`; past studies by another metric count less.
        warm_start: as in `tune`: auto, off, or run ids of studies and names of experiments.

    Raises:
        UserError: when past studies cannot be read, or those that are named do not exist.
    """

    def __init__(
        self,
        objective: str | None = None,
        *,
        seed: int | None = None,
        metric: str = AUTO,
        warm_start: str = AUTO,
    ) -> None:
        super().__init__(seed=seed, past=self._expected)
        self._metric = goal_of(metric).name
        self._objective = named(objective or "")
        self._studies: tuple[PastStudy, ...] = ()
        self._made: dict[str, Past | None] = {}
        if objective is not None and warm_start != OFF:
            self._studies = _read(warm_start)

    def _expected(self, space: SearchSpace, default: Params) -> Past | None:
        """What past studies expect in a space; None if none shares a parameter with it."""
        key = space.to_yaml()
        if key not in self._made:
            self._made[key] = self._learned(space, default)
        return self._made[key]

    def _learned(self, space: SearchSpace, default: Params) -> Past | None:
        found = neighbours(
            self._studies,
            NO_FEATURES,
            model=self._objective,
            space=space,
            metric=self._metric,
            task="",
            digest=prediction(self._objective, ""),
        )
        if not found:
            return None
        logger.info("warm start: %s", ", ".join(n.study.name for n in found))
        return learned(found, self._objective, space, default)


def named(objective: str) -> str:
    """The objective as studies store it: a function by its name, else a title."""
    return objective if ":" in objective else f"{ASKED}{objective}"


def _read(warm_start: str) -> tuple[PastStudy, ...]:
    try:
        known = past_studies(sources=past_sources(warm_start))
    except StudyError as error:
        raise StudyError(f"warm_start={warm_start}: {error}") from error
    for note in known.notes:
        logger.info("warm start: %s", note)
    return known.studies
