"""What `?` shows: every key, every sign and every bar; on a low screen in few words, the signs on a second page."""

from collections.abc import Sequence

from rich.style import Style

from imagegen_cli.core.language import Message, translated
from imagegen_cli.display.context import DrawContext
from imagegen_cli.display.keys import named
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import BUSY, STYLES, Line, LineBuilder, StyleName

KEY_WIDTH = 9
TURN = ("tab", Message("let keys act, until esc or 10 s without a key"), Message("let keys act"))
ASKS = Message("stop; asks, and can let the sent ones finish")
HELP = (
    ("up/down", Message("choose a task; j/k too, g/G the first and last"), Message("choose")),
    ("pgup/pgdn", Message("choose a screen further; home/end the ends"), Message("screen")),
    ("/", Message("filter by prompt, model, state; esc clears"), Message("filter")),
    ("enter", Message("its details: paths, reason, preview"), Message("details")),
    ("o", Message("open its picture, else the folder"), Message("open")),
    ("y", Message("copy the path of its picture"), Message("copy path")),
    ("r", Message("send it again, as new paid work; asks first"), Message("retry")),
    ("c", Message("cancel the chosen task; asks first"), Message("cancel")),
    ("x", Message("cancel all that wait; asks first"), Message("cancel waiting")),
    ("+/-", Message("more or fewer of its provider's tasks at a time"), Message("at a time")),
    (" ", Message("pause: send nothing more; again: continue"), Message("pause")),
    ("a", Message("add another prompt; a paste begins one too"), Message("add")),
    ("q", ASKS, Message("stop")),
    ("?", Message("again: what the signs mean; any key closes it"), Message("signs")),
)
"""Key, what it does, and the same in few words for a low screen."""

Sign = tuple[str, str, str, StyleName]
"""A sign or a bar, what it means, the same in few words, and its style."""


def help_lines(context: DrawContext) -> list[Line]:
    """The keys, and below them the signs where there is room."""
    offer = context.ui.offer
    keys = [entry for entry in (HELP if offer.keeps else (TURN, *HELP)) if not offer.without & {*entry[0].split("/")}]
    lines = [_key_line(context, key, meaning, few) for key, meaning, few in keys]
    if len(lines) > context.height:
        brief: list[tuple[str, str, StyleName]] = [(named(key), few, "busy") for key, _, few in keys]
        lines = flowing(context, brief)
    whole = [_sign_line(context, sign) for sign in legend(context)]
    for signs in (whole, flowing(context, _brief(context))):
        spare = context.height - len(lines) - len(signs)
        if spare >= 0:
            return [*lines, *([[]] if spare else []), *signs]
    return lines


def sign_lines(context: DrawContext) -> list[Line]:
    """Every sign and every bar, one to a line; in few words where the screen is too low for that."""
    signs = legend(context)
    if len(signs) > context.height:
        return flowing(context, _brief(context))
    return [_sign_line(context, sign) for sign in signs]


def legend(context: DrawContext) -> list[Sign]:
    theme = context.theme
    bar = theme.full * 2 + theme.rest
    return [
        (theme.queued, Message("waits to be sent, or in the service's own queue"), Message("waits"), "dim"),
        (theme.submitting, Message("is being sent"), Message("being sent"), "busy"),
        (theme.running, Message("is at the service"), Message("at the service"), "busy"),
        (theme.saving, Message("its pictures are being saved"), Message("saving"), "busy"),
        (theme.done, Message("done; yellow: with fewer pictures than asked for"), Message("done"), "good"),
        (theme.failed, Message("failed"), Message("failed"), "bad"),
        (theme.cancelled, Message("cancelled"), Message("cancelled"), "alert"),
        (bar, Message("told by the service"), Message("told"), "busy"),
        (theme.guess * 2 + theme.rest, Message("guessed from earlier tasks, like ~40%"), Message("guessed"), "busy"),
        (
            theme.rest + theme.full + theme.rest,
            Message("moves: nothing is known yet"),
            Message("moves: not known"),
            "busy",
        ),
    ]


def flowing(context: DrawContext, pieces: Sequence[tuple[str, str, StyleName]]) -> list[Line]:
    """As many pieces to a line as its width allows: a key or a sign, what it means, and the style of the first."""
    builders, left = [LineBuilder()], context.width
    for key, few, style in pieces:
        name = context.theme.fit(translated(key), context.width)
        text = context.theme.fit(f" {translated(few)}", max(0, context.width - cell_width(name)))
        cells = cell_width(name) + cell_width(text)
        if builders[-1].line and cells + 2 > left:
            builders.append(LineBuilder())
            left = context.width
        gap = 2 if builders[-1].line else 0
        left -= cells + gap
        builders[-1].gap(gap).put(name, cell_width(name), STYLES[style]).put(text, cell_width(text))
    return [builder.line for builder in builders]


def _brief(context: DrawContext) -> list[tuple[str, str, StyleName]]:
    return [(sign, few, style) for sign, _, few, style in legend(context)]


def _key_line(context: DrawContext, key: str, meaning: str, few: str) -> Line:
    offer = context.ui.offer
    meaning = offer.stop if key == "q" and offer.leaves else meaning
    return _explained(context, named(key), (meaning, few), BUSY)


def _sign_line(context: DrawContext, sign: Sign) -> Line:
    mark, meaning, few, style = sign
    return _explained(context, mark, (meaning, few), STYLES[style])


def _explained(context: DrawContext, name: str, forms: tuple[str, str], style: Style) -> Line:
    """A key or a sign, and what it means, in few words where all of them have no room."""
    names = min(KEY_WIDTH, context.width)
    left = max(0, context.width - names - 1)
    builder = LineBuilder().put(context.theme.fit(translated(name), names), names, style)
    long, few = map(translated, forms)
    text = long if cell_width(long) <= left else few
    return builder.gap(1).put(context.theme.fit(text, left), left).line if left else builder.line
