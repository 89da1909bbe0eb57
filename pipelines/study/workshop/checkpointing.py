"""Which checkpoints of a running study are needed."""

import logging
import time
from collections.abc import Callable

from hpo.study import Study
from pipelines.files.checkpoints import (
    MAX_PER_RUNG,
    Checkpoints,
    checkpoint_place,
    superseded,
    sweep_places,
)
from pipelines.files.uris import safe
from pipelines.models import CheckpointError
from pipelines.study.plan import Plan

logger = logging.getLogger(__name__)

TIDY_EVERY = 5.0  # seconds between looks at the checkpoints


class CheckpointKeeper:
    """Deletes the checkpoints of a study that no trial will be promoted from.

    Attributes:
        uri: of the checkpoints; None for algorithms without promotions.
    """

    def __init__(self, plan: Plan, run_id: str) -> None:
        sweep_places()  # those of studies that were given up
        place = f"{plan.checkpoints.rstrip('/')}/{run_id}" if plan.checkpoints else None
        self._checkpoints = Checkpoints(place or checkpoint_place(run_id)) if plan.races else None
        self.uri = self._checkpoints.uri if self._checkpoints else None
        self._tidied = time.monotonic()

    def tidy(self, study: Study) -> None:
        """Now and then, delete what is not needed."""
        if self._checkpoints is None or time.monotonic() - self._tidied < TIDY_EVERY:
            return
        self._tidied = time.monotonic()
        try:
            _supersede(self._checkpoints, study)
        except CheckpointError as error:
            logger.debug("checkpoints were left: %s", error)

    def close(self, study: Study, say: Callable[[str], None]) -> None:
        """Delete all when the study is complete; else say what is left for the next session."""
        if self._checkpoints is None:
            return
        try:
            if study.complete:
                self._checkpoints.clear()
                return
            _supersede(self._checkpoints, study)
            kept = self._checkpoints.stored()
        except CheckpointError as error:
            say(f"warning: {error}")
            return
        if kept:
            size = sum(item.bytes for item in kept) / 1e6
            say(f"{len(kept)} checkpoints, {size:.1f} MB, wait in {safe(self._checkpoints.uri)}")


def _supersede(checkpoints: Checkpoints, study: Study) -> None:
    busy = {trial.number for trial in study.trials if not trial.finished}
    waiting = study.scheduler.promotable(study.standings, MAX_PER_RUNG)
    for item in superseded(checkpoints.stored(), waiting, busy=busy):
        checkpoints.delete(item.number, item.budget)
