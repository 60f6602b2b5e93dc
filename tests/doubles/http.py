"""A fake HTTP service on a real loopback socket, which misbehaves on command and counts everything.

    class Echo(Service):
        async def answer(self, request: Request) -> Reply:
            return Reply.json({"you asked": request.path})

    with Echo() as service:
        service.fail("submit", Fault.CLOSE_AFTER)           # the next one only
        service.fail("query", Fault.ERROR_500, times=3, after=1)
        service.fail("query", Reply.json({"status": 7}))    # any answer of your own
        httpx.post(service.url + "/jobs")
        assert service.counts["submit"] == 1

The service lives in a thread with an event loop of its own, so that synchronous tests, asynchronous tests and
subprocesses can all talk to it. A bug in `answer` is answered with 599 and raised again when the service stops.
"""

import asyncio
import math
import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote

from tests.doubles.messages import Fault, Part, Reply, Request, read_body, read_head
from tests.doubles.pictures import Pictures
from tests.ports import PortHold

__all__ = ["ANY", "CONNECT", "HELD", "Fault", "Job", "Part", "Pictures", "Reply", "Request", "Service"]

ANY = "any"
CONNECT = "connect"
HELD = math.inf
"""The `seconds` of a job that lasts until the test calls `release`."""

INSTEAD: dict[Fault, Reply] = {
    Fault.GARBAGE: Reply.file(bytes(range(256)) * 3, "application/octet-stream"),
    Fault.EMPTY: Reply(),
    Fault.HTML: Reply.text("<!doctype html><title>Welcome</title><p>Sign in</p>", 200, "text/html"),
    Fault.ERROR_500: Reply.json({"error": "internal server error"}, 500),
    Fault.BAD_GATEWAY: Reply.text("<html><h1>502 Bad Gateway</h1><hr>nginx</html>", 502, "text/html"),
    Fault.TOO_MANY: Reply.json({"error": "too many requests"}, 429),
}
"""Answers that replace the service's own; with `seconds` they carry it as Retry-After."""
BEFORE = (Fault.RESET_BEFORE, Fault.CLOSE_BEFORE)
IDLE = (*BEFORE, Fault.STALL_BEFORE_ACT, Fault.ERROR_500, Fault.BAD_GATEWAY, Fault.TOO_MANY)
"""Faults of a service that has done nothing."""


@dataclass(slots=True)
class Rule:
    """One call of `fail`; `times` None means until `heal()`, `after` counts those that still go well."""

    where: str
    how: Fault | Reply
    times: int | None = 1
    after: int = 0
    act: bool = True
    seconds: float | None = None
    by: int = -10

    def applies(self, *places: str) -> bool:
        if self.where not in places or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(slots=True)
class Job:
    """Paid work. `payload` is what the client sent; `started_at` a time.monotonic(); `polls` counts queries."""

    id: str
    payload: dict[str, Any]
    started_at: float
    seconds: float
    min_polls: int
    state: str = "running"
    polls: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ripe(self) -> bool:
        """Whether the job is ready: its seconds have passed and it was queried often enough."""
        return self.polls > self.min_polls and time.monotonic() - self.started_at >= self.seconds


