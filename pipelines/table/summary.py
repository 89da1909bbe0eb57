"""A table, its target and the division of its rows, in sentences for the user."""

from hpo.errors import counted
from pipelines.table.splits import Rows
from pipelines.table.target import Target
from serving.columns import KINDS, kind_of
from serving.features import FeatureEncoder

SHOWN_NAMES = 8  # of each type


def types(features: FeatureEncoder) -> str:
    """The types of the columns, in one sentence."""
    names: dict[str, list[str]] = {}
    for column in features.columns:
        names.setdefault(kind_of(column), []).append(column.name)
    return "types: " + "; ".join(f"{kind} {_shown(names[kind])}" for kind in KINDS if kind in names)


def _shown(names: list[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


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
