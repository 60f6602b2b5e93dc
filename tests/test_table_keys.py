"""The keys of the table on an emulated terminal: moving, filtering, finished tasks, retry, copy, concurrency, help."""

import asyncio
import base64
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import LaneChanged, TaskChanged, TaskProgressed, Working
from imagegen_cli.core.task import Cancelled, CancelOutcome, Done, Failed, Job, RunId, State, TaskId
from imagegen_cli.display.controls import (
    CHOOSE_FIRST,
    HAS_ENDED,
    NO_LIMIT,
    NO_PICTURE,
    QUIET_S,
    REMARK_S,
    TOO_SOON,
    Controls,
    Mode,
    Question,
)
from imagegen_cli.display.key_commands import Command, Concurrency, Keys, Offer, OpenFolder, OpenPicture, Retry
from imagegen_cli.display.keys import Key, Paste
from imagegen_cli.display.theme import Line, LineBuilder, Theme
from tests.test_display_board import board_with, running, started, task
from tests.test_display_keys import Desk, cancel, harmless
from tests.test_display_live import TERMINAL, Stage, done, stage

SIZES = [(40, 14), (80, 24), (120, 40)]
DOWN, UP, PAGE_DOWN, PAGE_UP, HOME, END = "\x1b[B", "\x1b[A", "\x1b[6~", "\x1b[5~", "\x1b[1~", "\x1b[4~"
PROMPTS = ("一只猫在海边", "a lighthouse", "日落海滩")


def crowd(play: Stage, tasks: int = 60) -> None:
    """Many tasks: the first is done, the second failed, the third was not sent, the fourth and fifth run."""
    play.tell(started(*(task(number, prompt=PROMPTS[number % 3]) for number in range(1, tasks + 1)), at=100.0))
    for number in (1, 2, 4, 5):
        for event in running(number, at=100.0):
            assert isinstance(event, TaskChanged)
            play.tell(ended(number, event.task.state)._replace(at=100.0))
    play.tell(done(1), ended(2, Failed(Reason.SERVER, "it broke")), ended(3, Cancelled(CancelOutcome.NOT_SENT)))
    play.tick()


def ended(number: int, state: State) -> TaskChanged:
    return TaskChanged(105.0, task(number, state, prompt=PROMPTS[number % 3]))


def chosen_rows(play: Stage) -> list[str]:
    emulator = play.paper.emulator
    return [line for y, line in enumerate(emulator.display) if emulator.buffer[y][0].reverse]


def chosen(play: Stage) -> list[int]:
    """The numbers of the rows that are drawn as chosen."""
    return [int(re.findall(r"\d+", line)[0]) for line in chosen_rows(play)]


