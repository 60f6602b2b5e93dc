"""The display in Chinese: the layout holds with signs of two cells, and nothing changes of what machines read."""

import io
import json
import os
import re
from dataclasses import replace
from itertools import product

import pytest
from wcwidth import wcswidth

from imagegen_cli.core.errors import HINTS, LABELS, Reason, Unavailable, label, words_of
from imagegen_cli.core.events import (
    BudgetReached,
    Event,
    ProviderPaused,
    RunStopping,
    TaskAdded,
    TaskDelayed,
)
from imagegen_cli.core.language import Message, translated
from imagegen_cli.core.money import Money, Source
from imagegen_cli.core.task import Cancelled, CancelOutcome, Done, Failed, Job, RunId, State, TaskId
from imagegen_cli.core.text import age
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.cell import CellContext
from imagegen_cli.display.columns import LIST
from imagegen_cli.display.context import Frame
from imagegen_cli.display.controls import Mode, Question, Ui
from imagegen_cli.display.cost_report import plain_lines as plain_costs
from imagegen_cli.display.cost_rows import CostRow, Report
from imagegen_cli.display.cost_table import lines as cost_lines
from imagegen_cli.display.details import ended_lines, last_lines, task_lines
from imagegen_cli.display.end_report import summary
from imagegen_cli.display.fields import advice, shown_advice, state_and_reason
from imagegen_cli.display.lines import JsonLines, PlainLines, task_object
from imagegen_cli.display.listing import plain_lines, plain_table
from imagegen_cli.display.plan_table import lines as plan_lines
from imagegen_cli.display.preview import half_blocks
from imagegen_cli.display.selection import matching
from imagegen_cli.display.table import draw_rows
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import Line, theme_for
from imagegen_cli.display.view import draw
from tests.chinese import chinese as chinese  # noqa: PLC0414 - a fixture
from tests.test_display_board import board_with, started
from tests.test_display_view import FOCUS, GOLDEN, ROWS, SCREENS, THEME, check, many, prompted, put, shown, text_of

LIVE_SCREENS = (
    "many-20x10", "many-40x24", "many-80x24", "many-200x50", "stopping-80x24", "chosen-80x24", "adding-60x12",
    "pasted-40x10", "pasted-80x24", "stop-asked-40x10", "stop-asked-120x40", "paused-120x40", "help-40x10",
    "help-40x24", "help-80x24", "help-120x40", "signs-40x10", "filter-80x24", "ended-40x16", "ended-120x16",
    "retry-asked-60x12", "full-40x16", "full-80x24", "full-120x24", "details-60x16", "one-80x24", "one-queued-40x24",
)  # fmt: skip
WIDTHS = (40, 80, 120)
IN_BOTH = pytest.mark.parametrize("folder", ["", "zh/"])
"""The folder of the golden texts: English, and Chinese beside them."""
ENDS: tuple[State, ...] = (
    Done(("out/1-1.png",) * 4),
    Done(("out/2-1.png",) * 3, missing=1, note="one was refused"),
    Failed(Reason.MODERATED, "不符合规范"),
    Failed(Reason.OUT_OF_CREDITS, "no credits left"),
    Failed(Reason.OUT_OF_CREDITS, "no credits left"),
    Failed(Reason.TIMEOUT, "no picture in time", Job("receipt")),
    Failed(Reason.BUSY, "HTTP 503"),
    Failed(Reason.UNCERTAIN, "the answer was lost", may_be_paid=True),
    Cancelled(CancelOutcome.NOT_SENT),
    Cancelled(CancelOutcome.NOT_SENT),
    Cancelled(CancelOutcome.GOES_ON, Job("receipt")),
)


