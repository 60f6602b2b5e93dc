import os
import re
import unicodedata
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rich.segment import Segment
from wcwidth import wcswidth, wcwidth

from imagegen_cli.commands.session import OTHERS_HAVE
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import (
    Event,
    LaneChanged,
    ProviderPaused,
    RunStopping,
    TaskChanged,
    TaskDelayed,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    RemoteImage,
    RunId,
    SavedImage,
    Saving,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.core.text import literal
from imagegen_cli.display.board import Board
from imagegen_cli.display.cell import CellContext
from imagegen_cli.display.columns import LIST
from imagegen_cli.display.context import Frame
from imagegen_cli.display.controls import CHOOSE_FIRST, TAB_FIRST, Mode, Question, Ui
from imagegen_cli.display.details import ended_lines, task_lines
from imagegen_cli.display.key_commands import Outcome
from imagegen_cli.display.plan_table import lines as plan_lines
from imagegen_cli.display.preview import half_blocks
from imagegen_cli.display.table import draw_rows
from imagegen_cli.display.text_width import cell_width, cut, fitted, tail, wrapped
from imagegen_cli.display.theme import Line, theme_for
from imagegen_cli.display.view import draw
from tests.test_display_board import PATIENT, PICTURE, board_with, histories, running, started, task, texts

MANY_FRAMES = settings(deadline=None, max_examples=int(os.environ.get("FRAMES", "150")))
GOLDEN = Path(__file__).parent / "golden"
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
THEME = theme_for("utf-8")
ASCII = theme_for("ascii")
PROMPTS = (
    "a lighthouse in a storm, oil on canvas, dramatic light",
    "日落海滩上的两只猫，水彩画风格，柔和的光线，远处有一艘帆船",
    "three boats on a quiet lake",
    "[bold]no markup[/bold] \x1b[31mno colour\nno second line",
    "👨‍👩‍👧‍👦 a picnic 🇩🇪 in the park 👍🏽",
    "שלום עולם, a quiet street",
    "e\u0301le\u0301gant cafe\u0301 at night",
    "赛博朋克城市的夜景",
)


def text_of(line: Line) -> str:
    return "".join(segment.text for segment in line if not segment.control)


def shown(frame: Frame) -> list[str]:
    return [MOMENT.sub("<moment>", text_of(line)).rstrip() for line in frame.lines]


def prompted(number: int) -> Task:
    return task(number, prompt=PROMPTS[(number - 1) % len(PROMPTS)], model=("4.0", "seedream-3.1")[number % 2])


def put(number: int, at: float, state: object) -> TaskChanged:
    return TaskChanged(at, Task(**{**vars_of(prompted(number)), "state": state}))  # type: ignore[arg-type]


def vars_of(value: Task) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}


def many() -> Board:
    """Twenty tasks in every state that a screen can show."""
    board = board_with(started(*map(prompted, range(1, 21))), estimate=lambda each: 60.0 if each.id == 8 else None)
    for number in range(1, 14):
        for event in running(number, at=float(number)):
            board.tell(TaskChanged(event.at, put(number, 0, event.task.state).task))  # type: ignore[union-attr]
    events: list[Event] = [
        put(1, 20.0, Done(("out/1-1.png",) * 4)),
        put(2, 21.0, Done(("out/2-1.png",) * 3, missing=1)),
        put(3, 22.0, Failed(Reason.OUT_OF_CREDITS, "no credits left")),
        put(4, 22.0, Failed(Reason.OUT_OF_CREDITS, "no credits left")),
        put(5, 23.0, Failed(Reason.MODERATED, "不符合规范")),
        put(6, 24.0, Cancelled(CancelOutcome.NOT_SENT)),
        TaskProgressed(25.0, TaskId(7), Working(0.42, note="drawing \x1b[5mdetails")),
        TaskProgressed(25.0, TaskId(9), Working(queue_position=7)),
        TaskDelayed(26.0, TaskId(10), 2, 9.0, "HTTP 503"),
        put(11, 27.0, Saving((SavedImage("out/11-1.png"), *[RemoteImage("x")] * 3))),
        TaskDelayed(28.0, TaskId(15), 1, 30.0, "rate limited"),
    ]
    for event in events:
        board.tell(event)
    return board


