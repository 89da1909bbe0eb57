"""Writing records by MLflow's public calls, as few as possible."""

import logging
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from hpo.errors import StudyError
from pipelines.store import schema
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.records import Point, Record
from pipelines.store.tracking import classified_errors, patiently, rest_call

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PAUSES = (0.1, 0.2, 0.4)  # seconds before a refused request is sent again
_MAX_ITEMS, _MAX_PARAMS, _MAX_TAGS = 1_000, 100, 100  # per batch, set by MLflow


class Fence(Protocol):
    """Whether this driver still has the study (`pipelines.store.lease`)."""

    def verify(self) -> None:
        """Raise an error if another driver has it now."""
        ...

    def check(self, value: str | None) -> None:
        """Raise an error if a value of the driver's tag is that of another driver."""
        ...


class Open:
    """No fence, for a store that nobody else writes to."""

    def verify(self) -> None:
        """Nothing to check."""

    def check(self, value: str | None) -> None:
        """Nothing to check."""


OPEN = Open()
Writer = Callable[[Sequence[Record], Fence], None]
Batch = tuple[list[Point], dict[str, str], dict[str, str]]
"""Metrics, parameters and tags of one call."""


class Runs(Protocol):
    """The calls that writing a run needs."""

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """Create a run and return its id."""
        ...

    def find(self, experiment_id: str, rule: str) -> str | None:
        """The id of a run that matches a filter; None if there is none."""
        ...

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Log metrics and parameters, then set tags."""
        ...

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the run's status, and its end unless that is None."""
        ...


class ClientRuns:
    """Calls of `MlflowClient`, for every kind of store."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """Create a run and return its id."""
        run = self._client.create_run(experiment_id, start_time=start, tags=tags, run_name=name)
        return str(run.info.run_id)

    def find(self, experiment_id: str, rule: str) -> str | None:
        """The id of a run that matches a filter; None if there is none."""
        found = self._client.search_runs([experiment_id], rule, max_results=1)
        return str(found[0].info.run_id) if found else None

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Log metrics and parameters, then set tags, in one call."""
        self._client.log_batch(
            run_id,
            [Metric(*point) for point in metrics],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
            synchronous=True,
        )

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the run's status, and its end unless that is None."""
        if end is None:
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end)


class HttpRuns:
    """Requests of MLflow's REST interface.

    `MlflowClient` would retry for minutes before it reports a server that is down, and only
    environment variables of the process could change that. Here the outbox retries. Credentials,
    headers and the HTTP session are MLflow's own.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """Create a run and return its id."""
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start,
            "user_id": tags.get("mlflow.user", "unknown"),
            "tags": _pairs(tags),
        }
        answer = rest_call(self._uri, "runs/create", body, needs="run")
        return str(answer["run"]["info"]["run_id"])

    def find(self, experiment_id: str, rule: str) -> str | None:
        """The id of a run that matches a filter; None if there is none."""
        body = {"experiment_ids": [experiment_id], "filter": rule, "max_results": 1}
        found = rest_call(self._uri, "runs/search", body).get("runs")
        return str(found[0]["info"]["run_id"]) if found else None

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Log metrics and parameters, then set tags, in one request."""
        points = [{"key": k, "value": v, "timestamp": t, "step": s} for k, v, t, s in metrics]
        body = {"run_id": run_id, "metrics": points, "params": _pairs(params), "tags": _pairs(tags)}
        rest_call(self._uri, "runs/log-batch", body)

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the run's status, and its end unless that is None."""
        body: dict[str, Any] = {"run_id": run_id, "status": status}
        if end is not None:
            body["end_time"] = end
        rest_call(self._uri, "runs/update", body)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


