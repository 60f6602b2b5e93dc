"""HTTP/1.1 on the wire: a request's head as bytes, and responses read from bytes that come in pieces of any size.

Nothing here waits or knows a connection. The rules are those of RFC 9112: the lines of a head and of trailers may end
with a bare LF, and a header may go on in the next line, as old servers still write; chunks must be exact.
`tests/test_framing.py` compares every outcome with that of h11.
"""

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple

import httpx

from imagegen_cli.core.language import Message

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
"""Headers of one head or of the trailers."""
MAX_INTERIM_HEADS = 20
"""Heads with a status of 1xx before the final one."""
MAX_CHUNK_LINE_BYTES = 4 * 1024
"""A chunk's size and its extensions, which are ignored."""
MAX_TRAILER_BYTES = 16 * 1024
MAX_CHUNKS_PER_READ = 2000
"""Small chunks that one read joins: with more the event loop would be held for too long."""
LONG_HEAD = Message("the head of the response has more than {count} bytes")
LONG_TRAILERS = Message("the trailer section has more than {count} bytes")

NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
LINE_END = re.compile(rb"\r?\n")
BLANK_LINE = re.compile(rb"\r?\n\r?\n")
OVERLAP_BYTES = 3
"""The longest blank line without its last byte: so much of it may have come with the piece before."""
FOLD = re.compile(rb"\r?\n[ \t]+")
"""Where a header goes on in the next line (obs-fold, RFC 9112, section 5.2)."""
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: [^\0\r\n\v\f]*)?")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n\v\f]*)")
LENGTH = re.compile(rb"[0-9]{1,20}")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:[ \t]*|;[^\r\n]*)\r\n")
CHUNK_END = b"\r\n"


class Framing(NamedTuple):
    """How far a body goes. `length` None and not `chunked`: until the connection is closed."""

    length: int | None
    chunked: bool = False
    keep_alive: bool = False


class ResponseHead(NamedTuple):
    version: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    framing: Framing


