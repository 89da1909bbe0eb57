import base64
import json
import math
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Integer
from hpo.trial import Report, Trial
from warmstart.metafeatures import MetaFeatures
from warmstart.past import ENOUGH, MAX_CONFIGURATIONS, N_BEST, PastStudy, StudyFacts, summary

SPACE = SearchSpace(
    (
        Float("rate", 1e-3, 1.0, log=True),
        Integer("leaves", 2, 255, log=True),
        Categorical("kind", ("a", "b", "c")),
        Float("share", 0.1, 1.0, when={"kind": ("b",)}),
    )
)
FEATURES = MetaFeatures({"size.log_rows": 7.123456789}, 1, {"rows": 2000}, 0)
FACTS = StudyFacts(
    "r1", "adult, income", "lightgbm", "roc_auc", "binary", "d1", features=FEATURES, space=SPACE
)
FULL = 81.0


def trial(number: int, *losses: float, budgets: tuple[float, ...] = (FULL,)) -> Trial:
    params = SPACE.sample(np.random.default_rng(number))
    reports = tuple(Report(budget, loss) for budget, loss in zip(budgets, losses, strict=True))
    return Trial(number, params, budgets[-1], reports=reports)


def made(*trials: Trial) -> PastStudy:
    found = summary(trials, FACTS)
    assert found is not None
    return found


def test_a_summary_comes_back_from_its_text() -> None:
    past = made(*(trial(i, float(np.sin(i))) for i in range(40)))
    text = past.to_text()
    back = PastStudy.from_text(text)
    assert text.isascii()
    assert back.to_text() == text
    np.testing.assert_allclose(back.x, past.x, atol=1e-5)
    np.testing.assert_allclose(back.losses, past.losses, rtol=1e-5)
    assert (back.name, back.space, back.task) == (past.name, past.space, past.task)
    assert back.features is not None
    assert back.features.values["size.log_rows"] == 7.12346
    for code, kept in zip(back.x, past.x, strict=True):
        mine, before = SPACE.decode(code), SPACE.decode(kept)
        assert {**mine, "rate": 0, "share": 0} == {**before, "rate": 0, "share": 0}


def test_the_best_come_first_and_the_others_are_spread_over_the_ranks() -> None:
    past = made(*(trial(i, float(i * 37 % 200)) for i in range(200)))
    assert len(past) == MAX_CONFIGURATIONS
    assert past.losses[:N_BEST].tolist() == list(range(N_BEST))
    assert past.losses[-1] == 199
    assert np.diff(past.losses[N_BEST:]).max() <= 5


@pytest.mark.parametrize(
    ("through", "left", "counted"),
    [(0, 3, 3), (ENOUGH - 1, 3, ENOUGH + 2), (ENOUGH, 3, ENOUGH), (ENOUGH + 5, 3, ENOUGH + 5)],
)
def test_who_stopped_early_counts_as_long_as_few_went_further(
    through: int, left: int, counted: int
) -> None:
    low = [trial(i, 0.9, budgets=(27.0,)) for i in range(left)]
    high = [trial(left + i, 0.8, 0.5, budgets=(27.0, FULL)) for i in range(through)]
    failed = Trial(99, SPACE.sample(np.random.default_rng(2)), FULL, failure="out of memory")
    past = made(*low, *high, failed)
    assert past.losses.tolist() == [0.5] * through + [0.9] * (counted - through)


def test_nothing_is_left_without_a_result() -> None:
    failed = Trial(0, SPACE.sample(np.random.default_rng(0)), 27.0, failure="out of memory")
    assert summary([failed], FACTS) is None


def test_the_text_is_short() -> None:
    """Of a study with thirty parameters and two hundred trials: a few of MLflow's tags hold it."""
    rng = np.random.default_rng(0)
    space = SearchSpace(tuple(Float(f"parameter_{i}", 1e-3, 1.0, log=True) for i in range(30)))
    trials = [
        Trial(i, space.sample(rng), FULL, reports=(Report(FULL, rng.random()),)) for i in range(200)
    ]
    features = MetaFeatures({f"group.feature_{i}": rng.random() for i in range(50)}, 1, {}, 0)
    facts = StudyFacts("r" * 32, "n", "mlp", "rmse", "regression", "d" * 64, features, space)
    past = summary(trials, facts)
    assert past is not None
    assert len(past.to_text()) < 3 * 8_000


