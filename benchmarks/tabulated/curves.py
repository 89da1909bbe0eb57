"""Learning curves to replay: seconds and loss of any configuration at each rung, without training.

`python -m benchmarks curves` makes the tabulated ones from some hundred real trainings of one model
on one table. A file holds the trained configurations (unit codes), losses and cumulative CPU
seconds `(n, r)`, and two Gaussian processes that interpolate them: one for the losses, with a
kernel fitted at the last rung and weights for each rung, and one for the logarithms of the seconds.
Losses are squashed by `arcsinh` before the fit. If the model keeps its best state so far, a curve
never rises.

`ones4+4` and `ones16+16` are the counting ones of Falkner, Klein and Hutter, "BOHB" (ICML 2018),
section 5.1.

This module may only import numpy and `hpo`, which every peer's environment has.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tabulated.surfaces import features
from hpo.arrays import FloatArray
from hpo.errors import UserError, closest
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Params

CURVES_FOLDER = Path(__file__).resolve().parent / "data" / "curves"
PAST_FOLDER = Path(__file__).resolve().parent / "data" / "past"
ONES_BUDGETS = (9.0, 27.0, 81.0, 243.0, 729.0)


@dataclass(frozen=True)
class Curves:
    """The learning curves of all configurations of a space, at `r` rungs.

    Attributes:
        name: the name, `model/table` for tabulated curves.
        space: the search space.
        default: the first configuration that searches get.
        budgets: the ascending budgets `(r,)` of the rungs.
        optimum: the lowest loss at the largest budget.
        scale: the median loss there of random configurations. The normalised regret is
            (loss - optimum) / (scale - optimum).
        losses: gives the losses `(r,)` of a configuration. At low budgets they can be noise: judge
            an incumbent by the last one.
        seconds: gives the cumulative seconds `(r,)` of a configuration.
        continued: whether a trial pays only the difference from the previous rung; otherwise every
            rung is a training of its own.
    """

    name: str
    space: SearchSpace
    default: Params
    budgets: tuple[float, ...]
    optimum: float
    scale: float
    losses: Callable[[Params], FloatArray]
    seconds: Callable[[Params], FloatArray]
    continued: bool = True


@dataclass(frozen=True)
class Process:
    """The posterior mean of one Gaussian process per rung, with a common Matérn 5/2 kernel.

    `x` are the features `(n, p)` of the trained configurations, `alpha` `(n, r)` the weights of
    their kernels, `length` `(p,)` the length scales, `signal` the variance. `center` and `width`
    `(r,)` undo the scaling of the fitted values.
    """

    x: FloatArray
    alpha: FloatArray
    length: FloatArray
    signal: float
    center: FloatArray
    width: FloatArray

    def predict(self, points: FloatArray) -> FloatArray:
        """Means `(m, r)` at features `(m, p)`, in units of `width` from `center`."""
        scaled, known = points / self.length, self.x / self.length
        squared = (scaled**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * scaled @ known.T
        distance = np.sqrt(5 * np.maximum(squared, 0.0))
        kernel = self.signal * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return np.asarray(kernel @ self.alpha)


@dataclass(frozen=True)
class Tabulated:
    """Losses and seconds of one model on one table; `monotone` if losses are the best so far."""

    space: SearchSpace
    loss: Process
    time: Process
    monotone: bool

    def losses_at(self, units: FloatArray) -> FloatArray:
        """Losses `(m, r)` at unit codes `(m, d)`; codes of inactive parameters are nan."""
        squashed = self.loss.predict(features(self.space, units))
        losses = self.loss.center + self.loss.width * np.sinh(squashed)
        if self.monotone:  # the last rung was fitted best, so earlier ones are raised
            losses = np.maximum.accumulate(losses[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(losses)

    def seconds_at(self, units: FloatArray) -> FloatArray:
        """Cumulative seconds `(m, r)` at unit codes `(m, d)`."""
        logs = self.time.center + self.time.width * self.time.predict(features(self.space, units))
        return np.asarray(np.maximum.accumulate(np.exp(logs), axis=1))

    def losses(self, params: Params) -> FloatArray:
        """Losses `(r,)` of one configuration."""
        return np.asarray(self.losses_at(self.space.encode(params)[None])[0])

    def seconds(self, params: Params) -> FloatArray:
        """Cumulative seconds `(r,)` of one configuration."""
        return np.asarray(self.seconds_at(self.space.encode(params)[None])[0])


def tabulated_curves() -> tuple[str, ...]:
    """The names of the tabulated curves, `model/table`."""
    return tuple(sorted(path.stem.replace("-", "/", 1) for path in CURVES_FOLDER.glob("*.npz")))


def synthetic_curves() -> tuple[str, ...]:
    """The names of the computed curves."""
    return tuple(_SYNTHETIC)


@cache
def load_curves(name: str) -> Curves:
    """The curves of that name, tabulated or synthetic.

    Raises:
        UserError: for an unknown name; the message suggests the closest one.
    """
    if name in _SYNTHETIC:
        return counting_ones_curves(*_SYNTHETIC[name])
    known = (*synthetic_curves(), *tabulated_curves())
    if name not in known:
        raise UserError(f"unknown curves {name!r}{closest(name, known)}; known: {', '.join(known)}")
    about, table, _ = read_tabulated(CURVES_FOLDER / f"{name.replace('/', '-', 1)}.npz")
    return Curves(
        name=name,
        space=table.space,
        default=about["default"],
        budgets=tuple(about["budgets"]),
        optimum=about["optimum"],
        scale=about["scale"],
        losses=table.losses,
        seconds=table.seconds,
        continued=about["continued"],
    )


def read_tabulated(path: Path) -> tuple[dict[str, Any], Tabulated, FloatArray]:
    """The metadata of a file, its curves, and the unit codes `(n, d)` of its configurations."""
    with np.load(path) as arrays:
        about: dict[str, Any] = json.loads(str(arrays["about"]))
        space, units = SearchSpace.from_dict(about["space"]), arrays["units"].astype(float)
        x = features(space, units)
        loss, time = (_process(x, arrays, part) for part in ("loss", "time"))
    return about, Tabulated(space, loss, time, about["monotone"]), units


def counting_ones_curves(n_categorical: int, n_continuous: int, seed: int = 0) -> Curves:
    """Counting ones with a budget (Falkner et al. 2018, section 5.1).

    The loss is minus the sum of the categorical parameters, in {0, 1}, and, for each continuous
    one in [0, 1], of the mean of b draws from a Bernoulli distribution. b is the budget; a rung
    reuses the draws of the previous one. The draws depend on the seed and the configuration. One
    draw takes one second.
    """
    space = SearchSpace(
        (
            *(Categorical(f"c{i}", (0, 1)) for i in range(n_categorical)),
            *(Float(f"x{i}", 0.0, 1.0) for i in range(n_continuous)),
        )
    )
    budgets = np.array(ONES_BUDGETS)
    draws = np.diff(budgets, prepend=0.0).astype(int)

    def losses(params: Params) -> FloatArray:
        unit = np.ascontiguousarray(space.encode(params))
        rng = np.random.default_rng([seed, *unit.view(np.uint32).tolist()])
        chances = np.array([float(params[f"x{i}"]) for i in range(n_continuous)])
        ones = rng.binomial(draws[:, None], chances[None]).cumsum(axis=0).sum(axis=1)
        return np.asarray(-sum(int(params[f"c{i}"]) for i in range(n_categorical)) - ones / budgets)

    n = n_categorical + n_continuous
    default = {
        parameter.name: 0 if isinstance(parameter, Categorical) else 0.5 for parameter in space
    }
    name = f"ones{n_categorical}+{n_continuous}"
    return Curves(
        name, space, default, ONES_BUDGETS, -float(n), -n / 2, losses, lambda _: budgets.copy()
    )


def _process(x: FloatArray, arrays: Mapping[str, FloatArray], part: str) -> Process:
    alpha, length, signal, center, width = (
        arrays[f"{part}_{key}"].astype(float)
        for key in ("alpha", "length", "signal", "center", "width")
    )
    return Process(x, alpha, length, float(signal), center, width)


_SYNTHETIC = {"ones4+4": (4, 4), "ones16+16": (16, 16)}
