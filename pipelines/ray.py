"""Our search as a search algorithm of Ray Tune, with past studies of MLflow as its warm start."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.past import Past
from hpo.space import Params, SearchSpace
from pipelines.objectives.code.named import NamedPast
from pipelines.study.options import AUTO

try:
    from hpo.samplers.ray import StudySearcher
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; install Ray Tune with: pip install 'mlflow-warmstart[ray]'", name=error.name
    ) from error


class WarmstartSearcher(StudySearcher):
    """Our search in Ray Tune: `TuneConfig(search_alg=WarmstartSearcher("digits", seed=0))`.

    It takes a `param_space` of Ray with ranges, choices and constants, nested or not; both modes;
    Ray's schedulers and limits of concurrency. Nothing is written to MLflow.

    Args:
        objective: names what is evaluated: a function as in `tune` (`module:function`), or a name
            as in `open_study` and `adopt`. Past studies of MLflow, those of this name first, are
            the warm start. None learns from none.
        space: Ray's; None takes the `param_space` of the `Tuner`.
        metric: of the results; None takes that of the `TuneConfig`.
        mode: `min` or `max`; None takes that of the `TuneConfig`.
        points_to_evaluate: configurations to try first, in Ray's form.
        seed: of every random choice; None takes a new one.
        warm_start: as in `tune`: auto, off, own, or run ids and names of experiments.

    Raises:
        UserError: for a space that cannot be searched, and when past studies cannot be read or
            those that are named do not exist.
    """

    def __init__(
        self,
        objective: str | None = None,
        *,
        space: Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        warm_start: str = AUTO,
    ) -> None:
        super().__init__(
            space,
            metric,
            mode,
            points_to_evaluate=points_to_evaluate,
            seed=seed,
            past=self._expected,
        )
        self._named = NamedPast(objective, warm_start)

    def _expected(self, space: SearchSpace, default: Params) -> Past | None:
        return self._named.expected(space, default, str(self.metric))
