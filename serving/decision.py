"""What is made of the mean prediction of a classifier: calibrated probabilities, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.values import FloatArray, IntArray

SMALLEST = 1e-12  # a probability below counts as this one
HALF = 0.5


@dataclass(frozen=True)
class Calibration:
    """A smooth map of the probabilities of k classes.

    The probabilities are `softmax(slopes * log(p) + offsets)`. With equal slopes and no offsets
    this is temperature scaling (Guo et al. 2017), and for two classes beta calibration (Kull et al.
    2017), which has Platt's sigmoid as the case of equal slopes.

    Attributes:
        slopes: `(k,)`, above 0.
        offsets: `(k,)`.
    """

    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: for slopes that are not above 0, and for values that are not finite.
        """
        slopes, offsets = np.asarray(self.slopes), np.asarray(self.offsets)
        finite = np.isfinite(slopes).all() and np.isfinite(offsets).all()
        if len(slopes) != len(offsets) or not finite or not (slopes > 0).all():
            raise ValueError(
                "a calibration needs a slope above 0 and a finite offset for each class, but has "
                f"the slopes {self.slopes} and the offsets {self.offsets}"
            )

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Map `(n, k)` probabilities."""
        logs = np.log(np.maximum(probabilities, SMALLEST))
        scores = logs * np.asarray(self.slopes) + np.asarray(self.offsets)
        exponential = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Decision:
    """How probabilities are calibrated, and from which on the positive class is predicted.

    Attributes:
        calibration: of the probabilities; None leaves them as they are.
        threshold: of the calibrated probability of the second of two classes, above which its label
            is predicted. None predicts the most probable class.
    """

    calibration: Calibration | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the threshold.

        Raises:
            ValueError: for one that is no probability between 0 and 1.
        """
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"a threshold must lie between 0 and 1, but got {self.threshold}")

    def probabilities(self, mean: FloatArray) -> FloatArray:
        """Calibrate `(n, k)` probabilities."""
        return mean if self.calibration is None else self.calibration(mean)

    def decided(self, probabilities: FloatArray) -> FloatArray:
        """`(n, k)` probabilities of which the largest is that of the class that is predicted.

        For metrics of labels: the threshold is mapped to a half, and what lies between stays in
        order. `probabilities` are calibrated.
        """
        if self.threshold is None:
            return probabilities
        p, t = probabilities[:, 1], self.threshold
        positive = np.where(p > t, HALF + HALF * (p - t) / (1 - t), HALF * p / t)
        return np.column_stack([1 - positive, positive])

    def codes(self, probabilities: FloatArray) -> IntArray:
        """The codes `(n,)` of the classes that are predicted."""
        return np.asarray(self.decided(probabilities).argmax(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form; empty if nothing is changed."""
        found: dict[str, Any] = {}
        if self.calibration is not None:
            of = self.calibration
            found["calibration"] = {"slopes": list(of.slopes), "offsets": list(of.offsets)}
        if self.threshold is not None:
            found["threshold"] = self.threshold
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """The inverse of `to_dict`."""
        of = data.get("calibration")
        calibration = None
        if of is not None:
            calibration = Calibration(tuple(of["slopes"]), tuple(of["offsets"]))
        return cls(calibration, data.get("threshold"))


UNDECIDED = Decision()
"""Probabilities as they are, and the most probable class."""
