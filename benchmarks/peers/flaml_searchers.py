"""FLAML's BlendSearch and CFO through `flaml.tune.run`, with the low-cost start they are made for."""

import contextlib
import io
import logging
from collections.abc import Mapping
from typing import Any

from flaml import CFO, BlendSearch, tune

from benchmarks.problems import Problem
from hpo.space import Categorical, Integer, Parameter, Params, SearchSpace, Value

SEARCHERS = {"blendsearch": BlendSearch, "cfo": CFO}
logging.getLogger("flaml").setLevel(logging.ERROR)


def domains(space: SearchSpace) -> dict[str, Any]:
    """The space as FLAML's hierarchical one: a choice with dependants is a choice among dictionaries."""
    return {parameter.name: _domain(parameter, space) for parameter in space if not parameter.when}


def flat(config: Mapping[str, Any], space: SearchSpace) -> Params:
    """Plain parameters from a hierarchical configuration."""
    params: dict[str, Value] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            params[name] = value["_value"]
            params |= flat({k: v for k, v in value.items() if k != "_value"}, space)
        else:
            parameter = space[name]
            params[name] = value if isinstance(parameter, Categorical) else parameter.from_unit(parameter.to_unit(value))
    return params


def point(params: Params, space: SearchSpace) -> dict[str, Any]:
    """A hierarchical configuration from plain parameters."""
    return {p.name: _nested(p, params, space) for p in space if not p.when}


def minimise(problem: Problem, seed: int, trials: int, first: bool, searcher: str) -> list[float]:
    """The losses of one search, in order; with `first` it starts from the default, then from the cheap end."""
    losses: list[float] = []

    def objective(config: dict[str, Any]) -> dict[str, float]:
        losses.append(problem.loss(flat(config, problem.space)))
        return {"loss": losses[-1]}

    starts = [dict(problem.default)] if first else []
    if first and problem.cheap:
        starts.append({**problem.default, **problem.cheap})
    algorithm = SEARCHERS[searcher](
        metric="loss",
        mode="min",
        space=domains(problem.space),
        low_cost_partial_config=dict(problem.cheap),
        points_to_evaluate=[point(start, problem.space) for start in starts],
        seed=seed,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        tune.run(objective, search_alg=algorithm, num_samples=trials, verbose=0, use_ray=False)
    return losses[:trials]


def _domain(parameter: Parameter, space: SearchSpace) -> Any:
    if isinstance(parameter, Categorical):
        children = [child for child in space if parameter.name in child.when]
        if not children:
            return tune.choice(list(parameter.choices))
        return tune.choice(
            [
                {"_value": choice}
                | {c.name: _domain(c, space) for c in children if choice in c.when[parameter.name]}
                for choice in parameter.choices
            ]
        )
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Integer):
        return tune.lograndint(low, high + 1) if parameter.log else tune.randint(low, high + 1)
    if parameter.step is not None:
        return tune.quniform(low, high, parameter.step)
    return tune.loguniform(low, high) if parameter.log else tune.uniform(low, high)


def _nested(parameter: Parameter, params: Params, space: SearchSpace) -> Any:
    value = params[parameter.name]
    children = [child for child in space if parameter.name in child.when]
    if not children:
        return value
    active = [child for child in children if value in child.when[parameter.name]]
    return {"_value": value} | {child.name: _nested(child, params, space) for child in active}
