"""Pictures on the terminal itself, where it can show any; and word to a person who looked elsewhere."""

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_cli.display.look import Line

PREVIEWS = ("auto", "on", "off")
MOST = 4
CELLS = 40
LINES = 20
CAPABLE = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "KONSOLE_VERSION", "ITERM_SESSION_ID")
PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "mintty", "rio", "contour")
TERMS = ("kitty", "foot", "ghostty", "mlterm", "contour")

HALF = "▀"
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES = 4 * 1024 * 1024
MOST_PIXELS = 4 * 1024 * 1024
MOST_SCANS = 32
"""Of a progressive JPEG, which may repeat the whole picture every 16 bytes."""


def wanted(mode: str, *, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """Never into a pipe; `auto` only where the terminal says that it is one of those that can."""
    if mode == "off" or not (stdout.isatty() and stderr.isatty()) or environ.get("TERM") == "dumb":
        return False
    if mode == "on":
        return True
    named = environ.get("TERM_PROGRAM") in PROGRAMS or any(term in environ.get("TERM", "") for term in TERMS)
    return not environ.get("TMUX") and (named or any(environ.get(name) for name in CAPABLE))


def show(paths: Sequence[str], mode: str, *, stdout: TextIO) -> str:
    """Draw the first few; the reason where that cannot be. `auto` draws no half blocks."""
    if not paths:
        return ""
    try:
        # importing asks the terminal what it can, so it must not happen before it is wanted
        from textual_image import renderable  # noqa: PLC0415

        if mode == "auto" and renderable.Image is renderable.HalfcellImage:
            return ""
        _draw(paths[:MOST], renderable.Image, stdout)
    except Exception as error:  # noqa: BLE001 - a picture that another program cannot decode is on disk all the same
        return f"no preview: {type(error).__name__}: {error}"
    return ""


def _draw(paths: Sequence[str], image: Any, stdout: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where it draws

    console = Console(file=stdout)
    width = min(CELLS, console.width - 2)
    for path in paths:
        console.print(image(path, width=width, height="auto") if console.height > LINES else image(path, height=8))


@lru_cache(maxsize=1)
def half_blocks(data: bytes, cells: int, lines: int) -> "Sequence[Line]":
    """A picture in signs whose upper half has one colour and whose lower half another; nothing where it is none.

    Pillow and not textual-image: the latter asks the terminal questions, and the keyboard would read the answers.
    """
    if len(data) > MOST_BYTES or (data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MOST_SCANS):
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would be printed into the table
            return _in_blocks(_shrunk(data, cells, 2 * lines))
    except Exception:  # noqa: BLE001 - a decoder can raise anything, and a preview is worth no trouble
        return ()


def _shrunk(data: bytes, width: int, height: int) -> "Image":
    """As large as it can be within so many pixels, an even number of them high, on black where it was transparent."""
    from PIL import Image  # noqa: PLC0415 - only where it draws

    with Image.open(BytesIO(data), formats=FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        scale = min(width / picture.width, height / picture.height)
        size = max(1, round(picture.width * scale)), max(2, 2 * round(picture.height * scale / 2))
        picture.draft("RGB", (2 * size[0], 2 * size[1]))
        small = picture.convert("RGBA").resize(size, Image.Resampling.BOX, reducing_gap=2.0)
        return small.convert("RGBa")


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


def notify(text: str, *, stderr: TextIO) -> None:
    """Ring, and tell terminals that pass it on (OSC 9) to show a notification. Nothing off a terminal."""
    if stderr.isatty():
        plain = "".join(sign for sign in text if sign.isprintable())
        stderr.write(f"\x1b]9;{plain}\x1b\\\a")
        stderr.flush()
