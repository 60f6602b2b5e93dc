"""Prices as the services' own endpoints told them, and when. Every function works inside of a caller's transaction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from imagegen_cli.core.money import Money, Price

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection, Row


def known(db: "Connection", service: str, since: float, until: float) -> dict[str, Price | None]:
    """By model, what was told between two moments; None: the endpoint has no price for it."""
    rows = db.execute("SELECT * FROM price WHERE service = ? AND at >= ? AND at <= ?", (service, since, until))
    return {row["model"]: _price(row) for row in rows}


def keep(db: "Connection", service: str, prices: Mapping[str, Price | None], at: float) -> None:
    for model, price in prices.items():
        columns = (price.amount.micros, price.amount.unit, price.per_megapixel) if price else (None, "", False)
        db.execute(
            "INSERT INTO price (service, model, amount, unit, per_megapixel, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (service, model) DO UPDATE SET amount = excluded.amount, unit = excluded.unit,"
            " per_megapixel = excluded.per_megapixel, at = excluded.at",
            (service, model, *columns, at),
        )


def forget(db: "Connection") -> None:
    db.execute("DELETE FROM price")


def _price(row: "Row") -> Price | None:
    if row["amount"] is None:
        return None
    return Price(Money(row["amount"], row["unit"]), bool(row["per_megapixel"]))
