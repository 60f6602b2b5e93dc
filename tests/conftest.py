import random
from collections.abc import Iterator

import pytest

from imagegen_cli.core import masking


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Jitter is drawn from `random`: a test that measures moments sees the same ones each time."""
    random.seed(20261123)


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """A process remembers its secrets for ever; a test should not lose words to the keys of another."""
    yield
    masking.forget()
