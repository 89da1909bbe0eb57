"""Scores of rows with noise and missing cells, so that a study can prefer models that bear them.

`robustness` and `robustness:STRENGTH` are the score of the study's first metric on the validation
rows after `disturbed`.
"""

from __future__ import annotations

import math

import numpy as np

from hpo.errors import ParameterError
from serving.features import Matrix

ROBUSTNESS = "robustness"
STRENGTH = 0.1
_SEED = 20_160_707  # every model sees the same noise, so that models are compared and not noises
_FLAG = 2  # values of a column that gets no noise


def is_robustness(name: str) -> bool:
    """Whether a metric is a score of disturbed rows."""
    return name.partition(":")[0] == ROBUSTNESS


def strength_of(name: str) -> float:
    """The strength in `robustness:STRENGTH`; `STRENGTH` if the name states none.

    Raises:
        ParameterError: if it is no number above 0 and at most 1.
    """
    _, colon, text = name.partition(":")
    try:
        strength = float(text) if colon else STRENGTH
    except ValueError:
        strength = math.nan
    if not 0 < strength <= 1:
        raise ParameterError(
            f"metric {name!r}: the strength must be a number above 0 and at most 1, such as "
            f"{ROBUSTNESS}:{STRENGTH}"
        )
    return strength


def disturbed(rows: Matrix, strength: float) -> Matrix:
    """A copy of encoded rows with noise in their numbers and with missing cells.

    Numbers get normal noise with `strength` times the standard deviation of their column in these
    rows; columns of two values, such as flags, get none. Then each cell is missing with the
    probability `strength`.
    """
    rng = np.random.default_rng(_SEED)
    numeric, categorical = rows.numeric.copy(), rows.categorical.copy()
    for column in numeric.T:
        known = column[np.isfinite(column)]
        noise = rng.standard_normal(len(column))
        if len(np.unique(known)) > _FLAG:
            column += strength * known.std() * noise
    numeric[rng.random(numeric.shape) < strength] = np.nan
    categorical[rng.random(categorical.shape) < strength] = -1
    return Matrix(numeric, categorical)
