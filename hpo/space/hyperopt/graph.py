"""The random variables and constants of a hyperopt graph, and the choices that lead to them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any

from hyperopt.pyll import Apply, as_apply

from hpo.errors import SpaceError
from hpo.space.checks import check_depth
from hpo.space.parameters import plain

# The way from the root to a node: (label of a choice, position of the option), outermost first.
Path = tuple[tuple[str, int], ...]

# distribution -> names of its arguments
ARGUMENTS = {
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

_TOLERANCE = 1e-9  # of a multiple: 0.3 / 0.2 is a little less than 1.5


@dataclass
class Variable:
    """A labelled random variable of a graph.

    Attributes:
        label: the label.
        kind: hyperopt's name of the distribution.
        numbers: the arguments of the distribution.
        options: the nodes that a choice selects from; empty for other variables.
        paths: the ways from the root to the variable.
        key: the dictionary key that holds the variable, if any.
        whole: whether the variable is inside `scope.int`.
        within: the function of which the variable is an argument, if any.
    """

    label: str
    kind: str
    numbers: dict[str, float]
    options: list[Apply]
    paths: list[Path]
    key: str | None
    whole: bool
    within: str | None

    @property
    def is_normal(self) -> bool:
        """Whether the distribution is of the normal family."""
        return "sigma" in self.numbers

    @property
    def is_log(self) -> bool:
        """Whether the arguments of the distribution are logarithms."""
        return "log" in self.kind

    @property
    def q(self) -> float | None:
        """The step to multiples of which values are rounded."""
        return self.numbers.get("q")

    def multiples(self, low: float, high: float) -> tuple[int, int]:
        """The first and the last multiple of `q` to which numbers in [low, high) are rounded.

        A multiple that only the end itself would be rounded to is never drawn.
        """
        q = self.q or 1.0
        first = math.floor(low / q + 0.5 + _TOLERANCE)
        return first, max(math.ceil(high / q - 0.5 - _TOLERANCE), first)


@dataclass(frozen=True)
class Constant:
    """A constant under a dictionary key."""

    key: str
    value: Any
    path: Path


@dataclass(frozen=True)
class Graph:
    """The variables of a graph by label, and its constants, in the order from the root."""

    variables: Mapping[str, Variable]
    constants: Sequence[Constant]

    @classmethod
    def of(cls, graph: object) -> "Graph":
        """Read a graph.

        Raises:
            SpaceError: when two variables share a label, or an argument is not a number.
        """
        check_depth(graph)
        walk = _Walk()
        walk.visit(as_apply(graph), _Place())
        return cls(walk.variables, walk.constants)

    @cached_property
    def conditions(self) -> dict[str, dict[str, tuple[int, ...]] | None]:
        """By label, the conditions of each variable; see `conditions_of`."""
        return {v.label: self.conditions_of(v.paths) for v in self.variables.values()}

    def conditions_of(self, paths: Sequence[Path]) -> dict[str, tuple[int, ...]] | None:
        """The paths as conditions that must all hold: label of a choice -> positions of options.

        Returns:
            The conditions; None if no set of conditions is equivalent to the paths.
        """
        if () in paths:
            return {}
        routes = {tuple(label for label, _ in path) for path in paths}
        if len(routes) > 1:
            return None
        labels = routes.pop()
        positions = zip(*([option for _, option in path] for path in paths), strict=True)
        options = [tuple(sorted(set(column))) for column in positions]
        if math.prod(map(len, options)) != len(set(paths)):
            return None
        conditions = dict(zip(labels, options, strict=True))
        # The innermost choice implies its own conditions, so those are left out.
        implied = self.conditions_of(self.variables[labels[-1]].paths) or {}
        for label, chosen in implied.items():
            if conditions.get(label) == chosen:
                del conditions[label]
        return conditions


@dataclass(frozen=True)
class _Place:
    """The place of a node; the attributes are those of `Variable`."""

    path: Path = ()
    key: str | None = None
    whole: bool = False
    within: str | None = None


class _Walk:
    """Collects variables and constants from the root down."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.constants: list[Constant] = []
        self._nodes: dict[str, Apply] = {}

    def visit(self, node: Apply, place: _Place) -> None:
        if node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            self._choice(node, place)
        elif node.name == "hyperopt_param":
            self._record(node, place)
        elif node.name in ("float", "int"):
            self.visit(node.pos_args[0], replace(place, whole=place.whole or node.name == "int"))
        elif node.name == "pos_args" and place.key is not None and _is_constant(node):
            values = [plain(child.obj) for child in node.pos_args]
            self.constants.append(Constant(place.key, values, place.path))
        elif node.name in ("dict", "pos_args"):
            for key, child in _items(node):
                self.visit(child, replace(place, key=key, whole=False))
        elif node.name != "literal":
            for child in node.inputs():
                self.visit(child, replace(place, within=node.name, whole=False))
        elif place.key is not None and place.within is None:
            self.constants.append(Constant(place.key, plain(node.obj), place.path))

    def _choice(self, node: Apply, place: _Place) -> None:
        index, *options = node.pos_args
        if not options:
            label = index.pos_args[0].obj
            raise SpaceError(f"{label!r}: a choice needs at least one option, but it has none")
        variable = self._record(index, place)
        variable.options = options
        for i, option in enumerate(options):
            self.visit(option, _Place((*place.path, (variable.label, i)), within=place.within))

    def _record(self, node: Apply, place: _Place) -> Variable:
        label = node.pos_args[0].obj
        if self._nodes.setdefault(label, node) is not node:
            raise SpaceError(
                f"label {label!r} is used by two variables; give each a label of its own"
            )
        if label not in self.variables:
            kind, numbers = _distribution(label, node.pos_args[1])
            self.variables[label] = Variable(
                label, kind, numbers, [], [], place.key, place.whole, place.within
            )
        self.variables[label].paths.append(place.path)
        return self.variables[label]


def _is_constant(node: Apply) -> bool:
    """Whether a list or a tuple has nothing but constants."""
    return bool(node.pos_args) and all(child.name == "literal" for child in node.pos_args)


def _items(node: Apply) -> list[tuple[str | None, Apply]]:
    """The children of a tuple, list or dictionary, with their keys."""
    return [*((None, child) for child in node.pos_args), *node.named_args]


def _distribution(label: str, drawn: Apply) -> tuple[str, dict[str, float]]:
    """Name and arguments of a distribution node."""
    if drawn.name not in ARGUMENTS:
        return drawn.name, {}
    nodes = dict(zip(ARGUMENTS[drawn.name], drawn.pos_args, strict=False)) | dict(drawn.named_args)
    numbers: dict[str, Any] = {}
    for name, node in nodes.items():
        if node.name != "literal" or not isinstance(node.obj, Real):
            raise SpaceError(
                f"{label!r}: {name} of {drawn.name} must be a number, not an expression"
            )
        numbers[name] = plain(node.obj)
    if not numbers.get("sigma", 1) > 0:
        raise SpaceError(
            f"{label!r}: sigma of {drawn.name} must be above 0, but got {numbers['sigma']}; "
            "for one value write it without hp"
        )
    if drawn.name == "randint" and "high" not in numbers:  # randint(upper)
        numbers = {"low": 0, "high": numbers["low"]}
    return drawn.name, numbers
