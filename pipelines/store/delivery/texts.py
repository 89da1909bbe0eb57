"""Texts of runs on their way to the store of artifacts."""

import logging
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient

from pipelines.store.records import Record
from pipelines.store.tracking import first_line

logger = logging.getLogger(__name__)


class Texts:
    """Stores texts as artifacts of runs that MLflow has.

    Results matter more than texts: when the store of artifacts refuses one, this and all later ones
    are left out.

    Args:
        client: of the tracking store.
        run_ids: of the runs, by the key of their record.
    """

    def __init__(self, client: MlflowClient, run_ids: Mapping[str, str]) -> None:
        self._client = client
        self._run_ids = run_ids
        self._waiting: dict[tuple[str, str], str] = {}
        self._refused = False

    def add(self, records: Iterable[Record]) -> None:
        """Let the texts of records wait until their runs are written."""
        if not self._refused:
            for record in records:
                self._waiting |= {(record.key, name): text for name, text in record.texts.items()}

    def write(self) -> None:
        """Store the texts that wait; those of runs that were deleted are left out."""
        waiting, self._waiting = self._waiting, {}
        for (key, name), text in waiting.items():
            if key not in self._run_ids:
                continue
            try:
                self._client.log_text(self._run_ids[key], text, name)
            except Exception as error:  # noqa: BLE001  (of whatever library reaches the artifacts)
                logger.warning(
                    "what trials print is not stored (%s: %s)",
                    type(error).__name__,
                    first_line(error),
                )
                self._refused = True
                return
