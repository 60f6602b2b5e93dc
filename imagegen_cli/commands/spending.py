"""What is to be spent: prices of the configured providers, what is said and asked before sending, and budgets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from imagegen_cli.commands.console import HANDFUL, answers, is_asked, say
from imagegen_cli.commands.options import SpendOptions
from imagegen_cli.commands.price_queries import endpoint_prices, tells_prices
from imagegen_cli.commands.terms import queued_terms, terms
from imagegen_cli.core.budget import Limit, Period, in_units, parse_limits
from imagegen_cli.core.charges import Charge, ChargeStatus
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.money import Money, Price, Quote, Source, listed, parse_money, totals
from imagegen_cli.core.provider import Provider
from imagegen_cli.core.task import ImageRequest, Task
from imagegen_cli.inputs.plan import offline_provider
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.settings.prices import PriceList, Service, as_of, host_of, used
from imagegen_cli.storage.store import Store

FREE = Message("free")
SOURCES = {
    Source.TOLD: Message("told"),
    Source.PRICED: Message("priced"),
    Source.SET: Message("set"),
    Source.ESTIMATED: Message("estimated"),
    Source.FREE: FREE,
    Source.UNKNOWN: Message("unknown"),
}
"""Who says what something costs, in one word."""
NOTHING_SENT = Message("nothing was sent")
YES_SENDS = Message("--yes sends them, --dry-run shows them; nothing was sent")
MORE_THAN_LEFT = Message(
    "the real run would stop at its budget and leave the rest unsent: {total} is more than the {left} that are left of"
    " {limit}"
)
MORE_THAN_ALL = Message(
    "the real run would stop at its budget and leave the rest unsent: {total} is more than the budget of {limit}"
)
THEN = {
    Period.COMMAND: Message("raise the budget, then {command}"),
    Period.DAY: Message("raise the budget or wait until the day is over, then {command}"),
    Period.MONTH: Message("raise the budget or wait until the month is over, then {command}"),
}
"""What comes before a command that goes on, by the period of the budget that was reached."""
AND_MORE = Message("{names} and {count} more")
MAX_MAKERS = 3
"""Providers with their models that are named in a line."""
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
        model = request.model or self.default_model or self._chosen_by_kind(request)
        own = self.provider.model_for_version(model)
        return list(dict.fromkeys(filter(None, (model, own))))

    def _chosen_by_kind(self, request: ImageRequest) -> str:
        """The model that a kind puts into a request that names none; empty where it puts none or cannot say."""
        try:
            return str(self.provider.payload(request).get("model", ""))
        except Exception:  # noqa: BLE001 - a price is not worth an end
            return ""


class Spending:
    """What a command may spend, and what it costs: prices, budgets, and what is said and asked before sending."""

    def __init__(self, config: Config, options: SpendOptions, providers: Iterable[str]) -> None:
        """Raises UsageError and ConfigError where a budget or a price cannot be read."""
        assumed = parse_money(options.assume_price) if options.assume_price else None
        self._endpoint_prices: dict[tuple[str, str], Price] = {}
        prices = PriceList(set_prices(config), self._endpoint_prices, assumed)
        self.limits = limits(config, options.budget)
        found = ((name, _pricing(config, name, prices)) for name in set(providers))
        self.by_provider = {name: pricing for name, pricing in found if pricing is not None}
        self._config = config
        self._options = options
        self._prices = prices

    def include(self, providers: Iterable[str]) -> None:
        """Also price what further providers are sent."""
        for name in set(providers) - self.by_provider.keys():
            if (pricing := _pricing(self._config, name, self._prices)) is not None:
                self.by_provider[name] = pricing

    def learn(self, requests: Iterable[ImageRequest], store: Store, *, ask: bool) -> None:
        """Take in what the services' own price endpoints tell; without `ask` only what the history still knows."""
        wanted: dict[str, tuple[Configured, set[str]]] = {}
        for request in requests:
            pricing = self.by_provider.get(request.provider)
            if pricing is None or not tells_prices(one := self._config.provider(request.provider)):
                continue
            models = pricing.models(request)
            if pricing.prices.set_price(pricing.service, models) is None:
                wanted.setdefault(one.name, (one, set()))[1].update(models)
        if wanted:
            self._endpoint_prices |= endpoint_prices(wanted, store, ask=ask)

    def plan(self, tasks: Iterable[tuple[ImageRequest, int, Sequence[ImageRequest]]]) -> "Planned":
        """What these requests should cost; each comes with the number of its pictures, and with its alternatives."""
        found = list(tasks)
        quotes = [self._quote(request, images) for request, images, _ in found]
        others = [
            [(other, self._quote(other, images)) for other in alternatives if other.provider in self.by_provider]
            for _, images, alternatives in found
        ]
        return Planned([request for request, _, _ in found], [images for _, images, _ in found], quotes, others)

    def _quote(self, request: ImageRequest, images: int) -> Quote:
        pricing = self.by_provider.get(request.provider)
        return Quote(images, None, Source.UNKNOWN) if pricing is None else pricing.quote(request, images)

    def allow(self, plan: "Planned", *, yes: bool, quiet: bool) -> None:
        """Say what is to be sent, and ask where the settings want it. Raises UsageError; nothing was sent."""
        check_budget(plan, self.limits)
        if not agree(plan, self._config, yes=yes) and not quiet:
            announce(plan)

    def dearest_each(self, request: ImageRequest, images: int, alternatives: Sequence[ImageRequest]) -> Money | None:
        """What a picture costs at most, in the unit of the first provider whose price is known."""
        quotes = [self._quote(one, images) for one in (request, *alternatives)]
        known = [quote.each for quote in quotes if quote.each is not None]
        return max((each for each in known if each.unit == known[0].unit), key=lambda each: each.micros, default=None)

    def foretell(self, plan: "Planned", store: Store | None) -> None:
        """Say of a dry run what the budgets would make of the real one. Without a history nothing was spent yet."""
        if gap := _gap(plan, self.limits):
            if not self._may_be_told(plan.unpriced):
                message = Message("the real run would be refused: {why}; {way}")
                say(message.format(why=gap.why, way=gap.way))
            return
        for limit in self.limits:
            total = plan.totals.get(limit.amount.unit)
            spent = 0 if store is None or limit.period is Period.COMMAND else store.spent(limit).micros
            left = Money(max(0, limit.amount.micros - spent), limit.amount.unit)
            if total is not None and total.micros > left.micros:
                message = MORE_THAN_LEFT if spent else MORE_THAN_ALL
                say(message.format(total=str(total), left=str(left), limit=str(limit)))

    def _may_be_told(self, unpriced: Iterable[str]) -> bool:
        """Whether the real run asks a price endpoint about one of these; a dry run asks none."""
        return any(tells_prices(self._config.provider(name.partition("/")[0])) for name in unpriced)

    def go_on(self, ids: Sequence[int], left: Iterable[Task] = (), *, which: str = "", is_repeat: bool = False) -> str:
        """The command that sends these tasks. `which` names them shorter, if given.

        Each of the tasks `left` fits into its budget. `is_repeat`: what some of them repeat may be paid already.
        """
        words = ["imagegen", "retry", which or " ".join(map(str, ids))]
        words += ["--may-repeat"] if is_repeat else []
        words += ["--yes"] if len(ids) > HANDFUL and not is_asked() else []
        return " ".join(words) + self.terms(left)

    def terms(self, left: Iterable[Task]) -> str:
        """The options of this command about money, high enough for each of these tasks."""
        dearest = self._dearest_of(left)
        budget = ",".join(_raised(limit, dearest).as_option for limit in parse_limits(self._options.budget))
        return terms(budget, self._options.assume_price)

    def terms_of(self, task: Task) -> str:
        """The options of this command that one needs which sends a task again; else those with which it was queued."""
        return terms(self._options.budget, self._options.assume_price) or queued_terms(task)

    def next_step(self, command: str, reached: str, left: Iterable[Task]) -> str:
        """The command that sends `left`, and what a person has to do before it; nothing where it starts a new sum."""
        lasting = [limit for limit in self.limits if limit.period is not Period.COMMAND and str(limit) in reached]
        if lasting:
            return THEN[lasting[0].period].format(command=command)
        dearest = self._dearest_of(left)
        is_raised = any(_raised(limit, dearest) != limit for limit in self.limits)
        return THEN[Period.COMMAND].format(command=command) if is_raised else command

    def _dearest_of(self, tasks: Iterable[Task]) -> dict[str, Money]:
        """By unit, what the dearest of these tasks costs."""
        dearest: dict[str, Money] = {}
        for task in tasks:
            total = self._quote(task.request, task.expected_images).total
            if total is not None and total.micros >= dearest.get(total.unit, total).micros:
                dearest[total.unit] = total
        return dearest

    def overshoot(self, charges: Iterable[Charge], spent: Callable[[Limit], Money]) -> list[Message]:
        """A line for each unit of a limit in which more was charged than reserved; `spent` counts against a limit."""
        known = [charge for charge in charges if charge.status is ChargeStatus.SETTLED]
        lines = []
        for unit in dict.fromkeys(limit.amount.unit for limit in self.limits):
            more = sum(map(partial(_beyond, unit), known))
            if more <= 0:
                continue
            over = [limit for limit in self.limits if limit.amount.unit == unit]
            line = Message("{amount} more was charged than reserved").format(amount=str(Money(more, unit)))
            for one in over:
                if (sum_ := spent(one)).micros > one.amount.micros:
                    is_spent = Message("{line}; {amount} of {limit} is spent")
                    line = is_spent.format(line=line, amount=str(sum_), limit=str(one))
            lines.append(line)
        return lines


