"""What `tune` and `train` refuse before a table is read or a worker starts."""

import math

import pandas as pd
import pytest

from hpo.errors import ParameterError, UserError
from pipelines.objectives import mistakes
from pipelines.train import train
from pipelines.tune import tune
from pipelines.validate import validate


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials=0 must be greater than 0"),
        ({"timeout": -1.0}, "timeout=-1.0 must be greater than 0"),
        ({"timeout": math.nan}, "timeout=nan must be greater than 0"),
        ({"timeout": math.inf}, "timeout=inf must be finite; leave it out for no limit"),
        ({"trial_timeout": 0.0}, "trial_timeout=0.0 must be greater than 0"),
        ({"trials": "5"}, "trials='5' must be a whole number"),
        ({"trials": 2.5}, "trials=2.5 must be a whole number"),
        ({"workers": True}, "workers=True must be a whole number"),
        ({"seed": None}, "seed=None must be a whole number"),
        ({"timeout": "1h"}, "timeout='1h' must be a number"),
        ({"max_budget": 10**9}, "max_budget=1000000000 must be 1,000,000 or less"),
        ({"workers": 0}, "workers=0 must be greater than 0"),
        ({"workers": 10_000}, r"workers=10000 exceeds the \d+ core"),
        ({"max_budget": -5}, "max_budget=-5 must be greater than 0"),
        ({"test_share": 0.5}, "test_share=0.5 must be 0 or greater, and less than 0.5"),
        ({"seed": -1}, "seed=-1 must be 0 or greater"),
        ({"warm_start": " , "}, "warm_start=' , ' must be auto, off, own, or run ids"),
        ({"warm_start": ["alpha", "beta"]}, "take warm_start='alpha,beta'"),
        ({"warm_start": False}, "warm_start=False must be text: .* take warm_start='off'"),
        ({"warm_start": None}, "take warm_start='auto'"),
        ({"model": None}, "model=None must be text"),
        ({"model": "lihgtgbm"}, "unknown model 'lihgtgbm', did you mean 'lightgbm'"),
        ({"algorithm": "tpee"}, "unknown algorithm 'tpee', did you mean 'tpe'"),
        ({"algorithm": "tpe:gama=1"}, "'tpe:gama=1': tpe has no setting 'gama', did you mean"),
        ({"algorithm": "kde"}, "'kde' is a sampler.*write kde.full"),
        (
            {"algorithm": "async_hyperband"},
            "'async_hyperband' is a scheduler.*random.async_hyperband",
        ),
        ({"algorithm": None}, "algorithm=None must be text"),
        ({"algorithm": "bohb", "fidelity": 5}, "fidelity=5 must be text"),
        ({"algorithm": "bohb", "eta": math.inf}, "eta=inf must be 2 or more, and finite"),
        (
            {"algorithm": "bohb", "min_budget": -5},
            "2 mistakes:\n- min_budget=-5 must be greater than 0\n",
        ),
        (
            {"algorithm": "bohb", "min_budget": -5, "fidelity": "x"},
            "(?s)3 mistakes:.*min_budget=-5.*fidelity 'x'.*no file",
        ),
        ({"register": "a/b"}, "cannot name a registered model"),
        ({"test_share": 0}, "give a table of them as test="),
        ({"test_share": 0.3, "test": "t.csv"}, "test_share=0.3 would hold out more"),
        ({"test": 5}, "test must be a path, a URI .* but it is of the type int"),
        ({"validation": "valid"}, "'cv:K' with 2 <= K <= 20, or a table .* got 'valid'"),
        ({"validation": "holdout:1.5"}, "a share between 0 and 1"),
        ({"validation": None}, "validation must be text, a path or a pandas DataFrame"),
        ({"validation": "cv:3", "fold": "k"}, "fold='k' gives the folds, and validation is 'cv:3'"),
        ({"fold": "k", "confirm": 3}, "leave confirm out"),
        *(
            ({"ensemble": value}, f"ensemble={value!r} must be auto, off, or how many trials")
            for value in (0, -1, "0", 51, "many", "5.0", "", True, None)
        ),
        ({"loss": "qantile:0.5"}, "unknown loss 'qantile:0.5', did you mean 'quantile'"),
        (
            {"loss": "gamma", "model": "catboost"},
            "catboost cannot be trained for loss='gamma'; take model=lightgbm or xgboost or hist",
        ),
        ({"monotone": "age"}, r"monotone='age' must give \+1 or -1 to columns"),
        ({"monotone": {"age": 2}}, r"monotone=.*must give \+1 or -1 to columns"),
        ({"monotone": {"age": 1}, "model": "mlp"}, "mlp takes no monotone columns; take model=lig"),
        ({"monotone": "age:-1", "loss": "quantile:0.5"}, "cannot be kept with a quantile loss"),
        ({"device": "gpu"}, "unknown device 'gpu'.*; devices: auto, cpu, cuda"),
        (
            {"device": "cuda", "model": "catboost"},
            "catboost cannot be trained on a GPU; take model=lightgbm or xgboost or mlp",
        ),
        ({"quiet": True, "verbose": True}, "quiet shows less and verbose more; leave one of them"),
        ({"quiet": "yes"}, "quiet='yes' must be true or false"),
        ({"loss": "huber", "model": "all"}, "mlp cannot be trained for loss='huber'"),
    ],
)
def test_impossible_values_are_refused_at_once(given: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        tune("there is no such file", "y", **given)  # type: ignore[arg-type]


def test_mistakes_in_options_space_and_table_are_told_together() -> None:
    table = pd.DataFrame({"a": range(20), "y": ["no", "yes"] * 10})
    with pytest.raises(UserError) as raised:
        tune(table, "z", trials=0, split="time:b", types="c:number", metric="auc", weight="w")
    assert [text.partition(";")[0] for text in raised.value.mistakes] == [
        "trials=0 must be greater than 0",
        "the table has no target column 'z'",
        "split 'time:b': the table has no column 'b'",
        "types: the table has no column 'c'",
        "weight='w': the table has no such column",
        "unknown metric 'auc', did you mean 'roc_auc'?",
    ]
    with pytest.raises(UserError) as raised:
        tune(table, "y", space="none.yaml", positive="maybe", weight="w", metric="rmse")
    assert [text.partition(";")[0] for text in raised.value.mistakes] == [
        "space='none.yaml' is neither `default`, `past`, `auto:<run id>` nor a file",
        "weight='w': the table has no such column",
        "positive='maybe' is no label of 'y'",
        "metric 'rmse' is for regression tasks, but this one is binary",
    ]


def test_unknown_names_are_told_with_the_other_mistakes() -> None:
    with pytest.raises(UserError, match=r"(?s)3 mistakes:.*'trails', did.*'lgbm'.*no file"):
        tune("there is no such file", "y", trails=3, model="lgbm")  # type: ignore[call-arg]


def test_a_large_table_is_not_read_for_the_sake_of_other_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mistakes, "SMALL", 0)
    with pytest.raises(ParameterError, match=r"^trials=0 must be greater than 0$"):
        tune(__file__, "y", trials=0)


