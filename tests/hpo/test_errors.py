"""Words of messages."""

import pytest

from hpo.errors import counted


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [
        (0, "trial", "0 trials"),
        (1, "worker", "1 worker"),
        (2, "past study", "2 past studies"),
        (1_000, "class", "1,000 classes"),
        (1, "infinite value", "1 infinite value"),
    ],
)
def test_one_and_many(n: int, noun: str, text: str) -> None:
    assert counted(n, noun) == text
