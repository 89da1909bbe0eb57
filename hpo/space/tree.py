"""A search space as text: a row for each parameter, indented below the parent it depends on."""

from collections.abc import Iterator

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Value

_INDENT = "  "
_MOST = 60  # characters of the choices
_GAP = "   "


def tree(space: SearchSpace) -> list[str]:
    """The lines of a space: name, kind, values, and when the parameter is active."""
    rows = [_row(parameter, depth) for parameter, depth in _nested(space)]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    found = [_GAP.join(map(str.ljust, row, (*widths, 0))).rstrip() for row in rows]
    return [*found, *(f"forbidden: {each}" for each in space.forbidden)]


def shown(value: Value) -> str:
    """A value in few characters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nested(space: SearchSpace) -> Iterator[tuple[Parameter, int]]:
    """Each parameter with its depth, after the last of its parents."""
    below: dict[str, list[Parameter]] = {}
    for parameter in space:
        parents = [name for name in space.names if name in parameter.when]
        below.setdefault(parents[-1] if parents else "", []).append(parameter)

    def visit(name: str, depth: int) -> Iterator[tuple[Parameter, int]]:
        for parameter in below.get(name, ()):
            yield parameter, depth
            yield from visit(parameter.name, depth + 1)

    return visit("", 0)


def _row(parameter: Parameter, depth: int) -> tuple[str, str, str, str]:
    name = _INDENT * depth + parameter.name
    when = " and ".join(f"{on}={_listed(values)}" for on, values in parameter.when.items())
    more = [f"when {when}"] if when else []
    if parameter.prior is not None:
        more.append(f"prior {shown(parameter.prior.value)} ± {parameter.prior.spread:g}")
    return (name, *_values(parameter), ", ".join(more))


def _values(parameter: Parameter) -> tuple[str, str]:
    """The kind of a parameter, and its values."""
    if isinstance(parameter, Categorical):
        kind = "fixed" if parameter.n_levels == 1 else "choice"
        return kind, _listed(parameter.choices)
    kind = "float" if parameter.to_dict()["type"] == "float" else "integer"
    log = ", log" if parameter.log else ""
    step = "" if parameter.step in (None, 1) else f", step {shown(parameter.step or 1)}"
    return kind, f"{shown(parameter.low)} to {shown(parameter.high)}{log}{step}"


def _listed(values: tuple[Value, ...]) -> str:
    text = ", ".join(map(shown, values))
    return text if len(text) <= _MOST else f"{text[:_MOST]}… ({len(values)})"
