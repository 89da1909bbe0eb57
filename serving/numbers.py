"""Reading numbers: plain ones, and those that exports and spreadsheets write as text.

A column has one format, which is inferred in training and kept with the model. A cell that is no
text is the number that it is, unless its text could have been misread: "1.234" is a thousand and
more in a column of "1.234,56", but a reader of CSV takes it for 1.234.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from functools import cache, cached_property

import numpy as np
import pandas as pd

from serving.values import (
    MISSING_MARKS,
    TRUTHS,
    BoolArray,
    FloatArray,
    bare,
    factorize,
    masked,
    relative,
)

# What stands for a space, an apostrophe or a minus sign.
_TYPOGRAPHY = str.maketrans("\u00a0\u2007\u2009\u202f\u2019\u02bc\u2212", "    ''-")
_TIME = re.compile(
    r"(?:(-?\d+) days?,? ?)?([+-]?)(\d+):([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?"
    r"(?:\s*([ap])\.?m\.?)?",
    re.I,
)
_DAYS = re.compile(r"(-?\d+) days?", re.I)
_LAP = re.compile(r"([+-]?)(\d+):([0-5]\d)\.(\d+)")  # 05:30.25: minutes and seconds
_HOURS = re.compile(r"(\d+)\s*h\s*([0-5]\d)", re.I)  # 1h30
_POWER = re.compile(r"\s?[×x*·]\s?10\^([+-]?\d+)$")  # 1.5×10^6
_FRACTION = re.compile(r"(\d*)\s?([¼½¾⅐-⅞])")  # 7½
_NO_CENTS = re.compile(r"(?<=\d)([.,])[-\u2013\u2014]{1,2}(?=\D*$)")  # 1.234,- EUR
_BRACKETS = re.compile(r"([^\d(]*)\(([^()]*)\)([^\d)]*)")  # a negative amount: $(5)
_UNITS = re.compile(  # 1h 30m, 2 hours 5 min, PT1H30M
    r"(-?)P?(?:(\d+)\s*d(?:ays?)?\s*)?T?(?:(\d+)\s*h(?:(?:ou)?rs?)?\s*)?"
    r"(?:(\d+)\s*m(?:in(?:ute)?s?)?\s*)?(?:(\d+)(?:\.(\d+))?\s*s(?:ec(?:ond)?s?)?)?",
    re.I,
)
MAGNITUDES = {
    **dict.fromkeys(("k", "K", "tsd", "Tsd"), 1e3),
    **dict.fromkeys(("m", "M", "mn", "Mn", "Mio", "mio", "MM", "million"), 1e6),
    **dict.fromkeys(("b", "B", "bn", "Bn", "Mrd", "billion"), 1e9),
    **dict.fromkeys(("t", "T", "tn"), 1e12),
    **dict.fromkeys(("lakh", "lakhs", "Lakh", "Lakhs", "lac", "Lac"), 1e5),
    **dict.fromkeys(("crore", "crores", "Crore", "Crores"), 1e7),
}
"""What a letter or word after a number multiplies it with."""

Scale = tuple[float, float]
"""Factor and offset: `value * factor + offset` is in the base unit."""


def _scales(**factors: float) -> dict[str, Scale]:
    return {name: (factor, 0.0) for name, factor in factors.items()}


_INCH, _FOOT, _MILE, _POUND = 0.0254, 0.3048, 1609.344, 0.45359237  # in metres and kilograms

MEASURES: Mapping[str, Mapping[str, Scale]] = {
    "kg": _scales(
        kg=1, kilo=1, g=1e-3, mg=1e-6, µg=1e-9, t=1e3, lb=_POUND, lbs=_POUND, oz=_POUND / 16
    ),
    "m": _scales(
        **{"m": 1, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3, "µm": 1e-6},
        **{"in": _INCH, "inch": _INCH, "inches": _INCH, '"': _INCH},
        **{"ft": _FOOT, "feet": _FOOT, "foot": _FOOT, "yd": 3 * _FOOT, "yds": 3 * _FOOT},
        **dict.fromkeys(("mi", "mile", "miles"), _MILE),
    ),
    "l": _scales(l=1, L=1, ml=1e-3, mL=1e-3, cl=1e-2, cL=1e-2, dl=0.1, dL=0.1, hl=100, µl=1e-6),
    "m²": _scales(
        **{"m²": 1, "m2": 1, "qm": 1, "sqm": 1, "cm²": 1e-4, "cm2": 1e-4, "km²": 1e6, "ha": 1e4},
        **{"sqft": _FOOT**2, "ft²": _FOOT**2, "acre": 4046.8564224, "acres": 4046.8564224},
    ),
    "MB": _scales(
        **{"B": 1e-6, "kB": 1e-3, "KB": 1e-3, "MB": 1, "GB": 1e3, "TB": 1e6},
        **{"KiB": 2**10 / 1e6, "MiB": 2**20 / 1e6, "GiB": 2**30 / 1e6, "TiB": 2**40 / 1e6},
    ),
    "Mbit/s": _scales(
        **{"kbps": 1e-3, "Kbps": 1e-3, "Mbps": 1, "Gbps": 1e3},
        **{"kbit/s": 1e-3, "Mbit/s": 1, "Gbit/s": 1e3},
    ),
    "km/h": _scales(**{"km/h": 1, "kmh": 1, "kph": 1, "m/s": 3.6, "mph": _MILE / 1e3, "kn": 1.852}),
    "kWh": _scales(Wh=1e-3, kWh=1, KWh=1, MWh=1e3, GWh=1e6),
    "kW": _scales(mW=1e-6, W=1e-3, kW=1, KW=1, MW=1e3, GW=1e6, hp=0.74569987, PS=0.73549875),
    "kJ": _scales(J=1e-3, kJ=1, MJ=1e3, cal=4.184e-3, kcal=4.184, Kcal=4.184),
    "Hz": _scales(Hz=1, kHz=1e3, KHz=1e3, MHz=1e6, GHz=1e9),
    "hPa": _scales(Pa=1e-2, hPa=1, kPa=10, bar=1e3, mbar=1, psi=68.94757293, atm=1013.25),
    "V": _scales(mV=1e-3, V=1, kV=1e3),
    "A": _scales(mA=1e-3, A=1, µA=1e-6),
    "s": _scales(
        **{"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "secs": 1},
        **{"min": 60, "mins": 60, "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600},
        **{"d": 86_400, "day": 86_400, "days": 86_400, "week": 604_800, "weeks": 604_800},
    ),
    "months": _scales(month=1, months=1, mo=1, mos=1, year=12, years=12, yr=12, yrs=12, y=12),
    "°C": {
        **dict.fromkeys(("°C", "℃"), (1.0, 0.0)),
        **dict.fromkeys(("°F", "℉"), (5 / 9, -160 / 9)),
        "K": (1.0, -273.15),
    },
    "°N": {
        **dict.fromkeys(("N", "°N", "° N"), (1.0, 0.0)),
        **dict.fromkeys(("S", "°S", "° S"), (-1.0, 0.0)),
    },
    "°E": {
        **dict.fromkeys(("E", "°E", "° E"), (1.0, 0.0)),
        **dict.fromkeys(("W", "°W", "° W"), (-1.0, 0.0)),
    },
    "CR": {**dict.fromkeys(("CR", "Cr"), (1.0, 0.0)), **dict.fromkeys(("DR", "Dr"), (-1.0, 0.0))},
}
"""The units of each measure, by its base unit. Prefixes of bytes are decimal; debits are negative;
a latitude is positive in the north, a longitude in the east."""

AMBIGUOUS_BELOW = 1000  # "1.234" has at most three digits before its mark


@cache
def measures_of(unit: str) -> tuple[str, ...]:
    """The base units of the measures that a unit belongs to."""
    return tuple(base for base, units in MEASURES.items() if unit in units)


def in_base_unit(value: float, base: str, unit: str) -> float:
    """A value in the base unit of its measure."""
    factor, offset = MEASURES[base][unit]
    return value * factor + offset


@dataclass(frozen=True)
class NumberFormat:
    """How the texts of a column write its numbers.

    Attributes:
        decimal: the decimal mark.
        thousands: the mark between groups of three digits; empty if there is none.
        unit: a currency, percent sign or unit before or after the number. It is left out:
            "12.3 %" is 12.3.
        second: another name of the currency, after the number: "USD" in "$5 USD".
        duration: whether the texts are times like "05:30", "05:30 PM", "1h 30m" or
            "1 days 02:00:00", in seconds.
        magnitudes: whether numbers may end with one of `MAGNITUDES`, as in "1.2K".
        converted: whether the texts have several units of one measure. The numbers are in `unit`,
            the base unit of `MEASURES`.
        shares: whether a number without the percent sign of the others is a share: 0.5 is 50 %.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    duration: bool = False
    magnitudes: bool = False
    second: str = ""
    converted: bool = False
    shares: bool = False

    def __str__(self) -> str:
        """A number of this format."""
        if self.duration:
            return "1 days 02:30:00"
        magnitude = "K" if self.magnitudes else ""
        if self.converted:
            return f"12{self.decimal}5 {self.unit}"
        return f"1{self.thousands}234{self.decimal}5{magnitude}{self.unit and ' '}{self.unit}"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        mark, unit = re.escape(self.thousands), f"(?:{re.escape(self.unit)})?"
        after = f"({re.escape(self.second or self.unit)})?"
        if self.converted:
            names = sorted(MEASURES[self.unit], key=len, reverse=True)
            unit, after = "", f"({'|'.join(map(re.escape, names))})"
        shortest = 2 if self.thousands == "," else 3  # 12,34,567 in India
        groups = rf"\d{{1,3}}(?:{mark}\d{{{shortest},3}})*{mark}\d{{3}}|" if mark else ""
        sign, point = r"([+-]?)\s*", re.escape(self.decimal)
        number = rf"({groups}\d+)?(?:{point}(\d*))?([eE][+-]?\d+)?"
        words = "|".join(sorted(MAGNITUDES, key=len, reverse=True))
        magnitude = rf"(?:\s*({words})\b\.?)?" if self.magnitudes else "()"
        return re.compile(rf"{sign}{unit}\s*{sign}{number}{magnitude}\s*{after}\s*(-?)")

    def number(self, text: str) -> float:
        """The number of a text, `nan` if it does not follow the format."""
        text = plain_characters(text)
        if self.duration:
            return _seconds(text)
        bare, in_brackets = without_brackets(text)
        match = self._pattern.fullmatch(bare)
        if match is None or not (match[3] or match[4]):
            return np.nan
        if match[5] and self.thousands and self.thousands in (match[3] or ""):
            return np.nan  # 6,370E+06 has a decimal comma
        whole = (match[3] or "0").replace(self.thousands or " ", "")
        value = float(f"{whole}.{match[4] or '0'}{match[5] or ''}")
        value *= MAGNITUDES.get(match[6] or "", 1.0)
        signs = [match[1], match[2], match[8], "-" if in_brackets else ""]
        value = -value if signs.count("-") % 2 else value
        if self.converted:
            return in_base_unit(value, self.unit, match[7])
        return self.of_share(value) if self.shares and self.unit not in text else value

    def of_share(self, value: float) -> float:
        """The percentage of a share; `nan` for a number that is none."""
        return value * (100 if self.unit == "%" else 1000) if abs(value) <= 1 else np.nan


