"""Search spaces in YAML.

    learning_rate: {low: 5e-3, high: 0.1, log: true}
    num_leaves: {type: integer, low: 2, high: 200, log: true}
    boosting: [gbdt, dart]
    drop_rate: {low: 0.0, high: 0.5, when: {boosting: dart}}
    verbosity: -1
    forbidden:
    - {boosting: dart, num_leaves: ">100"}

A single value is fixed. `prior` is a value that is believed to be good (`hpo.space.prior`).
`forbidden` lists combinations that are never tried
(`hpo.space.forbidden`).

`type` is `float`, `integer` or `categorical`. Without it, whole bounds mean an integer, other
bounds a float, and `choices` (or a bare list) a categorical. YAML is read as version 1.2, so `1e-4`
is a number and `on` a string; a duplicate key is an error.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    ScalarEvent,
)

from hpo.errors import SpaceError, closest
from hpo.space import FORBIDDEN, SearchSpace
from hpo.space.checks import MAX_DEPTH, check_depth, space_mistakes
from hpo.space.forbidden import Forbidden, combination_mistakes
from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value, plain
from hpo.space.prior import Prior, written_mistakes

MAX_VALUES = 100_000
_KEYS = {
    "float": ("type", "low", "high", "log", "step", "when", "prior"),
    "integer": ("type", "low", "high", "log", "step", "when", "prior"),
    "categorical": ("type", "choices", "when", "prior"),
}
_ANY_KEY = frozenset(key for keys in _KEYS.values() for key in keys)
_REQUIRED = {"float": ("low", "high"), "integer": ("low", "high"), "categorical": ("choices",)}
_TYPES = (
    ("choices", list, "must be a list"),
    ("log", bool, "must be true or false"),
    ("when", Mapping, "must map a parent to its values"),
)


def load(text: str, source: str) -> Any:
    """The plain values in a YAML 1.2 document.

    Raises:
        SpaceError: when the text is not YAML, naming `source` and the line.
    """
    try:
        _check_size(text, source)
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SpaceError(f"{source} is not valid YAML: {_short(error)}") from error
    except (ValueError, ArithmeticError) as error:  # such as a number of 5,000 digits
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(f"{source} is not valid YAML: {str(error):.80}") from error


def _check_size(text: str, source: str) -> None:
    """Check how large and deep the values will be, before any is built.

    A few lines of aliases to aliases can stand for more values than fit into memory.

    Raises:
        SpaceError: when they are too many or too deep.
        YAMLError: when the text is not YAML.
    """
    size = _Size()
    for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
        if problem := size.add(event):
            raise SpaceError(f"{source}, line {event.start_mark.line + 1}: {problem}")


class _Size:
    """Counts the values that the events of a document will make, with aliases resolved."""

    def __init__(self) -> None:
        self._count = 0
        self._named: dict[str, int] = {}  # how many values an anchor stands for
        self._open: list[tuple[str | None, int]] = []  # collections: anchor, values before it

    def add(self, event: Event) -> str | None:
        """Count an event; returns what is wrong."""
        if isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in self._open):
                return f"*{event.anchor} stands within the value that it names; write it out"
            self._count += self._named.get(event.anchor, 1)
        elif isinstance(event, CollectionStartEvent):
            self._open.append((event.anchor, self._count))
        elif isinstance(event, CollectionEndEvent):
            self._end(*self._open.pop())
        elif isinstance(event, ScalarEvent):
            self._end(event.anchor, self._count)
        if len(self._open) > MAX_DEPTH:
            return f"values are nested more than {MAX_DEPTH} deep; a space needs four levels"
        if self._count > MAX_VALUES:
            return f"there are more than {MAX_VALUES:,} values, with aliases resolved; write fewer"
        return None

    def _end(self, anchor: str | None, before: int) -> None:
        self._count += 1
        if anchor is not None:
            self._named[anchor] = self._count - before


def load_file(path: Path) -> Any:
    """The plain values in a YAML 1.2 file.

    Raises:
        SpaceError: when the file cannot be read or is not YAML.
    """
    return load(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        SpaceError: when the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SpaceError(f"{path} is not UTF-8 text; it must be YAML") from None
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}") from None


def dump(values: Any) -> str:
    """Plain values as YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    yaml.allow_unicode = False  # line separators such as U+0085 would be folded on reading
    out = StringIO()
    yaml.dump(values, out)
    return out.getvalue()


