"""What a frame is drawn from, and the frame itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import ControlType, Segment
from rich.style import Style

from imagegen_cli.core.language import tr, translated
from imagegen_cli.core.text import literal
from imagegen_cli.display.board import Board
from imagegen_cli.display.cell import CellContext
from imagegen_cli.display.controls import Ui
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import PLAIN, Line, LineBuilder, Theme, to_column

WRAP_OFF = Segment("\x1b[?7l", None, ((ControlType.CARRIAGE_RETURN,),))
WRAP_ON = Segment("\x1b[?7h", None, ((ControlType.CARRIAGE_RETURN,),))

TALL = 8
MEDIUM = 4
"""Lines from which a screen has room for more than the most important."""
WIDE = 30
"""Cells from which it has room for a bar with text."""

Paint = Callable[[bytes, int, int], Sequence[Line]]
"""Turns an encoded picture into lines, of at most so many cells and at most so many; none if it cannot be drawn."""


@dataclass(frozen=True, slots=True)
class DrawContext:
    """What is drawn, when, and into how many cells (`width`) and lines (`height`)."""

    board: Board
    now: float
    width: int
    height: int
    theme: Theme
    ui: Ui
    paint: Paint

    @property
    def cells(self) -> CellContext:
        """What the cells of a table depend on."""
        ui = self.ui
        return CellContext(
            self.now, self.theme, ui.chosen, paused=ui.paused, stopping=bool(self.board.stopping),
            without_credits=self.board.paused_providers, lanes=self.board.lanes, at_service=self.board.at_service,
            more="-j" if not ui.keys else "" if "+" in ui.offer.without else tr("-j or +"),
        )  # fmt: skip

    def word(self, text: str) -> str:
        """A word or two in the language in use, as the terminal can show them."""
        return literal(translated(text), self.theme.encoding)

    def text(self, text: str, style: Style = PLAIN) -> Line:
        shown = self.theme.fit(translated(text), self.width)
        return LineBuilder().put(shown, cell_width(shown), style).line

    def above(self, lines: Sequence[Line]) -> "DrawContext":
        return replace(self, height=self.height - len(lines))


@dataclass(frozen=True, slots=True)
class Frame:
    """Lines for a screen. `moving`: the next frame looks different even if no event comes.

    `cursor`: the column of the last line where the terminal's hidden cursor stands: there an input method composes.
    """

    lines: Sequence[Line]
    moving: bool = False
    cursor: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield WRAP_OFF
        for index, line in enumerate(self.lines):
            if index:
                yield Segment.line()
            yield from line
        yield WRAP_ON
        if self.cursor is not None and self.lines:
            yield to_column(self.cursor)


@dataclass(frozen=True, slots=True)
class PrintedLines:
    """Lines that are printed once, stay, and may be wider than the screen."""

    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()
