"""Words about tasks, budgets and the history are translated for people, and English for programs and in the history."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.commands import spending
from imagegen_cli.commands.console import numbers
from imagegen_cli.commands.key_queue import on_one_line
from imagegen_cli.commands.spending import Planned
from imagegen_cli.core import language
from imagegen_cli.core.budget import parse_limits
from imagegen_cli.core.errors import HistoryError, RateLimited, UsageError
from imagegen_cli.core.language import Message, joined, translated
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import Failed, ImageRequest
from imagegen_cli.storage import serialize
from imagegen_cli.storage.charges import over
from imagegen_cli.storage.store import Store
from tests.clock import run
from tests.program import Program
from tests.scripted import Scripted, Stage


class Marked:
    """A language for tests: each text in brackets."""

    def gettext(self, message: str) -> str:
        return f"<{message}>"

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return f"<{singular if number == 1 else plural}>"


@pytest.fixture
def marked() -> Iterator[None]:
    language.use(Marked())
    yield
    language.use(None)


PLAN = Planned(
    [ImageRequest(provider="studio", prompt="a cat", model="4.0")], [2], [Quote(2, Money(20_000, "usd"), Source.SET)]
)


def test_a_cost_is_one_message(marked: None) -> None:
    assert spending.described(PLAN) == "1 task · 2 pictures · studio 4.0 · about 0.04 usd (set)"
    assert "studio 4.0 · <about <0.04 usd> (" in translated(spending.described(PLAN))


def test_a_hint_says_what_was_not_done_in_the_same_language(marked: None) -> None:
    with pytest.raises(UsageError) as caught:
        spending.check_budget(PLAN, parse_limits("5cny"))
    assert caught.value.hint == "nothing was sent; give a budget in it too: --budget 5.00cny,100usd"
    assert translated(caught.value.hint) == "<nothing was sent; <give a budget in it too: --budget 5.00cny,100usd>>"


def test_many_numbers_are_cut_in_any_language(marked: None) -> None:
    assert numbers([2, 1]) == "1 2"
    assert translated(numbers(range(22))) == f"<{' '.join(map(str, range(20)))} and 2 more>"


def test_a_refusal_of_several_lines_is_one_line() -> None:
    message = Message("{why} fails").format(why="it")
    assert on_one_line(message) is message
    assert on_one_line(joined("\n", [message, "{}"])) == "it fails; {}"


def test_a_damaged_history_is_said_in_any_language(tmp_path: Path, marked: None) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"no history at all " * 100)
    with pytest.raises(HistoryError) as caught:
        Store(path)
    message = f"the history {path} is damaged or no history at all"
    assert caught.value.message == message
    assert translated(caught.value.message) == f"<{message}>"
    assert translated(caught.value.hint) == f"<{caught.value.hint}>"


def test_a_budget_that_is_reached_says_its_sums_in_any_language(marked: None) -> None:
    (limit,) = parse_limits("0.05usd/day")
    with closing(sqlite3.connect(":memory:")) as db:
        with_sums = over(db, [limit], PLAN.quotes[0], 1, 0.0, count=lambda *_: Money(20_000, "usd"))
    assert with_sums == "0.02 usd of 0.05 usd a day is spent or reserved, and the next task costs 0.04 usd"
    assert translated(with_sums).startswith("<0.02 usd of ")


def test_the_end_of_a_task_is_kept_with_its_parts(tmp_path: Path, marked: None) -> None:
    stage = Stage(Scripted([RateLimited(Message("slow down"))]), tmp_path)
    (task,) = run(stage.run_tasks(stage.task()))
    state = task.state
    assert isinstance(state, Failed)
    for one in (state, serialize.to_state("failed", serialize.from_state(state))):
        assert isinstance(one, Failed)
        assert one.message == "not sent: refused for 15 min: slow down"
        assert translated(one.message) == "<not sent: <refused for 15 min: <slow down>>>"


@pytest.fixture
def drawn(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    assert program.run("run", "a cat", "--size", "64x64").code == 0
    return program


def test_one_note_of_a_task_is_said_in_the_language_too(drawn: Program) -> None:
    said = drawn.run("run", "a cat and a xyzzy", "--size", "64x64", IMAGEGEN_LANG="zh")
    assert "没画：xyzzy" in said.err
    assert "not drawn" not in said.err


def test_what_programs_read_is_english_in_every_language(drawn: Program) -> None:
    for words in (
        ["run", "a dog", "--dry-run"], ["list"], ["list", "--json"], ["show", "1", "--json"], ["runs"],
        ["runs", "--json"], ["cancel", "1"], ["forget", "1", "--dry-run"], ["retry", "1", "--dry-run"],
        ["export", "--format", "csv"],
    ):  # fmt: skip
        english, chinese = (drawn.run(*words, IMAGEGEN_LANG=name) for name in ("en", "zh"))
        assert (english.code, english.out) == (chinese.code, chinese.out), words
