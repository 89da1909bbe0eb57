"""A server that answers like an OpenAI-compatible language model."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Server"], "tuple[int, bytes]"]


@dataclass
class Server:
    """What was asked, and what is answered: `reply` gives the status and the body."""

    reply: Answer
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


def completion(text: str) -> tuple[int, bytes]:
    """A chat completion with this text."""
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@contextmanager
def serving(reply: Answer) -> Iterator[Server]:
    """A server on this machine."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.paths.append(self.path)
            server.keys.append(self.headers.get("Authorization"))
            server.requests.append(json.loads(body))
            status, content = server.reply(server)
            self.send_response(status)
            if status in (302, 307):
                self.send_header("Location", content.decode())
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
