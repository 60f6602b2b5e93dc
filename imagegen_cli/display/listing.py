"""What `list` and `show` print: in the look of the live table on a terminal; elsewhere whole text and no colour."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from imagegen_cli.core.task import word
from imagegen_cli.core.text import Printer, is_capable_terminal, literal
from imagegen_cli.display.board import Row
from imagegen_cli.display.fields import LABEL, brief, facts, images_of, model_of, moment, service


def print_list(rows: Sequence[Row], *, stdout: TextIO, environ: Mapping[str, str], now: float) -> None:
    """A line a task. A row needs a task and the moments that are known."""
    if not rows:
        return
    if not is_capable_terminal(stdout, environ):
        _write((plain_line(row) for row in rows), stdout)
        return
    from imagegen_cli.display.details import list_line, widths  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich only where it draws

    terminal = Terminal(stdout, environ)
    sizes = widths(rows, now, terminal.size.columns - 1)
    terminal.print(list_line(row, now, sizes, terminal.theme) for row in rows)


def print_task(
    row: Row, *, stdout: TextIO, environ: Mapping[str, str], now: float, more: Mapping[str, str] | None = None
) -> None:
    """Everything about one task; `more` adds what only the caller knows."""
    if not is_capable_terminal(stdout, environ):
        _write(plain_lines(row, now, more or {}), stdout)
        return
    from imagegen_cli.display.details import file_lines, task_lines  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich only where it draws

    terminal = Terminal(stdout, environ)
    terminal.print(task_lines(row, now, terminal.size.columns - 1, terminal.theme, more))
    terminal.print(file_lines(row.task, terminal.theme))


def plain_line(row: Row) -> str:
    state = word(row.task.state)
    why = f": {brief(row)}" if brief(row) != state else ""
    columns = (f"{row.task.id:>5}", f"{state + why:<22}", moment(row.created), f"{images_of(row):>5}")
    return "  ".join([*columns, f"{model_of(row):<12}", row.task.request.prompt])


def plain_lines(row: Row, now: float, more: Mapping[str, str]) -> Iterator[str]:
    yield row.task.request.prompt
    yield ", ".join([f"task {row.task.id}", *service(row.task.request)])
    yield from (f"{name:<{LABEL}}{value}" for name, value in [*facts(row, now), *more.items()] if value)
    yield from row.task.files


def _write(lines: Iterable[str], stdout: TextIO) -> None:
    printer = Printer(stdout)
    for line in lines:
        printer.line(literal(line, printer.encoding))
