"""Answers of a tracking server that broke off on the way.

Where a connection breaks within the head of an answer, Python reads an answer without a body, and
MLflow takes a successful answer without a body for one without results: a search finds nothing, a
run gets an empty id, an artifact is empty. Here such an answer is a fault, for every request that
MLflow makes in this process, and is asked for again like other faults.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from mlflow.utils import rest_utils

_PAUSES = (0.3, 1.0, 2.0)  # seconds between attempts
_JSON = "/api/"  # in the paths of requests whose answer is always JSON …
_FILES = "/mlflow-artifacts/"  # … except of these, which may be empty files
OK = 200

Ask = Callable[..., requests.Response]


def check_answers() -> None:
    """From now on, let MLflow's requests fail when their answer broke off."""
    requests_of_mlflow: Any = rest_utils
    ask: Ask = requests_of_mlflow._get_http_response_with_retries
    if not isinstance(ask, _Checked):
        requests_of_mlflow._get_http_response_with_retries = _Checked(ask)


class _Checked:
    """MLflow's function for requests, with checked answers."""

    def __init__(self, ask: Ask, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ask = ask
        self._sleep = sleep

    def __call__(
        self, method: str, url: str, max_retries: int, *args: Any, **options: Any
    ) -> requests.Response:
        data: Any = options.get("data")  # may be a file, of an artifact
        start = data.tell() if hasattr(data, "tell") else None
        for pause in _PAUSES[:max_retries]:
            answer = self._ask(method, url, max_retries, *args, **options)
            if not broke_off(answer, url):
                return answer
            self._sleep(pause)
            if start is not None:
                data.seek(start)
        answer = self._ask(method, url, max_retries, *args, **options)
        if broke_off(answer, url):
            raise requests.ConnectionError(f"the answer of {url} broke off")
        return answer


def broke_off(answer: requests.Response, url: str) -> bool:
    """Whether an answer of success is cut off, or lacks the JSON that it must have."""
    if answer.status_code != OK:
        return False
    if not _has_length(answer.headers) and not answer.content:
        return True
    path = url.partition("?")[0]
    return _JSON in path and _FILES not in path and not answer.text.strip()


def _has_length(headers: Mapping[str, str]) -> bool:
    """Whether a head is complete enough to say how long the body is."""
    return any(name in headers for name in ("Content-Length", "Transfer-Encoding"))
