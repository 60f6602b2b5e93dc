import asyncio
import io
import json
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given

from imagegen_cli.core.errors import HINTS, Reason, UsageError
from imagegen_cli.core.events import (
    Event,
    RunFinished,
    RunStopping,
    TaskAdded,
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
    Job,
    Queued,
    RemoteImage,
    RunId,
    Saving,
    Submitting,
    TaskId,
)
from imagegen_cli.core.text import age, literal, seconds
from imagegen_cli.display import JsonLines, PlainLines, Quiet, Row, choose, print_list, print_task, task_object
from imagegen_cli.display.board import Board
from imagegen_cli.display.end_report import summary
from imagegen_cli.display.fields import moment
from imagegen_cli.display.live import Live
from tests.clock import run
from tests.test_display_board import JOB, PATIENT, REMOTE, board_with, histories, running, started, task

EVENTS: list[Event] = [
    started(*map(task, range(1, 7))),
    *running(1, at=1.0),
    TaskProgressed(2.0, TaskId(1), Working(0.5, 3, "drawing\x1b[5m")),
    TaskDelayed(2.5, TaskId(2), 2, 4.0, "HTTP 503"),
    TaskChanged(3.0, task(1, Saving((REMOTE,), JOB))),
    TaskChanged(66.0, task(1, Done(("out/1-1.png", "out/1-2.png")))),
    *running(2, at=5.0),
    TaskChanged(7.0, task(2, Failed(Reason.MODERATED, "not like\nthis"))),
    TaskChanged(7.0, task(3, Failed(Reason.MODERATED, "not like\nthis"))),
    TaskChanged(8.0, task(4, Failed(Reason.TIMEOUT, "no picture", JOB))),
    RunStopping(9.0, RunId(1), "Ctrl-C"),
    TaskChanged(9.0, task(5, Cancelled(CancelOutcome.GOES_ON, JOB))),
    TaskAdded(9.5, task(7, prompt="日落")),
    RunFinished(65.0, RunId(1)),
]


class Streams:
    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        self.stdout = Stream(encoding, terminal)
        self.stderr = Stream(encoding, terminal)

    def options(self) -> dict[str, Any]:
        return {"stdout": self.stdout, "stderr": self.stderr, "clock": lambda: 70.0}


class Stream(io.StringIO):
    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


def shown_by(progress: str, events: list[Event], encoding: str = "utf-8") -> Streams:
    streams = Streams(encoding)
    with choose(progress, environ={}, **streams.options()) as display:
        for event in events:
            display.tell(event)
        display.say("a notice\x1b[2J")
    return streams


def test_plain_lines_say_once_what_stands_in_the_way() -> None:
    late = [TaskDelayed(1.0, TaskId(number), 1, 4.0, "HTTP 429") for number in range(1, 7)]
    lines = shown_by("plain", [started(*map(task, range(1, 7))), *late]).stderr.getvalue().splitlines()
    assert [line for line in lines if "429" in line] == ["1 again in 4s: HTTP 429"]


def test_plain_lines_tell_now_and_then_that_it_goes_on() -> None:
    async def for_two_minutes() -> None:
        streams = Streams()
        with choose("plain", environ={}, **streams.options()) as display:
            for event in EVENTS[:6]:
                display.tell(event)
            with suppress(TimeoutError):
                async with asyncio.timeout(125):
                    await display.run()
        found = [line for line in streams.stderr.getvalue().splitlines() if "running" in line or "waiting" in line]
        assert found == ["[0/6] 1 running, 5 waiting"] * 4

    run(for_two_minutes())


def test_plain_lines_say_an_ending_each_and_sum_up() -> None:
    streams = shown_by("auto", EVENTS)
    assert streams.stdout.getvalue() == ""
    assert streams.stderr.getvalue().splitlines() == [
        "6 tasks",
        "2 again in 4s: HTTP 503",
        "[1/6] 1 done, 2 pictures, 1m05s: a lighthouse",
        "[2/6] 2 failed, moderated: not like\\nthis, 2s: a lighthouse",
        "[3/6] 3 failed, moderated: not like\\nthis: a lighthouse",
        "[4/6] 4 failed, timeout: no picture: a lighthouse",
        "stopping: Ctrl-C",
        "[5/6] 5 cancelled: the service goes on, credits may be used: a lighthouse",
        "7 added: 日落",
        "a notice\\x1b[2J",
        "7 tasks: 1 done (2 pictures), 3 failed, 1 cancelled, 2 not finished in 1m05s",
        "moderated ×2: not like\\nthis (tasks 2 3)",
        f"  {HINTS[Reason.MODERATED]}",
        "timeout: no picture (task 4)",
        "2 can still be fetched without paying again: imagegen resume 4 5",
    ]


