"""HTTP/1.1 over asyncio, behind httpx's face: what it costs to send a request does not grow with how many are open.

Errors are httpx's own, and exact: ConnectError and ConnectTimeout only while nothing has been sent. No proxies and no
redirects: whoever needs the first takes httpx's default transport, the second are the caller's business.
"""

import asyncio
import errno
import os
import random
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import httpx

HIGH_WATER = 256 * 1024
"""Bytes that wait unread on a connection before its sender has to wait."""
PIECE = 64 * 1024
LONGEST_HEAD = 64 * 1024
IDLE = 15.0
"""Seconds after which an unused connection is not trusted any more."""
MAX_ATTEMPTS = 5
"""Times that a connection is tried while the process has no file handle left: about three seconds."""
CHUNKS_AT_ONCE = 2000
"""Small chunks that are read in one turn of the loop."""
EMPTY = (204, 304)
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
"""Why OpenSSL gives up where plain HTTP is spoken; which one depends on its version."""
LINE = re.compile(rb"\r?\n")
BLANK = re.compile(rb"\r?\n\r?\n")
CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]+)[ \t]*(?:;[^\r\n]*)?\r?\n")
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
NUMBER = re.compile(rb"\d{1,18}")
OVERLAP = 4
"""Bytes of the longest end of a line that may already be there in part."""
FOLDED = re.compile(rb"\r?\n[ \t]+")
"""Small servers end lines as they like, and old ones go on in the next."""


class NoHandleError(httpx.ConnectError):
    """The process may open no further file or connection just now. Nothing has been sent."""


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


class Transport(httpx.AsyncBaseTransport):
    """At most `most` requests at once, the rest in line; 0 takes all, each on a connection of its own.

    `trust` gives the certificates when TLS is first used.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext], most: int) -> None:
        self._trust = trust
        self._most = most
        self._door = asyncio.Semaphore(most or sys.maxsize)
        self._idle: list[Connection] = []
        self._buffer = memoryview(bytearray(HIGH_WATER))
        """Where all connections receive, one after the other: fresh memory for each read costs more than the read."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._door.acquire()
        try:
            connection, answer = await self._asked(request)
        except BaseException:
            self._door.release()
            raise
        body = Body(self, connection, answer.framing, _limit(request, "read"))
        extensions = {"http_version": answer.version}
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=extensions)

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def done(self, connection: "Connection", *, reusable: bool) -> None:
        """The answer has been read, or given up."""
        self._door.release()
        if not (reusable and self._most and connection.usable):
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if len(self._idle) > self._most:
            self._idle.pop(0).close()

    async def _asked(self, request: httpx.Request) -> "tuple[Connection, Answer]":
        """Send it. A kept connection that turns out to have been closed meanwhile is replaced, once, by a fresh one."""
        url, head = request.url, write_head(request)
        origin = Origin(url.scheme, url.raw_host.decode("ascii"), url.port or {"https": 443}.get(url.scheme, 80))
        connection = self._kept(origin)
        if connection is not None:
            try:
                return connection, await connection.exchange(request, head)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if connection.received:
                    raise
        connection = await self._connected(origin, request)
        return connection, await connection.exchange(request, head)

    def _kept(self, origin: Origin) -> "Connection | None":
        now = asyncio.get_running_loop().time()
        for index in range(len(self._idle) - 1, -1, -1):
            connection = self._idle[index]
            if not connection.usable or now - connection.idle_since > IDLE:
                self._idle.pop(index).close()
            elif connection.origin == origin:
                return self._idle.pop(index)
        return None

    async def _connected(self, origin: Origin, request: httpx.Request) -> "Connection":
        for attempt in range(MAX_ATTEMPTS):
            try:
                async with asyncio.timeout(_limit(request, "connect")):
                    return await self._connection(origin)
            except TimeoutError as error:
                raise httpx.ConnectTimeout("no connection in time") from error
            except (OSError, UnicodeError) as error:
                if _handles_left():
                    raise httpx.ConnectError(tls_trouble(error) or str(error)) from error
                await self.aclose()
                await asyncio.sleep(0.1 * 2**attempt * random.uniform(0.8, 1.2))
        raise NoHandleError("too many files are open at once (ulimit -n)")

    async def _connection(self, origin: Origin) -> "Connection":
        tls: dict[str, Any] = {}
        if origin.scheme == "https":
            tls = {"ssl": self._trust(), "server_hostname": origin.host}
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(origin, self._buffer), origin.host, origin.port, happy_eyeballs_delay=0.25, **tls
        )
        return connection


class Framing(NamedTuple):
    """How far a body goes. `length` None and not `chunked`: until the connection is closed."""

    length: int | None
    chunked: bool = False
    keeps: bool = False


class Answer(NamedTuple):
    version: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    framing: Framing


