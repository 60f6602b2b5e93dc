"""What is to be spent: prices of the configured providers, what is said and asked before sending, and budgets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagegen_cli.commands.console import answers, is_asked, say
from imagegen_cli.core.budget import Limit, Period, in_units, parse_limits
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.money import Money, Quote, Source, listed, parse_money, totals
from imagegen_cli.core.provider import Provider
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.core.text import amount
from imagegen_cli.inputs.plan import unconnected
from imagegen_cli.settings.config import Config
from imagegen_cli.settings.prices import PriceList, Service, as_of, host_of, used

MAX_UNASKED_TASKS = 20
"""Paid tasks that are sent from a terminal without asking, where the settings do not say how many."""


@dataclass(frozen=True, slots=True)
class ProviderPricing:
    """The prices of one configured provider, as the engine asks for them."""

    service: Service
    default_model: str
    prices: PriceList
    provider: Provider[Any]

    def quote(self, request: ImageRequest, images: int) -> Quote:
        return self.prices.quote(self.service, self.models(request), request, images)

    def of_tokens(self, request: ImageRequest, tokens: Mapping[str, int]) -> Money | None:
        found = (used(self.service, model, tokens) for model in self.models(request))
        return next((amount for amount in found if amount is not None), None)

    def models(self, request: ImageRequest) -> list[str]:
        """The names of the model: as the person wrote it, and as the service calls it."""
        model = request.model or self.default_model
        own = self.provider.model_for_version(model)
        return list(dict.fromkeys(filter(None, (model, own))))


@dataclass(frozen=True, slots=True)
class Pricings:
    """The prices of all providers that a command uses."""

    by_provider: Mapping[str, ProviderPricing]

    def quote(self, request: ImageRequest, images: int) -> Quote:
        return self.by_provider[request.provider].quote(request, images)


def pricings(
    config: Config, providers: Iterable[str], assumed: str = "", endpoint: Mapping[tuple[str, str], Money] | None = None
) -> Pricings:
    """The prices of these providers. Raises ConfigError where the settings name a price that is none."""
    prices = PriceList(set_prices(config), endpoint or {}, {"": parse_money(assumed)} if assumed else {})
    found: dict[str, ProviderPricing] = {}
    for name in set(providers):
        one = config.provider(name)
        host = host_of(one.settings.address)
        service = Service(name=name, kind=one.kind, host=host, is_free=one.type.is_free)
        found[name] = ProviderPricing(service, one.settings.model, prices, unconnected(one))
    return Pricings(found)


def set_prices(config: Config) -> dict[str, Money]:
    """`[prices]` of the settings. Raises ConfigError that names the entry."""
    found: dict[str, Money] = {}
    for name, text in config.general.prices.items():
        owner, slash, model = name.partition("/")
        if not (owner and slash and model):
            raise ConfigError(f'[prices] {name!r} is no name: write "provider/model" or "provider/*"')
        try:
            found[name] = parse_money(text)
        except UsageError as error:
            raise ConfigError(f"[prices] {name}: {error.message}", hint=error.hint) from error
    return found


def limits(config: Config, budget: str) -> tuple[Limit, ...]:
    """The budget of this command, and those of the settings. Raises UsageError and ConfigError."""
    found = list(parse_limits(budget))
    for period in (Period.DAY, Period.MONTH):
        for text in config.general.budget.get(period, "").split(","):
            if text.strip():
                found.append(Limit(_configured_amount(f"[budget] {period}", text), period))
    if unknown := set(config.general.budget) - {Period.DAY, Period.MONTH}:
        raise ConfigError(f"[budget] has no {min(unknown)!r}", hint='it has day = "10usd" and month = "100usd"')
    return tuple(found)


def _configured_amount(name: str, text: str) -> Money:
    try:
        return parse_money(text)
    except UsageError as error:
        raise ConfigError(f"{name}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True, slots=True)
class Planned:
    """What a command is about to send: requests, with the pictures that each should bring and what it should cost."""

    requests: Sequence[ImageRequest]
    images: Sequence[int]
    quotes: Sequence[Quote]

    @property
    def is_free(self) -> bool:
        return all(quote.source is Source.FREE for quote in self.quotes)

    @property
    def unpriced(self) -> list[str]:
        """What has no known price, as provider/model."""
        pairs = zip(self.requests, self.quotes, strict=True)
        names = (_name(request, "/") for request, quote in pairs if quote.source is Source.UNKNOWN)
        return list(dict.fromkeys(names))

    @property
    def totals(self) -> dict[str, Money]:
        return totals(quote.total for quote in self.quotes)


def planned(pricings: Pricings, tasks: Iterable[tuple[ImageRequest, int]]) -> Planned:
    pairs = list(tasks)
    quotes = [pricings.quote(request, images) for request, images in pairs]
    return Planned([request for request, _ in pairs], [images for _, images in pairs], quotes)


def groups(plan: Planned) -> list[Planned]:
    """The same, apart by provider, model and price of a picture."""
    found: dict[tuple[Any, ...], list[tuple[ImageRequest, int, Quote]]] = {}
    for request, images, quote in zip(plan.requests, plan.images, plan.quotes, strict=True):
        found.setdefault((_name(request), quote.each, quote.source), []).append((request, images, quote))
    return [Planned(*map(list, zip(*group, strict=True))) for group in found.values()]


def described(plan: Planned) -> str:
    """`60 tasks · 240 pictures · studio 4.0 · about 9.60 usd (set)`."""
    makers = list(dict.fromkeys(map(_name, plan.requests)))
    shown = ", ".join(makers[:3]) + (f" and {len(makers) - 3} more" if len(makers) > 3 else "")  # noqa: PLR2004 - a line
    parts = (amount(len(plan.requests), "task"), amount(sum(plan.images), "picture"), shown, cost(plan))
    return " · ".join(filter(None, parts))


def cost(plan: Planned) -> str:
    """What it should cost, and who says so; what has no known price is named as such."""
    if plan.is_free:
        return "free"
    sources = dict.fromkeys(_source(quote.source) for quote in plan.quotes if quote.total is not None)
    known = f"about {listed(plan.totals)} ({', '.join(sources)})" if plan.totals else ""
    unknown = sum(quote.source is Source.UNKNOWN for quote in plan.quotes)
    if unknown == len(plan.quotes):
        return "price not known"
    return f"{known} and {amount(unknown, 'task')} without a known price" if unknown else known


def _source(source: Source) -> str:
    return f"{source} {as_of()}" if source is Source.ESTIMATED else str(source)


def _name(request: ImageRequest, between: str = " ") -> str:
    return between.join(filter(None, (request.provider, request.model)))


def check_budget(plan: Planned, limits: Sequence[Limit]) -> None:
    """Raise UsageError where a budget could not hold, because a price or its unit is not counted by it."""
    if not limits:
        return
    if plan.unpriced:
        name = plan.unpriced[0]
        raise UsageError(
            f"the price of {name} is not known, so no budget can hold",
            hint=f'nothing was sent; --assume-price 0.05usd, or [prices] "{name}" = "0.05usd" in the settings',
        )
    if foreign := in_units(limits, plan.totals):
        raise UsageError(
            f"this costs {foreign[0]}, and no budget counts {foreign[0]}",
            hint=f"nothing was sent; give a budget in it too: --budget {limits[0].amount},100{foreign[0]}",
        )


def announce(plan: Planned, *, quiet: bool) -> None:
    """Say what is about to be sent, where it may cost something and is more than one task or has a price."""
    if not quiet and not plan.is_free and (plan.totals or len(plan.requests) > 1):
        say(described(plan))


def agree(plan: Planned, config: Config, *, yes: bool) -> None:
    """Ask above the limits of the settings. Raises UsageError where no person has agreed; nothing was sent."""
    why = _above(plan, config)
    if yes or not why:
        return
    if answers(f"{described(plan)}: {why}. Send them? [y/N]", ["yes"]):
        return
    hint = "nothing was sent" if is_asked() else "--yes sends them, --dry-run shows them; nothing was sent"
    raise UsageError(f"{described(plan)}: {why}", hint=hint)


def _above(plan: Planned, config: Config) -> str:
    """Why a person is to be asked; empty where nothing is above a limit.

    The built-in number of tasks asks on a terminal only: a script that worked goes on working, until its person sets a
    limit of their own.
    """
    number = config.general.confirm_above
    limit = number or (MAX_UNASKED_TASKS if is_asked() and not plan.is_free else 0)
    if limit and len(plan.requests) > limit:
        return f"more than {limit} tasks (confirm_above)"
    for text in filter(None, config.general.confirm_cost.split(",")):
        most = _configured_amount("confirm_cost", text)
        if (total := plan.totals.get(most.unit)) is not None and total.micros > most.micros:
            return f"more than {most} (confirm_cost)"
    return ""
