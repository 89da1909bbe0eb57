"""Studies that learn from past ones, each in a process of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.end_to_end.conftest import Place

SMALL = {"max_budget": 20, "workers": 1, "seed": 3}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.made_in(tmp_path_factory.mktemp("warm"))


def study_of(output: str) -> str:
    found = re.search(r"study ([0-9a-f]{32}):", output)
    assert found, output
    return found[1]


def tuned(place: Place, **parameters: object) -> tuple[str, str]:
    code, output = place.command("tune", **(SMALL | parameters))
    assert code == 0, output
    return study_of(output), output


def trials_of(place: Place, study: str) -> list[tuple[str, dict[str, str], float]]:
    """Origin, parameters and score of each trial, by number."""
    client = MlflowClient(place.tracking_uri)
    runs = client.search_runs(
        [client.get_run(study).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{study}' AND tags.`hpo.role` = 'trial'",
    )
    ordered = sorted(runs, key=lambda run: int(run.data.tags["hpo.trial.number"]))
    return [
        (r.data.tags["hpo.trial.origin"], dict(r.data.params), r.data.metrics["roc_auc"])
        for r in ordered
    ]


@pytest.fixture(scope="module")
def past(there: Place, make_table: Callable[[int], pd.DataFrame]) -> str:
    path = there.folder / "people.csv"
    make_table(300).to_csv(path, index=False)
    study, output = tuned(there, data=path, target="income", trials=5)
    assert "warm start: no past study to learn from yet" in output
    return study


@pytest.fixture(scope="module")
def other(there: Place, make_table: Callable[[int], pd.DataFrame]) -> Path:
    path = there.folder / "others.csv"
    make_table(420).drop(columns="since").iloc[50:].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module", autouse=True)  # before any test adds a study to the past
def whole(there: Place, past: str, other: Path) -> tuple[str, str]:
    return tuned(there, data=other, target="income", trials=7)


def test_a_study_says_what_it_learns_from_and_starts_there(
    there: Place, past: str, other: Path, whole: tuple[str, str]
) -> None:
    study, output = whole
    assert "warm start: 1 past study: people.csv, income (lightgbm)" in output
    assert "fewer than 4 tables in the past, all count as equally similar" in output
    assert "warm start: start-up points are spread over what they expect to be good" in output
    trials = trials_of(there, study)
    assert [origin for origin, _, _ in trials][:3] == ["default", "tuned default", "sampler"]
    cold, _ = tuned(there, data=other, target="income", trials=7, warm_start="off")
    assert trials_of(there, cold)[:2] == trials[:2]
    assert trials_of(there, cold)[2] != trials[2]


@pytest.mark.parametrize("model", ["lightgbm", "xgboost"])
def test_what_was_best_on_the_same_table_is_tried_first(
    there: Place, past: str, model: str
) -> None:
    data = there.folder / "people.csv"
    study, output = tuned(
        there, data=data, target="income", model=model, trials=9, warm_start=past, seed=4
    )
    assert "people.csv, income (lightgbm, the same table)" in output
    trials = trials_of(there, study)
    origins = [origin for origin, _, _ in trials]
    assert origins[:4] == [
        "default",
        "tuned default",
        *[f"warm start: people.csv, income ({past[:8]})"] * 2,
    ]
    before = [params for _, params, _ in trials_of(there, past)]
    for _, params, _ in trials[2:4]:
        assert any(
            abs(float(params["learning_rate"]) / float(p["learning_rate"]) - 1) < 0.01
            for p in before
        )
    metrics = MlflowClient(there.tracking_uri).get_run(study).data.metrics
    assert 0 <= metrics["warm_start_share"] <= 1
    assert 0 <= metrics["warm_start_ahead"] <= 1
    assert re.search(
        r"warm start: the past (helped|did not help)[^:]*: this study is ahead of \d+ % after 9",
        output,
    )


def test_the_study_keeps_what_it_saw_and_how_far_it_trusted_it(
    there: Place, past: str, whole: tuple[str, str]
) -> None:
    client = MlflowClient(there.tracking_uri)
    folder = Path(client.download_artifacts(whole[0], "", str(there.folder / "artifacts")))
    (neighbour,) = json.loads((folder / "warm_start.json").read_text())["neighbours"]
    assert (neighbour["name"], neighbour["run_id"]) == ("people.csv, income", past)
    assert past in (folder / "report" / "past.csv").read_text()
    assert not neighbour["same_table"]
    curve = json.loads((folder / "warm_start_trust.json").read_text())
    assert [row["trials"] for row in curve] == list(range(1, 8))
    assert all(0 <= row["trust"] <= 1 for row in curve)


def test_the_same_past_gives_the_same_study_also_when_it_is_interrupted_and_others_end_meanwhile(
    there: Place, past: str, other: Path, whole: tuple[str, str]
) -> None:
    study, _ = tuned(there, data=other, target="income", trials=4, warm_start=past)
    tuned(there, data=other, target="income", trials=3, warm_start="off", seed=9)
    code, output = there.command("tune", study=study, trials=7, workers=1)
    assert code == 0, output
    assert trials_of(there, study) == trials_of(there, whole[0])


def test_off_is_off(there: Place, past: str, other: Path) -> None:
    study, output = tuned(there, data=other, target="income", trials=4, warm_start="off")
    assert "warm start" not in output
    assert [origin for origin, _, _ in trials_of(there, study)][2:] == ["sampler"] * 2


def test_a_source_that_does_not_exist_is_named_before_anything_is_trained(
    there: Place, past: str, other: Path
) -> None:
    code, output = there.command(
        "tune", data=other, target="income", warm_start="Defualt", trials=3, **SMALL
    )
    assert code == 2
    assert "warm_start=Defualt: 'Defualt' is neither an experiment" in output
    assert "did you mean 'Default'" in output
    assert "trial 0" not in output


def test_a_source_that_says_nothing_of_this_model_is_an_error(
    there: Place, past: str, other: Path
) -> None:
    code, output = there.command(
        "tune", data=other, target="income", warm_start=past, trials=3, model="mlp", **SMALL
    )
    assert code == 2
    assert f"names nothing to learn from: {past} (1 past study: " in output
    assert "of lightgbm, which says nothing of mlp)" in output


def test_a_space_narrowed_to_the_past(there: Place, past: str, other: Path) -> None:
    study, output = tuned(
        there, data=other, target="income", trials=4, warm_start=past, space="past"
    )
    assert re.search(r"warm start: space=past: learning_rate 0\.\d+ to 0\.\d+", output)
    before = sorted(float(params["learning_rate"]) for _, params, _ in trials_of(there, past))
    for origin, params, _ in trials_of(there, study):
        if "default" not in origin:
            assert 0.99 * before[0] <= float(params["learning_rate"]) <= 1.01 * before[-1]
