"""Searches by peers whose losses are computed here.

The libraries that compute the losses are missing in the peers' environments.
"""

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
"""A past study: configurations in the searched space and their standardised losses, best first."""
_PROCESSES = ExitStack()


@dataclass(frozen=True)
class Given:
    """The input of a search.

    `first` are the first configurations to try, `past` the past studies with the most similar one
    first, and `features` the meta-features of the table.
    """

    seed: int
    first: Sequence[Params]
    past: Sequence[Evaluated]
    features: Mapping[str, float]


def searched_by(
    peer: str, space: SearchSpace, given: Given, loss: Callable[[Params], float | None], trials: int
) -> FloatArray:
    """The losses `(trials,)` of one search by a peer.

    A loss is infinite where `loss` returns None (a failed training) and after the peer has stopped.
    """
    process, losses = _running(peer), np.full(trials, np.inf)
    process.call(call="search", space=space.to_dict(), **asdict(given))
    last: float | None = None
    for i in range(trials):
        params = process.call(call="next", loss=last)["params"]
        if params is None:
            break
        last = loss(params)
        if last is not None:
            losses[i] = last
    return losses


@cache
def _running(peer: str) -> Process:
    """One process per peer; it ends with this process, when its standard input is closed."""
    return _PROCESSES.enter_context(started(WARMED[peer]))
