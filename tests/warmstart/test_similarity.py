import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.metafeatures import VERSION, MetaFeatures, meta_features
from warmstart.similarity import (
    ONE_IS_MISSING,
    WIDTH,
    Scale,
    differences,
    in_words,
    pairwise,
    similarities,
    similarity,
)


def features(values: Mapping[str, float], version: int = VERSION) -> MetaFeatures:
    return MetaFeatures(values, version, {}, 0)


# Quartiles 1 and 3 for `a.x`: a spread of 2 / 1.349. `a.y` is constant. `b.z` has a quarter of
# ones.
POPULATION = [
    features({"a.x": x, "a.y": 5.0, "b.z": float(x == 4)}) for x in (0.0, 1.0, 2.0, 3.0, 4.0)
]


def test_a_distance_that_is_computed_by_hand() -> None:
    scale = Scale.of(POPULATION)
    assert scale.spread == pytest.approx(
        {"a.x": 2 / 1.349, "b.z": 0.4}
    )  # 0.4: a standard deviation
    one, other = (
        features({"a.x": 1.0, "a.y": 5.0, "b.z": 0.0}),
        features({"a.x": 2.0, "a.y": 9.0, "b.z": 1.0}),
    )
    assert scale.distance(one, other) == pytest.approx((1.349 / 2 + 2.5) / 2)
    assert similarity(one, other, POPULATION) == pytest.approx(
        math.exp(-0.5 * ((1.349 / 2 + 2.5) / 2 / WIDTH) ** 2)
    )


def test_far_is_far_enough() -> None:
    far, farther = features({"a.x": 100.0}), features({"a.x": 1e9})
    scale = Scale({"a.x": 2.0}, {"a.x": 1.0})
    assert scale.distance(far, farther) == 0
    assert scale.distance(features({"a.x": -100.0}), far) == 6


def test_groups_count_the_same() -> None:
    scale = Scale(
        dict.fromkeys(("a.x", "a.y", "a.z", "b.x"), 0.0),
        dict.fromkeys(("a.x", "a.y", "a.z", "b.x"), 1.0),
    )
    zero = features({"a.x": 0.0, "a.y": 0.0, "a.z": 0.0, "b.x": 0.0})
    assert scale.distance(zero, features({"a.x": 0.0, "a.y": 0.0, "a.z": 0.0, "b.x": 1.0})) == 1 / 2
    assert scale.distance(zero, features({"a.x": 1.0, "a.y": 1.0, "a.z": 1.0, "b.x": 0.0})) == 1 / 2


def test_landmarks_decide_where_there_are_any() -> None:
    scale = Scale(
        dict.fromkeys(("landmarks.x", "size.x"), 0.0), dict.fromkeys(("landmarks.x", "size.x"), 1.0)
    )
    zero = features({"landmarks.x": 0.0, "size.x": 0.0})
    assert scale.distance(zero, features({"landmarks.x": 0.5, "size.x": 2.0})) == 0.5
    assert scale.distance(features({"size.x": 0.0}), features({"size.x": 2.0})) == 2.0


def test_similarities_of_tables_to_each_other() -> None:
    found = pairwise(POPULATION, POPULATION)
    expected = [[similarity(a, b, POPULATION) for b in POPULATION] for a in POPULATION]
    np.testing.assert_allclose(found, expected)
    assert pairwise(POPULATION, POPULATION[:3]).tolist() == np.ones((5, 5)).tolist()


def test_missing_features() -> None:
    scale = Scale({"a.x": 0.0, "b.x": 0.0}, {"a.x": 1.0, "b.x": 1.0})
    both, one = features({"a.x": 1.0, "b.x": 1.0}), features({"a.x": 1.0})
    assert scale.distance(one, one) == 0
    assert (
        scale.distance(both, one) == scale.distance(one, both) == pytest.approx(ONE_IS_MISSING / 2)
    )
    older = features({"a.x": 1.0}, version=VERSION - 1)
    assert scale.distance(both, older) == 0


def test_with_few_past_studies_all_are_alike() -> None:
    assert similarity(POPULATION[0], POPULATION[4], POPULATION[:3]) == 1
    assert similarities(POPULATION[0], POPULATION[1:4]).tolist() == [1, 1, 1]
    assert similarities(POPULATION[0], []).tolist() == []


def test_in_what_tables_differ() -> None:
    one, other = features({"a.x": 1.0, "b.z": 0.0}), features({"a.x": 2.0, "b.z": 1.0})
    found = differences(one, [*POPULATION, other])[-1]
    scale = Scale.of([*POPULATION, other])
    assert found == scale.differences(one, other)
    assert scale.distance(one, other) == pytest.approx(np.mean([*found.values()]))
    assert differences(one, POPULATION[:3]) == [{}, {}, {}]


def test_differences_in_words() -> None:
    words = in_words({"size": 0.5, "target": 0.1, "task": 0.0, "landmarks": 2.0})
    assert words == "most alike in task and target, least in landmarks"
    assert in_words({"size": 0.5, "target": 0.1}) == ""


def test_nothing_to_compare() -> None:
    same = [features({"a.x": 1.0})] * 4
    assert similarities(features({"a.x": 7.0}), same).tolist() == [1, 1, 1, 1]
    assert similarities(features({}), POPULATION).shape == (5,)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a.x", "a.y", "b.z"]), st.floats(-1e9, 1e9)),
        min_size=5,
        max_size=9,
    )
)
def test_similarity_is_symmetric_and_bounded(rows: list[dict[str, float]]) -> None:
    own, *past = map(features, rows)
    found = similarities(own, past)
    assert found == pytest.approx([similarity(one, own, past) for one in past])
    assert np.all((found > 0) & (found <= 1))
    assert similarity(own, own, past) == 1


def test_a_table_is_more_like_its_other_half_than_like_other_tables() -> None:
    rng = np.random.default_rng(0)
    found = []
    for i in range(4):
        frame = pd.DataFrame(rng.normal(size=(400, 3 + 4 * i)) ** (1 + 2 * (i % 2)))
        frame["text"] = rng.integers(0, 2 + 10 * i, 400).astype(str) + "t"
        y = frame[0] + 0.5 * i * rng.normal(size=400) > i / 2
        found += [
            meta_features(frame[:200], y[:200], "binary"),
            meta_features(frame[200:], y[200:], "binary"),
        ]
    halves, others = found[::2], found[1::2]
    apart = [
        [np.mean([*groups.values()]) for groups in differences(half, others)] for half in halves
    ]
    assert np.argmin(apart, axis=1).tolist() == [0, 1, 2, 3]
