"""Our search as a sampler of Optuna, with past studies of MLflow as its warm start."""

from hpo.past import Past
from hpo.space import Params, SearchSpace
from pipelines.objectives.code.named import NamedPast
from pipelines.objectives.code.results import goal_of
from pipelines.study.options import AUTO

try:
    from hpo.samplers.optuna import DefineByRunSampler
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; install Optuna with: pip install 'mlflow-warmstart[optuna]'", name=error.name
    ) from error


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
        warm_start: as in `tune`: auto, off, own, or run ids and names of experiments.

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
        self._metric_name = goal_of(metric).name
        self._named = NamedPast(objective, warm_start)

    def _expected(self, space: SearchSpace, default: Params) -> Past | None:
        return self._named.expected(space, default, self._metric_name)
