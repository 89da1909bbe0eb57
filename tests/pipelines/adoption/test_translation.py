import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpaceError
from hpo.space.parameters import Categorical, Float, Integer
from pipelines.adoption import mapping
from pipelines.adoption.mapping import load_mapping, mapping_mistakes, read_mapping
from pipelines.adoption.ranges import from_optuna, widened_range
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.space import CONSTANT, INACTIVE
from pipelines.adoption.translation import Translation, translate
from pipelines.models import settings


def translated(*rows: Mapping[str, Any], model: str = "lightgbm", **changes: Any) -> Translation:
    tags = changes.get("tags", {})
    runs = [
        ForeignRun(str(i), "FINISHED", tags, {name: str(value) for name, value in row.items()}, {})
        for i, row in enumerate(rows)
    ]
    return translate(runs, settings(model), read_mapping(changes.get("given", {}), model))


def test_names_are_found_by_alias_and_behind_prefixes() -> None:
    found = translated(
        {
            "eta": 0.1,
            "LGBMClassifier__min_child_samples": 5,
            "model.reg_alpha": 0.5,
            "params/colsample_bytree": 0.9,
        },
        {
            "eta": 0.2,
            "LGBMClassifier__min_child_samples": 9,
            "model.reg_alpha": 1.5,
            "params/colsample_bytree": 0.5,
        },
    )
    assert found.configurations["1"] == {
        "learning_rate": 0.2,
        "min_data_in_leaf": 9,
        "lambda_l1": 1.5,
        "feature_fraction": 0.5,
    }
    assert found.names["min_data_in_leaf"] == ("LGBMClassifier__min_child_samples",)


def test_the_models_own_space_is_widened_to_hold_the_values() -> None:
    found = translated(
        {"learning_rate": 0.5, "num_leaves": 3, "extra_trees": "true", "lambda_l1": 0},
        {"learning_rate": 1e-4, "num_leaves": "1000.0", "extra_trees": "False", "lambda_l1": 9},
    )
    assert found.space["learning_rate"] == Float("learning_rate", 1e-4, 0.5, log=True)
    assert found.space["num_leaves"] == Integer("num_leaves", 2, 1000, log=True)
    assert found.space["extra_trees"] == Categorical("extra_trees", (False, True))
    assert found.space["lambda_l1"] == Float("lambda_l1", 1e-4, 9.0, log=True)  # 0 is its lower end
    assert found.configurations["0"]["extra_trees"] is True
    assert found.configurations["1"]["num_leaves"] == 1000
    assert found.space.encode(found.configurations["0"])[found.space.names.index("lambda_l1")] == 0


def test_an_unknown_range_is_that_of_the_values() -> None:
    rows = [
        {"max_depth": d, "path_smooth": s, "max_bin": b}
        for d, s, b in ((3, 0.0, 15), (-1, 0.5, 2000))
    ]
    found = translated(*rows)
    assert found.space["max_depth"] == Integer("max_depth", -1, 3)
    assert found.space["path_smooth"] == Float("path_smooth", 0.0, 0.5)
    assert found.space["max_bin"] == Integer("max_bin", 15, 2000, log=True)


def test_parameters_are_left_out_with_a_reason() -> None:
    found = translated(
        *(
            {"num_leaves": n, "n_estimators": 100 * n, "seed": n, "note": n, "max_bin": 63, "x": n}
            for n in (3, 4)
        ),
        given={"x": None},
    )
    assert found.left_out == {
        mapping.EXCLUDED: ("x",),
        mapping.SET_BY_STUDY: ("n_estimators", "seed"),
        mapping.UNKNOWN: ("note",),
        CONSTANT: ("max_bin=63",),
    }
    assert found.space.names == ("num_leaves",)
    (note,) = found.notes
    assert (
        "num_iterations differs between the runs, from 300 to 400: each counts as a full training"
        in note
    )


def test_missing_values_are_the_librarys_default() -> None:
    found = translated(
        {"num_leaves": 7, "eta": 0.3, "max_bin": 63},
        {"num_leaves": 9},
        {"num_leaves": 8, "max_bin": 31},
    )
    assert found.configurations["1"] == {"num_leaves": 9, "learning_rate": 0.1}
    assert found.notes == (
        "learning_rate is not logged in 2 of 3 runs: assumed the library's default 0.1",
        "max_bin is not logged in 1 of 3 runs: left unset",
    )


@pytest.mark.parametrize("text", ["None", "null", "", "nan"])
def test_none_means_not_set(text: str) -> None:
    found = translated(
        {"max_depth": text, "subsample": 0.5}, {"max_depth": 7, "subsample": 0.9}, model="xgboost"
    )
    assert found.configurations["0"]["max_depth"] == 6


