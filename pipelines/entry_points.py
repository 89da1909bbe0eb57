"""The parameters of the entry points: one definition for Python, the console and `MLproject`.

The parameters of `rollback`, `report` and `watch` are those of their signature and the `Args:` of
their docstring. The other entry points have more of them, as fields of frozen dataclasses
(`pipelines.study.options` for `tune`, `validate` and `train`, which share many); `entry_point`
makes a function of those arguments.
"""

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from hpo.errors import Mistakes, ParameterError, closest, raise_all
from pipelines.files.refused import refusals_told
from pipelines.store.autologging import without_autologging

P = ParamSpec("P")
OptionsT = TypeVar("OptionsT")
ResultT = TypeVar("ResultT")

NAMES = (
    "tune",
    "validate",
    "train",
    "predict",
    "promote",
    "rollback",
    "report",
    "watch",
    "adopt",
    "space",
)
BY_POSITION = {
    "space": "space",
    "watch": "study",
}  # the parameter that the console also takes without its name
NONE = "none"  # None as text
WIDTH = 100  # characters of a line of a docstring


@dataclass(frozen=True)
class Parameter:
    """A parameter of an entry point.

    Attributes:
        name: as a Python identifier.
        kinds: the types of its values.
        default: as text; None for a required parameter.
        help: its meaning.
    """

    name: str
    kinds: tuple[type, ...]
    default: str | None
    help: str

    @property
    def type_name(self) -> str:
        """The type of its values, for `--help`."""
        names = {bool: "true|false", int: "whole number", float: "number"}
        found = [names[kind] for kind in (bool, int, float) if kind in self.kinds]
        name = "text" if str in self.kinds or not found else found[0]
        return f"{name}|{NONE}" if type(None) in self.kinds and self.default == NONE else name

    def parse(self, text: str) -> Any:
        """Read a value from text.

        Raises:
            ValueError: when it has none of the types; the message says what is expected.
        """
        if type(None) in self.kinds and text.strip().lower() in ("", NONE):
            return None
        if bool in self.kinds:
            return self._parse_bool(text)
        if str in self.kinds:
            return text
        return self._parse_number(text)

    def _parse_bool(self, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{self.name}={text!r} must be true or false")
        return text.lower() == "true"

    def _parse_number(self, text: str) -> float:
        number, type_name = (int, "a whole number") if int in self.kinds else (float, "a number")
        try:
            return number(text)
        except ValueError:
            none = f" or {NONE}" if type(None) in self.kinds else ""
            raise ValueError(f"{self.name}={text!r} must be {type_name}{none}") from None


def load(name: str) -> Callable[..., Any]:
    """Import an entry point."""
    function: Callable[..., Any] = getattr(import_module(f"pipelines.{name}"), name)
    return function


def entry_point(
    options: Callable[P, OptionsT], check: Callable[[OptionsT], None] | None = None
) -> Callable[[Callable[[OptionsT], ResultT]], Callable[P, ResultT]]:
    """Decorate a function of an options object: it takes the options as arguments instead.

    Args:
        options: a frozen dataclass whose docstring explains its fields under `Args:`.
        check: raises a `UserError` for mistakes in them. The function calls it itself; here it is
            for what is wrong beside the names of the options.
    """

    def decorate(run: Callable[[OptionsT], ResultT]) -> Callable[P, ResultT]:
        @wraps(run)
        def call(*args: P.args, **kwargs: P.kwargs) -> ResultT:
            with without_autologging(), refusals_told():
                _check_names(run.__name__, kwargs, signature.parameters, partial(told, *args))
                return run(options(*args, **kwargs))

        def told(*args: P.args, **kwargs: P.kwargs) -> None:
            if check is not None:
                check(options(*args, **kwargs))

        returned = inspect.signature(run).return_annotation
        signature = inspect.signature(options).replace(return_annotation=returned)
        call.check = told  # type: ignore[attr-defined]
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _documented(inspect.getdoc(run) or "", _meanings(options))
        return call

    return decorate


def _check_names(
    function: str, given: Mapping[str, Any], known: Collection[str], check: Callable[..., None]
) -> None:
    """Check that a function is called with parameters that it has.

    Raises:
        UserError: naming every unknown one, and what `check` finds in the others.
    """
    unknown = [f"unknown parameter {n!r}{closest(n, known)}" for n in given if n not in known]
    mistakes = Mistakes()
    with mistakes:
        raise_all(ParameterError, (f"{text}; see help({function})" for text in unknown))
    if mistakes:
        with mistakes:
            check(**{name: value for name, value in given.items() if name in known})
    mistakes.raise_all()


def check(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Check the values of an entry point's parameters, as far as it can without running it.

    Raises:
        UserError: naming every mistake.
    """
    checked: Callable[..., None] | None = getattr(function, "check", None)
    if checked is not None:
        checked(**values)


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
        "# Made by `python -m pipelines.entry_points > MLproject` from the signatures of the "
        "entry points.",
        "name: mlflow-warmstart",
        "python_env: python_env.yaml",
        "entry_points:",
    ]
    for name in NAMES:
        lines += _mlproject_entry(name, parameters(load(name)))
    return "\n".join(lines) + "\n"


def _mlproject_entry(name: str, found: Iterable[Parameter]) -> Iterator[str]:
    yield f"  {name}:"
    yield "    parameters:"
    command = f"python -m pipelines {name}"
    for parameter in found:
        default = "" if parameter.default is None else f', default: "{parameter.default}"'
        yield f"      {parameter.name}: {{type: string{default}}}"
        command += f" --{parameter.name}={{{parameter.name}}}"
    yield f"    command: {command}"


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types of a hint, without what generic types contain."""
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint)
    kinds = typing.get_args(hint) if is_union else (hint,)
    return tuple(typing.get_origin(kind) or kind for kind in kinds)


def _as_text(default: object) -> str | None:
    if default is inspect.Parameter.empty:
        return None
    if default is None:
        return NONE
    return str(default).lower() if isinstance(default, bool) else str(default)


def _meanings(documented: Callable[..., Any]) -> dict[str, str]:
    """The meaning of each parameter, from the `Args:` of a function, or a class and its bases."""
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
    """A docstring with `Args:` before its `Raises:`, wrapped to `WIDTH`."""
    wrapper = textwrap.TextWrapper(
        width=WIDTH,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )
    entries = "\n".join(
        wrapper.fill(f"{name}: {meaning}") for name, meaning in meanings.items() if name
    )
    before, raises, after = doc.partition("\n\nRaises:")
    return f"{before}\n\nArgs:\n{entries}{raises}{after}"


if __name__ == "__main__":
    print(mlproject(), end="")
