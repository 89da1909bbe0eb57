"""The object that `mlflow.pyfunc` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.predictor import Predictor

TABLE, PREDICTION = "table", "prediction"
OUTPUTS = (TABLE, PREDICTION)
CONFIGURATION = {"output": TABLE}
"""The configuration of a logged model; `mlflow.pyfunc.load_model(…, model_config=…)` changes it."""


@dataclass(frozen=True)
class PyfuncPredictor:
    """A predictor, and the form of its answers.

    Attributes:
        predictor: that answers.
        output: "table" for the columns of `Predictor.predict`; "prediction" for an array of labels
            or values, which `mlflow.models.evaluate` understands.
    """

    predictor: Predictor
    output: str = TABLE

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            ValueError: for an unknown form of answers.
        """
        if self.output not in OUTPUTS:
            raise ValueError(
                f"output of the model's configuration must be one of {', '.join(OUTPUTS)}, but got "
                f"{self.output!r}"
            )

    def predict(
        self, model_input: object, params: Mapping[str, object] | None = None
    ) -> pd.DataFrame | npt.NDArray[Any]:
        """Predict a table, records, or an array with the columns of training in their order.

        Raises:
            MlflowException: for input that the model cannot read. MLflow's server answers its
                message; of other exceptions it answers none.
        """
        try:
            frame = _as_frame(model_input, self.predictor.features.inputs)
            answers = self.predictor.predict(frame)
        except ValueError as error:
            from mlflow.exceptions import MlflowException  # loaded by MLflow, which it calls

            raise MlflowException.invalid_parameter_value(str(error)) from error
        return answers if self.output == TABLE else answers["prediction"].to_numpy()


def _as_frame(model_input: object, names: Sequence[str]) -> pd.DataFrame:
    if isinstance(model_input, pd.DataFrame):
        return model_input
    if isinstance(model_input, np.ndarray):
        if model_input.ndim != 2 or model_input.shape[1] != len(names):
            raise ValueError(
                f"an array must have shape (rows, {len(names)}), but got {model_input.shape}; send "
                "a table with column names instead"
            )
        return pd.DataFrame(model_input, columns=list(names))
    if isinstance(model_input, Mapping) and not any(map(np.ndim, model_input.values())):
        return pd.DataFrame([model_input])  # a single record
    if isinstance(model_input, Mapping | Sequence) and not isinstance(model_input, str | bytes):
        return pd.DataFrame(model_input)
    raise ValueError(
        "the model predicts a table, records or an array, but got "
        f"{type(model_input).__name__}; send the rows as a pandas.DataFrame"
    )