def test_a_run_with_an_unreadable_value_is_left_out() -> None:
    rows = [{"num_leaves": v} for v in (3, "many", 2.5, "inf", "'9'")]
    found = translated(*rows)
    assert [found.configurations[name]["num_leaves"] for name in ("0", "4")] == [3, 9]
    assert found.unreadable == {
        "num_leaves='many' is not a number; say with mapping what it means": ("1",),
        "num_leaves=2.5 is not a whole number": ("2",),
        "num_leaves=inf is not a finite number": ("3",),
    }


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"learning_rate": -1}, "learning_rate must be above 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"subsample": 5}, r"bagging_fraction must lie in \(0, 1\]"),
        ({"bagging_fraction": -2}, r"bagging_fraction must lie in \(0, 1\]"),
        ({"feature_fraction": 2}, r"feature_fraction must lie in \(0, 1\]"),
        ({"num_leaves": -3}, r"num_leaves must lie in \[2, 131072\]"),
        ({"num_leaves": "9" * 400}, "is not a finite number"),
        ({"max_depth": "9" * 5000}, "is not a finite number"),
        ({"max_bin": "many"}, "max_bin='many' is not a number"),
        ({"extra_trees": "maybe"}, "extra_trees='maybe' is none of False, True"),
        ({"n_estimators": "9" * 5000}, "n_estimators=9{40} is not a finite number"),
        ({"n_estimators": -5}, r"num_iterations must lie in \[1, 2147483647\]"),
    ],
)
def test_a_run_with_an_impossible_value_is_left_out(row: Mapping[str, Any], rule: str) -> None:
    good = [{"num_leaves": 8 + i, "n_estimators": 100} for i in range(2)]
    found = translated(*good, {"num_leaves": 20, **row})
    assert set(found.configurations) == {"0", "1"}
    (reason,) = found.unreadable
    assert re.search(rule, reason)
    assert len(reason) < 200
    assert found.space.names == ("num_leaves",)
    assert found.space["num_leaves"] == settings("lightgbm").space["num_leaves"]


def test_possible_values_outside_the_usual_ranges_count() -> None:
    rows = [
        {"reg_lambda": 1e5, "max_depth": 0, "eta": 1e9},
        {"reg_lambda": 0, "max_depth": 30, "eta": 1.5},
    ]
    found = translated(*rows, model="xgboost")
    assert len(found.configurations) == 2
    assert found.space["reg_lambda"] == Float("reg_lambda", 1e-4, 1e5, log=True)
    assert found.space["max_depth"] == Integer("max_depth", 0, 30)


def test_rounds_that_are_not_set_are_ignored() -> None:
    rows = [{"num_leaves": 8, "n_estimators": "None"}, {"num_leaves": 9, "n_estimators": "nan"}]
    found = translated(*rows)
    assert len(found.configurations) == 2
    assert not found.notes


def test_two_names_of_one_parameter_must_agree() -> None:
    found = translated(
        {"eta": 0.1, "learning_rate": 0.1}, {"eta": 0.1, "learning_rate": 0.2}, {"eta": 0.3}
    )
    assert set(found.configurations) == {"0", "2"}
    (reason,) = found.unreadable
    assert "eta and learning_rate both mean learning_rate but differ" in reason


def test_a_mapping_renames_and_translates_values() -> None:
    given = {
        "lr": "eta",
        "leaves": {"name": "num_leaves"},
        "s": {"name": "data_sample_strategy", "values": {0: "goss"}},
    }
    found = translated(
        {"lr": 0.1, "leaves": 4, "s": 0}, {"lr": 0.2, "leaves": 5, "s": "bagging"}, given=given
    )
    assert found.configurations["0"] == {
        "learning_rate": 0.1,
        "num_leaves": 4,
        "data_sample_strategy": "goss",
    }
    assert found.space["data_sample_strategy"] == Categorical(
        "data_sample_strategy", ("bagging", "goss")
    )


def test_bagging_that_was_off_is_corrected() -> None:
    rows = [{"subsample": s, "subsample_freq": f} for s, f in ((0.5, 0), (0.6, 1), (0.7, 0))]
    found = translated(*rows)
    assert [row["bagging_fraction"] for row in found.configurations.values()] == [1.0, 0.6, 1.0]
    assert "bagging_fraction had no effect in 2 runs" in found.notes[0]


def test_conditions_of_the_models_space_hold() -> None:
    rows = [
        {"grow_policy": g, "max_leaves": n, "eta": n / 100}
        for g, n in (("lossguide", 9), ("depthwise", 8))
    ]
    found = translated(
        *rows, {"grow_policy": "lossguide", "max_leaves": 30, "eta": 0.2}, model="xgboost"
    )
    assert found.space["max_leaves"].when == {"grow_policy": ("lossguide",)}
    assert "max_leaves" not in found.configurations["1"]
    always = translated(
        *({"grow_policy": "lossguide", "max_leaves": n} for n in (9, 10)), model="xgboost"
    )
    assert always.space.names == ("max_leaves",)
    assert not always.space["max_leaves"].when
    never = translated(*({"max_leaves": n, "eta": n / 100} for n in (9, 10)), model="xgboost")
    assert never.left_out[INACTIVE] == ("max_leaves",)


def test_a_choice_called_none_is_a_choice() -> None:
    rows = [{"numeric_embedding": e, "width": w} for e, w in (("none", 64), ("periodic", 128))]
    assert translated(*rows, model="mlp").configurations["0"]["numeric_embedding"] == "none"