def test_one_task_that_went_well_needs_no_summary_and_one_that_failed_only_advice() -> None:
    done = board_with(started(task(1)), *running(1), TaskChanged(2.0, task(1, Done(("x",)))))
    assert summary(done, 3.0, "x") == []
    failed = board_with(started(task(1)), TaskChanged(2.0, task(1, Failed(Reason.DISK, "full"))))
    assert [text for _, text in summary(failed, 3.0, "x")] == [HINTS[Reason.DISK]]


def test_quiet_says_failures_and_notices_only() -> None:
    streams = shown_by("quiet", EVENTS)
    assert streams.stdout.getvalue() == ""
    starts = [line[:8] for line in streams.stderr.getvalue().splitlines()]
    assert starts == ["2 failed", "3 failed", "4 failed", "a notice"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
@pytest.mark.parametrize("progress", ["plain", "quiet", "json"])
def test_any_encoding_can_carry_it(progress: str, encoding: str) -> None:
    streams = shown_by(progress, [*EVENTS, TaskAdded(1.0, task(8, prompt="👍 \ud800 日落"))], encoding)
    (streams.stdout.getvalue() + streams.stderr.getvalue()).encode(encoding)


def json_lines(events: list[Event], encoding: str = "utf-8") -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown_by("json", events, encoding).stdout.getvalue().splitlines()]


def test_what_a_stop_did_not_wait_for_is_said_with_what_goes_on_with_it() -> None:
    board = board_with(started(*map(task, range(1, 6))), *running(1), *running(2))
    board.tell(TaskChanged(1.0, task(2, Saving((REMOTE,), JOB))))
    board.tell(TaskChanged(1.0, task(3, Submitting())))
    board.tell(TaskChanged(1.0, task(4, Submitting(JOB))))
    assert "resume" not in str(summary(board, 3.0, "x")), "a run that is only watched leaves no unfinished work"
    board.tell(RunStopping(2.0, RunId(1), "Ctrl-C"))
    assert [text for _, text in summary(board, 3.0, "x")][1:] == [
        "3 left before the end; to go on: imagegen resume 1 2 4",
        "1 may have been accepted and charged: 3",
    ]


def test_one_task_that_was_left_while_it_was_saved_can_be_gone_on_with() -> None:
    board = board_with(started(task(7)), *running(7), TaskChanged(1.0, task(7, Saving((REMOTE,), JOB))))
    board.tell(RunStopping(2.0, RunId(1), "Ctrl-C"))
    assert [text for _, text in summary(board, 3.0, "x")] == ["1 left before the end; to go on: imagegen resume 7"]


def test_json_is_an_object_a_line_and_exactly_one_summary_at_the_end() -> None:
    lines = json_lines(EVENTS)
    assert all(line["v"] == 1 for line in lines)
    assert [line["event"] for line in lines][:8] == ["run-started", *["task-added"] * 6, "task-changed"]
    assert [line["event"] for line in lines].count("summary") == 1
    assert lines[-1] == {
        "v": 1,
        "event": "summary",
        "tasks": 7,
        "done": 1,
        "short": 0,
        "failed": 3,
        "cancelled": 1,
        "unfinished": 2,
        "pictures": 2,
        "seconds": 65.0,
        "reasons": {"moderated": 2, "timeout": 1},
        "resumable": [4, 5],
        "costs": {"settled": [], "reserved": [], "uncertain": []},
    }


def test_json_tells_progress_and_delays() -> None:
    lines = json_lines(EVENTS)
    [progress] = [line for line in lines if line["event"] == "task-progressed"]
    assert progress == {
        "v": 1,
        "event": "task-progressed",
        "at": "1970-01-01T00:00:02.000Z",
        "id": 1,
        "run": 1,
        "fraction": 0.5,
        "queue_position": 3,
        "note": "drawing\x1b[5m",
    }
    odd = json_lines([*EVENTS[:3], TaskProgressed(2.0, TaskId(1), Working(float("nan")))])
    assert odd[-2]["fraction"] is None
    [delay] = [line for line in lines if line["event"] == "task-delayed"]
    assert (delay["attempt"], delay["seconds"], delay["because"]) == (2, 4.0, "HTTP 503")


