"""Signals in the middle of a submit: nothing that was paid for is lost, and nothing that hangs keeps the process."""

import asyncio
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Fault, Pictures, Reply, Request
from tests.histories import outside
from tests.program import LIMIT, Program, finished, take, waits
from tests.test_cli import CONFIG
from tests.test_studio import studio

ANSWER_S = 0.3
TASKS = 4
HUP, TERM, INT = signal.SIGHUP, signal.SIGTERM, signal.SIGINT
SIGNALS = {
    "SIGHUP": ((HUP,), 129),
    "SIGHUP of kernel and shell": ((HUP, HUP, HUP), 129),
    "SIGTERM": ((TERM,), 143),
    "SIGTERM twice": ((TERM, TERM), 143),
    "Ctrl-C": ((INT,), 130),
    "Ctrl-C twice": ((INT, INT), 130),
    "Ctrl-C, then no terminal": ((INT, HUP, HUP), 130),
}
BETWEEN_S = 0.05
"""Seconds between two signals: two that arrive together count as one."""
FAR_S = 300.0
"""Seconds that no test waits for."""
ENGINE, SESSION = "imagegen_cli.engine", "imagegen_cli.commands.session"
STOP = {f"{ENGINE}.runner:CANCEL_GRACE_S": FAR_S, f"{ENGINE}.task_flow:CANCEL_GRACE_S": FAR_S}
LAST_ANSWERS = {f"{SESSION}:LAST_ANSWERS_S": FAR_S}
PATIENT = STOP | LAST_ANSWERS | {f"{SESSION}:HANGUP_WAIT_S": FAR_S, f"{SESSION}:HANGUP_BURST_S": FAR_S}
"""Each limit for an answer that comes, and that within which SIGHUP is one signal: a busy machine meets none."""


class Late(DreaminaServer):
    """Accepts a submit at once, and answers it a little later."""

    async def answer(self, request: Request) -> Reply:
        reply = await super().answer(request)
        if self.kind(request) == "submit":
            await asyncio.sleep(ANSWER_S)
        return reply


@pytest.fixture
def server() -> Iterator[Late]:
    with Late(seconds=1.0, pictures=Pictures("png", (8, 8))) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: Late) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


def until(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def send(process: "subprocess.Popen[Any]", signals: tuple[signal.Signals, ...]) -> None:
    for number in signals:
        take(process, number)
        time.sleep(BETWEEN_S)


def is_taken(pid: int, number: signal.Signals) -> bool:
    return not waits(pid, number)


def prepared(program: Program, command: str, server: Late) -> list[str]:
    """The words of a command that sends TASKS tasks."""
    prompts = [f"fox {number}" for number in range(TASKS)]
    (program.folder / "list.txt").write_text("\n".join(prompts))
    batch = ["batch", "list.txt", "--yes", "-q"]
    if command == "work":
        assert program.run(*batch, "--queue").code == 0
        return ["work", "-q"]
    if command == "retry":
        server.fail("submit", Reply.json({"success": False, "message": "提示词包含敏感内容"}, 400), times=TASKS)
        assert program.run(*batch).code == 1
        assert not server.jobs
        return ["retry", "--failed", "--reason", "moderated", "--reason", "bad-request", "--yes", "-q"]
    return {"run": ["run", *prompts, "-q"], "batch": batch}[command]


def nothing_is_lost(program: Program, server: Late) -> None:
    """What was sent is fetched without a further payment; what was not sent is known to be so."""
    server.release()
    sent = len(server.jobs)
    assert program.run("resume", "-q").code in (0, 4)
    tasks = program.tasks()
    assert [task for task in tasks if task["reason"] == "uncertain"] == []
    assert sum(task["state"] == "done" for task in tasks) == sent == len(server.jobs)
    assert {task["state"] for task in tasks} <= {"done", "cancelled", "queued"}


@pytest.mark.parametrize("command", ["run", "batch", "retry", "work"])
@pytest.mark.parametrize(("signals", "code"), SIGNALS.values(), ids=SIGNALS)
def test_a_signal_in_the_middle_of_a_submit_loses_no_receipt(
    program: Program, server: Late, command: str, signals: tuple[signal.Signals, ...], code: int
) -> None:
    program.set_limits(PATIENT)
    words = prepared(program, command, server)
    server.seconds = HELD
    process = program.start(*words)
    until(lambda: len(server.jobs) > 1 or process.poll() is not None)
    send(process, signals)
    server.release()
    assert finished(process).code == code
    nothing_is_lost(program, server)


@pytest.mark.parametrize(("signals", "code"), SIGNALS.values(), ids=SIGNALS)
def test_a_signal_to_the_studio_in_the_middle_of_a_submit_loses_no_receipt(
    program: Program, server: Late, signals: tuple[signal.Signals, ...], code: int
) -> None:
    program.set_limits(PATIENT)
    server.seconds = HELD
    with studio(program) as terminal:
        terminal.enter("a red house")
        until(lambda: server.jobs)
        for number in signals:
            terminal.signal(number)
            until(partial(is_taken, terminal.pid, number))
            time.sleep(BETWEEN_S)
        server.release()
        assert terminal.finish() == code
        assert terminal.is_given_back
    nothing_is_lost(program, server)


AFTER_THE_END = """
import os, signal
import imagegen_cli.__main__ as program
from imagegen_cli.commands.signals import note_end, signals
program._end_by_code()
try:
    with signals(note_end):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    print("not reached")
finally:
    print("the history is closed")
"""
AT_THE_VERY_END = """
import os
import imagegen_cli.__main__ as program
from imagegen_cli import cli
program._end_by_code()
class Late:
    def __del__(self, kill=os.kill, own=os.getpid()):
        kill(own, {number:d})
late = Late()
print("the history is closed")
cli._exit(143)
"""


@pytest.mark.parametrize(
    "script",
    [AFTER_THE_END, *(AT_THE_VERY_END.format(number=number) for number in (HUP, TERM))],
    ids=["before the history is closed", "SIGHUP at the very end", "SIGTERM at the very end"],
)
def test_one_more_signal_after_the_one_that_ends_a_command_changes_nothing(program: Program, script: str) -> None:
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=program.folder, env=program.environment(), check=False, capture_output=True)
    assert (ended.returncode, ended.stdout.decode()) == (143, "the history is closed\n")


