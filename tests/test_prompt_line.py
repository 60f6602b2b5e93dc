"""The prompt line that stays open: what keys do with it, and how it is drawn at every width."""

import asyncio
from collections.abc import Sequence

import pytest

from imagegen_cli.core.events import BudgetReached, RunStopping, TaskAdded, TaskChanged
from imagegen_cli.core.task import Done, RunId, TaskId
from imagegen_cli.display.board import Board
from imagegen_cli.display.controls import (
    ENTER_SOON,
    IDLE_S,
    QUIET_S,
    SOON_ANSWERED,
    Mode,
    Question,
    Ui,
)
from imagegen_cli.display.guarded import Guarded
from imagegen_cli.display.key_commands import (
    Add,
    Cancel,
    Choices,
    Command,
    Drain,
    Keys,
    Offer,
    Outcome,
    Pause,
    Stop,
    Typed,
)
from imagegen_cli.display.keys import Key, Paste
from imagegen_cli.display.live import Live
from imagegen_cli.display.paste_detector import PasteDetector
from imagegen_cli.display.prompt_line import A_TASK, NO_CHOICES, NONE_FITS, SENDS_WORD, LineControls
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import theme_for
from imagegen_cli.display.view import draw
from tests.screen import DEADLINE, Paper
from tests.test_display_board import board_with, running, started, task

CHOICES = {"/m": ["/model"], "/": ["/model", "/more"], "/model ": ["3.0", "4.0"], "/image ": ["a b/", "猫.png"]}


class Line:
    """A prompt line whose only setting is the last command that it obeyed; `!` in a text is refused, `?` asks first."""

    def __init__(self, *earlier: str) -> None:
        self.set = ""
        self._earlier = earlier
        self.reads = 0

    def label(self) -> Sequence[str]:
        return [f"studio · {self.set}", self.set] if self.set else ["studio", ""]

    def welcome(self) -> Sequence[tuple[str, str]]:
        return [("Type what you want to see.", ""), ("", ""), ("a red fox", "enter sends it")]

    def help(self) -> Sequence[tuple[str, str]]:
        return [("/model NAME", "which model draws"), ("/quit", "ends")]

    def choices(self, before: str) -> Choices:
        found = CHOICES.get(before, [])
        return Choices(before.rfind(" ") + 1, found)

    def foresee(self, command: str) -> Outcome:
        return Outcome(words=(f"next: {command}",), good="!" not in command)

    def obey(self, command: str) -> Outcome:
        if "!" in command:
            return Outcome(words=("refused",), good=False)
        self.set = command
        return Outcome()

    def typed(self, text: str, *, listed: bool) -> Typed:
        return Typed(text, listed=listed, settings=self.set)

    def earlier(self, number: int) -> str | None:
        self.reads += 1
        return self._earlier[number] if number < len(self._earlier) else None


def foreseen(typed: Typed) -> Outcome:
    tasks = len(typed.text.splitlines()) if typed.listed else 1
    asks = "more than 2usd" if "?" in typed.text else ""
    return Outcome(tasks, ("mine 4.0", "1 picture"), good="!" not in typed.text, asks=asks)


class Desk:
    """A studio whose keys come so slowly that each is meant, unless `pace` says otherwise."""

    def __init__(self, *earlier: str, board: Board | None = None) -> None:
        self.board = board or Board()
        self.ui = Ui(keys=True)
        self.line = Line(*earlier)
        self.sent: list[Command] = []
        self.now = 1000.0
        self.pace = QUIET_S
        self.read: list[Typed] = []
        keys = Keys(self.sent.append, Offer(keeps=True), self.outcome_of, self.line)
        self.controls = LineControls(self.board, keys, self.line, self.ui, str)

    @property
    def mode(self) -> str:
        return self.ui.mode.value

    def outcome_of(self, typed: Typed) -> Outcome:
        self.read.append(typed)
        return foreseen(typed)

    def press(self, *keys: Key) -> "Desk":
        for key in keys:
            self.now += self.pace
            self.controls.press(key, self.now)
        return self

    def type(self, text: str) -> "Desk":
        return self.press(*text)

    def settle(self, seconds: float) -> None:
        self.now += seconds
        self.controls.settle(self.now)

    def drawn(self, columns: int = 80, lines: int = 24) -> list[str]:
        frame = draw(self.board, self.now, width=columns, height=lines, theme=theme_for("utf-8"), ui=self.ui)
        return ["".join(one.text for one in line if not one.control).rstrip() for line in frame.lines]


