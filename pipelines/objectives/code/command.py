"""A command line as an objective. No shell sees it: each argument is passed as it is.

`cmd:./train.sh --rate={rate} {depth}` is split as a shell would split it, and then each `{name}` is
replaced by the value of the parameter. An argument with a parameter that is inactive is left out,
and with it the flag before an argument that is nothing but this parameter.
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
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import mlflow

from hpo.errors import ParameterError, closest
from pipelines.objectives.code import BUDGET, CHECKPOINT, Evaluate
from pipelines.objectives.code.results import ResultError, last_line

COMMAND = "cmd:"
_LINES = 100  # of what a command prints last, among which its result is looked for
RESULT = "result"  # the placeholder of a JSON file that the command writes
_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_][\w.]*)\}(?!\})")
_BRACES = re.compile(r"\{(\{[A-Za-z_][\w.]*\})\}")  # {{name}} stands for {name}
_FLAG = re.compile(r"--?[A-Za-z][\w-]*")


@dataclass(frozen=True)
class CommandCode:
    """A command line.

    Attributes:
        text: the option `objective`.
        folder: in which it runs.
    """

    text: str
    folder: str
    needs_run = True  # for programs that use MLflow

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
        scripts = [
            each for each in named[1:] if Path(each).suffix and Path(self.folder, each).is_file()
        ]
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
            if Path(self.folder, each).is_file():
                found.update(Path(self.folder, each).read_bytes())
        return found.hexdigest()[:16]

    def check(self, names: frozenset[str]) -> None:
        """Check the program and the placeholders.

        Raises:
            ParameterError: when the program does not exist, or a placeholder is no parameter.
        """
        program = self.arguments[0]
        if shutil.which(program) is None and not os.access(Path(self.folder, program), os.X_OK):
            raise ParameterError(
                f"objective={self.text!r}: there is no program {program}; give its path, or "
                "install it"
            )
        known = {*names, BUDGET, CHECKPOINT, RESULT}
        if taken := sorted(names & {BUDGET, CHECKPOINT, RESULT}):
            raise ParameterError(
                f"objective={self.text!r}: a parameter cannot be called {taken[0]}, which is a "
                "placeholder of its own; rename it"
            )
        for name in sorted(self._placeholders - known):
            raise ParameterError(
                f"objective={self.text!r}: {{{name}}} is no parameter of the space"
                f"{closest(name, sorted(known))}; placeholders: {', '.join(sorted(known))}"
            )
        if unused := sorted(names - self._placeholders):
            raise ParameterError(
                f"objective={self.text!r}: the command does not use {', '.join(unused)} of the "
                f"space; write {{{unused[0]}}} where its value belongs, or remove it there"
            )

    def worker(self) -> Evaluate:
        """Runs the command in its folder."""
        return RunCommand(self.arguments, self.folder)


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
            command = _command(self.arguments, values)
            code, output, errors = _run(command, self.directory)
            if code:
                said = last_line(errors) or last_line(output)
                raise ResultError(f"the command ended with exit code {code}: {said}")
            if any(f"{{{RESULT}}}" in each for each in self.arguments):
                return _written(result)
            return _printed(output)


def _run(command: Sequence[str], folder: str) -> tuple[int, str, str]:
    """Run a command, and pass on at once what it prints, which is all there is if it is killed.

    Returns:
        Its exit code, and the ends of its stdout and its stderr.
    """
    with (
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process,
        ThreadPoolExecutor(2) as readers,
    ):
        output, errors = (
            readers.submit(_passed_on, *pair)
            for pair in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        )
        return process.wait(), output.result(), errors.result()


def _passed_on(source: IO[str] | None, target: TextIO) -> str:
    """Pass lines on as they come; returns the last ones."""
    last = deque[str](maxlen=_LINES)
    for line in source or ():
        target.write(line)
        target.flush()
        last.append(line)
    return "".join(last)


def _environment() -> dict[str, str]:
    """The environment of this process, and the trial's run for a program that uses MLflow."""
    run = mlflow.active_run()
    return {**os.environ, **({} if run is None else {"MLFLOW_RUN_ID": str(run.info.run_id)})}


def _command(arguments: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The arguments with values, without those of inactive parameters and their flags."""
    found: list[str] = []
    for argument in arguments:
        filled = _filled(argument, values)
        if filled is not None:
            found.append(filled)
        elif _PLACEHOLDER.fullmatch(argument) and found and _FLAG.fullmatch(found[-1]):
            found.pop()
    return found


def _filled(argument: str, values: Mapping[str, Any]) -> str | None:
    """An argument with values in place of its placeholders; None with one that is inactive."""
    if any(name not in values for name in _PLACEHOLDER.findall(argument)):
        return None
    filled = _PLACEHOLDER.sub(lambda match: str(values[match[1]]), argument)
    return _BRACES.sub(r"\1", filled) if "{{" in argument else filled


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
