import pytest
from hypothesis import given, strategies as st

from imagegen_cli.core.events import RunStopping, TaskChanged
from imagegen_cli.core.task import Done, RunId, TaskId
from imagegen_cli.display.controls import (
    BLIND_S,
    CHOOSE_FIRST,
    ENTER_SOON,
    IDLE_S,
    PASTE_SOON,
    QUIET_S,
    SOON_ANSWERED,
    TAB_FIRST,
    TAB_LATER,
    TOO_SOON,
    TYPING_S,
    Controls,
    Mode,
    Question,
    Ui,
    lines_of,
)
from imagegen_cli.display.key_commands import (
    Add,
    Cancel,
    CancelWaiting,
    Command,
    Drain,
    Keys,
    Offer,
    OpenFolder,
    Outcome,
    Pause,
    Stop,
    Typed,
)
from imagegen_cli.display.keys import Decoder, Key, Paste
from imagegen_cli.display.paste_detector import PasteDetector
from tests.test_display_board import PATIENT, board_with, running, started, task, texts


def read(typed: Typed) -> list[str]:
    return lines_of(typed.text) if typed.listed else [typed.text]


def foreseen(typed: Typed) -> Outcome:
    """Refuses a prompt that begins with an exclamation mark."""
    prompts = read(typed)
    if any(prompt.startswith("!") for prompt in prompts):
        return Outcome(words=("cannot be added: no exclamations",), good=False)
    return Outcome(len(prompts), ("studio 4.0", f"{4 * len(prompts)} pictures"))


def add(*prompts: str) -> Add:
    return Add(Typed("\n".join(prompts), listed=len(prompts) > 1))


def cancel(*ids: int) -> Cancel:
    return Cancel(tuple(map(TaskId, ids)))


class Desk:
    """Three tasks, the first of them running, and a keyboard, which has the focus unless a test says otherwise.

    `pace`: seconds before each key; by default so many that every key is meant.
    """

    def __init__(self, offer: Offer = Offer(), *, focus: bool = True) -> None:  # noqa: B008 - a value that never changes
        self.board = board_with(started(task(1), task(2), task(3)), *running(1))
        self.ui = Ui(keys=True)
        self.now = 1000.0
        self.pace = QUIET_S
        self.sent: list[Command] = []
        self.controls = Controls(self.board, Keys(self.sent.append, offer, foreseen), self.ui)
        if focus:
            self.press("tab")
            self.ui.chosen = None

    def press(self, *keys: Key) -> None:
        for key in keys:
            self.now += self.pace
            self.controls.press(key, self.now)

    def wait(self, seconds: float) -> bool:
        """Whether the text has a visible character."""
        self.now += seconds
        return self.controls.settle(self.now)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a", ["a"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[1~\x1b[4~\x1b[3~", ["home", "end", "delete"]),
        (b"\x1b[1;5C\x1b[1;5D\x1bb\x1bf", ["wordright", "wordleft", "wordleft", "wordright"]),
        ("只".encode(), ["只"]),
        (b"\r\n\x7f\x15\x17\t", ["enter", "enter", "backspace", "line", "word", "tab"]),
        (b"\x1b[200~one\ntwo\x1b[201~\n", [Paste("one\ntwo"), "enter"]),
        (b"q\x1b[200~\r\nx\x03\x1b[A\x7f\t\x1b\x1b[201~x", ["q", Paste("\nx "), "x"]),
        ("\x1b[200~a\rb\r\nc\u2028d\x85e\x0bf\x1b[201~".encode(), [Paste("a\nb\nc\nd\ne\nf")]),
        (b"\x1b[201~\x1b[200~\x1b[201~", [Paste("")]),
        (b"\x1bq", []),
        (b"\x00\x02\x04", ["signleft", "close"]),
    ],
)
def test_keys_are_decoded(data: bytes, keys: list[Key]) -> None:
    assert Decoder().feed(data) == keys


