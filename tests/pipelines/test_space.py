"""The entry point `space`: a space as text, its mistakes, and draws from it."""

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError
from pipelines.cli import main
from pipelines.space import space

FILE = """
kind: [a, b]
depth: {low: 1, high: 4, when: {kind: b}}
threads: 2
forbidden: [{kind: b, depth: ">3"}]
"""


def test_a_file_as_a_tree_with_its_size_and_draws(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(FILE)
    found = space(str(file), draws=40, seed=1)
    lines = str(found).splitlines()
    assert lines[:5] == [
        "kind      choice    a, b",
        "  depth   integer   1 to 4   when kind=b",
        "threads   fixed     2",
        "forbidden: kind=b and depth>3",
        "",
    ]
    assert lines[5] == "3 parameters, at most 5 configurations"
    assert len(found.draws) == 40
    assert {params.get("depth") for params in found.draws} == {None, 1, 2, 3}
    assert found == space(str(file), draws=40, seed=1)


def test_the_space_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    main(["space", "linear", "--draws=1"])
    by_position = capsys.readouterr().out
    assert "l1_ratio   float    0.05 to 1            when penalty=elasticnet" in by_position
    assert by_position == f"{space(model='linear', draws=1)}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give space, a YAML file, or model"),
        ({"space": "lightgm"}, "neither a file nor a model, did you mean 'lightgbm'"),
        ({"space": "none.yaml"}, "space='none.yaml' is neither"),
        ({"space": "past"}, "depends on a study's table; dry_run of tune shows it"),
        ({"space": "auto:abc"}, "needs the model of that study; give model"),
        ({"model": "lihgtgbm"}, "unknown model 'lihgtgbm', did you mean 'lightgbm'"),
        ({"space": {"depht": [1]}, "model": "xgboost"}, "xgboost has no parameter 'depht'"),
        ({"model": "linear", "draws": -1, "seed": "x"}, "(?s)draws=-1 .*seed='x' must be a whole"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        space(**options)
