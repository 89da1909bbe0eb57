"""Columns that give the target away are named before anything trains."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.tables import prepare

rng = np.random.default_rng(0)
NOISE = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
LABEL = rng.integers(0, 2, 400)
AMOUNT = rng.gamma(2.0, 100.0, 400)


def warnings(frame: pd.DataFrame) -> list[str]:
    return [note for note in prepare(frame, "y").notes if note.startswith("warning: ")]


@pytest.mark.parametrize(
    ("leak", "y"),
    [
        (np.where(LABEL == 1, "closed", "open"), LABEL),
        (LABEL * 3.5, LABEL),
        (LABEL + rng.uniform(0, 0.5, 400), LABEL),
        (np.char.add("level ", (LABEL + 2 * rng.integers(0, 4, 400)).astype(str)), LABEL),
        ((AMOUNT // 120).clip(max=3) + rng.uniform(0, 0.5, 400), (AMOUNT // 120).clip(max=3)),
        (AMOUNT * 1.19 + 3, AMOUNT),
        (AMOUNT + rng.normal(0, 0.1, 400), AMOUNT),
        (np.log(AMOUNT), AMOUNT),
        (1 / AMOUNT, AMOUNT),
    ],
)
def test_a_column_that_predicts_the_target_alone_is_named(leak: Any, y: Any) -> None:
    (warning,) = warnings(NOISE.assign(leak=leak, y=y))
    assert "leak alone predicts the target" in warning
    assert "drop=leak" in warning


@pytest.mark.parametrize(
    ("strong", "y"),
    [
        (LABEL + rng.normal(0, 0.4, 400), LABEL),
        (AMOUNT + rng.normal(0, 20, 400), AMOUNT),
        (np.arange(400).astype(str), LABEL),
        (np.where(rng.random(400) < 0.01, 1 - LABEL, LABEL), LABEL),
    ],
)
def test_a_column_that_predicts_well_is_not_named(strong: Any, y: Any) -> None:
    assert warnings(NOISE.assign(strong=strong, y=y)) == []


def test_equal_rows_are_counted() -> None:
    frame = pd.concat([NOISE.assign(y=LABEL)] * 5, ignore_index=True)
    (warning,) = warnings(frame)
    assert "1,600 of 2,000 rows are equal to another row" in warning
    few = pd.concat([NOISE.assign(y=LABEL), NOISE.assign(y=LABEL).head(3)], ignore_index=True)
    assert any(note.startswith("3 of 403 rows are equal") for note in prepare(few, "y").notes)
