"""Keys that are typed for another program, or too soon: they answer no question, and send, pause and cancel nothing."""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen_cli.display.keys import keyboard
from tests import screen
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program
from tests.test_recover import CONFIG, write


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


def terminal(studio: Program, *words: str, columns: int = 100) -> screen.Program:
    command = [sys.executable, "-m", "imagegen_cli", *words]
    return screen.Program(command, columns=columns, lines=40, environ=studio.environment(), cwd=studio.folder)


def failed(studio: Program) -> None:
    """Six tasks that failed: one more than `retry` sends without asking."""
    assert studio.run("run", *(f"cat {number} #fail" for number in range(6))).code == 1


TYPED_AHEAD = ["yarn build\r", "y\r", "yes\r", "\r\r", "y"]


@pytest.mark.parametrize("typed", TYPED_AHEAD)
def test_what_was_typed_before_a_paid_question_is_no_answer(
    studio: Program, server: DreaminaServer, typed: str
) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.send(typed)
        program.wait_for("Send them? [y/N]")
        program.send("n\r")
        assert program.finish() == 2
        assert "nothing was sent" in program.text
    assert server.counts["submit"] == 6


@pytest.mark.parametrize("answer", ["yarn build\r", "yes | head\r", "yy\r", "\r", "\x04", "n\r", "ye\r", "y\x04\x04"])
def test_only_a_whole_word_says_yes(studio: Program, server: DreaminaServer, answer: str) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.wait_for("Send them? [y/N]")
        program.send(answer)
        code = program.finish()
    assert (code, server.counts["submit"]) == (2, 6)


@pytest.mark.parametrize("answer", ["y\r", " YES \r", "是\r"])
def test_a_yes_sends(studio: Program, server: DreaminaServer, answer: str) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.wait_for("Send them? [y/N]")
        program.answer(answer, lambda: server.counts["submit"] > 6)
        assert program.finish() == 1
    assert server.counts["submit"] == 12


def test_the_end_of_a_line_that_was_being_typed_is_no_answer(studio: Program, server: DreaminaServer) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        told, over = threading.Event(), threading.Event()
        hand = threading.Thread(target=typed_on, args=(program, told, over))
        hand.start()
        program.wait(lambda: program.refused, "an answer that is not taken")
        told.set()
        assert program.finish() == 2
        over.set()
        hand.join()
    assert server.counts["submit"] == 6


def typed_on(program: screen.Program, told: threading.Event, over: threading.Event) -> None:
    """Answer again and again, so that an answer comes with the question also where the machine is busy.

    Then answer with no, again and again: what comes between two questions is dropped.
    """
    while not over.wait(0.02):
        program.send("n\r" if told.is_set() else "y\r")


def test_an_answer_that_came_while_the_program_was_stopped_is_not_taken(
    studio: Program, server: DreaminaServer
) -> None:
    """It cannot know when the answer came: perhaps with the question."""
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.wait_for("Send them? [y/N]")
        program.signal(signal.SIGSTOP)
        program.stopped()
        program.press("y\r")
        program.foreground()
        program.wait(lambda: program.refused and program.text.endswith("[y/N]"), "the question once more")
        program.send("n\r")
        assert program.finish() == 2
    assert server.counts["submit"] == 6


@pytest.mark.parametrize(
    ("ahead", "expected", "code", "sent"),
    [
        ("apt update\r", "\r", 2, 0),
        ("ssh x\r", "ssh x\r", 2, 0),
        ("a\r", "apt update\r", 2, 0),
        ("s\r", "s\r", 0, 1),
        ("", "again\r", 0, 3),
    ],
)
def test_lines_that_were_sent_before_are_sent_or_skipped_by_whole_words(
    studio: Program, server: DreaminaServer, ahead: str, expected: str, code: int, sent: int
) -> None:
    write(studio, "list.txt", "a cat", "a dog")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "other.txt", "a cat", "a dog", "a bird")
    with terminal(studio, "batch", "other.txt") as program:
        program.send(ahead)
        program.wait_for("[s/a/N]")
        if sent:
            program.answer(expected, lambda: server.counts["submit"] > 2)
        else:
            program.send(expected)
        assert program.finish() == code
    assert server.counts["submit"] == 2 + sent


def test_what_was_typed_before_the_dialogue_of_init_fills_in_nothing(studio: Program, server: DreaminaServer) -> None:
    with terminal(studio, "init", "--kind", "dreamina", "--name", "mine") as program:
        program.send("\r\r\r\rmake\r")
        program.wait_for("Its address")
        program.send(f"{server.url}\r")
        program.wait_for("Number or name [none]:")
        program.settle()
        assert program.text.count("Number or name") == 1
        assert f"5000]: {server.url}" in program.text
        program.send("\x03")
        assert program.finish() == 130


def test_yes_asks_nothing_on_a_terminal(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", "a cat", "a dog")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "other.txt", "a cat", "a dog", "a bird")
    with terminal(studio, "batch", "other.txt", "-y") as program:
        assert program.finish() == 0
        assert "skipped 2 of 3 prompts: sent before, from another list (tasks 1 2)" in program.scrollback
        assert "[s/a/N]" not in program.scrollback
    assert server.counts["submit"] == 3


@pytest.mark.parametrize("words", [("--skip-sent",), ("--yes",), ("--again",), ()])
def test_the_last_line_of_a_dry_run_says_what_the_real_run_does(studio: Program, words: tuple[str, ...]) -> None:
    write(studio, "list.txt", "a cat")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "other.txt", "a cat", "a dog")
    last = studio.run("batch", "other.txt", "--dry-run", *words).err.splitlines()[-1]
    text = "the real run stops with exit code 2 and sends nothing; --skip-sent skips them, --again sends them again"
    assert last == f"1 prompt sent before, from another list: {text}" if not words else "nothing was sent" in last
    assert studio.run("batch", "other.txt", *words).code == (0 if words else 2)


