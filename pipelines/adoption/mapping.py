"""The meaning of logged parameter names.

A name is looked up among the aliases of the library, with or without a prefix such as
`LGBMClassifier__`, or in the user's mapping.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hpo.errors import SpaceError, closest
from hpo.space.parameters import Value
from hpo.space.yaml import load_file
from pipelines.models import single_family

SET_BY_STUDY = "set by a study itself"
UNKNOWN = "not a parameter of the model"
EXCLUDED = "excluded by the mapping"

_PREFIX = re.compile(r".*(?:__|[./:])")


@dataclass(frozen=True)
class Meaning:
    """The parameter of the model that a logged name stands for.

    `values` gives the values that some logged texts stand for.
    """

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)


Mapped = Mapping[str, Meaning | None]
"""Meanings by logged name; None for parameters to leave out."""


def load_mapping(given: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The user's mapping, unchecked.

    Each entry is `logged: name`, `logged: {name: name, values: {logged: value}}`, or
    `logged: null` to leave the parameter out.

    Raises:
        SpaceError: If the file cannot be read.
    """
    if isinstance(given, str | Path):
        given = _load_file(Path(given))
    return {str(logged): entry for logged, entry in (given or {}).items()}


def _load_file(path: Path) -> Mapping[Any, Any]:
    if not path.is_file():
        nearby = [other.name for other in path.parent.glob("*.y*ml")]
        raise SpaceError(f"mapping={str(path)!r} is not a file{closest(path.name, nearby)}")
    entries = load_file(path)
    if not isinstance(entries, Mapping):
        raise SpaceError(
            f"{path} must map logged names to parameters of the model, but it holds {entries!r:.80}"
        )
    return entries


def mapping_mistakes(entries: Mapping[str, Any], model: str) -> Iterator[str]:
    """The mistakes in a mapping that can be found without the runs."""
    for logged, entry in entries.items():
        if entry is not None:
            for mistake in _entry_mistakes(model, logged, _full_entry(entry)):
                yield f"mapping: {mistake}"


def _entry_mistakes(model: str, logged: str, entry: Any) -> Iterator[str]:
    if not _is_entry(entry):
        yield (
            f"{logged} must be the name of a parameter, null, or {{name: …, values: {{…}}}}, "
            f"but is {entry!r:.80}"
        )
        return
    yield from single_family(model).names.mistakes([entry["name"]])
    values = entry.get("values") or {}
    if not _are_values(values):
        yield (
            f"{logged}: values must map logged values to numbers, texts or booleans, "
            f"but is {values!r:.80}"
        )


def _full_entry(entry: Any) -> Any:
    return {"name": entry} if isinstance(entry, str) else entry


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("name"), str)
        and entry.keys() <= {"name", "values"}
    )


def _are_values(values: Any) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(value, bool | int | float | str) for value in values.values()
    )


def read_mapping(entries: Mapping[str, Any], model: str) -> Mapped:
    """The meanings in a mapping without mistakes, under the main names of the model."""
    return {logged: _meaning(model, _full_entry(entry)) for logged, entry in entries.items()}


def _meaning(model: str, entry: Any) -> Meaning | None:
    if entry is None:
        return None
    name = entry["name"]
    values = {str(logged): value for logged, value in (entry.get("values") or {}).items()}
    return Meaning(single_family(model).canonical_name(name), values)


def find_meanings(
    model: str, names: Iterable[str], given: Mapped
) -> tuple[dict[str, Meaning], dict[str, str]]:
    """The meanings of logged names, and the reasons why the other names are left out."""
    found: dict[str, Meaning] = {}
    left_out: dict[str, str] = {}
    for logged in names:
        name = look_up(model, logged)
        meaning = given.get(logged, Meaning(name) if name else None)
        if meaning is not None:
            found[logged] = meaning
        else:
            left_out[logged] = _why_left_out(model, logged, given)
    return found, left_out


def _why_left_out(model: str, logged: str, given: Mapped) -> str:
    if logged in given:
        return EXCLUDED
    return SET_BY_STUDY if look_up(model, logged, "reserved") else UNKNOWN


@cache
def look_up(model: str, logged: str, section: str = "parameters") -> str | None:
    """The main name of a logged parameter, with or without its prefix; None if there is none.

    `section` is "parameters" for those that a space may hold, "reserved" for those that a study
    sets itself.
    """
    unprefixed = _PREFIX.sub("", logged)
    names = single_family(model).names
    return names.main(logged, section) or names.main(unprefixed, section)
