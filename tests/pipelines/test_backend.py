"""The configuration of MLflow's backend `hpo`."""

from typing import Any

import pytest
from mlflow.exceptions import ExecutionException
from mlflow.projects.utils import PROJECT_SYNCHRONOUS

from pipelines.cli.backend import Backend

X = {"x": {"low": 0.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("config", "params", "message"),
    [
        ({}, {}, "--backend-config is needed: a JSON file"),
        ({PROJECT_SYNCHRONOUS: True}, {"x": "1"}, "--backend-config is needed: a JSON file"),
        (
            {"space": X},
            {"x": "0.5", "n": "3"},
            "-P x=0.5: x is in the space of --backend-config, too; leave it out of one of them",
        ),
        ({"space": "space.yaml"}, {}, "must be an object of parameters"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    config: dict[str, Any], params: dict[str, str], message: str
) -> None:
    with pytest.raises(ExecutionException, match=message):
        Backend().run("nowhere", "main", params, None, config, "sqlite:///x.db", "0")
