"""Tabulated surfaces (none yet)."""
from typing import Any
def tabulated() -> tuple[str, ...]:
    return ()
def load(name: str) -> Any:
    raise KeyError(name)
