"""The settings of samplers: fields with a range or choices, also written as text.

`name=value,name=value` is the text of settings, as in `algorithm=gp:acquisition=ucb,kappa=2.5`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hpo.errors import ParameterError, closest, raise_all

OF_SCHEDULERS = ("eta", "min_budget", "max_budget")  # options that are no settings


@dataclass(frozen=True)
class Range:
    """The range of a number; None leaves an end open."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def mistake(self, name: str, value: float) -> str | None:
        """The message for a value outside the range; None for a value inside."""
        if self.above is not None and self.below is not None:
            inside = self.above < value < self.below
            between = f"must lie between {self.above:g} and {self.below:g}"
            return None if inside else f"{name}={value} {between}"
        if self.at_least is not None and self.below is not None:
            inside = self.at_least <= value < self.below
            between = f"must be {self.at_least:g} or greater, and less than {self.below:g}"
            return None if inside else f"{name}={value} {between}"
        if self.above is not None and not value > self.above:  # nan, too
            return f"{name}={value} must be greater than {self.above:g}"
        if self.at_least is not None and not value >= self.at_least:
            return f"{name}={value} must be {self.at_least:g} or greater"
        if value == math.inf:
            return f"{name}={value} must be finite; leave it out for no limit"
        if self.at_most is not None and value > self.at_most:
            return f"{name}={value} must be {self.at_most:,} or less"
        return None


@dataclass(frozen=True)
class Text:
    """Any text without commas; `check` gives what is wrong with it, from its name and itself."""

    check: Callable[[str, str], str | None] | None = None

    def mistake(self, name: str, value: object) -> str | None:
        """The message for a text that is not allowed; None for an allowed one."""
        if not isinstance(value, str) or "," in value:
            return f"{name}={value!r} must be a text without commas"
        return self.check(name, value) if self.check else None


def setting(default: float | str, allowed: Range | Text | tuple[str, ...]) -> Any:
    """A field that is a setting: a number within a limit, one of some words, or a text.

    A whole number as the default asks for whole numbers.
    """
    return field(default=default, metadata={"allowed": allowed})


class Settings:
    """A base of frozen dataclasses whose settings are checked when they are made.

    Raises:
        ParameterError: naming every value that is not allowed.
    """

    def __post_init__(self) -> None:
        raise_all(ParameterError, self.mistakes())

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the settings."""
        for name in names(type(self)):
            mistake = _mistake(type(self), name, getattr(self, name))
            if mistake:
                yield mistake


def names(kind: type) -> list[str]:
    """The settings of a sampler."""
    return list(_defaults(kind))


def parsed(kind: type, text: str, owner: str) -> dict[str, Any]:
    """The settings that a text names, of the right types; `owner` is the sampler's name.

    Raises:
        ParameterError: naming every one that is unknown, given twice, or not a number.
    """
    found: dict[str, Any] = {}
    mistakes = []
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            mistakes.append(f"{pair.strip()!r} must be written as setting=value")
        elif name not in names(kind):
            mistakes.append(_unknown(kind, name, value, owner))
        elif name in found:
            mistakes.append(f"{name} is given twice; give it once")
        else:
            found[name] = _number(_defaults(kind)[name], value)
            mistakes += filter(None, [_mistake(kind, name, found[name])])
    raise_all(ParameterError, mistakes)
    return found


def written(sampler: object) -> str:
    """The settings that differ from their defaults, as text that `parsed` reads."""
    return ",".join(
        f"{name}={getattr(sampler, name)}"
        for name, default in _defaults(type(sampler)).items()
        if getattr(sampler, name) != default
    )


def _defaults(kind: type) -> Mapping[str, Any]:
    every = fields(kind)
    return {each.name: each.default for each in every if "allowed" in each.metadata}


def _unknown(kind: type, name: str, value: str, owner: str) -> str:
    known = names(kind)
    if name in OF_SCHEDULERS:
        return f"{name} is an option of its own and no setting of the sampler: write {name}={value}"
    if not known:
        return f"the sampler {owner} has no settings, but got {name}; leave it out"
    return f"{owner} has no setting {name!r}{closest(name, known)}; settings: {', '.join(known)}"


def _number(default: float | str, text: str) -> float | str:
    """The number of a text, whole where the default is; the text itself if it is none."""
    if isinstance(default, str):
        return text
    try:
        return type(default)(text)
    except ValueError:
        return text


def _mistake(kind: type, name: str, value: Any) -> str | None:
    """The message for a value that is not allowed; None for an allowed one."""
    (allowed,) = [each.metadata["allowed"] for each in fields(kind) if each.name == name]
    if isinstance(allowed, Text):
        return allowed.mistake(name, value)
    if not isinstance(allowed, Range):
        known = value in allowed
        hint = closest(str(value), allowed)
        return None if known else f"{name}={value!r} must be one of {', '.join(allowed)}{hint}"
    if isinstance(_defaults(kind)[name], int):
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{name}={value!r} must be a whole number"
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name}={value!r} must be a number"
    return allowed.mistake(name, value)
