"""Signs, styles, and the builder of a line of them.

After text that is not ASCII the next column is placed absolutely, because terminals disagree about the width of such
text. Colours only repeat what signs and words say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.control import Control
from rich.segment import Segment
from rich.style import Style

from imagegen_cli.core.task import Cancelled, Done, Failed, Queued, Running, Saving, State, Submitting, word
from imagegen_cli.display.text_width import cell_width, fitted

Line = list[Segment]

PLAIN = Style.null()
DIM = Style(dim=True)
BOLD = Style(bold=True)
GOOD = Style(color="green")
BAD = Style(color="red")
ALERT = Style(color="yellow")
BUSY = Style(color="cyan")
CHOSEN = Style(reverse=True)


StyleName = Literal["plain", "dim", "bold", "good", "bad", "alert", "busy"]
STYLES: dict[StyleName, Style] = {
    "plain": PLAIN,
    "dim": DIM,
    "bold": BOLD,
    "good": GOOD,
    "bad": BAD,
    "alert": ALERT,
    "busy": BUSY,
}
"""Columns name their styles, because they are also used where Rich is not imported."""

STATE_STYLES: dict[type[State], StyleName] = {
    Queued: "dim",
    Submitting: "busy",
    Running: "busy",
    Saving: "busy",
    Done: "good",
    Failed: "bad",
    Cancelled: "alert",
}


@dataclass(frozen=True, slots=True)
class Theme:
    """The signs that an encoding can carry. The sign of a state is in the attribute with the state's name.

    `pictures`: the encoding has the half blocks that previews are made of.
    """

    encoding: str
    queued: str = "◌"
    submitting: str = "↑"
    running: str = "●"
    saving: str = "↓"
    done: str = "✓"
    failed: str = "✗"
    cancelled: str = "⊘"
    full: str = "━"
    half: str = "╸"
    guess: str = "╍"
    rest: str = "─"
    more: str = "…"
    times: str = "×"
    dot: str = "·"
    arrows: str = "↑↓"
    leads: str = "→"
    favourite: str = "★"
    pictures: bool = True
    links: bool = False
    """Whether the terminal shows links."""
    pointer: str = ""
    """Marks the chosen row where the terminal has no styles."""

    def fit(self, text: str, cells: int) -> str:
        return fitted(text, cells, self.encoding, self.more)

    def sign(self, state: State) -> tuple[str, StyleName]:
        """The sign and the style of a state. Each state has its own sign, so that colour is not needed."""
        if isinstance(state, Done) and state.missing:
            return self.done, "alert"
        return getattr(self, word(state)), STATE_STYLES[type(state)]


def theme_for(encoding: str, *, links: bool = False) -> Theme:
    """Unicode signs if the encoding has all of them, else ASCII."""
    rich = Theme(encoding, links=links)
    try:
        "◌↑●↓✓✗⊘━╸╍─…×·→★▀".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return Theme(
            encoding,
            queued=".",
            submitting="^",
            running="*",
            saving="v",
            done="+",
            failed="x",
            cancelled="-",
            full="#",
            half="-",
            guess="~",
            rest="-",
            more="...",
            times="x",
            dot="-",
            arrows="up/down",
            leads="->",
            favourite="*",
            pictures=False,
            links=links,
        )
    return rich


def linked_style(style: Style, path: str, theme: Theme) -> Style:
    """The style of a path: a link to it where the terminal shows links."""
    if not (theme.links and path):
        return style
    from imagegen_cli.display.links import file_url  # noqa: PLC0415 - few screens have links

    url = file_url(path)
    return style + Style(link=url) if url else style


@lru_cache(maxsize=512)
def to_column(at: int) -> Segment:
    return Control.move_to_column(at).segment


class LineBuilder:
    """Builds one line from left to right, with few segments: the cost of Rich grows with their number."""

    def __init__(self, style: Style = PLAIN, *, one_style: bool = False) -> None:
        """`one_style`: the whole line is drawn in `style` alone, so that it has one background."""
        self.line: Line = []
        self._at = 0
        self._style = style
        self._one_style = one_style

    def put(self, text: str, cells: int, style: Style = PLAIN, *, right: bool = False) -> "LineBuilder":
        """Add text of at most `cells` and pad it to that width."""
        is_ascii = text.isascii()
        blank = " " * (cells - (len(text) if is_ascii else cell_width(text)))
        if self._one_style:
            style = self._style
        elif self._style is not PLAIN:
            style = self._style + style
        self._add(blank + text if right else text + blank, style)
        self._at += cells
        if not is_ascii:
            self.line.append(to_column(self._at))
        return self

    def put_spans(self, spans: Sequence[tuple[str, StyleName]], cells: int) -> "LineBuilder":
        """Add the pieces of one cell, one after the other, and pad the last to the width of the cell."""
        text, style = spans[0]
        for following in spans[1:]:
            taken = cell_width(text)
            if taken:
                self.put(text, taken, STYLES[style])
                cells -= taken
            text, style = following
        return self.put(text, cells, STYLES[style])

    def gap(self, cells: int, sign: str = "") -> "LineBuilder":
        """Add blanks, the first of them replaced by `sign`.

        They take the style before them, which saves a segment: all styles show blanks alike.
        """
        before = self.line[-1] if self.line else None
        style = self._style if before is None or before.control else before.style
        if style and style.link:
            style = self._style  # blanks are no part of a link
        self._add(sign + " " * (cells - len(sign)), style or PLAIN)
        self._at += cells
        return self

    def _add(self, text: str, style: Style) -> None:
        if self.line and self.line[-1].style is style and not self.line[-1].control:
            self.line[-1] = Segment(self.line[-1].text + text, style)
        else:
            self.line.append(Segment(text, style))
