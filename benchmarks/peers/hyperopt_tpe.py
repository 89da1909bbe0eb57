"""hyperopt's own TPE, driven by `hyperopt.fmin` as its users do."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import hyperopt
import numpy as np
from hyperopt import hp, tpe
from hyperopt.base import JOB_STATE_DONE, Domain, Trials

from benchmarks.peers.timing import Seconds, timed
from benchmarks.search.problems import Problem
from hpo.space import Categorical, Float, Parameter, Params, SearchSpace, Value


def graph(space: SearchSpace) -> Any:
    """The space as nested `hp.choice` branches; branches share a node that several of them need."""
    nodes: dict[str, Any] = {}
    for parameter in reversed(space.parameters):
        nodes[parameter.name] = _node(parameter, space, nodes)
    return {parameter.name: nodes[parameter.name] for parameter in space if not parameter.when}


def decoder(space: SearchSpace) -> Callable[[Any], Params]:
    """From what `fmin` hands to an objective to plain parameters."""

    def flat(drawn: Mapping[str, Any], params: dict[str, Value]) -> dict[str, Value]:
        for name, value in drawn.items():
            parameter = space[name]
            if isinstance(value, tuple):
                params[name] = (
                    parameter.choices[int(value[0])]
                    if isinstance(parameter, Categorical)
                    else value[0]
                )
                flat(value[1], params)
            else:
                params[name] = parameter.from_unit(parameter.to_unit(float(value)))
        return params

    return lambda drawn: flat(drawn, {})


def document(
    space: SearchSpace, tid: int, params: Params, loss: float | None = None
) -> dict[str, Any]:
    """A trial of hyperopt: finished when it has a loss, else waiting to be run."""
    known = {name: _raw(space[name], value) for name, value in params.items()}
    misc = {
        "tid": tid,
        "cmd": ("domain_attachment", "FMinIter_Domain"),
        "workdir": None,
        "idxs": {name: [tid] if name in known else [] for name in space.names},
        "vals": {name: [known[name]] if name in known else [] for name in space.names},
    }
    done = {"state": JOB_STATE_DONE, "result": {"status": "ok", "loss": loss}}
    return {
        "state": 0,
        "tid": tid,
        "spec": None,
        "result": {"status": "new"},
        "misc": misc,
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    } | (done if loss is not None else {})


def minimise(problem: Problem, seed: int, trials: int, first: bool) -> list[float]:
    """The losses of one search, in order."""
    losses: list[float] = []
    decode = decoder(problem.space)

    def objective(drawn: Any) -> float:
        losses.append(problem.loss(decode(drawn)))
        return losses[-1]

    known = Trials()
    if first:
        known.insert_trial_docs(
            [document(problem.space, known.new_trial_ids(1)[0], problem.default)]
        )
        known.refresh()
    hyperopt.fmin(
        objective,
        graph(problem.space),
        algo=tpe.suggest,
        max_evals=trials,
        trials=known,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    return losses[:trials]


def stepper(
    space: SearchSpace, history: Sequence[tuple[Params, float]], seed: int
) -> Callable[[], Seconds]:
    """One `tpe.suggest` and the insertion of its result on top of `history`."""
    trials = Trials()
    trials.new_trial_ids(len(history))
    trials.insert_trial_docs(
        [document(space, i, params, loss) for i, (params, loss) in enumerate(history)]
    )
    trials.refresh()
    domain = Domain(lambda drawn: 0.0, graph(space))
    rng = np.random.default_rng(seed)

    def step(loss: float) -> None:
        (trial,) = tpe.suggest(trials.new_trial_ids(1), domain, trials, int(rng.integers(2**31)))
        trial["state"], trial["result"] = JOB_STATE_DONE, {"status": "ok", "loss": loss}
        trials.insert_trial_docs([trial])
        trials.refresh()

    return lambda: timed(partial(step, float(rng.random())))


def _node(parameter: Parameter, space: SearchSpace, nodes: Mapping[str, Any]) -> Any:
    name = parameter.name
    if isinstance(parameter, Categorical):
        return hp.choice(
            name,
            [
                (
                    i,
                    {
                        child.name: nodes[child.name]
                        for child in space
                        if choice in child.when.get(name, ())
                    },
                )
                for i, choice in enumerate(parameter.choices)
            ],
        )
    low, high, step = float(parameter.low), float(parameter.high), parameter.step
    if isinstance(parameter, Float) and step is None:
        return (
            hp.loguniform(name, math.log(low), math.log(high))
            if parameter.log
            else hp.uniform(name, low, high)
        )
    half = float(step or 1) / 2 - 1e-9
    if parameter.log:
        return hp.qloguniform(name, math.log(low - half), math.log(high + half), 1)
    return hp.quniform(name, low - half, high + half, step)


def _raw(parameter: Parameter, value: Value) -> float | int:
    return parameter.index(value) if isinstance(parameter, Categorical) else float(value)
