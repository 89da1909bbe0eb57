import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from serving.columns import CategoricalColumn, NumericColumn
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.members import LinearMember, LinearWeights, TrivialMember, load_member, seal, sha256
from serving.predictor import ROWS_AT_ONCE, Predictor, Share

ROOT = Path(__file__).parents[2]

FEATURES = FeatureEncoder(
    (NumericColumn("x"), NumericColumn("z"), CategoricalColumn("c", ("a", "b"), missing=True))
)
RNG = np.random.default_rng(0)
ROWS = Matrix(
    np.where(RNG.random((200, 2)) < 0.1, np.nan, RNG.normal(size=(200, 2))),
    RNG.integers(-1, 3, size=(200, 1), dtype=np.int32),
)
KINDS = {"binary": 2, "multiclass": 3, "regression": 0}


def answers(kind: str) -> Any:
    k = KINDS[kind]
    return RNG.integers(0, k, size=200) if k else RNG.normal(size=200)


def target(kind: str) -> Any:
    classes = ("no", "yes") if kind == "binary" else ("a", "b", "c")
    return (
        TargetEncoder("regression", (), 5.0, 2.0)
        if kind == "regression"
        else TargetEncoder(kind, classes)
    )


def export_trivial(directory: Any, kind: str) -> Any:
    prediction = [0.0] if kind == "regression" else [1 / KINDS[kind]] * KINDS[kind]
    seal(directory, {"family": "trivial", "kind": kind, "prediction": prediction})
    return np.tile(prediction, (200, 1)) if KINDS[kind] else np.zeros(200)


def export_linear(directory: Any, kind: str) -> Any:
    outputs = max(1, KINDS[kind] if kind == "multiclass" else 1)
    weights = LinearWeights(
        np.zeros(2), np.ones(2), (3,), RNG.normal(size=(outputs, 7)), RNG.normal(size=outputs), 3.0
    )
    (directory / "weights.json").write_text(json.dumps(weights.to_dict()))
    seal(directory, {"family": "ridge", "kind": kind, "weights": "weights.json"})
    return LinearMember(weights, kind).predict(ROWS)


def export_lightgbm(directory: Any, kind: str) -> Any:
    objective = {"objective": kind, "verbose": -1, "num_threads": 1, "num_leaves": 4}
    objective |= {"num_class": 3} if kind == "multiclass" else {}
    data = lightgbm.Dataset(ROWS.dense(), answers(kind), categorical_feature=[2])
    booster = lightgbm.train(objective, data, 5)
    booster.save_model(directory / "model.txt")
    seal(directory, {"family": "lightgbm", "kind": kind, "model": "model.txt", "iterations": 3})
    raw = np.asarray(booster.predict(ROWS.dense(), num_iteration=3))
    return np.column_stack([1 - raw, raw]) if kind == "binary" else raw


def export_xgboost(directory: Any, kind: str) -> Any:
    names = {
        "binary": "binary:logistic",
        "multiclass": "multi:softprob",
        "regression": "reg:squarederror",
    }
    objective = {"objective": names[kind], "nthread": 1} | (
        {"num_class": 3} if kind == "multiclass" else {}
    )
    dense = ROWS.dense(np.float32)
    data = xgboost.DMatrix(
        dense, answers(kind), feature_types=["q", "q", "c"], enable_categorical=True
    )
    booster = xgboost.train(objective, data, 5)
    booster.save_model(directory / "model.ubj")
    seal(directory, {"family": "xgboost", "kind": kind, "model": "model.ubj", "iterations": 3})
    raw = booster.predict(data, iteration_range=(0, 3)).astype(np.float64)
    return np.column_stack([1 - raw, raw]) if kind == "binary" else raw


EXPORTS = {
    "trivial": export_trivial,
    "linear": export_linear,
    "lightgbm": export_lightgbm,
    "xgboost": export_xgboost,
}


def raw_table(n: Any = 200) -> Any:
    c = np.array(["a", "b", None, "unseen"], dtype=object)[np.arange(n) % 4]
    x = np.where(np.arange(n) % 7 == 0, np.nan, np.linspace(-2, 2, n))
    return pd.DataFrame({"x": x, "z": np.linspace(1, 0, n), "c": c}, index=np.arange(n) + 100)


def exported(tmp_path: Path, family: str, kind: str, name: str = "member") -> Any:
    directory = tmp_path / name
    directory.mkdir()
    return directory, EXPORTS[family](directory, kind)


