"""Finished pictures on the terminal itself, where it can show any; and word to a person who looked elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

PREVIEWS = ("auto", "on", "off")
MOST = 4
CELLS = 40
LINES = 20
CAPABLE = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "KONSOLE_VERSION", "ITERM_SESSION_ID")
PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "mintty", "rio", "contour")
TERMS = ("kitty", "foot", "ghostty", "mlterm", "contour")


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


def notify(text: str, *, stderr: TextIO) -> None:
    """Ring, and tell terminals that pass it on (OSC 9) to show a notification. Nothing off a terminal."""
    if stderr.isatty():
        plain = "".join(sign for sign in text if sign.isprintable())
        stderr.write(f"\x1b]9;{plain}\x1b\\\a")
        stderr.flush()
