"""The thread that writes the events of a run, in groups: each group is one durable transaction."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from imagegen_cli.core.errors import DiskError
from imagegen_cli.core.events import Event, TaskChanged, TaskDelayed, TaskProgressed
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import Queued, Submitting, Task, TaskId
from imagegen_cli.storage import updates
from imagegen_cli.storage.charges import Budget
from imagegen_cli.storage.leases import Leases

if TYPE_CHECKING:
    from concurrent.futures import Future

    from imagegen_cli.storage.database import Database, Reserve
    from imagegen_cli.storage.dialect import Connection

NOTICED_S = 5.0
"""Seconds after which a person is told that the history cannot be written."""
END_TICK_S = 0.1
"""Seconds of one piece of the wait for the end of the thread."""
MIN_PROGRESS_GAP_S = 0.5
"""Seconds between two progress reports of a task that are written; `watch` sees no more than that."""

MAX_PLAIN_DELAY_S = 2.0
"""A first delay of a task that is no longer than this is written once for each reason."""

Change = tuple[str, tuple[Any, ...], Callable[[], None] | None]
"""A statement, its values, and what is called once it is on disk."""
Progress = tuple[float | None, int | None, str]
"""Fraction, position in the queue and note of a progress report."""


class Writer:
    """Writes events in a thread of its own: all that have come since the last transaction go into the next."""

    def __init__(self, database: "Database", leases: Leases, budget: Budget) -> None:
        self._database = database
        self._leases = leases
        self._budget = budget
        self._unwritten: list[Event] = []
        """What was not written when the thread ended."""
        self._in_hand: list[Event] = []
        """What the thread is about to write."""
        self._since: float | None = None
        """When the oldest change came that is not written; None where all are."""
        self._trouble = ""
        self._db: Connection | None = None
        self._events: list[Event] = []
        self._flushes: list[Future[None]] = []
        self._changes: list[Change] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._closing = False
        self._last_progress: dict[int, tuple[float, Progress]] = {}
        self._last_reason: dict[int, str] = {}
        self._leaving: set[TaskId] = set()
        """Tasks whose request is leaving, as the history has it."""

    def put(self, event: Event) -> None:
        """Write an event soon."""
        if isinstance(event, TaskDelayed):
            self._last_progress.pop(event.id, None)
        if isinstance(event, TaskProgressed) and not self._is_news(event):
            return
        if isinstance(event, TaskDelayed) and not self._is_new_reason(event):
            return
        with self._wake:
            self._events.append(event)
            self._wake_thread()

    def connect(self) -> None:
        """Have a connection before there is something to write. Raises one of the database's ERRORS."""
        if self._thread is None and self._db is None:
            self._db = self._database.connect()

    @property
    def behind_s(self) -> float:
        """For how many seconds the oldest change has waited that is not written."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def trouble(self) -> str:
        """Why nothing could be written for a while; empty where all is well, or nothing tells why."""
        return self._trouble if self.behind_s > NOTICED_S else ""

    def change(self, statement: str, *values: Any, done: Callable[[], None] | None = None) -> None:
        """Run a small statement in this thread, soon; `done` is called there once it is on disk."""
        with self._wake:
            self._changes.append((statement, values, done))
            self._wake_thread()

    def _is_news(self, event: TaskProgressed) -> bool:
        """Whether a progress report is worth a row: many services only repeat that they still work."""
        working, (at, before) = event.working, self._last_progress.get(event.id, (0.0, None))
        progress = working.fraction, working.queue_position, working.note
        if event.at - at < MIN_PROGRESS_GAP_S or (progress == before and not working.queue_position):
            return False
        self._last_progress[event.id] = event.at, progress
        return True

    def _is_new_reason(self, event: TaskDelayed) -> bool:
        """Whether a delay is worth a row: what waits for a place at an account says so every two seconds."""
        before = self._last_reason.get(event.id)
        self._last_reason[event.id] = event.because
        return bool(event.attempt) or event.seconds > MAX_PLAIN_DELAY_S or before != event.because

    def flush(self) -> "Future[None]":
        """A future that is done once all events so far are on disk, or has a DiskError."""
        from concurrent.futures import Future  # noqa: PLC0415 - see Store.flush

        promise: Future[None] = Future()
        with self._wake:
            self._flushes.append(promise)
            self._wake_thread()
        return promise

    def close(self) -> list[Task]:
        """End the thread. Returns the tasks whose last state it could not write; a Ctrl-C ends the wait for that.

        What waits to be sent, and of which no submit was written either, waits in the history too.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            with suppress(KeyboardInterrupt):
                self._await_end()
            if not self._ended.is_set():
                with self._wake:
                    self._unwritten = self._in_hand + self._events
        elif self._db is not None:
            self._db.close()
        last = {event.task.id: event.task for event in self._unwritten if isinstance(event, TaskChanged)}
        return [task for id_, task in last.items() if id_ in self._leaving or not isinstance(task.state, Queued)]

    def _await_end(self) -> None:
        """Wait for the thread in short pieces: only between them a signal that another thread was sent is seen.

        It is not joined: a Ctrl-C in the middle of that makes Python take it for ended.
        """
        limit_s = self._database.MAX_CLOSE_S
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while not self._ended.wait(END_TICK_S) and (deadline is None or time.monotonic() < deadline):
            pass

    def _wake_thread(self) -> None:
        self._since = time.monotonic() if self._since is None else self._since
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="history", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()

    def _work(self) -> None:
        reserve = self._database.reserve_space()
        while True:
            with self._wake:
                while not (self._events or self._flushes or self._changes or self._closing):
                    self._wake.wait()
                events, self._events = self._events, []
                flushes, self._flushes = self._flushes, []
                changes, self._changes = self._changes, []
                closing = self._closing
                self._in_hand = events
            trouble = self._write(events, reserve)
            with self._wake:
                self._events, self._in_hand = ([] if trouble is None else events) + self._events, []
            left = self._run_changes(changes) if trouble is None else changes
            self._note(is_behind=trouble is not None or bool(left))
            for promise in flushes:
                _answer(promise, trouble)
            if closing:
                self._unwritten = self._events
                if self._db is not None:
                    self._db.close()
                return
            if trouble is not None or left:
                with self._wake:
                    self._changes = left + self._changes
                    if not (self._flushes or self._closing):
                        self._wake.wait(1.0)

    def _note(self, *, is_behind: bool) -> None:
        """Remember since when something waits to be written."""
        with self._wake:
            if not is_behind:
                waits = self._events or self._flushes or self._changes
                self._since, self._trouble = time.monotonic() if waits else None, ""

    def _run_changes(self, changes: "list[Change]") -> "list[Change]":
        """Run these statements. Returns those that failed, for the next time."""
        for index, (statement, values, done) in enumerate(changes):
            try:
                if self._db is None:
                    self._db = self._database.connect()
                self._db.execute(statement, values)
            except self._database.ERRORS as error:
                self._trouble = self._database.trouble_of(error)
                self._database.save_receipts(self._db)
                return changes[index:]
            if done is not None:
                done()
        return []

    def _write(self, events: list[Event], reserve: "Reserve") -> DiskError | None:
        """Write all events or none. On a full disk the reserved space is given up, once, and they are written again."""
        if not events:
            return None
        try:
            if self._db is None:
                self._db = self._database.connect()
            self._write_or_try_again(self._db, events, reserve)
        except self._database.ERRORS as error:
            self._database.save_receipts(self._db)
            return self._database.unwritten(error)
        except Exception as error:  # noqa: BLE001 - a flush that waits for this thread must not wait for ever
            why = f"{type(error).__name__}: {error}"
            message = Message("the history {name} cannot be written: {why}")
            return self._database.UNWRITTEN(message.format(name=self._database.name, why=why))
        reserve.keep()
        for event in events:
            if isinstance(event, TaskChanged):
                change = self._leaving.add if isinstance(event.task.state, Submitting) else self._leaving.discard
                change(event.task.id)
        return None

    def _write_or_try_again(self, db: "Connection", events: list[Event], reserve: "Reserve") -> None:
        while True:
            try:
                updates.write(db, events, self._leases, self._budget)
            except self._database.ERRORS as error:
                self._trouble = self._database.trouble_of(error)
                if not reserve.give_up(error):
                    raise
            else:
                return


def _answer(promise: "Future[None]", trouble: DiskError | None) -> None:
    if promise.set_running_or_notify_cancel():  # else the flush was cancelled
        if trouble is None:
            promise.set_result(None)
        else:
            promise.set_exception(trouble)
