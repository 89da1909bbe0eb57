import pytest

from hpo.errors import SpaceError
from hpo.space import Params
from hpo.space.parameters import Float
from pipelines.study import runs
from pipelines.study.auto_space import Mended, mended_from, said
from tests.pipelines.findings.made_up import SPACE, sampled, study


def fast_is_good(params: Params) -> float:
    return 1 + (0.1 - float(params["learning_rate"])) * 10


@pytest.fixture(autouse=True)
def past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runs, "read_evidence", lambda run_id: study(sampled(SPACE, 80, fast_is_good))
    )


def test_the_space_of_a_past_study_is_mended() -> None:
    found = mended_from("auto: 0123", "lightgbm")
    assert found is not None
    rate = found.space["learning_rate"]
    assert isinstance(rate, Float)
    assert (rate.low, rate.high) == (0.005, 0.45)
    assert found.study == "0123"
    lines = said(found.to_header())
    assert lines[0] == "space: that of study 0123"
    assert lines[1].startswith("space: widen learning_rate to [0.005, 0.45]")


def test_other_values_mean_something_else() -> None:
    assert mended_from("default", "lightgbm") is None
    assert mended_from(SPACE, "lightgbm") is None
    assert said(None) == []
    assert (
        said(Mended(SPACE, "0123", ()).to_header())[1] == "space: nothing to mend, it is as it was"
    )


def test_the_space_of_another_model_is_refused() -> None:
    with pytest.raises(
        SpaceError,
        match="is of model=lightgbm, but this study is of model=xgboost; take model=lightgbm",
    ):
        mended_from("auto:0123", "xgboost")
