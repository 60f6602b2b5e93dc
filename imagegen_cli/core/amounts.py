"""An amount of money as a value. What is read, added and told of it is in money.py, which stands above errors.py."""

from typing import NamedTuple

from imagegen_cli.core.language import Message

MICROS = 1_000_000
"""Millionths in a unit."""


class Money(NamedTuple):
    """`micros` are millionths of `unit`, which is one of UNITS."""

    micros: int
    unit: str

    def times(self, number: int) -> "Money":
        return Money(self.micros * number, self.unit)

    def __str__(self) -> str:
        """A message where the unit is a word."""
        whole, rest = divmod(self.micros, MICROS)
        part = f"{rest:06d}".rstrip("0")
        if self.unit != "credits":
            part = part.ljust(2, "0")
        number = f"{whole}.{part}" if part else str(whole)
        if self.unit != "credits":
            return f"{number} {self.unit}"
        credits_ = Message("{number} credit") if self.micros == MICROS else Message("{number} credits")
        return credits_.format(number=number)

    def plainly(self) -> dict[str, float | str]:
        """The same for JSON."""
        return {"amount": self.micros / MICROS, "unit": self.unit}