@PATIENT
@given(
    st.lists(
        st.sampled_from([b"\x1b[A", "只".encode(), b"x", b"\x1b[3~", b"\r", b"\x1b[200~", b"\x1b[201~"]), max_size=12
    ),
    st.integers(1, 4),
)
def test_keys_may_come_cut_anywhere(parts: list[bytes], size: int) -> None:
    data, whole, cut = b"".join(parts), Decoder(), Decoder()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [key for piece in pieces for key in cut.feed(piece)] == whole.feed(data)


def test_an_escape_alone_is_a_key_once_nothing_follows() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.idle() == ["escape"]
    assert decoder.idle() == []


def test_a_paste_that_is_still_coming_is_no_key_yet() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b[200~xqc\x1b") == []
    assert decoder.idle() == []
    assert decoder.feed(b"[201~") == [Paste("xqc")]
    assert decoder.feed(b"q") == ["q"]


@PATIENT
@given(st.binary(max_size=40))
def test_no_bytes_upset_the_decoder(data: bytes) -> None:
    decoder = Decoder()
    keys = [key for key in decoder.feed(data) + decoder.idle() if isinstance(key, str)]
    assert all(len(key) == 1 or key.isalpha() for key in keys)


def test_single_keys_act_at_once() -> None:
    desk = Desk()
    desk.press("o", " ", " ")
    assert desk.sent == [OpenFolder(), Pause(True), Pause(False)]


SHELL = ["ls images", "imagegen watch", "cd x", "exit", "q", "x", "y", "a cat", "   ", "cyxyqyqw", "vim a.txt", "ls ?y"]
"""Lines as people type them ahead, and the worst of letters."""


@pytest.mark.parametrize("line", SHELL)
@pytest.mark.parametrize("pause_s", [0.0, 0.13, 1.0, 3.0])
def test_what_is_typed_ahead_for_the_shell_does_nothing(line: str, pause_s: float) -> None:
    desk = Desk(focus=False)
    desk.pace = pause_s
    desk.press(*line, "enter")
    assert desk.sent == []
    assert (desk.ui.focus, desk.ui.mode, desk.ui.paused) == (False, Mode.TABLE, False)


@pytest.mark.parametrize("line", SHELL)
@pytest.mark.parametrize("turn", ["tab", "up", "down", "left"])
def test_a_tab_or_an_arrow_inside_of_what_is_typed_ahead_turns_to_nothing(line: str, turn: str) -> None:
    desk = Desk(focus=False)
    desk.press("v")
    desk.pace = BLIND_S / 2.1
    desk.press(turn, *line, turn, "enter", *line, "enter")
    assert harmless(desk)


def harmless(desk: Desk) -> bool:
    """Nothing was added, paused or cancelled; to open the folder costs nothing."""
    return [commands for commands in desk.sent if commands != OpenFolder()] == [] and not desk.ui.paused


HABITS = [
    "a red fox",
    " add me",
    "cd x",
    "apt update",
    "cypress run",
    "cyxyqyqw",
    "xy",
    "qy",
    "qw",
    "   ",
    "aaa",
    "x",
    "c",
]
"""How lines for a shell may begin after a tab or an arrow."""


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.1, 0.13, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("line", HABITS)
def test_a_line_for_the_shell_after_a_tab_or_an_arrow_costs_holds_and_cancels_nothing(
    line: str, pause_s: float
) -> None:
    for turn in ("tab", "up", "down"):
        for waiting in (0, 1, 2):
            desk = Desk(focus=False)
            for number in range(2 - waiting):
                desk.board.tell(TaskChanged(9.0, task(3 - number, Done(()))))
            desk.press(turn)
            desk.pace = pause_s
            desk.press(*line, "enter", *line, "enter")
            assert harmless(desk)


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 1.0])
def test_a_pause_in_a_line_for_the_shell_gives_the_focus_to_no_letter(pause_s: float) -> None:
    desk = Desk(focus=False)
    desk.pace = 0.13
    desk.press(*"cat im")
    desk.now += 1.2
    desk.pace = pause_s
    desk.press("tab", *"a red fox", "enter")
    assert harmless(desk)
    desk.now += BLIND_S + 0.1
    desk.press("tab", *"a red fox", "enter")
    assert harmless(desk)


