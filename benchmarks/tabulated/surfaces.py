"""Tabulated surfaces: real trainings of one model on one table, interpolated by a Gaussian process.

`python -m benchmarks tables` makes them. A file holds a few hundred trained configurations (unit
codes), their losses and seconds, and the fitted process. The loss of any other configuration is the
posterior mean. It has no noise, so a search cannot gain from luck on one validation split, and it
is smoother than the truth where few configurations were trained; the file holds its cross-validated
rank correlation. Losses are squashed by `arcsinh` before the fit, because a diverged training would
otherwise bend the whole surface.

This module may only import numpy and `hpo`, which every peer's environment has.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value

FOLDER = Path(__file__).resolve().parent / "data" / "surfaces"


@dataclass(frozen=True)
class Surface:
    """The posterior mean of a Gaussian process over trained configurations.

    `x` are the features `(n, p)` of the trained configurations, `alpha` `(n,)` the weights of their
    kernels, `length` `(p,)` the length scales, `signal` the variance. `center` and `width` undo the
    scaling of the losses.
    """

    model: str
    table: str
    space: SearchSpace
    default: Params
    cheap: Mapping[str, Value]
    optimum: float
    x: FloatArray
    alpha: FloatArray
    length: FloatArray
    signal: float
    center: float
    width: float

    def predict(self, units: FloatArray) -> FloatArray:
        """Losses `(m,)` at unit codes `(m, d)`; codes of inactive parameters are nan."""
        points = features(self.space, units) / self.length
        squared = (
            (points**2).sum(axis=1)[:, None]
            + (self._scaled**2).sum(axis=1)
            - 2 * points @ self._scaled.T
        )
        distance = np.sqrt(5 * np.maximum(squared, 0.0))
        kernel = self.signal * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return np.asarray(self.center + self.width * np.sinh(kernel @ self.alpha))

    def loss(self, params: Params) -> float:
        """The loss of one configuration."""
        return float(self.predict(self.space.encode(params)[None])[0])

    @cached_property
    def _scaled(self) -> FloatArray:
        return self.x / self.length


def features(space: SearchSpace, units: FloatArray) -> FloatArray:
    """Features `(m, p)` of unit codes `(m, d)`, in which distances are measured.

    Choices are one-hot. Numbers are themselves, with a flag for activity if they are conditional.
    """
    columns: list[FloatArray] = []
    for parameter, codes in zip(space, units.T, strict=True):
        if isinstance(parameter, Categorical):
            cells = np.floor(np.nan_to_num(codes, nan=-1.0) * parameter.n_levels)
            columns += [(cells == i).astype(float) for i in range(parameter.n_levels)]
        else:
            columns.append(np.nan_to_num(codes, nan=0.5))
            if parameter.when:
                columns.append((~np.isnan(codes)).astype(float))
    return np.stack(columns, axis=1)


def tabulated() -> tuple[str, ...]:
    """The names of the surfaces in this folder, `model/table`."""
    return tuple(sorted(path.stem.replace("-", "/", 1) for path in FOLDER.glob("*.npz")))


def load(name: str) -> Surface:
    """The surface of that name."""
    with np.load(FOLDER / f"{name.replace('/', '-', 1)}.npz") as arrays:
        about: dict[str, Any] = json.loads(str(arrays["about"]))
        space = SearchSpace.from_dict(about["space"])
        return Surface(
            model=about["model"],
            table=about["table"],
            space=space,
            default=about["default"],
            cheap=about["cheap"],
            optimum=about["optimum"],
            x=features(space, arrays["units"].astype(float)),
            alpha=arrays["alpha"],
            length=arrays["length"],
            signal=about["signal"],
            center=about["center"],
            width=about["width"],
        )
