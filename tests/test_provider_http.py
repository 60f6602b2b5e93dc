"""The error for every failure of HTTP; the transport distinguishes "never sent" from "lost"."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    Expired,
    OutOfCredits,
    RateLimited,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.provider import Clients
from imagegen_cli.providers._http import Answer, call, decoded, message_in, retry_after
from tests.doubles.hostile import OneAnswer, redirects, typed
from tests.doubles.http import ANY, CONNECT, Fault, Reply

pytestmark = pytest.mark.anyio

PATIENCE = 0.2
"""Seconds after which a stalled answer is given up."""


@pytest.fixture
def service() -> Iterator[OneAnswer]:
    with OneAnswer(Reply.json({"ok": "x" * 100})) as service:
        yield service


async def answer_or_error(clients: Clients, url: str, *, paid: bool, **options: Any) -> Answer | TaskError:
    try:
        async with asyncio.timeout(10):
            return await call(clients, "POST", url, paid=paid, json={"prompt": "a cat"}, **options)
    except TaskError as error:
        return error


# The transport: what happens on the wire -> what httpx says -> our word


@dataclass(frozen=True)
class Row:
    """One way in which a connection ends. `read`: whether the service had the whole request, so that it may be paid."""

    where: str
    fault: Fault
    says: tuple[type[Exception], ...]
    paid: tuple[type[TaskError], ...]
    read: bool


LOST = (httpx.RemoteProtocolError, httpx.ReadError)
EARLY = (*LOST, httpx.WriteError)
ROWS = {
    "connection refused": Row(CONNECT, Fault.REFUSE, (httpx.ConnectError,), (Unavailable,), read=False),
    "accepted, then closed": Row(CONNECT, Fault.CLOSE_BEFORE, EARLY, (Uncertain,), read=False),
    "accepted, then reset": Row(
        CONNECT, Fault.RESET_BEFORE, (*EARLY, httpx.ConnectError), (Uncertain, Unavailable), read=False
    ),
    "head read, then closed": Row(ANY, Fault.CLOSE_BEFORE, EARLY, (Uncertain,), read=False),
    "read, then closed": Row(ANY, Fault.CLOSE_AFTER, LOST, (Uncertain,), read=True),
    "read, then reset": Row(ANY, Fault.RESET_AFTER, LOST, (Uncertain,), read=True),
    "body cut short": Row(ANY, Fault.TRUNCATE, (httpx.RemoteProtocolError,), (Uncertain,), read=True),
    "shorter than promised": Row(ANY, Fault.WRONG_LENGTH, (httpx.ReadTimeout,), (Uncertain,), read=True),
    "no answer in time": Row(ANY, Fault.STALL, (httpx.ReadTimeout,), (Uncertain,), read=True),
    "stalled body": Row(ANY, Fault.STALL_BODY, (httpx.ReadTimeout,), (Uncertain,), read=True),
}
"""A reset may come before the system has said that the connection is there: then it is none, and nothing was sent."""


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("client", ["paid", "free"])
async def test_the_transport_tells_them_apart(service: OneAnswer, clients: Clients, name: str, client: str) -> None:
    """The table of two transports holds for what is installed: a connection error never had a reader."""
    row = ROWS[name]
    service.fail(row.where, row.fault, by=10)
    with pytest.raises(httpx.TransportError) as raised:
        await getattr(clients, client).post(service.url, json={"prompt": "a cat"}, timeout=PATIENCE)
    assert isinstance(raised.value, row.says), repr(raised.value)
    never_sent = isinstance(raised.value, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    assert not (never_sent and row.read)
    assert (service.counts["any"] == 1) is row.read


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("paid", [True, False])
async def test_a_broken_wire(service: OneAnswer, clients: Clients, name: str, *, paid: bool) -> None:
    row = ROWS[name]
    service.fail(row.where, row.fault, by=10)
    reply = await answer_or_error(clients, service.url, paid=paid, timeout=PATIENCE)
    assert isinstance(reply, row.paid if paid else Unavailable), repr(reply)
    assert ("charged" in reply.message) is (type(reply) is Uncertain)
    assert service.counts["any"] <= 1, "it was sent twice"


async def test_every_submit_has_a_connection_of_its_own(service: OneAnswer, clients: Clients) -> None:
    for _ in range(3):
        await call(clients, "POST", service.url, paid=True)
    assert service.counts["connections"] == 3
    for _ in range(3):
        await call(clients, "POST", service.url)
    assert service.counts["connections"] == 4


@pytest.mark.parametrize("paid", [True, False])
async def test_a_redirect_is_seen_and_not_followed(service: OneAnswer, clients: Clients, *, paid: bool) -> None:
    with OneAnswer() as elsewhere:
        service.reply = redirects(307, elsewhere.url)
        reply = await answer_or_error(clients, service.url, paid=paid)
        assert type(reply) is (Uncertain if paid else ServerTrouble)
        assert elsewhere.counts["connections"] == 0


async def test_no_such_host(clients: Clients) -> None:
    assert type(await answer_or_error(clients, "http://no-such-host.invalid/", paid=True)) is Unavailable


@pytest.mark.parametrize(
    "url", ["", "/relative", "ftp://127.0.0.1/", "http://", "http://[::1/", "http://127.0.0.1:99999/", "http://\ud800/"]
)
async def test_no_address(clients: Clients, url: str) -> None:
    assert isinstance(await answer_or_error(clients, url, paid=True), BadRequest | Unavailable)


@pytest.mark.parametrize(
    "headers", [{"X-Key": "line\nbreak-s3cr3t"}, {"X-Key": "schlüssel-s3cr3t"}, {"X Key": "s3cr3t"}]
)
@pytest.mark.parametrize("paid", [True, False])
async def test_a_header_that_cannot_be_sent(
    service: OneAnswer, clients: Clients, headers: dict[str, str], *, paid: bool
) -> None:
    reply = await answer_or_error(clients, service.url, paid=paid, headers=headers)
    assert type(reply) is BadRequest
    assert isinstance(reply, TaskError)
    assert "s3cr3t" not in reply.message
    assert service.counts["any"] == 0


async def test_a_text_that_cannot_be_sent(service: OneAnswer, clients: Clients) -> None:
    with pytest.raises(BadRequest):
        await call(clients, "POST", service.url, paid=True, json={"prompt": "\ud800"})


# Whole answers: status and body -> our word


def page(status: int, after: str = "") -> Reply:
    """What Varnish, Heroku and nginx answer in the service's place."""
    named = {"content-type": "text/html", **({"retry-after": after} if after else {})}
    return Reply(status, b"<!DOCTYPE html><title>Guru Meditation</title>", named)