@pytest.mark.parametrize(("key", "name"), [("a", "a"), (" ", "space")])
def test_a_letter_that_comes_too_soon_says_so_and_acts_when_it_is_pressed_again(key: str, name: str) -> None:
    desk = Desk(focus=False)
    desk.press("tab")
    desk.pace = QUIET_S - 0.1
    desk.press(key)
    assert (desk.ui.remark, desk.ui.focus, desk.ui.mode) == (TOO_SOON.format(key=name), True, Mode.TABLE)
    assert harmless(desk)
    desk.pace = QUIET_S
    desk.press(key)
    assert desk.ui.mode is Mode.EDIT if key == "a" else desk.ui.paused


@pytest.mark.parametrize("question", ["c", "x", "q"])
@pytest.mark.parametrize("yes", ["y", "Y", "w"])
def test_a_yes_that_nobody_can_have_thought_about_closes_the_question(question: str, yes: str) -> None:
    desk = Desk()
    desk.press("down", question)
    assert desk.ui.mode is Mode.ASK
    desk.pace = QUIET_S - 0.1
    desk.press(yes)
    assert (desk.ui.mode, desk.ui.remark, desk.sent) == (Mode.TABLE, SOON_ANSWERED, [])


def test_a_tab_that_comes_too_soon_says_so() -> None:
    desk = Desk(focus=False)
    desk.press("l")
    desk.pace = BLIND_S / 2
    desk.press("tab")
    assert (desk.ui.focus, desk.ui.remark) == (False, TAB_LATER)
    desk.pace = BLIND_S
    desk.press("tab")
    assert (desk.ui.focus, desk.ui.remark) == (True, "")


@pytest.mark.parametrize("text", ["one\ntwo", "sudo apt install x"])
@pytest.mark.parametrize("soon", [0.0, QUIET_S - 0.1])
def test_a_paste_and_the_enter_key_behind_it_add_nothing_unseen(text: str, soon: float) -> None:
    desk = Desk()
    desk.press(Paste(text))
    desk.pace = soon
    desk.press("enter")
    assert (desk.ui.remark, desk.ui.text, desk.sent) == (ENTER_SOON, text, [])
    desk.pace = QUIET_S
    desk.press("enter")
    assert desk.sent == [add(*text.split("\n"))]


def test_a_paste_right_after_the_focus_is_not_used() -> None:
    desk = Desk()
    desk.press("up")
    desk.pace = 0.3
    desk.press(Paste("sudo apt install x"), "enter")
    assert (desk.ui.mode is Mode.EDIT, desk.sent) == (False, [])
    desk.press("escape", "escape")
    desk.now += BLIND_S
    desk.press("up", Paste("x"))
    assert desk.ui.remark == PASTE_SOON


def test_a_phrase_of_an_input_method_needs_no_pause_before_the_enter_key() -> None:
    desk, bursts, decoder = Desk(), PasteDetector(), Decoder()
    desk.press("a")
    desk.pace = 0.3
    for data in ("一只狐狸", "在雪山", "\r"):
        desk.press(*bursts.merged(decoder.feed(data.encode()), desk.now))
    assert desk.sent == [add("一只狐狸在雪山")]


@pytest.mark.parametrize(("key", "commands"), [("ｏ", [OpenFolder()]), ("\u3000", [Pause(True)])])
def test_full_width_keys_act_as_their_narrow_ones(key: str, commands: list[object]) -> None:
    desk = Desk()
    desk.press(key)
    assert desk.sent == commands


@pytest.mark.parametrize(
    ("pasted", "listed"),
    [
        (["a kite\n# a remark\nteapot"], True),
        (['["a kite", "teapot"]'], True),
        (['["a kite", "tea', 'pot"]'], True),
        (["# a remark"], True),
        (["a kite"], False),
        (["a kite, [red]"], False),
    ],
)
def test_what_is_pasted_as_a_list_is_given_to_the_reader_of_lists(pasted: list[str], listed: bool) -> None:
    desk = Desk()
    desk.press(*map(Paste, pasted))
    assert (desk.ui.listed, desk.ui.mode) == (listed, Mode.LINES if listed else Mode.EDIT)
    desk.press("tab", "escape")
    assert not desk.ui.listed


