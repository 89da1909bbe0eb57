"""How often the gate promotes a challenger that is only as good as the champion, and refuses it.

Pairs of models that are equally good by construction predict simulated rows. The first table shows
how often the paired bootstrap gives the challenger a probability of at least 0.95 of being better;
the stated rate is 0.05. In the second table, the rows are eight groups, and the challenger is as
good on all of them or truly worse on one. It shows how often this group, or any, refuses it.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.report import machine, write
from hpo.arrays import FloatArray
from pipelines.registry.heldout import HeldOut
from pipelines.registry.pair import Pair
from pipelines.registry.slices import slice_checks
from pipelines.table.scores import bootstrap
from pipelines.table.scores.bootstrap import paired_gain
from pipelines.table.scores.metrics import METRICS

Drawn = tuple[str, npt.NDArray[Any], FloatArray, FloatArray]
"""A metric, targets, the challenger's predictions and the champion's."""
Case = Callable[[int, np.random.Generator], Drawn]

CONFIDENCE = 0.95
SIZES = (100, 500, 5_000)
DRAWS = 1_000  # an error of 0.007 in each probability near 0.95, to either side
FAILING = 0.1  # of the positive rows
GROUPS, TOLERANCE = 8, 0.01
GROUP_SIZES = (60, 300, 1_000)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def probabilities(logits: FloatArray) -> FloatArray:
    """(n,) logits as (n, 2) probabilities."""
    positive = 1 / (1 + np.exp(-logits))
    return np.column_stack([1 - positive, positive])


def _classes(n: int, share: float) -> npt.NDArray[np.int64]:
    return (np.arange(n) < share * n).astype(np.int64)


def areas(share: float, n: int, rng: np.random.Generator) -> Drawn:
    """Two noisy readings of one score; `share` of the rows are positive."""
    y = _classes(n, share)
    base = 1.5 * y + rng.normal(size=n)
    one, other = (probabilities(base + rng.normal(0, 0.5, n)) for _ in "12")
    return "roc_auc", y, one, other


def failing(share: float, n: int, rng: np.random.Generator) -> Drawn:
    """The challenger ranks a tenth of the positive rows last and the others better."""
    y = _classes(n, share)
    spread = np.sqrt(2 * 1.25)  # of the difference of two rows' scores
    better = spread * norm.ppf(norm.cdf(1.5 / spread) / (1 - FAILING))
    base = rng.normal(size=n)
    one, other = (shift * y + base + rng.normal(0, 0.5, n) for shift in (better, 1.5))
    one[(y == 1) & (rng.random(n) < FAILING)] = -20.0
    return "roc_auc", y, probabilities(one), probabilities(other)


def _drawn_classes(
    share: float, n: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Classes and their true logits, which are normal with standard deviation 2."""
    z = _centre(share) + 2 * rng.normal(size=n)
    return (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int64), z


def _centre(share: float) -> float:
    return float(brentq(lambda c: WEIGHTS @ (1 / (1 + np.exp(-c - 2 * NODES))) - share, -20, 20))


def log_losses(share: float, n: int, rng: np.random.Generator) -> Drawn:
    """Two noisy readings of the true logits."""
    y, z = _drawn_classes(share, n, rng)
    one, other = (probabilities(z + rng.normal(0, 0.5, n)) for _ in "12")
    return "log_loss", y, one, other


def _log_loss_of(sharpness: float, share: float) -> float:
    """The expected log loss of logits that are `sharpness` times the true ones."""
    z = _centre(share) + 2 * NODES
    return float(WEIGHTS @ (np.logaddexp(0, sharpness * z) - sharpness * z / (1 + np.exp(-z))))


def too_sure(share: float, n: int, rng: np.random.Generator) -> Drawn:
    """The challenger's logits are too large, the champion's too small.

    The challenger is better on most rows and much worse on a few.
    """
    y, z = _drawn_classes(share, n, rng)
    base = _log_loss_of(0.6, share)
    sharpness = brentq(lambda s: _log_loss_of(s, share) - base, 1, 5)
    return "log_loss", y, probabilities(sharpness * z), probabilities(0.6 * z)


