"""Requests to a server that answers badly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

from pipelines.store import tracking
from pipelines.store.tracking import patiently, read_tags, rest_call, search

URI = "http://server"


def answer(text: str, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = text.encode()
    return response


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the server give these answers, one after the other; returns what was asked."""
    monkeypatch.setattr("pipelines.store.tracking.time.sleep", lambda seconds: None)

    def set_up(*answers: requests.Response) -> list[str]:
        asked: list[str] = []
        left: Iterator[requests.Response] = iter(answers)

        def http_request(host: Any, endpoint: str, method: str, **_: Any) -> requests.Response:
            asked.append(endpoint.rpartition("mlflow/")[2])
            return next(left)

        monkeypatch.setattr(tracking, "http_request", http_request)
        return asked

    return set_up


@pytest.mark.parametrize("text", ["", " ", '{"other": 1}', '{"run": {"info": '])
def test_an_answer_without_what_it_must_hold_is_a_temporary_fault(
    server: Callable[..., list[str]], text: str
) -> None:
    server(answer(text))
    with pytest.raises(MlflowException) as caught:
        rest_call(URI, "runs/create", {}, needs="run")
    assert tracking._is_temporary(caught.value)


def test_a_broken_connection_is_not_an_empty_page(server: Callable[..., list[str]]) -> None:
    run = '{"info": {"run_id": "r1", "run_uuid": "r1", "experiment_id": "0"}, "data": {}}'
    asked = server(answer(""), answer("slow down", 429), answer(f'{{"runs": [{run}]}}'))
    (found,) = search(MlflowClient(URI), ["0"], "")
    assert found.info.run_id == "r1"
    assert asked == ["runs/search"] * 3


def test_a_page_without_runs_is_empty(server: Callable[..., list[str]]) -> None:
    server(answer("{}"))
    assert not [*search(MlflowClient(URI), ["0"], "")]


def test_tags_are_read_once_the_server_answers(server: Callable[..., list[str]]) -> None:
    server(
        answer('{"error_code": "INTERNAL_ERROR", "message": "?"}', 500),
        answer('{"run": {"data": {"tags": [{"key": "a", "value": "b"}, {"key": "c"}]}}}'),
    )
    assert read_tags(MlflowClient(URI), "r1") == {"a": "b", "c": ""}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(server: Callable[..., list[str]], status: int) -> None:
    asked = server(answer("no", status), answer("{}"))
    with pytest.raises(MlflowException):
        patiently(lambda: rest_call(URI, "experiments/search", {}))
    assert len(asked) == 1


def failing(errors: Sequence[Exception]) -> Callable[[], int]:
    left = [*errors]

    def call() -> int:
        if left:
            raise left.pop(0)
        return 7

    return call


def away() -> MlflowException:
    error = MlflowException("no connection")
    refused = NewConnectionError(cast(HTTPConnection, None), "Connection refused")
    error.__cause__ = requests.ConnectionError(
        MaxRetryError(cast(ConnectionPool, None), "/", refused)
    )
    return error


def test_a_server_that_is_away_is_asked_twice() -> None:
    assert patiently(failing([away()]), pauses=(0, 0, 0)) == 7
    with pytest.raises(MlflowException, match="no connection"):
        patiently(failing([away(), away()]), pauses=(0, 0, 0))


def test_a_connection_that_breaks_off_is_asked_for_again_and_again() -> None:
    broken = MlflowException("broken")
    broken.__cause__ = requests.ConnectionError("the answer broke off")
    assert patiently(failing([broken] * 3), pauses=(0, 0, 0)) == 7


def test_patience_ends() -> None:
    busy = [MlflowException("busy", error_code=TEMPORARILY_UNAVAILABLE) for _ in range(3)]
    assert patiently(failing(busy[:2]), pauses=(0, 0)) == 7
    with pytest.raises(MlflowException, match="busy"):
        patiently(failing(busy), pauses=(0, 0))
