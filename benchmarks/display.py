"""The live table on a terminal that somebody reads: CPU of a frame, and of one core at eight frames a second."""

import os
import pty
import threading
import time
from collections.abc import Iterator

from benchmarks.measure import Figure, drain
from imagegen_cli.display.board import Board
from imagegen_cli.display.live import Live
from imagegen_cli.events import RunStarted, TaskChanged, TaskProgressed, Working
from imagegen_cli.task import ImageRequest, Job, Queued, RunId, Running, Submitting, Task, TaskId

FRAMES = 80
RATE = 8


def measured() -> Iterator[Figure]:
    for rows in (10, 1000, 10_000):
        frame = spent(rows)
        goal = (3.0, 3.0) if rows > 10 else (None, None)
        yield Figure(f"live table, {rows} rows: CPU of a frame", "", frame * 1000, goal[0], unit=" ms")
        yield Figure(f"live table, {rows} rows: one core at {RATE} a second", "", frame * RATE * 100, goal[1], unit="%")


def spent(rows: int) -> float:
    """Seconds of CPU a frame, with every row running and one progress report a frame."""
    master, slave = pty.openpty()
    threading.Thread(target=drain, args=(master,), daemon=True).start()
    now = 1000.0
    with os.fdopen(slave, "w", encoding="utf-8") as stderr:
        live = Live(Board(), stdin=None, stderr=stderr, environ={"TERM": "xterm-256color"}, clock=lambda: now)
        with live:
            begin(live, rows, now)
            live.tick()
            began = time.thread_time()
            for number in range(FRAMES):
                now += 1 / RATE
                live.tell(TaskProgressed(now, TaskId(1 + number % rows), Working(number / FRAMES)))
                live.tick()
            return (time.thread_time() - began) / FRAMES


def begin(live: Live, rows: int, now: float) -> None:
    tasks = [
        Task(id=TaskId(number), run=RunId(1), state=Queued(), folder="/", name="",
             request=ImageRequest(prompt=f"two cats on a beach, number {number}", provider="studio", model="3.0"))
        for number in range(1, rows + 1)
    ]  # fmt: skip
    live.tell(RunStarted(now, RunId(1), tuple(tasks)))
    for task in tasks:
        live.tell(TaskChanged(now, task.to(Submitting())))
        live.tell(TaskChanged(now, task.to(Submitting()).to(Running(Job("a")))))
