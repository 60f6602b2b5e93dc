"""A connection to PostgreSQL that takes the SQL of SQLite, comes back after a loss, and never guesses about a COMMIT.

psycopg is imported here alone. Statements are sent at once; a transaction that writes holds one advisory lock of the
history from its beginning, so that writers exclude each other as they do in SQLite. No wait is without an end: `Limits`
looks at each of them ten times a second, also where a server keeps the connection and says nothing.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import waiting
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.storage.processes import uptime

BEGIN_WRITING = "BEGIN IMMEDIATE"
BEGIN_CLAIM = "BEGIN CLAIM"
"""Begins a transaction that writes without the lock: rows that it claims are locked one by one."""
RETRY_PAUSE_S = 0.1
"""Seconds between two attempts to reach the server again."""
REFUSED_PAUSE_S = 1.0
"""The same where the server was reached and cannot have the history: each attempt asks it more."""
TICK_S = 0.1
"""Seconds between two looks at a wait."""
MAX_SILENCE_S = 30.0
"""Seconds without any answer after which a statement is given up with its connection; longer than a wait for a lock."""
QUICK_S = 1.0
"""Seconds for an answer where the event loop waits for it, beside those for a lock."""
SILENT_AFTER_S = 1.0
"""Seconds without an answer after which a server counts as silent."""
HURRY_S = 1.0
"""Seconds without an answer after which a process that was told to end waits for nothing more."""
MAX_CLOSE_S = 10.0
"""Seconds for the last changes once the history is being closed."""
LOST_STATEMENT = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)
"""What a server says where a pool has sent it the statements of another connection."""
ONE_OF = re.compile(r"(NOT )?IN \(SELECT value FROM json_each\(\?\)\)")
NAMED = re.compile(r"(?<!:):([a-z_]+)\b")
TURN = (
    "UPDATE turn SET version = version + CASE WHEN writer = pg_backend_pid() THEN 0 ELSE 1 END,"
    " writer = pg_backend_pid() RETURNING version"
)
WORDS = {"PRAGMA data_version": TURN}
COMMIT = (
    "INSERT INTO committed (connection, number) SELECT '{token}', {number} / {is_there} ON CONFLICT (connection)"
    " DO UPDATE SET number = excluded.number, at = excluded.at; COMMIT"
)
"""Each transaction that writes says so in a row of its own connection: the number of a transaction is given again where
the server crashes before it has written anything of it, so that number alone proves nothing. A division by zero refuses
what a process would write to a history that was set back."""
FORGET = "DELETE FROM committed WHERE at < clock_timestamp() - interval '30 days'; "
MAX_KNOWN_S = 20 * 24 * 3600.0
"""Seconds for which the row of a commit is certain to be there; FORGET deletes older ones."""
START = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';"
    " SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning; SET TIME ZONE '{zone}';"
    " SET client_encoding = 'UTF8';"
    " SELECT hashtext('imagegen ' || current_schema()) AS lock, extract(epoch FROM clock_timestamp()) AS now,"
    " pg_backend_pid() AS backend"
)
"""The server ends a transaction whose client is silent for so long: a stopped process must not block all others. What
it has confirmed is on its disk, also where its settings say otherwise."""


class Row(tuple[Any, ...]):  # noqa: SLOT001 - each kind of row has its names
    """A row whose values are found by name and by number."""

    names: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.names[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        return list(self.names)


class WholeNumber(Loader):
    """Sums of whole numbers are `numeric` in PostgreSQL."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


class Found:
    """A cursor as SQLite has it."""

    def __init__(self, cursor: "psycopg.Cursor[Any]") -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        row = self._cursor.connection.execute("SELECT lastval()").fetchone()
        return None if row is None else int(row[0])

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class SilentError(psycopg.OperationalError):
    """The server has not answered for too long; the connection is closed."""


