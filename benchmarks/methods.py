"""The methods that are compared: where each runs and with which settings."""

import ast
from dataclasses import dataclass, field, replace
from typing import Any

from hpo.errors import UserError, closest


@dataclass(frozen=True)
class Method:
    """A search method: the file in `benchmarks.peers`, its settings, and its environment (None: this one)."""

    name: str
    title: str
    module: str
    environment: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


_ALL = (
    Method("random", "random", "own", settings={"name": "random"}),
    Method("tpe", "**tpe** (this project)", "own", settings={"name": "tpe"}),
    Method("hyperopt", "hyperopt TPE", "hyperopt_tpe"),
    Method("optuna", "Optuna TPE, default", "optuna_tpe", "optuna"),
    Method(
        "optuna-group", "Optuna TPE, multivariate + group", "optuna_tpe", "optuna", {"multivariate": True}
    ),
    Method("blendsearch", "FLAML BlendSearch", "flaml_searchers", "flaml", {"searcher": "blendsearch"}),
    Method("cfo", "FLAML CFO", "flaml_searchers", "flaml", {"searcher": "cfo"}),
)
METHODS = {method.name: method for method in _ALL}


def method(text: str) -> Method:
    """The method written as `name` or, with other settings, as `name:key=value,key=value`.

    Raises:
        UserError: for an unknown name.
    """
    name, _, settings = text.partition(":")
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{closest(name, METHODS)}; known: {', '.join(METHODS)}")
    changes = dict(pair.split("=", 1) for pair in settings.split(",") if pair)
    known = METHODS[name]
    return replace(
        known,
        name=text,
        title=known.title + (f" ({settings})" if settings else ""),
        settings=known.settings | {key: ast.literal_eval(value) for key, value in changes.items()},
    )
