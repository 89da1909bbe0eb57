from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.table.source import Source, absolute


@pytest.mark.parametrize("target", [2, "2", " 2 "])
def test_columns_that_are_numbers_are_named_by_their_texts(target: object) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)))
    source = Source(frame, target, "auto", "random", 0.2, "holdout", 0)  # type: ignore[arg-type]
    plan = source.plan(source.prepare())
    assert (plan.target, plan.task, plan.uri) == ("2", "regression", None)


def test_places_mean_the_same_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert absolute("~/legs") == absolute("legs") == str(tmp_path / "legs")
    assert absolute("s3://bucket/~/legs") == "s3://bucket/~/legs"