def single(*events: Event) -> Board:
    return board_with(started(prompted(2)), *[put(2, e.at, e.task.state) for e in running(2)], *events)  # type: ignore[union-attr]


def pictured(*events: Event) -> Board:
    """One task, and a preview four cells wide for three cells high."""
    board = Board(previews=1)
    for event in [started(prompted(1)), *running(1), TaskProgressed(9.0, TaskId(1), Working(preview=PICTURE)), *events]:
        board.tell(event)
    return board


def failures() -> Board:
    board = many()
    board.tell(RunStopping(29.0, RunId(1), "Ctrl-C"))
    return board


def full() -> Board:
    """Every reason for which a task waits."""
    names = ("full", "closed", "soon", "few", "held", "out", "new")
    tasks = [replace(task(number), request=replace(task(number).request, provider=names[number - 1]))
             for number in range(1, len(names) + 1)]  # fmt: skip
    board = board_with(started(*tasks))
    at = [replace(task(number), request=replace(task(number).request, provider=name))
          for number, name in ((8, "full"), (9, "full"), (10, "few"))]  # fmt: skip
    for one in at:
        board.tell(TaskChanged(1.0, replace(one, state=Submitting())))
    for name, limit, allowed, until, paused in (
        ("full", 2, 2, 0.0, False),
        ("closed", 2, 2, 7230.0, False),
        ("soon", 2, 2, 72.0, False),
        ("few", 2, 1, 0.0, False),
        ("held", 2, 2, 0.0, True),
        ("out", 2, 2, 0.0, True),
    ):
        board.tell(LaneChanged(1.0, RunId(1), name, limit, allowed, until, paused))
    board.tell(ProviderPaused(1.0, "out", "Insufficient credits"))
    return board


FOCUS: dict[str, Any] = {"keys": True, "focus": True}
WOULD = Outcome(1, ("studio 4.0", "4 pictures"))
PASTED = Ui(
    **FOCUS,
    mode=Mode.LINES,
    text="\n".join(PROMPTS[:2] * 6),
    outcome=Outcome(12, ("studio 4.0", "12 tasks", "48 pictures")),
)
STOP = Ui(**FOCUS, mode=Mode.ASK, question=Question.STOP)
PAUSED = Ui(**FOCUS, paused=True)

