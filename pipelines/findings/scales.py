"""Names, values and scales as text on axes and in tables."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.space.parameters import Categorical, Float, Integer, Parameter

_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+"
)


def short(text: object, most: int = 24) -> str:
    """A text on one line of at most `most` characters; invisible characters become spaces."""
    line = " ".join(_INVISIBLE.sub(" ", str(text)).split())
    return line if len(line) <= most else f"{line[: most - most // 3 - 1]}…{line[-(most // 3) :]}"


def predicted(header: Mapping[str, Any]) -> str:
    """What a study of a table predicts, as `, binary of 'income'`; nothing for other studies."""
    if header.get("target") is None:
        return ""
    return f", {header['task']} of {short(repr(header['target']), 60)}"


def first_line(text: str | None, most: int) -> str:
    """The first line of a text that may be missing, cut to `most` characters."""
    return short((text or "").strip().partition("\n")[0], most)


def number(value: object, digits: int = 4) -> str:
    """A value of a parameter or a metric, rounded to `digits` significant digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Seconds as `0:42` or `1:02:03`."""
    whole = max(round(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def ticks(parameter: Parameter, most: int = 5) -> list[tuple[float, str]]:
    """Unit codes and labels for an axis, at most `most` for numbers."""
    if isinstance(parameter, Categorical):
        return [(parameter.to_unit(choice), short(choice, 12)) for choice in parameter.choices[:12]]
    return [(parameter.to_unit(value), f"{value:.4g}") for value in _tick_values(parameter, most)]


def _tick_values(parameter: Float | Integer, most: int) -> list[float]:
    if isinstance(parameter, Integer) and parameter.n_levels <= most:
        return [parameter.low + i * parameter.step for i in range(parameter.n_levels)]
    return _log(parameter, most) if parameter.log else _even(parameter, most)


def _log(parameter: Float | Integer, most: int) -> list[float]:
    """Round numbers: 1, 2 and 5 times powers of ten, or fewer digits if those are too many."""
    low, high = parameter.low, parameter.high
    powers = np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = np.outer(10.0**powers, digits).ravel()
        inside = values[(values >= 0.999 * low) & (values <= 1.001 * high)]
        if len(inside) <= most:
            break
    inside = inside[:: max(math.ceil(len(inside) / most), 1)]
    return inside.tolist() if len(inside) > 1 else [float(low), float(high)]


def _even(parameter: Float | Integer, most: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten."""
    width = parameter.high - parameter.low
    magnitude = 10.0 ** math.floor(math.log10(width / most))
    steps = (factor * magnitude for factor in (1, 2, 2.5, 5, 10, 20))
    step = next(step for step in steps if width / step <= most)
    if isinstance(parameter, Integer):
        step = max(round(step), 1)
    first = math.ceil(parameter.low / step - 1e-9)
    last = math.floor(parameter.high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
