"""Dates as people write them, brought into the forms that `strptime` reads."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FULL = (
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
)
_SHORT = (
    "jan feb mrz apr mai jun jul aug sept okt nov dez",
    "janv févr mär avr mei juin juil août set oct nov déc",
    "ene fév mar abr may giu lug ago sep ott nov dic",
    "gen fev mrt avr mag jun jul aoû out out nov dec",
)
_ENGLISH = {
    word: names[month]
    for languages, names in ((_FULL, calendar.month_name), (_SHORT, calendar.month_abbr))
    for words in languages
    for month, word in enumerate(words.split(), start=1)
}
_ENGLISH["sept"] = "Sep"
_WORD = re.compile(r"[^\W\d_]{3,}\.?")
_WRITTEN_OUT = re.compile("|".join(filter(None, calendar.month_name)), re.I)
_HOURS = {"EST": 5, "EDT": 4, "CST": 6, "CDT": 5, "MST": 7, "MDT": 6, "PST": 8, "PDT": 7}
_ZONES = {name: f"-{hours:02}:00" for name, hours in _HOURS.items()} | {
    "CET": "+01:00",
    "CEST": "+02:00",
    "MEZ": "+01:00",
    "MESZ": "+02:00",
    "BST": "+01:00",
}
_ZONE = re.compile(rf"(?<=[\dMm])\s*\(?({'|'.join(_ZONES)})\)?$")
_FRACTION = re.compile(r"(:\d\d),(\d{1,9})$")  # 12:00:00,123, as Python logs it
_NET = re.compile(
    r"\\?/Date\((-?\d{1,15})(?:[+-]\d{4})?\)\\?/"
)  # milliseconds; the zone is for show
_CALL = re.compile(r"(?:ISODate|DateTime|datetime|Timestamp)\(['\"]([^'\"]+)['\"].*\)")
_PLACE = re.compile(r"(.*\d)(Z|[+-]\d\d:?\d\d)?\s?\[?([A-Z][A-Za-z]+/[A-Z][A-Za-z_/-]+)\]?")
_REPLACED = (
    (re.compile(r"\b([ap])\.\s?m\b\.?", re.I), r"\1m"),
    (re.compile(r"\s*\(?\b(?:UTC|GMT)\)?$"), ""),
    (re.compile(r"\b(\d{1,2})(?:st|nd|rd|th|er|º)\b", re.I), r"\1"),
    (re.compile(r"(\d{4})-?M(\d{1,2})"), r"\1-\2"),
    (re.compile(r"\s(?:de|del|of)\s", re.I), " "),
)


def tidied(text: str) -> str:
    """The text with English months, numbers without "th", AM or PM, and an offset or no zone."""
    text = _FRACTION.sub(r"\1.\2", text.strip())
    if not any(map(str.isalpha, text)):
        return text
    if match := _NET.fullmatch(text):
        since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))
        return since.isoformat()
    text = _CALL.sub(r"\1", text)
    if "/" in text and (match := _PLACE.fullmatch(text)):
        text = _of_place(match[1], match[2], match[3])
    text = _ZONE.sub(lambda match: _ZONES[match[1]], text)
    for pattern, other in _REPLACED:
        text = pattern.sub(other, text)
    return _WORD.sub(_in_english, text)


def _of_place(text: str, offset: str | None, place: str) -> str:
    """The time with an offset instead of the name of a place, like Europe/Berlin."""
    if offset is not None:
        return text + offset
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(place)).isoformat()
    except (ValueError, ZoneInfoNotFoundError):
        return text


def shortened(text: str) -> str:
    """The tidied text with "Jan" for "January", where only some months are written out."""
    return _WRITTEN_OUT.sub(lambda match: match[0][:3], tidied(text))


def _in_english(match: re.Match[str]) -> str:
    return _ENGLISH.get(match[0].rstrip(".").casefold(), match[0])
