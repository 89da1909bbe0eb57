"""The maximum of a function over a space with steps, choices and conditions."""

from collections.abc import Callable

import numpy as np

from hpo.arrays import FloatArray
from hpo.space import SearchSpace

_DRAWS = 200  # uniform ones
_CHILDREN = 24  # of each configuration in each round of local search
_ROUNDS = 8
_FIRST_STEP = 0.3  # largest standard deviation of a step, in edges of the unit cube
_SHRINKS = 0.5  # by which it is multiplied in each round
_NEW_CHOICE = 0.3  # probability that a child may have other choices


def maximise(
    space: SearchSpace,
    value: Callable[[FloatArray], FloatArray],
    starts: FloatArray,
    searches: int,
    rng: np.random.Generator,
) -> FloatArray:
    """`(d,)` codes with a large value, by random search and parallel local searches.

    Args:
        space: the search space.
        value: the values `(m,)` of codes `(m, d)`, which are nan where inactive.
        starts: `(k, d)` codes around which to search, too.
        searches: how many of the best are improved.
        rng: the only source of randomness.
    """
    inactive = np.isnan(starts)
    around = np.where(inactive, rng.random(starts.shape), starts)
    draws = rng.random((_DRAWS, len(space)))
    parents = space.codes.snap(np.concatenate([draws, around, _children(space, around, 0, rng)]))
    values = value(space.codes.deactivate(parents))
    best = np.argsort(-values, kind="stable")[:searches]
    parents, values = parents[best], values[best]
    rows = np.arange(len(parents))
    for number in range(_ROUNDS):
        children = space.codes.snap(_children(space, parents, number, rng))
        found = value(space.codes.deactivate(children)).reshape(len(parents), _CHILDREN)
        first = found.argmax(axis=1)
        better = found[rows, first] > values
        chosen = children.reshape(len(parents), _CHILDREN, -1)[rows, first]
        parents = np.where(better[:, None], chosen, parents)
        values = np.where(better, found[rows, first], values)
    return np.asarray(parents[np.argmax(values)])


def _children(
    space: SearchSpace, parents: FloatArray, number: int, rng: np.random.Generator
) -> FloatArray:
    """Codes near those of the parents `(k, d)`, each of which differs in one dimension or more.

    The steps are smaller in later rounds; inactive dimensions have codes, too.
    """
    x = np.repeat(parents, _CHILDREN, axis=0)
    m, d = x.shape
    changed = rng.random((m, d)) < np.maximum(1 / d, rng.random((m, 1)) ** 2)
    changed[np.arange(m), rng.integers(d, size=m)] = True
    sd = _FIRST_STEP * _SHRINKS**number * 10 ** -rng.random((m, 1))
    stepped = np.clip(x + sd * rng.normal(size=(m, d)), 0, 1)
    columns = space.layout.choices
    stepped[:, columns] = rng.random((m, len(columns)))
    changed[:, columns] &= rng.random((m, 1)) < _NEW_CHOICE
    return np.where(changed, stepped, x)
