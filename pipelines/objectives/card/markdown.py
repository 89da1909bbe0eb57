"""Markdown for model cards: tables, code blocks, and names that cannot break either."""

import html
import re
from collections.abc import Iterable, Iterator, Sequence

MAX_NAME = 60  # characters of a name that are shown
_SPECIAL = re.compile(r"([\\`*{}\[\]()|~$]|(?<!\w)_|_(?!\w))")


def escaped(text: str) -> str:
    """A name from the user's data on one line, cut, without meaning for Markdown or HTML."""
    line = " ".join(text.split())
    short = line if len(line) <= MAX_NAME else line[: MAX_NAME - 1] + "…"
    return _SPECIAL.sub(r"\\\1", html.escape(short, quote=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; the cells are Markdown."""
    yield _row(header)
    yield "|" + "---|" * len(header)
    yield from map(_row, rows)


def code_block(text: str, language: str) -> Iterator[str]:
    """The lines of a code block, whose fence is longer than any run of backticks in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}"
    yield from text.splitlines()
    yield fence


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