# Moving


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_every_key_that_moves(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        crowd(play)
        seen = []
        for keys in ("\t", "j", "k", DOWN, UP, END, HOME, "G", "g"):
            play.press(keys)
            seen += chosen(play)
        assert seen == [4, 5, 4, 5, 4, 60, 1, 60, 1]
        play.press(PAGE_DOWN)
        page = chosen(play)[0]
        assert page == 1 + play.live.ui.page
        play.press(PAGE_UP)
        assert chosen(play) == [1]
        assert play.sent == []


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_what_does_not_fit_is_counted(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        crowd(play)
        text = play.press("\t", *[DOWN] * 25)
        above, below = (int(re.findall(rf"(\d+) {word}", text)[0]) for word in ("above", "below"))
        rows = len(re.findall(r"^[●◌✓✗⊘] (?: \d|\d\d) ", text, re.MULTILINE))
        assert above + below + rows == 60
        assert chosen(play) == [29]


def test_what_is_chosen_stays_chosen_when_it_is_cancelled_and_when_rows_move() -> None:
    with stage(offer=Offer()) as play:
        crowd(play)
        play.press("\t", "j", "j")
        assert chosen(play) == [6]
        play.press("c", "y")
        assert play.sent == [cancel(6)]
        play.tell(ended(6, Cancelled(CancelOutcome.NOT_SENT)), ended(4, Done(("out/4.png",))), *running(20))
        play.tick()
        assert chosen(play) == [6]
        text = play.press("c")
        assert HAS_ENDED.format(id=6) in text
        assert play.sent == [cancel(6)]


def test_a_question_is_never_about_a_neighbour() -> None:
    desk = Desk()
    desk.press("down", "c")
    desk.board.tell(TaskChanged(9.0, task(1, Done(()))))
    desk.press("y", "c", "y")
    assert desk.sent == []


# How the chosen row looks


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("environ", [TERMINAL, {"TERM": "xterm"}, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}])
def test_the_chosen_row_has_one_background_across_its_width(columns: int, environ: Mapping[str, str]) -> None:
    with stage(columns, 24, environ, offer=Offer()) as play:
        crowd(play)
        play.tell(TaskProgressed(play.now, TaskId(4), Working(0.5)))
        play.press("\t")
        [y] = [y for y in range(24) if play.paper.emulator.buffer[y][0].reverse]
        cells = [play.paper.emulator.buffer[y][x] for x in range(columns - 1)]
        assert {(cell.reverse, cell.fg, cell.bg) for cell in cells} == {(True, "default", "default")}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_without_colours_a_sign_marks_the_chosen_row(encoding: str) -> None:
    with stage(80, 24, {**TERMINAL, "NO_COLOR": "1"}, offer=Offer(), encoding=encoding) as play:
        crowd(play)
        text = play.press("\t", "j")
        pointer = "▸" if encoding == "utf-8" else ">"
        assert [line for line in text.splitlines() if pointer in line[:2]] == [
            line.rstrip() for line in chosen_rows(play)
        ]
        assert chosen(play) == [5]


# The filter


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_typed_words_filter_the_rows_and_escape_shows_all_again(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        crowd(play)
        text = play.press("\t", "/", *"LIGHT 4.0")
        assert "/LIGHT 4.0_" in text
        assert "20 of 60" in text
        assert {number % 3 for number in chosen(play)} == {1}
        assert not re.search("^[●◌] .*(猫|日落)", text, re.MULTILINE)
        text = play.press("\r")
        assert "esc clears" in text
        assert "/LIGHT 4.0" in text
        assert play.live.ui.mode is Mode.TABLE
        play.press("\x1b")
        play.tick()
        assert "of 60" not in play.paper.text
        assert play.live.ui.focus, "the first escape only clears the filter"
        assert play.sent == []


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("猫", [3, 6, 9]),
        ("moderated", [2]),
        ("failed", [2]),
        ("sewer", []),
        ("done", [1]),
        ("not sent", [3]),
        ("DREAMINA queued", [5, 6, 7, 8, 9]),
    ],
)
def test_the_filter_looks_in_prompt_provider_model_state_and_reason(words: str, ids: list[int]) -> None:
    desk = Desk()
    desk.board = board_with(started(*(task(number, prompt=PROMPTS[number % 3]) for number in range(1, 10))))
    for event in (*running(4), ended(1, Done(())), ended(2, Failed(Reason.MODERATED, "no")),
                  ended(3, Cancelled(CancelOutcome.NOT_SENT))):  # fmt: skip
        desk.board.tell(event)
    desk.controls._board = desk.board
    desk.press("/", *words, "enter", "g")
    seen: list[int | None] = []
    for _ in range(9):
        seen += [desk.ui.chosen] if desk.ui.chosen not in (*seen, None) else []
        desk.press("j")
    assert seen == ids


def test_letters_in_the_filter_do_nothing_else() -> None:
    desk = Desk()
    desk.press("/", *"qyxcar +-o?/")
    assert (desk.ui.mode, desk.ui.filter, desk.sent) == (Mode.FILTER, "qyxcar +-o?/", [])
    desk.press(Paste("a\nb"), "backspace", "line")
    assert (desk.ui.mode, desk.ui.filter) == (Mode.FILTER, "")
    desk.press("backspace")
    assert desk.ui.mode is Mode.TABLE


