"""Inference of how a column writes its numbers and durations."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpo.arrays import FloatArray, IntArray
from pipelines.table.formats import READABLE, REQUESTED, sampled
from serving.numbers import (
    DURATION,
    MAGNITUDES,
    MEASURES,
    PLAIN,
    NumberFormat,
    is_duration,
    measures_of,
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
_CODES = (  # of ISO 4217, and short names
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN "
    "BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD "
    "FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY "
    "KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP "
    "MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR "
    "RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND "
    "TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW RMB "
    "kr Kr Fr SFr Rs R zł Kč Ft lei Lei Euro euro euros Dollar dollars Rp RM Bs"
)
_CURRENCIES = frozenset(_CODES.split())
_NUMBER_SIGNS = frozenset(
    ["#", "No.", "No", "no.", "Nr.", "Nr", "nr.", "№", "N°", "n°", "Nº", "nº"]
)
_DIRECTIONS = ("°N", "°E")  # measures of which whole numbers may be codes
MAX_UNITS = 20  # that a note may be about
_UNIT = re.compile(r"[^\W\d_°²³/%‰]*[^\W\d_²³]|[^\W\d_]+[²³]|°[A-Za-z]?|[^\W\d_]+/[^\W\d_]+[²³]?")
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
    is_word = best.unit.isalpha() or best.unit in _NUMBER_SIGNS
    needs_many = unreadable or (is_word and best.unit not in _CURRENCIES)
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
    formats = _formats(shapes)
    is_mixed = not formats or formats[0].converted
    if is_mixed and _readable_share(texts, DURATION) >= share:
        return DURATION  # 90 min, 2 h
    return _best_of(formats, texts)


def _best_of(formats: Sequence[NumberFormat], texts: Sequence[str]) -> NumberFormat | None:
    """The format that reads the most texts; None if none reads half of them."""
    shares = [_readable_share(texts, each) for each in formats]
    if max(shares, default=0.0) < REQUESTED:
        return None
    found = formats[int(np.argmax(shares))]
    return replace(found, shares=True) if _has_shares(texts, found) else found


def _formats(shapes: Sequence[re.Match[str]]) -> list[NumberFormat]:
    """The formats with the unit of the numbers; none if they have several that are no measure."""
    marks = ((".", ""), *_MARKS)
    if measure := _measure(shapes):
        return [NumberFormat(*pair, measure, converted=True) for pair in marks]
    magnitudes = _have_magnitudes(shapes)
    unit = _common_unit(shapes, magnitudes)
    if unit is None:
        return []
    first, second = unit
    return [NumberFormat(*pair, first, magnitudes=magnitudes, second=second) for pair in marks]


def _has_shares(texts: Sequence[str], how: NumberFormat) -> bool:
    """Whether the numbers without the percent sign of the others are shares: 0.5 beside "51 %".

    All of them are between 0 and 1 and have decimals, or are 0 or 1, and most of the others are
    above 1.
    """
    if how.unit not in ("%", "‰"):
        return False
    bare = parse_numbers([text for text in texts if how.unit not in text], how)
    bare = bare[~np.isnan(bare)]
    others = parse_numbers([text for text in texts if how.unit in text], how)
    if not len(bare) or (bare < 0).any() or (bare > 1).any() or not ((bare > 0) & (bare < 1)).any():
        return False
    return bool(np.mean(others > 1) > REQUESTED)


def units_note(texts: Sequence[str], counts: IntArray) -> str:
    """The note on numbers that are in several currencies or units; empty for other texts."""
    texts = [text for text, n in zip(texts, counts, strict=True) if n and text not in MISSING_MARKS]
    sample = sampled(texts)
    if len(texts) < MIN_DISTINCT_NUMBERS or len(_shapes(sample)) < READABLE * len(sample):
        return ""
    units = Counter((shape["before"] or shape["after"]).strip() for shape in _shapes(texts))
    bare = units.pop("", 0)
    known = sum(n for unit, n in units.items() if _is_currency(unit) or measures_of(unit))
    if not 1 < len(units) <= MAX_UNITS or known + bare < READABLE * len(texts) or not known:
        return ""
    shown = ", ".join(map(repr, sorted(units)[:5]))
    return (
        f"numbers in several units ({shown}) cannot be compared; convert them to one, or give the "
        "unit in a column of its own"
    )


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


def _measure(shapes: Sequence[re.Match[str]]) -> str:
    """The base unit of the measure of which the numbers have several units; empty if of none."""
    units = Counter(shape["after"] for shape in shapes if not shape["before"])
    if units.total() < READABLE * len(shapes):
        return ""
    has_decimals = np.mean([not shape["body"].strip().isdecimal() for shape in shapes]) > REQUESTED
    for base, scales in MEASURES.items():
        if base in _DIRECTIONS and not has_decimals:
            continue
        found = [unit for unit in units if unit in scales]
        several = len({scales[unit] for unit in found}) > 1
        if several and sum(units[unit] for unit in found) >= READABLE * len(shapes):
            return base
    return ""


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
    word = word.rstrip(".")
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
        return (before, "") if _is_currency(before) or before in _NUMBER_SIGNS else None
    known = after in ("%", "‰") or _is_currency(after) or _UNIT.fullmatch(after)
    return (after, "") if known else None


def _is_currency(text: str) -> bool:
    if text.strip() and all(part.rstrip(".") in _CURRENCIES for part in text.split()):
        return True
    return any(unicodedata.category(char) == "Sc" for char in text)
