import asyncio
import contextlib
import io
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import Event, RunFinished, RunStopping, TaskChanged, TaskProgressed, Working
from imagegen_cli.core.task import Done, Failed, RunId, TaskId
from imagegen_cli.display import choose
from imagegen_cli.display.board import Board
from imagegen_cli.display.controls import CHOOSE_FIRST, QUIET_S, Mode
from imagegen_cli.display.footer import LEAVES
from imagegen_cli.display.key_commands import CancelWaiting, Command, Drain, Keys, Offer, OpenFolder, Pause, Stop
from imagegen_cli.display.live import Live
from imagegen_cli.display.preview import half_blocks
from imagegen_cli.display.terminal import BEGIN, reflows
from tests import clock
from tests.screen import Paper, Program
from tests.test_display_board import running, started, task
from tests.test_display_keys import add, cancel, foreseen
from tests.test_display_preview import saved

TERMINAL = {"TERM": "xterm-256color"}
ROOT = Path(__file__).parent.parent


class Stage:
    """A live display on an emulated terminal, under a clock that only the test moves."""

    def __init__(
        self,
        paper: Paper,
        environ: Mapping[str, str] = TERMINAL,
        previews: int = 0,
        offer: Offer | None = None,
        **options: Any,
    ) -> None:
        self.paper = paper
        self.sent: list[Command] = []
        self.now = 100.0
        self.live = Live(
            Board(previews=previews),
            stdin=paper.keys,
            stderr=paper.stream,
            environ=environ,
            clock=lambda: self.now,
            key_clock=lambda: self.now,
            keys=None if offer is None else Keys(self.sent.append, offer, foreseen),
            **options,
        )

    def tell(self, *events: Event) -> None:
        for event in events:
            self.live.tell(event)

    def tick(self, seconds: float = 1.0) -> str:
        self.now += seconds
        self.live.tick()
        self.paper.settle()
        return self.paper.text

    def press(self, *keys: str) -> str:
        """Press one key after the other, as a person does. Returns the text on the screen after that."""
        for key in keys:
            self.paper.send(key)
            self.tick(QUIET_S)
        return self.paper.text


@contextlib.contextmanager
def stage(columns: int = 80, lines: int = 24, environ: Mapping[str, str] = TERMINAL, **options: Any) -> Iterator[Stage]:
    encoding = options.pop("encoding", "utf-8")
    with Paper(columns, lines, encoding) as paper:
        made = Stage(paper, environ, **options)
        with made.live:
            yield made
        paper.settle()
        assert not paper.cursor_hidden
        assert paper.title == ""
        assert paper.modes_restored
        assert b"\x1b[?7l" not in paper.raw.split(b"\x1b[?7h")[-1]


def done(number: int, at: float = 105.0, **options: Any) -> TaskChanged:
    return TaskChanged(at, task(number, Done((f"out/{number}-1.png", f"out/{number}-2.png")), **options))


def test_what_ends_scrolls_away_above_and_stays() -> None:
    with stage(lines=12) as play:
        play.tell(started(*map(task, range(1, 21)), at=100.0))
        for number in range(1, 21):
            play.tell(*running(number, at=100.0), done(number))
            play.tick()
        assert play.paper.cursor_hidden
        assert play.paper.title == "imagegen 20/20"
        play.tell(RunFinished(130.0, RunId(1)))
    text = play.paper.scrollback
    for number in range(1, 21):
        assert text.count(f"✓ {number} a lighthouse · 2 pictures") == 1
    assert "20 tasks: 20 done (40 pictures) in 30s" in text
    assert "running" not in text


def test_nothing_is_drawn_while_nothing_changes() -> None:
    with stage() as play:
        play.tell(started(task(1), task(2), at=100.0))
        play.tick()
        before = play.paper.raw.count(BEGIN.encode())
        for _ in range(20):
            play.tick()
        assert play.paper.raw.count(BEGIN.encode()) == before


def test_at_most_ten_frames_a_second() -> None:
    with stage() as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0))
        for step in range(100):
            play.tell(TaskProgressed(play.now, TaskId(1), Working(step / 100)))
            play.now += 0.01
            play.live.tick()
        play.paper.settle()
        assert 5 <= play.paper.raw.count(BEGIN.encode()) <= 10


