"""HTTP/1.1 as a double sees it: requests, responses, and how both look on the wire."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

Takeover = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WITHOUT_BODY = (HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Fault(StrEnum):
    """What goes wrong. "Acts" means: the service makes and bills the job before it fails."""

    REFUSE = "refuse"  # nothing listens any more, all connections are cut; until `heal()`
    RESET_BEFORE = "reset-before"  # reset as soon as connected, or once the kind is known, before the body is read
    CLOSE_BEFORE = "close-before"  # the same with an orderly close
    CLOSE_AFTER = "close-after"  # acts, then closes without an answer
    RESET_AFTER = "reset-after"  # acts, then resets
    STALL = "stall"  # acts, then never answers
    STALL_BEFORE_ACT = "stall-before-act"
    STALL_BODY = "stall-body"  # acts, sends the head and half of the body, then nothing more
    TRUNCATE = "truncate"  # acts, sends half of the promised body, then closes
    WRONG_LENGTH = "wrong-length"  # acts, claims `by` bytes more than it sends; fewer where `by` is negative
    SLOW_DRIP = "slow-drip"  # acts, sends the body in twenty pieces over `seconds`
    GARBAGE = "garbage"  # acts, answers 200 with bytes of no known format
    EMPTY = "empty"  # acts, answers 200 without a body
    HTML = "html"  # acts, answers 200 with a web page
    ERROR_500 = "error-500"  # this and the next two act only with act=True
    BAD_GATEWAY = "bad-gateway"  # 502 with a proxy's web page
    TOO_MANY = "too-many"  # 429; `seconds` becomes its Retry-After


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None where it is no file."""

    name: str
    data: bytes = field(repr=False)
    filename: str | None = None
    content_type: str = ""

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass(slots=True)
class Request:
    """`path` is decoded and without the query; header names are in lower case; `at` is time.monotonic()."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)
    kind: str = ""
    at: float = 0.0
    peer: int = 0
    """The port of the client."""

    @property
    def path(self) -> str:
        """Also of a target that names the whole address, as it is written to a proxy."""
        return unquote(re.sub(r"^http://[^/?]*", "", self.target.partition("?")[0]) or "/")

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def size(self) -> int:
        return len(self.body)

    def json(self) -> Any:
        return json.loads(self.body)

    def parts(self) -> list[Part]:
        """The fields of a multipart or an urlencoded form, in order; an empty list for any other body."""
        content_type, parameters = _valued(self.headers.get("content-type", ""))
        if content_type == "application/x-www-form-urlencoded":
            return [Part(name, value.encode()) for name, value in parse_qsl(self.body.decode(), keep_blank_values=True)]
        if content_type != "multipart/form-data":
            return []
        pieces = self.body.split(b"--" + parameters.get("boundary", "").encode())
        return [_part(piece) for piece in pieces[1:-1]]

    def form(self) -> dict[str, str]:
        """The fields that are no files."""
        return {part.name: part.text for part in self.parts() if part.filename is None}


def _part(piece: bytes) -> Part:
    head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    headers = _headers(head.decode().split("\r\n"))
    _, parameters = _valued(headers.get("content-disposition", ""))
    name, filename = parameters.get("name", ""), parameters.get("filename")
    return Part(name, data.removesuffix(b"\r\n"), filename, headers.get("content-type", ""))


def _valued(header: str) -> tuple[str, dict[str, str]]:
    """`a/b; c="d"` as ("a/b", {"c": "d"})."""
    value, _, rest = header.partition(";")
    message = EmailMessage()
    message["content-disposition"] = f"form-data;{rest}"
    return value.strip().lower(), dict(message["content-disposition"].params)


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


async def read_head(reader: asyncio.StreamReader) -> Request | None:
    """A request without its body; None where the client has left."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    return Request(method, target, _headers(lines))


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    length = int(headers.get("content-length", "0"))
    return await reader.readexactly(length) if length else b""


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")


@dataclass(slots=True)
class Reply:
    """What a double answers.

    `stream` replaces the body by chunks as they come (server-sent events); `takeover` gets the bare connection after
    the head (web sockets, with status 101); `fault` spoils this one answer on its way. With `unmeasured` no length is
    promised: the connection is closed at the end of the body, as it is where it breaks.
    """

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    takeover: Takeover | None = None
    fault: Fault | None = None
    unmeasured: bool = False

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Reply":
        """`headers`: names with `_` for `-`, such as retry_after="3"."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        body = json.dumps(value, ensure_ascii=False).encode()
        return cls(status, body, {"content-type": "application/json", **named})

    @classmethod
    def text(cls, text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> "Reply":
        return cls(status, text.encode(), {"content-type": content_type})

    @classmethod
    def file(cls, data: bytes, content_type: str) -> "Reply":
        return cls(200, data, {"content-type": content_type})

    def head(self, length: int | None = None) -> bytes:
        """The bytes before the body; `length` replaces the true Content-Length, which is where lies begin."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = dict(self.headers)
        if self.stream is not None:
            headers["transfer-encoding"] = "chunked"
        elif self.status not in WITHOUT_BODY and not self.unmeasured:
            headers.setdefault("content-length", str(len(self.body) if length is None else length))
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()
