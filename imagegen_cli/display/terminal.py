"""The part of a terminal that is redrawn, on top of Rich's Live: sized anew at each frame, cleaned up after a resize.

Whatever was changed is given back by `close`: cursor, line wrapping, title.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType

from imagegen_cli.display.context import Frame, Lasting
from imagegen_cli.display.theme import Line, theme_for

FALLBACK = os.terminal_size((80, 24))
SIZES = ("COLUMNS", "LINES")
"""Left out of what Rich reads: a size from a variable is stale after the first resize."""

BEGIN = "\x1b[?2026h"
END = "\x1b[?2026l"
"""Between them a frame is shown whole or not at all, by terminals that know them; others ignore them."""

KEEP_TITLE = "\x1b[22;0t"
OLD_TITLE = "\x1b]0;\x07\x1b[23;0t"
"""Empty first: a terminal that cannot keep a title at least does not go on showing ours."""

REFLOWING = (
    "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR",
    "ITERM_SESSION_ID",
    "KITTY_WINDOW_ID",
    "KONSOLE_VERSION",
    "TMUX",
    "VTE_VERSION",
    "WEZTERM_PANE",
    "WT_SESSION",
)
REFLOWING_TERMS = ("foot", "tmux")


class Current:
    """What Rich's Live draws below everything that is printed: always the frame of now, so that one pass is enough."""

    def __init__(self) -> None:
        self.frame = Frame([])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return self.frame.__rich_console__(console, options)


class Terminal:
    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        told = {name: value for name, value in environ.items() if name not in SIZES}
        self._stream = stream
        self._console = Console(
            file=stream, force_terminal=True, markup=False, highlight=False, emoji=False, _environ=told
        )
        self.theme = theme_for(spoken(getattr(stream, "encoding", None) or "utf-8", environ))
        self._live: Live | None = None
        self._current = Current()
        self._width = 0
        self._titled = not self._console.legacy_windows and environ.get("TERM") != "linux"
        self._title = ""
        self._reflows = reflows(environ)

    @property
    def colours(self) -> bool:
        return self._console.color_system is not None and not self._console.no_color

    @property
    def size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return FALLBACK
        return size if size.columns and size.lines else FALLBACK

    def show(self, frame: Frame, lasting: Iterable[Line], title: str) -> None:
        """Print what lasts, and draw the frame below it, as one change of the screen."""
        size = self.size
        self._raw(BEGIN)
        try:
            with self._console:
                self._console.size = (size.columns, size.lines)
                live = self._opened()
                self._clean(size.columns)
                self._current.frame = frame
                if lines := list(lasting):
                    self._console.print(Lasting(lines), soft_wrap=True, end="")
                else:
                    live.refresh()
                self._name(title)
        finally:
            self._raw(END)
            self._stream.flush()
        self._width = size.columns

    def print(self, lines: Iterable[Line]) -> None:
        """Lines that last, where nothing is drawn below them."""
        if found := list(lines):
            self._console.print(Lasting(found), soft_wrap=True, end="")

    def close(self) -> None:
        if self._live is None:
            return
        live, self._live = self._live, None
        try:
            self._current.frame = Frame([])
            live.stop()
        finally:
            if self._titled:
                self._raw(OLD_TITLE)
            self._title = ""
            self._stream.flush()

    def _opened(self) -> Live:
        if self._live is None:
            if self._titled:
                self._raw(KEEP_TITLE)
            self._live = Live(
                self._current, console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
            )
            self._live.start()
        return self._live

    def _clean(self, width: int) -> None:
        """A terminal that became narrower has broken our lines into more: clear those that Rich does not know of."""
        if not self._reflows or width >= self._width:
            return
        lengths = (sum(segment.cell_length for segment in line) for line in self._current.frame.lines)
        extra = sum((cells - 1) // width for cells in lengths if cells)
        step = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *(step * extra)))

    def _name(self, title: str) -> None:
        if self._titled and title != self._title:
            self._console.control(Control.title(title))
            self._title = title

    def _raw(self, codes: str) -> None:
        if not self._console.legacy_windows:
            self._stream.write(codes)


def reflows(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is known to break long lines anew when it becomes narrower; others cut them off."""
    return any(name in environ for name in REFLOWING) or environ.get("TERM", "").startswith(REFLOWING_TERMS)


def spoken(encoding: str, environ: Mapping[str, str]) -> str:
    """ASCII where LC_ALL asks for no more: Python then writes UTF-8 all the same, unless it was told what to write."""
    bare = environ.get("LC_ALL") in ("C", "POSIX")
    return "ascii" if bare and not (environ.get("PYTHONUTF8") or environ.get("PYTHONIOENCODING")) else encoding
