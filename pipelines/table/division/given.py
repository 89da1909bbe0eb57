"""Tables of their own for rows that are not to be divided: test rows, and validation rows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpo.arrays import IntArray
from hpo.errors import DataError, closest, raise_all
from pipelines.table.reading import digest, with_text_names, without_index
from pipelines.table.source import DATA, TEST, VALIDATION
from pipelines.table.splits import MIN_ROWS, Rows
from pipelines.table.target import Target, with_known_target
from serving.values import as_text


@dataclass(frozen=True)
class Joined:
    """The rows of several tables as one: those that are divided first.

    Attributes:
        frame: all rows.
        parts: ascending row numbers of each other table, by `TEST` or `VALIDATION`.
        digests: of the content of each table, by these names or `DATA`; none without others.
        notes: sentences for the user.
    """

    frame: pd.DataFrame
    parts: Mapping[str, IntArray]
    digests: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def rows(self, divided: Rows) -> Rows:
        """The division of the first rows, with the rows of the other tables."""
        test = self.parts.get(TEST, divided.test)
        valid = self.parts.get(VALIDATION)
        folds = divided.folds if valid is None else ((divided.folds[0][0], valid),)
        return Rows(test, folds, divided.n_copies)

    def digest(self, table: str) -> str:
        """Identifies the content of all tables; `table` is that of the first."""
        if not self.digests:
            return table
        text = ",".join(f"{role}={each}" for role, each in sorted(self.digests.items()))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def join(
    frame: pd.DataFrame,
    found: Target,
    others: Mapping[str, pd.DataFrame],
    table: str,
    optional: Collection[str],
) -> Joined:
    """Append the rows of other tables.

    Args:
        frame: the rows that are divided, with a known target.
        found: their target.
        others: raw tables, by `TEST` or `VALIDATION`.
        table: the digest of the first table.
        optional: columns that the others need not have.

    Raises:
        DataError: for other columns or labels than those of the first table, and for few rows.
    """
    if not others:
        return Joined(frame, {}, {})
    encoder = found.encoder(np.arange(len(frame)))
    parts, digests, notes = [frame], {DATA: table}, []
    places: dict[str, IntArray] = {}
    for role, raw in others.items():
        other, note = without_index(with_text_names(raw, role))
        raise_all(DataError, _other_columns(role, frame, other, optional))
        digests[role] = digest(other)
        known, y, missing = with_known_target(encoder, other, found.name, f"{role}: the table")
        if len(known) < MIN_ROWS:
            raise DataError(
                f"{role}: {len(known)} rows with a target are too few to score a model on; at "
                f"least {MIN_ROWS} are needed"
            )
        start = sum(map(len, parts))
        places[role] = np.arange(start, start + len(known))
        labels = y if found.is_regression else np.array(encoder.classes, dtype=object)[y]
        parts.append(known.assign(**{found.name: labels}))
        notes += [f"{role}: {len(known):,} rows of a table of their own", *note, *missing]
    return Joined(_stacked(parts), places, digests, tuple(notes))


def _other_columns(
    role: str, frame: pd.DataFrame, other: pd.DataFrame, optional: Collection[str]
) -> Iterator[str]:
    """The mistakes in the columns of a table that must have those of the first one."""
    own, names = list(map(str, frame.columns)), list(map(str, other.columns))
    for name in own:
        if name not in names and name not in optional:
            yield f"{role}: the table has no column {name!r}, which data has{closest(name, names)}"
    for name in names:
        if name not in own and name not in optional:
            yield f"{role}: data has no column {name!r}, which this table has{closest(name, own)}"


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all parts, with the columns of the first one."""
    first = parts[0]
    columns = {
        name: _column([part.get(name, pd.Series(np.nan, part.index)) for part in parts])
        for name in first.columns
    }
    return pd.DataFrame(columns)


def _column(found: list[pd.Series]) -> pd.Series:
    """The values of one column in all parts."""
    dated = [pd.api.types.is_datetime64_any_dtype(series.dtype) for series in found]
    if any(dated) and not all(dated):  # one file has dates, the other writes them as text
        found = [series.map(as_text, na_action="ignore").astype(object) for series in found]
    joined = pd.concat(found, ignore_index=True)
    if isinstance(found[0].dtype, pd.CategoricalDtype):
        return joined.astype("category")
    return joined
