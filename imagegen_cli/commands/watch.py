"""Show the table of a run that other processes work on, or replay a run that is over."""

import asyncio
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from imagegen_cli.commands.console import say
from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.key_queue import KeyQueue, open_folder
from imagegen_cli.commands.options import RunOptions
from imagegen_cli.commands.session import end
from imagegen_cli.commands.signals import signals
from imagegen_cli.commands.taken import taken_by
from imagegen_cli.commands.task_ids import run_reference, task_ids
from imagegen_cli.commands.terms import queued_terms
from imagegen_cli.commands.waiting import wait_for_workers
from imagegen_cli.core.charges import Charge
from imagegen_cli.core.errors import HistoryError, NothingToDo
from imagegen_cli.core.events import (
    ChargesKnown,
    Event,
    HostsKnown,
    QueueKnown,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskChanged,
)
from imagegen_cli.core.language import Message
from imagegen_cli.core.output import Output
from imagegen_cli.core.task import ENDED, Queued, RunId, Task, TaskId
from imagegen_cli.display import choose
from imagegen_cli.display.board import TakenBy, nothing_taken
from imagegen_cli.display.guarded import Guarded
from imagegen_cli.display.key_commands import Cancel, CancelWaiting, Command, Keys, Offer, OpenFolder, OpenPicture, Stop
from imagegen_cli.storage.database import MAX_ROWS_AT_ONCE
from imagegen_cli.storage.estimates import Estimates
from imagegen_cli.storage.records import UNFINISHED, Filter, Record
from imagegen_cli.storage.store import Store

MAX_WATCHED_TASKS = 20_000
"""So many tasks in the table take less than 100 MB of memory."""
MAX_OPEN_LINES = 200
"""So many of the newest tasks of living processes are looked at for open prompt lines."""
POLL_S = 0.25
"""Seconds between two reads of what other processes have written."""
LOOK_AROUND_S = 2.0
"""Seconds between two looks for what else the machines of a shared history are at work on."""

UNCARRIED = (Queued, *ENDED)
"""States in which no machine is at work on a task."""
STUDIO = "studio"
"""The command whose run goes on while none of its tasks is unfinished."""

Story = Callable[[], Coroutine[Any, Any, None]]


def watch(names: Sequence[str], options: RunOptions, *, run: str, replay: bool, speed: float) -> int:
    """Show tasks of other processes until all have ended; with `replay`, a run that is over, `speed` times as fast.

    Raises NothingToDo if there is nothing to show.
    """
    with closing(open_history()) as store:
        ids, run_id = task_ids(names, store), run_reference(run, store)
        if replay:
            return _replay(store, run_id, options, speed)
        since = -math.inf if ids or run_id is not None else time.time()
        show = Show(options, Estimates(store).seconds, WATCHING, since=since, taken_by=partial(taken_by, store))
        watched = Watched(store, show, ids, run_id)
        return show.play(watched.follow, _Remote(store, show).do)