def to_yaml(space: SearchSpace) -> str:
    """A space as YAML, readable by `from_yaml`."""
    return dump(space.to_dict())


def from_yaml(text: str, source: str = "space") -> SearchSpace:
    """The space written in YAML 1.2.

    Raises:
        SpaceError: naming every mistake and `source`.
    """
    return parse(load(text, source), source, lambda: lines(text))


Lines = Callable[[], Mapping[str, int]]


def lines(text: str) -> dict[str, int]:
    """The line of each key of the mapping that a YAML document is."""
    node = YAML(typ="safe", pure=True).compose(text)
    return {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def parse(definition: Any, source: str, lines: Lines = dict) -> SearchSpace:
    """The space that plain values describe.

    Args:
        definition: the values.
        source: names them in messages.
        lines: gives the line of each name, if they are those of a file.

    Raises:
        SpaceError: naming every mistake, `source`, and the line.
    """
    check_depth(definition, source)
    if not isinstance(definition, Mapping) or not definition:
        raise SpaceError(
            f"{source}: a space is a mapping from names to parameters, but got {definition!r:.80}"
        )
    entries = {name: _plain_entry(written) for name, written in definition.items()}
    mistakes: list[str] = []
    forbidden: tuple[Forbidden, ...] = ()
    if _are_combinations(entries):
        written = entries.pop(FORBIDDEN)
        mistakes += combination_mistakes(written)
        forbidden = () if mistakes else tuple(map(Forbidden.of, written))
    parameters: list[Parameter] = []
    for name, entry in entries.items():
        found = list(_entry_mistakes(name, entry))
        mistakes += found
        if not found:
            parameters.append(_parameter(str(name), entry))
    wrong = entries.keys() - {parameter.name for parameter in parameters}
    mistakes += space_mistakes(
        [_without(parameter, wrong) for parameter in parameters],
        [each for each in forbidden if not wrong & each.values.keys()],
    )
    if mistakes:
        raise SpaceError(_told(mistakes, source, lines()))
    try:
        return SearchSpace(tuple(parameters), forbidden)
    except SpaceError as error:
        raise SpaceError(_told([str(error)], source, lines())) from error


def _are_combinations(entries: Mapping[Any, Any]) -> bool:
    """Whether `forbidden` is meant as combinations, and is no parameter of that name."""
    found = entries.get(FORBIDDEN)
    if isinstance(found, Mapping):
        return bool(found) and found.keys() <= entries.keys() - {FORBIDDEN}
    return isinstance(found, list) and any(
        each is None or isinstance(each, Mapping | list) for each in found
    )


def _without(parameter: Parameter, names: Collection[str]) -> Parameter:
    """The parameter without its conditions on these names, whose definitions are wrong."""
    when = {parent: v for parent, v in parameter.when.items() if parent not in names}
    return replace(parameter, when=when)


def _told(mistakes: Sequence[str], source: str, lines: Mapping[str, int]) -> str:
    """The message for mistakes: the place of each, if it is known."""
    if not lines:
        return f"{source}: {_listed(mistakes)}"
    return _listed([f"{source}:{_line(mistake, lines)}: {mistake}" for mistake in mistakes])


def _line(mistake: str, lines: Mapping[str, int]) -> int:
    """The line of the name that a mistake begins with; else the first one."""
    names = [name for name in lines if mistake.startswith(f"{name}: ")]
    return lines[max(names, key=len)] if names else 1


def _listed(mistakes: Sequence[str]) -> str:
    if len(mistakes) == 1:
        return mistakes[0]
    return "\n".join([f"{len(mistakes)} mistakes:", *(f"- {each}" for each in mistakes)])


def _plain_entry(entry: Any) -> Any:
    """An entry with lists in place of ranges and arrays, and without NumPy's scalars."""
    if not isinstance(entry, Mapping):
        return _plain_value(entry)
    plain_keys = entry.keys() - {"when"}
    found = {key: _plain_value(entry[key]) for key in entry if key in plain_keys}
    if isinstance(found.get("choices"), tuple):
        found["choices"] = list(found["choices"])
    return {key: found.get(key, entry[key]) for key in entry}


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, range) else plain(value)


