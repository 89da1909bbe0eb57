"""A question to a language model behind an OpenAI-compatible endpoint, by plain HTTP.

The key is read from the environment with each question. It is sent to the endpoint alone: redirects
are refused, and it is cut out of whatever is kept of an answer.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

KEY, BASE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
MAX_BYTES = 1_000_000  # of an answer
_PART = 65_536
_REACHED = 10.0  # seconds within which an endpoint must accept a connection


class NoAnswer(Exception):  # noqa: N818 - it is the outcome of a question
    """Why there is no answer, in a few words."""


class _Refuse(HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """No request: the key is for one host."""
        return


def ask(endpoint: str, model: str, messages: Sequence[Mapping[str, str]], seconds: float) -> str:
    """The text that a model answers.

    Args:
        endpoint: the base URL, before `/chat/completions`.
        model: its name there.
        messages: with `role` and `content`.
        seconds: after which there is no answer.

    Raises:
        NoAnswer: with the reason.
    """
    body = json.dumps({"model": model, "messages": list(messages)}).encode()
    request = Request(f"{endpoint.rstrip('/')}/chat/completions", body, method="POST")
    request.add_header("Content-Type", "application/json")
    if key := os.environ.get(KEY):
        request.add_header("Authorization", f"Bearer {key}")
    try:
        return without_key(_content(_read(request, seconds)))
    except HTTPError as error:
        raise NoAnswer(without_key(f"HTTP status {error.code}: {error.reason}")) from None
    except TimeoutError:
        raise NoAnswer(f"no answer within {seconds:g} seconds") from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise NoAnswer(f"no answer within {seconds:g} seconds") from None
        raise NoAnswer(without_key(f"{type(error).__name__}: {reason}")) from None


def without_key(text: str) -> str:
    """The text without the key."""
    key = os.environ.get(KEY)
    return text.replace(key, "***") if key else text


def why_unreachable(endpoint: str) -> str | None:
    """Why nothing accepts a connection at an endpoint; None if something does."""
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _REACHED).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return None


def endpoint_mistake(name: str, endpoint: str) -> str | None:
    """What is wrong with a URL; None for nothing, and for none."""
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
    if not known:
        return f"{name}={endpoint!r:.100} must be a URL, such as http://localhost:5000/v1"
    if parts.username or parts.password or parts.query:
        return f"{name}: the URL must hold no password or key; give the key as {KEY}"
    return None


def _read(request: Request, seconds: float) -> bytes:
    """The body of an answer that ends in time.

    Raises:
        TimeoutError: when it does not.
        NoAnswer: when it is too long.
    """
    until, found = time.monotonic() + seconds, b""
    with build_opener(_Refuse).open(request, timeout=seconds) as response:
        while part := response.read1(_PART):
            found += part
            if len(found) > MAX_BYTES:
                raise NoAnswer(f"the answer has more than {MAX_BYTES:,} bytes")
            if time.monotonic() > until:
                raise TimeoutError
    return found


def _content(body: bytes) -> str:
    """The text of the first choice."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise NoAnswer("the answer is no chat completion") from None
    if not isinstance(text, str):
        raise NoAnswer("the answer has no text")
    return text
