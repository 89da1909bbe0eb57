"""Inference of how a column writes its numbers, dates and durations."""

import re
from collections.abc import Sequence

import numpy as np

from hpo.arrays import IntArray

READABLE = 0.95
REQUESTED = 0.5  # the share that must be readable if the user names the type
SAMPLED_TEXTS = 200
MIN_DISTINCT = 20  # numbers or dates beside marks for missing values

_WORDS = frozenset(
    ["*", "**", "***", "x", "xx", "xxx", ":", "…", "...", "<na>", "n/d", "n.d.", "nd", "n/k"]
    + ["nil", "none", "null", "missing", "unknown", "unk", "tbd", "tba", "no data", "nodata"]
    + ["not available", "not applicable", "not known", "not reported", "not recorded", "blank"]
    + ["undefined", "unspecified", "other", "error", "#error", "suppressed", "withheld", "k.a."]
    + ["unbekannt", "keine angabe", "inconnu", "desconocido", "s/d"]
)
"""Words for a missing value, in lower case."""
_SPREADSHEET_ERROR = re.compile(r"#[^\s#]{2,20}[!?]")  # in any language


def other_marks(texts: Sequence[str], counts: IntArray) -> set[str]:
    """Texts that may stand for a missing value among numbers or dates, if all others are such.

    These are words for it, and the most frequent text if it occurs more often than a slip.
    """
    found = {
        text for text in texts if text.casefold() in _WORDS or _SPREADSHEET_ERROR.fullmatch(text)
    }
    most = int(np.argmax(counts)) if len(texts) else 0
    if len(texts) and counts[most] > (1 - READABLE) * counts.sum() and not texts[most].isdecimal():
        found.add(texts[most])
    marked = sum(n for text, n in zip(texts, counts.tolist(), strict=True) if text in found)
    is_rest = len(texts) - len(found) >= MIN_DISTINCT and marked <= REQUESTED * counts.sum()
    return found if is_rest else set()


def sampled(texts: Sequence[str]) -> Sequence[str]:
    """About 200 of the texts, evenly spaced."""
    return texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
