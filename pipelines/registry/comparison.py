"""The checks of a promotion: challenger and champion on the same rows, their inputs, speed and size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.errors import DataError, closest
from pipelines.registry.gate import LATENCIES, Check, HeldOutScore, Limits, Verdict
from pipelines.registry.heldout import HeldOut
from pipelines.table.bootstrap import Gain, paired_gain
from pipelines.table.metrics import METRICS, Metric
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.values import distinct

if TYPE_CHECKING:
    import pandas as pd

    from serving.predictor import Predictor


SLICE_ROWS = 50  # groups with fewer rows say nothing
SURELY_WORSE = 0.95  # the probability that refuses, over all groups of a column together
WARM_UP = 3
MOST_REQUESTS, MOST_BATCHES, FEWEST = 200, 30, 10
REQUEST_SECONDS = 5.0
BATCH = 1_000
MEGABYTE = 1e6
SAME = 1e-6  # the relative difference up to which two runs of one model agree


@dataclass(frozen=True)
class Served:
    """A version as it would be served: its number, its predictor, and the bytes of its files."""

    version: int
    predictor: Predictor
    size: int


def compare(
    challenger: Served, champion: Served | None, rows: HeldOut, score: HeldOutScore, limits: Limits
) -> Verdict:
    """All checks of a challenger, against the champion or, when there is none, the trivial baseline.

    Everything is checked even when something has failed already, so that the user sees all of it at
    once; but models that do not go together are not scored.

    Raises:
        DataError: when the rows cannot be predicted or sliced.
    """
    checks = [_schema(challenger.predictor, champion.predictor if champion else None)]
    if checks[0].passed is False:
        summary = (
            "the challenger cannot take the champion's place: it is asked or answers in another way"
        )
        return Verdict(tuple(checks), summary, float("nan"))
    metric = METRICS[score.metric]
    mine = _predict(challenger, rows, "the challenger")
    trivial = _trivial(challenger.predictor, rows.y)
    worth = _gain(metric, rows, mine, trivial, 0.0)
    checks.append(
        _better("trivial baseline", metric, rows, mine, trivial, worth, limits.confidence, 0.0)
    )
    theirs, deciding = trivial, worth
    if champion is not None:
        theirs = _predict(champion, rows, "the champion")
        deciding = _gain(metric, rows, mine, theirs, limits.margin)
        name = f"champion (version {champion.version})"
        checks.append(
            _better(name, metric, rows, mine, theirs, deciding, limits.confidence, limits.margin)
        )
    doubts: list[str] = []
    if limits.slice is not None:
        groups, doubts = slices(metric, rows, mine, theirs, limits.slice, limits.tolerance)
        checks += groups
    checks += _latency(challenger.predictor, rows.frame, limits)
    checks.append(_size(challenger.size, limits))
    other = f"version {champion.version}" if champion else "the trivial baseline"
    summary = (
        f"{metric.name} {metric(rows.y, mine):.6g} against {metric(rows.y, theirs):.6g} of {other}, better"
        f"{_by(limits.margin if champion else 0.0)} with probability {deciding.probability:.4f} "
        f"({_direction(metric)} is better, {len(rows):,} {rows.origin})"
    )
    return Verdict(
        tuple(checks),
        summary,
        deciding.probability,
        (*rows.notes, *_drift(metric, rows, mine, score), *doubts),
    )


# --- what goes in and comes out
# ---------------------------------------------------------------------


def _schema(challenger: Predictor, champion: Predictor | None) -> Check:
    """Whether everything that the champion is asked the challenger can be asked, and answers in the same form."""
    n = len(challenger.features.inputs)
    found = f"{n} columns, {_answers(challenger)}"
    if champion is None:
        return Check("schema", found, "")
    differences = [*_inputs_missing(challenger, champion)]
    if _answers(challenger) != _answers(champion):
        differences.append(f"answers {_answers(challenger)}, the champion {_answers(champion)}")
    elif challenger.target.classes != champion.target.classes:
        differences.append(
            f"its classes are {_listed(challenger.target.classes)}, the champion's {_listed(champion.target.classes)}"
        )
    rule = "takes what the champion takes, answers in the same form"
    return Check("schema", "; ".join(differences) or found, rule, not differences)


def _inputs_missing(challenger: Predictor, champion: Predictor) -> Iterator[str]:
    known = {column.name: column for column in champion.features.columns}
    columns = challenger.features.columns
    if new := [column.name for column in columns if column.name not in known]:
        yield f"needs column(s) that the champion does not: {_listed(new)}"
    for column in columns:
        before = known.get(column.name)
        if before is not None and not _takes(column, before):
            yield f"reads {column.name!r} as {_kind(column)}, the champion as {_kind(before)}"


def _takes(column: Column, before: Column) -> bool:
    """Whether what the old column could read the new one can, too."""
    if isinstance(column, CategoricalColumn):  # anything is a text
        return True
    if isinstance(before, CategoricalColumn) or before.dirty > column.dirty:
        return False
    if isinstance(column, DateColumn) and isinstance(before, DateColumn):
        return column.format == before.format
    if isinstance(column, DateColumn) or isinstance(before, DateColumn):
        return False
    return isinstance(column, NumericColumn) or isinstance(before, BooleanColumn)


def _kind(column: Column) -> str:
    """In words; two columns of the same words read the same entries."""
    words = type(column).__name__.removesuffix("Column").lower()
    if isinstance(column, DateColumn):
        words += f" of the form {column.format}"
    if not isinstance(column, CategoricalColumn) and column.dirty:
        words += " (others count as missing)"
    return words


def _answers(predictor: Predictor) -> str:
    target = predictor.target
    return (
        target.kind
        if target.kind == "regression"
        else f"{target.kind}, {len(target.classes)} classes"
    )


def _listed(names: Any) -> str:
    shown = [f"{name!r:.40}" for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


# --- how good
# ---------------------------------------------------------------------------------------


def _predict(model: Served, rows: HeldOut, whose: str) -> FloatArray:
    try:
        found = model.predictor.predict_raw(rows.frame)
    except ValueError as error:
        raise DataError(
            f"{whose}, version {model.version}, cannot predict the {rows.origin}: {error}"
        ) from error
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found).reshape(len(found), -1).all(axis=1)).sum())
        raise DataError(
            f"{whose}, version {model.version}, predicts no finite values for {bad:,} of {len(rows):,} {rows.origin}"
        )
    return found


def _trivial(predictor: Predictor, y: npt.NDArray[Any]) -> FloatArray:
    """The constant answer that these very rows suggest: (n, k) class shares, or the mean (n,).

    It is no worse than that of training rows, so nothing is promoted for a shift of the target
    alone.
    """
    if predictor.target.kind == "regression":
        return np.full(len(y), float(y.mean()))
    shares = np.bincount(y, minlength=len(predictor.target.classes)) / len(y)
    return np.tile(shares, (len(y), 1))


def _gain(metric: Metric, rows: HeldOut, one: FloatArray, other: FloatArray, margin: float) -> Gain:
    try:
        return paired_gain(metric, rows.y, one, other, margin=margin, groups=rows.groups)
    except ValueError as error:
        raise DataError(f"{error}; give other rows with -P data=") from error


def _better(
    name: str,
    metric: Metric,
    rows: HeldOut,
    one: FloatArray,
    other: FloatArray,
    gain: Gain,
    confidence: float,
    margin: float,
) -> Check:
    found = (
        f"{metric.name} {metric(rows.y, one):.6g} against {metric(rows.y, other):.6g}, gain {gain.value:+.4g} "
        f"[{gain.low:+.4g}, {gain.high:+.4g}], probability {gain.probability:.4f}"
    )
    return Check(
        name,
        found,
        f"better{_by(margin)} with probability >= {confidence:g}",
        gain.probability >= confidence,
    )


def _by(margin: float) -> str:
    return f" by more than {margin:g}" if margin else ""


def _direction(metric: Metric) -> str:
    return "higher" if metric.greater_is_better else "lower"


def _drift(
    metric: Metric, rows: HeldOut, prediction: FloatArray, score: HeldOutScore
) -> Iterator[str]:
    now = metric(rows.y, prediction)
    if rows.of_study and abs(now - score.value) > SAME * max(abs(now), abs(score.value)):
        yield (
            f"the challenger was recorded with {metric.name} {score.value:.8g} on these rows and has {now:.8g} now; "
            "were libraries or the kind of machine changed in between?"
        )


def slices(
    metric: Metric, rows: HeldOut, one: FloatArray, other: FloatArray, column: str, tolerance: float
) -> tuple[list[Check], list[str]]:
    """A check for each large group of a column, and in a sentence on how many of them the rows leave it open.

    Raises:
        DataError: when there is no such column, or no large group.
    """
    names = list(map(str, rows.frame.columns))
    if column not in names:
        raise DataError(
            f"slice={column!r} is no column of the {rows.origin}{closest(column, names)}; columns: "
            f"{', '.join(names[:20])}"
        )
    codes, texts = distinct(rows.frame[column])
    codes = np.where(codes < 0, len(texts), codes)
    counts = np.bincount(codes, minlength=len(texts) + 1)
    large = np.flatnonzero(counts >= SLICE_ROWS)
    if not len(large):
        raise DataError(
            f"slice={column!r} has no group with {SLICE_ROWS} of the {rows.origin} or more (the largest of "
            f"{int((counts > 0).sum()):,} has {int(counts.max())}); take a column with fewer values"
        )
    checks, open_ = [], 0
    for code in large:
        name = f"slice {column}={[*texts, '(missing)'][code]!r:.40}"
        members = np.flatnonzero(codes == code)
        check, low = _slice(metric, rows, one, other, members, name, tolerance, len(large))
        checks.append(check)
        open_ += check.passed is True and low < -tolerance
    if small := int(((counts > 0) & (counts < SLICE_ROWS)).sum()):
        checks.append(
            Check(
                f"slice {column}, others",
                f"{small:,} group{'s' * (small > 1)}",
                f"fewer than {SLICE_ROWS} rows each",
            )
        )
    doubt = (
        f"on {open_} of {len(large)} groups of {column!r} the rows cannot rule out that the challenger is worse by "
        f"more than {tolerance:g} (the lower bound of its gain); more rows (-P data=) tell more"
    )
    return checks, [doubt] if open_ else []


def _slice(
    metric: Metric,
    rows: HeldOut,
    one: FloatArray,
    other: FloatArray,
    members: npt.NDArray[np.int64],
    name: str,
    tolerance: float,
    n_slices: int,
) -> tuple[Check, float]:
    """Whether the other model would win on these rows, as a challenger would by the margin `tolerance`.

    It refuses with a probability of `SURELY_WORSE` over all slices together (Bonferroni), as far as
    the draws tell so high a one; with it comes the lower bound of the gain.
    """
    units = None if rows.groups is None else rows.groups[members]
    if (
        units is not None and len(np.unique(units)) < 2
    ):  # the slice is one group: its rows are all there is to draw
        units = None
    y, mine, theirs = rows.y[members], one[members], other[members]
    try:
        worse = paired_gain(metric, y, theirs, mine, margin=tolerance, groups=units)
    except ValueError:
        return Check(name, f"{metric.name} is not defined on its {len(members):,} rows", ""), np.nan
    level = min(1 - (1 - SURELY_WORSE) / n_slices, 1 - 4 / worse.draws)
    gain, low, high = (0.0 - bound for bound in (worse.value, worse.high, worse.low))  # never -0
    found = (
        f"{metric.name} {metric(y, mine):.6g} against {metric(y, theirs):.6g}, gain {gain:+.4g} "
        f"[{low:+.4g}, {high:+.4g}], {len(members):,} rows, worse with probability {worse.probability:.4f}"
    )
    rule = f"worse by more than {tolerance:g} with probability < {level:.4g}"
    return Check(name, found, rule, worse.probability < level), low


# --- how fast, how large
# ----------------------------------------------------------------------------


def _latency(predictor: Predictor, frame: pd.DataFrame, limits: Limits) -> Iterator[Check]:
    single = [frame.iloc[[i]] for i in range(min(len(frame), MOST_REQUESTS))]
    batch = frame.iloc[np.resize(np.arange(len(frame)), BATCH)].reset_index(drop=True)
    one = milliseconds(predictor.predict, single, MOST_REQUESTS)
    many = milliseconds(predictor.predict, [batch], MOST_BATCHES)
    values = np.concatenate([np.percentile(times, [50, 99]) for times in (one, many)])
    for name, value in zip(LATENCIES, values, strict=True):
        limit = limits.latency.get(name)
        asked = f"{BATCH:,} rows" if name.endswith(str(BATCH)) else "1 row"
        check = Check(f"latency {name}", f"{value:.3g} ms for {asked}", "")
        yield (
            check
            if limit is None
            else replace(check, rule=f"<= {limit:g} ms", passed=bool(value <= limit))
        )


def milliseconds(
    predict: Callable[[pd.DataFrame], object], requests: list[pd.DataFrame], most: int
) -> FloatArray:
    """How long each request takes, (n,); they come in turn, `most` of them or those of five seconds."""
    for request in requests[:WARM_UP]:
        predict(request)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < most:
        started = time.perf_counter()
        predict(requests[len(times) % len(requests)])
        ended = time.perf_counter()
        times.append(1e3 * (ended - started))
        if ended - began > REQUEST_SECONDS and len(times) >= FEWEST:
            break
    return np.array(times)


def _size(size: int, limits: Limits) -> Check:
    check = Check("size", f"{size / MEGABYTE:.3g} MB", "")
    if limits.size is None:
        return check
    return replace(check, rule=f"<= {limits.size:g} MB", passed=size <= limits.size * MEGABYTE)
