"""Metrics under the names that other tools log: `valid-auc`, `mean_test_neg_log_loss`, `l2`.

A name is read from its end, because the words before the metric say which rows were scored. `neg_`
means negated values, as in scikit-learn.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hpo.errors import ParameterError, closest
from hpo.goals import MAXIMIZE, MINIMIZE, Goal
from pipelines.adoption.bounds import Bounds
from pipelines.table.scores.metrics import CLASSIFICATION, METRICS
from pipelines.table.scores.named import metric_for

AUTO = "auto"


@dataclass(frozen=True)
class Conversion:
    """A function from a logged value to a value of the metric it stands for."""

    function: Callable[[float], float]
    decreasing: bool = False

    def __call__(self, logged: float) -> float:
        """The converted value; nan if it is not defined."""
        return self.function(logged)


IDENTITY = Conversion(float)
SQUARE_ROOT = Conversion(lambda value: math.sqrt(value) if value >= 0 else math.nan)
COMPLEMENT = Conversion(lambda value: 1 - value, decreasing=True)

_SYNONYMS: Sequence[tuple[str, Conversion, str]] = (
    *((name, IDENTITY, name) for name in METRICS),
    ("accuracy", IDENTITY, "acc accuracy_score"),
    ("accuracy", COMPLEMENT, "error binary_error merror multi_error"),
    ("average_precision", IDENTITY, "aucpr pr_auc auc_pr average_precision_score"),
    ("balanced_accuracy", IDENTITY, "balanced_accuracy_score"),
    ("brier", IDENTITY, "brier_score brier_score_loss"),
    ("f1", IDENTITY, "f1_score"),
    ("log_loss", IDENTITY, "logloss binary_logloss multi_logloss mlogloss"),
    ("log_loss", IDENTITY, "cross_entropy binary_crossentropy neg_log_likelihood nll"),
    ("mae", IDENTITY, "l1 mean_absolute_error"),
    ("mape", IDENTITY, "mean_absolute_percentage_error"),
    ("mcc", IDENTITY, "matthews_corrcoef"),
    ("median_ae", IDENTITY, "median_absolute_error"),
    ("r2", IDENTITY, "r2_score"),
    ("rmse", IDENTITY, "root_mean_squared_error l2_root"),
    ("rmse", SQUARE_ROOT, "mse l2 mean_squared_error"),
    ("rmsle", IDENTITY, "root_mean_squared_log_error"),
    ("roc_auc", IDENTITY, "auc roc_auc_score rocauc"),
)
_KNOWN: Mapping[str, tuple[str, Conversion]] = {
    synonym: (name, conversion)
    for name, conversion, synonyms in _SYNONYMS
    for synonym in synonyms.split()
}
"""The metric of this project that a name stands for, and how its values convert."""

_QUALIFIERS = frozenset(
    ["mean", "avg", "val", "valid", "validation", "cv", "test", "eval", "holdout", "oof"]
)
_NOT_A_SCORE = frozenset(("std", "rank", "time"))  # scikit-learn's `std_test_auc` is no AUC

_UNIT = Bounds(0, 1)
_NOT_NEGATIVE = Bounds(0)
_BOUNDS: Mapping[str, Bounds] = {
    "accuracy": _UNIT,
    "average_precision": _UNIT,
    "balanced_accuracy": _UNIT,
    "brier": _UNIT,
    "f1": _UNIT,
    "f1_macro": _UNIT,
    "log_loss": _NOT_NEGATIVE,
    "mae": _NOT_NEGATIVE,
    "mape": _NOT_NEGATIVE,
    "mcc": Bounds(-1, 1),
    "median_ae": _NOT_NEGATIVE,
    "r2": Bounds(high=1),
    "rmse": _NOT_NEGATIVE,
    "rmsle": _NOT_NEGATIVE,
    "roc_auc": _UNIT,
    "roc_auc_ovr": _UNIT,
}
_ROUNDING = 1e-6  # means of float32 numbers may lie this far outside the bounds


@dataclass(frozen=True)
class LoggedMetric:
    """A metric that another tool has logged.

    Attributes:
        logged: Its name in the runs.
        goal: The metric of this project that it stands for, or itself if there is none.
        sign: -1 if the logged values are negated.
        conversion: From a logged value, with its sign corrected, to a value of `name`.
    """

    logged: str
    goal: Goal
    sign: float = 1.0
    conversion: Conversion = IDENTITY

    @property
    def name(self) -> str:
        """The name of the metric that it stands for."""
        return self.goal.name

    @property
    def ours(self) -> bool:
        """Whether this is a metric of `table.scores.metrics`, so that other studies compare."""
        return self.name in METRICS

    @property
    def direction(self) -> str:
        """The direction of the logged values: minimize or maximize."""
        reversed_ = (self.sign < 0) != self.conversion.decreasing
        return MAXIMIZE if self.goal.greater_is_better != reversed_ else MINIMIZE

    @property
    def negated(self) -> "LoggedMetric":
        """The same metric, logged with the other sign."""
        return replace(self, sign=-self.sign)

    def value(self, logged: float) -> float:
        """The value of the metric `name` for a logged value."""
        return self.conversion(self.sign * logged)

    def is_possible(self, logged: float) -> bool:
        """Whether the metric `name` can have the value that was logged."""
        return _BOUNDS.get(self.name, Bounds()).contain(self.value(logged), _ROUNDING)

    def loss(self, logged: float) -> float:
        """The loss, which is minimised, for a logged value."""
        return self.goal.to_loss(self.value(logged))


def logged_metric(
    logged: str, kind: str | None, direction: str = AUTO, means: str | None = None
) -> LoggedMetric:
    """Interpret the name of a logged metric.

    Args:
        logged: The name in the runs.
        kind: The kind of task; None if it is not known.
        direction: minimize, maximize or auto. If it contradicts the name, the logged values are
            taken as negated.
        means: The name to interpret in place of `logged`.

    Raises:
        ParameterError: If the direction is unknown, or the metric belongs to another kind of task.
    """
    found = _interpret(logged, means or logged, kind)
    if found is not None:
        return found if direction in (AUTO, found.direction) else found.negated
    if means:
        names = [name for name, metric in METRICS.items() if kind in (None, *metric.tasks)]
        raise ParameterError(
            f"means={means!r} is not a metric of this project{closest(means, names)}; "
            f"metrics: {', '.join(names)}"
        )
    direction = direction if direction != AUTO else _usual_direction(logged)
    return LoggedMetric(logged, Goal(logged, direction))


def impossible_values(metric: LoggedMetric, logged: Sequence[float]) -> str | None:
    """A message about logged values that the metric cannot have; None if all are possible."""
    wrong = [value for value in logged if not metric.is_possible(value)]
    if not wrong:
        return None
    negated = f" (negated, as its direction is {metric.direction})" if metric.sign < 0 else ""
    problem = (
        f"metric {metric.logged!r}{negated} is read as {metric.name}, which "
        f"{_BOUNDS[metric.name]}, but {len(wrong)} of {len(logged)} runs logged an impossible "
        f"value, such as {wrong[0]:g}"
    )
    if all(map(metric.negated.is_possible, logged)):
        return f"{problem}; give direction={metric.negated.direction}"
    leave_out = "leave these runs out with filter=, " if len(wrong) < len(logged) else ""
    return (
        f"{problem}; {leave_out}give another metric of these runs, or log the value on that scale "
        "(a percentage divided by 100) to the same runs under another name and give that name"
    )


def _interpret(logged: str, name: str, kind: str | None) -> LoggedMetric | None:
    words = re.findall("[a-z0-9]+", name.lower())
    while words and words[-1] in _QUALIFIERS:
        words.pop()
    if not _NOT_A_SCORE.isdisjoint(words):
        return None
    for start in range(len(words)):
        ending = "_".join(words[start:])
        positive = ending.removeprefix("neg_")
        known = ending if ending in _KNOWN else positive
        if known in _KNOWN:
            sign = 1.0 if known == ending else -1.0
            return _for_task(logged, known, sign, kind)
    return None


def _for_task(logged: str, known: str, sign: float, kind: str | None) -> LoggedMetric | None:
    """The metric behind a known name; None if the name is ambiguous in a task of this kind.

    Raises:
        ParameterError: If the metric belongs to another kind of task.
    """
    name, conversion = _KNOWN[known]
    tasks = METRICS[name].tasks
    if name == "roc_auc" and kind == "multiclass":
        name = "roc_auc_ovr"
    elif kind is not None and kind not in tasks:
        if kind in CLASSIFICATION and not set(CLASSIFICATION).isdisjoint(tasks):
            # A binary score of several classes: its name does not say how it was averaged.
            return None
        metric_for(name, kind)  # raises an error that lists the metrics of such a task
    return LoggedMetric(logged, METRICS[name].goal, sign, conversion)


def _usual_direction(logged: str) -> str:
    """The direction of an unknown metric, if its name implies one.

    Raises:
        ParameterError: If it does not.
    """
    if logged.startswith("mean_test_"):  # searches of scikit-learn, which maximise every score
        return MAXIMIZE
    if logged.lower().endswith("loss"):
        return MINIMIZE
    raise ParameterError(
        f"metric {logged!r} is not a metric of this project, so its direction is unknown; "
        "give direction=minimize or direction=maximize, or means= with the metric it stands for"
    )
