"""How many requests, commits and frames a fixed piece of work takes: numbers that depend on no machine."""

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.durations import Durations, Span
from imagegen_cli.core.events import TaskChanged, TaskDelayed, TaskProgressed, Working
from imagegen_cli.core.task import ImageRequest, Job, Running, Submitting, Task, TaskId
from imagegen_cli.engine.scheduling import PollSchedule
from imagegen_cli.storage.dialect import Connection
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store
from tests.clock import run
from tests.doubles.dreamina import PICTURES, DreaminaServer
from tests.program import Program
from tests.scripted import Scripted, Stage, ready
from tests.test_display_board import running, started, task
from tests.test_display_live import stage

TASKS = 20


# Requests


def test_a_run_sends_nothing_twice_and_asks_no_more_than_it_must(tmp_path: Path) -> None:
    with DreaminaServer(polls=2) as server:
        config = f'[providers.studio]\nkind = "dreamina"\nbase_url = "{server.url}"\npoll = 0.01\nconcurrency = 0\n'
        prompts = [f"prompt {number}" for number in range(TASKS)]
        assert Program(tmp_path, config).run("run", *prompts, "-p", "studio", "-q").code == 0
    counts = {kind: server.counts[kind] for kind in ("submit", "query", "download", "other")}
    assert counts == {"submit": TASKS, "query": 3 * TASKS, "download": PICTURES * TASKS, "other": 0}


@pytest.mark.parametrize(
    ("known", "linear", "queries", "late"),
    [((), False, 21, 0.20), ([20 + number * 0.2 for number in range(200)], False, 13, 0.06), ((), True, 9, 0.01)],
    ids=["nothing known", "history", "progress"],
)
def test_queries_of_a_task_of_forty_seconds(
    known: Sequence[float], linear: bool, queries: int, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    schedule = PollSchedule(0.5, Durations(Span(seconds, seconds) for seconds in known))
    elapsed, counts, length = 0.0, 0, 40.0
    while elapsed < length:
        elapsed += schedule.next_delay(elapsed)
        counts += 1
        if linear and elapsed < length:
            schedule.observe(elapsed, elapsed / length)
    assert counts <= queries
    assert (elapsed - length) / length <= late


# Durable steps


@pytest.mark.parametrize("pictures", [1, 4])
def test_a_task_waits_for_the_disk_four_times_and_once_a_further_picture(tmp_path: Path, pictures: int) -> None:
    """Before the submit, after the receipt, after the pictures are known, and before each gets its name."""
    waits = 0

    async def flush() -> None:
        nonlocal waits
        waits += 1

    play = Stage(Scripted(polls=[Working(), ready(pictures)], expected=pictures), tmp_path, flush=flush)
    run(play.run_tasks(*(play.task(number) for number in range(1, TASKS + 1))))
    assert waits == TASKS * (3 + pictures)
    kinds = Counter(type(event).__name__ for event in play.events)
    assert kinds == {
        "RunStarted": 1, "LaneChanged": 1, "TaskProgressed": 1, "TaskLearned": TASKS,
        "TaskChanged": TASKS * (4 + 2 * pictures), "RunFinished": 1,
    }  # fmt: skip


class Counted(Store):
    """Counts what its connections commit, whichever thread they are in."""

    commits = 0

    def connect(self) -> Connection:
        db = super().connect()
        sqlite: Any = db
        sqlite.set_trace_callback(self._traced)
        return db

    def _traced(self, statement: str) -> None:
        self.commits += statement == "COMMIT"


def begun(store: Store, count: int) -> tuple[Task, ...]:
    numbers = store.reserve(count)
    return store.start_run(numbers.run, "batch", "", [planned(id_) for id_ in numbers.tasks])


def planned(id_: TaskId) -> Planned:
    request = ImageRequest(prompt=f"prompt {id_}", provider="scripted")
    return Planned(id=id_, name=str(id_), request=request, expected_images=1, folder="/", identity=str(id_))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Counted(tmp_path / "history.db")
    yield made
    made.close()


def test_ten_thousand_tasks_begin_in_two_transactions(store: Counted) -> None:
    """The first reserves the numbers of the tasks, the second inserts the tasks."""
    before = store.commits
    begun(store, 10_000)
    assert store.commits == before + 2


def test_what_is_said_while_the_disk_is_busy_is_one_transaction(store: Counted) -> None:
    """A thousand receipts: the first may be committed alone, all others together."""
    tasks = begun(store, 1000)
    before = store.commits
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for one in tasks:
            store.record(TaskChanged(1.0, one.to(Submitting())))
            store.record(TaskChanged(2.0, one.to(Submitting()).to(Running(Job("a")))))
        other.execute("COMMIT")
    settle(store)
    assert store.commits - before <= 2


def test_progress_is_remembered_twice_a_second_and_not_more(store: Counted) -> None:
    tasks = begun(store, 1)
    for number in range(1000):
        store.record(TaskProgressed(number * 0.01, tasks[0].id, Working(number / 1000)))
    settle(store)
    assert len(store.events(tasks[0].run)) == 19


def test_that_it_still_works_is_remembered_once_and_after_trouble(store: Counted) -> None:
    tasks = begun(store, 1)
    for number in range(100):
        if number == 50:
            store.record(TaskDelayed(number * 1.0, tasks[0].id, 1, 1.0, "HTTP 503"))
        store.record(TaskProgressed(number * 1.0, tasks[0].id, Working()))
    settle(store)
    kinds = [type(event).__name__ for _, event in store.events(tasks[0].run)]
    assert kinds == ["TaskProgressed", "TaskDelayed", "TaskProgressed"]


def settle(store: Store) -> None:
    store._writer.flush().result(timeout=30)


def test_a_history_that_is_only_read_starts_no_thread(store: Counted) -> None:
    before = threading.active_count()
    begun(store, 1)
    store.run_ids()
    assert threading.active_count() == before


# Frames


def frames(paper: Any) -> int:
    return int(paper.raw.count(b"\x1b[?2026h"))


def test_a_thousand_changes_in_a_moment_are_one_frame() -> None:
    with stage() as play:
        play.tell(started(*map(task, range(1, 1001)), at=100.0))
        play.tick()
        before = frames(play.paper)
        for number in range(1, 1001):
            play.tell(*running(number, at=101.0))
        play.tick()
        assert frames(play.paper) == before + 1


def test_where_nothing_moves_nothing_is_drawn() -> None:
    with stage() as play:
        play.tell(started(*map(task, range(1, 11)), at=100.0))
        play.tick()
        before = frames(play.paper)
        for _ in range(200):
            play.tick(0.05)
        assert frames(play.paper) == before


def test_a_running_clock_is_drawn_four_times_a_second_and_changes_at_most_nine() -> None:
    with stage() as play:
        play.tell(started(*map(task, range(1, 11)), at=100.0), *running(1, at=100.0))
        play.tick()
        before = frames(play.paper)
        for _ in range(160):
            play.tick(1 / 16)
        quiet = frames(play.paper) - before
        for number in range(160):
            play.tell(TaskProgressed(110.0, TaskId(1), Working(number / 200)))
            play.tick(1 / 16)
        busy = frames(play.paper) - before - quiet
    assert quiet == 40
    assert busy == 80
