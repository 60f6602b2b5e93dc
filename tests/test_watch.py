"""`watch` in another terminal, and the replay of a run."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.options import RunOptions
from imagegen_cli.commands.watch import WATCHING, Show, Watched
from imagegen_cli.core.events import (
    BudgetReached,
    Event,
    LaneChanged,
    ProviderPaused,
    RunStarted,
    TaskChanged,
)
from imagegen_cli.core.task import Submitting
from imagegen_cli.display.board import Board
from imagegen_cli.storage.store import Store
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program as Plain, finished, next_line
from tests.screen import Program
from tests.test_cli import CONFIG
from tests.test_store import say, sql, started
from tests.test_terminal import add, repeat, restored, stop, terminal, turn

GUESS = re.compile(r"~\d+%")
NEVER_ENDS = "0.1"
"""The speed of a replay that goes on until it is left."""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(seconds=0.5, pictures=Pictures("png", (16, 16))) as server:
        yield server


class House:
    """One history and several terminals on it."""

    def __init__(self, folder: Path, server: DreaminaServer, stack: ExitStack) -> None:
        self.server = server
        self.plain = Plain(folder, CONFIG.format(url=server.url))
        self._stack = stack

    def open(self, *words: str, **size: Any) -> Program:
        return self._stack.enter_context(terminal(self.plain.folder, self.server, *words, **size))

    def remembers(self, seconds: float) -> None:
        """Three earlier tasks, of which each took so long."""
        assert self.plain.run("run", "--each", "one", "two", "three", "-q").code == 0
        sql(self.plain.home / "history.db", "UPDATE task SET min_duration_s = ?, max_duration_s = ?", seconds, seconds)

    def states(self) -> list[str]:
        return [task["state"] for task in self.plain.tasks()]


@pytest.fixture
def house(tmp_path: Path, server: DreaminaServer) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, server, stack)


def table(program: Program) -> list[str]:
    """What is on the screen, without what moves, the keys, and what a run says before it."""
    lines = [
        line for line in program.text.splitlines() if line and not re.search("[?] help|tab keys|price not known", line)
    ]
    return [" ".join(re.sub(r"\d+s|[━─]|: -j or [+]", "", line).split()) for line in lines]


def test_the_table_is_the_same_while_another_process_runs(house: House) -> None:
    run = house.open("run", "一只猫 #never", "a dog #never", "a bird #never", "-j", "2")
    run.wait_for("2 running")
    watch = house.open("watch")
    watch.wait(lambda: table(watch) == table(run), "the same table")
    assert "一只猫" in watch.text
    watch.send("q")
    assert watch.finish() == 0
    assert restored(watch)
    run.wait_for("2 running")
    assert house.states() == ["running", "running", "queued"]


def test_the_table_has_the_estimates_of_the_run(house: House) -> None:
    house.remembers(300.0)
    run = house.open("run", "a cat #never", "a dog #never")
    run.wait(lambda: GUESS.search(run.text), "an estimate")
    watch = house.open("watch")
    watch.wait(lambda: GUESS.search(watch.text), "the same estimate")


@pytest.mark.parametrize("words", [(), ("--run", "1")])
def test_a_prompt_that_is_added_joins_the_table(house: House, words: tuple[str, ...]) -> None:
    run = house.open("run", "a cat #never", "a dog #held")
    run.wait_for("2 running")
    watch = house.open("watch", *words)
    watch.wait_for("2 running")
    add(run, "一只新的狐狸 #never")
    watch.wait_for("一只新的狐狸")
    watch.wait_for("/3")
    house.server.release()
    watch.send("\x1b[Ac")
    watch.wait_for("cancel 3?")
    watch.press("y")
    watch.wait_for("1 done, 1 cancelled")
    watch.send("Gc")
    watch.wait_for("cancel 1?")
    watch.press("y")
    assert watch.finish() == 0
    assert run.finish() == 5
    assert "1 done (4 pictures), 2 cancelled" in watch.scrollback


def test_those_that_were_named_are_all_that_is_shown(house: House) -> None:
    run = house.open("run", "a cat #never", "a dog #never")
    run.wait_for("2 running")
    watch = house.open("watch", "2")
    watch.wait_for("running")
    add(run, "一只新的狐狸")
    run.wait_for("1 done")
    assert house.plain.run("cancel", "2").code == 0
    assert watch.finish() == 0
    assert "a cat" not in watch.scrollback
    assert "狐狸" not in watch.scrollback


def test_keys_leave_no_trace_and_only_what_can_be_done_is_offered(house: House) -> None:
    run = house.open("run", "a cat #never", "a dog #never")
    run.wait_for("2 running")
    watch = house.open("watch")
    watch.wait_for("q stop watching")
    assert "add" not in watch.text
    for key in "zzz\r\r a\r ":
        watch.send(key)
        watch.settle()
    watch.send("z\x1b[200~a fox\na hen\x1b[201~")
    repeat(watch, "?", "any key closes it")
    assert "cancel the chosen task" in watch.text
    assert "add another prompt" not in watch.text
    assert "pause" not in watch.text
    watch.send("z")
    watch.wait_for("a cat")
    watch.send("zq")
    assert watch.finish() == 0
    assert not re.search("z|paused|add:|lines", watch.scrollback)
    assert house.server.counts["submit"] == 2
    assert watch.text.count("a cat") <= 1
    assert restored(watch)


def test_all_that_waits_is_cancelled_from_the_other_terminal(house: House) -> None:
    run = house.open("run", "a cat #never", "a dog", "a bird", "-j", "1")
    run.wait_for("2 waiting")
    watch = house.open("watch")
    watch.wait_for("2 waiting")
    watch.send("x")
    watch.wait_for("cancel all 2 that wait?")
    watch.send("n")
    watch.wait_for("? help")
    watch.send("x")
    watch.wait_for("cancel all 2 that wait?")
    watch.press("y")
    watch.wait_for("2 cancelled")
    run.wait_for("2 cancelled")
    assert house.states() == ["running", "cancelled", "cancelled"]


@pytest.mark.parametrize(("keys", "number", "code"), [("q", None, 0), ("\x03", None, 130), ("", signal.SIGTERM, 143)])
def test_whoever_leaves_gives_the_terminal_back_and_stops_no_task(
    house: House, keys: str, number: signal.Signals | None, code: int
) -> None:
    run = house.open("run", "a cat #never", "a dog #never")
    run.wait_for("2 running")
    watch = house.open("watch")
    watch.wait_for("stop watching")
    assert not watch.modes_restored
    leave(watch, keys, number)
    assert watch.finish() == code
    assert restored(watch)
    assert house.states() == ["running", "running"]
    assert "Traceback" not in watch.scrollback


def leave(program: Program, keys: str, number: signal.Signals | None) -> None:
    if number is None:
        program.send(keys)
    else:
        program.signal(number)


def test_ctrl_c_without_a_terminal_says_the_same(house: House) -> None:
    run = house.plain.start("run", "a cat #never", "--json")
    next_line(run, '"running"')
    watch = house.plain.start("watch", "--json")
    next_line(watch, '"running"')
    watch.send_signal(signal.SIGINT)
    ended = finished(watch)
    assert (ended.code, ended.err) == (130, "")
    assert ended.objects[-1]["event"] == "summary"
    run.kill()
    run.communicate()


def test_a_process_that_is_killed_ends_the_watching(house: House) -> None:
    run = house.plain.start("run", "a cat #never", "--json")
    next_line(run, '"running"')
    watch = house.open("watch")
    watch.wait_for("running")
    run.kill()
    run.communicate()
    assert watch.finish() == 0
    assert restored(watch)


def test_no_event_of_one_run_is_lost_to_a_later_one_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Busy(Store):
        """Another process goes on between two questions."""

        late = True

        def events(self, run: int, after: int = 0, high: int = -1) -> list[tuple[int, Event]]:
            if run == 2 and self.late:
                self.late = False
                say(self, TaskChanged(100.0, one.to(Submitting())), TaskChanged(101.0, two.to(Submitting())))
            return super().events(run, after, high)

    with closing(Busy(tmp_path / "history.db")) as store:
        (one,), (two,) = started(store), started(store)
        watched = Watched(store, Show(RunOptions(json=True), lambda _: None, WATCHING), (), None)
        watched._show.meet(watched._records)
        watched._look()
        watched._look()
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["id"] for event in shown if event["event"] == "task-changed"] == [2, 1]


def test_of_very_many_tasks_the_newest_are_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Store(tmp_path / "history.db")) as store:
        tasks = started(store, "a", "b", "c", "d")
        show = Show(RunOptions(json=True), lambda _: None, WATCHING)
        watched = Watched(store, show, (), tasks[0].run, limit=3)
        assert [record.task.id for record in watched._records] == [4, 3, 2]
    assert capsys.readouterr().err == "only the newest 3 tasks are shown; imagegen list shows the others\n"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A history with one run: two prompts, and one that was added after a while."""
    with DreaminaServer(seconds=0.5, pictures=Pictures("png", (16, 16))) as server, ExitStack() as stack:
        house = House(tmp_path_factory.mktemp("played"), server, stack)
        run = house.open("run", "a cat", "a dog #held")
        run.wait_for("1 done")
        add(run, "一只新的狐狸")
        run.wait_for("2 done")
        server.release()
        assert run.finish() == 0
        yield house


