"""Choices of any kind as a categorical parameter."""

from collections.abc import Sequence
from typing import Any

from hpo.space.parameters import Categorical


def categorical(name: str, choices: Sequence[Any]) -> Categorical:
    """The choices; where ours cannot be like them (None, tuples) their texts, or else numbers."""
    for given in (tuple(choices), tuple(map(str, choices))):
        if not any((found := Categorical(name, given)).mistakes()):
            return found
    return Categorical(name, tuple(range(len(choices))))
