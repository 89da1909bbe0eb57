"""The kinds of code, by the text of the option `objective`."""

import os
from typing import Any

from pipelines.objectives.code import Code
from pipelines.objectives.code.command import COMMAND, CommandCode
from pipelines.objectives.code.function import function_code
from pipelines.objectives.code.project import PROJECT, project_code


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
