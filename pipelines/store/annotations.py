"""Notes on a study beside its trials: metrics, tags, baselines, the winner, texts and a view."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from pipelines.store import schema, views
from pipelines.store.records import Point, Record
from pipelines.store.schema import Confirmed
from pipelines.store.study_run import StudyRun
from pipelines.store.tracking import first_line

logger = logging.getLogger(__name__)


class Annotations:
    """Notes on the runs of one study."""

    def __init__(self, run: StudyRun, header: Mapping[str, Any]) -> None:
        self._run = run
        self._header = header
        self._confirmed = dict(run.found.confirmed)

    def tag(self, name: str) -> str | None:
        """A tag of the study when this session began."""
        return self._run.tags.get(name)

    def annotate(
        self,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
        step: int = 0,
        trial: int | None = None,
    ) -> None:
        """Add metrics, tags and texts as artifacts to the study's own run, or to that of a trial.

        Raises:
            ParameterError: for a name that MLflow does not accept.
        """
        key = schema.STUDY_KEY if trial is None else schema.trial_key(trial)
        shortened = {name: schema.cut(value) for name, value in (tags or {}).items()}
        points = _points(metrics or {}, step, now())
        self._run.put(Record(key, tags=shortened, metrics=points, texts=texts or {}))

    def add_baseline(
        self, name: str, metrics: Mapping[str, float], *, seconds: float = 0.0
    ) -> None:
        """Store a baseline as a nested run; a second one of the same name is ignored."""
        key = schema.baseline_key(name)
        if self._run.has_run(key):
            return
        ended = now()
        self._run.put(
            Record(
                key,
                key,
                {**self._run.common, schema.ROLE: "baseline", schema.RUN_NAME: key},
                metrics=_points({**metrics, schema.SECONDS: seconds}, 0, ended),
                mark=(schema.BASELINE, schema.cut(name)),
                status=schema.FINISHED,
                start=ended - round(1000 * seconds),
                end=ended,
            )
        )

    def confirmed(self, number: int) -> Confirmed | None:
        """The scores of a trial on repeated folds, from this session or an earlier one."""
        return self._confirmed.get(number)

    def add_confirmed(self, number: int, confirmed: Confirmed, part: int | None = None) -> None:
        """Store the scores of a trial on repeated folds; the score of `part` is new."""
        self._confirmed[number] = confirmed
        metric = f"confirm_{self._header['metric']}"
        new = {} if part is None else {metric: confirmed.scores[part]}
        tags = {schema.CONFIRMED: confirmed.to_tag()}
        self.annotate(metrics=new, tags=tags, step=part or 0, trial=number)

    def save_text(self, text: str, name: str) -> None:
        """Store a text as an artifact. A failure is logged and costs the artifact only.

        Raises:
            TakenError: when another driver has the study.
        """
        try:
            self._run.verify()
            self._run.client.log_text(self._run.run_id, text, name)
        except MlflowException as error:
            logger.warning("the artifact %s could not be stored: %s", name, first_line(error))

    def set_winner(self, number: int) -> None:
        """Tag the study with its winner; waits until the winner's run is written.

        Raises:
            StudyError: when the run of that trial does not exist.
        """
        run_id = self._run.run_id_of(schema.trial_key(number), timeout=60.0)
        self.annotate(tags={schema.WINNER: run_id, schema.WINNER_NUMBER: str(number)})

    def save_view(self) -> str | None:
        """Save a view of this study in MLflow's UI and return its link; None when that failed."""
        run = self._run
        try:
            run.verify()
        except MlflowException as error:
            logger.warning("the view could not be saved: %s", first_line(error))
            return None
        return views.save(run.client, run.experiment_id, run.run_id, self._header)


def now() -> int:
    """Milliseconds since 1970."""
    return round(time.time() * 1000)


def _points(metrics: Mapping[str, float], step: int, at: int) -> tuple[Point, ...]:
    """The finite metrics as points."""
    schema.check_names(metrics)
    return tuple((name, value, at, step) for name, value in schema.finite(metrics).items())
