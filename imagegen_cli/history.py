"""Commands that look at the history and carry nothing: list, show, watch."""

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from imagegen_cli.config import history_file
from imagegen_cli.display import Board, Display, choose, task_object
from imagegen_cli.display.board import Row
from imagegen_cli.display.lines import Printer, encoded
from imagegen_cli.display.listing import print_list, print_task
from imagegen_cli.errors import NothingToDo, UsageError
from imagegen_cli.events import Event, RunFinished, RunStarted, TaskChanged
from imagegen_cli.store import UNFINISHED, Filter, Record, Store
from imagegen_cli.task import ENDED, Queued, RunId, Submitting, Task, TaskId

if TYPE_CHECKING:
    from imagegen_cli.session import Manner

STATES = (*UNFINISHED, "done", "failed", "cancelled")
LOOK = 0.25
"""Seconds between two looks at what other processes have written."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def list_tasks(states: Sequence[str], run: int | None, since: str, search: str, limit: int, *, as_json: bool) -> int:
    """Print tasks, newest first: one line each, or one JSON object each. 4 where none fits."""
    for state in states:
        if state not in STATES:
            raise UsageError(f"there is no state {state!r}", hint=f"known: {', '.join(STATES)}")
    with closing(Store(history_file())) as store:
        wanted = Filter(states=tuple(states), run=run, since=_moment(since), search=search, limit=limit)
        records = store.find(wanted)
    if not records:
        raise NothingToDo("no task fits")
    if as_json:
        data = Printer(sys.stdout)
        for record in records:
            data.line(encoded(_object(record), data.encoding))
    else:
        print_list([_row(record) for record in records], stdout=sys.stdout, environ=os.environ, now=time.time())
        left = [record for record in records if not isinstance(record.task.state, ENDED) and not record.carried]
        if left:
            plain = f"{len(left)} of these are unfinished and their process is gone: imagegen resume goes on with them"
            Printer(sys.stderr).line(plain)
    return 0


def show_task(task: int, *, as_json: bool) -> int:
    """Print everything about one task."""
    with closing(Store(history_file())) as store:
        found = store.find(Filter(ids=(task,)))
    if not found:
        raise NothingToDo(f"there is no task {task}", hint="imagegen list shows the tasks")
    if as_json:
        data = Printer(sys.stdout)
        data.line(encoded(_object(found[0]), data.encoding))
    else:
        more = {"carried by": _carrier(found[0]), "folder": found[0].task.folder}
        print_task(_row(found[0]), stdout=sys.stdout, environ=os.environ, now=time.time(), more=more)
    return 0


def watch(ids: Sequence[int], manner: "Manner", *, run: int | None, replay: bool, speed: float) -> int:
    """Show what other processes do until all of it has ended; or show a run that is over once more."""
    import asyncio  # noqa: PLC0415 - list and show have no loop

    with closing(Store(history_file())) as store:
        if replay:
            return asyncio.run(_replay(store, run, manner, speed))
        records = store.find(Filter(ids=tuple(ids), run=run, states=() if ids or run else UNFINISHED))
        if not ids and run is None:
            records = [record for record in records if record.carried]
        if not records:
            raise NothingToDo("no process is carrying a task", hint="imagegen list shows what became of every task")
        with suppress(KeyboardInterrupt):
            asyncio.run(_follow(store, records, manner))
    return 0


async def _follow(store: Store, records: Sequence[Record], manner: "Manner") -> None:
    import asyncio  # noqa: PLC0415 - see watch

    asked = {record.task.id: record.asked for record in records}
    runs = sorted({record.task.run for record in records})
    seen = 0
    with _display(manner, asked) as display:
        ticker = asyncio.ensure_future(display.run())
        _begin(display, records)
        while True:
            seen = max([seen, *(_tell(store, display, run, set(asked), seen) for run in runs)])
            left = [record for record in store.find(Filter(ids=tuple(asked))) if _going(record)]
            if not left:
                break
            await asyncio.sleep(LOOK)
        ticker.cancel()


async def _replay(store: Store, run: int | None, manner: "Manner", speed: float) -> int:
    import asyncio  # noqa: PLC0415 - see watch

    runs = store.runs()
    number = run if run is not None else (runs[0] if runs else 0)
    records = store.find(Filter(run=number))
    events = store.events(number)
    if not records or not events:
        raise NothingToDo(f"there is no record of run {number}")
    begin, started = events[0][1].at, time.time()

    def now() -> float:
        return begin + (time.time() - started) * speed

    asked = {record.task.id: record.asked for record in records}
    display = choose(
        manner.progress, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ, clock=now,
        asked=lambda task: asked.get(task.id, 1),
    )  # fmt: skip
    with display:
        ticker = asyncio.ensure_future(display.run())
        display.tell(RunStarted(begin, RunId(number), _unsent(records)))
        for _, event in events:
            await asyncio.sleep(max(0.0, (event.at - now()) / speed))
            display.tell(event)
        display.tell(RunFinished(now(), RunId(number)))
        ticker.cancel()
    return 0


def _begin(display: Display, records: Sequence[Record]) -> None:
    created = min(record.created for record in records)
    display.tell(RunStarted(created, records[0].task.run, _unsent(records)))


def _tell(store: Store, display: Display, run: int, ids: set[int], seen: int) -> int:
    """Pass on what has been written since event `seen` about these tasks; the number of the last event."""
    last = seen
    for number, event in store.events(run, seen):
        last = number
        if _about(event) in ids:
            display.tell(event)
    return last


def _about(event: Event) -> int | None:
    if isinstance(event, TaskChanged):
        return event.task.id
    return getattr(event, "id", None)


def _unsent(records: Sequence[Record]) -> tuple[Task, ...]:
    return tuple(replace(record.task, state=Queued()) for record in sorted(records, key=lambda one: one.task.id))


def _going(record: Record) -> bool:
    return record.carried and not isinstance(record.task.state, ENDED)


def _display(manner: "Manner", asked: Mapping[TaskId, int]) -> Display:
    return choose(
        manner.progress,
        stdout=sys.stdout,
        stderr=sys.stderr,
        environ=os.environ,
        asked=lambda task: asked.get(task.id, task.request.count or 1),
    )


def _row(record: Record) -> Row:
    """A row of the board, as if the board had heard of the task all along."""
    board = Board(asked=lambda _: record.asked)
    unsent = replace(record.task, state=Queued())
    board.tell(RunStarted(record.created, record.task.run, (unsent,)))
    for event in _lived(record):
        board.tell(event)
    return board.rows[record.task.id]


def _lived(record: Record) -> Iterator[Event]:
    if record.started is not None:
        yield TaskChanged(record.started, replace(record.task, state=Submitting()))
    yield TaskChanged(record.ended or record.started or record.created, record.task)


def _carrier(record: Record) -> str:
    """Who carries it; for unfinished work without a living process, what to do."""
    if isinstance(record.task.state, ENDED):
        return ""
    if record.process is not None:
        return f"process {record.process.pid} on {record.process.host}"
    return "nobody: its process is gone; imagegen resume goes on with it"


def _object(record: Record) -> dict[str, object]:
    plain = task_object(
        record.task, created=record.created, started=record.started, ended=record.ended, asked=record.asked
    )
    return plain | {"pid": record.process.pid if record.process else None}


def _moment(text: str) -> float | None:
    """Read a span that ends now (30m) or a date. Raises UsageError."""
    if not text:
        return None
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.lower()):
        return time.time() - float(ago[1]) * UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"--since {text!r} is neither a span like 30m, 12h, 7d nor a date like 2026-11-23") from None
