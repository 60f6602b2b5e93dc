"""Below the table: totals, the rate, and the lines for questions, typed prompts and keys."""

from collections.abc import Iterable
from itertools import islice

from rich.style import Style

from imagegen_cli.core.language import Message, joined, tr, translated
from imagegen_cli.core.text import literal, seconds
from imagegen_cli.display import costs, messages
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.context import MEDIUM, TALL, WIDE, DrawContext
from imagegen_cli.display.controls import TYPING, Mode, right_of, why_not_again
from imagegen_cli.display.keys import named
from imagegen_cli.display.progress import PULSE
from imagegen_cli.display.questions import lines_offered, questions
from imagegen_cli.display.selection import count
from imagegen_cli.display.text_width import cell_width, cut, tail
from imagegen_cli.display.theme import ALERT, BAD, BOLD, BUSY, CHOSEN, DIM, GOOD, PLAIN, Line, LineBuilder

LEAVES = Message("Ctrl-C again leaves now; what is unfinished can be resumed")
BUDGET_REACHED = Message("budget reached: what is sent may finish, nothing new is sent")
MIN_TASKS_FOR_BAR = 3
MAX_BAR_WIDTH = 60
MIN_FILTER = 12
"""Cells of the filter's words that are worth more than the count beside them."""

HELP_KEY = ("?", Message("help"))
FIRST_TO_LEAVE = ("esc", "a", "/")
"""Keys that a narrow line names no more, in this order; then the last ones."""


def footer(context: DrawContext) -> list[Line]:
    """Totals, costs, an overall bar, keys: as many lines as the height allows; totals stay longest."""
    lines = totals(context)
    if context.height >= TALL:
        lines += cost_line(context)
    if len(context.board.rows) >= MIN_TASKS_FOR_BAR and context.height >= MEDIUM and context.width >= WIDE:
        lines.append(overall(context))
    return [*lines, *prompt_line(context)]


def totals(context: DrawContext) -> list[Line]:
    """Counts by state, and why tasks failed: on the same line, or on a second one where the height allows."""
    if not context.board.rows:
        return []
    if (notice := money_notice(context)) and (context.height >= TALL or is_out_of_credits(context.board)):
        above = first_that_fits(context, notice, ALERT)
        return [above, *(counts_and_reasons(context, "") if context.height >= TALL else [])]
    return counts_and_reasons(context, held(context))


def counts_and_reasons(context: DrawContext, why_held: str) -> list[Line]:
    """`why_held`: why nothing new is sent, before the counts; empty if something is, or if another line says it."""
    counts = messages.tallies(context.board)
    counts = tr("{why}; {counts}", why=why_held, counts=counts) if why_held else counts
    if cell_width(counts) > context.width:
        counts = " ".join(filter(None, (brief(context) if why_held else "", signs(context))))
    style = ALERT if why_held else PLAIN
    why = messages.reasons(context.board.reasons, context.theme.times)
    if not why:
        return [context.text(with_costs(context, counts), style)]
    both = tr("{counts}: {reasons}", counts=counts, reasons=why)
    if cell_width(both) <= context.width:
        return [context.text(both, style)]
    below = context.height >= TALL and context.width >= WIDE
    return [context.text(counts, style), *([context.text(tr("failed: {reasons}", reasons=why), BAD)] if below else [])]


def cost_line(context: DrawContext) -> list[Line]:
    """What was spent and what is reserved, in the longest form that fits; no line where none does."""
    fitting = (form for form in cost_forms(context.board) if cell_width(form) <= context.width)
    return [context.text(form, DIM) for form in islice(fitting, 1)]


def with_costs(context: DrawContext, counts: str) -> str:
    """The counts with the costs behind them, where there is no line for these and enough room on this one."""
    short = context.height < TALL
    forms = [translated(joined("; ", (counts, form))) for form in cost_forms(context.board)] if short else []
    return next((form for form in forms if cell_width(form) <= context.width), counts)


def cost_forms(board: Board) -> list[str]:
    """The same costs in several lengths, the longest first; none where nothing has a price."""
    return [costs.text(board.costs), costs.short_text(board.costs)] if board.costs else []


