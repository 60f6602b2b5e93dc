"""A fast service that speaks as the Dreamina server does, in a process of its own.

    with served(seconds=2.0, pictures=4, size=200_000) as server: ...

It parses only what our clients and curl send. Its cost is the same for every client, so ratios stay honest.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


def picture(size: int) -> bytes:
    """Bytes that pass for a JPEG picture."""
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return b"\xff\xd8" + scan + os.urandom(size - 14).replace(b"\xff", b"\xfe") + b"\xff\xd9"


class Service:
    """What all connections share."""

    def __init__(self, seconds: float, pictures: int, size: int) -> None:
        self.seconds = seconds
        self.pictures = pictures
        self.started_at: dict[bytes, float] = {}
        self.counts = {"submits": 0, "queries": 0, "downloads": 0, "connections": 0, "open": 0, "peak": 0}
        self.base = b""
        body = picture(size)
        self.file = b"HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        self.running = answer({"success": True, "completed": False, "failed": False, "message": "正在生成中..."})

    def reply(self, method: bytes, path: bytes) -> bytes:
        if path.startswith(b"/files/"):
            self.counts["downloads"] += 1
            return self.file
        if path.startswith(b"/api/generate/status/"):
            self.counts["queries"] += 1
            return self._status(path[21:])
        if method == b"POST":
            self.counts["submits"] += 1
            job = b"job-%d" % self.counts["submits"]
            self.started_at[job] = asyncio.get_running_loop().time()
            return answer({"success": True, "taskId": job.decode(), "message": ""})
        return answer(self.counts)

    def _status(self, job: bytes) -> bytes:
        if asyncio.get_running_loop().time() - self.started_at.get(job, 0.0) < self.seconds:
            return self.running
        links = [f"{self.base.decode()}/files/{job.decode()}/{n}.jpg" for n in range(1, self.pictures + 1)]
        return answer({"success": True, "completed": True, "images": links})


def answer(value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._got = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream server is given
        self._transport = transport
        counts = self._service.counts
        counts["connections"] += 1
        counts["open"] += 1
        counts["peak"] = max(counts["peak"], counts["open"])

    def connection_lost(self, _error: Exception | None) -> None:
        self._service.counts["open"] -= 1

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            length = _content_length(head)
            if len(self._got) < end + 4 + length:
                return
            self._got = self._got[end + 4 + length :]
            method, path, _ = head.split(b" ", 2)
            self._transport.write(self._service.reply(method, path.partition(b"?")[0]))
            if b"connection: close" in head.lower():
                self._transport.close()


def _content_length(head: bytes) -> int:
    if head.startswith(b"GET"):
        return 0
    found = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
    return int(found) if found else 0


async def serve(service: Service) -> None:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=4096)
    service.base = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}".encode()
    sys.stdout.write(f"{service.base.decode()}\n")
    sys.stdout.flush()
    await listener.serve_forever()


@dataclass(frozen=True)
class Server:
    url: str

    def counts(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/counts") as response:  # noqa: S310 - our own address
            found: dict[str, int] = json.loads(response.read())
        return found


@contextmanager
def served(*, seconds: float = 0.0, pictures: int = 1, size: int = 1000) -> Iterator[Server]:
    words = ["--seconds", str(seconds), "--pictures", str(pictures), "--size", str(size)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.server", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - Popen made a pipe
        yield Server(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a task takes")
    parser.add_argument("--pictures", type=int, default=4, help="pictures of a task")
    parser.add_argument("--size", type=int, default=200_000, help="bytes of a picture")
    words = parser.parse_args()
    asyncio.run(serve(Service(words.seconds, words.pictures, words.size)))


if __name__ == "__main__":
    main()
