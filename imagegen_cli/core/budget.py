"""Limits on what may be spent, each in one unit: by one command, in a day, in a month."""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import Money, parse_money


class Period(StrEnum):
    """What is added up for a limit. A day and a month are those of the calendar.

    They are in this machine's own time, or in UTC where several machines share the history.
    """

    COMMAND = "command"
    DAY = "day"
    MONTH = "month"


class Limit(NamedTuple):
    """At most `amount` in `period`. A day's and a month's limit count every process of the history."""

    amount: Money
    period: Period = Period.COMMAND

    def begins(self, now: float, *, in_utc: bool = False) -> float:
        """When the period began, in seconds since the epoch; 0 for a command, whose charges are known by its number."""
        if self.period is Period.COMMAND:
            return 0.0
        if in_utc:
            midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            return (midnight if self.period is Period.DAY else midnight.replace(day=1)).timestamp()
        today = time.localtime(now)
        day = today.tm_mday if self.period is Period.DAY else 1
        return time.mktime((today.tm_year, today.tm_mon, day, 0, 0, 0, 0, 0, -1))

    @property
    def as_option(self) -> str:
        """The same as `--budget` takes it."""
        return str(self.amount).replace(" ", "") + ("" if self.period is Period.COMMAND else f"/{self.period}")

    def __str__(self) -> str:
        """A message, like that of an amount."""
        return str(self.amount) if self.period is Period.COMMAND else A_PERIOD[self.period].format(amount=self.amount)


A_PERIOD = {Period.DAY: Message("{amount} a day"), Period.MONTH: Message("{amount} a month")}


def parse_limits(text: str) -> tuple[Limit, ...]:
    """`5usd`, `5usd/day`, `5usd,100credits/month`. Raises UsageError."""
    limits = tuple(_limit(part) for part in text.split(",") if part.strip())
    if text.strip() and not limits:
        hint = Message("write it as 5usd, 5usd/day or 5usd/month")
        raise UsageError(Message("{text!r} is no budget").format(text=text), hint=hint)
    return limits


def _limit(text: str) -> Limit:
    amount, slash, period = text.partition("/")
    word = period.strip().lower()
    if slash and not re.fullmatch("day|month", word):
        wrong = Message("{period!r} is no period of a budget").format(period=period.strip())
        raise UsageError(wrong, hint=Message("write 5usd/day or 5usd/month"))
    return Limit(parse_money(amount), Period(word) if slash else Period.COMMAND)


def in_units(limits: Iterable[Limit], units: Iterable[str]) -> list[str]:
    """The units among `units` that no limit counts: what costs them would be spent without bound."""
    counted = {limit.amount.unit for limit in limits}
    return [unit for unit in dict.fromkeys(units) if unit not in counted]
