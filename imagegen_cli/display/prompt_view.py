"""Draws the prompt line that stays open: the line itself, what stands above it, the welcome and the help."""

from collections.abc import Iterable, Sequence

from rich.style import Style

from imagegen_cli.core.language import Message, translated
from imagegen_cli.core.text import literal
from imagegen_cli.display.context import TALL, DrawContext
from imagegen_cli.display.controls import CLOSED_BY_ANY, Mode, right_of
from imagegen_cli.display.footer import cost_line, filter_lines, first_that_fits, hints, offered, promise, totals
from imagegen_cli.display.key_commands import PromptLine
from imagegen_cli.display.keys import named
from imagegen_cli.display.questions import lines_offered, questions
from imagegen_cli.display.text_width import cell_width, cut, tail, wrapped
from imagegen_cli.display.theme import ALERT, BOLD, BUSY, CHOSEN, DIM, PLAIN, Line, LineBuilder

MIN_TEXT_CELLS = 24
"""Cells that the text keeps beside a long label, where the screen has as many."""
KEYS = (
    ("enter", Message("sends")),
    ("/", Message("commands")),
    ("tab", Message("completes")),
    ("up", Message("earlier")),
    ("esc", Message("table keys")),
    ("ctrl-d", Message("ends")),
)
LINE_KEYS = (
    ("enter", Message("send the prompt, and type the next one at once")),
    ("tab", Message("complete a command or its value; again: the next choice")),
    ("up/down", Message("earlier prompts, and back to what was being typed")),
    ("//text", Message("a prompt that begins with /")),
    ("esc", Message("let keys act on the table: c cancels, space pauses, ? explains; esc or i comes back")),
    ("ctrl-c", Message("clear the line, up brings it back; twice on an empty line: stop, as run does")),
    ("ctrl-d", Message("on an empty line: end in good order, as /quit")),
)
MAX_NOTE_LINES = 3
NARROW_MARGIN = 4
NARROW = 60
"""Cells below which the help has its explanations below the keys."""


def line_footer(context: DrawContext) -> tuple[list[Line], int | None]:
    """The lines below the table, and the column of the cursor in the last of them."""
    above = totals(context)
    if context.height >= TALL:
        above += cost_line(context)
    below, cursor = prompt(context)
    return [*above, *below], cursor


def prompt(context: DrawContext) -> tuple[list[Line], int | None]:
    ui, high = context.ui, context.height >= TALL
    if ui.mode is Mode.ASK:
        return [first_that_fits(context, questions(context), ALERT)], None
    if ui.mode is Mode.LINES:
        lines = [first_that_fits(context, lines_offered(context), ALERT)]
        return [*(note(context) if high or ui.remark else []), *lines], None
    if ui.draining or context.board.stopping:
        return note(context), None
    line, cursor = typed_line(context)
    return [*filter_lines(context), *(note(context) if high or ui.remark or ui.choices else []), line], cursor


def note(context: DrawContext) -> list[Line]:
    """A remark, the choices of the tab key, what enter does, or the keys."""
    ui = context.ui
    if ui.remark:
        return sentences(context, ui.remark, ALERT)
    if ui.choices:
        return [choices(context)]
    if ui.mode is Mode.LINES or (ui.mode is Mode.EDIT and ui.text.strip()):
        return prospect(context)
    return [offers(context)]


def prospect(context: DrawContext) -> list[Line]:
    """What enter does with the text, on as many lines as it needs, so that a refusal can be read to its end."""
    outcome, theme = context.ui.outcome, context.theme
    words = f" {theme.dot} ".join(map(translated, outcome.words))
    if outcome.good and cell_width(words) < context.width - MIN_TEXT_CELLS:
        return [promise(context)]
    lead = f"{theme.leads} " if outcome.good else ""
    return sentences(context, f"{lead}{words}", BUSY if outcome.good else ALERT)


def sentences(context: DrawContext, text: str, style: Style) -> list[Line]:
    lines = MAX_NOTE_LINES if context.height >= TALL else 1
    return [context.text(line, style) for line in wrapped(translated(text), context.width, lines, *cut_with(context))]


def cut_with(context: DrawContext) -> tuple[str, str]:
    return context.theme.encoding, context.theme.more


def offers(context: DrawContext) -> Line:
    """The keys that act now."""
    ui = context.ui
    if ui.mode in CLOSED_BY_ANY:
        return context.text(Message("any key closes this"), DIM)
    if ui.mode is Mode.EDIT:
        return keys(context, KEYS)
    if context.board.stopping or ui.draining:
        return hints(context)
    hidden = ui.offer.without | {"a"}
    return keys(context, [("esc", Message("type")), *(entry for entry in offered(context) if entry[0] not in hidden)])


