import random
from collections.abc import AsyncIterator, Iterator

import pytest

from imagegen_cli.core import masking
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.client import open_clients


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """What a provider is given in the program: every suite of a provider runs on the transport that is shipped."""
    async with open_clients() as clients:
        yield clients


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Jitter is drawn from `random`: a test that measures moments sees the same ones each time."""
    random.seed(20261123)


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """A process remembers its secrets for ever; a test should not lose words to the keys of another."""
    yield
    masking.forget()
