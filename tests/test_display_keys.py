from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.display.controls import CHOOSE_FIRST, Controls, Mode, Ui
from imagegen_cli.display.keys import Decoder, Key, Offer, Paste
from imagegen_cli.events import RunStopping, TaskChanged
from imagegen_cli.task import Done, RunId, TaskId
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

    def __init__(self, offer: Offer = Offer()) -> None:  # noqa: B008 - a value that never changes
        self.board = board_with(started(task(1), task(2), task(3)), *running(1))
        self.ui = Ui(keys=True)
        self.heard = Heard(offer)
        self.controls = Controls(self.board, self.heard, self.ui)

    def press(self, *keys: Key) -> None:
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
        (b"\x1b[200~one\ntwo\x1b[201~\n", [Paste("one two"), "enter"]),
        (b"q\x1b[200~\r\nx\x03\x1b[A\x7f\t\x1b\x1b[201~x", ["q", Paste(" x "), "x"]),
        (b"\x1b[201~\x1b[200~\x1b[201~", [Paste("")]),
        (b"\x1bq", []),
        (b"\x00\x02", []),
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


def test_what_needs_a_chosen_task_says_so_until_the_next_key() -> None:
    desk = Desk()
    for key in ("c", "enter"):
        desk.press(key)
        assert desk.ui.remark == CHOOSE_FIRST
        desk.press("down")
        assert desk.ui.remark == ""
        desk.press("escape")


def test_a_paste_is_no_keys_but_the_beginning_of_a_prompt() -> None:
    desk = Desk()
    desk.press(Paste("xqc"))
    assert (desk.ui.mode, desk.ui.text, desk.heard.told) == (Mode.EDIT, "xqc", [])
    desk.press("left", Paste(" a cat "), "enter")
    assert desk.heard.told == [("add", "xq a cat c")]
    desk.press(Paste(" "))
    assert desk.ui.mode is Mode.TABLE


@pytest.mark.parametrize("keys", [["?"], ["down", "enter"], ["down", "c"]], ids=["help", "details", "question"])
def test_a_paste_over_something_else_does_nothing(keys: list[Key]) -> None:
    desk = Desk()
    desk.press(*keys)
    mode = desk.ui.mode
    desk.press(Paste("y"))
    assert desk.ui.mode is mode
    assert desk.heard.told == []


def test_where_nothing_can_be_added_nothing_is_typed() -> None:
    desk = Desk(Offer(without=frozenset({"a"})))
    desk.press("a", Paste("a cat"))
    assert desk.ui == Ui(keys=True, offer=desk.heard.offer)


def test_a_run_that_stops_takes_no_more_prompts() -> None:
    desk = Desk()
    desk.press("a", "x")
    desk.board.tell(RunStopping(9.0, RunId(1), "Ctrl-C"))
    desk.press("enter", "a", " ", Paste("a cat"))
    assert desk.ui.mode is Mode.TABLE
    assert desk.heard.told == []


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
