"""The end of a run: equal ends on one line, and commands that do just what their lines say when they are pasted."""

import json
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import BudgetReached, RunStarted, RunStopping, TaskAdded, TaskChanged
from imagegen_cli.core.task import Cancelled, CancelOutcome, Done, Failed, Job, RunId, Running, State, TaskId
from imagegen_cli.display.board import Board
from imagegen_cli.display.end_report import MAX_IDS, few, ranges, summary
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Ended, Program as Plain
from tests.test_cli import CONFIG
from tests.test_display_board import board_with, running, started, task
from tests.test_display_live import done, stage
from tests.test_terminal import stop, terminal, turn

NOT_SENT = Cancelled(CancelOutcome.NOT_SENT)


@pytest.mark.parametrize(
    ("ids", "times", "text"),
    [
        ([5], "×", "5"),
        ([2, 1], "×", "1 2"),
        ([3, 1, 2], "×", "1–3"),
        ([1, 2, 3, 7, 9, 10, 206, 207, 208], "×", "1–3 7 9 10 206–208"),
        ([1, 2, 3], "x", "1-3"),
        ([], "×", ""),
    ],
)
def test_numbers_in_a_row_are_a_range(ids: list[int], times: str, text: str) -> None:
    assert ranges(ids, times) == text


def test_a_line_for_people_names_no_screen_full_of_tasks() -> None:
    assert few(range(1, 2000, 7), "×") == " ".join([*map(str, range(1, 23 * 7, 7)), "… 1996"])
    assert few(range(1, 2000), "×") == "1–1999"


def board(*ends: State, taken: Collection[int] = ()) -> Board:
    tasks = [task(number) for number in range(1, len(ends) + 1)]
    made = board_with(started(*tasks), taken_by=lambda _words, _run: frozenset(map(TaskId, taken)))
    for number, state in enumerate(ends, 1):
        made.tell(TaskChanged(9.0, task(number, state)))
    return made


def lines(made: Board) -> list[str]:
    return [text for _, text in summary(made, 9.0, "×")][1:]


def test_what_was_not_sent_is_one_line_with_the_command_that_sends_it() -> None:
    assert lines(board(Done(("x",)), NOT_SENT, NOT_SENT)) == [
        "2 3 not sent, nothing spent; to send them: imagegen retry 2 3"
    ]
    many = MAX_IDS + 3
    short = "imagegen retry --cancelled --run 1"
    said = f"2–{many + 1} not sent, nothing spent; to send them: "
    ids = range(2, many + 2)
    assert lines(board(Done(("x",)), *[NOT_SENT] * many, taken=ids)) == [said + short]
    assert lines(board(Done(("x",)), *[NOT_SENT] * many, taken=[*ids, 99])) == [
        f"{said}imagegen retry {' '.join(map(str, ids))}"
    ], "the short command would take one more"


def test_what_a_worker_has_not_sent_is_back_in_the_queue() -> None:
    made = Board()
    made.tell(RunStarted(0.0, RunId(0), ()))
    for number in (1, 2, 3):
        made.tell(TaskAdded(1.0, task(number)))
    made.tell(TaskChanged(2.0, task(1, Done(("x",)))))
    made.tell(TaskChanged(2.0, task(2, Running(Job("j")))))
    ((_, total),) = summary(made, 9.0, "×")
    assert total == "3 tasks: 1 done (1 picture), 1 not finished, 1 back in the queue in 9s"


def test_a_run_without_money_says_itself_how_to_send_the_rest() -> None:
    made = board(Done(("x",)), NOT_SENT, NOT_SENT)
    made.tell(BudgetReached(9.0, RunId(1), "0.04 usd of 0.05 usd"))
    assert lines(made) == ["2 3 not sent, nothing spent"]


def test_each_thing_that_can_be_done_is_one_command() -> None:
    ends: list[State] = [
        Done(("x",)),
        Failed(Reason.SERVER, "it broke"),
        Failed(Reason.NETWORK, "no route"),
        Failed(Reason.TIMEOUT, "no picture", Job("a")),
        Failed(Reason.MODERATED, "no"),
        NOT_SENT,
        Cancelled(CancelOutcome.GOES_ON, Job("b")),
    ]
    found = lines(board(*ends))
    commands = [line.rpartition(": ")[2] for line in found if ": imagegen " in line]
    assert commands == ["imagegen retry 6", "imagegen resume 4 7", "imagegen retry 2 3"]
    assert sum("imagegen" in line for line in found) == 3, "no hint repeats one of them"


def test_after_a_set_back_no_line_names_a_task_or_a_run() -> None:
    """The history lacks them, or has others with their numbers."""
    made = board(
        Failed(Reason.TIMEOUT, "late", job=Job("j")), Failed(Reason.SERVER, "no"), Cancelled(CancelOutcome.NOT_SENT)
    )
    assert len(lines(made)) > 1
    made.is_set_back = lambda: True
    ((_, line),) = summary(made, 9.0, "×")
    assert "imagegen" not in line
    assert line.startswith("3 tasks: 2 failed, 1 cancelled")


def test_one_reason_alone_has_its_command_in_its_hint() -> None:
    found = lines(board(Done(("x",)), *[Failed(Reason.SERVER, "it broke")] * 2))
    assert found == [
        "server ×2: it broke (tasks 2 3)",
        "the service failed; try imagegen retry 2 3 later",
    ]


