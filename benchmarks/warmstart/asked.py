"""Searches by peers that are asked and told from here, since what they search on is not in their environments."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from benchmarks.environments import Process, started
from benchmarks.methods import WARMED
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params

Evaluated = Sequence[tuple[Params, float]]
"""A past study: configurations of the space that is searched, the best first, and their standardised losses."""
_PROCESSES = ExitStack()


@dataclass(frozen=True)
class Given:
    """What a search knows before it starts.

    `first` are the configurations it is to start with, `past` the past studies, the most similar
    first, and `features` the meta-features of its table.
    """

    seed: int
    first: Sequence[Params]
    past: Sequence[Evaluated]
    features: Mapping[str, float]


def searched_by(
    peer: str, space: SearchSpace, given: Given, loss: Callable[[Params], float | None], trials: int
) -> FloatArray:
    """The losses of one search by a peer, infinite where `loss` is None and after the peer had nothing more to ask."""
    process, losses = _running(peer), np.full(trials, np.inf)
    process.call(call="search", space=space.to_dict(), **asdict(given))
    told: float | None = None
    for i in range(trials):
        params = process.call(call="next", loss=told)["params"]
        if params is None:
            break
        told = loss(params)
        if told is not None:
            losses[i] = told
    return losses


@cache
def _running(peer: str) -> Process:
    """One process a peer, which ends when its standard input does, with this process."""
    return _PROCESSES.enter_context(started(WARMED[peer]))