class CallWriter:
    """Writes records call by call.

    A trial that is granted and reported at once takes three calls, otherwise two and two. The
    mark is in the last batch of a record, and MLflow writes the tags of a batch after its
    parameters and metrics. A run without a mark is an orphan; the next driver deletes it.

    A run whose id did not arrive may exist: it is looked up by its name before it is created again.

    A server that refuses a request now and then gets it again after a short pause. One that does
    not answer at all is left to the outbox.
    """

    def __init__(
        self,
        runs: Runs,
        experiment_id: str,
        run_ids: MutableMapping[str, str],
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self._runs = runs
        self._pauses = pauses
        self._experiment_id = experiment_id
        self._run_ids = run_ids
        self._asked_for: set[str] = set()  # names of runs whose id did not arrive

    def __call__(self, records: Sequence[Record], fence: Fence = OPEN) -> None:
        """Write records in order; before each one, check the fence.

        Raises:
            Unreachable: when the store does not answer; it names the records that are written.
            StudyError: when it refuses to write, or the study's run was deleted.
        """
        for done, record in enumerate(records):
            try:
                with classified_errors():
                    fence.verify()
                self._write(record)
            except Unreachable as error:
                written = frozenset(earlier.key for earlier in records[:done])
                raise Unreachable(str(error), written) from error

    def _write(self, record: Record) -> None:
        if record.key in self._run_ids:
            self._update(record, self._run_ids[record.key])
        elif record.mark is not None:
            with classified_errors():
                self._create(record)
        else:
            logger.warning("the run of %s was deleted; its new data is ignored", record.key)

    def _update(self, record: Record, run_id: str) -> None:
        try:
            with classified_errors():
                self._log(run_id, record, record.marked_tags)
                if record.status:
                    self._set_status(run_id, record)
        except StudyError as error:
            if record.key == schema.STUDY_KEY or not _was_deleted(run_id, error):
                raise
            logger.warning("run %s of %s was deleted and stays deleted", run_id, record.key)

    def _create(self, record: Record) -> None:
        run_id = self._run_ids[record.key] = self._again(partial(self._made, record))
        self._asked_for.discard(_name(record))
        self._log(run_id, record, dict([record.mark] if record.mark else []))
        if record.status and record.status != schema.RUNNING:
            self._set_status(run_id, record)

    def _made(self, record: Record) -> str:
        """The id of a new run, or of the one that an attempt has made whose answer was lost."""
        name, start = _name(record), record.start or 0
        run_id = self._find(name) if name in self._asked_for else None
        if run_id is None:
            self._asked_for.add(name)
            run_id = self._runs.create(self._experiment_id, name, start, dict(record.tags))
        return run_id

    def _find(self, name: str) -> str | None:
        parent = self._run_ids[schema.STUDY_KEY]
        rule = f"tags.`{schema.PARENT_RUN}` = '{parent}' AND attributes.run_name = '{name}'"
        return self._runs.find(self._experiment_id, rule)

    def _log(self, run_id: str, record: Record, tags: dict[str, str]) -> None:
        for metrics, params, batch_tags in _batches(record, tags):
            self._again(partial(self._runs.log, run_id, metrics, params, batch_tags))

    def _set_status(self, run_id: str, record: Record) -> None:
        self._again(partial(self._runs.set_status, run_id, str(record.status), record.end))

    def _again(self, call: Callable[[], T]) -> T:
        return patiently(call, self._pauses)


def _batches(record: Record, tags: dict[str, str]) -> Iterator[Batch]:
    """Split a record into as few batches as MLflow's limits allow; the tags are in the last one."""
    metrics, params = list(record.metrics), list(record.params.items())
    while len(params) > _MAX_PARAMS or len(metrics) + len(params) > _MAX_ITEMS:
        first = params[:_MAX_PARAMS]
        room = _MAX_ITEMS - len(first)
        yield metrics[:room], dict(first), {}
        metrics, params = metrics[room:], params[_MAX_PARAMS:]
    if len(tags) > _MAX_TAGS or len(metrics) + len(params) + len(tags) > _MAX_ITEMS:
        yield metrics, dict(params), {}
        metrics, params = [], []
    if metrics or params or tags:
        yield metrics, dict(params), tags


def _name(record: Record) -> str:
    return record.name or record.key


def _was_deleted(run_id: str, error: StudyError) -> bool:
    message = str(error)
    return run_id in message and ("'active' state" in message or "not found" in message)
