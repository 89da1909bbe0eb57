"""hyperopt's `hp.*` graphs as search spaces, and search spaces as graphs.

`from_hyperopt` turns the `space` argument of `hyperopt.fmin` into a `SearchSpace`:

- `uniform`, `loguniform`, `quniform`, `uniformint`, `randint`: the same ranges (`randint` becomes
  an ordered integer); `scope.int(...)` around `quniform` makes an integer.
- `qloguniform` with q = 1: a logarithmic integer, from 1. Other q have no counterpart: a log scale
  has no step.
- `normal`, `qnormal`, `lognormal`, `qlognormal`: truncated to three standard deviations on each
  side of the mean and uniform in between, on the normal's own scale.
- `choice` and `pchoice`, nested to any depth; the probabilities of `pchoice` are dropped. A plain
  option is its own value. An option with parameters is named by the text in it (`{"kind": "sgd",
  ...}`, `("sgd", {...})`); if that does not name all options differently, the values of the choice
  are the options' positions.
- other constants under a key: a categorical with that one choice.

A parameter is named by the dictionary key under which the objective receives it where no other has
that key, else by its label. Usually the two are equal.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Real

from hyperopt.pyll import Apply, as_apply, scope

from hpo.errors import SpaceError, raise_all
from hpo.space import Categorical, Float, Integer, Parameter, SearchSpace, Value
from hpo.space.parameters import When

# What leads to a node from the root: (label of a choice, position of its option), outermost first.
Path = tuple[tuple[str, int], ...]

_ARGUMENTS = {
    "uniform": ("low", "high"),
    "loguniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "qloguniform": ("low", "high", "q"),
    "normal": ("mu", "sigma"),
    "lognormal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "qlognormal": ("mu", "sigma", "q"),
    "randint": ("low", "high"),
}
_SIGMAS = 3.0


@dataclass
class Variable:
    """A labelled random variable of a graph.

    `kind` is hyperopt's name of the distribution and `numbers` its arguments; `options` are the
    nodes that a choice selects from; `paths` the ways from the root to it; `key` the dictionary key
    that holds it. `whole` says that it stands inside `scope.int`, `within` names the function that
    it is an argument of, if any.
    """

    label: str
    kind: str
    numbers: dict[str, float]
    options: list[Apply]
    paths: list[Path]
    key: str | None
    whole: bool
    within: str | None


@dataclass(frozen=True)
class _Constant:
    key: str
    value: Value
    path: Path


def variables(graph: object) -> dict[str, Variable]:
    """The random variables of a graph by label, in the order in which a walk from the root meets them.

    Raises:
        SpaceError: when two variables share a label, or an argument is not a number.
    """
    return _walk(graph)[0]


def from_hyperopt(graph: object) -> SearchSpace:
    """The search space that a graph of `hp.*` expressions describes (rules in the module docstring).

    Raises:
        SpaceError: naming the labels that have no counterpart, and what to write instead.
    """
    found, constants = _walk(graph)
    if not found and not constants:
        raise SpaceError(
            f"there is nothing to search in the space {graph!r:.80}; give a YAML file, a mapping like "
            "{'learning_rate': {'low': 0.01, 'high': 0.3}}, or a graph of hp.* expressions"
        )
    raise_all(SpaceError, _unsupported(found))
    slots = {v.label: _naming_slot(v.options) for v in found.values()}
    free = [c for c in constants if not c.path or slots[c.path[-1][0]] != c.key]
    names = _names(found)
    raise_all(SpaceError, _constant_mistakes(free, set(names.values())))
    values = {v.label: _option_values(v.options, slots[v.label]) for v in found.values()}

    def when(paths: list[Path]) -> dict[str, tuple[Value, ...]]:
        said = conditions(paths, found) or {}
        return {names[c]: tuple(values[c][i] for i in chosen) for c, chosen in said.items()}

    parameters = [
        _parameter(v, names[v.label], when(v.paths), values[v.label]) for v in found.values()
    ]
    fixed = [Categorical(c.key, (c.value,), when([c.path])) for c in free]
    return SearchSpace((*parameters, *fixed))


def conditions(
    paths: list[Path], found: Mapping[str, Variable]
) -> dict[str, tuple[int, ...]] | None:
    """The paths as one condition: choice label -> positions, all to hold; None when no such condition says it."""
    if () in paths:
        return {}
    labels = [label for label, _ in paths[0]]
    if any([label for label, _ in path] != labels for path in paths):
        return None
    options = [tuple(sorted({path[k][1] for path in paths})) for k in range(len(labels))]
    if math.prod(map(len, options)) != len(set(paths)):
        return None
    # The last choice of a path is itself under the ones before: those need no mention if they hold
    # for it anyway.
    above = conditions(found[labels[-1]].paths, found) or {}
    return {
        label: chosen
        for label, chosen in zip(labels, options, strict=True)
        if label == labels[-1] or above.get(label) != chosen
    }


def to_hyperopt(space: SearchSpace) -> dict[str, Apply]:
    """The space as a graph for `hyperopt.fmin`, one labelled variable a parameter; fixed parameters are left out.

    Those whose conditions exclude each other have no variable either: hyperopt sees no node of
    theirs. Choices are drawn by position, and ranges with levels by level, so that the graph's
    values are codes of ours: `to_code` and `from_code` convert.
    """
    drawn = {p.name: _drawn(p) for p in space if p.n_levels != 1}
    return {name: _underconditions(space, space[name], node, drawn) for name, node in drawn.items()}


def to_code(parameter: Parameter, value: Value) -> float:
    """The value that stands for ours in the graph of `to_hyperopt`."""
    if isinstance(parameter, Categorical):
        return parameter.index(value)
    if parameter.n_levels is None or parameter.log:
        return float(value)
    return round((float(value) - parameter.low) / float(parameter.step or 1))


def from_code(parameter: Parameter, code: float) -> Value:
    """Our value for one of the graph of `to_hyperopt`."""
    if isinstance(parameter, Categorical):
        return parameter.choices[int(code)]
    if parameter.n_levels is None:
        return min(max(float(code), parameter.low), parameter.high)
    if parameter.log:
        return int(min(max(code, parameter.low), parameter.high))
    level = min(max(int(code), 0), parameter.n_levels - 1)
    return parameter.from_unit((level + 0.5) / parameter.n_levels)


# Graph -> variables


@dataclass(frozen=True)
class _Place:
    """Where a node stands: as in `Variable`."""

    path: Path = ()
    key: str | None = None
    whole: bool = False
    within: str | None = None


class _Walk:
    """Collects variables and constants from the root down."""

    def __init__(self) -> None:
        self.found: dict[str, Variable] = {}
        self.constants: list[_Constant] = []
        self._nodes: dict[str, Apply] = {}

    def visit(self, node: Apply, place: _Place) -> None:
        if node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            self._choice(node, place)
        elif node.name == "hyperopt_param":
            self._record(node, place)
        elif node.name in ("float", "int"):
            self.visit(node.pos_args[0], replace(place, whole=place.whole or node.name == "int"))
        elif node.name in ("dict", "pos_args"):
            for key, child in [*((None, child) for child in node.pos_args), *node.named_args]:
                self.visit(child, replace(place, key=key, whole=False))
        elif node.name != "literal":
            for child in node.inputs():
                self.visit(child, replace(place, within=node.name, whole=False))
        elif place.key is not None and place.within is None:
            self.constants.append(_Constant(place.key, node.obj, place.path))

    def _choice(self, node: Apply, place: _Place) -> None:
        index, *options = node.pos_args
        variable = self._record(index, place)
        variable.options = options
        for i, option in enumerate(options):
            self.visit(option, _Place((*place.path, (variable.label, i)), within=place.within))

    def _record(self, node: Apply, place: _Place) -> Variable:
        label = node.pos_args[0].obj
        if self._nodes.setdefault(label, node) is not node:
            raise SpaceError(
                f"label {label!r} stands at two variables; give each a label of its own"
            )
        if label not in self.found:
            kind, numbers = _distribution(label, node.pos_args[1])
            self.found[label] = Variable(
                label, kind, numbers, [], [], place.key, place.whole, place.within
            )
        self.found[label].paths.append(place.path)
        return self.found[label]


def _walk(graph: object) -> tuple[dict[str, Variable], list[_Constant]]:
    walk = _Walk()
    walk.visit(as_apply(graph), _Place())
    return walk.found, walk.constants


def _distribution(label: str, drawn: Apply) -> tuple[str, dict[str, float]]:
    """Name and arguments of a distribution node."""
    if drawn.name not in _ARGUMENTS:
        return drawn.name, {}
    nodes = dict(zip(_ARGUMENTS[drawn.name], drawn.pos_args, strict=False)) | dict(drawn.named_args)
    numbers = {name: node.obj for name, node in nodes.items() if node.name == "literal"}
    strange = [name for name in nodes if not isinstance(numbers.get(name), Real)]
    if strange:
        raise SpaceError(
            f"{label!r}: {strange[0]} of {drawn.name} must be a number, not an expression"
        )
    if drawn.name == "randint" and "high" not in numbers:  # randint(upper)
        numbers = {"low": 0, "high": numbers["low"]}
    return drawn.name, numbers


def _unsupported(found: Mapping[str, Variable]) -> Iterator[str]:
    for v in found.values():
        q = v.numbers.get("q")
        if v.within is not None:
            yield f"{v.label!r} is an argument of {v.within}(...); compute that in the objective instead"
        elif v.options:
            yield from _option_mistakes(v)
        elif v.kind not in _ARGUMENTS:
            yield f"{v.label!r} has the distribution {v.kind}; only {', '.join(_ARGUMENTS)} have a counterpart"
        elif v.kind in ("qloguniform", "qlognormal") and q != 1:
            yield f"{v.label!r}: {v.kind} needs q=1, but got q={q}; take q=1, or quniform with q={q}"
        elif v.whole and q is None and v.kind != "randint":
            yield f"{v.label!r}: scope.int truncates {v.kind}; use uniformint, or qloguniform with q=1"
        if conditions(v.paths, found) is None:
            yield f"{v.label!r} is used under different choices; give each use a label of its own"


def _option_mistakes(v: Variable) -> Iterator[str]:
    for option in v.options:
        if option.name == "literal" and not isinstance(option.obj, bool | int | float | str):
            yield (
                f"{v.label!r}: option {option.obj!r} must be a string, a number or a boolean; "
                "write its name and translate it in the objective"
            )


def _constant_mistakes(constants: list[_Constant], names: set[str]) -> Iterator[str]:
    seen = set(names)
    for constant in constants:
        if not isinstance(constant.value, bool | int | float | str):
            yield f"{constant.key!r}: {constant.value!r} must be a string, a number or a boolean"
        if constant.key in seen:
            yield f"key {constant.key!r} stands twice; give the constant a label: hp.choice(label, [value])"
        seen.add(constant.key)


def _naming_slot(options: list[Apply]) -> str | int | None:
    """The key (or position in a tuple) whose text names every option with parameters differently."""
    texts = [_texts(option) for option in options if option.name != "literal"]
    for slot in texts[0] if texts else ():
        named = [text.get(slot) for text in texts]
        if None not in named and len(set(named)) == len(named):
            return slot
    return None


def _texts(option: Apply) -> dict[str | int, str]:
    slots = [*enumerate(option.pos_args)] if option.name == "pos_args" else [*option.named_args]
    return {k: n.obj for k, n in slots if n.name == "literal" and isinstance(n.obj, str)}


def _option_values(options: list[Apply], slot: str | int | None) -> tuple[Value, ...]:
    """The options' own values and names, or their positions where these do not tell them apart."""
    values: list[Value] = []
    for option in options:
        if option.name == "literal":
            values.append(option.obj)
        elif slot is not None:
            values.append(_texts(option)[slot])
    distinct = {(isinstance(value, bool), value) for value in values}
    return tuple(values) if len(distinct) == len(options) else tuple(range(len(options)))


