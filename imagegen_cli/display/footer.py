"""Below the table: totals, the rate, and the lines for questions, typed prompts and keys."""

from collections.abc import Iterable
from itertools import islice

from rich.style import Style

from imagegen_cli.core.text import literal, seconds
from imagegen_cli.display import costs, messages
from imagegen_cli.display.board import Board
from imagegen_cli.display.context import MEDIUM, TALL, WIDE, DrawContext
from imagegen_cli.display.controls import TYPING, Mode, right_of
from imagegen_cli.display.progress import PULSE
from imagegen_cli.display.questions import lines_offered, questions
from imagegen_cli.display.text_width import cell_width, cut, tail
from imagegen_cli.display.theme import ALERT, BAD, BOLD, BUSY, CHOSEN, DIM, GOOD, PLAIN, Line, LineBuilder

LEAVES = "Ctrl-C again leaves now; what is unfinished can be resumed"
BUDGET_REACHED = "budget reached: what is sent may finish, nothing new is sent"
MIN_TASKS_FOR_BAR = 3
MAX_BAR_WIDTH = 60
KEY_WIDTH = 9

TURN = ("tab", "let keys act, until esc or 10 s without a key", "let keys act")
ASKS = "stop; asks first, and can let the sent ones finish"
HELP = (
    ("up/down", "choose a task", "choose"),
    ("enter", "its details", "details"),
    ("c", "cancel the chosen task; asks first", "cancel"),
    ("x", "cancel all that wait; asks first", "cancel waiting"),
    (" ", "pause: send nothing more; again: continue", "pause"),
    ("a", "add another prompt; a paste begins one too", "add"),
    ("o", "open the folder with the pictures", "folder"),
    ("q", "{stop}", "stop"),
    ("?", "this help; any key closes it", "help"),
)
"""Key, what it does, and the same in few words for a low screen."""


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
    return counts_and_reasons(context, prefix(context))


def counts_and_reasons(context: DrawContext, why_held: str) -> list[Line]:
    """`why_held`: why nothing new is sent, before the counts; empty if something is, or if another line says it."""
    counts = why_held + messages.tallies(context.board)
    if cell_width(counts) > context.width:
        counts = (brief(context) if why_held else "") + signs(context)
    style = ALERT if why_held else PLAIN
    why = messages.reasons(context.board.reasons, context.theme.times)
    if not why:
        return [context.text(with_costs(context, counts), style)]
    if cell_width(f"{counts}: {why}") <= context.width:
        return [context.text(f"{counts}: {why}", style)]
    below = context.height >= TALL and context.width >= WIDE
    return [context.text(counts, style), *([context.text(f"failed: {why}", BAD)] if below else [])]


def cost_line(context: DrawContext) -> list[Line]:
    """What was spent and what is reserved, in the longest form that fits; no line where none does."""
    fitting = (form for form in cost_forms(context.board) if cell_width(form) <= context.width)
    return [context.text(form, DIM) for form in islice(fitting, 1)]


def with_costs(context: DrawContext, counts: str) -> str:
    """The counts with the costs behind them, where there is no line for these and enough room on this one."""
    forms = [] if context.height >= TALL else [f"{counts}; {form}" for form in cost_forms(context.board)]
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
        return BUDGET_REACHED, "budget reached: nothing new is sent", "budget reached"
    return ()


def out_of_credits(context: DrawContext) -> tuple[str, ...]:
    """What a person can do about an account without credits, in several lengths, the longest first."""
    board = context.board
    sent, space = board.running + board.done + board.failed, space_key(context)
    return (
        f"out of credits: {sent} sent, {board.waiting} wait; top up and press {space}, or q",
        f"out of credits, {board.waiting} wait: {space}, or q",
        f"no credits: {space}, or q",
        "no credits",
    )


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


def prefix(context: DrawContext) -> str:
    """Why no further task is sent; empty while tasks are sent."""
    ui = context.ui
    if context.board.stopping:
        return f"stopping: {context.board.stopping}; "
    if is_out_of_credits(context.board):
        return f"out of credits, top up and press {space_key(context)}, or q; "
    if context.board.budget:
        return f"{BUDGET_REACHED}; "
    if ui.draining:
        return "what is sent may finish, nothing new is sent; "
    if ui.paused:
        return (
            "paused, space continues; " if space_key(context) == "space" else f"paused, {space_key(context)} continue; "
        )
    return ""


def space_key(context: DrawContext) -> str:
    """How the key that continues is reached now."""
    ui = context.ui
    if ui.line is not None and ui.mode in TYPING:
        return "esc and space"
    return "space" if ui.focus else "tab and space"


def brief(context: DrawContext) -> str:
    """The same in one word."""
    if context.board.stopping:
        return "stopping "
    if context.board.budget:
        return "budget "
    return "ending " if context.ui.draining else "paused " if context.ui.paused else ""


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
        parts += [speed(rate), f"~{roughly(left)} left"]
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
    if ui.remark:
        return [context.text(ui.remark, ALERT), *([editor(context)] if high and ui.mode is Mode.EDIT else [])]
    if ui.mode is Mode.LINES:
        above = promise(context) if ui.focus else blind(context)
        return [*([above] if high else []), first_that_fits(context, lines_offered(context), ALERT)]
    below = [editor(context)] if ui.mode is Mode.EDIT else []
    return [hints(context), *below] if high else below


