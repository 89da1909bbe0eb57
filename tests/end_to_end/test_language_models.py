"""Searches in which a language model proposes, with a server of the test."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError
from pipelines.tune import tune
from tests.end_to_end import own_code
from tests.hpo.samplers.language_models import Server, completion, serving
from tests.stores import sqlite_uri

KEY = "sk-very-secret"
X = {"x": {"low": 0.0, "high": 1.0}}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri())
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(mlflow, "get_tracking_uri", sqlite_uri)
    return tmp_path


def reply(server: Server) -> tuple[int, bytes]:
    """A configuration, an invalid one, and no answer, in turns."""
    number = len(server.requests)
    if number % 3 == 0:
        return 500, KEY.encode()
    return completion(json.dumps([{"x": 0.5 + number / 100 if number % 3 == 1 else 2.0}]))


def test_valid_answers_are_tried_and_all_are_kept(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(reply) as server:
        name = f"llm:endpoint={server.url},model=small"
        result = tune(
            objective=own_code.two_goals,
            space=X,
            metric="-near",
            algorithm=name,
            trials=7,
            workers=1,
            warm_start="off",
        )
    proposed = [trial.params["x"] for trial in result.trials if trial.origin == "sampler"]
    assert {0.51, 0.54} <= set(proposed)
    assert len(result.trials) == 7
    path = MlflowClient().download_artifacts(result.run_id, "llm/from-0.jsonl", str(place))
    asked = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert [each["outcome"] for each in asked][:3] == [
        "used",
        "not in the space",
        "HTTP status 500: Internal Server Error",
    ]
    assert "own_code:two_goals, " in asked[0]["question"]
    out, err = capfd.readouterr()
    assert "answers were used, tpe for the others: " in err
    run = MlflowClient().get_run(result.run_id)
    kept = [out, err, Path(path).read_text(encoding="utf-8"), str(run.to_dictionary())]
    assert all(KEY not in text for text in kept)
    assert server.keys == [f"Bearer {KEY}"] * len(server.keys)


def test_a_model_that_cannot_be_asked_is_one_error_before_anything_runs() -> None:
    with serving(reply) as server:
        away = server.url
    for name, said in (
        ("llm", "name an OpenAI-compatible endpoint and its model"),
        (f"llm:endpoint={away},model=small", "nothing accepts a connection at http://127.0.0.1"),
    ):
        with pytest.raises(ParameterError, match=said):
            tune(objective=own_code.two_goals, space=X, metric="-near", algorithm=name, trials=3)
