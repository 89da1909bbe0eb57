"""What past studies of MLflow expect, for searches that Optuna and Ray Tune run."""

import logging

from hpo.errors import ParameterError, StudyError
from hpo.past import Past
from hpo.space import Params, SearchSpace
from hpo.space.yaml import to_yaml
from pipelines.objectives.code.asked import ASKED
from pipelines.store.knowledge import past_studies
from pipelines.store.summaries import prediction
from pipelines.study.options import past_sources
from pipelines.study.warm_start import NO_FEATURES
from warmstart.past import PastStudy
from warmstart.transfer import learned, neighbours

logger = logging.getLogger(__name__)


class NamedPast:
    """The past studies of what is evaluated, those of its name first.

    Args:
        objective: names what is evaluated: a function as in `tune` (`module:function`), or a name
            as in `open_study` and `adopt`. None learns from none.
        warm_start: as in `tune`: auto, off, own, or run ids and names of experiments.

    Raises:
        UserError: when past studies cannot be read, or those that are named do not exist.
    """

    def __init__(self, objective: str | None, warm_start: str) -> None:
        self._objective = named("" if objective is None else objective)
        self._studies: tuple[PastStudy, ...] = ()
        self._made: dict[tuple[str, str], Past | None] = {}
        sources = past_sources(warm_start)
        if objective is not None and sources != ():
            self._studies = _read(warm_start, sources)

    def expected(self, space: SearchSpace, default: Params, metric: str) -> Past | None:
        """What they expect in a space; None if none shares a parameter with it.

        Args:
            space: of the search.
            default: its first configuration.
            metric: of the search, by its name; past studies by another one count less.
        """
        key = to_yaml(space), metric
        if key not in self._made:
            self._made[key] = self._learned(space, default, metric)
        return self._made[key]

    def _learned(self, space: SearchSpace, default: Params, metric: str) -> Past | None:
        found = neighbours(
            self._studies,
            NO_FEATURES,
            model=self._objective,
            space=space,
            metric=metric,
            task="",
            digest=prediction(self._objective, ""),
        )
        if not found:
            return None
        logger.info("warm start: %s", ", ".join(n.study.name for n in found))
        return learned(found, self._objective, space, default)


def named(objective: str) -> str:
    """The objective as studies store it: a function by its name, else a title.

    Raises:
        ParameterError: when it is no text.
    """
    if not isinstance(objective, str):
        raise ParameterError(
            f"objective={objective!r:.80} must be a name of what is evaluated, such as "
            "training:train or 'my loop'"
        )
    return objective if ":" in objective else f"{ASKED}{objective}"


def _read(warm_start: str, sources: tuple[str, ...] | None) -> tuple[PastStudy, ...]:
    try:
        known = past_studies(sources=sources)
    except StudyError as error:
        raise StudyError(f"warm_start={warm_start}: {error}") from error
    for note in known.notes:
        logger.info("warm start: %s", note)
    return known.studies
