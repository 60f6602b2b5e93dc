"""`watch` and `list` where several machines carry the tasks of one history."""

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.events import HostsKnown, TaskAdded, TaskChanged
from imagegen_cli.core.task import Job, Running, Submitting, Task, TaskId
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.cell import CellContext
from imagegen_cli.display.columns import LIST, LIVE
from imagegen_cli.display.table import draw_rows
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import theme_for
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.store import Store
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures
from tests.histories import KINDS, Place, opened, place
from tests.program import Program, finished, next_line
from tests.screen import Program as OnScreen
from tests.test_cli import CONFIG
from tests.test_display_board import task
from tests.test_display_cells import text_of
from tests.test_terminal import terminal

PROMPTS = ("一只猫在雨中", "a fox in snow", "夜里的猫头鹰", "a whale")


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(seconds=0.3, pictures=Pictures("png", (16, 16))) as server:
        yield server


class Team:
    """A shared history of this test, with workers on several hosts that the test itself plays."""

    def __init__(self, folder: Path, server: DreaminaServer, where: Place, stack: ExitStack) -> None:
        self.program = Program(folder, CONFIG.format(url=server.url))
        self.server, self.where, self._stack = server, where, stack
        self.program.use_history(where)

    def queue(self, *prompts: str) -> None:
        (self.program.folder / "list.txt").write_text("\n".join(prompts), encoding="utf-8")
        assert self.program.run("batch", "list.txt", "--queue", "-q", "--yes").code == 0

    def worker(self, host: str) -> Store:
        store = opened(self.where, process=Process(host, 1, "then", host))
        self._stack.callback(store.close)
        return store

    def watch(self, **size: Any) -> OnScreen:
        shown = terminal(self.program.folder, self.server, "watch", more=self.program.more, **size)
        return self._stack.enter_context(shown)


@pytest.fixture
def team(tmp_path: Path, server: DreaminaServer, request: pytest.FixtureRequest) -> Iterator[Team]:
    with ExitStack() as stack:
        yield Team(tmp_path, server, place(getattr(request, "param", "postgres"), tmp_path), stack)


def carry(worker: Store, count: int) -> list[Task]:
    """Claim tasks and bring them to their jobs."""
    tasks = worker.claim_queued(["studio"], count)
    assert len(tasks) == count
    for one in tasks:
        worker.record(TaskChanged(worker.now(), replace(one, state=Submitting())))
        worker.record(TaskChanged(worker.now(), replace(one, state=Running(Job(f"job {one.id}")))))
    asyncio.run(worker.flush())
    return tasks


def line_of(text: str, prompt: str) -> str:
    return next((line for line in text.splitlines() if prompt in line), "")


@pytest.mark.parametrize("columns", [60, 90, 160])
def test_watch_says_which_host_carries_a_task(team: Team, columns: int) -> None:
    team.queue(*PROMPTS)
    first, second = team.worker("alpha"), team.worker("beta")
    carry(first, 2)
    carry(second, 1)
    watch = team.watch(columns=columns, lines=24)
    watch.wait_for("3 running")
    if columns < 120:
        watch.settle()
        assert "alpha" not in watch.text
        return
    watch.wait_for("alpha")
    watch.wait_for("beta")
    for prompt, host in zip(PROMPTS, ("alpha", "alpha", "beta"), strict=False):
        assert host in line_of(watch.text, prompt)
        assert prompt in watch.text
    carry(team.worker("gamma"), 1)
    watch.wait(lambda: "gamma" in line_of(watch.text, "a whale"), "the task that was taken meanwhile")


def test_watch_and_work_say_how_many_tasks_no_worker_has_taken(team: Team, server: DreaminaServer) -> None:
    team.queue(*PROMPTS, "a hare")
    carry(team.worker("alpha"), 2)
    watch = team.watch(columns=100, lines=24)
    watch.wait_for("2 running, 3 in the queue")
    server.seconds = 60
    with terminal(team.program.folder, server, "work", "-j", "1", more=team.program.more, lines=24) as worker:
        worker.wait_for("1 running, 1 waiting, 1 in the queue")
        watch.wait_for("3 running, 1 in the queue")
        worker.signal(signal.SIGTERM)


def told(screen: OnScreen) -> int:
    """How many tasks the counts of a table come to; 0 before there are some."""
    line = next((line for line in screen.text.splitlines() if re.search(r"\d running.*in the queue", line)), "")
    return sum(int(one) for one in re.findall(r"(\d+) (?:running|waiting|in the queue|done)", line))


def test_no_task_is_counted_twice_while_a_worker_takes_them_and_gives_them_back(
    team: Team, server: DreaminaServer
) -> None:
    prompts = [f"prompt {number}" for number in range(8)]
    team.queue(*prompts)
    server.seconds = HELD
    sums = set[int]()

    def is_left_with(words: str, screen: OnScreen) -> bool:
        sums.add(told(screen))
        return words in screen.text

    def is_sent(count: int, screen: OnScreen) -> bool:
        return is_left_with("1 running", screen) and len(server.jobs) == count

    with terminal(team.program.folder, server, "work", "-j", "1", more=team.program.more, lines=24) as worker:
        for count in range(1, 5):
            worker.wait(partial(is_sent, count, worker), "the next")
            list(server.jobs.values())[-1].seconds = 0.0
            worker.wait(partial(is_left_with, f"{count} done", worker), f"{count} done")
        worker.wait(partial(is_sent, 5, worker), "one that is sent")
        worker.signal(signal.SIGTERM)
        list(server.jobs.values())[-1].seconds = 0.0
        worker.wait(lambda: is_left_with("5 done", worker), "the end of what was sent")
    assert max(sums) == len(prompts), sums


