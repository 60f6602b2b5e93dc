"""The table of `costs` on a terminal."""

from collections.abc import Sequence

from imagegen_cli.core.language import translated
from imagegen_cli.display.cost_rows import IN_ALL, Report, facts_of, table_of
from imagegen_cli.display.text_width import cell_width, wrapped
from imagegen_cli.display.theme import ALERT, BOLD, DIM, PLAIN, Line, LineBuilder, Theme

GAP = 2
MAX_KEY = 32
MIN_KEY = 10
"""Cells of the key: a date always has room."""
MAX_LINES = 20


def lines(report: Report, width: int, theme: Theme) -> list[Line]:
    """The table; on a narrow screen a paragraph for each row instead. Then the budgets; without rows only these."""
    if not report.rows:
        return _budgets(report, width, theme)
    table = [[theme.fit(row[0], MAX_KEY), *row[1:]] for row in table_of(report)]
    widths = [max(map(cell_width, column)) for column in zip(*table, strict=True)]
    spare = width - sum(widths) - GAP * (len(widths) - 1)
    if spare >= 0 or widths[0] + spare >= MIN_KEY:
        widths[0] += min(0, spare)
        body = [_row(row, widths, theme, is_head=not number) for number, row in enumerate(table)]
    else:
        body = [line for row in report.shown for line in _paragraph(translated(row.key), facts_of(row), width, theme)]
    return [*body, *([[]] if report.budgets else []), *_budgets(report, width, theme)]


def _row(texts: Sequence[str], widths: Sequence[int], theme: Theme, *, is_head: bool) -> Line:
    style = DIM if is_head else BOLD if texts[0] == translated(IN_ALL) else PLAIN
    builder = LineBuilder().put(theme.fit(texts[0], widths[0]), widths[0], style)
    for text, cells in zip(texts[1:], widths[1:], strict=True):
        builder.gap(GAP).put(text, cells, style, right=True)
    return builder.line


def _paragraph(key: str, facts: str, width: int, theme: Theme) -> list[Line]:
    """The key, and below it everything else, broken between words."""
    shown, indent = theme.fit(key, width), min(GAP, width - 1)
    parts = wrapped(facts, width - indent, MAX_LINES, theme.encoding, theme.more)
    below = [LineBuilder().gap(indent).put(part, cell_width(part)).line for part in parts]
    return [LineBuilder().put(shown, cell_width(shown), BOLD).line, *below]


def _budgets(report: Report, width: int, theme: Theme) -> list[Line]:
    """Each budget, in the colour of a warning where nothing is left of it."""
    found: list[Line] = []
    for budget in report.budgets:
        style = ALERT if budget.left is not None and not budget.left.micros else PLAIN
        parts = wrapped(translated(budget.text), max(1, width), MAX_LINES, theme.encoding, theme.more)
        found += [LineBuilder().put(part, cell_width(part), style).line for part in parts]
    return found
