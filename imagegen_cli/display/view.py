"""A board and a moment into lines of segments. Pure: no clock, no terminal, nothing kept.

Only the view knows how much room is left for a preview, so `paint` makes its lines when asked; it must be as pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rich.style import Style

from imagegen_cli.core.task import Queued, Saving
from imagegen_cli.core.text import amount, seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board, Known, Row
from imagegen_cli.display.context import FEW_ROWS, LOW, PULSE, DrawContext, Frame, Paint
from imagegen_cli.display.controls import Mode, Ui, lines_of
from imagegen_cli.display.details import task_lines
from imagegen_cli.display.fields import images_of, model_of, service
from imagegen_cli.display.footer import footer, help_lines, prefix, prompt_line
from imagegen_cli.display.text_width import cell_width, wrapped
from imagegen_cli.display.theme import ALERT, BOLD, BUSY, CHOSEN, DIM, PLAIN, Line, LineBuilder, Theme, sign

CARD = 40
MODEL = 24
BRIEF = 12
STEPS = 4
"""Steps of a pulse in a second."""
PICTURE = (40, 16)
SMALLEST = (8, 4)
"""Cells and lines of a preview; in less than the smallest there is nothing to see."""
AIR = 3
"""Lines that stay empty around a preview."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells of each column; 0 leaves it out."""

    id: int
    prompt: int
    model: int
    bar: int
    percent: int
    elapsed: int
    images: int
    note: int


