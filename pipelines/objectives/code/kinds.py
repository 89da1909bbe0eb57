"""The kinds of code, by the text of the option `objective`."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.objectives.code import Code
from pipelines.objectives.code.command import COMMAND, CommandCode
from pipelines.objectives.code.function import function_code
from pipelines.objectives.code.project import PROJECT, project_code
from pipelines.store.tracking import is_shared

FUNCTION = ""
# How the text of each kind begins, and what makes code of it and of the folder that it runs in.
KINDS: Mapping[str, Callable[[str, str], Code]] = {
    COMMAND: CommandCode,
    PROJECT: lambda text, _: project_code(text),
    FUNCTION: lambda text, _: function_code(text),
}


def code_of(objective: Any, folder: str | None = None) -> Code:
    """The code that the option names: `cmd:…`, `project:…`, or a function or its name.

    Args:
        objective: the option.
        folder: in which a command runs; None for the working directory.

    Raises:
        ParameterError: when there is no such code.
    """
    if not isinstance(objective, str):
        return function_code(objective)
    text = objective.strip()
    return KINDS[_mark(text)](text, folder or os.getcwd())


def must_be_given(text: str) -> bool:
    """Whether stored code only runs when the user gives it again.

    That holds for commands and projects on a store that others may write to. A function is one of
    the user's own modules, whatever the store says.
    """
    return _mark(text.strip()) in (COMMAND, PROJECT) and is_shared()


def _mark(text: str) -> str:
    """The key of `KINDS` that a text begins with; that of functions is empty, and the last."""
    return next(mark for mark in KINDS if text.startswith(mark))