def test_what_may_be_paid_is_never_among_what_is_sent_again() -> None:
    ends = [
        Failed(Reason.SERVER, "it broke"),
        Failed(Reason.UNCERTAIN, "lost", may_be_paid=True),
        Failed(Reason.NETWORK, "no route"),
    ]
    found = "\n".join(lines(board(*ends)))
    assert "2 can be sent again, as new paid work: imagegen retry 1 3" in found
    assert "imagegen retry 2 --may-repeat pays anew" in found


def test_a_stop_that_left_something_does_not_name_the_run() -> None:
    receipts = [Failed(Reason.TIMEOUT, "no picture", Job(str(number))) for number in range(MAX_IDS + 2)]
    made = board(*receipts, taken=range(1, MAX_IDS + 3))
    assert lines(made)[-1].endswith("imagegen resume --run 1")
    made = board_with(started(*map(task, range(1, MAX_IDS + 4))), *running(MAX_IDS + 3),
                      taken_by=lambda _words, _run: frozenset(map(TaskId, range(1, MAX_IDS + 4))))  # fmt: skip
    for number, state in enumerate(receipts, 1):
        made.tell(TaskChanged(9.0, task(number, state)))
    made.tell(RunStopping(9.0, RunId(1), "Ctrl-C"))
    fetch = [line for line in lines(made) if "can still be fetched" in line]
    assert fetch[0].endswith(" ".join(map(str, range(1, MAX_IDS + 3))))


def test_equal_ends_that_come_together_take_one_line_on_the_screen() -> None:
    with stage(lines=30) as play:
        play.tell(started(*map(task, range(1, 61)), at=100.0), done(1))
        play.tell(*(TaskChanged(101.0, task(number, NOT_SENT)) for number in range(2, 56)))
        play.tell(*(TaskChanged(101.0, task(number, Failed(Reason.UNAUTHORIZED, "no"))) for number in range(56, 60)))
        play.tell(done(60))
        play.tick()
    text = play.paper.scrollback
    assert "⊘ 2–55 not sent, nothing spent · 54 tasks" in text
    assert "✗ 56–59 unauthorized: no · 4 tasks" in text
    assert text.count("a lighthouse") == 2


# Pasted


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


def command(text: str, words: str) -> list[str]:
    """The words of the command in a report, as a shell reads them."""
    [found] = re.findall(rf"imagegen ({words}(?: --[a-z-]+| \d+)+)", text)
    return shlex.split(found)


def would_send(plain: Plain, words: list[str]) -> list[int]:
    return sorted(found["task"] for found in map(json.loads, plain.run(*words, "--dry-run").lines))


def test_the_commands_of_a_report_do_just_what_it_says(tmp_path: Path, server: DreaminaServer) -> None:
    plain = Plain(tmp_path, CONFIG.format(url=server.url))
    prompts = [*(f"cat {number} #30" for number in range(14)), "dog #500", "bird #fail", "fish #dead", "a fox"]
    ended: Ended = plain.run("run", "--each", *prompts, "-j", "20")
    assert ended.code == 5
    assert would_send(plain, command(ended.err, "retry")) == [*range(1, 16)]
    assert command(ended.err, "retry") == ["retry", "--run", "1"]
    assert command(ended.err, "resume") == ["resume", "17"]
    submits = server.counts["submit"]
    plain.run(*command(ended.err, "resume"))
    assert server.counts["submit"] == submits
    again = plain.run(*command(ended.err, "retry"), "--yes")
    assert server.counts["submit"] == submits + 15
    assert would_send(plain, command(again.err, "retry")) == [*range(1, 16)]


def test_a_task_of_an_earlier_run_is_named_by_its_number(tmp_path: Path, server: DreaminaServer) -> None:
    """The run holds more that failed than this retry sent, so that the run's number would mean too much."""
    plain = Plain(tmp_path, CONFIG.format(url=server.url))
    plain.run("run", "--each", *(f"cat {number} #30" for number in range(20)), "-j", "20")
    again = plain.run("retry", *map(str, range(1, 15)), "--yes")
    assert would_send(plain, command(again.err, "retry")) == [*range(1, 15)]


def test_what_a_stop_left_unsent_is_sent_by_the_command_that_it_names(tmp_path: Path, server: DreaminaServer) -> None:
    prompts = ["a cat #never", *(f"dog {number}" for number in range(20))]
    with terminal(tmp_path, server, "run", "--each", *prompts, "-j", "1", "--yes", columns=120) as program:
        program.wait_for("1 running, 20 waiting")
        stop(program, "y")
        assert program.finish() == 130
        text = program.text
    assert "2–21 not sent, nothing spent" in text
    plain = Plain(tmp_path)
    assert would_send(plain, command(text, "retry")) == [*range(2, 22)]
    assert command(text, "retry") == ["retry", "--cancelled", "--run", "1"]
    assert command(text, "resume") == ["resume", "1"]


def test_what_was_sent_again_in_vain_is_named_by_its_number(tmp_path: Path, server: DreaminaServer) -> None:
    """A second attempt that was never sent leaves the task as it was before: failed, not cancelled."""
    prompts = ["a cat #30", "a bird #never", *(f"dog {number}" for number in range(20))]
    with terminal(tmp_path, server, "run", "--each", *prompts, "-j", "1", "--yes", columns=120) as program:
        program.wait_for("1 failed")
        turn(program)
        program.press("g")
        program.wait(lambda: "r retry" in program.text, "the first task chosen")
        program.press("r")
        program.wait_for("send 1 again")
        program.press("y")
        program.wait_for("21 waiting")
        stop(program, "y")
        assert program.finish() == 130
        text = program.text
    assert "1 3–22 not sent, nothing spent" in text
    assert would_send(Plain(tmp_path), command(text, "retry")) == [1, *range(3, 23)]
