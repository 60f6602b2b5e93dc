"""What `list` and `show` print: on a terminal like the live table; elsewhere without colour and never cut off."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from imagegen_cli.core.text import Printer, is_capable_terminal, literal
from imagegen_cli.display.board import Row
from imagegen_cli.display.cell import CellContext, Measure
from imagegen_cli.display.columns import LIST, PLAIN
from imagegen_cli.display.fields import LABEL, fields_of, service

UNLIMITED = Measure(line=sys.maxsize, number=0, widest=lambda _: 0)
"""Of a line that is not cut off."""


def print_list(rows: Sequence[Row], *, stdout: TextIO, environ: Mapping[str, str], now: float) -> None:
    """Print one line per task. A row needs its task and the moments that are known."""
    if not rows:
        return
    if not is_capable_terminal(stdout, environ):
        _write((plain_line(row, now) for row in rows), stdout)
        return
    from imagegen_cli.display.table import draw_rows  # noqa: PLC0415 - Rich only where it draws
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - see above

    terminal = Terminal(stdout, environ)
    number = max(len(str(row.task.id)) for row in rows)
    terminal.print(draw_rows(LIST, rows, terminal.size.columns - 1, number, CellContext(now, terminal.theme)))


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
    terminal.print(task_lines(row, now, terminal.size.columns - 1, terminal.theme, more))
    terminal.print(file_lines(row.task, terminal.theme))


def plain_line(row: Row, now: float) -> str:
    """The columns of a row, each padded to its minimal width and never cut off."""
    line = ""
    for place in PLAIN:
        text, cells = place.column.text(row, now), place.width(UNLIMITED)
        line += " " * place.gap + (text.rjust(cells) if place.column.right else text.ljust(cells))
    return line


def plain_lines(row: Row, now: float, more: Mapping[str, str]) -> Iterator[str]:
    yield row.task.request.prompt
    yield ", ".join([f"task {row.task.id}", *service(row.task.request)])
    yield from (f"{name:<{LABEL}}{value}" for name, value in [*fields_of(row, now), *more.items()] if value)
    yield from row.task.files


def _write(lines: Iterable[str], stdout: TextIO) -> None:
    printer = Printer(stdout)
    for line in lines:
        printer.line(literal(line, printer.encoding))
