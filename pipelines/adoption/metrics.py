"""Metrics as other tools name them, and what they are here: `valid-auc`, `mean_test_neg_log_loss`, `l2`.

A name is read from its end, because what stands before the metric says of which rows it is. `neg_`
turns the sign, as in scikit-learn.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from hpo.errors import ParameterError, closest
from pipelines.table.metrics import CLASSIFICATION, METRICS, metric_for

AUTO = "auto"
DIRECTIONS = ("minimize", "maximize")

_ALIASES: Mapping[str, str] = MappingProxyType(
    {name: name for name in METRICS}
    | dict.fromkeys(("auc", "roc_auc_score", "rocauc"), "roc_auc")
    | dict.fromkeys(("logloss", "binary_logloss", "multi_logloss", "mlogloss"), "log_loss")
    | dict.fromkeys(
        ("cross_entropy", "binary_crossentropy", "neg_log_likelihood", "nll"), "log_loss"
    )
    | dict.fromkeys(("acc", "accuracy_score"), "accuracy")
    | dict.fromkeys(("aucpr", "pr_auc", "auc_pr", "average_precision_score"), "average_precision")
    | dict.fromkeys(("brier_score", "brier_score_loss"), "brier")
    | dict.fromkeys(("l1", "mean_absolute_error"), "mae")
    | dict.fromkeys(("median_absolute_error",), "median_ae")
    | {"balanced_accuracy_score": "balanced_accuracy", "f1_score": "f1", "r2_score": "r2"}
    | {"matthews_corrcoef": "mcc", "root_mean_squared_error": "rmse", "l2_root": "rmse"}
    | {"root_mean_squared_log_error": "rmsle", "mean_absolute_percentage_error": "mape"}
)
_QUALIFIERS = frozenset(
    ("mean", "avg", "val", "valid", "validation", "cv", "test", "eval", "holdout", "oof")
)
_NO_SCORE = frozenset(("std", "rank", "time"))  # scikit-learn's `std_test_auc` is no AUC


def _same(value: float) -> float:
    return value


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def _complement(value: float) -> float:
    return 1 - value


# Named otherwise and counted otherwise: the name here, and the value here of a value there.
_CONVERTED: Mapping[str, tuple[str, Callable[[float], float]]] = MappingProxyType(
    dict.fromkeys(("mse", "l2", "mean_squared_error"), ("rmse", _root))
    | dict.fromkeys(("error", "binary_error", "merror", "multi_error"), ("accuracy", _complement))
)


# Smallest and largest value of our metrics. Means of float32 numbers may be a little beyond.
_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    dict.fromkeys(("roc_auc", "roc_auc_ovr", "average_precision", "brier"), (0.0, 1.0))
    | dict.fromkeys(("accuracy", "balanced_accuracy", "f1", "f1_macro"), (0.0, 1.0))
    | dict.fromkeys(("log_loss", "rmse", "mae", "median_ae", "rmsle", "mape"), (0.0, math.inf))
    | {"mcc": (-1.0, 1.0), "r2": (-math.inf, 1.0)}
)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class LoggedMetric:
    """A metric that somebody else has logged.

    Attributes:
        logged: its name there.
        name: its name here; as logged when there is none.
        greater_is_better: of the values under `name`.
        sign: -1 where the logged values are negated.
        convert: from a logged value, the sign mended, to one under `name`.
    """

    logged: str
    name: str
    greater_is_better: bool
    sign: float = 1.0
    convert: Callable[[float], float] = _same

    @property
    def ours(self) -> bool:
        """Whether it is one of `pipelines.table.metrics`, so that other studies compare."""
        return self.name in METRICS

    def value(self, logged: float) -> float:
        """A logged value as one of the metric `name`."""
        return self.convert(self.sign * logged)

    def possible(self, logged: float) -> bool:
        """Whether the metric `name` can have the value that this stands for."""
        low, high = _RANGES.get(self.name, (-math.inf, math.inf))
        return low - _ROUNDING <= self.value(logged) <= high + _ROUNDING

    @property
    def direction(self) -> str:
        """How the logged values get better: minimize or maximize."""
        turned = (self.sign < 0) != (self.convert is _complement)
        return "maximize" if self.greater_is_better != turned else "minimize"

    @property
    def turned(self) -> "LoggedMetric":
        """The same where the logged values get better the other way, so that their sign is another one."""
        return replace(self, sign=-self.sign)

    def loss(self, logged: float) -> float:
        """A logged value as what is minimised."""
        return -self.value(logged) if self.greater_is_better else self.value(logged)

    def from_loss(self, loss: float) -> float:
        """What is minimised as a value of the metric `name`."""
        return -loss if self.greater_is_better else loss


def logged_metric(
    logged: str, kind: str | None, direction: str = AUTO, means: str | None = None
) -> LoggedMetric:
    """What the metric `logged` is here, for a task of this kind; None where the kind is not known.

    `means` is read in place of the name. A `direction` other than auto is believed: where the name
    says otherwise, the values are negated ones.

    Raises:
        ParameterError: when nothing says which direction is better, or it is no metric of such a
            task.
    """
    name, sign, convert = _known(means or logged, kind)
    if name is None and means:
        known = [known for known, metric in METRICS.items() if kind in (None, *metric.tasks)]
        raise ParameterError(
            f"means={means!r} is none of this project's metrics{closest(means, known)}; they are {', '.join(known)}"
        )
    if name is None:
        return LoggedMetric(logged, logged, _direction(logged, direction) == "maximize")
    found = LoggedMetric(logged, name, METRICS[name].greater_is_better, sign, convert)
    return found if direction in (AUTO, found.direction) else found.turned


def impossible_values(metric: LoggedMetric, logged: Sequence[float]) -> str | None:
    """What is wrong with logged values that the metric cannot have, and the way out; None when there are none."""
    wrong = [value for value in logged if not metric.possible(value)]
    if not wrong:
        return None
    low, high = _RANGES[metric.name]
    rule = (
        f"lies between {low:g} and {high:g}" if math.isfinite(high - low) else _half_open(low, high)
    )
    negated = (
        f", negated as it gets better with direction={metric.direction}," if metric.sign < 0 else ""
    )
    what = (
        f"metric {metric.logged!r}{negated} counts as {metric.name}, which {rule}, but {len(wrong)} of {len(logged)} "
        f"runs have logged what cannot be that, such as {wrong[0]:g}"
    )
    if all(map(metric.turned.possible, logged)):
        return f"{what}; give direction={metric.turned.direction}"
    leave = "leave them out with filter=, " if len(wrong) < len(logged) else ""
    return (
        f"{what}; {leave}give another metric of these runs, or log the value on that scale (of a percentage a "
        "hundredth) to them under another name and give that"
    )


def _half_open(low: float, high: float) -> str:
    return f"is at least {low:g}" if math.isinf(high) else f"is at most {high:g}"


def _direction(logged: str, direction: str) -> str:
    """Of a metric that is none of ours: as given, or as its name says to anyone."""
    if direction != AUTO:
        return direction
    if logged.startswith(
        "mean_test_"
    ):  # of scikit-learn's searches, whose scorers all are to be maximised
        return "maximize"
    if logged.lower().endswith("loss"):
        return "minimize"
    raise ParameterError(
        f"metric {logged!r} is none of this project's, so nothing says whether more or less of it is better; "
        "give direction=minimize or direction=maximize, or means= with the metric here that it is"
    )


def _known(logged: str, kind: str | None) -> tuple[str | None, float, Callable[[float], float]]:
    """The name here, None when there is none, the sign of the logged values, and how they are counted."""
    words = [word for word in re.split(r"[^a-z0-9]+|_", logged.lower()) if word]
    while words and words[-1] in _QUALIFIERS:
        words.pop()
    if _NO_SCORE.isdisjoint(words):
        for start in range(len(words)):
            sign = (
                -1.0 if words[start] == "neg" and "_".join(words[start:]) not in _ALIASES else 1.0
            )
            text = "_".join(words[start + (sign < 0) :])
            name, convert = _CONVERTED.get(text, (_ALIASES.get(text), _same))
            if name is not None:
                return _for_task(name, kind), sign, convert
    return None, 1.0, _same


def _for_task(name: str, kind: str | None) -> str | None:
    """The metric of this name in a task of this kind."""
    if kind is None or kind in METRICS[name].tasks:
        return name
    if name == "roc_auc" and kind == "multiclass":
        return "roc_auc_ovr"
    if kind in CLASSIFICATION and set(CLASSIFICATION) & set(METRICS[name].tasks):
        return (
            None  # a score of two classes for more of them: which mean it is, its name does not say
        )
    metric_for(name, kind)  # says what the metrics of such a task are
    return None