def test_a_dry_run_on_a_terminal_says_that_the_real_one_asks(studio: Program) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated", "--dry-run", columns=200) as program:
        assert program.finish() == 0
        assert "more than 5 tasks: the real one asks first; --yes sends them without asking" in program.text
    text = studio.run("retry", "--reason", "moderated", "--dry-run").err
    assert "more than 5 tasks: the real one stops with exit code 2, sends nothing" in text


PASTES = [
    ('["a kite", "teapot"]', ["a kite", "teapot"]),
    ("prompt,ratio\na kite,1:1\nteapot,16:9\n", ["a kite", "teapot"]),
    ("a kite\n# a remark\nteapot", ["a kite", "teapot"]),
]


@pytest.mark.parametrize(("pasted", "prompts"), PASTES)
def test_a_paste_into_the_table_is_read_as_batch_reads_a_list(
    studio: Program, server: DreaminaServer, pasted: str, prompts: list[str]
) -> None:
    with terminal(studio, "run", "a cat #never") as program:
        program.wait_for("running")
        program.send("\t")
        program.wait_for("q stop")
        program.press(f"\x1b[200~{pasted}\x1b[201~")
        program.wait_for("enter adds 2 tasks")
        assert [prompt for prompt in prompts if f"  {prompt}" not in program.text] == []
        program.press("\r")
        program.wait(lambda: server.counts["submit"] == 3, "two tasks more")
        program.send("\x03")
        assert program.finish() == 130
    assert sorted(request.json()["prompt"] for request in server.requests_of("submit")[1:]) == prompts


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [("# a remark", "the list has no prompt, only remarks"), ("a kite\n\x01--\n??\n!!", "; paste:")],
)
def test_what_is_no_list_is_refused_on_one_line(
    studio: Program, server: DreaminaServer, pasted: str, expected: str
) -> None:
    with terminal(studio, "run", "a cat #never") as program:
        program.wait_for("running")
        program.send("\t")
        program.wait_for("q stop")
        program.press(f"\x1b[200~{pasted}\x1b[201~")
        program.wait_for("cannot be added: ")
        assert expected in program.text
        assert "\\n" not in program.text
        program.press("\r")
        program.settle()
        program.send("\x03")
        assert program.finish() == 130
    assert server.counts["submit"] == 1


def test_a_marked_paste_with_the_enter_key_behind_it_adds_nothing(studio: Program, server: DreaminaServer) -> None:
    with terminal(studio, "run", "a cat #never") as program:
        program.wait_for("running")
        program.send("\t")
        program.wait_for("q stop")
        program.press("\x1b[200~one\ntwo\n\x1b[201~\r")
        program.wait_for("nothing added yet: wait a moment, read it, then press enter")
        program.send("\x1b")
        program.wait_for("a add")
        program.send("\x03")
        assert program.finish() == 130
    assert server.counts["submit"] == 1


def test_keys_from_before_the_table_are_dropped(studio: Program, server: DreaminaServer) -> None:
    with terminal(studio, "run", "a cat #never", "a dog #never", "-j", "1") as program:
        program.send("\x1b[A \x1b[Ac\x1b[A add it\r")
        program.wait_for("1 running, 1 waiting")
        program.settle()
        program.wait_for("tab keys")
        assert "paused" not in program.text
        program.send("\x03")
        assert program.finish() == 130
    assert server.counts["submit"] == 1


def test_ctrl_c_while_modules_are_imported_is_no_traceback(studio: Program) -> None:
    place = studio.folder / "slow"
    place.mkdir()
    (place / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemError\n")
    path = os.pathsep.join([str(place), str(Path(__file__).parents[1])])
    ended = studio.run("run", "a cat", PYTHONPATH=path)
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def test_to_send_again_and_to_leave_out_exclude_each_other(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", "a cat")
    assert studio.run("batch", "list.txt", "--again", "--skip-sent").code == 2
    assert server.counts["submit"] == 0


@pytest.mark.parametrize("owns", [False, True], ids=["table", "prompt line"])
@pytest.mark.parametrize("signal_key", ["\x03", "\x1a", "\x1c"], ids=["Ctrl-C", "Ctrl-Z", "Ctrl-backslash"])
def test_the_kernel_drops_no_key_at_a_signal(signal_key: str, *, owns: bool) -> None:
    """A key that is gone between the look for it and the read would leave the program waiting, with the signal."""
    with screen.Paper() as paper:
        found = keyboard(paper.keys, paper.stream, owns=owns)
        assert found is not None
        found.enter()
        paper.send(f"x{signal_key}")
        assert found.read()[:1] == ["x"]
        found.leave()
        assert paper.modes_restored


@pytest.mark.parametrize("owns", [False, True], ids=["table", "prompt line"])
def test_what_was_not_read_of_the_keys_is_not_left_for_the_shell(*, owns: bool) -> None:
    with screen.Paper() as paper:
        found = keyboard(paper.keys, paper.stream, owns=owns)
        assert found is not None
        found.enter()
        paper.send("reboot\r")
        found.leave()
        assert not select.select([paper.slave], [], [], 0)[0]
