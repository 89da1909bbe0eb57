"""Texts that are kept in parts when they are long."""

import os
from pathlib import Path

_PART = 32 << 10  # bytes from the beginning, and from the end, that are kept
_NOTE = 80  # more than the line that says what is left out has, so that a cut text is not cut again


def taken(path: Path) -> str:
    """The text in a file, without the middle of a long one; the file is deleted."""
    try:
        with path.open("rb") as file:
            left_out = path.stat().st_size - 2 * _PART
            if left_out <= _NOTE:
                text = file.read()
            else:
                text = file.read(_PART) + f"\n… {left_out:,} bytes are left out …\n".encode()
                file.seek(-_PART, os.SEEK_END)
                text += file.read(_PART)
        path.unlink()
    except FileNotFoundError:  # nothing was printed
        return ""
    return text.decode(errors="replace")