def _raised(limit: Limit, dearest: Mapping[str, Money]) -> Limit:
    """A command's own limit, high enough for the dearest task in its unit; those of a day and a month as they are."""
    cost = dearest.get(limit.amount.unit)
    is_too_low = limit.period is Period.COMMAND and cost is not None and cost.micros > limit.amount.micros
    return limit._replace(amount=cost) if is_too_low and cost is not None else limit


def _beyond(unit: str, charge: Charge) -> int:
    """By how many millionths of the unit a charge is higher than what was reserved for it."""
    reserved, amount = charge.quote.total, charge.amount
    if reserved is None or amount is None or not reserved.unit == amount.unit == unit:
        return 0
    return amount.micros - reserved.micros


def _pricing(config: Config, name: str, prices: PriceList) -> ProviderPricing | None:
    """None where the provider is gone from the settings: it is sent nothing."""
    try:
        one = config.provider(name)
    except UsageError:
        return None
    service = Service(name=name, kind=one.kind, host=host_of(one.settings.base_url), is_free=one.type.is_free)
    return ProviderPricing(service, one.settings.model, prices, offline_provider(one))


def set_prices(config: Config) -> dict[str, Money]:
    """`[prices]` of the settings. Raises ConfigError that names the entry."""
    found: dict[str, Money] = {}
    for name, text in config.general.prices.items():
        owner, slash, model = name.partition("/")
        if not (owner and slash and model):
            message = Message('[prices] {name!r} is no name: write "provider/model" or "provider/*"')
            raise ConfigError(message.format(name=name))
        try:
            found[name] = parse_money(text)
        except UsageError as error:
            message = Message("[prices] {name}: {why}").format(name=name, why=error.message)
            raise ConfigError(message, hint=error.hint) from error
    return found