def test_what_was_added_to_a_run_is_added_when_it_is_seen_again(played: House) -> None:
    ended = played.plain.run("watch", "--run", "1", "--replay", "--json", "--speed", "100")
    events = [(event["event"], event.get("id"), event.get("state")) for event in ended.objects]
    assert ended.code == 0
    assert ended.objects[0]["tasks"] == 2
    assert events[:3] == [("run-started", None, None), ("task-added", 1, "queued"), ("task-added", 2, "queued")]
    assert events.index(("task-changed", 1, "done")) < events.index(("task-added", 3, "queued"))
    assert events.index(("task-added", 3, "queued")) < events.index(("task-changed", 3, "submitting"))
    assert events[-2:] == [("run-finished", None, None), ("summary", None, None)]


def test_a_run_is_seen_again_through_the_same_table(played: House) -> None:
    again = played.open("watch", "--replay", "--speed", NEVER_ENDS)
    again.wait_for("stop watching")
    again.send("z?")
    again.wait_for("any key closes it")
    for offered in ("cancel the", "cancel all", "add", "pause", "folder", "send it again", "at a time"):
        assert offered not in again.text
    again.send("zq")
    assert again.finish() == 0
    assert "zz" not in again.scrollback
    again = played.open("watch", "--replay")
    assert again.finish() == 0
    assert "3 tasks: 3 done (12 pictures)" in again.text
    assert again.scrollback.count(".png") == 12
    assert restored(again)