class Body(httpx.AsyncByteStream):
    """The bytes of an answer as they come; at the end the connection goes back to where it came from."""

    def __init__(self, transport: Transport, connection: "Connection", framing: Framing, limit: float | None) -> None:
        self._transport = transport
        self._connection = connection
        self._framing = framing
        self._limit = limit
        self._whole = framing.length == 0
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._framing.chunked:
            async for part in self._chunks():
                yield part
        elif self._framing.length is None:
            while part := await self._connection.part(PIECE, self._limit):
                yield part
        else:
            async for part in self._exactly(self._framing.length):
                yield part
        self._whole = True

    async def into(self, write: Callable[[memoryview], object]) -> None:
        """Give every byte to `write` as it comes; what it is given is used again as soon as it returns."""
        if self._framing.length is None:
            async for part in self:
                write(memoryview(part))
        else:
            await self._connection.pour(self._framing.length, write, self._limit)
            self._whole = True

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        left = length
        while left:
            part = await self._connection.part(left, self._limit)
            if not part:
                raise httpx.RemoteProtocolError(f"the connection ended {left} bytes before the answer's end")
            left -= len(part)
            yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _chunk_size(await self._connection.until(LINE, self._limit)):
            async for part in self._exactly(size):
                yield part
            if await self._connection.until(LINE, self._limit):
                raise httpx.RemoteProtocolError("a chunk is longer than it says")
            while small := self._connection.chunks(CHUNKS_AT_ONCE):
                yield small
                await asyncio.sleep(0)
        while await self._connection.until(LINE, self._limit):
            pass  # trailers

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._transport.done(self._connection, reusable=self._whole and self._framing.keeps)


class Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time. What it receives is in `buffer` until the next turn of the loop."""

    def __init__(self, origin: Origin, buffer: memoryview) -> None:
        self.origin = origin
        self._buffer = buffer
        self.idle_since = 0.0
        self.received = False
        """Whether any byte has come since the last request."""
        self.lost = False
        self._error: Exception | None = None
        self._data = bytearray()
        self._searched = 0
        """Bytes of `_data` in which `until` has found nothing: to begin anew for every byte would be quadratic."""
        self._due = 0
        """Bytes that go to `_write` instead of `_data`."""
        self._write: Callable[[memoryview], object]
        self._refusal: Exception | None = None
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    @property
    def usable(self) -> bool:
        """Whether it could carry another request: still open, and nothing has come unasked."""
        return not self.lost and not self._data

    async def exchange(self, request: httpx.Request, head: bytes) -> Answer:
        """Send a request and read the head of its answer; closes itself where that fails."""
        self.received = False
        try:
            await self._send(request, head)
            while True:
                answer = read_head(await self.until(BLANK, _limit(request, "read")), request.method)
                if answer.status >= 200:  # noqa: PLR2004 - below it says to wait for the real one
                    return answer
        except BaseException:
            self.close()
            raise

    async def _send(self, request: httpx.Request, head: bytes) -> None:
        limit = _limit(request, "write")
        try:
            content = request.content
        except httpx.RequestNotRead:
            await self._send_stream(head, request, limit)
        else:
            self._transport.write(head + content)
            await self._drained(limit)

    async def _send_stream(self, head: bytes, request: httpx.Request, limit: float | None) -> None:
        chunked = "transfer-encoding" in request.headers
        self._transport.write(head)
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - what httpx's asynchronous client makes
        async for part in request.stream:
            self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked and part else part)
            await self._drained(limit)
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    async def part(self, most: int, limit: float | None) -> bytes:
        """The next bytes, at most so many; nothing at the end."""
        while not self._data:
            if self.lost:
                if self._error is not None:
                    raise httpx.ReadError(str(self._error))
                return b""
            await self._more(limit)
        return self._taken(min(most, len(self._data)))

    async def pour(self, length: int, write: Callable[[memoryview], object], limit: float | None) -> None:
        """Give the next `length` bytes to `write`, which is called between turns and may raise."""
        if first := self._taken(min(length, len(self._data))):
            write(memoryview(first))
        self._due, self._write = length - len(first), write
        while self._due and not self.lost:
            before = self._due
            try:
                await self._more(limit)
            except httpx.ReadTimeout:
                if self._due == before:
                    raise
        if self._refusal is not None:
            raise self._refusal
        if self._due and self._error is not None:
            raise httpx.ReadError(str(self._error))
        if self._due:
            raise httpx.RemoteProtocolError(f"the connection ended {self._due} bytes before the answer's end")

    async def until(self, end: re.Pattern[bytes], limit: float | None) -> bytes:
        """What stands before `end`, which is taken as well."""
        while (found := end.search(self._data, max(0, self._searched - OVERLAP))) is None:
            self._searched = len(self._data)
            if len(self._data) > LONGEST_HEAD:
                raise httpx.RemoteProtocolError("the head of the answer has no end")
            if self.lost:
                raise httpx.ReadError(str(self._error)) if self._error else httpx.RemoteProtocolError("no whole answer")
            await self._more(limit)
        start, stop = found.span()
        return self._taken(stop)[:start]

    def chunks(self, most: int) -> bytes:
        """The content of the whole chunks that are here already, at most so many; the last, empty one is left."""
        at = 0
        parts: list[bytes] = []
        while len(parts) < most and (head := CHUNK.match(self._data, at)):
            start = head.end()
            stop = start + int(head[1], 16)
            after = self._data[stop : stop + 2]
            if stop == start or not after.startswith((b"\r\n", b"\n")):
                break
            parts.append(bytes(self._data[start:stop]))
            at = stop + (1 if after.startswith(b"\n") else 2)
        if at:
            self._taken(at)
        return b"".join(parts)

    def _taken(self, size: int) -> bytes:
        taken = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        self._searched = 0
        if self._paused and len(self._data) < HIGH_WATER:
            self._paused = False
            self._transport.resume_reading()
        return taken

    async def _more(self, limit: float | None) -> None:
        """A bare timer: asyncio.timeout would be a tenth of what a question costs."""
        loop = asyncio.get_running_loop()
        reader = self._reader = loop.create_future()
        timer = None if limit is None else loop.call_later(limit, _expire, reader)
        try:
            await reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()

    async def _drained(self, limit: float | None) -> None:
        if self._writer is None:
            return
        try:
            async with asyncio.timeout(limit):
                await self._writer
        except TimeoutError as error:
            raise httpx.WriteTimeout("no byte was taken in time") from error

    def close(self) -> None:
        self.lost = True
        self._transport.abort()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection gives
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a small one would only mean more turns
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received = True
        poured = min(self._due, nbytes)
        if poured:
            self._poured(self._buffer[:poured])
        if poured == nbytes:
            return
        self._data += self._buffer[poured:nbytes]
        if len(self._data) >= HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def _poured(self, data: memoryview) -> None:
        try:
            self._write(data)
        except Exception as error:  # noqa: BLE001 - whoever waits in `pour` is told
            self._refusal = error
            self.close()
        self._due -= len(data)
        if not self._due or self.lost:
            _wake(self._reader)

    def eof_received(self) -> None:
        self.lost = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._error = exc
        _wake(self._reader)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writer = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._writer)
        self._writer = None


def _handles_left() -> bool:
    """A failed look-up of a name does not say that it had no handle: only opening something tells."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def tls_trouble(error: BaseException | None) -> str:
    """What to do about an error of TLS, here or among its causes; empty where it has nothing to do with it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({error.verify_message})"
            return f"{why}; SSL_CERT_FILE can name a file with the certificate of its authority"
        if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
            return "it does not speak TLS: perhaps its address begins with http:// and not with https://"
        error = error.__cause__ or error.__context__
    return ""


def write_head(request: httpx.Request) -> bytes:
    """Raises LocalProtocolError where a header would break out of its line, or has a name that is none."""
    if not all(TOKEN.fullmatch(name) for name, _ in request.headers.raw):
        raise httpx.LocalProtocolError("a header has a name that is none")
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break")
    return head


def read_head(head: bytes, method: str) -> Answer:
    """Raises RemoteProtocolError where it is none, or where the body's end cannot be told."""
    first, *lines = LINE.split(FOLDED.sub(b" ", head))
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit() or rest[3:4].strip():
        raise httpx.RemoteProtocolError(f"this is no HTTP/1.1: {first[:40]!r}")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise httpx.RemoteProtocolError(f"this is no header: {line[:40]!r}")
        headers.append((name, value.strip(b" \t")))
    return Answer(version, int(status), headers, framing(version, int(status), headers, method))


def framing(version: bytes, status: int, headers: list[tuple[bytes, bytes]], method: str) -> Framing:
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value.lower())
    keeps = version == b"HTTP/1.1" and b"close" not in b",".join(named.get(b"connection", []))
    coding, lengths = named.get(b"transfer-encoding"), set(named.get(b"content-length", []))
    if method == "HEAD" or status in EMPTY:
        return Framing(0, keeps=keeps)
    if coding == [b"chunked"]:
        return Framing(None, chunked=True, keeps=keeps)
    if coding or len(lengths) > 1 or not all(NUMBER.fullmatch(length) for length in lengths):
        raise httpx.RemoteProtocolError("the answer does not say where it ends")
    return Framing(int(lengths.pop()), keeps=keeps) if lengths else Framing(None)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise httpx.RemoteProtocolError(f"this is no chunk: {line[:40]!r}")
    return int(digits, 16)


def _limit(request: httpx.Request, what: str) -> float | None:
    """Seconds that the caller gives for `connect`, `read` or `write`."""
    limits: dict[str, float | None] = request.extensions.get("timeout", {})
    return limits.get(what)


def _wake(sleeper: "asyncio.Future[None] | None") -> None:
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)


def _expire(reader: "asyncio.Future[None]") -> None:
    if not reader.done():
        reader.set_exception(httpx.ReadTimeout("no byte in time"))