def limits(config: Config, budget: str) -> tuple[Limit, ...]:
    """The budget of this command, and those of the settings. Raises UsageError and ConfigError."""
    found = list(parse_limits(budget))
    for period in (Period.DAY, Period.MONTH):
        amounts = filter(str.strip, config.general.budget.get(period, "").split(","))
        found += [Limit(_configured_amount(f"[budget] {period}", text), period) for text in amounts]
    if unknown := set(config.general.budget) - {Period.DAY, Period.MONTH}:
        message = Message("[budget] has no {name!r}").format(name=min(unknown))
        raise ConfigError(message, hint=Message('it has day = "10usd" and month = "100usd"'))
    return tuple(found)


def check_configured(config: Config) -> None:
    """Raise ConfigError where prices, budgets or the sum to ask above cannot be read."""
    set_prices(config)
    limits(config, "")
    _asked_above(config)
    _tasks_asked_above(config)


def _asked_above(config: Config) -> list[Money]:
    """The sums of `confirm_cost`."""
    texts = filter(str.strip, config.general.confirm_cost.split(","))
    return [_configured_amount("confirm_cost", text) for text in texts]


def _tasks_asked_above(config: Config) -> int:
    if (number := config.general.confirm_above) < 0:
        message = Message("confirm_above cannot be {number}").format(number=number)
        raise ConfigError(message, hint=Message("0 asks above 20 tasks on a terminal"))
    return number


