"""What parameters in foreign runs are called here.

Names are found by the library's own aliases, behind prefixes such as `LGBMClassifier__`, or in the
user's mapping.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpo.errors import SpaceError, closest
from hpo.space.parameters import Value
from hpo.space.yaml import load_file
from pipelines.models import FAMILIES, single_family

SET_BY_STUDY = "set by a study itself"
UNKNOWN = "no parameter of the model"
AS_TOLD = "as the mapping says"

_PREFIX = re.compile(r".*(?:__|[./:])")


@dataclass(frozen=True)
class Meaning:
    """What one of their parameters is called here, and what its values are here where that differs."""

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)


Mapped = Mapping[str, Meaning | None]
"""Their names to meanings; None for what is left out."""


def load_mapping(given: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The user's mapping as it is written.

    `theirs: ours`, `theirs: {name: ours, values: {theirs: ours}}`, or `theirs: null` for what is to
    be left out.

    Raises:
        SpaceError: when it cannot be read.
    """
    if given is None or isinstance(given, Mapping):
        return {str(name): entry for name, entry in (given or {}).items()}
    path = Path(given)
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.y*ml")]
        raise SpaceError(f"mapping={str(given)!r} is no file{closest(path.name, beside)}")
    entries = load_file(path)
    if not isinstance(entries, Mapping):
        raise SpaceError(
            f"{path} must map names in the runs to names here, but holds {entries!r:.80}"
        )
    return {str(name): entry for name, entry in entries.items()}


def mapping_mistakes(entries: Mapping[str, Any], model: str) -> Iterator[str]:
    """What is wrong with a mapping for a model, as far as no run is needed to say so."""
    for theirs, entry in entries.items():
        yield from (f"mapping: {mistake}" for mistake in _mistakes(model, theirs, entry))


def read_mapping(entries: Mapping[str, Any], model: str) -> Mapped:
    """A mapping without mistakes, under the main names of the model's parameters."""
    return {theirs: _meaning(model, entry) for theirs, entry in entries.items()}


def _mistakes(model: str, theirs: str, entry: Any) -> Iterator[str]:
    if entry is None:
        return
    plain = {"name": entry} if isinstance(entry, str) else entry
    if (
        not isinstance(plain, Mapping)
        or not isinstance(plain.get("name"), str)
        or plain.keys() - {"name", "values"}
    ):
        yield f"{theirs} must be a name here, null, or {{name: …, values: {{…}}}}, but is {entry!r:.80}"
        return
    yield from single_family(model).names.mistakes([plain["name"]])
    values = plain.get("values") or {}
    if not isinstance(values, Mapping) or not all(
        isinstance(v, bool | int | float | str) for v in values.values()
    ):
        yield f"{theirs}: values must map values in the runs to plain values here, but is {values!r:.80}"


def _meaning(model: str, entry: Any) -> Meaning | None:
    if entry is None:
        return None
    name, values = (
        (entry, {}) if isinstance(entry, str) else (entry["name"], entry.get("values") or {})
    )
    return Meaning(
        single_family(model).canonical_name(name),
        {str(theirs): ours for theirs, ours in values.items()},
    )


def meanings(model: str, names: Iterable[str], given: Mapped) -> tuple[Mapped, dict[str, str]]:
    """What `names` of logged parameters mean, and why the others are left out."""
    found: dict[str, Meaning | None] = {}
    left: dict[str, str] = {}
    for theirs in names:
        if theirs in given:
            found[theirs] = given[theirs]
            if given[theirs] is None:
                left[theirs] = AS_TOLD
        elif ours := look_up(model, theirs, "parameters"):
            found[theirs] = Meaning(ours)
        else:
            left[theirs] = SET_BY_STUDY if look_up(model, theirs, "reserved") else UNKNOWN
    return {theirs: meaning for theirs, meaning in found.items() if meaning}, left


def knowing(names: Iterable[str], section: str) -> Mapping[str, frozenset[str]]:
    """By family, which of `names` of logged parameters stand in a section of its names."""
    each = frozenset(names)
    return {
        model: frozenset(name for name in each if look_up(model, name, section))
        for model in FAMILIES
    }


def look_up(model: str, theirs: str, section: str) -> str | None:
    """The main name of a logged parameter in a section of the model's names, with or without what stands before it."""
    names = single_family(model).names
    return names.main(theirs, section) or names.main(_PREFIX.sub("", theirs), section)
