"""The way to MLflow: one careful first touch, and runs written by the fewest public calls."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils import credentials, rest_utils

from hpo.errors import StudyError
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.outbox import Unreachable
from pipelines.store.schema import Point, Record

logger = logging.getLogger(__name__)

http_request: Callable[..., Any] = rest_utils.http_request
host_credentials: Callable[[str], Any] = credentials.get_default_host_creds

PAGE = 5_000
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 1_000, 100, 100
_CALL_TIMEOUT = (5.0, 30.0)  # seconds to connect, to answer
WILL_NOT_HEAL = (
    "disk is full",
    "no space left",
    "readonly database",
    "read-only",
    "disk quota",
    "no such table",
    "no column named",
    "does not exist",
)
_MAY_HEAL = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "DEADLINE_EXCEEDED",
}


def connect(uri: str | None = None, *, reading: bool = False) -> MlflowClient:
    """A client of the tracking store that is in force, after a first touch that no other process can disturb.

    Processes that open a fresh database at once crash each other while they create its tables,
    hence the file lock. Who is only `reading` does without where the cache directory takes no lock.

    Raises:
        StudyError: when the store cannot be opened or does not answer.
    """
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    uri = uri or mlflow.get_tracking_uri()
    try:
        if is_http(uri):
            _call(uri, "experiments/search", {"max_results": 1}, "GET")
            return MlflowClient(uri)
        with _first_touch(uri, needed=not reading):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
    except (MlflowException, Unreachable) as error:
        raise StudyError(
            f"the tracking store {safe(uri)} cannot be used: {first_line(error)}; "
            "start it, or set MLFLOW_TRACKING_URI to another"
        ) from error


def is_http(uri: str) -> bool:
    """Whether `uri` is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def first_line(error: object) -> str:
    """The first line of an error's words, 300 characters at most, without what no log may hold."""
    return schema.cut(safe((str(error).strip().splitlines() or [type(error).__name__])[0]), 300)


