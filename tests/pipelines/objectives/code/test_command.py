"""Command lines as objectives."""

import sys
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import ParameterError
from pipelines.objectives.code.command import CommandCode
from pipelines.objectives.code.results import ResultError


def command(text: str, folder: str = ".") -> CommandCode:
    return CommandCode(text, folder)


def python(program: str, *arguments: str) -> CommandCode:
    """A command that runs a program in one line of Python."""
    return command(f"cmd:{sys.executable} -c '{program}' {' '.join(arguments)}")


def run(code: CommandCode, **values: Any) -> Any:
    return code.worker()(values)


def test_the_last_line_is_the_result() -> None:
    code = python("import sys; print(sys.argv[1:]); print(float(sys.argv[1]) * 2)", "{x}")
    assert run(code, x=1.5) == 3.0
    metrics = python('import json; print(json.dumps({"err": 1}))')
    assert run(metrics) == {"err": 1}


def test_a_parameter_never_reaches_a_shell(tmp_path: Path) -> None:
    code = python("import sys; print(len(sys.argv[1]))", "{x}")
    hostile = f"$(touch {tmp_path}/made); touch {tmp_path}/made"
    assert run(code, x=hostile) == len(hostile)
    assert not (tmp_path / "made").exists()


def test_an_inactive_parameter_leaves_its_argument_out() -> None:
    code = python("import sys; print(len(sys.argv) - 1)", "--a={a}", "--b={b}")
    assert run(code, a=1, b=2) == 2
    assert run(code, a=1) == 1


def test_a_json_file_is_the_result_where_the_command_asks_for_one() -> None:
    code = python('import sys; open(sys.argv[1], "w").write("{\\"err\\": 0.5}")', "{result}")
    assert run(code) == {"err": 0.5}
    with pytest.raises(ResultError, match="has not written {result}"):
        run(python("print(1)", "{result}"))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ('raise SystemExit("no data")', "exit code 1: no data"),
        ('print("done")', "last line of the command is 'done'"),
        ("pass", "last line of the command is ''"),
    ],
)
def test_a_failed_command(program: str, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        run(python(program))


def test_what_is_taken_and_what_is_unknown() -> None:
    code = python("print(1)", "{rate}", "{budget}")
    assert code.takes == {"budget"}
    code.check(frozenset(("rate",)))
    with pytest.raises(ParameterError, match="{rate} is no parameter .*did you mean 'rates'"):
        code.check(frozenset(("rates",)))
    with pytest.raises(ParameterError, match="there is no program no-such-program"):
        command("cmd:no-such-program {x}").check(frozenset(("x",)))
    with pytest.raises(ParameterError, match="names no command"):
        command("cmd:").check(frozenset())
    with pytest.raises(ParameterError, match="cannot be split: No closing quotation"):
        command("cmd:./train 'x").check(frozenset())


def test_a_flag_goes_with_its_inactive_value() -> None:
    code = python("import sys; print(len(sys.argv) - 1)", "--a {a}", "-b {b}")
    assert run(code, a=1, b=2) == 4
    assert run(code, b=2) == 2
    assert run(code, a="", b="") == 4, "an empty value is an argument, too"


def test_braces_and_names_that_are_taken() -> None:
    assert run(python("import sys; print(len(sys.argv[1]))", "{{x}}")) == 3
    with pytest.raises(ParameterError, match="the command does not use rate of the space"):
        python("print(1)").check(frozenset(("rate",)))
    with pytest.raises(ParameterError, match="cannot be called budget"):
        python("print(1)", "{budget}").check(frozenset(("budget",)))


def test_the_name_is_that_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print(1)")
    code = command("cmd:python train.py {x}")
    before = code.digest
    assert code.name == "cmd:train.py"
    (tmp_path / "train.py").write_text("print(2)")
    assert code.digest != before
