"""Draws a board at a moment as lines of segments. Pure: no clock, no terminal, no state.

Only the view knows the space that is left for a preview, so it calls `paint` to draw one; `paint` must be pure too.
"""

from collections.abc import Iterator

from imagegen_cli.core.language import joined, ngettext, tr, translated
from imagegen_cli.core.text import seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.columns import LIVE, mark
from imagegen_cli.display.context import MEDIUM, TALL, DrawContext, Frame, Paint
from imagegen_cli.display.controls import Mode, Ui, lines_of
from imagegen_cli.display.details import shown_path, task_lines
from imagegen_cli.display.fields import service
from imagegen_cli.display.footer import cost_forms, footer, held, prompt_line
from imagegen_cli.display.help import help_lines, sign_lines
from imagegen_cli.display.progress import PULSE, bar_spans, note, percent, trouble
from imagegen_cli.display.prompt_view import line_footer, line_help, welcome
from imagegen_cli.display.selection import window
from imagegen_cli.display.table import draw_rows
from imagegen_cli.display.text_width import cell_width, cut, wrapped
from imagegen_cli.display.theme import ALERT, BOLD, DIM, Line, LineBuilder, Theme

MAX_CARD_BAR = 40
"""Cells of the bar of a single task."""
MAX_PREVIEW = (40, 16)
MIN_PREVIEW = (8, 4)
"""Cells and lines of a preview. In a smaller one there is nothing to see."""
HELPING = frozenset({Mode.HELP, Mode.SIGNS})
LOW = 16
"""Lines below which the help takes the whole screen."""
PREVIEW_MARGIN = 3
"""Empty lines around a preview."""


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
    """A frame of at most `height` - 1 lines of fewer than `width` cells, for a screen of that size."""
    context = DrawContext(board, now, width - 1, height - 1, theme, ui or Ui(), paint)
    if context.width < 1 or context.height < 1:
        return Frame([])
    only = next(iter(board.rows.values())) if len(board.rows) == 1 else None
    if only is not None and only.ended is not None:
        only = None
    if context.ui.line is not None:
        return with_line(context, only)
    bottom = prompt_line(context) if only else footer(context)
    if context.ui.mode in HELPING and context.height < LOW:
        bottom = []  # every line is needed for what each key and each sign means
    top = context.above(bottom)
    body = overlay(top) or (card(only, top) if only else table(top))
    lines = spaced(body, bottom, context.height)
    return Frame(lines, moving=bool(board.active or board.delayed or is_any_closed(board, now)))


def is_any_closed(board: Board, now: float) -> bool:
    """Whether a service has asked to wait, so that what the table says about it changes with the time."""
    return any(lane.until > now for lane in board.lanes.values())


def with_line(context: DrawContext, only: Row | None) -> Frame:
    """The same with a prompt line that stays open."""
    board, bottom, cursor = context.board, *line_footer(context)
    top = context.above(bottom)
    body = overlay(top) or (welcome(top) if not board.rows else card(only, top) if only else table(top))
    if not body and context.height >= TALL:
        bottom = [[], *bottom]  # what has ended stands right above
    return Frame(spaced(body, bottom, context.height), bool(board.active or board.delayed), cursor)


def spaced(body: list[Line], bottom: list[Line], height: int) -> list[Line]:
    """Empty lines between the parts and above them, if the screen is high enough."""
    spare = height - len(body) - len(bottom) if height >= TALL else 0
    between: list[Line] = [[]] if body and bottom and spare > 0 else []
    above: list[Line] = [[]] if body and spare > 1 else []
    return [*above, *body, *between, *bottom][-height:]


def overlay(context: DrawContext) -> list[Line]:
    """Help, details or a pasted list, in place of the table; empty if none is open."""
    if context.height < 1:
        return []
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    if context.ui.mode is Mode.DETAILS and row is not None:
        paths = [line for path in row.task.files for line in path_lines(path, context)]
        lines = [*task_lines(row, context.now, context.width, context.theme), *paths][: context.height]
        return lines + preview_lines(row, context, len(lines) if row.note else len(lines) + 1)
    if context.ui.mode is Mode.LINES:
        return pasted_lines(context)
    if context.ui.mode is Mode.SIGNS:
        return sign_lines(context)[: context.height]
    if context.ui.mode is not Mode.HELP:
        return []
    return (line_help(context) if context.ui.at_line else help_lines(context))[: context.height]


def path_lines(path: str, context: DrawContext) -> list[Line]:
    """A whole path, from the working directory on where it lies below it; on several lines where it is long."""
    theme, width = context.theme, max(1, context.width - 2)
    text, lines = shown_path(path, theme), []
    while text:
        part = cut(text, width) or text[0]
        lines.append(context.text(f"  {part}"))
        text = text[len(part) :]
    return lines


