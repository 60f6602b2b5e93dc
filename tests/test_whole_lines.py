"""What is submitted is a line that was typed whole: keys across a change of the mode, at the speed of a person."""

import random
from collections.abc import Iterator, Sequence

import pytest

from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Done
from imagegen_cli.display.controls import ENTER_SOON, HELD, IDLE_S, LIST_ONLY, QUIET_S, Mode, Question
from imagegen_cli.display.key_commands import Add, Drain, OpenFolder
from imagegen_cli.display.keys import ENDING, MAX_PASTE_GAP_S, Decoder, Key, Paste
from imagegen_cli.display.prompt_line import AGAIN_S, AGAIN_STOPS, MEANT_S
from tests.test_display_board import task
from tests.test_display_keys import Desk as TableDesk
from tests.test_prompt_line import Desk, busy

SPEED_S = 0.09
WORDS = (
    "jade dragon", "a cat", "red fox", "quiet cat", "castle", "yellow bird", "one ship", "i love rain", "+1 balloon",
    "? sign", "xylophone", "koala", "nice cat", "wolf", "gnome", "/ratio 1:1", "一只猫", "cy", "y", "space",
)  # fmt: skip


def typed(desk: Desk, line: str) -> Desk:
    """Type a line after a pause, and press enter at the same speed."""
    desk.now += QUIET_S - SPEED_S
    desk.pace = SPEED_S
    desk.press(*line, "enter")
    desk.pace = QUIET_S
    return desk


def prompts(desk: Desk) -> list[str]:
    return [command.typed.text for command in desk.sent if isinstance(command, Add)]


def after_help() -> Desk:
    return Desk().press(*"/help", "enter")


def after_escape() -> Desk:
    return busy().press("escape")


def after_details() -> Desk:
    return busy().press("escape", "down", "enter")


def after_close() -> Desk:
    return busy().press("close")


def after_rest() -> Desk:
    desk = busy().press("escape", "k")
    desk.settle(IDLE_S + 1)
    return desk


def after_start() -> Desk:
    desk = Desk()
    desk.now += QUIET_S - SPEED_S
    desk.controls.miss(desk.now)
    desk.now -= QUIET_S - SPEED_S
    return desk


@pytest.mark.parametrize("line", WORDS)
@pytest.mark.parametrize("begun", [after_help, after_escape, after_details, after_close, after_rest, after_start])
def test_no_line_without_its_first_keys_is_sent(begun: "type[Desk]", line: str) -> None:
    desk = typed(begun(), line)
    assert set(prompts(desk)) <= {line}
    assert desk.line.set in {"", line}


@pytest.mark.parametrize("line", ["/model 4.0", "red fox", "y", "quiet cat"])
@pytest.mark.parametrize("begun", [after_help, after_details])
def test_the_letter_that_closes_what_lies_over_the_line_begins_it(begun: "type[Desk]", line: str) -> None:
    desk = typed(begun(), line)
    assert (prompts(desk) or [desk.line.set]) == [line]


def test_a_line_that_is_held_is_sent_once_it_was_read() -> None:
    desk = typed(after_escape(), "red fox")
    assert (prompts(desk), desk.ui.remark, desk.ui.text) == ([], HELD, "ed fox")
    desk.pace = SPEED_S
    assert desk.press("enter").ui.remark == ENTER_SOON
    desk.pace = QUIET_S
    assert prompts(desk.press("enter")) == ["ed fox"]


def test_a_line_that_was_erased_is_held_no_more() -> None:
    desk = typed(after_escape(), "red fox")
    assert prompts(typed(desk.press("line"), "red fox")) == ["red fox"]


def test_a_line_after_a_question_that_closed_by_itself_is_held() -> None:
    desk = after_close()
    for number in (1, 2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(("out/1.png",)))))
    desk.settle(0.1)
    assert prompts(typed(desk, "y")) == []


@pytest.mark.parametrize("seed", range(150))
def test_a_walk_of_keys_sends_only_lines_that_were_typed_whole(seed: int) -> None:
    chosen = random.Random(seed)
    desk, whole = (busy() if seed % 2 else Desk()), set[str]()
    modes: Sequence[Key] = ["escape", "tab", "up", "down", "enter", "close", "i", "?", "/", "n", "j", "a", " ", "g"]
    for _ in range(40):
        desk.pace = chosen.choice([SPEED_S, QUIET_S])
        desk.press(*chosen.choices(modes, k=chosen.randint(0, 3)))
        desk.settle(chosen.choice([0.1, QUIET_S, IDLE_S + 1]))
        shown = desk.ui.text
        line = chosen.choice(WORDS)
        whole |= {line, f"{shown[: desk.ui.cursor]}{line}{shown[desk.ui.cursor :]}".strip()}
        before = len(desk.sent)
        typed(desk, line)
        assert {one.typed.text for one in desk.sent[before:] if isinstance(one, Add)} <= whole
        desk.press("i", "line", "rest", "escape", "escape")
        desk.press("line", "rest")
        if desk.ui.draining:
            return


def test_a_letter_in_a_pasted_list_does_not_send_it() -> None:
    desk = Desk().press(Paste("a cat\na dog"))
    desk.press("x")
    assert desk.ui.remark == LIST_ONLY
    assert (prompts(desk.press("enter")), desk.ui.remark) == ([], HELD)
    assert prompts(desk.press("enter")) == ["a cat\na dog"]


