"""An amount of money as a value. What is read, added and told of it is in money.py, which stands above errors.py."""

from dataclasses import dataclass
from decimal import Decimal

MICROS = 1_000_000
"""Millionths in a unit."""


@dataclass(frozen=True, slots=True)
class Money:
    """`micros` are millionths of `unit`, which is one of UNITS."""

    micros: int
    unit: str

    def times(self, number: int) -> "Money":
        return Money(self.micros * number, self.unit)

    def __str__(self) -> str:
        amount = Decimal(self.micros) / MICROS
        text = f"{amount:.6f}".rstrip("0")
        whole, _, part = text.partition(".")
        if self.unit != "credits":
            part = part.ljust(2, "0")
        return f"{whole}.{part} {self.unit}" if part else f"{whole} {self.unit}"

    def plainly(self) -> dict[str, float | str]:
        """The same for JSON."""
        return {"amount": self.micros / MICROS, "unit": self.unit}
