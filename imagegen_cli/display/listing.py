"""What `list` and `show` print: on a terminal like the live table; elsewhere without colour and never cut off."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from imagegen_cli.core.language import joined, tr, translated
from imagegen_cli.core.text import Printer, is_capable_terminal, literal, padded
from imagegen_cli.display.board import Row
from imagegen_cli.display.cell import CellContext, Measure, Place
from imagegen_cli.display.columns import LIST, PLAIN, PROMPT
from imagegen_cli.display.fields import LABEL, fields_of, service

Headings = Callable[[Sequence[int]], Mapping[int, str]]
"""Gives each run of these numbers the line that stands above its tasks."""


def print_list(
    rows: Sequence[Row],
    *,
    stdout: TextIO,
    environ: Mapping[str, str],
    now: float,
    headings: Headings | None = None,
) -> None:
    """Print one line per task; on a terminal by run, below the run's heading where it has one.

    A row needs its task and the moments that are known.
    """
    if not rows:
        return
    if not is_capable_terminal(stdout, environ):
        _write(plain_table(rows, now), stdout)
        return
    from imagegen_cli.display.table import draw_row, lay_out  # noqa: PLC0415 - Rich only where it draws
    from imagegen_cli.display.tables import heading  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - see above

    terminal = Terminal(stdout, environ)
    width, context = terminal.size.columns - 1, CellContext(now, terminal.theme)
    layout = lay_out(LIST, rows, width, max(len(str(row.task.id)) for row in rows), context)
    runs = by_run(rows)
    known = headings(list(runs)) if headings is not None else {}
    for number, (run, its_rows) in enumerate(runs.items()):
        if text := known.get(run):
            terminal.print(heading(text, width, terminal.theme, is_first=not number))
        terminal.print(draw_row(row, layout, context) for row in its_rows)


def by_run(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows by their run, in the order in which the runs come first."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.task.run, []).append(row)
    return found


def print_task(
    row: Row, *, stdout: TextIO, environ: Mapping[str, str], now: float, more: Mapping[str, str] | None = None
) -> None:
    """Print everything about one task; `more` are further labels and values."""
    if not is_capable_terminal(stdout, environ):
        _write(plain_lines(row, now, more or {}), stdout)
        return
    from imagegen_cli.display.details import file_lines, task_lines  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich only where it draws

    terminal = Terminal(stdout, environ)
    terminal.print(task_lines(row, now, terminal.size.columns - 1, terminal.theme, more, whole=True))
    terminal.print(file_lines(row.task, terminal.size.columns - 1, terminal.theme))


def plain_table(rows: Sequence[Row], now: float) -> Iterator[str]:
    """A line per row. Its columns are padded to their minimal widths and never cut off."""
    widths = [(place, place.width(_unlimited(place, rows, now))) for place in PLAIN]
    shown = [(place, cells) for place, cells in widths if cells or place.column is PROMPT]
    for row in rows:
        line = ""
        for place, cells in shown:
            text = place.column.text(row, now)
            line += " " * place.gap + (text.rjust(cells) if place.column.right else text.ljust(cells))
        yield line


def _unlimited(place: Place, rows: Sequence[Row], now: float) -> Measure:
    """The measure of a line that is not cut off."""
    widest = max(len(place.column.text(row, now)) for row in rows)
    return Measure(line=sys.maxsize, number=0, widest=lambda _: widest)


def plain_lines(row: Row, now: float, more: Mapping[str, str]) -> Iterator[str]:
    yield row.task.request.prompt
    yield translated(joined(", ", [tr("task {id}", id=row.task.id), *service(row.task.request)]))
    fields = [*fields_of(row, now), *more.items()]
    yield from (f"{padded(translated(name), LABEL)}{translated(value)}" for name, value in fields if value)
    yield from row.task.files


def _write(lines: Iterable[str], stdout: TextIO) -> None:
    printer = Printer(stdout)
    for line in lines:
        printer.line(literal(line, printer.encoding))
