"""A board and a moment into lines of segments. Pure: no clock, no terminal, nothing kept.

Only the view knows how much room is left for a preview, so `paint` makes its lines when asked; it must be as pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rich.style import Style

from imagegen_cli.core.task import Queued, Saving
from imagegen_cli.display import words
from imagegen_cli.display.board import Board, Known, Row
from imagegen_cli.display.bottom import footer, help_lines, prefix, prompt_line
from imagegen_cli.display.cells import width as cells_of, wrapped
from imagegen_cli.display.controls import Mode, Ui, lines_of
from imagegen_cli.display.details import task_lines
from imagegen_cli.display.facts import images_of, model_of, service
from imagegen_cli.display.look import ALERT, BOLD, BUSY, CHOSEN, DIM, PLAIN, Line, LineBuilder, Theme, sign
from imagegen_cli.display.scene import FEW_ROWS, LOW, PULSE, DrawContext, Frame, Paint

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


def columns(room: int, ids: int, models: int, *, notes: bool) -> Columns:
    """What fits into `room` cells, the least important left out first; no notes, no column for them."""
    elapsed = 6 if room >= ids + 16 else 0
    percent = 4 if room >= 30 else 0  # noqa: PLR2004
    bar = next((cells for least, cells in BARS if room >= least), 0)
    images = 5 if room >= 54 else 0  # noqa: PLR2004
    model = min(models, room // 6) if room >= 68 else 0  # noqa: PLR2004
    number = ids if room >= ids + 10 else 0
    taken = (
        2 + sum(cells + 1 for cells in (number, bar, percent, elapsed, images) if cells) + (model + 2 if model else 0)
    )
    left = room - taken
    note = left * 2 // 5 if notes and room >= 99 else 0  # noqa: PLR2004
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
    look: Theme,
    ui: Ui | None = None,
    paint: Paint = unpainted,
) -> Frame:
    """At most `height` - 1 lines of fewer than `width` cells."""
    scene = DrawContext(board, now, width - 1, height - 1, look, ui or Ui(), paint)
    if scene.room < 1 or scene.most < 1:
        return Frame([])
    only = next(iter(board.rows.values())) if len(board.rows) == 1 else None
    if only is not None and only.ended is not None:
        only = None
    bottom = prompt_line(scene) if only else footer(scene)
    top = scene.above(bottom)
    body = overlay(top) or (card(only, top) if only else table(top))
    lines = spaced(body, bottom, scene.most)
    return Frame(lines, moving=bool(board.active or board.delayed))


def spaced(body: list[Line], bottom: list[Line], most: int) -> list[Line]:
    """Air between the parts and above them, where the screen has it to spare."""
    spare = most - len(body) - len(bottom) if most >= FEW_ROWS else 0
    between: list[Line] = [[]] if body and bottom and spare > 0 else []
    above: list[Line] = [[]] if body and spare > 1 else []
    return [*above, *body, *between, *bottom][-most:]


def overlay(scene: DrawContext) -> list[Line]:
    """What lies over the table for a moment."""
    if scene.most < 1:
        return []
    row = scene.board.rows.get(scene.ui.chosen) if scene.ui.chosen is not None else None
    if scene.ui.mode is Mode.DETAILS and row is not None:
        paths = [scene.text(f"  {path}") for path in row.task.files]
        lines = [*task_lines(row, scene.now, scene.room, scene.look), *paths][: scene.most]
        return lines + preview_lines(row, scene, len(lines) if row.note else len(lines) + 1)
    if scene.ui.mode is Mode.LINES:
        return pasted_lines(scene)
    return help_lines(scene)[: scene.most] if scene.ui.mode is Mode.HELP else []


def pasted_lines(scene: DrawContext) -> list[Line]:
    """What would be added, a prompt a line, as many as there is room for."""
    prompts = list(scene.ui.outcome.prompts) or lines_of(scene.ui.text)
    shown = prompts if len(prompts) <= scene.most else prompts[: scene.most - 1]
    more = [scene.text(f"  {scene.look.more} and {len(prompts) - len(shown)} more", DIM)] if shown != prompts else []
    return [*(scene.text(f"  {prompt}") for prompt in shown), *more]


def table(scene: DrawContext) -> list[Line]:
    rows = visible(scene.board, scene.most, scene.ui)
    if not rows:
        return []
    models = max(cells_of(scene.look.fit(model_of(row), MODEL)) for row in rows)
    notes = any(note(row) for row in rows)
    sizes = columns(scene.room, len(str(scene.board.highest)), models, notes=notes)
    return [row_line(row, scene, sizes) for row in rows]


def visible(board: Board, most: int, ui: Ui) -> list[Row]:
    """What needs attention first, then what runs; of those that merely wait only a few."""
    if most < 1:
        return []
    if ui.chosen is None:
        return list(islice(board.unfinished(), min(most, max(board.busy, FEW_ROWS))))
    at = next((index for index, row in enumerate(board.unfinished()) if row.task.id == ui.chosen), 0)
    first = max(0, at - most // 2) if at >= most else 0
    return list(islice(board.unfinished(), first, first + most))


def row_line(row: Row, scene: DrawContext, sizes: Columns) -> Line:
    look, now = scene.look, scene.now
    chosen = row.task.id == scene.ui.chosen
    waits = isinstance(row.task.state, Queued)
    mark, colour = mark_of(row, look)
    pen = LineBuilder(CHOSEN if chosen else PLAIN).put(mark, 1, colour)
    if scene.room == 1:
        return pen.line
    pen.gap(1)
    if sizes.id:
        pen.put(str(row.task.id), sizes.id, DIM, right=True).gap(1)
    pen.put(look.fit(row.task.request.prompt, sizes.prompt), sizes.prompt, DIM if waits and not chosen else PLAIN)
    if sizes.model:
        pen.gap(2).put(look.fit(model_of(row), sizes.model), sizes.model, DIM)
    progress_cells(pen, row, scene, sizes)
    elapsed = row.elapsed(now)
    if sizes.elapsed:
        clock = "" if elapsed is None else words.seconds(elapsed)
        pen.gap(1).put(look.fit(clock, sizes.elapsed), sizes.elapsed, right=True)
    if sizes.images:
        images = "" if waits else images_of(row)
        pen.gap(1).put(look.fit(images, sizes.images), sizes.images, DIM, right=True)
    if sizes.note:
        pen.gap(2).put(look.fit(note(row), sizes.note), sizes.note, ALERT if row.delay else DIM)
    return pen.line


def mark_of(row: Row, look: Theme) -> tuple[str, Style]:
    """As its state, but for what the service has and has not begun."""
    return (look.queued, BUSY) if row.queued_there else sign(row.task.state, look)


def progress_cells(pen: LineBuilder, row: Row, scene: DrawContext, sizes: Columns) -> None:
    """A bar with its percentage; what stands in the way is said in its place."""
    cells = sum(size + 1 for size in (sizes.bar, sizes.percent) if size)
    if not cells:
        return
    standing = trouble(row, scene.now, brief=cells < BRIEF)
    if standing or row.started is None:
        why = waits(row, scene, cells - 1) if scene.ui.held or not standing else standing
        style = ALERT if row.delay or scene.ui.held else DIM
        pen.gap(1).put(scene.look.fit(why or standing, cells - 1), cells - 1, style)
        return
    known, fraction = row.progress(scene.now)
    if sizes.bar:
        bar(pen.gap(1), known, fraction, scene, sizes.bar)
    if sizes.percent:
        pen.gap(1).put(percent(known, fraction), sizes.percent, DIM if known is Known.GUESSED else PLAIN, right=True)


def percent(known: Known, fraction: float) -> str:
    if known is Known.NOTHING:
        return ""
    return f"{'~' if known is Known.GUESSED else ''}{int(fraction * 100)}%"


def bar(pen: LineBuilder, known: Known, fraction: float, scene: DrawContext, cells: int) -> None:
    """Told: solid. Guessed: dashed. Nothing known: a short piece that wanders."""
    look = scene.look
    if known is Known.NOTHING:
        pulse(pen, scene, cells)
        return
    whole, part = divmod(int(fraction * cells * 2), 2)
    text = look.full * whole + look.half * part if known is Known.TOLD else look.guess * whole
    pen.put(text, len(text), BUSY).put(look.rest * (cells - len(text)), cells - len(text), DIM)


def pulse(pen: LineBuilder, scene: DrawContext, cells: int) -> None:
    look, size = scene.look, min(PULSE, cells)
    way = cells - size
    step = int(scene.now * STEPS) % (2 * way) if way else 0
    before = step if step <= way else 2 * way - step
    pen.put(look.rest * before, before, DIM).put(look.full * size, size, BUSY)
    pen.put(look.rest * (way - before), way - before, DIM)


def trouble(row: Row, now: float, *, brief: bool = False) -> str:
    """Why a task does not go on right now, in few words."""
    if row.delay is not None:
        return "wait" if brief else again_in(row, row.delay.until - now)
    if not row.queued_there:
        return ""
    return f"#{row.queue_position}" if brief else f"queue: {row.queue_position}"


def waits(row: Row, scene: DrawContext, cells: int) -> str:
    """Why a task that waits is not sent."""
    if not isinstance(row.task.state, Queued) or scene.board.stopping:
        return ""
    long, short = ("held back", "held") if scene.ui.held else ("waits its turn", "waits")
    return long if len(long) <= cells else short


def again_in(row: Row, left: float) -> str:
    if left > 0:
        return f"again in {words.seconds(left)}"
    return "waiting" if isinstance(row.task.state, Queued) else "trying again"


def note(row: Row) -> str:
    """The words that belong to what a bar or `trouble` shows."""
    if row.delay is not None:
        attempt = f"attempt {row.delay.attempt}: " if row.delay.attempt else ""
        return attempt + row.delay.because
    state = row.task.state
    return state.note if isinstance(state, Saving) and state.note else row.note


def card(row: Row, scene: DrawContext) -> list[Line]:
    """One task without a table around it."""
    look, lines = scene.look, []
    high = scene.most >= FEW_ROWS - 1
    if scene.most > 1:
        prompt = wrapped(row.task.request.prompt, scene.room, 2 if high else 1, look.encoding, look.more)
        lines += [scene.text(text, BOLD) for text in prompt]
    if scene.most >= LOW:
        lines.append(scene.text(f" {look.dot} ".join(service(row.task.request)), DIM))
    if high:
        lines.append([])
    lines.append(card_progress(row, scene))
    state = prefix(scene).removesuffix("; ")
    said = ", ".join(filter(None, (state, trouble(row, scene.now), note(row))))
    if said and scene.most > len(lines):
        lines.append(scene.text(f"  {said}", ALERT if row.delay or state else DIM))
    shown = lines[: max(0, scene.most)]
    return shown + preview_lines(row, scene, len(shown) if said else len(shown) + 1)


def preview_lines(row: Row, scene: DrawContext, taken: int) -> list[Line]:
    """The latest preview below what is `taken`, where room is left over. A note that is still to come has its line."""
    cells = min(PICTURE[0], scene.room - 2)
    lines = min(PICTURE[1], scene.most - taken - AIR)
    if row.preview is None or not scene.look.pictures or cells < SMALLEST[0] or lines < SMALLEST[1]:
        return []
    painted = scene.paint(row.preview, cells, lines)
    return [[], *([*LineBuilder().gap(2).line, *line] for line in painted)] if painted else []


def card_progress(row: Row, scene: DrawContext) -> Line:
    known, fraction = row.progress(scene.now)
    text = ""
    for fact in card_facts(row, scene.now):
        longer = f"{text}  {fact}" if text else fact
        text = longer if cells_of(longer) <= scene.room - 2 else text
    mark, colour = mark_of(row, scene.look)
    pen = LineBuilder().put(mark, 1, colour)
    if scene.room <= PULSE:
        return pen.line
    pen.gap(1)
    cells = min(CARD, scene.room - 2 - cells_of(text) - 2)
    if cells > PULSE and row.started is not None and not row.queued_there:
        bar(pen, known, fraction, scene, cells)
        pen.gap(2)
    return pen.put(text, cells_of(text)).line


def card_facts(row: Row, now: float) -> Iterator[str]:
    known, fraction = row.progress(now)
    elapsed = row.elapsed(now)
    yield percent(known, fraction) or words.described(row.task.state)
    if elapsed is None:
        return
    usual = f" of ~{words.seconds(row.estimate)}" if row.estimate and 0 < (row.passed(now) or 0) <= 1 else ""
    yield words.seconds(elapsed) + usual
    yield f"{len(row.task.files)}/{words.amount(row.task.expected_images, 'picture')}"
