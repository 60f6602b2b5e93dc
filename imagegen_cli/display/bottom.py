"""Below the table: totals, how fast it goes, and where a person types or is asked."""

from imagegen_cli.display import words
from imagegen_cli.display.board import Board
from imagegen_cli.display.cells import cut, tail, width as cells_of
from imagegen_cli.display.controls import Mode, right_of
from imagegen_cli.display.look import ALERT, BAD, BOLD, BUSY, CHOSEN, DIM, GOOD, PLAIN, Line, Pen
from imagegen_cli.display.scene import FEW_ROWS, LOW, NARROW, PULSE, Scene

LEAVES = "Ctrl-C again leaves now; what is unfinished can be resumed"
MANY = 3
WIDEST = 60
KEY = 9

HELP = (
    ("up/down", "choose a task"),
    ("enter", "its details"),
    ("c", "cancel the chosen task"),
    ("x", "cancel all that wait"),
    (" ", "hold back what is not sent yet; again: go on"),
    ("a", "add another prompt; a paste begins one too"),
    ("o", "open the folder with the pictures"),
    ("q", "{stop}, as Ctrl-C does"),
    ("?", "this help; any key closes it"),
)


def footer(scene: Scene) -> list[Line]:
    """Totals, an overall bar, keys: as many of them as the height allows, the most telling last to go."""
    lines = totals(scene)
    if len(scene.board.rows) >= MANY and scene.most >= LOW and scene.room >= NARROW:
        lines.append(overall(scene))
    return [*lines, *prompt_line(scene)]


def totals(scene: Scene) -> list[Line]:
    """How many of what, and why some failed: on the same line, or on one of its own where the height allows."""
    if not scene.board.rows:
        return []
    told = prefix(scene) + words.tallies(scene.board)
    if cells_of(told) > scene.room:
        told = signs(scene)
    style = ALERT if prefix(scene) else PLAIN
    why = words.reasons(scene.board.reasons, scene.look.times)
    if not why:
        return [scene.text(told, style)]
    if cells_of(f"{told}: {why}") <= scene.room:
        return [scene.text(f"{told}: {why}", style)]
    below = scene.most >= FEW_ROWS and scene.room >= NARROW
    return [scene.text(told, style), *([scene.text(f"failed: {why}", BAD)] if below else [])]


def signs(scene: Scene) -> str:
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


def prefix(scene: Scene) -> str:
    if scene.board.stopping:
        return f"stopping: {scene.board.stopping}; "
    return "held back, space goes on; " if scene.ui.held else ""


def overall(scene: Scene) -> Line:
    """How much of everything is over, how fast it goes, how long it may still take."""
    board, look = scene.board, scene.look
    total = len(board.rows)
    text = look.fit(pace(board, scene.now), scene.room)
    cells = min(WIDEST, scene.room - cells_of(text) - 2)
    pen = Pen()
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


def prompt_line(scene: Scene) -> list[Line]:
    """Where the person is asked or helped. What was asked must be seen, however low the screen is."""
    ui = scene.ui
    if ui.mode is Mode.ASK:
        return [scene.text(question(scene), ALERT)]
    if ui.remark:
        return [scene.text(ui.remark, ALERT)]
    below = [editor(scene)] if ui.mode is Mode.EDIT else []
    return [hints(scene), *below] if ui.keys and scene.most >= FEW_ROWS else below


def question(scene: Scene) -> str:
    """As much of it as there is room for, but always what to press."""
    asked = f"cancel {scene.ui.chosen}?"
    forms = (f"{asked} credits may be used already; y/n", f"{asked} may cost credits; y/n", f"{asked} y/n")
    return next((form for form in forms if cells_of(form) <= scene.room), "y/n?")


def hints(scene: Scene) -> Line:
    if scene.board.stopping:
        return scene.text(LEAVES, DIM)
    pen, left = Pen(), scene.room
    for key, meaning in offered(scene):
        if key in scene.ui.offer.without:
            continue
        left -= len(key) + len(meaning) + 3
        if left < 0:
            break
        pen.put(key, len(key)).put(f" {meaning}", len(meaning) + 1, DIM).gap(2)
    return pen.line


def offered(scene: Scene) -> list[tuple[str, str]]:
    ui, board = scene.ui, scene.board
    if ui.mode is Mode.EDIT:
        return [("enter", "add"), ("escape", "close" if board.ended < len(board.rows) else "close and end")]
    always = [("a", "add"), ("q", ui.offer.stop), ("?", "help")]
    if ui.chosen is None and board.running + board.waiting > 1:
        return [(scene.look.arrows, "choose"), *always]
    return [("c", "cancel"), ("enter", "details"), *always]


def editor(scene: Scene) -> Line:
    """The last line of the screen: there the terminal's cursor is, and with it what an input method offers."""
    ui, encoding = scene.ui, scene.look.encoding
    after = right_of(ui.text, ui.cursor)
    label = scene.look.fit("add: ", scene.room)
    left = scene.room - len(label) - 2
    before = tail(words.literal(ui.text[: ui.cursor], encoding), max(0, left))
    under = words.literal(ui.text[ui.cursor : after], encoding)
    under = under if under and cells_of(under) <= 2 else " "  # noqa: PLR2004 - cells of one sign
    rest = cut(words.literal(ui.text[after:], encoding), max(0, left - cells_of(before)))
    pen = Pen().put(label, len(label), BOLD)
    if left >= 0:
        pen.put(before, cells_of(before)).put(under, cells_of(under), CHOSEN).put(rest, cells_of(rest))
    return pen.line


def help_lines(scene: Scene) -> list[Line]:
    look, offer = scene.look, scene.ui.offer
    names = min(KEY, scene.room)
    lines = []
    for key, meaning in HELP:
        if key in offer.without:
            continue
        pen = Pen().put(look.fit("space" if key == " " else key, names), names, BUSY)
        told = meaning.format(stop=offer.stop)
        lines.append(pen.put(look.fit(told, scene.room - names), scene.room - names).line)
    return lines
