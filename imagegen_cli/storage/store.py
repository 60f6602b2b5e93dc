"""The history in SQLite: one row a task, always in its last state, shared by every process of this person.

Changes are written by one thread, grouped into one durable transaction for whatever has come meanwhile: a receipt
costs microseconds instead of a disk flush, and the event loop never waits. `flush` is how the runner knows that
what it said is on disk before it takes the next step.
"""

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.errors import DiskError, HistoryError, Reason
from imagegen_cli.core.events import Event, RunFinished, Span, TaskChanged, TaskDelayed, TaskLearned, TaskProgressed
from imagegen_cli.core.task import (
    ENDED,
    Cancelled,
    CancelOutcome,
    Failed,
    ImageRequest,
    Job,
    Queued,
    RunId,
    Running,
    Saving,
    State,
    Submitting,
    Task,
    TaskId,
    word,
)
from imagegen_cli.storage import serialize
from imagegen_cli.storage.processes import SILENT_S, Process, is_alive, is_near, this_process, uptime

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_LOCK_WAIT_S = 10.0
ADD_WAIT_S = 0.5
RESERVE_BYTES = 512 * 1024
"""Kept free beside the database, and given up when the disk is full, so that a receipt still finds its place."""
HEARTBEAT_S = 5.0
MAX_ROWS_AT_ONCE = 5000
"""Rows that are held at a time where all are looked at."""
MAX_KEPT_RUNS = 200
"""Runs whose events are kept for replay; their tasks stay for ever."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, source TEXT NOT NULL DEFAULT '',
        started REAL NOT NULL, ended REAL
    );
    CREATE TABLE process (
        id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL,
        beat REAL NOT NULL
    );
    CREATE TABLE task (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES run, owner INTEGER,
        provider TEXT NOT NULL, model TEXT NOT NULL, size TEXT NOT NULL, prompt TEXT NOT NULL, request TEXT NOT NULL,
        identity TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL, asked INTEGER NOT NULL,
        state TEXT NOT NULL, detail TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL, started REAL, accepted REAL, ready REAL, ended REAL,
        cancel_asked INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX task_by_run ON task(run);
    CREATE INDEX task_by_state ON task(state);
    CREATE INDEX task_by_identity ON task(identity);
    CREATE INDEX task_by_kind ON task(provider, model, size, id) WHERE ready IS NOT NULL;
    CREATE INDEX task_to_cancel ON task(owner) WHERE cancel_asked = 1;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, task INTEGER, at REAL NOT NULL,
        kind TEXT NOT NULL, body TEXT NOT NULL
    );
    CREATE INDEX event_by_run ON event(run);
    """,
    "ALTER TABLE task ADD COLUMN began REAL",  # when it left the service's own queue, where that tells
    """
    ALTER TABLE task ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN source TEXT NOT NULL DEFAULT '';
    ALTER TABLE task ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
    UPDATE task SET source = (SELECT source FROM run WHERE run.id = task.run);
    ALTER TABLE process ADD COLUMN place TEXT NOT NULL DEFAULT '';
    UPDATE process SET beat = 0;
    CREATE TABLE attempt (
        task INTEGER NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL,
        reason TEXT NOT NULL, started REAL, accepted REAL, began REAL, ready REAL, ended REAL,
        PRIMARY KEY (task, number)
    );
    CREATE TABLE sighting (
        process INTEGER NOT NULL, observer TEXT NOT NULL, beat INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (process, observer)
    );
    """,
    # Between how many seconds the service worked on it, measured by one process with a monotonic clock.
    """
    ALTER TABLE task ADD COLUMN lasted_least REAL;
    ALTER TABLE task ADD COLUMN lasted_most REAL;
    DROP INDEX task_by_kind;
    CREATE INDEX task_by_kind ON task(provider, model, size, id) WHERE lasted_most IS NOT NULL
    """,
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO meta (name, value) VALUES ('token', lower(hex(randomblob(6))))
    """,
    """
    ALTER TABLE task RENAME COLUMN asked TO expected_images;
    ALTER TABLE task RENAME COLUMN cancel_asked TO cancel_requested;
    ALTER TABLE task RENAME COLUMN lasted_least TO min_duration_s;
    ALTER TABLE task RENAME COLUMN lasted_most TO max_duration_s;
    ALTER TABLE task ADD COLUMN alternatives TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE process RENAME COLUMN born TO started_at;
    ALTER TABLE process RENAME COLUMN beat TO heartbeat;
    ALTER TABLE sighting RENAME COLUMN beat TO heartbeat
    """,
)
MOMENTS = "started, accepted, began, ready, ended"


UNFINISHED = ("queued", "submitting", "running", "saving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A task as the history knows it. Times are seconds since the epoch; `process` carries it, if one does."""

    task: Task
    created: float
    started: float | None = None
    accepted: float | None = None
    ready: float | None = None
    ended: float | None = None
    process: Process | None = None
    fence: int = 0
    repeated: bool = False
    """Whether it was sent before, in an earlier attempt. Told by `known` alone."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def carried(self) -> bool:
        """Whether a living process is at work on it."""
        return self.process is not None and not isinstance(self.task.state, ENDED)

    @property
    def version(self) -> tuple[int, int, str]:
        """What a claim compares: who reads the same version later has seen the same claims and the same state."""
        state = self.task.state
        return self.task.id, self.fence, serialize.dumps({"state": word(state)} | serialize.from_state(state))


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a task before it was sent again. Times are seconds since the epoch."""

    number: int
    state: State
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to look for; what is left out does not matter. `after`: only tasks that are newer than this one."""

    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    run: int | None = None
    after: int | None = None
    since: float | None = None
    search: str = ""
    limit: int | None = None
    carried: bool = False
    """Only what a living process is at work on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A task that is to be entered: its number comes from `Store.reserve`, or is that of the row that it `adopts`."""

    id: TaskId
    name: str
    request: ImageRequest
    expected_images: int
    folder: str
    identity: str
    alternatives: tuple[ImageRequest, ...] = ()
    source: str = ""
    """The list that it comes from: the resolved path, or empty."""
    earlier: tuple[Record, ...] | None = None
    """What the history had of this source and identity when it was planned; None where that does not matter."""
    others: frozenset[int] | None = None
    """Tasks of other lists for the same, as the history had them then; None where that does not matter."""
    repeats: TaskId | None = None
    """The task that may be paid, and that this one is sent for once more."""
    adopts: Record | None = None
    """The row of a task that was never sent, and that becomes this one."""


class Numbers(NamedTuple):
    """Numbers that no other run and no other task gets, also where they stay unused."""

    run: RunId
    tasks: tuple[TaskId, ...]


class Store:
    """One connection for this thread, and one for the writer. Raises HistoryError where the database cannot be used.

    Every claim of a task raises its fence number, and every write names owner and fence: a process that was taken for
    dead, and that goes on after others have claimed its tasks, changes nothing any more and hears of it (`lost`).
    """

    def __init__(self, path: Path, *, wait: float = MAX_LOCK_WAIT_S, process: Process | None = None) -> None:
        self.path = path
        self._wait = wait
        self._me = process or this_process()
        self.fences: dict[TaskId, int] = {}
        self.lost: set[TaskId] = set()
        """Tasks of this process that another one has claimed meanwhile."""
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = self._connect()
            self.owner: int | None = None
            try:
                self._migrate()
                self._token = str(self._db.execute("SELECT value FROM meta WHERE name = 'token'").fetchone()["value"])
            except BaseException:
                self._db.close()
                raise
        self._beaten = 0.0
        self._cancelling: set[TaskId] = set()
        """Told by `asked`, while the writer has not yet struck out the request."""
        self._writer = _Writer(self)

    def close(self) -> list[Task]:
        """Write what is still to be written, and let go of the tasks that this process carried.

        Returns the tasks whose last state could not be written, though a lock was waited for as long as always.
        """
        unwritten = self._writer.close()
        with suppress(HistoryError):  # the lease dies with this process anyway
            if self.owner is not None and not unwritten:
                self._change("DELETE FROM process WHERE id = ?", self.owner)
        self._db.close()
        return unwritten

    # What a run says

    def record(self, event: Event) -> None:
        """Remember an event: a Sink. Returns at once; see `flush`."""
        self._writer.put(event)

    async def flush(self) -> None:
        """Wait until everything recorded so far is durable. Raises DiskError where it cannot be."""
        from asyncio import wrap_future  # noqa: PLC0415 - whoever only reads has no loop

        await wrap_future(self._writer.flush())

    # What a command asks

    def reserve(self, tasks: int, run: RunId | None = None) -> Numbers:
        """Numbers for so many tasks of a new run, or of `run`: names are made of them before anything is entered.

        For a run that goes on, a lock is waited for at most ADD_WAIT_S seconds: its event loop stands meanwhile.
        """
        wait_s = self._wait if run is None else min(self._wait, ADD_WAIT_S)
        with self._said(), self._waiting(wait_s), self._transaction():
            if run is None:
                run = RunId(self._numbers("run", 1)[0])
            return Numbers(run, tuple(map(TaskId, self._numbers("task", tasks))))

    def _numbers(self, table: str, count: int) -> range:
        """Advance what SQLite gives numbers by."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if row is None:
            self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", (table,))
        last = row["seq"] if row is not None else 0
        self._db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last + count, table))
        return range(last + 1, last + count + 1)

    def start_run(self, run: RunId, command: str, source: str, planned: Sequence[Planned]) -> tuple[Task, ...]:
        """Enter what was planned; from here on it is this process'.

        Raises PlanChangedError, with nothing entered, where another process has planned or sent the same meanwhile.
        """
        with self._transaction():
            self._own()
            self._check_plan(planned)
            started = "INSERT INTO run (id, command, source, started) VALUES (?, ?, ?, ?)"
            self._db.execute(started, (run, command, source, time.time()))
            return tuple(self._plan(run, item) for item in planned)

    def add(self, run: RunId, planned: Sequence[Planned]) -> tuple[Task, ...]:
        """Let further tasks join a run, which goes on meanwhile: a lock is not waited for as long as elsewhere."""
        with self._said(), self._waiting(min(self._wait, ADD_WAIT_S)), self._transaction():
            return tuple(self._plan(run, item) for item in planned)

    def find(self, wanted: Filter) -> list[Record]:
        """Newest first."""
        where, values = _where(wanted)
        if wanted.carried:
            where += (" AND" if where else " WHERE") + " owner IN (SELECT value FROM json_each(?))"  # noqa: S608 - see below
            values.append(json.dumps(list(self._living())))
        limit = "" if wanted.limit is None else f" LIMIT {_whole(wanted.limit)}"
        with self._said():
            rows = self._db.execute(f"SELECT * FROM task{where} ORDER BY id DESC{limit}", values).fetchall()  # noqa: S608 - only our own words
            return self._records(rows)

    def missing(self, ids: Iterable[int]) -> list[int]:
        """Those ids that no task has."""
        wanted = set(ids)
        return sorted(wanted - {record.task.id for record in self.find(Filter(ids=tuple(wanted)))}) if wanted else []

    def claim(
        self, changes: Sequence[tuple[Record, State]], *, again: bool = False
    ) -> tuple[list[Task], list[Record], list[Record]]:
        """Take tasks over, each from the state that the caller has read to a new one.

        Returns the tasks taken, the records that another living process carries, and those that have changed since they
        were read. One transaction: of several processes that try together, one gets a task. With `again` the new state
        begins another attempt: the one before is kept, and its times begin anew.
        """
        taken: list[Task] = []
        owned: list[Record] = []
        changed: list[Record] = []
        with self._transaction():
            owner = self._own()
            now = self._by_id([record.task.id for record, _ in changes])
            for record, state in changes:
                current = now.get(record.task.id)
                if current is None or (not self._is_other(current) and current.version != record.version):
                    changed.append(current or record)
                elif self._is_other(current):
                    owned.append(current)
                else:
                    task = replace(current.task, state=state)
                    self._take_over(task, current.fence + 1, owner, again=again)
                    taken.append(task)
        return taken, owned, changed

    def _is_other(self, record: Record) -> bool:
        return record.carried and record.process != self._me

    def _by_id(self, ids: Sequence[int]) -> dict[int, Record]:
        return {record.task.id: record for part in _parts(ids) for record in self.find(Filter(ids=part))}

    def _take_over(self, task: Task, fence: int, owner: int, *, again: bool) -> None:
        if again:
            _keep_attempt(self._db, task.id)
        ended = time.time() if isinstance(task.state, ENDED) else None
        self._db.execute(
            "UPDATE task SET owner = :owner, fence = :fence, cancel_requested = 0, state = :state, detail = :detail,"
            " reason = :reason, ended = iif(:ended IS NULL, NULL, coalesce(ended, :ended)) WHERE id = :id",
            {
                "owner": owner, "fence": fence, "state": word(task.state), "detail": _detail(task),
                "reason": _reason(task), "ended": ended, "id": task.id,
            },
        )  # fmt: skip
        if isinstance(task.state, ENDED):
            _fall_back(self._db, task)
        self.fences[task.id] = fence
        self.lost.discard(task.id)

    def take(self, ids: Sequence[int]) -> tuple[list[Record], list[Record]]:
        """Claim tasks as they are: those taken, and those that another living process carries."""
        records = list(self._by_id(ids).values())
        taken, owned, changed = self.claim([(record, record.task.state) for record in records])
        names = {task.id for task in taken}
        return [record for record in records if record.task.id in names], [*owned, *changed]

    def ask_cancel(self, ids: Sequence[int]) -> None:
        """Ask whoever carries these tasks to stop them."""
        with self._transaction():
            self._db.executemany("UPDATE task SET cancel_requested = 1 WHERE id = ?", [(id_,) for id_ in ids])

    def asked(self) -> list[TaskId]:
        """Tasks of this process that somebody wants stopped, each told once. Also shows that we are alive.

        Asked on the event loop, so it reads without waiting for a lock, and leaves what it writes to the writer.
        """
        if self.owner is None:
            return []
        if time.monotonic() - self._beaten > HEARTBEAT_S:
            self._beaten = time.monotonic()
            self._writer.change(*self._heartbeat())
        with self._said(), self._waiting(0):
            query = "SELECT id FROM task WHERE owner = ? AND cancel_requested = 1"
            found = {TaskId(row["id"]) for row in self._db.execute(query, (self.owner,))}
        fresh = found - self._cancelling
        if fresh:  # and no others: somebody may have asked for one more since
            self._cancelling |= fresh
            strike = "UPDATE task SET cancel_requested = 0 WHERE id IN (SELECT value FROM json_each(?))"
            ids = json.dumps(sorted(fresh))
            self._writer.change(strike, ids, done=lambda: self._cancelling.difference_update(fresh))
        return sorted(fresh)

    def known(self, identities: Iterable[str]) -> dict[tuple[str, str], list[Record]]:
        """What became of earlier tasks of lists, by source and identity, oldest first."""
        found: dict[tuple[str, str], list[Record]] = {}
        for part in _parts(list(set(identities))):
            with self._said():
                rows = self._db.execute(
                    "SELECT *, EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id) AS repeated FROM task"
                    " WHERE source != '' AND identity IN (SELECT value FROM json_each(?))"
                    " ORDER BY id",
                    (json.dumps(part),),
                ).fetchall()
                for row, record in zip(rows, self._records(rows), strict=True):
                    found.setdefault((row["source"], row["identity"]), []).append(record)
        return found

    def attempts(self, task: int) -> list[Attempt]:
        """What became of a task before it was sent again, first attempt first."""
        with self._said():
            rows = self._db.execute("SELECT * FROM attempt WHERE task = ? ORDER BY number", (_whole(task),)).fetchall()
            return [
                Attempt(row["number"], _state(row["state"], row["detail"]), row["started"], row["ended"])
                for row in rows
            ]

    def give_back(self, receipts: Iterable[tuple[int, Job]]) -> list[TaskId]:
        """Write receipts that an earlier process could not write; returns the tasks that they belong to.

        Only what is not known to have gone on gets one: a task that was being sent, or that is uncertain.
        """
        healed: list[TaskId] = []
        with self._transaction():
            for id_, job in receipts:
                current = self._by_id([id_]).get(id_)
                if current is None or self._is_other(current):
                    continue
                if _heal(self._db, id_, Running(job), sending=True):
                    healed.append(current.task.id)
        return healed

    def durations(self, request: ImageRequest, most: int = 200, before: float = math.inf) -> list[Span]:
        """What the last tasks of the same provider, model and size took at the service, its queue left out."""
        with self._said(), self._waiting(0):  # a display asks it on the event loop
            rows = self._db.execute(
                "SELECT min_duration_s, max_duration_s FROM task"
                " WHERE provider = ? AND model = ? AND size = ? AND max_duration_s IS NOT NULL AND ready < ?"
                " ORDER BY id DESC LIMIT ?",
                (request.provider, request.model, size_of(request), before, most),
            ).fetchall()
        return [Span(*row) for row in rows]

    def carried(self, ids: Iterable[int]) -> bool:
        """Whether a living process is at work on one of these."""
        where, values = _where(Filter(ids=tuple(ids), states=UNFINISHED))
        query = f"SELECT * FROM process WHERE id IN (SELECT owner FROM task{where})"  # noqa: S608 - only our own words
        with self._said():
            rows = self._db.execute(query, values).fetchall()
            return any(self._lives(row) for row in rows)

    def silent(self) -> bool:
        """Look at the heartbeats of processes elsewhere; whether some may be dead but are not watched long enough."""
        with self._transaction():
            self._watch()
            rows = self._db.execute("SELECT * FROM process").fetchall()
            return any(not is_near(_process(row), self._me) and self._lives(row) for row in rows)

    def runs(self) -> list[RunId]:
        """Newest first."""
        with self._said():
            return [RunId(row["id"]) for row in self._db.execute("SELECT id FROM run ORDER BY id DESC")]

    def events(self, run: int, after: int = 0, most: int = -1) -> list[tuple[int, Event]]:
        """What a run said after event `after`, in order, with each event's number; `most` -1: all."""
        with self._said():
            rows = self._db.execute(
                "SELECT * FROM event WHERE run = ? AND id > ? AND task IS NOT NULL ORDER BY id LIMIT ?",
                (_whole(run), after, most),
            ).fetchall()
        about = tuple({row["task"] for row in rows})
        tasks = {record.task.id: record.task for record in self.find(Filter(ids=about))} if rows else {}
        found = []
        with self._said():
            for row in rows:
                if task := tasks.get(TaskId(row["task"])):
                    body = json.loads(row["body"])
                    if "state" in body:
                        task = replace(task, state=serialize.to_state(body["state"], body))
                    found.append((row["id"], serialize.to_event(row["kind"], row["at"], task, body)))
        return found

    def folders(self) -> list[str]:
        """Every folder that a task has its pictures in."""
        with self._said():
            return [row["folder"] for row in self._db.execute("SELECT DISTINCT folder FROM task")]

    @property
    def token(self) -> str:
        """What tells this history's part files from those of others."""
        return self._token

    def last_event(self) -> int:
        with self._said():
            return self._db.execute("SELECT coalesce(max(id), 0) AS last FROM event").fetchone()["last"] or 0

    def orphans(self, most: int) -> tuple[int, list[int]]:
        """How many unfinished tasks no living process carries, and the first ids of them."""
        where, values = _where(Filter(states=UNFINISHED))
        where += " AND (owner IS NULL OR owner NOT IN (SELECT value FROM json_each(?)))"
        values.append(json.dumps(list(self._living())))
        with self._said():
            count = self._db.execute(f"SELECT count(*) FROM task{where}", values).fetchone()[0]  # noqa: S608 - only our own words
            rows = self._db.execute(f"SELECT id FROM task{where} ORDER BY id LIMIT {most}", values)  # noqa: S608
            return count, [row["id"] for row in rows]

    def busy(self) -> dict[str, Process]:
        """Providers at which living processes have unfinished tasks, and one such process for each."""
        where, values = _where(Filter(states=UNFINISHED))
        living = self._living()
        with self._said():
            rows = self._db.execute(f"SELECT DISTINCT provider, owner FROM task{where}", values)  # noqa: S608
            return {row["provider"]: living[row["owner"]] for row in rows if row["owner"] in living}

    def check(self) -> str:
        """Whether the file is sound: "ok", or the first that SQLite finds wrong."""
        with self._said():
            return str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])

    # How it is kept

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=self._wait, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            self._write_ahead(db)
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        """Where several begin a new history at once, SQLite does not wait for its turn by itself."""
        deadline = time.monotonic() + self._wait
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise HistoryError(
                f"the history {self.path} was written by a newer imagegen (schema {version})",
                hint="upgrade imagegen, or set IMAGEGEN_HOME to another folder",
            )
        if version < len(MIGRATIONS):
            with self._transaction():
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                for number, script in enumerate(MIGRATIONS[version:], version + 1):
                    for statement in script.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._said():
            self._db.execute("BEGIN IMMEDIATE")
            owner = self.owner
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self.owner = owner
                _roll_back(self._db)
                raise

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        """Wait at most so long for a lock: the event loop stands meanwhile."""
        self._db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {int(self._wait * 1000)}")

    def _change(self, statement: str, *values: Any) -> None:
        with self._transaction():
            self._db.execute(statement, values)

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(f"the history {self.path} {_trouble(error)}", hint=_remedy(error)) from error
        except OSError as error:
            hint = "set IMAGEGEN_HOME to a folder that can be written"
            raise HistoryError(f"the history {self.path} cannot be opened: {error.strerror}", hint=hint) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            hint = "move the file away to begin anew; imagegen does not repair what it did not break"
            raise HistoryError(f"the history {self.path} is damaged: {error}", hint=hint) from error

    def _own(self) -> int:
        """The row of this process: the lease on what it carries."""
        self._watch()
        if self.owner is None:
            me = self._me
            for row in self._db.execute("SELECT * FROM process").fetchall():
                if not self._lives(row):
                    self._db.execute("DELETE FROM process WHERE id = ?", (row["id"],))
                    self._db.execute("DELETE FROM sighting WHERE process = ?", (row["id"],))
            cursor = self._db.execute(
                "INSERT INTO process (host, place, pid, started_at, heartbeat) VALUES (?, ?, ?, ?, 0)",
                (me.host, me.place, me.pid, me.started_at),
            )
            self.owner = cursor.lastrowid or 0
        return self.owner

    def _heartbeat(self) -> tuple[Any, ...]:
        """A statement and its values. Where another process has struck this one out, it enters itself again."""
        me = self._me
        enter = "INSERT INTO process (id, host, place, pid, started_at, heartbeat) VALUES (?, ?, ?, ?, ?, 1)"
        again = " ON CONFLICT (id) DO UPDATE SET heartbeat = heartbeat + 1"
        return enter + again, self.owner, me.host, me.place, me.pid, me.started_at

    def _watch(self) -> None:
        """Remember since when each process elsewhere has shown the same heartbeat."""
        observer, now = f"{self._me.host} {self._me.place}", uptime()
        for row in self._db.execute("SELECT * FROM process").fetchall():
            if not is_near(_process(row), self._me):
                self._db.execute(
                    "INSERT INTO sighting (process, observer, heartbeat, at) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (process, observer) DO UPDATE SET heartbeat = excluded.heartbeat, at = excluded.at"
                    " WHERE heartbeat != excluded.heartbeat OR at > excluded.at",
                    (row["id"], observer, row["heartbeat"], now),
                )

    def _lives(self, row: sqlite3.Row) -> bool:
        process = _process(row)
        if process == self._me:
            return True
        if is_near(process, self._me):
            return is_alive(process)
        seen = self._db.execute(
            "SELECT at FROM sighting WHERE process = ? AND observer = ? AND heartbeat = ?",
            (row["id"], f"{self._me.host} {self._me.place}", row["heartbeat"]),
        ).fetchone()
        return seen is None or uptime() - seen["at"] < SILENT_S

    def _check_plan(self, planned: Sequence[Planned]) -> None:
        compared = [item for item in planned if item.earlier is not None or item.others is not None]
        known = self.known(item.identity for item in compared) if compared else {}
        if repeated := self._repeated(item.repeats for item in planned if item.repeats is not None):
            raise PlanChangedError(f"task {repeated} was sent once more already")
        for item in compared:
            now = known.get((item.source, item.identity), [])
            if item.earlier is not None and [one.version for one in now] != [one.version for one in item.earlier]:
                raise PlanChangedError(item.source)
            if item.others is not None and others_of(item.source, item.identity, known) != item.others:
                raise PlanChangedError(item.source)

    def _repeated(self, ids: Iterable[int]) -> int | None:
        """The first of these tasks that was sent once more by another task, which is at work or done."""
        row = self._db.execute(
            "SELECT json_extract(facts, '$.repeats') AS first FROM task WHERE state NOT IN ('failed', 'cancelled')"
            " AND facts LIKE '%\"repeats\"%' AND first IN (SELECT value FROM json_each(?)) LIMIT 1",
            (json.dumps(list(ids)),),
        ).fetchone()
        return None if row is None else int(row["first"])

    def _plan(self, run: RunId, item: Planned) -> Task:
        return self._insert(run, item) if item.adopts is None else self._adopt(run, item, item.adopts)

    def _adopt(self, run: RunId, item: Planned, before: Record) -> Task:
        """Let a task that was never sent join this run, as if it had been planned now."""
        task = replace(
            before.task, run=run, request=item.request, state=Queued(), folder=item.folder, name=item.name,
            expected_images=item.expected_images, alternatives=item.alternatives,
        )  # fmt: skip
        self._take_over(task, before.fence + 1, self._own(), again=False)
        self._db.execute(
            "UPDATE task SET run = ?, folder = ?, name = ? WHERE id = ?", (run, item.folder, item.name, before.task.id)
        )
        _write_request(self._db, task)
        return task

    def _insert(self, run: RunId, item: Planned) -> Task:
        request = item.request
        facts = {} if item.repeats is None else {"repeats": item.repeats}
        self._db.execute(
            "INSERT INTO task (id, run, owner, fence, provider, model, size, prompt, request, identity, source,"
            " folder, name, expected_images, alternatives, facts, state, detail, created)"
            " VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', '{}', ?)",
            (
                item.id, run, self._own(), request.provider, request.model, size_of(request), request.prompt,
                serialize.dumps(serialize.from_request(request)), item.identity, item.source, item.folder, item.name,
                item.expected_images, _requests(item.alternatives), serialize.dumps(facts), time.time(),
            ),
        )  # fmt: skip
        self.fences[item.id] = 1
        return Task(
            id=item.id, run=run, request=request, state=Queued(), folder=item.folder, name=item.name,
            key=f"{self._token}-{item.id}", expected_images=item.expected_images, alternatives=item.alternatives,
        )  # fmt: skip

    def _living(self) -> dict[int, Process]:
        with self._said():
            rows = self._db.execute("SELECT * FROM process").fetchall()
            return {row["id"]: _process(row) for row in rows if self._lives(row)}

    def _records(self, rows: Sequence[sqlite3.Row]) -> list[Record]:
        owners = {row["owner"] for row in rows if row["owner"] is not None and row["ended"] is None}
        living: dict[int, Process] = {}
        if owners:
            for row in self._db.execute("SELECT * FROM process").fetchall():
                if row["id"] in owners and self._lives(row):
                    living[row["id"]] = _process(row)
        return [_record(row, living, self._token) for row in rows]


