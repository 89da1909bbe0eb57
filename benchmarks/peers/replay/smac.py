"""SMAC3's multi-fidelity facade (random forest, Hyperband) over simulated workers."""

import logging
import math
import tempfile
from pathlib import Path

from smac import MultiFidelityFacade, Scenario  # type: ignore[import-not-found]
from smac.runhistory import StatusType, TrialValue  # type: ignore[import-not-found]

from benchmarks.peers.config_space import config_space, params_of
from benchmarks.search.simulation import Finish, Leg, simulate
from benchmarks.tabulated.curves import Curves

TRIALS = 100_000  # never reached; the initial design is ten configurations for each parameter
logging.getLogger("smac").setLevel(logging.ERROR)


class Racer:
    """The facade with its default settings."""

    def __init__(self, curves: Curves, facade: MultiFidelityFacade) -> None:
        self._curves = curves
        self._facade = facade
        self._worst = curves.scale

    def ask(self) -> Leg:
        """The next trial; the configuration is what can be continued."""
        info = self._facade.ask()
        params = params_of(dict(info.config), self._curves.space)
        key = self._facade.runhistory.get_config_id(info.config)
        return Leg(key, params, info.budget, info)

    def tell(self, finish: Finish) -> None:
        """Report a trial; a failed one gets the highest loss so far, not an infinite one."""
        failed = math.isnan(finish.loss)
        self._worst = self._worst if failed else max(self._worst, finish.loss)
        value = TrialValue(
            cost=self._worst if failed else finish.loss,
            time=finish.seconds,
            status=StatusType.CRASHED if failed else StatusType.SUCCESS,
        )
        self._facade.tell(finish.leg.job, value, save=False)


def race(curves: Curves, seed: int, workers: int, seconds: float) -> list[Finish]:
    """The legs of one search, in order."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            config_space(curves.space, seed),
            deterministic=True,
            n_trials=TRIALS,
            min_budget=curves.budgets[0],
            max_budget=curves.budgets[-1],
            seed=seed,
            output_directory=Path(folder),
        )
        facade = MultiFidelityFacade(
            scenario,
            lambda config, seed, budget: 0.0,
            intensifier=MultiFidelityFacade.get_intensifier(
                scenario, eta=round(curves.budgets[1] / curves.budgets[0])
            ),
            overwrite=True,
            logging_level=logging.ERROR,
        )
        return simulate(Racer(curves, facade), curves, workers, seconds)
