"""Search spaces from hyperopt graphs."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hyperopt.pyll import Apply

from hpo.errors import SpaceError, raise_all
from hpo.space import Categorical, Float, Integer, Parameter, SearchSpace, Value
from hpo.space.hyperopt.graph import ARGUMENTS, Constant, Graph, Path, Variable
from hpo.space.parameters import When, plain, same

_SIGMAS = 3.0  # standard deviations at which normal distributions are truncated


def from_hyperopt(graph: object) -> SearchSpace:
    """The search space that a graph of `hp.*` expressions describes.

    The rules are in the docstring of `hpo.space.hyperopt`.

    Raises:
        SpaceError: naming the labels that have no counterpart, and what to write instead.
    """
    found = Graph.of(graph)
    if not found.variables and not any(_is_value(c.value) for c in found.constants):
        raise SpaceError(
            f"there is nothing to search in the space {graph!r:.80}; give a YAML file, a mapping "
            "like {'learning_rate': {'low': 0.01, 'high': 0.3}}, or a graph of hp.* expressions"
        )
    raise_all(SpaceError, _variable_mistakes(found))
    translation = _Translation(found)
    fixed = [c for c in found.constants if not translation.is_option_name(c)]
    raise_all(SpaceError, _constant_mistakes(fixed, translation.names.values()))
    parameters = [translation.parameter(v) for v in found.variables.values()]
    parameters += [Categorical(c.key, (c.value,), translation.when([c.path])) for c in fixed]
    return SearchSpace(tuple(parameters))


def range_of(v: Variable, name: str, when: When) -> Parameter:
    """The parameter for a variable that is not a choice."""
    low, high = _bounds(v)
    if v.kind == "randint":
        if high <= low:
            raise SpaceError(
                f"{v.label!r}: randint takes values below high, so low={low} and high={high} "
                "leave none"
            )
        return _integer(name, int(low), int(high) - 1, when)
    if v.is_log:
        low, high = math.exp(low), math.exp(high)
    if v.q is None:
        return Float(name, float(low), float(high), log=v.is_log, when=when)
    first, last = v.multiples(low, high)
    if v.is_log:  # q is 1
        return _integer(name, max(first, 1), max(last, 1), when, log=True)
    if v.whole:
        step = int(v.q)
        return _integer(name, first * step, last * step, when, step=step)
    if first == last:
        return Categorical(name, (float(first * v.q),), when)
    return Float(name, first * v.q, last * v.q, step=v.q, when=when)


@dataclass(frozen=True)
class _Translation:
    """Names and values of the parameters for the variables of a graph."""

    graph: Graph

    @cached_property
    def names(self) -> dict[str, str]:
        """By label: the key of the variable where it is unique, else the label."""
        keys = Counter(v.key for v in self.graph.variables.values())
        names = {label: label for label in self.graph.variables}
        for label, v in self.graph.variables.items():
            if v.key is not None and keys[v.key] == 1:
                names[label] = v.key
        if len(set(names.values())) < len(names):  # a key equals the label of another variable
            return {label: label for label in names}
        return names

    @cached_property
    def slots(self) -> dict[str, str | int | None]:
        """By label: the key or position of the text that names the options of a choice."""
        return {label: _naming_slot(v.options) for label, v in self.graph.variables.items()}

    @cached_property
    def values(self) -> dict[str, tuple[Value, ...]]:
        """By label: the values of a choice's options."""
        variables = self.graph.variables.values()
        return {v.label: _option_values(v.options, self.slots[v.label]) for v in variables}

    def is_option_name(self, constant: Constant) -> bool:
        """Whether a constant is the text that names its option."""
        return bool(constant.path) and self.slots[constant.path[-1][0]] == constant.key

    def when(self, paths: Sequence[Path]) -> dict[str, tuple[Value, ...]]:
        """The conditions of a parameter with these paths."""
        conditions = self.graph.conditions_of(paths) or {}
        return {
            self.names[label]: tuple(self.values[label][i] for i in chosen)
            for label, chosen in conditions.items()
        }

    def parameter(self, v: Variable) -> Parameter:
        """The parameter for a variable."""
        name, when = self.names[v.label], self.when(v.paths)
        if v.options:
            return Categorical(name, _distinct(self.values[v.label]), when)
        return range_of(v, name, when)


def _variable_mistakes(graph: Graph) -> Iterator[str]:
    for v in graph.variables.values():
        if v.within is not None:
            yield (
                f"{v.label!r} is an argument of {v.within}(...); "
                "compute that in the objective instead"
            )
        elif v.options:
            yield from _option_mistakes(v)
        else:
            yield from _distribution_mistakes(v)
        if graph.conditions[v.label] is None:
            yield f"{v.label!r} is used under different choices; give each use a label of its own"


def _distribution_mistakes(v: Variable) -> Iterator[str]:
    if v.kind not in ARGUMENTS:
        known = ", ".join(ARGUMENTS)
        yield f"{v.label!r} has the distribution {v.kind}; only {known} have a counterpart"
    elif v.is_log and v.q not in (None, 1):
        yield (
            f"{v.label!r}: {v.kind} needs q=1, but got q={v.q}; take q=1, or quniform with q={v.q}"
        )
    elif v.whole and v.kind != "randint" and not float(v.q or 0.5).is_integer():
        yield (
            f"{v.label!r}: scope.int truncates {v.kind}; use uniformint, or qloguniform with q=1"
            if v.q is None
            else f"{v.label!r}: scope.int truncates multiples of q={v.q}; give q a whole number"
        )
    elif v.q is not None and not v.q > 0:
        yield f"{v.label!r}: {v.kind} needs q > 0, but got q={v.q}"
    elif not _is_representable(v):
        yield f"{v.label!r}: the ends of {v.kind} must be numbers that a float can hold{_hint(v)}"