def _names(found: Mapping[str, Variable]) -> dict[str, str]:
    keys = Counter(v.key for v in found.values())
    names = {
        v.label: v.key if v.key is not None and keys[v.key] == 1 else v.label
        for v in found.values()
    }
    clash = [label for label, count in Counter(names.values()).items() if count > 1]
    # A key that equals somebody else's label: labels never clash, so fall back to them altogether.
    return {label: label for label in found} if clash else names


# Variables -> parameters


def _parameter(v: Variable, name: str, when: When, values: tuple[Value, ...]) -> Parameter:
    if v.options:
        return Categorical(name, values, when)
    return range_of(v, name, when)


def range_of(v: Variable, name: str, when: When) -> Parameter:
    """The parameter for a variable that is not a choice."""
    return _grid(v, name, when) if "q" in v.numbers else _range(v, name, when)


def _bounds(v: Variable) -> tuple[float, float]:
    """Lowest and highest value on the scale of the distribution (a logarithm for the log family)."""
    if "sigma" in v.numbers:
        mu, reach = v.numbers["mu"], _SIGMAS * v.numbers["sigma"]
        return mu - reach, mu + reach
    return v.numbers["low"], v.numbers["high"]


def _range(v: Variable, name: str, when: When) -> Parameter:
    low, high = _bounds(v)
    if v.kind == "randint":
        return _whole(name, int(low), int(high) - 1, 1, False, when)
    if v.kind.startswith("log"):
        return Float(name, math.exp(low), math.exp(high), log=True, when=when)
    return Float(name, float(low), float(high), when=when)