def test_what_was_typed_by_hand_is_a_prompt_whatever_it_looks_like() -> None:
    desk = Desk()
    desk.press("a", *'["a kite"]', "enter")
    assert desk.sent == [add('["a kite"]')]


@pytest.mark.parametrize("turn", ["tab", "up", "down", "left", "right"])
def test_a_tab_or_an_arrow_gives_the_focus_and_marks_a_row(turn: str) -> None:
    desk = Desk(focus=False)
    desk.press("l", "s")
    desk.now += BLIND_S
    desk.press(turn)
    assert (desk.ui.focus, desk.ui.chosen) == (True, 3 if turn == "up" else 1)
    desk.press("o")
    assert desk.sent == [OpenFolder()]


def test_escape_takes_the_focus_away() -> None:
    desk = Desk()
    desk.press("down", "escape")
    assert (desk.ui.focus, desk.ui.chosen) == (False, None)
    desk.press("o", "q", "x", " ", "a")
    assert desk.sent == []


@pytest.mark.parametrize(
    ("keys", "mode", "seconds"),
    [
        ("", Mode.TABLE, IDLE_S),
        ("q", Mode.TABLE, IDLE_S),
        ("x", Mode.TABLE, IDLE_S),
        ("a", Mode.TABLE, TYPING_S),
        ("afox", Mode.EDIT, TYPING_S),
    ],
)
def test_the_focus_goes_after_a_while_without_a_key(keys: str, mode: Mode, seconds: float) -> None:
    desk = Desk()
    desk.press("down", *keys)
    desk.wait(seconds - 0.1)
    assert desk.ui.focus
    assert desk.wait(0.1)
    assert not desk.wait(100.0)
    assert (desk.ui.focus, desk.ui.mode, desk.ui.chosen) == (False, mode, None)
    desk.press("y", "enter", "o")
    assert desk.sent == []


def test_a_prompt_that_was_left_goes_on_after_a_tab() -> None:
    desk = Desk()
    desk.press("a", *"a fox")
    desk.wait(TYPING_S)
    desk.press("enter", "x", "enter")
    desk.now += BLIND_S
    desk.press("tab", *" in snow", "enter")
    assert desk.sent == [add("a fox in snow")]


def test_what_is_read_stays_when_the_focus_goes() -> None:
    desk = Desk()
    desk.press("down", "down", "enter")
    desk.wait(IDLE_S)
    assert (desk.ui.focus, desk.ui.mode, desk.ui.chosen) == (False, Mode.DETAILS, 2)
    desk.press("x")
    assert (desk.ui.mode, desk.ui.chosen) == (Mode.TABLE, None)
    assert desk.sent == []


@pytest.mark.parametrize("keys", ["l", "xd", "qe", "s"])
def test_a_letter_that_means_nothing_here_takes_the_focus_away(keys: str) -> None:
    desk = Desk()
    desk.press(*keys, " ", "o", "tab", "o")
    assert desk.sent == []
    assert not desk.ui.focus


def test_help_needs_no_focus_and_gives_none() -> None:
    desk = Desk(focus=False)
    desk.press("?")
    assert desk.ui.mode is Mode.HELP
    desk.press("q")
    assert (desk.ui.mode, desk.ui.focus, desk.sent) == (Mode.TABLE, False, [])


def test_a_table_that_is_a_command_of_its_own_keeps_the_keys() -> None:
    desk = Desk(Offer(keeps=True, leaves=True), focus=False)
    desk.wait(1000.0)
    desk.press("l", "escape", "left", "down")
    desk.wait(1000.0)
    assert (desk.ui.focus, desk.ui.chosen) == (True, 1)
    desk.press("q")
    assert desk.sent == [Stop()]


@pytest.mark.parametrize(
    ("answer", "commands"), [("y", [Stop()]), ("w", [Drain()]), ("n", []), ("escape", []), ("q", [])]
)
def test_a_run_with_money_in_it_asks_before_it_stops(answer: str, commands: list[Command]) -> None:
    desk = Desk()
    desk.press("q")
    assert (desk.ui.mode, desk.ui.question, desk.sent) == (Mode.ASK, Question.STOP, [])
    desk.press(answer)
    assert (desk.ui.mode, desk.sent) == (Mode.TABLE, commands)


