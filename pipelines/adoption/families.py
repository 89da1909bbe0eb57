"""The model family that logged runs belong to."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipelines.adoption.mapping import look_up
from pipelines.adoption.runs import ForeignRun
from pipelines.models import FAMILIES

# Tags of MLflow's autologging: the library that made the run, and the class of a model with
# scikit-learn's interface, `xgboost.sklearn.XGBClassifier`, also of the candidates of its searches.
_AUTOLOGGING, _ESTIMATOR = "mlflow.autologging", "estimator_class"


def runs_of_other_families(runs: Sequence[ForeignRun], model: str) -> Mapping[str, str]:
    """The family, by run id, of the runs that do not belong to `model`.

    A run belongs to the family in the tags of autologging, or else to the one that knows most of
    its parameters. A run that fits several families counts as one of `model`, unless other runs
    clearly belong to another of these families and none clearly to `model`.
    """
    if not runs:
        return {}
    scores = pd.DataFrame(map(_scores, runs), index=[run.run_id for run in runs])
    scores = scores.reindex(columns=list(FAMILIES)).fillna(0)
    fits = scores.eq(scores.max(axis=1), axis=0) & (scores > 0)
    clear = fits[fits.sum(axis=1) == 1].any()
    if not clear[model]:
        narrowed = fits & clear
        fits = narrowed.where(narrowed.any(axis=1), fits)
    others = fits[fits.any(axis=1) & ~fits[model]]
    if others.empty:
        return {}
    return {str(run_id): str(family) for run_id, family in others.idxmax(axis=1).items()}


def _scores(run: ForeignRun) -> dict[str, int]:
    """How well each family fits a run; 0 if it does not."""
    tags = run.tags.get(_AUTOLOGGING), run.tags.get(_ESTIMATOR, "").partition(".")[0]
    tagged = {family: 1 for family in FAMILIES if family in tags}
    return tagged or {family: _known_parameters(run, family) for family in FAMILIES}


def _known_parameters(run: ForeignRun, family: str) -> int:
    """How many parameters of a run a family knows.

    0 if a study cannot search any of them: `max_iter` alone is not a sign of LightGBM.
    """
    searchable = {name for name in run.params if look_up(family, name)}
    reserved = {name for name in run.params if look_up(family, name, "reserved")}
    return len(searchable | reserved) if searchable else 0