def _is_representable(v: Variable) -> bool:
    try:
        ends = [math.exp(end) if v.is_log else end for end in _bounds(v)]
    except OverflowError:
        return False
    return all(map(math.isfinite, ends)) and (v.kind != "loguniform" or ends[0] > 0)


def _hint(v: Variable) -> str:
    low, high = _bounds(v)
    return f", but got exp({low:g}) and exp({high:g})" if v.is_log else f", but got {low}, {high}"


def _option_mistakes(v: Variable) -> Iterator[str]:
    slot = _naming_slot(v.options)
    for option in v.options:
        is_plain = _is_literal(option) or (slot is None and _is_plain_tuple(option))
        value = _plain_option(option) if is_plain else None
        if is_plain and not _is_value(value):
            yield (
                f"{v.label!r}: option {value!r} must be a string, a number or a boolean; "
                "write its name and translate it in the objective"
            )
        elif not _is_literal(option) and option.name not in ("dict", "pos_args"):
            yield (
                f"{v.label!r}: an option must be a value or a dictionary with parameters, but one "
                "is a range or a choice of its own; name the branches, for example "
                f"[{{'kind': 'default'}}, {{'kind': 'tuned', {v.label!r}: hp...}}]"
            )
    values = _option_values(v.options, slot)
    own = [value for value, option in zip(values, v.options, strict=True) if _is_literal(option)]
    for value, option in zip(values, v.options, strict=True):
        if not _is_literal(option) and any(same(value, other) for other in own):
            yield (
                f"{v.label!r}: its dictionary at position {value} has no name, and {value} is also "
                "an option; give each dictionary a text of its own, like {'kind': 'sgd', ...}"
            )


def _constant_mistakes(constants: Sequence[Constant], names: Iterable[str]) -> Iterator[str]:
    seen = set(names)
    for constant in constants:
        if not _is_value(constant.value):
            hint = f"; for a choice write hp.choice({constant.key!r}, {constant.value!r})"
            yield (
                f"{constant.key!r}: {constant.value!r} must be a string, a number or a boolean"
                f"{hint if isinstance(constant.value, list) else ''}"
            )
        if constant.key in seen:
            yield (
                f"key {constant.key!r} occurs twice; "
                "give the constant a label: hp.choice(label, [value])"
            )
        seen.add(constant.key)


def _is_value(value: object) -> bool:
    return isinstance(plain(value), bool | int | float | str)


def _is_literal(option: Apply) -> bool:
    return bool(option.name == "literal")


def _is_plain_tuple(option: Apply) -> bool:
    """Whether an option is a tuple or a list without parameters."""
    return option.name == "pos_args" and all(
        _is_literal(each) or _is_plain_tuple(each) for each in option.pos_args
    )


def _plain_option(option: Apply) -> object:
    """The value of an option without parameters."""
    return option.obj if _is_literal(option) else tuple(map(_plain_option, option.pos_args))


def _naming_slot(options: Sequence[Apply]) -> str | int | None:
    """The key, or position in a tuple, whose text names each option with parameters.

    The texts differ from each other and from the plain options.
    """
    texts = [_texts(option) for option in options if not _is_literal(option)]
    own = [plain(option.obj) for option in options if _is_literal(option)]
    for slot in texts[0] if texts else ():
        names = {text.get(slot) for text in texts}
        if None not in names and len(names) == len(texts) and names.isdisjoint(own):
            return slot
    return None


def _texts(option: Apply) -> dict[str | int, str]:
    """The texts of an option by key, or by position in a tuple."""
    slots = [*enumerate(option.pos_args)] if option.name == "pos_args" else [*option.named_args]
    return {k: str(n.obj) for k, n in slots if n.name == "literal" and isinstance(n.obj, str)}


def _option_values(options: Sequence[Apply], slot: str | int | None) -> tuple[Value, ...]:
    """For each option its own value, or the text that names it, or its position."""
    values: list[Value] = []
    for position, option in enumerate(options):
        if _is_literal(option):
            values.append(plain(option.obj))
        else:
            values.append(position if slot is None else _texts(option)[slot])
    return tuple(values)


def _distinct(values: Sequence[Value]) -> tuple[Value, ...]:
    return tuple(v for i, v in enumerate(values) if not any(same(v, w) for w in values[:i]))


def _bounds(v: Variable) -> tuple[float, float]:
    """Lowest and highest value on the scale of the arguments, a logarithm if `v.is_log`."""
    if v.is_normal:
        mu, reach = v.numbers["mu"], _SIGMAS * v.numbers["sigma"]
        return mu - reach, mu + reach
    return v.numbers["low"], v.numbers["high"]


def _integer(
    name: str, low: int, high: int, when: When, *, step: int = 1, log: bool = False
) -> Parameter:
    if low == high:
        return Categorical(name, (low,), when)
    return Integer(name, low, high, log=log, step=step, when=when)
