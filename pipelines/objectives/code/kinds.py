"""The kinds of code, by the text of the option `objective`."""

from typing import Any

from pipelines.objectives.code import Code
from pipelines.objectives.code.command import COMMAND, CommandCode
from pipelines.objectives.code.function import function_code
from pipelines.objectives.code.project import PROJECT, project_code


def code_of(objective: Any) -> Code:
    """The code that the option names: `cmd:…`, `project:…`, or a function or its name.

    Raises:
        ParameterError: when there is no such code.
    """
    if isinstance(objective, str) and objective.startswith(COMMAND):
        return CommandCode(objective)
    if isinstance(objective, str) and objective.startswith(PROJECT):
        return project_code(objective)
    return function_code(objective)
