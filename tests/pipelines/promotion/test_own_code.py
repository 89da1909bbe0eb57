"""Models that the user's code has logged, compared on a table that the user gives."""

import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError
from pipelines.promote import promote
from pipelines.registry import own_code
from pipelines.registry.gate import PromotionRefusedError
from pipelines.registry.own_code import Rows, scorable
from pipelines.registry.versions import candidate, is_own_code
from tests.pipelines.promotion.models import Store, make_table

TABLE = make_table(300, seed=5)
NUMBERS = pd.DataFrame({"x": np.arange(60) / 7, "y": np.arange(60) / 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a model of another tool, which are never opened here."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "model.bin").write_bytes(b"0" * 2_000_000)
    return place


def answer(monkeypatch: pytest.MonkeyPatch, **by_version: Any) -> None:
    """Let versions answer from the column `x`."""

    def answers(uri: str, shown: str, frame: pd.DataFrame) -> list[Any]:
        assert "answer" not in frame.columns
        found: list[Any] = by_version[f"v{uri.rpartition('/')[2]}"](frame["x"].to_numpy())
        return found

    monkeypatch.setattr(own_code, "_answers", answers)


def labels(x: Any) -> list[str]:
    return ["yes" if value > 0 else "no" for value in x]


def register(store: Store, name: str, folder: Path, *, versions: int = 1) -> None:
    store.client.create_registered_model(name)
    for _ in range(versions):
        store.client.create_model_version(name, source=str(folder))


def test_the_first_champion_and_a_better_one(
    store: Store, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, name, folder, versions=2)
    answer(monkeypatch, v1=lambda x: [["no"], ["yes"]] * (len(x) // 2), v2=labels)
    given: dict[str, Any] = {"data": TABLE, "target": "answer", "metric": "accuracy"}
    with pytest.raises(PromotionRefusedError, match="not passed: trivial baseline"):
        promote(name, version=1, **given)
    store.client.set_registered_model_alias(name, "champion", "1")
    found = promote(name, version=2, slice="kind", **given)
    assert found.verdict is not None
    names = [check.name for check in found.verdict.checks]
    assert names[:2] == ["trivial baseline", "champion (version 1)"]
    assert "size" in names
    assert any(each.startswith("slice kind=") for each in names)
    assert store.client.get_model_version_by_alias(name, "champion").version in (2, "2")
    store.client.set_registered_model_alias(name, "champion", "1")
    with pytest.raises(PromotionRefusedError, match="not passed: size"):
        promote(name, version=2, max_size=1.0, **given)


def test_beside_a_champion_of_this_project(
    store: Store, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register(name, "useless")
    store.client.set_registered_model_alias(name, "champion", "1")
    store.client.create_model_version(name, source=str(folder))
    answer(monkeypatch, v2=lambda x: (1 / (1 + np.exp(-x))).tolist())
    given: dict[str, Any] = {"data": TABLE, "target": "answer"}
    found = promote(name, version=2, metric="roc_auc", dry_run=True, **given)
    assert found.verdict is not None
    assert not found.verdict.failed
    store.client.delete_registered_model_alias(name, "champion")
    with pytest.raises(ParameterError, match="knows its target and its metric; leave target"):
        promote(name, version=1, target="answer")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "holds out no rows: give a table that it has not seen as -P data=.*by hand"),
        ({"data": TABLE}, "and its target as -P target="),
        ({"data": TABLE, "target": "anwser"}, "has no target column 'anwser', did you mean 'answ"),
        ({"data": TABLE, "target": "answer"}, "comes from no study, .* give metric="),
        ({"data": TABLE[:20], "target": "answer", "metric": "accuracy"}, "20 rows .* are too few"),
        ({"data": TABLE, "target": "answer", "metric": "rmse"}, "'rmse' is for regression tasks"),
        ({"data": TABLE, "target": "answer", "metric": "err"}, "'err' of the objective cannot be"),
        (
            {"data": TABLE, "target": "answer", "metric": "f1", "max_latency": 5.0},
            "max_latency is not measured for a model that your own code",
        ),
    ],
)
def test_mistakes(store: Store, name: str, folder: Path, given: Any, message: str) -> None:
    register(store, name, folder)
    with pytest.raises((PromotionRefusedError, ParameterError, DataError), match=f"(?s){message}"):
        promote(name, version=1, **given)


@pytest.mark.parametrize(
    ("answers", "metric", "message"),
    [
        (labels(TABLE["x"]), "roc_auc", "answers labels, and roc_auc needs probabilities"),
        ([0.5] * 299, "roc_auc", r"answers \(299,\) values for 300 rows"),
        (
            ["maybe"] * 300,
            "accuracy",
            "neither labels nor probabilities of the classes 'no', 'yes'",
        ),
        ([2.5] * 300, "roc_auc", "neither labels nor probabilities"),
        ([[0.1, 0.2, 0.7]] * 300, "log_loss", "neither labels nor probabilities"),
    ],
)
def test_answers_that_cannot_be_scored(answers: list[Any], metric: str, message: str) -> None:
    rows = Rows.read(TABLE, "answer")
    with pytest.raises(PromotionRefusedError, match=message):
        scorable(answers, "version 1 of m", rows, rows.metric(metric))


def test_answers_as_probabilities_and_numbers() -> None:
    rows = Rows.read(TABLE, "answer")
    auc, accuracy = rows.metric("roc_auc"), rows.metric("accuracy")
    one = scorable([0.25] * 300, "m", rows, auc)
    assert one[0].tolist() == [0.75, 0.25]
    assert scorable([[0.75, 0.25]] * 300, "m", rows, auc).tolist() == one.tolist()
    assert scorable([["yes"]] * 300, "m", rows, accuracy)[0].tolist() == [0.0, 1.0]
    numbers = Rows.read(NUMBERS, "y")
    found = scorable(NUMBERS["y"].tolist(), "m", numbers, numbers.metric("rmse"))
    assert numbers.metric("rmse")(numbers.held_out.y, found) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(PromotionRefusedError, match="answers no numbers"):
        scorable(["a"] * 60, "m", numbers, numbers.metric("rmse"))


@pytest.mark.slow
def test_a_model_predicts_in_a_process_of_its_own(store: Store, name: str, tmp_path: Path) -> None:
    class Signs(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context: Any, model_input: pd.DataFrame) -> list[str]:
            import os  # of the process that loads it

            assert os.environ["DRIVER"] != str(os.getpid())
            return ["yes" if value > 0 else "no" for value in model_input["x"]]

    mlflow.pyfunc.save_model(tmp_path / "signs", python_model=Signs(), pip_requirements=[])
    store.client.create_registered_model(name)
    store.client.create_model_version(name, source=str(tmp_path / "signs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIVER", str(os.getpid()))
        found = promote(name, version=1, data=TABLE, target="answer", metric="accuracy")
    assert found.done
    store.client.delete_registered_model_alias(name, "champion")
    without = TABLE.drop(columns="x")
    with pytest.raises(PromotionRefusedError, match="cannot predict the rows: KeyError"):
        promote(name, version=1, data=without, target="answer", metric="accuracy")


def test_versions_of_this_project_are_not_own_code(store: Store, name: str) -> None:
    number = store.register(name, "good")
    assert not is_own_code(candidate(store.client, name, number))
