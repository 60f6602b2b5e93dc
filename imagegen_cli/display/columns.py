"""The columns of every table of tasks: the live table, `list` on a terminal and off one, and the plain lines of a run.

A new column is defined here and named in the tables that show it; no other file changes.
"""

from typing import TYPE_CHECKING

from imagegen_cli.core.language import translated
from imagegen_cli.core.task import Queued
from imagegen_cli.core.text import age, seconds
from imagegen_cli.display.board import Row
from imagegen_cli.display.cell import CellContext, Column, Measure, Place, as_needed, fixed, stepped
from imagegen_cli.display.costs import of_task
from imagegen_cli.display.fields import brief, images_of, model_of, moment, state_and_reason, varied
from imagegen_cli.display.messages import ending
from imagegen_cli.display.progress import note, percent, progress_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagegen_cli.display.cell import Span
    from imagegen_cli.display.theme import StyleName


MAX_HOST = 16
"""Cells of a machine's name at most."""
MAX_COST = 20
"""Cells of a task's cost at most."""
MIN_LINE_FOR_COST = 60
MIN_PROMPT = 8
"""Cells of a prompt that the names of what was varied leave to it; their values go before the prompt."""


def elapsed(row: Row, now: float) -> str:
    passed = row.elapsed(now)
    return "" if passed is None else seconds(passed)


def is_queued(row: Row) -> bool:
    return isinstance(row.task.state, Queued)


def is_unsent(row: Row) -> bool:
    """Whether no time and no pictures are known of it yet."""
    return row.started is None


def mark(row: Row, context: CellContext) -> "Span":
    """The sign of the state. A task in the service's own queue shows the sign of a queued task."""
    return (context.theme.queued, "busy") if row.queued_there else context.theme.sign(row.task.state)


def mark_spans(row: Row, context: CellContext, _cells: int) -> "Sequence[Span]":
    return [mark(row, context)]


def state_style(row: Row, context: CellContext) -> "StyleName":
    return context.theme.sign(row.task.state)[1]


def prompt_style(row: Row, _context: CellContext) -> "StyleName":
    """Dim while the task waits and once it has ended: what happens stands out."""
    return "dim" if is_queued(row) or row.ended is not None else "plain"


def favourite_spans(row: Row, context: CellContext, _cells: int) -> "Sequence[Span]":
    return [(context.theme.favourite if row.favourite else "", "alert")]


def prompt_spans(row: Row, context: CellContext, cells: int) -> "Sequence[Span]":
    """The prompt; in a comparison with what distinguishes the task behind it, for which the prompt makes room."""
    fit, style, prompt = context.theme.fit, prompt_style(row, context), row.task.request.prompt
    if not row.task.cell:
        is_short = len(prompt) <= cells and prompt.isascii() and prompt.isprintable()
        return [(prompt if is_short else fit(prompt, cells), style)]
    from imagegen_cli.display.text_width import cell_width  # noqa: PLC0415 - Rich only where something is drawn

    between = f" {context.theme.dot} "
    named = fit(between + varied(row.task.cell, between), cells)
    short = fit(" " + context.theme.dot.join(row.task.cell.values()), cells)
    cell = named if cell_width(named) + MIN_PROMPT <= cells else short
    return [(fit(prompt, cells - cell_width(cell)), style), (cell, "dim")]


def note_style(row: Row, _context: CellContext) -> "StyleName":
    return "alert" if row.delay else "dim"


