"""Answers that break off on the way, as MLflow's own client meets them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils

from pipelines.store import answers
from pipelines.store.answers import broke_off, check_answers

API = "http://server/api/2.0/mlflow/runs/search"
FILE = "http://server/api/2.0/mlflow-artifacts/artifacts/0/study.json"
RUN = (
    '{"run": {"info": {"run_id": "r1", "run_uuid": "r1", "experiment_id": "0", '
    '"lifecycle_stage": "active"}, "data": {}}}'
)


@pytest.mark.parametrize(
    ("url", "body", "headers", "broke"),
    [
        (API, "{}", {"Content-Length": "2"}, False),
        (API, "{}", {"Transfer-Encoding": "chunked"}, False),
        (API, "{}", {}, False),
        (API, "", {}, True),
        (API, "", {"Content-Length": "0"}, True),
        (API, " ", {"Content-Length": "1"}, True),
        (FILE, "", {"Content-Length": "0"}, False),
        (FILE, "", {}, True),
    ],
)
def test_which_answers_broke_off(url: str, body: str, headers: dict[str, str], broke: bool) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = 200, body.encode()
    answer.headers.update(headers)
    assert broke_off(answer, url) is broke
    answer.status_code = 500
    assert not broke_off(answer, url)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MlflowClient]]:
    """A server that gives these answers, each as raw bytes, and a client of it."""
    monkeypatch.setattr(answers, "_PAUSES", (0.0, 0.0))
    name = "_get_http_response_with_retries"
    monkeypatch.setattr(rest_utils, name, getattr(rest_utils, name))  # to be restored
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def start(*raw: bytes) -> MlflowClient:
            def run() -> None:
                for answer in raw:
                    connection, _ = server.accept()
                    with closing(connection):
                        connection.recv(1 << 16)
                        connection.sendall(answer)

            threading.Thread(target=run, daemon=True).start()
            check_answers()
            return MlflowClient(f"http://127.0.0.1:{server.getsockname()[1]}")

        yield start


def whole(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("broken", [b"HTTP/1.1 200 OK\r\nSer", whole("")])
def test_mlflow_asks_again_after_an_answer_that_broke_off(
    serve: Callable[..., MlflowClient], broken: bytes
) -> None:
    assert serve(broken, broken, whole(RUN)).get_run("r1").info.run_id == "r1"


def test_mlflow_does_not_take_a_broken_answer_for_an_empty_one(
    serve: Callable[..., MlflowClient],
) -> None:
    with pytest.raises(MlflowException, match="broke off"):
        serve(*[whole("")] * 3).search_runs(["0"])


def test_a_file_is_sent_again_from_where_it_began(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def ask(*_: Any, data: IO[bytes], **__: Any) -> requests.Response:
        sent.append(data.read())
        answer = requests.Response()
        answer.status_code = 200
        answer._content = b"" if len(sent) < 3 else b"{}"
        return answer

    path = tmp_path / "model"
    path.write_bytes(b"head, and the part to send")
    with path.open("rb") as file:
        file.seek(6)
        answers._Checked(ask, sleep=lambda seconds: None)("PUT", FILE, 7, data=file)
    assert sent == [b"and the part to send"] * 3
