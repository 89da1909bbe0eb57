import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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

import serving
from hpo.errors import ParameterError, UserError
from pipelines.models import FAMILIES, family, libraries, settings
from pipelines.registry import versions as registry
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.logged import (
    _UV_FILES,
    ANY,
    LoggedWinner,
    log_winner,
    logged_before,
    pip_requirements,
    signature,
)
from pipelines.table.data import Fold, Task
from pipelines.table.metrics import METRICS
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import LinearWeights, seal
from serving.predictor import Predictor

HEIGHT = 'height [cm] <"x">, {y}'
COLUMNS: tuple[Column, ...] = (
    NumericColumn("age"),
    NumericColumn(HEIGHT),
    CategoricalColumn("job", ("clerk", "cook"), other=True, missing=True),
    CategoricalColumn("zone", ("1", "2", "3")),
    BooleanColumn("member"),
    DateColumn("since", "ISO8601", ("year", "month", "days")),
)
FEATURES = FeatureEncoder(COLUMNS)
INCOME = TargetEncoder("binary", ("<=50K", ">50K"))
SCORE = HeldOutScore(
    "roc_auc", True, 0.8125, 0.5, data="d1", split="random, 0.2, seed 0", rows=1000
)


def raw_table(n: int = 40) -> pd.DataFrame:
    """Rows as `read_csv` returns them, with missing values and a column that no model reads."""
    rng = np.random.default_rng(7)
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "id": np.arange(n),
            HEIGHT: rng.normal(170, 10, n),
            "job": rng.choice(["clerk", "cook", "smith"], n),
            "zone": rng.integers(1, 4, n),
            "member": rng.choice([True, False], n),
            "since": days.strftime("%Y-%m-%d"),
        }
    )
    lost = [HEIGHT, "job", "since"]
    return frame.assign(**{name: frame[name].mask(frame["id"].between(3, 5)) for name in lost})


def write_predictor(directory: Path, target: TargetEncoder = INCOME) -> Path:
    """A linear model of known weights; it needs no model library."""
    rng = np.random.default_rng(1)
    p, k = len(FEATURES.numeric_names), sum(FEATURES.cardinalities)
    m = len(target.classes) if target.kind == "multiclass" else 1
    weights = LinearWeights(
        center=np.array([50.0, 170.0, 0.5, 2021.0, 6.0, 18700.0]),
        scale=np.array([20.0, 10.0, 0.5, 1.0, 4.0, 300.0]),
        cardinalities=FEATURES.cardinalities,
        coefficients=rng.normal(size=(m, 2 * p + k)),
        intercept=rng.normal(size=m),
    )
    member = directory.with_name(f"{directory.name}-member")
    member.mkdir(parents=True)
    (member / "weights.json").write_text(json.dumps(weights.to_dict()))
    seal(member, {"family": "linear", "kind": target.kind, "weights": "weights.json"})
    Predictor(FEATURES, target, ()).save(directory, [member])
    return directory


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        found = MlflowClient()
        found.create_experiment("registry", artifact_location=(directory / "artifacts").as_uri())
        yield found


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("registry")
    assert experiment is not None
    return str(client.create_run(experiment.experiment_id).info.run_id)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_predictor(tmp_path_factory.mktemp("predictor") / "income")


@pytest.fixture(scope="module")
def winner(client: MlflowClient, predictor: Path) -> LoggedWinner:
    run = client.create_run("0")
    metrics = {"test_roc_auc": 0.8125, "test_log_loss": float("inf")}
    params = {"learning_rate": 0.1}
    tags = {"hpo.trial": "abc"}
    return log_winner(
        client, run.info.run_id, predictor, raw_table(), metrics=metrics, params=params, tags=tags
    )


@pytest.fixture(scope="module")
def files(winner: LoggedWinner) -> Path:
    return Path(mlflow.artifacts.download_artifacts(winner.uri))


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
    with pytest.raises(ValueError, match="'age' must hold a number.*'old'"):
        mlflow.pyfunc.load_model(winner.uri).predict(raw_table().assign(age="old"))


def test_signature_and_example(files: Path) -> None:
    model = Model.load(str(files))
    assert model.signature is not None
    assert model.signature.inputs.required_input_names() == [
        c for c in raw_table() if c in FEATURES.inputs
    ]
    assert model.signature.inputs.optional_input_names() == ["id"]
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
    outputs = signature(FEATURES, target, list(FEATURES.inputs)).outputs.inputs
    assert outputs[0].type == (ANY if kind is None else mlflow.types.DataType[kind])
    assert len(outputs) == 1 + len(target.classes)


