"""Tables of short facts on a terminal, in the signs and colours of the live table: providers, models, checks.

The columns of a row stand side by side as far as they have room; the others follow below the row, each on lines of its
own. Nothing is cut off.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from rich.segment import Segment

from imagegen_cli.core.language import translated
from imagegen_cli.core.text import literal
from imagegen_cli.display.paragraphs import Piece, paragraph
from imagegen_cli.display.terminal import Terminal
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import (
    BOLD,
    DIM,
    STATE_STYLES,
    STYLES,
    Line,
    LineBuilder,
    StyleName,
    Theme,
    linked_style,
)

GAP = 2
MIN_FLOWING = 24
"""Cells in which a text of several words is broken beside other columns; with less it follows below them."""
UNASKED = "--"
"""The sign of what a service cannot be asked. It is the same in every encoding."""
LABEL = 8
"""Cells of the label of most checks."""


SIGNED_STATES = {state.__name__.lower(): state for state in STATE_STYLES}


class Item(NamedTuple):
    """A row: its texts, the name of its sign (see `sign`), and the places among its texts that are paths."""

    cells: Sequence[str]
    sign: str = ""
    paths: Collection[int] = ()


class Layout(NamedTuple):
    """Cells of the sign with the blank behind it, and of each column; and how many columns stand side by side.

    The last of these may flow: it takes the rest of the line, and as many lines as it needs.
    """

    sign: int
    widths: Sequence[int]
    beside: int


def sign(name: str, theme: Theme) -> tuple[str, StyleName]:
    """A sign and its style by its name: ok, warn, no, --, chosen, ready, absent, or the word of a task's state.

    Another name has no sign.
    """
    known: Mapping[str, tuple[str, StyleName]] = {
        "ok": (theme.done, "good"),
        "warn": ("!", "alert"),
        "no": (theme.failed, "bad"),
        UNASKED: (UNASKED, "dim"),
        "chosen": (theme.leads, "good"),
        "ready": (theme.done, "good"),
        "absent": (theme.queued, "dim"),
    }
    if name in SIGNED_STATES:
        return getattr(theme, name), STATE_STYLES[SIGNED_STATES[name]]
    return known.get(name, ("", "plain"))


def print_items(
    items: Sequence[Item],
    *,
    stream: TextIO,
    environ: Mapping[str, str],
    heads: Sequence[str] = (),
    legend: Mapping[str, str] | None = None,
    remark: str = "",
    styles: Sequence[StyleName] = ("plain",),
) -> None:
    """Draw the table, and below it what those signs mean that stand in it; `stream` is a capable terminal.

    `remark` is one more line of the legend. `styles` are those of the columns; the last one is for all others.
    """
    terminal = Terminal(stream, environ)
    width, theme = terminal.size.columns - 1, terminal.theme
    terminal.print(table_lines(items, width, theme, heads=heads, styles=styles))
    terminal.print(legend_lines({item.sign for item in items}, legend or {}, width, theme))
    terminal.print([[], [Segment(translated(remark), DIM)]] if remark else [])


def table_lines(
    items: Sequence[Item],
    width: int,
    theme: Theme,
    *,
    heads: Sequence[str] = (),
    styles: Sequence[StyleName] = ("plain",),
) -> Iterator[Line]:
    """The head, where all columns stand side by side, and each row."""
    head, *rows = map(_in_our_language, (Item(heads), *items))
    layout = laid_out([*([head] if heads else []), *rows], width, theme)
    if heads and layout.beside == len(layout.widths):
        yield from _row(head, layout, width, theme, ["dim"])
    for item in rows:
        yield from _row(item, layout, width, theme, styles)


def _in_our_language(item: Item) -> Item:
    return item._replace(cells=[translated(cell) for cell in item.cells])


def laid_out(items: Sequence[Item], width: int, theme: Theme) -> Layout:
    signs = max((cell_width(sign(item.sign, theme)[0]) for item in items), default=0)
    signs += 1 if signs else 0
    widths = [_widest(items, at, theme) for at in range(max((len(item.cells) for item in items), default=0))]
    left, beside = width - signs, 0
    for at, cells in enumerate(widths):
        room = left - (GAP if at else 0)
        if cells > room and not (at == len(widths) - 1 and room >= MIN_FLOWING):
            break
        left, beside = room - cells, at + 1
    return Layout(signs, widths, max(1, beside))


def _widest(items: Iterable[Item], at: int, theme: Theme) -> int:
    cells = (cell_width(literal(item.cells[at], theme.encoding)) for item in items if at < len(item.cells))
    return max(cells, default=0)


def _row(item: Item, layout: Layout, width: int, theme: Theme, styles: Sequence[StyleName]) -> Iterator[Line]:
    if not any(item.cells):
        yield []
        return
    builder, at = LineBuilder(), layout.sign
    if layout.sign:
        text, name = sign(item.sign, theme)
        builder.put(text, layout.sign - 1, STYLES[name]).gap(1)
    last = min(layout.beside, len(item.cells)) - 1
    for index in range(last):
        shown = literal(item.cells[index], theme.encoding)
        drawn = STYLES[styles[min(index, len(styles) - 1)]]
        drawn = linked_style(drawn, item.cells[index], theme) if index in item.paths else drawn
        cells = cell_width(shown) if drawn.link else layout.widths[index]
        builder.put(shown, cells, drawn).gap(GAP + layout.widths[index] - cells)
        at += layout.widths[index] + GAP
    head = builder.line
    for index in range(last, len(item.cells)):
        if not head and not item.cells[index]:
            continue
        style = styles[min(index, len(styles) - 1)]
        yield from _flow(item.cells[index], at, width, theme, style, head=head, is_path=index in item.paths)
        head, at = [], layout.sign or GAP


def _flow(
    text: str, at: int, width: int, theme: Theme, style: StyleName, *, head: Line, is_path: bool = False
) -> Iterator[Line]:
    """A text from this cell on, in as many lines as it needs; a path stays on one. `head` is what stands before it."""
    shown = literal(text, theme.encoding)
    pieces = [Piece(at, shown)] if is_path else paragraph(text, width, first=at, hanging=at, encoding=theme.encoding)
    drawn = linked_style(STYLES[style], text, theme) if is_path else STYLES[style]
    if head and not (pieces and pieces[0].indent == at):
        yield head  # the first word is wider than its column, and goes below
        head = []
    for piece in pieces:
        yield [*(head or _blank(piece.indent)), Segment(piece.text, drawn)]
        head = []


def _blank(cells: int) -> Line:
    return [Segment(" " * cells)] if cells else []


def legend_lines(used: Iterable[str], legend: Mapping[str, str], width: int, theme: Theme) -> list[Line]:
    """An empty line, and what each sign means that was used; none where no sign has a meaning."""
    known = set(used)
    lines: list[Line] = []
    at = 0
    for name in legend:
        if name not in known:
            continue
        shown, style = sign(name, theme)
        meaning = translated(legend[name])
        cells = cell_width(shown) + 1 + cell_width(meaning)
        if not lines or at + GAP + cells > width:
            lines += [[]] if lines else [[], []]
            at = 0
        else:
            lines[-1].append(Segment(" " * GAP))
            at += GAP
        lines[-1] += [Segment(shown, STYLES[style]), Segment(f" {meaning}", DIM)]
        at += cells
    return lines


def heading(text: str, width: int, theme: Theme, *, is_first: bool) -> Iterator[Line]:
    """What the lines below are about, after an empty line."""
    if not is_first:
        yield []
    for piece in paragraph(translated(text), width, hanging=GAP, encoding=theme.encoding):
        yield [*_blank(piece.indent), Segment(piece.text, BOLD)]


class Check(NamedTuple):
    """The name of its sign, what was looked at, what was found, and what to do."""

    sign: str
    label: str
    message: str
    advice: str = ""


def check_lines(check: Check, width: int, theme: Theme) -> Iterator[Line]:
    """A check, and below it what to do."""
    name, (label, message, advice) = check.sign, map(translated, check[1:])
    text, style = sign(name, theme)
    signs, cells = len(UNASKED), max(LABEL, cell_width(label))
    head = LineBuilder().put(text, signs, STYLES[style]).gap(1).put(label, cells, DIM).gap(GAP).line
    at = signs + 1 + cells + GAP
    below = signs + 1 + LABEL + GAP
    below = below if width - below >= MIN_FLOWING else signs + 1
    pieces = paragraph(message, width, first=at, hanging=below, encoding=theme.encoding)
    if not (pieces and pieces[0].indent == at):
        yield head
        head = []
    for piece in pieces:
        yield [*(head or _blank(piece.indent)), Segment(piece.text)]
        head = []
    lead = f"{theme.leads} "
    for piece in paragraph(advice, width - len(lead), first=below, hanging=below, encoding=theme.encoding):
        yield [*_blank(piece.indent), Segment(lead, STYLES["alert"]), Segment(piece.text)]
        lead = " " * len(lead)