Change = tuple[str, tuple[Any, ...], Callable[[], None] | None]
Said = tuple[float | None, int | None, str]


def others_of(source: str, identity: str, known: Mapping[tuple[str, str], Sequence[Record]]) -> frozenset[int]:
    """Tasks for the same from other lists; lists that come by a pipe have no name, and are all others."""
    return frozenset(
        record.task.id
        for (other, same), records in known.items()
        if same == identity and (other != source or other == "-")
        for record in records
    )


class PlanChangedError(Exception):
    """Another process has planned or sent tasks of the same list since the history was read."""


class _Writer:
    """The thread that writes events: whatever has come since the last transaction goes into the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.path
        self._connect = store._connect  # noqa: SLF001 - the other half of the same class
        self._unwritten: list[Event] = []
        self._db: sqlite3.Connection | None = None
        self._events: list[Event] = []
        self._waiting: list[Future[None]] = []
        self._changes: list[Change] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._said: dict[int, tuple[float, Said]] = {}

    def put(self, event: Event) -> None:
        if isinstance(event, TaskDelayed):
            self._said.pop(event.id, None)
        if isinstance(event, TaskProgressed) and not self._worth(event):
            return
        with self._wake:
            self._events.append(event)
            self._started()

    def change(self, statement: str, *values: Any, done: Callable[[], None] | None = None) -> None:
        """Run a small statement in this thread, soon; `done` is called there once it is on disk."""
        with self._wake:
            self._changes.append((statement, values, done))
            self._started()

    def _worth(self, event: TaskProgressed) -> bool:
        """What says nothing new is not remembered: many services say nothing but that they still work."""
        working, (at, before) = event.working, self._said.get(event.id, (0.0, None))
        said = working.fraction, working.queue_position, working.note
        if event.at - at < MIN_PROGRESS_GAP_S or (said == before and not working.queue_position):
            return False
        self._said[event.id] = event.at, said
        return True

    def flush(self) -> "Future[None]":
        from concurrent.futures import Future  # noqa: PLC0415 - see Store.settled

        promise: Future[None] = Future()
        with self._wake:
            self._waiting.append(promise)
            self._started()
        return promise

    def close(self) -> list[Task]:
        """End the thread; the last states of tasks that it could not write."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        last = {event.task.id: event.task for event in self._unwritten if isinstance(event, TaskChanged)}
        return list(last.values())

    def _started(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="history", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _work(self) -> None:
        reserve = _Reserve(self._path)
        while True:
            with self._wake:
                while not (self._events or self._waiting or self._changes or self._closing):
                    self._wake.wait()
                events, self._events = self._events, []
                waiting, self._waiting = self._waiting, []
                changes, self._changes = self._changes, []
                closing = self._closing
            trouble = self._written(events, reserve)
            if trouble is not None:
                with self._wake:
                    self._events = events + self._events
            left = self._changed(changes) if trouble is None else changes
            for promise in waiting:
                _answer(promise, trouble)
            if closing:
                self._unwritten = self._events
                if self._db is not None:
                    self._db.close()
                return
            if trouble is not None or left:
                with self._wake:
                    self._changes = left + self._changes
                    if not (self._waiting or self._closing):
                        self._wake.wait(1.0)

    def _changed(self, changes: "list[Change]") -> "list[Change]":
        """Run them; those that could not be are left for the next time."""
        for index, (statement, values, done) in enumerate(changes):
            try:
                if self._db is None:
                    self._db = self._connect()
                self._db.execute(statement, values)
            except sqlite3.Error:
                return changes[index:]
            if done is not None:
                done()
        return []

    def _written(self, events: list[Event], reserve: "_Reserve") -> DiskError | None:
        """Write all or nothing; a full disk is met by giving up the reserve, once."""
        if not events:
            return None
        try:
            if self._db is None:
                self._db = self._connect()
            try:
                _write(self._db, events, self._store)
            except sqlite3.Error:
                if not reserve.give_up():
                    raise
                _write(self._db, events, self._store)
        except sqlite3.Error as error:
            return DiskError(f"the history {self._path} {_trouble(error)}", hint=_remedy(error))
        except Exception as error:  # noqa: BLE001 - whoever waits for this thread must hear of it
            return DiskError(f"the history {self._path} cannot be written: {type(error).__name__}: {error}")
        reserve.keep()
        return None


MIN_PROGRESS_GAP_S = 0.5
"""Seconds between two remembered progress reports of a task: what a watcher can see."""


class _Reserve:
    """A file of zeros that is there to be deleted."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".reserve")
        self._kept = False

    def keep(self) -> None:
        if not self._kept and not self._path.exists():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with suppress(OSError), os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(bytes(RESERVE_BYTES))
        self._kept = True

    def give_up(self) -> bool:
        self._kept = False
        with suppress(OSError):
            self._path.unlink()
            return True
        return False


def _answer(promise: "Future[None]", trouble: DiskError | None) -> None:
    if promise.set_running_or_notify_cancel():  # or whoever asked has left
        if trouble is None:
            promise.set_result(None)
        else:
            promise.set_exception(trouble)


def _write(db: sqlite3.Connection, events: Iterable[Event], store: Store) -> None:
    lost: set[TaskId] = set()
    db.execute("BEGIN IMMEDIATE")
    try:
        for event in events:
            lost |= _write_one(db, event, store)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    store.lost |= lost


def _roll_back(db: sqlite3.Connection) -> None:
    """A full disk has already done it."""
    if db.in_transaction:
        db.execute("ROLLBACK")


TIME_OF = {Submitting: "started", Running: "accepted", Saving: "ready"}


def _write_one(db: sqlite3.Connection, event: Event, store: Store) -> set[TaskId]:
    """Write one event; the task that it is about, where another process has claimed it."""
    if isinstance(event, TaskChanged):
        change, ours = _write_state(db, event, store)
        if not ours:
            _heal(db, event.task.id, event.task.state)
            return {event.task.id}
        _write_event(db, event, event.task.id, change)
        return set()
    if isinstance(event, TaskLearned):
        _learn(db, event)
        return set()
    about, body = serialize.from_event(event)
    if isinstance(event, TaskProgressed) and event.working.queue_position:
        db.execute("UPDATE task SET began = ? WHERE id = ?", (event.at, event.id))
    if isinstance(event, RunFinished):
        db.execute("UPDATE run SET ended = ? WHERE id = ?", (event.at, event.run))
        db.execute("DELETE FROM event WHERE run <= ?", (event.run - MAX_KEPT_RUNS,))
    if about is not None:
        _write_event(db, event, about, serialize.dumps(body))
    return set()


def _write_event(db: sqlite3.Connection, event: Event, task: int, body: str) -> None:
    db.execute(
        "INSERT INTO event (run, task, at, kind, body) SELECT run, id, ?, ?, ? FROM task WHERE id = ?",
        (event.at, type(event).__name__, body, task),
    )


def _write_state(db: sqlite3.Connection, event: TaskChanged, store: Store) -> tuple[str, bool]:
    """Write the last state of a task: what to remember of its change, and whether the task is still this process'."""
    task, state = event.task, event.task.state
    column = "ended" if isinstance(state, ENDED) else TIME_OF.get(type(state))
    moment = f", {column} = coalesce({column}, :at)" if column else ""
    more = "" if isinstance(state, ENDED) else ", ended = NULL"
    if isinstance(state, Submitting):
        more += ", began = NULL"
        _write_taker(db, task)
    if event.lasted is not None:
        more += ", min_duration_s = :least, max_duration_s = :most"
    least, most = event.lasted or (None, None)
    detail = _detail(task)
    written = db.execute(
        f"UPDATE task SET state = :state, detail = :detail, reason = :reason{moment}{more}"  # noqa: S608 - only our own words
        " WHERE id = :id AND owner = :owner AND fence = :fence",
        {
            "state": word(state), "detail": detail, "reason": _reason(task), "at": event.at, "id": task.id,
            "owner": store.owner, "fence": store.fences.get(task.id), "least": least, "most": most,
        },
    )  # fmt: skip
    if written.rowcount and isinstance(state, Failed | Cancelled):
        _fall_back(db, task)
    return f'{{"state":"{word(state)}"' + (f",{detail[1:]}" if detail != "{}" else "}"), bool(written.rowcount)


def _heal(db: sqlite3.Connection, id_: int, state: State, *, sending: bool = False) -> bool:
    """Keep a receipt that comes late: what was taken for lost can be asked for, and is left to `resume`.

    `sending`: also where the history still says that the request is leaving; no living process may carry the task.
    """
    if not isinstance(state, Running | Saving):
        return False
    detail = serialize.dumps(serialize.from_state(state))
    written = db.execute(
        "UPDATE task SET state = ?, detail = ?, reason = '', ended = NULL, owner = NULL, fence = fence + 1"
        " WHERE id = ? AND ((state = 'failed' AND reason = 'uncertain') OR (state = 'submitting' AND ?))",
        (word(state), detail, id_, sending),
    )
    if not written.rowcount:
        db.execute(
            "UPDATE attempt SET state = ?, detail = ? WHERE task = ? AND reason = 'uncertain'",
            (word(state), detail, id_),
        )
    return bool(written.rowcount)


def _keep_attempt(db: sqlite3.Connection, id_: int) -> None:
    """Put what became of a task aside, before it is sent again."""
    db.execute(
        f"INSERT INTO attempt (task, number, state, detail, reason, {MOMENTS})"  # noqa: S608 - only our own words
        " SELECT id, (SELECT count(*) + 1 FROM attempt WHERE attempt.task = ?),"
        f" state, detail, reason, {MOMENTS} FROM task WHERE id = ?",
        (id_, id_),
    )
    fresh = ", ".join(f"{moment} = NULL" for moment in (*MOMENTS.split(", "), "min_duration_s", "max_duration_s"))
    db.execute(f"UPDATE task SET {fresh} WHERE id = ?", (id_,))  # noqa: S608 - only our own words


def _fall_back(db: sqlite3.Connection, task: Task) -> None:
    """A new attempt that was never sent leaves no trace: what became of the one before stands again."""
    unsent = isinstance(task.state, Cancelled) and task.state.stop is CancelOutcome.NOT_SENT
    if not unsent and not isinstance(task.state, Failed):
        return
    row = db.execute("SELECT * FROM attempt WHERE task = ? ORDER BY number DESC LIMIT 1", (task.id,)).fetchone()
    started = db.execute("SELECT started FROM task WHERE id = ?", (task.id,)).fetchone()
    if row is None or not (unsent or started["started"] is None):
        return
    columns = ("state", "detail", "reason", *MOMENTS.split(", "))
    db.execute(
        f"UPDATE task SET {', '.join(f'{column} = ?' for column in columns)} WHERE id = ?",  # noqa: S608 - only our own words
        (*(row[column] for column in columns), task.id),
    )
    db.execute("DELETE FROM attempt WHERE task = ? AND number = ?", (task.id, row["number"]))


def _learn(db: sqlite3.Connection, event: TaskLearned) -> None:
    row = db.execute("SELECT facts FROM task WHERE id = ?", (event.id,)).fetchone()
    if row is not None:
        facts = json.loads(row["facts"]) | dict(event.facts)
        db.execute("UPDATE task SET facts = ? WHERE id = ?", (serialize.dumps(facts), event.id))


def _detail(task: Task) -> str:
    return serialize.dumps(serialize.from_state(task.state))


def _write_taker(db: sqlite3.Connection, task: Task) -> None:
    """Only now is it certain who gets it, where a person named several."""
    row = db.execute("SELECT provider FROM task WHERE id = ?", (task.id,)).fetchone()
    if row is not None and row["provider"] != task.request.provider:
        _write_request(db, task)


def _write_request(db: sqlite3.Connection, task: Task) -> None:
    """What a task is sent as, and as what else it could have been sent."""
    request = task.request
    db.execute(
        "UPDATE task SET provider = ?, model = ?, size = ?, request = ?, expected_images = ?, alternatives = ?"
        " WHERE id = ?",
        (
            request.provider, request.model, size_of(request), serialize.dumps(serialize.from_request(request)),
            task.expected_images, _requests(task.alternatives), task.id,
        ),
    )  # fmt: skip


def _requests(requests: Sequence[ImageRequest]) -> str:
    return serialize.dumps([serialize.from_request(request) for request in requests])


def size_of(request: ImageRequest) -> str:
    """What decides how long a picture takes, beside the model."""
    pixels = f"{request.width}x{request.height}" if request.width else ""
    return f"{request.resolution} {request.ratio} {pixels} {request.count or ''}".strip()


def _reason(task: Task) -> str:
    match task.state:
        case Failed(reason=reason):
            return reason.value
        case Cancelled():
            return Reason.CANCELLED.value
        case _:
            return ""


def _record(row: sqlite3.Row, living: dict[int, Process], token: str) -> Record:
    state = _state(row["state"], row["detail"])
    task = Task(
        id=TaskId(row["id"]), run=RunId(row["run"]), request=serialize.to_request(json.loads(row["request"])),
        state=state, folder=row["folder"], name=row["name"], key=f"{token}-{row['id']}",
        expected_images=row["expected_images"],
        alternatives=tuple(serialize.to_request(request) for request in json.loads(row["alternatives"])),
    )  # fmt: skip
    times = {key: row[key] for key in ("created", "started", "accepted", "ready", "ended")}
    return Record(
        task=task,
        process=living.get(row["owner"]),
        fence=row["fence"],
        repeated=bool(row["repeated"]) if "repeated" in row.keys() else False,  # noqa: SIM118 - a row has no `in`
        facts=json.loads(row["facts"]),
        **times,
    )


def _state(name: str, detail: str) -> State:
    return serialize.to_state(name, json.loads(detail))


def _process(row: sqlite3.Row) -> Process:
    return Process(row["host"], row["pid"], row["started_at"], row["place"])


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if wanted.ids:
        parts.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(wanted.ids))
    for column, many in (("state", wanted.states), ("reason", wanted.reasons)):
        if many:
            parts.append(f"{column} IN ({','.join('?' * len(many))})")
            values.extend(many)
    if wanted.run is not None:
        parts.append("run = ?")
        values.append(_whole(wanted.run))
    if wanted.after is not None:
        parts.append("id > ?")
        values.append(_whole(wanted.after))
    if wanted.since is not None:
        parts.append("created >= ?")
        values.append(wanted.since)
    if wanted.search:
        parts.append("prompt LIKE ? ESCAPE '!'")
        text = wanted.search.encode("utf-8", "replace").decode()
        for sign in "!%_":
            text = text.replace(sign, f"!{sign}")
        values.append(f"%{text}%")
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _whole(number: int) -> int:
    """The nearest number that SQLite can hold."""
    return max(-(2**63), min(number, 2**63 - 1))


def _parts(values: Sequence[Any], most: int = 500) -> Iterator[tuple[Any, ...]]:
    """SQLite takes so many question marks at a time, and no more."""
    for start in range(0, len(values), most):
        yield tuple(values[start : start + most])


def _trouble(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "is locked by another program"
    if "readonly" in text or "read-only" in text:
        return "cannot be written: it is read-only"
    if "full" in text:
        return "cannot be written: the disk is full"
    if "malformed" in text or "not a database" in text:
        return "is damaged or no history at all"
    return f"cannot be used: {text}"


def _remedy(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "close the program that holds it and try again"
    if "malformed" in text or "not a database" in text:
        return "move the file away to begin a new history"
    return "make room or give write permission, or set IMAGEGEN_HOME to another folder"
