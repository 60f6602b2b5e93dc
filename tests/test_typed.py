"""What is typed for another program, or a moment too soon: it answers no question, and costs, holds and cancels nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("said", ["yarn build\r", "yes | head\r", "yy\r", "\r", "\x04", "n\r", "ye\r", "y\x04\x04"])
def test_only_a_whole_word_says_yes(studio: Program, server: DreaminaServer, said: str) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.wait_for("Send them? [y/N]")
        program.send(said)
        code = program.finish()
    assert (code, server.counts["submit"]) == (2, 6)


@pytest.mark.parametrize("said", ["y\r", " YES \r"])
def test_a_yes_sends(studio: Program, server: DreaminaServer, said: str) -> None:
    failed(studio)
    with terminal(studio, "retry", "--reason", "moderated") as program:
        program.wait_for("Send them? [y/N]")
        program.send(said)
        assert program.finish() == 1
    assert server.counts["submit"] == 12


@pytest.mark.parametrize(
    ("ahead", "said", "code", "sent"),
    [
        ("apt update\r", "\r", 2, 0),
        ("ssh x\r", "ssh x\r", 2, 0),
        ("a\r", "apt update\r", 2, 0),
        ("s\r", "s\r", 0, 1),
        ("", "again\r", 0, 3),
    ],
)
def test_lines_that_were_sent_before_are_sent_or_skipped_by_whole_words(
    studio: Program, server: DreaminaServer, ahead: str, said: str, code: int, sent: int
) -> None:
    write(studio, "list.txt", "a cat", "a dog")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "other.txt", "a cat", "a dog", "a bird")
    with terminal(studio, "batch", "other.txt") as program:
        program.send(ahead)
        program.wait_for("[s/a/N]")
        program.send(said)
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
