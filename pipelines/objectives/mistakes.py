"""All mistakes at once: those in the options, in the space and in the table of a new study."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeGuard

import fsspec
import pandas as pd

from hpo.errors import Mistakes, ParameterError, UserError, closest, raise_all
from pipelines.objectives.checks import check, value_mistakes
from pipelines.objectives.deciding.checks import check_decisions
from pipelines.objectives.scoring.goals import goals_of, metric_names
from pipelines.study.options import AUTO, Options
from pipelines.study.sources import SOURCE, wanted_of
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.named import is_beside, is_metric
from pipelines.table.source import Place, Source
from serving.names import normal_name

SMALL = 1 << 26  # bytes of a file that is read although something else is wrong


def check_all(options: Options) -> None:
    """Check the options, and the table if one of them is a mistake.

    Raises:
        UserError: naming every mistake.
    """
    with every_mistake(options):
        check(options)


@contextmanager
def every_mistake(options: Options) -> Iterator[None]:
    """Add to a `UserError` of the block whatever else is wrong with the options and the table."""
    try:
        yield
    except UserError as error:
        found = Mistakes()
        with found:
            check(options)
        found.add(error)
        if not options.takes_up and getattr(options, "objective", None) is None:
            with found:
                _check_table(options)
        found.raise_all()


def _check_table(options: Options) -> None:
    """Check the table and the metrics, leaving out the options that are mistakes themselves.

    Raises:
        UserError: naming every mistake.
    """
    source, found = _readable_source(options), Mistakes()
    if source is None or not all(map(_is_small, (source.data, *source.others.values()))):
        raise_all(ParameterError, _unknown_metrics(options))
        return
    with found:
        source.prepare()
    with found:
        _check_target(options, source)
    found.raise_all()


def _readable_source(options: Options) -> Source | None:
    """The table; None if itself or the target is a mistake."""
    wrong = value_mistakes(options)
    values: dict[str, Any] = {}
    for name, part in SOURCE.items():
        if name not in wrong:
            with suppress(UserError):
                values[name] = part(options)
    data, target = options.data, options.target
    if not isinstance(target, str | int) or not _is_place(data):
        return None
    if not all(map(_is_place, values.get("others", {}).values())):
        return None
    return Source(data=data, target=target, **values)


def _is_place(table: object) -> TypeGuard[Place]:
    return isinstance(table, str | Path | pd.DataFrame)


def _is_small(place: Place) -> bool:
    """Whether a table is quickly read, or cannot be read, which is then told."""
    if isinstance(place, pd.DataFrame):
        return True
    try:
        system, path = fsspec.core.url_to_fs(str(place))
        size = system.size(path)
    except Exception:  # every remote file system has its own errors; reading it tells them
        return True
    return size is None or size <= SMALL


def _check_target(options: Options, source: Source) -> None:
    """Check what depends on the task; if that is not known, the names of the metrics.

    Raises:
        UserError: naming every mistake.
    """
    from pipelines.table.reading import read_table, with_text_names
    from pipelines.table.target import read_target

    table = target = None
    with suppress(UserError, KeyError):  # which is told by those who prepare the table
        table = with_text_names(read_table(source.data))
        task = None if source.task == AUTO else source.task
        target = read_target(table, normal_name(source.target), task)[1]
    if target is None:
        raise_all(ParameterError, _unknown_metrics(options))
        return
    found = Mistakes()
    with found:
        if source.roles.positive:
            target.with_positive(source.roles.positive)
    with found:
        source.roles.check_task(target.kind)
    if not {"calibrate", "threshold"} & value_mistakes(options).keys():
        with found:
            check_decisions(options.calibrate, options.threshold, target.kind)
    if not {"metric", "limits", "prefer"} & value_mistakes(options).keys():
        with found:
            name = normal_name(source.target)
            goals_of(options, wanted_of(source), target.kind, frame=table, target=name)
    found.raise_all()


def _unknown_metrics(options: Options) -> Iterator[str]:
    """The metrics that no task has."""
    for name in metric_names(options.metric) if isinstance(options.metric, str) else ():
        if not is_metric(name) and not is_beside(name):
            yield f"unknown metric {name!r}{closest(name, METRICS)}"
