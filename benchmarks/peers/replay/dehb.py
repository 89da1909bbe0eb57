"""DEHB over simulated workers, by ask and tell on the unit cube."""

import math
import tempfile

from dehb import DEHB  # type: ignore[import-not-found]

from benchmarks.search.simulation import Finish, Leg, simulate
from benchmarks.tabulated.curves import Curves


class Racer:
    """DEHB with its default settings."""

    def __init__(self, curves: Curves, searcher: DEHB) -> None:
        self._curves = curves
        self._searcher = searcher

    def ask(self) -> Leg:
        """The next job; a promoted configuration keeps its id, so its training is continued."""
        job = self._searcher.ask()
        params = self._curves.space.decode(job["config"])
        return Leg(int(job["config_id"]), params, float(job["fidelity"]), job)

    def tell(self, finish: Finish) -> None:
        """Report a job; the loss of a failed one is infinite."""
        loss = math.inf if math.isnan(finish.loss) else finish.loss
        self._searcher.tell(finish.leg.job, {"fitness": loss, "cost": finish.seconds})
        self._searcher._clean_inactive_brackets()


def race(curves: Curves, seed: int, workers: int, seconds: float) -> list[Finish]:
    """The legs of one search, in order."""
    with tempfile.TemporaryDirectory() as folder:
        searcher = DEHB(
            dimensions=len(curves.space),
            min_fidelity=curves.budgets[0],
            max_fidelity=curves.budgets[-1],
            eta=curves.budgets[1] / curves.budgets[0],
            n_workers=1,  # more would start a cluster; simulated workers only ask several times
            seed=seed,
            output_path=folder,
            log_level="ERROR",
            save_freq="end",
        )
        return simulate(Racer(curves, searcher), curves, workers, seconds)