class RefusedError(psycopg.OperationalError):
    """The server is there again, and cannot have the history now, as where one is refused when it is opened."""

    def __init__(self, refusal: HistoryError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class SetBackError(psycopg.DataError):
    """The server has lost what it had confirmed to this process."""

    def __init__(self) -> None:
        super().__init__("the server has lost what it had confirmed")


class Commits:
    """The last commits that the server has confirmed to the connections of this process.

    A fail-over to a server that is behind, or a restored backup, lacks some of them: then the history was set back. A
    process that was only taken for dead finds all of them.
    """

    def __init__(self) -> None:
        self._confirmed: dict[str, tuple[int, float]] = {}
        """By connection, the number of its last commit and when that was, by the clock of this place."""
        self.is_set_back = False
        """The server has been found without some of them: this process writes nothing more."""

    def confirm(self, connection: str, number: int) -> None:
        self._confirmed[connection] = number, uptime()

    def leave_out(self, connection: str) -> None:
        """Expect nothing of a connection that deletes its row."""
        self._confirmed.pop(connection, None)

    def are_there(self) -> str:
        """An expression in SQL: 1 where the history has all of these commits, else 0."""
        oldest = uptime() - MAX_KNOWN_S
        known = [(connection, number) for connection, (number, at) in list(self._confirmed.items()) if at > oldest]
        if not known:
            return "1"
        rows = " OR ".join(f"(connection = '{connection}' AND number >= {number})" for connection, number in known)
        return f"(SELECT count(*) / {len(known)} FROM committed WHERE {rows})"  # noqa: S608 - our own words

    def set_back(self) -> SetBackError:
        """Remember that the history was set back. Returns the error that says so."""
        self.is_set_back = True
        return SetBackError()


class Limits:
    """How long the connections of one process wait. `close` and `hurry` make it less; signal handlers call them too."""

    def __init__(self) -> None:
        self._deadline = float("inf")
        self._silent_at = float("-inf")
        self._is_given_up = False
        self.is_closing = False
        """A lost server is not waited for any more."""
        self.is_hurried = False

    def close(self) -> None:
        self.is_closing = True
        self._deadline = min(self._deadline, time.monotonic() + MAX_CLOSE_S)

    def hurry(self) -> None:
        """Wait for an answer for HURRY_S; where that was too long once, for none any more."""
        self.is_hurried = True

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._is_given_up or time.monotonic() > self._deadline

    @property
    def is_silent(self) -> bool:
        """Whether something waits for the server just now, and has for a while, or was given up because of that."""
        return self._is_given_up or time.monotonic() - self._silent_at < SILENT_AFTER_S

    def check(self, waited_s: float, max_s: float) -> None:
        """Raise SilentError where something has waited for long enough."""
        if waited_s >= SILENT_AFTER_S:
            self._silent_at = time.monotonic()
        self._is_given_up |= self.is_hurried and waited_s >= HURRY_S
        if waited_s >= max_s or self.is_over:
            raise SilentError(f"no answer for {waited_s:.0f} s")

    def pause(self, seconds: float = RETRY_PAUSE_S) -> None:
        """Wait until the server may be tried again."""
        self._silent_at = time.monotonic()
        time.sleep(seconds)


class Line(psycopg.Connection[Any]):
    """A connection of psycopg whose waits `limits` ends. What was interrupted leaves it closed."""

    limits = Limits()
    max_silence_s = MAX_SILENCE_S

    def wait(self, gen: Any, interval: float = TICK_S, timeout: float | None = None) -> Any:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return waiting.wait(_watched(gen, self), self.pgconn.socket, interval=interval)
        except (SilentError, KeyboardInterrupt):  # a statement in the middle of its answer
            self.close()
            raise


def _watched(steps: "Generator[Any, Any, Any]", line: Line) -> "Generator[Any, Any, Any]":
    """The same steps of a statement; those that nothing has come for are looked at."""
    began = time.monotonic()
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if ready:
                began = time.monotonic()
            else:
                line.limits.check(time.monotonic() - began, line.max_silence_s)
            wanted = steps.send(ready)
    except StopIteration as ended:
        return ended.value


class Attempt:
    """One attempt to connect, in a thread of its own: names are looked up without an end to it."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._lock = threading.Lock()
        self._is_left = False
        self._found: Line | BaseException | None = None
        self.ended = threading.Event()
        threading.Thread(target=self._connect, name="connect", daemon=True).start()

    def _connect(self) -> None:
        found: Line | BaseException
        try:
            found = Line.connect(self._conninfo, autocommit=True, row_factory=_row_factory, client_encoding="UTF8")
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            found = error
        with self._lock:
            self._found = found
            if self._is_left and isinstance(found, Line):
                found.close()
        self.ended.set()

    def result(self) -> Line:
        if isinstance(self._found, Line):
            return self._found
        raise self._found or SilentError("no connection")

    def leave(self) -> None:
        """Close the connection, if there will be one."""
        with self._lock:
            self._is_left = True
            if isinstance(self._found, Line):
                self._found.close()


class PostgresConnection:
    """One connection, opened again where it was lost. `wait_s`: seconds for which a lock is waited for.

    `patience_s`: seconds for which a lost server is waited for; None: as long as for a lock, and a server that is
    silent is not asked again. `answer_s`: seconds for which an answer is waited for. `check`: raises an error where a
    new connection, that of psycopg, must not be used; the word `is_pooled` tells whether a pool stands between.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        wait_s: float,
        patience_s: float | None = None,
        answer_s: float = MAX_SILENCE_S,
        limits: Limits | None = None,
        commits: Commits | None = None,
        check: Callable[..., None] | None = None,
    ) -> None:
        self._conninfo = conninfo
        self.wait_s = wait_s
        self.answer_s = answer_s
        self._patience_s = patience_s
        self._limits = limits or Limits()
        self._known = commits or Commits()
        self._check = check
        self._is_for_receipts = False
        self._attempt: Attempt | None = None
        self._transaction_id = ""
        self._token = secrets.token_hex(8)
        self._commits = 0
        self._closed = False
        self._lock = 0
        self._told = (0.0, 0.0)
        self._raw: Any = None
        self._raw = self._opened()

    def _opened(self) -> Any:
        raw: Any = self._connected()
        try:
            self._begin_session(raw)
        except BaseException:
            raw.close()
            raise
        return raw

    def _connected(self) -> Line:
        """An attempt that was too slow for the event loop goes on: the next call takes its connection."""
        self._attempt = attempt = self._attempt or Attempt(self._conninfo)
        began = time.monotonic()
        while not attempt.ended.wait(TICK_S):
            self._limits.check(time.monotonic() - began, min(self.answer_s, MAX_SILENCE_S))
        self._attempt = None
        line = attempt.result()
        line.limits, line.max_silence_s = self._limits, self.answer_s
        return line

    def _begin_session(self, raw: Any) -> None:
        raw.adapters.register_loader("numeric", WholeNumber)
        try:
            found = raw.execute(START.format(zone=_zone()))
        except psycopg.errors.InvalidParameterValue:  # the server lacks the time zone
            found = raw.execute(START.format(zone=_offset()))
        while found.nextset():
            pass
        self._lock, moment, backend = found.fetchone()
        self._told = moment, uptime()
        self._check_history(raw)
        if self._check is not None:
            with self._tables():  # a pool gives its clients numbers of its own
                self._check(raw, is_pooled=backend != raw.info.backend_pid)

    def _check_history(self, raw: Any) -> None:
        """Raise SetBackError where another connection of this process has committed what is not there."""
        are_there = self._known.are_there()
        if self._is_for_receipts or are_there == "1":
            return
        with self._tables():
            found = raw.execute(f"SELECT {are_there}").fetchone()[0]
        if not found:
            raise self._known.set_back()

    @contextmanager
    def _tables(self) -> Iterator[None]:
        """Inside, a table that is missing means that the history was set back to before it had tables.

        A store makes them all before it asks for any of them.
        """
        try:
            yield
        except psycopg.errors.UndefinedTable:
            raise self._known.set_back() from None

    @contextmanager
    def _statements(self) -> Iterator[None]:
        """Inside, a statement that the server does not know any more closes the connection.

        A pool has put another one behind it: what was prepared, and LISTEN, are lost.
        """
        try:
            yield
        except LOST_STATEMENT:
            self._raw.close()
            raise

    @contextmanager
    def for_receipts(self) -> Iterator[None]:
        """Inside, write into a history that was set back, which nothing else does."""
        self._is_for_receipts = True
        try:
            yield
        finally:
            self._is_for_receipts = False

    def be_quick(self, seconds: float) -> None:
        """Wait for an answer for at most so long from now on."""
        self.answer_s = seconds
        self._raw.max_silence_s = seconds

    def now(self) -> float:
        """Seconds since the epoch by the clock of the server: one of this machine that was set changes nothing."""
        moment, at = self._told
        return moment + uptime() - at

    @property
    def raw(self) -> Any:
        """The connection of psycopg, for what SQLite knows nothing like."""
        return self._raw

    def shares_with(self, other: Any) -> bool:
        """Whether a pool gives each transaction of both any connection: locks, LISTEN and settings would be lost.

        `other`: a connection of psycopg.
        """
        mine, its = (one.execute("SELECT pg_backend_pid()").fetchone()[0] for one in (self._raw, other))
        return bool(mine == its)

    @property
    def in_transaction(self) -> bool:
        return self._raw.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    @property
    def is_lost(self) -> bool:
        return bool(self._raw.closed) and not self._closed

    def execute(self, sql: str, parameters: Any = (), /) -> Found:
        if self._known.is_set_back and not self._is_for_receipts and sql != "ROLLBACK":
            raise SetBackError
        if sql in (BEGIN_WRITING, BEGIN_CLAIM):
            return self._begin(locks=sql == BEGIN_WRITING)
        if sql == "COMMIT":
            return self._commit()
        values = _plain(parameters)
        if self.is_lost and not self._transaction_id:
            self._reopen()
        is_alone = not self.in_transaction
        try:
            with self._tables(), self._statements():
                return Found(self._raw.execute(translated(sql), values))
        except (psycopg.OperationalError, *LOST_STATEMENT) as error:
            if self.is_lost:
                self._transaction_id = ""
            if not (is_alone and self._may_reopen(error) and sql.startswith("SELECT")):
                raise
        self._reopen()
        with self._tables():
            return Found(self._raw.execute(translated(sql), values))

    def _may_reopen(self, error: Exception) -> bool:
        """Whether the connection was lost by this error, and another one is worth its time."""
        return self.is_lost and not (isinstance(error, SilentError) and self._patience_s is None)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Found:
        cursor = self._raw.cursor()
        with self._tables(), self._statements():
            cursor.executemany(translated(sql), [_plain(values) for values in parameters])
        return Found(cursor)

    def close(self) -> None:
        self._known.leave_out(self._token)
        if self._commits and not self.in_transaction and not self._raw.closed and not self._known.is_set_back:
            with suppress(psycopg.Error):
                self._raw.execute("DELETE FROM committed WHERE connection = %s", (self._token,))
        self._closed = True
        if self._attempt is not None:
            self._attempt.leave()
        self._raw.close()

    def _begin(self, *, locks: bool) -> Found:
        """Begin to write: all in one message. The number of the transaction tells later whether it was committed."""
        wait_ms = max(1, int(self.wait_s * 1000))
        lock = f"SELECT pg_advisory_xact_lock({self._lock});" if locks else ""
        words = f"BEGIN; SET LOCAL lock_timeout = {wait_ms}; {lock} SELECT pg_current_xact_id()::text AS id"
        self._transaction_id = ""
        if self.is_lost:
            self._reopen()
        try:
            cursor = self._raw.execute(words)
        except psycopg.OperationalError as error:
            if not self.is_lost:
                with suppress(psycopg.Error):
                    self._raw.execute("ROLLBACK")
                raise
            if not self._may_reopen(error):
                raise
            self._reopen()
            cursor = self._raw.execute(words)
        while cursor.nextset():
            pass
        self._transaction_id = cursor.fetchone()[0]
        return Found(cursor)

    def _commit(self) -> Found:
        number, self._transaction_id = self._transaction_id, ""
        if self._is_for_receipts:
            return Found(self._raw.execute("COMMIT"))
        self._commits += 1
        words = COMMIT.format(token=self._token, number=self._commits, is_there=self._known.are_there())
        try:
            with self._tables():
                found = Found(self._raw.execute(words if self._commits > 1 else FORGET + words))
        except psycopg.errors.DivisionByZero:
            raise self._known.set_back() from None
        except psycopg.OperationalError:
            if not self.is_lost or not self._was_committed(number):
                raise
            found = Found(self._raw.execute("SELECT 1"))
        self._known.confirm(self._token, self._commits)
        return found

    def _was_committed(self, number: str) -> bool:
        """What became of a transaction whose COMMIT was not answered: once it is over, its row tells.

        A thread that writes asks until the history is closed; else it is asked for as long as a lock is waited for.
        """
        until = float("inf") if self._patience_s is not None else time.monotonic() + self.wait_s
        while True:
            self._reopen(until)
            with suppress(psycopg.OperationalError), self._tables():
                if not self._is_in_progress(number):
                    query = "SELECT number FROM committed WHERE connection = %s"
                    row = self._raw.execute(query, (self._token,)).fetchone()
                    return row is not None and row[0] == self._commits
            if self._limits.is_over or time.monotonic() > until:
                raise SilentError("the server does not tell whether a change was written")
            self._limits.pause()

    def _is_in_progress(self, number: str) -> bool:
        with suppress(psycopg.errors.InvalidParameterValue):  # a crashed server knows nothing of the number
            status = self._raw.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()[0]
            return bool(status == "in progress")
        return False

    def _reopen(self, until: float | None = None) -> None:
        """Open the connection again, if it was lost. `until`: the moment when that is given up."""
        if not self.is_lost:
            return
        patience_s = self.wait_s if self._patience_s is None else self._patience_s
        deadline = time.monotonic() + patience_s if until is None else until
        while True:
            try:
                self._raw = self._opened()
            except psycopg.OperationalError as error:
                is_refused = isinstance(error, RefusedError)
                is_slow = (is_refused or isinstance(error, SilentError)) and self._patience_s is None
                if is_slow or time.monotonic() > deadline or self._limits.is_closing:
                    raise
                self._limits.pause(REFUSED_PAUSE_S if is_refused else RETRY_PAUSE_S)
            else:
                return


