"""A dry run tells what a study would do, and leaves everything as it is."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from hpo.errors import StudyError, UserError
from hpo.trial import Report, Trial
from pipelines.store.storage import MlflowStorage
from pipelines.store.tracking import connect, experiments
from pipelines.study.dry_run import DryRun
from pipelines.study.warm_start import NO_FEATURES
from pipelines.tune import tune
from tests import stores

SPACE = {"x": {"low": 0.0, "high": 1.0}, "kind": ["a", "b"]}
RACE = {"objective": "with_budget", "algorithm": "asha", "max_budget": 9}
TABLE = pd.DataFrame({"a": [i % 7 / 4 for i in range(60)], "b": list("uvw") * 20, "y": [0, 1] * 30})


def plain(params: dict[str, Any]) -> float:
    return float(params["x"])


def with_budget(params: dict[str, Any], budget: float) -> float:
    raise AssertionError("a dry run calls nothing")


def previewed(**options: Any) -> DryRun:
    found: object = tune(dry_run=True, **options)
    assert isinstance(found, DryRun)
    return found


def runs() -> int:
    client = connect()
    ids = [str(each.experiment_id) for each in experiments(client)]
    return len(client.search_runs(ids, max_results=1_000))


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tracking store that does not exist, in an empty folder that can be listed."""
    place = tmp_path / "empty"
    place.mkdir()
    uri = f"sqlite:///{place}/sub/mlflow.db"
    monkeypatch.chdir(place)
    monkeypatch.setenv("HPO_CACHE_DIR", str(place / "cache"))
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    return place


def test_a_table_without_a_store(nothing: Path) -> None:
    found = previewed(
        data=TABLE,
        target="y",
        model="hist_gradient_boosting",
        algorithm="asha",
        checkpoints="places",
    )
    text = str(found)
    for part in (
        "60 rows; 2 columns give 1 numeric and 1 categorical",
        ", split random",
        "types: number a; category b",
        "roc_auc to maximize",
        "roc_auc of a constant prediction: 0.5 on the validation rows",
        "does not exist yet",
        "no estimate",
    ):
        assert part in text
    assert not list(nothing.iterdir())
    assert (found.neighbours, found.forecast) == ((), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"study": "abc"}, "study=abc: the tracking store .* does not exist yet"),
        ({"warm_start": "before"}, "warm_start=before: the tracking store .* does not exist yet"),
        ({"space": "auto:abc"}, "space=auto:abc: the tracking store .* does not exist yet"),
        ({"trials": 0, "seed": -1}, "(?s)2 mistakes:.*seed=-1.*trials=0"),
        ({**RACE, "checkpoints": "memory://x"}, "each process has a memory of its own"),
        ({**RACE, "checkpoints": f"{__file__}/x"}, "test_dry_run.py cannot be written"),
        ({"dry_run": "yes"}, "dry_run='yes' must be true or false"),
        ({"objective": with_budget}, "takes `budget`, so max_budget is needed"),
    ],
)
def test_mistakes_are_those_of_the_real_command(
    nothing: Path, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {
        "objective": plain,
        "space": SPACE,
        "algorithm": "random",
        "dry_run": True,
    } | options
    if given["objective"] == "with_budget":
        given["objective"] = with_budget
    if "study" in options:
        given = {"study": "abc", "dry_run": True}
    with pytest.raises(UserError, match=message):
        tune(**given)
    assert not list(nothing.iterdir())


def test_the_rungs_and_their_cost(nothing: Path) -> None:
    found = previewed(
        objective=with_budget,
        space=SPACE,
        algorithm="asha",
        max_budget=9,
        trials=90,
        warm_start="off",
    )
    assert [(rung.budget, round(90 * rung.share)) for rung in found.rungs] == [
        (1, 90),
        (3, 30),
        (9, 10),
    ]
    costs = [90 / 9, 30 * 2 / 9, 10 * 6 / 9]
    assert [90 * rung.cost for rung in found.rungs] == pytest.approx(costs)
    assert "reached by about 30 of the trials" in str(found)
    assert "past studies are not read (warm_start=off)" in str(found)


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        ({"timeout": 60}, "the search ends after 1:00 (timeout)"),
        ({"budget": "2h"}, "the search ends when the trainings have cost 2h (budget)"),
    ],
)
def test_a_search_with_a_limit_of_time_has_no_number_of_trials(
    nothing: Path, limit: dict[str, Any], line: str
) -> None:
    found = previewed(objective=with_budget, space=SPACE, algorithm="asha", max_budget=9, **limit)
    assert found.trials is None
    text = str(found)
    assert "as many trials as fit" in text
    assert "reached by about 33% of the trials, which takes 29% of the time" in text
    assert line in text
    assert "no estimate" not in text
    assert previewed(objective=plain, space=SPACE, trials=7, **limit).trials == 7
    assert previewed(objective=plain, space={"x": [1, 2, 3]}, **limit).trials == 3


def test_a_small_space_has_fewer_trials(nothing: Path) -> None:
    found = previewed(objective=plain, space={"x": [1, 2, 3]}, trials=50)
    assert found.trials == 3


def past_study() -> str:
    """A study of `plain` with six trials of two seconds each."""
    header: dict[str, Any] = {
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "direction": "minimize",
        "model": f"{__name__}:plain",
        "data": {"objective": f"{__name__}:plain"},
        "budget_unit": "budget",
        "rungs": [1.0],
        "fidelity": "budget",
        "meta_features": NO_FEATURES.to_dict(),
    }
    storage: MlflowStorage = stores.study(**header)
    for number in range(6):
        trial = Trial(number, {"x": number / 10}, 1.0)
        storage.add(trial)
        storage.update(trial.with_outcome(Report(1.0, number / 10, {"loss": number / 10}, 2.0)))
    storage.close("FINISHED")
    return storage.run_id


def test_past_studies_tell_how_long_it_takes(store: str) -> None:
    past = past_study()
    before = runs(), Path(store.removeprefix("sqlite:///")).read_bytes()
    found = previewed(objective=plain, space=SPACE, trials=30, workers=1, warm_start=past)
    assert found.neighbours == (past,)
    assert found.forecast is not None
    assert found.forecast.seconds == pytest.approx(30 * 2.0)
    assert "about 1:00 for the trials (from 1 past study)" in str(found)
    short = previewed(
        objective=plain, space=SPACE, trials=30, workers=1, warm_start=past, timeout=5.0
    )
    assert short.forecast is not None
    assert short.forecast.seconds == 5.0
    assert (runs(), Path(store.removeprefix("sqlite:///")).read_bytes()) == before


def test_a_deleted_experiment_is_told(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect()
    client.delete_experiment(client.create_experiment("deleted before the dry run"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "deleted before the dry run")
    with pytest.raises(StudyError, match="was deleted; restore it"):
        tune(objective=plain, space=SPACE, dry_run=True)


def test_workers_of_a_cluster_are_not_limited_by_the_cores_of_this_machine(store: str) -> None:
    pytest.importorskip("submitit", reason="pip install 'mlflow-warmstart[slurm]'")
    options: dict[str, Any] = {"workers": 500, "trials": 3, "warm_start": "off"}
    previewed(data=TABLE, target="y", executor="slurm", slurm={"cluster": "local"}, **options)
    with pytest.raises(UserError, match="workers=500 exceeds"):
        previewed(data=TABLE, target="y", **options)
