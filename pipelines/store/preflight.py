"""Whether a tracking store can be used at all, before MLflow tries.

MLflow tries to reach a database ten times, with a traceback each time, and its messages for a
mistyped URI name its model registry. Here one attempt decides, and the reason is one line.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from hpo.errors import StudyError, closest
from pipelines.files.uris import first_line, protocol, safe

CONNECT_SECONDS = 5
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
_REFUSED = {
    401: "it refuses the user or password (HTTP 401); set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "this user may not use it (HTTP 403); ask its administrator, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of another user",
    404: "there is no MLflow at this address (HTTP 404); correct MLFLOW_TRACKING_URI",
}


@contextmanager
def usable(uri: str) -> Iterator[None]:
    """Turn whatever goes wrong while a store is opened into one line.

    Raises:
        StudyError: in place of any other error.
    """
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # libraries of every kind of store
        raise StudyError(f"the tracking store {safe(uri)} cannot be used: {why(error)}") from error


def unread(uri: str) -> str | None:
    """Why a store cannot be read without changing it; None where it can be read.

    MLflow makes the tables of a database when it opens it.

    Raises:
        StudyError: when the store cannot be used at all.
    """
    if uri.partition(":")[0].partition("+")[0] not in _DATABASES:
        return None
    with usable(uri):
        database = sa.make_url(uri).database
        if uri.startswith("sqlite"):
            if not database or database == ":memory:":
                return f"{safe(uri)} is empty"
            if not Path(database).exists():
                _check_folder(Path(database).parent)
                return f"{safe(uri)} does not exist yet"
        check_database(uri)
        has_tables: Callable[[sa.Engine], bool] = utils._all_tables_exist
        is_ready = has_tables(sa.create_engine(uri, poolclass=sa.NullPool))
    return None if is_ready else f"{safe(uri)} has not the tables of this version of MLflow yet"


def _check_folder(folder: Path) -> None:
    """Check that a folder can be written, or made.

    Raises:
        PermissionError: when it cannot.
    """
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def check_database(uri: str) -> None:
    """Check the scheme of a URI, and connect once if it is that of a database.

    Raises:
        StudyError: for an unknown scheme, or when the library of the database is missing.
        SQLAlchemyError: when the database cannot be reached.
        OSError: when the folder of an SQLite database cannot be made.
    """
    scheme = uri.partition(":")[0] if ":" in uri else "file"
    kind = scheme.partition("+")[0]
    if kind not in _DATABASES:
        _check_scheme(uri, kind)
        return
    if kind == "sqlite":
        place = sa.make_url(uri).database
        if place and place != ":memory:":
            Path(place).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if kind in ("postgresql", "mysql"):
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        engine = sa.create_engine(uri, poolclass=sa.NullPool, connect_args=options)
    except ModuleNotFoundError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        raise StudyError(
            f"the tracking store {safe(uri)} needs the library {error.name}, which is not "
            f'installed; pip install "{package}"'
        ) from error
    with engine.connect():
        pass


def _check_scheme(uri: str, kind: str) -> None:
    if "://" not in uri and not uri.startswith(_DATABASES):
        return  # a folder
    known = [scheme for scheme in _tracking_store_registry._registry if scheme]  # also of plugins
    if protocol(uri) not in known:
        raise StudyError(
            f"the tracking store {safe(uri)} cannot be used: the scheme {kind!r} is not known"
            f"{closest(kind, known)}; set MLFLOW_TRACKING_URI to an address such as "
            "sqlite:///mlflow.db or http://host:5000"
        )


def why(error: Exception) -> str:
    """The reason why a store cannot be used, with a way out, in one line."""
    other = "start it, or set MLFLOW_TRACKING_URI to another"
    if isinstance(error, MlflowException):
        status: Callable[[], int] = error.get_http_status_code
        if status() in _REFUSED:
            return _REFUSED[status()]
    if (reason := no_connection(error)) is not None:
        return f"{reason}; {other}"
    if isinstance(error, OSError):
        return f"{error.filename or ''} {error.strerror or first_line(error)}; {other}".lstrip()
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
    return f"{first_line(cause)}; {other}"


def no_connection(error: BaseException) -> str | None:
    """Why a server gave no answer; None for any other error."""
    failed = _of_connection(error)
    if failed is None:
        return None
    if isinstance(failed, requests.Timeout):
        return "no answer in time"
    return first_line(_inner(failed)).rpartition(": ")[2]


def is_away(error: BaseException) -> bool:
    """Whether a server could not be reached at all, or hangs; not when a connection broke off."""
    failed = _of_connection(error)
    return isinstance(failed, requests.Timeout) or isinstance(
        _inner(failed), NewConnectionError | ConnectTimeoutError
    )


def _of_connection(error: BaseException | None) -> BaseException | None:
    """The error of a connection behind an error of MLflow."""
    while error is not None:
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            return error
        error = error.__cause__ or error.__context__
    return None


def _inner(error: BaseException | None) -> object:
    """What urllib3 says in an error of requests."""
    inner = error.args[0] if error is not None and error.args else error
    return getattr(inner, "reason", inner)
