"""The entry point `predict`: a table in, a table out."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError, UserError
from pipelines.predict import predict
from pipelines.registry.logged import LoggedWinner
from serving.predictor import Predictor
from tests.pipelines.registry.models import raw_table


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".feather"])
def test_the_predictions_stand_beside_the_rows(
    ending: str, winner: LoggedWinner, predictor: Path, tmp_path: Path
) -> None:
    table, path = raw_table(), tmp_path / f"out{ending}"
    table.to_csv(tmp_path / "in.csv", index=False)
    result = predict(winner.uri, str(tmp_path / "in.csv"), path)
    readers: dict[str, Any] = {".parquet": pd.read_parquet, ".feather": pd.read_feather}
    found = readers.get(ending, pd.read_csv)(path)
    expected = Predictor.load(predictor).predict(table)
    assert [*found.columns] == [*table.columns, *expected.columns]
    assert found["id"].tolist() == table["id"].tolist()
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert found["probability_>50K"].tolist() == pytest.approx(expected["probability_>50K"])
    assert (result.rows, result.columns) == (len(table), tuple(expected.columns))
    assert str(path) in str(result)


def test_a_table_in_memory_keeps_its_rows(winner: LoggedWinner, tmp_path: Path) -> None:
    table = raw_table(6).set_axis([1, 1, 2, 2, 3, 3])  # not a row more for equal labels
    assert predict(winner.uri, table, tmp_path / "out.csv").rows == 6
    assert len(pd.read_csv(tmp_path / "out.csv")) == 6


def test_mistakes(winner: LoggedWinner, tmp_path: Path) -> None:
    table, output = raw_table(), tmp_path / "out.csv"
    with pytest.raises(ParameterError, match=r"out.xlsx' must end in \.csv, \.csv\.gz, \.parquet"):
        predict(winner.uri, table, "out.xlsx")
    with pytest.raises(DataError, match=r"cannot predict this table: .*age"):
        predict(winner.uri, table.drop(columns="age"), output)
    with pytest.raises(ParameterError, match="has a column 'prediction' already; rename it"):
        predict(winner.uri, table.assign(prediction=1), output)
    with pytest.raises(UserError, match="cannot be read"):
        predict("nobody@champion", table, output)
    with pytest.raises(UserError, match="cannot be written"):
        predict(winner.uri, table, tmp_path / "no" / "folder.csv")


def test_code_of_another_model_is_not_run(
    client: mlflow.MlflowClient, run_id: str, tmp_path: Path
) -> None:
    class Foreign(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
        def predict(self, context: object, model_input: list[str]) -> list[str]:
            raise AssertionError("it was run")

    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Foreign(), pip_requirements=[])
    with pytest.raises(UserError, match="is not a model of this project"):
        predict(str(tmp_path / "model"), raw_table(), tmp_path / "out.csv")
