"""Markdown tables and numbers as text. Uses the standard library only."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float, digits: int = 3) -> str:
    """A value with `digits` significant digits; large values without an exponent."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e" in text and abs(value) >= 1 else text


def interval_text(value: float, low: float, high: float, decimals: int) -> str:
    """`value [low, high]`."""
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def percent(share: float, low: float, high: float) -> str:
    """A share and its interval, in percent."""
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