@pytest.mark.parametrize("family", EXPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_member_predicts_what_was_exported(tmp_path: Path, family: str, kind: str) -> None:
    directory, expected = exported(tmp_path, family, kind)
    found = load_member(directory).predict(ROWS)
    assert found.dtype == np.float64
    assert found.shape == ((200, KINDS[kind]) if KINDS[kind] else (200,))
    np.testing.assert_array_equal(found, expected)
    if KINDS[kind]:
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("family", EXPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_predictor_takes_raw_tables(tmp_path: Path, family: str, kind: str) -> None:
    member, _ = exported(tmp_path, family, kind)
    folder = tmp_path / "predictor"
    Predictor(FEATURES, target(kind), (load_member(member),)).save(folder, [member, member])
    predictor = Predictor.load(folder)
    assert len(predictor.members) == 2
    frame = raw_table()
    found = predictor.predict(frame)
    assert found.index.equals(frame.index)
    if KINDS[kind]:
        labels = list(target(kind).classes)
        assert list(found.columns) == ["prediction", *(f"probability_{label}" for label in labels)]
        assert set(found["prediction"]) <= set(labels)
    else:
        expected = load_member(member).predict(FEATURES.transform(frame)) * 2.0 + 5.0
        np.testing.assert_allclose(found["prediction"], expected, rtol=1e-12)
    one = predictor.predict(frame.iloc[[3]])
    pd.testing.assert_frame_equal(one, found.iloc[[3]], check_exact=False, rtol=1e-6)
    assert len(predictor.predict(frame.iloc[:0])) == 0


def test_members_are_averaged() -> None:
    members = (TrivialMember(np.array([0.2, 0.8])), TrivialMember(np.array([0.6, 0.4])))
    raw = Predictor(FEATURES, target("binary"), members).predict_raw(raw_table(5))
    np.testing.assert_allclose(raw, [[0.4, 0.6]] * 5)


def test_members_of_an_ensemble_have_weights(tmp_path: Path) -> None:
    folders = []
    for i, probabilities in enumerate(([0.2, 0.8], [0.6, 0.4])):
        folders.append(tmp_path / f"member-{i}")
        folders[-1].mkdir()
        description = {"family": "trivial", "kind": "binary", "prediction": probabilities}
        seal(folders[-1], description)
    shares = (Share(0.75, 7), Share(0.25, 3))
    Predictor(FEATURES, target("binary"), ()).save(tmp_path / "predictor", folders, shares)
    predictor = Predictor.load(tmp_path / "predictor")
    assert predictor.shares == shares
    np.testing.assert_allclose(predictor.predict_raw(raw_table(5)), [[0.3, 0.7]] * 5)
    path = tmp_path / "predictor" / "predictor.json"
    for weights in ([0.5], [0.5, -0.5], [0.5, float("inf")]):
        description = json.loads(path.read_text())
        description["shares"] = [{"weight": weight, "trial": 0} for weight in weights]
        path.write_text(json.dumps(description))
        with pytest.raises(ValueError, match="each of the 2 members a weight above 0"):
            Predictor.load(tmp_path / "predictor")


def test_long_tables_are_cut_into_blocks() -> None:
    weights = LinearWeights(np.zeros(2), np.ones(2), (3,), np.ones((1, 7)), np.zeros(1))
    predictor = Predictor(FEATURES, target("regression"), (LinearMember(weights, "regression"),))
    frame = raw_table(ROWS_AT_ONCE + 3)
    whole = predictor.predict_raw(frame)
    assert len(whole) == len(frame)
    np.testing.assert_allclose(predictor.predict_raw(frame.iloc[-3:]), whole[-3:])


@pytest.mark.parametrize("family", ["linear", "lightgbm", "xgboost"])
def test_damage_is_found_before_a_parser_reads_it(tmp_path: Path, family: str) -> None:
    directory, _ = exported(tmp_path, family, "binary")
    file = next(path for path in directory.iterdir() if path.name != "member.json")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        load_member(directory)
    file.unlink()
    with pytest.raises(ValueError, match="is missing"):
        load_member(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"family": "tabm"}, "unknown family 'tabm'"),
        ({"sha256": {"../weights.json": "0"}}, "not a plain file name"),
        ({"sha256": {}}, "has no SHA-256"),
    ],
)
def test_manifests_that_cannot_be_trusted(tmp_path: Path, change: Any, message: str) -> None:
    directory, _ = exported(tmp_path, "linear", "binary")
    manifest = json.loads((directory / "member.json").read_text())
    (directory / "member.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match=message):
        load_member(directory)


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no member.json"):
        load_member(tmp_path)
    with pytest.raises(ValueError, match="it has no predictor.json"):
        Predictor.load(tmp_path)
    (tmp_path / "predictor.json").write_text('{"schema": 7}')
    with pytest.raises(ValueError, match="schema 7, this version reads 1"):
        Predictor.load(tmp_path)


def test_seal_names_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    seal(tmp_path, {"family": "trivial", "kind": "regression", "prediction": [0.0]})
    manifest = json.loads((tmp_path / "member.json").read_text())
    assert manifest["sha256"] == {"a.bin": sha256(tmp_path / "a.bin")}


def test_loading_imports_only_what_the_family_needs(tmp_path: Path) -> None:
    member, _ = exported(tmp_path, "linear", "binary")
    Predictor(FEATURES, target("binary"), ()).save(tmp_path / "predictor", [member])
    code = (
        f"import sys, serving; serving._load_pyfunc({str(tmp_path / 'predictor')!r});"
        "heavy = {'lightgbm', 'xgboost', 'torch', 'mlflow', 'sklearn', 'hpo', 'pipelines'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
