"""The next configuration of a search that other libraries run, from its trials alone."""

from collections.abc import Callable
from numbers import Integral

import numpy as np

from hpo.configurations import Configurations, by_value
from hpo.errors import ParameterError
from hpo.history import History
from hpo.past import Past
from hpo.samplers import Sampler
from hpo.samplers.learned import LearnedSampler
from hpo.space import Params, SearchSpace
from hpo.space.center import center

N_FROM_PAST = 2  # trials, after the first, with the best configurations of the same objective

Expected = Callable[[SearchSpace, Params], Past | None]
"""Gives what past studies expect in a space, of which it also gets the center."""


def propose(
    history: History, number: int, sampler: Sampler, seed: int, expected: Expected | None
) -> Params | None:
    """The configuration of a trial; the first ones come from past studies of the same objective.

    Args:
        history: of the other trials.
        number: of the trial.
        sampler: a sampler of ours.
        seed: of the search.
        expected: what past studies expect; None without any.

    Returns:
        None if all configurations of a small space are known.
    """
    space, past = history.space, None
    if expected is not None and len(history) < sampler.min_results(space):
        past = expected(space, center(space))
    taken = np.concatenate([history.x, history.pending])
    if past is not None:
        sampler = LearnedSampler(past, sampler)
        if 0 < number <= N_FROM_PAST:
            for _, code in past.best_on_same_table(taken, 1):
                return space.decode(code)
    known = Configurations(space, sampler, by_value)
    for row in taken:
        known.add(space.decode(row))
    return known.propose(history, [seed, number])


def checked_seed(seed: object) -> int:
    """The seed of a search; a new one for None.

    Raises:
        ParameterError: if it is no whole number, or negative.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ParameterError(
            f"seed={seed!r:.80} must be a whole number of 0 or more; leave it out for a new one"
        )
    return int(seed)


def checked_sampler(sampler: object) -> Sampler:
    """The sampler of a search.

    Raises:
        ParameterError: if it is none of ours.
    """
    if not isinstance(sampler, Sampler) or isinstance(sampler, type):
        raise ParameterError(
            f"sampler={sampler!r:.80} must be a sampler of hpo.samplers, such as TPESampler()"
        )
    return sampler
