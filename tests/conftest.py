from collections.abc import Iterator

import pytest

from imagegen_cli import masking


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """A process remembers its secrets for ever; a test should not lose words to the keys of another."""
    yield
    masking.forget()
