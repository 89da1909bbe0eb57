"""Code that a store names runs on its own word only where nobody else can write."""

import sys

import mlflow
import pytest

from hpo.errors import StudyError
from pipelines.objectives.code import kinds
from pipelines.objectives.code.kinds import must_be_given
from pipelines.tune import tune

COMMAND = f"cmd:{sys.executable} -c 'print({{x}})'"


@pytest.mark.parametrize(
    ("uri", "shared"),
    [
        ("sqlite:///mlflow.db", False),
        ("file:///home/me/mlruns", False),
        ("mlruns", False),
        ("http://tracking:5000", True),
        ("https://tracking", True),
        ("postgresql+psycopg://me@host/mlflow", True),
        ("databricks://team", True),
    ],
)
def test_commands_and_projects_of_a_shared_store(
    uri: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    assert must_be_given("cmd:./train.sh {x}") is shared
    assert must_be_given("project:https://example.org/code#main") is shared
    assert must_be_given(" cmd:./train.sh {x}") is shared, "as it is read when it is resumed"
    assert not must_be_given("my.package:train")


def test_a_resumed_command_is_given_again(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began = tune(objective=COMMAND, space={"x": [1, 2, 3, 4]}, metric="-err", trials=1, workers=1)
    assert began.given_again == {}
    monkeypatch.setattr(kinds, "is_shared", lambda: True)
    with pytest.raises(StudyError, match="Whoever may write to the tracking server may have") as e:
        tune(study=began.run_id, trials=2)
    assert f"tune --study={began.run_id} --objective='cmd:" in str(e.value)
    resumed = tune(study=began.run_id, trials=2, objective=COMMAND)
    assert len(resumed.trials) == 2
    assert resumed.given_again == {"objective": COMMAND}
    assert "--objective='cmd:" in str(resumed)
