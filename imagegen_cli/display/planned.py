"""What `--dry-run` prints: a line a task on a terminal, in columns; elsewhere one JSON object a line."""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from imagegen_cli.core.text import Printer, encoded, is_capable_terminal


def print_plan(rows: Sequence[Mapping[str, Any]], *, as_json: bool, stdout: TextIO, environ: Mapping[str, str]) -> None:
    """Tasks that would be sent, and those that would be left out, with the reason in `skip`."""
    if as_json or not is_capable_terminal(stdout, environ):
        data = Printer(stdout, "utf-8")
        for row in rows:
            data.line(encoded(dict(row), data.encoding))
        return
    from imagegen_cli.display.plan_table import lines  # noqa: PLC0415 - see above
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich only where it draws

    terminal = Terminal(stdout, environ)
    terminal.print(lines(rows, terminal.size.columns - 1, terminal.theme))
