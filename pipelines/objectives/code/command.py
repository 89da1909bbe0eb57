"""A command line as an objective. No shell sees it: each argument is passed as it is.

`cmd:./train.sh --rate={rate} {depth}` is split as a shell would split it, and then each `{name}` is
replaced by the value of the parameter. An argument with a parameter that is inactive is left out.
"""

import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow

from hpo.errors import ParameterError, closest
from pipelines.objectives.code import BUDGET, CHECKPOINT, Evaluate
from pipelines.objectives.code.results import ResultError, last_line

COMMAND = "cmd:"
RESULT = "result"  # the placeholder of a JSON file that the command writes
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.]*)\}")


@dataclass(frozen=True)
class CommandCode:
    """A command line.

    Attributes:
        text: the option `objective`.
    """

    text: str

    @functools.cached_property
    def arguments(self) -> tuple[str, ...]:
        """The arguments, with placeholders.

        Raises:
            ParameterError: when there are none, or a quote is not closed.
        """
        try:
            found = tuple(shlex.split(self.text.removeprefix(COMMAND)))
        except ValueError as error:
            raise ParameterError(f"objective={self.text!r} cannot be split: {error}") from error
        if not found:
            raise ParameterError(
                f"objective={self.text!r} names no command; write cmd:./train.sh {{rate}}"
            )
        return found

    @property
    def name(self) -> str:
        """The name of the program, or of its script."""
        named = [each for each in self.arguments if not each.startswith(("-", "{"))]
        scripts = [each for each in named[1:] if Path(each).suffix and Path(each).is_file()]
        return f"{COMMAND}{Path((scripts or self.arguments)[0]).name}"

    @functools.cached_property
    def takes(self) -> frozenset[str]:
        """Which of `budget` and `checkpoint` are among the placeholders."""
        return frozenset((BUDGET, CHECKPOINT)) & self._placeholders

    @property
    def _placeholders(self) -> frozenset[str]:
        return frozenset(_PLACEHOLDER.findall(" ".join(self.arguments)))

    @property
    def digest(self) -> str:
        """Of the command line and of the files that it names."""
        found = hashlib.sha256(self.text.encode())
        for each in self.arguments:
            if os.path.isfile(each):
                found.update(Path(each).read_bytes())
        return found.hexdigest()[:16]

    def check(self, names: frozenset[str]) -> None:
        """Check the program and the placeholders.

        Raises:
            ParameterError: when the program does not exist, or a placeholder is no parameter.
        """
        program = self.arguments[0]
        if shutil.which(program) is None:
            raise ParameterError(
                f"objective={self.text!r}: there is no program {program}; give its path, or "
                "install it"
            )
        known = {*names, BUDGET, CHECKPOINT, RESULT}
        for name in sorted(self._placeholders - known):
            raise ParameterError(
                f"objective={self.text!r}: {{{name}}} is no parameter of the space"
                f"{closest(name, sorted(known))}; placeholders: {', '.join(sorted(known))}"
            )

    def worker(self) -> Evaluate:
        """Runs the command in the driver's working directory."""
        return RunCommand(self.arguments, os.getcwd())


@dataclass(frozen=True)
class RunCommand:
    """Runs a command once for each evaluation.

    Attributes:
        arguments: with placeholders.
        directory: in which it runs.
    """

    arguments: tuple[str, ...]
    directory: str

    def __call__(self, params: dict[str, Any], **beside: Any) -> Any:
        """The number or the metrics that the command prints last, or writes as JSON.

        Raises:
            ResultError: when it fails, or gives no result.
        """
        with tempfile.TemporaryDirectory(prefix="result-") as folder:
            result = Path(folder) / "result.json"
            values = {**params, **beside, RESULT: result}
            command = [*filter(None, (_filled(each, values) for each in self.arguments))]
            ended = subprocess.run(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                env=_environment(),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            sys.stdout.write(ended.stdout)
            sys.stderr.write(ended.stderr)
            if ended.returncode:
                said = last_line(ended.stderr) or last_line(ended.stdout)
                raise ResultError(f"the command ended with exit code {ended.returncode}: {said}")
            if any(f"{{{RESULT}}}" in each for each in self.arguments):
                return _written(result)
            return _printed(ended.stdout)


def _environment() -> dict[str, str]:
    """The environment of this process, and the trial's run for a program that uses MLflow."""
    run = mlflow.active_run()
    return {**os.environ, **({} if run is None else {"MLFLOW_RUN_ID": str(run.info.run_id)})}


def _filled(argument: str, values: Mapping[str, Any]) -> str | None:
    """An argument with values in place of its placeholders; None with one that is inactive."""
    if any(name not in values for name in _PLACEHOLDER.findall(argument)):
        return None
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), argument)


def _written(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"the command has not written {{{RESULT}}}") from error
    except ValueError as error:
        raise ResultError(f"{{{RESULT}}} is not JSON: {error}") from error


def _printed(text: str) -> Any:
    """The number or the JSON object in the last line."""
    last = last_line(text)
    try:
        return json.loads(last)
    except ValueError:
        pass
    try:
        return float(last)
    except ValueError as error:
        raise ResultError(
            f"the last line of the command is {last!r}; it must be a number or a JSON "
            f"object of metrics, or use the placeholder {{{RESULT}}}"
        ) from error
