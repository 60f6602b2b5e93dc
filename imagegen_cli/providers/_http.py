"""The one place that sends requests, and that turns every way in which HTTP can fail into an error of ours.

    the connection was never opened              Unavailable     safe to send again
    this process has no file handle left         Busy            the same, and the lane waits
    a query without an answer (paid=False)       Unavailable     safe to ask again
    a paid request without a whole answer        Uncertain       never sent again automatically
    401, 403 · 402                               Unauthorized · OutOfCredits
    429, 503                                     RateLimited, Busy (with Retry-After)
    429, 503 on a paid request                   the same where the body is JSON or Retry-After is there, else Uncertain
    503 as a web page on a paid request          Uncertain       a gateway stopped waiting for the service
    404, 410 on a query                          Expired
    404, 405 on a paid request                   BadRequest      with a hint at base_url and at the model
    408, 499 and other 5xx                       ServerTrouble on a query, Uncertain on a paid request
    other 4xx                                    BadRequest
    an answer that is not JSON                   ServerTrouble on a query, Uncertain on a paid request

A provider whose service means something else by a status reads `answer.status` first (`raw=True`).
"""

import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import httpx

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
    words_of,
)
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.proxies import through
from imagegen_cli.net.transport import NoHandleError

MAX_BYTES = 256 * 1024 * 1024
"""Of one answer: ten 4K pictures as base64 fit into it, and nothing that is larger is a real answer."""
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_QUOTED_CHARS = 300
"""Characters of a service's own message that fit into a message of ours."""
MAX_RETRY_S = 1e9
"""Seconds: a number beyond this is no time to wait."""
MAX_PORT = 2**16 - 1
MAX_DEPTH = 4
"""Levels of a JSON body in which a message is looked for: no known form of an error is deeper."""
CLIENT_CLOSED = 499
"""nginx's own status: the client closed the connection before the service answered."""
REFUSALS: dict[int, type[TaskError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.PAYMENT_REQUIRED: OutOfCredits,
}
NO_ROUTES = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
"""How a server answers a path that it does not have."""
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""How a server answers a question about something that it does not know, or no longer."""
PROXY_FAILURES = (
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""A proxy answers with these when it did not get through. Over plain HTTP its answer looks like the service's own."""
MODELS_HINT = Message("imagegen models lists the names that --model may take")
NO_ROUTE_HINT = Message("is base_url right? If it is, look at the model: {hint}").format(hint=MODELS_HINT)
MOVED_HINT = Message(
    "the service answers from another address: is base_url right, and does it begin with https:// where it must?"
)
NO_JOB_HINT = Message("is base_url still the one that the task was sent to?")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. `body` is the decoded JSON, or None where there was none.

    `way` names the proxy that the response may have come from instead of the service.
    """

    status: int
    headers: httpx.Headers
    body: Any
    raw: bytes = field(repr=False)
    way: str = ""

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_redirect(self) -> bool:
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_error(self) -> bool:
        """Whether the status is one of the errors, 4xx and 5xx."""
        return self.status >= HTTPStatus.BAD_REQUEST

    @property
    def is_server_error(self) -> bool:
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


async def call(
    clients: Clients, method: str, url: str, *, paid: bool = False, raw: bool = False, **options: Any
) -> Answer:
    """Send once and read the whole answer; `options` are httpx's (json, data, files, params, headers, auth, timeout).

    With `raw` every answer that arrived whole is returned as it is, whatever its status or form.
    Raises a TaskError as in the table above.
    """
    async with opened(clients, method, url, paid=paid, **options) as response:
        answer = await whole(response, paid=paid)
    if not raw:
        refuse(answer, paid=paid)
    return answer


@asynccontextmanager
async def opened(
    clients: Clients, method: str, url: str, *, paid: bool = False, **options: Any
) -> AsyncIterator[httpx.Response]:
    """Send once; the response is there as soon as its head has come, and what is read of it inside fails as here.

    Raises a TaskError as in the table above.
    """
    address = _address(url)
    client = clients.paid if paid else clients.free
    lost: type[TaskError] = Uncertain if paid else Unavailable
    try:
        async with client.stream(method, address, **_uncompressed(options)) as response:
            if "," in response.headers.get("content-encoding", ""):  # each layer may multiply the size by a thousand
                message = Message("{host} sent an answer that is packed more than once")
                raise lost(message.format(host=response.url.host))
            yield response
    except NoHandleError as error:
        hint = Message("raise the limit: {command}").format(command="ulimit -n 1024")
        raise Busy(_reason(error), after=1.0, hint=hint) from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        message = Message("cannot reach {host}: {why}").format(host=_host(url), why=_reason(error))
        raise Unavailable(message) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        message = Message("{url!r} is not a usable address: {why}").format(url=url, why=_reason(error))
        raise BadRequest(message) from error
    except (UnicodeError, httpx.LocalProtocolError):
        # From None: the transport quotes the header that it cannot send, and that may be the key.
        message = Message(
            "the request holds a character that cannot be sent: look at the key, the headers and the prompt"
        )
        raise BadRequest(message) from None
    except httpx.TimeoutException as error:
        message = Message("{host} did not answer in time").format(host=_host(url))
        raise lost(_lost_message(message, paid=paid)) from error
    except httpx.HTTPError as error:
        message = Message("lost the connection to {host}: {why}").format(host=_host(url), why=_reason(error))
        raise lost(_lost_message(message, paid=paid)) from error


async def whole(response: httpx.Response, *, paid: bool) -> Answer:
    """The rest of a response, within bounds. Raises Uncertain for a paid request, else Unavailable, beyond them."""
    lost: type[TaskError] = Uncertain if paid else Unavailable
    received = bytearray()  # a list would need fifty bytes for each byte that a service sends alone
    async for part in response.aiter_raw():
        received += part
        if len(received) > MAX_BYTES:
            message = Message("{host} sent more than {limit} MB where an answer was due")
            raise lost(message.format(host=response.url.host, limit=MAX_BYTES >> 20))
    data = bytes(received)
    if response.headers.get("content-encoding"):
        data = _unpacked(data, lost)
    status, url = response.status_code, response.url
    way = through("", str(url)) if status in PROXY_FAILURES and url.scheme == "http" else ""
    return Answer(status, response.headers, decoded(data), data, way)


def _uncompressed(options: dict[str, Any]) -> dict[str, Any]:
    """Ask for an answer that is not compressed: a small one could unpack to gigabytes."""
    return options | {"headers": {"Accept-Encoding": "identity", **(options.get("headers") or {})}}


def _unpacked(data: bytes, lost: type[TaskError]) -> bytes:
    """Unpack, within bounds, an answer that came compressed although we asked for it plain."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpack.decompress(data, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise lost(Message("the answer came in a form that cannot be unpacked")) from error
    if unpack.unconsumed_tail:
        raise lost(Message("the answer unpacks to more than {limit} MB").format(limit=MAX_UNPACKED_BYTES >> 20))
    return plain


def decoded(data: bytes) -> Any:
    """JSON, or None where it is none: an HTML page, broken UTF-8, nesting without a bottom. Never raises."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def refuse(answer: Answer, *, paid: bool, message: str = "") -> None:
    """Raise what the status stands for; a 2xx with a JSON body passes.

    `message` replaces the service's own message, which is otherwise taken from the body.
    """
    status = answer.status
    if answer.is_success and answer.body is not None:
        return
    text = _with_status(answer, message or message_in(answer))
    if status in REFUSALS:
        raise REFUSALS[status](text).as_unspent()
    if not paid or _is_of_the_service(answer):
        _refuse_for_now(answer, text)
    if status in GONE and not paid:
        raise Expired(text, hint=NO_JOB_HINT)
    if status in NO_ROUTES:
        raise BadRequest(text, hint=NO_ROUTE_HINT)
    unclear = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, CLIENT_CLOSED)
    if answer.is_error and not answer.is_server_error and status not in unclear:
        raise BadRequest(text)
    if answer.is_success:
        text = Message("the service answered with something that is not JSON ({answer})")
        text = text.format(answer=repr(answer.raw[:40]))
    if paid:
        raise Uncertain(_lost_message(text, paid=paid))
    raise ServerTrouble(text, hint=MOVED_HINT if answer.is_redirect else "")


def _with_status(answer: Answer, message: str) -> str:
    """A message about an answer behind its status, and behind the proxy that it may have come from."""
    status = joined("", (f"HTTP {answer.status}", answer.way)) if answer.way else f"HTTP {answer.status}"
    message = message if isinstance(message, Message) else message.rstrip(": ")
    return joined(": ", (status, message)) if message else status


def _refuse_for_now(answer: Answer, text: str) -> None:
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(text, after=retry_after(answer))
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Busy(text, after=retry_after(answer))


def _is_of_the_service(answer: Answer) -> bool:
    """Whether a 429 or a 503 proves that the service itself did not take the request.

    Varnish and Heroku answer 503 with a web page when the service was too slow, after the service has begun the work.
    Varnish adds `Retry-After: 5` (vcl_backend_error of its builtin.vcl), so that header proves nothing on such a page.
    """
    if answer.body is not None:
        return True
    timed = any(name in answer.headers for name in ("retry-after", "retry-after-ms"))
    return timed and not (answer.status == HTTPStatus.SERVICE_UNAVAILABLE and _is_page(answer))


def _is_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "").lower() or answer.raw.lstrip()[:1] == b"<"


def retry_after(answer: Answer) -> float | None:
    """Seconds to wait: from `retry-after-ms`, `Retry-After` (seconds or date) or `retry_after` in the body."""
    milliseconds = _seconds(answer.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    header = answer.headers.get("retry-after")
    if header is not None:
        return _seconds_or_date(header)
    body = answer.body if isinstance(answer.body, dict) else {}
    inner = body.get("error")
    places = (body, inner) if isinstance(inner, dict) else (body,)
    found = [seconds for place in places if (seconds := _seconds(place.get("retry_after"))) is not None]
    return max(0.0, found[0]) if found else None


def _seconds_or_date(header: str) -> float | None:
    number = _seconds(header)
    if number is not None:
        return max(0.0, number)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < MAX_RETRY_S else None  # NaN is not below it either


def message_in(answer: Answer) -> str:
    """The service's own message about a failure, wherever the answer holds it, cut to the length of a line."""
    found = _message(answer.body) or (answer.headers.get("content-type", "").split(";")[0] and _plain(answer.raw))
    return found if isinstance(found, Message) else clean(found)


def clean(text: str) -> str:
    """A text of a service on one line of bounded length that can be encoded, written and shown."""
    return " ".join(text[: 8 * MAX_QUOTED_CHARS].encode("utf-8", "replace").decode().split())[:MAX_QUOTED_CHARS]


def _message(body: Any, depth: int = 0) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list) and body and depth < MAX_DEPTH:
        return _message(body[0], depth + 1)
    if not isinstance(body, dict) or depth >= MAX_DEPTH:
        return ""
    keys = ("message", "error", "detail", "errors", "msg", "title", "details")
    return next((text for key in keys if (text := _message(body.get(key), depth + 1))), "")


def _plain(raw: bytes) -> str:
    text = raw[:2000].decode("utf-8", "replace").strip()
    return Message("a web page instead of an answer") if text[:1] == "<" else text


@lru_cache(maxsize=4096)
def _address(url: str) -> httpx.URL:
    """The parsed address, kept because a task asks at the same one again and again: parsing is a sixth of a query.

    Raises BadRequest also for a port that no system has: httpx would end in an OverflowError inside a group of errors.
    """
    try:
        address = httpx.URL(url)
        port = address.port
    except (httpx.InvalidURL, UnicodeError):
        raise BadRequest(Message("{url!r} is not a usable address").format(url=clean(url))) from None
    if port is not None and not 0 < port <= MAX_PORT:
        message = Message("{url!r} is not a usable address: there is no port {port}")
        raise BadRequest(message.format(url=clean(url), port=port))
    return address


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return Message("the service")
    return through(f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host, url)


def _lost_message(text: str, *, paid: bool) -> str:
    return joined("; ", (text, Message("the request may have been accepted and charged"))) if paid else text


def _reason(error: Exception) -> str:
    """What an error says, as the message that it was made of."""
    return words_of(error) or type(error).__name__