def test_a_table_and_a_target_are_needed() -> None:
    with pytest.raises(ParameterError, match="data and target are needed"):
        tune("there is no such file")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give either trial .* or params"),
        ({"trial": "a", "params": "b"}, "and not both"),
        ({"params": "b"}, "data and target are needed"),
        ({"params": "b", "max_budget": 0}, "max_budget=0 must be greater than 0"),
        ({"params": "b", "seed": -1}, "seed=-1 must be 0 or greater"),
        ({"params": "b", "model": "all"}, "unknown model 'all'.*; models: lightgbm, xgboost, mlp"),
        ({"params": "b", "data": "d", "target": "y"}, "params='b' is not a file"),
        (
            {"params": "b", "refit": "alll"},
            "unknown refit='alll', did you mean 'all'.*it is one of auto, off, all",
        ),
        ({"trial": "a", "register": "a/b"}, "cannot name a registered model"),
    ],
)
def test_train_refuses_impossible_values_as_well(given: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        train(**given)  # type: ignore[arg-type]


def test_unknown_parameters_are_refused_with_the_closest_name() -> None:
    with pytest.raises(ParameterError, match="unknown parameter 'trails', did you mean 'trials'"):
        tune("there is no such file", "y", trails=5)  # type: ignore[call-arg]


def test_a_validation_does_not_narrow_its_space() -> None:
    with pytest.raises(ParameterError, match="space=past needs past studies"):
        validate("there is no such file", "y", space="past")