def test_the_task_object_has_what_scripts_rely_on_and_nothing_secret() -> None:
    receipt = Job("id", "https://example.org/?signature=s")
    failed = task(4, Failed(Reason.TIMEOUT, "no picture", receipt, (RemoteImage("u"),)))
    assert task_object(failed, created=0.0, started=1.5, ended=None) == {
        "v": 1,
        "id": 4,
        "run": 1,
        "state": "failed",
        "reason": "timeout",
        "message": "no picture",
        "hint": "imagegen resume 4 can still fetch it without paying again",
        "prompt": "a lighthouse",
        "provider": "dreamina",
        "model": "4.0",
        "created": "1970-01-01T00:00:00.000Z",
        "started": "1970-01-01T00:00:01.500Z",
        "ended": None,
        "asked": 4,
        "files": [],
        "parents": [],
    }


def test_reasons_of_the_other_endings() -> None:
    def why(state: Any) -> tuple[object, object]:
        found = task_object(task(1, state), created=0, started=None, ended=None)
        return found["reason"], found["message"]

    assert why(Queued()) == (None, "")
    assert why(Done(("x",), 1, "one was unsafe")) == (None, "one was unsafe")
    assert why(Cancelled(CancelOutcome.NOT_SENT)) == ("cancelled", "cancelled: not sent, nothing spent")


@PATIENT
@given(histories())
def test_json_of_any_run_can_be_read_and_holds_no_control_character(events: list[Event]) -> None:
    text = shown_by("json", events).stdout.getvalue()
    lines = text.splitlines()
    assert all(json.loads(line)["v"] == 1 for line in lines)
    assert not any(sign < " " or "\x7f" <= sign < "\xa0" for sign in text if sign != "\n")
    assert "example.org" not in text


@PATIENT
@given(histories())
def test_plain_lines_of_any_run_obey_nothing(events: list[Event]) -> None:
    text = shown_by("plain", events).stderr.getvalue()
    assert not any(sign < " " or "\x7f" <= sign < "\xa0" for sign in text if sign != "\n")


def test_a_reader_that_went_away_ends_nothing() -> None:
    class Gone(Stream):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    streams = Streams()
    streams.stdout = Gone("utf-8", terminal=False)
    with choose("json", environ={}, **streams.options()) as display:
        for event in EVENTS:
            display.tell(event)


@pytest.mark.parametrize(
    ("progress", "terminal", "environ", "kind"),
    [
        ("auto", True, {"TERM": "xterm"}, Live),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": "1"}, Live),
        ("auto", True, {"TERM": "dumb"}, PlainLines),
        ("auto", True, {"TERM": "xterm", "CI": "true"}, PlainLines),
        ("auto", True, {"TERM": "xterm", "GITHUB_ACTIONS": "true"}, PlainLines),
        ("auto", True, {"TERM": "xterm", "CI": "false"}, Live),
        ("auto", False, {"FORCE_COLOR": "1"}, PlainLines),
        ("live", True, {"TERM": "xterm", "CI": "1"}, Live),
        ("live", True, {"TERM": "dumb"}, PlainLines),
        ("auto", True, {"TERM": ""}, PlainLines),
        ("live", True, {"TERM": ""}, PlainLines),
        ("live", True, {}, PlainLines),
        ("live", False, {"FORCE_COLOR": "1"}, PlainLines),
        ("plain", True, {}, PlainLines),
        ("json", True, {}, JsonLines),
        ("quiet", True, {}, Quiet),
    ],
)
def test_what_moves_is_decided_by_the_terminal(
    progress: str, terminal: bool, environ: dict[str, str], kind: type
) -> None:
    assert type(choose(progress, environ=environ, **Streams(terminal=terminal).options())) is kind


