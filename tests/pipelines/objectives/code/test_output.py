"""What the user's code prints is stored with its trial."""

import io
import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.objectives.code import output
from pipelines.objectives.code.command import RunCommand
from pipelines.objectives.code.output import MAX_OUTPUT, Output, printed_to


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The artifacts that are written: run, name and text."""
    found: list[tuple[str, str, str]] = []

    class Client:
        def log_text(self, run_id: str, text: str, name: str) -> None:
            found.append((run_id, name, text))

    monkeypatch.setattr(output, "MlflowClient", Client)
    return found


def test_prints_warnings_and_logs_are_stored_and_shown(stored: list[Any]) -> None:
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown), printed_to("r", "output.txt"):
        print("one", end=" ")
        sys.stdout.writelines(["two\n"])
        print("three", file=sys.stderr)
        handler = logging.StreamHandler()
        handler.emit(logging.LogRecord("n", logging.INFO, "f", 1, "four", None, None))
        assert not sys.stdout.isatty()
    assert stored == [("r", "output.txt", "one two\nthree\nfour\n")]
    assert shown.getvalue() == "one two\nthree\nfour\n"


def test_the_output_of_a_command_is_stored(stored: list[Any]) -> None:
    with printed_to("r", "output.txt"):
        assert RunCommand((sys.executable, "-c", "print('hello'); print(2)"), ".")({}) == 2
    assert stored == [("r", "output.txt", "hello\n2\n")]


def test_what_was_printed_before_an_exception_is_stored(stored: list[Any]) -> None:
    def fails() -> None:
        print("before")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), printed_to("r", "o"):
        fails()
    assert stored == [("r", "o", "before\n")]


def test_a_handler_of_an_earlier_trial_logs_to_the_later_one(stored: list[Any]) -> None:
    with printed_to("first", "o"):
        handler = logging.StreamHandler()
    record = logging.LogRecord("n", logging.INFO, "f", 1, "hello", None, None)
    with printed_to("second", "o"):
        handler.emit(record)
    handler.emit(record)
    assert stored == [("second", "o", "hello\n")]


def test_nothing_is_stored_without_prints_or_without_a_run(stored: list[Any]) -> None:
    with printed_to("r", "o"):
        pass
    with printed_to("r", "o"):
        print()
    with printed_to(None, "o"):
        print("lost")
    with printed_to("r", "o"):  # the streams are inherited by programs
        subprocess.run([sys.executable, "-c", "print(1)"], check=True)
    assert stored == []


@pytest.mark.parametrize("part", [1, 1000, 10 * MAX_OUTPUT])
def test_the_last_characters_are_kept(part: int) -> None:
    found, total = Output(), 0
    while total < 5 * MAX_OUTPUT:
        found.add("x" * (part - 1) + "y")
        total += part
    first, rest = found.text.split("\n")
    assert first == f"… {total - MAX_OUTPUT:,} characters before"
    assert len(rest) == MAX_OUTPUT
    assert rest.endswith("y")


def test_a_store_that_refuses_costs_nothing_but_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(MlflowClient, "log_text", refuses)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///:memory:")
    monkeypatch.setattr(MlflowClient, "__init__", lambda self: None)
    with printed_to("r", "o"):
        print("hello")
    assert "o of run r is not stored: disk is full" in capsys.readouterr().err
