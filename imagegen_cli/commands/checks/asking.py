"""Questions to services that cost nothing, each service at the same time, and what their answers tell beside."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from imagegen_cli.commands.checks.machine import check_network
from imagegen_cli.commands.histories import has_history, open_history
from imagegen_cli.core.errors import ConfigError, ImagegenError, ProviderBug, Unavailable, question_hint
from imagegen_cli.core.language import Message
from imagegen_cli.core.provider import Balance, Clients, Provider, Settings
from imagegen_cli.core.schema import Secret
from imagegen_cli.net.client import open_clients
from imagegen_cli.providers._http import call
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.settings.keys import key_of

T = TypeVar("T")

MAX_ANSWER_S = 10.0
"""For one question to a service."""
UNKNOWN_QUESTION = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""How a server answers a question that it does not have."""
NO_CREDITS = Message("the service has no such question")
AT_WORK = Message("process {pid} on {host} has tasks there")
UNITS = {"credits": Message("credits"), "credit": Message("credit")}
"""Units of accounts that are words; others are codes of currencies or a service's own."""
MIN_SECRET_CHARACTERS = 4
"""A shorter text is found in every other word and hides nothing."""


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response: its status, whether its request carried a key, and how far the service's clock is ahead."""

    status: int
    with_key: bool
    clock_ahead_s: float | None

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of a question. With `trouble` there is no value; without `responses` nothing went over the network."""

    value: T | None
    trouble: ImagegenError | None = None
    responses: tuple[Response, ...] = ()

    @property
    def is_unknown_question(self) -> bool:
        """Whether the service does not have this question: it answered that it has no such route."""
        return self.trouble is not None and bool(self.responses) and self.responses[-1].status in UNKNOWN_QUESTION


def ask_all(chosen: Sequence[Configured], question: Callable[[Provider[Any]], Awaitable[T]]) -> list[Answer[T]]:
    """Ask several services the same question, at the same time."""
    return together(ask(one, question) for one in chosen)


def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all of it, in a loop of its own."""

    async def gathered() -> list[T]:
        return list(await asyncio.gather(*work))

    return asyncio.run(gathered())


async def ask(one: Configured, question: Callable[[Provider[Any]], Awaitable[T]]) -> Answer[T]:
    """Ask one service. Every error becomes the answer's `trouble`."""
    try:
        settings = await asyncio.to_thread(key_of, one)
    except ConfigError as error:
        return Answer(None, error)

    async def put(clients: Clients) -> T:
        provider = one.type(settings, clients)
        try:
            return await question(provider)
        finally:
            await provider.close()

    return await _observed(one, settings, put)


async def knock(one: Configured) -> Answer[Any]:
    """Ask for any response at all, of a service that no question was sent to."""
    return await _observed(one, one.settings, lambda clients: call(clients, "GET", one.settings.base_url, raw=True))


def busy_with(config: Config) -> dict[str, str]:
    """Providers at which a living process has tasks, and which process that is; so are others of the same address.

    A question for credits may switch the account that those tasks were sent from.
    """
    if not has_history():
        return {}
    with closing(open_history()) as store:
        at_work = store.busy_providers()
    busy = {name: AT_WORK.format(pid=process.pid, host=process.host) for name, process in at_work.items()}
    known = config.providers
    addresses = {known[name].settings.base_url.rstrip("/"): why for name, why in busy.items() if name in known}
    same = {name: addresses.get(one.settings.base_url.rstrip("/"), "") for name, one in known.items()}
    return {name: why for name, why in same.items() if why} | busy


def balance_text(balance: Balance | None) -> str:
    """An amount with its unit, or unknown: never a made-up number."""
    if balance is None or balance.amount is None or not math.isfinite(balance.amount):
        return Message("unknown")
    whole = balance.amount.is_integer()
    unit = balance.unit.removesuffix("s") if balance.amount == 1 else balance.unit
    number = int(balance.amount) if whole else round(balance.amount, 4)
    return Message("{number} {unit}").format(number=number, unit=UNITS.get(unit, unit))


async def _observed(one: Configured, settings: Settings, work: Callable[[Clients], Awaitable[T]]) -> Answer[T]:
    """Do the work within MAX_ANSWER_S seconds, and note what its responses tell."""
    responses: list[Response] = []

    async def note(response: Any) -> None:
        headers = response.request.headers
        with_key = "authorization" in headers or any(secret in headers.values() for secret in _secrets(settings))
        responses.append(Response(response.status_code, with_key, _clock_ahead(response.headers.get("date", ""))))

    try:
        async with asyncio.timeout(MAX_ANSWER_S), _clients(one) as clients:
            if clients.free is not None:
                clients.free.event_hooks = {"response": [note]}
            return Answer(await work(clients), None, tuple(responses))
    except TimeoutError:
        trouble: ImagegenError = Unavailable(Message("no answer within {seconds:.0f} s").format(seconds=MAX_ANSWER_S))
    except ImagegenError as error:
        trouble = error
    except Exception as error:  # noqa: BLE001 - one broken provider must not hide the others
        trouble = ProviderBug(Message("the provider itself failed: {why}").format(why=type(error).__name__))
    trouble.hint = question_hint(trouble)
    return Answer(None, trouble, tuple(responses))


@asynccontextmanager
async def _clients(one: Configured) -> AsyncIterator[Clients]:
    """Clients as a run has them. Raises ConfigError where the environment's proxy or certificates cannot be used."""
    none: Any = None
    if one.is_local:
        yield Clients(none, none)
        return
    check_network([one])
    async with open_clients() as clients:
        yield clients


def _secrets(settings: Settings) -> list[str]:
    """Every text that must not be shown; a key may be several with commas between."""
    values = [getattr(settings, item.name) for item in fields(settings)]
    keys = [part.strip() for value in values if isinstance(value, Secret) for part in value.reveal().split(",")]
    password = urlsplit(settings.base_url).password or ""
    return [text for text in (*keys, *settings.headers.values(), password) if len(text) >= MIN_SECRET_CHARACTERS]


def _clock_ahead(date: str) -> float | None:
    """Seconds that a service's clock is ahead of ours, by its Date header."""
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
