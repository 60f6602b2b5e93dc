"""The history in SQLite: one row a task, always in its last state, shared by every process of this person.

Changes are written by one thread, grouped into one durable transaction for whatever has come meanwhile: a receipt
costs microseconds instead of a disk flush, and the event loop never waits. `settled` is how the runner knows that
what it said is on disk before it takes the next step.
"""

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_cli import codec
from imagegen_cli.errors import DiskError, HistoryError, Reason
from imagegen_cli.events import Event, RunFinished, TaskChanged, TaskDelayed, TaskProgressed
from imagegen_cli.processes import Process, alive, this_process
from imagegen_cli.task import (
    ENDED,
    Cancelled,
    Failed,
    ImageRequest,
    Queued,
    RunId,
    Running,
    Saving,
    Submitting,
    Task,
    TaskId,
    word,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

WAIT_FOR_LOCK = 10.0
RESERVE_BYTES = 512 * 1024
"""Kept free beside the database, and given up when the disk is full, so that a receipt still finds its place."""
BEAT = 5.0
KEPT_RUNS = 200
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
)


UNFINISHED = ("queued", "submitting", "running", "saving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A task as the history knows it. Times are seconds since the epoch; `process` carries it, if one does."""

    task: Task
    asked: int
    created: float
    started: float | None = None
    accepted: float | None = None
    ready: float | None = None
    ended: float | None = None
    process: Process | None = None

    @property
    def carried(self) -> bool:
        """Whether a living process is at work on it."""
        return self.process is not None and not isinstance(self.task.state, ENDED)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A task before it has an id. `name_of` is told the id and gives the file name that is reserved for it."""

    request: ImageRequest
    asked: int
    folder: str
    identity: str
    name_of: Callable[[TaskId, RunId], str] = field(compare=False)


class Store:
    """One connection for this thread, and one for the writer. Raises HistoryError where the database cannot be used."""

    def __init__(self, path: Path, *, wait: float = WAIT_FOR_LOCK) -> None:
        self.path = path
        self._wait = wait
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = self._connect()
            self._owner: int | None = None
            try:
                self._migrate()
            except BaseException:
                self._db.close()
                raise
        self._beaten = 0.0
        self._writer = _Writer(self)

    def close(self) -> None:
        """Write what is still to be written, and let go of the tasks that this process carried."""
        self._writer.close()
        with suppress(HistoryError):  # the lease dies with this process anyway
            if self._owner is not None:
                self._change("DELETE FROM process WHERE id = ?", self._owner)
        self._db.close()

    # What a run says

    def record(self, event: Event) -> None:
        """Remember an event: a Sink. Returns at once; see `settled`."""
        self._writer.put(event)

    async def settled(self) -> None:
        """Wait until everything recorded so far is durable. Raises DiskError where it cannot be."""
        from asyncio import wrap_future  # noqa: PLC0415 - whoever only reads has no loop

        await wrap_future(self._writer.settled())

    # What a command asks

    def start_run(self, command: str, source: str, planned: Sequence[Planned]) -> tuple[RunId, tuple[Task, ...]]:
        """Give ids and names to what was planned; from here on it is this process'."""
        with self._transaction():
            self._own()
            cursor = self._db.execute(
                "INSERT INTO run (command, source, started) VALUES (?, ?, ?)", (command, source, time.time())
            )
            run = RunId(cursor.lastrowid or 0)
            return run, tuple(self._insert(run, item) for item in planned)

    def add(self, run: RunId, planned: Sequence[Planned]) -> tuple[Task, ...]:
        """Let further tasks join a run."""
        with self._transaction():
            return tuple(self._insert(run, item) for item in planned)

    def find(self, wanted: Filter) -> list[Record]:
        """Newest first."""
        where, values = _where(wanted)
        limit = "" if wanted.limit is None else f" LIMIT {_whole(wanted.limit)}"
        with self._said():
            rows = self._db.execute(f"SELECT * FROM task{where} ORDER BY id DESC{limit}", values).fetchall()  # noqa: S608 - only our own words
            return self._records(rows)

    def missing(self, ids: Iterable[int]) -> list[int]:
        """Those ids that no task has."""
        wanted = set(ids)
        return sorted(wanted - {record.task.id for record in self.find(Filter(ids=tuple(wanted)))}) if wanted else []

    def take(self, ids: Sequence[int]) -> tuple[list[Record], list[Record]]:
        """Claim tasks for this process: those taken, and those that another living process carries.

        One transaction, so that two who try together never both get one.
        """
        with self._transaction():
            owner = self._own()
            records = [record for part in _parts(ids) for record in self.find(Filter(ids=part))]
            refused = [record for record in records if record.carried and record.process != this_process()]
            held = {record.task.id for record in refused}
            taken = [record for record in records if record.task.id not in held]
            self._db.executemany(
                "UPDATE task SET owner = ?, cancel_asked = 0 WHERE id = ?",
                [(owner, record.task.id) for record in taken],
            )
            return taken, refused

    def rewrite(self, tasks: Iterable[Task], *, again: bool = False) -> None:
        """Write states that no run is busy with; with `again` their times begin anew."""
        fresh = ", started = NULL, accepted = NULL, began = NULL, ready = NULL, ended = NULL" if again else ""
        with self._transaction():
            for task in tasks:
                self._db.execute(
                    f"UPDATE task SET state = ?, detail = ?, reason = ?{fresh} WHERE id = ?",  # noqa: S608 - only our own words
                    (word(task.state), codec.dumps(codec.from_state(task.state)), _reason(task), task.id),
                )

    def ask_cancel(self, ids: Sequence[int]) -> None:
        """Ask whoever carries these tasks to stop them."""
        with self._transaction():
            self._db.executemany("UPDATE task SET cancel_asked = 1 WHERE id = ?", [(id_,) for id_ in ids])

    def asked(self) -> list[TaskId]:
        """Tasks of this process that somebody wants stopped, each told once. Also shows that we are alive."""
        if self._owner is None:
            return []
        with self._said():
            query = "SELECT id FROM task WHERE owner = ? AND cancel_asked = 1"
            rows = self._db.execute(query, (self._owner,)).fetchall()
        if rows:  # and no others: somebody may have asked for one more since
            ids = json.dumps([row["id"] for row in rows])
            self._change("UPDATE task SET cancel_asked = 0 WHERE id IN (SELECT value FROM json_each(?))", ids)
        if time.monotonic() - self._beaten > BEAT:
            self._beaten = time.monotonic()
            self._change("UPDATE process SET beat = ? WHERE id = ?", time.time(), self._owner)
        return [TaskId(row["id"]) for row in rows]

    def known(self, source: str, identities: Iterable[str]) -> dict[str, list[Record]]:
        """What became of earlier tasks of the same list, by identity, oldest first."""
        found: dict[str, list[Record]] = {}
        for part in _parts(list(set(identities))):
            marks = ",".join("?" * len(part))
            with self._said():
                rows = self._db.execute(
                    "SELECT task.* FROM task JOIN run ON run.id = task.run"  # noqa: S608 - only question marks
                    f" WHERE run.source = ? AND task.identity IN ({marks}) ORDER BY task.id",
                    (source, *part),
                ).fetchall()
                for row, record in zip(rows, self._records(rows), strict=True):
                    found.setdefault(row["identity"], []).append(record)
        return found

    def durations(self, request: ImageRequest, most: int = 200, before: float = math.inf) -> list[float]:
        """Seconds that the last tasks of the same provider, model and size took at the service, its queue left out."""
        with self._said():
            rows = self._db.execute(
                "SELECT ready - coalesce(began, accepted, started) AS seconds FROM task"
                " WHERE provider = ? AND model = ? AND size = ? AND ready IS NOT NULL AND ready < ?"
                " ORDER BY id DESC LIMIT ?",
                (request.provider, request.model, size_of(request), before, most),
            ).fetchall()
        return sorted(row["seconds"] for row in rows if row["seconds"] is not None and row["seconds"] >= 0)

    def carried(self, ids: Iterable[int]) -> bool:
        """Whether a living process is at work on one of these."""
        where, values = _where(Filter(ids=tuple(ids), states=UNFINISHED))
        query = f"SELECT * FROM process WHERE id IN (SELECT owner FROM task{where})"  # noqa: S608 - only our own words
        with self._said():
            rows = self._db.execute(query, values).fetchall()
            return any(alive(_process(row), row["beat"]) for row in rows)

    def runs(self) -> list[RunId]:
        """Newest first."""
        with self._said():
            return [RunId(row["id"]) for row in self._db.execute("SELECT id FROM run ORDER BY id DESC")]

    def events(self, run: int, after: int = 0) -> list[tuple[int, Event]]:
        """What a run said after event `after`, in order, with each event's number."""
        with self._said():
            rows = self._db.execute(
                "SELECT * FROM event WHERE run = ? AND id > ? AND task IS NOT NULL ORDER BY id", (_whole(run), after)
            ).fetchall()
        about = tuple({row["task"] for row in rows})
        tasks = {record.task.id: record.task for record in self.find(Filter(ids=about))} if rows else {}
        found = []
        with self._said():
            for row in rows:
                if task := tasks.get(TaskId(row["task"])):
                    body = json.loads(row["body"])
                    if "state" in body:
                        task = replace(task, state=codec.to_state(body["state"], body))
                    found.append((row["id"], codec.to_event(row["kind"], row["at"], task, body)))
        return found

    def last_event(self) -> int:
        with self._said():
            return self._db.execute("SELECT coalesce(max(id), 0) AS last FROM event").fetchone()["last"] or 0

    def dead(self) -> list[Record]:
        """Unfinished tasks that no living process carries."""
        return [record for record in self.find(Filter(states=UNFINISHED)) if not record.carried]

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
            owner = self._owner
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._owner = owner
                _roll_back(self._db)
                raise

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
        if self._owner is None:
            me = this_process()
            for row in self._db.execute("SELECT * FROM process").fetchall():
                if not alive(_process(row), row["beat"]):
                    self._db.execute("DELETE FROM process WHERE id = ?", (row["id"],))
            cursor = self._db.execute(
                "INSERT INTO process (host, pid, born, beat) VALUES (?, ?, ?, ?)",
                (me.host, me.pid, me.born, time.time()),
            )
            self._owner = cursor.lastrowid or 0
        return self._owner

    def _insert(self, run: RunId, item: Planned) -> Task:
        request = item.request
        cursor = self._db.execute(
            "INSERT INTO task (run, owner, provider, model, size, prompt, request, identity, folder, name, asked,"
            " state, detail, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, 'queued', '{}', ?)",
            (
                run, self._own(), request.provider, request.model, size_of(request), request.prompt,
                codec.dumps(codec.from_request(request)), item.identity, item.folder, item.asked, time.time(),
            ),
        )  # fmt: skip
        id_ = TaskId(cursor.lastrowid or 0)
        name = item.name_of(id_, run)
        self._db.execute("UPDATE task SET name = ? WHERE id = ?", (name, id_))
        return Task(id=id_, run=run, request=request, state=Queued(), folder=item.folder, name=name)

    def _records(self, rows: Sequence[sqlite3.Row]) -> list[Record]:
        owners = {row["owner"] for row in rows if row["owner"] is not None and row["ended"] is None}
        living: dict[int, Process] = {}
        if owners:
            for row in self._db.execute("SELECT * FROM process").fetchall():
                if row["id"] in owners and alive(_process(row), row["beat"]):
                    living[row["id"]] = _process(row)
        return [_record(row, living) for row in rows]


Said = tuple[float | None, int | None, str]


class _Writer:
    """The thread that writes events: whatever has come since the last transaction goes into the next."""

    def __init__(self, store: Store) -> None:
        self._path = store.path
        self._connect = store._connect  # noqa: SLF001 - the other half of the same class
        self._db: sqlite3.Connection | None = None
        self._events: list[Event] = []
        self._waiting: list[Future[None]] = []
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

    def _worth(self, event: TaskProgressed) -> bool:
        """What says nothing new is not remembered: many services say nothing but that they still work."""
        working, (at, before) = event.working, self._said.get(event.id, (0.0, None))
        said = working.fraction, working.queue_position, working.note
        if event.at - at < WATCHED or (said == before and not working.queue_position):
            return False
        self._said[event.id] = event.at, said
        return True

    def settled(self) -> "Future[None]":
        from concurrent.futures import Future  # noqa: PLC0415 - see Store.settled

        promise: Future[None] = Future()
        with self._wake:
            self._waiting.append(promise)
            self._started()
        return promise

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _started(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="history", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _work(self) -> None:
        reserve = _Reserve(self._path)
        while True:
            with self._wake:
                while not (self._events or self._waiting or self._closing):
                    self._wake.wait()
                events, self._events = self._events, []
                waiting, self._waiting = self._waiting, []
                closing = self._closing
            trouble = self._written(events, reserve)
            if trouble is not None and not closing:
                with self._wake:
                    self._events = events + self._events
            for promise in waiting:
                _answer(promise, trouble)
            if closing:
                if self._db is not None:
                    self._db.close()
                return
            if trouble is not None:
                with self._wake:
                    if not (self._waiting or self._closing):
                        self._wake.wait(1.0)

    def _written(self, events: list[Event], reserve: "_Reserve") -> DiskError | None:
        """Write all or nothing; a full disk is met by giving up the reserve, once."""
        if not events:
            return None
        try:
            if self._db is None:
                self._db = self._connect()
            try:
                _write(self._db, events)
            except sqlite3.Error:
                if not reserve.give_up():
                    raise
                _write(self._db, events)
        except sqlite3.Error as error:
            return DiskError(f"the history {self._path} {_trouble(error)}", hint=_remedy(error))
        except Exception as error:  # noqa: BLE001 - whoever waits for this thread must hear of it
            return DiskError(f"the history {self._path} cannot be written: {type(error).__name__}: {error}")
        reserve.keep()
        return None


WATCHED = 0.5
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


def _write(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for event in events:
            _write_one(db, event)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise


def _roll_back(db: sqlite3.Connection) -> None:
    """A full disk has already done it."""
    if db.in_transaction:
        db.execute("ROLLBACK")


TIME_OF = {Submitting: "started", Running: "accepted", Saving: "ready"}


def _write_one(db: sqlite3.Connection, event: Event) -> None:
    if isinstance(event, TaskChanged):
        _write_event(db, event, event.task.id, _write_state(db, event))
        return
    task, body = codec.from_event(event)
    if isinstance(event, TaskProgressed) and event.working.queue_position:
        db.execute("UPDATE task SET began = ? WHERE id = ?", (event.at, event.id))
    if isinstance(event, RunFinished):
        db.execute("UPDATE run SET ended = ? WHERE id = ?", (event.at, event.run))
        db.execute("DELETE FROM event WHERE run <= ?", (event.run - KEPT_RUNS,))
    if task is not None:
        _write_event(db, event, task, codec.dumps(body))


def _write_event(db: sqlite3.Connection, event: Event, task: int, body: str) -> None:
    db.execute(
        "INSERT INTO event (run, task, at, kind, body) SELECT run, id, ?, ?, ? FROM task WHERE id = ?",
        (event.at, type(event).__name__, body, task),
    )


def _write_state(db: sqlite3.Connection, event: TaskChanged) -> str:
    """The last state of a task, and what to remember of its change."""
    task, state = event.task, event.task.state
    column = "ended" if isinstance(state, ENDED) else TIME_OF.get(type(state))
    moment = f", {column} = coalesce({column}, :at)" if column else ""
    more = "" if isinstance(state, ENDED) else ", ended = NULL"
    if isinstance(state, Submitting):
        more += ", began = NULL"
        _write_taker(db, task)
    detail = codec.dumps(codec.from_state(state))
    db.execute(
        f"UPDATE task SET state = :state, detail = :detail, reason = :reason{moment}{more} WHERE id = :id",  # noqa: S608 - only our own words
        {"state": word(state), "detail": detail, "reason": _reason(task), "at": event.at, "id": task.id},
    )
    return f'{{"state":"{word(state)}"' + (f",{detail[1:]}" if detail != "{}" else "}")


def _write_taker(db: sqlite3.Connection, task: Task) -> None:
    """Only now is it certain who gets it, where a person named several."""
    request = task.request
    row = db.execute("SELECT provider FROM task WHERE id = ?", (task.id,)).fetchone()
    if row is not None and row["provider"] != request.provider:
        db.execute(
            "UPDATE task SET provider = ?, model = ?, request = ? WHERE id = ?",
            (request.provider, request.model, codec.dumps(codec.from_request(request)), task.id),
        )


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


def _record(row: sqlite3.Row, living: dict[int, Process]) -> Record:
    state = codec.to_state(row["state"], json.loads(row["detail"]))
    task = Task(
        id=TaskId(row["id"]), run=RunId(row["run"]), request=codec.to_request(json.loads(row["request"])),
        state=state, folder=row["folder"], name=row["name"],
    )  # fmt: skip
    times = {key: row[key] for key in ("created", "started", "accepted", "ready", "ended")}
    return Record(task=task, asked=row["asked"], process=living.get(row["owner"]), **times)


def _process(row: sqlite3.Row) -> Process:
    return Process(row["host"], row["pid"], row["born"])


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
