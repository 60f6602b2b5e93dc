"""The one helper that sends, and turns every way in which HTTP can fail into our words.

    connection never opened                      Unavailable     safe to send again
    this process has no file handle left         Busy            the same, and the lane waits
    question without an answer (paid=False)      Unavailable     safe to ask again
    paid request without a whole answer          Uncertain       never sent again by itself
    401, 403 · 402                               Unauthorized · OutOfCredits
    429, 503                                     RateLimited, Busy (with Retry-After)
    429, 503 on a paid request                   the same where the body is JSON or Retry-After is there, else Uncertain
    503 as a web page on a paid request          Uncertain       what stands before the service gave up waiting for it
    404, 410 on a question                       Expired
    404, 405 on a paid request                   BadRequest      with a hint at base_url and at the model
    408, 499 and other 5xx                       ServerTrouble on a question, Uncertain on a paid request
    other 4xx                                    BadRequest
    an answer that is no JSON                    ServerTrouble on a question, Uncertain on a paid request

A provider whose service means something else by a code reads `answer.status` first (`raw=True`).
"""

import json
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
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
)
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.proxies import through
from imagegen_cli.net.transport import NoHandleError

MOST_BYTES = 256 * 1024 * 1024
"""An answer may carry ten 4K pictures as base64; more than this is no answer."""
MOST_UNPACKED = 64 * 1024 * 1024
PROXY_FAILS = (500, 502, 503, 504)
"""With these a proxy says that it did not get through; over plain HTTP nothing tells its answer from the service's."""
QUOTED = 300
"""Characters of a service's own words that fit into a message."""
NO_ROUTE = "is base_url right? If it is, look at the model: imagegen models lists the names that --model may take"
MOVED = "the service answers from another address: is base_url right, and does it begin with https:// where it must?"
NO_JOB = "is base_url still the one that the task was sent to?"


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the decoded JSON; None where there was none. `way` names the proxy that may have answered itself."""

    status: int
    headers: httpx.Headers
    body: Any
    raw: bytes = field(repr=False)
    way: str = ""


async def call(
    clients: Clients, method: str, url: str, *, paid: bool = False, raw: bool = False, **options: Any
) -> Answer:
    """Send once and read the whole answer; `options` are httpx's (json, data, files, params, headers, auth, timeout).

    With `raw` every answer that arrived whole is returned as it is, whatever its status or form.
    Raises a TaskError as in the table above.
    """
    address = _address(url)
    client = clients.paid if paid else clients.free
    lost: type[TaskError] = Uncertain if paid else Unavailable
    try:
        async with client.stream(method, address, **_asking(options)) as response:
            data = await _whole(response, lost)
    except NoHandleError as error:
        raise Busy(_words(error), after=1.0, hint="raise the limit: ulimit -n 1024") from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Unavailable(f"cannot reach {_host(url)}: {_words(error)}") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise BadRequest(f"{url!r} is no usable address: {_words(error)}") from error
    except (UnicodeError, httpx.LocalProtocolError):
        # From None: the transport quotes the header that it cannot send, and that may be the key.
        raise BadRequest("the request holds a character that cannot be sent: look at key, headers and prompt") from None
    except httpx.TimeoutException as error:
        raise lost(_lost_text(paid, f"{_host(url)} did not answer in time")) from error
    except httpx.HTTPError as error:
        raise lost(_lost_text(paid, f"lost the connection to {_host(url)}: {_words(error)}")) from error
    way = through(url) if response.status_code in PROXY_FAILS and address.scheme == "http" else ""
    answer = Answer(response.status_code, response.headers, decoded(data), data, way)
    if not raw:
        refuse(answer, paid=paid)
    return answer


def _asking(options: dict[str, Any]) -> dict[str, Any]:
    """Nothing packed, please: what unpacks to gigabytes is nobody's answer."""
    return options | {"headers": {"Accept-Encoding": "identity", **(options.get("headers") or {})}}


async def _whole(response: httpx.Response, lost: type[TaskError]) -> bytes:
    if "," in response.headers.get("content-encoding", ""):  # every layer multiplies by a thousand, unbounded
        raise lost(f"{response.url.host} sent an answer that is packed more than once")
    received = bytearray()  # a list would hold fifty bytes for each that a service sends alone
    async for part in response.aiter_raw():
        received += part
        if len(received) > MOST_BYTES:
            raise lost(f"{response.url.host} sent more than {MOST_BYTES >> 20} MB where an answer was due")
    data = bytes(received)
    return _unpacked(data, lost) if response.headers.get("content-encoding") else data


