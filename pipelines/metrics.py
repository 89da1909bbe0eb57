"""What a trial is scored with; each metric takes encoded classes and probabilities, or values in original units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Metric:
    """A score by name.

    Called with ``y``: (n,) int64 class codes or float64 values in original units, and ``prediction``: (n, k)
    probabilities (k = 2 for binary) or (n,) values in original units. A prediction that is not finite is a
    ``ValueError``, so that the trial fails instead of winning.
    """

    name: str
    tasks: tuple[str, ...]
    greater_is_better: bool
    function: Callable[[npt.NDArray[np.generic], npt.NDArray[np.float64]], float]

    def __call__(self, y: Array, prediction: npt.NDArray[np.float64]) -> float:
        """Return the score in the user's direction."""
        if not np.all(np.isfinite(prediction)):
            raise ValueError(f"{self.name}: the model predicted values that are not finite")
        return float(self.function(y, prediction))

    def to_loss(self, value: float) -> float:
        """Return the value to minimise."""
        return -value if self.greater_is_better else value
