"""Winners as MLflow models."""

import csv
import json
import shutil
import sys
from decimal import Decimal
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import invocations
from mlflow.utils import requirements_utils

import serving
from hpo.errors import UserError
from pipelines.models import FAMILIES, libraries
from pipelines.registry.logged import (
    _MODULES,
    _UV_FILES,
    ANY,
    LoggedWinner,
    log_winner,
    logged_before,
    pip_requirements,
    signature,
)
from serving.features import TargetEncoder
from serving.predictor import Predictor
from tests.pipelines.registry.models import (
    FEATURES,
    HEIGHT,
    INCOME,
    assert_predictions,
    load_elsewhere,
    raw_table,
    write_predictor,
)


def variants() -> dict[str, pd.DataFrame]:
    """The same rows, or legitimate ones, as other readers, portions and callers give them."""
    frame = raw_table()
    one = {"age": None, HEIGHT: None, "job": None, "zone": None, "member": None, "since": None}
    return {
        "as it was": frame,
        "first row": frame.head(1),
        "no rows": frame.head(0),
        "shuffled columns": frame[list(frame.columns[::-1])],
        "only the model's columns": frame[list(FEATURES.inputs)],
        "target and more": frame.assign(income=">50K", more=1),
        "another index": frame.set_index(pd.Index([f"row {i}" for i in range(len(frame))])),
        "whole numbers as floats": frame.astype({"age": "float64", "zone": "float64"}),
        "missing whole numbers": frame.assign(age=frame["age"].where(frame["age"] > 40)),
        "floats as whole numbers": frame.assign(**{HEIGHT: 170}),
        "small types": frame.astype({"age": "int8", HEIGHT: "float32", "zone": "uint8"}),
        "objects": frame.astype(object),
        "categories": frame.astype({"job": "category", "zone": "category"}),
        "nullable types": frame.convert_dtypes(),
        "texts": frame.assign(zone=frame["zone"].astype(str), member=frame["member"].astype(str)),
        "flags as numbers": frame.assign(member=frame["member"].astype(int)),
        "missing flags": frame.assign(member=pd.Series([None, True] * 20, dtype=object)),
        "dates": frame.assign(since=pd.to_datetime(frame["since"])),
        "dates with a zone": frame.assign(since=pd.to_datetime(frame["since"], utc=True)),
        "unseen levels": frame.assign(job="astronaut", zone=99),
        "all missing as objects": pd.DataFrame([one, one]),
        "all missing as floats": pd.DataFrame([one, one]).astype("float64"),
    }


@pytest.mark.parametrize("variant", variants())
def test_loaded_model_predicts_exactly_as_the_predictor(
    variant: str, winner: LoggedWinner, predictor: Path
) -> None:
    frame = variants()[variant]
    loaded = mlflow.pyfunc.load_model(winner.uri)
    pd.testing.assert_frame_equal(loaded.predict(frame), Predictor.load(predictor).predict(frame))


def test_missing_column_is_named(winner: LoggedWinner) -> None:
    with pytest.raises(MlflowException, match="age"):
        mlflow.pyfunc.load_model(winner.uri).predict(raw_table().drop(columns="age"))


def test_unreadable_value_is_named(winner: LoggedWinner) -> None:
    with pytest.raises(MlflowException, match="'age' must hold a number.*'old'"):
        mlflow.pyfunc.load_model(winner.uri).predict(raw_table().assign(age="old"))


def test_signature_and_example(files: Path) -> None:
    model = Model.load(str(files))
    assert model.signature is not None
    assert model.signature.inputs is None, "with declared inputs a server refuses CSV or values"
    assert [(c.name, c.type.name) for c in model.signature.outputs.inputs] == [
        ("prediction", "string"),
        ("probability_<=50K", "double"),
        ("probability_>50K", "double"),
    ]
    example = model.load_input_example(str(files))
    assert isinstance(example, pd.DataFrame)
    pd.testing.assert_frame_equal(example, raw_table().head(5), check_dtype=False)
    assert (model.metadata or {})["columns"]["since"] == "date"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (TargetEncoder("regression", mean=3.0, scale=2.0), "double"),
        (TargetEncoder("multiclass", (1, 2, 3)), "long"),
        (TargetEncoder("binary", (False, True)), "boolean"),
        (TargetEncoder("multiclass", (1, "x", 2.5)), None),
    ],
)
def test_output_types_follow_the_labels(target: TargetEncoder, kind: str | None) -> None:
    outputs = signature(FEATURES, target).outputs.inputs
    assert outputs[0].type == (ANY if kind is None else mlflow.types.DataType[kind])
    assert len(outputs) == 1 + len(target.classes)


