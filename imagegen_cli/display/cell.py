"""What a column of a table is made of. Nothing here imports Rich: off a terminal nothing is drawn."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.core.events import LaneChanged
from imagegen_cli.core.task import TaskId
from imagegen_cli.display.board import Row

if TYPE_CHECKING:
    from imagegen_cli.display.theme import StyleName, Theme

    Span = tuple[str, StyleName]
    """A piece of a cell: its text, and the name of its style."""


class CellContext(NamedTuple):
    """What a cell depends on besides its task. `now` is in seconds since the epoch."""

    now: float
    theme: "Theme"
    chosen: TaskId | None = None
    paused: bool = False
    without_credits: Collection[str] = ()
    """Providers that are held back until a person has topped up."""
    stopping: bool = False
    lanes: Mapping[str, LaneChanged] = {}
    """By provider, how many tasks may be there at a time."""
    at_service: Mapping[str, int] = {}
    """By provider, how many tasks are there."""
    more: str = ""
    """How a person lets more tasks be at a service at a time; empty where that is done elsewhere."""


class Column(NamedTuple):
    """One fact about a task.

    `text` makes its text from the row and the moment. `style` is the name of a style, or a function that chooses one.
    `spans` replaces both where a cell has several styles; its last parameter is the width of the cell.
    """

    text: Callable[[Row, float], str]
    style: "StyleName | Callable[[Row, CellContext], StyleName]" = "plain"
    right: bool = False
    spans: "Callable[[Row, CellContext, int], Sequence[Span]] | None" = None
    spreads: Callable[[Row], bool] | None = None
    """Whether the cell of a row also takes the room of the columns after it, because they are empty."""


class Measure(NamedTuple):
    """What the width of a column depends on, all in terminal cells.

    `line`: the whole line. `number`: the longest task number. `widest`: the widest text of the column, up to a limit.
    """

    line: int
    number: int
    widest: Callable[[int], int]


Width = Callable[[Measure], int]
"""Cells of a column; 0 leaves it out."""


class Place(NamedTuple):
    """A column in one table: its width, and the blank cells before it.

    `share`: percent of the cells that all columns without a share leave over. The column takes that in place of its
    width, unless its width is 0. The column with 100 takes what is left after the other shares.
    """

    column: Column
    width: Width
    gap: int = 1
    share: int = 0


def fixed(cells: int, *, min_line: int = 0) -> Width:
    """Always so many cells; none on a line of fewer than `min_line`."""
    return lambda measure: cells if measure.line >= min_line else 0


def as_needed(max_cells: int, *, min_line: int = 0) -> Width:
    """As many cells as the widest text needs; none on a line of fewer than `min_line`."""
    return lambda measure: measure.widest(max_cells) if measure.line >= min_line else 0


def stepped(*steps: tuple[int, int]) -> Width:
    """Pairs of a minimal line width and the cells of the column, the widest line first."""
    return lambda measure: next((cells for min_line, cells in steps if measure.line >= min_line), 0)
