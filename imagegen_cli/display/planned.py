"""What `--dry-run` prints: a table on a terminal; elsewhere one JSON object per line."""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from imagegen_cli.core.text import Printer, encoded, is_capable_terminal


def print_plan(rows: Sequence[Mapping[str, Any]], *, as_json: bool, stdout: TextIO, environ: Mapping[str, str]) -> None:
    """Print the tasks that a run would send, and those that it would leave out, with the reason in `skip`."""
    if as_json or not is_capable_terminal(stdout, environ):
        data = Printer(stdout, "utf-8")
        for row in rows:
            data.line(encoded(dict(row), data.encoding))
        return
    from imagegen_cli.display.plan_table import lines  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich only where it draws

    terminal = Terminal(stdout, environ)
    terminal.print(lines(rows, terminal.size.columns - 1, terminal.theme))


def print_nothing(*, stdout: TextIO) -> None:
    """Print the summary of a run that has no task, for programs: they wait for one."""
    from imagegen_cli.display.board import Board  # noqa: PLC0415 - few commands end so
    from imagegen_cli.display.lines import summary_object  # noqa: PLC0415 - see above

    data = Printer(stdout, "utf-8")
    data.line(encoded(summary_object(Board(), 0.0), data.encoding))
