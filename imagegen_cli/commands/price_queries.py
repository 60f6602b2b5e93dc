"""Prices that a service tells at an endpoint of its own: asked for once a day, and kept in the history.

A run never fails by such a question, and waits for all of them together at most MAX_WAIT_S seconds.
"""

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.money import Price
from imagegen_cli.core.provider import Provider
from imagegen_cli.settings.config import Configured
from imagegen_cli.storage.store import Store

MAX_AGE_S = 86_400.0
MAX_WAIT_S = 3.0
Prices = Mapping[str, Price | None]


def tells_prices(one: Configured) -> bool:
    """Whether its kind has a price endpoint at all: the others are not asked."""
    return one.type.prices is not Provider.prices


def endpoint_prices(
    wanted: Mapping[str, tuple[Configured, Collection[str]]], store: Store, *, ask: bool, wait_s: float = MAX_WAIT_S
) -> dict[tuple[str, str], Price]:
    """By provider and model, what the history knows of today, and with `ask` what the services answer now."""
    found = {name: _known(one, store) for name, (one, _) in wanted.items()}
    missing = {name: (one, set(models) - found[name].keys()) for name, (one, models) in wanted.items()}
    open_questions = {name: question for name, question in missing.items() if question[1]}
    if ask and open_questions:
        for name, prices in _answers(open_questions, wait_s).items():
            found[name] |= prices
            with suppress(HistoryError):  # it is asked for again the next time
                store.keep_prices(_service(open_questions[name][0]), prices)
    return {(name, model): price for name, prices in found.items() for model, price in prices.items() if price}


def _known(one: Configured, store: Store) -> dict[str, Price | None]:
    with suppress(HistoryError):
        return store.known_prices(_service(one), MAX_AGE_S)
    return {}


def _service(one: Configured) -> str:
    """What the prices of a provider are kept by: another address may have others."""
    return f"{one.name} {without_user(one.settings.base_url)}"


def _answers(questions: Mapping[str, tuple[Configured, Collection[str]]], wait_s: float) -> dict[str, Prices]:
    """What the services answer in time.

    They are asked in a thread that is left behind where it takes longer: a name that is looked up cannot be cancelled.
    """
    answers: dict[str, Prices] = {}

    def ask() -> None:
        from imagegen_cli.commands.checks.asking import ask as asked, together  # noqa: PLC0415 - it brings httpx

        work = [asked(one, partial(_told, models=models)) for one, models in questions.values()]
        for name, answer in zip(questions, together(work), strict=True):
            answers[name] = answer.value if isinstance(answer.value, Mapping) else {}

    thread = threading.Thread(target=ask, name="prices", daemon=True)
    thread.start()
    thread.join(wait_s)
    if thread.is_alive():
        return {}
    return {name: _believed(prices, questions[name][1]) for name, prices in answers.items()}


async def _told(provider: Provider[Any], models: Collection[str]) -> Prices:
    return await provider.prices(models)


def _believed(prices: Prices, models: Collection[str]) -> Prices:
    """Only what was asked for, and in the form that it should have: other packages bring kinds too."""
    asked = {model: price for model, price in prices.items() if model in models}
    return {model: price for model, price in asked.items() if price is None or isinstance(price, Price)}
