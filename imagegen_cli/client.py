"""The HTTP clients: one for paid submits, one for everything that may be repeated.

httpx's own transport is the one that tells "never connected" (send again) from "sent, then lost" (never again), so
submits use it, each on a fresh connection: an idle one that the server has just closed would look like a lost answer.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from os import environ
from pathlib import Path

import httpx

from imagegen_cli import __version__
from imagegen_cli.providers.base import Clients

CONNECTIONS = 32
"""Requests in flight at once for questions and downloads; tasks are not limited by it."""
CONNECT = 15.0
ANSWER = 30.0
"""Seconds without a single byte after which a question counts as unanswered. Submits wait for their task's limit."""
USER_AGENT = f"imagegen/{__version__}"


@asynccontextmanager
async def open_clients() -> AsyncIterator[Clients]:
    """Both clients, honouring proxies and SSL_CERT_FILE from the environment. Neither follows a redirect."""
    async with AsyncExitStack() as stack:
        paid = httpx.AsyncClient(
            verify=trust(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            timeout=httpx.Timeout(None, connect=CONNECT),
            headers={"User-Agent": USER_AGENT},
        )
        free = httpx.AsyncClient(
            verify=trust(),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            timeout=httpx.Timeout(ANSWER, connect=CONNECT, pool=None),
            headers={"User-Agent": USER_AGENT},
        )
        yield Clients(await stack.enter_async_context(paid), await stack.enter_async_context(free))


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
