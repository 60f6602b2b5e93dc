"""Prices as the services' own endpoints told them, and when. Every function works inside of a caller's transaction."""

import sqlite3
from collections.abc import Mapping

from imagegen_cli.core.money import Money, Price


def known(db: sqlite3.Connection, service: str, since: float, until: float) -> dict[str, Price | None]:
    """By model, what was told between two moments; None: the endpoint has no price for it."""
    rows = db.execute("SELECT * FROM price WHERE service = ? AND at >= ? AND at <= ?", (service, since, until))
    return {row["model"]: _price(row) for row in rows}


def keep(db: sqlite3.Connection, service: str, prices: Mapping[str, Price | None], at: float) -> None:
    for model, price in prices.items():
        columns = (price.amount.micros, price.amount.unit, price.per_megapixel) if price else (None, "", False)
        db.execute(
            "INSERT OR REPLACE INTO price (service, model, amount, unit, per_megapixel, at) VALUES (?, ?, ?, ?, ?, ?)",
            (service, model, *columns, at),
        )


def forget(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM price")


def _price(row: sqlite3.Row) -> Price | None:
    if row["amount"] is None:
        return None
    return Price(Money(row["amount"], row["unit"]), bool(row["per_megapixel"]))
