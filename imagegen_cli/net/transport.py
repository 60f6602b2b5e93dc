"""HTTP/1.1 over asyncio, behind httpx's interface: the cost of a request does not grow with the number in flight.

Errors are httpx's own, and exact: ConnectError and ConnectTimeout only while nothing has been sent. Proxies are left to
httpx's default transport, and redirects to the caller.
"""

import asyncio
import errno
import os
import random
import ssl
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import httpx

from imagegen_cli.core.errors import words_of
from imagegen_cli.core.language import Message
from imagegen_cli.net.framing import ResponseHead, ResponseReader, write_head

HIGH_WATER_BYTES = 256 * 1024
"""Bytes that wait unread on a connection before its sender has to wait."""
MAX_PART_BYTES = 64 * 1024
"""The largest part of a body that is handed on at once."""
MAX_IDLE_S = 15.0
"""After this time an unused connection is not used again: the server may be about to close it."""
MAX_CONNECT_ATTEMPTS = 5
"""Attempts to connect while the process has no file handle left: about three seconds."""
NO_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
"""OpenSSL's reasons where the server speaks plain HTTP; which one it gives depends on its version."""


_transports: "weakref.WeakSet[Transport]" = weakref.WeakSet()


class NoHandleError(httpx.ConnectError):
    """The process may open no further file or connection at this moment. Nothing has been sent."""


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


def close_idle() -> None:
    """Close what is kept by all transports: where no file handle is left, one that works has to get it."""
    for transport in list(_transports):
        transport.close_idle()


class Transport(httpx.AsyncBaseTransport):
    """At most `max_requests` at once, the others wait; 0: no limit, and each request has a new connection.

    `trust` gives the certificates when TLS is first used.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext], max_requests: int) -> None:
        self._trust = trust
        self._max_requests = max_requests
        self._limit = asyncio.Semaphore(max_requests or sys.maxsize)
        self._idle: list[Connection] = []
        _transports.add(self)
        self._buffer = memoryview(bytearray(HIGH_WATER_BYTES))
        """All connections receive into it, one after the other: new memory for each read costs more than the read."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._limit.acquire()
        try:
            connection, head = await self._exchange(request)
        except BaseException:
            self._limit.release()
            raise
        body = Body(self, connection, _timeout(request, "read"), keep_alive=head.framing.keep_alive)
        extensions = {"http_version": head.version}
        return httpx.Response(head.status, headers=head.headers, stream=body, extensions=extensions)

    async def aclose(self) -> None:
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def release(self, connection: "Connection", *, reusable: bool) -> None:
        """Take back a connection whose response has been read, or given up."""
        self._limit.release()
        if not (reusable and self._max_requests and connection.is_usable):
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if len(self._idle) > self._max_requests:
            self._idle.pop(0).close()

    async def _exchange(self, request: httpx.Request) -> "tuple[Connection, ResponseHead]":
        """Send a request and read the head of its response.

        A kept connection that the server has closed meanwhile is replaced, once, by a new one.
        """
        url, head = request.url, write_head(request)
        origin = Origin(url.scheme, url.raw_host.decode("ascii"), url.port or {"https": 443}.get(url.scheme, 80))
        connection = self._take_idle(origin)
        if connection is not None:
            try:
                return connection, await connection.exchange(request, head)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if connection.has_received:
                    raise
        connection = await self._connect(origin, request)
        return connection, await connection.exchange(request, head)

    def _take_idle(self, origin: Origin) -> "Connection | None":
        now = asyncio.get_running_loop().time()
        for index in range(len(self._idle) - 1, -1, -1):
            connection = self._idle[index]
            if not connection.is_usable or now - connection.idle_since > MAX_IDLE_S:
                self._idle.pop(index).close()
            elif connection.origin == origin:
                return self._idle.pop(index)
        return None

    async def _connect(self, origin: Origin, request: httpx.Request) -> "Connection":
        for attempt in range(MAX_CONNECT_ATTEMPTS):
            try:
                async with asyncio.timeout(_timeout(request, "connect")):
                    return await self._new_connection(origin)
            except TimeoutError as error:
                raise httpx.ConnectTimeout(Message("no connection in time")) from error
            except (OSError, UnicodeError) as error:
                if _can_open_files():
                    raise httpx.ConnectError(tls_advice(error) or words_of(error)) from error
                close_idle()
                await asyncio.sleep(0.1 * 2**attempt * random.uniform(0.8, 1.2))
        raise NoHandleError(Message("too many files are open at once (ulimit -n)"))

    async def _new_connection(self, origin: Origin) -> "Connection":
        tls: dict[str, Any] = {}
        if origin.scheme == "https":
            tls = {"ssl": self._trust(), "server_hostname": origin.host}
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(origin, self._buffer), origin.host, origin.port, happy_eyeballs_delay=0.25, **tls
        )
        return connection


