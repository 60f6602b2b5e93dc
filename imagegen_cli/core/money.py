"""Amounts of money, and who says what something costs.

An amount is a whole number of millionths of one unit, so that sums are exact. Amounts of different units are never
added.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.core.amounts import MICROS, Money
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Money", "Price", "Quote", "Source", "listed", "money", "parse_money", "told", "totals"]

UNITS = ("usd", "cny", "eur", "credits")
SYMBOLS = {"$": "usd", "€": "eur", "元": "cny", "rmb": "cny", "credit": "credits", "积分": "credits"}
"""What people also write for a unit. ¥ is two currencies, so it is none here."""
MAX_MICROS = 10**15
"""A thousand million units: the sum of many such amounts still fits the database's integers."""
FORM = r"\s*([$€]?)\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z元积分]*)\s*"


def parse_money(text: str) -> Money:
    """`0.04usd`, `5 cny`, `$5`, `12 credits`. Raises UsageError."""
    found = re.fullmatch(FORM, text, re.IGNORECASE)
    symbol, number, word = found.groups() if found else ("", "", "")
    unit = SYMBOLS.get(symbol, "") or SYMBOLS.get(word.lower(), word.lower())
    if not found or unit not in UNITS or (symbol and word):
        hint = Message("write a number and one of {units}, as 0.04usd").format(units=", ".join(UNITS))
        raise UsageError(Message("{text!r} is no amount of money").format(text=text), hint=hint)
    return money(number, unit)


def money(amount: "str | float | Decimal", unit: str) -> Money:
    """An amount, rounded to a millionth. Raises UsageError where it is negative, too large or no number."""
    from decimal import Decimal  # noqa: PLC0415 - `list` reads no amounts

    micros = Decimal(str(amount)) * MICROS
    if not micros.is_finite() or not 0 <= micros <= MAX_MICROS:
        most = Message("an amount is a number from 0 to {most}").format(most=MAX_MICROS // MICROS)
        wrong = Message("{amount} {unit} is no amount that can be spent").format(amount=str(amount), unit=unit)
        raise UsageError(wrong, hint=most)
    return Money(int(micros.to_integral_value()), unit)


def told(amount: object, unit: str) -> Money | None:
    """An amount that a service tells in its answer; None where it is no number that can be meant."""
    from decimal import Decimal  # noqa: PLC0415

    if isinstance(amount, bool) or not isinstance(amount, int | float | Decimal) or unit not in UNITS:
        return None
    try:
        return money(amount, unit)
    except (UsageError, ArithmeticError, ValueError):
        return None


def totals(amounts: Iterable[Money | None]) -> dict[str, Money]:
    """Sums, by unit, in the order of UNITS; amounts that are not known are left out."""
    sums: dict[str, int] = {}
    for amount in amounts:
        if amount is not None:
            sums[amount.unit] = sums.get(amount.unit, 0) + amount.micros
    return {unit: Money(sums[unit], unit) for unit in UNITS if unit in sums}


def listed(sums: Mapping[str, Money]) -> str:
    """Sums as a message, one after the other: they have different units, so they are never added."""
    return joined(" + ", (str(amount) for amount in sums.values()))


class Source(StrEnum):
    """Who says what something costs."""

    TOLD = "told"
    PRICED = "priced"
    SET = "set"
    ESTIMATED = "estimated"
    FREE = "free"
    UNKNOWN = "unknown"


class Quote(NamedTuple):
    """What a request is expected to cost before it is sent. `each` is the price of one picture; None: not known."""

    images: int
    each: Money | None
    source: Source

    @property
    def total(self) -> Money | None:
        return None if self.each is None else self.each.times(self.images)


class Price(NamedTuple):
    """What a service's price endpoint asks for one picture or, with `per_megapixel`, for each million pixels of it."""

    amount: Money
    per_megapixel: bool = False


NOT_KNOWN = Quote(1, None, Source.UNKNOWN)
