import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError
from pipelines.table.data import Task, load_folds
from pipelines.table.folds import EncodedRows
from pipelines.table.reading import load_table
from pipelines.table.scores.metrics import METRICS, evaluate
from serving.columns import CategoricalColumn
from serving.features import FeatureEncoder, TargetEncoder
from tests.tables import prepare

ROOT = Path(__file__).parents[3]

N = 240


def table(n: Any = N, seed: int = 0, **columns: Any) -> Any:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "color": np.array(["red", "green", "blue", None])[rng.integers(0, 4, size=n)],
            "when": pd.date_range("2021-03-01", periods=n).strftime("%Y-%m-%d"),
            "who": [f"w{i % 24}" for i in range(n)],
            "y": rng.choice(["yes", "no"], size=n, p=[0.3, 0.7]),
        }
    )
    return frame.assign(**columns)


def cycle(*values: Any, n: Any = N) -> Any:
    return [values[i % len(values)] for i in range(n)]


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (cycle("a", "b"), Task("binary", 2)),
        (cycle(True, False), Task("binary", 2)),
        (cycle(3.5, -1.0), Task("binary", 2)),
        (pd.Categorical(cycle("a", "b", "c")), Task("multiclass", 3)),
        (cycle("a", "b", "c", "NA", "None"), Task("multiclass", 3)),
        ([f"${i:,}" for i in range(N)], Task("regression", 0)),
        (pd.Series(cycle(1.5, 2.5, 9.5)).astype("category"), Task("multiclass", 3)),
        (cycle(0, 1, 2), Task("multiclass", 3)),
        (cycle(1.0, 2.0, 3.0), Task("multiclass", 3)),
        (pd.array(cycle(1, 2, 3, None), dtype="Int64"), Task("multiclass", 3)),
        (cycle(3, 4, 5), Task("regression", 0)),
        (cycle(0, 1, 3), Task("regression", 0)),
        (cycle(*range(25)), Task("regression", 0)),
        (np.linspace(0, 1, N), Task("regression", 0)),
    ],
)
def test_the_task_is_found_from_the_target(target: Any, task: Any) -> None:
    assert prepare(table(y=target), "y").task == task