@pytest.mark.parametrize("begun", [lambda: Desk().press("escape"), lambda: busy().press("escape")])
def test_q_in_the_table_asks_before_the_studio_ends(begun: "type[Desk]") -> None:
    desk = begun().press("q")
    assert desk.sent == []
    assert desk.ui.question in {Question.END, Question.STOP}
    desk.pace = SPEED_S
    assert desk.press(*"uiet cat", "enter").sent == []
    assert desk.ui.remark == HELD


def test_q_and_yes_end_the_studio() -> None:
    desk = Desk().press("escape", "q")
    assert desk.drawn()[-1] == "end? nothing runs; y/n"
    assert desk.press("y").sent == [Drain()]


@pytest.mark.parametrize("begun", [after_help, after_details, after_close, after_escape])
def test_a_paste_over_something_else_goes_to_the_line(begun: "type[Desk]") -> None:
    desk = begun().press(Paste("a cat"))
    assert (desk.ui.mode, desk.ui.text, desk.sent) == (Mode.EDIT, "a cat", [])


def test_escape_in_a_pasted_list_keeps_what_was_typed_before_it() -> None:
    desk = Desk().type("my idea").press(Paste("\na cat\na dog"), "escape")
    assert (desk.ui.mode, desk.ui.text, desk.ui.cursor) == (Mode.EDIT, "my idea", 7)
    desk.press("line", "up")
    assert (desk.ui.mode, desk.ui.text) == (Mode.LINES, "my idea\na cat\na dog")
    assert (desk.press("down").ui.text, desk.ui.mode) == ("", Mode.EDIT)


def test_up_brings_back_what_ctrl_c_cleared() -> None:
    desk = Desk().type("half a prompt")
    assert desk.controls.interrupt()
    assert desk.press("up").ui.text == "half a prompt"


def test_enter_once_a_second_sends_what_was_pasted() -> None:
    desk = Desk().press(Paste("a cat"))
    desk.pace = QUIET_S * 0.7
    assert prompts(desk.press("enter")) == []
    assert desk.ui.remark == ENTER_SOON
    assert prompts(desk.press("enter")) == ["a cat"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_paste_whose_end_mark_is_lost_ends_by_itself() -> None:
    clock = Clock()
    decoder = Decoder(clock)
    assert decoder.feed(b"\x1b[200~a ca") == []
    clock.now += MAX_PASTE_GAP_S / 2
    assert decoder.feed(b"t") == []
    clock.now += MAX_PASTE_GAP_S / 2
    assert decoder.idle() == []
    clock.now += MAX_PASTE_GAP_S / 2
    assert decoder.idle() == [Paste("a cat")]
    assert decoder.feed(b"\x1b[201~x") == ["x"]


@pytest.mark.parametrize(("data", "key"), [*zip(ENDING, ["interrupt", "close"], strict=True)])
def test_ctrl_c_and_ctrl_d_end_such_a_paste_at_once(data: bytes, key: str) -> None:
    decoder = Decoder()
    decoder.feed(b"\x1b[200~a cat")
    assert decoder.feed(data) == [Paste("a cat"), key]


def interrupted(desk: Desk, after_s: float) -> bool:
    desk.now += after_s
    return desk.controls.interrupted(desk.now)


def test_ctrl_c_on_an_empty_line_says_what_the_next_one_stops() -> None:
    desk = busy()
    assert interrupted(desk, 5)
    assert desk.ui.remark == f"{AGAIN_STOPS}: 1 running, 2 waiting"
    assert not interrupted(desk, 1)


@pytest.mark.parametrize("between", [["x", "backspace"], []])
def test_ctrl_c_says_it_again_after_another_key_or_a_while(between: list[Key]) -> None:
    desk = busy()
    assert interrupted(desk, 5)
    desk.press(*between)
    assert interrupted(desk, 1 if between else AGAIN_S)


def test_ctrl_c_right_after_a_line_was_cleared_or_sent_stops_nothing() -> None:
    desk = Desk().type("half")
    assert interrupted(desk, 5)
    assert interrupted(desk, MEANT_S / 2)
    assert desk.ui.remark == AGAIN_STOPS
    desk = Desk().type("a cat").press("enter")
    assert interrupted(desk, MEANT_S / 2)
    assert not interrupted(Desk().press("x", "backspace"), MEANT_S * 2)


def pieces(line: str) -> Iterator[Key]:
    yield from line
    yield "enter"


def test_the_letter_that_opens_the_line_of_the_batch_table_is_no_part_of_it() -> None:
    desk = TableDesk()
    desk.press("a")
    desk.pace = SPEED_S
    desk.press(*pieces(" cat"))
    assert (desk.sent, desk.ui.remark, desk.ui.text) == ([], HELD, " cat")


def test_after_a_pause_the_batch_table_sends_at_once() -> None:
    desk = TableDesk()
    desk.press("a", "c")
    desk.pace = SPEED_S
    desk.press(*pieces("at"))
    assert [type(command) for command in desk.sent] == [Add]
    assert not any(isinstance(command, OpenFolder) for command in desk.sent)