def busy() -> Desk:
    return Desk(board=board_with(started(task(1), task(2), task(3)), *running(1)))


def test_what_is_typed_is_sent_and_the_line_is_free_at_once() -> None:
    desk = Desk().type("a cat").press("enter").type("a dog").press("enter")
    assert desk.sent == [Add(Typed("a cat", settings="")), Add(Typed("a dog", settings=""))]
    assert (desk.ui.mode, desk.ui.text) == (Mode.EDIT, "")


def test_a_prompt_keeps_what_was_set_when_enter_was_pressed() -> None:
    desk = Desk().type("/ratio 16:9").press("enter").type("a cat").press("enter").type("/ratio 1:1").press("enter")
    assert desk.sent == [Add(Typed("a cat", settings="/ratio 16:9"))]
    assert desk.line.set == "/ratio 1:1"


@pytest.mark.parametrize("text", ["", "   ", "!", "a cat!"])
def test_nothing_is_sent_that_is_empty_or_would_be_refused(text: str) -> None:
    desk = Desk().type(text).press("enter")
    assert (desk.sent, desk.ui.text) == ([], text)


def test_a_refused_command_stays_to_be_corrected_and_says_why() -> None:
    desk = Desk().type("/ratio !").press("enter")
    assert desk.ui.text == "/ratio !"
    assert desk.drawn()[-2:] == ["refused", "studio > /ratio !"]


@pytest.mark.parametrize("slash", ["/", "\uff0f", "、"])
def test_the_sign_of_an_input_method_is_a_slash_too(slash: str) -> None:
    assert Desk().type(f"{slash}model 4.0").press("enter").line.set == "/model 4.0"


@pytest.mark.parametrize("before", [" ", "  ", "\u3000", "\xa0", "\u200b", "\ufeff", " \u3000"])
@pytest.mark.parametrize("slash", ["/", "\uff0f", "、"])
def test_blanks_before_a_command_make_no_prompt_of_it(before: str, slash: str) -> None:
    desk = Desk().type(f"{before}{slash}model 4.0").press("enter")
    assert (desk.sent, desk.line.set, desk.ui.text) == ([], "/model 4.0", "")


@pytest.mark.parametrize("text", ["//model 4.0", " //model 4.0", "\u3000\uff0f\uff0fmodel 4.0", "\uff0f/model 4.0"])
def test_two_slashes_begin_a_prompt_with_blanks_before_them_too(text: str) -> None:
    assert Desk().type(text).press("enter").sent == [Add(Typed("//model 4.0", settings=""))]


def test_tab_completes_behind_blanks() -> None:
    desk = Desk().type("  /m").press("tab")
    assert (desk.ui.text, desk.ui.cursor) == ("/model ", len("/model "))


@pytest.mark.parametrize(
    ("word", "command"),
    [(word, "/quit") for word in ("quit", "exit", "q", " Q ", ":q", ":wq", ":q!", "\uff1aq", "EXIT", "exit()", "退出")]
    + [(word, "/help") for word in ("help", "Help", ":help", "帮助")],
)
def test_a_word_that_leaves_another_program_is_no_prompt(word: str, command: str) -> None:
    desk = Desk().type(word).press("enter", "enter")
    assert (desk.sent, desk.ui.text, desk.mode) == ([], word, "edit")
    assert desk.ui.outcome.words[0].startswith(command)
    assert f"// {word.strip()} sends it" in desk.ui.outcome.words[0]