def is_out_of_credits(board: Board) -> bool:
    """Whether tasks wait for a person to top up an account."""
    return bool(board.paused_providers and board.waiting) and not board.stopping


def money_notice(context: DrawContext) -> tuple[str, ...]:
    """Why money lets nothing new be sent, in several lengths, the longest first; none where it does."""
    if is_out_of_credits(context.board):
        return out_of_credits(context)
    if context.board.budget and not context.board.stopping:
        return BUDGET_REACHED, Message("budget reached: nothing new is sent"), Message("budget reached")
    return ()


def out_of_credits(context: DrawContext) -> tuple[str, ...]:
    """What a person can do about an account without credits, in several lengths, the longest first."""
    board, ui = context.board, context.ui
    sent, space = board.running + board.done + board.failed, space_key(context)
    if " " in ui.offer.without:
        forms = [
            Message("out of credits: {sent} sent, {waiting} wait; top up, then press space in its terminal"),
            Message("out of credits, {waiting} wait"),
            Message("no credits"),
        ]
    else:
        forms = [
            Message("out of credits: {sent} sent, {waiting} wait; top up and press {key}, or q"),
            Message("out of credits, {waiting} wait: {key}, or q"),
            Message("no credits: {key}, or q"),
            Message("no credits"),
        ]
    return tuple(form.format(sent=sent, waiting=board.waiting, key=space) for form in forms)


def signs(context: DrawContext) -> str:
    """The same counts as signs, where the words are too wide."""
    board, theme = context.board, context.theme
    counts = (
        (theme.running, board.running),
        (theme.queued, board.waiting),
        (theme.done, board.done),
        (theme.cancelled, board.cancelled),
        (theme.failed, board.failed),
    )
    return " ".join(f"{mark}{count}" for mark, count in counts if count)


def held(context: DrawContext) -> str:
    """Why no further task is sent; empty while tasks are sent."""
    ui = context.ui
    if context.board.stopping:
        return tr("stopping: {why}", why=context.board.stopping)
    if is_out_of_credits(context.board):
        if " " in ui.offer.without:
            return tr("out of credits")
        return tr("out of credits, top up and press {key}, or q", key=space_key(context))
    if context.board.budget:
        return translated(BUDGET_REACHED)
    if ui.draining:
        return tr("what is sent may finish, nothing new is sent")
    return paused(context) if ui.paused else ""


def paused(context: DrawContext) -> str:
    key = space_key(context)
    return tr("paused, space continues") if key == named(" ") else tr("paused, {keys} continue", keys=key)


def space_key(context: DrawContext) -> str:
    """How the key that continues is reached now."""
    ui = context.ui
    if ui.line is not None and ui.mode in TYPING:
        return Message("esc and space")
    return named(" ") if ui.focus else Message("tab and space")


def brief(context: DrawContext) -> str:
    """The same in one word."""
    if context.board.stopping:
        return tr("stopping")
    if context.board.budget:
        return tr("budget")
    return tr("ending") if context.ui.draining else tr("paused") if context.ui.paused else ""


