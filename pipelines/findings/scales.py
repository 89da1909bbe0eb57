"""Names and values as they stand on axes."""

import math
import re

from hpo.space.parameters import Categorical, Float, Integer, Parameter

_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+"
)


def short(text: object, most: int = 24) -> str:
    """A name on one line, `most` characters at most; what cannot be seen becomes a space."""
    line = " ".join(_INVISIBLE.sub(" ", str(text)).split())
    return line if len(line) <= most else f"{line[: most - most // 3 - 1]}…{line[-(most // 3) :]}"


def number(value: object, digits: int = 4) -> str:
    """A value of a parameter or a metric, short."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Seconds as `0:42` or `1:02:03`."""
    whole = max(round(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def ticks(parameter: Parameter, most: int = 5) -> list[tuple[float, str]]:
    """Unit codes and labels for an axis."""
    if isinstance(parameter, Categorical):
        return [(parameter.to_unit(choice), short(choice, 12)) for choice in parameter.choices[:12]]
    if isinstance(parameter, Integer) and parameter.n_levels <= most:
        values: list[float] = [
            parameter.low + i * parameter.step for i in range(parameter.n_levels)
        ]
    else:
        values = _log(parameter, most) if parameter.log else _even(parameter, most)
    return [(parameter.to_unit(value), f"{value:.4g}") for value in values]


def _log(parameter: Float | Integer, most: int) -> list[float]:
    """Round numbers: powers of ten, then 1-2-5 and so on while few of them fit."""
    for digits in ((1, 2, 5), (1, 3), (1,)):
        low, high = math.floor(math.log10(parameter.low)), math.ceil(math.log10(parameter.high))
        values = [digit * 10.0**power for power in range(low, high + 1) for digit in digits]
        inside = [v for v in values if parameter.low * 0.999 <= v <= parameter.high * 1.001]
        if len(inside) <= most:
            break
    inside = inside[:: math.ceil(len(inside) / most)] if inside else []
    return inside if len(inside) > 1 else [float(parameter.low), float(parameter.high)]


def _even(parameter: Float | Integer, most: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten."""
    width = parameter.high - parameter.low
    magnitude = 10.0 ** math.floor(math.log10(width / most))
    step = next(f * magnitude for f in (1, 2, 2.5, 5, 10, 20) if width / (f * magnitude) <= most)
    if isinstance(parameter, Integer):
        step = max(round(step), 1)
    first = math.ceil(parameter.low / step - 1e-9)
    last = math.floor(parameter.high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
