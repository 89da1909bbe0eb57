"""Losses of a regression that a model is trained for, instead of the squared error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.errors import DataError, ParameterError, closest
from hpo.goals import MINIMIZE
from pipelines.table.scores.metrics import Metric, Weights, mean

KINDS = ("quantile", "poisson", "tweedie", "gamma", "huber")
EXAMPLES = "quantile:0.9, poisson, tweedie:1.5, gamma or huber"
TWEEDIE = 1.5
_SMALLEST = 1e-12  # of a predicted mean, relative to that of the targets


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        kind: one of `KINDS`.
        level: the quantile, or the power of Tweedie's variance; 0 for the others.
    """

    kind: str
    level: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Loss:
        """Read a text like "quantile:0.9".

        Raises:
            ParameterError: for any other text, and for a level out of its range.
        """
        kind, colon, value = text.partition(":")
        level = float(value) if re.fullmatch(r"\d*\.?\d+", value) else float("nan")
        if kind not in KINDS:
            raise ParameterError(f"unknown loss {text!r}{closest(kind, KINDS)}; losses: {EXAMPLES}")
        if kind == "quantile" and not 0 < level < 1:
            raise ParameterError(f"loss={text!r} needs a quantile between 0 and 1: quantile:0.9")
        if kind == "tweedie" and colon and not 1 < level < 2:
            raise ParameterError(f"loss={text!r} needs a power between 1 and 2: tweedie:1.5")
        if colon and kind not in ("quantile", "tweedie"):
            raise ParameterError(f"loss={text!r} takes no value; write {kind}")
        return cls(kind, level if colon else TWEEDIE if kind == "tweedie" else 0.0)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.kind}:{self.level:g}" if self.level else self.kind

    @property
    def is_logarithmic(self) -> bool:
        """Whether models predict the logarithm of a mean, so that predictions are positive."""
        return self.kind in ("poisson", "tweedie", "gamma")

    @property
    def metric(self) -> str:
        """The metric that fits."""
        names = {"quantile": f"pinball:{self.level:g}", "huber": "mae"}
        level = f":{self.level:g}" if self.level else ""
        return names.get(self.kind, f"{self.kind}_deviance{level}")

    def check_target(self, y: FloatArray) -> None:
        """Check that the loss is defined for these targets.

        Raises:
            DataError: for negative targets, or for zeros where it needs positive ones.
        """
        if not self.is_logarithmic:
            return
        wrong = y <= 0 if self.kind == "gamma" else y < 0
        if wrong.any():
            rule = "greater than 0" if self.kind == "gamma" else "0 or greater"
            raise DataError(
                f"loss={str(self)!r} needs targets that are {rule}, but {int(wrong.sum()):,} of "
                f"{len(y):,} are not, the smallest is {y.min():g}; take another loss, or leave "
                "these rows out"
            )
        if not y.any():
            raise DataError(f"loss={str(self)!r} needs targets that are not all 0")


def loss_metric(name: str) -> Metric | None:
    """The metric of a loss by its name, such as "pinball:0.9"; None for another name."""
    kind, _, value = name.partition(":")
    if not re.fullmatch(r"(\d*\.?\d+)?", value):
        return None
    level = float(value or 0.0)
    task = ("regression",)
    match kind:
        case "pinball" if 0 < level < 1:
            return Metric(name, task, MINIMIZE, _pinball(level), power=1)
        case "poisson_deviance" if kind == name:
            return Metric(name, task, MINIMIZE, _deviance(1.0), _negative, power=1)
        case "gamma_deviance" if kind == name:
            return Metric(name, task, MINIMIZE, _deviance(2.0), _not_positive, power=0)
        case "tweedie_deviance" if 1 < level < 2:
            return Metric(name, task, MINIMIZE, _deviance(level), _negative, power=2 - level)
    return None


def _pinball(level: float) -> Any:
    def score(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
        return mean(np.maximum(level * (y - p), (level - 1) * (y - p)), w)

    return score


def _deviance(power: float) -> Any:
    """The mean deviance of a Tweedie distribution; Poisson's for 1, that of gamma for 2."""

    def score(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
        if y.min() < 0 or (power == 2 and y.min() == 0):
            return float("nan")
        mu = np.maximum(p, _SMALLEST * max(float(y.mean()), 1e-300))
        if power == 1:
            ratio = np.divide(y, mu, out=np.ones_like(mu), where=y > 0)
            return mean(2 * (y * np.log(ratio) - y + mu), w)
        if power == 2:
            return mean(2 * (np.log(mu / y) + y / mu - 1), w)
        up, rest = 1 - power, 2 - power
        terms = y**rest / (up * rest) - y * mu**up / up + mu**rest / rest
        return mean(2 * terms, w)

    return score


def _negative(y: npt.NDArray[Any]) -> str:
    return f"it needs targets >= 0, the smallest is {y.min():g}" if y.min() < 0 else ""


def _not_positive(y: npt.NDArray[Any]) -> str:
    return f"it needs targets > 0, the smallest is {y.min():g}" if y.min() <= 0 else ""
