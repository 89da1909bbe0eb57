"""The model families by name, and what their YAML files say: budgets, spaces, first points, parameter names.

Nothing here imports a model library: a driver can check a space and plan budgets without paying for
one.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from hpo.errors import ParameterError, SpaceError, closest, raise_all
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value
from hpo.space.yaml import load

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "lightgbm": "pipelines.models.lightgbm:LightGBM",
        "xgboost": "pipelines.models.xgboost:XGBoost",
        "mlp": "pipelines.models.mlp:MLP",
    }
)
BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "trivial": "pipelines.models.baselines:Trivial",
        "linear": "pipelines.models.baselines:Linear",
    }
)
ALL = "all"
MODEL = "model"

# What a smaller budget means.
FIDELITIES: Mapping[str, str] = MappingProxyType(
    {
        "rounds": "the first part of a full training, continued when promoted",
        "scheduled": "the same with learning rates that fall with the round",
        "scaled": "a short training with a larger learning rate, not continued",
        "rows": "a full training on a share of the rows, not continued",
    }
)
MAX_RATE = 0.5
PERCENT, PERCENT_OF_ROWS = "percent", "% of the rows"


@dataclass(frozen=True)
class Budget:
    """What a trial is given, in `unit`: the lowest rung, a full training, and the factor between rungs.

    `fidelity`: what a smaller budget means where nothing else is asked for, one of `FIDELITIES`.
    """

    unit: str
    min: int
    max: int
    eta: int = 3
    fidelity: str = "rounds"

    @property
    def is_share(self) -> bool:
        """Whether budgets are percent of something, so that there is no more than 100."""
        return self.unit in (PERCENT, PERCENT_OF_ROWS)


@dataclass(frozen=True)
class Settings:
    """All that a study needs to know about a model before it starts.

    `first_points`: the library's default, then the tuned default (of each family, for `all`); each
    holds exactly its active parameters, and a default may lie outside the bounds.
    """

    name: str
    description: str
    budget: Budget
    space: SearchSpace
    first_points: tuple[dict[str, Value], ...]


def family(name: str) -> Any:
    """The class of a family or a baseline; its library is imported now.

    Raises:
        ParameterError: when there is none of this name.
    """
    known = {**FAMILIES, **BASELINES}
    if name not in known:
        raise ParameterError(_unknown(name, known))
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def settings(model: str, *, kind: str = "binary", has_categorical: bool = True) -> Settings:
    """What the YAML of `model` says for a task of this kind; `all` joins every family in one space.

    Raises:
        ParameterError: when the model is unknown.
    """
    if model == ALL:
        return _joined(
            [settings(name, kind=kind, has_categorical=has_categorical) for name in FAMILIES]
        )
    if model not in FAMILIES:
        raise ParameterError(_unknown(model, [*FAMILIES, ALL]))
    written = _written(model)
    dropped = () if has_categorical else written.get("categorical_only", ())
    space = SearchSpace(tuple(p for p in _space(model) if p.name not in dropped))
    default = {name: value for name, value in written["default"].items() if name not in dropped}
    tuned = {**default, **_for_task(written["tuned_default"], kind)}
    first = tuple(_only_active(space, point) for point in (default, tuned))
    return Settings(model, written["description"], Budget(**written["budget"]), space, first)


def resolve(model: str, params: Params) -> tuple[str, dict[str, Value]]:
    """The family that a trial's parameters choose, and the parameters under that family's own names.

    A choice that only switches between branches of a user's space never reaches the model.
    """
    if model != ALL:
        return model, {name: value for name, value in params.items() if knows(model, name)}
    chosen = str(params[MODEL])
    prefix = f"{chosen}."
    own = {n.removeprefix(prefix): value for n, value in params.items() if n.startswith(prefix)}
    return resolve(chosen, own)


def rounds(model: str, chosen: str, budget: float) -> int:
    """A trial's budget in the unit of its family: for `all` budgets are percent of a full training."""
    if model != ALL:
        return round(budget)
    return max(1, round(settings(chosen).budget.max * budget / 100))


def check_space(model: str, space: SearchSpace) -> None:
    """Check that a user's space holds nothing but parameters that `model` knows and may be given.

    Raises:
        SpaceError: naming every mistake, with the closest known name.
    """
    if model == ALL:
        raise_all(SpaceError, _joined_mistakes(space))
        return
    raise_all(SpaceError, _name_mistakes(model, space.names))


def knows(model: str, name: str) -> bool:
    """Whether `name` is a parameter of the family that a space may hold or that the study sets itself."""
    return name in _main_names(model, "parameters") or name in _main_names(model, "reserved")


def limits(model: str, name: str) -> tuple[float, float] | None:
    """The smallest and largest value of a parameter that make sense to its model; None where nobody has said.

    For `all`, names are written `family.parameter`.
    """
    if model == ALL:
        prefix, _, rest = name.partition(".")
        return limits(prefix, rest) if prefix in FAMILIES else None
    ends = _written(model).get("limits", {}).get(next(iter(canonical(model, {name: 0}))))
    return None if ends is None else (float(ends[0]), float(ends[1]))


def main_name(model: str, name: str, section: str = "parameters") -> str | None:
    """The library's main name of a parameter that a space may hold; with "reserved" of one that the study sets."""
    return _main_names(model, section).get(name)


