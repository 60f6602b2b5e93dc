"""What tasks cost, as a display shows it: kept up to date as charges change, and never added across units."""

from collections import Counter
from collections.abc import Iterable

from imagegen_cli.core.charges import Charge, ChargeStatus
from imagegen_cli.core.money import UNITS, Money, Source

APPROXIMATE = (Source.SET, Source.PRICED, Source.ESTIMATED)


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
        return any(self._sums.values())


def text(costs: Costs) -> str:
    """`spent 1.20 usd, reserved 0.36 usd, uncertain 0.04 usd`; empty where nothing has a price."""
    about = "" if costs.is_told else "about "
    parts = (
        (f"spent {about}", costs.amounts(ChargeStatus.SETTLED)),
        ("reserved ", costs.amounts(ChargeStatus.RESERVED)),
        ("uncertain ", costs.amounts(ChargeStatus.UNCERTAIN)),
    )
    return ", ".join(f"{word}{_listed(amounts)}" for word, amounts in parts if amounts)


def plainly(costs: Costs) -> dict[str, list[dict[str, float | str]]]:
    """The same for JSON."""
    shown = (ChargeStatus.SETTLED, ChargeStatus.RESERVED, ChargeStatus.UNCERTAIN)
    return {str(status): [amount.plainly() for amount in costs.amounts(status)] for status in shown}


def _listed(amounts: Iterable[Money]) -> str:
    return " + ".join(map(str, amounts))
