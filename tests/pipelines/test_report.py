import csv
import io
import re
from typing import Any

import pytest

from hpo.errors import ParameterError
from pipelines.findings.tables import leaderboard
from pipelines.report import StudyReport, report

HEADER = {
    "algorithm": "tpe",
    "model": "lightgbm",
    "task": "binary",
    "target": "y",
    "metric": "roc_auc",
    "direction": "maximize",
    "rungs": [10.0],
    "budget_unit": "rounds",
}


def row(number: int, value: float | None, failure: str = "", **params: Any) -> dict[str, Any]:
    return {
        "number": number,
        "name": f"lightgbm-{number:03}",
        "run_id": f"{number:032x}",
        "status": "FAILED" if failure else "FINISHED",
        "budget": 10.0,
        "origin": "sampler",
        "failure": failure,
        "reports": (),
        "params": params,
        "metrics": {} if value is None else {"roc_auc": value},
        "seconds": 1.5,
    }


ROWS = [
    row(1, 0.9, boosting="-gbdt"),
    row(0, 0.8),
    row(2, None),
    row(3, None, "OSError: full\nmore"),
]


def test_every_trial_is_shown_with_its_run_id() -> None:
    text = str(StudyReport("s", "roc_auc", HEADER, ROWS, 20, winner=1))
    assert "4 trials, 1 failed" in text
    for shown in ROWS:
        assert shown["run_id"] in text
    assert "unfinished" in text
    assert "FAILED  OSError: full\n" in text
    assert text.endswith(f"--trial={1:032x}")


def test_all_goals_are_shown_and_the_winner_is_the_studys_own() -> None:
    goals = {"goals": {"roc_auc": "maximize", "size": "minimize"}, "limits": ["seconds<2"]}
    rows = [{**each, "metrics": {**each["metrics"], "size": 3.0}} for each in ROWS[:2]]
    front = frozenset({0, 1})
    text = str(StudyReport("s", "roc_auc", {**HEADER, **goals}, rows, 20, winner=0, front=front))
    first = text.splitlines()[2]
    assert re.search(r"roc_auc 0.9 +size 3 +seconds unfinished .*sampler \*$", first)
    assert "best configuration (lightgbm-000" in text
    code = str(StudyReport("s", "roc_auc", {**HEADER, "model": "function:m:f"}, ROWS, 20, winner=1))
    assert code.endswith("mlflow-warmstart tune --study=s --trials=8")


def test_what_is_not_shown_is_said() -> None:
    assert "… 3 more in leaderboard.csv" in str(StudyReport("s", "roc_auc", HEADER, ROWS, 1))
    with pytest.raises(ParameterError, match="top=0 must be greater than 0"):
        report("s", top=0)


def test_a_cell_is_no_formula() -> None:
    table = list(csv.DictReader(io.StringIO(leaderboard(ROWS).to_csv())))
    assert table[0]["boosting"] == "'-gbdt"
    assert [line["roc_auc"] for line in table] == ["0.9", "0.8", "", ""]
