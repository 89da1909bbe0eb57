"""Optuna's TPE, started with first points and the best of the nearest past studies."""

from collections.abc import Generator

import optuna

from benchmarks.peers.optuna_tpe import sampler, suggest
from benchmarks.warmstart.asked import Given
from hpo.space import Params, SearchSpace


def search(space: SearchSpace, given: Given, nearest: int = 0) -> Generator[Params, float | None]:
    """A generator of configurations that is sent their losses.

    The first points come first, then the best configurations of the `nearest` past studies.
    """
    study = optuna.create_study(sampler=sampler(given.seed))
    for params in (*given.first, *(known[0][0] for known in given.past[:nearest])):
        study.enqueue_trial(dict(params), skip_if_exists=True)
    while True:
        trial = study.ask()
        loss = yield suggest(space, trial)
        if loss is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, loss)
