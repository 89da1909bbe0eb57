"""Which runs of an experiment that this project did not log are trials."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.adoption.mapping import Mapped, knowing, meanings
from pipelines.adoption.metrics import LoggedMetric
from pipelines.models import FAMILIES
from pipelines.store import schema

FEWEST = 5  # trials; from fewer nothing is learned

OURS = "this project has logged them"
GROUPS = "they only group others"
PARTS = "they are parts of one that counts, as folds are"
FAILED = "they failed"
UNFINISHED = "they are unfinished"
PRUNED = "Optuna has pruned them, or they failed"
NO_METRIC = "they lack the metric"
NOT_FINITE = "their metric is not finite"
NO_PARAMETERS = "they have no parameter of the model"
OF_ANOTHER = (
    "they are {0}'s, by its autologging or because it has more of their parameters: adopt them with model={0}, or say "
    "with mapping what they mean"
)

_MOST = 1e300  # MLflow keeps infinity as 1.8e308
_OPTUNA_STATE, _OPTUNA_DIRECTION = "state", "direction"  # tags of its callback
# Tags of MLflow's autologging: the library that made the run, and the class of a model with
# scikit-learn's interface, `xgboost.sklearn.XGBClassifier`, also of the candidates of its searches.
_AUTOLOGGING, _ESTIMATOR = "mlflow.autologging", "estimator_class"


@dataclass(frozen=True)
class ForeignRun:
    """A run as MLflow has it: parameters are texts, of each metric the last value."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def parent(self) -> str | None:
        """The run that it is nested in."""
        return self.tags.get(schema.PARENT_RUN)


@dataclass(frozen=True)
class Found:
    """The runs that are trials, in the order in which they were given, and how many are not, by the reason."""

    trials: tuple[ForeignRun, ...]
    others: Mapping[str, int]


def said_direction(runs: Sequence[ForeignRun], metric: str) -> str | None:
    """The direction of the objective, where Optuna's callback has logged all runs that have the metric."""
    said = {run.tags.get(_OPTUNA_DIRECTION, "").lower() for run in runs if metric in run.metrics}
    return said.pop() if len(said) == 1 and said <= {"minimize", "maximize"} else None


def trials_among(
    runs: Sequence[ForeignRun], metric: LoggedMetric, model: str, given: Mapped
) -> Found:
    """The runs that have the metric and a configuration of the model, and are not rather another one's.

    The last is not asked where a mapping is `given`, which says what names mean. A run with such
    runs inside it only groups them, even when it repeats the best of them. It is the other way
    round where all runs inside have its own configuration: then they are its parts, as folds are.
    """
    known, _ = meanings(model, {name for run in runs for name in run.params}, given)
    reasons = {run.run_id: _obstacle(run, metric) for run in runs}
    candidates = [run for run in runs if reasons[run.run_id] is None]
    reasons |= {run.run_id: NO_PARAMETERS for run in candidates if not _configuration(run, known)}
    if not given:
        reasons |= {
            run_id: OF_ANOTHER.format(other)
            for run_id, other in _of_another(candidates, model).items()
        }
    inside: dict[str, list[ForeignRun]] = defaultdict(list)
    for run in runs:
        if run.parent and reasons[run.run_id] is None:
            inside[run.parent].append(run)
    for run in runs:
        if below := inside.get(run.run_id):
            own = _configuration(run, known)
            if reasons[run.run_id] is None and all(
                _configuration(part, known) == own for part in below
            ):
                reasons |= {part.run_id: PARTS for part in below}
            else:
                reasons[run.run_id] = GROUPS
    parents = {run.parent for run in runs}
    counts = Counter(
        GROUPS if reason == NO_METRIC and run_id in parents else reason
        for run_id, reason in reasons.items()
        if reason
    )
    return Found(tuple(run for run in runs if reasons[run.run_id] is None), counts)


def _of_another(runs: Sequence[ForeignRun], model: str) -> dict[str, str]:
    """The family by run id, of those runs that are another one's than `model`'s.

    A run that could be of several is of `model`, unless others are surely of another family and
    none surely of `model`.
    """
    names = {name for run in runs for name in run.params}
    searched, reserved = knowing(names, "parameters"), knowing(names, "reserved")
    fitting = {run.run_id: _fitting(run, searched, reserved) for run in runs}
    sure = {families[0] for families in fitting.values() if len(families) == 1}
    if model not in sure:
        fitting = {
            run_id: [family for family in families if family in sure] or families
            for run_id, families in fitting.items()
        }
    return {
        run_id: families[0]
        for run_id, families in fitting.items()
        if families and model not in families
    }


def _fitting(
    run: ForeignRun, searched: Mapping[str, frozenset[str]], reserved: Mapping[str, frozenset[str]]
) -> list[str]:
    """The families that a run may be of: the one that autologging says, else those that know most of its names.

    Whoever knows none that can be searched is not among them: `max_iter` is no sign of LightGBM.
    """
    says = run.tags.get(_AUTOLOGGING), run.tags.get(_ESTIMATOR, "").partition(".")[0]
    said = [family for family in FAMILIES if family in says]
    names = run.params.keys()
    counts = {
        family: len((searched[family] | reserved[family]) & names)
        for family in FAMILIES
        if searched[family] & names
    }
    return said or [family for family in counts if counts[family] == max(counts.values())]


def _obstacle(run: ForeignRun, metric: LoggedMetric) -> str | None:
    """Why a run is no trial of any model; None when it may be one."""
    if schema.ROLE in run.tags:
        return OURS
    if run.status != schema.FINISHED:
        return FAILED if run.status == schema.FAILED else UNFINISHED
    if run.tags.get(_OPTUNA_STATE) in ("PRUNED", "FAIL"):
        return PRUNED
    if metric.logged not in run.metrics:
        return NO_METRIC
    value = run.metrics[metric.logged]
    return NOT_FINITE if not math.isfinite(value) or abs(value) > _MOST else None


def _configuration(run: ForeignRun, known: Mapped) -> dict[str, str]:
    return {name: text for name, text in run.params.items() if name in known}
