import pytest

from hpo.errors import SpaceError
from hpo.space import Params
from hpo.space.parameters import Float
from pipelines.objectives.space import SpaceChoice, choose_space, space_notes
from pipelines.study import runs
from tests.pipelines.findings.made_up import SPACE, sampled, study


def fast_is_good(params: Params) -> float:
    return 1 + (0.1 - float(params["learning_rate"])) * 10


@pytest.fixture(autouse=True)
def past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runs, "read_evidence", lambda run_id: study(sampled(SPACE, 80, fast_is_good))
    )


def test_the_space_of_a_past_study_is_adjusted() -> None:
    found = choose_space("auto: 0123", "lightgbm")
    assert found.space is not None
    rate = found.space["learning_rate"]
    assert isinstance(rate, Float)
    assert (rate.low, rate.high) == (0.005, 0.45)
    assert found.study == "0123"
    lines = space_notes(found.to_header()["space_from"])
    assert lines[0] == "space: that of study 0123"
    assert lines[1].startswith("space: widen learning_rate to [0.005, 0.45]")


def test_other_values_mean_something_else() -> None:
    assert choose_space("default", "lightgbm") == SpaceChoice()
    assert choose_space("past", "lightgbm") == SpaceChoice(narrow=True)
    assert choose_space(SPACE, "lightgbm") == SpaceChoice(SPACE)
    assert choose_space(SPACE, "lightgbm").to_header() == {}
    assert space_notes(None) == []


def test_a_space_without_changes_is_noted() -> None:
    unchanged = SpaceChoice(SPACE, study="0123").to_header()["space_from"]
    assert space_notes(unchanged)[1] == "space: nothing to adjust, it is unchanged"


def test_the_space_of_another_model_is_refused() -> None:
    with pytest.raises(
        SpaceError,
        match="is of model=lightgbm, but this study is of model=xgboost; take model=lightgbm",
    ):
        choose_space("auto:0123", "xgboost")
