"""Below the table: totals, how fast it goes, and where a person types or is asked."""

from collections.abc import Iterable

from rich.style import Style

from imagegen_cli.display import words
from imagegen_cli.display.asking import lines_offered, questions
from imagegen_cli.display.board import Board
from imagegen_cli.display.cells import cut, tail, width as cells_of
from imagegen_cli.display.controls import Mode, right_of
from imagegen_cli.display.look import ALERT, BAD, BOLD, BUSY, CHOSEN, DIM, GOOD, PLAIN, Line, LineBuilder
from imagegen_cli.display.scene import FEW_ROWS, LOW, NARROW, PULSE, DrawContext

LEAVES = "Ctrl-C again leaves now; what is unfinished can be resumed"
MANY = 3
WIDEST = 60
KEY = 9

TURN = ("tab", "let keys act, until esc or 10 s without a key", "let keys act")
ASKS = "stop; asks first, and can let the sent ones finish"
HELP = (
    ("up/down", "choose a task", "choose"),
    ("enter", "its details", "details"),
    ("c", "cancel the chosen task; asks first", "cancel"),
    ("x", "cancel all that wait; asks first", "cancel waiting"),
    (" ", "hold back what is not sent yet; again: go on", "hold back"),
    ("a", "add another prompt; a paste begins one too", "add"),
    ("o", "open the folder with the pictures", "folder"),
    ("q", "{stop}", "stop"),
    ("?", "this help; any key closes it", "help"),
)
"""Keys, what each does, and the same in few words for a low screen."""


def footer(scene: DrawContext) -> list[Line]:
    """Totals, an overall bar, keys: as many of them as the height allows, the most telling last to go."""
    lines = totals(scene)
    if len(scene.board.rows) >= MANY and scene.most >= LOW and scene.room >= NARROW:
        lines.append(overall(scene))
    return [*lines, *prompt_line(scene)]


def totals(scene: DrawContext) -> list[Line]:
    """How many of what, and why some failed: on the same line, or on one of its own where the height allows."""
    if not scene.board.rows:
        return []
    told = prefix(scene) + words.tallies(scene.board)
    if cells_of(told) > scene.room:
        told = brief(scene) + signs(scene)
    style = ALERT if prefix(scene) else PLAIN
    why = words.reasons(scene.board.reasons, scene.look.times)
    if not why:
        return [scene.text(told, style)]
    if cells_of(f"{told}: {why}") <= scene.room:
        return [scene.text(f"{told}: {why}", style)]
    below = scene.most >= FEW_ROWS and scene.room >= NARROW
    return [scene.text(told, style), *([scene.text(f"failed: {why}", BAD)] if below else [])]


def signs(scene: DrawContext) -> str:
    """The same counts where words do not fit."""
    board, look = scene.board, scene.look
    counts = (
        (look.running, board.running),
        (look.queued, board.waiting),
        (look.done, board.done),
        (look.cancelled, board.cancelled),
        (look.failed, board.failed),
    )
    return " ".join(f"{mark}{count}" for mark, count in counts if count)


def prefix(scene: DrawContext) -> str:
    """Why nothing new is sent, where that is so."""
    ui = scene.ui
    if scene.board.stopping:
        return f"stopping: {scene.board.stopping}; "
    if ui.draining:
        return "what is sent may finish, nothing new is sent; "
    if ui.held:
        return "held back, space goes on; " if ui.focus else "held back, tab and space go on; "
    return ""


def brief(scene: DrawContext) -> str:
    """The same in a word."""
    if scene.board.stopping:
        return "stopping "
    return "ending " if scene.ui.draining else "held " if scene.ui.held else ""


