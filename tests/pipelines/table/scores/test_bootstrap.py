"""The bootstrap: its weighted metrics are the metrics, and it is not surer than it says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from hpo.arrays import FloatArray
from pipelines.table.scores import bootstrap
from pipelines.table.scores.bootstrap import Jackknife, paired_gain, score_interval
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.weighted import weighted_score

RNG = np.random.default_rng(5)


def probabilities(logits: FloatArray) -> FloatArray:
    """(n,) logits as (n, 2) probabilities."""
    positive = 1 / (1 + np.exp(-logits))
    return np.column_stack([1 - positive, positive])


def problem(metric: str, n: int = 60) -> tuple[npt.NDArray[Any], FloatArray]:
    """Targets and predictions, with ties, that the metric can score."""
    kind = METRICS[metric].tasks[0]
    if kind == "regression":
        return RNG.gamma(2.0, size=n), RNG.gamma(2.0, size=n)
    classes = 2 if kind == "binary" else 3
    y = RNG.integers(classes, size=n)
    p = np.round(RNG.dirichlet(np.ones(classes), n), 1) + 0.05
    return y, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", METRICS)
def test_weights_stand_for_repeated_rows(name: str) -> None:
    y, p = problem(name)
    weights = RNG.multinomial(len(y), np.full(len(y), 1 / len(y)), size=20)
    found = weighted_score(METRICS[name], y, p)(weights.astype(np.float64))
    drawn = [np.repeat(np.arange(len(y)), counts) for counts in weights]
    np.testing.assert_allclose(
        found, [METRICS[name](y[rows], p[rows]) for rows in drawn], rtol=1e-10
    )


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "f1_macro", "r2"])
def test_same_predictions_are_never_better(name: str) -> None:
    y, p = problem(name)
    gain = paired_gain(METRICS[name], y, p, p.copy())
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)
    assert gain.probability < 0.001


@pytest.mark.parametrize("name", ["rmse", "r2", "mae"])
def test_the_direction_is_the_metrics_own(name: str) -> None:
    y = RNG.normal(size=200)
    close, far = y + RNG.normal(0, 0.1, 200), y + RNG.normal(0, 1.0, 200)
    better, worse = (paired_gain(METRICS[name], y, *pair) for pair in ((close, far), (far, close)))
    assert better.value == -worse.value > 0
    assert better.low > 0
    assert better.probability > 0.999
    assert worse.probability < 0.001


def test_a_margin_asks_for_more() -> None:
    y = RNG.normal(size=300)
    close, far = y + RNG.normal(0, 0.5, 300), y + RNG.normal(0, 1.0, 300)
    value = paired_gain(METRICS["mae"], y, close, far).value
    asked = [
        paired_gain(METRICS["mae"], y, close, far, margin=m).probability
        for m in (0.0, value, 2 * value)
    ]
    assert asked[0] > 0.999
    assert 0.4 < asked[1] < 0.6
    assert asked[2] < 0.001


def test_the_same_seed_gives_the_same_answer() -> None:
    y, p = problem("roc_auc")
    other = p[::-1]
    one, two, three = (
        paired_gain(METRICS["roc_auc"], y, p, other, seed=seed) for seed in (0, 0, 1)
    )
    assert one == two != three


def test_no_finite_number_of_draws_makes_anything_certain() -> None:
    y = RNG.normal(size=1000)
    assert 0.999 < paired_gain(METRICS["rmse"], y, y, y + 1).probability < 1


def test_a_skewed_gain_makes_less_sure() -> None:
    losses = np.append(np.full(95, 0.9), np.full(5, 2.5))  # better on most rows
    gain = paired_gain(METRICS["mae"], np.zeros(100), losses, np.ones(100))
    rng = np.random.default_rng([0, 0xB007])
    weights = next(bootstrap.bootstrap_weights(np.arange(100), rng))
    plain = float(np.mean(1 - weights @ losses / 100 > 0))
    assert gain.probability < plain - 0.02


def test_the_acceleration_is_that_of_the_jackknife() -> None:
    values = RNG.exponential(size=150)
    without = (values.sum() - values) / 149
    skewness = np.mean((values - values.mean()) ** 3) / values.std() ** 3
    assert Jackknife.of(without, 150).acceleration() == pytest.approx(skewness / (6 * np.sqrt(150)))
    assert Jackknife.of(np.zeros(5), 5).acceleration() == 0.0


def test_few_rows_make_less_sure() -> None:
    def expanded(probability: float, rows: int) -> float:
        return Jackknife(np.array([1.0, -1.0]), rows).expanded(probability)

    share = 0.97
    found = [expanded(share, rows) for rows in (2, 5, 20, 100, 10_000)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(share, abs=1e-4)
    assert expanded(share, 1) == 0.0
    # Hesterberg (2015), n = 5: the t quantile 2.132 for 0.95, times sqrt(5 / 4), is a normal
    # quantile of 2.383.
    assert expanded(0.99142, 5) == pytest.approx(0.95, abs=1e-3)


def test_rows_that_rule_the_spread_are_those_that_count() -> None:
    rng = np.random.default_rng(3)
    normal = rng.normal(size=200)
    assert Jackknife.of(normal, 200).freedom() == pytest.approx(199, rel=0.2)
    few = np.append(np.zeros(190), rng.normal(size=10))
    assert 5 < Jackknife.of(few, 200).freedom() < 15
    blocks = rng.exponential(size=(200, 50)).sum(
        axis=1
    )  # 2 n / (2 + 6): the excess kurtosis of a row is 6
    assert 1_200 < Jackknife.of(blocks, 10_000).freedom() <= 9_999
    assert Jackknife.of(np.ones(50), 50).freedom() == 49, "no row differs from another"


def test_halls_cubic_takes_the_skewness_out() -> None:
    """Student's statistic of exponential values exceeds 1.645 too often; the cubic corrects it."""
    rng = np.random.default_rng(4)
    values = 1 - rng.exponential(size=(4_000, 40))  # much worse on a few rows
    without = (values.sum(axis=1, keepdims=True) - values) / 39
    found = np.array(
        [
            Jackknife.of(w, 40).probability_above(v, 0.0)
            for w, v in zip(without, values.mean(axis=1), strict=True)
        ]
    )
    student = norm.cdf(np.sqrt(40) * values.mean(axis=1) / values.std(axis=1, ddof=1))
    assert np.mean(student > 0.95) > 0.085
    assert np.mean(found > 0.95) < 0.065


