"""The HTTP clients: one for paid submits, one for everything that may be repeated, and a way for pictures.

Both tell "never connected" (send again) from "sent, then lost" (never again). Submits have a fresh connection each: an
idle one that the server has just closed would look like a lost answer. httpx's own transport can tell as well, but
looks at every open connection for every request and costs a third of the start; it is used through a proxy only.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from os import environ
from pathlib import Path
from typing import Any

import httpx

from imagegen_cli import __version__
from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.proxies import Ways, usable, variable_of, ways
from imagegen_cli.net.transport import Transport, tls_advice

CONNECTIONS = 56
"""Requests in flight at once for what may be repeated: a runner's queries (24) and uploads (32) together,
so that no query waits behind an upload after its time has begun."""
DOWNLOADS = 16
"""Pictures in flight at once. They have their own connections: a slow picture delays no query."""
CONNECT = 15.0
ANSWER = 30.0
"""Seconds without a single byte after which a question counts as unanswered. Submits wait for their task's limit."""
PROXY_ASKS = 407
REFUSAL = 200
"""Characters of a proxy's own words that fit into a message."""
USER_AGENT = f"imagegen/{__version__}"


class NoCookies(httpx.Cookies):
    """Tasks have nothing to do with each other, and looking for cookies is a tenth of what a question costs."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep none."""


class Client(httpx.AsyncClient):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cookies = NoCookies()


@asynccontextmanager
async def open_clients() -> AsyncIterator[Clients]:
    """All ways to the network, honouring proxies and SSL_CERT_FILE from the environment. None follows a redirect."""
    headers = {"User-Agent": USER_AGENT}
    patience = httpx.Timeout(ANSWER, connect=CONNECT, pool=None)
    async with AsyncExitStack() as stack:
        found = ways()
        kept, fresh = _transport(found, CONNECTIONS), _transport(found, 0)
        pictures = await stack.enter_async_context(_transport(found, DOWNLOADS))
        timeout = httpx.Timeout(None, connect=CONNECT)
        paid = Client(transport=fresh, timeout=timeout, headers=headers, trust_env=False)
        free = Client(transport=kept, timeout=patience, headers=headers, trust_env=False)
        await stack.enter_async_context(paid)
        await stack.enter_async_context(free)
        yield Clients(paid, free, pictures.handle_async_request)


def _transport(found: Ways, most: int) -> httpx.AsyncBaseTransport:
    """How requests travel. `most` 0: no limit, and no connection is used twice."""
    own = Transport(trust, most)
    return Routed(found, own, most) if found.proxies else own


class Routed(httpx.AsyncBaseTransport):
    """Each request goes directly or through a proxy, as the environment says of its address.

    ConnectError and ConnectTimeout are raised only while nothing has been sent to the service itself.
    """

    def __init__(self, found: Ways, own: Transport, most: int) -> None:
        self._ways = found
        self._own = own
        self._limits = httpx.Limits(max_connections=most or None, max_keepalive_connections=most)
        self._proxied: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = self._ways.proxy_for(str(request.url))
        if not proxy:
            return await self._own.handle_async_request(request)
        try:
            transport = self._by(usable(proxy))
        except ConfigError as error:  # a picture's host may take another way than the service, which was looked at
            raise httpx.ConnectError(f"{error.message}: {error.hint}") from error
        name = variable_of(proxy, request.url.scheme)
        response = await _Passage(transport, request, name).sent()
        if response.status_code == PROXY_ASKS and request.url.scheme == "http":
            await response.aclose()
            raise httpx.ConnectError(_refusal(str(PROXY_ASKS), name))
        return response

    def _by(self, proxy: str) -> httpx.AsyncHTTPTransport:
        if proxy not in self._proxied:
            way = httpx.Proxy(proxy, ssl_context=_trusted() if proxy.startswith("https:") else None)
            self._proxied[proxy] = httpx.AsyncHTTPTransport(verify=_trusted(), proxy=way, limits=self._limits)
        return self._proxied[proxy]

    async def aclose(self) -> None:
        await self._own.aclose()
        for transport in self._proxied.values():
            await transport.aclose()


class _Passage:
    """One request through a proxy: whatever fails before its first byte leaves for the service was never sent."""

    def __init__(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request, name: str) -> None:
        self._transport = transport
        self._name = name
        self._request = request
        self._sent = False
        self._socket: Any = None
        self._patience = asyncio.timeout(request.extensions.get("timeout", {}).get("connect"))

    async def sent(self) -> httpx.Response:
        self._request.extensions = {**self._request.extensions, "trace": self._trace}
        try:
            async with self._patience:
                return await self._transport.handle_async_request(self._request)
        except TimeoutError as error:
            await self._close()
            raise httpx.ConnectTimeout("the proxy made no connection in time") from error
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError):
            raise  # their words may quote a header, and with it the key
        except Exception as error:
            if self._sent:
                raise
            await self._close()
            why = tls_advice(error) or _refusal(str(error) or type(error).__name__, self._name)
            raise httpx.ConnectError(why) from error

    async def _trace(self, event: str, told: dict[str, Any]) -> None:
        """What httpcore does; a CONNECT is a request to the proxy itself."""
        if event.endswith("send_request_headers.started") and told["request"].method != b"CONNECT":
            self._sent = True
            self._patience.reschedule(None)
        elif event.endswith("connect_tcp.complete"):
            self._socket = told["return_value"]

    async def _close(self) -> None:
        """Httpcore leaves it open where the proxy refuses."""
        if self._socket is not None:
            await self._socket.aclose()


def _refusal(words: str, name: str) -> str:
    if words.startswith(str(PROXY_ASKS)):
        asks = "the proxy asks for a name and a password (HTTP 407)"
        return f"{asks}: write both before its host in {name}, a colon between them and an @ behind"
    return f"the proxy made no connection: {words[:REFUSAL]}"


def _trusted() -> ssl.SSLContext:
    try:
        return trust()
    except OSError as error:
        raise httpx.ConnectError(f"the certificates to trust cannot be read: {error}") from error


@cache
def trust() -> ssl.SSLContext:
    """The certificates to believe: SSL_CERT_FILE or SSL_CERT_DIR, else the system's own folder, else certifi's.

    A hashed folder is read on demand; parsing a bundle costs five bare interpreter starts.
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
