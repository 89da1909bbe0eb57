"""hyperopt in both directions: its TPE as a sampler of ours, and our TPE as an algorithm of `hyperopt.fmin`.

Bergstra et al. (2013), "Making a science of model search", ICML.
"""

import math
from collections.abc import Mapping, Sequence
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
from hyperopt.base import Domain
from scipy.special import ndtr, ndtri

from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Parameter, Params, SearchSpace, Value
from hpo.space.hyperopt import (
    Variable,
    conditions,
    from_code,
    range_of,
    to_code,
    to_hyperopt,
    variables,
)

_TPE = TPESampler()
_EDGE = 1e-6  # a normal variable reaches from this quantile to one minus it
_TINY = 1e-300  # what the logarithm of an observed 0 is taken of


@dataclass(frozen=True)
class HyperoptSampler:
    """hyperopt's own `tpe.suggest`, driven from our trials.

    Its `Trials` are rebuilt from the history for each suggestion, of which `tpe.suggest` is a pure
    function, so there is no state to lose. Failed trials have hyperopt's status for them. hyperopt
    does not know pending trials and weights; both are left out.

    Attributes:
        n_startup: random trials before the model, hyperopt's `n_startup_jobs`.
        n_candidates: hyperopt's `n_EI_candidates`.
        gamma: hyperopt's `gamma`; gamma * sqrt(n) observations are good.
    """

    n_startup: int = 20
    n_candidates: int = 24
    gamma: float = 0.25

    def min_results(self, space: SearchSpace) -> int:
        """As many as hyperopt wants before it models."""
        return self.n_startup

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space = history.space
        free = [parameter for parameter in space if parameter.n_levels != 1]
        if not free:
            return space.sample(rng)
        domain = Domain(_no_objective, to_hyperopt(space))
        trials = _as_trials(free, history)
        seed = int(rng.integers(2**31))
        new = tpe.suggest(
            [len(history)],
            domain,
            trials,
            seed,
            n_startup_jobs=self.n_startup,
            n_EI_candidates=self.n_candidates,
            gamma=self.gamma,
            verbose=False,
        )
        drawn = new[0]["misc"]["vals"]
        codes = {p.name: drawn[p.name][0] for p in free if drawn.get(p.name)}
        chosen: dict[str, Value] = {}
        for parameter in space:
            if parameter.n_levels == 1:
                chosen[parameter.name] = parameter.from_unit(0.5)
            elif parameter.name in codes:
                chosen[parameter.name] = from_code(parameter, codes[parameter.name])
        return {name: chosen[name] for name in space.active(chosen)}


def suggest(
    new_ids: Sequence[int], domain: Any, trials: Any, seed: int, sampler: Sampler = _TPE
) -> list[dict[str, Any]]:
    """Our TPE with hyperopt's signature: `fmin(..., algo=hpo.samplers.hyperopt.suggest)`.

    Works with every space that `fmin` takes. A label that is reached in a way that our conditions
    cannot say is searched as if it were always active. Other settings: `functools.partial(suggest,
    sampler=TPESampler(...))`.
    """
    found = variables(domain.expr)
    space = SearchSpace(tuple(_coordinate(v, found) for v in found.values()))
    history, pending = _as_history(space, found, trials, set(new_ids))
    docs: list[dict[str, Any]] = []
    for k, new_id in enumerate(new_ids):
        history.set_pending(pending)
        params = sampler.suggest(history, np.random.default_rng([seed, k]))
        if params is None:
            break
        pending.append(params)
        values = {label: _to_value(found[label], value) for label, value in params.items()}
        active = {label for label, v in found.items() if _is_reached(v, values)}
        misc = {
            "tid": new_id,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {label: [new_id] if label in active else [] for label in found},
            "vals": {label: [values[label]] if label in active else [] for label in found},
        }
        docs += trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
    return docs


def _no_objective(_: object) -> float:
    raise NotImplementedError("this domain only describes a space")


def _as_trials(free: Sequence[Parameter], history: History) -> Trials:
    """The history as hyperopt's trials; weights and pending configurations have no place there."""
    trials = Trials()
    docs = []
    for tid, (row, loss) in enumerate(zip(history.x, history.losses, strict=True)):
        params = history.space.decode(row)
        vals = {p.name: [to_code(p, params[p.name])] if p.name in params else [] for p in free}
        idxs = {name: [tid] if val else [] for name, val in vals.items()}
        misc = {"tid": tid, "cmd": None, "workdir": None, "idxs": idxs, "vals": vals}
        ok = {"status": STATUS_OK, "loss": float(loss)}
        result = ok if np.isfinite(loss) else {"status": STATUS_FAIL}
        docs += trials.new_trial_docs([tid], [None], [result], [misc])
        docs[-1]["state"] = JOB_STATE_DONE
    trials.insert_trial_docs(docs)
    trials.refresh()
    return trials


def _as_history(
    space: SearchSpace, found: Mapping[str, Variable], trials: Any, new_ids: set[int]
) -> tuple[History, list[Params]]:
    """What hyperopt's trials say: observations, and the configurations that have no result yet."""
    history = History(space)
    pending: list[Params] = []
    for trial in trials.trials:
        if trial["tid"] in new_ids:
            continue
        vals = trial["misc"]["vals"]
        params = {label: _from_value(found[label], val[0]) for label, val in vals.items() if val}
        result = trial["result"]
        if trial["state"] in (JOB_STATE_NEW, JOB_STATE_RUNNING):
            pending.append(params)
        else:
            loss = result.get("loss") if result.get("status") == STATUS_OK else None
            history.observe(params, math.inf if loss is None else float(loss))
    history.n_sampled = len(history) + len(pending)
    return history, pending


def _is_reached(variable: Variable, values: Params) -> bool:
    return any(
        all(values.get(label) == option for label, option in path) for path in variable.paths
    )


def _coordinate(v: Variable, found: Mapping[str, Variable]) -> Parameter:
    """The dimension in which a label is searched; a normal variable by its quantile, so nothing is cut off."""
    when = conditions(v.paths, found) or {}
    if v.options:
        return Categorical(v.label, tuple(range(len(v.options))), when)
    if "sigma" in v.numbers:
        return Float(v.label, _EDGE, 1 - _EDGE, when=when)
    if v.kind == "qloguniform":  # rounded in `_to_value`
        return Float(
            v.label, math.exp(v.numbers["low"]), math.exp(v.numbers["high"]), log=True, when=when
        )
    return range_of(replace(v, whole=False), v.label, when)


def _to_value(v: Variable, value: Value) -> float:
    """The value for hyperopt that the one of `_coordinate` stands for."""
    if v.options or v.kind == "randint":
        return int(value)
    number = float(value)
    if "sigma" in v.numbers:
        number = v.numbers["mu"] + v.numbers["sigma"] * float(ndtri(number))
        number = math.exp(number) if "log" in v.kind else number
    q = v.numbers.get("q")
    return number if q is None else round(number / q) * q


def _from_value(v: Variable, value: float) -> Value:
    """The value of `_coordinate` for hyperopt's."""
    if "sigma" not in v.numbers:
        return int(value) if v.options or v.kind == "randint" else float(value)
    number = math.log(max(value, _TINY)) if "log" in v.kind else value
    return float(np.clip(ndtr((number - v.numbers["mu"]) / v.numbers["sigma"]), _EDGE, 1 - _EDGE))
