"""What a picture costs before it is sent, and who says so.

The first that says something counts: the person, the service's price endpoint, the table that is shipped. `[prices]`
names a provider or a kind and a model: "studio/4.0" = "0.04usd". "studio/*" stands for every other model of it. The
first of these counts: provider and model, kind and model, provider and *, kind and *.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagegen_cli.core.money import Money, Price, Quote, Source, money
from imagegen_cli.core.task import ImageRequest

TABLE = Path(__file__).with_name("prices.toml")
LISTED_KINDS = frozenset({"bfl", "dashscope", "fal", "gemini", "openai"})
"""The kinds in the table: for all others it is not read, which takes a millisecond."""
MEGAPIXEL = 1_000_000
BILLED_MEGAPIXEL = 1024 * 1024
"""Pixels of a megapixel on fal's bills, which round up."""
DEFAULT_PIXELS = 1024 * 1024
"""What a model that is paid by the million pixels draws where the request names no size."""
SIDES = {"0.5k": 512, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}
DATE = r"(-\d{4}-\d{2}-\d{2}|-\d{6,8})?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where a request goes: the provider's configured name, its kind, its host, and whether it costs nothing."""

    name: str
    kind: str
    host: str
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class PriceList:
    """`set_prices` as the person wrote them; `endpoint_prices` by provider and model, as the services say them."""

    set_prices: Mapping[str, Money] = field(default_factory=dict)
    endpoint_prices: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    assumed: Money | None = None
    """What --assume-price says of pictures whose price is not known otherwise."""

    def quote(self, service: Service, models: Sequence[str], request: ImageRequest, images: int) -> Quote:
        """`models` are the names of the request's model, the person's own first."""
        if (each := self.set_price(service, models)) is not None:
            return Quote(images, each, Source.SET)
        if (each := self._priced(service, models, request)) is not None:
            return Quote(images, each, Source.PRICED)
        if service.is_free:
            return Quote(images, None, Source.FREE)
        if (each := estimated(service, models, request)) is not None:
            return Quote(images, each, Source.ESTIMATED)
        if self.assumed is not None:
            return Quote(images, self.assumed, Source.SET)
        return Quote(images, None, Source.UNKNOWN)

    def _priced(self, service: Service, models: Sequence[str], request: ImageRequest) -> Money | None:
        """By the service's own endpoint. What is paid by the million pixels has a price where the size is known."""
        found = (self.endpoint_prices.get((service.name, model)) for model in models)
        price = next((one for one in found if one is not None), None)
        if price is None or not price.per_megapixel:
            return price.amount if price is not None else None
        if not (request.width and request.height):
            return None
        return price.amount.times(math.ceil(request.width * request.height / BILLED_MEGAPIXEL))

    def set_price(self, service: Service, models: Sequence[str]) -> Money | None:
        """What the person says that a picture costs."""
        owners = dict.fromkeys((service.name, service.kind))
        names = [f"{owner}/{model}" for model in models for owner in owners] + [f"{owner}/*" for owner in owners]
        return next((self.set_prices[name] for name in names if name in self.set_prices), None)


def host_of(address: str) -> str:
    return (urlsplit(address.strip()).hostname or "").lower()


def as_of() -> str:
    """The month that the shipped table stands for."""
    return str(_table()["as_of"])


def estimated(service: Service, models: Sequence[str], request: ImageRequest) -> Money | None:
    """The price of one picture by the shipped table; None where it has no such service or model."""
    for vendor in _vendors(service):
        for model in models:
            entry = _entry(vendor.get("images", {}), model)
            if entry is not None:
                return money(_amount(entry, request), vendor["unit"])
    return None


def used(service: Service, model: str, tokens: Mapping[str, int]) -> Money | None:
    """The cost of the tokens that a service says it used, by the shipped table; None where it has no prices for them.

    `tokens`: text_in, image_in, text_out, image_out.
    """
    for vendor in _vendors(service):
        prices = _entry(vendor.get("tokens", {}), model)
        if isinstance(prices, dict) and all(name in prices for name, number in tokens.items() if number):
            cost = sum(number * prices[name] for name, number in tokens.items() if number) / MEGAPIXEL
            return money(round(cost, 6), vendor["unit"])
    return None


def _vendors(service: Service) -> Iterator[dict[str, Any]]:
    if service.kind not in LISTED_KINDS:
        return iter(())
    return (one for one in _table()["vendors"] if service.kind in one["kinds"] and service.host in one["hosts"])


@cache
def _table() -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only where something is to be paid

    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _entry(entries: Mapping[str, Any], model: str) -> Any:
    """The entry of a model; a date behind its name makes no other model of it."""
    name = model.lower().removeprefix("doubao-")
    return next((entry for known, entry in entries.items() if re.fullmatch(re.escape(known) + DATE, name)), None)


def _amount(entry: Any, request: ImageRequest) -> float:
    if not isinstance(entry, dict):
        return float(entry)
    if "first_mp" in entry:
        return float(entry["first_mp"] + entry["more_mp"] * (max(1, round(_pixels(request) / MEGAPIXEL)) - 1))
    words = _words(request)
    return max((_closeness(key, words), float(amount)) for key, amount in entry.items())[1]


def _closeness(key: str, words: frozenset[str]) -> tuple[int, int]:
    """How well an entry suits a request: words that both have, then as few others as possible."""
    wanted = set(key.split())
    return len(wanted & words), -len(wanted - words)


def _words(request: ImageRequest) -> frozenset[str]:
    size = f"{request.width}x{request.height}" if request.width else ""
    extra = (value.lower() for value in request.extra.values())
    return frozenset(filter(None, (request.resolution.lower(), size, *extra)))


def _pixels(request: ImageRequest) -> int:
    if request.width and request.height:
        return request.width * request.height
    side = SIDES.get(request.resolution.lower())
    return side * side if side else DEFAULT_PIXELS
