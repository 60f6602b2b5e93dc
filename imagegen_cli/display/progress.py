"""How far a task is, as a bar with a percentage, or in a few words why it does not go on."""

from typing import TYPE_CHECKING

from imagegen_cli.core.task import Queued, Saving
from imagegen_cli.core.text import seconds
from imagegen_cli.display.board import Board, Known, Row
from imagegen_cli.display.cell import CellContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagegen_cli.display.cell import Span
    from imagegen_cli.display.theme import StyleName

PERCENT = 4
"""Cells of a percentage such as ~45%."""
BRIEF = 11
"""Cells in which only a word has room."""
PULSE = 3
"""Cells of the piece that moves through a bar of unknown length; a shorter bar says nothing."""
STEPS_A_SECOND = 4


def percent(known: Known, fraction: float) -> str:
    """Empty while nothing is known. A tilde marks a guess."""
    if known is Known.NOTHING:
        return ""
    return f"{'~' if known is Known.GUESSED else ''}{int(fraction * 100)}%"


def progress_spans(row: Row, context: CellContext, cells: int) -> "Sequence[Span]":
    """A bar with its percentage; in place of them, what the task waits for."""
    why = trouble(row, context.now, brief=cells < BRIEF)
    if why or row.started is None:
        held = context.paused or lacks_credits(row, context)
        if held or not why:
            why = why_unsent(row, context, cells) or why
        alert = row.delay is not None or held
        return [(context.theme.fit(why, cells), "alert" if alert else "dim")]
    known, fraction = row.progress(context.now)
    share = percent(known, fraction).rjust(PERCENT)
    style: StyleName = "dim" if known is Known.GUESSED else "plain"
    if cells <= PERCENT:
        return [(share, style)]
    return [*bar_spans(known, fraction, context, cells - PERCENT - 1), (f" {share}", style)]


def bar_spans(known: Known, fraction: float, context: CellContext, cells: int) -> "Sequence[Span]":
    """Reported by the service: solid. Guessed: dashed. Nothing known: a short piece that moves to and fro."""
    theme = context.theme
    if known is Known.NOTHING:
        return pulse_spans(context, cells)
    whole, part = divmod(int(fraction * cells * 2), 2)
    filled = theme.full * whole + theme.half * part if known is Known.REPORTED else theme.guess * whole
    return [(filled, "busy"), (theme.rest * (cells - len(filled)), "dim")]


def pulse_spans(context: CellContext, cells: int) -> "Sequence[Span]":
    theme, size = context.theme, min(PULSE, cells)
    way = cells - size
    step = int(context.now * STEPS_A_SECOND) % (2 * way) if way else 0
    before = step if step <= way else 2 * way - step
    return [(theme.rest * before, "dim"), (theme.full * size, "busy"), (theme.rest * (way - before), "dim")]


def share_done(board: Board, now: float) -> float:
    """How much of all tasks is done, from 0 to 1; a guess about a running task counts as what it is a guess of."""
    if not board.rows:
        return 0.0
    going = sum(row.progress(now)[1] for row in board.active.values() if row.started is not None)
    return min(1.0, (board.ended + going) / len(board.rows))


def trouble(row: Row, now: float, *, brief: bool = False) -> str:
    """Why a task does not go on right now; empty where it does."""
    if row.delay is not None:
        return "wait" if brief else again_in(row, row.delay.until - now)
    if not row.queued_there:
        return ""
    return f"#{row.queue_position}" if brief else f"queue: {row.queue_position}"


def again_in(row: Row, left: float) -> str:
    if left > 0:
        return f"again in {seconds(left)}"
    return "waiting" if isinstance(row.task.state, Queued) else "trying again"


def why_unsent(row: Row, context: CellContext, cells: int) -> str:
    """Why a task is still waiting to be sent, in at most so many cells where that is possible."""
    if not isinstance(row.task.state, Queued) or context.stopping:
        return ""
    if lacks_credits(row, context):
        return "no credits" if len("no credits") <= cells else "paused"
    long = "waits its turn"
    return "paused" if context.paused else long if len(long) <= cells else "waits"


def lacks_credits(row: Row, context: CellContext) -> bool:
    return row.task.request.provider in context.without_credits


def note(row: Row) -> str:
    """The text that explains what the bar or `trouble` shows."""
    if row.delay is not None:
        attempt = f"attempt {row.delay.attempt}: " if row.delay.attempt else ""
        return attempt + row.delay.because
    state = row.task.state
    return state.note if isinstance(state, Saving) and state.note else row.note