def columns(width: int, ids: int, models: int, *, notes: bool) -> Columns:
    """What fits into `room` cells, the least important left out first; no notes, no column for them."""
    elapsed = 6 if width >= ids + 16 else 0
    percent = 4 if width >= 30 else 0  # noqa: PLR2004
    bar = next((cells for least, cells in BARS if width >= least), 0)
    images = 5 if width >= 54 else 0  # noqa: PLR2004
    model = min(models, width // 6) if width >= 68 else 0  # noqa: PLR2004
    number = ids if width >= ids + 10 else 0
    taken = (
        2 + sum(cells + 1 for cells in (number, bar, percent, elapsed, images) if cells) + (model + 2 if model else 0)
    )
    left = width - taken
    note = left * 2 // 5 if notes and width >= 99 else 0  # noqa: PLR2004
    prompt = left - note - (2 if note else 0)
    return Columns(number, max(0, prompt), model, bar, percent, elapsed, images, note)


BARS = ((199, 36), (139, 24), (99, 18), (75, 12), (59, 10), (39, 8))
"""Least room and cells of a bar; the room is one cell less than the screen is wide."""


def unpainted(_picture: bytes, _cells: int, _lines: int) -> list[Line]:
    return []


def draw(
    board: Board,
    now: float,
    *,
    width: int,
    height: int,
    theme: Theme,
    ui: Ui | None = None,
    paint: Paint = unpainted,
) -> Frame:
    """At most `height` - 1 lines of fewer than `width` cells."""
    context = DrawContext(board, now, width - 1, height - 1, theme, ui or Ui(), paint)
    if context.width < 1 or context.height < 1:
        return Frame([])
    only = next(iter(board.rows.values())) if len(board.rows) == 1 else None
    if only is not None and only.ended is not None:
        only = None
    bottom = prompt_line(context) if only else footer(context)
    top = context.above(bottom)
    body = overlay(top) or (card(only, top) if only else table(top))
    lines = spaced(body, bottom, context.height)
    return Frame(lines, moving=bool(board.active or board.delayed))


def spaced(body: list[Line], bottom: list[Line], height: int) -> list[Line]:
    """Air between the parts and above them, where the screen has it to spare."""
    spare = height - len(body) - len(bottom) if height >= FEW_ROWS else 0
    between: list[Line] = [[]] if body and bottom and spare > 0 else []
    above: list[Line] = [[]] if body and spare > 1 else []
    return [*above, *body, *between, *bottom][-height:]


def overlay(context: DrawContext) -> list[Line]:
    """What lies over the table for a moment."""
    if context.height < 1:
        return []
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    if context.ui.mode is Mode.DETAILS and row is not None:
        paths = [context.text(f"  {path}") for path in row.task.files]
        lines = [*task_lines(row, context.now, context.width, context.theme), *paths][: context.height]
        return lines + preview_lines(row, context, len(lines) if row.note else len(lines) + 1)
    if context.ui.mode is Mode.LINES:
        return pasted_lines(context)
    return help_lines(context)[: context.height] if context.ui.mode is Mode.HELP else []


def pasted_lines(context: DrawContext) -> list[Line]:
    """What would be added, a prompt a line, as many as there is room for."""
    prompts = list(context.ui.outcome.prompts) or lines_of(context.ui.text)
    shown = prompts if len(prompts) <= context.height else prompts[: context.height - 1]
    more = (
        [context.text(f"  {context.theme.more} and {len(prompts) - len(shown)} more", DIM)] if shown != prompts else []
    )
    return [*(context.text(f"  {prompt}") for prompt in shown), *more]


def table(context: DrawContext) -> list[Line]:
    rows = visible(context.board, context.height, context.ui)
    if not rows:
        return []
    models = max(cell_width(context.theme.fit(model_of(row), MODEL)) for row in rows)
    notes = any(note(row) for row in rows)
    sizes = columns(context.width, len(str(context.board.highest)), models, notes=notes)
    return [row_line(row, context, sizes) for row in rows]


def visible(board: Board, height: int, ui: Ui) -> list[Row]:
    """What needs attention first, then what runs; of those that merely wait only a few."""
    if height < 1:
        return []
    if ui.chosen is None:
        return list(islice(board.unfinished(), min(height, max(board.busy, FEW_ROWS))))
    at = next((index for index, row in enumerate(board.unfinished()) if row.task.id == ui.chosen), 0)
    first = max(0, at - height // 2) if at >= height else 0
    return list(islice(board.unfinished(), first, first + height))


def row_line(row: Row, context: DrawContext, sizes: Columns) -> Line:
    theme, now = context.theme, context.now
    chosen = row.task.id == context.ui.chosen
    waits = isinstance(row.task.state, Queued)
    mark, colour = mark_of(row, theme)
    builder = LineBuilder(CHOSEN if chosen else PLAIN).put(mark, 1, colour)
    if context.width == 1:
        return builder.line
    builder.gap(1)
    if sizes.id:
        builder.put(str(row.task.id), sizes.id, DIM, right=True).gap(1)
    builder.put(theme.fit(row.task.request.prompt, sizes.prompt), sizes.prompt, DIM if waits and not chosen else PLAIN)
    if sizes.model:
        builder.gap(2).put(theme.fit(model_of(row), sizes.model), sizes.model, DIM)
    progress_cells(builder, row, context, sizes)
    elapsed = row.elapsed(now)
    if sizes.elapsed:
        clock = "" if elapsed is None else seconds(elapsed)
        builder.gap(1).put(theme.fit(clock, sizes.elapsed), sizes.elapsed, right=True)
    if sizes.images:
        images = "" if waits else images_of(row)
        builder.gap(1).put(theme.fit(images, sizes.images), sizes.images, DIM, right=True)
    if sizes.note:
        builder.gap(2).put(theme.fit(note(row), sizes.note), sizes.note, ALERT if row.delay else DIM)
    return builder.line


def mark_of(row: Row, theme: Theme) -> tuple[str, Style]:
    """As its state, but for what the service has and has not begun."""
    return (theme.queued, BUSY) if row.queued_there else sign(row.task.state, theme)


def progress_cells(builder: LineBuilder, row: Row, context: DrawContext, sizes: Columns) -> None:
    """A bar with its percentage; what stands in the way is said in its place."""
    cells = sum(size + 1 for size in (sizes.bar, sizes.percent) if size)
    if not cells:
        return
    standing = trouble(row, context.now, brief=cells < BRIEF)
    if standing or row.started is None:
        why = waits(row, context, cells - 1) if context.ui.held or not standing else standing
        style = ALERT if row.delay or context.ui.held else DIM
        builder.gap(1).put(context.theme.fit(why or standing, cells - 1), cells - 1, style)
        return
    known, fraction = row.progress(context.now)
    if sizes.bar:
        bar(builder.gap(1), known, fraction, context, sizes.bar)
    if sizes.percent:
        builder.gap(1).put(
            percent(known, fraction), sizes.percent, DIM if known is Known.GUESSED else PLAIN, right=True
        )


def percent(known: Known, fraction: float) -> str:
    if known is Known.NOTHING:
        return ""
    return f"{'~' if known is Known.GUESSED else ''}{int(fraction * 100)}%"


def bar(builder: LineBuilder, known: Known, fraction: float, context: DrawContext, cells: int) -> None:
    """Told: solid. Guessed: dashed. Nothing known: a short piece that wanders."""
    theme = context.theme
    if known is Known.NOTHING:
        pulse(builder, context, cells)
        return
    whole, part = divmod(int(fraction * cells * 2), 2)
    text = theme.full * whole + theme.half * part if known is Known.TOLD else theme.guess * whole
    builder.put(text, len(text), BUSY).put(theme.rest * (cells - len(text)), cells - len(text), DIM)


def pulse(builder: LineBuilder, context: DrawContext, cells: int) -> None:
    theme, size = context.theme, min(PULSE, cells)
    way = cells - size
    step = int(context.now * STEPS) % (2 * way) if way else 0
    before = step if step <= way else 2 * way - step
    builder.put(theme.rest * before, before, DIM).put(theme.full * size, size, BUSY)
    builder.put(theme.rest * (way - before), way - before, DIM)


def trouble(row: Row, now: float, *, brief: bool = False) -> str:
    """Why a task does not go on right now, in few words."""
    if row.delay is not None:
        return "wait" if brief else again_in(row, row.delay.until - now)
    if not row.queued_there:
        return ""
    return f"#{row.queue_position}" if brief else f"queue: {row.queue_position}"


def waits(row: Row, context: DrawContext, cells: int) -> str:
    """Why a task that waits is not sent."""
    if not isinstance(row.task.state, Queued) or context.board.stopping:
        return ""
    long, short = ("held back", "held") if context.ui.held else ("waits its turn", "waits")
    return long if len(long) <= cells else short


def again_in(row: Row, left: float) -> str:
    if left > 0:
        return f"again in {seconds(left)}"
    return "waiting" if isinstance(row.task.state, Queued) else "trying again"


def note(row: Row) -> str:
    """The words that belong to what a bar or `trouble` shows."""
    if row.delay is not None:
        attempt = f"attempt {row.delay.attempt}: " if row.delay.attempt else ""
        return attempt + row.delay.because
    state = row.task.state
    return state.note if isinstance(state, Saving) and state.note else row.note


def card(row: Row, context: DrawContext) -> list[Line]:
    """One task without a table around it."""
    theme, lines = context.theme, []
    high = context.height >= FEW_ROWS - 1
    if context.height > 1:
        prompt = wrapped(row.task.request.prompt, context.width, 2 if high else 1, theme.encoding, theme.more)
        lines += [context.text(text, BOLD) for text in prompt]
    if context.height >= LOW:
        lines.append(context.text(f" {theme.dot} ".join(service(row.task.request)), DIM))
    if high:
        lines.append([])
    lines.append(card_progress(row, context))
    state = prefix(context).removesuffix("; ")
    said = ", ".join(filter(None, (state, trouble(row, context.now), note(row))))
    if said and context.height > len(lines):
        lines.append(context.text(f"  {said}", ALERT if row.delay or state else DIM))
    shown = lines[: max(0, context.height)]
    return shown + preview_lines(row, context, len(shown) if said else len(shown) + 1)


def preview_lines(row: Row, context: DrawContext, taken: int) -> list[Line]:
    """The latest preview below what is `taken`, where room is left over. A note that is still to come has its line."""
    cells = min(PICTURE[0], context.width - 2)
    lines = min(PICTURE[1], context.height - taken - AIR)
    if row.preview is None or not context.theme.pictures or cells < SMALLEST[0] or lines < SMALLEST[1]:
        return []
    painted = context.paint(row.preview, cells, lines)
    return [[], *([*LineBuilder().gap(2).line, *line] for line in painted)] if painted else []


def card_progress(row: Row, context: DrawContext) -> Line:
    known, fraction = row.progress(context.now)
    text = ""
    for fact in card_facts(row, context.now):
        longer = f"{text}  {fact}" if text else fact
        text = longer if cell_width(longer) <= context.width - 2 else text
    mark, colour = mark_of(row, context.theme)
    builder = LineBuilder().put(mark, 1, colour)
    if context.width <= PULSE:
        return builder.line
    builder.gap(1)
    cells = min(CARD, context.width - 2 - cell_width(text) - 2)
    if cells > PULSE and row.started is not None and not row.queued_there:
        bar(builder, known, fraction, context, cells)
        builder.gap(2)
    return builder.put(text, cell_width(text)).line


def card_facts(row: Row, now: float) -> Iterator[str]:
    known, fraction = row.progress(now)
    elapsed = row.elapsed(now)
    yield percent(known, fraction) or messages.described(row.task.state)
    if elapsed is None:
        return
    usual = f" of ~{seconds(row.estimate)}" if row.estimate and 0 < (row.passed(now) or 0) <= 1 else ""
    yield seconds(elapsed) + usual
    yield f"{len(row.task.files)}/{amount(row.task.expected_images, 'picture')}"