PLAIN = NumberFormat()
DURATION = NumberFormat(duration=True)


def numbers(series: pd.Series, how: NumberFormat = PLAIN) -> tuple[FloatArray, BoolArray]:
    """Read a column as numbers.

    Returns:
        `(n,)` numbers with `nan` where missing, and `(n,)` whether an entry could not be read.
    """
    series = relative(series)
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        values = series.to_numpy(dtype=np.float64)
        return _of_plain(values, how, is_float=dtype.kind == "f")
    if pd.api.types.is_timedelta64_dtype(dtype):
        seconds = series.dt.total_seconds().to_numpy(dtype=np.float64)
        return seconds, ~np.isnan(seconds) & (not how.duration)
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return _of_plain(values, how, is_float=pd.api.types.is_float_dtype(dtype))
    codes, raw = factorize(series)
    found = _numbers_of(raw, how)
    missing = [isinstance(value, str) and value.strip() in MISSING_MARKS for value in raw]
    return np.append(found, np.nan)[codes], masked(
        codes, np.isnan(found) & ~np.array(missing, bool)
    )


def _of_plain(
    values: FloatArray, how: NumberFormat, is_float: bool
) -> tuple[FloatArray, BoolArray]:
    """The numbers of cells that are no text, and whether they could be misread ones."""
    unreadable = _ambiguous(values, how, is_float)
    if how.shares:
        values = np.array([how.of_share(value) for value in values], dtype=np.float64)
    return values, unreadable


