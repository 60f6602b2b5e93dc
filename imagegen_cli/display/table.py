"""Lays out the columns of a table and draws its rows. The columns themselves are in `columns`."""

from collections.abc import Callable, Iterator, Sequence

from imagegen_cli.display.board import Row
from imagegen_cli.display.cell import CellContext, Measure, Place
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import CHOSEN, PLAIN, STYLES, Line, LineBuilder

ALL = 100
"""Percent."""

Layout = Sequence[tuple[Place, int]]
"""The columns that a line has room for, each with its cells."""


def lay_out(table: Sequence[Place], rows: Sequence[Row], width: int, number: int, context: CellContext) -> Layout:
    """The layout of lines of `width` cells. `number` is the length of the longest task number."""
    cells = [place.width(Measure(width, number, _widest(place, rows, context))) for place in table]
    kept = [(place, taken) for place, taken in zip(table, cells, strict=True) if taken]
    left = width - sum(place.gap + (0 if place.share else taken) for place, taken in kept if place.share in (0, ALL))
    shares: dict[int, int] = {}
    for place in sorted((place for place, _ in kept if place.share), key=lambda place: place.share):
        taken = shares[place.share] = max(0, left * place.share // ALL)
        left -= taken + place.gap if taken else 0
    sized = ((place, shares[place.share] if place.share else taken) for place, taken in kept)
    return [(place, taken) for place, taken in sized if taken]


def _widest(place: Place, rows: Sequence[Row], context: CellContext) -> Callable[[int], int]:
    def widest(limit: int) -> int:
        text, now, fit = place.column.text, context.now, context.theme.fit
        found = 0
        for row in rows:
            found = max(found, cell_width(fit(text(row, now), limit)))
            if found == limit:
                break
        return found

    return widest


def draw_row(row: Row, layout: Layout, context: CellContext) -> Line:
    now, fit = context.now, context.theme.fit
    is_chosen = row.task.id == context.chosen
    builder = LineBuilder(CHOSEN if is_chosen else PLAIN, one_style=is_chosen)
    pointer = context.theme.pointer if is_chosen else ""
    for at, (place, cells) in enumerate(layout):
        column = place.column
        if place.gap:
            builder.gap(place.gap, pointer)
            pointer = ""
        if column.spans is not None:
            if column.spreads is not None and column.spreads(row):
                whole = cells + sum(after.gap + room for after, room in layout[at + 1 :])
                builder.put_spans(column.spans(row, context, whole), whole)
                break
            builder.put_spans(column.spans(row, context, cells), cells)
            continue
        style = column.style
        name = style if isinstance(style, str) else style(row, context)
        text = column.text(row, now)
        if not (len(text) <= cells and text.isascii() and text.isprintable()):
            text = fit(text, cells)  # most texts are short ASCII, which needs no fitting
        builder.put(text, cells, STYLES[name], right=column.right)
    return builder.line


def draw_rows(
    table: Sequence[Place], rows: Sequence[Row], width: int, number: int, context: CellContext
) -> Iterator[Line]:
    layout = lay_out(table, rows, width, number, context)
    return (draw_row(row, layout, context) for row in rows)