class ResponseReader:
    """The responses of one connection, one after the other.

    Received bytes are appended to `buffer`. `begin` comes first, then `read_head` until it returns a head, then
    `read_body` until `is_complete`. Both readers raise httpx.RemoteProtocolError where the bytes break HTTP or a limit.
    """

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.begin("GET")

    def begin(self, method: str) -> None:
        """Expect the response to a request with this method."""
        self.is_complete = False
        self.has_more = False
        """Whether the last read stopped at MAX_CHUNKS_PER_READ although further chunks have come."""
        self.remaining = 0
        """Bytes that are still missing of a body whose length is known, or of the current chunk."""
        self._method = method
        self._searched = 0
        """Bytes of `buffer` that hold no blank line: a search that began anew for every piece would be quadratic."""
        self._interim_heads = 0
        self._is_chunk_open = False
        self._read: Callable[[ResponseReader, int], bytes] = ResponseReader._read_length
        """A plain function: a bound method would be a reference circle, which keeps the buffer in memory."""

    @property
    def has_known_length(self) -> bool:
        """Whether the body's length was in the head."""
        return self._read is ResponseReader._read_length

    def read_head(self) -> ResponseHead | None:
        """The final head; None while it has not come whole. Interim heads (1xx) before it are counted and dropped."""
        while (block := self._read_block(MAX_HEAD_BYTES, LONG_HEAD)) is not None:
            head = parse_head(block, self._method)
            if head.status >= HTTPStatus.OK:
                self._expect_body(head.framing)
                return head
            self._count_interim(head.status)
        return None

    def read_body(self, max_bytes: int) -> bytes:
        """The next bytes of the body, at most `max_bytes` of a large part; empty while no further part has come."""
        return self._read(self, max_bytes)

    def skip(self, size: int) -> bool:
        """Count bytes of a body of known length that were not read from `buffer`. Returns whether it is complete."""
        self.remaining -= size
        self.is_complete = not self.remaining
        return self.is_complete

    def end(self) -> None:
        """The connection has ended. Raises httpx.RemoteProtocolError where the response had not."""
        if self._read is ResponseReader._read_until_closed:
            self.is_complete = True
        elif self.remaining:
            ended = Message("the connection ended {missing} bytes before the response's end")
            raise httpx.RemoteProtocolError(ended.format(missing=self.remaining))
        elif not self.is_complete:
            raise httpx.RemoteProtocolError(Message("the connection ended before the response's end"))

    def _expect_body(self, framing: Framing) -> None:
        self.remaining = framing.length or 0
        self.is_complete = framing.length == 0
        if framing.chunked:
            self._read = ResponseReader._read_chunks
        elif framing.length is None:
            self._read = ResponseReader._read_until_closed

    def _count_interim(self, status: int) -> None:
        if status == HTTPStatus.SWITCHING_PROTOCOLS:
            switched = Message("the server switches to another protocol, which was not requested")
            raise httpx.RemoteProtocolError(switched)
        self._interim_heads += 1
        if self._interim_heads > MAX_INTERIM_HEADS:
            too_many = Message("more than {count} interim responses (1xx)").format(count=MAX_INTERIM_HEADS)
            raise httpx.RemoteProtocolError(too_many)

    def _read_block(self, max_bytes: int, too_long: Message) -> bytes | None:
        """The lines before the next blank line, which is taken as well; None while it has not come."""
        if not self.buffer:
            return None
        if self.buffer.startswith((b"\r\n", b"\n")):
            self._take(self.buffer.index(b"\n") + 1)
            return b""
        found = BLANK_LINE.search(self.buffer, max(0, self._searched - OVERLAP_BYTES))
        self._searched = len(self.buffer)
        if (found.start() if found else self._searched - OVERLAP_BYTES) > max_bytes:
            raise httpx.RemoteProtocolError(too_long.format(count=max_bytes))
        return self._take(found.end())[: found.start()] if found else None

    def _read_length(self, max_bytes: int) -> bytes:
        part = self._take(min(self.remaining, max_bytes))
        self.remaining -= len(part)
        self.is_complete = not self.remaining
        return part

    def _read_until_closed(self, max_bytes: int) -> bytes:
        return self._take(max_bytes)

    def _read_chunks(self, max_bytes: int) -> bytes:
        """Chunks that have come whole together, or a part of one that is still coming."""
        self.has_more = False
        if not self.remaining:
            if self._is_chunk_open and not self._close_chunk():
                return b""
            if whole := self._read_whole_chunks():
                return whole
            self._open_chunk()
        part = self._take(min(self.remaining, max_bytes))
        self.remaining -= len(part)
        return part

    def _read_whole_chunks(self) -> bytes:
        """The content of chunks whose end has come. The last, empty chunk and one that is malformed are left."""
        buffer, at = self.buffer, 0
        parts: list[bytearray] = []
        while len(parts) < MAX_CHUNKS_PER_READ and (line := CHUNK_LINE.match(buffer, at)):
            start = line.end()
            stop = start + int(line[1], 16)
            too_long = start - at > MAX_CHUNK_LINE_BYTES
            if too_long or stop == start or buffer[stop : stop + len(CHUNK_END)] != CHUNK_END:
                break
            parts.append(buffer[start:stop])
            at = stop + len(CHUNK_END)
        self.has_more = len(parts) == MAX_CHUNKS_PER_READ
        self._take(at)
        return b"".join(parts)

    def _open_chunk(self) -> None:
        """Read a chunk's line, where it has come whole."""
        end = self.buffer.find(b"\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(self.buffer) >= MAX_CHUNK_LINE_BYTES:
                too_long = Message("the line of a chunk has more than {count} bytes").format(count=MAX_CHUNK_LINE_BYTES)
                raise httpx.RemoteProtocolError(too_long)
            return
        line = CHUNK_LINE.fullmatch(self._take(end + 1))
        if line is None:
            raise httpx.RemoteProtocolError(Message("a chunk of the body has no valid size"))
        self.remaining = int(line[1], 16)
        self._is_chunk_open = self.remaining > 0
        if not self.remaining:
            self._read = ResponseReader._read_trailers
            self._read_trailers(0)

    def _close_chunk(self) -> bool:
        """Take the line end after a chunk's content; False while it has not come."""
        end = self.buffer[: len(CHUNK_END)]
        if not CHUNK_END.startswith(end):
            raise httpx.RemoteProtocolError(Message("a chunk of the body is longer than its size"))
        self._is_chunk_open = end != CHUNK_END
        if not self._is_chunk_open:
            self._take(len(CHUNK_END))
        return not self._is_chunk_open

    def _read_trailers(self, _max_bytes: int) -> bytes:
        """Trailers are checked and dropped: nothing that imagegen reads may come in one."""
        block = self._read_block(MAX_TRAILER_BYTES, LONG_TRAILERS)
        if block is not None:
            framing_of(b"", HTTPStatus.OK, parse_headers(block), self._method)
            self.is_complete = True
        return b""

    def _take(self, max_bytes: int) -> bytes:
        buffer = self.buffer
        self._searched = 0
        if len(buffer) <= max_bytes:
            taken = bytes(buffer)
            buffer.clear()
        else:
            taken = bytes(memoryview(buffer)[:max_bytes])
            del buffer[:max_bytes]
        return taken


def write_head(request: httpx.Request) -> bytes:
    """A request's line and headers.

    Raises LocalProtocolError where a header's name is invalid, or where its value would break out of its line.
    """
    if not all(TOKEN.fullmatch(name) for name, _ in request.headers.raw):
        raise httpx.LocalProtocolError(Message("the name of a header is invalid"))
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError(Message("a header holds a line break"))
    return head


def parse_head(block: bytes, method: str) -> ResponseHead:
    """The head of a response to a request with this method.

    Raises RemoteProtocolError where it is not HTTP/1.0 or 1.1, a header is invalid, or the body's end is not clear.
    """
    first, *rest = LINE_END.split(block, maxsplit=1)
    line = STATUS_LINE.fullmatch(first)
    if line is None:
        other = Message("the response is not HTTP/1.1: it begins with {start}").format(start=repr(first[:40]))
        raise httpx.RemoteProtocolError(other)
    version, status, headers = line[1], int(line[2]), parse_headers(rest[0]) if rest else []
    return ResponseHead(version, status, headers, framing_of(version, status, headers, method))


def parse_headers(block: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of headers or trailers. Raises RemoteProtocolError where one is invalid or they are too many."""
    if not block:
        return []
    if b"\n " in block or b"\n\t" in block:
        block = FOLD.sub(b" ", block)
    lines = LINE_END.split(block)
    if len(lines) > MAX_HEADERS:
        raise httpx.RemoteProtocolError(Message("the response has more than {count} headers").format(count=MAX_HEADERS))
    return [_parse_header(line) for line in lines]


def _parse_header(line: bytes) -> tuple[bytes, bytes]:
    header = HEADER.fullmatch(line)
    if header is None:
        invalid = Message("the response has an invalid header: {header}").format(header=repr(line[:40]))
        raise httpx.RemoteProtocolError(invalid)
    return header[1], header[2].rstrip(b" \t")


def framing_of(version: bytes, status: int, headers: Iterable[tuple[bytes, bytes]], method: str) -> Framing:
    """Where the body ends (RFC 9112, section 6.3). Raises RemoteProtocolError where the headers do not tell."""
    codings: list[bytes] = []
    lengths: set[bytes] = set()
    keep_alive = version == b"HTTP/1.1"
    for name, value in headers:
        lower = name.lower()
        if lower == b"transfer-encoding":
            codings.append(value.lower())
        elif lower == b"content-length":
            lengths.update(part.strip(b" \t") for part in value.split(b","))
        elif lower == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
    if codings not in ([], [b"chunked"]) or len(lengths) > 1 or not all(map(LENGTH.fullmatch, lengths)):
        raise httpx.RemoteProtocolError(Message("the response does not say where it ends"))
    if method == "HEAD" or status in NO_BODY:
        return Framing(0, keep_alive=keep_alive)
    if codings:
        return Framing(None, chunked=True, keep_alive=keep_alive)
    return Framing(int(lengths.pop()), keep_alive=keep_alive) if lengths else Framing(None)
