"""What tasks cost, as a display shows it: kept up to date as charges change, and never added across units."""

from collections import Counter
from collections.abc import Callable, Sequence

from imagegen_cli.core.charges import Charge, ChargeStatus
from imagegen_cli.core.language import Message, joined, translated
from imagegen_cli.core.money import UNITS, Money, Source, listed, totals

APPROXIMATE = (Source.SET, Source.PRICED, Source.ESTIMATED)
SAYS = {
    Source.TOLD: Message("told by the service"),
    Source.PRICED: Message("by the service's list of prices"),
    Source.SET: Message("by the price that you gave"),
    Source.ESTIMATED: Message("estimated"),
    Source.FREE: Message("free"),
    Source.UNKNOWN: Message("not known"),
}
"""Who says what something costs, for people."""
MAX_NAMED_TASKS = 12
"""Tasks that a command names one by one."""


class Costs:
    """Sums of charges by status and unit, in millionths."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[ChargeStatus, str]] = Counter()
        self._settled: Counter[Source] = Counter()

    def count(self, charge: Charge | None, step: int) -> None:
        """Add a charge, or take it away: `step` is 1 or -1."""
        if charge is None:
            return
        if charge.status is ChargeStatus.SETTLED:
            self._settled[charge.source] += step
        if charge.amount is not None:
            self._sums[charge.status, charge.amount.unit] += step * charge.amount.micros

    def amounts(self, status: ChargeStatus) -> list[Money]:
        return [Money(micros, unit) for unit in UNITS if (micros := self._sums[status, unit])]

    @property
    def is_told(self) -> bool:
        """Whether the services themselves told all that was spent."""
        return not any(self._settled[source] for source in APPROXIMATE)

    def __bool__(self) -> bool:
        """Whether there is something to show: what was returned is not."""
        return any(micros for (status, _), micros in self._sums.items() if status is not ChargeStatus.RETURNED)


def text(costs: Costs) -> str:
    """`spent 1.20 usd, reserved 0.36 usd, uncertain 0.04 usd`; empty where nothing has a price."""
    spent = Message("spent {amount}") if costs.is_told else Message("spent about {amount}")
    parts = (
        (spent, costs.amounts(ChargeStatus.SETTLED)),
        (Message("reserved {amount}"), costs.amounts(ChargeStatus.RESERVED)),
        (Message("uncertain {amount}"), costs.amounts(ChargeStatus.UNCERTAIN)),
    )
    said = (words.format(amount=listed(totals(amounts))) for words, amounts in parts if amounts)
    return translated(joined(", ", said))


def short_text(costs: Costs) -> str:
    """The same for a narrow line: `~1.20 usd +0.36 usd`; what may still be charged follows the plus sign."""
    about = "" if costs.is_told else "~"
    open_ = [*costs.amounts(ChargeStatus.RESERVED), *costs.amounts(ChargeStatus.UNCERTAIN)]
    still, spent = (translated(listed(totals(sums))) for sums in (open_, costs.amounts(ChargeStatus.SETTLED)))
    return " ".join(filter(None, (f"{about}{spent}" if spent else "", f"+{still}" if still else "")))


def of_task(charge: Charge | None, say: Callable[[str], str] = str) -> str:
    """What a task costs, for a column: `0.04 usd`, `~0.04 usd` by a price, `0.04 usd?` uncertain; `?`: not known.

    Empty where it costs nothing, and where nothing is known of it. `say` puts the amount into a language.
    """
    if charge is None or charge.source is Source.FREE or charge.status is ChargeStatus.RETURNED:
        return ""
    doubt = "?" if charge.status is ChargeStatus.UNCERTAIN else ""
    if charge.amount is None:
        return "?"
    return f"{'~' if charge.source in APPROXIMATE else ''}{say(str(charge.amount))}{doubt}"


def described(charge: Charge | None, task: int) -> str:
    """What a task costs, who says so, and what a person can do where that is uncertain; empty where it is free."""
    if charge is None or charge.source is Source.FREE:
        return ""
    said = Message("{amount} ({source})").format(amount=str(charge.amount), source=SAYS[charge.source])
    price = said if charge.amount is not None else Message("a price that is not known")
    match charge.status:
        case ChargeStatus.RESERVED:
            return Message("reserved: {price}").format(price=price)
        case ChargeStatus.SETTLED:
            return price if charge.amount is not None else Message("not known")
        case ChargeStatus.UNCERTAIN:
            settles = how_to_settle([task], is_priced=charge.amount is not None)
            uncertain = Message("uncertain, it may have been charged: {price}; {advice}")
            return uncertain.format(price=price, advice=settles)
        case ChargeStatus.RETURNED:
            return Message("nothing was charged")


def how_to_settle(tasks: Sequence[int], *, is_priced: bool = True) -> Message:
    """The command by which a person says what became of uncertain submits; what has no price needs an amount."""
    amount = "" if is_priced else " --amount 0.04usd"
    which = " ".join(map(str, tasks)) if len(tasks) <= MAX_NAMED_TASKS else "--all"
    advice = Message("if you know it: imagegen settle {tasks} --paid{amount}, or --unpaid")
    return advice.format(tasks=which, amount=amount)


def plainly(costs: Costs) -> dict[str, list[dict[str, float | str]]]:
    """The same for JSON."""
    shown = (ChargeStatus.SETTLED, ChargeStatus.RESERVED, ChargeStatus.UNCERTAIN)
    return {str(status): [amount.plainly() for amount in costs.amounts(status)] for status in shown}
