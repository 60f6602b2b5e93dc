"""The HTTP clients: one for paid submits, one for everything that may be repeated, and a way for pictures.

Both tell "never connected" (send again) from "sent, then lost" (never again). Submits have a fresh connection each: an
idle one that the server has just closed would look like a lost answer. httpx's own transport can tell as well, but
looks at every open connection for every request and costs a third of the start; it is used where there is a proxy.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from os import environ
from pathlib import Path
from typing import Any
from urllib.request import getproxies

import httpx

from imagegen_cli import __version__
from imagegen_cli.http1 import Transport
from imagegen_cli.providers.base import Clients, Fetch

CONNECTIONS = 56
"""Requests in flight at once for what may be repeated: a runner's queries (24) and uploads (32) together,
so that no query waits behind an upload after its time has begun."""
DOWNLOADS = 16
"""Pictures in flight at once. They have their own connections: a slow picture delays no query."""
CONNECT = 15.0
ANSWER = 30.0
"""Seconds without a single byte after which a question counts as unanswered. Submits wait for their task's limit."""
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
        paid = Client(**_way(0), timeout=httpx.Timeout(None, connect=CONNECT), headers=headers)
        free = Client(**_way(CONNECTIONS), timeout=patience, headers=headers)
        await stack.enter_async_context(paid)
        await stack.enter_async_context(free)
        yield Clients(paid, free, await _fetch(stack, headers))


async def _fetch(stack: AsyncExitStack, headers: dict[str, str]) -> Fetch:
    """The way of pictures: the transport itself, or a client where there is a proxy."""
    way = _way(DOWNLOADS)
    own: Transport | None = way.get("transport")
    if own is not None:
        await stack.enter_async_context(own)
        return own.handle_async_request
    return partial((await stack.enter_async_context(Client(**way, headers=headers))).send, stream=True)


def _way(most: int) -> dict[str, Any]:
    """How requests travel: through a proxy by httpx's own transport, which reads NO_PROXY as well.

    `most` 0: no limit, and no connection is used twice.
    """
    if getproxies().keys() & {"http", "https", "all"}:
        limits = httpx.Limits(max_connections=most or None, max_keepalive_connections=most)
        return {"verify": trust(), "limits": limits}
    return {"transport": Transport(trust, most)}


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