def _ambiguous(values: FloatArray, how: NumberFormat, is_float: bool) -> BoolArray:
    """Whether each number may be a text of the format that was misread, or lacks its unit."""
    if how.duration or how.converted:
        return ~np.isnan(values)
    if how.shares:
        return np.abs(values) > 1
    if how.thousands == "." and is_float:
        return np.abs(values) < AMBIGUOUS_BELOW
    return np.zeros(len(values), dtype=bool)


def _numbers_of(raw: Sequence[object], how: NumberFormat) -> FloatArray:
    """The number of each value, `nan` if there is none."""
    texts = [bare(value.strip()) if isinstance(value, str) else "" for value in raw]
    found = parse_numbers(texts, how)
    for i, value in enumerate(raw):
        if isinstance(value, str):
            continue
        if isinstance(value, time) and how.duration:
            found[i] = _seconds(value.isoformat())
        elif hasattr(value, "total_seconds"):
            found[i] = value.total_seconds() if how.duration else np.nan
        elif hasattr(value, "__float__") and not isinstance(value, complex):
            is_whole = isinstance(value, int | np.integer | bool | np.bool_)
            number, refused = _of_plain(np.array([float(value)]), how, is_float=not is_whole)
            found[i] = np.nan if refused[0] else number[0]
    return found