def pasted_lines(context: DrawContext) -> list[Line]:
    """The prompts that would be added, one per line, as many as the height allows."""
    prompts = list(context.ui.outcome.prompts) or lines_of(context.ui.text)
    shown = prompts if len(prompts) <= context.height else prompts[: context.height - 1]
    more = (
        [context.text(f"  {context.theme.more} {tr('and {count} more', count=len(prompts) - len(shown))}", DIM)]
        if shown != prompts
        else []
    )
    return [*(context.text(f"  {prompt}") for prompt in shown), *more]


def table(context: DrawContext) -> list[Line]:
    """The rows, and below them how many do not fit, where a line for that is left."""
    board, ui, tells = context.board, context.ui, context.height >= TALL
    shown = window(board, context.height, ui.chosen, ui.filter, tells=tells)
    above = [tr("{count} above", count=shown.above)] if tells and shown.above else []
    below = [tr("{count} below", count=shown.below)] if tells and shown.below else []
    counts = f" {context.theme.dot} ".join([*above, *below])
    number = len(str(board.highest))
    lines = [*draw_rows(LIVE, shown.rows, context.width, number, context.cells)]
    return [*lines, *([context.text(counts, DIM)] if counts else [])]


def card(row: Row, context: DrawContext) -> list[Line]:
    """The only task of a run, without a table."""
    theme, lines = context.theme, []
    high = context.height >= TALL - 1
    if context.height > 1:
        prompt = wrapped(row.task.request.prompt, context.width, 2 if high else 1, theme.encoding, theme.more)
        lines += [context.text(text, BOLD) for text in prompt]
    if context.height >= MEDIUM:
        lines.append(card_head(row, context))
    if high:
        lines.append([])
    lines.append(card_progress(row, context))
    state, stands = held(context), trouble(row, context.now)
    if stands == translated(messages.described(row.task.state)):
        stands = ""  # the line above says so
    why = translated(joined(", ", filter(None, (state, stands, note(row)))))
    if why and context.height > len(lines):
        lines.append(context.text(f"  {why}", ALERT if row.delay or state else DIM))
    shown = lines[: max(0, context.height)]
    return shown + preview_lines(row, context, len(shown) if why else len(shown) + 1)


def card_head(row: Row, context: DrawContext) -> Line:
    """The provider and what is asked of it, and what it costs where there is room."""
    parts, dot = [*service(row.task.request)], f" {context.theme.dot} "
    forms = (dot.join([*parts, form]) for form in cost_forms(context.board))
    return context.text(next((form for form in forms if cell_width(form) <= context.width), dot.join(parts)), DIM)


def preview_lines(row: Row, context: DrawContext, taken: int) -> list[Line]:
    """The latest preview below the `taken` lines, if there is space. One line is kept for a note that may come."""
    cells = min(MAX_PREVIEW[0], context.width - 2)
    lines = min(MAX_PREVIEW[1], context.height - taken - PREVIEW_MARGIN)
    if row.preview is None or not context.theme.pictures or cells < MIN_PREVIEW[0] or lines < MIN_PREVIEW[1]:
        return []
    painted = context.paint(row.preview, cells, lines)
    return [[], *([*LineBuilder().gap(2).line, *line] for line in painted)] if painted else []


def card_progress(row: Row, context: DrawContext) -> Line:
    text = ""
    for fact in card_facts(row, context.now):
        shown = context.word(fact)
        longer = f"{text}  {shown}" if text else shown
        text = longer if cell_width(longer) <= context.width - 2 else text
    builder = LineBuilder().put_spans([mark(row, context.cells)], 1)
    if context.width <= PULSE:
        return builder.line
    builder.gap(1)
    cells = min(MAX_CARD_BAR, context.width - 2 - cell_width(text) - 2)
    if cells > PULSE and row.started is not None and not row.queued_there:
        builder.put_spans(bar_spans(*row.progress(context.now), context.cells, cells), cells).gap(2)
    return builder.put(text, cell_width(text)).line


def card_facts(row: Row, now: float) -> Iterator[str]:
    elapsed = row.elapsed(now)
    yield percent(*row.progress(now)) or translated(messages.described(row.task.state))
    if elapsed is None:
        return
    is_expected = row.estimate and 0 < (row.passed(now) or 0) <= 1
    passed = seconds(elapsed)
    yield tr("{time} of ~{expected}", time=passed, expected=seconds(row.estimate or 0)) if is_expected else passed
    saved, all_ = len(row.task.files), row.task.expected_images
    yield translated(ngettext("{saved}/{count} picture", "{saved}/{count} pictures", all_, saved=saved))