def test_rows_of_a_group_are_drawn_together() -> None:
    groups = np.repeat(np.arange(10), 50)
    effect = np.random.default_rng(1).normal(0.3, 1.0, 10)[
        groups
    ]  # what the models differ by is the group's
    y, one, other = np.zeros(500), np.full(500, 5.0), 5.0 + effect
    alone = paired_gain(METRICS["mae"], y, one, other)
    together = paired_gain(METRICS["mae"], y, one, other, groups=groups)
    assert alone.value == together.value
    assert together.high - together.low > 4 * (alone.high - alone.low)  # sqrt(50) is 7


def test_undefined_draws_count_against_the_challenger() -> None:
    y = np.zeros(30, dtype=np.int64)
    y[0] = 1  # 0.36 of the draws have no positive row
    p, other = (
        probabilities(np.where(y == 1, 3.0, -3.0)),
        probabilities(np.where(y == 1, -3.0, 3.0)),
    )
    gain = paired_gain(METRICS["roc_auc"], y, p, other)
    assert gain.value == 1.0
    assert gain.probability < 0.7


def test_a_metric_that_the_rows_do_not_define_is_told() -> None:
    y = np.zeros(30, dtype=np.int64)
    p = probabilities(RNG.normal(size=30))
    with pytest.raises(ValueError, match="roc_auc is not defined"):
        paired_gain(METRICS["roc_auc"], y, p, p)


