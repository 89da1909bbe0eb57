"""FLAML's BlendSearch and CFO through `flaml.tune.run`, with the low-cost start they are made for.

FLAML is given all parameters side by side, and those that are inactive are left out before the loss
is taken: on our conditional problems it did better so than with its hierarchical spaces (regret of
BlendSearch on `nested` after 60 trials 0.11 against 0.21, of CFO 0.10 against 0.35; level on
`network`).
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
    """The losses of one search, in order; with `first` it starts from the default, then from the cheap end."""
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
    """The same parameter in FLAML's words."""
    if isinstance(parameter, Categorical):
        return tune.choice(list(parameter.choices))
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Integer):
        return tune.lograndint(low, high + 1) if parameter.log else tune.randint(low, high + 1)
    if parameter.step is not None:
        return tune.quniform(low, high, parameter.step)
    return tune.loguniform(low, high) if parameter.log else tune.uniform(low, high)