def _grid(v: Variable, name: str, when: When) -> Parameter:
    low, high = _bounds(v)
    q = v.numbers["q"]
    if v.kind.startswith("qlog"):
        return _whole(name, max(round(math.exp(low)), 1), round(math.exp(high)), 1, True, when)
    first, last = round(low / q), round(high / q)
    if v.whole and float(q).is_integer():
        return _whole(name, first * int(q), last * int(q), int(q), False, when)
    if first == last:
        return Categorical(name, (float(first * q),), when)
    return Float(name, first * q, last * q, step=q, when=when)


def _whole(name: str, low: int, high: int, step: int, log: bool, when: When) -> Parameter:
    if low == high:
        return Categorical(name, (low,), when)
    return Integer(name, low, high, log=log, step=step, when=when)


# Parameters -> graph


def _drawn(parameter: Parameter) -> Apply:
    if isinstance(parameter, Categorical):
        node = scope.randint(parameter.n_levels)
    elif parameter.n_levels is None and parameter.log:
        node = scope.loguniform(math.log(parameter.low), math.log(parameter.high))
    elif parameter.n_levels is None:
        node = scope.uniform(parameter.low, parameter.high)
    elif parameter.log:
        node = scope.qloguniform(math.log(parameter.low - 0.5), math.log(parameter.high + 0.5), 1)
    else:
        node = scope.quniform(-0.5, parameter.n_levels - 0.5, 1)
    return scope.hyperopt_param(parameter.name, node)


def _underconditions(
    space: SearchSpace, parameter: Parameter, node: Apply, drawn: Mapping[str, Apply]
) -> Apply:
    """The node inside one switch per condition, those of its ancestors included, outermost first."""
    for name, allowed in reversed(_all_conditions(space, parameter).items()):
        n = space[name].n_levels
        if name in drawn and n is not None:
            node = scope.switch(drawn[name], *(node if i in allowed else None for i in range(n)))
    return node


def _all_conditions(space: SearchSpace, parameter: Parameter) -> dict[str, set[int]]:
    """Its conditions and those of its ancestors, as positions of a parent's choices; of several on one, all hold."""
    said: dict[str, set[int]] = {}
    for name in parameter.when:
        for other, allowed in _all_conditions(space, space[name]).items():
            said[other] = said.get(other, allowed) & allowed
    for name, values in parameter.when.items():
        parent = space[name]
        if isinstance(parent, Categorical):
            allowed = set(map(parent.index, values))
            said[name] = said.get(name, allowed) & allowed
    return said