@pytest.mark.parametrize(
    "text", ["2", "LAST", "-1", "12/2", "1 2", "again 1", "imagegen again LAST", "edit 1 make it red"]
)
def test_what_reads_as_a_task_is_no_prompt(text: str) -> None:
    desk = Desk().type(text).press("enter", "enter")
    assert (desk.sent, desk.ui.text) == ([], text)
    assert desk.ui.outcome.words == (SENDS_WORD[A_TASK],)


def test_a_paste_that_one_key_cannot_bring_is_refused_with_the_command_for_it() -> None:
    desk = busy()
    for paste, why in (("word\n" * 80_000, "80,000 lines"), ("word " * 60_000, "300,000 characters")):
        desk.press(Paste(paste))
        assert (desk.sent, desk.ui.text, desk.mode) == ([], "", "edit")
        assert why in desk.ui.remark
        assert "imagegen batch FILE" in desk.ui.remark


def test_a_pasted_list_is_read_once_a_key() -> None:
    desk = Desk().press(Paste("a cat\na dog\n"))
    assert len(desk.read) == 1
    desk.press("enter")
    assert len(desk.read) == 2  # pressing enter makes sure that it still holds
    assert len(desk.sent) == 1


@pytest.mark.parametrize(
    ("text", "keys", "left", "cursor"),
    [
        ("a red fox", ["wordleft", "wordleft"], "a red fox", 2),
        ("a red fox", ["home", "wordright", "wordright"], "a red fox", 5),
        ("a red fox", ["wordleft", "rest"], "a red ", 6),
        ("a red fox", ["home", "wordrest"], " red fox", 0),
        ("a red fox", ["word", "home", "yank"], "foxa red ", 3),
        ("a red fox", ["line", "yank", "yank"], "a red foxa red fox", 18),
        ("a red fox", ["signleft", "signleft", "signright", "delete"], "a red fo", 8),
        ("e\u0301a", ["left", "left", "delete"], "a", 0),
        ("只猫", ["signleft", "backspace"], "猫", 0),
        ("a cat", ["home", "close"], " cat", 0),
    ],
)
def test_the_line_is_edited_as_in_a_shell(text: str, keys: list[str], left: str, cursor: int) -> None:
    desk = Desk().type(text).press(*keys)
    assert (desk.ui.text, desk.ui.cursor, desk.sent) == (left, cursor, [])


def test_earlier_prompts_come_back_and_what_was_not_sent_is_kept() -> None:
    desk = Desk("newest", "older").type("mine").press("enter").type("draft")
    seen = [desk.press("up").ui.text for _ in range(5)]
    assert seen == ["mine", "newest", "older", "older", "older"]
    assert [desk.press("down").ui.text for _ in range(4)] == ["newest", "mine", "draft", "draft"]


def test_earlier_prompts_are_read_one_by_one_and_none_twice() -> None:
    desk = Desk("mine", "older").type("mine").press("enter")
    assert desk.line.reads == 0
    assert [desk.press("up").ui.text for _ in range(2)] == ["mine", "older"]
    assert desk.line.reads == 2


def test_a_command_comes_back_as_well() -> None:
    desk = Desk().type("/model 4.0").press("enter", "up")
    assert desk.ui.text == "/model 4.0"


def test_tab_completes_shows_and_turns() -> None:
    desk = Desk().type("/").press("tab")
    assert (desk.ui.text, desk.ui.choices) == ("/mo", ("/model", "/more"))
    desk.press("tab")
    assert (desk.ui.text, desk.ui.choice) == ("/model", 0)
    assert desk.press("tab").ui.text == "/more"
    assert desk.press("tab").ui.text == "/model"
    assert desk.press("backtab").ui.text == "/more"
    desk.type("x")
    assert (desk.ui.text, desk.ui.choices) == ("/morex", ())


