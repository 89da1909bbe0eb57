"""Rungs and brackets as data: the arithmetic of successive halving, Hyperband and ASHA, in one place.

Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter
optimization", AISTATS (successive halving); Li et al. (2018), "Hyperband", JMLR 18(185), algorithm
1. Letters are the paper's: R the largest budget, eta the factor between rungs, s the number of
halvings of a bracket.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpo.errors import ParameterError, raise_all

_EXACT = 1e-9  # so that 243 / 3^4 is 3, whatever the floating-point logarithm says


@dataclass(frozen=True)
class Budgets:
    """From which budget to which, and the factor between rungs.

    Raises:
        ParameterError: naming every value that cannot be.
    """

    low: float
    high: float
    eta: float = 3.0

    def __post_init__(self) -> None:
        raise_all(ParameterError, self._mistakes())

    @cached_property
    def rungs(self) -> tuple[float, ...]:
        """R eta^-s, ..., R eta^-1, R as whole numbers, ascending; the lowest is not below `low`."""
        s_max = math.floor(math.log(self.high / self.low) / math.log(self.eta) + _EXACT)
        return tuple(float(round(self.high * self.eta**-s)) for s in range(s_max, -1, -1))

    def _mistakes(self) -> Iterator[str]:
        if not _LEAST_ETA <= self.eta < math.inf:
            yield (
                f"eta={self.eta:g} must be {_LEAST_ETA:g} or more, and finite; each rung keeps one of eta trials "
                "(3 is usual)"
            )
        if not self.low >= 1:
            yield f"min_budget={self.low:g} must be 1 or more"
        if not self.high >= self.low:
            yield f"min_budget={self.low:g} must not exceed max_budget={self.high:g}"


_LEAST_ETA = 2.0


@dataclass(frozen=True)
class Bracket:
    """A race: `sizes[i]` configurations reach rung `first + i`; the last rung is that of the largest budget."""

    first: int
    sizes: tuple[int, ...]

    def capacity(self, rung: int) -> int:
        """How many configurations reach a rung; 0 below the first."""
        return self.sizes[rung - self.first] if rung >= self.first else 0


def successive_halving(n_rungs: int, eta: float) -> tuple[Bracket, ...]:
    """The bracket that begins with eta^s configurations at the lowest of s + 1 rungs, so that one reaches the last."""
    return (_bracket(n_rungs - 1, n_rungs, eta, math.ceil(eta ** (n_rungs - 1) - _EXACT)),)


def hyperband(n_rungs: int, eta: float) -> tuple[Bracket, ...]:
    """Hyperband's brackets, s = s_max, ..., 0, each costing about (s_max + 1) R.

    n = ceil((s_max + 1) eta^s / (s + 1)) configurations begin, floor(n eta^-i) reach rung i (Li et
    al. 2018, algorithm 1). HpBandSter takes floor((s_max + 1) / (s + 1)) eta^s for the first: with
    R = 81 and eta = 3 it begins with 81, 27, 9, 6 and 5 configurations where the paper has 81, 34,
    15, 8 and 5.
    """
    s_max = n_rungs - 1
    return tuple(
        _bracket(s, n_rungs, eta, math.ceil((s_max + 1) * eta**s / (s + 1) - _EXACT))
        for s in range(s_max, -1, -1)
    )


def cost(rungs: tuple[float, ...], brackets: tuple[Bracket, ...]) -> float:
    """What a configuration costs on average, in full trainings, when promoted ones go on where they stood."""
    steps = [high - low for low, high in zip((0.0, *rungs), rungs, strict=False)]
    spent = sum(
        bracket.sizes[0] * rungs[bracket.first]
        + sum(bracket.capacity(rung) * steps[rung] for rung in range(bracket.first + 1, len(rungs)))
        for bracket in brackets
    )
    return spent / rungs[-1] / sum(bracket.sizes[0] for bracket in brackets)


def halved(
    n: int | NDArray[np.intp], eta: float, times: int | NDArray[np.intp]
) -> NDArray[np.intp]:
    """How many of n configurations are left after so many halvings: floor(n eta^-times), element by element."""
    return np.floor(n * eta ** -np.asarray(times, dtype=float) + _EXACT).astype(np.intp)


def _bracket(s: int, n_rungs: int, eta: float, n: int) -> Bracket:
    return Bracket(n_rungs - 1 - s, tuple(halved(n, eta, np.arange(s + 1)).tolist()))