@pytest.mark.parametrize(
    ("answer", "paid", "free"),
    [
        (Reply.json({"error": "no"}, 400), BadRequest, BadRequest),
        (Reply.json({"error": "no"}, 401), Unauthorized, Unauthorized),
        (Reply.json({"error": "no"}, 402), OutOfCredits, OutOfCredits),
        (Reply.json({"error": "no"}, 403), Unauthorized, Unauthorized),
        (Reply.json({"error": "no"}, 404), BadRequest, Expired),
        (Reply.json({"error": "no"}, 408), Uncertain, ServerTrouble),
        (Reply.json({"error": "no"}, 499), Uncertain, ServerTrouble),
        (Reply.json({"error": "no"}, 409), BadRequest, BadRequest),
        (Reply.json({"error": "no"}, 410), BadRequest, Expired),
        (Reply.json({"error": "no"}, 422), BadRequest, BadRequest),
        (Reply.json({"error": "no"}, 429), RateLimited, RateLimited),
        (Reply.json({"error": "no"}, 500), Uncertain, ServerTrouble),
        (Reply.json({"error": "no"}, 502), Uncertain, ServerTrouble),
        (Reply.json({"error": "no"}, 503), Busy, Busy),
        (Reply.json({}, 503), Busy, Busy),
        (page(503), Uncertain, Busy),
        (page(503, "5"), Uncertain, Busy),
        (page(429), Uncertain, RateLimited),
        (page(429, "5"), RateLimited, RateLimited),
        (Reply(503), Uncertain, Busy),
        (Reply(429), Uncertain, RateLimited),
        (Reply(503, b"", {"retry-after": "5"}), Busy, Busy),
        (Reply(429, b"", {"retry-after-ms": "5"}), RateLimited, RateLimited),
        (Reply.text("upstream is busy", 503), Uncertain, Busy),
        (Reply.json({"error": "no"}, 504), Uncertain, ServerTrouble),
        (Reply.json({"error": "no"}, 302), Uncertain, ServerTrouble),
        (Reply.text("<html>", 200, "text/html"), Uncertain, ServerTrouble),
        (Reply.text("", 200), Uncertain, ServerTrouble),
        (typed(b"{", 200), Uncertain, ServerTrouble),
        (typed(b"null", 200), Uncertain, ServerTrouble),
        (Reply(204), Uncertain, ServerTrouble),
    ],
)
async def test_the_table(
    service: OneAnswer, clients: Clients, answer: Reply, paid: type[TaskError], free: type[TaskError]
) -> None:
    service.reply = answer
    assert type(await answer_or_error(clients, service.url, paid=True)) is paid
    assert type(await answer_or_error(clients, service.url, paid=False)) is free
    raw = await answer_or_error(clients, service.url, paid=True, raw=True)
    assert isinstance(raw, Answer)
    assert (raw.status, raw.raw) == (answer.status, answer.body)


