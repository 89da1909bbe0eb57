"""hyperopt's TPE over simulated workers, whole trainings only."""

import math
from typing import Any

import numpy as np
from hyperopt import space_eval, tpe
from hyperopt.base import JOB_STATE_DONE, Domain, Trials

from benchmarks.peers.hyperopt_tpe import decoder, graph
from benchmarks.search.simulation import Finish, Leg, simulate
from benchmarks.tabulated.curves import Curves


class Racer:
    """`tpe.suggest` on trials of which some still run, as hyperopt's parallel back ends call it."""

    def __init__(self, curves: Curves, seed: int) -> None:
        self._curves = curves
        self._rng = np.random.default_rng(seed)
        self._graph = graph(curves.space)
        self._domain = Domain(lambda drawn: 0.0, self._graph)
        self._decode = decoder(curves.space)
        self._trials = Trials()

    def ask(self) -> Leg:
        """A new trial."""
        (made,) = tpe.suggest(
            self._trials.new_trial_ids(1),
            self._domain,
            self._trials,
            int(self._rng.integers(2**31)),
        )
        self._trials.insert_trial_docs([made])
        self._trials.refresh()
        document = self._trials._dynamic_trials[-1]
        return Leg(document["tid"], self._params(document), self._curves.budgets[-1], document)

    def tell(self, finish: Finish) -> None:
        """The trial is done."""
        document, failed = finish.leg.job, math.isnan(finish.loss)
        document["state"] = JOB_STATE_DONE
        document["result"] = {"status": "fail"} if failed else {"status": "ok", "loss": finish.loss}
        self._trials.refresh()

    def _params(self, document: Any) -> Any:
        known = {name: values[0] for name, values in document["misc"]["vals"].items() if values}
        return self._decode(space_eval(self._graph, known))


def race(curves: Curves, seed: int, workers: int, seconds: float) -> list[Finish]:
    """The legs of one search, in order."""
    return simulate(Racer(curves, seed), curves, workers, seconds)
