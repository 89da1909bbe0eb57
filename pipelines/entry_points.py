"""The public parameters of the entry points: one definition for Python, the console and `MLproject`.

`promote`, `rollback`, `report` and `adopt` are plain functions: their signature and the `Args:` of
their docstring define their parameters. `tune`, `validate` and `train` share many options, which
are fields of frozen dataclasses (`pipelines.study.options`); `entry_point` makes a function of
those arguments.
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
OptionsT = TypeVar("OptionsT")
ResultT = TypeVar("ResultT")

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


def entry_point(
    options: Callable[P, OptionsT],
) -> Callable[[Callable[[OptionsT], ResultT]], Callable[P, ResultT]]:
    """Make a function of some options a function that takes the options as arguments.

    Args:
        options: a frozen dataclass whose docstrings explain its fields under `Args:`.
    """

    def decorate(run: Callable[[OptionsT], ResultT]) -> Callable[P, ResultT]:
        @functools.wraps(run)
        def call(*args: P.args, **kwargs: P.kwargs) -> ResultT:
            return run(options(*args, **kwargs))

        signature = inspect.signature(options)
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _documented(inspect.getdoc(run) or "", _meanings(options))
        return call

    return decorate


def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The public parameters of an entry point, in the order of its signature."""
    meanings = _meanings(function)
    return tuple(
        Parameter(p.name, _kinds(p.annotation), _as_text(p.default), meanings[p.name])
        for p in inspect.signature(function, eval_str=True).parameters.values()
    )


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


def _meanings(documented: Callable[..., Any]) -> dict[str, str]:
    """What each parameter means, by the `Args:` of a function, or of a class and its bases."""
    sources = reversed(documented.__mro__) if isinstance(documented, type) else (documented,)
    found: dict[str, str] = {}
    for source in sources:
        found |= _entries(inspect.cleandoc(source.__doc__ or ""))
    return found


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    """`(name, meaning)` of each entry under `Args:` of a Google docstring."""
    match = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    for entry in re.split(r"\n(?=    \S)", match.group(1).rstrip() if match else ""):
        name, _, meaning = entry.strip().partition(": ")
        yield name, " ".join(meaning.split())


def _documented(doc: str, meanings: dict[str, str]) -> str:
    """A docstring with `Args:` before its `Raises:`."""
    entries = "\n".join(f"    {name}: {meaning}" for name, meaning in meanings.items() if name)
    before, raises, after = doc.partition("\n\nRaises:")
    return f"{before}\n\nArgs:\n{entries}{raises}{after}"


if __name__ == "__main__":
    print(mlproject(), end="")
