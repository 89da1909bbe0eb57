"""`tables-race`: the rows of all competitors, their errors, and the standings."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import Dataset
from benchmarks.environments import ROOT
from benchmarks.methods import Method
from benchmarks.peers.race.entry import Entry, with_categories
from benchmarks.race import competitors
from benchmarks.race.competitors import RACING, installed
from benchmarks.race.heats import Heat, digest, run
from benchmarks.race.race import TABLES, main
from benchmarks.race.splits import Split
from benchmarks.race.standings import Standings
from benchmarks.results import Results
from hpo.errors import UserError


def _dataset(folder: Path, task: str = "binary") -> Dataset:
    frame = pd.DataFrame({"x": np.arange(40), "colour": ["red", "blue"] * 20})
    frame["y"] = frame.x % 4 if task == "multiclass" else frame.x % 2
    frame.loc[39, "y"] = None  # a row without a target
    frame["y"] = frame.y.astype("Int64")
    frame.to_csv(folder / "table.csv.gz", index=False)
    return Dataset("table", "y", folder / "table.csv.gz", task)


def _answer(error: float, wall: float) -> dict[str, Any]:
    return {"error": error, "wall": wall, "cpu": wall, "prediction": 1e-5}


def test_all_competitors_read_the_same_rows(tmp_path: Path) -> None:
    split = Split.of(_dataset(tmp_path), 0, tmp_path)
    train, test = pd.read_csv(split.train), pd.read_csv(split.test)
    assert len(train) + len(test) == 39
    assert not set(train.x) & set(test.x)
    again = Split.of(_dataset(tmp_path), 0, tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(again.test), test)
    entry = Entry(str(split.train), str(split.test), "y", "binary", "", split.classes, 1, 0, {})
    rows, y = entry.rows(entry.test)
    assert list(rows) == ["x", "colour"]
    np.testing.assert_array_equal(y, split.y)


def test_errors_are_those_of_the_task(tmp_path: Path) -> None:
    binary = Split.of(_dataset(tmp_path), 0, tmp_path)
    assert binary.error(binary.y) == 0.0
    assert binary.error(np.stack([binary.y, 1 - binary.y], axis=1)) == 1.0
    several = Split.of(_dataset(tmp_path, "multiclass"), 0, tmp_path)
    assert several.metric == "log_loss"
    uniform = np.full((len(several.y), 4), 0.25)
    assert several.error(uniform) == pytest.approx(np.log(4))
    numbers = Split.of(_dataset(tmp_path, "regression"), 0, tmp_path)
    assert numbers.classes == ()
    assert numbers.error(numbers.y + 2) == pytest.approx(2.0)


def test_categories_are_those_of_the_training_rows() -> None:
    train = pd.DataFrame({"n": [1, 2], "c": ["a", None]})
    changed = with_categories(train)(pd.DataFrame({"n": [3, 4], "c": ["b", "a"]}))
    assert changed.c.isna().tolist() == [True, False]
    assert list(changed.c.cat.categories) == ["a"]


def test_standings_rank_within_a_split_and_average_over_tables() -> None:
    ours, other = RACING["ours"], RACING["flaml"]
    answers: list[list[list[dict[str, Any]]]] = [
        [[_answer(1.0, 30)], [_answer(2.0, 60)]],
        [[_answer(1.5, 60)], [{"failed": "exit code 1"}]],
    ]
    standings = Standings.of([ours, other], ["a", "b"], answers, 60)
    assert standings.excess[:, :, 0].tolist() == [[0, 0], [0.5, 1.0]]
    text = standings.text()
    assert "1.00 [1.00, 1.00] | 0.0 [0.0, 0.0] %" in text
    assert "2.00 [2.00, 2.00] | 75.0 [50.0, 100.0] % | 100 % [100, 100]" in text
    assert "| b | **2** | failed |" in text


def test_a_peer_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(environment: str | None) -> str:
        if environment:
            raise subprocess.CalledProcessError(1, "pip")
        return "python"

    monkeypatch.setattr(competitors, "python", broken)
    found, absent = installed([RACING["ours"], RACING["flaml"], RACING["autogluon-best"]])
    assert [method.name for method in found] == ["ours"]
    assert set(absent) == {"flaml", "autogluon-best"}


def test_a_competitor_that_fails_says_why(tmp_path: Path) -> None:
    split = Split.of(_dataset(tmp_path), 0, tmp_path)
    answer = run(Method("ours", "", "nothing"), Heat("ours", "table", 0, 1), "y", split)
    assert "No module named benchmarks.peers.race.nothing" in answer["failed"]


def test_answers_are_stored_under_their_heat(tmp_path: Path) -> None:
    heat = Heat("ours", "table", 1, 60)
    Results(tmp_path, Heat, digest).add(heat, _answer(0.5, 61.5))
    assert Results(tmp_path, Heat, digest).answers[heat]["wall"] == 61.5


def test_each_competitor_has_a_program_and_requirements() -> None:
    for name, method in RACING.items():
        assert (ROOT / f"benchmarks/peers/race/{method.module}.py").is_file()
        assert digest(Heat(name, "table", 0, 1))


def test_unknown_names_are_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("name,target\ntable,y\n")
    with pytest.raises(UserError, match="unknown peer 'flam'"):
        main(["--datasets", str(tmp_path), "--tables", "table", "--peers", "flam"])
    with pytest.raises(UserError, match="unknown table 'tabel'"):
        main(["--datasets", str(tmp_path), "--tables", "tabel"])
    assert len(set(TABLES)) == 24
