"""One configuration at the full budget, from trials of a race and from files."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines import entry_points
from pipelines.promote import promote
from pipelines.registry.gate import PromotionRefusedError
from pipelines.store.studies import leaderboard
from pipelines.study.result import StudyResult
from pipelines.table.scores.metrics import METRICS
from pipelines.table.source import Source
from pipelines.train import train
from pipelines.tune import tune
from tests.stores import sqlite_uri


@dataclass(frozen=True)
class Race:
    """A study of which most trials ended at the lowest rung."""

    table: Path
    study: StudyResult
    trials: tuple[str, ...]

    def left(self) -> str:
        """The run id of a trial that ended at the lowest rung."""
        number = next(t.number for t in self.study.trials if t.reached == 5)
        return self.trials[number]


@pytest.fixture(scope="module")
def race(
    tmp_path_factory: pytest.TempPathFactory, make_table: Callable[[int], pd.DataFrame]
) -> Iterator[Race]:
    folder = tmp_path_factory.mktemp("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", sqlite_uri())
        patch.setenv("HPO_CACHE_DIR", str(folder / "cache"))
        patch.setattr(mlflow, "get_tracking_uri", sqlite_uri)
        table = folder / "people.csv"
        make_table(300).to_csv(table, index=False)
        study = tune(
            table,
            "income",
            algorithm="bohb",
            trials=4,
            min_budget=5,
            max_budget=15,
            workers=1,
            trial_timeout=60,
        )
        rows = sorted(leaderboard(study.run_id), key=lambda row: row["number"])
        yield Race(table, study, tuple(row["run_id"] for row in rows))


@pytest.fixture(scope="module")
def plain(race: Race) -> StudyResult:
    """That trial, trained again."""
    return train(trial=race.left(), refit="off")


def test_a_trial_that_was_left_early_is_trained_to_the_end(race: Race, plain: StudyResult) -> None:
    (trial,) = plain.trials
    assert trial.reached == 15
    assert trial.origin == f"trial {race.left()}"
    assert "validation rows, 240" not in str(plain)


def test_the_configuration_of_a_card_is_trained_again(race: Race, tmp_path: Path) -> None:
    """The parameters in a description reproduce the model.

    It is not trained once more, for as many rounds as were best: legs decide on those, too.
    """
    found = train(trial=race.trials[-1], register="shared", refit="off")
    card = MlflowClient().get_model_version_by_alias("shared", "challenger").description or ""
    block = re.search(r"^```yaml\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    command = re.search(r"^```bash\nmlflow-warmstart train (.*)\n^```$", card, re.MULTILINE)
    assert block
    assert command
    (tmp_path / "params.yaml").write_text(block[1])
    words = shlex.split(command[1])
    options = (word.removeprefix("--").split("=", 1) for word in words)
    given = {name.replace("-", "_"): value for name, value in options}
    assert given.pop("params") == "params.yaml"
    values = {
        p.name: p.parse(given[p.name]) for p in entry_points.parameters(train) if p.name in given
    }
    again = train(params=str(tmp_path / "params.yaml"), **values)
    assert again.best_params == found.best_params
    assert again.trials[0].reached == 15
    assert again.test["roc_auc"] == pytest.approx(
        found.test["roc_auc"], abs=0.06
    )  # legs and threads differ, and there are 80 test rows


def test_on_training_and_validation_rows(race: Race, plain: StudyResult) -> None:
    found = train(trial=race.left(), register="all-rows")
    assert found.best_score == plain.best_score, "that of the model without the validation rows"
    assert found.test != plain.test
    assert "trained on training and validation rows, 240" in str(found)

    prepared = Source(str(race.table), "income").prepare()
    served = mlflow.pyfunc.load_model("models:/all-rows@challenger").predict(prepared.test_frame)
    scores = served[["probability_high", "probability_low"]].to_numpy()
    assert METRICS["roc_auc"](prepared.y_test, scores) == found.test["roc_auc"], (
        "what is scored is served"
    )
    version = MlflowClient().get_model_version_by_alias("all-rows", "challenger")
    assert float(version.tags["hpo.test.score"]) == found.test["roc_auc"]

    card = mlflow.artifacts.load_text(f"runs:/{found.run_id}/model_card.md")
    assert card == version.description, "it is short enough"
    for words in (
        f"**roc_auc {found.test['roc_auc']:.6g}** [",
        f"from: trial {race.left()}",
        "trained once more for as long on 240 training and validation rows",
        "| job, title |",
        "60 held out",
    ):
        assert words in card

    again = tune(study=found.run_id)
    assert again.model_uri == found.model_uri, "a resumed session comes to the same model"

    last = tune(study=found.run_id, refit="all", register="on-every-row")
    assert last.test == found.test, "the score is that of the model without the test rows"
    assert last.model_uri != found.model_uri
    assert "trained on all 300 rows after the score" in str(last)
    version = MlflowClient().get_model_version_by_alias("on-every-row", "challenger")
    assert version.tags["hpo.trained_on"] == "all"
    assert "once more on all 300 rows" in str(version.description)
    with pytest.raises(PromotionRefusedError, match="trained on all rows .* give new rows"):
        promote("on-every-row")