def test_seconds_are_those_of_the_trainings() -> None:
    trials = [
        Trial(
            i, SPACE.sample(np.random.default_rng(i)), FULL, reports=(Report(FULL, i, seconds=s),)
        )
        for i, s in enumerate((2.0, 0.12345, 0.0, -1.0, math.nan, math.inf))
    ]
    past = made(*trials)
    assert past.seconds.tolist() == [2.0, 0.12345, 0.0, 0.0, 0.0, 0.0]
    assert PastStudy.from_text(past.to_text()).seconds.tolist() == [2.0, 0.123, 0.0, 0.0, 0.0, 0.0]
    plain = plain_text()
    del plain["seconds"]  # of an older release
    assert len(PastStudy.from_text(packed(plain)).seconds) == 0


@pytest.mark.parametrize("text", ["", "nonsense", "e30="])
def test_a_damaged_text_is_said_to_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="not the summary of a study"):
        PastStudy.from_text(text)


def packed(plain: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(plain).encode())).decode()


def plain_text() -> dict[str, Any]:
    text = made(*(trial(i, float(i)) for i in range(5))).to_text()
    plain: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return plain


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x", lambda x: [row[:-1] for row in x]),
        ("seconds", lambda seconds: seconds[:-1]),
        ("seconds", lambda seconds: [-1.0, *seconds[1:]]),
        ("seconds", lambda seconds: [float("inf"), *seconds[1:]]),
        ("seconds", lambda seconds: "soon"),
        ("x", lambda x: [row[:2] for row in x] + [row[2:] for row in x]),
        ("x", lambda x: x[:-1]),
        ("x", lambda x: x + x),
        ("x", lambda x: [[70_000] * 4] + x[1:]),
        ("x", lambda x: [[-2] * 4] + x[1:]),
        ("x", lambda x: [[float("nan")] * 4] + x[1:]),
        ("x", lambda x: [["a"] * 4] + x[1:]),
        ("x", lambda x: [x[0][:-1]] + x[1:]),
        ("x", lambda x: None),
        ("losses", lambda losses: [float("nan"), *losses[1:]]),
        ("losses", lambda losses: [float("inf"), *losses[1:]]),
        ("losses", lambda losses: [None, *losses[1:]]),
        ("losses", lambda losses: ["0.5", *losses[1:]]),
        ("losses", lambda losses: [10**400, *losses[1:]]),
        ("losses", lambda losses: losses[:-1]),
        ("losses", lambda losses: [-1e308, *losses[1:-1], 1e308]),
        ("losses", lambda losses: [0.0, 1e-300, 1e-300, 1e-300, 1e10]),
        ("losses", lambda losses: []),
        ("losses", lambda losses: 3),
        ("model", lambda model: 3),
        ("metric", lambda metric: ["roc_auc"]),
        ("task", lambda task: None),
        ("space", lambda space: {"rate": {"type": "float", "low": 2, "high": 1}}),
        ("space", lambda space: None),
        ("features", lambda features: {"values": 3}),
        ("version", lambda version: "one"),
    ],
)
def test_what_cannot_be_is_damage_whatever_its_form(
    name: str, change: Callable[[Any], object]
) -> None:
    plain = plain_text()
    assert PastStudy.from_text(packed(plain)).name == "adult, income"
    with pytest.raises(ValueError, match="summary of a study"):
        PastStudy.from_text(packed(plain | {name: change(plain[name])}))


@pytest.mark.parametrize("name", ["x", "losses", "space", "features", "digest"])
def test_what_is_missing_is_damage(name: str) -> None:
    plain = plain_text()
    del plain[name]
    with pytest.raises(ValueError, match="a damaged summary of a study"):
        PastStudy.from_text(packed(plain))


def test_more_configurations_than_are_ever_kept_are_damage() -> None:
    plain = plain_text()
    many = {name: plain[name][:1] * (MAX_CONFIGURATIONS + 1) for name in ("x", "losses")}
    with pytest.raises(ValueError, match=f"1 to {MAX_CONFIGURATIONS} losses"):
        PastStudy.from_text(packed(plain | many))


def test_a_text_that_inflates_beyond_all_measure_is_not_inflated() -> None:
    bomb = base64.b64encode(zlib.compress(b" " * 50_000_000)).decode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="not the summary of a study"):
        PastStudy.from_text(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_nesting_without_end_is_damage() -> None:
    deep = base64.b64encode(zlib.compress(b"[" * 200_000)).decode()
    with pytest.raises(ValueError, match="not the summary of a study"):
        PastStudy.from_text(deep)
