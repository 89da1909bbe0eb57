from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError, StudyError
from pipelines.adopt import adopt
from pipelines.adoption.optuna import AdoptedOptuna
from pipelines.adoption.result import Adoption, Undone
from pipelines.optuna import WarmstartSampler
from pipelines.store.knowledge import past_studies
from pipelines.tune import tune
from tests import stores

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 5)
    if trial.suggest_categorical("kind", ["a", "b"]) == "a":
        x += trial.suggest_int("shift", 1, 8, step=1)
    if trial.number == 3:
        raise ArithmeticError
    return -((x - 2.5) ** 2)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('optuna')}/optuna.db"
    made = optuna.storages.get_storage(url)

    def study(name: str, n: int, **kwargs: Any) -> None:
        sampler = optuna.samplers.RandomSampler(seed=0)
        one = optuna.create_study(storage=made, study_name=name, sampler=sampler, **kwargs)
        goals = len(one.directions)
        one.optimize(
            lambda trial: objective(trial) if goals == 1 else (objective(trial), 0.0),
            n_trials=n,
            catch=ArithmeticError,
        )

    study("square", 12, direction="maximize")
    study("short", 3)
    study("front", 1, directions=["minimize", "minimize"])
    return url


@pytest.fixture
def empty_store(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store without the studies of other tests, which would be a past, too."""
    stores.empty_database(tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    return uri


def test_studies_of_a_storage_become_the_past_of_ours(empty_store: str, storage: str) -> None:
    before = Path(storage.removeprefix("sqlite:///")).read_bytes()
    seen = adopt(storage, dry_run=True)
    assert isinstance(seen, AdoptedOptuna)
    assert "nothing was written" in str(seen)
    assert not past_studies().studies
    found = adopt(storage)
    assert isinstance(found, AdoptedOptuna)
    assert "'square': 11 trials as a past study of ask:square" in str(found)
    assert "'short' is left out: 3 of its trials" in str(found)
    assert "'front' is left out: it has 2 directions" in str(found)
    (past,) = past_studies().studies
    assert (past.run_id,) == found.saved
    assert past.space["shift"].when == {"kind": ("a",)}
    assert past.losses[0] == pytest.approx(-found.studies[0][1].best_value, rel=1e-4)
    assert Path(storage.removeprefix("sqlite:///")).read_bytes() == before

    study = optuna.create_study(sampler=WarmstartSampler("square", seed=0), direction="maximize")
    study.optimize(objective, n_trials=3)
    best = past.space.decode(past.x[0])
    assert study.trials[1].params["x"] == pytest.approx(best["x"], abs=1e-3)

    again = adopt(f"{storage}#square")
    assert isinstance(again, AdoptedOptuna)
    assert again.replaced == found.saved
    with pytest.raises(StudyError, match="adopted"):
        tune(study=again.saved[0])
    undone = adopt(storage, undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == again.saved
    assert not past_studies().studies
    assert MlflowClient(empty_store).get_run(again.saved[0]).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize(
    ("experiment", "options", "message"),
    [
        ("sqlite:///nowhere.db", {}, "sqlite:///nowhere.db does not exist: nowhere.db is no file"),
        ("{}#squares", {}, "has no study 'squares', did you mean 'square'.; studies: 'front', "),
        ("{}#short", {}, "no study of .*#short can be adopted: 'short': 3 of its trials"),
        ("odd://user:secret@host/db", {}, r"odd://\S*@host/db cannot be read"),
        ("{}", {"data": "a.csv", "metric": "auc"}, "data, metric: the studies of an Optuna"),
    ],
)
def test_what_cannot_be_adopted_is_one_clear_error(
    store: str, storage: str, experiment: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message) as raised:
        adopt(experiment.format(storage), **options)
    assert "secret" not in str(raised.value)


def binary() -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=60)
    return pd.DataFrame({"x": x, "y": np.where(x > 0.1, "yes", "no")})


def test_a_study_of_a_model_on_a_table_becomes_its_past(empty_store: str, tmp_path: Path) -> None:
    url, frame = f"sqlite:///{tmp_path / 'boosting.db'}", binary()
    study = optuna.create_study(storage=url, study_name="boosters", direction="maximize")
    space = {
        "eta": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
        "leaves": optuna.distributions.IntDistribution(4, 64),
        "fold": optuna.distributions.IntDistribution(0, 3),
    }
    for i in range(8):
        params = {"eta": 0.02 * (i + 1), "leaves": 4 + i, "fold": i % 4}
        study.add_trial(
            optuna.create_trial(params=params, distributions=space, value=0.5 + 0.05 * i)
        )
    study.add_trial(
        optuna.create_trial(params=params, distributions=space, state=optuna.trial.TrialState.FAIL)
    )
    options: dict[str, Any] = {"data": frame, "target": "y"}
    with pytest.raises(ParameterError, match="means='gain' is not a metric"):
        adopt(url, metric="gain", **options)
    mapping = {"leaves": "num_leaves", "fold": None}
    found = adopt(url, metric="roc_auc", mapping=mapping, **options)
    assert isinstance(found, Adoption)
    assert "8 runs count as trials of lightgbm" in str(found)
    assert "1 not counted: failed" in str(found)
    (past,) = past_studies().studies
    assert past.run_id == found.study
    found_space = past.space.to_dict()
    assert found_space["num_leaves"]["high"] == 64
    assert found_space["learning_rate"]["low"] == 0.01
    assert past.losses.min() == pytest.approx(-0.85)
    again = adopt(url, metric="roc_auc", mapping=mapping, **options)
    assert isinstance(again, Adoption)
    assert again.replaced == (found.study,)
    undone = adopt(url, undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == (again.study,)


def test_which_study_is_of_the_table_is_to_be_said(empty_store: str, storage: str) -> None:
    options: dict[str, Any] = {"data": binary(), "target": "y", "metric": "roc_auc"}
    with pytest.raises(ParameterError, match="has 3 studies, and one of them is of the table"):
        adopt(storage, **options)
    with pytest.raises(ParameterError, match="'front' has 2 directions"):
        adopt(f"{storage}#front", **options)
    with pytest.raises(ParameterError, match="leave filter out"):
        adopt(f"{storage}#square", filter="x", **options)