def squares(n: int, rng: np.random.Generator) -> Drawn:
    """Normal errors that both models share in part."""
    base = rng.normal(size=n)
    return "rmse", np.zeros(n), base + rng.normal(0, 0.5, n), base + rng.normal(0, 0.5, n)


def heavy_squares(n: int, rng: np.random.Generator) -> Drawn:
    """As `squares`, with heavy tails."""
    base = rng.standard_t(3, size=n)
    return "rmse", np.zeros(n), base + rng.normal(0, 0.5, n), base + rng.normal(0, 0.5, n)


def few_bad_rows(n: int, rng: np.random.Generator) -> Drawn:
    """The challenger's squared errors are ten times larger on 5 % of the rows, else smaller."""
    bad = rng.random(n) < 0.05
    shrunk = np.sqrt((1 - 0.05 * 10) / 0.95)
    return (
        "rmse",
        np.zeros(n),
        rng.normal(size=n) * np.where(bad, np.sqrt(10), shrunk),
        rng.normal(size=n),
    )


def skewed(n: int, rng: np.random.Generator) -> Drawn:
    """A little better on most rows, much worse on a few."""
    return "mae", np.zeros(n), rng.exponential(size=n), np.ones(n)


def hits(n: int, rng: np.random.Generator) -> Drawn:
    """Both are right on 80 % of the rows, each on its own."""
    y = (rng.random(n) < 0.3).astype(np.int64)
    one, other = (
        probabilities(np.where(rng.random(n) < 0.8, 2.0 * y - 1, 1 - 2.0 * y)) for _ in "12"
    )
    return "accuracy", y, one, other


def few_differences(n: int, rng: np.random.Generator) -> Drawn:
    """Models that differ on 3 % of the rows."""
    y = (rng.random(n) < 0.3).astype(np.int64)
    right = rng.random(n) < 0.8
    differs, first = rng.random(n) < 0.03, rng.random(n) < 0.5
    one, other = np.where(differs, first, right), np.where(differs, ~first, right)
    challenger, champion = (
        probabilities(np.where(r, 2.0 * y - 1, 1 - 2.0 * y)) for r in (one, other)
    )
    return "accuracy", y, challenger, champion


CASES: Mapping[str, Case] = {
    **{
        f"{title}, {share:.0%} positive": partial(case, share)
        for title, case in (
            ("ROC AUC", areas),
            ("log loss", log_losses),
            (
                "log loss, the challenger is surer than it should be, the champion less sure",
                too_sure,
            ),
            (
                "ROC AUC, the challenger fails on a tenth of the positive rows "
                "and is better on the others",
                failing,
            ),
        )
        for share in (0.3, 0.05)
    },
    "RMSE": squares,
    "RMSE, heavy tails on both sides": heavy_squares,
    "RMSE, the challenger is much worse on 5 % of the rows and better on the others": few_bad_rows,
    "MAE, a little better on most rows, much worse on a few": skewed,
    "accuracy": hits,
    "accuracy, models that differ on 3 % of the rows": few_differences,
}


def promoted(case: Case, n: int, comparisons: int) -> float:
    """The share of comparisons on n rows in which the challenger is promoted."""
    rng, passed = np.random.default_rng([n, comparisons]), 0
    for seed in range(comparisons):
        metric, y, one, other = case(n, rng)
        passed += paired_gain(METRICS[metric], y, one, other, seed=seed).probability >= CONFIDENCE
    return passed / comparisons


@dataclass(frozen=True)
class Refusals:
    """How often groups refuse a challenger.

    `group` is the rate at which the first group refuses, `any` that of at least one group.
    `group_scores` and `any_scores` are the same for a rule that compares only the scores.
    """

    group: float
    any: float
    group_scores: float
    any_scores: float