def test_requirements_are_pinned_and_public(files: Path, winner: LoggedWinner) -> None:
    text = (files / "requirements.txt").read_text()
    assert tuple(text.split()) == winner.requirements
    assert [line.split("==")[0] for line in text.split()] == ["mlflow", "numpy", "pandas"]
    for name in FAMILIES:
        for pinned, library in zip(
            pip_requirements((name, name))[3:], libraries([name]), strict=True
        ):
            assert pinned.startswith(library.distributions)
            assert "+" not in pinned


def test_missing_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        if name == "lightgbm":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(UserError, match="lightgbm is not installed"):
        pip_requirements(("lightgbm",))


def test_model_holds_code_and_no_pickle(files: Path) -> None:
    names = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    code = {
        f"code/serving/{path.name}" for path in Path(serving.__file__ or "").parent.glob("*.py")
    }
    assert code <= names
    assert not [
        name for name in names if Path(name).suffix in (".pkl", ".pickle", ".joblib", ".pyc")
    ]


def test_files_of_other_projects_and_packages_are_not_read(
    client: MlflowClient,
    run_id: str,
    predictor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (tmp_path / name).write_text("version = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(requirements_utils, _MODULES, None)
    monkeypatch.setattr("importlib_metadata.packages_distributions", None)
    logged = log_winner(client, run_id, predictor, raw_table())
    assert getattr(requirements_utils, _MODULES) is None  # read when somebody else needs them
    found = Path(mlflow.artifacts.download_artifacts(logged.uri))
    assert not [name for name in _UV_FILES if (found / name).exists()]


def test_a_model_belongs_to_its_run_and_has_metrics(
    client: MlflowClient, winner: LoggedWinner
) -> None:
    assert mlflow.active_run() is None
    model = client.get_logged_model(winner.model_id)
    assert (model.status, model.source_run_id) == (LoggedModelStatus.READY, winner.run_id)
    assert {metric.key: metric.value for metric in model.metrics or ()} == {"test_roc_auc": 0.8125}
    assert (model.params, model.tags["hpo.trial"]) == ({"learning_rate": "0.1"}, "abc")
    run = client.get_run(winner.run_id)
    assert run.data.metrics == {"test_roc_auc": 0.8125}
    assert run.outputs is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [winner.model_id]
    assert run.info.status == "RUNNING"


def test_failed_upload_leaves_a_failed_model(
    client: MlflowClient, run_id: str, predictor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model_id: str, local_dir: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client, "log_model_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        log_winner(client, run_id, predictor, raw_table())
    experiment = client.get_run(run_id).info.experiment_id
    (model,) = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    assert model.status == LoggedModelStatus.FAILED


def test_a_folder_without_a_predictor_is_an_error(
    client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is not a predictor"):
        log_winner(client, run_id, tmp_path, raw_table())


def test_values_that_json_cannot_hold_become_texts(
    client: MlflowClient, run_id: str, predictor: Path
) -> None:
    strange: dict[str, Any] = dict(
        age=[Decimal("31.5"), None, Decimal(40), Decimal("1e2"), Decimal("0.1")],
        job=[b"clerk", b"cook", None, b"smith", b"cook"],
        zone=pd.Categorical([3, 1, 2, None, 1]),
        since=pd.period_range("2020-02-27", periods=5),
        member=pd.array([True, None, False, True, True], dtype="boolean"),
    )
    frame = raw_table(5).assign(**strange)
    frame["id"] = pd.cut(frame["id"], 2)
    model = mlflow.pyfunc.load_model(log_winner(client, run_id, predictor, frame).uri)
    example = model.input_example
    assert example is not None
    assert example["age"].tolist()[::2] == ["31.5", "40", "0.1"]
    assert example["job"].tolist()[:2] == ["clerk", "cook"]
    expected = Predictor.load(predictor).predict(frame)
    pd.testing.assert_frame_equal(model.predict(example), expected)


def test_example_must_have_the_models_columns(
    client: MlflowClient, run_id: str, predictor: Path
) -> None:
    with pytest.raises(ValueError, match="lacks columns of the model: 'age', 'job'"):
        log_winner(client, run_id, predictor, raw_table().drop(columns=["age", "job"]))


def test_a_model_loads_with_its_own_code(files: Path, predictor: Path, tmp_path: Path) -> None:
    done = load_elsewhere(Path(sys.executable), str(files), tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1]).is_relative_to(files)
    assert_predictions(tmp_path, predictor)


def test_another_version_of_the_code_is_an_error(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "code" / "serving", tmp_path / "old" / "serving")
    module = tmp_path / "old" / "serving" / "predictor.py"
    module.write_text(module.read_text().replace("SCHEMA = 1\n", "SCHEMA = 0\n"))
    done = load_elsewhere(
        Path(sys.executable), str(files), tmp_path, str(tmp_path / "old"), "import serving\n"
    )
    assert done.returncode != 0
    assert "has schema 1, this version reads 0" in done.stderr


def test_a_model_of_an_earlier_session_is_found_again(
    client: MlflowClient, run_id: str, predictor: Path, tmp_path: Path
) -> None:
    assert logged_before(client, run_id, predictor) is None
    logged = log_winner(client, run_id, predictor, raw_table())
    copy = shutil.copytree(predictor, tmp_path / "copy")
    found = logged_before(client, run_id, copy)
    assert found is not None
    assert found.uri == logged.uri
    assert found.artifact_location == logged.artifact_location
    other = client.create_run("0").info.run_id
    assert logged_before(client, other, predictor) is None
    member = next(copy.rglob("member.json"))
    member.write_bytes(member.read_bytes() + b" ")
    assert logged_before(client, run_id, copy) is None, "what was scored is another object"


CSV, JSON, PARQUET = "text/csv", "application/json", "application/vnd.apache.parquet"


def requests() -> dict[str, tuple[str, str | bytes]]:
    """The rows of `raw_table` as bodies of requests, by the form that MLflow calls it."""
    frame = raw_table()
    plain = frame.astype(object).where(frame.notna(), None)
    records, columns = plain.to_dict("records"), plain.to_dict("list")
    rows = {"columns": [*columns], "data": [[*record.values()] for record in records]}
    return {
        "csv": (CSV, frame.to_csv(index=False)),
        "csv with an index": (CSV, frame.to_csv()),
        "csv of texts": (CSV, frame.to_csv(index=False, quoting=csv.QUOTE_ALL)),
        "parquet": (PARQUET, frame.to_parquet()),
        "records": (JSON, _json({"dataframe_records": records})),
        "split": (JSON, _json({"dataframe_split": rows})),
        "inputs as records": (JSON, _json({"inputs": records})),
        "inputs as columns": (JSON, _json({"inputs": columns})),
        "instances": (JSON, _json({"instances": records})),
    }


def _json(value: object) -> str:
    return json.dumps(value, default=lambda cell: cell.item())


def answer(winner: LoggedWinner, content: str, body: str | bytes, **config: str) -> Any:
    """The predictions that MLflow's server answers."""
    model = mlflow.pyfunc.load_model(winner.uri, model_config=config)
    schema = model.metadata.get_input_schema()
    answered = invocations(body, content, model, schema)  # type: ignore[no-untyped-call]
    return json.loads(answered.response)["predictions"]


@pytest.mark.parametrize("form", requests())
def test_a_server_answers_every_form_of_a_request_alike(
    form: str, winner: LoggedWinner, predictor: Path
) -> None:
    found = pd.DataFrame(answer(winner, *requests()[form]))
    expected = Predictor.load(predictor).predict(raw_table())
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (raw_table().drop(columns="age"), "lacks 1 column.*'age'"),
        (raw_table().assign(age="old"), "'age' must hold a number.*'old'"),
    ],
)
def test_a_server_says_what_is_wrong_with_a_request(
    rows: pd.DataFrame, message: str, winner: LoggedWinner
) -> None:
    for content, body in ((CSV, rows.to_csv(index=False)), (PARQUET, rows.to_parquet())):
        with pytest.raises(MlflowException, match=message):
            answer(winner, content, body)


TARGETS = {
    "binary": INCOME,
    "multiclass": TargetEncoder("multiclass", (1, 2, 3)),
    "regression": TargetEncoder("regression", mean=3.0, scale=2.0),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_mlflow_evaluates_a_logged_model_as_it_is(
    kind: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS[kind]
    run = client.create_run("0").info.run_id
    folder = write_predictor(tmp_path / kind, target)
    logged = log_winner(client, run, folder, raw_table())
    frame = raw_table()
    known = Predictor.load(folder).predict(frame)["prediction"].tolist()
    wrong = 4  # rows
    shifted = [*known[wrong:], *known[:wrong]] if kind == "regression" else known
    if kind != "regression":
        others = {label: target.classes[i - 1] for i, label in enumerate(target.classes)}
        shifted = [others[label] for label in known[:wrong]] + known[wrong:]
    found = mlflow.models.evaluate(  # type: ignore[no-untyped-call]
        logged.uri,
        frame.assign(income=shifted),
        targets="income",
        model_type="regressor" if kind == "regression" else "classifier",
        model_config={"output": "prediction"},
        evaluator_config={"log_model_explainability": False},
    ).metrics
    if kind == "regression":
        errors = np.abs(np.subtract(shifted, known))
        assert found["mean_absolute_error"] == pytest.approx(errors.mean())
    else:
        assert found["accuracy_score"] == 1 - wrong / len(frame)
