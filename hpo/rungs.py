"""Rungs and brackets as data: the arithmetic of successive halving, Hyperband and ASHA.

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

_EXACT = 1e-9  # tolerance of floor and ceil: 243 / 3^4 is 3 despite rounding errors
_MIN_ETA = 2.0


@dataclass(frozen=True)
class Budgets:
    """The smallest and the largest budget, and the factor between rungs.

    Raises:
        ParameterError: naming every invalid value.
    """

    low: float
    high: float
    eta: float = 3.0

    def __post_init__(self) -> None:
        raise_all(ParameterError, self._mistakes())

    @cached_property
    def rungs(self) -> tuple[float, ...]:
        """R eta^-s, ..., R eta^-1, R as whole numbers, ascending; the lowest is at least `low`."""
        s_max = math.floor(math.log(self.high / self.low) / math.log(self.eta) + _EXACT)
        return tuple(float(round(self.high * self.eta**-s)) for s in range(s_max, -1, -1))

    def _mistakes(self) -> Iterator[str]:
        if not _MIN_ETA <= self.eta < math.inf:
            yield (
                f"eta={self.eta:g} must be {_MIN_ETA:g} or more, and finite; "
                "each rung promotes one of eta trials (3 is usual)"
            )
        if not self.low >= 1:
            yield f"min_budget={self.low:g} must be 1 or more"
        if not self.high >= self.low:
            yield f"min_budget={self.low:g} must not exceed max_budget={self.high:g}"


@dataclass(frozen=True)
class Bracket:
    """A race over rungs: `sizes[i]` configurations reach rung `first + i`, up to the last rung."""

    first: int
    sizes: tuple[int, ...]

    def capacity(self, rung: int) -> int:
        """How many configurations reach a rung; 0 below the first."""
        return self.sizes[rung - self.first] if rung >= self.first else 0


def successive_halving(n_rungs: int, eta: float) -> tuple[Bracket, ...]:
    """One bracket over all s + 1 rungs: eta^s configurations begin, and one reaches the last."""
    return (_bracket(n_rungs - 1, n_rungs, eta, math.ceil(eta ** (n_rungs - 1) - _EXACT)),)


def hyperband(n_rungs: int, eta: float) -> tuple[Bracket, ...]:
    """Hyperband's brackets, s = s_max, ..., 0, each costing about (s_max + 1) R.

    n = ceil((s_max + 1) eta^s / (s + 1)) configurations begin, floor(n eta^-i) reach rung i (Li et
    al. 2018, algorithm 1). HpBandSter begins with floor((s_max + 1) / (s + 1)) eta^s: with R = 81
    and eta = 3 these are 81, 27, 9, 6 and 5 configurations where the paper has 81, 34, 15, 8 and 5.
    """
    s_max = n_rungs - 1
    return tuple(
        _bracket(s, n_rungs, eta, math.ceil((s_max + 1) * eta**s / (s + 1) - _EXACT))
        for s in range(s_max, -1, -1)
    )


def reaching(n_rungs: int, brackets: tuple[Bracket, ...]) -> tuple[float, ...]:
    """The share of the configurations that reach each rung."""
    begun = sum(bracket.sizes[0] for bracket in brackets)
    return tuple(
        sum(bracket.capacity(rung) for bracket in brackets) / begun for rung in range(n_rungs)
    )


def costs(rungs: tuple[float, ...], brackets: tuple[Bracket, ...]) -> tuple[float, ...]:
    """What a configuration costs at each rung on average, in full trainings.

    Promoted trials continue, they do not restart.
    """
    begun = sum(bracket.sizes[0] for bracket in brackets)
    spent = np.zeros(len(rungs))
    for bracket in brackets:
        steps = np.diff(rungs[bracket.first :], prepend=0.0)  # from the rung below
        spent[bracket.first :] += np.multiply(bracket.sizes, steps)
    return tuple((spent / rungs[-1] / begun).tolist())


def halved(
    n: int | NDArray[np.intp], eta: float, times: int | NDArray[np.intp]
) -> NDArray[np.intp]:
    """How many of n configurations remain after `times` halvings: floor(n eta^-times)."""
    return np.floor(n * eta ** -np.asarray(times, dtype=float) + _EXACT).astype(np.intp)


def _bracket(s: int, n_rungs: int, eta: float, n: int) -> Bracket:
    return Bracket(n_rungs - 1 - s, tuple(halved(n, eta, np.arange(s + 1)).tolist()))
