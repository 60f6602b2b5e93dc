"""How far a task is, as a bar with a percentage, or in a few words why it does not go on."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imagegen_cli.core.errors import label
from imagegen_cli.core.events import LaneChanged
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.task import Cancelled, CancelOutcome, Failed, Queued, Saving
from imagegen_cli.core.text import seconds, width
from imagegen_cli.display import messages
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
ALONE = 24
"""Cells in which a delay and its reason have room."""
MINUTE_S = 60


def percent(known: Known, fraction: float) -> str:
    """Empty while nothing is known. A tilde marks a guess."""
    if known is Known.NOTHING:
        return ""
    return f"{'~' if known is Known.GUESSED else ''}{int(fraction * 100)}%"


def progress_spans(row: Row, context: CellContext, cells: int) -> "Sequence[Span]":
    """A bar with its percentage; in place of them, what the task waits for or how it ended."""
    if row.ended is not None:
        return [(context.theme.fit(ended(row, cells), cells), context.theme.sign(row.task.state)[1])]
    why = trouble(row, context.now, brief=cells < BRIEF)
    if why or row.started is None:
        held = context.paused or lacks_credits(row, context)
        if held or not why:
            why = first_that_fits(why_unsent(row, context), cells) or why
        alert = row.delay is not None or held
        if cells > ALONE and row.started is None and row.delay is not None and not held:
            why = tr("{what}: {note}", what=why, note=note(row))
        return [(context.theme.fit(why, cells), "alert" if alert else "dim")]
    known, fraction = row.progress(context.now)
    share = percent(known, fraction).rjust(PERCENT)
    style: StyleName = "dim" if known is Known.GUESSED else "plain"
    if cells <= PERCENT:
        return [(share, style)]
    return [*bar_spans(known, fraction, context, cells - PERCENT - 1), (f" {share}", style)]


def first_that_fits(forms: "Sequence[str]", cells: int) -> str:
    """The first of these that is not too wide, or the last one; empty where there is none. It is in our language."""
    shown = [translated(form) for form in forms]
    return next((form for form in shown if width(form) <= cells), shown[-1] if shown else "")


def ended(row: Row, cells: int) -> str:
    """How a task ended, in a few words."""
    match row.task.state:
        case Failed(reason=reason) as state:
            whole = translated(messages.described(state))
            return whole if len(whole) <= cells else translated(label(reason))
        case Cancelled(stop=stop):
            return tr("not sent") if stop is CancelOutcome.NOT_SENT else tr("cancelled")
        case state:
            return translated(messages.WORDS[type(state)])


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
        return tr("wait") if brief else again_in(row, row.delay.until - now)
    if not row.queued_there:
        return ""
    return f"#{row.queue_position}" if brief else tr("queue: {position}", position=row.queue_position)


def again_in(row: Row, left: float) -> str:
    if left > 0:
        return tr("again in {time}", time=seconds(left))
    return tr("waiting") if isinstance(row.task.state, Queued) else tr("trying again")


def why_unsent(row: Row, context: CellContext) -> "Sequence[str]":
    """Why a task is still waiting to be sent, in several lengths, the longest first; none where it does not wait."""
    if not isinstance(row.task.state, Queued) or context.stopping:
        return ()
    if lacks_credits(row, context):
        return Message("held: out of credits"), Message("no credits"), Message("held")
    lane = context.lanes.get(row.task.request.provider)
    if context.paused or (lane is not None and lane.paused):
        return (Message("paused"),)
    why: Sequence[str] = ()
    if lane is not None and lane.until > context.now:
        why = paused_until(lane.until, context.now)
    elif lane is not None:
        why = full(lane, context.at_service.get(lane.provider, 0), context.more)
    return why or (Message("waits its turn"), Message("waits"))


def paused_until(until: float, now: float) -> "Sequence[str]":
    """A moment of the day; seconds where it is less than a minute away."""
    if until - now < MINUTE_S:
        left = f"{until - now:.0f}s"
        forms = (Message("paused by the service for {time}"), Message("again in {time}"), Message("waits"))
        return [form.format(time=left) for form in forms]
    clock = datetime.fromtimestamp(until, UTC).astimezone().strftime("%H:%M")
    until_then = (
        Message("paused by the service until {time}"),
        Message("paused until {time}"),
        Message("until {time}"),
    )
    return [*(form.format(time=clock) for form in until_then), Message("waits")]


def full(lane: LaneChanged, inside: int, more: str) -> "Sequence[str]":
    """That as many tasks are at the service as may be; nothing where there is room. `more`: how to let in more."""
    if lane.limit is not None and inside >= lane.limit:
        at_service, waits = Message("{inside} of {limit} at the service"), Message("waits, {inside} of {limit}")
        forms = [at_service, waits, Message("{inside} of {limit}")]
        if more:
            forms.insert(0, Message("{inside} of {limit} at the service: {more}"))
            forms.insert(2, Message("{inside} of {limit}: {more}"))
        return [form.format(inside=inside, limit=lane.limit, more=more) for form in forms]
    if lane.allowed is not None and inside >= lane.allowed:
        takes = Message("the service takes {count} at a time now"), Message("it takes {count} now"), Message("waits")
        return [form.format(count=lane.allowed) for form in takes]
    return ()


def lacks_credits(row: Row, context: CellContext) -> bool:
    return row.task.request.provider in context.without_credits


def note(row: Row) -> str:
    """The text that explains what the bar or `trouble` shows."""
    if row.delay is not None:
        why = translated(row.delay.because)
        return tr("attempt {number}: {why}", number=row.delay.attempt, why=why) if row.delay.attempt else why
    state = row.task.state
    return translated(state.note if isinstance(state, Saving) and state.note else row.note)