def test_a_thousand_endings_at_once_are_one_frame_and_a_line_each() -> None:
    with stage() as play:
        play.tell(started(*map(task, range(1, 1002)), at=100.0))
        play.tell(*map(done, range(1, 1001)))
        play.tick()
        assert play.paper.raw.count(BEGIN.encode()) == 1
    text = play.paper.scrollback
    assert text.count("a lighthouse · 2 pictures") == 1000
    assert text.count("pictures in out") == 1, "where they are is said once, at the end"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_terminal_is_given_back_whatever_happens(error: type[BaseException]) -> None:
    def fail() -> None:
        with stage(offer=Offer()) as play:
            play.tell(started(task(1), at=100.0), *running(1, at=100.0))
            play.tick()
            assert not play.paper.modes_restored
            raise error

    with pytest.raises(error):
        fail()


def test_a_storm_of_sizes_leaves_one_frame_and_every_ending() -> None:
    with stage(100, 30) as play:
        play.tell(started(*map(task, range(1, 31)), at=100.0))
        for number in range(1, 6):
            play.tell(*running(number, at=100.0), TaskProgressed(101.0, TaskId(number), Working(note="日落 👨‍👩‍👧")))
        play.tell(done(1), done(2))
        play.tick()
        for columns, lines in [(60, 30), (20, 30), (120, 30), (33, 20), (200, 50), (40, 24), (79, 40), (100, 30)]:
            play.paper.resize(columns, lines)
            text = play.tick()
            assert text.count("25 waiting") <= 1
            assert len(re.findall("^[●◌] ", text, re.MULTILINE)) <= lines
            assert max(map(len, text.splitlines())) <= columns
        assert play.paper.text.count(" 3 a lighthouse") == 1
        assert play.paper.text.count("✓ 1 a lighthouse · 2 pictures") == 1


def test_long_paths_and_reasons_are_whole() -> None:
    path, reason = "out/" + "很长" * 60 + ".png", "so it goes " * 20
    with stage(40, 20) as play:
        play.tell(started(task(1), task(2), at=100.0))
        play.tell(
            TaskChanged(101.0, task(1, Done((path,)))), TaskChanged(101.0, task(2, Failed(Reason.SERVER, reason)))
        )
        play.tick()
    assert path.encode() in play.paper.raw
    shown = " ".join(line.strip() for line in play.paper.scrollback.splitlines())
    assert f"server: {reason.strip()}" in shown, "broken at words only"


def test_keys_send_commands_and_are_not_echoed() -> None:
    with stage(offer=Offer()) as play:
        play.tell(started(task(1), task(2), at=100.0), *running(1, at=100.0))
        assert "tab keys · ? help · ctrl-c stop" in play.tick()
        play.press("\x1b[B\x1b[Bc")
        assert play.sent == []
        play.press("y")
        assert play.sent == [cancel(2)]
        text = play.press("a", "一只猫")
        assert "enter → studio 4.0 · 4 pictures  esc close\nadd: 一只猫" in text
        assert "一只猫" not in play.press("\r")
        assert play.sent[1:] == [add("一只猫")]
        assert "any key closes it" in play.press("?")
        assert play.live.ui.mode is Mode.HELP


def three(play: Stage, *, focus: bool = True) -> None:
    """Three tasks, of which the first runs and is chosen, and a keyboard."""
    play.tell(started(task(1), task(2, prompt="two boats"), task(3), at=100.0), *running(1, at=100.0))
    play.tick()
    if focus:
        play.press("\t")


def chosen(play: Stage) -> list[str]:
    """The lines that are drawn as chosen."""
    emulator = play.paper.emulator
    return [line.rstrip() for y, line in enumerate(emulator.display) if emulator.buffer[y][0].reverse]


def test_a_task_is_chosen_with_the_arrows_and_seen_to_be() -> None:
    with stage(offer=Offer()) as play:
        three(play, focus=False)
        seen = []
        for keys in ("\x1b[B", "\x1bOB", "\x1b[A", "\x1b[A", "\x1b[A"):
            play.paper.send(keys)
            play.tick()
            seen += [re.findall(r"\d+", line)[0] for line in chosen(play)]
        assert seen == ["1", "2", "1", "1", "1"]
        play.paper.send("\x1b")
        play.tick()
        play.tick()
        assert chosen(play) == []