def test_a_filter_goes_on_when_the_focus_goes_and_no_longer_takes_letters() -> None:
    desk = Desk()
    desk.press("/", *"light")
    desk.wait(100.0)
    assert (desk.ui.focus, desk.ui.mode, desk.ui.filter) == (False, Mode.TABLE, "light")
    desk.press(*"rm x", "enter")
    assert harmless(desk)
    desk.now += 10.0
    desk.press("tab", "escape")
    assert desk.ui.filter == ""


def test_what_is_chosen_is_shown_although_the_filter_no_longer_has_it() -> None:
    with stage(offer=Offer()) as play:
        crowd(play)
        play.press("\t", "/", *"running", "\r")
        assert chosen(play) == [4]
        play.tell(ended(4, Done(("out/4.png",))))
        play.tick()
        assert chosen(play) == [4]


# Finished tasks


def test_o_opens_the_picture_of_a_finished_task_and_else_the_folder() -> None:
    with stage(offer=Offer()) as play:
        crowd(play)
        play.press("\t", "o", "g", "o", "j", "o")
        assert play.sent == [OpenFolder(), OpenPicture("out/1-1.png"), OpenFolder()]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (TERMINAL, "copied: out/1-1.png"),
        ({**TERMINAL, "STY": "1"}, "this terminal has no clipboard for programs: out/1-1.png"),
        ({**TERMINAL, "TERM_PROGRAM": "Apple_Terminal"}, "this terminal has no clipboard for programs: out/1-1.png"),
        ({"TERM": "linux"}, "this terminal has no clipboard for programs: out/1-1.png"),
        ({**TERMINAL, "TMUX": "/nowhere/at/all,1,0"}, "tmux has no clipboard here: out/1-1.png"),
    ],
)
def test_y_copies_the_path_and_says_so(environ: dict[str, str], said: str) -> None:
    with stage(80, 24, environ, offer=Offer()) as play:
        crowd(play)
        text = play.press("\t", "g", "y")
        assert said in text
        code = b"\x1b]52;c;" + base64.b64encode(b"out/1-1.png") + b"\x07"
        assert (code in play.paper.raw) is (environ == TERMINAL)
        assert NO_PICTURE.format(id=2) in play.press("j", "y")