def test_the_task_can_be_given() -> None:
    frame = table(y=cycle(1, 2, 3))
    assert prepare(frame, "y", task="regression").task == Task("regression", 0)
    assert prepare(table(y=cycle(0, 1)), "y", task="regression").task == Task("regression", 0)
    assert prepare(table(y=cycle(3, 5, 9)), "y", task="multiclass").target.classes == (3, 5, 9)
    texts = prepare(table(y=cycle("1.5", "2", "NA", "7")), "y", task="regression")
    assert len(texts.frame) == N * 3 // 4


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        (cycle("a", "b", "c"), "binary", "needs a target with 2 values"),
        (cycle("a", "b"), "multiclass", "3 classes or more"),
        (cycle("1", "2", "many"), "regression", "are not numbers .the first is 'many'"),
        (["same"] * N, "auto", "constant: all 240 rows have 'same'"),
        ([1.0] * (N - 1) + [None], "auto", "constant: all 239"),
        ([None] * N, "auto", "missing in all 240 rows"),
        ([""] * N, "auto", "missing in all 240 rows"),
        ([np.inf, *range(1, N)], "auto", "1 infinite value"),
        ([1e300, *range(1, N)], "auto", "rescale"),
        ([f"name {i}" for i in range(N)], "auto", "looks like an identifier"),
        (pd.date_range("2020", periods=N), "auto", "is a date"),
        (np.arange(N) * 1j, "auto", "holds complex numbers"),
        ([[1], [2]] * (N // 2), "auto", "target .*'y' holds nested values"),
        (
            ["rare", *cycle("a", "b", n=N - 1)],
            "auto",
            "needs at least 2 rows .* 'rare' has 1; collect",
        ),
    ],
)
def test_impossible_targets(target: Any, task: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(table(y=target), "y", task=task)


def test_a_table_of_no_rows_is_told() -> None:
    with pytest.raises(DataError, match="the table has no rows"):
        prepare(table(y=cycle("a", "b")).head(0), "y")


def test_a_class_smaller_than_the_folds() -> None:
    target = ["rare"] * 3 + cycle("a", "b", n=N - 3)
    prepare(table(y=target), "y", validation="cv:3")
    with pytest.raises(DataError, match="at least 5 rows .* 'rare' has 3; .* use fewer folds"):
        prepare(table(y=target), "y", validation="cv:5")


def test_one_class_in_a_part() -> None:
    target = ["a"] * (N // 2) + ["b"] * (N // 2)
    with pytest.raises(DataError, match="only one class in the training rows of fold 0"):
        prepare(table(y=target), "y", split="time:when", validation="cv:3")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "Y"}, DataError, "did you mean 'y'"),
        ({"target": "nothing"}, DataError, "columns: number, gaps"),
        ({"task": "clasification"}, ParameterError, "unknown task"),
        ({"task": "multi"}, ParameterError, "tasks: binary, multiclass, regression"),
        ({"split": "time:wen"}, ParameterError, "did you mean 'when'"),
        ({"split": "group:y"}, ParameterError, "no column 'y'"),
        ({"validation": "cv:0"}, ParameterError, "cv:K"),
        ({"test_share": 0.9}, ParameterError, "between 0 and 0.5"),
    ],
)
def test_impossible_arguments(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        prepare(table(), **{"target": "y", **arguments})


def test_doubled_and_infinite_columns() -> None:
    frame = table()
    with pytest.raises(DataError, match="more than one column called 'gaps'"):
        prepare(frame.rename(columns={"number": "gaps"}), "y")
    for row in (0, N - 1):
        bad = table()
        bad.loc[row, "number"] = np.inf
        with pytest.raises(DataError, match="'number' holds 1 infinite value"):
            prepare(bad, "y", split="time:when")


def test_a_missing_target_is_the_same_in_a_file_and_in_a_frame(tmp_path: Path) -> None:
    frame = table(y=cycle("good", "bad", "NA"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    path = str(tmp_path / "t.csv")
    for read in (frame, pd.read_csv(path), load_table(path)):
        prepared = prepare(read, "y")
        assert prepared.target.classes == ("bad", "good")
        assert len(prepared.frame) == N * 2 // 3
    assert any("'NA' counts as missing" in note for note in prepare(frame, "y").notes)


def test_a_target_of_amounts_is_a_number() -> None:
    prepared = prepare(table(y=[f"{i},5" for i in range(N)]), "y")
    assert prepared.y[:2].tolist() == [0.5, 1.5]
    assert "target 'y': text read as numbers, '100,5' as 100.5" in prepared.notes
    new = TargetEncoder.from_dict(json.loads(json.dumps(prepared.target.to_dict())))
    assert new.original(new.encode(pd.Series(["7,5"]))).tolist() == [pytest.approx(7.5)]


def test_rows_without_a_target_are_dropped_and_counted() -> None:
    frame = table()
    frame.loc[frame.index[:7], "y"] = None
    prepared = prepare(frame, "y")
    assert len(prepared.frame) == N - 7
    assert "7 of 240 rows were dropped, they have no 'y'" in prepared.notes
    assert prepared.digest == prepare(frame, "y", seed=5).digest


@pytest.mark.parametrize("split", ["random", "time:when", "group:who"])
@pytest.mark.parametrize("validation", ["holdout", "cv:3"])
@pytest.mark.parametrize("target", [cycle("a", "b"), cycle("a", "b", "c"), np.linspace(0, 1, N)])
def test_folds_hold_what_the_table_holds(split: str, validation: str, target: Any) -> None:
    frame = table(y=target)
    prepared = prepare(frame, "y", split=split, validation=validation, seed=3)
    for fold, (train, valid) in zip(prepared.folds, prepared.rows.folds, strict=True):
        assert len(fold.train) == len(fold.y_train) == len(train)
        assert len(fold.valid) == len(fold.y_valid) == len(valid)
        number = prepared.features.numeric_names.index("number")
        assert (fold.train.numeric[:, number] == frame["number"].to_numpy()[train]).all()
        for column, cardinality in zip(fold.train.categorical.T, fold.cardinalities, strict=True):
            assert column.max() < cardinality
        truth = frame["y"].to_numpy()[valid]
        if fold.task.kind == "regression":
            assert np.allclose(fold.target.original(fold.y_valid), truth)
            assert fold.score(METRICS["rmse"], fold.y_valid + 1.0) == pytest.approx(
                fold.target.scale
            )
        else:
            assert (np.array(fold.target.classes)[fold.y_valid] == truth).all()
    assert len(prepared.test_frame) == len(prepared.y_test) == len(prepared.rows.test)
    assert "y" not in prepared.test_frame
    assert list(prepared.example.columns) == list(prepared.features.inputs)


def test_regression_is_standardised_over_the_rows_that_the_search_sees() -> None:
    prepared = prepare(table(y=np.arange(N) * 10.0), "y", split="time:when")
    fold = prepared.folds[0]
    seen = np.concatenate([fold.y_train, fold.y_valid])
    assert seen.mean() == pytest.approx(0)
    assert seen.std() == pytest.approx(1)
    assert evaluate("regression", prepared.y_test, prepared.y_test)["rmse"] == 0


def test_levels_of_the_test_rows_alone_are_unknown() -> None:
    frame = table()
    frame.loc[frame.index[-10:], "color"] = "violet"
    features = prepare(frame, "y", split="time:when").features
    color = next(column for column in features.columns if isinstance(column, CategoricalColumn))
    assert color.name == "color"
    assert "violet" not in color.levels


def test_an_odd_entry_in_the_test_rows_alone_is_tolerated() -> None:
    frame = table(text=[f"{i % 37}.5" for i in range(N)], flag=cycle("true", "false"))
    frame.loc[N - 1, ["text", "flag", "when"]] = ["broken", "perhaps", "2021-13-45"]
    frame.loc[N - 1, "number"] = np.nan
    prepared = prepare(frame.assign(order=np.arange(N)), "y", split="time:order")
    matrix = prepared.features.transform(prepared.test_frame)
    names = prepared.features.numeric_names
    assert np.isnan(
        matrix.numeric[-1, [names.index("text"), names.index("flag"), names.index("when.days")]]
    ).all()


def test_the_group_is_no_feature_and_the_time_stays() -> None:
    grouped = prepare(table(), "y", split="group:who")
    assert "who" not in grouped.features.inputs
    assert any(note.startswith("who: not used as a feature") for note in grouped.notes)
    assert "step" in prepare(table(step=np.arange(N)), "y", split="time:step").features.inputs
    assert "step" not in prepare(table(step=np.arange(N)), "y").features.inputs


def test_any_column_names() -> None:
    odd = {"number": 3, "gaps": 'a "quoted", [odd] <name>', "color": " spaced ", "who": "emoji 🎈"}
    prepared = prepare(table().rename(columns=odd), "y")
    assert {"3", 'a "quoted", [odd] <name>', "spaced", "emoji 🎈"} <= set(prepared.features.inputs)


def test_saved_folds_are_mapped_and_equal(tmp_path: Path) -> None:
    prepared = prepare(table(), "y", validation="cv:3", seed=9)
    prepared.save(tmp_path / "data")
    loaded = load_folds(tmp_path / "data")
    for mine, theirs in zip(prepared.folds, loaded, strict=True):
        assert isinstance(theirs.train.numeric, np.memmap)
        assert not theirs.train.numeric.flags.writeable
        np.testing.assert_array_equal(mine.train.numeric, theirs.train.numeric)
        np.testing.assert_array_equal(mine.valid.categorical, theirs.valid.categorical)
        np.testing.assert_array_equal(mine.y_valid, theirs.y_valid)
        assert (mine.task, mine.target, mine.cardinalities, mine.index) == (
            theirs.task,
            theirs.target,
            theirs.cardinalities,
            theirs.index,
        )


@pytest.mark.parametrize("largest", [1.0, 5e307])
def test_all_rows_of_a_saved_fold_are_not_copied(tmp_path: Path, largest: float) -> None:
    frame = table()
    prepared = prepare(frame.assign(number=np.sign(frame["number"]) * largest), "y")
    prepared.save(tmp_path)
    (mine,), (theirs,) = prepared.folds, load_folds(tmp_path)
    is_stored = largest < 1e300  # LightGBM gets larger numbers clipped
    for one, other in ((mine, theirs), (mine.whole(), theirs.whole())):
        for part in ("train", "valid"):
            expected, found = getattr(one, part), getattr(other, part)
            np.testing.assert_array_equal(found.numeric, expected.numeric)
            np.testing.assert_array_equal(found.categorical, expected.categorical)
            np.testing.assert_array_equal(found.readable, expected.dense())
            assert (found.joined is not None) == is_stored
    twice = theirs.whole(EncodedRows(theirs.valid, theirs.y_valid)).train
    np.testing.assert_array_equal(twice.numeric[-len(mine.valid) :], mine.valid.numeric)


@pytest.mark.parametrize("columns", [["number"], ["color"]])
def test_folds_without_one_kind_of_column_survive_saving(tmp_path: Path, columns: Any) -> None:
    prepared = prepare(table()[[*columns, "y"]], "y")
    prepared.save(tmp_path)
    assert load_folds(tmp_path)[0].train.dense().shape == (len(prepared.folds[0].train), 1)


def test_folds_of_another_schema(tmp_path: Path) -> None:
    prepare(table(), "y").save(tmp_path)
    description = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps({**description, "schema": 99}))
    with pytest.raises(DataError, match="schema 99"):
        load_folds(tmp_path)


def test_the_same_seed_gives_the_same_split_in_another_process() -> None:
    code = (
        "import pandas as pd; from pipelines.table.source import Source;"
        "frame = pd.DataFrame({'x': [i * 0.5 for i in range(60)], 'y': ['a', 'b', 'b'] * 20});"
        "p = Source(frame, 'y', seed=4).prepare(); print(p.digest, p.rows.digest)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    }
    frame = pd.DataFrame({"x": [i * 0.5 for i in range(60)], "y": ["a", "b", "b"] * 20})
    prepared = prepare(frame, "y", seed=4)
    assert {output.decode().strip() for output in outputs} == {
        f"{prepared.digest} {prepared.rows.digest}"
    }


def test_the_encoder_survives_json() -> None:
    features = prepare(table(), "y").features
    assert FeatureEncoder.from_dict(json.loads(json.dumps(features.to_dict()))) == features


def test_the_notes_say_what_was_found() -> None:
    notes = prepare(table(junk=["x"] * N), "y").notes
    assert notes[0].startswith("240 rows; 5 columns give")
    assert notes[1].startswith("target 'y': binary, 2 classes ('no'")
    assert notes[1].endswith("), 'yes' counts as positive")
    assert notes[2] == "train 154, validate 38, test 48 rows, split random"
    assert "junk: dropped, constant" in notes
