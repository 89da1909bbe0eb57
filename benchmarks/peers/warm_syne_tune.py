"""Syne Tune's bounding box around the best configuration of each past study, searched by its TPE (kernel densities).

That TPE draws at random from the box until 15 % of the trials are more than there are parameters: with eight of them,
for 50 trials and more. Version 0.16 has no RUSH any more. Its zero-shot portfolio needs the same configurations in all
past studies, and its scheduler draws at random instead of asking for the portfolio.
"""

import datetime
import logging
from collections.abc import Generator, Mapping
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from syne_tune.backend.trial_status import Trial  # type: ignore[import-not-found]
from syne_tune.optimizer.baselines import TPE  # type: ignore[import-not-found]
from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import (  # type: ignore[import-not-found]
    BoundingBox,
    TransferLearningTaskEvaluations,
)

from benchmarks.asked import Evaluated, Given
from benchmarks.peers.flat import complete, flat
from benchmarks.peers.replay_syne_tune import domain
from hpo.space import Params, SearchSpace, Value

_START = datetime.datetime(2025, 1, 1)
logging.getLogger("syne_tune").setLevel(logging.ERROR)


def search(space: SearchSpace, given: Given) -> Generator[Params, float | None]:
    """Configurations, each sent its loss: the first points, then those of the box."""
    np.random.seed(given.seed)  # noqa: NPY002 - parts of Syne Tune draw from the global generator
    domains = {parameter.name: domain(parameter) for parameter in space}
    scheduler = BoundingBox(
        TPE,
        domains,
        metric="loss",
        transfer_learning_evaluations={
            str(i): _evaluations(study, space, domains) for i, study in enumerate(given.past)
        },
        random_seed=given.seed,
    )
    for number in count():
        known = number < len(given.first)
        config = complete(given.first[number], space) if known else scheduler.suggest().config
        trial = Trial(number, config, _START)
        scheduler.on_trial_add(trial)
        loss = yield given.first[number] if known else flat(_plain(config), space)
        if loss is None:
            scheduler.on_trial_error(trial)
        else:
            scheduler.on_trial_complete(trial, {"loss": loss})


def _plain(config: Mapping[str, Any]) -> dict[str, Value]:
    """Choices come out of the box as numpy's, which are not among ours."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}


def _evaluations(
    study: Evaluated, space: SearchSpace, domains: Mapping[str, Any]
) -> TransferLearningTaskEvaluations:
    return TransferLearningTaskEvaluations(
        configuration_space=domains,
        hyperparameters=pd.DataFrame([complete(params, space) for params, _ in study]),
        objectives_names=["loss"],
        objectives_evaluations=np.array([loss for _, loss in study]).reshape(-1, 1, 1, 1),
    )
