"""What submits cost, added up by group and unit, and the texts of it that every form of the report has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imagegen_cli.core.budget import Limit
from imagegen_cli.core.money import Money, Source
from imagegen_cli.core.text import amount

SOURCES = (Source.TOLD, Source.PRICED, Source.SET, Source.ESTIMATED)
"""Those that say an amount, the surest first."""
AMOUNTS = (*map(str, SOURCES), "reserved", "uncertain")
IN_ALL = "in all"
EACH = "a picture"
ROUNDED = 100
"""Millionths to which the price of a picture is rounded: ten thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """What submits of one group cost in one unit, in millionths; `unit` is empty where no amount is known.

    `settled` has the amounts by who said them.
    """

    key: str
    unit: str = ""
    is_free: bool = False
    settled: Mapping[Source, int] = field(default_factory=dict)
    reserved: int = 0
    uncertain: int = 0
    submits: int = 0
    pictures: int = 0

    @property
    def price(self) -> str:
        return "free" if self.is_free else "known" if self.unit else "unknown"

    @property
    def each(self) -> Money | None:
        """What a picture cost on an average; None without a picture or without an amount."""
        spent = sum(self.settled.values())
        if not (self.unit and self.pictures and self.settled):
            return None
        return Money(round(spent / self.pictures / ROUNDED) * ROUNDED, self.unit)

    @property
    def amounts(self) -> dict[str, int | None]:
        """Millionths by the names of AMOUNTS; None where there is no unit."""
        known = {str(source): self.settled.get(source, 0) for source in SOURCES}
        known |= {"reserved": self.reserved, "uncertain": self.uncertain}
        return {name: micros if self.unit else None for name, micros in known.items()}


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """A limit in force, and what counts against it now; None for a command's limit, which each counts anew."""

    limit: Limit
    spent: Money | None

    @property
    def left(self) -> Money | None:
        if self.spent is None:
            return None
        return Money(max(0, self.limit.amount.micros - self.spent.micros), self.spent.unit)

    def __str__(self) -> str:
        if self.spent is None:
            return f"budget of a command: {self.limit.amount}"
        return (
            f"budget of a {self.limit.period}: {self.left} left; {self.spent} of {self.limit.amount} used or reserved"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """`by` is what the keys of the rows are: day, model, provider or run."""

    by: str
    rows: Sequence[CostRow]
    budgets: Sequence[BudgetLine] = ()

    @property
    def totals(self) -> list[CostRow]:
        """The sums, one for each unit, for what is free and for what has no known price."""
        return merged(replace(row, key=IN_ALL) for row in self.rows)

    @property
    def shown(self) -> list[CostRow]:
        """All lines of the table: the sums too, where they say more than one line does."""
        return [*self.rows, *(self.totals if len({row.key for row in self.rows}) > 1 else [])]


def merged(rows: Iterable[CostRow]) -> list[CostRow]:
    """Rows of the same key and unit added up; amounts of different units are never added."""
    found: dict[tuple[str, str, bool], CostRow] = {}
    for row in rows:
        name = row.key, row.unit, row.is_free
        found[name] = _added(found[name], row) if name in found else row
    return list(found.values())


def _added(one: CostRow, other: CostRow) -> CostRow:
    both = {*one.settled, *other.settled}
    return replace(
        one,
        settled={source: one.settled.get(source, 0) + other.settled.get(source, 0) for source in both},
        reserved=one.reserved + other.reserved,
        uncertain=one.uncertain + other.uncertain,
        submits=one.submits + other.submits,
        pictures=one.pictures + other.pictures,
    )


# For people


def cells_of(row: CostRow) -> dict[str, str]:
    """The texts of a row's columns but for its key; a text may be empty."""
    texts = {"submits": str(row.submits), "pictures": str(row.pictures)}
    texts |= {name: str(Money(micros, row.unit)) if micros else "" for name, micros in row.amounts.items()}
    return texts | {EACH: str(row.each or "") if row.unit else row.price}


def table_of(report: Report) -> list[list[str]]:
    """A head and the rows as texts; a column of amounts is there only where one of its amounts is."""
    rows = [(row.key, cells_of(row)) for row in report.shown]
    names = [name for name in rows[0][1] if name not in AMOUNTS or any(texts[name] for _, texts in rows)]
    return [[report.by, *names], *([key, *(texts[name] for name in names)] for key, texts in rows)]


def facts_of(row: CostRow) -> str:
    """A row in words, for a screen on which the table has no room."""
    texts = cells_of(row)
    said = [f"{texts[name]} {name}" for name in AMOUNTS if texts[name]]
    each = f"{row.each} {EACH}" if row.each else "" if row.unit else "free" if row.is_free else "price not known"
    return ", ".join(filter(None, (*said, amount(row.pictures, "picture"), each)))
