"""Who races, and the environments that they need."""

import subprocess
import sys
from collections.abc import Sequence

from benchmarks.environments import python
from benchmarks.methods import Method

OURS = "ours"

_RACING = (
    Method(OURS, "**tune** (this project)", "own"),
    Method(
        "autogluon-best", "AutoGluon, best", "autogluon", "autogluon", {"presets": "best_quality"}
    ),
    Method(
        "autogluon-good", "AutoGluon, good", "autogluon", "autogluon", {"presets": "good_quality"}
    ),
    Method(
        "autogluon-medium",
        "AutoGluon, medium",
        "autogluon",
        "autogluon",
        {"presets": "medium_quality"},
    ),
    Method("flaml", "FLAML AutoML", "flaml", "flaml-automl"),
    Method("optuna", "Optuna + LightGBM, a script", "optuna_lightgbm", "optuna-lightgbm"),
    Method("lightgbm", "LightGBM, default", "boosters", "boosters", {"library": "lightgbm"}),
    Method("xgboost", "XGBoost, default", "boosters", "boosters", {"library": "xgboost"}),
    Method("catboost", "CatBoost, default", "boosters", "boosters", {"library": "catboost"}),
)
RACING = {method.name: method for method in _RACING}


def installed(methods: Sequence[Method]) -> tuple[list[Method], dict[str, str]]:
    """The methods whose environment is there or can be made, and why the others cannot race."""
    found: list[Method] = []
    absent: dict[str, str] = {}
    broken: dict[str | None, str] = {}
    for method in methods:
        if method.environment not in broken:
            try:
                python(method.environment)
            except (subprocess.CalledProcessError, OSError) as error:
                broken[method.environment] = f"its environment cannot be made: {error}"
                print(f"{method.environment}: {error}", file=sys.stderr)
        if method.environment in broken:
            absent[method.name] = broken[method.environment]
        else:
            found.append(method)
    return found, absent
