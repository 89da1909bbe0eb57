from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.table.source import Source, absolute, described


@pytest.mark.parametrize("target", [2, "2", " 2 "])
def test_columns_that_are_numbers_are_named_by_their_texts(target: object) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)))
    source = Source(frame, target)  # type: ignore[arg-type]
    plan = source.plan(source.prepare())
    assert (plan.target, plan.task, plan.uri) == ("2", "regression", None)


def test_places_mean_the_same_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert absolute("~/legs") == absolute("legs") == str(tmp_path / "legs")
    assert absolute("s3://bucket/~/legs") == "s3://bucket/~/legs"


def test_a_table_is_described_by_its_values_and_not_by_how_they_are_written() -> None:
    rng = np.random.default_rng(0)
    values, days = rng.uniform(0, 9999, 60).round(2), pd.date_range("2024-01-01", periods=60)
    plain = pd.DataFrame({"price": values, "day": days, "y": rng.normal(size=60)})
    written = plain.assign(
        price=[f"${value:,.2f}" for value in values], day=days.strftime("%d.%m.%Y")
    )
    one, two = (described(Source(frame, "y").prepare()) for frame in (plain, written))
    assert one == two
