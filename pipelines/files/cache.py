"""Where files live that are not MLflow's: what waits for it, and what workers print."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$HPO_CACHE_DIR`, else `mlflow-warmstart` in the user's cache directory."""
    if given := os.environ.get("HPO_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-warmstart"
