"""Inference of how a column writes its numbers, dates and durations."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import numpy as np

from hpo.arrays import FloatArray, IntArray
from serving.dates import ISO, QUARTER, parse_strictly
from serving.numbers import PLAIN, NumberFormat, parse_numbers
from serving.values import MISSING_MARKS

READABLE = 0.95
REQUESTED = 0.5  # the share that must be readable if the user names the type
MIN_DISTINCT_NUMBERS = 11
SAMPLED_TEXTS = 200

# --- numbers -------------------------------------------------------------------------------------

_CODE = re.compile(r"[+-]?0\d")
_SHAPE = re.compile(
    r"\(?[+-]?\s*(?P<before>[^\d\s.,+()-]{0,4})\s*[+-]?\s*"
    r"(?P<body>\d[\d.,'\u2019\s]*|[.,]\d+)(?:[eE][+-]?\d+)?\s*(?P<after>[^\d\s.,()+-]{0,8})-?\)?"
)
_CURRENCIES = frozenset(
    ["USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "INR", "CNY", "RMB", "SEK", "NOK"]
    + ["DKK", "PLN", "CZK", "HUF", "BRL", "RUB", "MXN", "ZAR", "TRY", "KRW", "HKD", "SGD", "THB"]
    + ["ILS", "kr", "Kr", "Fr", "Rs", "R", "zł", "Kč", "Ft"]
)
_UNIT = re.compile(r"[^\W\d_°²³/%‰]*[^\W\d_]|[^\W\d_]+[²³]|°[A-Za-z]?|[^\W\d_]+/[^\W\d_]+[²³]?")
_MARKS = (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")
_DURATION = re.compile(
    r"(-?\d+ days?,? ?)?[+-]?\d+:[0-5]\d(:[0-5]\d(\.\d+)?)?|-?P(\d+D)?T[\d.HMS]+"
)


@dataclass(frozen=True)
class Numbers:
    """The numbers that the texts of a column write.

    Attributes:
        format: of the texts.
        values: one for each text, `nan` where there is none.
        unreadable: whether texts are neither numbers nor marks of missing values.
    """

    format: NumberFormat
    values: FloatArray
    unreadable: bool


def find_numbers(
    texts: Sequence[str], counts: IntArray, share: float = READABLE, *, requested: bool = False
) -> Numbers | None:
    """The numbers of a column whose distinct texts occur so often; None if it has no numbers.

    A share of the entries must be numbers, with more than ten different ones if there are others.
    Codes with leading zeros are no numbers. These two rules do not hold if numbers are `requested`.
    """
    known = np.array([text not in MISSING_MARKS for text in texts], dtype=bool)
    present = [text for text, is_known in zip(texts, known, strict=True) if is_known]
    best = _best_format(present, share, requested)
    if best is None:
        return None
    values = np.where(known, parse_numbers(texts, best), np.nan)
    readable = ~np.isnan(values)
    if counts[readable].sum() < share * counts[known].sum() or not readable.any():
        return None
    unreadable = bool((known & ~readable).any())
    needs_many = unreadable or (best.unit.isalpha() and best.unit not in _CURRENCIES)
    if needs_many and not requested and readable.sum() < MIN_DISTINCT_NUMBERS:
        return None
    return Numbers(best, values, unreadable)


def _best_format(texts: Sequence[str], share: float, requested: bool) -> NumberFormat | None:
    """The format that reads the most texts; None if there are codes, or hardly any numbers."""
    sample = sampled(texts)
    if not sample:
        return None
    if np.mean([_DURATION.fullmatch(text) is not None for text in sample]) >= share:
        return NumberFormat(duration=True)
    if not requested and any(map(_CODE.match, sample)):
        return None
    if all(_plain_share(some) >= share for some in (sample, texts)):
        return None if not requested and any(map(_CODE.match, texts)) else PLAIN
    shapes = [shape for text in sample if (shape := _SHAPE.fullmatch(text))]
    if len(shapes) < share * len(sample):
        return None
    shapes = [shape for text in texts if (shape := _SHAPE.fullmatch(text))]
    if not requested and any(_CODE.match(shape["body"]) for shape in shapes):
        return None
    unit = _common_unit(shapes)
    if unit is None:
        return None
    formats = [NumberFormat(mark, thousands, unit) for mark, thousands in ((".", ""), *_MARKS)]
    shares = [float(np.isfinite(parse_numbers(texts, each)).mean()) for each in formats]
    best = int(np.argmax(shares))
    return formats[best] if shares[best] >= REQUESTED else None


def _plain_share(texts: Sequence[str]) -> float:
    return float(np.isfinite(parse_numbers(texts)).mean())


def _common_unit(shapes: Sequence[re.Match[str]]) -> str | None:
    """The unit of all texts that have one, empty if there is none; None if they differ."""
    units = Counter((shape["before"], shape["after"]) for shape in shapes)
    units.pop(("", ""), None)
    if not units:
        return ""
    (before, after), most = units.most_common(1)[0]
    if most < READABLE * units.total() or (before and after):
        return None
    if before:
        return before if _is_currency(before) else None
    known = after in ("%", "‰") or _is_currency(after) or _UNIT.fullmatch(after)
    return after if known else None


def _is_currency(text: str) -> bool:
    return text in _CURRENCIES or any(unicodedata.category(char) == "Sc" for char in text)


# --- dates ---------------------------------------------------------------------------------------

_DAYS = (
    ("%d.%m.%Y", "%m.%d.%Y", "%d.%m.%y", "%Y.%m.%d")
    + ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y")
    + ("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%d %m %Y")
    + ("%d-%b-%Y", "%d-%b-%y", "%d-%B-%Y", "%d/%b/%Y", "%d%b%Y", "%Y-%b-%d")
    + ("%d %b %Y", "%d %B %Y", "%d %b %y", "%d. %b %Y", "%d. %B %Y", "%d %b, %Y", "%d %B, %Y")
    + ("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%b. %d, %Y", "%Y %b %d", "%Y %B %d")
    + ("%a, %d %b %Y", "%a %d %b %Y", "%a %b %d %Y", "%a, %b %d, %Y", "%A, %B %d, %Y")
    + ("%A, %d %B %Y", "%A %d %B %Y")
)
_CLOCKS = (
    ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p")
    + (" %I:%M:%S%p", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", " %H:%M:%S %z")
    + (" %I %p",)
)
_MONTHS = (
    ("%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%b-%y", "%b %y", "%b/%Y")
    + ("%Y-%b", "%Y %b", "%Y %B", "%b, %Y", "%B, %Y")
    + ("%m.%Y", "%m/%Y", "%m-%Y", "%Y/%m", "%Y.%m", "%m/%y")
)
_OTHERS = ("%a %b %d %H:%M:%S %Y", "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S", "%Y%m%d %H:%M")
FORMATS = (*map("".join, product(_DAYS, _CLOCKS)), *_MONTHS, *_OTHERS)
_DATE_LIKE = re.compile(
    r"\d{1,4}(st|nd|rd|th)?[-/. ]|\d{1,2}[A-Za-z]{3}\d|[A-Za-z]{3,9}[-.,/ ]+'?\d|\d{8}"
)
_WEEKDAY = re.compile(r"[A-Za-z]{3,9},? (\d{1,2} |[A-Za-z]{3,9} \d)")
MIN_DATES = 5
MIN_MONTHS = 8
YEARS = 1900, 2100


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
    like = sum(1 for text in sample if _is_date_like(text))
    if not sample or like < share * len(sample):
        return None
    best: tuple[float, str] = (0.0, "")
    for pattern in _candidates(sample):
        read = float(np.mean(parse_strictly(sample, pattern).notna()))
        if read >= share and read > best[0]:
            best = read, pattern
        if read == 1.0:
            break
    if not best[1]:
        return None
    return _with_day_and_month(texts, best[1])


def _is_date_like(text: str) -> bool:
    return bool(_DATE_LIKE.match(text) or _WEEKDAY.match(text) or "Q" in text[:6].upper())


def _candidates(sample: Sequence[str]) -> Iterator[str]:
    """The patterns that read one of a few texts, in their order."""
    yield ISO
    yield QUARTER
    few = [(text, _outline(text)) for text in sample[:: max(1, len(sample) // 5)]]
    for pattern, outline in _OUTLINES.items():
        alike = (text for text, found in few if _fits(found, outline, pattern))
        if any(_follows(text, pattern) for text in alike):
            yield pattern


def _outline(text: str) -> str:
    """A text with one character in place of each number, word, directive and space."""
    words = re.sub(r"%[bBaAp]|[^\W\d_]+", "a", re.sub(r"%[dmyYHIMSf]", "0", text))
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", words))


_OUTLINES = {pattern: _outline(pattern.removesuffix("%z")) for pattern in FORMATS}


def _fits(found: str, outline: str, pattern: str) -> bool:
    """Whether a text may follow a pattern; most need no look at `strptime`, which is slow."""
    return found.startswith(outline) if pattern.endswith("%z") else found == outline


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


def _are_dates(years: FloatArray, months: FloatArray) -> bool:
    low, high = YEARS
    inside = (low <= years) & (years <= high) & (months >= 1) & (months <= 12)
    return bool(inside.all())


def sampled(texts: Sequence[str]) -> Sequence[str]:
    """About 200 of the texts, evenly spaced."""
    return texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