@pytest.mark.parametrize(("status", "body"), [(200, {"a": 1}), (201, []), (202, 7), (299, False)])
async def test_what_passes(service: OneAnswer, clients: Clients, status: int, body: object) -> None:
    service.reply = Reply.json(body, status)
    answer = await answer_or_error(clients, service.url, paid=True)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (status, body)


# Reading


def answered(body: object, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(429, httpx.Headers(named), body, b"")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (answered({}), None),
        (answered({}, retry_after="3"), 3.0),
        (answered({}, retry_after="1.5"), 1.5),
        (answered({}, retry_after="-3"), 0.0),
        (answered({}, retry_after="soon"), None),
        (answered({}, retry_after="nan"), None),
        (answered({}, retry_after="inf"), None),
        (answered({}, retry_after="9" * 400), None),
        (answered({}, retry_after="Thu, 01 Jan 1970 00:00:00 GMT"), 0.0),
        (answered({}, retry_after="Thu, 01 Jan 99999999999 00:00:00 GMT"), None),
        (answered({}, retry_after="Thu, 01 Jan 2026 00:00:00 +99999999999"), None),
        (answered({}, retry_after_ms="250", retry_after="9"), 0.25),
        (answered({"retry_after": 4}), 4.0),
        (answered({"retry_after": "4"}), 4.0),
        (answered({"retry_after": True}), None),
        (answered({"retry_after": 10**400}), None),
        (answered({"error": {"retry_after": 5}}), 5.0),
        (answered({"error": "slow"}), None),
        (answered([{"retry_after": 5}]), None),
        (answered(None), None),
    ],
)
async def test_seconds_to_wait(answer: Answer, seconds: float | None) -> None:
    assert retry_after(answer) == seconds


async def test_a_date_to_wait_for() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    seconds = retry_after(answered({}, retry_after=moment))
    assert seconds is not None
    assert 300 < seconds <= 600


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "no"}, "no"),
        ({"error": "no"}, "no"),
        ({"error": {"message": "no", "code": 1}}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"detail": [{"loc": ["body"], "msg": "no"}]}, "no"),
        ({"errors": ["no", "never"]}, "no"),
        ({"error": None, "detail": "no"}, "no"),
        ({"message": "two\n  lines"}, "two lines"),
        ({"message": 7}, ""),
        ({"a": "b"}, ""),
    ],
)
async def test_the_services_words(body: object, words: str) -> None:
    assert message_in(answered(body)) == words


async def test_words_are_short_and_can_be_written() -> None:
    assert len(message_in(answered({"message": "x" * 10_000}))) <= 300
    assert message_in(answered({"message": "half a \ud800 character"})).encode()
    nested: Any = "no"
    for _ in range(500):
        nested = {"error": nested}
    assert message_in(answered(nested)) == ""


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe\x00", b"9" * 100_000, b"'a'"]
)
async def test_what_is_no_json(data: bytes) -> None:
    assert decoded(data) is None
