"""What the user says about columns instead of what is inferred: `types=` and `drop=`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.errors import DataError, ParameterError, closest, raise_all
from pipelines.table.cells import read
from serving.columns import BOOLEANS, KINDS
from serving.dates import ISO, dates
from serving.names import listed, normal_name
from serving.numbers import numbers
from serving.values import MISSING_MARKS, distinct, masked

DROP = "drop"
Types = str | Mapping[str, str] | None
Names = str | Sequence[str] | None
Overrides = Mapping[str, str]
"""One of `serving.columns.KINDS`, or `DROP`, by column name."""


def parse_overrides(types: Types = None, drop: Names = None) -> dict[str, str]:
    """Read the options `types` and `drop`.

    Raises:
        ParameterError: naming every mistake.
    """
    kinds = _parse_types(types)
    dropped = [normal_name(name) for name in _parse_names(drop)]
    unknown = (
        f"types: unknown type {kind!r} of column {name!r}{closest(str(kind), KINDS)}; types: "
        f"{', '.join(KINDS)}"
        for name, kind in kinds.items()
        if kind not in KINDS
    )
    both = (
        f"column {name!r} is in types and in drop; take it out of one of them"
        for name in dropped
        if name in kinds
    )
    raise_all(ParameterError, [*unknown, *both])
    return kinds | dict.fromkeys(dropped, DROP)


def as_options(overrides: Overrides) -> dict[str, str]:
    """The texts of the options `types` and `drop`, as a command line takes them."""
    kinds = {name: kind for name, kind in overrides.items() if kind != DROP}
    dropped = [name for name, kind in overrides.items() if kind == DROP]
    texts = {}
    if kinds:
        plain = ",".join(f"{name}:{kind}" for name, kind in kinds.items())
        texts["types"] = plain if _parses(plain, kinds) else json.dumps(kinds)
    if dropped:
        is_plain = not any("," in name or name[:1] in "[{" for name in dropped)
        texts[DROP] = ",".join(dropped) if is_plain else json.dumps(dropped)
    return texts


def check_overrides(frame: pd.DataFrame, overrides: Overrides, target: str) -> None:
    """Check that the columns exist and that their values fit the types.

    Raises:
        DataError: naming every mistake, with the first value that does not fit and its row.
    """
    raise_all(DataError, _mistakes(frame, overrides, target))


def _mistakes(frame: pd.DataFrame, overrides: Overrides, target: str) -> Iterator[str]:
    names = list(map(str, frame.columns))
    for name, kind in overrides.items():
        option = DROP if kind == DROP else "types"
        if name not in names:
            yield f"{option}: the table has no column {name!r}{closest(name, names)}"
        elif name == target:
            yield f"{option}: {name!r} is the target; its type is that of the task, see task="
        elif kind != DROP:
            yield from _misfit(name, frame[name], kind)


def _misfit(name: str, series: pd.Series, kind: str) -> Iterator[str]:
    try:
        column = read(name, series, kind=kind).column
        if kind == "category" or (isinstance(column, KINDS[kind]) and kind != "boolean"):
            return
        wrong = _unreadable(series, kind)
    except ValueError as error:
        yield f"types: {error}"
        return
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        yield (
            f"types: column {name!r} cannot be read as {kind}: {int(wrong.sum()):,} of "
            f"{len(series):,} values do not fit, the first is {series.iloc[row]!r} in row "
            f"{row + 1:,} (line {row + 2:,} of a file with a header); correct them, or choose "
            "another type"
        )


def _unreadable(series: pd.Series, kind: str) -> npt.NDArray[np.bool_]:
    """Whether each value is no plain value of a kind, `(n,)`."""
    if kind == "number":
        return numbers(series)[1]
    if kind == "date":
        return dates(series, ISO)[2]
    codes, texts = distinct(series)
    return masked(codes, [text not in BOOLEANS and text not in MISSING_MARKS for text in texts])


def _parse_types(types: object) -> dict[str, str]:
    if types is None:
        return {}
    if isinstance(types, str):
        types = _json(types, dict) or dict(_parse_pairs(types))
    if not isinstance(types, Mapping):
        raise ParameterError(
            f"types={types!r} must be a mapping such as {{'zip': 'category'}}, or text such as "
            "zip:category,age:number"
        )
    return {normal_name(name): kind for name, kind in types.items()}


def _parse_pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in listed(text):
        name, colon, kind = pair.rpartition(":")
        if not colon or not name.strip():
            raise ParameterError(
                f"types={text!r} must be pairs such as zip:category,age:number, but {pair!r} is "
                'none; names with commas need JSON: {"a, b": "number"}'
            )
        yield name, kind.strip()


def _parse_names(names: object) -> Sequence[object]:
    if names is None:
        return []
    if isinstance(names, str):
        return _json(names, list) or listed(names)
    if not isinstance(names, Collection) or isinstance(names, Mapping):
        raise ParameterError(f"drop={names!r} must be names of columns, or text such as id,row")
    return list(names)


def _json(text: str, kind: type) -> Any:
    """The mapping or list that a text holds as JSON; None for another text."""
    if text.strip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # or nested more deeply than Python reads
        return None
    return value if isinstance(value, kind) else None


def _parses(text: str, kinds: Mapping[str, str]) -> bool:
    try:
        return _parse_types(text) == kinds
    except ParameterError:
        return False