def _configured_amount(name: str, text: str) -> Money:
    try:
        return parse_money(text)
    except UsageError as error:
        message = Message("{name}: {why}").format(name=name, why=error.message)
        raise ConfigError(message, hint=error.hint) from error


@dataclass(frozen=True, slots=True)
class Planned:
    """What a command is about to send: requests, with the pictures that each should bring and what it should cost."""

    requests: Sequence[ImageRequest]
    images: Sequence[int]
    quotes: Sequence[Quote]
    others: Sequence[Sequence[tuple[ImageRequest, Quote]]] = ()
    """The alternatives of each request: any of them may be sent instead of it."""

    @property
    def is_free(self) -> bool:
        return all(quote.source is Source.FREE for quote in self.quotes)

    @property
    def unpriced(self) -> list[str]:
        """What has no known price, as provider/model."""
        names = (_name(request, "/") for request, quote in self._all() if quote.source is Source.UNKNOWN)
        return list(dict.fromkeys(names))

    @property
    def units(self) -> list[str]:
        """In what it may cost something."""
        return list(dict.fromkeys(quote.total.unit for _, quote in self._all() if quote.total is not None))

    @property
    def highest(self) -> dict[str, Money]:
        """As `totals`, where the dearest alternative takes each request."""
        others = self.others or [()] * len(self.quotes)
        return totals(_dearest(quote, more) for quote, more in zip(self.quotes, others, strict=True))

    def _all(self) -> Iterable[tuple[ImageRequest, Quote]]:
        return chain(zip(self.requests, self.quotes, strict=True), *self.others)

    @property
    def totals(self) -> dict[str, Money]:
        return totals(quote.total for quote in self.quotes)


def _dearest(quote: Quote, others: Sequence[tuple[ImageRequest, Quote]]) -> Money | None:
    """Of the prices in the unit of the first that has one: amounts of different units cannot be compared."""
    known = [total for one in (quote, *(other for _, other in others)) if (total := one.total) is not None]
    return max((total for total in known if total.unit == known[0].unit), key=lambda total: total.micros, default=None)


def groups(plan: Planned) -> list[Planned]:
    """The same, apart by provider, model and price of a picture."""
    found: dict[tuple[Any, ...], list[tuple[ImageRequest, int, Quote]]] = {}
    for request, images, quote in zip(plan.requests, plan.images, plan.quotes, strict=True):
        found.setdefault((_name(request), quote.each, quote.source), []).append((request, images, quote))
    return [Planned(*map(list, zip(*group, strict=True))) for group in found.values()]


def amounts(tasks: int, images: int) -> Message:
    """`12 tasks, 24 pictures`."""
    return Message("{tasks}, {pictures}").format(tasks=_tasks(tasks), pictures=_pictures(images))


def _tasks(count: int) -> Message:
    return ngettext("{count} task", "{count} tasks", count)


def _pictures(count: int) -> Message:
    return ngettext("{count} picture", "{count} pictures", count)


def described(plan: Planned) -> Message:
    """`60 tasks · 240 pictures · studio 4.0 · about 9.60 usd (set)`."""
    makers = list(dict.fromkeys(map(_name, plan.requests)))
    shown, more = ", ".join(makers[:MAX_MAKERS]), len(makers) - MAX_MAKERS
    names = AND_MORE.format(names=shown, count=more) if more > 0 else shown
    parts = (_tasks(len(plan.requests)), _pictures(sum(plan.images)), names, cost(plan))
    return joined(" · ", filter(None, parts))


