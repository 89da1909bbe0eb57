"""The model family that logged runs belong to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.adoption.mapping import look_up
from pipelines.adoption.runs import ForeignRun
from pipelines.models import FAMILIES

# Tags of MLflow's autologging: the library that made the run, and the class of a model with
# scikit-learn's interface, `xgboost.sklearn.XGBClassifier`, also of the candidates of its searches.
_AUTOLOGGING, _ESTIMATOR = "mlflow.autologging", "estimator_class"


@dataclass(frozen=True)
class FamilyNames:
    """The logged names that are parameters of a family.

    `searchable` names may be in a space; `known` names include those that a study sets itself.
    """

    searchable: frozenset[str]
    known: frozenset[str]

    @classmethod
    def of(cls, family: str, names: Iterable[str]) -> "FamilyNames":
        """Those of `names` that are parameters of `family`."""
        names = frozenset(names)
        searchable = frozenset(name for name in names if look_up(family, name))
        reserved = frozenset(name for name in names if look_up(family, name, "reserved"))
        return cls(searchable, searchable | reserved)


def runs_of_other_families(runs: Sequence[ForeignRun], model: str) -> dict[str, str]:
    """The family, by run id, of the runs that do not belong to `model`.

    A run that fits several families counts as one of `model`, unless other runs clearly belong to
    another of these families and none clearly to `model`.
    """
    logged = {name for run in runs for name in run.params}
    names = {family: FamilyNames.of(family, logged) for family in FAMILIES}
    fitting = {run.run_id: _fitting_families(run, names) for run in runs}
    certain = {families[0] for families in fitting.values() if len(families) == 1}
    found = {}
    for run_id, families in fitting.items():
        if model not in certain:
            families = [family for family in families if family in certain] or families
        if families and model not in families:
            found[run_id] = families[0]
    return found


def _fitting_families(run: ForeignRun, names: Mapping[str, FamilyNames]) -> list[str]:
    """The families that a run may belong to.

    The family in the tags of autologging, or else those that know most of the run's parameters. A
    family must know one that can be searched: `max_iter` alone is not a sign of LightGBM.
    """
    tags = run.tags.get(_AUTOLOGGING), run.tags.get(_ESTIMATOR, "").partition(".")[0]
    tagged = [family for family in FAMILIES if family in tags]
    if tagged:
        return tagged
    params = run.params.keys()
    counts = {
        family: len(own.known & params) for family, own in names.items() if own.searchable & params
    }
    most = max(counts.values(), default=0)
    return [family for family, count in counts.items() if count == most]
