"""An HTTP proxy that spoils a share of the answers. Uses the standard library only.

`python proxy.py PORT UPSTREAM SEED FAULTS`; FAULTS is a JSON object with the share of each fault:

    refuse       429, 500 or 503 instead of an answer
    lose_request the connection breaks before the server gets the request
    lose_answer  the server has done what was asked, and no byte of its answer arrives
    cut_head     20 bytes of the answer arrive
    cut_body     all but the last bytes arrive
    empty        200, without a body
    slow         the answer takes `seconds` longer
"""

import asyncio
import json
import random
import sys
from collections.abc import Mapping

FAULTS = ("refuse", "lose_request", "lose_answer", "cut_head", "cut_body", "empty", "slow")
_STATUSES = (429, 500, 503)
_LIMIT = 1 << 26  # bytes of a head
_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


class Proxy:
    """Answers one request at a connection.

    Args:
        upstream: the port of the server.
        seed: of the choice of faults.
        shares: of the faults, and `seconds` of a slow answer.
    """

    def __init__(self, upstream: int, seed: int, shares: Mapping[str, float]) -> None:
        self.upstream = upstream
        self.shares = shares
        self.random = random.Random(seed)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer, or not."""
        try:
            writer.write(await self.answer(await _request(reader)))
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # one side has gone
        finally:
            writer.close()

    async def answer(self, request: bytes) -> bytes:
        """What arrives at the client."""
        fault = self.fault()
        if fault == "refuse":
            return _refusal(self.random.choice(_STATUSES))
        if fault == "lose_request":
            return b""
        if fault == "slow":
            await asyncio.sleep(self.shares["seconds"])
        answer = await self.forwarded(request)
        return spoiled(answer, fault)

    def fault(self) -> str:
        """The fault of a request, or ""."""
        left = self.random.random()
        for name in FAULTS:
            left -= self.shares.get(name, 0.0)
            if left < 0:
                return name
        return ""

    async def forwarded(self, request: bytes) -> bytes:
        """The answer of the server."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection")]
        writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
        await writer.drain()
        answer = await reader.read(-1)
        writer.close()
        return answer


def spoiled(answer: bytes, fault: str) -> bytes:
    """What is left of an answer."""
    match fault:
        case "lose_answer":
            return b""
        case "cut_head":
            return answer[:20]
        case "cut_body":
            return answer[: max(answer.find(b"\r\n\r\n") + 6, len(answer) - 5)]
        case "empty":
            return _EMPTY
    return answer


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + (await reader.readexactly(length) if length else b"")


def _refusal(status: int) -> bytes:
    body = b'{"error_code": "INTERNAL_ERROR", "message": "refused on purpose"}'
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def _serve(port: int, upstream: int, seed: int, shares: Mapping[str, float]) -> None:
    proxy = Proxy(upstream, seed, shares)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", port, limit=_LIMIT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    own, server_port, seed = map(int, sys.argv[1:4])
    asyncio.run(_serve(own, server_port, seed, json.loads(sys.argv[4])))
