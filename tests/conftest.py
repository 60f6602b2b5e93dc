import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from imagegen_cli.core import masking
from imagegen_cli.core.provider import Clients
from imagegen_cli.net.client import open_clients
from tests import marking

SEED = 20261123
MAX_WORKERS = 16
"""More workers gain nothing: each one collects all tests, which takes seconds."""

# Bytecode is kept although containers often forbid it: the tests start the program about a thousand times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The tests speak English, whatever the person who runs them reads.
for name in [name for name in os.environ if name.startswith("LC_") or name in {"LANGUAGE", "IMAGEGEN_LANG"}]:
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"

# No property depends on how busy the machine is.
STEADY: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("steady", **STEADY)
hypothesis.settings.register_profile("ci", derandomize=True, print_blob=True, **STEADY)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=SEED, help=f"what every test seeds `random` with (default: {SEED})")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marking.mark(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers a core where tests wait for programs and keys; one a core for tests that only compute."""
    if config.option.dist == "no":
        config.option.dist = "worksteal"
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores if "not program" in config.option.markexpr else 2 * cores, MAX_WORKERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("random", f"seeded with {item.config.option.seed}; --seed N takes another number"))
    return report


ROOT = Path(__file__).parents[1]
_there = {path.name for path in ROOT.iterdir()}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a test left something in the checkout: a history or pictures there would be committed."""
    left = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - _there
    if left := left - {"build", "htmlcov", "__pycache__"}:
        print(f"\ntests left in the checkout: {sorted(left)}")  # noqa: T201 - pytest shows it at the end
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """The clients of the program: every suite of a provider runs on the transport that is shipped."""
    async with open_clients() as clients:
        yield clients


@pytest.fixture(autouse=True, scope="session")
def no_signal_is_ignored() -> None:
    """A shell that starts the tests with `nohup` or `&` ignores signals, which each program inherits.

    A handler is not inherited, and this one does the same here.
    """
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Jitter is drawn from `random`: a test that measures moments sees the same ones each time."""
    random.seed(request.config.option.seed)


@pytest.fixture(autouse=True)
def no_program_without_the_marker(request: pytest.FixtureRequest) -> Iterator[None]:
    marking.forbid_program(forbidden="program" not in request.keywords)
    yield
    marking.forbid_program(forbidden=False)


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """A process remembers its secrets for ever. Without this, the keys of one test would mask words in another."""
    yield
    masking.forget()
