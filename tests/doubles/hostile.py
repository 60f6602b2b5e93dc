"""Answers that no honest service gives: a corpus, and a service that gives one of them to every request.

`ANSWERS` are whole answers, `spoiled` turns a good document into hundreds with one wrong value each, `PICTURES` are
files that lie about themselves, `ADDRESSES` are no places to fetch a picture from.
"""

import asyncio
import base64
import copy
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from tests.doubles.http import Fault, Pictures, Reply, Request, Service
from tests.doubles.messages import Takeover

MB = 1024 * 1024
NASTY = "../../etc/passwd\0\x1b]0;owned\x07\x1b[31m[bold red]{0}%s\u202e\r\nSet-Cookie: a=b\ud800"
"""Slashes, escape sequences, Rich markup, format fields, a line break and half a character."""


class OneAnswer(Service):
    """Answers every request in the same way: with `reply`, or with what `script` makes of the request."""

    def __init__(self, reply: Reply | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.reply = reply or Reply.json({})

    def kind(self, request: Request) -> str:
        return "any"

    async def answer(self, request: Request) -> Reply:
        return self.reply

    def saw(self, secret: str) -> bool:
        """Whether a secret arrived here in any form that it was sent in."""
        return any(
            secret in request.target or secret in str(request.headers) or secret.encode() in request.body
            for request in self.requests
        )


async def _leave(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Takes the connection over and does nothing with it, which closes it."""


@dataclass(slots=True)
class Raw(Reply):
    """Sends these bytes instead of a head and a body, and closes the connection."""

    takeover: Takeover | None = _leave

    def head(self, length: int | None = None) -> bytes:
        return b""


def raw(*lines: str, body: bytes = b"{}") -> Raw:
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "", ""])
    return Raw(body=head.encode("latin-1") + body)


def typed(body: bytes, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, body, {"content-type": "application/json", **named})


def faulty(fault: Fault) -> Reply:
    reply = Reply.json({"status": "succeeded", "padding": "x" * 1000})
    reply.fault = fault
    return reply


@cache
def zeros(size: int) -> bytes:
    """A gzip file of `size` MB of zeros, at a thousandth of the size and in no time: one block, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    total = 0
    for _ in range(size):
        total = zlib.crc32(bytes(MB), total)
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + block * size + b"\x03\0" + struct.pack("<II", total, size * MB % 2**32)


def redirects(status: int, location: str) -> Reply:
    return typed(b"{}", status, location=location)


BIG = b'{"status":"succeeded","x":"' + b"x" * 10 * MB + b'"}'
NEVER = "http://127.0.0.1:9/"
"""A port of loopback without a listener."""

ANSWERS: dict[str, Callable[[], Reply]] = {
    "html at 200": lambda: faulty(Fault.HTML),
    "html at 502": lambda: faulty(Fault.BAD_GATEWAY),
    "empty": lambda: faulty(Fault.EMPTY),
    "garbage": lambda: faulty(Fault.GARBAGE),
    "truncated": lambda: faulty(Fault.TRUNCATE),
    "10 MB of JSON": lambda: typed(BIG),
    "nested lists": lambda: typed(b"[" * 100_000 + b"]" * 100_000),
    "nested objects": lambda: typed(b'{"error":' * 100_000 + b"1" + b"}" * 100_000),
    "nested far enough to be read": lambda: typed(b'{"error":' * 400 + b'"x"' + b"}" * 400, 500),
    "duplicate keys": lambda: typed(b'{"status":"succeeded","status":7,"id":"a","id":null,"output":[],"output":{}}'),
    "invalid UTF-8": lambda: typed(b'{"id":"\xff\xfe","status":"\xc3\x28","error":"\xed\xa0\x80"}'),
    "UTF-16": lambda: typed('{"status":"succeeded"}'.encode("utf-16")),
    "NaN and Infinity": lambda: typed(b'{"status":NaN,"progress":Infinity,"id":-Infinity,"retry_after":NaN}'),
    "NaN to wait": lambda: typed(b'{"retry_after":NaN,"error":{"retry_after":-Infinity}}', 429),
    "huge float": lambda: typed(b'{"status":1e999,"progress":1e999,"retry_after":1e999}', 429),
    "huge integer": lambda: typed(b'{"status":' + b"9" * 100_000 + b"}"),
    "large integer": lambda: typed(b'{"id":' + b"9" * 4000 + b',"retry_after":' + b"9" * 4000 + b"}", 429),
    "waiting for ever": lambda: typed(b"{}", 429, retry_after="9" * 400),
    "waiting since ever": lambda: typed(b"{}", 429, retry_after="-1e308"),
    "waiting for a date beyond dates": lambda: typed(b"{}", 429, retry_after="Thu, 01 Jan 99999999999 00:00:00 GMT"),
    "waiting in an odd zone": lambda: typed(b"{}", 503, retry_after="Thu, 01 Jan 2026 00:00:00 +99999999999"),
    "waiting for text": lambda: typed(b"{}", 503, retry_after="\x1b[31msoon"),
    "half a character in an error": lambda: typed(json.dumps({"error": {"message": NASTY}}).encode(), 400),
    "half a character in a refusal": lambda: typed(json.dumps({"message": NASTY, "code": NASTY}).encode(), 429),
    "null": lambda: typed(b"null"),
    "a number": lambda: typed(b"7"),
    "a text": lambda: typed(b'"succeeded"'),
    "no content": lambda: Reply(204),
    "not modified": lambda: Reply(304),
    "continue, then nothing new": lambda: raw("HTTP/1.1 100 Continue", "", "HTTP/1.1 200 OK"),
    "early hints": lambda: raw("HTTP/1.1 103 Early Hints", "link: </a>", "", "HTTP/1.1 200 OK"),
    "switching protocols": lambda: raw("HTTP/1.1 101 Switching Protocols", "upgrade: x", body=b""),
    "status 299": lambda: typed(b"{}", 299),
    "status 600": lambda: raw("HTTP/1.1 600 What"),
    "status 999": lambda: raw("HTTP/1.1 999 What"),
    "no HTTP": lambda: Raw(body=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/0.9": lambda: Raw(body=b"<html>hello"),
    "TLS": lambda: Raw(body=b"\x15\x03\x01\x00\x02\x02\x46"),
    "a header that injects": lambda: raw("HTTP/1.1 200 OK", "x: \x1b[31m[bold]"),
    "many megabytes of headers": lambda: raw("HTTP/1.1 200 OK", f"x-big: {'a' * 5 * MB}"),
    "many headers": lambda: raw("HTTP/1.1 200 OK", *(f"x-{number}: a" for number in range(100_000))),
    "two lengths": lambda: raw("HTTP/1.1 200 OK", "content-length: 7"),
    "a length beyond numbers": lambda: Raw(body=b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "a negative length": lambda: Raw(body=b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}"),
    "a chunk beyond numbers": lambda: Raw(body=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 40),
    "not gzip": lambda: typed(b"{}", content_encoding="gzip"),
    "unknown encoding": lambda: typed(b"{}", content_encoding="x-nothing"),
    "half a gzip": lambda: typed(gzip.compress(b'{"status":"succeeded"}')[:20], content_encoding="gzip"),
    "to loopback": lambda: redirects(302, NEVER),
    "to a file": lambda: redirects(301, "file:///etc/passwd"),
    "to itself": lambda: redirects(307, "/"),
    "to no address": lambda: redirects(308, "http://[::1"),
    "to nowhere": lambda: Reply(302),
}


def basic(secret: str, user: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for addresses": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "basic": lambda secret: basic(secret, "a-user"),
    "basic of another": lambda secret: basic(secret, "x"),
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "after many words": lambda secret: f"{'so many words ' * 20}{secret}",
    "after many blanks": lambda secret: f"no{' ' * 2380}{secret}",
}
"""How services repeat a key that they refuse."""


def echoing(text: str, status: int) -> Reply:
    """A body with these words in every field in which a service puts its error messages."""
    error = {"message": text, "code": text, "type": text, "detail": text, "param": text, "status": text}
    body = error | {"error": error, "errors": [error], "msg": text, "success": False, "fail_msg": text}
    body |= {"output": {"task_status": "FAILED", "code": text, "message": text}, "details": {"Reasons": [text]}}
    body |= {"ResponseMetadata": {"Error": {"Code": text, "Message": text}}, "node_errors": {text: {"errors": [error]}}}
    body |= {"data": {"status": text, "message": text}, "promptFeedback": {"blockReason": text}, "completed": False}
    return Reply.json(body | {"error_type": text}, status)


BOMBS: dict[str, Callable[[], Reply]] = {
    "gzip bomb": lambda: typed(zeros(1024), content_encoding="gzip"),
    "gzip bomb in a gzip bomb": lambda: typed(gzip.compress(zeros(700)), content_encoding="gzip, gzip"),
}


# Documents of the right form with one wrong value


WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**40,
    float("nan"),
    "",
    NASTY,
    "x" * 10_000,
    [],
    [None, 7, [], {}],
    {},
    {"": {"url": []}},
)
"""Values of JSON that stand in the place of another type."""


def spoiled(document: Any, more: tuple[Any, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """For each wrong value, its place and the document. Every field is left out once, too."""
    for path in _paths(document):
        for wrong in (*WRONG, *more):
            changed = copy.deepcopy(document)
            _place(changed, path)[path[-1]] = wrong
            yield f"{path}={str(wrong)[:20]!a}", json.dumps(changed).encode()
        changed = copy.deepcopy(document)
        del _place(changed, path)[path[-1]]
        yield f"{path} left out", json.dumps(changed).encode()


def _paths(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*before, key))


def _place(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


ID = "0f9d1c2e-3b4a-4c5d-8e6f-708192a3b4c5"
LINK = "http://127.0.0.1:9/made/a/1.png"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

DOCUMENTS: dict[str, tuple[Any, ...]] = {
    "dreamina": (
        {"success": True, "taskId": ID, "queued": True, "message": "ok"},
        {"success": True, "completed": True, "failed": False, "images": [{"url": LINK}, LINK]},
        {"success": True, "completed": False, "failed": True, "error": "no", "fail_code": "2038"},
    ),
    "jimeng": (
        {"created": 1, "data": [{"url": LINK}, {"b64_json": PIXEL}]},
        {"code": -2001, "message": "no", "data": None, "error": {"message": "no"}},
    ),
    "volcengine": (
        {"code": 10000, "data": {"task_id": ID}, "message": "Success", "request_id": ID, "status": 10000},
        {
            "code": 10000,
            "data": {"status": "done", "image_urls": [LINK], "binary_data_base64": [PIXEL]},
            "status": 10000,
        },
        {"code": 50411, "message": "risk", "ResponseMetadata": {"Error": {"Code": "AccessDenied", "Message": "no"}}},
    ),
    "openai": (
        {"created": 1, "data": [{"url": LINK}, {"b64_json": PIXEL}, {"error": {"code": "x", "message": "no"}}]},
        {"error": {"code": "moderation_blocked", "type": "x", "message": "no", "param": None}, "status": "completed"},
        {"id": ID, "status": "completed", "result": {"images": [{"b64_json": PIXEL}]}, "queue_position": 1},
    ),
    "comfyui": (
        {"prompt_id": ID, "number": 1, "node_errors": {"3": {"errors": [{"message": "no", "details": "x"}]}}},
        {
            ID: {
                "outputs": {"9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}},
                "status": {
                    "status_str": "success",
                    "completed": True,
                    "messages": [["execution_error", {"node_id": "3"}]],
                },
            }
        },
        {"id": ID, "status": "completed", "outputs": {"9": {"images": [{"filename": "a.png", "type": "output"}]}}},
    ),
    "a1111": (
        {"images": [PIXEL], "parameters": {}, "info": '{"seed": 1}'},
        {"error": "OutOfMemoryError", "detail": [{"loc": ["body"], "msg": "no"}], "errors": "no"},
        {"progress": 0.5, "eta_relative": 1.0, "state": {"job": "x", "sampling_step": 1}, "current_image": PIXEL},
    ),
    "replicate": (
        {"id": ID, "status": "starting", "urls": {"get": LINK, "cancel": LINK}, "error": None},
        {"id": ID, "status": "succeeded", "output": [LINK], "logs": "50%|", "metrics": {"predict_time": 1.0}},
        {"id": ID, "status": "failed", "error": "NSFW content detected", "output": {"image": LINK}},
    ),
    "fal": (
        {"request_id": ID, "status_url": LINK, "response_url": LINK, "cancel_url": LINK, "queue_position": 1},
        {"status": "COMPLETED", "logs": [{"message": "x"}], "error": "no", "error_type": "x", "response_url": LINK},
        {"images": [{"url": LINK, "content_type": "image/png"}], "image": {"url": LINK}, "detail": [{"msg": "no"}]},
    ),
    "gemini": (
        {
            "candidates": [
                {"content": {"parts": [{"inlineData": {"data": PIXEL}}, {"text": "a"}]}, "finishReason": "STOP"}
            ],
            "promptFeedback": {"blockReason": "SAFETY"},
        },
        {"error": {"code": 400, "message": "no", "status": "X", "details": [{"reason": "x", "retryDelay": "1s"}]}},
    ),
    "bfl": (
        {"id": ID, "polling_url": LINK, "cost": 1.0},
        {"id": ID, "status": "Ready", "result": {"sample": LINK}, "progress": 0.5, "details": {"x": ["y"]}},
        {"id": ID, "status": "Content Moderated", "details": {"Moderation Reasons": ["x"]}},
    ),
    "dashscope": (
        {"request_id": ID, "output": {"task_id": ID, "task_status": "PENDING"}},
        {"output": {"task_status": "SUCCEEDED", "results": [{"url": LINK}, {"code": "a", "message": "b"}]}},
        {"output": {"task_status": "RUNNING", "task_metrics": {"TOTAL": 4, "SUCCEEDED": 1, "FAILED": 1}}},
        {
            "output": {
                "task_status": "SUCCEEDED",
                "choices": [{"message": {"content": [{"image": LINK}, {"text": "a"}]}}],
            }
        },
        {"output": {"task_status": "FAILED", "code": "a", "message": "b"}, "code": "c", "message": "d"},
    ),
}
"""Good documents by kind; a kind that is missing here is tested with all of them."""


def documents(kind: str) -> tuple[Any, ...]:
    return DOCUMENTS.get(kind) or tuple(document for every in DOCUMENTS.values() for document in every)


# Pictures that lie


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data) if length is None else length)
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
    )


SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")


def png(width: int, height: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return SIGNATURE + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + END


def _good(form: str) -> bytes:
    return Pictures(form).make("hostile", 1)


PICTURES: dict[str, Callable[[], Reply]] = {
    "100,000 x 100,000": lambda: Reply.file(png(100_000, 100_000), "image/png"),
    "0 x 0": lambda: Reply.file(png(0, 0), "image/png"),
    "2^32 - 1 squared": lambda: Reply.file(png(2**32 - 1, 2**32 - 1), "image/png"),
    "a header of four bytes": lambda: Reply.file(SIGNATURE + chunk(b"IHDR", b"\0\0\0\1") + END, "image/png"),
    "no header": lambda: Reply.file(SIGNATURE + END, "image/png"),
    "a chunk of 500 MB that is not there": lambda: Reply.file(SIGNATURE + chunk(b"IDAT", b"x", 500 * MB), "image/png"),
    "half a png": lambda: Reply.file(_good("png")[:-20], "image/png"),
    "half a jpeg": lambda: Reply.file(_good("jpeg")[:-20], "image/jpeg"),
    "half a webp": lambda: Reply.file(_good("webp")[:-20], "image/webp"),
    "a signature alone": lambda: Reply.file(SIGNATURE, "image/png"),
    "html": lambda: Reply.text("<!doctype html><p>Sign in</p>", 200, "image/png"),
    "nothing": lambda: Reply.file(b"", "image/png"),
    "json": lambda: Reply.json({"error": "no"}),
    "a program": lambda: Reply.file(b"\x7fELF" + bytes(100), "image/png"),
    "a damaged png": lambda: Reply.file(png(8, 8).replace(b"IDAT", b"IDAX"), "image/png"),
}

ADDRESSES = (
    "",
    "file:///etc/passwd",
    "ftp://127.0.0.1/a.png",
    "data:image/png;base64,AAAA",
    "//127.0.0.1:9/a.png",
    "http:/127.0.0.1",
    "http://",
    "http://:80/",
    "http://[::1/a.png",
    "http://127.0.0.1:99999/a.png",
    "http://127.0.0.1:-1/a.png",
    "http://127.0.0.1:9/\ud800.png",
    "http://\ud800/a.png",
    "http://127.0.0.1:9/a\r\nX-Other: 1",
    "http://127.0.0.1:9/a\0b",
    "http://a b/",
    "http://xn--\u200d.example/",
    f"http://{'a' * 70}.invalid/",
    f"http://127.0.0.1:9/{'a' * 100_000}",
    "https://127.0.0.1:9/a.png",
    "HTTP://127.0.0.1:9/A.PNG",
)