def first_that_fits(context: DrawContext, forms: Iterable[str], style: Style) -> Line:
    """The first of these that is not too wide, or the start of the last one."""
    forms = tuple(forms)
    return context.text(next((form for form in forms if cell_width(form) <= context.width), forms[-1]), style)


def hints(context: DrawContext) -> Line:
    """The keys that act now."""
    ui, builder, left = context.ui, LineBuilder(), context.width + 2
    if context.board.stopping:
        return context.text(LEAVES, DIM)
    if not ui.focus:
        return blind(context)
    if ui.mode is Mode.EDIT and ui.text.strip():
        return promise(context)
    for key, meaning in offered(context):
        if key in ui.offer.without:
            continue
        left -= len(key) + len(meaning) + 3
        if left < 0:
            break
        builder.gap(2 if builder.line else 0).put(key, len(key)).put(f" {meaning}", len(meaning) + 1, DIM)
    return builder.line


def blind(context: DrawContext) -> Line:
    """The keys that act without the focus."""
    long = f"tab keys {context.theme.dot} ctrl-c stop"
    return first_that_fits(context, (long, "tab keys"), DIM)


def promise(context: DrawContext) -> Line:
    """What the enter key will do with the typed text."""
    outcome, theme = context.ui.outcome, context.theme
    outcome_text = f" {theme.dot} ".join(literal(word, theme.encoding) for word in outcome.words)
    if not outcome.good:
        return context.text(outcome_text, ALERT)
    head = f"enter {theme.leads} "
    ui = context.ui
    end = f"  esc {closing(context)}" if ui.mode is Mode.EDIT and ui.line is None else ""
    if cell_width(head + outcome_text + end) > context.width:
        return context.text(f"{theme.leads} {outcome_text}", BUSY)
    builder = LineBuilder().put(head, cell_width(head)).put(outcome_text, cell_width(outcome_text), BUSY)
    return builder.put(end, cell_width(end), DIM).line


def offered(context: DrawContext) -> list[tuple[str, str]]:
    ui, board = context.ui, context.board
    if ui.mode is Mode.EDIT:
        return [("enter", "add"), ("esc", closing(context))]
    if is_out_of_credits(board):
        return [("space", "go on"), ("q", ui.offer.stop), ("?", "help")]
    always = [("a", "add"), ("q", ui.offer.stop), ("?", "help"), *([] if ui.offer.keeps else [("esc", "no keys")])]
    if ui.chosen is None and board.running + board.waiting > 1:
        return [(context.theme.arrows, "choose"), *always]
    return [("c", "cancel"), ("enter", "details"), *always]


def closing(context: DrawContext) -> str:
    return "close" if context.board.ended < len(context.board.rows) else "close and end"


def editor(context: DrawContext) -> Line:
    """The typed prompt, on the last line: there is the terminal's cursor, where input methods show their choices."""
    ui, encoding = context.ui, context.theme.encoding
    after = right_of(ui.text, ui.cursor)
    label = context.theme.fit("add: ", context.width)
    left = context.width - len(label) - 2
    before = tail(literal(ui.text[: ui.cursor], encoding), max(0, left))
    under = literal(ui.text[ui.cursor : after], encoding)
    under = under if under and cell_width(under) <= 2 else " "  # noqa: PLR2004 - cells of one sign
    cursor = CHOSEN if ui.focus else PLAIN
    rest = cut(literal(ui.text[after:], encoding), max(0, left - cell_width(before)))
    builder = LineBuilder().put(label, len(label), BOLD)
    if left >= 0:
        builder.put(before, cell_width(before)).put(under, cell_width(under), cursor).put(rest, cell_width(rest))
    return builder.line


def help_lines(context: DrawContext) -> list[Line]:
    """One line per key; on a low screen several keys per line."""
    theme, offer = context.theme, context.ui.offer
    keys = [entry for entry in (HELP if offer.keeps else (TURN, *HELP)) if entry[0] not in offer.without]
    if len(keys) > context.height:
        return brief_help(context, [("space" if key == " " else key, few) for key, _, few in keys])
    names = min(KEY_WIDTH, context.width)
    lines = []
    for key, meaning, _ in keys:
        builder = LineBuilder().put(theme.fit("space" if key == " " else key, names), names, BUSY)
        text = meaning.format(stop=offer.stop if offer.leaves else ASKS)
        lines.append(builder.put(theme.fit(text, context.width - names), context.width - names).line)
    return lines


def brief_help(context: DrawContext, keys: Iterable[tuple[str, str]]) -> list[Line]:
    """As many keys per line as its width allows."""
    builders, left = [LineBuilder()], context.width
    for key, few in keys:
        cells = len(key) + 1 + len(few)
        if builders[-1].line and cells + 2 > left:
            builders.append(LineBuilder())
            left = context.width
        left -= cells + (2 if builders[-1].line else 0)
        name = context.theme.fit(key, context.width)
        builders[-1].gap(2 if builders[-1].line else 0).put(name, cell_width(name), BUSY)
        text = context.theme.fit(f" {few}", max(0, context.width - len(key)))
        builders[-1].put(text, cell_width(text))
    return [builder.line for builder in builders]
