"""Our reading of HTTP responses against h11's: 6,000 damaged responses, in pieces of every size; and its own limits.

The same reader, `ResponseReader`, is in every connection of the shipped transport.
"""

import random
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import h11
import httpx
import pytest

from imagegen_cli.net import framing
from imagegen_cli.net.framing import ResponseReader

NUMBER = 6000
SEED = 20261126
WHOLE = 1 << 20
PIECES = (1, 3, 7, WHOLE)
"""Sizes of a piece in bytes."""


class Response(NamedTuple):
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Outcome = Response | None
"""None: the response is not believed."""


def read_by_us(data: bytes, size: int, method: str = "GET") -> Outcome:
    try:
        return _read(data, size, method)
    except httpx.RemoteProtocolError:
        return None


def _read(data: bytes, size: int, method: str = "GET") -> Response:
    """Read a response as a connection does. Raises RemoteProtocolError."""
    reader, head, body = ResponseReader(), None, bytearray()
    reader.begin(method)
    for at in range(0, len(data), size):
        reader.buffer += data[at : at + size]
        head = head or reader.read_head()
        while head is not None and ((part := reader.read_body(5)) or reader.has_more):
            body += part
        if head is not None and reader.is_complete:
            break
    else:
        reader.end()
    assert head is not None, "a response without a head has no end"
    return Response(head.status, _compared(head.headers), bytes(body))


def read_by_h11(data: bytes, method: str = "GET") -> Outcome:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    head, body = None, bytearray()
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    assert head is not None
    return Response(head.status_code, _compared(head.headers), bytes(body))


