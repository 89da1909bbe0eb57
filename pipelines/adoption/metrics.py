"""Metrics as other tools name them, and what they are here: `valid-auc`, `mean_test_neg_log_loss`, `l2`.

A name is read from its end, because what stands before the metric says of which rows it is. `neg_` turns the sign, as
in scikit-learn.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hpo.errors import ParameterError, closest
from pipelines.metrics import CLASSIFICATION, METRICS, metric_for

AUTO = "auto"
DIRECTIONS = ("minimize", "maximize")

_ALIASES: Mapping[str, str] = MappingProxyType(
    {name: name for name in METRICS}
    | dict.fromkeys(("auc", "roc_auc_score", "rocauc"), "roc_auc")
    | dict.fromkeys(("logloss", "binary_logloss", "multi_logloss", "mlogloss"), "log_loss")
    | dict.fromkeys(("cross_entropy", "binary_crossentropy", "neg_log_likelihood", "nll"), "log_loss")
    | dict.fromkeys(("acc", "accuracy_score"), "accuracy")
    | dict.fromkeys(("aucpr", "pr_auc", "auc_pr", "average_precision_score"), "average_precision")
    | dict.fromkeys(("brier_score", "brier_score_loss"), "brier")
    | dict.fromkeys(("l1", "mean_absolute_error"), "mae")
    | dict.fromkeys(("median_absolute_error",), "median_ae")
    | {"balanced_accuracy_score": "balanced_accuracy", "f1_score": "f1", "r2_score": "r2"}
    | {"matthews_corrcoef": "mcc", "root_mean_squared_error": "rmse", "l2_root": "rmse"}
    | {"root_mean_squared_log_error": "rmsle", "mean_absolute_percentage_error": "mape"}
)
_QUALIFIERS = frozenset(("mean", "avg", "val", "valid", "validation", "cv", "test", "eval", "holdout", "oof"))
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
        """Whether it is one of `pipelines.metrics`, so that other studies compare."""
        return self.name in METRICS

    def value(self, logged: float) -> float:
        """A logged value as one of the metric `name`."""
        return self.convert(self.sign * logged)

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

    `means` is read in place of the name. A `direction` other than auto is believed: where the name says otherwise, the
    values are negated ones.

    Raises:
        ParameterError: when nothing says which direction is better, or it is no metric of such a task.
    """
    name, sign, convert = _known(means or logged, kind)
    if name is None and means:
        known = [known for known, metric in METRICS.items() if kind in (None, *metric.tasks)]
        raise ParameterError(
            f"means={means!r} is none of this project's metrics{closest(means, known)}; they are {', '.join(known)}"
        )
    if name is None:
        return LoggedMetric(logged, logged, _direction(logged, direction) == "maximize")
    greater = METRICS[name].greater_is_better
    turned = (sign < 0) != (convert is _complement)
    if direction != AUTO and (direction == "maximize") != (greater != turned):
        sign = -sign
    return LoggedMetric(logged, name, greater, sign, convert)


def _direction(logged: str, direction: str) -> str:
    """Of a metric that is none of ours: as given, or as its name says to anyone."""
    if direction != AUTO:
        return direction
    if logged.startswith("mean_test_"):  # of scikit-learn's searches, whose scorers all are to be maximised
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
            sign = -1.0 if words[start] == "neg" and "_".join(words[start:]) not in _ALIASES else 1.0
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
        return None  # a score of two classes for more of them: which mean it is, its name does not say
    metric_for(name, kind)  # says what the metrics of such a task are
    return None