SIZES = [(40, 10), (80, 24), (120, 40)]


@pytest.mark.parametrize(("columns", "lines"), SIZES)
@pytest.mark.parametrize(
    "typed", ["ls images\r", "imagegen watch\r", " ", "qyxyw", "\x1b[200~a fox\na hen\x1b[201~", "cd ~/a b\t\t\r"]
)
@pytest.mark.parametrize("fast", [True, False])
def test_what_is_typed_ahead_or_pasted_changes_nothing(columns: int, lines: int, typed: str, fast: bool) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        three(play, focus=False)
        assert play.paper.text.splitlines()[-1] == "tab keys · ? help · ctrl-c stop"
        play.press(*([typed] if fast or "\x1b" in typed else typed))
        assert "1 running, 2 waiting" in play.tick(10.0)
        assert play.paper.text.splitlines()[-1] == "tab keys · ? help · ctrl-c stop"
        assert play.sent == []
        assert chosen(play) == []


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_the_focus_is_seen_and_goes_by_itself(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        three(play, focus=False)
        assert chosen(play) == []
        text = play.press("\t")
        assert [line.split()[1] for line in chosen(play)] == ["1"]
        assert text.splitlines()[-1].startswith("c cancel  enter details")
        play.tick(9.0)
        assert chosen(play)
        assert play.tick(1.0).splitlines()[-1] == "tab keys · ? help · ctrl-c stop"
        assert chosen(play) == []


@pytest.mark.parametrize(("columns", "lines"), SIZES)
@pytest.mark.parametrize(("key", "words"), [("q", ["stop?", "y cancel", "w let", "finish", "n"]), ("x", ["2", "y/n"])])
def test_what_ends_more_than_one_task_is_asked_about(columns: int, lines: int, key: str, words: list[str]) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        three(play)
        question = play.press(key).splitlines()[-1]
        assert [word for word in words if word not in question] == []
        assert play.sent == []
        play.press("y")
        assert play.sent == [{"q": Stop(), "x": CancelWaiting()}[key]]


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_a_run_that_is_paused_or_drains_says_so_in_a_colour(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        three(play)
        assert "waits" in play.paper.text
        text = play.press(" ")
        totals = next(y for y, line in enumerate(play.paper.emulator.display) if line.startswith("paused"))
        assert play.paper.emulator.buffer[totals][0].fg == "brown"
        assert len(re.findall("◌ .* paused", text)) == 2
        text = play.press("q", "w")
        assert "paused" not in text
        assert re.search("^(what is sent may finish|ending)", text, re.MULTILINE)
        assert play.sent == [Pause(True), Drain()]


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_several_pasted_lines_are_shown_before_they_are_added(columns: int, lines: int) -> None:
    with stage(columns, lines, offer=Offer()) as play:
        three(play)
        prompts = [f"第{number}只猫在海边" for number in range(1, 31)]
        text = play.press("\x1b[200~" + "\r".join(prompts) + "\x1b[201~")
        assert "30 lines: enter" in text.splitlines()[-1]
        assert "30 tasks" in text.splitlines()[-1]
        assert "→ studio 4.0 · 120 pictures" in text
        assert "第1只猫在海边" in text
        assert ("more" in text) is (lines < 34)
        assert play.sent == []
        play.press("\r")
        assert play.sent == [add(*prompts)]


def test_what_was_typed_and_not_added_is_told_at_the_end() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        play.press("a", *"a fox")
        play.tell(RunStopping(101.0, RunId(1), "Ctrl-C"))
        play.tick()
    assert "not added: a fox" in play.paper.scrollback
    assert play.sent == []


def test_o_acts_at_once() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        play.press("o")
        assert play.sent == [OpenFolder()]


def test_details_and_help_lie_over_the_table_until_any_key() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        for keys, shown in [("\x1b[B\r", "task 2"), ("?", "any key closes it")]:
            play.paper.send(keys)
            text = play.tick()
            assert shown in text
            assert "a lighthouse" not in text
            play.paper.send(" ")
            text = play.tick()
            assert shown not in text
            assert text.count("a lighthouse") == 2


def test_a_key_without_a_chosen_task_says_what_is_missing_until_the_next() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        play.live.ui.chosen = None
        play.paper.send("c")
        assert play.tick().splitlines()[-1] == CHOOSE_FIRST
        play.paper.send("\x1b[B")
        assert CHOOSE_FIRST not in play.tick()


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_question_always_says_what_to_press(columns: int) -> None:
    with stage(columns, offer=Offer()) as play:
        three(play)
        play.paper.send("c")
        question = play.tick().splitlines()[-1]
        assert question.startswith("cancel 1?")
        assert question.endswith("y/n")
        assert ("credits" in question) is (columns > 20)


def test_a_paste_begins_a_prompt_and_sends_nothing() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        play.paper.send("\x1b[200~xqc\n")
        assert "add:" not in play.tick()
        play.paper.send("只猫\x1b[20")
        play.tick()
        play.paper.send("1~!")
        assert "add:" not in play.tick()
        assert play.paper.text.splitlines()[-1].startswith("2 lines: enter adds 2 tasks · tab makes one prompt")
        assert play.sent == []
        play.press("\t", "!")
        assert play.paper.text.splitlines()[-1] == "add: xqc 只猫!"
        play.press("\r")
        assert play.sent == [add("xqc 只猫!")]


def test_where_nothing_can_be_added_it_is_not_offered() -> None:
    with stage(offer=Offer(without=frozenset({"a"}))) as play:
        three(play)
        assert "a add" not in play.tick()
        play.paper.send("a")
        assert "add:" not in play.tick()
        play.paper.send("?")
        assert "add another" not in play.tick()


def test_a_run_that_stops_says_how_to_leave_and_closes_the_editor() -> None:
    with stage(offer=Offer()) as play:
        three(play)
        assert "add: xyz" in play.press("a", "x", "y", "z")
        play.tell(RunStopping(101.0, RunId(1), "Ctrl-C"))
        assert play.tick().splitlines()[-1] == LEAVES
        play.paper.send("a ")
        assert play.tick().splitlines()[-1] == LEAVES
        assert play.sent == []
        play.paper.send("?")
        text = play.tick()
        assert "cancel the chosen task" in text
        assert "stop" not in text.replace("stopping", "")
        assert "add another" not in text
        play.paper.send("?")
        play.tick()


@pytest.mark.parametrize(
    "end", ["\x1b", "more\r", RunStopping(101.0, RunId(1), "Ctrl-C")], ids=["escape", "enter", "stop"]
)
def test_it_is_known_whether_somebody_is_typing(end: str | RunStopping) -> None:
    async def wait(play: Stage) -> None:
        typed = asyncio.ensure_future(play.live.typed())
        await asyncio.sleep(1.0)
        assert not typed.done()
        if isinstance(end, str):
            play.press(*([end] if end == "\x1b" else end))
            play.tick()
        else:
            play.tell(end)
        await asyncio.sleep(1.0)
        assert typed.done()

    with stage(offer=Offer()) as play:
        three(play)
        clock.run(play.live.typed())
        for number in (1, 2, 3):
            play.tell(done(number))
        assert play.press("a").splitlines()[-2:] == ["enter add  esc close and end", "add:"]
        line = "enter → studio 4.0 · 4 pictures  esc close and end"
        assert play.press(*"one ").splitlines()[-2:] == [line, "add: one"]
        clock.run(wait(play))


def test_no_keys_where_nobody_acts_on_them() -> None:
    with stage() as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0))
        assert "choose" not in play.tick()
        assert play.paper.modes_restored


