"""A table, its target and the division of its rows, in sentences for the user."""

from hpo.errors import counted
from pipelines.table.splits import Rows
from pipelines.table.target import Target
from serving.features import FeatureEncoder


def summary(
    target: Target, features: FeatureEncoder, rows: Rows, split: str
) -> tuple[str, str, str]:
    """The table, its target and its division, a sentence each."""
    n_search, n_test = len(rows.rest), len(rows.test)
    inputs = (
        f"{n_search + n_test:,} rows; {counted(len(features.inputs), 'column')} give "
        f"{len(features.numeric_names)} numeric and {len(features.categorical_names)} categorical "
        "features"
    )
    if len(rows.folds) > 1:
        parts = f"{len(rows.folds)} folds of {n_search:,} rows"
    else:
        train, valid = rows.folds[0]
        parts = f"train {len(train):,}, validate {len(valid):,}"
    return inputs, target.describe(), f"{parts}, test {n_test:,} rows, split {split}"
