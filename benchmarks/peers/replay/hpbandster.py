"""HpBandSter's BOHB over simulated workers, without its servers.

It uses HpBandSter's generator of configurations, brackets and successive halving, in the order of
`Master.run`: the oldest iteration that has a run comes first; if none has, a new one begins.
"""

import copy
import logging
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
from hpbandster.core.dispatcher import Job  # type: ignore[import-not-found]
from hpbandster.optimizers import BOHB  # type: ignore[import-not-found]
from hpbandster.optimizers.config_generators import bohb  # type: ignore[import-not-found]

from benchmarks.peers.config_space import config_space, params_of
from benchmarks.peers.timing import Decider, timed_decision
from benchmarks.search.simulation import Finish, Leg, rung_of, simulate
from benchmarks.tabulated.curves import Curves

logging.getLogger("hpbandster").setLevel(logging.CRITICAL)


class Racer:
    """BOHB with its default settings."""

    def __init__(self, curves: Curves, seed: int) -> None:
        np.random.seed(seed)  # noqa: NPY002 - HpBandSter draws from the global generator
        self._curves = curves
        self.generator = bohb.BOHB(config_space(curves.space, seed))
        self._settings = SimpleNamespace(
            eta=curves.budgets[1] / curves.budgets[0],
            max_SH_iter=len(curves.budgets),
            budgets=np.array(curves.budgets),
            config_generator=self.generator,
        )
        self.iterations: list[BOHB] = []

    def ask(self) -> Leg:
        """The next run of the oldest iteration that has one, or the first of a new iteration."""
        for iteration in self.iterations:
            if not iteration.is_finished and (run := iteration.get_next_run()) is not None:
                return self._leg(*run)
        self.iterations.append(BOHB.get_next_iteration(self._settings, len(self.iterations), {}))
        return self._leg(*self.iterations[-1].get_next_run())

    def tell(self, finish: Finish) -> None:
        """Register the result as `Master.job_callback` does."""
        job = finish.leg.job
        job.result = None if math.isnan(finish.loss) else {"loss": finish.loss, "info": None}
        self.iterations[job.id[0]].register_result(job)
        self.generator.new_result(job)

    def _leg(self, key: tuple[int, int, int], config: dict[str, object], budget: float) -> Leg:
        job = Job(key, config=config, budget=budget)
        return Leg(key, params_of(config, self._curves.space), budget, job)


def decider(curves: Curves, seed: int, trials: int) -> Decider:
    """BOHB after Hyperband with `trials` random configurations.

    The bytes are those of the iterations and of the generator's observations and models.
    """
    racer = Racer(curves, seed)
    generator, learn = racer.generator, racer.generator.new_result
    held: dict[float, Job] = {}

    def note(job: Job) -> None:
        """Update the models only once per budget, with its last result."""
        budget = job.kwargs["budget"]
        if budget in held:
            learn(held[budget], update_model=False)
        held[budget] = job

    generator.random_fraction, generator.new_result = 1.0, note
    while sum(len(iteration.data) for iteration in racer.iterations) < trials:
        racer.tell(_finish(curves, racer.ask()))
    for budget in sorted(held):
        learn(held[budget])
    generator.random_fraction, generator.new_result = 1 / 3, learn
    tracemalloc.start()
    copied = copy.deepcopy([iteration.data for iteration in racer.iterations])
    observed = copy.deepcopy((generator.configs, generator.losses, generator.kde_models))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del copied, observed

    def decide() -> bool:
        leg = racer.ask()
        new: bool = racer.iterations[leg.job.id[0]].stage == 0
        racer.tell(_finish(curves, leg))
        return new

    return Decider(lambda: timed_decision(decide), used)


def race(curves: Curves, seed: int, workers: int, seconds: float) -> list[Finish]:
    """The legs of one search, in order."""
    return simulate(Racer(curves, seed), curves, workers, seconds)


def _finish(curves: Curves, leg: Leg) -> Finish:
    loss = float(curves.losses(leg.params)[rung_of(curves.budgets, leg.budget)])
    return Finish(leg, time=0.0, seconds=0.0, spent=0.0, loss=loss)