def test_notices_come_above_the_table() -> None:
    with stage() as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0))
        play.live.say("no AI model is connected\x1b[2J")
        assert play.tick().splitlines()[0] == "no AI model is connected\\x1b[2J"


def test_what_other_code_writes_to_stderr_does_not_tear_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage() as play:
        monkeypatch.setattr(sys, "stderr", play.paper.stream)
        play.tell(started(task(1), at=100.0), *running(1, at=100.0))
        play.tick()
        sys.stderr.write("a warning\n")
        text = play.tick()
        assert text.splitlines()[0] == "a warning"
        assert text.count("a lighthouse") == 1


def test_no_colour_where_none_is_wanted() -> None:
    with stage(environ={**TERMINAL, "NO_COLOR": "1"}) as play:
        play.tell(started(task(1), task(2), at=100.0), *running(1, at=100.0), done(2))
        play.tick()
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", play.paper.raw)


def test_an_ascii_terminal_gets_ascii() -> None:
    with stage(encoding="ascii") as play:
        play.tell(started(task(1, prompt="日落"), task(2), at=100.0), *running(1, at=100.0))
        play.tell(TaskProgressed(101.0, TaskId(1), Working(0.5)), done(2))
        assert "####" in play.tick()
    assert play.paper.raw.isascii()