def overall(scene: DrawContext) -> Line:
    """How much of everything is over, how fast it goes, how long it may still take."""
    board, look = scene.board, scene.look
    total = len(board.rows)
    text = look.fit(pace(board, scene.now), scene.room)
    cells = min(WIDEST, scene.room - cells_of(text) - 2)
    pen = LineBuilder()
    if cells >= PULSE:
        good = board.done * cells // total
        bad = min(cells - good, -(-(board.ended - board.done) * cells // total))
        pen.put(look.full * good, good, GOOD).put(look.full * bad, bad, BAD)
        pen.put(look.rest * (cells - good - bad), cells - good - bad, DIM).gap(2)
    return pen.put(text, cells_of(text)).line


def pace(board: Board, now: float) -> str:
    total = len(board.rows)
    parts = [f"{board.ended}/{total}"]
    rate, left = board.rate(now), board.left(now)
    if rate is not None and left is not None and board.ended < total:
        parts += [speed(rate), f"~{roughly(left)} left"]
    elif board.started is not None:
        parts.append(words.seconds(board.lasted(now)))
    return "  ".join(parts)


def speed(rate: float) -> str:
    """Endings in the unit that gives a number a person can hold."""
    for unit, length in (("s", 1), ("min", 60)):
        if rate * length >= 1:
            return f"{rate * length:.0f}/{unit}"
    return f"{rate * 3600:.0f}/h"


def roughly(left: float) -> str:
    """A time that does not flicker: five seconds, then whole minutes."""
    if left < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{max(5, -(-int(left) // 5) * 5)}s"
    minutes = round(left / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"  # noqa: PLR2004 - of an hour


def prompt_line(scene: DrawContext) -> list[Line]:
    """Where the person is asked or helped. What was asked must be seen, however low the screen is."""
    ui = scene.ui
    if ui.mode is Mode.ASK:
        return [first_that_fits(scene, questions(scene), ALERT)]
    high = ui.keys and scene.most >= FEW_ROWS
    if ui.remark:
        return [scene.text(ui.remark, ALERT), *([editor(scene)] if high and ui.mode is Mode.EDIT else [])]
    if ui.mode is Mode.LINES:
        above = promise(scene) if ui.focus else blind(scene)
        return [*([above] if high else []), first_that_fits(scene, lines_offered(scene), ALERT)]
    below = [editor(scene)] if ui.mode is Mode.EDIT else []
    return [hints(scene), *below] if high else below


def first_that_fits(scene: DrawContext, forms: Iterable[str], style: Style) -> Line:
    """The longest of these that there is room for, or as much of the last as there is."""
    forms = tuple(forms)
    return scene.text(next((form for form in forms if cells_of(form) <= scene.room), forms[-1]), style)


def hints(scene: DrawContext) -> Line:
    """Which keys act now."""
    ui, pen, left = scene.ui, LineBuilder(), scene.room + 2
    if scene.board.stopping:
        return scene.text(LEAVES, DIM)
    if not ui.focus:
        return blind(scene)
    if ui.mode is Mode.EDIT and ui.text.strip():
        return promise(scene)
    for key, meaning in offered(scene):
        if key in ui.offer.without:
            continue
        left -= len(key) + len(meaning) + 3
        if left < 0:
            break
        pen.gap(2 if pen.line else 0).put(key, len(key)).put(f" {meaning}", len(meaning) + 1, DIM)
    return pen.line


def blind(scene: DrawContext) -> Line:
    """Keys do nothing but these."""
    long = f"tab keys {scene.look.dot} ctrl-c stop"
    return first_that_fits(scene, (long, "tab keys"), DIM)


def promise(scene: DrawContext) -> Line:
    """What the enter key will do with what is typed."""
    outcome, look = scene.ui.outcome, scene.look
    told = f" {look.dot} ".join(words.literal(word, look.encoding) for word in outcome.words)
    if not outcome.good:
        return scene.text(told, ALERT)
    head = f"enter {look.leads} "
    end = f"  esc {closing(scene)}" if scene.ui.mode is Mode.EDIT else ""
    if cells_of(head + told + end) > scene.room:
        return scene.text(f"{look.leads} {told}", BUSY)
    pen = LineBuilder().put(head, cells_of(head)).put(told, cells_of(told), BUSY)
    return pen.put(end, cells_of(end), DIM).line


def offered(scene: DrawContext) -> list[tuple[str, str]]:
    ui, board = scene.ui, scene.board
    if ui.mode is Mode.EDIT:
        return [("enter", "add"), ("esc", closing(scene))]
    always = [("a", "add"), ("q", ui.offer.stop), ("?", "help"), *([] if ui.offer.keeps else [("esc", "no keys")])]
    if ui.chosen is None and board.running + board.waiting > 1:
        return [(scene.look.arrows, "choose"), *always]
    return [("c", "cancel"), ("enter", "details"), *always]


def closing(scene: DrawContext) -> str:
    return "close" if scene.board.ended < len(scene.board.rows) else "close and end"


def editor(scene: DrawContext) -> Line:
    """The last line of the screen: there the terminal's cursor is, and with it what an input method offers."""
    ui, encoding = scene.ui, scene.look.encoding
    after = right_of(ui.text, ui.cursor)
    label = scene.look.fit("add: ", scene.room)
    left = scene.room - len(label) - 2
    before = tail(words.literal(ui.text[: ui.cursor], encoding), max(0, left))
    under = words.literal(ui.text[ui.cursor : after], encoding)
    under = under if under and cells_of(under) <= 2 else " "  # noqa: PLR2004 - cells of one sign
    cursor = CHOSEN if ui.focus else PLAIN
    rest = cut(words.literal(ui.text[after:], encoding), max(0, left - cells_of(before)))
    pen = LineBuilder().put(label, len(label), BOLD)
    if left >= 0:
        pen.put(before, cells_of(before)).put(under, cells_of(under), cursor).put(rest, cells_of(rest))
    return pen.line


def help_lines(scene: DrawContext) -> list[Line]:
    """A line a key; where the screen is too low for that, all of them one after the other."""
    look, offer = scene.look, scene.ui.offer
    keys = [entry for entry in (HELP if offer.keeps else (TURN, *HELP)) if entry[0] not in offer.without]
    if len(keys) > scene.most:
        return brief_help(scene, [("space" if key == " " else key, few) for key, _, few in keys])
    names = min(KEY, scene.room)
    lines = []
    for key, meaning, _ in keys:
        pen = LineBuilder().put(look.fit("space" if key == " " else key, names), names, BUSY)
        told = meaning.format(stop=offer.stop if offer.leaves else ASKS)
        lines.append(pen.put(look.fit(told, scene.room - names), scene.room - names).line)
    return lines


def brief_help(scene: DrawContext, keys: Iterable[tuple[str, str]]) -> list[Line]:
    """As many keys a line as there is room for."""
    pens, left = [LineBuilder()], scene.room
    for key, few in keys:
        cells = len(key) + 1 + len(few)
        if pens[-1].line and cells + 2 > left:
            pens.append(LineBuilder())
            left = scene.room
        left -= cells + (2 if pens[-1].line else 0)
        name = scene.look.fit(key, scene.room)
        pens[-1].gap(2 if pens[-1].line else 0).put(name, cells_of(name), BUSY)
        told = scene.look.fit(f" {few}", max(0, scene.room - len(key)))
        pens[-1].put(told, cells_of(told))
    return [pen.line for pen in pens]