def test_cost_is_bounded_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MAX_ROWS", 500)
    monkeypatch.setattr(bootstrap, "MAX_CELLS", 1_000)
    y, p = problem("f1_macro", 2_000)
    gain = paired_gain(METRICS["f1_macro"], y, p, p[::-1])
    assert gain.draws == bootstrap.MIN_DRAWS
    assert gain.value == METRICS["f1_macro"](y, p) - METRICS["f1_macro"](y, p[::-1])  # of all rows


def test_an_interval_of_a_mean_is_about_that_of_student() -> None:
    errors = np.random.default_rng(2).exponential(size=400)
    found = score_interval(METRICS["mae"], np.zeros(400), errors)
    assert found.value == pytest.approx(errors.mean())
    spread = errors.std(ddof=1) / np.sqrt(400)
    assert found.low == pytest.approx(errors.mean() - 1.97 * spread, abs=0.4 * spread)
    assert found.high == pytest.approx(errors.mean() + 1.97 * spread, abs=0.4 * spread)
    assert found.high - found.value > found.value - found.low  # the errors are skewed


def test_the_quantiles_are_those_of_the_book() -> None:
    """Efron and Tibshirani 1993, table 14.2, for an interval at 90 %."""
    quantiles = bootstrap.bca_quantiles(np.array([-1.645, 1.645]), 0.146, 0.061)
    np.testing.assert_allclose(quantiles, [0.110, 0.985], atol=1e-3)


def test_an_interval_draws_groups_and_knows_what_it_cannot_say() -> None:
    groups = np.repeat(np.arange(10), 50)
    errors = np.random.default_rng(1).gamma(2.0, size=10)[groups]
    alone, together = (
        score_interval(METRICS["mae"], np.zeros(500), errors, groups=g) for g in (None, groups)
    )
    assert together.high - together.low > 4 * (alone.high - alone.low)
    one = score_interval(
        METRICS["mae"], np.zeros(500), errors, groups=np.zeros(500, dtype=np.int64)
    )
    assert (one.low, one.high) == (-np.inf, np.inf)


# --- calibration
# ------------------------------------------------------------------------------------

REPETITIONS, CONFIDENCE = 600, 0.9
Drawn = tuple[str, npt.NDArray[Any], FloatArray, FloatArray]


def equal_losses(n: int, rng: np.random.Generator) -> Drawn:
    base = np.square(rng.normal(size=n))
    return "mae", np.zeros(n), base + rng.exponential(size=n), base + rng.exponential(size=n)


def equal_hits(n: int, rng: np.random.Generator) -> Drawn:
    y = (rng.random(n) < 0.3).astype(np.int64)
    one, other = (
        probabilities(np.where(rng.random(n) < 0.8, 2.0 * y - 1, 1 - 2.0 * y)) for _ in "12"
    )
    return "accuracy", y, one, other


def equal_areas(n: int, rng: np.random.Generator) -> Drawn:
    y = (np.arange(n) < 0.3 * n).astype(np.int64)
    base = 1.5 * y + rng.normal(size=n)
    one, other = (probabilities(base + rng.normal(0, 0.5, n)) for _ in "12")
    return "roc_auc", y, one, other


def rare_areas(n: int, rng: np.random.Generator) -> Drawn:
    """As `equal_areas`, with one positive row in twenty."""
    y = (np.arange(n) < 0.05 * n).astype(np.int64)
    base = 1.5 * y + rng.normal(size=n)
    one, other = (probabilities(base + rng.normal(0, 0.5, n)) for _ in "12")
    return "roc_auc", y, one, other


def log_loss_of(sharpness: float) -> float:
    """The mean loss of `sharpness` times the true logits, which are normal of deviation 2."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = 2 * nodes
    losses = np.logaddexp(0, sharpness * z) - sharpness * z / (1 + np.exp(-z))
    return float(weights @ losses / weights.sum())


TOO_SURE = brentq(lambda sharpness: log_loss_of(sharpness) - log_loss_of(0.6), 1, 5)


def equal_but_too_sure(n: int, rng: np.random.Generator) -> Drawn:
    """The challenger's logits are too large: it is better on most rows, much worse on few."""
    z = 2 * rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int64)
    return "log_loss", y, probabilities(TOO_SURE * z), probabilities(0.6 * z)