MARK = Column(lambda row, _: brief(row), spans=mark_spans)
NUMBER = Column(lambda row, _: str(row.task.id), "dim", right=True)
STATE = Column(lambda row, _: brief(row), state_style)
STATE_AND_REASON = Column(lambda row, _: state_and_reason(row))
AGE = Column(lambda row, now: age(row.created, now), "dim", right=True)
CREATED = Column(lambda row, _: moment(row.created))
ELAPSED = Column(elapsed, right=True)
ENDING = Column(lambda row, _: translated(ending(row.task)))
IMAGES = Column(lambda row, _: images_of(row), right=True)
IMAGES_ONCE_SENT = IMAGES._replace(text=lambda row, _: "" if is_queued(row) else images_of(row), style="dim")
MODEL = Column(lambda row, _: model_of(row), "dim")
PROGRESS = Column(lambda row, now: percent(*row.progress(now)), spans=progress_spans, spreads=is_unsent)
COST = Column(lambda row, _: of_task(row.charge, translated), "dim", right=True)
COST_FOR_SCRIPTS = Column(lambda row, _: of_task(row.charge), right=True)
FAVOURITE = Column(lambda row, _: "*" * row.favourite, spans=favourite_spans)
HOST = Column(lambda row, _: row.host, "dim")
NOTE = Column(lambda row, _: note(row), note_style)
PROMPT = Column(lambda row, _: row.task.request.prompt)
PROMPT_AND_CELL = PROMPT._replace(spans=prompt_spans)


def number_in_live_table(measure: Measure) -> int:
    return measure.number if measure.line >= measure.number + 10 else 0


def elapsed_in_live_table(measure: Measure) -> int:
    return 6 if measure.line >= measure.number + 16 else 0


def model_in_live_table(measure: Measure) -> int:
    return min(measure.widest(24), measure.line // 6) if measure.line >= 68 else 0  # noqa: PLR2004 - as in `fixed`


def cost_in_list(measure: Measure) -> int:
    """None where no price is known: a column of question marks says nothing."""
    widest = measure.widest(MAX_COST) if measure.line >= MIN_LINE_FOR_COST else 0
    return widest if widest > 1 else 0


NOTED = 3
"""Cells in which every text leaves something, as the sign for what was cut off has at most three."""

LIVE = (
    Place(MARK, fixed(1), gap=0),
    Place(NUMBER, number_in_live_table),
    Place(PROMPT_AND_CELL, fixed(1), share=100),
    Place(MODEL, model_in_live_table, gap=2),
    Place(HOST, as_needed(MAX_HOST, min_line=100), gap=2),
    Place(PROGRESS, stepped((199, 41), (139, 29), (99, 23), (75, 17), (59, 15), (39, 13), (30, 4))),
    Place(ELAPSED, elapsed_in_live_table),
    Place(IMAGES_ONCE_SENT, fixed(5, min_line=54)),
    Place(NOTE, as_needed(NOTED, min_line=99), gap=2, share=40),
)
"""The live table of a run."""

LIST = (
    Place(MARK, fixed(1), gap=0),
    Place(NUMBER, lambda measure: measure.number),
    Place(STATE, as_needed(20, min_line=36), gap=2),
    Place(AGE, as_needed(20, min_line=50), gap=2),
    Place(IMAGES, as_needed(20, min_line=44), gap=2),
    Place(COST, cost_in_list, gap=2),
    Place(MODEL, as_needed(20, min_line=72), gap=2),
    Place(HOST, as_needed(MAX_HOST, min_line=76), gap=2),
    Place(FAVOURITE, as_needed(1), gap=2),
    Place(PROMPT_AND_CELL, fixed(1), gap=2, share=100),
)
"""`list` on a terminal."""

PLAIN = (
    Place(NUMBER, fixed(5), gap=0),
    Place(STATE_AND_REASON, fixed(22), gap=2),
    Place(CREATED, fixed(19), gap=2),
    Place(IMAGES, fixed(5), gap=2),
    Place(COST_FOR_SCRIPTS, cost_in_list, gap=2),
    Place(MODEL, fixed(12), gap=2),
    Place(FAVOURITE, as_needed(1), gap=2),
    Place(PROMPT, fixed(0), gap=2),
)
"""`list` off a terminal, in English for scripts. Nothing is cut off: the widths are minimal widths."""

PLAIN_ENDING = (ENDING, ELAPSED)
"""What a run off a terminal prints of an ended task, between its number and its prompt; empty texts are left out."""
