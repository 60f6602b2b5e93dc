"""The part of a terminal that is redrawn, with Rich's Live: measured for each frame, cleaned up after a resize.

`close` restores everything that was changed: cursor, line wrapping, title.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType

from imagegen_cli.display.context import Frame, PrintedLines
from imagegen_cli.display.links import knows_links, knows_progress
from imagegen_cli.display.theme import Line, theme_for

POINTER = "▸"
FALLBACK = os.terminal_size((80, 24))
SIZES = ("COLUMNS", "LINES")
"""Variables that Rich must not read: their values are stale after the first resize."""

BEGIN = "\x1b[?2026h"
END = "\x1b[?2026l"
"""Marks of a frame. Terminals that know them show it whole or not at all; others ignore them."""

KEEP_TITLE = "\x1b[22;0t"
OLD_TITLE = "\x1b]0;\x07\x1b[23;0t"
"""It sets an empty title first, for terminals that cannot restore the old one."""

PROGRESS = "\x1b]9;4;1;{percent}\x1b\\"
NO_PROGRESS = "\x1b]9;4;0;0\x1b\\"
"""The share of a run that is done, for the taskbar or the tab, and its end (ConEmu's OSC 9;4)."""
ALL = 100
"""Percent."""

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


class CurrentFrame:
    """What Rich's Live draws below the printed lines: always the newest frame, so that one pass is enough."""

    def __init__(self) -> None:
        self.frame = Frame([])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return self.frame.__rich_console__(console, options)


class Terminal:
    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        variables = {name: value for name, value in environ.items() if name not in SIZES}
        self._stream = stream
        self._console = Console(
            file=stream, force_terminal=True, markup=False, highlight=False, emoji=False, _environ=variables
        )
        encoding = terminal_encoding(getattr(stream, "encoding", None) or "utf-8", environ)
        theme = theme_for(encoding, links=knows_links(environ))
        self.theme = theme if self.colours else replace(theme, pointer=POINTER if theme.pictures else ">")
        self._live: Live | None = None
        self._current = CurrentFrame()
        self._width = 0
        self._titled = not self._console.legacy_windows and environ.get("TERM") != "linux"
        self._title = ""
        self.tells_progress = knows_progress(environ)
        """Whether the terminal shows a share of the work outside of its screen."""
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

    def show(self, frame: Frame, lasting: Iterable[Line], title: str, share: float | None = None) -> None:
        """Print the lasting lines and draw the frame below them, as one change of the screen.

        `share` is how much of all the work is done, from 0 to 1, for terminals that show it outside of the screen.
        """
        size = self.size
        self._raw(BEGIN)
        try:
            with self._console:
                self._console.size = (size.columns, size.lines)
                live = self._opened()
                self._clean(size.columns)
                self._current.frame = frame
                if lines := list(lasting):
                    self._console.print(PrintedLines(lines), soft_wrap=True, end="")
                else:
                    live.refresh()
                self._name(title)
            if self.tells_progress and share is not None:
                self._raw(PROGRESS.format(percent=max(0, min(ALL, int(share * ALL)))))
        finally:
            self._raw(END)
            self._stream.flush()
        self._width = size.columns

    def print(self, lines: Iterable[Line]) -> None:
        """Print lines with no frame below them."""
        if found := list(lines):
            self._console.print(PrintedLines(found), soft_wrap=True, end="")

    def close(self) -> None:
        if self._live is None:
            return
        live, self._live = self._live, None
        try:
            self._current.frame = Frame([])
            live.stop()
        finally:
            if self.tells_progress:
                self._raw(NO_PROGRESS)
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
        """Clear the additional lines that a terminal made when it became narrower and broke our lines anew."""
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
    """Whether the terminal is known to break long lines anew when it becomes narrower. Other terminals cut them off."""
    return any(name in environ for name in REFLOWING) or environ.get("TERM", "").startswith(REFLOWING_TERMS)


def terminal_encoding(encoding: str, environ: Mapping[str, str]) -> str:
    """ASCII if LC_ALL is C or POSIX, where Python writes UTF-8 all the same, unless a variable sets its encoding."""
    bare = environ.get("LC_ALL") in ("C", "POSIX")
    return "ascii" if bare and not (environ.get("PYTHONUTF8") or environ.get("PYTHONIOENCODING")) else encoding
