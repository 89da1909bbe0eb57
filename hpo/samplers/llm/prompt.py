"""What a language model is asked, and the configurations in its answer."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.errors import SpaceError
from hpo.history import History
from hpo.space import Categorical, Parameter, SearchSpace, Value
from hpo.space.forbidden import Forbidden

PROPOSALS = 3  # configurations of an answer; one of them is tried
_STARTS = 100  # brackets of an answer at which its JSON may begin
_MOST = 30  # results in a question: the best, and the others evenly spread

_SYSTEM = (
    "You are an expert in tuning hyperparameters. You propose configurations that are likely to "
    "have a lower loss than all results so far, and you explore where little is known. Answer with "
    "JSON alone."
)


def messages(task: str, history: History) -> list[dict[str, str]]:
    """The question for the next configuration."""
    lines = [
        f"Task: {task}",
        "",
        "Parameters, one on each line:",
        *(_described(parameter) for parameter in history.space),
        *(f"Never allowed together: {_combination(each)}" for each in history.space.forbidden),
        "",
        *_results(history),
        "",
        f"Propose {PROPOSALS} different configurations that are not among the results. Answer with "
        "a JSON list of objects. Each maps every active parameter to a value.",
    ]
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": "\n".join(lines)},
    ]


def configurations(space: SearchSpace, text: str) -> Iterator[dict[str, Value]]:
    """The configurations of an answer that are in the space; values are moved to a grid."""
    found = _json(text)
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, Mapping):
            continue
        params = {name: each[name] for name in space.names if name in each}
        active = set(space.active(params))
        kept = {name: value for name, value in params.items() if name in active}
        try:
            space.validate(kept)
        except SpaceError:
            continue
        yield {name: _on_grid(space[name], value) for name, value in kept.items()}


def is_known(history: History, params: Mapping[str, Value]) -> bool:
    """Whether a configuration has a result, or is running."""
    code = history.space.encode(params)
    known = np.concatenate([history.x, history.pending])
    return bool(np.isclose(known, code, rtol=0, atol=1e-9, equal_nan=True).all(axis=1).any())


def _on_grid(parameter: Parameter, value: Value) -> Value:
    if isinstance(parameter, Categorical):
        return parameter.choices[parameter.index(value)]
    if parameter.n_levels is None:
        return float(value)
    return parameter.from_unit(parameter.to_unit(value))


def _json(text: str) -> Any:
    """The first JSON list or object in a text; None without one."""
    decoder = json.JSONDecoder()
    for start in islice(re.finditer(r"[\[{]", text), _STARTS):
        try:
            return decoder.raw_decode(text, start.start())[0]
        except RecursionError:
            return None
        except ValueError:
            continue
    return None


def _described(parameter: Parameter) -> str:
    plain = parameter.to_dict()
    kind, when = plain.pop("type"), plain.pop("when", None)
    facts = json.dumps(plain)
    only = f", only active when {json.dumps(when)}" if when else ""
    return f"- {json.dumps(parameter.name)}: {kind} {facts}{only}"


def _combination(forbidden: Forbidden) -> str:
    return json.dumps(forbidden.to_dict())


def _results(history: History) -> list[str]:
    if not len(history) and not len(history.pending):
        return ["There are no results yet."]
    order = np.argsort(history.losses, kind="stable")
    if len(order) > _MOST:
        half = _MOST // 2
        others = np.linspace(half, len(order) - 1, _MOST - half).round().astype(int)
        order = np.concatenate([order[:half], order[others]])
    lines = ["Results so far, best first (a smaller loss is better):"]
    for row in order:
        loss = history.losses[row]
        shown = f"{loss:.6g}" if math.isfinite(loss) else "failed"
        lines.append(f"- loss {shown}: {_params(history.space, history.x[row])}")
    lines += [f"- running: {_params(history.space, code)}" for code in history.pending]
    return lines


def _params(space: SearchSpace, code: FloatArray) -> str:
    params = space.decode(code)
    short = {n: float(f"{v:.5g}") if isinstance(v, float) else v for n, v in params.items()}
    return json.dumps(short)
