"""Pictures on the terminal itself, where it can show any; and word to a person who looked elsewhere."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from itertools import groupby, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from imagegen_cli.core.text import is_capable_terminal

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console

    from imagegen_cli.display.terminal import Terminal
    from imagegen_cli.display.theme import Line

PREVIEWS = ("auto", "on", "off")
MOST = 4
CELLS = 40
LINES = 20
LEAST = 18
"""Cells of a picture among others on a line; narrower ones go below."""
GAP = 2
WIPE = "\r\x1b[K"
"""For terminals that show the questions which they do not understand."""
CAPABLE = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "KONSOLE_VERSION", "ITERM_SESSION_ID")
PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "mintty", "rio", "contour")
TERMS = ("kitty", "foot", "ghostty", "mlterm", "contour")

HALF = "▀"
MOST_SCANS = 32
"""Of a progressive JPEG, which may repeat the whole picture every 16 bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be and still be drawn."""

    bytes: int
    pixels: int
    formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP")


IN_THE_MAKING = Limits(4 * 1024 * 1024, 1536 * 1024)
"""While it is drawn nothing else goes on."""
FINISHED = Limits(64 * 1024 * 1024, 40_000_000, ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"))


class TooLarge(Exception):
    """There are too many bytes, pixels or scans in it."""


def wanted(mode: str, *, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """Never into a pipe; `auto` only where the terminal says that it is one of those that can."""
    if mode == "off" or not (is_capable_terminal(stdout, environ) and is_capable_terminal(stderr, environ)):
        return False
    if mode == "on":
        return True
    named = environ.get("TERM_PROGRAM") in PROGRAMS or any(term in environ.get("TERM", "") for term in TERMS)
    return not environ.get("TMUX") and (named or any(environ.get(name) for name in CAPABLE))


def show(paths: Sequence[str], mode: str, *, stdout: TextIO, environ: Mapping[str, str]) -> str:
    """Draw the first few; the reason where that cannot be. `auto` draws no half blocks."""
    if not paths:
        return ""
    from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich is imported when something is drawn

    terminal = Terminal(stdout, environ)
    asked = mode == "on"
    if lacking := _lacking(terminal):
        return f"no preview: {lacking}" if asked else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would be printed among the pictures
        image = _pixels()
        if image is not None:
            return _told(_draw(paths[:MOST], image, stdout))
        stdout.write(WIPE)
        return _told(_draw_blocks(paths[:MOST], terminal)) if asked else ""


def _lacking(terminal: "Terminal") -> str:
    if not terminal.colours:
        return "it needs colours"
    return "" if terminal.theme.pictures else f"it needs signs that {terminal.theme.encoding} lacks"


def _pixels() -> Any:
    """What draws where the terminal shows pixels; None where it has signs only, or does not say.

    Importing asks the terminal, so it must not happen before it is wanted.
    """
    _silence("textual_image")
    try:
        from textual_image import renderable  # noqa: PLC0415 - see above
    except Exception:  # noqa: BLE001 - stdin may be no terminal, and its answer anything
        return None
    return renderable.Image if renderable.Image in (renderable.TGPImage, renderable.SixelImage) else None


@cache
def _silence(library: str) -> None:
    """What it logs would be printed on the screen."""
    import logging  # noqa: PLC0415 - only where it draws

    logging.getLogger(library).addHandler(logging.NullHandler())


def _told(troubles: Iterator[Exception]) -> str:
    """The first of them; a picture that cannot be decoded is on disk all the same."""
    return next((f"no preview: {type(error).__name__}: {error}" for error in [*troubles]), "")


def _draw(paths: Sequence[str], image: Any, stdout: TextIO) -> Iterator[Exception]:
    from rich.console import Console  # noqa: PLC0415 - only where it draws

    console = Console(file=stdout)
    for path in paths:
        try:
            console.print(_sized(path, image, console))
        except Exception as error:  # noqa: BLE001 - a decoder can raise anything, and one picture is not all
            yield error


def _sized(path: str, image: Any, console: "Console") -> Any:
    if console.height > LINES:
        return image(path, width=min(CELLS, console.width - 2), height="auto")
    return image(path, height=8)


def _draw_blocks(paths: Sequence[str], terminal: "Terminal") -> Iterator[Exception]:
    """As many side by side as the width allows."""
    width, height = terminal.size
    across = max(1, min(len(paths), (width - 1 + GAP) // (LEAST + GAP)))
    cells = max(1, min(CELLS, (width - 1 - GAP * (across - 1)) // across))
    for first in range(0, len(paths), across):
        drawn: list[Sequence[Line]] = []
        for path in paths[first : first + across]:
            try:
                drawn.append(_painted(_read(path), cells, min(LINES, max(1, height - 2)), FINISHED))
            except Exception as error:  # noqa: BLE001 - see above
                yield error
        terminal.print([[], *_beside(drawn)] if drawn else [])


def _read(path: str) -> bytes:
    """Not much more than may be drawn."""
    with Path(path).open("rb") as file:
        return file.read(FINISHED.bytes + 1)


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
    """A picture in signs whose upper half has one colour and whose lower half another; nothing where it is none.

    Pillow and not textual-image: the latter asks the terminal questions, and the keyboard would read the answers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would be printed into the table
            return _painted(data, cells, lines, IN_THE_MAKING)
    except Exception:  # noqa: BLE001 - a decoder can raise anything, and a preview is worth no trouble
        return ()


def _painted(data: bytes, cells: int, lines: int, limits: Limits) -> "Sequence[Line]":
    if len(data) > limits.bytes:
        raise TooLarge(f"more than {limits.bytes // 1024**2} MiB")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MOST_SCANS:
        raise TooLarge(f"more than {MOST_SCANS} scans")
    return _in_blocks(_shrunk(data, cells, 2 * lines, limits))


def _shrunk(data: bytes, width: int, height: int, limits: Limits) -> "Image":
    """As large as it can be within so many pixels, an even number of them high, on black where it was transparent."""
    from PIL import Image  # noqa: PLC0415 - only where it draws

    _silence("PIL")
    with Image.open(BytesIO(data), formats=limits.formats) as picture:
        if picture.width * picture.height > limits.pixels:
            raise TooLarge(f"{picture.width}x{picture.height} pixels")
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
    """Ring, and tell terminals that pass it on (OSC 9) to show a notification. Nothing off a terminal."""
    if is_capable_terminal(stderr, environ):
        plain = "".join(sign for sign in text if sign.isprintable())
        stderr.write(f"\x1b]9;{plain}\x1b\\\a")
        stderr.flush()
