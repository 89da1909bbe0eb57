"""FLAML's BlendSearch and CFO through `flaml.tune.run`, with a low-cost start.

FLAML gets a flat space of all parameters; inactive ones are left out before the loss is computed.
On our conditional problems this was better than its hierarchical spaces (regret on `nested` after
60 trials: BlendSearch 0.11 instead of 0.21, CFO 0.10 instead of 0.35; equal on `network`).
"""

import contextlib
import io
import logging
from typing import Any

import optuna
from flaml import CFO, BlendSearch, tune  # type: ignore[import-not-found]

from benchmarks.peers.flat import complete, flat
from benchmarks.search.problems import Problem
from hpo.space import Categorical, Integer, Parameter, Value

SEARCHERS = {"blendsearch": BlendSearch, "cfo": CFO}
logging.getLogger("flaml").setLevel(logging.ERROR)
optuna.logging.set_verbosity(logging.ERROR)


def minimise(problem: Problem, seed: int, trials: int, first: bool, searcher: str) -> list[float]:
    """The losses of one search, in order.

    With `first`, it starts from the default and then from the low-cost configuration.
    """
    losses: list[float] = []

    def objective(config: dict[str, Value]) -> dict[str, float]:
        losses.append(problem.loss(flat(config, problem.space)))
        return {"loss": losses[-1]}

    starts = [problem.default] if first else []
    if first and problem.cheap:
        starts.append({**problem.default, **problem.cheap})
    algorithm = SEARCHERS[searcher](
        metric="loss",
        mode="min",
        space={p.name: domain(p) for p in problem.space},
        low_cost_partial_config=dict(problem.cheap),
        points_to_evaluate=[complete(start, problem.space) for start in starts],
        seed=seed,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        tune.run(objective, search_alg=algorithm, num_samples=trials, verbose=0, use_ray=False)
    return losses[:trials]


def domain(parameter: Parameter) -> Any:
    """The FLAML domain of a parameter."""
    if isinstance(parameter, Categorical):
        return tune.choice(list(parameter.choices))
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Integer):
        return tune.lograndint(low, high + 1) if parameter.log else tune.randint(low, high + 1)
    if parameter.step is not None:
        return tune.quniform(low, high, parameter.step)
    return tune.loguniform(low, high) if parameter.log else tune.uniform(low, high)