def test_paths_are_printed_once() -> None:
    here, there = Streams(terminal=True), Streams(terminal=False)
    assert choose("live", environ={"TERM": "xterm"}, **here.options()).prints_paths
    assert not choose("live", environ={"TERM": "xterm"}, **{**here.options(), "stdout": there.stdout}).prints_paths
    assert choose("json", environ={}, **there.options()).prints_paths
    assert not choose("plain", environ={}, **here.options()).prints_paths
    assert not choose("quiet", environ={}, **here.options()).prints_paths


def test_an_unknown_progress_is_refused() -> None:
    with pytest.raises(UsageError, match="loud"):
        choose("loud", environ={}, **Streams().options())


def rows() -> list[Row]:
    tasks = [task(1, Done(("out/1.png",) * 4)), task(20, Failed(Reason.MODERATED, "no\x1b"), prompt="日落\n二")]
    return [Row(task=each, created=0.0, started=1.0, ended=9.0) for each in tasks]


def test_a_list_on_a_pipe_is_a_whole_line_a_task() -> None:
    stdout = Stream("utf-8", terminal=False)
    print_list(rows(), stdout=stdout, environ={}, now=10.0)
    first, second = stdout.getvalue().splitlines()
    assert first.split()[:2] == ["1", "done"]
    assert second.endswith("日落\\n二")
    assert "failed: moderated" in second


def test_the_columns_of_a_list_on_a_pipe_are_those_that_scripts_read() -> None:
    stdout = Stream("utf-8", terminal=False)
    print_list(rows()[:1], stdout=stdout, environ={}, now=10.0)
    columns = "    1  done                    MOMENT    4/4  4.0           a lighthouse"
    assert stdout.getvalue() == columns.replace("MOMENT", moment(0.0)) + "\n"


def test_a_task_on_a_pipe_is_text_with_its_paths() -> None:
    stdout = Stream("utf-8", terminal=False)
    print_task(rows()[0], stdout=stdout, environ={}, now=10.0, more={"history": "here"})
    lines = stdout.getvalue().splitlines()
    assert lines[0] == "a lighthouse"
    assert lines[-4:] == ["out/1.png"] * 4
    assert any(line.split() == ["history", "here"] for line in lines)


def test_a_task_that_failed_says_what_to_do() -> None:
    stdout = Stream("utf-8", terminal=False)
    print_task(rows()[1], stdout=stdout, environ={}, now=10.0)
    assert HINTS[Reason.MODERATED] in stdout.getvalue()
    kept = Row(task=task(3, Failed(Reason.TIMEOUT, "late", JOB)), created=0.0)
    print_task(kept, stdout=stdout, environ={}, now=10.0)
    assert "imagegen resume 3" in stdout.getvalue()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0s"), (59.9, "59s"), (65, "1m05s"), (7620, "2h07m"), (273600, "3d04h"), (-4, "0s")],
)
def test_times_have_two_units_at_most(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_ages() -> None:
    ages = [age(0.0, now) for now in (-5.0, 59.0, 300.0, 7200.0, 180000.0)]
    assert ages == ["now", "now", "5m ago", "2h ago", "2d ago"]


def test_text_is_shown_and_never_obeyed() -> None:
    assert literal("\x1b[2J\n\t\x9b\u202e\ud800") == r"\x1b[2J\n\t\x9b\u202e\ud800"
    assert literal("日落\u3000👨‍👩‍👧 \xa0") == "日落\u3000👨‍👩‍👧 \xa0"
    assert literal("日x", "ascii") == r"\u65e5x"


def test_nothing_of_rich_is_imported_before_something_is_drawn() -> None:
    code = (
        "import sys, io, imagegen_cli.display as d; b = io.StringIO();"
        "x = d.choose('plain', stdout=b, stderr=b, environ={}); x.say('hello');"
        "found = [name for name in sys.modules if name.split('.')[0] in ('rich', 'asyncio')];"
        "b.isatty = lambda: True; x = d.choose('live', stdout=b, stderr=b, environ={'TERM': 'xterm'});"
        "x.__enter__().tick();"
        "print(found, 'rich' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "[] False\n"


def test_moments_are_iso_8601() -> None:
    found = task_object(task(1), created=1_700_000_000.25, started=None, ended=None)["created"]
    assert datetime.fromisoformat(found).timestamp() == 1_700_000_000.25


def test_a_board_of_nothing_sums_up_to_nothing() -> None:
    assert summary(Board(), 1.0, "x") == []
