"""Estimators of a module of its own, as users write them."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC


class Helper:
    """Something that a fitted estimator holds."""


class Shares(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the shares of the classes."""

    def __init__(self, power: float = 1.0, seen: str = "all") -> None:
        self.power = power
        self.seen = seen

    def fit(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares_ = counts**self.power / (counts**self.power).sum()
        self.helper_ = Helper()
        return self

    def predict_proba(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.tile(self.shares_, (len(x), 1))


class Forgetful(Shares):
    """Does not keep its argument as it is."""

    def __init__(self, power: float = 1.0, seen: str = "all") -> None:
        super().__init__(power + 1, seen)


def made() -> SVC:
    return SVC(kernel="linear")


def needs_more(power: float) -> Shares:
    return Shares(power)


fitted_once = SVC(C=3.0)