def test_a_run_is_seen_again_with_what_was_known_before_it(house: House) -> None:
    house.remembers(300.0)
    assert house.plain.run("run", "a cat", "a dog", "-q").code == 0
    again = house.open("watch", "--replay", "--speed", NEVER_ENDS)
    again.wait(lambda: GUESS.search(again.text), "an estimate")


@pytest.mark.parametrize(("keys", "number", "code"), [("q", None, 0), ("\x03", None, 130), ("", signal.SIGTERM, 143)])
def test_whoever_has_seen_enough_of_a_run_gets_the_terminal_back(
    played: House, keys: str, number: signal.Signals | None, code: int
) -> None:
    again = played.open("watch", "--replay", "--speed", NEVER_ENDS)
    again.wait_for("stop watching")
    leave(again, keys, number)
    assert again.finish() == code
    assert restored(again)
    assert "Traceback" not in again.scrollback


def counts(program: Program) -> str:
    """The line of counts, without what moves."""
    found = [line for line in program.text.splitlines() if re.search(r"\d (running|waiting|done)", line)]
    return found[-1].strip() if found else ""


def test_what_ended_before_it_came_is_counted_and_can_be_chosen(house: House) -> None:
    prompts = ["a cat", "a dog", "a bird #fail", "a fox #never", "an owl #never", "a hen"]
    run = house.open("run", "--each", *prompts, "-j", "2", lines=30)
    run.wait_for("2 running, 1 waiting, 2 done, 1 failed")
    watch = house.open("watch", lines=30)
    watch.wait(lambda: "waiting" in watch.text and counts(watch) == counts(run), "the same counts")
    assert "3/6" in watch.text
    assert "a cat · 4 pictures" not in watch.scrollback, "it is counted, not told again"
    watch.send("g\r")
    watch.wait_for("images/")


def test_a_run_that_ended_its_tasks_in_an_earlier_process_counts_only_its_own(house: House) -> None:
    assert house.plain.run("run", "--each", "a cat", "a dog #fail", "a bird #fail", "-q").code == 1
    run = house.open("retry", "2", "--reason", "moderated")
    run.wait(lambda: "running" in run.text or "1 failed" in run.text, "a run of one task")
    assert "/3" not in run.text
    assert run.finish() == 1
    again = house.open("run", "--each", "an owl #never", "a fox #never")
    again.wait_for("2 running")
    watch = house.open("watch")
    watch.wait(lambda: "waiting" in watch.text or "running" in watch.text, "the table")
    watch.wait(lambda: counts(watch) == counts(again), "the same counts")


def test_why_nothing_is_sent_is_seen_from_the_other_terminal(house: House) -> None:
    run = house.open("run", "--each", "a cat #never", "a dog #never", "a hen", "-j", "2")
    run.wait_for("2 of 2 at the service: -j or +")
    watch = house.open("watch")
    watch.wait_for("2 of 2 at the service")
    turn(run)
    run.press(" ")
    watch.wait_for("paused")
    run.press(" ")
    watch.wait(lambda: "paused" not in watch.text, "the end of the pause")
    run.press("+")
    watch.wait_for("3 running")
    stop(run, "y")
    assert run.finish() == 130
    assert watch.finish() == 0
    assert restored(watch)


def test_the_last_process_of_a_run_says_whether_its_budget_holds(tmp_path: Path) -> None:
    """What an earlier process of the run could not spend is no word about the one that works on it now."""
    with closing(Store(tmp_path / "history.db")) as store:
        (one, _) = started(store, "a", "b")
        earlier: list[Event] = [RunStarted(1.0, one.run, ()), BudgetReached(2.0, one.run, "1 of 1"),
                   ProviderPaused(2.0, "studio", "no credits", one.run)]  # fmt: skip
        say(store, *earlier)
        found = [event for _, event in store.events(one.run)]
        assert found == earlier
        board = Board()
        for event in found:
            board.tell(event)
        assert (board.budget, board.paused_providers) == ("1 of 1", {"studio": "no credits"})
        say(store, RunStarted(3.0, one.run, ()), LaneChanged(3.5, one.run, "studio", 4, 4, 9.0, paused=True))
        for _, event in store.events(one.run):
            board.tell(event)
        assert board.budget == ""
        assert board.lanes["studio"] == LaneChanged(3.5, one.run, "studio", 4, 4, 9.0, paused=True)
