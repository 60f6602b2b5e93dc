"""One task on several lines: how an ended task stays on the screen, and what `show` prints."""

import os
from collections.abc import Iterable, Iterator, Mapping

from rich.segment import Segment
from rich.style import Style

from imagegen_cli.core.task import Cancelled, Done, Failed, Task
from imagegen_cli.core.text import amount, literal, seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board, Row, can_be_fetched
from imagegen_cli.display.fields import LABEL, advice, fields_of, service, varied
from imagegen_cli.display.text_width import cell_width, wrapped
from imagegen_cli.display.theme import ALERT, BAD, BOLD, DIM, PLAIN, STYLES, Line, LineBuilder, Theme

MAX_LINES = 1000


def ended_lines(task: Task, elapsed: float | None, width: int, theme: Theme, *, brief: bool = False) -> list[Line]:
    """What stays on the screen of an ended task; `brief`: on one line and without paths, for runs of many tasks.

    Paths are not shortened, so that they can be copied.
    """
    state = task.state
    mark, style = theme.sign(state)
    colour = STYLES[style]
    facts = [] if elapsed is None else [seconds(elapsed)]
    facts = [*outcome(task, brief=brief), *facts]
    tail = "".join(f" {theme.dot} {fact}" for fact in facts)
    if task.cell:
        tail = f" {theme.dot} {literal(varied(task.cell), theme.encoding)}{tail}"
    head = f" {task.id} "
    prompt = theme.fit(task.request.prompt, max(8, width - 2 - cell_width(head) - cell_width(tail)))
    lines = [[Segment(mark, colour), Segment(head, DIM), Segment(prompt), Segment(tail, DIM)]]
    if brief:
        return lines
    if not isinstance(state, Done) or state.missing:
        lines += indented(messages.described(state), width, theme, colour)
    if can_be_fetched(state):
        lines += indented(advice(task), width, theme, DIM)
    return lines + [[Segment(f"  {shown_path(path, theme)}")] for path in task.files]


def outcome(task: Task, *, brief: bool) -> Iterator[str]:
    """The result in a word or two, where no other line says it."""
    match task.state:
        case Done(files=files, missing=missing):
            yield f"{len(files)} of {len(files) + missing} pictures" if missing else amount(len(files), "picture")
        case Failed(reason=reason) if brief:
            yield str(reason)
        case Cancelled() if brief:
            yield messages.described(task.state)
        case _:
            pass


def indented(text: str, width: int, theme: Theme, style: Style) -> list[Line]:
    """Lines broken between words, so that the terminal does not break them inside a word."""
    parts = wrapped(text, max(1, width - 3), MAX_LINES, theme.encoding, theme.more)
    return [[Segment(f"  {part}", style)] for part in parts]


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
    return [[Segment("  pictures in ", DIM), Segment(shown_path(folder, theme))] for folder in folders]


def notice_line(text: str, theme: Theme) -> Line:
    return [Segment(literal(text, theme.encoding))]


def last_lines(summary: Iterable[messages.SummaryLine], width: int, theme: Theme) -> Iterator[Line]:
    """The summary after an empty line, each line in the colour of its tone and broken between words."""
    signs = {messages.Tone.FAILURE: (theme.failed, BAD), messages.Tone.OFFER: (theme.saving, ALERT)}
    for tone, text in summary:
        if tone is messages.Tone.TOTAL:
            yield []
        mark, colour = signs.get(tone, ("", PLAIN))
        style = {messages.Tone.TOTAL: BOLD, messages.Tone.ADVICE: DIM}.get(tone, PLAIN)
        indent = 0 if tone is messages.Tone.TOTAL else 2
        for part in wrapped(text, max(1, width - indent - 1), MAX_LINES, theme.encoding, theme.more):
            yield [Segment(f"{mark:<{indent}}", colour), Segment(part, style)]
            mark = ""


def file_lines(task: Task, theme: Theme) -> list[Line]:
    """Paths are not shortened, so that they can be copied."""
    return [[Segment(f"  {literal(path, theme.encoding)}")] for path in task.files]


def task_lines(row: Row, now: float, width: int, theme: Theme, more: Mapping[str, str] | None = None) -> list[Line]:
    """Everything about a task except its files. Long text takes as many lines as it needs."""
    mark, style = theme.sign(row.task.state)
    lines = labelled(mark, row.task.request.prompt, width, theme, styles=(STYLES[style], BOLD))
    head = f" {theme.dot} ".join([f"task {row.task.id}", *service(row.task.request)])
    lines += labelled("", head, width, theme, styles=(DIM, DIM))
    for name, value in [*fields_of(row, now), *(more or {}).items()]:
        if value:
            alert = BAD if name == "state" and isinstance(row.task.state, Failed) else PLAIN
            lines += labelled(name, value, width, theme, styles=(DIM, alert))
    return lines


def labelled(label: str, text: str, width: int, theme: Theme, *, styles: tuple[Style, Style]) -> list[Line]:
    """A label and its text, which continues below itself."""
    indent = min(LABEL if len(label) > 1 else 2, width // 2)
    lines: list[Line] = []
    for index, part in enumerate(wrapped(text, max(1, width - indent), MAX_LINES, theme.encoding, theme.more)):
        builder = LineBuilder().put(theme.fit("" if index else label, indent), indent, styles[0])
        lines.append(builder.put(part, cell_width(part), styles[1]).line)
    return lines