def test_requirements_are_pinned_and_public(files: Path, winner: LoggedWinner) -> None:
    text = (files / "requirements.txt").read_text()
    assert tuple(text.split()) == winner.requirements
    assert [line.split("==")[0] for line in text.split()] == ["mlflow", "numpy", "pandas"]
    for name in FAMILIES:
        (pinned,) = pip_requirements((name, name))[3:]
        assert pinned.startswith(libraries([name])[0].distributions)
        assert "+" not in pinned


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_files_of_a_surrounding_uv_project_stay_out(
    client: MlflowClient,
    run_id: str,
    predictor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (tmp_path / name).write_text("version = 1\n")
    monkeypatch.chdir(tmp_path)
    logged = log_winner(client, run_id, predictor, raw_table())
    found = Path(mlflow.artifacts.download_artifacts(logged.uri))
    assert not [name for name in _UV_FILES if (found / name).exists()]


def test_model_stands_under_the_run_with_its_metrics(
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


def test_nothing_is_logged_of_what_is_no_predictor(
    client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is not a predictor"):
        log_winner(client, run_id, tmp_path, raw_table())


def test_cells_without_a_form_in_json_stand_as_what_the_model_reads(
    client: MlflowClient, run_id: str, predictor: Path
) -> None:
    strange: dict[str, Any] = dict(
        age=[Decimal("31.5"), None, Decimal(40), Decimal("1e2"), Decimal("0.1")],
        job=[b"clerk", b"cook", None, b"smith", b"cook"],
        zone=pd.Categorical([3, 1, 2, None, 1]),
        since=pd.period_range("2020-02-27", periods=5),
        member=pd.array([True, None, False, True, True], dtype="boolean"),
    )
    strange[HEIGHT] = pd.to_timedelta(np.array([170, 180, np.nan, 165.5, 171]), unit="s")
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
    with pytest.raises(ValueError, match="lacks the model's column.*'age', 'job'"):
        log_winner(client, run_id, predictor, raw_table().drop(columns=["age", "job"]))


LOAD = """
import sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pandas.read_json(sys.argv[2], orient="table")
model.predict(frame).to_json(sys.argv[3], orient="table", double_precision=15)
import serving
print(serving.__file__)
"""


def load_elsewhere(
    python: Path, uri: str, directory: Path, path: str = "", before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Predict in another process, which runs in `directory` and does not see this project."""
    raw_table().to_json(directory / "rows.json", orient="table", double_precision=15)
    environment = {**os.environ, "PYTHONPATH": path}
    command = [
        str(python),
        "-c",
        before + LOAD,
        uri,
        str(directory / "rows.json"),
        str(directory / "out.json"),
    ]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def assert_predictions(directory: Path, predictor: Path) -> None:
    found = pd.read_json(directory / "out.json", orient="table")
    frame = pd.read_json(directory / "rows.json", orient="table")
    expected = Predictor.load(predictor).predict(frame)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_names=False, rtol=1e-6)


def test_loads_with_the_code_that_it_carries(files: Path, predictor: Path, tmp_path: Path) -> None:
    done = load_elsewhere(Path(sys.executable), str(files), tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1]).is_relative_to(files)
    assert_predictions(tmp_path, predictor)


def test_says_when_another_version_of_the_code_is_in_the_way(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "code" / "serving", tmp_path / "old" / "serving")
    module = tmp_path / "old" / "serving" / "predictor.py"
    module.write_text(module.read_text().replace("SCHEMA = 1\n", "SCHEMA = 0\n"))
    done = load_elsewhere(
        Path(sys.executable), str(files), tmp_path, str(tmp_path / "old"), "import serving\n"
    )
    assert done.returncode != 0
    assert "has schema 1, this version reads 0" in done.stderr


@pytest.mark.parametrize(
    "name", ["income", "income-2", "catalog.schema.model", "Einkommen über 50 K"]
)
def test_good_names(name: str) -> None:
    registry.check_model_name(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        (" a", "begins or ends with a space"),
        ("a/b:c", "contains / :"),
        ("a@champion", "contains @"),
        ("a'b", "contains '"),
        ("a\nb", "cannot be printed"),
        ("..", "a path"),
        ("x" * 251, "more than 250"),
    ],
)
def test_bad_names(name: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        registry.check_model_name(name)


def register(client: MlflowClient, winner: LoggedWinner, name: str) -> registry.Registered:
    origin = registry.Origin("study-run", "trial-run", "lightgbm", SCORE)
    return registry.register_winner(client, winner, name, origin, "# The card")


def test_registered_version_leads_back_and_tells_its_numbers(
    client: MlflowClient, winner: LoggedWinner
) -> None:
    registered = register(client, winner, "leads-back")
    found = client.get_model_version_by_alias("leads-back", "challenger")
    assert (registered.uri, int(found.version)) == ("models:/leads-back/1", 1)
    assert found.run_id == winner.run_id
    wanted = {"hpo.study": "study-run", "hpo.trial": "trial-run", "hpo.model": "lightgbm"}
    assert wanted.items() <= found.tags.items()
    assert HeldOutScore.from_tags(found.tags, "it") == SCORE
    assert found.description == "# The card"
    table = mlflow.pyfunc.load_model("models:/leads-back@challenger").predict(raw_table())
    assert len(table) == len(raw_table())


def test_registering_again_gives_the_same_version(
    client: MlflowClient, winner: LoggedWinner
) -> None:
    assert register(client, winner, "again") == register(client, winner, "again")
    links = json.loads(client.get_logged_model(winner.model_id).tags[registry.MODEL_VERSIONS])
    assert len([link for link in links if link["name"] == "again"]) == 1


def test_new_winner_is_the_new_challenger(
    client: MlflowClient, run_id: str, winner: LoggedWinner, predictor: Path
) -> None:
    register(client, winner, "newer")
    second = log_winner(client, run_id, predictor, raw_table())
    assert register(client, second, "newer").version == 2
    assert registry.aliases(client, "newer") == {"challenger": 2}


# Slow: real model libraries, fresh environments, servers.


def train(name: str, directory: Path) -> Path:
    """A small model of a family on the raw table."""
    frame = raw_table(400)
    rng = np.random.default_rng(0)
    labels = pd.Series(np.where(frame["age"] + rng.normal(0, 10, len(frame)) > 55, ">50K", "<=50K"))
    rows, y = FEATURES.transform(frame), INCOME.encode(labels)
    part = np.arange(300), np.arange(300, 400)
    task = Task("binary", 2)
    fold = Fold(
        rows.take(part[0]),
        y[part[0]],
        rows.take(part[1]),
        y[part[1]],
        task,
        INCOME,
        FEATURES.cardinalities,
    )
    chosen = settings(name)
    trial = family(name)(fold, METRICS["roc_auc"], threads=1).start(chosen.first_points[-1], seed=0)
    trial.train(chosen.budget.min)
    trial.export(directory / "member")
    Predictor(FEATURES, INCOME, ()).save(directory / "predictor", [directory / "member"])
    return directory / "predictor"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"{url} does not answer")


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start `mlflow …` with a free port; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, health: str, cwd: Path) -> str:
        url = f"http://127.0.0.1:{(port := free_port())}"
        scripts = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            "PYTHONPATH": "",
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "mlflow", *arguments, "--port", str(port)]
        process = subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True)
        started.append(process)
        wait_for(url + health, process)
        return url

    yield start
    for process in started:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_fresh_environment_made_from_the_requirements(
    name: str, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    directory = train(name, tmp_path)
    logged = log_winner(client, run_id, directory, raw_table())
    model = mlflow.artifacts.download_artifacts(logged.uri)
    environment = tmp_path / "fresh"
    subprocess.run([uv, "venv", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [uv, "pip", "install", "--python", str(python), "-r", f"{model}/requirements.txt"],
        check=True,
    )
    done = load_elsewhere(python, model, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1]).is_relative_to(model)
    assert_predictions(tmp_path, directory)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FAMILIES)
def test_served_model_answers(
    name: str, client: MlflowClient, run_id: str, tmp_path: Path, serve: Any
) -> None:
    directory = train(name, tmp_path)
    logged = log_winner(client, run_id, directory, raw_table())
    url = serve(
        "models", "serve", "-m", logged.uri, "--env-manager", "local", health="/ping", cwd=tmp_path
    )
    rows = raw_table().head(8).drop(columns="id")
    table = rows.astype(object).where(rows.notna(), None).to_dict(orient="split")
    table["data"][0] = [None] * len(table["columns"])
    body = json.dumps({"dataframe_split": table}).encode()
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request, timeout=60))["predictions"]
    sent = pd.DataFrame(table["data"], columns=table["columns"])
    expected = Predictor.load(directory).predict(sent)
    pd.testing.assert_frame_equal(pd.DataFrame(answer), expected, check_dtype=False, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_through_a_tracking_server(
    predictor: Path, tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/server.db"
    url = serve(
        "server", "--backend-store-uri", store, "--workers", "1", health="/health", cwd=tmp_path
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    remote = MlflowClient()
    run = remote.create_run("0")
    logged = log_winner(
        remote, run.info.run_id, predictor, raw_table(), metrics={"test_roc_auc": 0.8}
    )
    assert register(remote, logged, "income") == register(remote, logged, "income")
    found = mlflow.pyfunc.load_model("models:/income@challenger").predict(raw_table())
    pd.testing.assert_frame_equal(found, Predictor.load(predictor).predict(raw_table()))
    metrics = remote.get_logged_model(logged.model_id).metrics or []
    assert [(metric.key, metric.value) for metric in metrics] == [("test_roc_auc", 0.8)]


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
