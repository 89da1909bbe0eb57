"""The similarity of two tables by their meta-features.

A k-nearest-neighbour ranking by an L1 distance goes back to Brazdil, Soares & da Costa (2003),
"Ranking learning algorithms: using IBL and meta-learning on accuracy and time results", and was
used to warm start a search by Feurer, Springenberg & Hutter (2015), "Initializing Bayesian
hyperparameter optimization via meta-learning". Here two tables are similar if simple learners have
similar scores on them: of all groups of features, only the landmarks predict which past study ranks
configurations like a new one (`docs/meta-features.md`). The other groups are reported.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from warmstart.metafeatures import MetaFeatures

FEWEST = 4
"""Tables that are needed to estimate spreads; with fewer, all tables are equally similar."""

DECIDING = "landmarks"
"""The group of features that decides. If it cannot be compared, all groups count equally."""

WIDTH = 1.5
"""Distance at which the similarity is exp(-1/2)."""

MOST_ALIKE = 2  # groups of features to name

CLIP = 3.0
NORMAL_IQR = 1.349  # interquartile range of the standard normal distribution
ONE_IS_MISSING = 2 / np.sqrt(np.pi)
"""The mean distance of two standard normal numbers, for a feature that one of two tables lacks."""


@dataclass(frozen=True)
class _Scaled:
    """The z-values `(d,)` of a table, `nan` where it lacks the feature."""

    z: FloatArray
    version: int

    def gaps(self, other: "_Scaled") -> FloatArray:
        """`(d,)` |z - z'|; `nan` where there is nothing to compare.

        A feature that only one table has is compared if both are of one version: another version
        may not have defined it.
        """
        gaps = np.abs(self.z - other.z)
        if self.version == other.version:
            gaps[np.isnan(self.z) != np.isnan(other.z)] = ONE_IS_MISSING
        return gaps


@dataclass(frozen=True)
class Scale:
    """Robust z-values of features: (x - centre) / spread, clipped to ±3.

    Attributes:
        centre: medians by feature.
        spread: interquartile ranges / 1.349 (the deviation of normal values), or standard
            deviations where those are 0. Constant features are left out.
    """

    centre: Mapping[str, float]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, population: Sequence[MetaFeatures]) -> "Scale":
        """The scale of every feature that varies in the population."""
        names = sorted(set().union(*(features.values for features in population)))
        values = np.array([_row(features, names) for features in population])  # (tables, names)
        centre, spread = {}, {}
        for name, column in zip(names, values.T, strict=True):
            known = column[~np.isnan(column)]
            width = _spread(known)
            if width > 0:
                centre[name], spread[name] = float(np.median(known)), width
        return cls(centre, spread)

    def distance(self, a: MetaFeatures, b: MetaFeatures) -> float:
        """The mean |z(a) - z(b)| of the deciding features; 0 if nothing can be compared."""
        return _overall(self.differences(a, b))

    def differences(self, a: MetaFeatures, b: MetaFeatures) -> dict[str, float]:
        """The mean |z(a) - z(b)| of each group of features that can be compared."""
        return self._differences(self._scaled(a), self._scaled(b))

    def pairwise_distances(self, tables: Sequence[MetaFeatures]) -> FloatArray:
        """`(n, n)` distances of tables to each other."""
        scaled = [*map(self._scaled, tables)]
        distances = np.zeros((len(tables), len(tables)))
        for i, j in zip(*np.tril_indices(len(tables), -1), strict=True):
            distances[i, j] = _overall(self._differences(scaled[i], scaled[j]))
        return distances + distances.T

    @cached_property
    def _groups(self) -> npt.NDArray[np.str_]:
        return np.array([name.partition(".")[0] for name in self.spread], dtype=np.str_)

    def _scaled(self, features: MetaFeatures) -> _Scaled:
        centre, spread = np.array([*self.centre.values()]), np.array([*self.spread.values()])
        z = np.clip((_row(features, self.spread) - centre) / spread, -CLIP, CLIP)
        return _Scaled(z, features.version)

    def _differences(self, a: _Scaled, b: _Scaled) -> dict[str, float]:
        gaps = a.gaps(b)
        compared = ~np.isnan(gaps)
        groups, gaps = self._groups[compared], gaps[compared]
        return {
            group: float(gaps[groups == group].mean()) for group in dict.fromkeys(groups.tolist())
        }


def _row(features: MetaFeatures, names: Iterable[str]) -> FloatArray:
    """The values of these features; `nan` where missing."""
    return np.array([features.values.get(name, np.nan) for name in names], dtype=np.float64)


def _spread(values: FloatArray) -> float:
    if values.min() == values.max():
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75])
    return float((high - low) / NORMAL_IQR or values.std())


def similarity(a: MetaFeatures, b: MetaFeatures, population: Sequence[MetaFeatures]) -> float:
    """From 1 for equal tables towards 0; 1 if the population has fewer than 4 members."""
    if len(population) < FEWEST:
        return 1.0
    return _similarity(Scale.of(population).distance(a, b))


def similarities(own: MetaFeatures, past: Sequence[MetaFeatures]) -> FloatArray:
    """`(n,)` similarities of a table to others.

    Args:
        own: the table.
        past: the others, each table once; they are the population of the scale.
    """
    return np.array([*map(closeness, differences(own, past))], dtype=np.float64)


def differences(own: MetaFeatures, past: Sequence[MetaFeatures]) -> list[dict[str, float]]:
    """The differences of a table from each of the others, by groups of features.

    They are empty with fewer than 4 other tables.
    """
    if len(past) < FEWEST:
        return [{} for _ in past]
    scale = Scale.of(past)
    return [scale.differences(own, features) for features in past]


def pairwise(tables: Sequence[MetaFeatures], population: Sequence[MetaFeatures]) -> FloatArray:
    """`(n, n)` similarities of tables; all are 1 if the population has fewer than 4 members."""
    if len(population) < FEWEST:
        return np.ones((len(tables), len(tables)))
    found: FloatArray = _similarities(Scale.of(population).pairwise_distances(tables))
    return found


def closeness(groups: Mapping[str, float]) -> float:
    """The similarity of two tables from their differences; 1 if there are none."""
    return _similarity(_overall(groups))


def _similarity(distance: float) -> float:
    return float(np.exp(-0.5 * (distance / WIDTH) ** 2))


_similarities = np.vectorize(_similarity, otypes=[np.float64])


def _overall(groups: Mapping[str, float]) -> float:
    """The difference in the deciding group; the mean of all groups if it was not compared."""
    if DECIDING in groups:
        return groups[DECIDING]
    return float(np.mean([*groups.values()])) if groups else 0.0


def in_words(groups: Mapping[str, float]) -> str:
    """The groups in which two tables are most and least alike; "" if too few were compared."""
    if len(groups) <= MOST_ALIKE:
        return ""
    ordered = sorted(groups, key=groups.__getitem__)
    return f"most alike in {' and '.join(ordered[:MOST_ALIKE])}, least in {ordered[-1]}"