def name_mistakes(model: str, name: str) -> Iterator[str]:
    """Why `name` cannot be a parameter of a space of `model`; nothing when it can."""
    return _name_mistakes(model, [name])


def canonical(model: str, params: Params) -> dict[str, Value]:
    """The parameters under the library's main names, so that an alias never means a second parameter."""
    main = _main_names(model, "parameters")
    return {main.get(name, name): value for name, value in params.items()}


def learning_rate(model: str, params: Params) -> float:
    """The learning rate among parameters under main names; the library's own default when there is none."""
    written = _written(model)
    name = written["rate"]
    return float(params.get(name, written["default"][name]))


def scaled(model: str, params: Params, share: float) -> dict[str, Value]:
    """The parameters for a training with `share` of the full budget: a learning rate larger by sqrt(1 / share).

    It is at most `MAX_RATE`, or as given when that is larger already. A model without `rate` in its
    YAML keeps its parameters.

    Raises:
        ParameterError: when the share does not lie in (0, 1].
    """
    if not 0 < share <= 1:
        raise ParameterError(f"the share of the budget must lie in (0, 1], but got {share}")
    found = canonical(model, params)
    if not has_rate(model):
        return found
    rate = learning_rate(model, found)
    return {**found, _written(model)["rate"]: min(rate * math.sqrt(1 / share), max(rate, MAX_RATE))}


def has_rate(model: str) -> bool:
    """Whether `scaled` changes a learning rate; a family without one has schedules that end where its horizon is."""
    return "rate" in _written(model)


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"unknown model {name!r}{closest(name, names)}; models: {', '.join(names)}"


@cache
def _written(name: str) -> Mapping[str, Any]:
    source = f"{name}.yaml"
    values = load(files("pipelines.models").joinpath(source).read_text(encoding="utf-8"), source)
    return MappingProxyType(dict(values))


@cache
def _space(name: str) -> SearchSpace:
    return SearchSpace.from_dict(_written(name)["space"], f"{name}.yaml")


def _for_task(values: Mapping[str, Any], kind: str) -> Mapping[str, Value]:
    group = "regression" if kind == "regression" else "classification"
    chosen: Mapping[str, Value] = values.get(group, values)
    return chosen


def _only_active(space: SearchSpace, point: Mapping[str, Value]) -> dict[str, Value]:
    active = space.active(point)
    return {name: point[name] for name in space.names if name in active and name in point}


def _joined(parts: list[Settings]) -> Settings:
    chooser: Parameter = Categorical(MODEL, tuple(part.name for part in parts))
    parameters = [chooser, *(_under(part.name, p) for part in parts for p in part.space)]
    tuned = [_prefixed(part.name, part.first_points[-1]) for part in parts]
    low = max(1, round(max(100 * part.budget.min / part.budget.max for part in parts)))
    return Settings(
        ALL,
        "One search over " + ", ".join(part.name for part in parts) + ".",
        Budget(PERCENT, low, 100, 3),
        SearchSpace(tuple(parameters)),
        (_prefixed(parts[0].name, parts[0].first_points[0]), *tuned),
    )


def _under(name: str, parameter: Parameter) -> Parameter:
    when = {f"{name}.{parent}": values for parent, values in parameter.when.items()}
    return replace(parameter, name=f"{name}.{parameter.name}", when={MODEL: (name,), **when})


def _prefixed(name: str, point: Mapping[str, Value]) -> dict[str, Value]:
    return {MODEL: name, **{f"{name}.{key}": value for key, value in point.items()}}


def _main_names(model: str, section: str) -> dict[str, str]:
    """Every accepted name of the parameters in a section of the YAML, to the main one."""
    listed = _written(model).get(section)
    if listed is None:
        return {name: name for name in (_space(model).names if section == "parameters" else ())}
    return {alias: main for main, aliases in listed.items() for alias in (main, *aliases)}


def _name_mistakes(model: str, names: Iterable[str], shown: str = "") -> Iterator[str]:
    known, reserved = _main_names(model, "parameters"), _main_names(model, "reserved")
    seen: dict[str, str] = {}
    for name in names:
        if name in reserved:
            yield f"{shown}{name} is set by the study and cannot be searched; leave it out of the space"
        elif name not in known:
            yield f"{model} has no parameter {shown + name!r}{closest(name, known)}"
        elif known[name] in seen:
            yield f"{shown}{name} and {shown}{seen[known[name]]} are the same parameter of {model}; keep one"
        else:
            seen[known[name]] = name


def _joined_mistakes(space: SearchSpace) -> Iterator[str]:
    if MODEL not in space or not isinstance(space[MODEL], Categorical):
        yield f"a space for all models needs `{MODEL}`, a choice among {', '.join(FAMILIES)}"
        return
    for name in getattr(space[MODEL], "choices", ()):
        if name not in FAMILIES:
            yield _unknown(str(name), FAMILIES)
            continue
        prefix = f"{name}."
        yield from _name_mistakes(
            name, (n.removeprefix(prefix) for n in space.names if n.startswith(prefix)), prefix
        )
    for name in space.names:
        if name != MODEL and name.partition(".")[0] not in FAMILIES:
            yield f"{name}: for all models a parameter is written family.parameter, for example lightgbm.{name}"
