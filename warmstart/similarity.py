"""How alike two tables are, by their meta-features.

A k-nearest-neighbour ranking by an L1 distance goes back to Brazdil, Soares & da Costa (2003),
"Ranking learning algorithms: using IBL and meta-learning on accuracy and time results", and was
used to warm start a search by Feurer, Springenberg & Hutter (2015), "Initializing Bayesian
hyperparameter optimization via meta-learning". Here tables are as alike as simple learners do alike
on them: of all groups of features, the landmarks alone tell which past study ranks configurations
as this one does (`docs/meta-features.md`). The other groups say in what else tables differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray
from warmstart.metafeatures import MetaFeatures

FEWEST = 4
"""Of tables from which spreads can be told; with fewer, all are equally alike."""

DECIDING = "landmarks"
"""The group of features that decides. Where it cannot be compared, all groups do, each counting the same."""

WIDTH = 1.5
"""Distance at which the similarity is exp(-1/2)."""

MOST_ALIKE = 2  # groups of features that are named where tables are alike

CLIP = 3.0
ONE_IS_MISSING = 2 / np.sqrt(np.pi)
"""The mean distance of two standard normal numbers: a value that one table lacks says nothing for or against it."""


@dataclass(frozen=True)
class Scale:
    """What turns features into robust z-values, (x - centre) / spread, cut at ±3; learned from past tables.

    Attributes:
        centre: medians by feature.
        spread: interquartile ranges / 1.349 (the standard deviation of normal values), or standard
            deviations where those are 0. A feature that does not vary is not there.
    """

    centre: Mapping[str, float]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, population: Sequence[MetaFeatures]) -> "Scale":
        """Learn the scale of every feature that varies in the population."""
        centre, spread = {}, {}
        for name in sorted({name for features in population for name in features.values}):
            values = np.array([f.values[name] for f in population if name in f.values])
            width = _spread(values)
            if width > 0:
                centre[name], spread[name] = float(np.median(values)), width
        return cls(centre, spread)

    def distance(self, a: MetaFeatures, b: MetaFeatures) -> float:
        """The mean |z(a) - z(b)| of the features that decide; 0 if nothing can be compared."""
        return _apart(self.differences(a, b))

    def differences(self, a: MetaFeatures, b: MetaFeatures) -> dict[str, float]:
        """The mean |z(a) - z(b)| of each group of features that can be compared."""
        groups: dict[str, list[float]] = {}
        for name in self.spread:
            gap = self._gap(name, a, b)
            if gap is not None:
                groups.setdefault(name.partition(".")[0], []).append(gap)
        return {group: float(np.mean(gaps)) for group, gaps in groups.items()}

    def _gap(self, name: str, a: MetaFeatures, b: MetaFeatures) -> float | None:
        if name in a.values and name in b.values:
            return abs(self._z(name, a.values[name]) - self._z(name, b.values[name]))
        if name not in a.values and name not in b.values:
            return None
        # Another version may not have known the feature.
        return float(ONE_IS_MISSING) if a.version == b.version else None

    def _z(self, name: str, value: float) -> float:
        return min(CLIP, max(-CLIP, (value - self.centre[name]) / self.spread[name]))


def _spread(values: FloatArray) -> float:
    if values.min() == values.max():
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75])
    return float((high - low) / 1.349 or values.std())


def similarity(a: MetaFeatures, b: MetaFeatures, population: Sequence[MetaFeatures]) -> float:
    """From 1 for equal tables towards 0; 1 for all if the population has fewer than 4 members."""
    return 1.0 if len(population) < FEWEST else _alike(Scale.of(population).distance(a, b))


def similarities(own: MetaFeatures, past: Sequence[MetaFeatures]) -> FloatArray:
    """`(n,)` similarities of a table to n others, which are also the population: each table should be there once."""
    return np.array([closeness(groups) for groups in differences(own, past)])


def differences(own: MetaFeatures, past: Sequence[MetaFeatures]) -> list[dict[str, float]]:
    """By how much a table differs from each of those in the groups of features; nothing with fewer than 4 of them."""
    if len(past) < FEWEST:
        return [{} for _ in past]
    scale = Scale.of(past)
    return [scale.differences(own, features) for features in past]


def pairwise(tables: Sequence[MetaFeatures], population: Sequence[MetaFeatures]) -> FloatArray:
    """`(n, n)` similarities of tables to each other; all are 1 if the population has fewer than 4 members."""
    found = np.ones((len(tables), len(tables)))
    if len(population) < FEWEST:
        return found
    scale = Scale.of(population)
    for i, one in enumerate(tables):
        for j in range(i):
            found[i, j] = found[j, i] = _alike(scale.distance(one, tables[j]))
    return found


def closeness(groups: Mapping[str, float]) -> float:
    """The similarity of two tables that differ by so much in the groups of features; 1 where nothing is compared."""
    return _alike(_apart(groups))


def _alike(distance: float) -> float:
    return float(np.exp(-0.5 * (distance / WIDTH) ** 2))


def _apart(groups: Mapping[str, float]) -> float:
    if DECIDING in groups:
        return groups[DECIDING]
    return float(np.mean([*groups.values()])) if groups else 0.0


def in_words(groups: Mapping[str, float]) -> str:
    """In which groups of features two tables are most alike and in which least; "" where too few are compared."""
    if len(groups) <= MOST_ALIKE:
        return ""
    ordered = sorted(groups, key=lambda name: groups[name])
    return f"most alike in {' and '.join(ordered[:MOST_ALIKE])}, least in {ordered[-1]}"
