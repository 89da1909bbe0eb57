"""The check that a challenger accepts the champion's inputs and answers in the same form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hpo.errors import counted
from pipelines.registry.gate import Check
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.numbers import PLAIN

if TYPE_CHECKING:
    from serving.predictor import Predictor

MAX_LISTED = 10  # names in a message


def schema_check(challenger: Predictor, champion: Predictor | None) -> Check:
    """Whether the challenger accepts every input of the champion and answers in the same form."""
    found = f"{counted(len(challenger.features.inputs), 'column')}, {_output(challenger)}"
    if champion is None:
        return Check("schema", found, "")
    differences = [
        *_input_differences(challenger, champion),
        *_output_differences(challenger, champion),
    ]
    rule = "takes what the champion takes, answers in the same form"
    return Check("schema", "; ".join(differences) or found, rule, not differences)


def _input_differences(challenger: Predictor, champion: Predictor) -> Iterator[str]:
    known = {column.name: column for column in champion.features.columns}
    columns = challenger.features.columns
    if new := [column.name for column in columns if column.name not in known]:
        yield f"needs what the champion does not: {_listed(new)}"
    for column in columns:
        current = known.get(column.name)
        if current is not None and not _accepts(column, current):
            yield f"reads {column.name!r} as {reading(column)}, the champion as {reading(current)}"


def _output_differences(challenger: Predictor, champion: Predictor) -> Iterator[str]:
    output, current = _output(challenger), _output(champion)
    classes, current_classes = challenger.target.classes, champion.target.classes
    if output != current:
        yield f"answers {output}, the champion {current}"
    elif set(classes) != set(current_classes):
        yield f"its classes are {_listed(classes)}, the champion's {_listed(current_classes)}"


def _accepts(column: Column, current: Column) -> bool:
    """Whether `column` can read every value that the champion's column can read."""
    if isinstance(column, CategoricalColumn):  # reads any value as a text
        return True
    if isinstance(current, CategoricalColumn) or current.dirty > column.dirty:
        return False
    if isinstance(column, DateColumn):
        return isinstance(current, DateColumn) and column.format == current.format
    if isinstance(column, NumericColumn):
        if isinstance(current, NumericColumn):
            return column.format == current.format
        return isinstance(current, BooleanColumn)
    return isinstance(current, BooleanColumn)


def reading(column: Column) -> str:
    """How a column is read, in words; columns with the same words read the same values."""
    words = type(column).__name__.removesuffix("Column").lower()
    if isinstance(column, DateColumn):
        words += f" of the form {column.format}"
    if isinstance(column, NumericColumn) and column.format != PLAIN:
        words += f" like {column.format}"
    if not isinstance(column, CategoricalColumn) and column.dirty:
        words += " (others count as missing)"
    return words


def _output(predictor: Predictor) -> str:
    target = predictor.target
    if target.kind == "regression":
        return target.kind
    return f"{target.kind}, {len(target.classes)} classes"


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(f"{name!r:.40}" for name in names[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return shown + (f" and {more} more" if more > 0 else "")
