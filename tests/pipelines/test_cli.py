"""Mistakes on the command line itself; those in the values of parameters are in `test_tune.py`."""

import tomllib
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.entry_points import NAMES, WIDTH, load, parameters
from pipelines.models import FAMILIES
from pipelines.table.scores.metrics import METRICS


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