def golden(name: str, text: str) -> None:
    """With WRITE_GOLDEN=1 it is written anew; a person must look at it then."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def use(folder: str, request: pytest.FixtureRequest) -> None:
    if folder:
        request.getfixturevalue("chinese")


def ended() -> Board:
    """A run in which each end occurs."""
    board = board_with(started(*map(prompted, range(1, len(ENDS) + 1))))
    for number, state in enumerate(ENDS, 1):
        board.tell(put(number, 18.0, state))
    return board


def text_lines(lines: list[Line]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in shown(Frame(lines)))


# The live table


@pytest.mark.parametrize("name", LIVE_SCREENS)
def test_golden_screens(name: str, chinese: None) -> None:
    build, width, height, theme, ui = SCREENS[name]
    frame = draw(build(), 30.0, width=width, height=height, theme=theme, ui=ui, paint=half_blocks)
    drawn = "\n".join(shown(frame)) + "\n"
    golden(f"zh/{name}", re.sub(r"到 \d\d:\d\d", "到 <time>", drawn))


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_fits(name: str, chinese: None) -> None:
    build, _, _, _, ui = SCREENS[name]
    board = build()
    for encoding, width, height in product(("utf-8", "gbk", "ascii"), (8, 20, 40, 80, 120), (3, 8, 24)):
        frame = draw(board, 30.0, width=width, height=height, theme=theme_for(encoding), ui=ui, paint=half_blocks)
        assert len(frame.lines) < height
        for line in frame.lines:
            check(line, encoding)
            assert wcswidth(text_of(line)) < width


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120])
@pytest.mark.parametrize("question", Question)
def test_every_question_names_its_keys(question: Question, width: int, chinese: None) -> None:
    for chosen in (3, 5, 9, 18):
        ui = Ui(**FOCUS, mode=Mode.ASK, question=question, chosen=TaskId(chosen))
        *_, asked = shown(draw(many(), 30.0, width=width, height=24, theme=THEME, ui=ui, paint=half_blocks))
        assert "y" in asked
        assert "n" in asked
        assert "？" in asked or "?" in asked


# Tables and reports


@IN_BOTH
@pytest.mark.parametrize("width", WIDTHS)
def test_golden_end(width: int, folder: str, request: pytest.FixtureRequest) -> None:
    """What stays on the screen: the tasks as they ended, and the report."""
    use(folder, request)
    board, lines = ended(), list[Line]()
    for row in board.over.values():
        lines += ended_lines(row.task, row.elapsed(30.0), width, THEME)
    lines += last_lines(summary(board, 30.0, "×"), width, THEME)
    golden(f"{folder}end-{width}", text_lines(lines))


@IN_BOTH
def test_golden_plain_lines(folder: str, request: pytest.FixtureRequest) -> None:
    """A run off a terminal."""
    use(folder, request)
    stderr = io.StringIO()
    plain = PlainLines(Board(), stderr=stderr, clock=lambda: 30.0)
    for event in history():
        plain.tell(event)
    plain._finish()
    golden(f"{folder}plain", stderr.getvalue())


def history() -> list[Event]:
    return [
        started(*map(prompted, range(1, len(ENDS) + 1))),
        TaskAdded(2.0, replace(prompted(len(ENDS) + 1), id=TaskId(12))),
        TaskDelayed(3.0, TaskId(1), 2, 9.0, Message("{name} has {count} tasks").format(name="studio", count=3)),
        ProviderPaused(4.0, "studio", "Insufficient credits"),
        BudgetReached(5.0, RunId(1), "0.04 usd of 0.05 usd"),
        RunStopping(6.0, RunId(1), "Ctrl-C"),
        *[put(number, 18.0, state) for number, state in enumerate(ENDS, 1)],
    ]


@IN_BOTH
@pytest.mark.parametrize("width", WIDTHS)
def test_golden_list(width: int, folder: str, request: pytest.FixtureRequest) -> None:
    """`list`, and `show` of one failure."""
    use(folder, request)
    rows = list(ended().rows.values())
    lines = [*draw_rows(LIST, rows, width - 1, 2, CellContext(4000.0, THEME)), []]
    lines += task_lines(rows[2], 4000.0, width - 1, THEME)
    assert all(cell_width(text_of(line)) < width for line in lines)
    golden(f"{folder}list-{width}", text_lines(lines))


@pytest.mark.parametrize("width", WIDTHS)
def test_golden_costs_and_plan(width: int, chinese: None) -> None:
    rows = [
        CostRow(key="即梦-4.0", unit="usd", settled={Source.TOLD: 1_200_000}, reserved=40_000, submits=4, pictures=12),
        CostRow(key="seedream", unit="credits", settled={Source.SET: 5_000_000}, submits=2, pictures=5),
        CostRow(key="sketch", is_free=True, submits=1, pictures=1),
    ]
    report = Report("model", rows)
    lines = [*cost_lines(report, width - 1, THEME), [], *plan_lines(ROWS, width - 1, THEME)]
    assert all(cell_width(text_of(line)) < width for line in lines)
    plain = list(plain_costs(report))
    assert len({cell_width(line) for line in plain}) == 1, "the columns are aligned by cells"
    golden(f"zh/costs-{width}", text_lines(lines))


# What machines read


def test_machines_read_the_same_in_every_language(request: pytest.FixtureRequest) -> None:
    def said() -> tuple[object, ...]:
        stdout = io.StringIO()
        lines = JsonLines(Board(), stdout=stdout, stderr=io.StringIO(), clock=lambda: 30.0)
        for event in history():
            lines.tell(event)
        lines._finish()
        rows = list(ended().rows.values())
        objects = [task_object(row.task, created=0.0, started=None, ended=None) for row in rows]
        return stdout.getvalue(), json.dumps(objects), list(plain_table(rows, 4000.0))

    english = said()
    request.getfixturevalue("chinese")
    assert said() == english


# Reasons and hints


def test_a_reason_is_a_label_and_its_code_where_there_is_room(chinese: None) -> None:
    row = Row(replace(prompted(1), state=Failed(Reason.MODERATED, "no")), 0.0)
    assert "状态        内容审核未通过（moderated）：no" in plain_lines(row, 1.0, {})
    assert state_and_reason(row) == "failed: moderated"
    assert label(Reason.MODERATED) == "moderated"


@pytest.mark.parametrize("words", ["失败", "failed", "moderated", "内容审核未通过", "moderated 失败"])
def test_the_filter_finds_a_reason_by_its_label_and_its_code(words: str, chinese: None) -> None:
    row = Row(replace(prompted(1), state=Failed(Reason.MODERATED, "no")), 0.0)
    assert list(matching([row], words)) == [row]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_short_label_and_a_hint_with_its_command(reason: Reason, chinese: None) -> None:
    assert translated(label(reason)) != reason
    assert cell_width(translated(label(reason))) <= 14
    assert set(LABELS) == set(Reason)
    hint = translated(HINTS[reason])
    assert hint != HINTS[reason]
    for command in re.findall(r"imagegen [a-z]+ \{ids\}(?: --[a-z-]+)?", HINTS[reason]):
        assert command in hint


def test_a_hint_names_its_task_in_both_languages(chinese: None) -> None:
    task = replace(prompted(7), state=Failed(Reason.NETWORK, "no route"))
    assert advice(task) == "check the connection and base_url, then imagegen retry 7"
    assert shown_advice(task) == "检查网络连接和 base_url，然后重试：imagegen retry 7"


def test_a_hint_leaves_its_command_to_the_line_that_sends_more(chinese: None) -> None:
    texts = [text for _, text in summary(ended(), 30.0, "×")]
    assert "稍等片刻再重试" in texts
    assert any(text.endswith("imagegen retry 4 5 7") for text in texts)


# Parts of sentences


def test_what_is_no_text_is_said_in_the_language_too(chinese: None) -> None:
    message = Message("spent {amount}").format(amount=Money(5_000_000, "credits"))
    assert (str(message), translated(message)) == ("spent 5 credits", "已花费 5 积分")


def test_the_age_of_a_task(chinese: None) -> None:
    assert [age(0.0, now) for now in (5.0, 300.0, 7300.0, 200_000.0)] == ["刚刚", "5 分钟前", "2 小时前", "2 天前"]


def test_an_exception_keeps_its_message() -> None:
    message = Message("{name} waits").format(name="fal")
    for error in (ValueError(message), OSError(5, message), Unavailable(message)):
        assert isinstance(words_of(error), Message)
    assert words_of(KeyError("x")) == "'x'"
    assert words_of(OSError(2, "No such file")) == "[Errno 2] No such file"
