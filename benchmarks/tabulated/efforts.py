"""Which learning curves are made: tables, rows, budgets and numbers of configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.datasets import Dataset
from benchmarks.tabulated.curves import CURVES_FOLDER, PAST_FOLDER
from pipelines.table.data import Fold
from pipelines.table.shares import training_order

BUDGETS = {
    "lightgbm": (27, 81, 243, 729),
    "xgboost": (27, 81, 243, 729),
    "mlp": (30, 90, 270, 810),
}
TABLES = {
    "lightgbm": ("spambase", "german_credit", "segment", "wage_midatlantic"),
    "xgboost": ("hmda_mortgage", "eucalyptus", "garment_productivity"),
    "mlp": ("phone_churn", "wine_white"),
}
LARGE_TABLES = ("bank_marketing", "california_housing", "metro_traffic")
_PAST_TABLES = (
    "wine_white",
    "credit_card_default",
    "phone_churn",
    "kin8nm",
    "cps1988_wages",
    "bank_marketing",
    "abalone",
    "htru2_pulsar",
    "bike_hour",
    "spambase",
    "gas_turbine_nox",
    "oulad_students",
    "delta_ailerons",
    "hypothyroid",
    "ailerons",
    "sick_thyroid",
    "space_ga",
    "metro_traffic",
    "wind_ireland",
    "segment",
    "steel_energy",
    "wage_midatlantic",
    "hmda_mortgage",
    "pol_telecom",
    "ames_housing",
)
# All other tables are left for real trainings. XGBoost costs several times as much as LightGBM, the
# network even more.
PAST_TABLES = {"lightgbm": _PAST_TABLES, "xgboost": _PAST_TABLES[:24], "mlp": _PAST_TABLES[:14]}
MAX_ROWS = 20_000  # of a table that are read
MAX_TRAINING_SHARE = 0.6  # of these rows, when validation rows are taken from them as well
SEED = 0


@dataclass(frozen=True)
class Effort:
    """How much is trained for one set of curves, and to which budgets.

    Attributes:
        folder: the folder of the curves.
        tables: the tables of each model.
        rows: the maximum number of rows of a table, by model.
        uniform: how many configurations are drawn from the model's space.
        focused: how many more are drawn in each stage near the best ones.
        valid: if given, `rows` are training rows only, and this many of the other rows are
            validation rows. The fewer they are, the more of a surface is the luck of one split.
        budgets: the rungs of each model.
    """

    folder: Path
    tables: Mapping[str, Sequence[str]]
    rows: Mapping[str, int]
    uniform: Mapping[str, int]
    focused: Mapping[str, int]
    valid: int | None = None
    budgets: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: BUDGETS)

    def fold(self, model: str, dataset: Dataset) -> Fold:
        """Training and validation rows of a table."""
        if self.valid is None:
            return dataset.fold(self.rows[model])
        return self.divided(model, dataset.fold(MAX_ROWS))

    def divided(self, model: str, fold: Fold) -> Fold:
        """The training rows of a fold, divided into few to train and many to validate on."""
        order = training_order(fold, SEED)
        n = min(self.rows[model], round(MAX_TRAINING_SHARE * len(order)))
        train, valid = np.sort(order[:n]), np.sort(order[n : n + (self.valid or 0)])
        return replace(
            fold,
            train=fold.train.take(train),
            y_train=fold.y_train[train],
            valid=fold.train.take(valid),
            y_valid=fold.y_train[valid],
        )


RACES = Effort(  # few tables with many configurations, on which schedulers are replayed
    CURVES_FOLDER,
    TABLES,
    rows=dict.fromkeys(TABLES, 1_500),
    uniform={"lightgbm": 140, "xgboost": 140, "mlp": 90},
    focused={"lightgbm": 50, "xgboost": 50, "mlp": 30},
)
LARGE = Effort(  # large tables, on which a model of few rounds is better than on small ones
    CURVES_FOLDER,
    {"lightgbm": LARGE_TABLES, "xgboost": (), "mlp": ()},
    rows={"lightgbm": 20_000},
    uniform=RACES.uniform,
    focused=RACES.focused,
    budgets={"lightgbm": (9, *BUDGETS["lightgbm"])},
)
PAST = Effort(  # many tables with few configurations: the past studies of warm starts
    PAST_FOLDER,
    PAST_TABLES,
    rows={"lightgbm": 2_000, "xgboost": 2_000, "mlp": 1_500},
    uniform={"lightgbm": 100, "xgboost": 100, "mlp": 70},
    focused={"lightgbm": 20, "xgboost": 20, "mlp": 15},
    valid=4_000,
)
EFFORTS = {"races": RACES, "large": LARGE, "past": PAST}
