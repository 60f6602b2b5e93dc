"""Look on while other processes carry tasks, or see a run once more: the table of a run, without its reins."""

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from imagegen_cli.commands.console import say
from imagegen_cli.commands.estimates import Estimates
from imagegen_cli.commands.options import RunOptions
from imagegen_cli.commands.session import end, obey, open_folder, signals
from imagegen_cli.core.errors import HistoryError, NothingToDo
from imagegen_cli.core.events import Event, RunFinished, RunStarted, TaskAdded, TaskChanged
from imagegen_cli.core.task import ENDED, Queued, RunId, Task, TaskId
from imagegen_cli.display import choose
from imagegen_cli.display.guarded import Guarded
from imagegen_cli.display.key_commands import Cancel, CancelWaiting, Command, Keys, Offer, OpenFolder, Stop
from imagegen_cli.settings.paths import history_file
from imagegen_cli.storage.records import UNFINISHED, Filter, Record
from imagegen_cli.storage.store import MAX_ROWS_AT_ONCE, Store

MAX_WATCHED_TASKS = 20_000
"""What the table holds stays below 100 MB."""
LOOK = 0.25
"""Seconds between two looks at what other processes have written."""

Story = Callable[[], Coroutine[Any, Any, None]]


def watch(ids: Sequence[int], manner: RunOptions, *, run: int | None, replay: bool, speed: float) -> int:
    """Show what other processes do until all of it has ended; or show a run that is over once more."""
    with closing(Store(history_file())) as store:
        if replay:
            return _replay(store, run, manner, speed)
        show = Show(manner, Estimates(store).seconds, WATCHING)
        watched = Watched(store, show, ids, run)
        return show.play(watched.follow, _Remote(store, show).do)


