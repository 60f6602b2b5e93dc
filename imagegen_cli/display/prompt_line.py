"""The prompt line that stays open: editing, earlier prompts, the tab key, slash commands. No terminal.

The line has the keys from the start, because its command is there to be typed into. Escape gives them to the table, and
the next key that means nothing there gives them back, with what it types.
"""

import re
import unicodedata

from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.task_words import mean_tasks
from imagegen_cli.display.board import Board
from imagegen_cli.display.controls import (
    ANSWERS,
    CLOSED_BY_ANY,
    IDLE_S,
    LIST_ONLY,
    QUIET_S,
    SOON_ANSWERED,
    TYPING,
    YESES,
    Controls,
    Copy,
    Mode,
    Question,
    Ui,
    edit,
)
from imagegen_cli.display.key_commands import Add, Choices, Keys, Outcome, PromptLine
from imagegen_cli.display.keys import Key, Paste

WORD = re.compile(r"\w+")
HELP_COMMAND = "/help"
QUIT_COMMANDS = frozenset({"/quit", "/exit"})
MEANT_WORDS = {
    **dict.fromkeys(("quit", "exit", "q", ":q", ":qa", ":wq", ":x", "x", "bye", "logout", "close"), "/quit"),
    **dict.fromkeys(("退出", "离开", "结束", "关闭", "再见", "退出程序"), "/quit"),
    **dict.fromkeys(("help", ":h", ":help", "h", "man", "帮助", "求助"), "/help"),
}
"""What people type to leave other programs, or to get help there: alone in a line it is hardly a prompt."""
A_TASK = "task"
SENDS_WORD = {
    "/quit": Message("/quit leaves; // {word} sends it as a prompt"),
    A_TASK: Message("this reads as a task, not as a prompt; // and a blank before it send it as one"),
    "/help": Message("/help helps; // {word} sends it as a prompt"),
}
UNSEEN = re.compile("[\\s\u200b-\u200f\u2060\ufeff]*")
"""Signs before a text that no person sees: blanks of all widths, and marks of no width."""
SLASHES = ("/", "\uff0f")
ERASING = frozenset({"line", "word", "rest", "wordrest"})
"""Keys that keep what they erase for the key `yank`."""
AGAIN_STOPS = Message("Ctrl-C again stops")
TYPED_ON_S = 0.5
"""Keys of one line follow each other within this time."""
MEANT_S = 1.0
"""A Ctrl-C that follows an enter key, or a key that cleared the line, within this time was meant for that line."""
AGAIN_S = 3.0
"""A second Ctrl-C means what the remark about the first one says for so long."""
NO_CHOICES = Message("tab completes commands, which begin with /; esc lets keys act on the table")
NONE_FITS = Message("nothing fits here: /help names the commands")


