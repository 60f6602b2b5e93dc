"""Text for `--help` in lines: broken between words, and between Chinese signs, by the cells of a terminal."""

import os
import re
import sys
from collections.abc import Iterator, Sequence

MAX_COLUMNS, MIN_COLUMNS = 80, 20
"""Cells of a line: as many as the terminal has between these."""
MAX_NAME_CELLS = 26
"""The widest first column of a table of options; a longer name has a line of its own."""
TABLE_COLUMNS = 60
"""Where the terminal has fewer cells, each name of a table has a line of its own."""
Row = tuple[str, str]
WORD = r"\[[^\]]*\]\S*|\S+"
"""A word of a usage; what stands in brackets is one."""
ARGUMENT = r"""(?:--?[a-z][\w-]*[ ](?=[^-]))?(?:"[^"]*"|'[^']*'|[^\s"'])+"""
"""An argument of a command; an option has its value with it."""
CONTINUED = " \\"
"""What a shell reads as: the command goes on in the next line."""

ENDS = "，。；：！？、）】》」』”’"
"""Signs that no line begins with."""
BEGINNINGS = "（【《「『"
"""Signs that no line ends with."""


def padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def cells(text: str) -> int:
    """The cells of a text: Chinese signs take two."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width  # noqa: PLC0415 - English needs none of it

    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def columns() -> int:
    """The cells of a line of help: those of the terminal, and 80 elsewhere or where it has more."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return MAX_COLUMNS
    return max(MIN_COLUMNS, min(found or MAX_COLUMNS, MAX_COLUMNS))


def usage(text: str, width: int) -> list[str]:
    """How a command is written: its further lines are indented, and no bracket is broken."""
    return _filled(re.findall(WORD, text), width, 0, "")


def example(command: str, width: int) -> list[str]:
    """A command that can be pasted, indented; where it is wider than its line, it goes on as a shell reads it."""
    whole = f"  {command}"
    if cells(whole) <= width or os.name == "nt":
        return [whole]
    return _filled(re.findall(ARGUMENT, command), width, 2, CONTINUED)


def _filled(words: list[str], width: int, indent: int, end: str) -> list[str]:
    """Words in lines, `end` behind each line but the last; further lines are indented more, where they have room."""
    lines = [" " * indent + words[0]]
    for word in words[1:]:
        if cells(f"{lines[-1]} {word}{end}") <= width:
            lines[-1] += f" {word}"
        else:
            lines[-1] += end
            lines.append(" " * max(0, min(indent + 2, width - cells(f"{word}{end}"))) + word)
    return lines


def table(rows: Sequence[Row], width: int, columns: int) -> list[str]:
    """Names with their meanings beside them, from column `width` on; on a narrow terminal further left, or below."""
    width = min(width, MAX_NAME_CELLS * columns // MAX_COLUMNS) if columns >= TABLE_COLUMNS else 2
    lines = []
    for name, text in rows:
        meant = wrapped(text, columns - width - 4) or [""]
        if cells(name) > width:
            lines.append(f"  {name}")
            name = ""  # noqa: PLW2901 - its meaning begins below it
        lines.append(f"  {padded(name, width)}  {meant[0]}".rstrip())
        lines += [f"{' ' * (width + 4)}{line}" for line in meant[1:]]
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most so many cells, broken between words."""
    lines: list[str] = []
    line = ""
    for word in _words(text):
        if line and cells(line) + cells(word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line.rstrip()] if line else lines


def _words(text: str) -> Iterator[str]:
    """The words with the blanks behind them; a text without blanks between words comes sign by sign."""
    for word in text.replace("\n", " ").split(" "):
        if word.isascii():
            yield f"{word} "
        else:
            yield from _signs(f"{word} ")


def _signs(word: str) -> Iterator[str]:
    """Pieces between which a line may end: before wide signs and behind wide marks, where a line may end and begin."""
    piece = ""
    for sign in word:
        if piece and _may_part(piece[-1], sign):
            yield piece
            piece = ""
        piece += sign
    yield piece


def _may_part(last: str, sign: str) -> bool:
    if last in BEGINNINGS or sign in ENDS or sign.isspace():
        return False
    return cells(sign) == 2 or (last in ENDS and cells(last) == 2)  # noqa: PLR2004 - the cells of a Chinese sign
