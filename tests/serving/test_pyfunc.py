"""The object that `mlflow.pyfunc` calls."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from serving import _load_pyfunc
from serving.predictor import Predictor
from tests.serving.test_predictor import FEATURES, KINDS, exported, raw_table, target


def saved(tmp_path: Path, kind: str) -> str:
    member, _ = exported(tmp_path, "linear", kind)
    Predictor(FEATURES, target(kind), ()).save(tmp_path / "predictor", [member])
    return str(tmp_path / "predictor")


def test_tables_records_and_arrays_are_predicted(tmp_path: Path) -> None:
    model = _load_pyfunc(saved(tmp_path, "binary"))
    frame = raw_table(4)
    expected = model.predict(frame)
    assert isinstance(expected, pd.DataFrame)
    expected = expected.reset_index(drop=True)
    as_records = frame.to_dict("records")
    for given in (as_records, frame.to_dict("list"), frame.to_numpy()):
        found = pd.DataFrame(model.predict(given, params=None))
        pd.testing.assert_frame_equal(found, expected)
    first = pd.DataFrame(model.predict(as_records[0]))
    pd.testing.assert_frame_equal(first, expected.iloc[:1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 5)), r"shape \(rows, 3\)"),
        (raw_table(4).drop(columns="c"), "lacks 1 column.*'c'"),
        (raw_table(4).assign(x="much"), "'x' must hold a number.*'much'"),
        ("x,z,c", "a table, records or an array, but got str"),
        (None, "a table, records or an array, but got NoneType"),
    ],
)
def test_input_that_cannot_be_read_is_an_error_whose_message_a_server_answers(
    given: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(MlflowException, match=message) as refused:
        _load_pyfunc(saved(tmp_path, "binary")).predict(given)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_chooses_the_form_of_the_answers(kind: str, tmp_path: Path) -> None:
    folder, frame = saved(tmp_path, kind), raw_table(6)
    table = _load_pyfunc(folder, {"output": "table"}).predict(frame)
    found = _load_pyfunc(folder, {"output": "prediction"}).predict(frame)
    assert isinstance(table, pd.DataFrame)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, table["prediction"])


def test_an_unknown_form_of_answers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of table, prediction, but got 'labels'"):
        _load_pyfunc(saved(tmp_path, "binary"), {"output": "labels"})
