"""How wide text is on a terminal, counted so that no terminal finds it wider.

Terminals disagree on joined emoji, flags, skin tones and variation selectors: some draw one sign of two cells, some
draw every part. Here each part counts. Columns after such text are therefore placed absolutely, never by counting on.
"""

import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

from imagegen_cli.core.text import joins_previous, literal

FLAGS = range(0x1F1E6, 0x1F200)
SKINS = range(0x1F3FB, 0x1F400)
EMOJI_STYLE = "\ufe0f"
MOST_MARKS = 4
"""Code points looked at for each cell: a megabyte of prompt costs a line no more than a line."""

LEFT_TO_RIGHT = "\u200e"
RIGHT_TO_LEFT = frozenset({"R", "AL"})


def cell_width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(map(sign_width, text))


@lru_cache(maxsize=8192)
def sign_width(character: str) -> int:
    code = ord(character)
    if code in FLAGS or code in SKINS or unicodedata.category(character) == "Cn":
        return 2
    return 1 if character == EMOJI_STYLE else get_character_cell_size(character)


@lru_cache(maxsize=2048)
def fitted(text: str, cells: int, encoding: str, more: str) -> str:
    """Text on one line of at most `cells`, harmless, ending in `more` where something was cut off."""
    start = text[: cells * MOST_MARKS + MOST_MARKS]
    shown = literal(start, encoding)
    if len(start) < len(text) or cell_width(shown) > cells:
        shown = cut(shown, cells - len(more)) + more if cells >= len(more) else ""
    return isolated(shown, encoding)


def cut(text: str, cells: int) -> str:
    """The longest start that fits, without tearing a sign from its marks."""
    left = cells
    for index, character in enumerate(text):
        left -= sign_width(character)
        if left < 0:
            return text[: _boundary(text, index)].rstrip()
    return text


def _boundary(text: str, index: int) -> int:
    while index and joins_previous(text, index):
        index -= 1
    return index


def tail(text: str, cells: int) -> str:
    """The longest end that fits, without tearing a sign from its marks."""
    left, start = cells, len(text)
    for index in range(len(text) - 1, -1, -1):
        left -= sign_width(text[index])
        if left < 0:
            break
        if not joins_previous(text, index):
            start = index
    return text[start:]


def isolated(text: str, encoding: str) -> str:
    """Letters from right to left get a mark behind them, so that the columns that follow stay where they are."""
    if text.isascii() or not encoding.lower().startswith("utf"):
        return text
    turned = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return text + LEFT_TO_RIGHT if turned else text


def wrapped(text: str, cells: int, lines: int, encoding: str, more: str) -> list[str]:
    """Text over at most `lines` lines, broken at spaces where there are any."""
    found: list[str] = []
    rest = literal(text[: cells * lines * MOST_MARKS], encoding).strip()
    while rest and len(found) < lines - 1 and cell_width(rest) > cells:
        start = cut(rest, cells)
        if not start:
            break
        space = start.rfind(" ")
        if space > cells // 2 and rest[len(start) : len(start) + 1] != " ":
            start = start[:space]
        found.append(isolated(start, encoding))
        rest = rest[len(start) :].lstrip()
    return [*found, fitted(rest, cells, encoding, more)] if rest else found
