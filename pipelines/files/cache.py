"""The cache folder: results that wait for MLflow, worker output, and checkpoints."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$HPO_CACHE_DIR`, or else `mlflow-warmstart` in the user's cache directory."""
    if given := os.environ.get("HPO_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-warmstart"
