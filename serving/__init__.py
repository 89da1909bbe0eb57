"""Inference: shipped with every logged model, and independent of the rest of this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.predictor import PyfuncPredictor


def _load_pyfunc(path: str) -> PyfuncPredictor:
    """Load a logged model; `mlflow.pyfunc` calls this by name (`loader_module="serving"`)."""
    from serving.predictor import Predictor, PyfuncPredictor

    return PyfuncPredictor(Predictor.load(Path(path)))