def _unpacked(data: bytes, lost: type[TaskError]) -> bytes:
    """Unpack within bounds what came packed although nobody asked for it; what is packed twice is no answer."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpack.decompress(data, MOST_UNPACKED)
    except zlib.error as error:
        raise lost("the answer came in a form that cannot be unpacked") from error
    if unpack.unconsumed_tail:
        raise lost(f"the answer unpacks to more than {MOST_UNPACKED >> 20} MB")
    return plain


def decoded(data: bytes) -> Any:
    """JSON, or None. Never raises: an HTML page, broken UTF-8 and a bottomless nesting are all "no JSON"."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def refuse(answer: Answer, *, paid: bool, said: str = "") -> None:
    """Raise what the status stands for; a 2xx with a JSON body passes. `said` replaces the words found in the body."""
    status = answer.status
    if 200 <= status < 300 and answer.body is not None:  # noqa: PLR2004 - the meaning of HTTP's classes
        return
    text = f"HTTP {status}{answer.way}: {said or words_in(answer)}".rstrip(": ")
    fixed: dict[int, type[TaskError]] = {401: Unauthorized, 403: Unauthorized, 402: OutOfCredits}
    if status in fixed:
        raise fixed[status](text).as_unspent()
    if status in (429, 503) and (not paid or _is_of_the_service(answer)):
        raise (RateLimited if status == 429 else Busy)(text, after=retry_after(answer))  # noqa: PLR2004
    if status in (404, 410) and not paid:
        raise Expired(text, hint=NO_JOB)
    if status in (404, 405):
        raise BadRequest(text, hint=NO_ROUTE)
    if 400 <= status < 500 and status not in (408, 429, 499):  # noqa: PLR2004
        raise BadRequest(text)
    if 200 <= status < 300:  # noqa: PLR2004
        text = f"the service answered with something that is not JSON ({answer.raw[:40]!r})"
    if paid:
        raise Uncertain(_lost_text(paid, text))
    raise ServerTrouble(text, hint=MOVED if 300 <= status < 400 else "")  # noqa: PLR2004


def _is_of_the_service(answer: Answer) -> bool:
    """Whether a 429 or a 503 says that the service itself did not take the request.

    Varnish and Heroku answer 503 with a web page when the service was too slow, after it has begun the work. Varnish
    adds `Retry-After: 5` to it (vcl_backend_error of its builtin.vcl), so that header proves nothing on such a page.
    """
    if answer.body is not None:
        return True
    timed = any(name in answer.headers for name in ("retry-after", "retry-after-ms"))
    return timed and not (answer.status == 503 and _is_page(answer))  # noqa: PLR2004


def _is_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "").lower() or answer.raw.lstrip()[:1] == b"<"


def retry_after(answer: Answer) -> float | None:
    """Seconds to wait: from `retry-after-ms`, `Retry-After` (seconds or date) or `retry_after` in the body."""
    milliseconds = _number(answer.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    header = answer.headers.get("retry-after")
    if header is not None:
        return _seconds(header)
    body = answer.body if isinstance(answer.body, dict) else {}
    inner = body.get("error")
    places = (body, inner) if isinstance(inner, dict) else (body,)
    found = [seconds for place in places if (seconds := _number(place.get("retry_after"))) is not None]
    return max(0.0, found[0]) if found else None


def _seconds(header: str) -> float | None:
    number = _number(header)
    if number is not None:
        return max(0.0, number)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number == number and abs(number) < 1e9 else None  # noqa: PLR0124, PLR2004 - NaN is no time


def words_in(answer: Answer) -> str:
    """The service's own words for what went wrong, wherever it hides them, cut to a line's length."""
    found = _message(answer.body) or (answer.headers.get("content-type", "").split(";")[0] and _plain(answer.raw))
    return clean(found)


def clean(text: str) -> str:
    """A service's words on one line of bounded length, as text that every encoding step can carry."""
    return " ".join(text[: 8 * QUOTED].encode("utf-8", "replace").decode().split())[:QUOTED]


def _message(body: Any, depth: int = 0) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list) and body and depth < 4:  # noqa: PLR2004 - deeper is nobody's error form
        return _message(body[0], depth + 1)
    if not isinstance(body, dict) or depth >= 4:  # noqa: PLR2004
        return ""
    keys = ("message", "error", "detail", "errors", "msg", "title", "details")
    return next((text for key in keys if (text := _message(body.get(key), depth + 1))), "")


def _plain(raw: bytes) -> str:
    text = raw[:2000].decode("utf-8", "replace").strip()
    return "a web page instead of an answer" if text[:1] == "<" else text


@lru_cache(maxsize=4096)
def _address(url: str) -> httpx.URL:
    """A port that no system has would end in an OverflowError inside a group of errors.

    Reading an address is a sixth of what a question costs, and a task asks at the same one again and again.
    """
    try:
        address = httpx.URL(url)
        port = address.port
    except (httpx.InvalidURL, UnicodeError):
        raise BadRequest(f"{clean(url)!r} is no usable address") from None
    if port is not None and port not in range(1, 1 << 16):
        raise BadRequest(f"{clean(url)!r} is no usable address: there is no port {port}")
    return address


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "the service"
    return (f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host) + through(url)


def _lost_text(paid: bool, text: str) -> str:
    return f"{text}; the request may have been accepted and charged" if paid else text


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