def cost_lines(plan: Planned) -> list[Message]:
    """A line for each provider, model and price, and the sum of several; none where all of it is free."""
    apart = groups(plan)
    if plan.is_free or not apart:
        return []
    total = Message("in all {cost}").format(cost=cost(plan))
    return [joined("", ("  ", line)) for line in (*map(described, apart), *([total] if len(apart) > 1 else []))]


def cost(plan: Planned) -> Message:
    """What it should cost, and who says so; what has no known price is named as such."""
    if plan.is_free:
        return FREE
    unknown = sum(quote.source is Source.UNKNOWN for quote in plan.quotes)
    if unknown == len(plan.quotes):
        return Message("price not known")
    known = _known_cost(plan) if plan.totals else None
    if not unknown:
        return known or Message("")
    unpriced = ngettext("{count} task without a known price", "{count} tasks without a known price", unknown)
    return unpriced if known is None else Message("{known} and {unpriced}").format(known=known, unpriced=unpriced)


def _known_cost(plan: Planned) -> Message:
    sources = dict.fromkeys(_source(quote.source) for quote in plan.quotes if quote.total is not None)
    return Message("about {sums} ({sources})").format(sums=listed(plan.totals), sources=joined(", ", sources))


def _source(source: Source) -> Message:
    word = SOURCES[source]
    return joined(" ", (word, as_of())) if source is Source.ESTIMATED else word


def _name(request: ImageRequest, between: str = " ") -> str:
    return between.join(filter(None, (request.provider, request.model)))


def check_budget(plan: Planned, limits: Sequence[Limit]) -> None:
    """Raise UsageError where a budget could not hold, because a price or its unit is not counted by it."""
    if gap := _gap(plan, limits):
        raise UsageError(gap.why, hint=Message("nothing was sent; {way}").format(way=gap.way))


class _Gap(NamedTuple):
    """Why a budget could not hold, and what a person can do."""

    why: Message
    way: Message


def _gap(plan: Planned, limits: Sequence[Limit]) -> _Gap | None:
    """What no budget counts of a plan: a price that is not known, or a unit."""
    if not limits:
        return None
    if plan.unpriced:
        name, unit = plan.unpriced[0], limits[0].amount.unit
        price = f"{'4' if unit == 'credits' else '0.05'}{unit}"
        return _Gap(
            Message("the price of {name} is not known, so no budget can hold").format(name=name),
            Message('--assume-price {price}, or [prices] "{name}" = "{price}" in the settings').format(
                name=name, price=price
            ),
        )
    if foreign := in_units(limits, plan.units):
        both = ",".join([*(limit.as_option for limit in limits), f"100{foreign[0]}"])
        return _Gap(
            Message("this costs {unit}, and no budget counts {unit}").format(unit=foreign[0]),
            Message("give a budget in it too: --budget {budgets}").format(budgets=both),
        )
    return None


def announce(plan: Planned) -> None:
    """Say what is about to be sent, where it may cost something and is more than one task or has a price."""
    if not plan.is_free and (plan.totals or len(plan.requests) > 1):
        say(described(plan))


def agree(plan: Planned, config: Config, *, yes: bool) -> bool:
    """Ask above the limits of the settings; whether that was needed. Raises UsageError where no person has agreed."""
    why = why_asked(plan, config)
    if yes or not why:
        return False
    if answers(Message("{what}: {why}. Send them? [y/N]").format(what=described(plan), why=why), ["yes"]):
        return True
    message = Message("{what}: {why}").format(what=described(plan), why=why)
    raise UsageError(message, hint=NOTHING_SENT if is_asked() else YES_SENDS)


def why_asked(plan: Planned, config: Config) -> str:
    """Why a person is to be asked; empty where nothing is above a limit.

    The built-in number of tasks asks on a terminal only: a script that worked goes on working, until its person sets a
    limit of their own.
    """
    number = _tasks_asked_above(config)
    limit = number or (MAX_UNASKED_TASKS if is_asked() and not plan.is_free else 0)
    if limit and len(plan.requests) > limit:
        return Message("more than {count} tasks (confirm_above)").format(count=limit)
    for most in _asked_above(config):
        if (total := plan.highest.get(most.unit)) is not None and total.micros > most.micros:
            return Message("more than {amount} (confirm_cost)").format(amount=str(most))
    return ""
