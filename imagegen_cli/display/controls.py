"""What keys do: the focus, the chosen task, the open question, the typed text. No terminal.

Letters act only while the table has the focus. Without it they were typed ahead for the shell, and they are dropped: a
terminal's input cannot be read without removing it, and today's kernels refuse to put it back.

People use tab and arrow keys in a shell too. So a letter, a paste or an answer that may spend, pause or cancel needs a
moment without keys before it: a command line that is being typed has none, a person who reads the table makes one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from imagegen_cli.core.language import Message
from imagegen_cli.core.task import Cancelled, Failed, TaskId, may_be_paid
from imagegen_cli.core.text import joins_previous
from imagegen_cli.display.board import Board, Row, can_be_fetched
from imagegen_cli.display.key_commands import (
    Add,
    Cancel,
    CancelWaiting,
    Concurrency,
    Drain,
    Keys,
    KeyTaker,
    Offer,
    OpenFolder,
    OpenPicture,
    Outcome,
    Pause,
    PromptLine,
    Retry,
    Stop,
    Typed,
)
from imagegen_cli.display.keys import Key, Paste, named, narrow
from imagegen_cli.display.messages import WORDS
from imagegen_cli.display.selection import ids_in_order, matching

Press = Callable[[], None]
Copy = Callable[[str], str]
"""Puts a text onto the clipboard; returns what to say about it."""
CHOOSE_FIRST = Message("choose a task with up/down first")
HAS_ENDED = Message("task {id} has ended: nothing is left to cancel")
NONE_WAITS = Message("no task waits any more: nothing is left to cancel")
NOT_TO_REPEAT = Message("task {id} is {state}: only one that failed or was not sent can be sent again")
TO_FETCH = Message("task {id} can be fetched without paying again: imagegen resume {id}")
MAY_BE_PAID = Message("task {id} may be made and billed already: imagegen show {id} says what to do")
NO_PICTURE = Message("task {id} has no picture on this disk")
NOT_KNOWN = Message("how many tasks {provider} takes at a time is not known")
NO_LIMIT = Message("{provider} has no limit")
AT_ONCE = Message("{provider}: {limit} at a time, until this run ends")
TURNS = frozenset({"tab", "up", "down", "left", "right"})
"""Keys that give the table the focus."""
ANSWERS = frozenset("yYwnN")
YESES = frozenset("yYw")
SENDING = frozenset({"a", " ", "r"})
"""Keys without a meaning once nothing more is sent."""
IDLE_S = 10.0
REMARK_S = 3.0
"""A remark about a key fades after so long."""
TYPING_S = 60.0
"""The table loses the focus after so long without a key. The time is longer while a prompt is typed, because an input
method sends nothing while it composes a phrase."""
BLIND_S = 2.0
"""A tab or an arrow that follows a letter within this time was typed for the shell, like the letter."""
QUIET_S = 1.2
"""A key is meant for the table if no key came for this long before it: people type command lines faster."""
TAB_FIRST = Message("not used: wait {seconds} s, press tab, wait again, then paste").format(seconds=round(BLIND_S))
TAB_LATER = Message("tab came too soon after other keys: press it again in {seconds} s").format(seconds=round(BLIND_S))
TOO_SOON = Message("{key} came too soon after another key: press it again in a moment")
PASTE_SOON = Message("not used, it came too soon after another key: paste again in a moment")
SOON_ANSWERED = Message("nothing done, the answer came too soon: ask again, then read before you answer")
ENTER_SOON = Message("nothing added yet: wait a moment, read it, then press enter")
HELD = Message("not sent, its first keys may be missing: read it, then press enter")
PASTE_OVER = Message("not used: close this first, then paste again")
LIST_ONLY = Message("not used: enter adds the list, tab makes one prompt of it, esc leaves it")
MAX_PASTED_LINES, MAX_PASTED_CHARACTERS = 1000, 250_000
"""What one key may bring: all of it is read and priced between two looks at the service."""
TOO_MANY_LINES = Message(
    "not used: {count:,} lines are more than {limit:,}; save them as a file, then: imagegen batch FILE"
)
TOO_MANY_CHARACTERS = Message(
    "not used: {count:,} characters are more than {limit:,}; save them as a file, then: imagegen batch FILE"
)
LISTS = ("[", "{", "#", "＃")
"""First characters of a pasted line that may be JSON or a comment, so the text is read as a list."""


class Mode(Enum):
    TABLE = "table"
    ASK = "ask"
    EDIT = "edit"
    LINES = "lines"
    FILTER = "filter"
    DETAILS = "details"
    HELP = "help"
    SIGNS = "signs"


TYPING = frozenset({Mode.EDIT, Mode.LINES})
CLOSED_BY_ANY = frozenset({Mode.DETAILS, Mode.HELP, Mode.SIGNS})


class Question(Enum):
    """Asked before something is cancelled, ended or paid.

    It is about the chosen task, all waiting tasks, the whole run, a prompt line where nothing runs, or a dear prompt.
    """

    TASK = "task"
    RETRY = "retry"
    WAITING = "waiting"
    STOP = "stop"
    END = "end"
    SEND = "send"


@dataclass(slots=True)
class Ui:
    """`keys`: there is a keyboard. `focus`: letters act. `cursor` counts characters of `text`, which is being typed.

    `listed`: the text was pasted as a list and is read as one. `outcome`: what the enter key would do with the text.
    `unsent`: text that was still open when the run began to stop. `remark`: about the last key, until the next one, and
    for REMARK_S. `filter`: words that the shown tasks have. `page`: rows that a page key moves by. `taker`: what takes
    the keys first. `line`: the prompt line that stays open, `at_line` whether keys go there. `choices`: those of its
    tab key, of which the one at `choice` is in the text.
    """

    keys: bool = False
    offer: Offer = field(default_factory=Offer)
    focus: bool = False
    mode: Mode = Mode.TABLE
    question: Question = Question.TASK
    chosen: TaskId | None = None
    paused: bool = False
    draining: bool = False
    remark: str = ""
    text: str = ""
    cursor: int = 0
    listed: bool = False
    outcome: Outcome = field(default_factory=Outcome)
    unsent: str = ""
    filter: str = ""
    page: int = 10
    taker: KeyTaker | None = None
    line: PromptLine | None = None
    at_line: bool = False
    choices: tuple[str, ...] = ()
    choice: int = -1


def _not_copied(_text: str) -> str:
    return Message("there is no clipboard")


class Controls:
    """Turns keys into changes of `ui` and into commands. Moments are seconds of a clock that never goes back."""

    def __init__(self, board: Board, keys: Keys, ui: Ui, copy: Copy = _not_copied) -> None:
        self._board = board
        self._copy = copy
        self._send = keys.send
        self._outcome_of = keys.outcome_of
        self._ui = ui
        self._pressed_at = self._blind_until = float("-inf")
        self._quiet, self._unread, self._held = True, False, False
        self._stray_until = self._reads_from = float("-inf")
        self._stray_is_letter = False
        self._remark_at = float("-inf")
        ui.offer, ui.taker = keys.offer, keys.taker
        ui.focus = ui.offer.keeps
        self._moves: dict[str, Press] = {
            "up": lambda: self._choose(-1),
            "down": lambda: self._choose(1),
            "pageup": lambda: self._choose(-ui.page),
            "pagedown": lambda: self._choose(ui.page),
            "home": lambda: self._choose_end(0),
            "end": lambda: self._choose_end(-1),
        }
        self._table: dict[str, Press] = {
            **self._moves,
            "tab": lambda: self._choose(0),
            "k": self._moves["up"],
            "j": self._moves["down"],
            "g": self._moves["home"],
            "G": self._moves["end"],
            "escape": self._escape,
            "/": lambda: self._open(Mode.FILTER),
            "c": self._cancel,
            "x": self._cancel_waiting,
            "r": self._retry,
            "+": lambda: self._change_concurrency(1),
            "-": lambda: self._change_concurrency(-1),
            " ": self._pause,
            "o": self._open_picture,
            "y": self._copy_path,
            "a": lambda: self._open(Mode.EDIT),
            "enter": self._details,
            "q": self._quit,
            "?": lambda: self._open(Mode.HELP),
        }

    def press(self, key: Key, now: float) -> None:
        ui = self._ui
        self.settle(now)
        self._quiet = now - self._pressed_at >= QUIET_S
        self._unread = self._unread and now - self._reads_from < QUIET_S
        if key != "enter":
            self._reads_from = now
        self._pressed_at = self._remark_at = now
        ui.remark = ""
        text = ui.text
        if ui.taker is None or ui.mode is not Mode.TABLE or not ui.taker.press(key, now):
            self._pressed(key)
        self._follow(key, text)

    def miss(self, now: float) -> None:
        """Be told that keys were dropped: the rest of their line may follow."""
        self._stray_until, self._stray_is_letter = max(self._stray_until, now + QUIET_S), False

    def _follow(self, key: Key, before: str) -> None:
        """Hold back a line whose first keys may have gone elsewhere: dropped, or taken as keys that act.

        Such a line reads like one that was meant, so the next enter key sends nothing, and the person reads it first.
        """
        ui, now = self._ui, self._pressed_at
        if now < self._stray_until:
            self._stray_until = max(self._stray_until, now + QUIET_S)
        if not (isinstance(key, Paste) or len(key) == 1):
            pass
        elif ui.text == before:
            self._stray_until = max(self._stray_until, now + QUIET_S)
            self._stray_is_letter = isinstance(key, str) and key.isascii()
            self._held = self._held or ui.mode is Mode.LINES
        elif now < self._stray_until:
            self._held = self._held or not (self._stray_is_letter and is_apart(key))
            self._stray_until = float("-inf")
        self._held = self._held and bool(ui.text)

    def _must_be_read(self) -> bool:
        """Whether the enter key comes too soon for the text; says so. Pressing it again makes the wait no longer."""
        if self._held:
            self._held, self._unread = False, True
            self._reads_from = self._pressed_at
            self._ui.remark = HELD
        elif self._unread:
            self._ui.remark = ENTER_SOON
        return self._unread

    def _pressed(self, key: Key) -> None:
        ui = self._ui
        if not ui.focus:
            self._blindly(key)
        elif ui.mode is Mode.FILTER:
            self._filter(key)
        elif isinstance(key, Paste):
            self._paste(key)
        elif ui.mode is Mode.TABLE:
            self._act(narrow(key))
        elif ui.mode is Mode.ASK:
            self._answer(narrow(key))
        elif ui.mode in TYPING:
            self._type(key)
        else:
            self._close(key)

    def _close(self, key: Key) -> None:
        """Any key closes what lies over the table, but the one for help turns to its second page."""
        ui = self._ui
        is_first_page = ui.mode is Mode.HELP and isinstance(key, str) and narrow(key) == "?"
        ui.mode = Mode.SIGNS if is_first_page else Mode.TABLE

    def settle(self, now: float) -> bool:
        """Close what is over and take the focus away in time. Returns whether the screen changes."""
        ui = self._ui
        before = (ui.focus, ui.mode, ui.chosen, ui.remark)
        ui.draining = ui.draining or bool(self._board.budget)
        if self._board.stopping or ui.draining:
            self._add_no_more()
        if ui.chosen not in self._board.rows:
            ui.chosen = None
        if self._moot():
            self._say_over(now)
            ui.mode = Mode.TABLE
        if now - self._remark_at >= REMARK_S:
            ui.remark = ""
        if now - self._pressed_at >= (TYPING_S if ui.mode in TYPING else IDLE_S) and not ui.offer.keeps:
            ui.remark = ""
            self.leave()
        return before != (ui.focus, ui.mode, ui.chosen, ui.remark)

    def _say_over(self, now: float) -> None:
        """Say why a question is gone before it was answered."""
        ui = self._ui
        if ui.mode is Mode.ASK and not self._board.stopping and ui.question is Question.TASK and ui.chosen is not None:
            ui.remark, self._remark_at = HAS_ENDED.format(id=ui.chosen), now
        elif ui.mode is Mode.ASK and not self._board.stopping and ui.question is Question.WAITING:
            ui.remark, self._remark_at = NONE_WAITS, now

    def leave(self) -> None:
        """Take the focus away. Typed text and open details stay; an open question counts as answered with no."""
        ui = self._ui
        ui.focus = ui.offer.keeps
        if ui.mode is not Mode.DETAILS:
            ui.chosen = None
        if not ui.focus and ui.mode is Mode.FILTER:
            ui.mode = Mode.TABLE
        if not ui.focus and (ui.mode is Mode.ASK or (ui.mode in TYPING and not ui.text.strip())):
            self._close_editor()

    # Without the focus

    def _blindly(self, key: Key) -> None:
        """Handle a key that may have been typed for the shell: nothing is spent, paused or cancelled."""
        ui, now = self._ui, self._pressed_at
        if ui.mode in CLOSED_BY_ANY:
            self._close(key)
            ui.chosen = None
            ui.remark = TAB_FIRST if isinstance(key, Paste) and "a" not in ui.offer.without else ""
        elif isinstance(key, str) and key in TURNS and now >= self._blind_until:
            self._turn(key)
        elif isinstance(key, str) and narrow(key) == "?" and ui.mode is Mode.TABLE:
            self._open(Mode.HELP)
        elif key == "tab":
            self._blind_until = now + BLIND_S
            ui.remark = TAB_LATER
        else:
            self._blind_until = now + BLIND_S
            ui.remark = TAB_FIRST if isinstance(key, Paste) and "a" not in ui.offer.without else ""

    def _escape(self) -> None:
        """Clear the filter first; the next escape takes the focus away."""
        if self._ui.filter:
            self._ui.filter = ""
        else:
            self.leave()

    def _turn(self, key: str) -> None:
        self._ui.focus = True
        if self._ui.mode is Mode.TABLE:
            self._choose(-1 if key == "up" else 1)

    # The table

    def _act(self, key: str) -> None:
        """A letter without a meaning here was typed for the shell, and so are the keys that follow it."""
        if key in self._ui.offer.without:
            return
        if key in SENDING and not self._quiet:
            self._ui.remark = TOO_SOON.format(key=named(key))
        elif key in self._table:
            self._table[key]()
        elif len(key) == 1:
            self._mistaken()

    def _mistaken(self) -> None:
        if not self._ui.offer.keeps:
            self.leave()
            self._blind_until = self._pressed_at + BLIND_S

    def _open(self, mode: Mode) -> None:
        self._ui.mode = mode

    def _choose(self, step: int) -> None:
        """Move the choice. The first step goes to an unfinished task, where there is one."""
        ids, ended = ids_in_order(self._board, self._ui.filter)
        if not ids:
            return
        if self._ui.chosen is None or self._ui.chosen not in ids:
            is_any_open = ended < len(ids)
            self._ui.chosen = ids[-1 if step < 0 or not is_any_open else ended]
            return
        at = ids.index(self._ui.chosen) + step
        self._ui.chosen = ids[min(max(at, 0), len(ids) - 1)]

    def _choose_end(self, at: int) -> None:
        ids, _ = ids_in_order(self._board, self._ui.filter)
        self._ui.chosen = ids[at] if ids else None

    def _meant(self) -> Row | None:
        """The row of the chosen task, or of the only unfinished one."""
        unfinished = self._board.running + self._board.waiting
        if self._ui.chosen is None and unfinished == 1:
            self._ui.chosen = next(self._board.unfinished()).task.id
        if self._ui.chosen is None and self._board.rows:
            self._ui.remark = CHOOSE_FIRST
        return None if self._ui.chosen is None else self._board.rows[self._ui.chosen]

    def _pause(self) -> None:
        """Let an account that was out of credits go on, too: its tasks were held back without this key."""
        waited = self._board.forget_pauses()
        self._ui.paused = not (self._ui.paused or waited)
        self._send(Pause(self._ui.paused))

    def _details(self) -> None:
        if self._meant() is not None:
            self._ui.mode = Mode.DETAILS

    def _chosen_path(self) -> str:
        """The first picture of the chosen task; empty where there is none."""
        row = self._board.rows.get(self._ui.chosen) if self._ui.chosen is not None else None
        return next(iter(row.task.files), "") if row is not None else ""

    def _open_picture(self) -> None:
        """Open the picture of the chosen task; the folder, where it has none or none is chosen."""
        path = self._chosen_path()
        self._send(OpenPicture(path) if path else OpenFolder())

    def _copy_path(self) -> None:
        if path := self._chosen_path():
            self._ui.remark = self._copy(path)
        elif self._ui.chosen is None:
            self._ui.remark = CHOOSE_FIRST
        else:
            self._ui.remark = NO_PICTURE.format(id=self._ui.chosen)

    def _change_concurrency(self, step: int) -> None:
        """For the provider of the chosen task, or the only provider of the run."""
        ui, lanes = self._ui, self._board.lanes
        row = self._board.rows.get(ui.chosen) if ui.chosen is not None else None
        if row is None and len(lanes) != 1:
            ui.remark = CHOOSE_FIRST
            return
        provider = row.task.request.provider if row is not None else next(iter(lanes))
        lane = lanes.get(provider)
        if lane is None:
            ui.remark = NOT_KNOWN.format(provider=provider)
            return
        if lane.limit is None and step > 0:
            ui.remark = NO_LIMIT.format(provider=provider)
            return
        now = self._board.at_service[provider] if lane.limit is None else lane.limit
        limit = max(1, now + step)
        ui.remark = AT_ONCE.format(provider=provider, limit=limit)
        self._send(Concurrency(provider, limit))

    # With a question first

    def _cancel(self) -> None:
        row = self._meant()
        if row is not None and row.ended is not None:
            self._ui.remark = HAS_ENDED.format(id=row.task.id)
        elif row is not None:
            self._ask(Question.TASK)

    def _retry(self) -> None:
        row = self._board.rows.get(self._ui.chosen) if self._ui.chosen is not None else None
        if row is None:
            self._ui.remark = CHOOSE_FIRST
        else:
            self._ui.remark = why_not_again(row)
            if not self._ui.remark:
                self._ask(Question.RETRY)

    def _cancel_waiting(self) -> None:
        if self._board.waiting:
            self._ask(Question.WAITING)

    def _quit(self) -> None:
        if self._ui.offer.leaves or not (self._board.running or self._board.waiting):
            self._send(Stop())
        else:
            self._ask(Question.STOP)

    def _ask(self, question: Question) -> None:
        self._ui.mode, self._ui.question = Mode.ASK, question

    def _answer(self, key: str) -> None:
        """A yes that comes too fast after the question only closes it: no person can have read the question."""
        ui = self._ui
        ui.mode = Mode.TABLE
        if key in YESES and not self._quiet:
            ui.remark = SOON_ANSWERED
            return
        match key, ui.question:
            case (("y" | "Y"), Question.TASK) if ui.chosen is not None:
                self._send(Cancel((ui.chosen,)))
            case (("y" | "Y"), Question.RETRY) if ui.chosen is not None:
                self._send(Retry((ui.chosen,)))
            case (("y" | "Y"), Question.WAITING):
                self._send(CancelWaiting())
            case (("y" | "Y"), Question.STOP):
                self._send(Stop())
            case "w", Question.STOP if not ui.draining and self._board.running:
                self._drain()
            case _ if len(key) == 1 and key not in ANSWERS and key not in self._table:
                self._mistaken()
            case _:
                pass

    def _drain(self) -> None:
        self._ui.draining, self._ui.paused = True, False
        self._add_no_more()
        self._send(Drain())

    def _moot(self) -> bool:
        """Whether the open question or the open details are about something that is over."""
        ui, board = self._ui, self._board
        if ui.mode is Mode.DETAILS:
            return ui.chosen is None
        if ui.mode is not Mode.ASK:
            return False
        row = board.rows.get(ui.chosen) if ui.chosen is not None else None
        gone = {
            Question.TASK: row is None or row.ended is not None,
            Question.RETRY: row is None or row.ended is None or ui.draining,
            Question.WAITING: not board.waiting,
            Question.STOP: not (board.running or board.waiting),
            Question.END: ui.draining,
            Question.SEND: ui.draining,
        }
        return (bool(board.stopping) and not ui.offer.leaves) or gone[ui.question]

    # The filter

    def _filter(self, key: Key) -> None:
        """Every letter narrows what is shown; the enter key keeps the filter, escape clears it."""
        ui = self._ui
        if isinstance(key, Paste):
            ui.filter += key.on_one_line.strip()
        elif key == "enter":
            ui.mode = Mode.TABLE
        elif key == "escape" or (key == "backspace" and not ui.filter):
            ui.mode, ui.filter = Mode.TABLE, ""
        elif key == "backspace":
            ui.filter = ui.filter[: left_of(ui.filter, len(ui.filter))]
        elif key == "line":
            ui.filter = ""
        elif key in self._moves:
            self._moves[key]()
        elif len(key) == 1:
            ui.filter += key
        self._keep_choice()

    def _keep_choice(self) -> None:
        """Choose the first task that the filter leaves, where it hides the chosen one."""
        row = self._board.rows.get(self._ui.chosen) if self._ui.chosen is not None else None
        if row is None or next(matching([row], self._ui.filter), None) is None:
            self._ui.chosen = None
            self._choose(0)

    # Typing

    def _type(self, key: str) -> None:
        ui = self._ui
        match key:
            case "enter":
                self._enter()
            case "escape":
                self._close_editor()
            case "tab" if ui.mode is Mode.LINES:
                self._put(" ".join(lines_of(ui.text)), listed=False)
                self._held, self._stray_until = False, float("-inf")  # what was not used before it is plain to see
            case _ if ui.mode is Mode.LINES:
                pass  # several lines can only be added, or joined to one
            case _ if len(key) == 1:
                self._insert(key)
            case _:
                edit(ui, key)
                self._foresee()

    def _enter(self) -> None:
        """Text that would be refused stays, to be corrected; text that was pasted a moment ago stays, to be read."""
        ui = self._ui
        typed = Typed(ui.text.strip(), listed=ui.listed)
        if typed.text and self._must_be_read():
            return
        if not typed.text or ui.outcome.good:
            self._close_editor()
            if typed.text:
                self._send(Add(typed))

    def _paste(self, paste: Paste) -> None:
        """A paste begins a prompt if none is being typed. Nothing is sent before a later enter key."""
        ui = self._ui
        begins = ui.mode is Mode.TABLE
        whole = ui.text[: ui.cursor] + paste.text + ui.text[ui.cursor :]
        if refusal := why_too_long(whole):
            ui.remark = refusal
            return
        if begins and paste.text.strip() and not ui.offer.without & {"a"}:
            if not self._quiet:
                ui.remark = PASTE_SOON
                return
            self._open(Mode.EDIT)
        if ui.mode not in TYPING:
            ui.remark = PASTE_OVER if ui.mode in CLOSED_BY_ANY else ""
            return
        if begins or not paste.phrase:
            self._unread = True
        begins_list = not ui.text.strip() and paste.text.lstrip().startswith(LISTS)
        if len(lines_of(whole)) > 1 or ui.listed or begins_list:
            self._put(whole, listed=True)
        else:
            self._insert(replace(paste, text=paste.text.strip("\n")).on_one_line)

    def _insert(self, text: str) -> None:
        ui = self._ui
        ui.text = ui.text[: ui.cursor] + text + ui.text[ui.cursor :]
        ui.cursor += len(text)
        self._foresee()

    def _put(self, text: str, *, listed: bool) -> None:
        self._ui.text, self._ui.cursor, self._ui.listed = text, len(text), listed
        self._foresee()

    def _foresee(self) -> None:
        ui = self._ui
        ui.mode = Mode.LINES if ui.listed else Mode.EDIT
        ui.outcome = self._foreseen()

    def _foreseen(self) -> Outcome:
        """What the enter key would do with the text. Computed once a key: a pasted list is read and priced for it."""
        typed = Typed(self._ui.text.strip(), listed=self._ui.listed)
        return self._outcome_of(typed) if typed.text else Outcome()

    def _add_no_more(self) -> None:
        ui = self._ui
        over = SENDING | frozenset("q" if self._board.stopping and not ui.offer.leaves else "")
        ui.offer = ui.offer._replace(without=ui.offer.without | over)
        if ui.mode in TYPING:
            ui.unsent = ui.text.strip()
            self._close_editor()

    def _close_editor(self) -> None:
        ui = self._ui
        ui.mode, ui.text, ui.cursor, ui.listed, ui.outcome = Mode.TABLE, "", 0, False, Outcome()


def why_not_again(row: Row) -> str:
    """Why a key cannot send the task of a row again; empty where it can. It must be certain that nothing is paid."""
    task, state = row.task, row.task.state
    if can_be_fetched(state):
        return TO_FETCH.format(id=task.id)
    if not isinstance(state, Failed | Cancelled):
        return NOT_TO_REPEAT.format(id=task.id, state=WORDS[type(state)])
    return MAY_BE_PAID.format(id=task.id) if may_be_paid(state) else ""


def why_too_long(text: str) -> str:
    """Why a text is more than one key may bring; empty where it is not."""
    lines = text.strip().count("\n") + 1
    if lines > MAX_PASTED_LINES:
        return TOO_MANY_LINES.format(count=lines, limit=MAX_PASTED_LINES)
    if len(text) > MAX_PASTED_CHARACTERS:
        return TOO_MANY_CHARACTERS.format(count=len(text), limit=MAX_PASTED_CHARACTERS)
    return ""


def is_apart(key: Key) -> bool:
    """Whether this text cannot be the rest of a word whose first letter was typed: it was pasted or composed."""
    return isinstance(key, Paste) or not key.isascii()


def lines_of(text: str) -> list[str]:
    """The prompts in what was typed or pasted, a line each."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def edit(ui: Ui, key: str) -> None:
    """Move or delete by whole signs, as a person sees them."""
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
    while at and joins_previous(text, at):
        at -= 1
    return at


def right_of(text: str, cursor: int) -> int:
    at = min(len(text), cursor + 1)
    while at < len(text) and joins_previous(text, at):
        at += 1
    return at