class Show:
    """A display with keys, and two ways to leave before the end: `q`, or a signal."""

    def __init__(
        self,
        manner: RunOptions,
        estimate: Callable[[Task], float | None],
        offer: Offer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self._main: asyncio.Task[Any] | None = None
        self._exit = 0
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        chosen = choose(
            manner.display,
            stdin=sys.stdin,
            stdout=sys.stdout,
            stderr=sys.stderr,
            environ=os.environ,
            estimate=estimate,
            clock=clock,
            keys=Keys(self._commands.put_nowait, offer),
        )
        self.display = Guarded(chosen, stderr=sys.stderr)

    def play(self, story: Story, do: Callable[[Command], None]) -> int:
        """Show it until it ends, a signal comes or `q` is pressed; the exit code. `do` takes the other commands."""
        with signals(self.leave), suppress(asyncio.CancelledError):
            asyncio.run(self._played(story, do))
        return self._exit

    async def _played(self, story: Story, do: Callable[[Command], None]) -> None:
        self._main = asyncio.current_task()

        def obeyed(command: Command) -> None:
            if isinstance(command, Stop):
                self.leave(0)
            else:
                do(command)

        async with AsyncExitStack() as stack:
            stack.enter_context(self.display)
            for helper in (self.display.run(), obey(self._commands, obeyed, self.display)):
                stack.push_async_callback(end, asyncio.ensure_future(helper))
            await story()

    def leave(self, code: int) -> None:
        self._exit = code
        if self._main is None:
            raise KeyboardInterrupt
        self._main.get_loop().call_soon_threadsafe(self._main.cancel)

    def meet(self, records: Iterable[Record]) -> tuple[Task, ...]:
        """The tasks as they were before anything happened to them, oldest first."""
        records = sorted(records, key=lambda record: record.task.id)
        tasks = tuple(replace(record.task, state=Queued()) for record in records)
        self.tasks.update({task.id: task for task in tasks})
        return tasks

    def tell(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self.tasks[event.task.id] = event.task
        self.display.tell(event)


@dataclass(slots=True)
class _Told:
    """How far a run has been told: the numbers of its last event and of the newest task."""

    event: int
    task: int


class Watched:
    """Tasks that others carry. Where none was named, those that join their runs later belong to them."""

    def __init__(
        self, store: Store, show: Show, ids: Sequence[int], run: int | None, *, most: int = MAX_WATCHED_TASKS
    ) -> None:
        newest = max((record.task.id for record in store.find(Filter(limit=1))), default=0)
        everything = not ids and run is None
        states = UNFINISHED if everything else ()
        found = Filter(ids=tuple(ids), run=run, states=states, owned=everything, limit=most + 1)
        records = store.find(found)
        if len(records) > most:
            records = records[:most]
            say(f"only the newest {most} tasks are shown; imagegen list shows the others")
        if not records:
            raise NothingToDo("no process is carrying a task", hint="imagegen list shows what became of every task")
        self._store = store
        self._show = show
        self._open = not ids
        self._records = records
        self._runs = {record.task.run: _Told(0, newest) for record in reversed(records)}

    async def follow(self) -> None:
        for run in self._runs:
            records = [record for record in self._records if record.task.run == run]
            began = min(record.created for record in records)
            self._show.tell(RunStarted(began, run, self._show.meet(records)))
        self._records = []  # else each is held for as long as the table is open
        more = False
        while True:
            carried = more or self._carried()
            more = self._look()
            if not (carried or more):
                return
            await asyncio.sleep(0 if more else LOOK)

    def _carried(self) -> bool:
        left = [task.id for task in self._show.tasks.values() if not isinstance(task.state, ENDED)]
        return bool(left) and self._store.is_any_owned(left)

    def _look(self) -> bool:
        """Tell what has been written since the last look, a slice at a time; whether there may be more."""
        events = [(told, self._store.events(run, told.event, MAX_ROWS_AT_ONCE)) for run, told in self._runs.items()]
        joined = self._joined() if self._open else []
        for record in joined:
            self._show.tell(TaskAdded(record.created, *self._show.meet([record])))
        for told, said in events:
            for told.event, event in said:
                if _about(event) in self._show.tasks:
                    self._show.tell(event)
        return bool(joined) or any(len(said) == MAX_ROWS_AT_ONCE for _, said in events)

    def _joined(self) -> list[Record]:
        """Looked for after the events, so that every event finds its task."""
        found: list[Record] = []
        for run, told in self._runs.items():
            records = self._store.find(Filter(run=run, after=told.task))[::-1]
            told.task = records[-1].task.id if records else told.task
            found += [record for record in records if record.task.id not in self._show.tasks]
        return found


LOOKING = Offer(without=frozenset("cxoa "), stop="stop watching", keeps=True, leaves=True)
"""Keys of a person who sees a run once more: to choose, to read, to leave.

They act from the start: the command does nothing but show the table, and no key can make a task.
"""
WATCHING = replace(LOOKING, without=frozenset("a "))
"""Tasks can be cancelled from here too. They are added and paused where they run."""


class _Remote:
    """Does what keys ask for, through the history: other processes run the tasks."""

    def __init__(self, store: Store, show: Show) -> None:
        self._store = store
        self._show = show

    def do(self, command: Command) -> None:
        match command:
            case Cancel(ids):
                self._cancel(ids)
            case CancelWaiting():
                self._cancel([task.id for task in self._show.tasks.values() if isinstance(task.state, Queued)])
            case OpenFolder():
                open_folder(next(iter(self._show.tasks.values())).folder, self._show.display)
            case _:
                pass

    def _cancel(self, ids: Sequence[TaskId]) -> None:
        try:
            if ids and self._store.is_any_owned(ids):
                self._store.request_cancel(ids)
            elif ids:
                self._show.display.say(f"no process carries {ids[0]} any more: imagegen cancel {ids[0]}")
        except HistoryError as error:
            self._show.display.say(f"not cancelled: {error.message}")


def _nothing(_command: Command) -> None:
    """A run that is over cannot be changed."""


class _Clock:
    """The time of a run that is told again, `speed` times as fast."""

    def __init__(self, begin: float, speed: float) -> None:
        self._begin = begin
        self._speed = speed
        self._started = time.time()

    def now(self) -> float:
        return self._begin + (time.time() - self._started) * self._speed

    async def until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, (at - self.now()) / self._speed))


def _replay(store: Store, run: int | None, manner: RunOptions, speed: float) -> int:
    runs = store.runs()
    number = RunId(run if run is not None else (runs[0] if runs else 0))
    records = store.find(Filter(run=number))
    events = [*_all_events(store, number)]
    if not records or not events:
        raise NothingToDo(f"there is no record of run {number}")
    begin = events[0].at
    clock = _Clock(begin, speed)
    show = Show(manner, Estimates(store, before=begin).seconds, LOOKING, clock.now)
    first = RunStarted(begin, number, show.meet(record for record in records if record.created <= begin))
    later = [record for record in records[::-1] if record.created > begin]
    added = [TaskAdded(record.created, *show.meet([record])) for record in later]
    last = RunFinished(events[-1].at, number)

    async def story() -> None:
        for event in [first, *_in_turn(added, events), last]:
            await clock.until(event.at)
            show.tell(event)

    return show.play(story, _nothing)


def _all_events(store: Store, run: RunId) -> Iterator[Event]:
    last = 0
    while said := store.events(run, last, MAX_ROWS_AT_ONCE):
        last = said[-1][0]
        yield from (event for _, event in said)


def _in_turn(added: Iterable[TaskAdded], events: Iterable[Event]) -> Iterator[Event]:
    """Tasks that joined a run, each before the first event that is younger."""
    left = deque(added)
    for event in events:
        while left and left[0].at <= event.at:
            yield left.popleft()
        yield event
    yield from left


def _about(event: Event) -> int | None:
    if isinstance(event, TaskChanged):
        return event.task.id
    return getattr(event, "id", None)
