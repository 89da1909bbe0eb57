"""The parameter names of a family, with the library's aliases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hpo.errors import closest, similar
from hpo.space.parameters import Params, Value

Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ParameterNames:
    """The names in two sections, by the library's main name with its aliases.

    `parameters` are those that a space may hold, `reserved` those that the study sets itself.
    """

    family: str
    parameters: Names
    reserved: Names = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Whether `name` is in one of the sections, as a main name or as an alias."""
        return any(name in names for names in self._main_names.values())

    def main(self, name: str, section: str = "parameters") -> str | None:
        """The main name of a parameter; None if the section does not have it.

        `section` is "parameters" or "reserved".
        """
        return self._main_names[section].get(name)

    def canonical(self, params: Params) -> dict[str, Value]:
        """The parameters under main names, so that an alias never means a second parameter."""
        return {self.main(name) or name: value for name, value in params.items()}

    def mistakes(self, names: Iterable[str], prefix: str = "") -> Iterator[str]:
        """Why `names` cannot be the parameters of a space; messages show them with `prefix`."""
        seen: dict[str, str] = {}
        for name in names:
            main = self.main(name)
            if main is None:
                yield self._refusal(name, prefix)
            elif main in seen:
                yield (
                    f"{prefix}{name} and {prefix}{seen[main]} are the same parameter of "
                    f"{self.family}; keep one"
                )
            else:
                seen[main] = name

    @cached_property
    def _main_names(self) -> Mapping[str, Mapping[str, str]]:
        """By section, every accepted name with the main one."""
        return {"parameters": _by_alias(self.parameters), "reserved": _by_alias(self.reserved)}

    def _refusal(self, name: str, prefix: str) -> str:
        shown = prefix + name
        if self.main(name, "reserved") is not None:
            return f"{shown} is set by the study and cannot be searched; leave it out of the space"
        known = self._main_names["parameters"]
        alias = similar(name, known)
        # The main name goes before an alias such as num_leaf, if it resembles the text, too.
        hint = alias and (closest(name, [known[alias]]) or closest(name, [alias]))
        return f"{self.family} has no parameter {shown!r}{hint or ''}"


def _by_alias(names: Names) -> dict[str, str]:
    return {alias: main for main, aliases in names.items() for alias in (main, *aliases)}
