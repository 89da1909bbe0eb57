"""A study in MLflow: the parent run is the study, each nested run a trial, and nothing else is kept anywhere.

`docs/mlflow-schema.md` describes what stands where. Writing returns at once: records go through an
outbox (`pipelines.store.outbox`) to one thread, which writes them in bulk into a database that is
opened directly (`pipelines.store.bulk`) and call by call everywhere else
(`pipelines.store.tracking`). Measured for 1,000 trials with 10 parameters and 3 metrics on SQLite:
see `docs/mlflow-schema.md`.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema, views
from pipelines.store.bulk import BulkWriter, engine_for
from pipelines.store.lease import Lease
from pipelines.store.outbox import Journal, Outbox, Pace
from pipelines.store.parents import Header, check_header, end_as_failed, parent_run, write_study
from pipelines.store.schema import Confirmed, Record
from pipelines.store.studies import find_study, read_header
from pipelines.store.summaries import summary_of, summary_tags
from pipelines.store.tracking import (
    CallWriter,
    ClientRuns,
    HttpRuns,
    Writer,
    as_study_error,
    children,
    connect,
    first_line,
    is_http,
    told_apart,
)

logger = logging.getLogger(__name__)

_COMMON_TAGS = (
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
)

WriterMaker = Callable[[MlflowClient, str, str, MutableMapping[str, str]], Writer]


class MlflowStorage:
    """One study's trials in MLflow. Made by `create` or `open`; used by one driver at a time.

    Attributes:
        run_id: the study: its parent run's id.
        experiment_id: where it lies.
        header: what the study was created with; JSON values.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        header: Header,
        journal: Journal,
        *,
        trial_name: Callable[[Trial], str] | None = None,
        make_writer: WriterMaker | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.run_id = str(run.info.run_id)
        self.experiment_id = str(run.info.experiment_id)
        self.header = dict(header)
        self._client = client
        self._trial_name = trial_name or self._default_name
        self._metric = str(header["metric"])
        self._full = float(rungs[-1]) if (rungs := header.get("rungs")) else None
        self._sign = -1.0 if header["direction"] == "maximize" else 1.0
        tags = run.data.tags
        self._common = {
            schema.PARENT_RUN: self.run_id,
            **{name: tags[name] for name in _COMMON_TAGS if name in tags},
        }
        self._known = {schema.STUDY_KEY: self.run_id}
        self._trials: dict[int, Trial] = {}
        self._confirmed: dict[int, Confirmed] = {}
        self._completed = 0
        self._best = math.inf
        self._write = (make_writer or _writer)(client, self.experiment_id, self.run_id, self._known)
        self._lease = Lease(client, self.run_id, self._set_driver)
        self._lease.acquire()
        try:
            self._recover(journal)
        except BaseException:
            self._release()
            raise
        self._outbox = Outbox(journal, self._write_in_order, self._beat, pace=pace)

    @classmethod
    def create(
        cls,
        header: Header,
        *,
        run_id: str | None = None,
        parent: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
        description: str | None = None,
        artifacts: Mapping[str, str] = MappingProxyType({}),
        trial_name: Callable[[Trial], str] | None = None,
        tracking_uri: str | None = None,
        make_writer: WriterMaker | None = None,
        pace: Pace | None = None,
    ) -> "MlflowStorage":
        """A new study.

        Args:
            header: JSON values; `space`, `metric` and `direction` ("minimize" or "maximize") are
                needed, `data` is a mapping with `uri` and `digest`.
            run_id: the run to use (that of `mlflow run`); without it one is made in `experiment`.
            parent: the run that this study is a part of; the study is made beside it.
            experiment: its name; made when missing. Without it what MLFLOW_EXPERIMENT_ID or _NAME
                say, else the default one.
            name: of the run.
            description: in Markdown; a sentence made from the header without it.
            artifacts: texts by file name that belong to the study from its beginning.
            trial_name: names a trial's run.
            tracking_uri: of the store; without it the one in force.
            make_writer: makes what writes records, for tests.
            pace: of the outbox, for tests.

        Raises:
            StudyError: when the store cannot be used, or the run is deleted or already a study.
        """
        client = connect(tracking_uri)
        check_header(header)
        with as_study_error("the study cannot be created"):
            run = parent_run(client, run_id, experiment, name, header, parent)
            with ExitStack() as on_failure:
                if run_id is None:  # nobody else would say that nothing came of it
                    on_failure.push(partial(end_as_failed, client, run.info.run_id))
                journal = Journal(journal_path(run.info.run_id))
                on_failure.callback(journal.close)
                write_study(client, run, header, description, artifacts)
                run = client.get_run(run.info.run_id)
                storage = cls(
                    client,
                    run,
                    header,
                    journal,
                    trial_name=trial_name,
                    make_writer=make_writer,
                    pace=pace,
                )
                on_failure.pop_all()
                return storage

    @classmethod
    def open(
        cls,
        run_id: str,
        *,
        trial_name: Callable[[Trial], str] | None = None,
        tracking_uri: str | None = None,
        make_writer: WriterMaker | None = None,
        pace: Pace | None = None,
    ) -> "MlflowStorage":
        """The study whose parent run is `run_id`, with what an earlier driver could not deliver any more.

        Raises:
            StudyError: when there is no such study, its schema is another, or another driver runs
                it.
        """
        client = connect(tracking_uri)
        with as_study_error(f"study {run_id} cannot be opened"):
            run = find_study(client, run_id)
            header = read_header(client, run_id)
            journal = Journal(journal_path(run_id))
            try:
                storage = cls(
                    client,
                    run,
                    header,
                    journal,
                    trial_name=trial_name,
                    make_writer=make_writer,
                    pace=pace,
                )
            except BaseException:
                journal.close()
                raise
            try:
                client.update_run(run_id, status=schema.RUNNING)
            except BaseException:
                storage.close(schema.KILLED, timeout=0.0)
                raise
            return storage

    def load(self) -> list[Trial]:
        """All trials, in order of their numbers; legs that were lost with a driver come back unfinished."""
        return [schema.without_curves(self._trials[number]) for number in sorted(self._trials)]

    def add(self, trial: Trial) -> None:
        """Keep a trial that has just been granted.

        Raises:
            ParameterError: for a value that MLflow cannot keep.
            StudyError: when nothing can be written any more.
        """
        self._outbox.put(schema.grant(trial, self._trial_name(trial), self._common, _now()))
        self._trials[trial.number] = trial
        if trial.reports or trial.failure is not None:
            self.update(trial)

    def update(self, trial: Trial) -> None:
        """Keep what has been told of a trial, or the larger budget it was granted.

        Raises:
            StudyError: when nothing can be written any more.
        """
        before = self._trials.get(trial.number)
        known = len(before.reports) if before else 0
        now = _now()
        self._outbox.put(schema.outcome(trial, self._metric, self._sign, known, now, self._full))
        self._trials[trial.number] = trial
        if trial.finished and not (before and before.finished):
            self._progress(trial, now)

    def add_baseline(
        self, name: str, metrics: Mapping[str, float], *, seconds: float = 0.0
    ) -> None:
        """Keep a run that the search has to beat; nothing happens when the study has that baseline already."""
        if self.has_baseline(name):
            return
        now = _now()
        values = {**metrics, schema.SECONDS: seconds}
        schema.check_names(values)
        points = tuple((k, float(v), now, 0) for k, v in values.items() if math.isfinite(v))
        run_name = schema.baseline_key(name)
        tags = {**self._common, schema.ROLE: "baseline", schema.RUN_NAME: run_name}
        start = now - round(1000 * seconds)
        mark = (schema.BASELINE, schema.cut(name))
        self._outbox.put(
            Record(
                run_name,
                run_name,
                tags,
                metrics=points,
                mark=mark,
                status=schema.FINISHED,
                start=start,
                end=now,
            )
        )

    def has_baseline(self, name: str) -> bool:
        """Whether MLflow has that baseline."""
        return schema.baseline_key(name) in self._known

    def confirmed(self, number: int) -> Confirmed | None:
        """What is known of a trial on the rows divided anew, scored just now or before a resume."""
        return self._confirmed.get(number)

    def add_confirmed(self, number: int, confirmed: Confirmed, part: int | None = None) -> None:
        """Keep what is known of a trial on the rows divided anew; the score of `part` is new."""
        self._confirmed[number] = confirmed
        new = {} if part is None else {f"confirm_{self._metric}": confirmed.scores[part]}
        self.annotate(
            metrics=new, tags={schema.CONFIRMED: confirmed.to_tag()}, step=part or 0, trial=number
        )

    def annotate(
        self,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        trial: int | None = None,
    ) -> None:
        """Metrics and tags on the study's own run, or on that of a trial."""
        now = _now()
        schema.check_names(metrics or {})
        points = tuple(
            (k, float(v), now, step) for k, v in (metrics or {}).items() if math.isfinite(v)
        )
        cut = {key: schema.cut(value) for key, value in (tags or {}).items()}
        key = schema.STUDY_KEY if trial is None else schema.trial_key(trial)
        self._outbox.put(Record(key, tags=cut, metrics=points))

    def keep_text(self, text: str, name: str) -> None:
        """Keep a text as an artifact; one that MLflow does not take is missed with a word only."""
        try:
            self._client.log_text(self.run_id, text, name)
        except MlflowException as error:
            logger.warning("the artifact %s could not be kept: %s", name, first_line(error))

    def set_winner(self, number: int) -> None:
        """Name the study's winner; waits until its run is written.

        Raises:
            StudyError: when that trial's run does not exist.
        """
        self.annotate(
            tags={schema.WINNER: self.trial_run_id(number), schema.WINNER_NUMBER: str(number)}
        )

    def trial_run_id(self, number: int, timeout: float | None = 60.0) -> str:
        """The id of a trial's run; waits until it is written.

        Raises:
            StudyError: when it is not, `timeout` seconds later.
        """
        key = schema.trial_key(number)
        if key not in self._known:
            self._outbox.flush(timeout)
        if key not in self._known:
            raise StudyError(
                f"trial {number} is not in MLflow yet; is the tracking server reachable?"
            )
        return self._known[key]

    @property
    def client(self) -> MlflowClient:
        """The client that this study is written with."""
        return self._client

    @property
    def tracking_uri(self) -> str:
        """Where this study is kept."""
        return str(self._client.tracking_uri)

    @property
    def waiting(self) -> int:
        """How many runs have something that MLflow has not got yet."""
        return self._outbox.waiting

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until MLflow has everything; False when `timeout` seconds were not enough.

        Raises:
            StudyError: when it cannot be written any more.
        """
        return self._outbox.flush(timeout)

    def close(
        self,
        status: str = schema.FINISHED,
        reason: str | None = None,
        *,
        timeout: float | None = 60.0,
    ) -> bool:
        """End the study's run with `status` and let the next driver in; False when results still wait on disk.

        The study leaves its summary, for later ones to learn from (`pipelines.store.summaries`).
        Trials that were granted and never told end as KILLED; they are handed out again when the
        study is opened.

        Raises:
            StudyError: when something cannot be written any more; everything else is done all the
                same.
        """
        try:
            now = _now()
            for trial in self._trials.values():
                if not trial.finished:
                    where = {
                        schema.ENDED: f"stopped on the way from {trial.reached:g} to {trial.budget:g}"
                    }
                    key = schema.trial_key(trial.number)
                    self._outbox.put(Record(key, tags=where, status=schema.KILLED, end=now))
            tags = summary_tags(summary_of(self.header, self.run_id, self.load()))
            if reason:
                tags[schema.FAILURE] = schema.cut(reason)
            self._outbox.put(Record(schema.STUDY_KEY, tags=tags, status=status, end=now))
        finally:
            try:
                delivered = self._outbox.close(timeout)
            finally:
                self._release()
        if delivered:
            self._tidy()
        return delivered

    def save_view(self) -> str | None:
        """Make a saved view of this study in MLflow's UI; its link, or None when that did not work."""
        return views.save(self._client, self.experiment_id, self.run_id, self.header)

    def _default_name(self, trial: Trial) -> str:
        model = str(self.header.get("model", "trial"))
        return f"{trial.params.get('model', model) if model == 'all' else model}-{trial.number:03d}"

    def _progress(self, trial: Trial, now: int) -> None:
        """Best so far as a metric of the study, at the count of legs that were told."""
        self._best = min(self._best, trial.loss)
        self._completed += 1
        if math.isfinite(self._best):
            point = (f"best_{self._metric}", self._sign * self._best, now, self._completed)
            self._outbox.put(Record(schema.STUDY_KEY, metrics=(point,)))

    def _write_in_order(self, records: Sequence[Record]) -> None:
        """The study's own record last: what it says of the trials is true once they are there."""
        self._write(sorted(records, key=lambda record: record.key == schema.STUDY_KEY))

    def _recover(self, journal: Journal) -> None:
        """Read what MLflow has, and write what the journal of a dead driver adds to it."""
        for run_id in self._read():
            self._client.delete_run(run_id)
        done = {schema.trial_key(t.number): t for t in self._trials.values() if t.finished}
        merged: dict[str, Record] = {}
        for record in journal.read():
            merged[record.key] = merged[record.key].then(record) if record.key in merged else record
        late = [
            r for r in merged.values() if r.key not in done or not schema.is_behind(r, done[r.key])
        ]
        if late:
            self._write_in_order(late)
            self._read()
        journal.clear()

    def _read(self) -> list[str]:
        """Fill this object from MLflow; the ids of runs without a commit mark, which never happened."""
        found: dict[int, tuple[Trial, Run]] = {}
        orphans = []
        for run in children(self._client, self.experiment_id, self.run_id):
            tags = run.data.tags
            if (trial := schema.decode_trial(tags, run.data.params)) is not None:
                there = found.get(trial.number)
                if there is None or _precedence(trial, run) < _precedence(*there):
                    found[trial.number] = (trial, run)
            elif schema.BASELINE in tags:
                self._known[schema.baseline_key(tags[schema.BASELINE])] = str(run.info.run_id)
            elif tags.get(schema.ROLE) in ("trial", "baseline"):
                orphans.append(str(run.info.run_id))
        self._trials = {number: trial for number, (trial, _) in found.items()}
        self._known |= {schema.trial_key(n): str(run.info.run_id) for n, (_, run) in found.items()}
        texts = {n: run.data.tags.get(schema.CONFIRMED, "") for n, (_, run) in found.items()}
        known = {number: Confirmed.from_tag(text) for number, text in texts.items()}
        self._confirmed = {number: confirmed for number, confirmed in known.items() if confirmed}
        self._completed = sum(
            len(trial.reports) + (trial.failure is not None) for trial in self._trials.values()
        )
        self._best = min((trial.loss for trial in self._trials.values()), default=math.inf)
        for trial, run in found.values():
            self._mend_status(trial, run)
        return orphans

    def _mend_status(self, trial: Trial, run: Run) -> None:
        """A driver that died between a report and the run's end left it running."""
        if trial.finished and run.info.status not in (schema.FINISHED, schema.FAILED):
            self._client.set_terminated(run.info.run_id, schema.status_of(trial), run.info.end_time)

    def _tidy(self) -> None:
        """What is good to do once everything is written; nothing is lost without it."""
        if isinstance(self._write, BulkWriter):
            self._write.analyze()
        elif isinstance(self._write, CallWriter) and self._write.doubtful:
            try:
                for run_id in self._read():
                    self._client.delete_run(run_id)
            except MlflowException as error:
                logger.debug("orphans were left to the next driver: %s", first_line(error))

    def _set_driver(self, value: str) -> None:
        self._client.set_tag(self.run_id, schema.DRIVER, value)

    def _beat(self) -> None:
        with told_apart():
            self._lease.renew()

    def _release(self) -> None:
        try:
            self._lease.release()
        except MlflowException as error:
            logger.debug("the study's lease was not released: %s", first_line(error))


def journal_path(run_id: str) -> Path:
    """Where results of a study wait for MLflow."""
    return cache_dir() / "outbox" / f"{run_id}.jsonl"


def _now() -> int:
    return round(time.time() * 1000)


def _writer(
    client: MlflowClient, experiment_id: str, run_id: str, known: MutableMapping[str, str]
) -> Writer:
    uri = client.tracking_uri
    if is_http(uri):
        return CallWriter(HttpRuns(uri), experiment_id, known)
    if (engine := engine_for(client)) is not None:
        return BulkWriter(engine, experiment_id, run_id, known)
    logger.info(
        "%s is not a database that is written in bulk; trials are logged one by one", safe(uri)
    )
    return CallWriter(ClientRuns(client), experiment_id, known)


def _precedence(trial: Trial, run: Run) -> tuple[Any, ...]:
    """Of two runs of the same trial the one that got further counts, then the older, then the smaller id."""
    return (-len(trial.reports), trial.failure is not None, run.info.start_time, run.info.run_id)
