"""The functions that search is measured on: synthetic, conditional and tabulated ones.

Methods in all environments evaluate the same functions, so this module may only import numpy and
`hpo`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from benchmarks.tabulated.surfaces import load, tabulated
from hpo.errors import UserError, closest
from hpo.space import Categorical, Float, Integer, Params, SearchSpace, Value

SCALE_SEED = 20_250_101


@dataclass(frozen=True)
class Problem:
    """A loss over a space.

    `optimum` is the minimum, `scale` the median loss of uniformly drawn configurations. The
    normalised regret of a loss is (loss - optimum) / (scale - optimum): 0 at the minimum, 1 for a
    random draw. `default` is the first configuration that every method gets (for most synthetic
    problems, first choices and the middle of the ranges), `cheap` FLAML's low-cost part of it.
    `noise` is the standard deviation of the noise that a search sees, as a normalised regret.
    """

    name: str
    group: str
    space: SearchSpace
    loss: Callable[[Params], float]
    optimum: float
    scale: float
    default: Params
    cheap: Mapping[str, Value]
    noise: float = 0.0

    def regret(self, loss: float) -> float:
        """The normalised regret of a loss."""
        return max(loss - self.optimum, 0.0) / (self.scale - self.optimum)

    def observed(self, seed: int) -> "Problem":
        """This problem with noise on every loss that is asked for."""
        rng = np.random.default_rng([SCALE_SEED, seed])
        sd = self.noise * (self.scale - self.optimum)
        return replace(self, loss=lambda params: self.loss(params) + float(rng.normal(0, sd)))


def median_loss(space: SearchSpace, loss: Callable[[Params], float], n: int = 1001) -> float:
    """The median loss of `n` uniformly drawn configurations."""
    rng = np.random.default_rng(SCALE_SEED)
    return float(np.median([loss(space.decode(row)) for row in space.codes.sample(rng, n)]))


def branin(params: Params) -> float:
    """Branin-Hoo; minimum 0.397887 at (-pi, 12.275), (pi, 2.275) and (9.42478, 2.475)."""
    x, y = float(params["x"]), float(params["y"])
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return (y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10


_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(params: Params) -> float:
    """Hartmann in six dimensions; minimum -3.32237."""
    x = np.array([float(params[f"x{i}"]) for i in range(6)])
    return -float(_HARTMANN_ALPHA @ np.exp(-(_HARTMANN_A * (x - _HARTMANN_P) ** 2).sum(axis=1)))


def counting_ones(params: Params) -> float:
    """Minus the sum of all parameters, in {0, 1} or [0, 1] (Falkner et al. 2018, without noise)."""
    return -float(sum(float(value) for value in params.values()))


def rosenbrock(params: Params) -> float:
    """log(1 + Rosenbrock) in four dimensions; minimum 0 at (1, 1, 1, 1)."""
    x = np.array([float(params[f"x{i}"]) for i in range(4)])
    return math.log1p((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def network(params: Params) -> float:
    """An imagined network: ten mixed parameters, two of them conditional; minimum 0.

    SGD is best, but only near its own learning rate and momentum; Adam is good over a wide range;
    the learning rate interacts with the batch size.
    """
    rate, batch = math.log10(float(params["learning_rate"])), math.log2(float(params["batch_size"]))
    if params["optimizer"] == "adam":
        loss = (
            0.15
            + 0.15 * (rate + 3 + 0.15 * (6 - batch)) ** 2
            + 0.1 * abs(float(params["beta2"]) - 0.99)
        )
    else:
        offset = 0.0 if params["optimizer"] == "sgd" else 0.3
        loss = (
            offset
            + 0.4 * (rate + 1.5 + 0.15 * (6 - batch)) ** 2
            + 1.5 * (float(params["momentum"]) - 0.9) ** 2
        )
    loss += 0.03 * (math.log10(float(params["weight_decay"])) + 4) ** 2 + 0.02 * (batch - 6) ** 2
    loss += (
        0.06 * (int(params["layers"]) - 3) ** 2
        + 0.03 * (math.log2(float(params["width"])) - 8) ** 2
    )
    loss += 2.0 * (float(params["dropout"]) - 0.2) ** 2
    loss += {"relu": 0.1, "gelu": 0.05, "mish": 0.0, "tanh": 0.3}[str(params["activation"])]
    return loss + (0.0 if params["normalise"] else 0.2)


NETWORK = SearchSpace(
    (
        Categorical("optimizer", ("adam", "sgd", "rmsprop")),
        Float("learning_rate", 1e-5, 1.0, log=True),
        Float("momentum", 0.0, 0.99, when={"optimizer": ("sgd", "rmsprop")}),
        Float("beta2", 0.8, 0.999, when={"optimizer": ("adam",)}),
        Float("weight_decay", 1e-6, 1e-1, log=True),
        Integer("batch_size", 16, 512, log=True),
        Integer("layers", 1, 6),
        Integer("width", 16, 1024, log=True),
        Float("dropout", 0.0, 0.6, step=0.05),
        Categorical("activation", ("relu", "gelu", "mish", "tanh")),
        Categorical("normalise", (True, False)),
    )
)


def _nested_linear(params: Params) -> float:
    loss = 0.25 + 0.05 * (math.log10(float(params["strength"])) + 1) ** 2
    if params["penalty"] == "elastic":
        return loss + 0.4 * (float(params["mix"]) - 0.3) ** 2
    return loss + (0.1 if params["penalty"] == "l1" else 0.05)


def _nested_kernel(params: Params) -> float:
    loss = 0.1 * (math.log10(float(params["cost"])) - 1) ** 2
    if params["kernel"] == "rbf":
        cost, gamma = math.log10(float(params["cost"])), math.log10(float(params["gamma"]))
        return loss + 0.3 * (gamma + 2 + 0.3 * (cost - 1)) ** 2
    return (
        0.2 + loss + 0.1 * abs(int(params["degree"]) - 2) + 0.1 * (float(params["shift"]) - 1) ** 2
    )


def _nested_tree(params: Params) -> float:
    loss = (
        0.1
        + 0.02 * (int(params["depth"]) - 8) ** 2
        + 0.1 * (math.log2(float(params["leaf"])) - 3) ** 2
    )
    if params["prune"]:
        return loss + 0.05 * (math.log10(float(params["alpha"])) + 3) ** 2
    return loss + 0.1


def nested(params: Params) -> float:
    """Three kinds of models, conditions three deep; minimum 0, in the branch hardest to tune."""
    branches = {"linear": _nested_linear, "kernel": _nested_kernel, "tree": _nested_tree}
    return branches[str(params["kind"])](params)


NESTED = SearchSpace(
    (
        Categorical("kind", ("linear", "kernel", "tree")),
        Categorical("penalty", ("l1", "l2", "elastic"), when={"kind": ("linear",)}),
        Float("strength", 1e-5, 1e3, log=True, when={"kind": ("linear",)}),
        Float("mix", 0.0, 1.0, when={"penalty": ("elastic",)}),
        Categorical("kernel", ("rbf", "poly"), when={"kind": ("kernel",)}),
        Float("cost", 1e-3, 1e4, log=True, when={"kind": ("kernel",)}),
        Float("gamma", 1e-6, 1e1, log=True, when={"kernel": ("rbf",)}),
        Integer("degree", 1, 6, when={"kernel": ("poly",)}),
        Float("shift", 0.0, 3.0, when={"kernel": ("poly",)}),
        Integer("depth", 1, 20, when={"kind": ("tree",)}),
        Integer("leaf", 1, 256, log=True, when={"kind": ("tree",)}),
        Categorical("prune", (True, False), when={"kind": ("tree",)}),
        Float("alpha", 1e-6, 1e-1, log=True, when={"prune": (True,)}),
    )
)


def _ones(n: int) -> SearchSpace:
    categorical = [Categorical(f"c{i}", (0, 1)) for i in range(n)]
    return SearchSpace((*categorical, *(Float(f"x{i}", 0.0, 1.0) for i in range(n))))


def _synthetic(
    name: str,
    group: str,
    space: SearchSpace,
    loss: Callable[[Params], float],
    optimum: float,
    default: Params | None = None,
) -> Problem:
    usual = np.array([[0.0 if isinstance(parameter, Categorical) else 0.5 for parameter in space]])
    default = default or space.decode(space.codes.snap(usual)[0])
    return Problem(name, group, space, loss, optimum, median_loss(space, loss), default, {})


_BOX6 = SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(6)))
_BOX4 = SearchSpace(tuple(Float(f"x{i}", -2.0, 2.0) for i in range(4)))
_CLASSIC: Params = {
    "x0": -1.2,
    "x1": 1.0,
    "x2": -1.2,
    "x3": 1.0,
}  # Rosenbrock's own starting point, repeated
_SYNTHETIC: Mapping[str, Callable[[str], Problem]] = {
    "branin": lambda name: _synthetic(
        name,
        "synthetic",
        SearchSpace((Float("x", -5, 10), Float("y", 0, 15))),
        branin,
        0.39788735772973816,
    ),
    "hartmann6": lambda name: _synthetic(name, "synthetic", _BOX6, hartmann6, -3.322368011415515),
    "rosenbrock4": lambda name: _synthetic(name, "synthetic", _BOX4, rosenbrock, 0.0, _CLASSIC),
    "ones4+4": lambda name: _synthetic(name, "synthetic", _ones(4), counting_ones, -8.0),
    "ones8+8": lambda name: _synthetic(name, "synthetic", _ones(8), counting_ones, -16.0),
    "network": lambda name: _synthetic(name, "conditional", NETWORK, network, 0.0),
    "nested": lambda name: _synthetic(name, "conditional", NESTED, nested, 0.0),
}


def _tabulated(name: str) -> Problem:
    surface = load(name)
    return Problem(
        name=name,
        group=surface.model,
        space=surface.space,
        loss=surface.loss,
        optimum=surface.optimum,
        scale=median_loss(surface.space, surface.loss),
        default=surface.default,
        cheap=surface.cheap,
    )


def names() -> tuple[str, ...]:
    """All problems, the synthetic ones first."""
    return (*_SYNTHETIC, *tabulated())


@cache
def problem(name: str) -> Problem:
    """The problem of that name; `name~0.1` is the same one with noise.

    Raises:
        UserError: naming the closest one when there is none.
    """
    name, _, noise = name.partition("~")
    if noise:
        return replace(problem(name), name=f"{name}~{noise}", noise=float(noise))
    if name in _SYNTHETIC:
        return _SYNTHETIC[name](name)
    if name in tabulated():
        return _tabulated(name)
    raise UserError(
        f"unknown problem {name!r}{closest(name, names())}; known: {', '.join(names())}"
    )
