from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.algorithms import algorithm
from hpo.arrays import FloatArray
from hpo.samplers.learned import LearnedSampler
from hpo.samplers.tpe import TPESampler
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Integer, Value
from tests.strategies import spaces
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.transfer import (
    MAX_STUDIES_PER_TABLE,
    OTHER_FAMILY,
    OTHER_METRIC,
    Neighbour,
    completed,
    learned,
    narrowed,
    neighbours,
    translated,
    why_not,
)

OLD = SearchSpace(
    (
        Float("learning_rate", 1e-3, 0.5, log=True),
        Integer("leaves", 2, 400, log=True),
        Float("gone", 0.0, 1.0),
        Categorical("kind", ("a", "b", "old")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
    )
)
NEW = SearchSpace(
    (
        Float("learning_rate", 1e-2, 0.1, log=True),
        Integer("leaves", 2, 100, log=True),
        Float("added", 0.0, 1.0),
        Categorical("kind", ("a", "b")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
    )
)
DEFAULT: dict[str, Value] = {
    "learning_rate": 0.05,
    "leaves": 31,
    "added": 0.25,
    "kind": "b",
    "deep": 0.75,
}


def features(**values: float) -> MetaFeatures:
    return MetaFeatures({f"size.{name}": value for name, value in values.items()}, 1, {}, 0)


ROWS_1 = features(rows=1.0)


def study(
    name: str,
    space: SearchSpace = OLD,
    *,
    model: str = "lightgbm",
    metric: str = "roc_auc",
    task: str = "binary",
    digest: str | None = None,
    described: MetaFeatures | None = ROWS_1,
    n: int = 10,
    codes: FloatArray | None = None,
) -> PastStudy:
    x = space.codes.sample(np.random.default_rng(0), n) if codes is None else codes
    losses = np.arange(len(x), dtype=float)
    return PastStudy(name, name, model, metric, task, digest or name, described, space, x, losses)


def encoded(space: SearchSpace, *configurations: dict[str, Value]) -> FloatArray:
    return np.array([space.encode(params) for params in configurations])


def test_what_two_spaces_share_is_taken_over_and_the_rest_is_the_default() -> None:
    past = study(
        "s", codes=encoded(OLD, {"learning_rate": 0.02, "leaves": 8, "gone": 0.5, "kind": "a"})
    )
    x, losses = translated(past, "lightgbm", NEW, DEFAULT)
    params = NEW.decode(x[0])
    assert params["learning_rate"] == pytest.approx(0.02, rel=1e-3)
    assert {k: v for k, v in params.items() if k != "learning_rate"} == {
        "leaves": 8,
        "added": 0.25,
        "kind": "a",
    }
    assert losses.tolist() == [0.0]


def test_values_beyond_the_bounds_become_the_bounds() -> None:
    past = study(
        "s", codes=encoded(OLD, {"learning_rate": 0.5, "leaves": 400, "gone": 0.5, "kind": "a"})
    )
    params = NEW.decode(translated(past, "lightgbm", NEW, DEFAULT)[0][0])
    assert params["learning_rate"] == pytest.approx(0.1)
    assert params["leaves"] == 100


def test_a_choice_that_is_no_more_takes_the_default_and_what_depends_on_it() -> None:
    past = study(
        "s", codes=encoded(OLD, {"learning_rate": 0.02, "leaves": 8, "gone": 0.5, "kind": "old"})
    )
    params = NEW.decode(translated(past, "lightgbm", NEW, DEFAULT)[0][0])
    assert params["kind"] == "b"
    assert params["deep"] == pytest.approx(0.75, abs=1e-3)


ALL = SearchSpace(
    (
        Categorical("model", ("lightgbm", "mlp")),
        Float("lightgbm.learning_rate", 1e-2, 0.1, log=True, when={"model": ("lightgbm",)}),
        Float("mlp.learning_rate", 1e-2, 0.1, log=True, when={"model": ("mlp",)}),
    )
)
ONE = SearchSpace((Float("learning_rate", 1e-2, 0.1, log=True),))


def test_a_family_helps_a_search_over_all_of_them() -> None:
    past = study("s", ONE, model="mlp", codes=encoded(ONE, {"learning_rate": 0.03}))
    params = ALL.decode(
        translated(past, "all", ALL, {"model": "lightgbm", "lightgbm.learning_rate": 0.05})[0][0]
    )
    assert params == {"model": "mlp", "mlp.learning_rate": pytest.approx(0.03, rel=1e-3)}


def test_a_search_over_all_families_helps_one_of_them_with_its_own_trials() -> None:
    codes = encoded(
        ALL,
        {"model": "mlp", "mlp.learning_rate": 0.03},
        {"model": "lightgbm", "lightgbm.learning_rate": 0.06},
    )
    x, losses = translated(
        study("s", ALL, model="all", codes=codes), "lightgbm", ONE, {"learning_rate": 0.05}
    )
    assert ONE.decode(x[0])["learning_rate"] == pytest.approx(0.06, rel=1e-3)
    assert losses.tolist() == [1.0]


@settings(max_examples=80, deadline=None)
@given(old=spaces(), new=spaces(), seed=st.integers(0, 2**16))
def test_any_past_space_gives_configurations_of_any_new_one(
    old: SearchSpace, new: SearchSpace, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    default = new.sample(rng)
    theirs = old.sample(rng)
    chosen = completed(theirs, new, default)
    assert set(chosen) <= set(new.active(chosen))
    for name, value in chosen.items():
        assert new[name].why_not(new.decode(new.encode(chosen))[name]) is None
        assert value in (theirs.get(name), default.get(name))
    x, _ = translated(study("s", old, codes=old.encode(theirs)[None]), "lightgbm", new, default)
    np.testing.assert_array_equal(new.codes.deactivate(x), x)


def found_among(
    studies: Sequence[PastStudy], model: str = "lightgbm", space: SearchSpace = NEW
) -> list[Neighbour]:
    """The neighbours of a study of the table `mine`, which has one row by its meta-features."""
    return neighbours(
        studies, ROWS_1, model=model, space=space, metric="roc_auc", task="binary", digest="mine"
    )


def neighbours_of(*studies: PastStudy) -> list[str]:
    return [neighbour.study.name for neighbour in found_among(studies)]


def test_only_studies_that_can_say_something_are_neighbours() -> None:
    assert neighbours_of(
        study("good"),
        of_all("all families", mlp=0, lightgbm=9),
        study("numbers", task="regression"),
        study("like trees", model="xgboost"),
        study("another family", model="mlp"),
        study("without features", described=None),
        study("two trials", n=2),
        study("another space", SearchSpace((Float("gone", 0.0, 1.0),))),
    ) == ["all families", "good", "numbers", "like trees"]


def test_the_most_alike_come_first_and_the_same_table_before_all() -> None:
    found = found_among(
        [study(f"{rows}", described=features(rows=float(rows))) for rows in (9, 1, 5, 2, 7)]
        + [study("mine", digest="mine", described=features(rows=8.0))],
    )
    assert [neighbour.study.name for neighbour in found] == ["mine", "1", "2", "5", "7", "9"]
    assert found[0].same_table


def test_another_metric_counts_less() -> None:
    one, other = found_among([study("same"), study("other", metric="log_loss")])
    assert (one.kinship, other.kinship) == (1.0, OTHER_METRIC)
    assert other.similarity == one.similarity


def test_another_family_counts_less_and_another_kind_of_task_does_not() -> None:
    one, numbers, other = found_among(
        [
            study("same"),
            study("trees", model="xgboost"),
            study("x numbers", task="regression", metric="rmse"),
        ],
    )
    assert numbers.study.name == "x numbers"
    assert (one.kinship, numbers.kinship, other.kinship) == (1.0, 1.0, OTHER_FAMILY)


def of_all(name: str, mlp: int, lightgbm: int) -> PastStudy:
    """A study of all families with so many trainings of each."""
    network: dict[str, Value] = {"model": "mlp", "mlp.learning_rate": 0.03}
    trees: dict[str, Value] = {"model": "lightgbm", "lightgbm.learning_rate": 0.06}
    codes = encoded(ALL, *[network] * mlp, *[trees] * lightgbm)
    return study(name, ALL, model="all", codes=codes)


def test_of_a_study_of_all_only_what_means_something_counts() -> None:
    few, enough = of_all("few", mlp=2, lightgbm=9), of_all("enough", mlp=3, lightgbm=9)
    found = found_among([few, enough], "mlp", ONE)
    assert [neighbour.study.name for neighbour in found] == ["enough"]
    assert why_not(few, "mlp", ONE) == "fewer than 3 results that say something of mlp"
    assert [
        len(source.x) for source in learned(found, "mlp", ONE, {"learning_rate": 0.05}).sources
    ] == [3]


def test_a_study_that_an_older_release_kept_and_that_says_nothing_is_not_learned_from() -> None:
    stored = [
        Neighbour(of_all("few", mlp=0, lightgbm=9), 1.0, False),
        Neighbour(study("good", ONE, model="mlp"), 1.0, False),
    ]
    assert [
        source.name for source in learned(stored, "mlp", ONE, {"learning_rate": 0.05}).sources
    ] == ["good"]


def test_a_study_of_the_same_table_is_known_as_one() -> None:
    found = found_among([study(f"s{i}") for i in range(3)] + [study("mine", digest="mine")])
    sources = learned(found, "lightgbm", NEW, DEFAULT).sources
    assert [(source.name, source.same_table) for source in sources][0] == ("mine", True)
    assert not any(source.same_table for source in sources[1:])


def nightly(n: int) -> list[Neighbour]:
    """The past of a team that tunes one table every night, beside eleven other tables."""
    return found_among(
        [study(f"night {i}", digest="nightly", described=features(rows=4.0)) for i in range(n)]
        + [study(f"s{i}", described=features(rows=float(i))) for i in range(11)],
    )


def test_a_table_that_is_tuned_every_night_leaves_room_for_the_others() -> None:
    names = [neighbour.study.name for neighbour in nightly(45)]
    assert len(names) == 11 + MAX_STUDIES_PER_TABLE
    assert {f"s{i}" for i in range(11)} <= set(names)


def test_copies_of_a_study_change_neither_what_is_alike_nor_what_is_expected_by_much() -> None:
    once, often = nightly(1), nightly(45)
    assert {n.study.digest: n.similarity for n in often} == {
        n.study.digest: n.similarity for n in once
    }
    x = NEW.codes.sample(np.random.default_rng(1), 50)
    one, many = (learned(found, "lightgbm", NEW, DEFAULT).expected(x) for found in (once, often))
    assert np.corrcoef(one, many)[0, 1] > 0.95


def test_of_one_table_those_by_the_same_metric_are_taken_and_the_largest_and_newest_of_them() -> (
    None
):
    studies = [
        study("newest", digest="mine", n=5),
        study("large", digest="mine", n=9),
        study("other metric", digest="mine", metric="log_loss", n=10),
        study("older", digest="mine", n=5),
        study("oldest", digest="mine", n=5),
        study("another family", digest="mine", model="xgboost", n=5),
    ]
    assert set(neighbours_of(*studies)) == {"large", "newest", "older", "another family"}


def test_a_narrowed_space_is_the_box_around_the_best_of_each_past_study() -> None:
    good: list[dict[str, Value]] = [
        {"learning_rate": 0.02, "leaves": 8, "gone": 0.5, "kind": "a"},
        {"learning_rate": 0.05, "leaves": 30, "gone": 0.5, "kind": "a"},
    ]
    bad: list[dict[str, Value]] = [
        {"learning_rate": 0.01, "leaves": 2, "gone": 0.5, "kind": "a"}
    ] * 20
    past = study("s", codes=encoded(OLD, *(good * 3), *bad))
    found = found_among([past])
    space = narrowed(learned(found, "lightgbm", NEW, DEFAULT))
    rate = space["learning_rate"]
    assert (rate.low, rate.high) == pytest.approx((0.02, 0.05), rel=1e-3)  # type: ignore[union-attr]
    assert (space["leaves"].low, space["leaves"].high) == (8, 30)  # type: ignore[union-attr]
    assert space["added"] == NEW["added"]  # all of them had the default
    assert space["kind"] == NEW["kind"]
    assert space["deep"] == NEW["deep"]


def test_seconds_count_for_studies_of_the_same_family() -> None:
    timed = replace(study("s", NEW), seconds=np.arange(10.0))
    other = replace(study("o", NEW, model="xgboost"), seconds=np.arange(10.0))
    found = [Neighbour(each, 1.0, same_table=False) for each in (timed, other, study("u", NEW))]
    past = learned(found, "lightgbm", NEW, DEFAULT)
    assert [len(source.seconds) for source in past.sources] == [10, 0, 0]
    assert past.durations.slopes is not None
    sampler, _ = algorithm("tpe", (9.0,), past=past, in_limited_time=True)
    assert isinstance(sampler, LearnedSampler)
    assert isinstance(sampler.own, TPESampler)
    assert sampler.own.durations is past.durations
