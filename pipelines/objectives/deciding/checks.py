"""Checks of the options about what happens when a search is over."""

from collections.abc import Collection, Iterator

from hpo.errors import ParameterError, closest, raise_all
from pipelines.study.options import (
    ALL_ROWS,
    AUTO,
    CALIBRATIONS,
    OFF,
    ON,
    REFITS,
    Options,
    SearchOptions,
    ValidateOptions,
    most_members,
)
from pipelines.table.scores.thresholds import Threshold


def end_mistakes(options: Options, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes that show without the table; `wrong` are options that are mistakes already."""
    if "refit" not in wrong:
        yield from _refit_mistakes(options)
    if isinstance(options, SearchOptions):
        try:
            most_members(options.ensemble)
        except ParameterError as error:
            yield str(error)
    if "calibrate" not in wrong and options.calibrate not in CALIBRATIONS:
        hint = closest(options.calibrate, CALIBRATIONS)
        known = ", ".join(CALIBRATIONS)
        yield f"unknown calibrate={options.calibrate!r}{hint}; it is one of {known}"
    if "threshold" not in wrong:
        try:
            Threshold.parse(options.threshold)
        except ParameterError as error:
            yield str(error)
    if options.task in ("regression", "multiclass") and not {"calibrate", "threshold"} & set(wrong):
        yield from _task_mistakes(options.calibrate, options.threshold, options.task)


def check_decisions(calibrate: str, threshold: str, kind: str) -> None:
    """Check that a task of this kind can be calibrated and have a threshold.

    Raises:
        ParameterError: for what is for other tasks.
    """
    raise_all(ParameterError, _task_mistakes(calibrate, threshold, kind))


def _task_mistakes(calibrate: str, threshold: str, kind: str) -> Iterator[str]:
    if calibrate == ON and kind == "regression":
        yield "calibrate=on is for classes, but the task is regression; leave it out"
    if threshold not in (AUTO, OFF) and kind != "binary":
        yield f"threshold={threshold!r} is for two classes, but the task is {kind}; leave it out"


def _refit_mistakes(options: Options) -> Iterator[str]:
    if options.refit not in REFITS:
        hint = closest(options.refit, REFITS)
        yield f"unknown refit={options.refit!r}{hint}; it is one of {', '.join(REFITS)}"
    elif options.refit == ALL_ROWS and isinstance(options, ValidateOptions):
        yield (
            "refit=all trains on the test rows after the score, and validate keeps no model; take "
            "refit=off or leave it out"
        )
