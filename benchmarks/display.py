"""The live table on a terminal that is read: CPU of a frame and of a run, memory of its board."""

import gc
import os
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import IMAGEGEN, Figure, configured, cost, listed, median, milliseconds, terminal
from benchmarks.server import served
from imagegen_cli.core.events import Event, RunStarted, TaskChanged, TaskProgressed, Working
from imagegen_cli.core.task import Done, ImageRequest, Job, Queued, RunId, Running, Saving, Submitting, Task, TaskId
from imagegen_cli.display.board import Board
from imagegen_cli.display.live import Live

FRAMES = 80
RATE = 8
SIZES = ((80, 24), (200, 50))
KNOWN, ENDED, BUSY = 10_000, 2_000, 1_000
REPORTS_PER_S = 2
"""Reports of a running task in a second."""
ROUNDS = 3
MODES = ("live", "quiet")


def measured() -> Iterator[Figure]:
    yield from frames()
    yield from crowd()
    each = memory()
    yield Figure(f"board, {KNOWN} tasks: memory of one, tasks not counted", "", each, 2048, unit=" B")
    yield from against_quiet()


# A table whose every row runs


def frames() -> Iterator[Figure]:
    for rows in (10, 1000, 10_000):
        frame = spent(rows)
        goal = (3.0, 3.0) if rows > 10 else (None, None)
        yield Figure(f"live table, {rows} rows: CPU of a frame", "", frame * 1000, goal[0], unit=" ms")
        yield Figure(f"live table, {rows} rows: one core at {RATE} a second", "", frame * RATE * 100, goal[1], unit="%")
    filtered = spent(1000, chosen=500, words="number 5")
    yield Figure("live table, 1000 rows, filtered: CPU of a frame", "", filtered * 1000, 3.0, unit=" ms")


def spent(rows: int, chosen: int | None = None, words: str = "") -> float:
    """Seconds of CPU a frame, with every row running and one progress report a frame.

    `chosen`: the task that is chosen; `words`: those of a filter.
    """
    with table(80, 24, start(planned(rows), ended=0, busy=rows)) as clock:
        clock.live.ui.chosen = None if chosen is None else TaskId(chosen)
        clock.live.ui.filter = words
        began = time.thread_time()
        for number in range(FRAMES):
            clock.frame([(1 + number % rows, number / FRAMES)])
        return (time.thread_time() - began) / FRAMES


# Most wait, some have ended, and each that runs tells how far it is


def crowd() -> Iterator[Figure]:
    for columns, lines in SIZES:
        with table(columns, lines, start(planned(KNOWN), ended=ENDED, busy=BUSY)) as clock:
            began = time.thread_time()
            for number in range(FRAMES):
                clock.frame(reports(number))
            share = (time.thread_time() - began) / FRAMES * RATE * 100
        what = f"{KNOWN} known, {BUSY} running, {columns}x{lines}: one core"
        yield Figure(what, f"{milliseconds(share / RATE / 100)} a frame", share, 5.0, unit="%")


def reports(frame: int) -> list[tuple[int, float]]:
    """Of one frame's time: which tasks report, and their progress. All take turns."""
    count = BUSY * REPORTS_PER_S // RATE
    return [(ENDED + 1 + (frame * count + number) % BUSY, frame / FRAMES) for number in range(count)]


class Clock:
    """Moves by one frame at a time."""

    def __init__(self, live: Live) -> None:
        self.now = 1000.0
        self.live = live

    def frame(self, reports: list[tuple[int, float]]) -> None:
        self.now += 1 / RATE
        for number, fraction in reports:
            self.live.tell(TaskProgressed(self.now, TaskId(number), Working(fraction, note="KSampler")))
        self.live.tick()


@contextmanager
def table(columns: int, lines: int, events: list[Event]) -> Iterator[Clock]:
    with os.fdopen(terminal(columns, lines), "w", encoding="utf-8") as stderr:
        live = Live(Board(), stderr=stderr, environ={"TERM": "xterm-256color"}, clock=lambda: clock.now)
        clock = Clock(live)
        with live:
            for event in events:
                live.tell(event)
            live.tick()
            yield clock


def planned(rows: int) -> list[Task]:
    return [
        Task(id=TaskId(number), run=RunId(1), state=Queued(), folder="/", name="",
             request=ImageRequest(prompt=f"two cats on a beach, number {number}", provider="studio", model="3.0"))
        for number in range(1, rows + 1)
    ]  # fmt: skip


def start(tasks: list[Task], *, ended: int, busy: int) -> list[Event]:
    """The first `ended` are done, the next `busy` run, the rest wait."""
    events: list[Event] = [RunStarted(1000.0, RunId(1), tuple(tasks))]
    for task in tasks[: ended + busy]:
        sent = task.to(Submitting())
        running = sent.to(Running(Job("a")))
        events += [TaskChanged(1000.0, sent), TaskChanged(1000.0, running)]
        if task.id <= ended:
            events.append(TaskChanged(1000.0, running.to(Saving(())).to(Done((f"/{task.id}.png",)))))
    return events


# The memory of one task


def memory() -> float:
    """Bytes of the board for a task; the tasks, which the history holds as well, are not counted."""
    events = start(planned(KNOWN), ended=ENDED, busy=BUSY)
    gc.collect()
    tracemalloc.start()
    board = Board()
    for event in events:
        board.tell(event)
    for number in range(ENDED + 1, ENDED + BUSY + 1):
        board.tell(TaskProgressed(1001.0, TaskId(number), Working(0.5, note=f"KSampler {number}")))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(board.rows)


# The same run twice


def against_quiet() -> Iterator[Figure]:
    """1,000 tasks of 5 s with a picture of 10 KB. The difference is what the display costs in all."""
    tasks = 1000
    with served(seconds=5.0, pictures=1, size=10_000) as server:
        rounds = [
            {mode: run_batch(server.url, tasks, mode) for mode in MODES[:: -1 if number % 2 else 1]}
            for number in range(ROUNDS)
        ]
    ratio = median([one["live"] / one["quiet"] for one in rounds])
    live, quiet = (median([one[mode] for one in rounds]) for mode in MODES)
    yield Figure(f"{tasks} tasks, live table against --quiet: CPU", f"{live:.2f} s to {quiet:.2f} s", ratio)


def run_batch(url: str, tasks: int, mode: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        here = configured(Path(folder), url)
        listed(here, tasks)
        found = cost([*IMAGEGEN, "batch", "prompts.txt", "-p", "studio", "--progress", mode], here, live=mode == "live")
        pictures = len(list((here / "images").iterdir()))
    if pictures != tasks:  # one picture each where four are due: the exit code is that of a run with too few
        raise RuntimeError(f"imagegen ended with {found.code} and {pictures} pictures of {tasks}")
    return found.cpu
