"""What submits cost, added up by group and unit, and the texts of it that every form of the report has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imagegen_cli.core.budget import Limit, Period
from imagegen_cli.core.language import Message, joined, ngettext, translated
from imagegen_cli.core.money import Money, Source

SOURCES = (Source.TOLD, Source.PRICED, Source.SET, Source.ESTIMATED)
"""Those that say an amount, the surest first."""
AMOUNTS = (*map(str, SOURCES), "reserved", "uncertain")
IN_ALL = Message("in all")
EACH = "a picture"
HEADS = {
    "day": Message("day"), "model": Message("model"), "provider": Message("provider"), "run": Message("run"),
    "submits": Message("submits"), "pictures": Message("pictures"), "told": Message("told"),
    "priced": Message("priced"), "set": Message("set"), "estimated": Message("estimated"),
    "reserved": Message("reserved"), "uncertain": Message("uncertain"), EACH: Message("a picture"),
}  # fmt: skip
"""The heads of the table by the names of its columns."""
SAID = {
    "told": Message("{amount} told"), "priced": Message("{amount} priced"), "set": Message("{amount} set"),
    "estimated": Message("{amount} estimated"), "reserved": Message("{amount} reserved"),
    "uncertain": Message("{amount} uncertain"),
}  # fmt: skip
"""An amount in words, by the names of AMOUNTS."""
PRICES = {"free": Message("free"), "unknown": Message("unknown")}
OF_PERIOD = {
    Period.DAY: Message("budget of a day: {left} left; {spent} of {limit} used or reserved"),
    Period.MONTH: Message("budget of a month: {left} left; {spent} of {limit} used or reserved"),
}
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

    @property
    def text(self) -> Message:
        if self.spent is None:
            return Message("budget of a command: {limit}").format(limit=self.limit.amount)
        words = OF_PERIOD[self.limit.period]
        return words.format(left=self.left, spent=self.spent, limit=self.limit.amount)


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


# For people, in the language in use


def cells_of(row: CostRow) -> dict[str, str]:
    """The texts of a row's columns but for its key, by the names of the columns; a text may be empty."""
    texts = {"submits": str(row.submits), "pictures": str(row.pictures)}
    sums = {name: str(Money(micros, row.unit)) if micros else "" for name, micros in row.amounts.items()}
    each = str(row.each or "") if row.unit else PRICES[row.price]
    return texts | {name: translated(text) for name, text in (sums | {EACH: each}).items()}


def table_of(report: Report) -> list[list[str]]:
    """A head and the rows as texts; a column of amounts is there only where one of its amounts is."""
    rows = [(row.key, cells_of(row)) for row in report.shown]
    names = [name for name in rows[0][1] if name not in AMOUNTS or any(texts[name] for _, texts in rows)]
    heads = [translated(HEADS[name]) for name in (report.by, *names)]
    return [heads, *([translated(key), *(texts[name] for name in names)] for key, texts in rows)]


def facts_of(row: CostRow) -> str:
    """A row in words, for a screen on which the table has no room."""
    texts = cells_of(row)
    said = [SAID[name].format(amount=texts[name]) for name in AMOUNTS if texts[name]]
    pictures = ngettext("{count} picture", "{count} pictures", row.pictures)
    return translated(joined(", ", filter(None, (*said, pictures, _price_in_words(row)))))


def _price_in_words(row: CostRow) -> str:
    if row.each:
        return Message("{amount} a picture").format(amount=row.each)
    return "" if row.unit else PRICES["free"] if row.is_free else Message("price not known")
