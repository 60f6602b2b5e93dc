from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.display.controls import Controls, Mode, Ui
from imagegen_cli.display.keys import Decoder, Offer
from imagegen_cli.events import TaskChanged
from imagegen_cli.task import Done, TaskId
from tests.test_display_board import PATIENT, board_with, running, started, task, texts


class Heard:
    """Actions that only remember what they were told."""

    def __init__(self, offer: Offer = Offer()) -> None:  # noqa: B008 - a value that never changes
        self.offer = offer
        self.told: list[object] = []

    def cancel(self, ids: Sequence[TaskId]) -> None:
        self.told.append(("cancel", *ids))

    def cancel_waiting(self) -> None:
        self.told.append("cancel waiting")

    def hold(self, on: bool) -> None:
        self.told.append(("hold", on))

    def add(self, prompt: str) -> None:
        self.told.append(("add", prompt))

    def open_folder(self) -> None:
        self.told.append("open")

    def stop(self) -> None:
        self.told.append("stop")


class Desk:
    """Three tasks, the first of them running, and somebody at the keys."""

    def __init__(self) -> None:
        self.board = board_with(started(task(1), task(2), task(3)), *running(1))
        self.ui = Ui(keys=True)
        self.heard = Heard()
        self.controls = Controls(self.board, self.heard, self.ui)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.controls.press(key)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a", ["a"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[1~\x1b[4~\x1b[3~", ["home", "end", "delete"]),
        (b"\x1b[1;5C", []),
        ("只".encode(), ["只"]),
        (b"\r\n\x7f\x15\x17", ["enter", "enter", "backspace", "line", "word"]),
        (b"\x1b[200~one\ntwo\x1b[201~\n", [*"one two", "enter"]),
        (b"\x1bq", []),
        (b"\x00\x02", []),
    ],
)
def test_keys_are_decoded(data: bytes, keys: list[str]) -> None:
    assert Decoder().feed(data) == keys


@PATIENT
@given(st.lists(st.sampled_from([b"\x1b[A", "只".encode(), b"x", b"\x1b[3~", b"\r"]), max_size=8), st.integers(1, 4))
def test_keys_may_come_cut_anywhere(parts: list[bytes], size: int) -> None:
    data, whole, cut = b"".join(parts), Decoder(), Decoder()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [key for piece in pieces for key in cut.feed(piece)] == whole.feed(data)


def test_an_escape_alone_is_a_key_once_nothing_follows() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.idle() == ["escape"]
    assert decoder.idle() == []


@PATIENT
@given(st.binary(max_size=40))
def test_no_bytes_upset_the_decoder(data: bytes) -> None:
    decoder = Decoder()
    assert all(len(key) == 1 or key.isalpha() for key in decoder.feed(data) + decoder.idle())


def test_single_keys_act_at_once() -> None:
    desk = Desk()
    desk.press("x", "o", " ", " ", "q")
    assert desk.heard.told == ["cancel waiting", "open", ("hold", True), ("hold", False), "stop"]


def test_a_task_that_waits_is_cancelled_without_a_question() -> None:
    desk = Desk()
    desk.press("down", "down", "c")
    assert desk.heard.told == [("cancel", 2)]


def test_a_task_that_runs_is_cancelled_only_after_a_yes() -> None:
    desk = Desk()
    desk.press("down", "c")
    assert desk.ui.mode is Mode.ASK
    desk.press("n")
    assert desk.heard.told == []
    desk.press("c", "y")
    assert desk.heard.told == [("cancel", 1)]


def test_nothing_is_cancelled_where_nothing_is_chosen() -> None:
    desk = Desk()
    desk.press("c", "y", "enter")
    assert desk.heard.told == []
    assert desk.ui.mode is Mode.TABLE


def test_a_question_about_a_task_that_ends_is_withdrawn() -> None:
    desk = Desk()
    desk.press("down", "c")
    desk.board.tell(TaskChanged(9.0, task(1, Done(("out/1.png",)))))
    desk.press("y")
    assert desk.heard.told == []
    assert desk.ui.chosen is None


def test_the_choice_stays_within_the_tasks() -> None:
    desk = Desk()
    desk.press("up")
    assert desk.ui.chosen == 3
    desk.press("down", "up", "up", "up", "up")
    assert desk.ui.chosen == 1
    desk.press("escape")
    assert desk.ui.chosen is None


def test_the_only_task_needs_not_be_chosen() -> None:
    desk = Desk()
    for number in (2, 3):
        desk.board.tell(TaskChanged(9.0, task(number, Done(()))))
    desk.press("c", "y")
    assert desk.heard.told == [("cancel", 1)]


def test_details_and_help_close_with_any_key() -> None:
    desk = Desk()
    desk.press("down", "enter")
    seen = [desk.ui.mode]
    for key in ("q", "?", "x"):
        desk.press(key)
        seen.append(desk.ui.mode)
    assert seen == [Mode.DETAILS, Mode.TABLE, Mode.HELP, Mode.TABLE]
    assert desk.heard.told == []


def test_a_prompt_is_typed_corrected_and_added() -> None:
    desk = Desk()
    desk.press("a", *"一只狗", "backspace", "猫", "left", "left", *"x ", "home", "delete", "一", "end", "!", "enter")
    assert desk.heard.told == [("add", "一x 只猫!")]
    assert desk.ui == Ui(keys=True)


def test_typing_moves_by_signs_and_deletes_by_words() -> None:
    desk = Desk()
    desk.press("a", *"two 👨‍👩‍👧", "left", "right", "backspace")
    assert desk.ui.text == "two "
    desk.press(*"cats on", "word")
    assert desk.ui.text == "two cats "
    desk.press("line")
    assert desk.ui.text == ""
    desk.press("enter")
    assert desk.heard.told == []
    assert desk.ui.mode is Mode.TABLE


@PATIENT
@given(texts, st.lists(st.sampled_from(["left", "right", "home", "end", "backspace", "delete", "word", "line", "x"])))
def test_the_cursor_stays_in_the_text(text: str, keys: list[str]) -> None:
    desk = Desk()
    desk.press("a", *[sign for sign in text if sign >= " "], *keys)
    assert 0 <= desk.ui.cursor <= len(desk.ui.text)
    desk.press("escape")
    assert desk.heard.told == []