class Show:
    """A display with keys. `q` or a signal closes it before the end."""

    def __init__(
        self,
        options: RunOptions,
        estimate: Callable[[Task], float | None],
        offer: Offer,
        clock: Callable[[], float] = time.time,
        *,
        since: float = -math.inf,
        taken_by: TakenBy = nothing_taken,
    ) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self._main: asyncio.Task[Any] | None = None
        self._exit = 0
        self._key_queue = KeyQueue()
        self._output = Output()
        chosen = choose(
            options.display,
            stdin=sys.stdin,
            stdout=self._output.stdout,
            stderr=self._output.stderr,
            environ=os.environ,
            estimate=estimate,
            clock=clock,
            keys=Keys(self._key_queue.send, offer),
            since=since,
            preview=options.preview,
            taken_by=taken_by,
            terms_of=queued_terms,
        )
        self.display = Guarded(chosen, stderr=self._output.stderr)

    def play(self, story: Story, do: Callable[[Command], None]) -> int:
        """Show it until it ends, a signal comes or `q` is pressed; the exit code. `do` takes the other commands."""
        with signals(self.leave), self._output, suppress(asyncio.CancelledError):
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
            for helper in (self.display.run(), self._key_queue.obey(obeyed, self.display)):
                stack.push_async_callback(end, asyncio.ensure_future(helper))
            await story()

    def leave(self, code: int) -> None:
        self._exit = code
        if code:
            self._output.hurry()
        if self._main is None:
            raise KeyboardInterrupt
        if not self._main.get_loop().is_closed():  # else only output waits for its reader
            self._main.get_loop().call_soon_threadsafe(self._main.cancel)

    def meet(self, records: Iterable[Record]) -> tuple[Task, ...]:
        """Add the tasks of these records; returns them as they were before any event, oldest first."""
        records = sorted(records, key=lambda record: record.task.id)
        tasks = tuple(replace(record.task, state=Queued()) for record in records)
        self.tasks.update({task.id: task for task in tasks})
        return tasks

    def tell(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self.tasks[event.task.id] = event.task
        self.display.tell(event)


@dataclass(slots=True)
class _Shown:
    """How much of a run has been shown: the number of its last event and of its newest task.

    `is_current`: what was written before the table was opened has been read. Until then, events of tasks that are not
    shown are old ones; later ones are of tasks that a worker has taken meanwhile.
    """

    event: int
    task: int
    is_current: bool = False


class Watched:
    """Tasks of other processes. Without `ids`, tasks that are added to their runs later are included."""

    def __init__(
        self, store: Store, show: Show, ids: Sequence[int], run: int | None, *, limit: int = MAX_WATCHED_TASKS
    ) -> None:
        newest = max((record.task.id for record in store.find(Filter(limit=1))), default=0)
        if ids or run is not None:
            records = store.find(Filter(ids=tuple(ids), run=run, limit=limit + 1))
        else:
            records = _at_work(store, limit + 1)
        if len(records) > limit:
            records = records[:limit]
            message = Message("only the newest {count} tasks are shown; imagegen list shows the others")
            say(message.format(count=limit))
        if not records:
            waiting = store.waiting_for_workers(run=run)
            hint = wait_for_workers(waiting) if waiting else Message("imagegen list shows what became of every task")
            raise NothingToDo(Message("no process is working on a task"), hint=hint)
        self._store = store
        self._show = show
        self._open = not ids
        self._is_wide = not ids and run is None and store.is_remote
        self._limit = limit
        self._run = run
        self._in_queue = 0
        self._looked_around_at = time.monotonic()
        self._looked_at_queue_at = -math.inf
        self._shown_at_look = 0
        """How many tasks were shown when the queue was counted."""
        self._changed: set[TaskId] = set()
        """Tasks whose machine may be another one since the last look."""
        self._hosts: dict[TaskId, str] = {}
        self._records = records
        self._lasting = {one.id for one in store.runs({record.task.run for record in records}) if one.command == STUDIO}
        self._runs = {record.task.run: _Shown(0, newest) for record in reversed(records)}

    async def follow(self) -> None:
        for run in self._runs:
            records = [record for record in self._records if record.task.run == run]
            began = min(record.created for record in records)
            self._show.tell(RunStarted(began, run, self._show.meet(records)))
        self._records = []  # else all stay in memory as long as the table is open
        more, is_first = False, True
        while True:
            owned = more or self._is_owned()
            more = self._look()
            owned = self._look_around(at_once=not (owned or more)) or owned
            self._tell_queue()
            if is_first and not more:
                is_first = False
                self._show.tell(ChargesKnown(time.time(), self._charges()))
            if not (owned or more):
                return
            await asyncio.sleep(0 if more else POLL_S)

    def _charges(self) -> dict[TaskId, Charge]:
        """What events do not tell: costs of runs whose events are gone, and what was claimed or settled meanwhile."""
        found = self._store.charges(self._show.tasks)
        return {task: found[task] for task in self._show.tasks if task in found}

    def _is_owned(self) -> bool:
        left = [task.id for task in self._show.tasks.values() if not isinstance(task.state, ENDED)]
        return (bool(left) and self._store.is_any_owned(left)) or (self._open and self._may_grow())

    def _may_grow(self) -> bool:
        """Whether a prompt line is still open: its process lives, though none of its tasks is unfinished."""
        return any(self._store.find(Filter(run=run, owned=True, limit=1)) for run in self._lasting)

    def _look(self) -> bool:
        """Show what has been written since the last look, a batch at a time. Returns whether there may be more."""
        runs = tuple(self._runs.items())
        batches = [(shown, self._store.events(run, shown.event, MAX_ROWS_AT_ONCE)) for run, shown in runs]
        joined = self._joined() if self._open else []
        for record in joined:
            self._show.tell(TaskAdded(record.created, *self._show.meet([record])))
        before = len(self._show.tasks)
        for shown, events in batches:
            if self._open and shown.is_current:
                self._join([TaskId(about) for _, event in events if (about := _about(event)) is not None])
            for shown.event, event in events:
                about = _about(event)
                if about is None or about in self._show.tasks:
                    self._show.tell(event)
                    self._changed |= {event.task.id} if isinstance(event, TaskChanged) else set()
            shown.is_current = shown.is_current or len(events) < MAX_ROWS_AT_ONCE
        self._tell_hosts()
        return (
            bool(joined)
            or len(self._show.tasks) > before
            or any(len(events) == MAX_ROWS_AT_ONCE for _, events in batches)
        )

    def _join(self, ids: Sequence[TaskId]) -> None:
        """Show further tasks whose events are about to be told, as far as there is room for them."""
        new = tuple(sorted(set(ids) - self._show.tasks.keys()))[: self._room]
        for record in reversed(self._store.find(Filter(ids=new))) if new else ():
            self._show.tell(TaskAdded(record.created, *self._show.meet([record])))

    def _look_around(self, *, at_once: bool) -> bool:
        """Show further runs of other machines, and `at_once` what workers have taken; whether there is something."""
        is_time = self._is_wide and time.monotonic() - self._looked_around_at >= LOOK_AROUND_S
        if not self._open or not (at_once or is_time):
            return False
        self._looked_around_at = time.monotonic()
        before = len(self._show.tasks)
        self._changed.update(task.id for task in self._show.tasks.values() if not isinstance(task.state, UNCARRIED))
        if self._is_wide:
            for run in sorted(self._store.runs_at_work() - self._runs.keys()):
                self._begin(run)
        if at_once:
            for record in reversed(_at_work(self._store, self._room)):
                if record.task.run in self._runs and record.task.id not in self._show.tasks:
                    self._show.tell(TaskAdded(record.created, *self._show.meet([record])))
                    self._show.tell(TaskChanged(record.started or record.created, record.task))
        return len(self._show.tasks) > before

    def _begin(self, run: RunId) -> None:
        """Show the tasks of another run that living processes have; later ones join it."""
        records = self._store.find(Filter(run=run, owned=True, limit=self._room))
        if records:
            self._runs[run] = _Shown(0, records[0].task.id)
            self._show.tell(RunStarted(min(record.created for record in records), run, self._show.meet(records)))

    @property
    def _room(self) -> int:
        """For how many more tasks there is room in the table."""
        return max(0, self._limit - len(self._show.tasks))

    def _tell_hosts(self) -> None:
        """Tell which machine carries each task, once there are several."""
        if not self._store.is_remote:
            return
        was_one = len({*self._hosts.values()} - {""}) < 2  # noqa: PLR2004 - one machine is no news
        now = self._store.hosts(sorted(self._changed | (self._show.tasks.keys() - self._hosts.keys())))
        self._changed.clear()
        news = {task: host for task, host in now.items() if self._hosts.get(task, "") != host}
        self._hosts |= now
        if len({*self._hosts.values()} - {""}) > 1 and (news or was_one):
            self._show.tell(HostsKnown(time.time(), dict(self._hosts) if was_one else news))

    def _tell_queue(self) -> None:
        """Tell how many tasks no worker has taken, beside those that are shown: of one run, or of all.

        They are counted now and then, and whenever tasks have joined, which the last count may have too.
        """
        is_time = time.monotonic() - self._looked_at_queue_at >= LOOK_AROUND_S
        if not self._open or not (is_time or len(self._show.tasks) > self._shown_at_look):
            return
        self._looked_at_queue_at, self._shown_at_look = time.monotonic(), len(self._show.tasks)
        shown = [id_ for id_, task in self._show.tasks.items() if isinstance(task.state, Queued)]
        waiting = self._store.waiting_for_workers(run=self._run, without=shown)
        if waiting != self._in_queue:
            self._in_queue = waiting
            self._show.tell(QueueKnown(time.time(), waiting))

    def _joined(self) -> list[Record]:
        """New tasks of these runs. They are read after the events, so that every event finds its task."""
        found: list[Record] = []
        for run, shown in self._runs.items():
            records = self._store.find(Filter(run=run, after=shown.task))[::-1]
            shown.task = records[-1].task.id if records else shown.task
            found += [record for record in records if record.task.id not in self._show.tasks]
        return found


def _at_work(store: Store, limit: int) -> list[Record]:
    """The tasks of every process that is at work, with those that it has ended already, newest first.

    A prompt line that is open counts as work, also while none of its tasks is unfinished.
    """
    at_work = [*store.find(Filter(states=UNFINISHED, owned=True, limit=limit)), *_of_open_lines(store)]
    owners = {record.process for record in at_work}
    runs = sorted({record.task.run for record in at_work}, reverse=True)
    of_runs = (record for run in runs for record in store.find(Filter(run=run, owned=True, limit=limit)))
    found = [record for record in of_runs if record.process in owners]
    return sorted(found, key=lambda record: record.task.id, reverse=True)[:limit]


def _of_open_lines(store: Store) -> list[Record]:
    """The newest tasks of the runs whose prompt lines are open in living processes."""
    newest = store.find(Filter(owned=True, limit=MAX_OPEN_LINES))
    lasting = {one.id for one in store.runs({record.task.run for record in newest}) if one.command == STUDIO}
    return [record for record in newest if record.task.run in lasting]


LOOKING = Offer(without=frozenset("cxoar+- "), stop=Message("stop watching"), keeps=True, leaves=True)
"""Keys of a replay: choose, read, leave. They act from the start: no key can make or change a task."""
WATCHING = LOOKING._replace(without=frozenset("ar+- "))
"""Keys of a table of other processes: they can also cancel. Tasks are added and paused where they run."""


class _Remote:
    """Passes commands on to the processes that run the tasks, through the history."""

    def __init__(self, store: Store, show: Show) -> None:
        self._store = store
        self._show = show

    def do(self, command: Command) -> None:
        match command:
            case Cancel(ids):
                self._cancel(ids)
            case CancelWaiting():
                self._cancel([task.id for task in self._show.tasks.values() if isinstance(task.state, Queued)])
            case OpenPicture(path):
                open_folder(path, self._show.display)
            case OpenFolder():
                open_folder(next(iter(self._show.tasks.values())).folder, self._show.display)
            case _:
                pass

    def _cancel(self, ids: Sequence[TaskId]) -> None:
        try:
            if ids and self._store.is_any_owned(ids):
                self._store.request_cancel(ids)
            elif ids:
                message = Message("no process works on {id}: imagegen cancel {id}")
                self._show.display.say(message.format(id=ids[0]))
        except HistoryError as error:
            self._show.display.say(Message("not cancelled: {why}").format(why=error.message))


def _nothing(_command: Command) -> None:
    """Do nothing: a run that is over cannot be changed."""


class _Clock:
    """The time of a run that is replayed, `speed` times as fast."""

    def __init__(self, begin: float, speed: float) -> None:
        self._begin = begin
        self._speed = speed
        self._started = time.time()

    def now(self) -> float:
        return self._begin + (time.time() - self._started) * self._speed

    async def until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, (at - self.now()) / self._speed))


def _replay(store: Store, run: int | None, options: RunOptions, speed: float) -> int:
    runs = store.run_ids()
    number = RunId(run if run is not None else (runs[0] if runs else 0))
    records = store.find(Filter(run=number))
    events = [*_all_events(store, number)]
    if not records or not events:
        raise NothingToDo(Message("there is no record of run {run}").format(run=number))
    begin = events[0].at
    clock = _Clock(begin, speed)
    show = Show(options, Estimates(store, before=begin).seconds, LOOKING, clock.now)
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
    while batch := store.events(run, last, MAX_ROWS_AT_ONCE):
        last = batch[-1][0]
        yield from (event for _, event in batch)


def _in_turn(added: Iterable[TaskAdded], events: Iterable[Event]) -> Iterator[Event]:
    """Events in order of time, with each added task before the first event after it."""
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