@pytest.mark.parametrize("words", [["run", "a cat"], ["run", "a cat", "--progress", "plain"]], ids=" ".join)
def test_a_terminal_that_is_closed_in_the_middle_of_a_submit_loses_no_receipt(
    program: Program, server: Late, words: list[str]
) -> None:
    program.set_limits(PATIENT)
    server.seconds = HELD
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "imagegen_cli", *words],
        cwd=program.folder,
        env=program.environment(TERM="xterm-256color"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no threads here
    )
    os.close(slave)
    try:
        until(lambda: server.jobs)
        os.close(master)
        assert process.wait(LIMIT) == 129
    finally:
        process.kill()
        process.wait()
    nothing_is_lost(program, server)


PAYS_ANEW = "look at the service; imagegen retry {id} --may-repeat --budget 9usd --assume-price 0.04usd pays anew"


@pytest.mark.parametrize("prompts", [["fox"], ["fox", "cat"]], ids=len)
def test_what_is_said_of_a_submit_that_was_never_answered_does_something(
    program: Program, server: Late, prompts: list[str]
) -> None:
    (program.folder / "list.txt").write_text("\n".join(prompts))
    money = ("--budget", "9usd", "--assume-price", "0.04usd")
    batch = ["batch", "list.txt", "--yes", "--progress", "plain", "-j", "1", *money]
    server.fail("submit", Fault.STALL, times=1)
    process = program.start(*batch)
    until(lambda: server.counts["submit"])
    send(process, (INT,))
    ended = finished(process)
    assert (ended.code, PAYS_ANEW.format(id=1) in ended.err) == (130, True), ended.err
    told = [program.run("show", "1").out, program.run("resume", "1").err, program.run(*batch).err]
    command = "imagegen retry 1 --may-repeat"
    for text in told:
        assert command in " ".join(text.split()).replace("retry 1 --budget 9usd --assume-price 0.04usd", "retry 1"), (
            text
        )
        assert "imagegen resume" not in text
    jobs = len(server.jobs)
    assert program.run(*command.split()[1:], *money, "-q").code == 0
    assert len(server.jobs) == jobs + 1


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("submitting", "look at the service; imagegen resume 1 ends the task as uncertain, then imagegen retry 1"),
        ("queued", "it ended before it sent anything; imagegen resume 1 cancels the task, then imagegen retry 1"),
    ],
)
def test_what_a_dead_process_left_is_told_as_resume_takes_it(
    program: Program, server: Late, state: str, said: str
) -> None:
    server.fail("submit", Fault.STALL, times=None)
    process = program.start("run", "fox", "-q")
    until(lambda: server.counts["submit"])
    process.kill()
    finished(process)
    with outside(program.home / "history.db") as db:
        db.execute("UPDATE task SET state = ?, detail = '{}'", (state,))
    assert said in " ".join(program.run("show", "1").out.split())
    assert program.run("resume", "1").code in (1, 4)
    (task,) = program.tasks()
    assert (task["state"], task["reason"]) == {
        "submitting": ("failed", "uncertain"),
        "queued": ("cancelled", "cancelled"),
    }[state]


@pytest.mark.parametrize("command", ["run", "work"])
@pytest.mark.parametrize(
    ("signals", "far"),
    [((HUP,), {}), ((TERM, TERM), STOP), ((INT, INT), STOP), ((INT, INT, INT), STOP | LAST_ANSWERS)],
    ids=["SIGHUP", "SIGTERM twice", "Ctrl-C twice", "Ctrl-C three times"],
)
def test_a_submit_that_is_never_answered_keeps_no_process(
    program: Program, server: Late, command: str, signals: tuple[signal.Signals, ...], far: dict[str, float]
) -> None:
    """What is planned is 10, 2, 2 and 0 seconds. What earlier signals would leave is longer than the test waits."""
    program.set_limits(far)
    words = prepared(program, command, server)
    server.fail("submit", Fault.STALL, times=None)
    process = program.start(*words)
    until(lambda: server.counts["submit"])
    send(process, signals)
    finished(process)