SCREENS = {
    "many-20x10": (many, 20, 10, THEME, Ui()),
    "many-40x24": (many, 40, 24, THEME, Ui(keys=True)),
    "many-80x24": (many, 80, 24, THEME, Ui(keys=True)),
    "many-200x50": (many, 200, 50, THEME, Ui(keys=True)),
    "many-80x3": (many, 80, 3, THEME, Ui()),
    "many-80x24-ascii": (many, 80, 24, ASCII, Ui()),
    "many-120x24-ascii": (many, 120, 24, ASCII, Ui()),
    "stopping-80x24": (failures, 80, 24, THEME, Ui()),
    "chosen-80x24": (many, 80, 24, THEME, Ui(**FOCUS, chosen=TaskId(18))),
    "asked-60x12": (many, 60, 12, THEME, Ui(**FOCUS, mode=Mode.ASK, chosen=TaskId(9))),
    "adding-60x12": (
        many, 60, 12, THEME, Ui(**FOCUS, mode=Mode.EDIT, text="一只猫 and a dog", cursor=4, outcome=WOULD)
    ),
    "adding-80x24-ascii": (many, 80, 24, ASCII, Ui(**FOCUS, mode=Mode.EDIT, text="a dog", cursor=5, outcome=WOULD)),
    "pasted-40x10": (many, 40, 10, THEME, PASTED),
    "pasted-80x24": (many, 80, 24, THEME, PASTED),
    "stop-asked-40x10": (many, 40, 10, THEME, STOP),
    "stop-asked-120x40": (many, 120, 40, THEME, STOP),
    "paused-40x10": (many, 40, 10, THEME, PAUSED),
    "paused-120x40": (many, 120, 40, THEME, PAUSED),
    "help-40x10": (many, 40, 10, THEME, Ui(**FOCUS, mode=Mode.HELP)),
    "help-40x24": (many, 40, 24, THEME, Ui(**FOCUS, mode=Mode.HELP)),
    "help-80x24": (many, 80, 24, THEME, Ui(**FOCUS, mode=Mode.HELP)),
    "help-120x40": (many, 120, 40, THEME, Ui(**FOCUS, mode=Mode.HELP)),
    "signs-40x10": (many, 40, 10, THEME, Ui(**FOCUS, mode=Mode.SIGNS)),
    "signs-80x24-ascii": (many, 80, 24, ASCII, Ui(**FOCUS, mode=Mode.SIGNS)),
    "filter-80x24": (many, 80, 24, THEME, Ui(**FOCUS, mode=Mode.FILTER, filter="4.0 日落", chosen=TaskId(10))),
    "filtered-40x10": (many, 40, 10, THEME, Ui(**FOCUS, filter="LIGHTHOUSE", chosen=TaskId(9))),
    "ended-80x24": (many, 80, 24, THEME, Ui(**FOCUS, chosen=TaskId(3))),
    "ended-120x16": (many, 120, 16, THEME, Ui(**FOCUS, chosen=TaskId(5))),
    "ended-40x16": (many, 40, 16, THEME, Ui(**FOCUS, chosen=TaskId(1))),
    "retry-asked-60x12": (
        many, 60, 12, THEME, Ui(**FOCUS, mode=Mode.ASK, question=Question.RETRY, chosen=TaskId(5))
    ),
    "full-40x16": (full, 40, 16, THEME, Ui(**FOCUS)),
    "full-80x24": (full, 80, 24, THEME, Ui(**FOCUS)),
    "full-120x24": (full, 120, 24, THEME, Ui(keys=False)),
    "help-60x16": (many, 60, 16, THEME, Ui(keys=True, mode=Mode.HELP)),
    "details-60x16": (many, 60, 16, THEME, Ui(**FOCUS, mode=Mode.DETAILS, chosen=TaskId(11))),
    "one-80x24": (
        lambda: single(TaskProgressed(9.0, TaskId(2), Working(0.3, note="细节"))), 80, 24, THEME, Ui(keys=True)
    ),
    "one-preview-80x24": (
        lambda: pictured(TaskProgressed(10.0, TaskId(1), Working(0.5, note="KSampler"))), 80, 24, THEME, Ui(keys=True)
    ),
    "one-preview-30x40": (pictured, 30, 40, THEME, Ui()),
    "details-preview-80x24": (
        pictured, 80, 24, THEME, Ui(keys=True, mode=Mode.DETAILS, chosen=TaskId(1))
    ),
    "one-20x10": (single, 20, 10, THEME, Ui()),
    "one-queued-40x24": (
        lambda: single(TaskProgressed(9.0, TaskId(2), Working(queue_position=4))), 40, 24, THEME, Ui()
    ),
    "one-held-60x24": (
        lambda: board_with(started(prompted(2)), TaskDelayed(9.0, TaskId(2), 0, 0.0, OTHERS_HAVE)), 60, 24, THEME, Ui()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_golden_screens(name: str) -> None:
    """With WRITE_GOLDEN=1 the frames are written anew; a person must look at them then."""
    build, width, height, theme, ui = SCREENS[name]
    frame = draw(build(), 30.0, width=width, height=height, theme=theme, ui=ui, paint=half_blocks)
    drawn = re.sub(r"until \d\d:\d\d", "until <time>", "\n".join(shown(frame))) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


ROWS = [
    {
        "line": 1,
        "provider": "studio",
        "model": "4.0",
        "asked": 4,
        "ratio": "16:9",
        "resolution": "2k",
        "prompt": "a cat",
    },
    {
        "line": 2,
        "provider": "studio",
        "model": "4.0",
        "asked": 128,
        "ratio": "16:9",
        "prompt": "一只戴帽子的狐狸在雪山下的小屋里",
    },
]


@pytest.mark.parametrize("room", [29, 39, 59, 79])
def test_the_table_of_a_dry_run_tells_the_pictures_on_a_narrow_terminal(room: int) -> None:
    head, *lines = shown(Frame(plan_lines(ROWS, room, THEME)))
    assert "pictures" in head
    assert ["  4" in lines[0], "128" in lines[1], "a cat" in lines[0]] == [True] * 3
    assert max(map(cell_width, (head, *lines))) <= room


@pytest.mark.parametrize("key", ["tab", "up/down", "enter", "c", "x", "space", "a", "o", "q", "?"])
@pytest.mark.parametrize(("width", "height"), [(40, 10), (40, 8), (60, 12), (80, 10)])
def test_every_key_is_helped_with_on_a_low_screen(key: str, width: int, height: int) -> None:
    ui = Ui(**FOCUS, mode=Mode.HELP)
    frame = draw(many(), 30.0, width=width, height=height, theme=THEME, ui=ui, paint=half_blocks)
    words = [word for line in shown(frame) for word in line.split("  ")]
    assert any(word == key or word.startswith(f"{key} ") for word in words)


modes = st.builds(
    Ui,
    keys=st.booleans(),
    focus=st.booleans(),
    mode=st.sampled_from(Mode),
    question=st.sampled_from(Question),
    draining=st.booleans(),
    outcome=st.builds(Outcome, st.integers(0, 3), st.tuples(texts, texts), st.booleans()),
    chosen=st.one_of(st.none(), st.integers(1, 6).map(TaskId)),
    paused=st.booleans(),
    remark=st.sampled_from(["", CHOOSE_FIRST, TAB_FIRST]),
    text=texts,
    cursor=st.integers(0, 20),
    filter=st.one_of(st.just(""), texts),
)


@MANY_FRAMES
@given(
    histories(),
    st.floats(-10, 1e6),
    st.one_of(st.integers(1, 130), st.sampled_from([200, 400])),
    st.one_of(st.integers(1, 30), st.just(200)),
    st.sampled_from(["utf-8", "ascii", "latin-1", "gbk", "cp1255"]),
    modes,
)
def test_every_frame_fits_and_obeys_nothing(
    events: list[Event], now: float, width: int, height: int, encoding: str, ui: Ui
) -> None:
    board = board_with(*events, estimate=lambda each: 5.0 if each.id % 2 else None, previews=2)
    frame = draw(board, now, width=width, height=height, theme=theme_for(encoding), ui=ui, paint=half_blocks)
    assert len(frame.lines) < max(2, height)
    for line in frame.lines:
        check(line, encoding)
        assert cell_width(text_of(line)) < width
        assert wcswidth(text_of(line)) < width
    sizes = [segment.cell_length for line in frame.lines for segment in line if segment.control]
    assert not any(sizes)


@PATIENT
@given(histories(), st.integers(1, 130), st.sampled_from(["utf-8", "ascii", "gbk"]))
def test_what_lasts_obeys_nothing_either(events: list[Event], width: int, encoding: str) -> None:
    board, theme = board_with(*events), theme_for(encoding)
    rows = list(board.rows.values())
    number = max(len(str(row.task.id)) for row in rows)
    for line in draw_rows(LIST, rows, width, number, CellContext(10.0, theme)):
        check(line, encoding)
        if width > 12:
            assert cell_width(text_of(line)) <= width
    for row in rows:
        brief = ended_lines(row.task, 3.0, width, theme, brief=True)
        assert len(brief) == 1
        for line in [*brief, *ended_lines(row.task, 3.0, width, theme), *task_lines(row, 10.0, width, theme)]:
            check(line, encoding)


def filled(_picture: bytes, cells: int, lines: int) -> list[Line]:
    return [[Segment("▀" * cells)]] * lines


def apart(frame: Frame) -> tuple[list[str], list[str]]:
    """The lines with words, and those of the preview."""
    lines = [text for text in shown(frame) if text]
    return [text for text in lines if "▀" not in text], [text for text in lines if "▀" in text]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("note", ["", "KSampler"])
def test_a_preview_pushes_nothing_away_and_keeps_its_size_when_a_note_comes(mode: Mode, note: str) -> None:
    board = pictured(TaskProgressed(10.0, TaskId(1), Working(0.5, note=note)))
    noted = pictured(TaskProgressed(10.0, TaskId(1), Working(0.5, note="VAEDecode")))
    ui = Ui(keys=True, mode=mode, chosen=TaskId(1), text="a dog")
    seen = set()
    for width, height in product((1, 5, 10, 12, 20, 43, 44, 80, 400), range(1, 60)):
        size: dict[str, Any] = {"width": width, "height": height, "theme": THEME, "ui": ui}
        frame = draw(board, 30.0, **size, paint=filled)
        words, picture = apart(frame)
        assert len(frame.lines) < max(2, height)
        assert all(cell_width(text_of(line)) < width for line in frame.lines)
        assert words == apart(draw(board, 30.0, **size))[0]
        if width > 40:
            assert picture == apart(draw(noted, 30.0, **size, paint=filled))[1]
        seen.add(len(picture))
    assert seen == ({0} if mode in (Mode.HELP, Mode.SIGNS, Mode.LINES) else {0, *range(4, 17)})


def test_an_ascii_screen_gets_no_half_blocks() -> None:
    assert apart(draw(pictured(), 30.0, width=80, height=40, theme=THEME, paint=filled))[1]
    assert not apart(draw(pictured(), 30.0, width=80, height=40, theme=ASCII, paint=filled))[1]


def test_a_picture_that_cannot_be_painted_leaves_no_gap() -> None:
    broken = pictured(TaskProgressed(10.0, TaskId(1), Working(preview=b"broken")))
    size: dict[str, Any] = {"width": 80, "height": 40, "theme": THEME}
    bare = board_with(started(prompted(1)), *running(1), TaskProgressed(9.0, TaskId(1), Working()))
    assert shown(draw(broken, 30.0, **size, paint=half_blocks)) == shown(draw(bare, 30.0, **size))


def check(line: list[Segment], encoding: str) -> None:
    text = text_of(line)
    text.encode(encoding)
    hostile = {sign for sign in text if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"}}
    assert not hostile
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ufeff]", text)
    for segment in line:
        assert not segment.control or re.fullmatch(r"\x1b\[\d+G", segment.text)


@PATIENT
@given(texts, st.integers(0, 60))
def test_text_is_cut_to_its_cells(text: str, cells: int) -> None:
    shown = literal(text)
    assert "\x1b" not in shown
    assert cell_width(cut(shown, cells)) <= cells
    assert cell_width(tail(shown, cells)) <= cells
    assert cell_width(fitted(text, cells, "utf-8", "…")) <= cells
    assert all(cell_width(part) <= cells for part in wrapped(text, cells, 3, "utf-8", "…"))


@PATIENT
@given(texts)
def test_no_terminal_finds_text_wider_than_we_do(text: str) -> None:
    shown = literal(text)
    assert wcswidth(shown) <= cell_width(shown)
    assert sum(max(0, wcwidth(sign)) for sign in shown) <= cell_width(shown)


def test_signs_are_not_torn_apart() -> None:
    assert fitted("👨‍👩‍👧 x", 5, "utf-8", "…") == "…"
    assert fitted("cafe\u0301s", 5, "utf-8", "…") == "cafe\u0301s"
    assert fitted("cafe\u0301 society", 5, "utf-8", "…") == "cafe\u0301…"
    assert fitted("日落海滩", 6, "utf-8", "…") == "日落…"


def test_a_megabyte_of_prompt_costs_a_line_no_more_than_a_line() -> None:
    assert fitted("a" * 1_000_000, 10, "utf-8", "…") == "aaaaaaaaa…"
    assert fitted("a" + "\u0301" * 1_000_000, 10, "utf-8", "…").startswith("a\u0301")


def test_states_differ_without_colour() -> None:
    for theme in (THEME, ASCII):
        signs = [theme.queued, theme.submitting, theme.running, theme.saving, theme.done, theme.failed, theme.cancelled]
        assert len(set(signs)) == len(signs)
        assert all(cell_width(sign) == 1 for sign in signs)


def test_a_guess_is_marked_and_drawn_differently() -> None:
    [line] = [text for text in shown(draw(many(), 30.0, width=100, height=24, theme=THEME)) if text.startswith("●  8")]
    assert re.search("╍+─+ +~2\\d%", line)


def test_ten_thousand_tasks_are_not_looked_at_for_a_frame() -> None:
    board = board_with(started(*(task(number) for number in range(1, 10_001))))
    for number in range(1, 1001):
        for event in running(number):
            board.tell(event)
    assert len(draw(board, 5.0, width=80, height=24, theme=THEME).lines) == 23

    class Counted(dict[TaskId, object]):
        def values(self) -> object:  # type: ignore[override]
            raise AssertionError("looked at every row")

        __iter__ = values  # type: ignore[assignment]

    board.rows = Counted(board.rows)  # type: ignore[assignment]
    assert len(draw(board, 5.0, width=80, height=24, theme=THEME).lines) == 23
