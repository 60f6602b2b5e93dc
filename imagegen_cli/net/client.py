"""The HTTP clients: one for paid submits, one for requests that may be repeated, and a transport for images.

Both clients tell "never connected" (send again) from "sent, then lost" (never send again). Each submit has a connection
of its own: on an idle connection that the server has just closed, the response would seem to be lost. httpx's own
transport tells the two apart as well, but it looks at every open connection for every request, and importing it takes a
third of the program's start; it is used for proxies only.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from http import HTTPStatus
from os import environ
from pathlib import Path
from typing import Any

import httpx

from imagegen_cli import __version__
from imagegen_cli.core.errors import ConfigError, words_of
from imagegen_cli.core.language import Message
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.proxies import ProxySettings, checked_proxy, proxy_settings, variable_of
from imagegen_cli.net.transport import Transport, tls_advice

MAX_REPEATABLE_REQUESTS = 56
"""Requests in flight at once that may be repeated: a runner's status queries (24) and uploads (32) together, so that no
query waits behind an upload after its time has begun."""
MAX_DOWNLOADS = 16
"""Images in flight at once. They have connections of their own: a slow image delays no status query."""
CONNECT_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 30.0
"""Time without a single byte after which a repeatable request has failed. A submit has its task's limit."""
MAX_REFUSAL_CHARACTERS = 200
"""Length of a proxy's own message within ours."""
AUTHENTICATION_REQUIRED = str(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED.value)
"""How httpcore's message begins where a proxy refuses a CONNECT for want of a password."""
USER_AGENT = f"imagegen/{__version__}"


class NoCookies(httpx.Cookies):
    """No task needs another task's cookies, and looking for cookies is a tenth of what a status query costs."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep no cookie."""


class Client(httpx.AsyncClient):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cookies = NoCookies()


@asynccontextmanager
async def open_clients() -> AsyncIterator[Clients]:
    """The clients for a session. They use the environment's proxies and SSL_CERT_FILE, and follow no redirect."""
    headers = {"User-Agent": USER_AGENT}
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None)
    submit_timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
    async with AsyncExitStack() as stack:
        proxies = proxy_settings()
        images = await stack.enter_async_context(_transport(proxies, MAX_DOWNLOADS))
        kept, single_use = _transport(proxies, MAX_REPEATABLE_REQUESTS), _transport(proxies, 0)
        paid = Client(transport=single_use, timeout=submit_timeout, headers=headers, trust_env=False)
        free = Client(transport=kept, timeout=timeout, headers=headers, trust_env=False)
        await stack.enter_async_context(paid)
        await stack.enter_async_context(free)
        yield Clients(paid, free, images.handle_async_request)


def _transport(proxies: ProxySettings, max_requests: int) -> httpx.AsyncBaseTransport:
    """How requests travel. `max_requests` 0: no limit, and no connection is used twice."""
    direct = Transport(trust, max_requests)
    return Routed(proxies, direct, max_requests) if proxies.by_scheme else direct


class Routed(httpx.AsyncBaseTransport):
    """Sends each request directly or through a proxy, as the environment says for its address.

    ConnectError and ConnectTimeout are raised only while nothing has been sent to the service itself.
    """

    def __init__(self, proxies: ProxySettings, direct: Transport, max_requests: int) -> None:
        self._proxies = proxies
        self._direct = direct
        self._limits = httpx.Limits(max_connections=max_requests or None, max_keepalive_connections=max_requests)
        self._by_proxy: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = self._proxies.proxy_for(str(request.url))
        if not proxy:
            return await self._direct.handle_async_request(request)
        try:
            transport = self._transport_through(checked_proxy(proxy))
        except ConfigError as error:  # the proxy of an image's host may differ from the service's, which was checked
            told = Message("{problem}: {hint}").format(problem=error.message, hint=error.hint)
            raise httpx.ConnectError(told) from error
        variable = variable_of(proxy, request.url.scheme)
        response = await _ProxiedRequest(transport, request, variable).send()
        if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and request.url.scheme == "http":
            await response.aclose()
            raise httpx.ConnectError(_refusal(AUTHENTICATION_REQUIRED, variable))
        return response

    def _transport_through(self, proxy: str) -> httpx.AsyncHTTPTransport:
        if proxy not in self._by_proxy:
            context = _trusted() if proxy.startswith("https:") else None
            address = httpx.Proxy(proxy, ssl_context=context)
            self._by_proxy[proxy] = httpx.AsyncHTTPTransport(verify=_trusted(), proxy=address, limits=self._limits)
        return self._by_proxy[proxy]

    async def aclose(self) -> None:
        await self._direct.aclose()
        for transport in self._by_proxy.values():
            await transport.aclose()


class _ProxiedRequest:
    """One request through a proxy. A failure before its first byte leaves for the service means: never sent."""

    def __init__(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request, variable: str) -> None:
        self._transport = transport
        self._variable = variable
        self._request = request
        self._is_sent = False
        self._socket: Any = None
        self._connect_timeout = asyncio.timeout(request.extensions.get("timeout", {}).get("connect"))

    async def send(self) -> httpx.Response:
        self._request.extensions = {**self._request.extensions, "trace": self._trace}
        try:
            async with self._connect_timeout:
                return await self._transport.handle_async_request(self._request)
        except TimeoutError as error:
            await self._close()
            raise httpx.ConnectTimeout(Message("the proxy made no connection in time")) from error
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError):
            raise  # in no message of ours: their text may quote a header, and with it the key
        except Exception as error:
            if self._is_sent:
                raise
            await self._close()
            why = tls_advice(error) or _refusal(words_of(error) or type(error).__name__, self._variable)
            raise httpx.ConnectError(why) from error

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore for each of its steps. A CONNECT is a request to the proxy itself."""
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self._is_sent = True
            self._connect_timeout.reschedule(None)
        elif event.endswith("connect_tcp.complete"):
            self._socket = info["return_value"]

    async def _close(self) -> None:
        """Close the connection, which httpcore leaves open where the proxy refuses."""
        if self._socket is not None:
            await self._socket.aclose()


def _refusal(message: str, variable: str) -> str:
    if message.startswith(AUTHENTICATION_REQUIRED):
        wants = Message(
            "the proxy requires a name and a password (HTTP {status}): "
            "write both before its host in {variable}, with a colon between them and an @ after them"
        )
        return wants.format(status=AUTHENTICATION_REQUIRED, variable=variable)
    said = message if len(message) <= MAX_REFUSAL_CHARACTERS else message[:MAX_REFUSAL_CHARACTERS]
    return Message("the proxy made no connection: {why}").format(why=said)


def _trusted() -> ssl.SSLContext:
    try:
        return trust()
    except OSError as error:
        unreadable = Message("the certificates to trust cannot be read: {why}").format(why=words_of(error))
        raise httpx.ConnectError(unreadable) from error


@cache
def trust() -> ssl.SSLContext:
    """The certificates to trust: SSL_CERT_FILE or SSL_CERT_DIR, else the system's own folder, else certifi's.

    OpenSSL reads a hashed folder on demand; parsing a bundle takes as long as five starts of the interpreter.
    """
    if environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(
            cafile=environ.get("SSL_CERT_FILE") or None, capath=environ.get("SSL_CERT_DIR") or None
        )
    folder = ssl.get_default_verify_paths().capath
    if folder and any(Path(folder).glob("*.0")):
        return ssl.create_default_context(capath=folder)
    import certifi  # noqa: PLC0415 - only where the system keeps no folder

    return ssl.create_default_context(cafile=certifi.where())
