"""What a user believes of a space before a search: good values, and how sure that is.

    learning_rate: {low: 1e-3, high: 0.3, log: true, prior: 0.05}
    num_leaves: {low: 2, high: 200, log: true, prior: {value: 31, spread: 0.1}}
    boosting: {choices: [gbdt, dart], prior: gbdt}

Hvarfner et al. (2022), "piBO: augmenting acquisition functions with user beliefs for Bayesian
optimization", ICLR, arXiv:2204.11051; Mallik et al. (2023), "PriorBand: practical hyperparameter
optimization in the age of deep learning", NeurIPS, arXiv:2306.12370.

The density is a product over the parameters, relative to the uniform one: where nothing is believed
it is 1. For a range it is a normal distribution around the value, truncated to the range; for
choices, one of them is likelier. A small uniform part keeps every value possible.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.arrays import FloatArray

if TYPE_CHECKING:
    from hpo.space.parameters import Parameter, Value

SPREAD = 0.25
RESULTS = 3.0  # after so many, the belief counts as it is; beta of piBO, equation 6
_UNIFORM = 0.05  # the uniform part of each parameter
_KEYS = ("value", "spread")
_LEAST = 1e-3
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Prior:
    """A good value of a parameter, and how far from it a better one may be.

    Attributes:
        value: that is believed to be good.
        spread: for a range, the standard deviation as a share of the range, on its own scale; for
            choices, the probability that another one is better.
    """

    value: "Value"
    spread: float = SPREAD

    @classmethod
    def of(cls, written: Any) -> "Prior":
        """The prior that is written as a value, or as a mapping of `value` and `spread`."""
        return cls(**written) if isinstance(written, Mapping) else cls(written)

    def mistakes(self, parameter: "Parameter") -> Iterator[str]:
        """Everything that is wrong with the prior of a parameter."""
        if (reason := parameter.why_not(self.value)) is not None:
            yield f"{parameter.name}: prior: {reason}"
        spread = self.spread
        number = isinstance(spread, int | float) and not isinstance(spread, bool)
        if not number or not _LEAST <= spread <= 1:
            yield (
                f"{parameter.name}: prior: spread={spread!r} must be a number from {_LEAST:g} to "
                "1, a share of the range"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `of` reads them."""
        return {"value": self.value, "spread": self.spread}


def written_mistakes(written: Any) -> Iterator[str]:
    """What is wrong with the form of a prior."""
    if isinstance(written, Mapping):
        for key in written:
            if key not in _KEYS:
                yield f"prior: unknown key {key!r}; it has value and spread"
        if "value" not in written:
            yield "prior: value is missing; write prior: {value: ..., spread: ...}"
    elif not isinstance(written, bool | int | float | str):
        yield f"prior: expected a value, or value and spread, but got {written!r:.80}"


class Belief:
    """The priors of a space's parameters as one density.

    Args:
        parameters: of the space, in the order of its codes.
    """

    def __init__(self, parameters: "Sequence[Parameter]") -> None:
        self._size = len(parameters)
        self._priors = [_Marginal(p) for p in parameters]

    def log_density(self, codes: FloatArray) -> FloatArray:
        """`(m,)` the logarithm of the density, relative to the uniform one, at codes `(m, d)`.

        Inactive dimensions, which are nan, count as 1.
        """
        found = np.zeros(len(codes))
        for column, each in enumerate(self._priors):
            if each.prior is not None:
                found += np.nan_to_num(each.log_density(codes[:, column]))
        return found

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        """`(n, d)` draws in all dimensions."""
        draws = rng.random((n, self._size))
        for column, each in enumerate(self._priors):
            if each.prior is not None:
                believed = each.at(draws[:, column])
                draws[:, column] = np.where(rng.random(n) < _UNIFORM, draws[:, column], believed)
        return draws


class _Marginal:
    """The density of one parameter over its unit codes."""

    def __init__(self, parameter: "Parameter") -> None:
        self.prior = parameter.prior
        if self.prior is None:
            return
        self._spread, self._center = float(self.prior.spread), parameter.to_unit(self.prior.value)
        choices = getattr(parameter, "choices", None)
        self._n = None if choices is None else len(choices)
        self._below = _NORMAL.cdf(-self._center / self._spread)
        self._inside = _NORMAL.cdf((1 - self._center) / self._spread) - self._below

    def log_density(self, codes: FloatArray) -> FloatArray:
        """`(m,)` log density; nan where inactive."""
        if self._n is not None:
            own = np.floor(codes * self._n) == math.floor(self._center * self._n)
            others = self._spread * self._n / max(self._n - 1, 1)
            believed = np.where(own, self._n * (1 - self._spread), others)
            believed = np.where(np.isnan(codes), np.nan, believed if self._n > 1 else 1.0)
        else:
            z = (codes - self._center) / self._spread
            scale = self._spread * math.sqrt(2 * math.pi) * self._inside
            believed = np.exp(-0.5 * z**2) / scale
        return np.asarray(np.log((1 - _UNIFORM) * believed + _UNIFORM))

    def at(self, uniform: FloatArray) -> FloatArray:
        """`(m,)` draws from the normal part, by inversion of uniform numbers."""
        if self._n is not None:
            own = math.floor(self._center * self._n)
            other = np.minimum(np.floor(uniform / self._spread * (self._n - 1)), self._n - 2)
            other = np.where(other >= own, other + 1, other)
            chosen = np.where((uniform >= self._spread) | (self._n == 1), own, other)
            return np.asarray((chosen + 0.5) / self._n)
        from scipy.special import ndtri  # every command imports spaces, few have priors

        z = ndtri(self._below + uniform * self._inside)
        return np.asarray(np.clip(self._center + self._spread * z, 0.0, 1.0))


def weight(results: int) -> float:
    """The power of the belief beside so many results: it counts less and less (piBO)."""
    return RESULTS / max(results, 1)
