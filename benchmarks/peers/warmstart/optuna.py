"""Optuna's TPE that is asked and told, from given first points and, if wanted, what the nearest past studies found."""

from collections.abc import Generator

import optuna

from benchmarks.peers.optuna_tpe import sampler, suggest
from benchmarks.warmstart.asked import Given
from hpo.space import Params, SearchSpace


def search(space: SearchSpace, given: Given, nearest: int = 0) -> Generator[Params, float | None]:
    """Configurations, each sent its loss; the best ones of the `nearest` past studies follow the first points."""
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
