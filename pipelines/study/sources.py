"""The table of a study and the division of its rows, from the options."""

from collections.abc import Callable, Mapping
from typing import Any

from hpo.errors import ParameterError
from pipelines.study.options import AUTO, TEST_SHARE, Options
from pipelines.table.division.validation import HOLDOUT, Validation, unknown_validation
from pipelines.table.overrides import parse_overrides
from pipelines.table.roles import Roles
from pipelines.table.scores.losses import Loss
from pipelines.table.source import TEST, VALIDATION, Place, Source
from serving.names import normal_name


def source_of(options: Options, unless: str) -> Source:
    """The table of the options, and the division of its rows.

    Args:
        options: of an entry point.
        unless: the end of the message if the table or the target is missing.

    Raises:
        ParameterError: without a table or a target.
    """
    if options.data is None or options.target is None:
        raise ParameterError(f"data and target are needed{unless}")
    values = {name: read(options) for name, read in SOURCE.items()}
    return Source(data=options.data, target=options.target, **values)


def tables_of(options: Options) -> dict[str, Place]:
    """The tables beside the table of the options, by role."""
    given = {TEST: getattr(options, TEST, None)}
    if is_table(options.validation):
        given[VALIDATION] = options.validation
    return {role: place for role, place in given.items() if place is not None}


def validation_of(options: Options) -> str:
    """The text by which `Validation.parse` knows how the options validate.

    Raises:
        ParameterError: for a text that is neither a way to validate nor a table.
    """
    if options.fold is not None:
        return str(Validation(0, column=normal_name(options.fold)))
    if is_table(options.validation):
        return str(Validation(0, given=True))
    text = str(options.validation)
    if text == AUTO:
        return AUTO if options.limits_time else HOLDOUT
    if text.startswith(("cv", "holdout")):
        return str(Validation.parse(text))
    raise ParameterError(unknown_validation(text))


def _test_share(options: Options) -> float:
    return 0.0 if TEST in tables_of(options) else getattr(options, "test_share", TEST_SHARE)


SOURCE: Mapping[str, Callable[[Options], Any]] = {
    "task": lambda options: options.task,
    "split": lambda options: options.split,
    "test_share": _test_share,
    "validation": validation_of,
    "seed": lambda options: options.seed,
    "overrides": lambda options: parse_overrides(options.types, options.drop),
    "others": tables_of,
    "roles": lambda options: Roles.of(
        options.weight, options.positive, options.monotone, options.balance
    ),
    "loss": lambda options: "" if options.loss is None else str(Loss.parse(options.loss)),
}
"""By attribute of a source: how it follows from the options."""


def is_table(validation: object) -> bool:
    """Whether the option `validation` is a table, in memory or by its place."""
    if isinstance(validation, str):
        is_way = validation.startswith(("holdout:", "cv:"))
        return not is_way and any(mark in validation for mark in "./\\")
    return validation is not None


def wanted_of(source: Source) -> str:
    """The metric that the loss stands for; "" for that of the task."""
    return Loss.parse(source.loss).metric if source.loss else ""