def test_a_remark_fades_after_three_seconds() -> None:
    with stage(offer=Offer()) as play:
        crowd(play)
        assert NO_PICTURE.format(id=2) in play.press("\t", "g", "j", "y")
        assert NO_PICTURE.format(id=2) in play.tick(REMARK_S - 0.1)
        assert NO_PICTURE.format(id=2) not in play.tick(0.2)


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_the_details_of_a_finished_task(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        crowd(play)
        assert "out/1-1.png" in play.press("\t", "g", "\r")
        assert "it broke" in play.press("x", "j", "\r")
        play.press("x")
        assert play.sent == []


def test_the_details_of_a_finished_task_show_its_picture(tmp_path: Path) -> None:
    path = tmp_path / "猫.png"
    Image.new("RGB", (600, 400), "red").save(path)

    async def looked(play: Stage) -> None:
        """The clock of the table stands while a thread reads the picture."""
        play.press("\t", "g", "\r")
        async with asyncio.timeout(60):
            while not play.live.board.rows[TaskId(1)].preview:  # noqa: ASYNC110 - a thread brings it
                await asyncio.sleep(0.01)
        play.tick(0.2)

    with stage(80, 40, offer=Offer(), pictures=True) as play:
        play.tell(started(*map(task, range(1, 5)), at=100.0), TaskChanged(105.0, task(1, Done((str(path),)))))
        play.tick()
        asyncio.run(looked(play))
        assert "▀▀▀" in play.paper.text
        play.press("x", "j", "\r")
        assert "▀" not in play.paper.text


# Retry


REPEATABLE: list[State] = [
    Failed(Reason.SERVER, "no"),
    Failed(Reason.MODERATED, "no"),
    Cancelled(CancelOutcome.NOT_SENT),
]
NOT_REPEATABLE: list[State] = [
    Done(("out/1.png",)),
    Failed(Reason.TIMEOUT, "no", Job("a")),
    Failed(Reason.UNCERTAIN, "no", may_be_paid=True),
    Cancelled(CancelOutcome.GOES_ON, Job("a")),
]


def ended_desk(state: State) -> Desk:
    desk = Desk()
    desk.board.tell(TaskChanged(9.0, task(3, state)))
    desk.press("g")
    assert desk.ui.chosen == 3
    return desk


@pytest.mark.parametrize("state", REPEATABLE)
def test_r_asks_and_sends_again(state: State) -> None:
    desk = ended_desk(state)
    desk.press("r")
    assert (desk.ui.mode, desk.ui.question, desk.sent) == (Mode.ASK, Question.RETRY, [])
    desk.press("n")
    assert desk.sent == []
    desk.press("g", "r", "y")
    assert desk.sent == [Retry((TaskId(3),))]


@pytest.mark.parametrize("state", NOT_REPEATABLE)
def test_r_never_pays_a_second_time(state: State) -> None:
    desk = ended_desk(state)
    desk.press("r")
    assert desk.ui.mode is Mode.TABLE
    assert desk.ui.remark
    desk.press("y")
    assert desk.sent == []


@pytest.mark.parametrize("pause_s", [0.0, 0.13, QUIET_S - 0.1])
def test_r_needs_a_moment_without_keys_and_so_does_its_answer(pause_s: float) -> None:
    desk = ended_desk(REPEATABLE[0])
    desk.pace = pause_s
    desk.press("r")
    assert (desk.ui.mode, desk.ui.remark) == (Mode.TABLE, TOO_SOON.format(key="r"))
    desk.pace = QUIET_S
    desk.press("r")
    desk.pace = pause_s
    desk.press("y")
    assert desk.sent == []


def test_r_needs_a_chosen_task_that_has_ended() -> None:
    desk = Desk()
    desk.press("r")
    assert desk.ui.remark == CHOOSE_FIRST
    desk.press("down", "r")
    assert "only one that failed" in desk.ui.remark
    assert desk.sent == []


# Concurrency


def lane(provider: str = "dreamina", limit: int | None = 4) -> LaneChanged:
    return LaneChanged(100.0, RunId(1), provider, limit, limit)


@pytest.mark.parametrize(
    ("limit", "key", "command"),
    [
        (4, "+", Concurrency("dreamina", 5)),
        (4, "-", Concurrency("dreamina", 3)),
        (1, "-", Concurrency("dreamina", 1)),
        (None, "-", Concurrency("dreamina", 1)),
        (None, "+", None),
    ],
)
def test_plus_and_minus_change_how_many_are_at_the_service(
    limit: int | None, key: str, command: Command | None
) -> None:
    desk = Desk()
    desk.board.tell(lane(limit=limit))
    desk.press(key)
    assert desk.sent == ([command] if command else [])
    assert desk.ui.remark == NO_LIMIT.format(provider="dreamina") if command is None else "at a time" in desk.ui.remark


def test_of_several_providers_that_of_the_chosen_task_is_meant() -> None:
    desk = Desk()
    desk.board.tell(lane())
    desk.board.tell(lane("other"))
    desk.press("+")
    assert (desk.sent, desk.ui.remark) == ([], CHOOSE_FIRST)
    desk.press("down", "+")
    assert desk.sent == [Concurrency("dreamina", 5)]


@pytest.mark.parametrize(
    ("columns", "words"),
    [(40, "4 of 4: -j or +"), (80, "4 of 4 at the service: -j or +"), (120, "at the service: -j or +")],
)
def test_a_row_says_why_it_waits(columns: int, words: str) -> None:
    with stage(columns, 24, offer=Offer()) as play:
        play.tell(started(*map(task, range(1, 9)), at=100.0), lane())
        for number in range(1, 5):
            play.tell(*running(number, at=100.0))
        assert play.tick().count(words) == 4
        play.tell(lane(limit=8))
        assert words not in play.tick()
        play.tell(lane(limit=8)._replace(until=play.now + 30))
        assert play.tick().count("again in 29s" if columns < 80 else "paused by the service for 29s") == 4
        assert "paused" not in play.tick(40.0)


def test_a_service_that_says_zero_shows_a_moving_bar() -> None:
    with stage(offer=Offer()) as play:
        play.tell(started(task(1), task(2), at=100.0), *running(1, at=100.0))
        play.tell(TaskProgressed(100.0, TaskId(1), Working(0.0, note="drawing")))
        first = play.tick()
        second = play.tick()
        assert "0%" not in first
        assert first != second


# Help


MEANINGS = {
    "◌": "wait", "↑": "sent", "●": "service", "↓": "sav", "✓": "done", "✗": "failed", "⊘": "cancelled",
    "━": "told", "╍": "guessed",
}  # fmt: skip


@pytest.mark.parametrize("columns", [8, 20, 30, 40, 80, 120])
@pytest.mark.parametrize("focus", [True, False])
def test_the_key_for_help_is_the_last_to_leave_a_narrow_footer(columns: int, focus: bool) -> None:
    with stage(columns, 24, offer=Offer()) as play:
        crowd(play)
        last = (play.press("\t") if focus else play.paper.text).splitlines()[-1]
        assert "?" in last


@pytest.mark.parametrize(("columns", "lines"), SIZES)
@pytest.mark.parametrize("focus", [True, False])
def test_help_explains_every_sign_and_both_bars(columns: int, lines: int, focus: bool) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        crowd(play)
        if focus:
            play.press("\t")
        text = play.press("?") + play.press("?")
        for sign, word in zip(
            "◌↑●↓✓✗⊘━╍",
            ["waits", "sent", "service", "sav", "done", "failed", "cancelled", "told", "guessed"],
            strict=True,
        ):
            assert re.search(rf"{sign}.*{word}", text), sign
        play.press("?")
        assert play.live.ui.mode is Mode.TABLE
        assert play.sent == []


# A line that stays open takes the keys first


class Taker:
    """Takes every letter, and leaves arrows to the table."""

    def __init__(self) -> None:
        self.taken: list[Key] = []

    def press(self, key: Key, now: float) -> bool:
        assert now > 0
        if isinstance(key, str) and len(key) > 1:
            return False
        self.taken.append(key)
        return True

    def lines(self, width: int, height: int, theme: Theme) -> list[Line]:
        text = theme.fit("> " + "".join(str(key) for key in self.taken), width)
        return [LineBuilder().put(text, min(width, len(text))).line] if height else []


def test_what_takes_the_keys_first_gets_them_and_draws_its_line() -> None:
    taker = Taker()
    with stage(offer=Offer(keeps=True)) as play:
        play.live._controls._ui.taker = taker  # type: ignore[union-attr]
        crowd(play)
        text = play.press("q", "x", "?", DOWN, "y")
        assert taker.taken == ["q", "x", "?", "y"]
        assert text.splitlines()[-1] == "> qx?y"
        assert chosen(play) == [4]
        assert play.sent == []


def test_keys_give_the_taker_to_the_table() -> None:
    desk, taker = Desk(), Taker()
    controls = Controls(desk.board, Keys(desk.sent.append, taker=taker), desk.ui)
    controls.press("q", 1.0)
    assert taker.taken == ["q"]
