"""A terminal or a pipe that takes no output: paid work goes on, signals end it, and what was written comes later."""

import errno
import fcntl
import io
import json
import os
import pty
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from imagegen_cli.core.output import LAST_WAIT_S, MAX_WAITING_BYTES, Output, Writer, await_written, is_behind
from imagegen_cli.core.text import Printer
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program, finished
from tests.test_recover import CONFIG
from tests.test_studio import studio

DEADLINE_S = 40.0
TASKS = 60
PICTURES = 4 * TASKS
LEAVES_WITHIN_S = 3.0
MIB = b"x" * 1024**2
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the pipe of a process is found in /proc")


def until(happens: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not happens():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@contextmanager
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """The end to read, and a text stream as Python opens one for a pipe."""
    reading, writing = os.pipe()
    stream = open(writing, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - an open descriptor
    try:
        yield reading, stream
    finally:
        with suppress(OSError):
            os.close(reading)
        with suppress(OSError):
            stream.close()


@contextmanager
def streams(stdout: IO[str], stderr: IO[str]) -> Iterator[None]:
    before, trouble = (sys.stdout, sys.stderr), Printer.trouble
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield
    finally:
        for replaced in {sys.stdout, sys.stderr} - {stdout, stderr}:
            replaced.close()
        sys.stdout, sys.stderr = before
        Printer.trouble = trouble


def read_all(fd: int) -> bytes:
    found = b""
    while data := os.read(fd, 1 << 20):
        found += data
    return found


# The streams


def test_what_nobody_reads_blocks_nothing_and_comes_later_in_its_order() -> None:
    with pipe() as (reading, stream), streams(stream, stream):
        with Output() as output:
            for number in range(20_000):
                print(f"line {number}", file=output.stdout if number % 2 else output.stderr, flush=True)
            assert is_behind(output.stdout)
            assert is_behind(output.stderr)
            found: list[bytes] = []
            reader = threading.Thread(target=lambda: found.append(read_all(reading)))
            reader.start()
        assert (sys.stdout, sys.stderr) == (stream, stream)
        stream.close()
        reader.join(DEADLINE_S)
    assert found[0].decode().splitlines() == [f"line {number}" for number in range(20_000)]


def test_too_much_is_refused_as_by_a_full_disk_and_what_was_taken_is_kept() -> None:
    with pipe() as (reading, stream):
        writer, raw = Writer(), stream.buffer.raw  # type: ignore[attr-defined]
        left = sum(writer.write(raw, MIB) for _ in range(64))
        assert left == MAX_WAITING_BYTES
        with pytest.raises(OSError, match="64 MiB waited") as refused:
            writer.write(raw, b"x")
        assert refused.value.errno == errno.ENOBUFS
        writer.wake()
        while left:
            left -= len(os.read(reading, 1 << 20))
        assert writer.wait(DEADLINE_S)


def test_data_that_is_cut_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pipe() as (_, stdout), pipe() as (_, stderr), streams(stdout, stderr):
        with Output() as output:
            data = Printer(output.stdout)
            for _ in range(65):
                data.line(MIB.decode())
            output.hurry()
        assert "64 MiB" in Printer.trouble
    assert not capfd.readouterr().out


def test_the_last_line_is_kept_where_earlier_ones_were_dropped() -> None:
    with pipe() as (reading, stdout), pipe() as (_, stderr), streams(stdout, stderr):
        found: list[bytes] = []
        with Output() as output:
            data = Printer(output.stdout)
            for _ in range(65):
                data.line(MIB.decode())
            data.last_line("the end")
            reader = threading.Thread(target=lambda: found.append(read_all(reading)))
            reader.start()
        stdout.close()
        reader.join(DEADLINE_S)
        assert found[0].endswith(b"x\nthe end\n")
        assert found[0].count(b"\n") == 64
        assert "64 MiB" in Printer.trouble


def test_a_signal_limits_the_wait_and_no_later_message_blocks() -> None:
    with pipe() as (_, stream), streams(stream, stream):
        began = time.monotonic()
        with Output() as output:
            output.stderr.write("x" * 1_000_000)
            output.hurry()
        assert LAST_WAIT_S <= time.monotonic() - began < DEADLINE_S
        assert LAST_WAIT_S < LEAVES_WITHIN_S
        for late in (sys.stdout, sys.stderr):
            late.write("more" * 100_000)
            late.flush()


def test_a_reader_that_leaves_is_told_as_before() -> None:
    with pipe() as (reading, stdout), pipe() as (_, stderr), streams(stdout, stderr):
        with Output() as output:
            data = Printer(output.stdout)
            data.line("first")
            await_written(output.stdout, DEADLINE_S)
            os.close(reading)
            data.line("second")
            await_written(output.stdout, DEADLINE_S)
            data.line("third")
            assert data.is_gone
        assert not Printer.trouble


def test_streams_of_no_file_are_left_alone() -> None:
    text = io.StringIO()
    with streams(text, text), Output() as output:
        assert output.stdout is text
        assert not is_behind(text)


# The program


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=2, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


def listed(project: Program, mark: str = "") -> list[str]:
    lines = "".join(f"a cat {number}{mark}\n" for number in range(TASKS))
    (project.folder / "list.txt").write_text(lines, encoding="utf-8")
    return ["batch", "list.txt", "-j", "20", "--yes"]


@contextmanager
def unread_terminal(project: Program, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The program in a terminal that takes what its buffer holds and no more."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "imagegen_cli", *words]
    environment = project.environment(TERM="xterm-256color")
    process = subprocess.Popen(
        command, cwd=project.folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def ends(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", number: signal.Signals) -> int:
    """Its exit code. The reader never reads: without its own limit the program would never end."""
    process.send_signal(number)
    return process.wait(DEADLINE_S)


def heartbeat(project: Program) -> int:
    (file,) = project.home.rglob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT max(heartbeat) FROM process").fetchone()[0])


def saved(project: Program) -> list[Path]:
    return [path for path in project.pictures() if path.suffix == ".png"]


@pytest.mark.parametrize("progress", [(), ("--progress", "plain")], ids=["table", "lines"])
def test_a_terminal_that_takes_nothing_stops_no_paid_work(
    project: Program, server: DreaminaServer, progress: tuple[str, ...]
) -> None:
    with unread_terminal(project, *listed(project), *progress) as process:
        until(lambda: len(saved(project)) == PICTURES)
        until(lambda: {task["state"] for task in project.tasks()} == {"done"})
        assert server.counts["submit"] == TASKS
        assert ends(process, signal.SIGTERM) in (0, 143)  # 0: all of the few last lines found room
    assert {task["state"] for task in project.tasks()} == {"done"}


@pytest.mark.parametrize(
    ("signals", "code"),
    [((signal.SIGTERM,), 143), ((signal.SIGHUP,), 129), ((signal.SIGINT, signal.SIGINT), 130)],
    ids=["SIGTERM", "SIGHUP", "Ctrl-C twice"],
)
def test_signals_end_a_run_whose_terminal_takes_nothing(
    project: Program, server: DreaminaServer, signals: tuple[signal.Signals, ...], code: int
) -> None:
    with unread_terminal(project, *listed(project, " #never")) as process:
        until(lambda: server.counts["submit"] == 20)
        before = heartbeat(project)
        queries = server.counts["query"]
        until(lambda: server.counts["query"] > queries + TASKS)
        until(lambda: heartbeat(project) > before)
        for number in signals[:-1]:
            process.send_signal(number)
            until(lambda: {task["state"] for task in project.tasks()} == {"cancelled"})  # two at once would be one
        assert ends(process, signals[-1]) == code


def test_json_that_is_read_late_is_whole_and_in_order(project: Program, server: DreaminaServer) -> None:
    process = project.start(*listed(project), "--json")
    until(lambda: len(saved(project)) == PICTURES)
    until(lambda: {task["state"] for task in project.tasks()} == {"done"})
    ended = finished(process)
    assert ended.code == 0
    assert len(ended.out) > 1 << 16  # more than a pipe holds
    assert [one["event"] for one in ended.objects].count("task-added") == TASKS
    assert ended.objects[-1]["event"] == "summary"
    assert ended.objects[-1]["done"] == TASKS
    moments = [one["at"] for one in ended.objects[:-1]]
    assert moments == sorted(moments)
    assert server.counts["submit"] == TASKS


@needs_proc
@pytest.mark.parametrize("mark", ["", " #never"], ids=["when all has ended", "while tasks run"])
def test_sigterm_ends_a_run_whose_json_is_not_read(project: Program, server: DreaminaServer, mark: str) -> None:
    process = project.start(*listed(project, mark + " long" * 300), "--json")
    if mark:
        until(lambda: is_full(process))
    else:
        until(lambda: len(saved(project)) == PICTURES)
    try:
        assert ends(process, signal.SIGTERM) == 143
    finally:
        process.kill()
        out, _ = process.communicate()
    for line in out.splitlines()[:-1]:
        json.loads(line)


@needs_proc
def test_a_watch_that_is_not_read_is_ended_by_a_signal(project: Program, server: DreaminaServer) -> None:
    assert project.run(*listed(project, " long" * 300)).code == 0  # much more than a pipe holds
    process = project.start("watch", "--replay", "--json", "--speed", "1000")
    try:
        until(lambda: is_full(process))
        assert ends(process, signal.SIGTERM) == 143
    finally:
        process.kill()
        process.communicate()


def is_full(process: "subprocess.Popen[str]") -> bool:
    """Whether the pipe of stdout takes no more: how many bytes that is depends on the sizes of the writes."""
    writing_end = os.open(f"/proc/{process.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return not select.select([], [writing_end], [], 0)[1]
    finally:
        os.close(writing_end)


def test_sigterm_gives_a_terminal_back_that_ctrl_s_has_stopped(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.enter("a red house")
        program.wait_for("1 done")
        program.send("\x13")
        program.send("a blue house")
        program.signal(signal.SIGTERM)
        try:
            assert program.finish() == 143
            program.wait(lambda: program.is_given_back, "the terminal as it was")
        finally:
            program.send("\x11")


def test_ctrl_s_stops_the_screen_and_neither_pictures_nor_prompts(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.enter("a red house")
        program.wait_for("1 done")
        program.send("\x13")
        program.send("a blue house")
        for _ in range(10):  # an enter that comes too soon after a paste is refused, on a busy machine more than one
            if server.counts["submit"] < 2:
                program.press("\r")
        until(lambda: server.counts["submit"] == 2)
        until(lambda: len(saved(project)) == 8)
        assert "2 done" not in program.text
        program.send("\x11")
        program.wait_for("2 done")
        program.send("\x04")
        assert program.finish() == 0
        assert program.is_given_back
