"""Breaks text into lines of a terminal: between words, between Chinese signs, and never inside a path or a command.

A sign that closes something, as 。 or ，, begins no line, and one that opens something ends none. A path, an address or
a word that is wider than its column gets a line of its own with less indentation; one that is wider than the screen
stays whole, and the terminal breaks it, so that it can still be copied. A command that is wider than the screen is
continued with a backslash, as shells read it. One that ends a line loses the comma behind it: the line can be pasted.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from imagegen_cli.core.text import joins_previous, literal
from imagegen_cli.display.text_width import NO_START, cell_width, cut, isolated

NO_END = frozenset("（【《「『〈〔〖〘“‘([{<￥＄")
"""Signs that end no line."""
HANGUL = (range(0x1100, 0x1200), range(0x3130, 0x3190), range(0xAC00, 0xD7A4))
"""Korean is written with blanks between words, and is broken there."""
MAX_PATH_CHARACTERS = 4096
"""A longer word is no path: it may be broken between Chinese signs."""
CONTINUED = " \\"
"""What a shell reads as: the command goes on in the next line."""

COMMAND = re.compile(
    r"""(?ax)
    imagegen[ ](?:
        (?:models|credits|doctor|providers)[ ][\w.-]*\w(?=$|[;,)；，）。])
      | (?:config[ ](?:path|show|check|edit|set)\b|[a-z]+)
        (?:[ ](?:
            -[pmnjo][ ][^\s;,；，）。]+
          | --?[a-zA-Z][\w-]*(?:[ =](?:"[^"]*"|'[^']*'|[A-Z][\w=./-]*\b|[\d.]+[\w.,]*\w|\d\b))?
          | "[^"]*" | '[^']*'
          | -?\d[\d/]*\b | [A-Z][A-Z_]+\b
        ))*
    )
    | chmod[ ]\d+[ ](?:'[^']*'|\S+)"""
)
"""A command that a person may copy out of a message. Words that follow it, as in `imagegen list shows the tasks`, are
no part of it: arguments are options, numbers, quoted texts and names in capitals; no Chinese word is one."""
SEPARATORS = ",;:.，；：。、？"
"""Signs that a line of a command ends without: the shell would take them for a part of it."""
WORD = re.compile(r"( *)([^ ]+(?: [·—–×](?![^ ]))*)")
"""The blanks before a word, and the word with a sign that stands between it and the next."""
ARGUMENT = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""")
ATOM = re.compile(
    r"""(?x)
    [A-Za-z][\w+.-]{1,20}://[^\s<>"，。；！？、）】》]+
    | (?<![\w/.~])(?:~|\.{1,2})?/[^\s，。；！？、）】》]+
    | (?<!\w)[A-Za-z]:\\\S+
    | (?<![\w/])(?:[^\s/，。；：！？]{1,255}/)+[^\s/，。；：！？]{0,255}\.[A-Za-z0-9]{2,5}(?!\w)"""
)
"""A path or an address."""


class Piece(NamedTuple):
    """A line: the cells that it is indented, and its text."""

    indent: int
    text: str

    def __str__(self) -> str:
        return " " * self.indent + self.text


class Unit(NamedTuple):
    """What is never broken, and how many blanks stand before it."""

    gap: int
    text: str
    is_command: bool = False


def paragraph(
    text: str, width: int, *, first: int = 0, hanging: int = 0, encoding: str = "utf-8", whole: bool = True
) -> list[Piece]:
    """Text as `literal` makes it, in lines of at most `width` cells where its words are not wider than that.

    `first` and `hanging` are the indentations of the first line and of those that follow. Without `whole` a word that
    is wider than its column is broken, as in a frame, where the terminal would cut it off.
    """
    hanging = min(hanging, max(0, width - 1))
    filler = _Filler(width, first, hanging)
    for unit in units(literal(text, encoding)):
        for part in (unit,) if whole else _broken(unit, max(1, width - max(first, hanging))):
            filler.add(part)
    return [Piece(indent, isolated(line, encoding)) for indent, line in filler.lines()]


class _Filler:
    """Puts units on lines, as many on each as have room."""

    def __init__(self, width: int, first: int, hanging: int) -> None:
        self._width, self._hanging = width, hanging
        self._indent, self._line, self._cells = first, "", 0
        self._is_closed = False
        self._spare = 0
        """Characters at the end of the line that it has only where more follows."""
        self._done: list[tuple[int, str]] = []

    def add(self, unit: Unit) -> None:
        self._add(unit, cell_width(unit.text))
        self._spare = len(unit.text) - len(unit.text.rstrip(SEPARATORS)) if unit.is_command else 0

    def _add(self, unit: Unit, cells: int) -> None:
        if self._line and not self._is_closed and self._indent + self._cells + unit.gap + cells <= self._width:
            self._line += " " * unit.gap + unit.text
            self._cells += unit.gap + cells
            return
        is_moved = bool(self._line) or self._indent + cells > self._width
        if is_moved:
            self._next(cells)
        if unit.is_command and self._indent + cells > self._width and os.name != "nt":
            self._continued(unit.text)
        else:
            self._line, self._cells = unit.text, cells
        self._is_closed = unit.is_command and is_moved

    def _next(self, cells: int) -> None:
        """Begin a line that is indented less where a unit of so many cells would not fit otherwise."""
        if self._line:
            self._done.append((self._indent, self._ended()))
        self._indent = max(0, min(self._hanging, self._width - cells))
        self._line, self._cells = "", 0

    def _continued(self, command: str) -> None:
        self._indent = min(self._hanging, self._width // 4)
        for argument in ARGUMENT.findall(command):
            cells = cell_width(argument)
            room = self._width - self._indent - len(CONTINUED)
            if self._line and self._cells + 1 + cells > room:
                self._done.append((self._indent, self._line + CONTINUED))
                self._line, self._cells = "", 0
            self._line += f" {argument}" if self._line else argument
            self._cells = cell_width(self._line)

    def lines(self) -> list[tuple[int, str]]:
        return [*self._done, (self._indent, self._ended())] if self._line else self._done

    def _ended(self) -> str:
        return self._line[: len(self._line) - self._spare]


def _broken(unit: Unit, cells: int) -> Iterator[Unit]:
    """A unit in parts of so many cells at most, a command at its blanks."""
    gap = unit.gap
    for word in unit.text.split(" "):
        rest = word
        while start := cut(rest, cells) or rest[:1]:
            yield Unit(gap, start)
            rest, gap = rest[len(start) :], 0
        gap = 1


def units(text: str) -> Iterator[Unit]:
    """The units of a text that is already literal. Blanks at its ends are dropped."""
    at, gap = 0, 0
    for command in COMMAND.finditer(text):
        if command.start() and text[command.start() - 1] not in " (（：，；。":
            continue
        yield from (found := list(_words(text[at : command.start()], gap)))
        gap = len(text[: command.start()]) - len(text[: command.start()].rstrip(" ")) if found or at else 0
        at = _glued(text, command.end())
        yield Unit(gap, text[command.start() : at], is_command=True)
        gap = 0
    yield from _words(text[at:], gap)


def _glued(text: str, end: int) -> int:
    """The end of a unit with the signs after it that begin no line."""
    while end < len(text) and text[end] in NO_START:
        end += 1
    return end


def _words(text: str, gap: int) -> Iterator[Unit]:
    for found in WORD.finditer(text):
        blanks, word = found[1], found[2]
        for index, part in enumerate(_parts(word)):
            yield Unit(0 if index else gap + len(blanks), part)
        gap = 0


def _parts(word: str) -> Iterator[str]:
    """The pieces of a word between which a line may be broken."""
    if word.isascii():
        yield word
        return
    inside = _inside_of_paths(word) if len(word) <= MAX_PATH_CHARACTERS else ()
    start = 0
    for at in range(1, len(word)):
        if _breaks(word, at) and not any(low < at < high for low, high in inside):
            yield word[start:at]
            start = at
    yield word[start:]


def _inside_of_paths(word: str) -> list[tuple[int, int]]:
    if "/" not in word and "\\" not in word:
        return []
    return [found.span() for found in ATOM.finditer(word)]


def _breaks(word: str, at: int) -> bool:
    """Whether a line may end before this character of a word."""
    before, after = word[at - 1], word[at]
    if after == " " or after in NO_START or before in NO_END or joins_previous(word, at):
        return False
    return _is_wide(before) or _is_wide(after)


def _is_wide(character: str) -> bool:
    """Whether the script of this character has no blanks between words."""
    code = ord(character)
    return unicodedata.east_asian_width(character) in "WF" and not any(code in block for block in HANGUL)