class Service:
    """Subclass it and give `answer`; `kind` tells submits, queries, cancels and downloads apart.

    counts      requests by kind and by "METHOD /path", and connections
    peak        most requests inside at once by kind, and most jobs running at once ("jobs")
    struck      how often each fault really happened; answers of your own count as "reply"
    requests    everything that arrived whole, in order
    jobs        by id, in order; a job that is in here was billed
    billed      what each job cost, by its id, where the service tells that; `bill` is the sum
    """

    def __init__(
        self, *, port: int = 0, seconds: float = 0.0, polls: int = 0, pictures: Pictures | None = None
    ) -> None:
        """`seconds` and `polls`: how long new jobs take; `polls` 0 means that the first query finds the job done.

        With `HELD` seconds a job lasts until the test says `release`, however busy the machine is.
        """
        self.port = port
        self.seconds = seconds
        self.polls = polls
        self.pictures = pictures or Pictures()
        self.files_url = ""
        self._holds = True
        self._hold: PortHold | None = None
        self.counts: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.jobs: dict[str, Job] = {}
        self.billed: dict[str, Decimal] = {}
        self._inside: Counter[str] = Counter()
        self._rules: list[Rule] = []
        self._bugs: list[Exception] = []
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._listener: asyncio.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    # What a subclass gives

    async def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    def kind(self, request: Request) -> str:
        """`submit`, `query`, `cancel`, `download` or any other word that `fail` and `counts` may use."""
        if request.path.startswith("/files/"):
            return "download"
        return {"POST": "submit", "GET": "query", "DELETE": "cancel"}.get(request.method, "other")

    # What a test says

    def fail(
        self,
        where: str,
        how: Fault | Reply,
        *,
        times: int | None = 1,
        after: int = 0,
        act: bool | None = None,
        seconds: float | None = None,
        by: int = -10,
    ) -> None:
        """Misbehave on requests of the kind `where` (ANY; CONNECT: as soon as connected). Rules are tried in order.

        `act` None: as the fault says; an answer of one's own does not act.
        """
        if how is Fault.REFUSE:
            self._call(self._refuse())
            return
        acts = act if act is not None else isinstance(how, Fault) and how not in IDLE
        self._rules.append(Rule(where, how, times, after, acts, seconds, by))

    def heal(self) -> None:
        """Behave again, and listen again on the same port."""
        self._rules.clear()
        self._call(self._listen())

    def requests_of(self, kind: str) -> list[Request]:
        return [request for request in self.requests if request.kind == kind]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Jobs and their pictures

    def add_job(self, job_id: str, payload: dict[str, Any], *, seconds: float | None = None) -> Job:
        length = self.seconds if seconds is None else seconds
        length = 0.0 if length == HELD and not self._holds else length
        self.jobs[job_id] = job = Job(job_id, payload, time.monotonic(), length, self.polls)
        self._inside["jobs"] += 1
        self.peak["jobs"] = max(self.peak["jobs"], self._inside["jobs"])
        return job

    def hold(self) -> None:
        """Hold new jobs until the next `release`."""
        self.seconds, self._holds = HELD, True

    def release(self) -> None:
        """Let every job end that is `HELD`, and hold none from now on."""
        self._holds = False
        for job in list(self.jobs.values()):
            if job.seconds == HELD:
                job.seconds, job.min_polls = 0.0, 0

    async def work(self, job: Job) -> None:
        """Be at work on it for its seconds, or until `release`."""
        while (left := job.started_at + job.seconds - time.monotonic()) > 0:  # noqa: ASYNC110 - `release` is called elsewhere
            await asyncio.sleep(min(left, 0.02))

    def charge(self, job: Job, amount: str | float | Decimal) -> float:
        """Write on the bill what a job costs in all; the same as a number for JSON."""
        self.billed[job.id] = Decimal(str(amount))
        return float(self.billed[job.id])

    @property
    def bill(self) -> Decimal:
        return sum(self.billed.values(), Decimal(0))

    def end_job(self, job: Job, state: str = "done") -> None:
        if job.state == "running":
            self._inside["jobs"] -= 1
        job.state = state

    def file_url(self, job_id: str, index: int) -> str:
        """Signed as real links are: no part of it may ever be shown."""
        name = f"{quote(job_id, safe='')}/{index}.{self.pictures.format}"
        return f"{self.files_url or self.url}/files/{name}?x-expires=1999999999&x-signature=sIgNaTuRe"

    async def file(self, request: Request, job_id: str, index: int) -> Reply:
        """Answers /files/<job>/<index>.<format>; a subclass may break it."""
        return Reply.file(self.pictures.make(job_id, index), self.pictures.content_type)

    # Life

    def start(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(started)), daemon=True)
        self._thread.start()
        started.result()
        return self

    def stop(self) -> None:
        """Leave the port at once, cutting every connection. `start()` takes the same port again."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def run(self) -> None:
        """Serve until Ctrl-C; for starting a double by hand."""
        with self, suppress(KeyboardInterrupt):
            sys.stdout.write(f"{self.url}\n")
            sys.stdout.flush()
            threading.Event().wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()
        if self._bugs and error is None:
            raise self._bugs[0]

    async def _live(self, started: Future[None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._listen()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stopping.wait()
        await self._refuse()

    async def _listen(self) -> None:
        if self._listener is None:
            if self._hold is None:
                self._hold = PortHold(self.port)
            listener = await asyncio.start_server(self._connected, "127.0.0.1", self._hold.port, backlog=2048)
            self.port = listener.sockets[0].getsockname()[1]
            self._listener = listener

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await _turns()  # a connection that was just accepted begins, so that it can be ended
        tasks = [task for task in self._connections.values() if task is not None]
        for writer, task in self._connections.items():
            writer.transport.abort()
            if task is not None:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _turns()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # One connection

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        self._connections[writer] = asyncio.current_task()
        try:
            await self._converse(Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the service stops
        finally:
            del self._connections[writer]
            writer.close()

    async def _converse(self, connection: "Connection") -> None:
        rule = self._rule(CONNECT)
        if rule is not None:
            connection.drop(rule.how)
            return
        while (request := await read_head(connection.reader)) is not None:
            if not await self._exchange(connection, request):
                return

    async def _exchange(self, connection: "Connection", request: Request) -> bool:
        """One request and its answer; whether the connection goes on."""
        request.kind, request.at = self.kind(request), time.monotonic()
        request.peer = (connection.writer.get_extra_info("peername") or ("", 0))[1]
        rule = self._rule(request.kind, ANY)
        if rule is not None and rule.how in BEFORE:
            connection.drop(rule.how)
            return False
        request.body = await read_body(connection.reader, request.headers)
        with self._counted(request):
            acts = rule is None or rule.act
            reply = await self._answered(request) if acts else Reply()
        if rule is None and reply.fault is not None:
            rule = self._struck(Rule(ANY, reply.fault))
        if rule is not None:
            return await connection.misbehave(rule, reply)
        return await connection.send(reply) and request.headers.get("connection", "").lower() != "close"

    def _rule(self, *places: str) -> Rule | None:
        rule = next((rule for rule in self._rules if rule.applies(*places)), None)
        return rule and self._struck(rule)

    def _struck(self, rule: Rule) -> Rule:
        self.struck[rule.how if isinstance(rule.how, Fault) else "reply"] += 1
        return rule

    @contextmanager
    def _counted(self, request: Request) -> Iterator[None]:
        kind = request.kind
        self.requests.append(request)
        self.counts.update((kind, f"{request.method} {request.path}"))
        self._inside[kind] += 1
        self.peak[kind] = max(self.peak[kind], self._inside[kind])
        try:
            yield
        finally:
            self._inside[kind] -= 1

    async def _answered(self, request: Request) -> Reply:
        try:
            if request.path.startswith("/files/"):
                job_id, _, name = request.path.removeprefix("/files/").rpartition("/")
                return await self.file(request, job_id, int(name.partition(".")[0]))
            return await self.answer(request)
        except Exception as error:  # noqa: BLE001 - a double must show its own bugs, not hang its client
            self._bugs.append(error)
            return Reply.text("".join(traceback.format_exception(error)), 599)


async def _turns() -> None:
    """Let the loop finish what it has begun: a transport closes its socket a turn later."""
    for _ in range(25):
        await asyncio.sleep(0)


@dataclass(slots=True)
class Connection:
    """One connection, and what can be done to it. Methods say whether it goes on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, reply: Reply) -> bool:
        self.writer.write(reply.head() + reply.body)
        await self.writer.drain()
        if reply.stream is not None:
            await self._send_chunks(reply)
        if reply.takeover is not None:
            await reply.takeover(self.reader, self.writer)
            return False
        return not reply.unmeasured

    async def _send_chunks(self, reply: Reply) -> None:
        assert reply.stream is not None
        async for chunk in reply.stream:
            self.writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await self.writer.drain()
        self.writer.write(b"0\r\n\r\n")

    async def misbehave(self, rule: Rule, reply: Reply) -> bool:
        how = rule.how
        if isinstance(how, Reply):
            return await self.send(how)
        if how in INSTEAD:
            wait = {} if rule.seconds is None else {"retry-after": f"{rule.seconds:g}"}
            return await self.send(Reply(INSTEAD[how].status, INSTEAD[how].body, INSTEAD[how].headers | wait))
        if how in WAYS:
            return await WAYS[how](self, rule, reply)
        self.drop(how)
        return False

    def drop(self, how: Fault | Reply) -> None:
        """End the connection now, by a reset or in order."""
        if how in (Fault.RESET_BEFORE, Fault.RESET_AFTER):
            at_once = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def stall(self, rule: Rule, reply: Reply) -> bool:
        """Until the client leaves or the service stops."""
        await self.reader.read()
        return False

    async def stall_body(self, rule: Rule, reply: Reply) -> bool:
        self.writer.write(reply.head() + reply.body[: len(reply.body) // 2])
        return await self.stall(rule, reply)

    async def truncate(self, rule: Rule, reply: Reply) -> bool:
        self.writer.write(reply.head() + reply.body[: len(reply.body) // 2])
        await self.writer.drain()
        return False

    async def wrong_length(self, rule: Rule, reply: Reply) -> bool:
        self.writer.write(reply.head(max(0, len(reply.body) + rule.by)) + reply.body)
        await self.writer.drain()
        return True

    async def drip(self, rule: Rule, reply: Reply) -> bool:
        size = max(1, len(reply.body) // 20)
        pieces = [reply.body[start : start + size] for start in range(0, len(reply.body), size)]
        self.writer.write(reply.head())
        for piece in pieces:
            await asyncio.sleep((rule.seconds or 0.0) / len(pieces))
            self.writer.write(piece)
            await self.writer.drain()
        return True


WAYS: dict[Fault, Callable[[Connection, Rule, Reply], Awaitable[bool]]] = {
    Fault.STALL: Connection.stall,
    Fault.STALL_BEFORE_ACT: Connection.stall,
    Fault.STALL_BODY: Connection.stall_body,
    Fault.TRUNCATE: Connection.truncate,
    Fault.WRONG_LENGTH: Connection.wrong_length,
    Fault.SLOW_DRIP: Connection.drip,
}
