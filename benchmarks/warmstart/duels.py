"""Studies with a past compared with the same studies without one.

Regret is 0 at the best validation score of the two studies, 1 at the median of the trials of the
study without a past, and at most 2. Held-out scores are those that `tune` logs for its winners.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.markdown import interval_text, table
from benchmarks.report import machine
from benchmarks.statistics import best_so_far, paired_ratio
from hpo.arrays import FloatArray

STARTS = ("off", "auto")
AT = (3, 5, 10, 15, 25, 50)
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the training seconds of the search without a past
GROUPS = ((0, 4), (5, 9), (10, 19), (20, 999))  # numbers of past studies, reported together
MAX_REGRET = 2.0
TOLERANCE = 0.05  # a study is worse if its regret is larger by more than this


@dataclass(frozen=True)
class Outcome:
    """One study.

    Attributes:
        table: the name of the table.
        order: the seed of the order of the tables.
        start: `off` or `auto`, the `warm_start` of the study.
        past: the number of studies on the server before it.
        losses: of the trials, by number; infinite for a failed trial.
        seconds: of training, for each trial.
        held_out: the loss of the winner on the held-out rows.
        wall: seconds of the whole command.
        again: whether the table had been tuned before.
    """

    table: str
    order: int
    start: str
    past: int
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    held_out: float
    wall: float
    again: bool = False


@dataclass(frozen=True)
class Pair:
    """The studies of one table without (`cold`) and with (`warm`) a past."""

    cold: Outcome
    warm: Outcome

    @property
    def low(self) -> float:
        """The loss at which the regret is 0."""
        return min(*self.cold.losses, *self.warm.losses)

    @property
    def width(self) -> float:
        """The difference between the losses at which the regret is 1 and 0."""
        losses = np.array(self.cold.losses)
        return (float(np.median(losses[np.isfinite(losses)])) - self.low) or 1.0

    def regrets(self, trials: int) -> list[FloatArray]:
        """The regrets `(trials,)` of both studies."""
        return [self._regret(outcome)[:trials] for outcome in (self.cold, self.warm)]

    def over_seconds(self) -> list[list[float]]:
        """Regrets `(2, n)` after `SHARES` of the training seconds of the cold study."""
        end = sum(self.cold.seconds)
        found = []
        for outcome in (self.cold, self.warm):
            regret, times = self._regret(outcome), np.cumsum(outcome.seconds)
            limits = np.array(SHARES) * end * (1 + 1e-9)
            seen = np.searchsorted(times, limits, side="right")
            found.append([float(regret[n - 1]) if n else MAX_REGRET for n in seen.tolist()])
        return found

    def _regret(self, outcome: Outcome) -> FloatArray:
        best = best_so_far(np.array(outcome.losses))
        return np.asarray(np.minimum((best - self.low) / self.width, MAX_REGRET))


def pairs_of(found: Sequence[Outcome], starts: tuple[str, str] = STARTS) -> list[Pair]:
    """The pairs of studies of the same table and order, which differ in their start.

    Single studies are left out.
    """
    one, other = starts
    by_key = {(o.table, o.order, o.start): o for o in found}
    return [
        Pair(cold, by_key[name, order, other])
        for (name, order, start), cold in by_key.items()
        if start == one and (name, order, other) in by_key
    ]


@dataclass(frozen=True)
class Duel:
    """Studies with a past compared with those without one.

    Attributes:
        studies: the number of pairs.
        regret: the mean regrets without and with a past, by number of trials.
        ratio: the regret with a past over that without one, and its interval.
        worse: the share of studies that are worse at the end.
        held_out: the share of studies whose held-out score is better or equal.
        seconds: the ratio of the seconds of training, geometric mean.
        wall: the ratio of the seconds of the whole command, geometric mean.
        over_seconds: regrets without and with a past, at `SHARES` of the training seconds of the
            study without a past.
    """

    studies: int
    regret: dict[int, tuple[float, float]]
    ratio: dict[int, tuple[float, float, float]]
    worse: float
    held_out: float
    seconds: float
    wall: float
    over_seconds: list[tuple[float, float]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], at: Sequence[int], trials: int) -> "Duel":
        """Compare the pairs after numbers of trials; a study has at most `trials`."""
        regrets = np.array([pair.regrets(trials) for pair in pairs])
        cold, warm = regrets.swapaxes(0, 1)
        over = np.array([pair.over_seconds() for pair in pairs]).mean(axis=0)
        held_out = [pair.warm.held_out <= pair.cold.held_out + 1e-12 for pair in pairs]
        seconds = [sum(pair.warm.seconds) / sum(pair.cold.seconds) for pair in pairs]
        return cls(
            studies=len(pairs),
            regret={n: (float(cold[:, n - 1].mean()), float(warm[:, n - 1].mean())) for n in at},
            ratio={n: paired_ratio(warm[:, n - 1], cold[:, n - 1]) for n in at},
            worse=float(np.mean(warm[:, -1] > cold[:, -1] + TOLERANCE)),
            held_out=float(np.mean(held_out)),
            seconds=_geometric_mean(seconds),
            wall=_geometric_mean([pair.warm.wall / pair.cold.wall for pair in pairs]),
            over_seconds=[(float(c), float(w)) for c, w in over.T],
        )


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(values).mean()))


def report(found: Sequence[Outcome], trials: int) -> tuple[str, dict[str, object]]:
    """Markdown and plain values: regret with and without a past, by the number of past studies."""
    at = [n for n in AT if n <= trials]
    duels = {title: Duel.of(pairs, at, trials) for title, pairs in _groups(found).items() if pairs}
    text = f"{_regret_table(duels, at)}\n{_other_table(duels)}"
    groups = {title: asdict(duel) for title, duel in duels.items()}
    return text, {"groups": groups, "machine": machine()}


def _groups(found: Sequence[Outcome]) -> dict[str, list[Pair]]:
    """The pairs by the number of past studies."""
    pairs = pairs_of([outcome for outcome in found if not outcome.again])
    groups = [
        (low, high) for low, high in GROUPS if any(low <= pair.cold.past <= high for pair in pairs)
    ]
    if len(groups) > 1:
        groups.append((groups[1][0], GROUPS[-1][1]))
    by_title = {}
    for low, high in groups:
        title = f"{low} to {high}" if high < GROUPS[-1][1] else f"{low} and more"
        by_title[title] = [pair for pair in pairs if low <= pair.cold.past <= high]
    by_title["this table among them"] = pairs_of([outcome for outcome in found if outcome.again])
    return by_title


def _regret_table(duels: dict[str, Duel], at: Sequence[int]) -> str:
    rows = []
    for title, duel in duels.items():
        for which, start in enumerate(STARTS):
            rows.append([title, f"`{start}`", *(f"{duel.regret[n][which]:.3f}" for n in at)])
        rows.append(["", "`auto` / `off`", *(interval_text(*duel.ratio[n], 2) for n in at)])
    return table(["past studies", "`warm_start`", *(f"regret at {n}" for n in at)], rows)


def _other_table(duels: dict[str, Duel]) -> str:
    shares = ", ".join(f"{share:g}" for share in SHARES)
    header = [
        "past studies",
        "studies",
        f"worse by {TOLERANCE:g} at the end",
        "held-out score better or equal",
        "training seconds",
        "wall seconds",
        f"regret at {shares} of the seconds of `off`: `auto` (`off`)",
    ]
    rows = [
        [
            title,
            str(duel.studies),
            f"{100 * duel.worse:.0f} %",
            f"{100 * duel.held_out:.0f} %",
            f"{duel.seconds:.2f} ×",
            f"{duel.wall:.2f} ×",
            ", ".join(f"{warm:.2f} ({cold:.2f})" for cold, warm in duel.over_seconds),
        ]
        for title, duel in duels.items()
    ]
    return table(header, rows)
