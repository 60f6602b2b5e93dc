"""Money in the live table: what was spent, a budget that is reached, an account that is out of credits."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures, Reply
from tests.program import Program as Plain
from tests.screen import Program
from tests.test_cli import CONFIG
from tests.test_store import sql
from tests.test_terminal import repeat, restored, stop, turn

POOR = Reply.json({"detail": "Insufficient credits"}, 402)
PRICES = '[prices]\n"studio/*" = "0.01usd"\n'
SIZES = pytest.mark.parametrize(("columns", "lines"), [(40, 12), (80, 24), (120, 40)])


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(seconds=0.5, pictures=Pictures("png", (16, 16))) as server:
        yield server


class House:
    """One history with prices, and terminals on it. A picture costs 0.01 usd, so that a task costs 0.04 usd."""

    def __init__(self, folder: Path, server: DreaminaServer, stack: ExitStack) -> None:
        self.server = server
        self.plain = Plain(folder, CONFIG.format(url=server.url) + PRICES)
        self._stack = stack

    def open(self, *words: str, **size: Any) -> Program:
        kept = ("PATH", "IMAGEGEN_HOME", "HOME")
        environ = {key: value for key, value in self.plain.environment().items() if key in kept}
        environ |= {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUTF8": "1", "NO_PROXY": "*"}
        command = [sys.executable, "-m", "imagegen_cli", *words]
        return self._stack.enter_context(Program(command, environ=environ, cwd=self.plain.folder, **size))

    def states(self) -> list[str]:
        return [task["state"] for task in self.plain.tasks()]


@pytest.fixture
def house(tmp_path: Path, server: DreaminaServer) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, server, stack)


def footer(program: Program) -> str:
    """The line of what was spent and reserved; empty where there is none."""
    found = (line.strip() for line in program.text.splitlines() if re.search(r"^\s*(spent|reserved|~|\+)", line))
    return next(found, "")


# What was spent


@pytest.mark.parametrize(
    ("columns", "lines", "form"),
    [
        (32, 12, "~0.04 usd +0.08 usd"),
        (40, 12, "spent about 0.04 usd, reserved 0.08 usd"),
        (80, 24, "spent about 0.04 usd, reserved 0.08 usd"),
        (120, 40, "spent about 0.04 usd, reserved 0.08 usd"),
    ],
)
def test_the_footer_says_what_was_spent_and_what_is_reserved(house: House, columns: int, lines: int, form: str) -> None:
    words = ("a cat #now", "a dog #never", "a bird #never")
    program = house.open("run", *words, "-j", "3", columns=columns, lines=lines)
    program.wait_for("2 running, 1 done" if columns > 40 else "1 done")
    program.wait(lambda: footer(program) == form, form)
    assert all(len(line) < columns for line in program.text.splitlines())
    watch = house.open("watch", "--run", "1", columns=columns, lines=lines)
    watch.wait(lambda: footer(watch) == form, form)
    watch.send("q")
    watch.finish()
    program.send("\x03")
    assert program.finish() == 130
    assert "spent about 0.04 usd" in program.scrollback
    assert restored(program)


def test_a_low_screen_has_the_costs_behind_the_counts(house: House) -> None:
    program = house.open("run", "a cat #never", "a dog #never", columns=80, lines=6)
    program.wait_for("2 running; reserved 0.08 usd")


def test_the_card_of_one_task_says_what_it_costs(house: House) -> None:
    program = house.open("run", "a cat #held")
    program.wait_for("reserved 0.04 usd")
    house.server.release()
    assert program.finish() == 0
    assert "spent about 0.04 usd" in program.text


def test_where_nothing_has_a_price_no_screen_says_a_word_about_it(house: House) -> None:
    house.plain.configure(CONFIG.format(url=house.server.url))
    program = house.open("run", "a cat #now", "a dog #slow")
    assert program.finish() == 0
    assert not re.search(r"spent|reserved|usd", program.scrollback)
    assert house.plain.run("list").out.count("?") == 0


def test_watch_has_the_costs_of_a_run_whose_events_are_gone(house: House) -> None:
    program = house.open("run", "a cat #now", "a dog #never", "a bird #never")
    program.wait(lambda: footer(program) == "spent about 0.04 usd, reserved 0.08 usd", "costs")
    sql(house.plain.home / "history.db", "DELETE FROM event")
    watch = house.open("watch", "--run", "1")
    watch.wait(lambda: footer(watch) == "spent about 0.04 usd, reserved 0.08 usd", "the same costs")


def test_watch_tells_programs_the_costs(house: House) -> None:
    program = house.open("run", "a cat #now", "a dog #never")
    program.wait_for("1 done")
    process = house.plain.start("watch", "--run", "1", "--json")
    assert process.stdout is not None
    charged = next(line for line in process.stdout if '"task-charged"' in line and '"id": 1,' in line)
    process.kill()
    process.communicate()
    cost = {"amount": 0.04, "unit": "usd", "source": "set", "status": "settled"}
    assert json.loads(charged)["cost"] == cost


# A budget that is reached


@SIZES
def test_a_budget_that_is_reached_says_so_while_what_is_sent_finishes(house: House, columns: int, lines: int) -> None:
    prompts = [f"第{number}只猫 #held" for number in range(5)]
    program = house.open("run", *prompts, "--budget", "0.09usd", columns=columns, lines=lines)
    whole = "budget reached: what is sent may finish, nothing new is sent"
    program.wait_for(whole if columns > 60 else "budget reached: nothing new is sent")
    house.server.release()
    assert program.finish() == 6
    assert house.server.counts["submit"] == 2
    assert "3 tasks not sent" in " ".join(program.scrollback.split())
    assert restored(program)


def test_nothing_is_added_once_the_budget_is_reached(house: House) -> None:
    program = house.open("run", "a cat #never", "a dog #never", "a bird #never", "--budget", "0.09usd", columns=100)
    program.wait_for("budget reached")
    repeat(program, "\t", "? help")
    assert "a add" not in program.text
    program.press("q")
    program.wait_for("stop now? 2 sent")
    program.press("y")
    assert program.finish() == 130


# Out of credits


@SIZES
def test_out_of_credits_holds_the_rest_until_space(house: House, columns: int, lines: int) -> None:
    house.server.fail("submit", POOR, times=None, after=1)
    prompts = ["a cat", "a dog", "a bird", "a fish"]
    program = house.open("run", *prompts, "-j", "1", columns=columns, lines=lines)
    whole = "out of credits: 1 sent, 3 wait; top up and press tab and space, or q"
    program.wait_for(whole if columns > 68 else "no credits: tab and space, or q")
    assert house.server.counts["submit"] == 2
    turn(program)
    house.server.heal()
    program.press(" ")
    assert program.finish() == 0
    assert house.states() == ["done"] * 4
    assert "studio is out of credits: HTTP 402: Insufficient credits" in " ".join(program.scrollback.split())
    assert restored(program)


def test_a_second_refusal_holds_again_and_q_ends_with_the_command_that_goes_on(house: House) -> None:
    house.server.fail("submit", POOR, times=None, after=1)
    program = house.open("run", "a cat", "a dog", "a bird", "-j", "1", columns=100)
    program.wait_for("out of credits: 1 sent, 2 wait")
    turn(program)
    program.wait_for("top up and press space, or q")
    program.press(" ")
    program.wait(lambda: house.server.counts["submit"] == 3, "another try")
    program.wait_for("out of credits: 1 sent, 2 wait")
    stop(program)
    assert program.finish() == 130
    assert restored(program)
    text = " ".join(program.text.split())
    assert "2 tasks not sent: HTTP 402: Insufficient credits; top up, then imagegen retry 2 3" in text
    house.server.heal()
    assert house.plain.run("retry", "2", "3").code == 0
    assert house.states() == ["done"] * 3
    charged = house.plain.run("costs", "--json").objects[0]
    assert (charged["submits"], charged["set"]) == (3, 0.12)


def test_an_account_without_credits_can_be_left_while_what_was_sent_finishes(house: House) -> None:
    house.server.fail("submit", POOR, times=None, after=1)
    program = house.open("run", "a cat #held", "a dog", "a bird", columns=100)
    program.wait_for("out of credits: 1 sent, 2 wait")
    stop(program, "w")
    program.wait(lambda: "out of credits: 1 sent" not in program.text, "the end of the wait")
    house.server.release()
    assert program.finish() == 1
    assert house.states() == ["done", "cancelled", "cancelled"]
    assert "2 tasks not sent: HTTP 402: Insufficient credits; top up, then imagegen retry 2 3" in program.text


def test_the_only_task_of_a_run_waits_for_credits_too(house: House) -> None:
    house.server.fail("submit", POOR, times=None)
    program = house.open("run", "a cat")
    program.wait_for("out of credits, top up and press tab and space, or q")
    assert "studio · 3.0\n" in program.text
    turn(program)
    house.server.heal()
    program.press(" ")
    assert program.finish() == 0


def test_off_a_terminal_the_rest_stays_unsent_and_the_last_line_goes_on(house: House) -> None:
    house.server.fail("submit", POOR, times=None, after=1)
    ended = house.plain.run("run", "a cat", "a dog", "a bird", "-j", "1")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(
        "1 task not sent: HTTP 402: Insufficient credits; top up, then imagegen retry"
    )