class LineControls(Controls):
    """The controls of a table whose prompt line stays open until the run is to end."""

    def __init__(self, board: Board, keys: Keys, line: PromptLine, ui: Ui, copy: Copy) -> None:
        super().__init__(board, keys, ui, copy)
        self._line = line
        self._recall = Recall(line)
        self._completion: Completion | None = None
        self._killed = ""
        self._key: Key = ""
        self._cleared_at = self._interrupted_at = float("-inf")
        self._before_list = ("", 0)
        ui.line, ui.at_line = line, True
        ui.mode = Mode.EDIT

    def press(self, key: Key, now: float) -> None:
        self._key = key
        had_text = bool(self._ui.text)
        self._interrupted_at = float("-inf")
        if key not in ("tab", "backtab"):
            self._complete_no_more()
        if key == "close" and self._ui.mode is not Mode.LINES:
            self._ui.remark = ""
            self._close_or_delete(now)
        else:
            super().press(key, now)
        if key == "enter" or (had_text and not self._ui.text):
            self._cleared_at = now
        self._return()

    def settle(self, now: float) -> bool:
        """Where the keys went to the line by themselves, those for what was open before may still come."""
        mode, question = self._ui.mode, self._ui.question
        self._ask_on()
        changed = super().settle(now) or question is not self._ui.question
        if mode is Mode.TABLE and now - self._pressed_at >= IDLE_S:
            self._ui.at_line = True
        self._return()
        if mode not in TYPING and self._ui.mode in TYPING:
            self._stray_until, self._stray_is_letter = float("inf"), False
        return changed or mode is not self._ui.mode

    def _ask_on(self) -> None:
        """Ask whether to end where it was asked whether to stop, and nothing is left to stop."""
        ui, board = self._ui, self._board
        asks = ui.mode is Mode.ASK and ui.question is Question.STOP
        if asks and self._is_open and not (board.running or board.waiting or board.delayed):
            ui.question = Question.END

    def interrupt(self) -> bool:
        """Clear the typed text, as Ctrl-C does in a shell; up brings it back. Returns whether there was any."""
        ui = self._ui
        had_text = ui.mode in TYPING and bool(ui.text)
        if had_text:
            self._keep_text()
            self._complete_no_more()
            self._close_editor()
            self._return()
        return had_text

    def interrupted(self, now: float) -> bool:
        """Take the key Ctrl-C: clear the line, or say what the next one does. False: the run is to stop."""
        ui = self._ui
        self.settle(now)
        if not self._is_open:
            return False
        is_again = now - self._interrupted_at < AGAIN_S
        self._remark_at, ui.remark = now, ""
        if self.interrupt():
            self._cleared_at = now
            return True
        is_busy = bool(self._board.running or self._board.waiting or self._board.delayed)
        if is_again or not (is_busy or now - self._cleared_at < MEANT_S):
            return False
        self._uncover()
        self._interrupted_at = now
        stops = Message("Ctrl-C again stops: {tasks}").format(tasks=what_stops(self._board))
        ui.remark = stops if is_busy else AGAIN_STOPS
        return True

    def is_typed_on(self, now: float) -> bool:
        """Whether text keys came a moment ago that went nowhere, so that more of them may follow."""
        return now < self._stray_until and now - self._pressed_at < TYPED_ON_S

    @property
    def _is_open(self) -> bool:
        return not (self._board.stopping or self._ui.draining)

    def _return(self) -> None:
        """Go back to the line where a question, help or details were over it."""
        if self._ui.mode is Mode.TABLE and self._ui.at_line and self._is_open:
            self._ui.mode = Mode.LINES if self._ui.listed else Mode.EDIT

    # The table

    def _mistaken(self) -> None:
        """Give the keys back to the line, with what was typed."""
        if self._is_open:
            self._ui.mode = Mode.TABLE
            self._to_line()
            if isinstance(self._key, str) and self._key != "i":
                self._insert(self._key)

    def _open(self, mode: Mode) -> None:
        self._ui.at_line = self._ui.at_line or mode is Mode.EDIT
        super()._open(mode)

    def _to_line(self) -> None:
        self._ui.at_line = True
        self._return()

    def _close(self, key: Key) -> None:
        """A sign that closes what lies over the line begins a text, so it is typed; one for the table is as well."""
        super()._close(key)
        if isinstance(key, Paste) or len(key) > 1 or key == " " or self._ui.mode in CLOSED_BY_ANY or not self._is_open:
            return
        self._to_line()
        self._insert(key)

    def _uncover(self) -> None:
        """Close what lies over the table or the line; an open question counts as answered with no."""
        if self._ui.mode in CLOSED_BY_ANY or self._ui.mode is Mode.ASK:
            self._ui.mode = Mode.TABLE
        self._return()

    def _details(self) -> None:
        if self._ui.chosen is None and self._is_open:
            self._to_line()
        else:
            super()._details()

    def leave(self) -> None:
        """Escape in the table goes back to the line."""
        super().leave()
        if self._ui.mode is Mode.TABLE:
            self._to_line()

    def _quit(self) -> None:
        """End in good order: at once where nothing is unfinished, but a letter in the table may begin a prompt."""
        if self._board.running or self._board.waiting or self._board.delayed:
            self._ask(Question.STOP)
        elif self._key == "close" or self._ui.at_line:
            self._drain()
        else:
            self._ask(Question.END)

    def _answer(self, key: str) -> None:
        if self._ui.question is Question.END:
            self._answer_end(key)
            return
        if self._ui.question is not Question.SEND:
            if self._ui.at_line and len(key) == 1 and key not in ANSWERS:
                self._mistaken()
            else:
                super()._answer(key)
            return
        self._foresee()
        if key in YESES and not self._quiet:
            self._ui.remark = SOON_ANSWERED
        elif key in ("y", "Y") and self._ui.outcome.good:
            self._add()

    def _answer_end(self, key: str) -> None:
        self._ui.mode = Mode.TABLE
        if key in YESES and not self._quiet:
            self._ui.remark = SOON_ANSWERED
        elif key in ("y", "Y"):
            self._drain()
        elif len(key) == 1 and key not in ANSWERS:
            self._mistaken()

    # The line

    def _close_or_delete(self, now: float) -> None:
        """Ctrl-D: on an empty line the end of the input, else the sign under the cursor, as in a shell."""
        self.settle(now)
        self._quiet, self._pressed_at = now - self._pressed_at >= QUIET_S, now
        if self._ui.mode is Mode.EDIT and self._ui.text:
            edit(self._ui, "delete")
            self._foresee()
        else:
            self._quit()

    def _type(self, key: str) -> None:
        if self._ui.mode is Mode.LINES:
            self._type_at_list(key)
        elif key in ("up", "down"):
            self._put_earlier(1 if key == "up" else -1)
        elif key in ("tab", "backtab"):
            self._complete(1 if key == "tab" else -1)
        elif key == "escape":
            self._ui.at_line, self._ui.mode = False, Mode.TABLE
        elif key == "enter" or len(key) == 1:
            super()._type(key)
        else:
            self._edit(key)

    def _type_at_list(self, key: str) -> None:
        """Escape leaves what was pasted, and keeps what was typed before it."""
        if key in ("up", "down") and self._recall.is_away:
            self._put_earlier(1 if key == "up" else -1)
        elif key == "escape":
            self._keep_text()
            self._close_editor()
            (self._ui.text, self._ui.cursor), self._before_list = self._before_list, ("", 0)
            self._foresee()
        else:
            super()._type(key)
            self._ui.remark = LIST_ONLY if len(key) == 1 else self._ui.remark

    def _paste(self, paste: Paste) -> None:
        self._uncover()
        ui = self._ui
        before, was_listed = (ui.text, ui.cursor), ui.listed
        super()._paste(paste)
        if ui.listed and not was_listed:
            self._before_list = before

    def _keep_text(self) -> None:
        """Let up bring back what is about to be cleared."""
        ui = self._ui
        if ui.text.strip():
            self._recall.keep(ui.text.strip(), listed=ui.listed)

    def _edit(self, key: str) -> None:
        ui = self._ui
        text, cursor = ui.text, ui.cursor
        match key:
            case "yank":
                self._insert(self._killed)
            case "rest":
                ui.text = text[:cursor]
            case "wordleft":
                ui.cursor = word_before(text, cursor)
            case "wordright":
                ui.cursor = word_after(text, cursor)
            case "wordrest":
                ui.text = text[:cursor] + text[word_after(text, cursor) :]
            case _:
                edit(ui, key.removeprefix("sign"))
        if key in ERASING and len(text) > len(ui.text):
            self._killed = text[ui.cursor : ui.cursor + len(text) - len(ui.text)]
        self._foresee()

    def _enter(self) -> None:
        """Send nothing that was pasted a moment ago, would be refused, or is to be asked about."""
        ui = self._ui
        if not to_send(ui):
            return
        self._foresee()
        if self._must_be_read():
            return
        if is_command(ui.text) and not ui.listed:
            self._obey(to_send(ui))
        elif ui.outcome.good and ui.outcome.asks:
            self._ask(Question.SEND)
        elif ui.outcome.good:
            self._add()

    def _add(self) -> None:
        ui = self._ui
        if not ui.listed:
            self._recall.keep(ui.text.strip())
        add = Add(self._line.typed(to_send(ui), listed=ui.listed))
        self._close_editor()
        self._send(add)

    def _obey(self, command: str) -> None:
        """A refused command stays, to be corrected; the line above it says why it is refused."""
        word = command.split(maxsplit=1)[0].lower()
        if word in QUIT_COMMANDS:
            self._close_editor()
            self._quit()
            return
        if word == HELP_COMMAND:
            self._close_editor()
            self._open(Mode.HELP)
            return
        outcome = self._line.obey(command)
        if outcome.good:
            self._recall.keep(command)
            self._close_editor()
        else:
            self._ui.outcome = outcome

    def _foresee(self) -> None:
        ui = self._ui
        if not ui.listed and is_command(ui.text):
            ui.mode = Mode.EDIT
            command = to_send(ui)
            word = command.split(maxsplit=1)[0].lower()
            ends = Message("ends in good order")
            own = {HELP_COMMAND: Message("shows the commands and keys"), **dict.fromkeys(QUIT_COMMANDS, ends)}
            ui.outcome = Outcome(words=(own[word],)) if word in own else self._line.foresee(command)
            return
        super()._foresee()

    def _foreseen(self) -> Outcome:
        ui = self._ui
        if meant := "" if ui.listed else meant_command(ui.text):
            return Outcome(words=(SENDS_WORD[meant].format(word=ui.text.strip()),), good=False)
        text = to_send(ui)
        return self._outcome_of(self._line.typed(text, listed=ui.listed)) if text else Outcome()

    def _put_earlier(self, step: int) -> None:
        found = self._recall.move(step, self._ui.text)
        if found is not None:
            self._put(found, listed=self._recall.is_list(found))

    # The tab key

    def _complete(self, step: int) -> None:
        """The first tab puts in what all choices share and shows them; the next ones put in one after the other."""
        ui = self._ui
        if self._completion is not None:
            choices = self._completion.choices
            self._replace(self._completion.turn(step))
        else:
            if is_command(ui.text):
                self._drop_first_blanks()
            before = ui.text[: ui.cursor]
            choices = self._line.choices(as_command(before))
            if not choices.words:
                ui.remark = NONE_FITS if is_command(ui.text) else NO_CHOICES
                return
            self._completion = Completion(choices, ui.text[ui.cursor :])
            shared = self._completion.shared
            if len(choices.words) == 1 or len(shared) > len(before) - choices.start:
                self._replace(shared)
                if len(choices.words) == 1:
                    self._complete_no_more()
                    return
        ui.choices, ui.choice = tuple(choices.shown or choices.words), self._completion.at

    def _drop_first_blanks(self) -> None:
        """Choices are put in place of what follows the first sign of a command."""
        ui = self._ui
        blanks = len(unseen(ui.text))
        ui.text, ui.cursor = ui.text[blanks:], max(0, ui.cursor - blanks)

    def _replace(self, word: str) -> None:
        ui, completion = self._ui, self._completion
        if completion is not None:
            ui.text = ui.text[: completion.choices.start] + word + completion.after
            ui.cursor = completion.choices.start + len(word)
            self._foresee()

    def _complete_no_more(self) -> None:
        self._completion = None
        self._ui.choices, self._ui.choice = (), -1


