"""The connection to MLflow's tracking store: clients, searches and errors."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils import credentials, rest_utils

from hpo.errors import StudyError
from pipelines.files import uris
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.delivery.outbox import Unreachable

http_request: Callable[..., Any] = rest_utils.http_request
host_credentials: Callable[[str], Any] = credentials.get_default_host_creds

PAGE = 5_000
_CALL_TIMEOUT = (5.0, 30.0)  # seconds to connect and to answer
# Parts of messages for which waiting does not help, in lower case.
PERMANENT_ERRORS = (
    "disk is full",
    "no space left",
    "readonly database",
    "read-only",
    "disk quota",
    "no such table",
    "no column named",
    "does not exist",
)
_TEMPORARY_CODES = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "DEADLINE_EXCEEDED",
}
_TEMPORARY_STATUSES = (408, 429)  # HTTP: time-out, too many requests


def connect(uri: str | None = None, *, reading: bool = False) -> MlflowClient:
    """Open the tracking store and check that it answers.

    A file lock protects the first access to a database: processes that open a fresh database at the
    same time crash while they create its tables.

    Args:
        uri: of the store; None uses MLflow's current one.
        reading: whether to go on without the lock when the cache directory cannot be written.

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
            rest_call(uri, "experiments/search", {"max_results": 1}, "GET")
            return MlflowClient(uri)
        with _first_access(uri, lock_needed=not reading):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
    except (MlflowException, Unreachable) as error:
        raise StudyError(
            f"the tracking store {safe(uri)} cannot be used: {first_line(error)}; "
            "start it, or set MLFLOW_TRACKING_URI to another"
        ) from error


def is_http(uri: str) -> bool:
    """Whether the URI is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def rest_call(uri: str, path: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
    """Make one request of MLflow's REST interface, without retries, and return its JSON.

    Raises:
        MlflowException: when the server does not answer in time or refuses.
    """
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
def _first_access(uri: str, *, lock_needed: bool) -> Iterator[None]:
    lock = _lock(uri, needed=lock_needed)
    try:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(uri: str, *, needed: bool) -> int | None:
    """Open the lock file of a store; None when it cannot be written and is not `needed`."""
    directory = cache_dir()
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return os.open(directory / f"store-{name}.lock", flags, 0o600)
    except OSError as error:
        if not needed:
            return None
        raise StudyError(
            f"cannot write {directory} ({error.strerror}); "
            "set HPO_CACHE_DIR to a directory that can be written"
        ) from error


def experiments(client: MlflowClient) -> list[Experiment]:
    """All active experiments."""
    found: list[Experiment] = []
    token = None
    while True:
        page = client.search_experiments(max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def search(client: MlflowClient, experiment_ids: list[str], rule: str) -> Iterator[Run]:
    """All active runs that match a filter, newest first, each once."""
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


def children(
    client: MlflowClient,
    experiment_id: str,
    parent: str,
    role: str | None = None,
    limit: int | None = None,
) -> list[Run]:
    """The nested runs of a study, newest first.

    Args:
        client: of the store.
        experiment_id: of the study.
        parent: run id of the study.
        role: `trial` or `baseline`; None for all.
        limit: at most so many; None for all.
    """
    rule = f"tags.`{schema.PARENT_RUN}` = '{parent}'"
    if role:
        rule += f" AND tags.`{schema.ROLE}` = '{role}'"
    return list(islice(search(client, [experiment_id], rule), limit))


def first_line(error: object) -> str:
    """The first line of an error message, at most 300 characters, without secrets."""
    return schema.cut(uris.first_line(error), 300)


@contextmanager
def as_study_error(what: str) -> Iterator[None]:
    """Turn errors of MLflow and the system into a message that begins with `what`.

    Raises:
        StudyError: in place of such an error.
    """
    try:
        yield
    except (MlflowException, Unreachable, OSError) as error:
        raise StudyError(f"{what}: {first_line(error)}") from error


@contextmanager
def classified_errors() -> Iterator[None]:
    """Turn MLflow's errors into temporary and permanent ones.

    Raises:
        Unreachable: when a later attempt may succeed: no answer, an overloaded server, a locked
            database.
        StudyError: when it cannot: a full disk, a deleted run or experiment, missing permission, a
            refused value.
    """
    try:
        yield
    except MlflowException as error:
        if _is_temporary(error):
            raise Unreachable(schema.cut(first_line(error), 160)) from error
        raise StudyError(f"MLflow refuses to write: {first_line(error)}") from error


def _is_temporary(error: MlflowException) -> bool:
    if is_permanent(str(error)):
        return False
    status: Callable[[], int] = error.get_http_status_code
    code = status()
    return error.error_code in _TEMPORARY_CODES or code >= 500 or code in _TEMPORARY_STATUSES


def is_permanent(message: str) -> bool:
    """Whether waiting does not help after an error with this message."""
    message = message.lower()
    return any(part in message for part in PERMANENT_ERRORS)