class Body(httpx.AsyncByteStream):
    """The bytes of a response as they come. Closing it gives the connection back."""

    def __init__(
        self, transport: Transport, connection: "Connection", timeout: float | None, *, keep_alive: bool
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._timeout = timeout
        self._keep_alive = keep_alive
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection, reader = self._connection, self._connection.reader
        while not reader.is_complete:
            if part := connection.read_received():
                yield part
                if reader.has_more:
                    await asyncio.sleep(0)
            elif not reader.is_complete:
                await connection.wait_for_data(self._timeout)

    async def into(self, write: Callable[[memoryview], object]) -> None:
        """Give every byte to `write` as it comes. The memory that it is given is used again as soon as it returns."""
        if self._connection.reader.has_known_length:
            await self._connection.pour(write, self._timeout)
        else:
            async for part in self:
                write(memoryview(part))

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            is_complete = self._connection.reader.is_complete
            self._transport.release(self._connection, reusable=is_complete and self._keep_alive)


class Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time. `reader` makes responses of what it receives."""

    def __init__(self, origin: Origin, buffer: memoryview) -> None:
        self.origin = origin
        self.reader = ResponseReader()
        self.idle_since = 0.0
        self.has_received = False
        """Whether any byte has come since the last request was begun."""
        self._is_lost = False
        self._error: Exception | None = None
        self._buffer = buffer
        self._write: Callable[[memoryview], object] | None = None
        """Where the bytes of the body go instead of to `reader`."""
        self._write_error: Exception | None = None
        self._is_paused = False
        self._data_came: asyncio.Future[None] | None = None
        self._can_write: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    @property
    def is_usable(self) -> bool:
        """Whether it can carry another request: it is open, and no byte has come that belongs to no response."""
        return not self._is_lost and not self.reader.buffer

    async def exchange(self, request: httpx.Request, head: bytes) -> ResponseHead:
        """Send a request and read the head of its response. Closes the connection where that fails."""
        self.has_received = False
        self.reader.begin(request.method)
        try:
            await self._send(request, head)
            timeout = _timeout(request, "read")
            while (found := self.reader.read_head()) is None:
                await self.wait_for_data(timeout)
        except BaseException:
            self.close()
            raise
        return found

    async def _send(self, request: httpx.Request, head: bytes) -> None:
        timeout = _timeout(request, "write")
        try:
            content = request.content
        except httpx.RequestNotRead:
            await self._send_stream(head, request, timeout)
        else:
            self._transport.write(head + content)
            await self._wait_until_writable(timeout)

    async def _send_stream(self, head: bytes, request: httpx.Request, timeout: float | None) -> None:
        is_chunked = "transfer-encoding" in request.headers
        self._transport.write(head)
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - what httpx's asynchronous client makes
        async for part in request.stream:
            self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked and part else part)
            await self._wait_until_writable(timeout)
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")

    def read_received(self) -> bytes:
        """The next bytes of the body; empty where further data must come first, and at the end."""
        part = self.reader.read_body(MAX_PART_BYTES)
        if self._is_paused and len(self.reader.buffer) < HIGH_WATER_BYTES:
            self._is_paused = False
            self._transport.resume_reading()
        return part

    async def pour(self, write: Callable[[memoryview], object], timeout: float | None) -> None:
        """Give a body of known length to `write`, which is called between turns of the loop and may raise."""
        while first := self.read_received():
            write(memoryview(first))
        self._write = write
        try:
            while not self.reader.is_complete and self._write_error is None:
                await self._wait_for_poured_data(timeout)
        finally:
            self._write = None
        if self._write_error is not None:
            raise self._write_error

    async def _wait_for_poured_data(self, timeout: float | None) -> None:
        """Poured data ends the wait only when it is complete: where some has come, the timeout begins anew."""
        missing = self.reader.remaining
        try:
            await self.wait_for_data(timeout)
        except httpx.ReadTimeout:
            if self.reader.remaining == missing:
                raise

    async def wait_for_data(self, timeout: float | None) -> None:
        """Wait until data has come, or the response has ended with the connection.

        `timeout` is in seconds without a single byte. Raises ReadTimeout, ReadError, and RemoteProtocolError where the
        response is cut off.
        """
        if self._is_lost:
            if self._error is not None:
                raise httpx.ReadError(str(self._error))
            self.reader.end()
            return
        loop = asyncio.get_running_loop()
        waiter = self._data_came = loop.create_future()
        # A timer of its own: asyncio.timeout would be a tenth of what a status query costs.
        timer = None if timeout is None else loop.call_later(timeout, _expire, waiter)
        try:
            await waiter
        finally:
            self._data_came = None
            if timer is not None:
                timer.cancel()

    async def _wait_until_writable(self, timeout: float | None) -> None:
        if self._can_write is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._can_write
        except TimeoutError as error:
            raise httpx.WriteTimeout(Message("no byte was taken in time")) from error

    def close(self) -> None:
        self._is_lost = True
        self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection gives
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a small one would only mean more turns
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.has_received = True
        poured = 0
        if self._write is not None:
            poured = min(self.reader.remaining, nbytes)
            self._pour_received(self._write, self._buffer[:poured])
            if poured == nbytes:
                return
        self.reader.buffer += self._buffer[poured:nbytes]
        if len(self.reader.buffer) >= HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._data_came)

    def _pour_received(self, write: Callable[[memoryview], object], data: memoryview) -> None:
        try:
            write(data)
        except Exception as error:  # noqa: BLE001 - `pour` raises it
            self._write_error = error
            self.close()
        if self.reader.skip(len(data)) or self._is_lost:
            _wake(self._data_came)

    def eof_received(self) -> None:
        self._is_lost = True
        _wake(self._data_came)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._error = exc
        _wake(self._data_came)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._can_write)
        self._can_write = None


def _can_open_files() -> bool:
    """Whether the process has a file handle left. A failed name look-up does not tell; opening a file does."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def tls_advice(error: BaseException | None) -> str:
    """What to do about a TLS error, which may be among the causes of `error`; empty where TLS is not the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            untrusted = Message(
                "its certificate is not trusted ({why}); "
                "SSL_CERT_FILE can name a file with the certificate of its authority"
            )
            return untrusted.format(why=error.verify_message)
        if isinstance(error, ssl.SSLError) and error.reason in NO_TLS_REASONS:
            return Message("it does not speak TLS: perhaps its address begins with http:// and not with https://")
        error = error.__cause__ or error.__context__
    return ""


def _timeout(request: httpx.Request, what: str) -> float | None:
    """Seconds that the caller allows for `connect`, `read` or `write`."""
    timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeouts.get(what)


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(httpx.ReadTimeout(Message("no byte in time")))