class Completion:
    """The choices of one tab key; `at` is the one in the text, -1 before the second tab."""

    def __init__(self, choices: Choices, after: str) -> None:
        self.choices = choices
        self.after = after
        self.at = -1

    @property
    def shared(self) -> str:
        """What all choices begin with; a single choice is whole, with a blank behind it unless it is a folder."""
        words = self.choices.words
        first, last = min(words), max(words)
        shared = first[: next((at for at, sign in enumerate(first) if sign != last[at]), len(first))]
        return f"{shared} " if len(words) == 1 and not shared.endswith("/") else shared

    def turn(self, step: int) -> str:
        count = len(self.choices.words)
        self.at = (self.at + step) % count if self.at >= 0 else (0 if step > 0 else count - 1)
        return self.choices.words[self.at]


class Recall:
    """Earlier prompts: those of this line, also its commands, then those of the history, which are read one by one."""

    def __init__(self, line: PromptLine) -> None:
        self._line = line
        self._own: list[str] = []
        self._read: list[str] = []
        self._lists: set[str] = set()
        self._is_whole = False
        self._at = 0
        self._draft = ""

    @property
    def is_away(self) -> bool:
        """Whether the line holds an earlier text."""
        return self._at > 0

    def is_list(self, text: str) -> bool:
        return text in self._lists

    def keep(self, text: str, *, listed: bool = False) -> None:
        self._own = [text, *(other for other in self._own if other != text)]
        if listed:
            self._lists.add(text)
        self.leave()

    def leave(self) -> None:
        self._at, self._draft = 0, ""

    def move(self, step: int, text: str) -> str | None:
        """One step back (1) or forward (-1) from `text`; None where there is nothing. Place 0 is what was not sent."""
        if self._at == 0:
            self._draft = text
        at = self._at + step
        found = self._draft if at == 0 else self._entry(at - 1) if at > 0 else None
        if found is not None:
            self._at = at
        return found

    def _entry(self, index: int) -> str | None:
        if index < len(self._own):
            return self._own[index]
        older = [text for text in self._read if text not in self._own]
        while len(older) <= index - len(self._own) and not self._is_whole:
            text = self._line.earlier(len(self._read))
            if text is None:
                self._is_whole = True
                break
            self._read.append(text)
            older += [text] if text not in self._own else []
        return older[index - len(self._own)] if index - len(self._own) < len(older) else None


