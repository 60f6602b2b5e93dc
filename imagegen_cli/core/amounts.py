"""An amount of money as a value. What is read, added and told of it is in money.py, which stands above errors.py."""

from typing import NamedTuple

MICROS = 1_000_000
"""Millionths in a unit."""


class Money(NamedTuple):
    """`micros` are millionths of `unit`, which is one of UNITS."""

    micros: int
    unit: str

    def times(self, number: int) -> "Money":
        return Money(self.micros * number, self.unit)

    def __str__(self) -> str:
        whole, rest = divmod(self.micros, MICROS)
        part = f"{rest:06d}".rstrip("0")
        if self.unit != "credits":
            part = part.ljust(2, "0")
        unit = "credit" if self.unit == "credits" and self.micros == MICROS else self.unit
        return f"{whole}.{part} {unit}" if part else f"{whole} {unit}"

    def plainly(self) -> dict[str, float | str]:
        """The same for JSON."""
        return {"amount": self.micros / MICROS, "unit": self.unit}