def test_the_range_that_optuna_logged_is_used() -> None:
    tags = {
        "learning_rate_distribution": "FloatDistribution(high=0.3, log=True, low=0.001, step=None)",
        # Numeric choices: the parameter stays an integer, as in the model's own space.
        "num_leaves_distribution": "CategoricalDistribution(choices=(8, 16))",
    }
    found = translated(
        {"learning_rate": 0.1, "num_leaves": 8}, {"learning_rate": 0.2, "num_leaves": 16}, tags=tags
    )
    assert found.space["learning_rate"] == Float("learning_rate", 0.001, 0.3, log=True)
    assert isinstance(found.space["num_leaves"], Integer)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("min_data_in_leaf", "FloatDistribution(high=9.7, log=True, low=0.5, step=None)", (1, 9)),
        ("min_data_in_leaf", "FloatDistribution(high=0.9, log=True, low=0.5, step=None)", None),
        ("min_data_in_leaf", f"IntDistribution(high={10**400}, log=True, low=1, step=1)", None),
        ("num_leaves", "IntDistribution(high=200000, log=False, low=2, step=1)", None),
        ("bagging_fraction", "FloatDistribution(high=5.0, log=False, low=-2.0, step=None)", None),
        ("learning_rate", "log-uniform", None),
    ],
)
def test_an_impossible_range_is_ignored_with_a_note(
    name: str, text: str, expected: tuple[int, int] | None
) -> None:
    values = (3, 5) if isinstance(settings("lightgbm").space[name], Integer) else (0.8, 0.9)
    rows = [{name: value, "bagging_freq": 1} for value in values]
    found = translated(*rows, tags={f"{name}_distribution": text})
    if expected:
        assert found.space[name] == Integer(name, *expected, log=True)
        assert not found.notes
    else:
        assert found.space[name] == widened_range(
            name, None, settings("lightgbm").space[name], [rows[1][name]]
        )
        (note,) = found.notes
        assert note.startswith(
            f"the tag {name}_distribution is not a possible range of {name} and is ignored: "
        )
        assert len(note) < 250


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IntDistribution(high=64, log=True, low=4, step=1)", Integer("p", 4, 64, log=True)),
        ("FloatDistribution(high=1.0, log=False, low=0.1, step=0.1)", Float("p", 0.1, 1.0)),
        ("CategoricalDistribution(choices=('a', True, 1))", Categorical("p", ("a", True, 1))),
        ("CategoricalDistribution(choices=(None, 'a'))", None),
        ("FloatDistribution(high=1.0, log=True, low=0.0, step=None)", None),
        ("FloatDistribution(high=1.0)", None),
        ("__import__('os').system('touch pwned')", None),
        ("IntDistribution(high=__import__('os').getpid(), log=False, low=0, step=1)", None),
        ("not ( python", None),
        (f"IntDistribution(high={10**400}, log=True, low=1, step=1)", None),
        (f"FloatDistribution(high={10**400}, log=False, low=0.0, step=None)", None),
        (f"FloatDistribution(high={'9' * 5000}, log=False, low=0.0, step=None)", None),
        (f"FloatDistribution(high={'-' * 5000}1, log=False, low=0.0, step=None)", None),
        ("7", None),
    ],
)
def test_distributions_are_parsed_and_never_evaluated(text: str, expected: object) -> None:
    assert from_optuna("p", text) == expected


def test_a_range_holds_all_values() -> None:
    searched = Integer("p", 2, 4)
    assert widened_range("p", searched, Integer("p", 1, 9), [0, 7]) == Integer("p", 0, 7)
    assert widened_range("p", None, None, ["b", "a"]) == Categorical("p", ("a", "b"))


@pytest.mark.parametrize(
    ("entries", "mistake"),
    [
        (
            {"lr": "learning_rat"},
            "lightgbm has no parameter 'learning_rat', did you mean 'learning_rate'",
        ),
        ({"n": "n_estimators"}, "n_estimators is set by the study and cannot be searched"),
        ({"lr": 3}, "lr must be the name of a parameter, null, or"),
        ({"lr": {"nam": "eta"}}, "lr must be the name of a parameter, null, or"),
        ({"lr": {"name": "eta", "values": [1]}}, "lr: values must map"),
        ({"lr": {"name": "eta", "values": {0: [1]}}}, "lr: values must map"),
    ],
)
def test_mistakes_in_a_mapping(entries: Mapping[str, Any], mistake: str) -> None:
    (found,) = mapping_mistakes(entries, "lightgbm")
    assert mistake in found


def test_a_mapping_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text(
        "lr: learning_rate\non: {name: extra_trees, values: {yes: true, 1: false}}\nnote: null\n"
    )
    entries = load_mapping(path)
    assert not list(mapping_mistakes(entries, "lightgbm"))
    meaning = read_mapping(entries, "lightgbm")["on"]
    assert meaning is not None
    assert meaning.values == {"yes": True, "1": False}
    with pytest.raises(SpaceError, match="is not a file, did you mean 'names.yaml'"):
        load_mapping(tmp_path / "name.yaml")
    path.write_text("- a\n")
    with pytest.raises(SpaceError, match="must map logged names to parameters of the model"):
        load_mapping(path)