def test_an_only_choice_is_put_in_with_a_blank() -> None:
    assert Desk().type("/m").press("tab").ui.text == "/model "


def test_tab_completes_before_the_cursor_and_keeps_what_is_behind_it() -> None:
    desk = Desk().type("/m 4.0").press("left", "left", "left", "left", "tab")
    assert (desk.ui.text, desk.ui.cursor) == ("/model  4.0", 7)


@pytest.mark.parametrize(("text", "remark"), [("a cat", NO_CHOICES), ("/x", NONE_FITS)])
def test_tab_says_why_nothing_is_completed(text: str, remark: str) -> None:
    assert Desk().type(text).press("tab").ui.remark == remark


def test_a_paste_of_one_line_is_read_before_it_is_sent() -> None:
    desk = Desk().press(Paste("a cat"))
    desk.pace = 0.1
    assert (desk.press("enter").sent, desk.ui.remark) == ([], ENTER_SOON)
    desk.pace = QUIET_S
    assert desk.press("enter").sent == [Add(Typed("a cat", settings=""))]


def test_a_phrase_of_an_input_method_is_sent_at_once() -> None:
    desk = Desk()
    desk.pace = 0.05
    assert desk.press(Paste("一只猫", phrase=True), "enter").sent == [Add(Typed("一只猫", settings=""))]


def test_several_pasted_lines_are_a_list_and_the_line_is_free_after_it() -> None:
    desk = Desk().press(Paste("a cat\na dog"))
    assert desk.mode == "lines"
    assert "2 lines: enter adds 2 tasks" in desk.drawn()[-1]
    assert desk.press("enter").sent == [Add(Typed("a cat\na dog", listed=True, settings=""))]
    assert desk.mode == "edit"


def test_several_pasted_lines_can_be_left_or_made_one_prompt() -> None:
    desk = Desk().press(Paste("a cat\na dog"), "escape")
    assert (desk.ui.mode, desk.ui.text, desk.sent) == (Mode.EDIT, "", [])
    assert desk.press(Paste("a cat\na dog"), "tab").ui.text == "a cat a dog"


def test_what_the_settings_ask_about_is_asked_in_the_line() -> None:
    desk = Desk().type("a cat?").press("enter")
    assert (desk.sent, desk.ui.question) == ([], Question.SEND)
    assert desk.drawn()[-1] == "send 1 task? mine 4.0 · 1 picture: more than 2usd; y/n"
    assert (desk.press("n").ui.text, desk.sent, desk.ui.mode) == ("a cat?", [], Mode.EDIT)
    assert desk.press("enter", "y").sent == [Add(Typed("a cat?", settings=""))]
    assert (desk.ui.text, desk.ui.mode) == ("", Mode.EDIT)


def test_a_yes_before_the_question_can_be_read_sends_nothing() -> None:
    desk = Desk().type("a cat?").press("enter")
    desk.pace = 0.3
    assert (desk.press("y").sent, desk.ui.remark, desk.ui.text) == ([], SOON_ANSWERED, "a cat?")


def test_escape_gives_the_keys_to_the_table_and_back() -> None:
    desk = busy().type("half").press("escape", "down", "c", "y")
    assert desk.sent == [Cancel((TaskId(1),))]
    assert desk.mode == "table"
    assert (desk.press("escape").ui.mode, desk.ui.text) == (Mode.EDIT, "half")


@pytest.mark.parametrize(("keys", "text"), [("i", ""), ("enter", ""), ("猫", "猫"), ("R", "R"), ("a", "")])
def test_a_key_that_means_nothing_to_the_table_goes_to_the_line(keys: str, text: str) -> None:
    desk = Desk().press("escape", keys)
    assert (desk.ui.mode, desk.ui.text) == (Mode.EDIT, text)


