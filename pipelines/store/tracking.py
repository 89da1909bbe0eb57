"""The connection to MLflow's tracking store: clients, searches and errors."""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.protos.service_pb2 import SearchRuns
from mlflow.utils import credentials, rest_utils
from mlflow.utils.proto_json_utils import parse_dict

from hpo.errors import StudyError
from pipelines.files import uris
from pipelines.files.cache import cache_dir, open_private
from pipelines.files.refused import why_refused
from pipelines.store import schema
from pipelines.store.answers import check_answers
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.preflight import check_database, is_away, no_connection, unread, usable

T = TypeVar("T")

_fill: Callable[[dict[str, Any], Any], None] = parse_dict
http_request: Callable[..., Any] = rest_utils.http_request
host_credentials: Callable[[str], Any] = credentials.get_default_host_creds

PAGE = 5_000
_CALL_TIMEOUT = (5.0, 30.0)  # seconds to connect and to answer
# Parts of messages for which waiting does not help, in lower case, and the way out.
PERMANENT_ERRORS = {
    "disk is full": "free space there",
    "no space left": "free space there",
    "disk quota": "free space there",
    "readonly database": "make it writable",
    "read-only": "make it writable",
    "no such table": "",
    "no column named": "",
    "does not exist": "",
}
_TEMPORARY_CODES = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "DEADLINE_EXCEEDED",
}
_TEMPORARY_STATUSES = (408, 429)  # HTTP: time-out, too many requests
_PAUSES = (0.3, 1.0, 2.0, 4.0)  # seconds between the attempts to read


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
    # It shows a traceback of each error, beside raising it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri = uri or mlflow.get_tracking_uri()
    with usable(uri):
        if is_http(uri):
            check_answers()
            patiently(lambda: rest_call(uri, "experiments/search", {"max_results": 1}, "GET"))
            return MlflowClient(uri)
        with _first_access(uri, lock_needed=not reading):
            check_database(uri)
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client


def unread_store() -> str | None:
    """Why MLflow's current store cannot be read without changing it; None where it can be read.

    Raises:
        StudyError: when it cannot be used at all.
    """
    return unread(mlflow.get_tracking_uri())


def is_shared() -> bool:
    """Whether MLflow's current store is on a server, where others may write, too."""
    kind, separator, _ = mlflow.get_tracking_uri().partition("://")
    return bool(separator) and kind not in ("file", "sqlite")


def is_http(uri: str) -> bool:
    """Whether the URI is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def rest_call(
    uri: str, path: str, body: dict[str, Any], method: str = "POST", *, needs: str = ""
) -> dict[str, Any]:
    """Make one request of MLflow's REST interface, without retries, and return its JSON.

    Args:
        uri: of the server.
        path: of the request.
        body: its fields.
        method: of HTTP.
        needs: a field that the answer must have.

    Raises:
        MlflowException: when the server does not answer in time or refuses, or when its answer is
            empty or incomplete.
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
    # MLflow takes an answer without a body for one without results. It is a connection that broke.
    is_empty = response.status_code == HTTPStatus.OK and not response.text.strip()
    answer = {} if is_empty else rest_utils.verify_rest_response(response, endpoint).json()
    if is_empty or (needs and needs not in answer):
        raise MlflowException(f"the answer to {path} is incomplete", TEMPORARILY_UNAVAILABLE)
    return dict(answer)


def patiently(call: Callable[[], T], pauses: Sequence[float] = _PAUSES) -> T:
    """The result of a call, which is repeated after temporary errors.

    A server that cannot be reached at all is asked only once more.

    Raises:
        MlflowException: the last error.
    """
    for attempt, pause in enumerate(pauses):
        try:
            return call()
        except MlflowException as error:
            if not _is_temporary(error) or (is_away(error) and attempt > 0):
                raise
            time.sleep(pause)
    return call()


def read_tags(client: MlflowClient, run_id: str) -> dict[str, str]:
    """The tags of a run.

    Raises:
        MlflowException: when the store does not answer or has no such run.
    """
    if not is_http(client.tracking_uri):
        return dict(client.get_run(run_id).data.tags)
    uri, body = client.tracking_uri, {"run_id": run_id}
    answer = patiently(lambda: rest_call(uri, "runs/get", body, "GET", needs="run"))
    return {tag["key"]: tag.get("value", "") for tag in answer["run"]["data"].get("tags", ())}


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
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_private(directory / f"store-{name}.lock", os.O_RDWR | os.O_CREAT)
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
        page, token = _page(client, experiment_ids, rule, token)
        for run in page:
            if run.info.run_id not in seen:
                seen.add(run.info.run_id)
                yield run
        if not token:
            return


def _page(
    client: MlflowClient, experiment_ids: list[str], rule: str, token: str | None
) -> tuple[Sequence[Run], str | None]:
    """The next runs of a search, and the token of those after them."""
    uri = client.tracking_uri
    if not is_http(uri):
        page = client.search_runs(
            experiment_ids, rule, ViewType.ACTIVE_ONLY, PAGE, page_token=token
        )
        return page, page.token
    body: dict[str, Any] = {"experiment_ids": experiment_ids, "filter": rule, "max_results": PAGE}
    body |= {"run_view_type": "ACTIVE_ONLY"} | ({"page_token": token} if token else {})
    # Not the client's call, which takes a broken connection for an empty page.
    answer = patiently(lambda: rest_call(uri, "runs/search", body))
    found = SearchRuns.Response()
    _fill(answer, found)
    return [Run.from_proto(run) for run in found.runs], found.next_page_token or None


def children(
    client: MlflowClient,
    experiment_id: str,
    parent: str,
    role: str | None = None,
    limit: int | None = None,
    rule: str = "",
) -> list[Run]:
    """The nested runs of a study, newest first.

    Args:
        client: of the store.
        experiment_id: of the study.
        parent: run id of the study.
        role: `trial` or `baseline`; None for all.
        limit: at most so many; None for all.
        rule: a further condition, in MLflow's filter language.
    """
    rules = [f"tags.`{schema.PARENT_RUN}` = '{parent}'"]
    if role:
        rules.append(f"tags.`{schema.ROLE}` = '{role}'")
    if rule:
        rules.append(rule)
    return list(islice(search(client, [experiment_id], " AND ".join(rules)), limit))


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
        raise StudyError(f"{what}: {why_refused(error) or with_way_out(error)}") from error


@contextmanager
def as_store_error(what: str) -> Iterator[None]:
    """Turn errors of MLflow while something is read into temporary and permanent ones.

    Raises:
        Unreachable: when a later attempt may succeed.
        StudyError: when it cannot; the message begins with `what`.
    """
    try:
        yield
    except MlflowException as error:
        if _is_temporary(error):
            raise Unreachable(schema.cut(no_connection(error) or first_line(error), 160)) from error
        raise StudyError(f"{what}: {with_way_out(error)}") from error


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
            message = no_connection(error) or first_line(error)
            raise Unreachable(schema.cut(message, 160)) from error
        raise StudyError(f"MLflow refuses to write: {with_way_out(error)}") from error


def with_way_out(error: object) -> str:
    """The first line of an error message, and what helps where that is known."""
    line = first_line(error)
    ways = (way for part, way in PERMANENT_ERRORS.items() if way and part in line.lower())
    return "; ".join([line, *islice(ways, 1)])


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
