"""The normal form of column names, the same for a table, a file and a request."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import count

INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"  # byte order mark, zero-width spaces and joiners


def normal_name(name: object) -> str:
    """The name as text, composed (NFC) and without blanks around it; 3 becomes "3"."""
    text = name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)
    return unicodedata.normalize("NFC", text).strip().strip(INVISIBLE).strip()


def normal_names(names: Iterable[object]) -> list[str]:
    """The normal forms of a table's names.

    One without a name is called by its position, as pandas does: "Unnamed: 0", or "Unnamed: 0.1" if
    another column has this name, as in a file that was read and written with its index.
    """
    named = [normal_name(name) for name in names]
    taken = set(named)
    for i, name in enumerate(named):
        if not name:
            named[i] = next(free for free in _unnamed(i) if free not in taken)
            taken.add(named[i])
    return named


def listed(text: str) -> list[str]:
    """The names in a text with commas between them, without blanks around them."""
    return [name for part in text.split(",") if (name := part.strip())]


def _unnamed(position: int) -> Iterator[str]:
    yield f"Unnamed: {position}"
    yield from (f"Unnamed: {position}.{k}" for k in count(1))
