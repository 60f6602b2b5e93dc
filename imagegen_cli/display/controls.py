"""What keys do: which task is chosen, which question is open, what is being typed. No terminal."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.keys import Actions, Key, Offer, Paste
from imagegen_cli.display.words import clings
from imagegen_cli.task import Queued, TaskId

Press = Callable[[], None]
CHOOSE_FIRST = "choose a task with up/down first"
GOING_ON = frozenset({"a", " "})
"""Keys that make no sense once a run is stopping."""


class Mode(Enum):
    TABLE = "table"
    ASK = "ask"
    EDIT = "edit"
    DETAILS = "details"
    HELP = "help"


@dataclass(slots=True)
class Ui:
    """`keys`: somebody can press one. `cursor` counts characters of `text`, the prompt being typed.

    `remark` is about the last key, until the next.
    """

    keys: bool = False
    offer: Offer = field(default_factory=Offer)
    mode: Mode = Mode.TABLE
    chosen: TaskId | None = None
    held: bool = False
    remark: str = ""
    text: str = ""
    cursor: int = 0


class Controls:
    def __init__(self, board: Board, actions: Actions, ui: Ui) -> None:
        self._board = board
        self._actions = actions
        self._ui = ui
        ui.offer = actions.offer
        self._table: dict[str, Press] = {
            "up": lambda: self._choose(-1),
            "down": lambda: self._choose(1),
            "escape": self._forget,
            "c": self._cancel,
            "x": actions.cancel_waiting,
            " ": self._hold,
            "o": actions.open_folder,
            "a": lambda: self._open(Mode.EDIT),
            "enter": self._details,
            "q": actions.stop,
            "?": lambda: self._open(Mode.HELP),
        }

    def press(self, key: Key) -> None:
        self.settle()
        self._ui.remark = ""
        if isinstance(key, Paste):
            self._paste(key.text)
            return
        match self._ui.mode:
            case Mode.TABLE:
                self._act(key)
            case Mode.ASK:
                self._answer(key)
            case Mode.EDIT:
                self._edit(key)
            case Mode.DETAILS | Mode.HELP:
                self._ui.mode = Mode.TABLE

    def settle(self) -> None:
        """A chosen task that has ended is chosen no longer: the next key must not hit its neighbour."""
        if self._board.stopping:
            self._add_no_more()
        if self._ui.chosen is None:
            return
        row = self._board.rows.get(self._ui.chosen)
        if row is None or row.ended is not None:
            self._ui.chosen = None
            if self._ui.mode in (Mode.ASK, Mode.DETAILS):
                self._ui.mode = Mode.TABLE

    def _add_no_more(self) -> None:
        ui = self._ui
        ui.offer = replace(ui.offer, without=ui.offer.without | GOING_ON)
        if ui.mode is Mode.EDIT:
            self._close_editor()

    def _act(self, key: str) -> None:
        if key in self._table and key not in self._ui.offer.without:
            self._table[key]()

    def _paste(self, text: str) -> None:
        """Where no prompt is being typed, a paste begins one; nothing is sent before the enter key."""
        if self._ui.mode is Mode.TABLE and text.strip():
            self._act("a")
        if self._ui.mode is Mode.EDIT:
            self._insert(text)

    def _insert(self, text: str) -> None:
        ui = self._ui
        ui.text = ui.text[: ui.cursor] + text + ui.text[ui.cursor :]
        ui.cursor += len(text)

    def _open(self, mode: Mode) -> None:
        self._ui.mode = mode

    def _forget(self) -> None:
        self._ui.chosen = None

    def _choose(self, step: int) -> None:
        ids = [row.task.id for row in self._board.unfinished()]
        if not ids:
            return
        if self._ui.chosen is None:
            self._ui.chosen = ids[0 if step > 0 else -1]
            return
        at = ids.index(self._ui.chosen) + step
        self._ui.chosen = ids[min(max(at, 0), len(ids) - 1)]

    def _meant(self) -> Row | None:
        """The chosen task, or the only one there is."""
        unfinished = self._board.running + self._board.waiting
        if self._ui.chosen is None and unfinished == 1:
            self._ui.chosen = next(self._board.unfinished()).task.id
        if self._ui.chosen is None and unfinished:
            self._ui.remark = CHOOSE_FIRST
        return None if self._ui.chosen is None else self._board.rows[self._ui.chosen]

    def _cancel(self) -> None:
        row = self._meant()
        if row is None:
            return
        if isinstance(row.task.state, Queued):
            self._actions.cancel([row.task.id])
        else:
            self._ui.mode = Mode.ASK

    def _answer(self, key: str) -> None:
        self._ui.mode = Mode.TABLE
        if key in ("y", "Y") and self._ui.chosen is not None:
            self._actions.cancel([self._ui.chosen])

    def _hold(self) -> None:
        self._ui.held = not self._ui.held
        self._actions.hold(self._ui.held)

    def _details(self) -> None:
        if self._meant() is not None:
            self._ui.mode = Mode.DETAILS

    def _edit(self, key: str) -> None:
        ui = self._ui
        match key:
            case "enter":
                prompt = ui.text.strip()
                self._close_editor()
                if prompt:
                    self._actions.add(prompt)
            case "escape":
                self._close_editor()
            case _ if len(key) == 1:
                self._insert(key)
            case _:
                edit(ui, key)

    def _close_editor(self) -> None:
        self._ui.mode, self._ui.text, self._ui.cursor = Mode.TABLE, "", 0


def edit(ui: Ui, key: str) -> None:
    """Move or delete by what a person sees as one sign."""
    before, after = left_of(ui.text, ui.cursor), right_of(ui.text, ui.cursor)
    match key:
        case "left":
            ui.cursor = before
        case "right":
            ui.cursor = after
        case "home":
            ui.cursor = 0
        case "end":
            ui.cursor = len(ui.text)
        case "backspace":
            _erase(ui, before, ui.cursor)
        case "delete":
            _erase(ui, ui.cursor, after)
        case "line":
            _erase(ui, 0, ui.cursor)
        case "word":
            _erase(ui, ui.text[: ui.cursor].rstrip().rfind(" ") + 1, ui.cursor)
        case _:
            pass


def _erase(ui: Ui, start: int, end: int) -> None:
    ui.text, ui.cursor = ui.text[:start] + ui.text[end:], start


def left_of(text: str, cursor: int) -> int:
    at = max(0, cursor - 1)
    while at and clings(text, at):
        at -= 1
    return at


def right_of(text: str, cursor: int) -> int:
    at = min(len(text), cursor + 1)
    while at < len(text) and clings(text, at):
        at += 1
    return at
