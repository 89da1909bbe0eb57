"""hyperopt's TPE as a sampler of ours, and our TPE as an algorithm of `hyperopt.fmin`.

Bergstra et al. (2013), "Making a science of model search", ICML.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hyperopt import (
    JOB_STATE_DONE,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_OK,
    Trials,
    tpe,
)
from hyperopt.base import JOB_STATE_CANCEL, Domain
from scipy.special import ndtr, ndtri

from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.proposal import checked_sampler
from hpo.samplers.settings import Range, Settings, setting
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Parameter, Params, SearchSpace, Value
from hpo.space.hyperopt import Graph, Variable, from_code, range_of, to_code, to_hyperopt

_TPE = TPESampler()
_EDGE = 1e-6  # normal variables are searched between this quantile and one minus it
_TINY = 1e-300  # replaces an observed 0 before the logarithm is taken


@dataclass(frozen=True)
class HyperoptSampler(Settings):
    """hyperopt's own `tpe.suggest`, called with our trials.

    `tpe.suggest` is a function of hyperopt's `Trials`, which are rebuilt from the history for each
    suggestion, so there is no state to save. Failed trials have hyperopt's status for failures.
    Pending trials and weights are unknown to hyperopt and left out.

    Attributes:
        n_startup: random trials before the model, hyperopt's `n_startup_jobs`.
        n_candidates: hyperopt's `n_EI_candidates`.
        gamma: hyperopt's `gamma`; gamma * sqrt(n) observations are good.
    """

    n_startup: int = setting(20, Range(at_least=1))
    n_candidates: int = setting(24, Range(at_least=1))
    gamma: float = setting(0.25, Range(above=0))

    def min_results(self, space: SearchSpace) -> int:
        """The start-up observations of hyperopt."""
        return self.n_startup

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space = history.space
        free = [parameter for parameter in space if parameter.n_levels != 1]
        if not free:
            return space.sample(rng)
        (document,) = tpe.suggest(
            [len(history)],
            Domain(_no_objective, to_hyperopt(space)),
            _to_trials(free, history),
            int(rng.integers(2**31)),
            n_startup_jobs=self.n_startup,
            n_EI_candidates=self.n_candidates,
            gamma=self.gamma,
            verbose=False,
        )
        return _to_params(space, document["misc"]["vals"])


def suggest(
    new_ids: Sequence[int], domain: Any, trials: Any, seed: int, sampler: Sampler = _TPE
) -> list[dict[str, Any]]:
    """Our TPE with hyperopt's signature: `fmin(..., algo=hpo.samplers.hyperopt.suggest)`.

    It works with every space that `fmin` accepts. A label whose place in the graph our conditions
    cannot express is searched as if it were always active. For other settings use
    `functools.partial(suggest, sampler=TPESampler(...))`.
    """
    sampler, dimensions = checked_sampler(sampler), _Dimensions(Graph.of(domain.expr))
    history, pending = dimensions.history(trials, new_ids)
    documents: list[dict[str, Any]] = []
    for k, new_id in enumerate(new_ids):
        history.set_pending(pending)
        params = sampler.suggest(history, np.random.default_rng([seed, k]))
        if params is None:
            break
        pending.append(params)
        misc = {
            "tid": new_id,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            **_columns(new_id, dimensions.values(params)),
        }
        documents += trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
    return documents


class _Dimensions:
    """The dimensions in which the variables of a graph are searched."""

    def __init__(self, graph: Graph) -> None:
        self.variables = graph.variables
        self.space = SearchSpace(
            tuple(_dimension(v, graph.conditions[v.label] or {}) for v in graph.variables.values())
        )

    def history(self, trials: Any, new_ids: Collection[int]) -> tuple[History, list[Params]]:
        """Hyperopt's trials as observations and as pending configurations, without the new ones."""
        history = History(self.space)
        pending: list[Params] = []
        # `trials.trials` leaves out what raised under `catch_eval_exceptions`.
        for trial in trials._dynamic_trials:
            other = trials._exp_key is not None and trial["exp_key"] != trials._exp_key
            if other or trial["tid"] in new_ids or trial["state"] == JOB_STATE_CANCEL:
                continue
            params = self._params(trial["misc"]["vals"])
            if trial["state"] in (JOB_STATE_NEW, JOB_STATE_RUNNING):
                pending.append(params)
            else:
                history.observe(params, _loss(trial["result"]))
        history.n_sampled = len(history) + len(pending)
        return history, pending

    def values(self, params: Params) -> dict[str, float | None]:
        """By label: hyperopt's value, None where the variable is inactive."""
        values = {label: _to_value(self.variables[label], v) for label, v in params.items()}
        return {
            label: values[label] if _is_reached(variable, values) else None
            for label, variable in self.variables.items()
        }

    def _params(self, vals: dict[str, list[float]]) -> Params:
        params: dict[str, Value] = {}
        for label, val in vals.items():
            if val:
                params[label] = _from_value(self.variables[label], val[0])
        return params


