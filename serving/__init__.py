"""Inference: shipped with every logged model, and independent of the rest of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.pyfunc import PyfuncPredictor


def _load_pyfunc(path: str, model_config: Mapping[str, str] | None = None) -> PyfuncPredictor:
    """Load a logged model; `mlflow.pyfunc` calls this by name (`loader_module="serving"`)."""
    from serving.predictor import Predictor
    from serving.pyfunc import PyfuncPredictor

    return PyfuncPredictor(Predictor.load(Path(path)), **(model_config or {}))