@lru_cache(maxsize=1000)
def translated(sql: str) -> str:
    """The words of SQLite in those of PostgreSQL and of psycopg."""
    sql = WORDS.get(sql, sql).replace("%", "%%")
    sql = ONE_OF.sub(lambda found: "!= ALL(json_ids(?))" if found[1] else "= ANY(json_ids(?))", sql)
    return NAMED.sub(r"%(\1)s", sql).replace("?", "%s")


def _plain(parameters: Any) -> Any:
    """Values as PostgreSQL takes them: no truth values in columns of numbers, no NUL and no half signs in a text."""
    if isinstance(parameters, dict):
        return {name: _value(value) for name, value in parameters.items()}
    return tuple(map(_value, parameters))


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        text = str.__str__(value)
        return text if text.isascii() and "\0" not in text else _holdable(text)
    return value


def _holdable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _row_factory(cursor: "psycopg.Cursor[Any]") -> Callable[[Sequence[Any]], Any]:
    return _kind_of_row(tuple(column.name for column in cursor.description or ()))


@lru_cache(maxsize=200)
def _kind_of_row(names: tuple[str, ...]) -> type[Row]:
    return type("NamedRow", (Row,), {"names": {name: number for number, name in enumerate(names)}})


def _zone() -> str:
    """The time zone of this machine in words that PostgreSQL knows, for the days of a list of costs."""
    named = os.environ.get("TZ", "") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    if re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)*", named):
        return named
    return _offset()


def _offset() -> str:
    """How many hours this machine's clock is ahead of UTC now: every server understands that."""
    return f"{time.localtime().tm_gmtoff / 3600:g}"
