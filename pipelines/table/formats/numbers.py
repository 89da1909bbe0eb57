"""Inference of how a column writes its numbers and durations."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray, IntArray
from pipelines.table.formats import READABLE, REQUESTED, sampled
from serving.numbers import (
    DURATION,
    MAGNITUDES,
    PLAIN,
    NumberFormat,
    is_duration,
    parse_numbers,
    plain_characters,
    without_brackets,
)
from serving.values import MISSING_MARKS

MIN_DISTINCT_NUMBERS = 11
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"
_CODE = re.compile(r"[+-]?0\d")
_SHAPE = re.compile(
    r"[+-]?\s*(?P<before>(?:[^\d\s.,+()-]{1,4}\.?(?:\s[^\d\s.,+()-]{1,4})?)?)\s*[+-]?\s*"
    r"(?P<body>\d[\d.,'_\s]*|[.,]\d+)(?:[eE][+-]?\d+)?\s*"
    r"(?P<after>(?:[^\d\s.,()+-]{1,8}\.?(?:\s[^\d\s.,()+-]{1,4}\.?)?)?)\s*-?"
)
_CURRENCIES = frozenset(
    ["USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "INR", "CNY", "RMB", "SEK", "NOK"]
    + ["DKK", "PLN", "CZK", "HUF", "BRL", "RUB", "MXN", "ZAR", "TRY", "KRW", "HKD", "SGD", "THB"]
    + ["ILS", "kr", "Kr", "Fr", "Rs", "R", "zł", "Kč", "Ft"]
)
_UNIT = re.compile(r"[^\W\d_°²³/%‰]*[^\W\d_]|[^\W\d_]+[²³]|°[A-Za-z]?|[^\W\d_]+/[^\W\d_]+[²³]?")
_UNITS_TOO = {"m", "b", "B", "t", "T", "MM"}
_MARKS = (
    (".", ","),
    (",", ""),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
    (",", "'"),
    (".", "_"),
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
    texts: Sequence[str],
    counts: IntArray,
    share: float = READABLE,
    *,
    requested: bool = False,
    marks: Collection[str] = (),
) -> Numbers | None:
    """The numbers of a column whose distinct texts occur so often; None if it has no numbers.

    A share of the entries must be numbers, with more than ten different ones if there are others.
    Codes with leading zeros are no numbers. These two rules do not hold if numbers are `requested`.
    Further `marks` count as missing.
    """
    known = np.array([text not in MISSING_MARKS and text not in marks for text in texts], bool)
    present = [text for text, is_known in zip(texts, known, strict=True) if is_known]
    best = _best_format(present, share, requested)
    if best is None:
        return None
    values = np.where(known, parse_numbers(texts, best), np.nan)
    readable = ~np.isnan(values)
    if counts[readable].sum() < share * counts[known].sum() or not readable.any():
        return None
    unreadable = bool(marks) or bool((known & ~readable).any())
    needs_many = unreadable or (best.unit.isalpha() and best.unit not in _CURRENCIES)
    if needs_many and not requested and readable.sum() < MIN_DISTINCT_NUMBERS:
        return None
    return Numbers(best, values, unreadable)


def _best_format(texts: Sequence[str], share: float, requested: bool) -> NumberFormat | None:
    """The format that reads the most texts; None if there are codes, or hardly any numbers."""
    sample = sampled(texts)
    if not sample:
        return None
    if any(map(is_duration, sample)) and _readable_share(sample, DURATION) >= share:
        return DURATION
    if not requested and any(map(_CODE.match, sample)):
        return None
    if _are_thousands(texts):
        return NumberFormat(",", ".")
    if all(_readable_share(some) >= share for some in (sample, texts)):
        return None if not requested and any(map(_CODE.match, texts)) else PLAIN
    if len(_shapes(sample)) < share * len(sample):
        return None
    shapes = _shapes(texts)
    if not requested and any(_CODE.match(shape["body"]) for shape in shapes):
        return None
    magnitudes = _have_magnitudes(shapes)
    unit = _common_unit(shapes, magnitudes)
    if unit is None:
        return DURATION if _readable_share(texts, DURATION) >= share else None  # 90 min, 2 h
    marks = ((".", ""), *_MARKS)
    formats = [
        NumberFormat(*pair, unit[0], magnitudes=magnitudes, second=unit[1]) for pair in marks
    ]
    shares = [_readable_share(texts, each) for each in formats]
    best = int(np.argmax(shares))
    return formats[best] if shares[best] >= REQUESTED else None


def is_code(text: str) -> bool:
    """Whether a text has leading zeros, as codes have."""
    return _CODE.match(text) is not None


def _shapes(texts: Sequence[str]) -> list[re.Match[str]]:
    """The parts of the texts that look like numbers."""
    plain = (without_brackets(plain_characters(text))[0] for text in texts)
    return [shape for text in plain if (shape := _SHAPE.fullmatch(text))]


def _are_thousands(texts: Sequence[str]) -> bool:
    """Whether "1.234" is a thousand and more: others have no point, and none has other decimals."""
    some = [text for text in texts if "." in text]
    is_many = MIN_DISTINCT_NUMBERS <= len(some) < len(texts)
    return (
        is_many and all(re.search(THOUSANDS, text) for text in some) and _readable_share(texts) == 1
    )


def _readable_share(texts: Sequence[str], how: NumberFormat = PLAIN) -> float:
    return float(np.isfinite(parse_numbers(texts, how)).mean())


def _have_magnitudes(shapes: Sequence[re.Match[str]]) -> bool:
    """Whether words after the numbers, like the K of "1.2K", multiply them.

    A single letter that is a unit as well, like the m of "12 m", does so if there are others, or a
    currency.
    """
    found = {word: shape for shape in shapes if (word := _magnitude(shape["after"])[0])}
    several = len({MAGNITUDES[word] for word in found}) > 1
    with_currency = any(
        _is_currency(shape["before"]) or _magnitude(shape["after"])[1] for shape in found.values()
    )
    return several or with_currency or bool(found.keys() - _UNITS_TOO)


def _magnitude(after: str) -> tuple[str, str]:
    """The magnitude in what stands after a number, and the rest."""
    word, _, rest = after.partition(" ")
    return (word, rest) if word in MAGNITUDES else ("", after)


def _common_unit(shapes: Sequence[re.Match[str]], magnitudes: bool) -> tuple[str, str] | None:
    """The unit of all texts that have one, and a second one after it; None if they differ."""
    units = Counter(
        (shape["before"], _magnitude(shape["after"])[1] if magnitudes else shape["after"])
        for shape in shapes
    )
    units.pop(("", ""), None)
    if not units:
        return "", ""
    (before, after), most = units.most_common(1)[0]
    if most < READABLE * units.total():
        return None
    if before and after:
        return (before, after) if _is_currency(before) and _is_currency(after) else None
    if before:
        return (before, "") if _is_currency(before) else None
    known = after in ("%", "‰") or _is_currency(after) or _UNIT.fullmatch(after)
    return (after, "") if known else None


def _is_currency(text: str) -> bool:
    if text.strip() and all(part.rstrip(".") in _CURRENCIES for part in text.split()):
        return True
    return any(unicodedata.category(char) == "Sc" for char in text)