def test_the_keys_go_back_to_the_line_by_themselves() -> None:
    desk = busy().press("escape")
    desk.settle(IDLE_S - 1)
    assert desk.mode == "table"
    desk.settle(2)
    assert desk.mode == "edit"


def test_space_pauses_in_the_table_and_is_a_blank_in_the_line() -> None:
    desk = busy().press(" ")
    assert (desk.ui.text, desk.sent) == (" ", [])
    assert desk.press("escape", " ").sent == [Pause(True)]
    assert desk.mode == "table"
    assert "paused, space continues; 1 running, 2 waiting" in desk.drawn()
    assert "paused, esc and space continue; 1 running, 2 waiting" in desk.press("escape").drawn()


@pytest.mark.parametrize("way", [["close"], [*"/quit", "enter"], [*"/exit", "enter"]])
def test_where_nothing_runs_it_ends_at_once(way: list[Key]) -> None:
    desk = Desk().press(*way)
    assert desk.sent == [Drain()]
    assert desk.ui.draining


@pytest.mark.parametrize("way", [["close"], [*"/quit", "enter"]])
@pytest.mark.parametrize(("answer", "sent"), [("y", [Stop()]), ("w", [Drain()]), ("n", [])])
def test_where_tasks_run_it_asks_as_the_table_does(way: list[Key], answer: str, sent: list[Command]) -> None:
    desk = busy().press(*way)
    assert desk.ui.question is Question.STOP
    assert desk.press(answer).sent == sent
    assert desk.mode == ("table" if answer == "w" else "edit")


def test_a_question_whether_to_stop_becomes_one_whether_to_end_when_the_last_task_ends() -> None:
    desk = busy().press("close")
    assert (desk.mode, desk.ui.question) == ("ask", Question.STOP)
    for number in (1, 2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(("x.png",)))))
    desk.settle(0.1)
    assert (desk.mode, desk.ui.question) == ("ask", Question.END)
    assert any("end? nothing runs" in line for line in desk.drawn())
    assert desk.press("y").sent == [Drain()]


def test_a_question_about_a_task_that_ends_says_so() -> None:
    desk = busy().press("escape", "down", "c")
    assert (desk.mode, desk.ui.question) == ("ask", Question.TASK)
    desk.board.tell(TaskChanged(9.0, task(desk.ui.chosen or 0, Done(("x.png",)))))
    desk.settle(0.1)
    assert desk.ui.remark == f"task {desk.ui.chosen} has ended: nothing is left to cancel"


def test_ctrl_c_clears_the_line_first() -> None:
    desk = Desk().type("half a prompt")
    assert desk.controls.interrupt()
    assert (desk.ui.text, desk.ui.mode) == ("", Mode.EDIT)
    assert not desk.controls.interrupt()


def test_ctrl_c_at_the_table_clears_nothing() -> None:
    assert not busy().type("half").press("escape").controls.interrupt()


@pytest.mark.parametrize("event", [RunStopping(1.0, RunId(1), "Ctrl-C"), BudgetReached(1.0, RunId(1), "5usd")])
def test_a_run_that_ends_keeps_what_was_not_sent_to_be_told(event: RunStopping | BudgetReached) -> None:
    desk = busy().type("half")
    desk.board.tell(event)
    desk.settle(1)
    assert (desk.ui.unsent, desk.ui.mode) == ("half", Mode.TABLE)
    desk.type("mr").press("enter", Paste("a cat"), "enter")
    assert (desk.ui.text, desk.sent) == ("", [])


def test_help_is_closed_by_any_key_and_a_letter_begins_the_next_line() -> None:
    desk = Desk().type("/help").press("enter")
    assert "/model NAME" in desk.drawn()[1]
    assert "any key closes this" in desk.drawn()
    assert (desk.press("x").ui.mode, desk.ui.text) == (Mode.EDIT, "x")
    desk.press("line").type("/help").press("enter", " ")
    assert (desk.ui.mode, desk.ui.text) == (Mode.EDIT, "")