def test_watch_counts_no_task_twice_that_a_worker_takes(team: Team) -> None:
    team.queue(*PROMPTS, "a hare")
    alpha = team.worker("alpha")
    carry(alpha, 2)
    watch, sums = team.watch(columns=100, lines=24), set[int]()

    def is_running(count: int) -> bool:
        sums.add(told(watch))
        return f"{count} running" in watch.text

    watch.wait_for("2 running, 3 in the queue")
    for count in (3, 4):
        carry(alpha, 1)
        watch.wait(partial(is_running, count), f"task {count}")
    assert max(sums) == len(PROMPTS) + 1, sums


def test_one_host_is_no_news(team: Team) -> None:
    team.queue(*PROMPTS)
    carry(team.worker("alpha"), 3)
    watch = team.watch(columns=160, lines=24)
    watch.wait_for("3 running")
    watch.settle()
    assert "alpha" not in watch.text
    listed = team.program.run("list", "--json").objects
    assert [one["host"] for one in listed] == ["", "alpha", "alpha", "alpha"]


def test_what_another_host_has_taken_over_is_shown_as_its_own(team: Team) -> None:
    team.queue(*PROMPTS)
    first, second = team.worker("alpha"), team.worker("beta")
    tasks = carry(first, 1)
    carry(second, 1)
    watch = team.watch(columns=160, lines=24)
    watch.wait(lambda: "alpha" in line_of(watch.text, PROMPTS[0]), "the first host")
    first.close()
    third = team.worker("gamma")
    taken, _ = third.take([tasks[0].id])
    assert len(taken) == 1
    watch.wait(lambda: "gamma" in line_of(watch.text, PROMPTS[0]), "the other host")


def test_a_run_that_another_host_begins_joins_the_table(team: Team) -> None:
    team.queue(*PROMPTS[:1])
    carry(team.worker("alpha"), 1)
    watch = team.watch(columns=160, lines=24)
    watch.wait_for("running")
    team.queue("a later list of another person")
    carry(team.worker("beta"), 1)
    watch.wait(lambda: "beta" in line_of(watch.text, "a later list"), "the other run")


@pytest.mark.parametrize("team", KINDS, indirect=True)
def test_watch_goes_on_while_workers_take_more_of_the_list(team: Team) -> None:
    team.queue(*(f"{prompt} {number}" for number in range(4) for prompt in PROMPTS))
    team.server.seconds = HELD
    worker = team.program.start("work", "--once", "-q", "-j", "1")
    while not team.server.jobs:
        assert worker.poll() is None
        time.sleep(0.01)
    watch = team.program.start("watch", "--progress", "json")
    next_line(watch, '"running"')
    team.server.release()
    watched = finished(watch)
    assert finished(worker).code == 0
    assert watched.objects[-1]["done"] == 16


# The column


@pytest.mark.parametrize("table", [LIST, LIVE], ids=["list", "live"])
@pytest.mark.parametrize("host", ["alpha", "机器一号", "a-host-with-a-name-longer-than-any.example.org", "\x1b[2Jx\n"])
def test_a_narrow_line_has_no_host_and_every_line_keeps_its_width(table: object, host: str) -> None:
    theme = theme_for("utf-8")
    row = Row(task(1, Running(Job("j")), "一只猫 in the rain"), 0.0, started=1.0, host=host)
    bare = Row(row.task, 0.0, started=1.0)
    for width in range(20, 201):
        context = CellContext(10.0, theme)
        with_host, without = (
            text_of(next(iter(draw_rows(table, [one], width, 2, context))))  # type: ignore[arg-type]
            for one in (row, bare)
        )
        assert cell_width(with_host) <= width
        assert with_host.isprintable()
        if width < 76:
            assert with_host == without
        if width >= 101:
            assert host[:3] in with_host or not host.isprintable()


def test_the_board_knows_hosts_of_its_tasks_alone() -> None:
    board, one = Board(), task(1)
    board.tell(TaskAdded(1.0, one))
    board.tell(HostsKnown(2.0, {one.id: "alpha", TaskId(9): "beta"}))
    assert board.rows[one.id].host == "alpha"
    assert len(board.rows) == 1


def test_list_on_a_terminal_names_the_hosts_where_there_are_several(team: Team) -> None:
    team.queue(*PROMPTS)
    carry(team.worker("alpha"), 1)
    shown = terminal(team.program.folder, team.server, "list", more=team.program.more, columns=120, lines=24)
    with shown as one:
        one.finish()
        assert "alpha" not in one.text
    carry(team.worker("beta"), 1)
    shown = terminal(team.program.folder, team.server, "list", more=team.program.more, columns=120, lines=24)
    with shown as several:
        several.finish()
        assert "alpha" in line_of(several.text, PROMPTS[0])
        assert "beta" in line_of(several.text, PROMPTS[1])
