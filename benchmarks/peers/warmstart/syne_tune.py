"""Syne Tune's bounding box around the best configuration of each past study, searched by its BORE.

Its TPE draws at random until 15 % of the trials are more than the number of parameters. Version
0.16 has no RUSH any more. Its zero-shot portfolio needs the same configurations in all past
studies, and its scheduler draws at random instead of using the portfolio.
"""

import datetime
import logging
from collections.abc import Generator, Mapping
from contextlib import redirect_stdout
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from syne_tune.backend.trial_status import Trial  # type: ignore[import-not-found]
from syne_tune.config_space import choice  # type: ignore[import-not-found]
from syne_tune.optimizer.baselines import BORE  # type: ignore[import-not-found]
from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import (  # type: ignore[import-not-found]
    BoundingBox,
    TransferLearningTaskEvaluations,
)

from benchmarks.peers.flat import complete, flat
from benchmarks.peers.replay.syne_tune import domain
from benchmarks.warmstart.asked import Evaluated, Given
from hpo.space import Categorical, Parameter, Params, SearchSpace, Value

_START = datetime.datetime(2025, 1, 1)
logging.getLogger("syne_tune").setLevel(logging.ERROR)


def search(space: SearchSpace, given: Given) -> Generator[Params, float | None]:
    """A generator of configurations that is sent their losses.

    The first points come first; they need not lie in the box. The others are from the box.
    """
    np.random.seed(given.seed)  # noqa: NPY002 - parts of Syne Tune draw from the global generator
    domains = {parameter.name: _domain(parameter) for parameter in space}
    with redirect_stdout(None):  # it prints the box
        scheduler = BoundingBox(
            BORE,
            domains,
            metric="loss",
            transfer_learning_evaluations={
                str(i): _evaluations(study, space, domains) for i, study in enumerate(given.past)
            },
            random_seed=given.seed,
        )
    for params in given.first:  # noqa: UP028 - it would send the losses to the list
        yield params
    for number in count():
        trial = Trial(number, scheduler.suggest().config, _START)
        scheduler.on_trial_add(trial)
        loss = yield _ours(trial.config, space)
        if loss is None:
            scheduler.on_trial_error(trial)
        else:
            scheduler.on_trial_complete(trial, {"loss": loss})


def _theirs(params: Params, space: SearchSpace) -> dict[str, Value]:
    """All parameters, choices by their numbers: out of the box, others come as numpy's."""
    named = complete(params, space)
    return {
        p.name: str(p.index(named[p.name])) if isinstance(p, Categorical) else named[p.name]
        for p in space
    }


def _ours(config: Mapping[str, Any], space: SearchSpace) -> Params:
    named = {
        p.name: p.choices[int(config[p.name])] if isinstance(p, Categorical) else config[p.name]
        for p in space
    }
    return flat(named, space)


def _domain(parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return choice([str(i) for i in range(len(parameter.choices))])
    return domain(parameter)


def _evaluations(
    study: Evaluated, space: SearchSpace, domains: Mapping[str, Any]
) -> TransferLearningTaskEvaluations:
    return TransferLearningTaskEvaluations(
        configuration_space=domains,
        hyperparameters=pd.DataFrame([_theirs(params, space) for params, _ in study]),
        objectives_names=["loss"],
        objectives_evaluations=np.array([loss for _, loss in study]).reshape(-1, 1, 1, 1),
    )