def test_an_empty_table_welcomes() -> None:
    assert [line for line in Desk().drawn(80, 12) if line] == [
        "Type what you want to see.",
        "a red fox  enter sends it",
        "enter sends  / commands  tab completes  ↑ earlier  esc table keys  ctrl-d ends",
        "studio >",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
@pytest.mark.parametrize("lines", [3, 8, 24])
@pytest.mark.parametrize("text", ["", "一只可爱的小猫" * 30, "a red fox " * 30, "e\u0301" * 200, "🦊" * 50])
def test_every_line_fits_and_the_end_of_a_long_text_is_seen(columns: int, lines: int, text: str) -> None:
    desk = Desk()
    desk.line.set = "4.0 · 16:9 ×4"
    desk.press(Paste(text, phrase=True))
    drawn = desk.drawn(columns, lines)
    assert len(drawn) < lines
    assert max(map(cell_width, drawn)) < columns
    if text:
        assert drawn[-1].endswith(text.rstrip()[-1])


@pytest.mark.parametrize("at", [0, 3, 100, 299])
def test_the_cursor_is_where_the_next_sign_goes(at: int) -> None:
    desk = Desk()
    desk.ui.text, desk.ui.cursor = "只" * 300, at
    frame = draw(desk.board, desk.now, width=60, height=24, theme=theme_for("utf-8"), ui=desk.ui)
    shown = "".join(one.text for one in frame.lines[-1] if not one.control)
    assert frame.cursor is not None
    assert frame.cursor == min(cell_width("studio > ") + 2 * at, 57)
    assert cell_width(shown) < 60


def test_a_task_that_joins_takes_the_place_of_the_welcome() -> None:
    desk = Desk()
    desk.board.tell(TaskAdded(1.0, task(1)))
    assert not any("Type what you want" in line for line in desk.drawn())


@pytest.mark.parametrize(("late_s", "found"), [(0.0, [Paste("cat")]), (0.3, ["c", "a", "t"])])
def test_what_a_person_typed_while_the_screen_was_late_is_no_paste(late_s: float, found: list[Key]) -> None:
    assert PasteDetector().merged(["c", "a", "t"], 1.0, late_s) == found


def test_a_whole_pasted_line_is_a_paste_however_late_it_is_seen() -> None:
    assert PasteDetector().merged([*"two cats on a beach", "enter"], 1.0, 5.0) == [Paste("two cats on a beach")]


class BrokenLine(Line):
    """Cannot be drawn any more once something was set."""

    def label(self) -> Sequence[str]:
        if self.set:
            raise ZeroDivisionError("a bug")
        return super().label()


def test_a_line_that_breaks_gives_the_terminal_back_and_the_run_goes_to_its_end() -> None:
    async def played(paper: Paper) -> None:
        line, sent = BrokenLine(), list[Command]()
        keys = Keys(sent.append, Offer(keeps=True), foreseen, line)
        live = Live(Board(), stdin=paper.keys, stderr=paper.stream, environ={"TERM": "xterm"}, keys=keys)
        with Guarded(live, stderr=paper.stream) as display:
            display.tell(started(task(1)))
            drawing = asyncio.ensure_future(display.run())
            typing = asyncio.ensure_future(display.typed())
            await asyncio.to_thread(paper.wait, lambda: paper.keys_are_read and "studio >" in paper.text)
            assert not typing.done()
            line.set = "4.0"
            paper.send("x")
            await asyncio.wait_for(typing, DEADLINE)
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)

    with Paper() as paper:
        asyncio.run(asyncio.wait_for(played(paper), 2 * DEADLINE))
        paper.settle()
        assert "the display broke (ZeroDivisionError: a bug) and is switched off" in paper.scrollback
        assert paper.modes_restored
        assert not paper.cursor_hidden
        assert paper.title == ""