def overall(context: DrawContext) -> Line:
    """A bar of all tasks, the rate and the estimated time left."""
    board, theme = context.board, context.theme
    total = len(board.rows)
    text = theme.fit(pace(board, context.now), context.width)
    cells = min(MAX_BAR_WIDTH, context.width - cell_width(text) - 2)
    builder = LineBuilder()
    if cells >= PULSE:
        good = board.done * cells // total
        bad = min(cells - good, -(-(board.ended - board.done) * cells // total))
        builder.put(theme.full * good, good, GOOD).put(theme.full * bad, bad, BAD)
        builder.put(theme.rest * (cells - good - bad), cells - good - bad, DIM).gap(2)
    return builder.put(text, cell_width(text)).line


def pace(board: Board, now: float) -> str:
    total = len(board.rows)
    parts = [f"{board.ended}/{total}"]
    rate, left = board.rate(now), board.left(now)
    if rate is not None and left is not None and board.ended < total:
        parts += [speed(rate), tr("~{time} left", time=roughly(left))]
    elif board.started is not None:
        parts.append(seconds(board.lasted(now)))
    return "  ".join(parts)


def speed(rate: float) -> str:
    """A rate per second as text, in a unit that makes it at least 1 where possible."""
    for unit, length in (("s", 1), ("min", 60)):
        if rate * length >= 1:
            return f"{rate * length:.0f}/{unit}"
    return f"{rate * 3600:.0f}/h"


def roughly(left: float) -> str:
    """Seconds as rounded text that changes seldom: steps of five seconds, then whole minutes."""
    if left < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{max(5, -(-int(left) // 5) * 5)}s"
    minutes = round(left / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"  # noqa: PLR2004 - of an hour


def prompt_line(context: DrawContext) -> list[Line]:
    """The lines for a question, a remark, the typed prompt or the keys. Even the lowest screen shows a question."""
    ui = context.ui
    if ui.mode is Mode.ASK:
        return [first_that_fits(context, questions(context), ALERT)]
    high = ui.keys and context.height >= TALL
    remark = [context.text(ui.remark, ALERT)] if ui.remark else []
    if ui.taker is not None and ui.mode is Mode.TABLE:
        return [*remark, *ui.taker.lines(context.width, context.height, context.theme)]
    if ui.mode is Mode.LINES and not remark:
        above = promise(context) if ui.focus else blind(context)
        return [*([above] if high else []), first_that_fits(context, lines_offered(context), ALERT)]
    below = [editor(context)] if ui.mode is Mode.EDIT and (high or not remark) else []
    return [*filter_lines(context), *(remark or ([hints(context)] if high else [])), *below]


def filter_lines(context: DrawContext) -> list[Line]:
    """The filter, while it is typed and as long as it hides tasks."""
    shown = context.ui.mode is Mode.FILTER or (context.ui.filter and context.ui.mode is Mode.TABLE)
    return [filter_line(context)] if shown else []


def first_that_fits(context: DrawContext, forms: Iterable[str], style: Style) -> Line:
    """The first of these that is not too wide, or the start of the last one."""
    forms = tuple(map(translated, forms))
    return context.text(next((form for form in forms if cell_width(form) <= context.width), forms[-1]), style)


def hints(context: DrawContext) -> Line:
    """The keys that act now. The key for help is the last to leave a narrow line."""
    ui = context.ui
    if context.board.stopping and not ui.offer.leaves:
        return context.text(LEAVES, DIM)
    if not ui.focus:
        return blind(context)
    if ui.mode is Mode.EDIT and ui.text.strip():
        return promise(context)
    keys = [(key, few) for key, few in offered(context) if key not in ui.offer.without]
    return keys_in_line(context, keys)


def keys_in_line(context: DrawContext, keys: list[tuple[str, str]]) -> Line:
    """As many keys as there is room for; others go before the one for help."""
    shown = {key: (context.word(named(key)), f" {context.word(few)}") for key, few in keys}
    while len(shown) > 1 and sum(cell_width(name + few) + 2 for name, few in shown.values()) - 2 > context.width:
        others = [key for key in shown if key != HELP_KEY[0]]
        del shown[next((key for key in FIRST_TO_LEAVE if key in others), others[-1])]
    builder = LineBuilder()
    for name, few in shown.values():
        if cell_width(name + few) > context.width:
            return context.text(name)
        builder.gap(2 if builder.line else 0).put(name, cell_width(name)).put(few, cell_width(few), DIM)
    return builder.line


def blind(context: DrawContext) -> Line:
    """The keys that act without the focus."""
    dot = context.theme.dot
    long, short = Message("tab keys {dot} ? help {dot} ctrl-c stop"), Message("tab keys {dot} ? help")
    return first_that_fits(context, (long.format(dot=dot), short.format(dot=dot), Message("? help"), "?"), DIM)


def filter_line(context: DrawContext) -> Line:
    """The words of the filter, and how many tasks it leaves."""
    ui, board, dot = context.ui, context.board, context.theme.dot
    words = literal(ui.filter, context.theme.encoding)
    found = tr("{count} of {all}", count=count(board, ui.filter), all=len(board.rows))
    cursor = "_" if ui.mode is Mode.FILTER else ""
    end = tr("esc clears") if ui.focus else tr("tab and esc clear")
    end = tr("enter keeps {dot} esc clears", dot=dot) if ui.mode is Mode.FILTER else end
    for tail_ in (f"  {found} {dot} {end}", f"  {found}", ""):
        left = context.width - cell_width(tail_) - 1 - len(cursor)
        if left >= min(cell_width(words), MIN_FILTER) or not tail_:
            shown = f"/{tail(words, max(0, left))}{cursor}{tail_}"
            return context.text(shown, BOLD if ui.mode is Mode.FILTER else PLAIN)
    return []


def promise(context: DrawContext) -> Line:
    """What the enter key will do with the typed text."""
    outcome, theme = context.ui.outcome, context.theme
    outcome_text = f" {theme.dot} ".join(map(context.word, outcome.words))
    if not outcome.good:
        return context.text(outcome_text, ALERT)
    head = f"{context.word(named('enter'))} {theme.leads} "
    ui = context.ui
    end = f"  esc {context.word(closing(context))}" if ui.mode is Mode.EDIT and ui.line is None else ""
    if cell_width(head + outcome_text + end) > context.width:
        return context.text(f"{theme.leads} {outcome_text}", BUSY)
    builder = LineBuilder().put(head, cell_width(head)).put(outcome_text, cell_width(outcome_text), BUSY)
    return builder.put(end, cell_width(end), DIM).line


def offered(context: DrawContext) -> list[tuple[str, str]]:
    ui, board = context.ui, context.board
    if ui.mode is Mode.EDIT:
        return [("enter", Message("add")), ("esc", closing(context))]
    choose = (context.theme.arrows, Message("choose"))
    if ui.mode is Mode.FILTER:
        return [("enter", Message("keep")), ("esc", Message("clear")), choose]
    if is_out_of_credits(board) and " " not in ui.offer.without:
        return [("space", Message("go on")), ("q", ui.offer.stop), HELP_KEY]
    leave = [] if ui.offer.keeps else [("esc", Message("no keys"))]
    always = [("a", Message("add")), ("q", ui.offer.stop), HELP_KEY, *leave]
    row = board.rows.get(ui.chosen) if ui.chosen is not None else None
    if row is not None and row.ended is not None:
        return [*ended_keys(row), *always]
    if row is None and board.running + board.waiting != 1:
        return [choose, ("/", Message("filter")), *always]
    return [("c", Message("cancel")), ("enter", Message("details")), *always]


def ended_keys(row: Row) -> list[tuple[str, str]]:
    """What can be done with a task that has ended."""
    details = ("enter", Message("details"))
    if row.task.files:
        return [details, ("o", Message("open")), ("y", Message("copy path"))]
    return [*([("r", Message("retry"))] if not why_not_again(row) else []), details]


def closing(context: DrawContext) -> str:
    return Message("close") if context.board.ended < len(context.board.rows) else Message("close and end")


def editor(context: DrawContext) -> Line:
    """The typed prompt, on the last line: there is the terminal's cursor, where input methods show their choices."""
    ui, encoding = context.ui, context.theme.encoding
    after = right_of(ui.text, ui.cursor)
    label = context.theme.fit(tr("add: {prompt}", prompt=""), context.width)
    left = context.width - cell_width(label) - 2
    before = tail(literal(ui.text[: ui.cursor], encoding), max(0, left))
    under = literal(ui.text[ui.cursor : after], encoding)
    under = under if under and cell_width(under) <= 2 else " "  # noqa: PLR2004 - cells of one sign
    cursor = CHOSEN if ui.focus else PLAIN
    rest = cut(literal(ui.text[after:], encoding), max(0, left - cell_width(before)))
    builder = LineBuilder().put(label, cell_width(label), BOLD)
    if left >= 0:
        builder.put(before, cell_width(before)).put(under, cell_width(under), cursor).put(rest, cell_width(rest))
    return builder.line
