"""The kinds of code, by the text of the option `objective`."""

import os
from typing import Any

from pipelines.objectives.code import Code
from pipelines.objectives.code.command import COMMAND, CommandCode
from pipelines.objectives.code.function import function_code
from pipelines.objectives.code.project import PROJECT, project_code
from pipelines.store.tracking import is_shared


def code_of(objective: Any, folder: str | None = None) -> Code:
    """The code that the option names: `cmd:…`, `project:…`, or a function or its name.

    Args:
        objective: the option.
        folder: in which a command runs; None for the working directory.

    Raises:
        ParameterError: when there is no such code.
    """
    if isinstance(objective, str):
        objective = objective.strip()
    if isinstance(objective, str) and objective.startswith(COMMAND):
        return CommandCode(objective, folder or os.getcwd())
    if isinstance(objective, str) and objective.startswith(PROJECT):
        return project_code(objective)
    return function_code(objective)


def must_be_given(text: str) -> bool:
    """Whether stored code only runs when the user gives it again.

    That holds for commands and projects on a store that others may write to. A function is one of
    the user's own modules, whatever the store says.
    """
    return text.startswith((COMMAND, PROJECT)) and is_shared()
