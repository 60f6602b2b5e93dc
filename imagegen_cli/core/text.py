"""Text for people and lines for streams: made harmless, counted, and written without ending paid work."""

import io
import json
import math
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar, TextIO

from imagegen_cli.core.language import tr

JOINERS = "\u200c\u200d"
MARKS = frozenset("\u200d\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def literal(text: str, encoding: str = "utf-8") -> str:
    r"""Text that a terminal shows and never obeys: a character that is not visible becomes an escape like `\x1b`.

    Bidirectional overrides, lone surrogates, and characters that `encoding` lacks become escapes too.
    """
    if not text.isprintable():
        text = "".join(character if visible(character) else escaped(character) for character in text)
    if text.isascii():
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)


def visible(character: str) -> bool:
    """Also true for spaces of any width, emoji newer than our tables, and private signs: none of them is a command."""
    return character.isprintable() or character in JOINERS or unicodedata.category(character) in {"Zs", "Cn", "Co"}


def escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def joins_previous(text: str, index: int) -> bool:
    """Whether the character at `index` belongs to the sign before it: marks, joined emoji, skin tones."""
    character = text[index]
    if character in MARKS or unicodedata.category(character) in {"Mn", "Me"}:
        return True
    return index > 0 and text[index - 1] == JOINERS[1]


def sign(preferred: str, plain: str, encoding: str) -> str:
    """A sign, or its plain form where the encoding cannot carry it."""
    return preferred if literal(preferred, encoding) == preferred else plain


def width(text: str) -> int:
    """The cells of a line of plain text; what is drawn on a terminal is measured more exactly."""
    if text.isascii():
        return len(text)
    marks = sum(1 for sign in text if unicodedata.category(sign) in {"Mn", "Me", "Cf"})
    return len(text) - marks + sum(1 for sign in text if unicodedata.east_asian_width(sign) in {"W", "F"})


def padded(text: str, cells: int) -> str:
    """The text with blanks behind it, up to so many cells."""
    return text + " " * (cells - width(text))


def seconds(value: float) -> str:
    """5s, 1m05s, 2h07m, 3d04h: two units at most."""
    whole = max(0, int(value))
    for size, unit, below, name in UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02}{name}"
    return f"{whole}s"


def age(at: float, now: float) -> str:
    """now, 5m ago, 3h ago, 12d ago; in the language in use."""
    passed = int(max(0.0, now - at))
    if passed < 60:  # noqa: PLR2004 - seconds of a minute
        return tr("now")
    if passed < 3600:  # noqa: PLR2004 - of an hour
        return tr("{count}m ago", count=passed // 60)
    return tr("{count}h ago", count=passed // 3600) if passed < 86400 else tr("{count}d ago", count=passed // 86400)  # noqa: PLR2004 - of a day


def is_capable_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether control codes may be written: the stream is a terminal whose TERM is neither empty nor `dumb`."""
    named = environ.get("TERM", "")
    return stream.isatty() and named != "dumb" and (bool(named) or sys.platform == "win32")


class Printer:
    """Writes whole lines. A reader that went away must not end paid work: later lines are then dropped.

    `encoding` changes the encoding of the stream: JSON is UTF-8 in every locale.
    """

    trouble: ClassVar[str] = ""
    """Why stdout could not be written, where its reader did not just leave: a full disk is reported at the end."""

    def __init__(self, stream: TextIO, encoding: str = "") -> None:
        if encoding and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding)
        self._stream = stream
        self._gone = False
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    @property
    def is_gone(self) -> bool:
        """Whether the reader went away, so that what follows need not be made."""
        return self._gone

    def line(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError as error:
            self._gone = True
            if self._stream is sys.stdout and not isinstance(error, BrokenPipeError):
                from imagegen_cli.core.system_errors import cause  # noqa: PLC0415 - only where something is wrong

                Printer.trouble = cause(error) or type(error).__name__

    def last_line(self, text: str) -> None:
        """Write the last line. It is kept where earlier ones were dropped because their reader took nothing."""
        has_room = getattr(self._stream, "has_room_for_last", None)
        if self._gone and has_room is not None:
            self._gone = not has_room()
        self.line(text)


def printer(stream: TextIO, *, as_json: bool) -> Printer:
    """For the data of a command, as lines for people or as JSON."""
    return Printer(stream, "utf-8" if as_json else "")


def finite(number: float | None) -> float | None:
    """The number, or None for NaN and the infinities, which JSON cannot express."""
    return number if number is not None and math.isfinite(number) else None


def encoded(value: dict[str, Any], encoding: str = "utf-8") -> str:
    """One line of JSON that `encoding` can carry; a character that is not visible becomes one of JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value)
    if text.isprintable():
        return text
    return "".join(sign if visible(sign) else json.dumps(sign)[1:-1] for sign in text)
