"""FLAML's BlendSearch over simulated workers; its own scheduler raises the resource.

Spaces are flat. There is no low-cost start, because no method gets a first configuration here.
"""

import math

from benchmarks.peers.flaml_searchers import SEARCHERS, domain
from benchmarks.peers.flat import flat
from benchmarks.search.simulation import Finish, Leg, simulate
from benchmarks.tabulated.curves import Curves

RESOURCE = "budget"
ATTEMPTS = 100  # BlendSearch may return nothing so often, as in `flaml.tune.run`


class Racer:
    """A searcher driven as `flaml.tune.run(scheduler="flaml")` does."""

    def __init__(self, curves: Curves, seed: int) -> None:
        self._curves = curves
        self._searcher = SEARCHERS["blendsearch"](
            metric="loss",
            mode="min",
            space={parameter.name: domain(parameter) for parameter in curves.space},
            resource_attr=RESOURCE,
            min_resource=round(curves.budgets[0]),
            max_resource=round(curves.budgets[-1]),
            reduction_factor=round(curves.budgets[1] / curves.budgets[0]),
            cost_attr="time_total_s",
            seed=seed,
        )
        self._asked = 0

    def ask(self) -> Leg | None:
        """The next trial; the configuration without the resource is what can be continued."""
        for _ in range(ATTEMPTS):
            self._asked += 1
            config = self._searcher.suggest(str(self._asked))
            if config:
                params = flat(config, self._curves.space)
                key = tuple(sorted(params.items()))
                return Leg(key, params, float(config[RESOURCE]), (str(self._asked), config))
        return None

    def tell(self, finish: Finish) -> None:
        """Report a trial."""
        name, config = finish.leg.job
        if math.isnan(finish.loss):
            self._searcher.on_trial_complete(name, error=True)
            return
        result = {"loss": finish.loss, "time_total_s": finish.seconds, "config": config}
        self._searcher.on_trial_complete(name, result={**result, RESOURCE: config[RESOURCE]})


def race(curves: Curves, seed: int, workers: int, seconds: float) -> list[Finish]:
    """The legs of one search, in order."""
    return simulate(Racer(curves, seed), curves, workers, seconds)
