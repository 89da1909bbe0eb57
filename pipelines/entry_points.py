"""The public parameters, read off the entry points' own signatures and docstrings.

`tune`, `validate`, `train`, `promote`, `rollback`, `report` and `adopt` are plain functions. Their
signatures and the `Args:` of their docstrings are the one definition from which the console command
and the file `MLproject` are made, so the three cannot differ.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

NAMES = ("tune", "validate", "train", "promote", "rollback", "report", "adopt")
NONE = "none"  # how None is written where all values are text


@dataclass(frozen=True)
class Parameter:
    """One public parameter: its name, the kinds of values it takes, its default as text, and what it means."""

    name: str
    kinds: tuple[type, ...]
    default: str | None
    help: str

    def parse(self, text: str) -> Any:
        """The value that `text` stands for.

        Raises:
            ValueError: when it is none of the kinds; the message says what was expected.
        """
        if type(None) in self.kinds and text.strip().lower() in ("", NONE):
            return None
        if bool in self.kinds:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{self.name}={text!r} must be true or false")
            return text.lower() == "true"
        if str in self.kinds:
            return text
        number = int if int in self.kinds else float
        try:
            return number(text)
        except ValueError:
            word = "a whole number" if number is int else "a number"
            none = f" or {NONE}" if type(None) in self.kinds else ""
            raise ValueError(f"{self.name}={text!r} must be {word}{none}") from None


def load(name: str) -> Callable[..., Any]:
    """The function behind an entry point; its module is imported only now."""
    function: Callable[..., Any] = getattr(import_module(f"pipelines.{name}"), name)
    return function


def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The public parameters of an entry point, in the order of its signature."""
    hints = typing.get_type_hints(function)
    meanings = dict(_meanings(inspect.getdoc(function) or ""))
    return tuple(
        Parameter(name, _kinds(hints[name]), _as_text(signature.default), meanings[name])
        for name, signature in inspect.signature(function).parameters.items()
    )


def given(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an entry point's `values` that are not its defaults."""
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    return {name: value for name, value in values.items() if not _same(value, defaults[name])}


def _same(value: object, default: object) -> bool:
    return value is default or (isinstance(value, type(default)) and value == default)


def summary(function: Callable[..., Any]) -> str:
    """The first paragraph of an entry point's docstring."""
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def mlproject() -> str:
    """The text of the file `MLproject`."""
    lines = [
        "# Made by `python -m pipelines.entry_points > MLproject` from the signatures of the entry points.",
        "name: mlflow-warmstart",
        "python_env: python_env.yaml",
        "entry_points:",
    ]
    for name in NAMES:
        function = load(name)
        lines += [f"  {name}:", "    parameters:"]
        found = parameters(function)
        for parameter in found:
            default = "" if parameter.default is None else f', default: "{parameter.default}"'
            lines.append(f"      {parameter.name}: {{type: string{default}}}")
        options = " ".join(f"--{p.name}={{{p.name}}}" for p in found)
        lines.append(f"    command: python -m pipelines {name} {options}")
    return "\n".join(lines) + "\n"


def _kinds(hint: Any) -> tuple[type, ...]:
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint)
        else (hint,)
    )
    return tuple(typing.get_origin(option) or option for option in options)


def _as_text(default: object) -> str | None:
    if default is inspect.Parameter.empty:
        return None
    return (
        NONE
        if default is None
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def _meanings(doc: str) -> Iterator[tuple[str, str]]:
    """`(name, meaning)` for each entry under `Args:` of a Google docstring."""
    match = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    for entry in re.split(r"\n(?=    \S)", match.group(1).rstrip() if match else ""):
        name, _, meaning = entry.strip().partition(": ")
        yield name, " ".join(meaning.split())


if __name__ == "__main__":
    print(mlproject(), end="")
