import numpy as np
import pandas as pd
import pytest

from pipelines.source import Source


@pytest.mark.parametrize("target", [2, "2", " 2 "])
def test_columns_that_are_numbers_are_named_by_their_texts(target: object) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)))
    source = Source(frame, target, "auto", "random", 0.2, "holdout", 0)  # type: ignore[arg-type]
    plan = source.plan(source.prepare())
    assert (plan.target, plan.task, plan.uri) == ("2", "regression", None)
