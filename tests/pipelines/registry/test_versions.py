"""Names and versions of registered models."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError
from pipelines.registry import versions as registry
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.logged import (
    LoggedWinner,
    log_winner,
)
from tests.pipelines.registry.models import (
    SCORE,
    raw_table,
    register,
)


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


def test_a_registered_version_records_its_origin(
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
