"""The normal form of column names, the same for a table, a file and a request."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"  # byte order mark, zero-width spaces and joiners


def normal_name(name: object) -> str:
    """The name as text, composed (NFC) and without blanks around it; 3 becomes "3"."""
    text = name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)
    return unicodedata.normalize("NFC", text).strip().strip(INVISIBLE).strip()


def normal_names(names: Iterable[object]) -> list[str]:
    """The normal forms of a table's names; one without a name is called by its position."""
    return [normal_name(name) or f"Unnamed: {i}" for i, name in enumerate(names)]
