"""The width of text on a terminal, counted so that no terminal makes it wider.

Terminals disagree on joined emoji, flags, skin tones and variation selectors: some draw one sign of two cells, some
draw every part. Here each part counts. The column after such text is therefore placed absolutely.
"""

import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

from imagegen_cli.core.text import joins_previous, literal

FLAGS = range(0x1F1E6, 0x1F200)
SKINS = range(0x1F3FB, 0x1F400)
EMOJI_STYLE = "\ufe0f"
MAX_MARKS = 4
"""Code points that are read for each cell, so that a prompt of a megabyte costs no more than a line."""

NO_START = frozenset("。，、；：！？）】》」』〉〕〗〙”’…‥—·・ー々％℃,.;:!?)]}%>ぁぃぅぇぉっゃゅょァィゥェォッャュョ")
"""Signs that begin no line."""

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
    """Text as `literal` makes it, on one line of at most `cells`, with `more` at its end if it was cut off."""
    start = text[: cells * MAX_MARKS + MAX_MARKS]
    shown = literal(start, encoding)
    if len(start) < len(text) or cell_width(shown) > cells:
        shown = cut(shown, cells - len(more)) + more if cells >= len(more) else ""
    return isolated(shown, encoding)


def cut(text: str, cells: int) -> str:
    """The longest start of at most `cells`, without separating a sign from its marks."""
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
    """The longest end of at most `cells`, without separating a sign from its marks."""
    left, start = cells, len(text)
    for index in range(len(text) - 1, -1, -1):
        left -= sign_width(text[index])
        if left < 0:
            break
        if not joins_previous(text, index):
            start = index
    return text[start:]


def isolated(text: str, encoding: str) -> str:
    """Text with letters from right to left gets a mark at its end, so that the columns after it stay in place."""
    if text.isascii() or not encoding.lower().startswith("utf"):
        return text
    turned = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return text + LEFT_TO_RIGHT if turned else text


def wrapped(text: str, cells: int, lines: int, encoding: str, more: str) -> list[str]:
    """Text as `literal` makes it, on at most `lines` lines of at most `cells`, with `more` where it was cut off.

    A word is broken only if it is wider than a line. `paragraphs` has the form without a limit.
    """
    found: list[str] = []
    rest = literal(text[: cells * lines * MAX_MARKS], encoding).strip()
    while rest and len(found) < lines - 1 and cell_width(rest) > cells:
        start = _first_line(rest, cells)
        if not start:
            break
        found.append(isolated(start, encoding))
        rest = rest[len(start) :].lstrip()
    return [*found, fitted(rest, cells, encoding, more)] if rest else found


def _first_line(text: str, cells: int) -> str:
    start = cut(text, cells)
    at = len(start)
    if text[at : at + 1] == " " or not start:
        return start
    space = start.rfind(" ")
    following = text[at : at + 1]
    if space > 0 and cell_width(following) < 2 and cell_width(text[space + 1 :].split(" ", 1)[0]) <= cells:  # noqa: PLR2004 - wide signs have no blanks between words
        return start[:space].rstrip()
    while at > 1 and text[at : at + 1] in NO_START:
        at -= 1
    return text[:at] if at > 1 else start