def _compared(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Without the lengths: where one is repeated, h11 makes one header of them. The body shows how they were read."""
    return tuple((name.lower(), value) for name, value in headers if name.lower() not in FRAMING)


FRAMING = (b"content-length", b"transfer-encoding")

STRICTER: dict[str, Callable[[bytes], object]] = {
    "HTTP/1.0 and 1.1 only: the framing of any other version is unknown": re.compile(
        rb"^HTTP/(?!1\.[01] )\d\.\d", re.MULTILINE
    ).search,
    "a bare CR in a chunk's extension, which some servers take for the end of the line": re.compile(
        rb"\n[0-9A-Fa-f]+;[^\n]*\r(?!\n)"
    ).search,
}
"""Why we refuse a response that h11 accepts. We accept no response that h11 refuses."""


# Damaged responses

HEADS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200\r\n",
    b"HTTP/1.0 404 Not Found\r\n",
    b"HTTP/1.2 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 500 No\r\n",
)
HEADERS = (
    b"",
    b"Server: small\r\n",
    b"X-Folded: a\r\n b\r\n\tc\r\n",
    b"Connection: close\r\n",
    b"X-Empty:\r\nX-Obs: \xe5\x9b\xbe\r\n",
)
BODIES = (
    b"Content-Length: 5\r\n\r\nhello",
    b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"content-length: 0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: Chunked\r\n\r\n3;a=b\r\nhel\r\n02\r\nlo\r\n0\r\nSum: 1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nA \r\n0123456789\r\n1\r\n\n\r\n1;x\r\n\r\r\n000\r\n\r\n",
    b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\r\nuntil it is closed\r\n\r\n",
)
BYTES = (b"\r\n", *(bytes([code]) for code in b"\r\n \t\0:;,01f-+x\v\f\x85\xff"))
PARTS = (
    b"\r\n\r\n",
    b"\n\n",
    b"HTTP/1.1 ",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 4\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Name : value\r\n",
    b"\r\n folded",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b'1;ext="a\rb"\r\nx\r\n',
)


def damaged(generator: random.Random) -> tuple[bytes, str]:
    """A response of any form with up to three faults, and the method of its request."""
    data = bytearray(generator.choice(HEADS) + generator.choice(HEADERS) + generator.choice(BODIES))
    for _ in range(generator.randrange(4)):
        at = generator.randrange(len(data) + 1)
        generator.choice((_insert, _insert_part, _replace, _remove, _repeat, _cut, _swap_line_end))(data, at, generator)
    return bytes(data), "HEAD" if generator.random() < 0.1 else "GET"


def _insert(data: bytearray, at: int, generator: random.Random) -> None:
    data[at:at] = generator.choice(BYTES)


def _insert_part(data: bytearray, at: int, generator: random.Random) -> None:
    """At the begin of a line more often than not: elsewhere it only spoils the line."""
    at = data.rfind(b"\n", 0, at) + 1 if generator.random() < 0.8 else at
    data[at:at] = generator.choice(PARTS)


def _replace(data: bytearray, at: int, generator: random.Random) -> None:
    data[at : at + 1] = generator.choice(BYTES)


def _remove(data: bytearray, at: int, generator: random.Random) -> None:
    del data[at : at + generator.randrange(1, 4)]


def _repeat(data: bytearray, at: int, generator: random.Random) -> None:
    data[at:at] = data[at : at + generator.randrange(1, 20)]


def _cut(data: bytearray, at: int, _generator: random.Random) -> None:
    if at > len(data) // 2:
        del data[at:]


def _swap_line_end(data: bytearray, at: int, generator: random.Random) -> None:
    found = data.find(b"\r\n", at)
    if found >= 0:
        data[found : found + 2] = generator.choice((b"\n", b"\r", b"\n\r", b"\r\r\n", b" \r\n"))


@pytest.fixture(scope="module")
def responses() -> list[tuple[bytes, str]]:
    generator = random.Random(SEED)
    return [damaged(generator) for _ in range(NUMBER)]


def test_no_response_is_read_otherwise_than_by_h11(responses: list[tuple[bytes, str]]) -> None:
    believed = 0
    for data, method in responses:
        ours, theirs = read_by_us(data, WHOLE, method), read_by_h11(data, method)
        believed += ours is not None
        if ours != theirs:
            assert ours is None, f"we believe {ours}, h11 {theirs}: {data!r}"
            assert any(is_met(data) for is_met in STRICTER.values()), f"h11 believes {theirs}: {data!r}"
    assert NUMBER // 4 < believed < NUMBER * 3 // 4, "the faults are too many or too few to show anything"


@pytest.mark.parametrize("size", PIECES)
def test_the_size_of_the_pieces_changes_nothing(responses: list[tuple[bytes, str]], size: int) -> None:
    for data, method in responses:
        assert read_by_us(data, size, method) == read_by_us(data, WHOLE, method), data


@pytest.mark.parametrize("reason", STRICTER)
def test_every_reason_to_be_stricter_is_met(responses: list[tuple[bytes, str]], reason: str) -> None:
    assert any(
        STRICTER[reason](data) and read_by_us(data, WHOLE, method) is None and read_by_h11(data, method) is not None
        for data, method in responses
    )


# Forms whose outcome is worth a name

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = {
    "a bare LF after a chunk's size": CHUNKED + b"2\nok\r\n" + LAST,
    "a bare LF after a chunk": CHUNKED + b"2\r\nok\n" + LAST,
    "a bare LF after the last chunk": CHUNKED + b"2\r\nok\r\n0\n\r\n",
    "a blank before a chunk's size": CHUNKED + b" 2\r\nok\r\n" + LAST,
    "a blank before a chunk's extension": CHUNKED + b"2 ;a\r\nok\r\n" + LAST,
    "a sign before a chunk's size": CHUNKED + b"+2\r\nok\r\n" + LAST,
    "a prefix before a chunk's size": CHUNKED + b"0x2\r\nok\r\n" + LAST,
    "a trailer without a colon": CHUNKED + b"2\r\nok\r\n0\r\nnonsense\r\n\r\n",
    "a blank before a trailer's colon": CHUNKED + b"2\r\nok\r\n0\r\nA : b\r\n\r\n",
    "a blank in a header's name": OK.replace(b"Content", b"A b: c\r\nContent"),
    "a blank before a header's colon": OK.replace(b":", b" :"),
    "a quote in a header's name": OK.replace(b"Content", b'"a": c\r\nContent'),
    "a NUL in a header": OK.replace(b"Content", b"A: b\0c\r\nContent"),
    "a bare CR in a header": OK.replace(b"Content", b"A: b\rc\r\nContent"),
    "a folded line after the status": OK.replace(b"Content", b" a\r\nContent"),
    "a status below 100": OK.replace(b"200", b"099"),
    "a switch to another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + OK,
    "two codings": CHUNKED.replace(b"chunked", b"gzip, chunked") + LAST,
    "a wrong length beside chunks": CHUNKED.replace(b"Transfer", b"Content-Length: x\r\nTransfer") + LAST,
}


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_are_refused_as_h11_refuses_them(name: str, size: int) -> None:
    assert read_by_h11(REFUSED[name]) is None
    assert read_by_us(REFUSED[name], size) is None


def test_one_length_may_be_repeated() -> None:
    """A proxy may join two headers. An answer to a paid request must not be lost for it."""
    repeated = OK.replace(b": 2", b": 2, 2")
    assert read_by_us(repeated, WHOLE) == read_by_h11(repeated) == Response(200, (), b"ok")


# Limits: each is reached, and then passed by one


def with_head_of(size: int) -> bytes:
    """A response whose head, its blank line not counted, has so many bytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: "
    return head + b"x" * (size - len(head)) + b"\r\n\r\nok"


def with_headers(number: int) -> bytes:
    return OK.replace(b"Content", b"A: b\r\n" * (number - 1) + b"Content")


def with_interim_heads(number: int) -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * number + OK


def with_interim_head_of(size: int) -> bytes:
    head = b"HTTP/1.1 103 Early Hints\r\nLink: "
    return head + b"x" * (size - len(head)) + b"\r\n\r\n" + OK


def with_chunk_line_of(size: int) -> bytes:
    return CHUNKED + b"2;" + b"x" * (size - 4) + b"\r\nok\r\n" + LAST


def with_trailers_of(size: int) -> bytes:
    return CHUNKED + b"2\r\nok\r\n0\r\nA: " + b"x" * (size - 3) + b"\r\n\r\n"


def with_trailers(number: int) -> bytes:
    return CHUNKED + b"2\r\nok\r\n0\r\n" + b"A: b\r\n" * number + b"\r\n"


LIMITS: dict[str, tuple[Callable[[int], bytes], int, str]] = {
    "bytes of the head": (with_head_of, framing.MAX_HEAD_BYTES, "has more than 65536 bytes"),
    "headers": (with_headers, framing.MAX_HEADERS, "more than 200 headers"),
    "interim heads": (with_interim_heads, framing.MAX_INTERIM_HEADS, "more than 20 interim responses"),
    "bytes of an interim head": (with_interim_head_of, framing.MAX_HEAD_BYTES, "has more than 65536 bytes"),
    "bytes of a chunk's line": (with_chunk_line_of, framing.MAX_CHUNK_LINE_BYTES, "has more than 4096 bytes"),
    "bytes of the trailers": (with_trailers_of, framing.MAX_TRAILER_BYTES, "has more than 16384 bytes"),
    "trailers": (with_trailers, framing.MAX_HEADERS, "more than 200 headers"),
}


@pytest.mark.parametrize("size", [7, WHOLE])
@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_kept_exactly(name: str, size: int) -> None:
    make, limit, message = LIMITS[name]
    assert _read(make(limit), size).body == b"ok"
    with pytest.raises(httpx.RemoteProtocolError, match=message):
        _read(make(limit + 1), size)


@pytest.mark.parametrize(
    "endless",
    [b"HTTP/1.1 200 " + b"x" * (1 << 17), CHUNKED + b"1;" + b"x" * (1 << 17), CHUNKED + b"0\r\nA: " + b"x" * (1 << 17)],
)
def test_a_line_without_an_end_is_refused_before_it_has_come(endless: bytes) -> None:
    """Not only when the connection ends: a server may keep it open for as long as it likes."""
    with pytest.raises(httpx.RemoteProtocolError, match="has more than"):
        read_open_connection(endless)


def read_open_connection(data: bytes) -> None:
    reader, head = ResponseReader(), None
    for at in range(0, len(data), 1 << 12):
        reader.buffer += data[at : at + (1 << 12)]
        head = head or reader.read_head()
        if head is not None:
            reader.read_body(1 << 12)