def parse_numbers(texts: Sequence[str], how: NumberFormat = PLAIN) -> FloatArray:
    """The number in each text, `nan` if there is none; "true" is 1 and "false" is 0."""
    if how != PLAIN:
        return np.array([how.number(text) for text in texts], dtype=np.float64)
    ones = dict(zip(TRUTHS, ("1", "0"), strict=True))
    plain = [ones.get(text.lower(), text) if len(text) in (4, 5) else text for text in texts]
    found = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce")
    return found.to_numpy(dtype=np.float64, copy=True)


def plain_characters(text: str) -> str:
    """The text with plain spaces, apostrophes, minus signs, cents, powers and fractions.

    "5,-" has the cents "00", "2×10^6" is "2e6", and "7½" is "7.5".
    """
    text = _NO_CENTS.sub(r"\g<1>00", text.translate(_TYPOGRAPHY).strip())
    text = _POWER.sub(r"e\1", text)
    return _FRACTION.sub(_in_decimals, text)


def _in_decimals(match: re.Match[str]) -> str:
    """A fraction as Unicode has them, with decimals."""
    return repr(int(match[1] or 0) + unicodedata.numeric(match[2]))


def without_brackets(text: str) -> tuple[str, bool]:
    """The text without the brackets of a negative amount, and whether it had some."""
    match = _BRACKETS.fullmatch(text)
    return ("".join(match.groups()).strip(), True) if match else (text, False)


def is_duration(text: str) -> bool:
    """Whether a text is a time or a duration of several units; "5 min" may be a number."""
    if any(form.fullmatch(text) for form in (_TIME, _DAYS, _LAP, _HOURS)):
        return True
    match = _UNITS.fullmatch(text)
    return match is not None and (text[:2].strip("-")[:1] == "P" or _n_units(match) > 1)


def _n_units(match: re.Match[str]) -> int:
    return sum(match[i] is not None for i in range(2, 6))


def _seconds(text: str) -> float:
    """The seconds of a time or a duration, `nan` if it is none."""
    match = _TIME.fullmatch(text)
    if match is not None:
        days, sign, hours, minutes, seconds, fraction, half = match.groups()
        if half:
            hours = str(int(hours) % 12 + 12 * (half in "pP"))
        clock = _nanoseconds(0, hours, minutes, seconds, fraction)
        return (_nanoseconds(days) + (-clock if sign == "-" else clock)) / 1e9
    if match := _DAYS.fullmatch(text):
        return _nanoseconds(match[1]) / 1e9
    if match := _LAP.fullmatch(text):
        seconds = _nanoseconds(0, "0", *match.groups()[1:]) / 1e9
        return -seconds if match[1] == "-" else seconds
    if match := _HOURS.fullmatch(text):
        return _nanoseconds(0, *match.groups()) / 1e9
    match = _UNITS.fullmatch(text)
    if match is None or not _n_units(match):
        return np.nan
    whole = _nanoseconds(*match.groups()[1:])
    return (-whole if match[1] else whole) / 1e9


def _nanoseconds(
    days: str | int | None,
    hours: str | None = None,
    minutes: str | None = None,
    seconds: str | None = None,
    fraction: str | None = None,
) -> int:
    """Nanoseconds, so that a text has the same seconds as the duration that it was written from."""
    whole = 86_400 * int(days or 0) + 3600 * int(hours or 0) + 60 * int(minutes or 0)
    return (whole + int(seconds or 0)) * 10**9 + int((fraction or "0").ljust(9, "0")[:9])
