"""Models that the user's code has logged in a trial.

As a program (`python -m`), this module loads one and lets it predict a table: the only place where
code of a model is run that is none of this project.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus


@dataclass(frozen=True)
class UserModel:
    """A logged model.

    Attributes:
        model_id: its id.
        run_id: of the trial.
    """

    model_id: str
    run_id: str

    @property
    def uri(self) -> str:
        """For `mlflow.pyfunc.load_model` and `mlflow models serve -m`."""
        return f"models:/{self.model_id}"


def logged_by(client: MlflowClient, run_id: str) -> UserModel | None:
    """The newest complete model that was logged in a run; None without one."""
    place = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([place], filter_string=f"source_run_id = '{run_id}'")
    ready = [model for model in found if model.status == LoggedModelStatus.READY]
    newest = max(ready, key=lambda model: model.creation_timestamp, default=None)
    return None if newest is None else UserModel(newest.model_id, run_id)


def main(uri: str, table: str, out: str) -> None:
    """Write what a model answers to a table.

    Args:
        uri: of the model.
        table: a pickled data frame that this project has written.
        out: the JSON file to write.
    """
    load: Any = mlflow.pyfunc.load_model
    answers = load(uri).predict(pd.read_pickle(table))  # noqa: S301
    Path(out).write_text(json.dumps(np.asarray(answers).tolist(), default=str), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