def keys(context: DrawContext, entries: Iterable[tuple[str, str]]) -> Line:
    """As many of these as fit."""
    builder, left = LineBuilder(), context.width + 2
    for key, meaning in entries:
        has_arrow = key == "up" and len(context.theme.arrows) <= 2  # noqa: PLR2004
        name = context.theme.arrows[0] if has_arrow else context.word(named(key))
        few = f" {context.word(meaning)}"
        left -= cell_width(name) + cell_width(few) + 2
        if left < 0:
            break
        builder.gap(2 if builder.line else 0).put(name, cell_width(name)).put(few, cell_width(few), DIM)
    return builder.line


def choices(context: DrawContext) -> Line:
    """The choices around the one that is in the text, which is marked."""
    ui = context.ui
    words = [context.word(word) for word in ui.choices]
    first = 0
    while first < ui.choice and cells_of(words[first : ui.choice + 1]) > context.width:
        first += 1
    builder, left = LineBuilder(), context.width
    for index, word in enumerate(words[first:], first):
        cells = cell_width(word) + (2 if builder.line else 0)
        if cells > left:
            break
        left -= cells
        gap = "  " if builder.line else ""
        builder.put(gap, len(gap)).put(word, cell_width(word), CHOSEN if index == ui.choice else BUSY)
    return builder.line


def cells_of(words: Iterable[str]) -> int:
    return sum(cell_width(word) + 2 for word in words) - 2


def typed_line(context: DrawContext) -> tuple[Line, int]:
    """The label, the typed text around the cursor, and the column of the cursor."""
    ui, encoding = context.ui, context.theme.encoding
    builder = LineBuilder()
    label = label_of(context, ui.line) if ui.line is not None else ""
    has_keys = ui.mode is Mode.EDIT
    builder.put(label, cell_width(label), BOLD if has_keys else DIM)
    left = context.width - cell_width(label) - 1
    if left < 1:
        return builder.line, min(cell_width(label), context.width)
    after = right_of(ui.text, ui.cursor)
    under = literal(ui.text[ui.cursor : after], encoding)
    under = under if under and cell_width(under) <= 2 else " "  # noqa: PLR2004 - cells of one sign
    before = tail(literal(ui.text[: ui.cursor], encoding), max(0, left - cell_width(under) + 1))
    rest = cut(literal(ui.text[after:], encoding), max(0, left - cell_width(before) - cell_width(under) + 1))
    style = PLAIN if has_keys else DIM
    builder.put(before, cell_width(before), style).put(under, cell_width(under), CHOSEN if has_keys else DIM)
    return builder.put(rest, cell_width(rest), style).line, cell_width(label) + cell_width(before)


def label_of(context: DrawContext, line: PromptLine) -> str:
    """What is set, as long as it leaves room for text."""
    room = context.width - min(MIN_TEXT_CELLS, context.width * 2 // 3)
    forms = [context.theme.fit(f"{translated(form)} > ", context.width).rstrip() + " " for form in line.label()]
    return next((form for form in forms if cell_width(form) <= room), "> " if context.width > 2 else "")  # noqa: PLR2004


def welcome(context: DrawContext) -> list[Line]:
    """What to type first, where nothing was sent yet."""
    line = context.ui.line
    return [] if line is None else explained(context, line.welcome())


def line_help(context: DrawContext) -> list[Line]:
    """The commands and the keys, as many as the height allows."""
    line = context.ui.line
    return [] if line is None else explained(context, [*line.help(), ("", ""), *LINE_KEYS])


def explained(context: DrawContext, entries: Sequence[tuple[str, str]]) -> list[Line]:
    """Two columns; on a narrow screen each explanation is below what it explains. An entry without one is a sentence.

    On a low screen empty lines are left out, then the last entries.
    """
    entries = [(translated(named(name)), translated(meaning)) for name, meaning in entries]
    names = max((cell_width(name) for name, meaning in entries if meaning), default=0) + 2
    is_narrow = context.width < NARROW or names > context.width // 2
    lines = [line for entry in entries for line in explained_one(context, entry, 0 if is_narrow else names)]
    if len(lines) > context.height:
        lines = [line for line in lines if line]
    return lines[: context.height]


def explained_one(context: DrawContext, entry: tuple[str, str], names: int) -> list[Line]:
    """`names`: cells of the first column; 0 puts the explanation below."""
    name, meaning = entry
    if not meaning:
        return [context.text(text) for text in wrapped(name, context.width, 4, *cut_with(context))] or [[]]
    margin = names or NARROW_MARGIN
    texts = wrapped(meaning, max(1, context.width - margin), MAX_NOTE_LINES, *cut_with(context))
    below = [LineBuilder().gap(margin).put(text, cell_width(text)).line for text in texts]
    if not names:
        return [context.text(name, BUSY), *below]
    head = LineBuilder().put(context.theme.fit(name, names), names, BUSY).put(texts[0], cell_width(texts[0])).line
    return [head, *below[1:]]
