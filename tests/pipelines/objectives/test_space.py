import re
from typing import Any

import pandas as pd
import pytest

from hpo.errors import ParameterError, SpaceError
from hpo.space import Params, SearchSpace
from hpo.space.parameters import Float
from pipelines.objectives.checks import check
from pipelines.objectives.space import SpaceChoice, choose_space, space_notes, step_notes
from pipelines.study import runs
from pipelines.study.options import TuneOptions
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


def test_a_step_that_does_not_reach_the_upper_bound_is_noticed() -> None:
    space = SearchSpace.from_dict(
        {
            "num_leaves": {"low": 2, "high": 31, "step": 10},
            "bagging_fraction": {"low": 0.1, "high": 1.0, "step": 0.1},
            "max_bin": [63, 255],
        }
    )

    (note,) = step_notes(space)

    assert note == (
        "warning: space: num_leaves never takes high=31, because the steps of 10 from low=2 end at "
        "22"
    )


def test_mistakes_of_every_kind_are_told_at_once() -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": [0, 1]})
    options = TuneOptions(
        frame.to_numpy(),  # type: ignore[arg-type]
        frame["y"],  # type: ignore[arg-type]
        trials=0,
        algorithm="tpee",
        space={"lerning_rate": [0.1], "num_leafs": [1]},
    )

    with pytest.raises(ParameterError) as error:
        check(options)

    text = str(error.value)
    assert text.startswith("6 mistakes:")
    for words in (
        "data is a NumPy array, without column names; give pd.DataFrame(data, columns=…)",
        "target must be the name of a column of data, but it is of the type Series; add",
        "trials=0 must be greater than 0",
        "unknown algorithm 'tpee', did you mean 'tpe'?",
        "lightgbm has no parameter 'lerning_rate', did you mean 'learning_rate'?",
        "lightgbm has no parameter 'num_leafs', did you mean 'num_leaves'?",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("data", "target", "words"),
    [
        (
            "t.csv",
            None,
            "target=None: data and target are needed; give the name of the column to predict",
        ),
        (" ", "y", "data=' ' is empty; give the path or URI of a table"),
        (
            [1, 2],
            "y",
            "pandas DataFrame, but it is of the type list; give pd.DataFrame(data)",
        ),
        ("t.csv", 1.5, "target=1.5 must be the name of a column"),
    ],
)
def test_a_wrong_table_or_target_has_a_sentence_of_its_own(
    data: Any, target: Any, words: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(words)):
        check(TuneOptions(data, target))
    check(TuneOptions("t.csv", study="a run id"))  # the study has a target
