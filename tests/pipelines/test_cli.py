"""Mistakes on the command line itself; those in the values of parameters are in `test_tune.py`."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipelines import entry_points
from pipelines.cli import config, main
from pipelines.entry_points import NAMES, WIDTH, load, parameters
from pipelines.models import FAMILIES
from pipelines.table.scores.metrics import METRICS
from pipelines.tune import tune


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["--nope"], "No such option '--nope'"),
        (["tunee"], "unknown command 'tunee', did you mean 'tune'?"),
        (["tune", "--dta=x.csv"], "unknown parameter 'dta', did you mean 'data'?"),
        (["tune", "--trials=many"], "trials='many' must be a whole number or none"),
        (["tune", "--data"], "'--data' requires an argument"),
        (["tune", "x.csv"], "unexpected extra argument"),
        (["report"], "give either study, a run id, or studies"),
        (["promote"], "Missing option '--name'"),
        (["completion", "tcsh"], "unknown shell 'tcsh' (one of bash, zsh, fish)"),
        (["train"], "give either trial"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "mistakes"),
    [
        (
            ["tune", "--trials=many", "--timeout=long", "--cv=5", "--model=lgbm", "--data=no.csv"],
            [
                "unknown parameter 'cv'",
                "trials='many' must be a whole number or none",
                "timeout='long' must be a number or none",
                "target=None: data and target are needed",
                "unknown model 'lgbm', did you mean 'lightgbm'?",
            ],
        ),
        (
            ["promote", "--nme", "adult", "--version=x"],
            ["unknown parameter 'nme', did you mean 'name'?", "version='x'", "Missing option"],
        ),
        (
            ["tune", "--config=none.yaml", "--trials=0", "--study=a"],
            ["config='none.yaml': there is no such file", "trials=0 must be greater than 0"],
        ),
    ],
)
def test_all_mistakes_are_told_at_once(
    arguments: list[str], mistakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    first, *told = capsys.readouterr().err.splitlines()
    assert first == f"error: {len(mistakes)} mistakes:"
    for text, start in zip(told, mistakes, strict=True):
        assert text.startswith(f"- {start}")


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_of_entry_points_have_short_lines(name: str) -> None:
    lines = (load(name).__doc__ or "").splitlines()
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("name", ["tune", "validate", "train"])
def test_the_help_names_the_choices(name: str) -> None:
    helps = {parameter.name: parameter.help for parameter in parameters(load(name))}
    assert not [family for family in FAMILIES if family not in helps["model"]]
    if name != "train":
        assert not [metric for metric in METRICS if metric not in helps["metric"]]


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    project = Path(__file__).parents[2] / "pyproject.toml"
    expected = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    assert capsys.readouterr().out == f"mlflow-warmstart {expected}\n"


def test_options_of_a_file_and_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("trials: 7\nspace:\n  x: {low: 0.0, high: 1.0}\ntarget: y\ntimeout: null\n")
    seen: dict[str, Any] = {}

    def stand_in(**values: Any) -> str:
        seen.update(values)
        return "done"

    stand_in.__signature__ = inspect.signature(tune)  # type: ignore[attr-defined]
    stand_in.__doc__ = tune.__doc__
    monkeypatch.setattr(entry_points, "load", lambda name: stand_in)
    main(["tune", "--config", str(file), "--target=z"])
    assert (seen["trials"], seen["target"], seen["timeout"]) == (7, "z", None)
    assert seen["space"] == {"x": {"low": 0.0, "high": 1.0}}
    assert seen["algorithm"] == "tpe"
    for text, message in (
        ("trails: 7\nmodell: x\n", "(?s)2 mistakes:.*'trails', did you mean 'trials'.*'modell'"),
        ("- 1\n", "must hold options"),
        ("trials: ten\n", "trials='ten' must be a whole number"),
    ):
        file.write_text(text)
        with pytest.raises(SystemExit):
            main(["tune", "--config", str(file)])
        assert re.search(message, capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main(["tune", "--config", str(tmp_path / "studi.yaml")])
    assert "there is no such file, did you mean 'study.yaml'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_those_of_the_signatures(name: str) -> None:
    stored = (config.SCHEMAS / f"{name}.json").read_text(encoding="utf-8")
    assert stored == config.schema(name), "run: python -m pipelines.cli.config"


def completed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What bash is told about a command line whose last word is completed."""
    monkeypatch.setenv("_MLFLOW_WARMSTART_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["mlflow-warmstart", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ro"], ["plain,rollback"]),
        (["compl"], ["plain,completion"]),
        (["completion", ""], ["plain,bash", "plain,zsh", "plain,fish"]),
        (["tune", "--tri"], ["plain,--trials", "plain,--trial_timeout"]),
        (["tune", "--model=li"], ["plain,lightgbm", "plain,linear"]),
        (["tune", "--model", "=", "cat"], ["plain,catboost"]),  # the words of bash
        (["tune", "--no_such=3", "--algorithm", "as"], ["plain,asha"]),
        (["tune", "--dry_run=t"], ["plain,true"]),
        (["tune", "--data=ta"], ["file,ta"]),
        (["tune", "--space=def"], ["file,def", "plain,default"]),
        (["tune", "--config", "st"], ["file,st"]),
        (["space", "random"], ["file,random", "plain,random_forest"]),
    ],
)
def test_a_shell_completes_commands_options_values_and_files(
    words: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert completed(words, monkeypatch, capsys) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_the_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", shell])
    assert f"_MLFLOW_WARMSTART_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_imports_no_entry_point() -> None:
    code = (
        "import os, sys, pipelines.cli as cli; cli._completed('bash_complete'); "
        "print([n for n in ('pandas', 'mlflow', 'scipy') if n in sys.modules])"
    )
    variables = {"COMP_WORDS": "mlflow-warmstart tune --model=l", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_quiet_prints_the_line_of_a_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Result:
        line = "one line"

        def __str__(self) -> str:
            return "many\nlines"

    def stand_in(**values: Any) -> Result:
        return Result()

    stand_in.__signature__ = inspect.signature(tune)  # type: ignore[attr-defined]
    stand_in.__doc__ = tune.__doc__
    monkeypatch.setattr(entry_points, "load", lambda name: stand_in)
    main(["tune", "--quiet"])
    main(["tune", "--quiet=false"])
    assert capsys.readouterr().out == "one line\nmany\nlines\n"