def _short(error: YAMLError) -> str:
    """The problem and its line, without the excerpt that the parser adds."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return str(error).splitlines()[0]
    return f"{problem} (line {mark.line + 1})"


def _kind(entry: Mapping[str, Any]) -> str:
    if "type" in entry:
        return str(entry["type"])
    if "choices" in entry:
        return "categorical"
    whole = all(isinstance(entry.get(key, 1), int) for key in ("low", "high", "step"))
    return "integer" if whole else "float"


def _entry_mistakes(name: object, entry: Any) -> Iterator[str]:
    """Everything that is wrong with the entry of one parameter."""
    if not isinstance(name, str) or not name:
        yield f"a parameter's name must be a string, but got {name!r}"
    elif isinstance(entry, Mapping):
        yield from (f"{name}: {mistake}" for mistake in _mapping_mistakes(entry))
    elif isinstance(entry, tuple):
        yield (
            f"{name}: {entry!r} may be choices or bounds; write {list(entry)} for choices, "
            "{'low': ..., 'high': ...} for a range"
        )
    elif not isinstance(entry, list | bool | int | float | str):
        yield f"{name}: expected a mapping, a list of choices or a value, but got {entry!r}"


def _mapping_mistakes(entry: Mapping[str, Any]) -> Iterator[str]:
    if not entry.keys() & _ANY_KEY:
        name = next(iter(entry), "n_jobs")
        yield (
            f"expected low and high, or choices, but got {dict(entry)!r:.80}; a fixed value stands "
            f"beside the other parameters, as {name}: {entry.get(name, 1)}"
        )
        return
    kind = _kind(entry)
    if kind not in _KEYS:
        known = ", ".join(_KEYS)
        yield f"unknown type {entry['type']!r}{closest(kind, _KEYS)} (one of {known})"
        return
    for key in entry:
        if key not in _KEYS[kind]:
            yield f"unknown key {key!r}{closest(str(key), _KEYS[kind])}"
    for key in _REQUIRED[kind]:
        if key not in entry:
            yield f"{key} is missing"
    for key, expected, rule in _TYPES:
        if key in entry and not isinstance(entry[key], expected):
            yield f"{key} {rule}, but got {entry[key]!r}"
    if "prior" in entry:
        yield from written_mistakes(entry["prior"])


def _parameter(name: str, entry: Any) -> Parameter:
    if not isinstance(entry, Mapping):
        return Categorical(name, tuple(entry) if isinstance(entry, list) else (entry,))
    when: dict[str, tuple[Value, ...]] = {}
    for parent, values in entry.get("when", {}).items():
        several = isinstance(values, list | tuple | range | np.ndarray)
        when[str(parent)] = tuple(values) if several else (values,)
    kind, prior = _kind(entry), Prior.of(entry["prior"]) if "prior" in entry else None
    if kind == "categorical":
        return Categorical(name, tuple(entry["choices"]), when, prior)
    build: Callable[..., Parameter] = Integer if kind == "integer" else Float
    options = {key: entry[key] for key in ("low", "high", "log", "step") if key in entry}
    return build(name, **options, when=when, prior=prior)