RED_OVER_BLUE = saved(Image.frombytes("RGB", (1, 2), bytes([255, 0, 0, 0, 0, 255])))
TRUE_COLOUR = {**TERMINAL, "COLORTERM": "truecolor"}


def previewed(preview: bytes = RED_OVER_BLUE, *, fraction: float = 0.5) -> TaskProgressed:
    return TaskProgressed(101.0, TaskId(1), Working(fraction, note="KSampler", preview=preview))


def test_a_preview_is_drawn_in_its_colours_and_gone_with_its_task() -> None:
    with stage(environ=TRUE_COLOUR, previews=1) as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0), previewed())
        lines = play.tick().splitlines()
        drawn = [(y, line.index("▀")) for y, line in enumerate(lines) if "▀" in line]
        first, *_, last = (play.paper.emulator.buffer[y][x] for y, x in drawn)
        assert (first.fg, first.bg) == ("ff0000", "ff0000")
        assert (last.fg, last.bg) == ("0000ff", "0000ff")
        assert {x for _, x in drawn} == {2}
        assert "KSampler" in play.paper.text
        play.tell(done(1))
        assert "▀" not in play.tick()
    assert "▀" not in play.paper.scrollback


def test_a_preview_is_decoded_once_and_not_for_each_frame() -> None:
    half_blocks.cache_clear()
    with stage(previews=1) as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0))
        frames = play.paper.raw.count(BEGIN.encode())
        for step in range(20):
            play.tell(previewed(fraction=step / 20))
            assert "▀" in play.tick()
        assert play.paper.raw.count(BEGIN.encode()) == frames + 20
        assert half_blocks.cache_info().misses == 1
        play.tell(previewed(b"broken"))
        for _ in range(5):
            assert "▀" not in play.tick()
        assert half_blocks.cache_info().misses == 2


def test_a_preview_follows_the_size_of_the_screen() -> None:
    with stage(previews=1) as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0), previewed())
        heights = []
        for columns, lines in [(80, 24), (30, 16), (20, 6), (120, 50), (80, 3), (80, 24)]:
            play.paper.resize(columns, lines)
            text = play.tick()
            heights.append(sum("▀" in line for line in text.splitlines()))
            assert "50%" in text
        assert heights == [15, 7, 0, 16, 0, 15]


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [({**TERMINAL, "NO_COLOR": "1"}, "utf-8"), (TERMINAL, "ascii")],
    ids=["NO_COLOR", "ascii"],
)
def test_half_blocks_need_colours_and_a_sign(environ: Mapping[str, str], encoding: str) -> None:
    with stage(environ=environ, encoding=encoding, previews=1) as play:
        play.tell(started(task(1), at=100.0), *running(1, at=100.0), previewed())
        text = play.tick()
        assert "KSampler" in text
        assert "▀" not in text


