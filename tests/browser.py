"""A headless Chromium for tests, driven by W3C WebDriver (HTTP and JSON) without a library."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = (
    shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
)
DRIVER = shutil.which("chromedriver")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One window of a running browser."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        _call(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """The return value of a script in the page, or in the frame that was entered."""
        return _call(f"{self._session}/execute/sync", {"script": script, "args": []})

    def enter(self, selector: str) -> None:
        """Enter the first frame that matches."""
        until(
            lambda: self.run(f"return document.querySelectorAll({json.dumps(selector)}).length > 0")
        )
        element = _call(f"{self._session}/element", {"using": "css selector", "value": selector})
        _call(f"{self._session}/frame", {"id": element})

    def console(self) -> list[dict[str, Any]]:
        """New lines of the console since the last call, with level, message and source."""
        return list(_call(f"{self._session}/se/log", {"type": "browser"}))

    def screenshot(self, path: Path) -> None:
        """Save an image of the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(_call(f"{self._session}/screenshot")))


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: if it does not hold in time.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain")
        time.sleep(0.2)


@contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A browser with a temporary profile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            arguments = [*QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
            wanted = {
                "goog:chromeOptions": {"binary": BROWSER, "args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            root = f"http://127.0.0.1:{port}"
            session = _patiently(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})[
                "sessionId"
            ]
            try:
                yield Browser(f"{root}/session/{session}")
            finally:
                _call(f"{root}/session/{session}", method="DELETE")
        finally:
            driver.terminate()
            driver.wait(20)


def _patiently(url: str, body: dict[str, Any]) -> Any:
    """Call a driver that may still be starting."""
    for _ in range(100):
        try:
            return _call(url, body)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError("chromedriver does not answer")


def _call(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310
        url, data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from error
