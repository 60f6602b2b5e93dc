"""CPU of one status query, with 10 and with 1,000 tasks asking at once, in a process of its own each.

python -m benchmarks.requests WHO URL TASKS QUERIES
"""

import asyncio
import importlib.util
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.measure import Figure, cost, median
from benchmarks.server import served
from imagegen_cli.core.provider import Clients
from imagegen_cli.core.task import Job
from imagegen_cli.net.client import MAX_REPEATABLE_REQUESTS, open_clients
from imagegen_cli.providers.dreamina import Dreamina, Settings

ROUNDS = 5
QUERIES = 8000
OTHERS = ("pyreqwest", "httpx_aiohttp")
Ask = Callable[[], Awaitable[Any]]


class Bare(asyncio.Protocol):
    """The smallest client that can send a query: one fixed request, an answer of known form, no errors."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes]
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0]):
            self._got = b""
            self._answer.set_result(body)

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Ask]:
    place = urlsplit(url)
    request = f"GET /api/generate/status/x HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    free: asyncio.LifoQueue[Bare] = asyncio.LifoQueue()
    for _ in range(MAX_REPEATABLE_REQUESTS):
        _, connection = await asyncio.get_running_loop().create_connection(Bare, place.hostname or "", place.port or 80)
        free.put_nowait(connection)

    async def ask() -> None:
        connection = await free.get()
        await connection.ask(request)
        free.put_nowait(connection)

    yield ask


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Ask]:
    """The whole way that a real query goes: provider, wire, client."""
    async with open_clients() as clients:
        yield _polling(url, clients)


@asynccontextmanager
async def through(url: str, **how: Any) -> AsyncIterator[Ask]:
    async with httpx.AsyncClient(timeout=30, **how) as client:
        yield _polling(url, Clients(client, client))


def _polling(url: str, clients: Clients) -> Ask:
    provider = Dreamina(Settings(base_url=url), clients)
    return lambda: provider.poll(Job("x"), lambda _: None)


def way(who: str, url: str) -> Any:
    if who in ("bare", "ours"):
        return {"bare": bare, "ours": ours}[who](url)
    if who == "httpx":
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return through(url, limits=limits)
    if who == "pyreqwest":
        from pyreqwest.compatibility.httpx import HttpxTransport  # noqa: PLC0415 - only where it is installed

        return through(url, transport=HttpxTransport())
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415

    return through(url, transport=AiohttpTransport())


async def spent(who: str, url: str, tasks: int, queries: int) -> float:
    """Seconds of CPU a query, once every connection is there."""
    async with way(who, url) as ask:

        async def ask_often(left: Iterator[int], limit: int) -> None:
            while next(left) < limit:
                await ask()

        async def all_ask(limit: int) -> None:
            left = count()
            await asyncio.gather(*(ask_often(left, limit) for _ in range(tasks)))

        await all_ask(2 * tasks)
        began = time.process_time()
        await all_ask(queries)
        return (time.process_time() - began) / queries


def measured() -> Iterator[Figure]:
    others = [name for name in OTHERS if importlib.util.find_spec(name)]
    cases = [("bare", 10), ("bare", 1000), ("ours", 10), ("ours", 1000)]
    with served(seconds=1e9) as server, tempfile.TemporaryDirectory() as folder:
        rounds = [
            {case: _in_its_own_process(*case, server.url, QUERIES, Path(folder)) for case in cases}
            for _ in range(ROUNDS)
        ]
        middle = {case: median([one[case] for one in rounds]) for case in cases}
        for rival in [("httpx", 10), ("httpx", 100), *((name, 1000) for name in others)]:
            middle[rival] = _in_its_own_process(*rival, server.url, 1000, Path(folder))
    floor = middle["bare", 1000]
    for (who, tasks), value in middle.items():
        goal = 10.0 if (who, tasks) == ("ours", 1000) else None
        yield Figure(f"status query by {who}, {tasks} tasks, CPU", f"{value * 1e6:.0f} µs", value / floor, goal)
    yield Figure("status query: 1,000 tasks against 10", "", middle["ours", 1000] / middle["ours", 10], 1.3)


def _in_its_own_process(who: str, tasks: int, url: str, queries: int, folder: Path) -> float:
    out = cost(
        [sys.executable, "-m", "benchmarks.requests", who, url, str(tasks), str(queries)], folder, keep_output=True
    )
    return float(out.out)


if __name__ == "__main__":
    print(asyncio.run(spent(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
