"""Gaps between groups, robustness, and estimates of energy."""

from importlib import metadata

import numpy as np
import pandas as pd
import pytest

from hpo.errors import ParameterError
from pipelines.table.scores import gaps
from pipelines.table.scores.costs import watt_hours, watts_of
from pipelines.table.scores.functions import is_function
from pipelines.table.scores.gaps import check_gap, gap, group_codes
from pipelines.table.scores.robustness import disturbed, strength_of
from serving.features import Matrix

FRAME = pd.DataFrame({"sex": ["a", "b", None, "a"], "age": [1, 2, 3, 4], "y": [0, 1, 0, 1]})


@pytest.fixture
def fairlearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the library is installed, it counts as such."""
    monkeypatch.setattr(metadata, "version", lambda name: "0.15.0")


def test_gaps_are_those_of_fairlearn() -> None:
    pytest.importorskip("fairlearn")
    y = np.array([0, 1, 1, 1, 1, 0])
    predicted = np.array([1, 1, 0, 1, 1, 0])
    groups = np.array([0, 0, 0, 1, 1, 1])
    prediction = np.eye(2)[predicted]
    assert gap("demographic_parity:sex", y, prediction, groups) == pytest.approx(0.0)
    # group 0: true positives 1 of 2, false positives 1 of 1; group 1: 2 of 2, and 0 of 1
    assert gap("equalized_odds:sex", y, prediction, groups) == pytest.approx(1.0)
    weight = np.array([1.0, 1, 0, 1, 1, 1])
    assert gap("demographic_parity:sex", y, prediction, groups, weight) == pytest.approx(1 / 3)


def test_missing_values_are_a_group() -> None:
    assert group_codes(FRAME["sex"]).tolist() == [0, 1, 2, 0]


@pytest.mark.usefixtures("fairlearn")
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("equalized_odds:sx", "binary", "no column 'sx'.*did you mean 'sex'"),
        ("equalized_odds:y", "binary", "no column 'y' beside the target"),
        ("equalized_odds", "binary", "needs a column whose groups it compares"),
        ("equalized_odds:sex", "regression", "is for binary tasks, but this one is regression"),
        ("demographic_parity:age", "binary", "age has 4 values; it compares 2 to 3 groups"),
    ],
)
def test_gaps_that_cannot_be_measured(
    name: str, kind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "MAX_GROUPS", 3)
    check_gap("equalized_odds:sex", "binary", FRAME, "y")
    with pytest.raises(ParameterError, match=said):
        check_gap(name, kind, FRAME, "y")


def test_without_fairlearn_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ParameterError, match=r"pip install 'mlflow-warmstart\[fairness\]'"):
        check_gap("equalized_odds:sex", "binary")


def test_rows_are_disturbed_alike_for_every_model_and_more_with_more_strength() -> None:
    rng = np.random.default_rng(0)
    rows = Matrix(
        np.column_stack([rng.normal(size=4000), rng.integers(0, 2, 4000).astype(float)]),
        rng.integers(0, 5, (4000, 1)).astype(np.int32),
    )
    once, again, more = (disturbed(rows, strength) for strength in (0.1, 0.1, 0.4))
    np.testing.assert_array_equal(once.numeric, again.numeric)
    np.testing.assert_array_equal(once.categorical, again.categorical)
    # the standard deviation of a share of n rows is at most 0.5/sqrt(n): 6 of them are 0.05
    for found, strength in ((once, 0.1), (more, 0.4)):
        assert np.isnan(found.numeric).mean() == pytest.approx(strength, abs=0.05)
        assert (found.categorical == -1).mean() == pytest.approx(strength, abs=0.05)
        kept = ~np.isnan(found.numeric[:, 0])
        noise = found.numeric[kept, 0] - rows.numeric[kept, 0]
        assert noise.std() == pytest.approx(strength * rows.numeric[:, 0].std(), rel=0.15)
    flags = once.numeric[:, 1]
    assert set(flags[~np.isnan(flags)]) == {0.0, 1.0}
    assert not np.isnan(rows.numeric).any()


def test_columns_without_values_stay_as_they_are() -> None:
    rows = Matrix(np.full((5, 1), np.nan), np.zeros((5, 0), np.int32))
    assert np.isnan(disturbed(rows, 1.0).numeric).all()


@pytest.mark.parametrize("text", ["0", "1.5", "x", "nan", ""])
def test_strengths_and_watts_that_are_none(text: str) -> None:
    with pytest.raises(ParameterError, match="strength must be a number above 0 and at most 1"):
        strength_of(f"robustness:{text}")
    if text != "1.5":
        with pytest.raises(ParameterError, match="watts of a core must be a number"):
            watts_of(f"energy:{text}")


def test_energy_is_cpu_seconds_times_watts() -> None:
    assert watt_hours(7200.0, watts_of("energy:15")) == 30.0
    assert watts_of("energy", 12.0) == 12.0
    assert strength_of("robustness") == 0.1


def test_names_with_a_column_are_no_functions() -> None:
    assert is_function("statistics:fmean")
    assert not is_function("equalized_odds:sex")
    assert not is_function("robustness:x")
