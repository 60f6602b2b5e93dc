"""Lines for people beside a table: on a terminal broken between words, elsewhere whole."""

import os
from collections.abc import Mapping
from typing import TextIO

from imagegen_cli.core.language import translated
from imagegen_cli.core.text import Printer, is_capable_terminal, literal

HANGING = 2
"""Cells that the second line of a notice is indented more than its first."""
FALLBACK_COLUMNS = 80


def notice(
    text: str, stream: TextIO, environ: Mapping[str, str], *, hanging: int = HANGING, path: str = ""
) -> list[str]:
    """The lines of a text as `stream` should show them: off a terminal always one. `path` in it becomes a link."""
    text = translated(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not is_capable_terminal(stream, environ):
        return [literal(text, encoding)]
    from imagegen_cli.display.paragraphs import paragraph  # noqa: PLC0415 - not needed off a terminal

    first = len(text) - len(text.lstrip(" "))
    pieces = paragraph(text, columns_of(stream) - 1, first=first, hanging=first + hanging, encoding=encoding)
    lines = [str(piece) for piece in pieces] or [""]
    if not path:
        return lines
    from imagegen_cli.display.links import linked  # noqa: PLC0415 - few notices name a path

    return [line.replace(literal(path, encoding), linked(path, stream, environ)) for line in lines]


def print_notice(text: str, stream: TextIO, environ: Mapping[str, str], *, path: str = "") -> None:
    lines = Printer(stream)
    for line in notice(text, stream, environ, path=path):
        lines.line(line)


def columns_of(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return FALLBACK_COLUMNS
    return columns or FALLBACK_COLUMNS
