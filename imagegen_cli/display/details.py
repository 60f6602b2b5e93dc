"""One task on many lines, many tasks on one line each: what ends, what `show` and what `list` print."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from imagegen_cli.display import words
from imagegen_cli.display.board import Row, can_be_fetched
from imagegen_cli.display.cells import width as cells_of, wrapped
from imagegen_cli.display.facts import LABEL, advice, brief, facts, images_of, model_of, service
from imagegen_cli.display.look import ALERT, BAD, BOLD, DIM, PLAIN, Line, Look, Pen, sign
from imagegen_cli.task import Done, Failed, Task

MOST_LINES = 1000


def ended_lines(task: Task, elapsed: float | None, width: int, look: Look) -> list[Line]:
    """What stays on the screen of a task that is over. Paths and reasons are whole, so that they can be copied."""
    state = task.state
    mark, colour = sign(state, look)
    facts = [] if elapsed is None else [words.seconds(elapsed)]
    if isinstance(state, Done):
        facts.insert(0, words.amount(len(state.files), "picture"))
    told = "".join(f" {look.dot} {fact}" for fact in facts)
    head = f" {task.id} "
    prompt = look.fit(task.request.prompt, max(8, width - 2 - len(head) - len(told)))
    lines = [[Segment(mark, colour), Segment(head, DIM), Segment(prompt), Segment(told, DIM)]]
    if not isinstance(state, Done) or state.missing:
        lines.append([Segment(f"  {words.literal(words.described(state), look.encoding)}", colour)])
    if can_be_fetched(state):
        lines.append([Segment(f"  {advice(task)}", DIM)])
    return lines + file_lines(task, look)


def notice_line(text: str, look: Look) -> Line:
    return [Segment(words.literal(text, look.encoding))]


def last_lines(summary: Iterable[words.Said], look: Look) -> Iterator[Line]:
    """The summary, with air before it and each line in the colour of what it says."""
    for said in summary:
        if said[0] is words.Tone.TOTAL:
            yield []
        yield last_line(said, look)


def last_line(said: words.Said, look: Look) -> Line:
    tone, text = said
    shown = words.literal(text, look.encoding)
    match tone:
        case words.Tone.TOTAL:
            return [Segment(shown, BOLD)]
        case words.Tone.FAILURE:
            return [Segment(f"{look.failed} ", BAD), Segment(shown)]
        case words.Tone.ADVICE:
            return [Segment(f"  {shown}", DIM)]
        case words.Tone.OFFER:
            return [Segment(f"{look.saving} ", ALERT), Segment(shown)]


def file_lines(task: Task, look: Look) -> list[Line]:
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


def list_line(row: Row, now: float, sizes: Widths, look: Look) -> Line:
    """A task among others, in the columns of the live table as far as they make sense afterwards."""
    mark, colour = sign(row.task.state, look)
    pen = Pen().put(mark, 1, colour).gap(1).put(str(row.task.id), sizes.id, DIM, right=True)
    if sizes.state:
        pen.gap(2).put(brief(row), sizes.state, colour)
    if sizes.age:
        pen.gap(2).put(words.age(row.created, now), sizes.age, DIM, right=True)
    if sizes.images:
        pen.gap(2).put(images_of(row), sizes.images, right=True)
    if sizes.model:
        pen.gap(2).put(look.fit(model_of(row), sizes.model), sizes.model, DIM)
    return pen.gap(2).put(look.fit(row.task.request.prompt, sizes.prompt), sizes.prompt).line


def task_lines(row: Row, now: float, room: int, look: Look, more: Mapping[str, str] | None = None) -> list[Line]:
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


def labelled(label: str, text: str, room: int, look: Look, *, styles: tuple[Style, Style]) -> list[Line]:
    """A name and its value, which goes on below itself."""
    indent = min(LABEL if len(label) > 1 else 2, room // 2)
    lines: list[Line] = []
    for index, part in enumerate(wrapped(text, max(1, room - indent), MOST_LINES, look.encoding, look.more)):
        pen = Pen().put(look.fit("" if index else label, indent), indent, styles[0])
        lines.append(pen.put(part, cells_of(part), styles[1]).line)
    return lines
