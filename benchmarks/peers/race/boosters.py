"""LightGBM, XGBoost and CatBoost as they come: their own defaults, and no search."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.peers.race.entry import Entry, Predict, compete, with_categories

Make = Callable[[Entry, list[str]], Any]


def fit(entry: Entry) -> Predict:
    """Train one model on all rows."""
    raw, y = entry.rows(entry.train)
    transform = with_categories(raw)
    rows = transform(raw)
    names = [str(name) for name in rows.select_dtypes("category")]
    library = entry.settings["library"]
    if library == "catboost":
        transform = _as_text(transform, names)
        rows = transform(raw)
    model = _MAKE[library](entry, names).fit(rows, y)

    def predict(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        ready = transform(rows)
        answer = model.predict(ready) if entry.is_regression else model.predict_proba(ready)
        return np.asarray(answer, dtype=float)

    return predict


def _as_text(
    transform: Callable[[pd.DataFrame], pd.DataFrame], names: list[str]
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """CatBoost takes text, but no missing text."""

    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        ready = transform(frame)
        return ready.assign(**{name: ready[name].astype(object).fillna("") for name in names})

    return changed


def _lightgbm(entry: Entry, names: list[str]) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    chosen = LGBMRegressor if entry.is_regression else LGBMClassifier
    return chosen(n_jobs=entry.cores, random_state=entry.seed, verbosity=-1)


def _xgboost(entry: Entry, names: list[str]) -> Any:
    from xgboost import XGBClassifier, XGBRegressor

    chosen = XGBRegressor if entry.is_regression else XGBClassifier
    return chosen(n_jobs=entry.cores, random_state=entry.seed, enable_categorical=True)


def _catboost(entry: Entry, names: list[str]) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    chosen = CatBoostRegressor if entry.is_regression else CatBoostClassifier
    return chosen(
        thread_count=entry.cores,
        random_seed=entry.seed,
        cat_features=names,
        verbose=False,
        allow_writing_files=False,
    )


_MAKE: dict[str, Make] = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}


if __name__ == "__main__":
    compete(fit)
