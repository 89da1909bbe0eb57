"""What the user's code prints is stored with its trial, and still goes to the workers' log.

Only writes to `sys.stdout` and `sys.stderr` are seen, so that code that prints nothing costs
nothing, and a crash of the process is still explained in the log. What a program prints is
written there when it ends (`command`, `project`).
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.files.environment import environment
from pipelines.files.uris import first_line

MAX_OUTPUT = 1 << 16  # characters; of more, the last ones
_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}  # a trial does not wait for a server


class Output:
    """The last characters that were printed."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._kept = self._cut = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Append a text."""
        with self._lock:
            self._parts.append(text)
            self._kept += len(text)
            if self._kept > 2 * MAX_OUTPUT:
                self._shorten()

    @property
    def text(self) -> str:
        """At most `MAX_OUTPUT` characters, with a line on what was cut."""
        with self._lock:
            self._shorten()
            cut = f"… {self._cut:,} characters before\n" if self._cut else ""
            return cut + "".join(self._parts)

    def _shorten(self) -> None:
        text = "".join(self._parts)[-MAX_OUTPUT:]
        self._cut += self._kept - len(text)
        self._parts, self._kept = [text], len(text)


class _Current:
    """Where this process's prints are kept now; None outside of trials."""

    output: Output | None = None


class _Tee:
    """A stream that also keeps what is written, for the trial that runs then.

    A handler of `logging` that was made in one trial has this stream in later ones, too.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        if _Current.output is not None:
            _Current.output.add(text)
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printed_to(run_id: str | None, name: str) -> Iterator[None]:
    """Store what is printed meanwhile as an artifact of a run, also when an exception ends it.

    Args:
        run_id: of the trial; None while it is not in MLflow.
        name: of the artifact.
    """
    output = _Current.output = Output()
    out: Any = _Tee(sys.stdout)
    err: Any = _Tee(sys.stderr)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    finally:
        _Current.output, text = None, output.text
        if text.strip() and run_id is not None:
            _store(run_id, name, text)


def _store(run_id: str, name: str, text: str) -> None:
    """Write the artifact; a store that does not take it is told in the log."""
    try:
        with environment(_RETRIES):
            MlflowClient().log_text(run_id, text, name)
    except (MlflowException, OSError) as error:
        print(f"{name} of run {run_id} is not stored: {first_line(error)}", file=sys.stderr)
