"""Text for `--help` in lines: broken between words, and between Chinese signs, by the cells of a terminal."""

from collections.abc import Iterator

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