def refused(worse: float, n: int, comparisons: int) -> Refusals:
    """Refusals of a challenger whose ROC AUC is lower by `worse` on the first of eight groups.

    `n` is the number of rows of each group.
    """
    spread = np.sqrt(2 * 1.25)
    shift = spread * norm.ppf(norm.cdf(1.5 / spread) - worse)
    rng = np.random.default_rng([n, comparisons])
    group = np.repeat(np.arange(GROUPS), n)
    found = []
    for _ in range(comparisons):
        y = np.tile(_classes(n, 0.3), GROUPS)
        base = rng.normal(size=len(y))
        noise, champion_noise = (rng.normal(0, 0.5, len(y)) for _ in "12")
        challenger = base + noise + np.where(group == 0, shift, 1.5) * y
        champion = base + champion_noise + 1.5 * y
        found.append(_refusals(y, group, probabilities(challenger), probabilities(champion)))
    return Refusals(*np.mean(found, axis=0).tolist())


def _refusals(
    y: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    challenger: FloatArray,
    champion: FloatArray,
) -> tuple[bool, bool, bool, bool]:
    """Whether the first and any group refuse, by the gate's rule and by the scores."""
    frame = pd.DataFrame({"group": group.astype(str)})
    rows = HeldOut(frame, y, None, of_study=False, origin="rows")
    metric = METRICS["roc_auc"]
    checks, _ = slice_checks(Pair.on(rows, metric, challenger, champion), rows, "group", TOLERANCE)
    failed = np.array([not check.passed for check in checks])
    gains = []
    for of in (group == g for g in range(GROUPS)):
        gains.append(metric(y[of], challenger[of]) - metric(y[of], champion[of]))
    lower = np.array(gains) < -TOLERANCE
    return bool(failed[0]), bool(failed.any()), bool(lower[0]), bool(lower.any())


def _rate_table(rates: Mapping[str, Mapping[int, float]], sizes: Sequence[int]) -> str:
    rows = [[name, *(f"{rate:.3f}" for rate in by.values())] for name, by in rates.items()]
    return table(["equal models", *(f"{n:,} rows" for n in sizes)], rows)


def _group_table(found: Mapping[float, Mapping[int, Refusals]], sizes: Sequence[int]) -> str:
    rows = []
    for worse, by_size in found.items():
        if worse:
            title = f"worse by {worse:g} on one of them, which refuses"
            gate = [refusals.group for refusals in by_size.values()]
            scores = [refusals.group_scores for refusals in by_size.values()]
        else:
            title = "as good on all, any refuses"
            gate = [refusals.any for refusals in by_size.values()]
            scores = [refusals.any_scores for refusals in by_size.values()]
        rules = {"bootstrap, corrected for eight groups": gate, "scores alone": scores}
        rows += [[title, rule, *(f"{x:.3f}" for x in rates)] for rule, rates in rules.items()]
    return table(["challenger", "rule", *(f"8 groups of {n:,} rows" for n in sizes)], rows)


def main(arguments: Sequence[str]) -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gate", description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--group-sizes", nargs="*", type=int, default=list(GROUP_SIZES))
    parser.add_argument("--comparisons", type=int, default=1_000, help="of each case")
    parser.add_argument("--quick", action="store_true", help="few rows, 100 comparisons")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.group_sizes, options.comparisons = [100], [60], 100
    bootstrap.MAX_DRAWS = DRAWS
    rates = {
        name: {n: promoted(case, n, options.comparisons) for n in options.sizes}
        for name, case in CASES.items()
        if options.sizes
    }
    found = {
        worse: {n: refused(worse, n, options.comparisons) for n in options.group_sizes}
        for worse in (0.0, 0.05, 0.1)
        if options.group_sizes
    }
    error = np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / options.comparisons)
    text = f"{options.comparisons:,} comparisons each, standard error {error:.3f} at 0.05\n\n"
    if rates:
        text += _rate_table(rates, options.sizes) + "\n"
    if found:
        text += _group_table(found, options.group_sizes)
    values = {
        "comparisons": options.comparisons,
        "promoted": rates,
        "refused": {
            worse: {n: asdict(refusals) for n, refusals in by_size.items()}
            for worse, by_size in found.items()
        },
        "machine": machine(),
    }
    write(options.output or cache() / "results", "gate", text, values)
