"""One task on many lines, many tasks on one line each: what ends, what `show` and what `list` print."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from imagegen_cli.core.task import Cancelled, Done, Failed, Task
from imagegen_cli.display import words
from imagegen_cli.display.board import Board, Row, can_be_fetched
from imagegen_cli.display.cells import width as cells_of, wrapped
from imagegen_cli.display.facts import LABEL, advice, brief, facts, images_of, model_of, service
from imagegen_cli.display.look import ALERT, BAD, BOLD, DIM, PLAIN, Line, LineBuilder, Theme, sign

MOST_LINES = 1000


def ended_lines(task: Task, elapsed: float | None, width: int, look: Theme, *, brief: bool = False) -> list[Line]:
    """What stays on the screen of a task that is over; `brief`: on one line and without paths, because there are many.

    Paths are whole, so that they can be copied.
    """
    state = task.state
    mark, colour = sign(state, look)
    facts = [] if elapsed is None else [words.seconds(elapsed)]
    facts = [*outcome(task, brief=brief), *facts]
    told = "".join(f" {look.dot} {fact}" for fact in facts)
    head = f" {task.id} "
    prompt = look.fit(task.request.prompt, max(8, width - 2 - cells_of(head) - cells_of(told)))
    lines = [[Segment(mark, colour), Segment(head, DIM), Segment(prompt), Segment(told, DIM)]]
    if brief:
        return lines
    if not isinstance(state, Done) or state.missing:
        lines += indented(words.described(state), width, look, colour)
    if can_be_fetched(state):
        lines += indented(advice(task), width, look, DIM)
    return lines + [[Segment(f"  {shown_path(path, look)}")] for path in task.files]


def outcome(task: Task, *, brief: bool) -> Iterator[str]:
    """In a word or two what came of it, where nothing else says so."""
    match task.state:
        case Done(files=files, missing=missing):
            yield f"{len(files)} of {len(files) + missing} pictures" if missing else words.amount(len(files), "picture")
        case Failed(reason=reason) if brief:
            yield str(reason)
        case Cancelled() if brief:
            yield words.described(task.state)
        case _:
            pass


def indented(text: str, width: int, look: Theme, style: Style) -> list[Line]:
    """Broken at words, so that the terminal need not break it inside of one."""
    parts = wrapped(text, max(1, width - 3), MOST_LINES, look.encoding, look.more)
    return [[Segment(f"  {part}", style)] for part in parts]


def shown_path(path: str, look: Theme) -> str:
    """As short as it can be and still be opened from here."""
    try:
        near = os.path.relpath(path)
    except (ValueError, OSError):  # another drive, or a working directory that is gone
        near = path
    return words.literal(path if near.startswith("..") else near, look.encoding)


def folder_lines(board: Board, look: Theme) -> list[Line]:
    """Where the pictures are, when no task has said it."""
    folders = {row.task.folder: None for row in board.rows.values() if row.task.files}
    return [[Segment("  pictures in ", DIM), Segment(shown_path(folder, look))] for folder in folders]


def notice_line(text: str, look: Theme) -> Line:
    return [Segment(words.literal(text, look.encoding))]


def last_lines(summary: Iterable[words.Said], width: int, look: Theme) -> Iterator[Line]:
    """The summary, with air before it and each line in the colour of what it says, broken at words."""
    signs = {words.Tone.FAILURE: (look.failed, BAD), words.Tone.OFFER: (look.saving, ALERT)}
    for tone, text in summary:
        if tone is words.Tone.TOTAL:
            yield []
        mark, colour = signs.get(tone, ("", PLAIN))
        style = {words.Tone.TOTAL: BOLD, words.Tone.ADVICE: DIM}.get(tone, PLAIN)
        indent = 0 if tone is words.Tone.TOTAL else 2
        for part in wrapped(text, max(1, width - indent - 1), MOST_LINES, look.encoding, look.more):
            yield [Segment(f"{mark:<{indent}}", colour), Segment(part, style)]
            mark = ""


def file_lines(task: Task, look: Theme) -> list[Line]:
    """Paths, whole, so that they can be copied."""
    return [[Segment(f"  {words.literal(path, look.encoding)}")] for path in task.files]


@dataclass(frozen=True, slots=True)
class Widths:
    """Cells of the columns of a list; 0 leaves one out."""

    id: int
    state: int
    age: int
    images: int
    model: int
    prompt: int


def widths(rows: Sequence[Row], now: float, room: int) -> Widths:
    number = max(len(str(row.task.id)) for row in rows)
    state = max(len(brief(row)) for row in rows) if room >= 36 else 0  # noqa: PLR2004
    age = max(len(words.age(row.created, now)) for row in rows) if room >= 50 else 0  # noqa: PLR2004
    images = max(len(images_of(row)) for row in rows) if room >= 44 else 0  # noqa: PLR2004
    model = min(20, max(cells_of(model_of(row)) for row in rows)) if room >= 72 else 0  # noqa: PLR2004
    taken = 2 + sum(cells + 2 for cells in (number, state, age, images, model) if cells)
    return Widths(number, state, age, images, model, max(0, room - taken))


def list_line(row: Row, now: float, sizes: Widths, look: Theme) -> Line:
    """A task among others, in the columns of the live table as far as they make sense afterwards."""
    mark, colour = sign(row.task.state, look)
    pen = LineBuilder().put(mark, 1, colour).gap(1).put(str(row.task.id), sizes.id, DIM, right=True)
    if sizes.state:
        pen.gap(2).put(brief(row), sizes.state, colour)
    if sizes.age:
        pen.gap(2).put(words.age(row.created, now), sizes.age, DIM, right=True)
    if sizes.images:
        pen.gap(2).put(images_of(row), sizes.images, right=True)
    if sizes.model:
        pen.gap(2).put(look.fit(model_of(row), sizes.model), sizes.model, DIM)
    return pen.gap(2).put(look.fit(row.task.request.prompt, sizes.prompt), sizes.prompt).line


def task_lines(row: Row, now: float, room: int, look: Theme, more: Mapping[str, str] | None = None) -> list[Line]:
    """A detailed card of everything but the files: long text goes over as many lines as it needs."""
    mark, colour = sign(row.task.state, look)
    lines = labelled(mark, row.task.request.prompt, room, look, styles=(colour, BOLD))
    head = f" {look.dot} ".join([f"task {row.task.id}", *service(row.task.request)])
    lines += labelled("", head, room, look, styles=(DIM, DIM))
    for name, value in [*facts(row, now), *(more or {}).items()]:
        if value:
            alert = BAD if name == "state" and isinstance(row.task.state, Failed) else PLAIN
            lines += labelled(name, value, room, look, styles=(DIM, alert))
    return lines


def labelled(label: str, text: str, room: int, look: Theme, *, styles: tuple[Style, Style]) -> list[Line]:
    """A name and its value, which goes on below itself."""
    indent = min(LABEL if len(label) > 1 else 2, room // 2)
    lines: list[Line] = []
    for index, part in enumerate(wrapped(text, max(1, room - indent), MOST_LINES, look.encoding, look.more)):
        pen = LineBuilder().put(look.fit("" if index else label, indent), indent, styles[0])
        lines.append(pen.put(part, cells_of(part), styles[1]).line)
    return lines
