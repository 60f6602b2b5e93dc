"""What was spent, as `costs` prints it: a table for people, CSV and JSON for programs.

JSON is one object a line, each with `"v": 1` and `kind`; amounts are numbers in `unit`, or null where nothing is said:

    cost    by (day, model, provider, run), key, unit (usd, cny, eur, credits; null where no amount is known), price
            (known, unknown, free), submits, pictures, told, priced, set, estimated, reserved, uncertain, each (of a
            picture)
    total   the same for all keys of a unit; key is null
    budget  period (command, day, month), unit, limit, spent (null for a command), left (null for a command)

CSV has a line of names and the same values of each `cost`.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TextIO

from imagegen_cli.core.amounts import MICROS
from imagegen_cli.core.language import translated
from imagegen_cli.core.text import Printer, encoded, is_capable_terminal, literal, padded, width
from imagegen_cli.display.cost_rows import AMOUNTS, BudgetLine, CostRow, Report, table_of

VERSION = 1
CSV_NAMES = ("v", "by", "key", "unit", "price", "submits", "pictures", *AMOUNTS, "each")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet begins to calculate with."""


def print_report(report: Report, *, stdout: TextIO, environ: Mapping[str, str]) -> None:
    """Print the table and the budgets; without rows the budgets only."""
    if not is_capable_terminal(stdout, environ):
        printer = Printer(stdout)
        for line in plain_lines(report):
            printer.line(literal(line, printer.encoding))
        return
    from imagegen_cli.display.cost_table import lines  # noqa: PLC0415 - Rich only where it draws
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - see above

    terminal = Terminal(stdout, environ)
    terminal.print(lines(report, terminal.size.columns - 1, terminal.theme))


def plain_lines(report: Report) -> Iterator[str]:
    """Columns padded to their widest texts and never cut off; the key on the left, all others on the right."""
    table = table_of(report) if report.rows else []
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    for key, *texts in table:
        rest = (" " * (cells - width(text)) + text for text, cells in zip(texts, widths[1:], strict=True))
        yield "  ".join([padded(key, widths[0]), *rest]).rstrip()
    yield from (translated(budget.text) for budget in report.budgets)


def print_json(report: Report, stdout: TextIO) -> None:
    data = Printer(stdout, "utf-8")
    for plain in objects_of(report):
        data.line(encoded(plain, data.encoding))


def objects_of(report: Report) -> Iterator[dict[str, Any]]:
    yield from (_object("cost", row, report.by) for row in report.rows)
    yield from (_object("total", row, report.by) | {"key": None} for row in report.totals)
    yield from map(_budget, report.budgets)


def _object(kind: str, row: CostRow, by: str) -> dict[str, Any]:
    amounts = {name: None if micros is None else micros / MICROS for name, micros in row.amounts.items()}
    head = {"v": VERSION, "kind": kind, "by": by, "key": row.key, "unit": row.unit or None, "price": row.price}
    counts = {"submits": row.submits, "pictures": row.pictures}
    return head | counts | amounts | {"each": row.each.micros / MICROS if row.each else None}


def _budget(line: BudgetLine) -> dict[str, Any]:
    limit = line.limit
    sums = {"limit": limit.amount, "spent": line.spent, "left": line.left}
    plain = {name: None if one is None else one.micros / MICROS for name, one in sums.items()}
    return {"v": VERSION, "kind": "budget", "period": str(limit.period), "unit": limit.amount.unit, **plain}


def print_csv(report: Report, stdout: TextIO) -> None:
    data = Printer(stdout, "utf-8")
    data.line(",".join(CSV_NAMES))
    for row in report.rows:
        amounts = ["" if micros is None else _decimal(micros) for micros in row.amounts.values()]
        each = _decimal(row.each.micros) if row.each else ""
        head = (str(VERSION), report.by, row.key, row.unit, row.price, str(row.submits), str(row.pictures))
        data.line(",".join(map(_quoted, (*head, *amounts, each))))


def _decimal(micros: int) -> str:
    """Exactly, without an exponent and without zeros at its end."""
    text = f"{Decimal(micros) / MICROS:.6f}".rstrip("0")
    return text.removesuffix(".")


def _quoted(text: str) -> str:
    """One value of CSV. A spreadsheet must not take a model's name for a formula."""
    text = literal(f"'{text}" if text.startswith(FORMULA) else text)
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"') else text