@pytest.mark.parametrize(
    ("progress", "preview", "more", "drawn"),
    [
        ("live", "on", {}, True),
        ("auto", "on", {}, True),
        ("live", "off", {"KITTY_WINDOW_ID": "1"}, False),
        ("live", "auto", {}, False),
        ("live", "auto", {"KITTY_WINDOW_ID": "1"}, True),
        ("live", "auto", {"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, False),  # noqa: S108 - never opened
        ("plain", "on", {}, False),
        ("json", "on", {}, False),
        ("quiet", "on", {}, False),
    ],
)
def test_whether_previews_are_drawn(progress: str, preview: str, more: dict[str, str], drawn: bool) -> None:
    with Paper() as paper:
        display = choose(
            progress, stdout=paper.stream, stderr=paper.stream, environ={**TERMINAL, **more}, preview=preview
        )
        with display:
            for event in [started(task(1), at=100.0), *running(1, at=100.0), previewed()]:
                display.tell(event)
            if isinstance(display, Live):
                display.tick()
            paper.settle()
            assert ("▀" in paper.text) is drawn


def test_no_preview_where_stdout_goes_elsewhere_and_none_where_nobody_asked() -> None:
    with Paper() as paper:
        for options in ({"stdout": io.StringIO(), "preview": "on"}, {"stdout": paper.stream}):
            display = choose("live", stderr=paper.stream, environ=TERMINAL, **options)
            assert isinstance(display, Live)
            with display:
                for event in [started(task(1), at=100.0), *running(1, at=100.0), previewed()]:
                    display.tell(event)
                display.tick()
                paper.settle()
                assert "KSampler" in paper.text
                assert "▀" not in paper.text


def test_no_summary_where_somebody_else_has_the_last_word() -> None:
    with stage(summary=False) as play:
        play.tell(started(task(1), task(2), at=100.0), done(1), done(2))
    assert "2 tasks" not in play.paper.scrollback


def test_a_terminal_that_went_away_ends_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "gone")

        def isatty(self) -> bool:
            return True

    display = choose("live", stdout=Gone(), stderr=Gone(), environ=TERMINAL)
    with display:
        display.tell(started(task(1), at=100.0))
        assert isinstance(display, Live)
        display.tick()


def test_only_terminals_known_to_break_lines_anew_are_cleaned_of_them() -> None:
    assert reflows({"TMUX": "/tmp/x", "TERM": "screen"})  # noqa: S108 - never opened
    assert not reflows({"TERM": "xterm-256color"})


async def act() -> None:
    """A short run on a real terminal, for the tests below."""
    commands: asyncio.Queue[Command] = asyncio.Queue()
    streams: dict[str, Any] = {"stdout": sys.stdout, "stderr": sys.stderr, "stdin": sys.stdin}
    display = choose("live", environ=os.environ, keys=Keys(commands.put_nowait), **streams)
    with display:
        ticker = asyncio.create_task(display.run())
        display.tell(started(task(1, prompt="日落"), task(2), at=time.time()))
        for event in running(1, at=time.time()):
            display.tell(event)
        assert await commands.get() == Stop()
        display.tell(done(1, at=time.time()))
        display.tell(RunFinished(time.time(), RunId(1)))
        ticker.cancel()


def stop(program: Program) -> None:
    program.send("\t")
    program.wait_for("q stop")
    program.send("q")
    program.wait_for("stop?")
    program.press("y")


@contextlib.contextmanager
def acting() -> Iterator[Program]:
    command = [sys.executable, "-c", "import asyncio, tests.test_display_live as t; asyncio.run(t.act())"]
    with Program(command, environ={"PYTHONPATH": str(ROOT)}) as program:
        program.wait_for("1 running")
        yield program


def test_a_real_program_stops_by_a_key_and_gives_the_terminal_back() -> None:
    with acting() as program:
        assert (program.cursor_hidden, program.title) == (True, "imagegen 0/2")
        stop(program)
        assert program.finish() == 0
        assert not program.cursor_hidden
        assert program.modes_restored
        assert program.title == ""
        assert "out/1-2.png" in program.text
        assert "1 running" not in program.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_that_end_a_program_leave_the_terminal_whole(number: signal.Signals) -> None:
    with acting() as program:
        program.send({signal.SIGINT: "\x03", signal.SIGQUIT: "\x1c"}[number])
        assert program.finish() != 0
        assert not program.cursor_hidden
        assert program.modes_restored


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() -> None:
    with acting() as program:
        program.send("\x1a")
        program.stopped()
        assert not program.cursor_hidden
        assert program.modes_restored
        assert "1 running" not in program.text
        program.foreground()
        program.wait_for("1 running")
        program.wait(lambda: program.keys_are_read, "keys are read again")
        stop(program)
        assert program.finish() == 0
        assert program.modes_restored
