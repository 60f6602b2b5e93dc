"""Pictures in the terminal, where it can show them; and a notification at the end of a run."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from imagegen_cli.core.errors import words_of
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.display.links import is_multiplexed

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console

    from imagegen_cli.display.terminal import Terminal
    from imagegen_cli.display.theme import Line

MAX_PICTURES = 4
MAX_WIDTH = 40
MAX_HEIGHT = 20
MIN_WIDTH = 18
"""Least cells of a picture beside others; if there is less room, pictures go below each other."""
GAP = 2
WIPE = "\r\x1b[K"
"""Clears the line in terminals that print queries which they do not understand."""
CAPABLE = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "KONSOLE_VERSION", "ITERM_SESSION_ID")
PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "mintty", "rio", "contour")
TERMS = ("kitty", "foot", "ghostty", "mlterm", "contour")

HALF = "▀"
SMALL = (160, 128)
"""Pixels of a small picture at most: twice what a preview in half blocks has."""
MAX_SCANS = 32
"""Scans of a progressive JPEG: a scan of 16 bytes may repeat the whole picture."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest picture that is drawn."""

    bytes: int
    pixels: int
    formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP")


PREVIEW_LIMITS = Limits(4 * 1024 * 1024, 1536 * 1024)
"""For previews: drawing one blocks the event loop."""
PICTURE_LIMITS = Limits(64 * 1024 * 1024, 40_000_000, ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"))


class TooLarge(Exception):
    """A picture has too many bytes, pixels or scans to be drawn."""


def wanted(mode: str, *, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether pictures are drawn: never into a pipe, and with `auto` only in a terminal known to show pictures."""
    if mode == "off" or not (is_capable_terminal(stdout, environ) and is_capable_terminal(stderr, environ)):
        return False
    if mode == "on":
        return True
    named = environ.get("TERM_PROGRAM") in PROGRAMS or any(term in environ.get("TERM", "") for term in TERMS)
    return not is_multiplexed(environ) and (named or any(environ.get(name) for name in CAPABLE))


def show(paths: Sequence[str], mode: str, *, stdout: TextIO, environ: Mapping[str, str]) -> str:
    """Draw the first MAX_PICTURES and return why one could not be drawn. `auto` draws no half blocks."""
    if not paths:
        return ""
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich is imported when something is drawn

    terminal = Terminal(stdout, environ)
    required = mode == "on"
    if lacking := _lacking(terminal):
        return Message("no preview: {why}").format(why=lacking) if required else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would be printed among the pictures
        image = None
        if not is_multiplexed(environ):
            image = _pixels()
            if image is not None:
                return _first_trouble(_draw(paths[:MAX_PICTURES], image, stdout))
            stdout.write(WIPE)
        return _first_trouble(_draw_blocks(paths[:MAX_PICTURES], terminal)) if required else ""


def _lacking(terminal: "Terminal") -> str:
    if not terminal.colours:
        return Message("it needs colours")
    if terminal.theme.pictures:
        return ""
    return Message("it needs signs that {encoding} lacks").format(encoding=terminal.theme.encoding)


def _pixels() -> Any:
    """The class that draws where the terminal shows pixels; None for other terminals.

    The import queries the terminal, so it happens only when a picture is drawn, and never inside tmux or GNU screen,
    which take kitty's query for the title of a pane.
    """
    _silence("textual_image")
    try:
        from textual_image import renderable  # noqa: PLC0415 - see above
    except Exception:  # noqa: BLE001 - stdin may be no terminal, and its answer anything
        return None
    return renderable.Image if renderable.Image in (renderable.TGPImage, renderable.SixelImage) else None


@cache
def _silence(library: str) -> None:
    """Keep the log messages of a library off the screen."""
    import logging  # noqa: PLC0415 - only where it draws

    logging.getLogger(library).addHandler(logging.NullHandler())


def _first_trouble(troubles: Iterator[Exception]) -> str:
    """A message about the first error. The picture is on the disk all the same."""
    told = Message("no preview: {kind}: {why}")
    found = [told.format(kind=type(error).__name__, why=words_of(error)) for error in [*troubles]]
    return found[0] if found else ""


def _draw(paths: Sequence[str], image: Any, stdout: TextIO) -> Iterator[Exception]:
    from rich.console import Console  # noqa: PLC0415 - only where it draws

    console = Console(file=stdout)
    for path in paths:
        try:
            console.print(_sized(path, image, console))
        except Exception as error:  # noqa: BLE001 - a decoder can raise anything, and one picture is not all
            yield error


def _sized(path: str, image: Any, console: "Console") -> Any:
    if console.height > MAX_HEIGHT:
        return image(path, width=min(MAX_WIDTH, console.width - 2), height="auto")
    return image(path, height=8)


def _draw_blocks(paths: Sequence[str], terminal: "Terminal") -> Iterator[Exception]:
    """Draw as many pictures side by side as the width allows."""
    width, height = terminal.size
    across = max(1, min(len(paths), (width - 1 + GAP) // (MIN_WIDTH + GAP)))
    cells = max(1, min(MAX_WIDTH, (width - 1 - GAP * (across - 1)) // across))
    for first in range(0, len(paths), across):
        drawn: list[Sequence[Line]] = []
        for path in paths[first : first + across]:
            try:
                drawn.append(_painted(_read(path), cells, min(MAX_HEIGHT, max(1, height - 2)), PICTURE_LIMITS))
            except Exception as error:  # noqa: BLE001 - see above
                yield error
        terminal.print([[], *_beside(drawn)] if drawn else [])


def _read(path: str) -> bytes:
    """The bytes of a picture, but hardly more than the limit."""
    with opened(path) as file:
        return file.read(PICTURE_LIMITS.bytes + 1)


def _beside(drawn: "Sequence[Sequence[Line]]") -> "Iterator[Line]":
    from rich.segment import Segment  # noqa: PLC0415 - only where it draws

    blanks = [Segment(" " * sum(segment.cell_length for segment in lines[0])) for lines in drawn]
    for parts in zip_longest(*drawn):
        line: Line = []
        for part, blank in zip(parts, blanks, strict=True):
            line += [*(part or [blank]), Segment(" " * GAP)]
        yield line[:-1]


@lru_cache(maxsize=1)
def half_blocks(data: bytes, cells: int, lines: int) -> "Sequence[Line]":
    """A picture as half blocks, signs with one colour above and one below; no lines if it cannot be decoded.

    It is drawn with Pillow: textual-image queries the terminal, and the keyboard would read the answers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would be printed into the table
            return _painted(data, cells, lines, PREVIEW_LIMITS)
    except Exception:  # noqa: BLE001 - a decoder can raise anything, and a preview is worth no trouble
        return ()


def small(path: str) -> bytes:
    """A picture from the disk as a small PNG, quick to draw; empty where it cannot be decoded. It may take a second."""
    out = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # see half_blocks
            data = _read(path)
            if len(data) <= PICTURE_LIMITS.bytes:
                _shrunk(data, *SMALL, PICTURE_LIMITS).convert("RGBA").convert("RGB").save(out, "PNG")
    except Exception:  # noqa: BLE001 - a decoder can raise anything, and a preview is worth no trouble
        return b""
    return out.getvalue()


def _painted(data: bytes, cells: int, lines: int, limits: Limits) -> "Sequence[Line]":
    if len(data) > limits.bytes:
        raise TooLarge(Message("more than {size} MiB").format(size=limits.bytes // 1024**2))
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise TooLarge(Message("more than {count} scans").format(count=MAX_SCANS))
    return _in_blocks(_shrunk(data, cells, 2 * lines, limits))


def _shrunk(data: bytes, width: int, height: int, limits: Limits) -> "Image":
    """The picture scaled to fit into so many pixels, with an even height, transparent parts on black."""
    from PIL import Image  # noqa: PLC0415 - only where it draws

    _silence("PIL")
    with Image.open(BytesIO(data), formats=limits.formats) as picture:
        if picture.width * picture.height > limits.pixels:
            pixels = Message("{width}x{height} pixels").format(width=picture.width, height=picture.height)
            raise TooLarge(pixels)
        scale = min(width / picture.width, height / picture.height)
        size = max(1, round(picture.width * scale)), max(2, 2 * round(picture.height * scale / 2))
        picture.draft("RGB", (2 * size[0], 2 * size[1]))
        as_is = picture.mode == "RGBA" or (picture.mode == "RGB" and "transparency" not in picture.info)
        whole = picture if as_is else picture.convert("RGBA")
        return whole.resize(size, Image.Resampling.BOX, reducing_gap=2.0).convert("RGBA").convert("RGBa")


def _in_blocks(picture: "Image") -> "list[Line]":
    from rich.color import Color  # noqa: PLC0415 - only where it draws
    from rich.segment import Segment  # noqa: PLC0415
    from rich.style import Style  # noqa: PLC0415

    data, width = picture.tobytes(), picture.width
    pixels = [Color.from_rgb(*data[at : at + 3]) for at in range(0, len(data), 4)]
    lines = []
    for at in range(0, len(pixels), 2 * width):
        runs = groupby(zip(pixels[at : at + width], pixels[at + width : at + 2 * width], strict=True))
        lines.append([Segment(HALF * len([*run]), Style(color=upper, bgcolor=lower)) for (upper, lower), run in runs])
    return lines


def notify(text: str, *, stderr: TextIO, environ: Mapping[str, str]) -> None:
    """Ring the bell and send a notification (OSC 9), which some terminals show. Does nothing off a terminal.

    Inside tmux and GNU screen only the bell reaches the terminal.
    """
    if is_capable_terminal(stderr, environ):
        plain = "".join(sign for sign in text if sign.isprintable())
        stderr.write("\a" if is_multiplexed(environ) else f"\x1b]9;{plain}\x1b\\\a")
        stderr.flush()