def equal_squares(n: int, rng: np.random.Generator) -> Drawn:
    """Errors of heavy tails that both models share in part."""
    base = rng.standard_t(3, size=n)
    return "rmse", np.zeros(n), base + rng.normal(0, 0.5, n), base + rng.normal(0, 0.5, n)


def equal_but_skewed(n: int, rng: np.random.Generator) -> Drawn:
    """The challenger is a little better on most rows and much worse on a few."""
    return "mae", np.zeros(n), rng.exponential(size=n), np.ones(n)


@pytest.mark.parametrize(
    ("equal", "n"),
    [
        *(
            (equal_losses, 50),
            (equal_losses, 150),
            (equal_hits, 50),
            (equal_areas, 50),
            (equal_but_skewed, 150),
        ),
        (equal_but_too_sure, 100),
        *(
            pytest.param(equal, n, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
            for equal in (equal_areas, rare_areas, equal_but_too_sure, equal_squares, equal_hits)
            for n in (100, 500, 5_000)
        ),
    ],
)
def test_equal_models_are_promoted_no_more_often_than_stated(
    equal: Callable[[int, np.random.Generator], Drawn], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At confidence 0.9 a tenth of the challengers that are just as good may pass.

    The number of passes is binomial with at most that probability: its standard deviation is
    sqrt(0.1 * 0.9 / 600) = 0.0122, and four of them are allowed (a chance of 3e-5). 1,000 draws add
    an error to each single probability, of standard deviation 0.0095 at 0.9, whose sign is as often
    for as against the challenger.
    """
    monkeypatch.setattr(bootstrap, "MAX_DRAWS", 1_000)
    rng = np.random.default_rng(n)
    passed = 0
    for seed in range(REPETITIONS):
        metric, y, one, other = equal(n, rng)
        passed += paired_gain(METRICS[metric], y, one, other, seed=seed).probability >= CONFIDENCE
    rate = 1 - CONFIDENCE
    assert passed / REPETITIONS <= rate + 4 * np.sqrt(rate * CONFIDENCE / REPETITIONS)
    assert passed > 0  # it is not refusing everything either


Scored = tuple[str, npt.NDArray[Any], FloatArray, float, npt.NDArray[np.int64] | None]


def errors(n: int, rng: np.random.Generator) -> Scored:
    return "mae", np.zeros(n), rng.exponential(size=n), 1.0, None


def areas(n: int, rng: np.random.Generator) -> Scored:
    y = (np.arange(n) < 0.3 * n).astype(np.int64)
    return (
        "roc_auc",
        y,
        probabilities(1.5 * y + rng.normal(size=n)),
        float(norm.cdf(1.5 / np.sqrt(2))),
        None,
    )


def errors_of_groups(n: int, rng: np.random.Generator) -> Scored:
    """Groups of ten rows that share the larger part of their error."""
    groups = np.repeat(np.arange(n // 10), 10)
    errors = np.abs(rng.normal(size=n // 10)[groups] + rng.normal(0, 0.5, n))
    return "mae", np.zeros(n), errors, float(np.sqrt(1.25 * 2 / np.pi)), groups


@pytest.mark.parametrize(("draw", "n"), [(errors, 150), (areas, 100), (errors_of_groups, 400)])
def test_intervals_hold_the_true_score_as_often_as_stated(
    draw: Callable[[int, np.random.Generator], Scored], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twentieth of the intervals at 95 % may miss the score on the whole population.

    The number of misses is binomial: the standard deviation of their share is sqrt(0.05 * 0.95 /
    600) = 0.0089, and four of them are allowed to either side (a chance of 6e-5): 0.014 to 0.086.
    """
    monkeypatch.setattr(bootstrap, "MAX_DRAWS", 1_000)
    rng = np.random.default_rng(n)
    missed = 0
    for seed in range(REPETITIONS):
        metric, y, prediction, true, groups = draw(n, rng)
        found = score_interval(METRICS[metric], y, prediction, groups=groups, seed=seed)
        missed += not found.low <= true <= found.high
    assert abs(missed / REPETITIONS - 0.05) <= 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)