def _no_objective(_: object) -> float:
    raise NotImplementedError("this domain only describes a space")


def _columns(tid: int, values: dict[str, float | None]) -> dict[str, dict[str, list[Any]]]:
    """Hyperopt's `idxs` and `vals` of one trial: empty lists for inactive variables."""
    return {
        "idxs": {label: [] if value is None else [tid] for label, value in values.items()},
        "vals": {label: [] if value is None else [value] for label, value in values.items()},
    }


def _to_trials(free: Sequence[Parameter], history: History) -> Trials:
    """The history as hyperopt's trials, without weights and pending configurations."""
    trials = Trials()
    documents = []
    for tid, (row, loss) in enumerate(zip(history.x, history.losses, strict=True)):
        params = history.space.decode(row)
        codes = {p.name: to_code(p, params[p.name]) if p.name in params else None for p in free}
        misc = {"tid": tid, "cmd": None, "workdir": None, **_columns(tid, codes)}
        documents += trials.new_trial_docs([tid], [None], [_result(float(loss))], [misc])
        documents[-1]["state"] = JOB_STATE_DONE
    trials.insert_trial_docs(documents)
    trials.refresh()
    return trials


def _result(loss: float) -> dict[str, Any]:
    if not math.isfinite(loss):
        return {"status": STATUS_FAIL}
    return {"status": STATUS_OK, "loss": loss}


def _loss(result: dict[str, Any]) -> float:
    loss = result.get("loss")
    return math.inf if loss is None or result.get("status") != STATUS_OK else float(loss)


def _to_params(space: SearchSpace, vals: dict[str, Sequence[float]]) -> dict[str, Value]:
    """The configuration for the values that hyperopt has drawn."""
    params: dict[str, Value] = {}
    for parameter in space:
        if parameter.n_levels == 1:
            params[parameter.name] = parameter.from_unit(0.5)
        elif len(vals.get(parameter.name, ())):
            params[parameter.name] = from_code(parameter, vals[parameter.name][0])
    return {name: params[name] for name in space.active(params)}


def _is_reached(variable: Variable, values: Params) -> bool:
    return any(
        all(values.get(label) == option for label, option in path) for path in variable.paths
    )


def _dimension(v: Variable, conditions: dict[str, tuple[int, ...]]) -> Parameter:
    """The dimension in which a variable is searched.

    It is the quantile of a normal variable, so that no part of its distribution is excluded.
    """
    if v.options:
        return Categorical(v.label, tuple(range(len(v.options))), conditions)
    if v.is_normal:
        return Float(v.label, _EDGE, 1 - _EDGE, when=conditions)
    if v.kind == "qloguniform":  # `_to_value` rounds
        low, high = math.exp(v.numbers["low"]), math.exp(v.numbers["high"])
        return Float(v.label, low, high, log=True, when=conditions)
    return range_of(replace(v, whole=False), v.label, conditions)


def _to_value(v: Variable, value: Value) -> float:
    """Hyperopt's value for that of the dimension."""
    if v.options or v.kind == "randint":
        return int(value)
    number = float(value)
    if v.is_normal:
        number = v.numbers["mu"] + v.numbers["sigma"] * float(ndtri(number))
        number = math.exp(number) if v.is_log else number
    if v.q is None:
        return number
    multiple = round(number / v.q)
    if v.kind == "qloguniform":
        first, last = v.multiples(math.exp(v.numbers["low"]), math.exp(v.numbers["high"]))
        multiple = min(max(multiple, first), last)
    return multiple * v.q


def _from_value(v: Variable, value: float) -> Value:
    """The dimension's value for that of hyperopt."""
    if v.options or v.kind == "randint":
        return int(value)
    if not v.is_normal:
        return float(value)
    number = math.log(max(value, _TINY)) if v.is_log else value
    quantile = ndtr((number - v.numbers["mu"]) / v.numbers["sigma"])
    return float(np.clip(quantile, _EDGE, 1 - _EDGE))
