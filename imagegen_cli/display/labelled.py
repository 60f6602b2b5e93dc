"""Headings with labelled values below them, as `show` and `info` print them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from imagegen_cli.core.language import tr, translated
from imagegen_cli.core.text import Printer, is_capable_terminal, literal, padded
from imagegen_cli.display.fields import LABEL

MAX_SHOWN_CHARACTERS = 4000
"""Of one value; a file may claim megabytes."""


class Block(NamedTuple):
    """`heading` is never shortened or broken, so that a path can be copied. A field without a value is left out."""

    heading: str
    fields: Sequence[tuple[str, str]]


def print_blocks(blocks: Sequence[Block], *, stdout: TextIO, environ: Mapping[str, str]) -> None:
    """Wrapped and coloured on a terminal; elsewhere a line for each value. An empty line stands between blocks."""
    if is_capable_terminal(stdout, environ):
        _draw(blocks, stdout, environ)
        return
    printer = Printer(stdout)
    for number, block in enumerate(blocks):
        for line in [*([""] if number else []), translated(block.heading), *_plain(block)]:
            printer.line(literal(line, printer.encoding))


def _plain(block: Block) -> Iterator[str]:
    return (f"{padded(translated(label), LABEL)}{shown(value)}" for label, value in block.fields if value)


def _draw(blocks: Sequence[Block], stdout: TextIO, environ: Mapping[str, str]) -> None:
    from rich.segment import Segment  # noqa: PLC0415 - Rich only where it draws

    from imagegen_cli.display.details import labelled  # noqa: PLC0415
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415
    from imagegen_cli.display.theme import BOLD, DIM, PLAIN, Line  # noqa: PLC0415

    terminal = Terminal(stdout, environ)
    width, theme = terminal.size.columns - 1, terminal.theme
    lines: list[Line] = []
    for number, block in enumerate(blocks):
        lines += [[]] if number else []
        lines.append([Segment(literal(translated(block.heading), theme.encoding), BOLD)])
        for label, value in block.fields:
            lines += labelled(label, shown(value), width, theme, styles=(DIM, PLAIN)) if value else []
    terminal.print(lines)


def shown(value: str) -> str:
    """A value in the language in use, and how much of it is left out where it is very long."""
    value = translated(value)
    if len(value) <= MAX_SHOWN_CHARACTERS:
        return value
    left_out = len(value) - MAX_SHOWN_CHARACTERS
    return tr("{start} … and {count:,} more characters", start=value[:MAX_SHOWN_CHARACTERS], count=left_out)
