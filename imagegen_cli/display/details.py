"""One task on several lines: how an ended task stays on the screen, and what `show` prints."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.segment import Segment
from rich.style import Style

from imagegen_cli.core.errors import label
from imagegen_cli.core.language import ngettext, tr, translated
from imagegen_cli.core.task import Cancelled, CancelOutcome, Done, Failed, Task
from imagegen_cli.core.text import literal, seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board, Row, can_be_fetched
from imagegen_cli.display.end_report import SummaryLine, Tone, ranges
from imagegen_cli.display.fields import LABEL, STATE, fields_of, service, shown_advice, varied
from imagegen_cli.display.paragraphs import Piece, paragraph
from imagegen_cli.display.text_width import MAX_MARKS, cell_width
from imagegen_cli.display.theme import ALERT, BAD, BOLD, DIM, PLAIN, STYLES, Line, LineBuilder, Theme, linked_style

MAX_LINES = 1000


def ended_lines(
    task: Task, elapsed: float | None, width: int, theme: Theme, *, brief: bool = False, is_known: bool = True
) -> list[Line]:
    """What stays on the screen of an ended task; `brief`: on one line and without paths, for runs of many tasks.

    Paths are not shortened, so that they can be copied. `is_known`: the history has the task, so that a command may
    name it.
    """
    state = task.state
    mark, style = theme.sign(state)
    colour = STYLES[style]
    facts = [] if elapsed is None else [seconds(elapsed)]
    facts = [*outcome(task, brief=brief), *facts]
    tail = literal("".join(f" {theme.dot} {fact}" for fact in facts), theme.encoding)
    if task.cell:
        tail = f" {theme.dot} {literal(varied(task.cell), theme.encoding)}{tail}"
    head = f" {task.id} "
    prompt = theme.fit(task.request.prompt, max(8, width - 2 - cell_width(head) - cell_width(tail)))
    lines = [[Segment(mark, colour), Segment(head, DIM), Segment(prompt), Segment(tail, DIM)]]
    if brief:
        return lines
    if not isinstance(state, Done) or state.missing:
        lines += indented(messages.described(state), width, theme, colour)
    if is_known and can_be_fetched(state):
        lines += indented(shown_advice(task), width, theme, DIM)
    return lines + [path_line(shown_path(path, theme), path, width - 1, theme) for path in task.files]


def collapsed_lines(tasks: Sequence[Task], width: int, theme: Theme) -> list[Line]:
    """Several tasks that ended alike, on one line where it has room."""
    state = tasks[0].state
    mark, style = theme.sign(state)
    numbers = ranges((task.id for task in tasks), theme.times)
    is_unsent = isinstance(state, Cancelled) and state.stop is CancelOutcome.NOT_SENT
    words = translated(messages.STOPS[CancelOutcome.NOT_SENT] if is_unsent else messages.described(state))
    number = translated(ngettext("{count} task", "{count} tasks", len(tasks)))
    start = [Segment(mark, STYLES[style]), Segment(f" {numbers} ", DIM)]
    first = sum(cell_width(segment.text) for segment in start)
    pieces = pieces_of(f"{words} {theme.dot} {number}", width - 1, theme, first=first, hanging=2)
    if pieces[0].indent != first:
        return [start, *([Segment(str(piece))] for piece in pieces)]
    head, tail = literal(words, theme.encoding), literal(f" {theme.dot} {number}", theme.encoding)
    if len(pieces) == 1:
        return [[*start, Segment(head), Segment(tail, DIM)]]
    return [[*start, Segment(pieces[0].text)], *([Segment(str(piece))] for piece in pieces[1:])]


def outcome(task: Task, *, brief: bool) -> Iterator[str]:
    """The result in a word or two, where no other line says it."""
    match task.state:
        case Done(files=files, missing=missing) if missing:
            yield tr("{count} of {all} pictures", count=len(files), all=len(files) + missing)
        case Done(files=files):
            yield translated(ngettext("{count} picture", "{count} pictures", len(files)))
        case Failed(reason=reason) if brief:
            yield translated(label(reason))
        case Cancelled() if brief:
            yield translated(messages.described(task.state))
        case _:
            pass


def indented(text: str, width: int, theme: Theme, style: Style) -> list[Line]:
    """Lines broken between words, so that the terminal does not break them inside a word."""
    return [[Segment(str(piece), style)] for piece in pieces_of(text, width - 1, theme, first=2, hanging=2)]


def pieces_of(
    text: str, width: int, theme: Theme, *, first: int = 0, hanging: int = 0, whole: bool = True
) -> list[Piece]:
    """The lines of a text; of an endless one no more than anybody reads. `whole` as in `paragraph`."""
    start = translated(text)[: MAX_LINES * max(1, width) * MAX_MARKS]
    return paragraph(start, max(1, width), first=first, hanging=hanging, encoding=theme.encoding, whole=whole)


def path_line(shown: str, path: str, width: int, theme: Theme) -> Line:
    """A path on a line of its own, whole so that it can be copied, and a link where the terminal shows links."""
    indent = max(0, min(2, width - cell_width(shown)))
    return [Segment(" " * indent), Segment(shown, linked_style(PLAIN, path, theme))]


def shown_path(path: str, theme: Theme) -> str:
    """The path relative to the working directory if it lies below it, else absolute."""
    try:
        near = os.path.relpath(path)
    except (ValueError, OSError):  # another drive, or a working directory that was deleted
        near = path
    return literal(path if near.startswith("..") else near, theme.encoding)


def folder_lines(board: Board, theme: Theme) -> list[Line]:
    """The folders of the pictures, for runs whose tasks did not print their paths."""
    folders = {row.task.folder: None for row in board.rows.values() if row.task.files}
    before = literal(tr("pictures in {folder}", folder=""), theme.encoding)
    return [
        [Segment(f"  {before}", DIM), Segment(shown_path(folder, theme), linked_style(PLAIN, folder, theme))]
        for folder in folders
    ]


def notice_lines(text: str, width: int, theme: Theme) -> list[Line]:
    return [[Segment(str(piece))] for piece in pieces_of(text, width - 1, theme, hanging=2)]


def last_lines(summary: Iterable[SummaryLine], width: int, theme: Theme) -> Iterator[Line]:
    """The summary after an empty line, each line in the colour of its tone and broken between words."""
    signs = {
        Tone.FAILURE: (theme.failed, BAD),
        Tone.UNSENT: (theme.cancelled, ALERT),
        Tone.OFFER: (theme.saving, ALERT),
    }
    for tone, text in summary:
        if tone is Tone.TOTAL:
            yield []
        mark, colour = signs.get(tone, ("", PLAIN))
        style = {Tone.TOTAL: BOLD, Tone.ADVICE: DIM}.get(tone, PLAIN)
        indent = 0 if tone is Tone.TOTAL else 2
        for piece in pieces_of(text, width - 1, theme, first=indent, hanging=indent or 2):
            yield [Segment(f"{mark:<{piece.indent}}", colour), Segment(piece.text, style)]
            mark = ""


def file_lines(task: Task, width: int, theme: Theme) -> list[Line]:
    """Paths are not shortened, so that they can be copied."""
    return [path_line(literal(path, theme.encoding), path, width, theme) for path in task.files]


def task_lines(
    row: Row, now: float, width: int, theme: Theme, more: Mapping[str, str] | None = None, *, whole: bool = False
) -> list[Line]:
    """Everything about a task except its files. Long text takes as many lines as it needs.

    `whole`: a word or a path that is wider than a line stays whole; in a frame the terminal would cut it off.
    """
    mark, style = theme.sign(row.task.state)
    lines = labelled(mark, row.task.request.prompt, width, theme, styles=(STYLES[style], BOLD), whole=whole)
    head = f" {theme.dot} ".join([tr("task {id}", id=row.task.id), *service(row.task.request)])
    lines += labelled("", head, width, theme, styles=(DIM, DIM), whole=whole)
    for name, value in [*fields_of(row, now), *(more or {}).items()]:
        if value:
            alert = BAD if name == STATE and isinstance(row.task.state, Failed) else PLAIN
            lines += labelled(name, value, width, theme, styles=(DIM, alert), whole=whole)
    return lines


def labelled(
    label: str, text: str, width: int, theme: Theme, *, styles: tuple[Style, Style], whole: bool = False
) -> list[Line]:
    """A label and its text, which continues below itself."""
    indent = min(LABEL if len(label) > 1 else 2, width // 2)
    head = LineBuilder().put(theme.fit(translated(label), indent), indent, styles[0]).line
    lines: list[Line] = []
    for piece in pieces_of(text, width, theme, first=indent, hanging=indent, whole=whole):
        if head and piece.indent < indent:  # a word that is wider than the column goes below
            lines.append(head)
            head = []
        lines.append([*(head or [Segment(" " * piece.indent)]), Segment(piece.text, styles[1])])
        head = []
    return lines
