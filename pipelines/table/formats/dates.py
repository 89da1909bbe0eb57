"""Inference of how a column writes its dates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import numpy as np

from hpo.arrays import FloatArray
from pipelines.table.formats import READABLE, sampled
from serving.dates import EPOCHS, ISO, OR, ORDINAL, QUARTER, WEEK, is_period, parse_strictly
from serving.months import shortened, tidied
from serving.values import MISSING_MARKS

_DAYS = (
    ("%d.%m.%Y", "%m.%d.%Y", "%d.%m.%y", "%Y.%m.%d")
    + ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y")
    + ("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%d %m %Y")
    + ("%d-%b-%Y", "%d-%b-%y", "%d-%B-%Y", "%d/%b/%Y", "%d%b%Y", "%Y-%b-%d")
    + ("%d %b %Y", "%d %B %Y", "%d %b %y", "%d. %b %Y", "%d. %B %Y", "%d %b, %Y", "%d %B, %Y")
    + ("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%b. %d, %Y", "%Y %b %d", "%Y %B %d")
    + ("%a, %d %b %Y", "%a %d %b %Y", "%a %b %d %Y", "%a, %b %d, %Y", "%A, %B %d, %Y")
    + ("%A, %d %B %Y", "%A %d %B %Y", "%Y-%m-%d")
)
_CLOCKS = (
    ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p")
    + (" %I:%M:%S%p", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", " %H:%M:%S %z")
    + (" %I %p", ":%H:%M:%S", ":%H:%M:%S %z", "T%H:%M:%S", " %H:%M:%S%z", " - %H:%M", " %H.%M")
)
_MONTHS = (
    ("%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%b-%y", "%b %y", "%b/%Y")
    + ("%Y-%b", "%Y %b", "%Y %B", "%b, %Y", "%B, %Y")
    + ("%m.%Y", "%m/%Y", "%m-%Y", "%Y/%m", "%Y.%m", "%m/%y")
)
_OTHERS = (
    ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S UTC %Y")
    + ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d %H:%M:%S", "%Y%m%d %H:%M")
    + ("%Y%m%d_%H%M%S", "%Y%m%d-%H%M%S", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%d-%H-%M-%S", "%H:%M %d/%m/%Y")
    + ("%H:%M:%S %d/%m/%Y", "%H:%M %d.%m.%Y", "%H:%M:%S %d.%m.%Y")
)
FORMATS = (*map("".join, product(_DAYS, _CLOCKS)), *_MONTHS, *_OTHERS)
_DATE_LIKE = re.compile(
    r"\d{1,4}[-/. ]|\d{1,2}[A-Za-z]{3}\d|[A-Za-z]{3,9}[-.,/ ]+'?\d|\d{8}|\d{4}W|\d\d:\d\d.* "
    r"|K?W ?\d"
)
_WEEKDAY = re.compile(r"[A-Za-z]{3,9},? (\d{1,2} |[A-Za-z]{3,9} \d)")
MIN_DATES = 5
MAX_MIXED = 6  # patterns in one column
MIN_MIXED = 0.02  # share of the texts that each of them reads
MIN_MONTHS = 8
YEARS = 1900, 2100
EPOCH_SECONDS = 1e9, 2.2e9  # 2001 to 2039


@dataclass(frozen=True)
class DateFormat:
    """How a column writes its dates.

    Attributes:
        pattern: see `serving.columns.DateColumn`.
        other: the pattern with day and month exchanged, if it reads the texts as well; else empty.
    """

    pattern: str
    other: str = ""


def find_dates(texts: Sequence[str], share: float = READABLE) -> DateFormat | None:
    """The format that reads the most of the distinct texts; None if none reads enough."""
    texts = [text for text in texts if text not in MISSING_MARKS]
    sample = sampled(texts)
    like = sum(1 for text in sample if _is_date_like(tidied(text)))
    if not sample or like < share * len(sample):
        return None
    return _patterns(texts, sample, share)


def _best(sample: Sequence[str]) -> tuple[float, str]:
    """The pattern that reads the most of the texts, and the share of them that it reads."""
    best: tuple[float, str] = (0.0, "")
    for pattern in _candidates(sample):
        read = float(np.mean(parse_strictly(sample, pattern).notna()))
        if read > best[0]:
            best = read, pattern
        if read == 1.0:
            break
    return best


def _patterns(texts: Sequence[str], sample: Sequence[str], share: float) -> DateFormat | None:
    """The patterns that together read enough of the texts; None if there are none.

    Most columns have one. Each further one reads a part of the sample that is no slip, and no two
    of them exchange day and month.
    """
    found: list[DateFormat] = []
    rest, unread = texts, sample
    while unread and len(found) < MAX_MIXED:
        read, pattern = _best(unread)
        if not read or read * len(unread) < MIN_MIXED * len(sample):
            break
        form = _with_day_and_month(rest, pattern)
        if exchange(form.pattern) in (each.pattern for each in found if "%d" in each.pattern):
            break
        found.append(form)
        rest, unread = _unread_by(rest, form.pattern), _unread_by(unread, form.pattern)
    if not found or len(unread) > (1 - share) * len(sample):
        return None
    pattern = OR.join(form.pattern for form in found)
    other = OR.join(form.other or form.pattern for form in found)
    return DateFormat(pattern, other if other != pattern else "")


def orders_note(texts: Sequence[str]) -> str:
    """The note on dates with the day first in some and the month first in others; else empty."""
    sample = sampled(texts)
    if len(sample) < MIN_DATES or not all(map(_is_date_like, sample[:MIN_DATES])):
        return ""
    read, pattern = _best(sample)
    exchanged = exchange(pattern)
    others = _unread_by(sample, pattern)
    if not read or exchanged == pattern or not others:
        return ""
    rest = _unread_by(others, exchanged)
    if len(rest) > (1 - READABLE) * len(sample):
        return ""
    return (
        f"used as texts: some of its dates can only be read as {pattern}, such as "
        f"'{_unread_by(sample, exchanged)[0]}', and some only as {exchanged}, such as "
        f"'{next(text for text in others if text not in rest)}'; write them alike"
    )


def _unread_by(texts: Sequence[str], pattern: str) -> list[str]:
    unread = parse_strictly(texts, pattern).isna()
    return [text for text, is_unread in zip(texts, unread, strict=True) if is_unread]


def _is_date_like(text: str) -> bool:
    return bool(_DATE_LIKE.match(text) or _WEEKDAY.match(text) or is_period(text))


def _candidates(sample: Sequence[str]) -> Iterator[str]:
    """The patterns that read one of a few texts, in their order."""
    yield ISO
    yield QUARTER
    yield WEEK
    yield ORDINAL
    few = sample[:: max(1, len(sample) // 5)]
    yielded: set[str] = set()
    for form in (str.strip, tidied, shortened):
        found = [*_followed([form(text) for text in few])]
        yield from (pattern for pattern in found if pattern not in yielded)
        yielded.update(found)


def _followed(few: Sequence[str]) -> Iterator[str]:
    """The patterns that one of the texts follows."""
    outlines = [(text, _outline(text)) for text in few]
    for pattern, outline in _OUTLINES.items():
        alike = (text for text, found in outlines if _fits(found, outline, pattern))
        if any(_follows(text, pattern) for text in alike):
            yield pattern


def _outline(text: str) -> str:
    """A text with one character in place of each number, word, directive and space."""
    words = re.sub(r"%[bBaAp]|[^\W\d_]+", "a", re.sub(r"%[dmyYHIMSf]", "0", text))
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", words))


_OUTLINES = {pattern: _outline(pattern.partition("%z")[0]) for pattern in FORMATS}


def _fits(found: str, outline: str, pattern: str) -> bool:
    """Whether a text may follow a pattern; most need no look at `strptime`, which is slow."""
    return found.startswith(outline) if "%z" in pattern else found == outline


def _follows(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _with_day_and_month(texts: Sequence[str], pattern: str) -> DateFormat:
    """The pattern or that with day and month exchanged, whichever reads more texts."""
    exchanged = exchange(pattern)
    if exchanged == pattern or "%d" not in pattern or "%m" not in pattern or pattern[1] == "Y":
        return DateFormat(pattern)
    one, two = (int(np.sum(parse_strictly(texts, each).notna())) for each in (pattern, exchanged))
    if one == two:
        return DateFormat(pattern, exchanged)
    return DateFormat(pattern if one > two else exchanged)


def exchange(pattern: str) -> str:
    """The pattern with day and month exchanged."""
    exchanged = {"%d": "%m", "%m": "%d"}
    return re.sub("%[dm]", lambda match: exchanged[match[0]], pattern)


def date_in_numbers(values: FloatArray) -> str:
    """The pattern of dates that are written as numbers, like 20240131; empty if there is none."""
    values = np.unique(values[np.isfinite(values)])
    if len(values) < MIN_DATES or values[0] <= 0:
        return ""
    if (values == np.floor(values)).all():
        if pattern := _with_time(values):
            return pattern
        day, month = values % 100, values // 100 % 100
        if _are_dates(values // 10_000, month) and (day >= 1).all() and (day <= 31).all():
            texts = [f"{value:08.0f}" for value in values]
            return "%Y%m%d" if parse_strictly(texts, "%Y%m%d").notna().all() else ""
        are_months = len(values) >= MIN_MONTHS and _are_dates(values // 100, values % 100)
        return "%Y%m" if are_months else ""
    scaled = values * 10_000
    whole = np.round(scaled)
    has_four_digits = (whole % 10 != 0).any()
    if has_four_digits and np.allclose(scaled, whole, rtol=0, atol=1e-5):
        return "%m.%Y" if _are_dates(whole % 10_000, whole // 10_000) else ""
    return ""


def epoch_in_numbers(values: FloatArray) -> str:
    """The pattern of numbers that may count the time since 1970; empty if there is none."""
    values = np.unique(values[np.isfinite(values)])
    if len(values) < MIN_DATES:
        return ""
    low, high = EPOCH_SECONDS
    for pattern, scale in EPOCHS.items():
        if low * scale <= values[0] and values[-1] < high * scale:
            return pattern
    return ""


def _with_time(values: FloatArray) -> str:
    """The pattern of whole numbers like 20240131235959 or 202401312359; empty for others."""
    for pattern, width in (("%Y%m%d%H%M%S", 10**10), ("%Y%m%d%H%M", 10**8)):
        if _are_dates(values // width, values // (width // 100) % 100):
            texts = [f"{value:.0f}" for value in values]
            return pattern if parse_strictly(texts, pattern).notna().all() else ""
    return ""


def _are_dates(years: FloatArray, months: FloatArray) -> bool:
    low, high = YEARS
    inside = (low <= years) & (years <= high) & (months >= 1) & (months <= 12)
    return bool(inside.all())