def what_stops(board: Board) -> str:
    """The unfinished tasks, in words."""
    waiting = board.waiting
    parts = [Message("{count} running").format(count=board.running)] if board.running else []
    parts += [Message("{count} waiting").format(count=waiting)] if waiting else []
    return joined(", ", parts) if parts else Message("a task waits")


def is_command(text: str) -> bool:
    """Whether the text that would be sent is a command; two slashes begin a prompt that begins with one."""
    text = as_command(text)
    return text.startswith("/") and not text.startswith("//")


def as_command(text: str) -> str:
    """The text as it would be sent, with plain slashes where an input method gave its own sign for that key.

    A blank at its end stays: the tab key completes what follows it.
    """
    text = text[len(unseen(text)) :]
    if text[:1] in SLASHES and text[1:2] in SLASHES:
        return f"//{text[2:]}"
    is_meant = text[:1] in SLASHES or (text[:1] == "、" and text[1:2].isascii() and text[1:2].isalpha())
    return f"/{text[1:]}" if is_meant else text


def unseen(text: str) -> str:
    """The beginning of the text that no person sees."""
    found = UNSEEN.match(text)
    return found[0] if found else ""


def to_send(ui: Ui) -> str:
    """The typed text as it would be sent."""
    return ui.text.strip() if ui.listed else as_command(ui.text).rstrip()


def meant_command(text: str) -> str:
    """What a line means that is no prompt: `/quit` or `/help` for the word of another program, A_TASK; else empty."""
    word = unicodedata.normalize("NFKC", as_command(text)).strip().lower()
    return A_TASK if mean_tasks(word) else MEANT_WORDS.get(word.rstrip("();!。.").strip(), "")


def word_before(text: str, cursor: int) -> int:
    """Where the word before the cursor begins."""
    found = [match.start() for match in WORD.finditer(text) if match.start() < cursor]
    return found[-1] if found else 0


def word_after(text: str, cursor: int) -> int:
    """Where the word at the cursor, or the next one, ends."""
    return next((match.end() for match in WORD.finditer(text) if match.end() > cursor), len(text))
