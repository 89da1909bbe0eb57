"""Checks of a space's definition: names, bounds, and conditions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hpo.errors import SpaceError, closest
from hpo.space.forbidden import Forbidden
from hpo.space.parameters import Categorical, Parameter, Value

MAX_DEPTH = 30  # of nested values in a definition


def check_depth(definition: object, source: str = "space") -> None:
    """Check how deep plain values are nested, before anything walks through them.

    Raises:
        SpaceError: when they are too deep.
    """
    level = [definition]
    for _ in range(MAX_DEPTH):
        inner = (value for outer in level for value in _inner(outer))
        level = list({id(value): value for value in inner}.values())
        if not level:
            return
    raise SpaceError(
        f"{source}: values are nested more than {MAX_DEPTH} deep; a space needs four levels"
    )


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def space_mistakes(
    parameters: Sequence[Parameter], forbidden: Sequence[Forbidden] = ()
) -> Iterator[str]:
    """Everything that is wrong with a space of these parameters."""
    by_name: dict[str, Parameter] = {}
    for parameter in parameters:
        if parameter.name in by_name:
            yield f"names must differ, but {parameter.name!r} occurs twice"
        by_name[parameter.name] = parameter
    for parameter in parameters:
        found = list(parameter.mistakes())
        yield from found
        if parameter.prior is not None and not found:
            yield from parameter.prior.mistakes(parameter)
        for parent, values in parameter.when.items():
            yield from _condition_mistakes(parameter.name, parent, values, by_name)
    _, stuck = parents_first(parameters)
    if stuck:
        cycle = ", ".join(sorted(parameter.name for parameter in stuck))
        yield f"conditions must not form a cycle, but {cycle} depend on each other"
    if forbidden and "forbidden" in by_name:
        yield "a parameter cannot be called 'forbidden' beside forbidden combinations; rename it"
    for combination in forbidden:
        yield from combination.mistakes(by_name)


def parents_first(parameters: Iterable[Parameter]) -> tuple[list[Parameter], list[Parameter]]:
    """The parameters with parents before children, and those that cannot be ordered."""
    waiting = {parameter.name: parameter for parameter in parameters}
    ordered: list[Parameter] = []
    while ready := next((p for p in waiting.values() if not p.when.keys() & waiting.keys()), None):
        ordered.append(waiting.pop(ready.name))
    return ordered, list(waiting.values())


def _condition_mistakes(
    name: str, parent: str, values: Iterable[Value], by_name: Mapping[str, Parameter]
) -> Iterator[str]:
    if parent not in by_name:
        yield f"{name}: condition on unknown parameter {parent!r}{closest(parent, by_name)}"
        return
    on = by_name[parent]
    if not isinstance(on, Categorical):
        yield f"{name}: a condition needs a categorical parent, but {parent} is a range"
        return
    for value in values:
        if on.index(value) < 0:
            known = ", ".join(map(repr, on.choices))
            hint = closest(str(value), map(str, on.choices))
            yield f"{name}: condition on unknown value {value!r} of {parent}{hint} (it has {known})"