@contextmanager
def _first_touch(uri: str, *, needed: bool) -> Iterator[None]:
    directory = cache_dir()
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(
            directory / f"store-{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        if needed:
            raise StudyError(
                f"cannot write {directory} ({error.strerror}); set HPO_CACHE_DIR to a directory that can be written"
            ) from error
        lock = None
    try:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def experiments(client: MlflowClient) -> list[Experiment]:
    """All active experiments, page by page."""
    found: list[Experiment] = []
    token = None
    while True:
        page = client.search_experiments(max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def children(
    client: MlflowClient,
    experiment_id: str,
    parent: str,
    role: str | None = None,
    most: int | None = None,
) -> list[Run]:
    """All nested runs of a study, or the newest so many, page by page (`search_runs` alone stops at 1,000)."""
    rule = f"tags.`{schema.PARENT_RUN}` = '{parent}'"
    if role:
        rule += f" AND tags.`{schema.ROLE}` = '{role}'"
    return list(islice(search(client, [experiment_id], rule), most))


def search(client: MlflowClient, experiment_ids: list[str], rule: str) -> Iterator[Run]:
    """All active runs that match `rule`, each once."""
    seen: set[str] = set()
    token = None
    while True:
        page = client.search_runs(
            experiment_ids, rule, ViewType.ACTIVE_ONLY, PAGE, page_token=token
        )
        for run in page:
            if run.info.run_id not in seen:
                seen.add(run.info.run_id)
                yield run
        token = page.token
        if not token:
            return


class Runs(Protocol):
    """What writing a run needs of MLflow."""

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """A new run's id."""
        ...

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Metrics and parameters, then tags."""
        ...

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """The run's status and its end."""
        ...


class ClientRuns:
    """Runs through `MlflowClient`, for every kind of store."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """One call."""
        run = self._client.create_run(experiment_id, start_time=start, tags=tags, run_name=name)
        return str(run.info.run_id)

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """One call."""
        self._client.log_batch(
            run_id,
            [Metric(key, value, timestamp, step) for key, value, timestamp, step in metrics],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
            synchronous=True,
        )

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """One call."""
        if end is None:
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end)


class HttpRuns:
    """Runs over MLflow's REST interface, one request a call.

    `MlflowClient` would retry a server that is away for minutes before it says so, and only the
    process' environment could make it stop; here the outbox retries. Credentials, headers and the
    kept-alive session are MLflow's own.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, experiment_id: str, name: str, start: int, tags: dict[str, str]) -> str:
        """One request."""
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start,
            "user_id": tags.get("mlflow.user", "unknown"),
            "tags": _pairs(tags),
        }
        return str(_call(self._uri, "runs/create", body)["run"]["info"]["run_id"])

    def log(
        self, run_id: str, metrics: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """One request."""
        points = [{"key": k, "value": v, "timestamp": t, "step": s} for k, v, t, s in metrics]
        body = {"run_id": run_id, "metrics": points, "params": _pairs(params), "tags": _pairs(tags)}
        _call(self._uri, "runs/log-batch", body)

    def set_status(self, run_id: str, status: str, end: int | None) -> None:
        """One request."""
        body = {"run_id": run_id, "status": status, **({} if end is None else {"end_time": end})}
        _call(self._uri, "runs/update", body)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _call(uri: str, path: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
    endpoint = f"/api/2.0/mlflow/{path}"
    payload = {"params": body} if method == "GET" else {"json": body}
    response = http_request(
        host_credentials(uri),
        endpoint,
        method,
        max_retries=0,
        timeout=_CALL_TIMEOUT,
        raise_on_status=False,
        **payload,
    )
    answer: dict[str, Any] = rest_utils.verify_rest_response(response, endpoint).json()
    return answer


@contextmanager
def as_study_error(what: str) -> Iterator[None]:
    """Turn whatever MLflow and the system raise into one sentence that begins with `what` went wrong.

    Raises:
        StudyError: in their place.
    """
    try:
        yield
    except (MlflowException, Unreachable, OSError) as error:
        raise StudyError(f"{what}: {first_line(error)}") from error


@contextmanager
def told_apart() -> Iterator[None]:
    """Turn MLflow's errors into `Unreachable` where waiting may help and `StudyError` where it cannot.

    Raises:
        Unreachable: no answer, an overloaded server, a locked database.
        StudyError: a full disk, a deleted run or experiment, missing permission, a refused value.
    """
    try:
        yield
    except MlflowException as error:
        words = str(error).lower()
        status: Callable[[], int] = error.get_http_status_code
        code = status()
        may_heal = error.error_code in _MAY_HEAL or code >= 500 or code in (408, 429)
        if may_heal and not any(sign in words for sign in WILL_NOT_HEAL):
            raise Unreachable(schema.cut(first_line(error), 160)) from error
        raise StudyError(f"MLflow refuses to write: {first_line(error)}") from error


class CallWriter:
    """Writes records call by call: three requests for a trial that is granted and told at once, else two and two.

    The commit mark travels with the last batch of a record; inside a batch MLflow writes tags after
    parameters and metrics. A run whose mark was never written is an orphan that
    `MlflowStorage.open` moves to MLflow's trash.
    """

    def __init__(self, runs: Runs, experiment_id: str, known: MutableMapping[str, str]) -> None:
        self._runs = runs
        self._experiment_id = experiment_id
        self._known = known
        self.doubtful = False  # a run may have been made whose id never arrived

    def __call__(self, records: Sequence[Record]) -> None:
        """Write `records` in order."""
        for record in records:
            self._write(record)

    def _write(self, record: Record) -> None:
        new = record.key not in self._known
        if new and record.mark is None:
            logger.warning("the run of %s was deleted; what is told of it is dropped", record.key)
            return
        try:
            with told_apart():
                self._write_run(record, new)
        except StudyError as error:
            if (
                new
                or record.key == schema.STUDY_KEY
                or not _is_gone(error, self._known[record.key])
            ):
                raise
            logger.warning(
                "run %s of %s was deleted; it stays so", self._known[record.key], record.key
            )

    def _write_run(self, record: Record, new: bool) -> None:
        tags = dict(record.tags)
        if new:
            name, start = record.name or record.key, record.start or 0
            self._known[record.key] = self._create(name, start, tags)
            tags = {}
        run_id = self._known[record.key]
        tags |= dict([record.mark] if record.mark else [])
        self._log(run_id, record, tags)
        if record.status and not (new and record.status == schema.RUNNING):
            self._runs.set_status(run_id, record.status, record.end)

    def _create(self, name: str, start: int, tags: dict[str, str]) -> str:
        try:
            return self._runs.create(self._experiment_id, name, start, tags)
        except MlflowException:
            self.doubtful = True
            raise

    def _log(self, run_id: str, record: Record, tags: dict[str, str]) -> None:
        """All of a record in as few batches as MLflow's limits allow; the tags, and so the mark, in the last."""
        metrics, params, others = list(record.metrics), dict(record.params), tags
        while (
            len(metrics) > _MAX_METRICS
            or len(params) > _MAX_PARAMS
            or len(metrics) + len(params) > _MAX_METRICS
        ):
            batch = dict(islice(params.items(), _MAX_PARAMS))
            room = _MAX_METRICS - len(batch)
            self._runs.log(run_id, metrics[:room], batch, {})
            metrics = metrics[room:]
            params = {name: value for name, value in params.items() if name not in batch}
        if metrics or params or others:
            if len(metrics) + len(params) + len(others) > _MAX_METRICS or len(others) > _MAX_TAGS:
                self._runs.log(run_id, metrics, params, {})
                metrics, params = [], {}
            self._runs.log(run_id, metrics, params, others)


def _is_gone(error: StudyError, run_id: str) -> bool:
    return run_id in str(error) and ("'active' state" in str(error) or "not found" in str(error))


Writer = Callable[[Sequence[Record]], None]