def test_a_run_that_drains_takes_no_more_and_can_still_be_stopped() -> None:
    desk = Desk()
    desk.press(" ", "q", "w", "a", " ", Paste("a cat"), "q", "w")
    assert desk.sent == [Pause(True), Drain()]
    desk.press("q", "y")
    assert desk.sent == [Pause(True), Drain(), Stop()]


def test_a_run_of_which_one_task_waits_asks_before_it_stops() -> None:
    desk = Desk()
    for number in (1, 2):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("q")
    assert (desk.ui.mode, desk.sent) == (Mode.ASK, [])
    desk.press("y")
    assert desk.sent == [Stop()]


def test_a_run_that_is_over_stops_at_once() -> None:
    desk = Desk()
    for number in (1, 2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("q")
    assert desk.sent == [Stop()]


def test_nothing_is_drained_where_nothing_was_sent() -> None:
    desk = Desk()
    desk.board.tell(TaskChanged(9.0, task(1, Done(()))))
    desk.press("q", "w", "q", "y")
    assert desk.sent == [Stop()]


@pytest.mark.parametrize(
    ("ended", "keys", "commands"), [(0, "x", []), (0, "xn", []), (0, "xy", [1]), (1, "x", []), (1, "xy", [1])]
)
def test_all_that_wait_are_cancelled_after_a_question(ended: int, keys: str, commands: list[int]) -> None:
    desk = Desk()
    for number in range(ended):
        desk.board.tell(TaskChanged(9.0, task(3 - number, Done(()))))
    desk.press(*keys)
    assert desk.sent == [CancelWaiting()] * len(commands)


def test_a_question_about_what_waits_is_withdrawn_with_it() -> None:
    desk = Desk()
    desk.press("x")
    for number in (2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("y")
    assert (desk.ui.mode, desk.sent) == (Mode.TABLE, [])


def test_a_task_that_waits_is_cancelled_after_a_question() -> None:
    desk = Desk()
    desk.press("down", "down", "c")
    assert (desk.ui.mode, desk.sent) == (Mode.ASK, [])
    desk.press("y")
    assert desk.sent == [cancel(2)]


def test_a_task_that_runs_is_cancelled_only_after_a_yes() -> None:
    desk = Desk()
    desk.press("down", "c")
    assert desk.ui.mode is Mode.ASK
    desk.press("n")
    assert desk.sent == []
    desk.press("c", "y")
    assert desk.sent == [cancel(1)]


def test_nothing_is_cancelled_where_nothing_is_chosen() -> None:
    desk = Desk()
    desk.press("c", "n", "enter")
    assert desk.sent == []
    assert desk.ui.mode is Mode.TABLE


def test_the_only_task_that_waits_is_asked_about_where_it_was_not_chosen() -> None:
    desk = Desk()
    for number in (1, 2):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("c")
    assert (desk.ui.mode, desk.ui.question, desk.sent) == (Mode.ASK, Question.TASK, [])
    desk.press("y")
    assert desk.sent == [cancel(3)]


def test_what_needs_a_chosen_task_says_so_until_the_next_key() -> None:
    desk = Desk()
    for key in ("c", "enter"):
        desk.press(key)
        assert desk.ui.remark == CHOOSE_FIRST
        desk.press("down")
        assert desk.ui.remark == ""
        desk.press("escape", "tab")
        desk.ui.chosen = None


def test_a_paste_is_no_keys_but_the_beginning_of_a_prompt() -> None:
    desk = Desk()
    desk.press(Paste("xqc"))
    assert (desk.ui.mode, desk.ui.text, desk.sent) == (Mode.EDIT, "xqc", [])
    desk.press("left", Paste(" a cat "), "enter")
    assert desk.sent == [add("xq a cat c")]
    desk.press(Paste(" "))
    assert desk.ui.mode is Mode.TABLE


def test_a_paste_without_the_focus_is_not_used_and_says_why() -> None:
    desk = Desk(focus=False)
    desk.press(Paste("xqc\ny"))
    assert (desk.ui.mode, desk.ui.text, desk.ui.remark, desk.sent) == (Mode.TABLE, "", TAB_FIRST, [])
    assert desk.wait(IDLE_S)
    assert desk.ui.remark == ""


@pytest.mark.parametrize(
    ("keys", "commands"),
    [
        (["enter"], [add("a fox", "", "  a red hen ", "a cow")]),
        (["tab"], []),
        (["tab", "enter"], [add("a fox a red hen a cow")]),
        (["escape", "enter"], []),
        (["y", "q", " ", "x", "backspace", "escape"], []),
    ],
)
def test_several_lines_become_several_tasks_or_one_prompt(keys: list[str], commands: list[object]) -> None:
    desk = Desk()
    desk.press(Paste("a fox\n\n  a red hen \na cow\n"))
    assert (desk.ui.mode, desk.ui.outcome.tasks, desk.sent) == (Mode.LINES, 3, [])
    desk.press(*keys)
    assert desk.sent == commands


@pytest.mark.parametrize(
    "pieces", [["one\ntw", "o\n", "three"], ["one", "\ntwo", "\nthree\n"], ["o", "ne\ntwo\nthree"]]
)
def test_a_paste_that_comes_in_pieces_is_one(pieces: list[str]) -> None:
    desk = Desk()
    desk.press(*map(Paste, pieces))
    assert desk.sent == []
    desk.press("enter")
    assert desk.sent == [add("one", "two", "three")]


def test_a_paste_of_one_line_stays_in_the_line_that_is_typed() -> None:
    desk = Desk()
    desk.press("a", *"an old ", Paste("fox\n"), "enter")
    assert desk.sent == [add("an old fox")]


def test_what_would_be_refused_stays_to_be_mended() -> None:
    desk = Desk()
    desk.press("a", *"!no", "enter")
    assert (desk.ui.mode, desk.ui.outcome.good, desk.sent) == (Mode.EDIT, False, [])
    desk.press("home", "delete")
    assert desk.ui.outcome == Outcome(1, ("studio 4.0", "4 pictures"))
    desk.press("enter")
    assert desk.sent == [add("no")]


def looks(*reads: tuple[float, bytes]) -> list[Key]:
    """The keys that bytes become which arrive at these moments."""
    bursts, decoder = PasteDetector(), Decoder()
    return [key for at, data in reads for key in bursts.merged(decoder.feed(data), at)]


@pytest.mark.parametrize(
    ("reads", "keys"),
    [
        ([(0.0, b"c"), (0.05, b"y"), (0.1, b"\r")], ["c", "y", "enter"]),
        ([(0.0, b"x\r")], ["x", "enter"]),
        ([(0.0, b"qy\r")], [Paste("qy")]),
        ([(0.0, b"ls images\r")], [Paste("ls images")]),
        ([(0.0, b"a fox\ra h"), (0.1, b"en\r"), (0.2, b"q"), (0.3, b"\r"), (1.3, b"\r")],
         [Paste("a fox\na h"), Paste("en"), Paste("\nq"), "enter"]),
        ([(0.0, b"one\r\n"), (0.9, b"\r")], [Paste("one"), "enter"]),
        ([(0.0, "一只狐狸".encode()), (0.15, b"\r")], [*map(Paste, ["一只狐狸"]), "enter"]),
        ([(0.0, b"\x1b[A\x1b[A\x1b[B\x1b[B")], ["up", "up", "down", "down"]),
        ([(0.0, b"\x7f\x7f\x7f\x7f")], ["backspace"] * 4),
        ([(0.0, b"ab\tcd\x1b[Aq")], [Paste("ab cd"), "up", Paste("q")]),
        ([(0.0, b"\x1b[200~xqc\ny\x1b[201~")], [Paste("xqc\ny")]),
    ],
)  # fmt: skip
def test_what_comes_faster_than_a_person_types_is_a_paste(reads: list[tuple[float, bytes]], keys: list[Key]) -> None:
    assert looks(*reads) == keys


@PATIENT
@given(
    st.lists(st.sampled_from(["a", "y", "w", "q", "x", " ", "\r", "c", "?", "\t"]), min_size=3, max_size=200),
    st.integers(3, 50),
)
def test_no_burst_acts_however_it_is_cut(letters: list[str], size: int) -> None:
    desk, bursts, decoder = Desk(), PasteDetector(), Decoder()
    desk.pace = 0.0
    data = "".join(letters).encode()
    for at in range(0, len(data), size):
        for key in bursts.merged(decoder.feed(data[at : at + size]), desk.now):
            desk.press(key)
        desk.now += 0.05
    assert desk.sent == []


@pytest.mark.parametrize("keys", [["?"], ["down", "enter"], ["down", "c"]], ids=["help", "details", "question"])
def test_a_paste_over_something_else_does_nothing(keys: list[Key]) -> None:
    desk = Desk()
    desk.press(*keys)
    mode = desk.ui.mode
    desk.press(Paste("y"))
    assert desk.ui.mode is mode
    assert desk.sent == []


def test_where_nothing_can_be_added_nothing_is_typed() -> None:
    offer = Offer(without=frozenset({"a"}))
    desk = Desk(offer)
    desk.press("a", Paste("a cat"))
    assert desk.ui == Ui(keys=True, focus=True, offer=offer)


def test_a_run_that_stops_takes_no_more_prompts() -> None:
    desk = Desk()
    desk.press("a", "x")
    desk.board.tell(RunStopping(9.0, RunId(1), "Ctrl-C"))
    desk.press("enter", "escape", "tab", "a", " ", "q", Paste("a cat"))
    assert desk.ui.mode is Mode.TABLE
    assert desk.ui.unsent == "x"
    assert desk.sent == []


def test_a_question_about_a_task_that_ends_is_withdrawn() -> None:
    desk = Desk()
    desk.press("down", "c")
    desk.board.tell(TaskChanged(9.0, task(1, Done(("out/1.png",)))))
    desk.press("y")
    assert desk.sent == []
    assert (desk.ui.mode, desk.ui.chosen) == (Mode.TABLE, 1), "what is chosen stays chosen, and no neighbour is"


def test_the_choice_stays_within_the_tasks() -> None:
    desk = Desk()
    desk.press("up")
    assert desk.ui.chosen == 3
    desk.press("down", "up", "up", "up", "up")
    assert desk.ui.chosen == 1
    desk.press("tab")
    assert desk.ui.chosen == 1
    desk.press("escape")
    assert desk.ui.chosen is None


def test_the_only_task_needs_not_be_chosen() -> None:
    desk = Desk()
    for number in (2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("c", "y")
    assert desk.sent == [cancel(1)]


def test_details_and_help_close_with_any_key() -> None:
    desk = Desk()
    desk.press("down", "enter")
    seen = [desk.ui.mode]
    for key in ("q", "?", "x"):
        desk.press(key)
        seen.append(desk.ui.mode)
    assert seen == [Mode.DETAILS, Mode.TABLE, Mode.HELP, Mode.TABLE]
    assert desk.sent == []


def test_a_prompt_is_typed_corrected_and_added() -> None:
    desk = Desk()
    desk.press("a", *"一只狗", "backspace", "猫", "left", "left", *"x ", "home", "delete", "一", "end", "!", "enter")
    assert desk.sent == [add("一x 只猫!")]
    assert desk.ui == Ui(keys=True, focus=True)


def test_typing_moves_by_signs_and_deletes_by_words() -> None:
    desk = Desk()
    desk.press("a", *"two 👨‍👩‍👧", "left", "right", "backspace")
    assert desk.ui.text == "two "
    desk.press(*"cats on", "word")
    assert desk.ui.text == "two cats "
    desk.press("line")
    assert desk.ui.text == ""
    desk.press("enter")
    assert desk.sent == []
    assert desk.ui.mode is Mode.TABLE


@PATIENT
@given(texts, st.lists(st.sampled_from(["left", "right", "home", "end", "backspace", "delete", "word", "line", "x"])))
def test_the_cursor_stays_in_the_text(text: str, keys: list[str]) -> None:
    desk = Desk()
    desk.press("a", *[sign for sign in text if sign >= " "], *keys)
    assert 0 <= desk.ui.cursor <= len(desk.ui.text)
    desk.press("escape")
    assert desk.sent == []
