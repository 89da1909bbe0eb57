"""How good the rungs of a way of training are: rank correlation, and regret of successive halving.

A result is a dictionary as `benchmarks.budgets.ways.measure` returns it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.budgets.ways import DIVISORS, SEED
from hpo.arrays import FloatArray

Result = Mapping[str, Any]

DRAWS = 100  # races that are simulated for one regret
COST = 4.0  # of a race, in full trainings
SIZES = 14  # numbers of configurations that are raced


@dataclass(frozen=True)
class Judgement:
    """The rungs of one way on one table, each figure `(r,)`.

    `correlation` is the rank correlation with the final losses, `kept` the share of the final best
    quarter in the best third of the rung, `seconds` the share of the seconds of full trainings.
    """

    correlation: FloatArray
    kept: FloatArray
    seconds: FloatArray

    @classmethod
    def of(
        cls, losses: FloatArray, seconds: FloatArray, final: FloatArray, final_seconds: float
    ) -> "Judgement":
        """Judge losses and seconds `(n, r)` by the final losses `(n,)`; nan counts as the worst."""
        columns = [nan_last(column) for column in losses.T]
        end = nan_last(final)
        return cls(
            np.array([float(spearmanr(column, end)[0]) for column in columns]),
            np.array([kept_share(column, end) for column in columns]),
            seconds.sum(axis=0) / final_seconds,
        )


def nan_last(losses: FloatArray) -> FloatArray:
    """The losses with infinity in place of nan."""
    return np.where(np.isnan(losses), np.inf, losses)


def kept_share(losses: FloatArray, final: FloatArray) -> float:
    """The share of the final best quarter that is in the best third of a rung."""
    n = len(final)
    best = set(np.argsort(final, kind="stable")[: math.ceil(n / 4)].tolist())
    kept = set(np.argsort(losses, kind="stable")[: math.ceil(n / 3)].tolist())
    return len(best & kept) / len(best)


def judged(result: Result, r: int = len(DIVISORS)) -> dict[str, Judgement]:
    """Every way at `r` rungs, judged by the final losses of plain training.

    Ways with a full training of their own are also judged by it, as `<way> (own end)`.
    """
    plain, plain_seconds = _arrays(result, "rounds")
    final, final_seconds = plain[:, r], plain_seconds[:, r].sum()
    found = {}
    for way in result["ways"]:
        losses, seconds = _arrays(result, way)
        rungs = losses[:, :r], seconds[:, :r]
        found[way] = Judgement.of(*rungs, final, final_seconds)
        if has_own_end(way):
            found[f"{way} (own end)"] = Judgement.of(*rungs, losses[:, r], final_seconds)
    return found


def _arrays(result: Result, way: str) -> tuple[FloatArray, FloatArray]:
    """Losses and seconds `(n, r)` of a way."""
    found = result["ways"][way]
    return np.array(found["losses"]), np.array(found["seconds"])


def finals(result: Result) -> tuple[FloatArray, FloatArray]:
    """The final losses `(n,)` of plain training with either seed."""
    return _arrays(result, "rounds")[0][:, -1], np.array(result["again"], dtype=float)


def has_own_end(way: str) -> bool:
    """Whether the full training of a way differs from plain training."""
    return way.startswith(("scheduled", "constant"))


def end_ratios(results: Sequence[Result]) -> dict[str, FloatArray]:
    """Final losses over those of plain training, for each way with a full training of its own.

    Each is `(tables, 2)`: the ratio of the best losses and the median ratio.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        plain = _arrays(result, "rounds")[0][:, -1]
        for way in filter(has_own_end, result["ways"]):
            own = _arrays(result, way)[0][:, -1]
            best = float(np.nanmin(own) / np.nanmin(plain))
            found.setdefault(way, []).append((best, float(np.nanmedian(own / plain))))
    return {way: np.array(ratios) for way, ratios in found.items()}


def halving(way: str, result: Result, first: int, n: int) -> tuple[float, float]:
    """Mean regret, and cost in full trainings, of successive halving with `n` configurations.

    The race begins at rung number `first`, and a third of the configurations is promoted from each
    rung. The means are over random choices of `n` configurations from all that were trained. The
    regret is the final loss of the winner, 0 at the best of all configurations and 1 at their
    median, both by plain training. Ways that continue trainings pay only for the remaining budget.
    """
    losses, seconds = _arrays(result, way)
    plain, plain_seconds = _arrays(result, "rounds")
    losses, final, full = nan_last(losses), nan_last(plain[:, -1]), plain_seconds[:, -1]
    own = losses.shape[1] > len(DIVISORS)
    ends, last = (losses[:, -1], seconds[:, -1]) if own else (final, full)
    regrets, costs = np.zeros(DRAWS), np.zeros(DRAWS)
    for draw in range(DRAWS):
        alive = np.random.default_rng([SEED, draw]).permutation(len(final))[:n]
        paid = np.zeros(len(final))
        for rung in range(first, len(DIVISORS)):
            costs[draw] += (seconds[alive, rung] - paid[alive]).sum()
            paid = seconds[:, rung] if own else paid
            order = np.argsort(losses[alive, rung], kind="stable")
            alive = alive[order[: max(1, round(len(alive) / 3))]]
        costs[draw] += (last[alive] - paid[alive]).sum()
        regrets[draw] = ends[alive].min()
    best, median = final.min(), np.median(final)
    return float((regrets.mean() - best) / (median - best)), float(costs.mean() / full.mean())


def halving_regrets(way: str, result: Result, costs: Sequence[float] = (COST,)) -> FloatArray:
    """Regrets `(costs, r + 1)` of races that begin at each rung, and of full trainings only.

    A race has as many configurations as a cost, in full trainings, pays for; between the numbers of
    configurations that were raced, regrets are interpolated.
    """
    n = len(result["ways"][way]["losses"])
    sizes = np.unique(np.geomspace(3, n, SIZES).round().astype(int)).tolist()
    raced = [
        np.array([halving(way, result, first, size) for size in sizes])
        for first in range(len(DIVISORS) + 1)
    ]
    return np.array([[np.interp(cost, race[:, 1], race[:, 0]) for race in raced] for cost in costs])
