"""The history in PostgreSQL, shared by several machines: what is different from SQLite, under the names of `Database`.

Imported only where the history is a `postgresql://` address. Moments that several machines compare are by the clock of
the server alone.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from imagegen_cli.core.database_address import CODES, database_address
from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import hide, masked
from imagegen_cli.storage import postgres_schema, search
from imagegen_cli.storage.database import MAX_LOCK_WAIT_S, MAX_ROWS_AT_ONCE, Reserve, not_text
from imagegen_cli.storage.leases import Leases
from imagegen_cli.storage.postgres_connection import BEGIN_CLAIM, BEGIN_WRITING, RETRY_PAUSE_S, PostgresConnection
from imagegen_cli.storage.processes import SILENT_S, Process, is_alive, is_near
from imagegen_cli.storage.store import HEARTBEAT_S, Store

if TYPE_CHECKING:
    from imagegen_cli.core.task import TaskId
    from imagegen_cli.storage.dialect import Connection, Row

MAX_ABSENCE_S = 60.0
"""Seconds for which the writer waits for a server that was lost before it tells so."""
POLL_S = 1.0
"""Seconds between two looks for wishes of other machines, where no notification comes first."""
MAX_LEXEME_SIGNS = 200
MAX_POSITION = 16383
"""The limits of PostgreSQL for a word (2 KB) and for a place in a text."""
DEFAULTS = {
    "connect_timeout": "10", "application_name": "imagegen", "keepalives_idle": "20", "keepalives_interval": "5",
    "keepalives_count": "3", "tcp_user_timeout": "30000",
}  # fmt: skip
"""Parameters of a connection that an address may set otherwise."""
POOLED = Message(
    "the history {name} is behind a pool that gives each transaction another connection"
    " (in pgbouncer: pool_mode = transaction)"
)
UNPOOLED = Message("name the server itself, or a pool with pool_mode = session")
POOL_LOOKS = 5
"""Looks at whether two connections are one: other clients of the pool may come between."""
LOST_STATEMENT = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)
"""What a server says where a pool has sent it the statements of another connection."""
CLOCK = "extract(epoch FROM clock_timestamp())::double precision"
SILENT = f"{CLOCK} - greatest(heartbeat, extract(epoch FROM pg_postmaster_start_time())::double precision)"
"""Seconds since a process was heard of. While the server was away, no process could be heard."""
PROMPTS = "SELECT id, prompt FROM task WHERE id > ? ORDER BY id LIMIT ?"
ILIKE = "prompt ILIKE ? ESCAPE '!'"


class PostgresLeases(Leases):
    """Leases by the clock of the server: a process lives while its heartbeat is younger than SILENT_S."""

    FIRST = AGAIN = NEXT = CLOCK

    def rows(self, db: "Connection") -> "list[Row]":
        return db.execute(f"SELECT *, {SILENT} AS silent_s FROM process").fetchall()  # noqa: S608 - only our own words

    def strike(self, db: "Connection", number: int) -> None:
        db.execute("DELETE FROM process WHERE id = ?", (number,))

    def watch(self, _db: "Connection") -> None:
        """Watch nothing: the server has a clock for all."""

    def is_alive(self, _db: "Connection", row: "Row") -> bool:
        process = Process(row["host"], row["pid"], row["started_at"], row["place"])
        if process == self.me:
            return True
        if is_near(process, self.me) and not is_alive(process):
            return False
        return bool(row["silent_s"] < SILENT_S)

    def may_be_silent(self, db: "Connection") -> bool:
        return any(self.is_alive(db, row) and row["silent_s"] > 2 * HEARTBEAT_S for row in self.rows(db))


class Patience(Reserve):
    """What reserved space is for a file: a reason to write once more, while the loss of a server is not long ago."""

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self._is_closing = is_closing
        self._lost_at: float | None = None

    def keep(self) -> None:
        """Forget the loss: something was written."""
        self._lost_at = None

    def give_up(self, error: Exception) -> bool:
        """Whether the connection was lost, and so lately that the next one may hold."""
        if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or self._is_closing():
            return False
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        time.sleep(RETRY_PAUSE_S)
        return now - self._lost_at < MAX_ABSENCE_S


class PostgresStore(Store):
    """The history that several machines share. Raises HistoryError where the server cannot be used."""

    ERRORS = (psycopg.Error,)
    NEWER_HINT = Message("upgrade imagegen here: pip install -U imagegen-cli")
    PLUS = ""
    is_remote = True
    LOCKED = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self, address: str, password: str = "", *, wait_s: float = MAX_LOCK_WAIT_S, process: Process | None = None
    ) -> None:
        hide(password)
        self._name, self._conninfo = _parts_of(address, password)
        self._is_closing = False
        self._listener: Listener | None = None
        super().__init__(Path("postgresql"), wait_s=wait_s, process=process)

    @property
    def name(self) -> str:
        return self._name

    def _open(self, _path: Path) -> None:
        with self._errors():
            self._db = self._postgres = self._connected(patience_s=None)
            try:
                self._refuse_pool()
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def connect(self) -> PostgresConnection:
        return self._connected(patience_s=MAX_ABSENCE_S)

    def _connected(self, patience_s: float | None) -> PostgresConnection:
        return PostgresConnection(
            self._conninfo, wait_s=self._wait_s, patience_s=patience_s, is_given_up=lambda: self._is_closing
        )

    def close(self) -> "list[Any]":
        if self._listener is not None:
            self._listener.close()
        self._is_closing = True
        return super().close()

    def _migrate(self) -> None:
        if self._version() == len(postgres_schema.STEPS):
            return
        with self._transaction():
            version = self._version()
            if version > len(postgres_schema.STEPS):
                raise self._too_new(version)
            for step in postgres_schema.STEPS[version:]:
                self._postgres.raw.execute(step)
            self._db.execute(
                "INSERT INTO meta (name, value) VALUES ('schema', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(len(postgres_schema.STEPS)),),
            )

    def _refuse_pool(self) -> None:
        """Raise HistoryError where a pool stands between that keeps no connection for a client."""
        if not self._postgres.is_pooled:
            return
        with closing(self._connected(patience_s=None)) as other:
            if any(self._postgres.shares_with(other) for _ in range(POOL_LOOKS)):
                raise HistoryError(POOLED.format(name=self.name), hint=UNPOOLED)

    def _version(self) -> int:
        """How many steps this schema has taken."""
        if self._db.execute("SELECT current_schema()").fetchone()[0] is None:
            hint = Message("create the schema that the address or the user's search_path names")
            raise HistoryError(Message("the history {name} has no schema to lie in").format(name=self.name), hint=hint)
        if self._db.execute("SELECT to_regclass(quote_ident(current_schema()) || '.meta')").fetchone()[0] is None:
            return 0
        row = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        return 0 if row is None else int(row[0])

    @contextmanager
    def _begun(self, words: str) -> Iterator[None]:
        with self._errors():
            self._db.execute(words)
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    with suppress(psycopg.Error):
                        self._db.execute("ROLLBACK")
                raise

    def _begun_to_write(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._begun(BEGIN_WRITING)

    def _begun_to_claim(self) -> AbstractContextManager[None]:
        return self._begun(BEGIN_CLAIM)

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        before, self._postgres.wait_s = self._postgres.wait_s, seconds
        try:
            yield
        finally:
            self._postgres.wait_s = before

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise HistoryError(self.trouble_of(error), hint=self.remedy_for(error)) from None
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            hint = Message("imagegen cannot repair it; imagegen history migrate copies what can be read")
            message = Message("the history {name} is damaged: {why}").format(name=self.name, why=str(error))
            raise HistoryError(message, hint=hint) from error

    def trouble_of(self, error: Exception) -> Message:
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Message("the history {name} is locked by another program").format(name=self.name)
        if isinstance(error, psycopg.errors.DiskFull):
            full = Message("the history {name} cannot be written: the disk of the server is full")
            return full.format(name=self.name)
        if isinstance(error, LOST_STATEMENT):
            return POOLED.format(name=self.name)
        trouble = Message("the history {name} cannot be used: {why}")
        if isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReadOnlySqlTransaction):
            trouble = Message("the history {name} cannot be written: {why}")
        elif isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            trouble = Message("the history {name} cannot be reached: {why}")
        return trouble.format(name=self.name, why=_words(error))

    def remedy_for(self, error: Exception) -> Message:
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Message("wait for the program that holds it and try again")
        if isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidPassword):
            return Message(
                "ask the owner of the database for permission, or mend the user and the password of the history"
            )
        if isinstance(error, psycopg.errors.DiskFull):
            return Message("make room on the disk of the server")
        if isinstance(error, LOST_STATEMENT):
            return UNPOOLED
        if "unsupported startup parameter" in str(error):
            return Message("a pool takes no ?options=: give the user its schema by ALTER ROLE … SET search_path = …")
        return Message("imagegen doctor tries it again; the setting history, or IMAGEGEN_HISTORY, names the server")

    def check(self) -> str:
        """Whether tasks and numbers fit together: "ok", or the first fault."""
        with self._errors():
            lost = self._only("SELECT count(*) FROM task WHERE run NOT IN (SELECT id FROM run)")
            low = self._only("SELECT count(*) FROM numbering WHERE name = 'task' AND last < (SELECT max(id) FROM task)")
        if lost:
            return Message("tasks without a run")
        return Message("task numbers that were given twice may follow") if low else "ok"

    def now(self) -> float:
        return self._postgres.now()

    def leases_of(self, me: Process) -> Leases:
        return PostgresLeases(me)

    def reserve_space(self) -> Reserve:
        return Patience(lambda: self._is_closing)

    def delete_securely(self) -> None:
        """Do nothing: the server cleans its pages by VACUUM."""

    def _numbers(self, table: str, count: int) -> range:
        query = "UPDATE numbering SET last = last + ? WHERE name = ? RETURNING last"
        last = int(self._db.execute(query, (count, table)).fetchone()[0])
        return range(last - count + 1, last + 1)

    def last_numbers(self) -> dict[str, int]:
        known = {row["name"]: row["last"] for row in self._db.execute("SELECT name, last FROM numbering")}
        owners = (
            "SELECT coalesce(max(owner), 0) AS last FROM task UNION ALL SELECT coalesce(max(command), 0) FROM charge"
        )
        owners += " UNION ALL SELECT coalesce(max(id), 0) FROM process"
        return known | {"process": max(row["last"] for row in self._db.execute(owners))}

    def continue_numbers(self, last: Mapping[str, int]) -> None:
        for name in ("run", "task"):
            self._db.execute("UPDATE numbering SET last = ? WHERE name = ?", (last.get(name, 0), name))
        for table in ("process", "event", "charge", "receipt"):
            highest = self._db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608 - our own words
            highest = max(highest, last.get(table, 0)) + 1
            self._db.execute("SELECT setval(pg_get_serial_sequence(?, 'id'), ?, false)", (table, highest))
        after = 0
        while rows := self._db.execute(PROMPTS, (after, MAX_ROWS_AT_ONCE)).fetchall():
            words = [(vector(row["prompt"]), row["id"]) for row in rows]
            self._db.executemany("UPDATE task SET words = CAST(? AS tsvector) WHERE id = ?", words)
            after = rows[-1]["id"]

    def be_patient(self) -> None:
        self._db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._db.execute("LOCK TABLE task, process IN EXCLUSIVE MODE")  # a claim waits for no other lock

    # Words

    def words_of(self, prompt: str) -> str:
        return vector(prompt)

    def in_bulk(self) -> AbstractContextManager[Any]:
        return self._postgres.raw.pipeline()  # type: ignore[no-any-return]

    def note_words(self, _task: int) -> None:
        """Do nothing: the row has them."""

    def forget_words(self, _prompts: Mapping[int, str]) -> None:
        """Do nothing: the words are in the rows of the tasks."""

    def unindexed(self) -> int:
        return 0

    def is_indexed(self) -> bool:
        return True

    def searched(self, text: str, where: str, values: Sequence[Any], order: str) -> "list[Row]":
        where = f"{where} AND " if where else " WHERE "
        if query := expression(text):
            exact, patterns = search.likes(search.exact(text), ILIKE)
            words = " AND ".join(filter(None, ["words @@ CAST(? AS tsquery)", exact]))
            found = self._db.execute(f"SELECT * FROM task{where}{words}{order}", [*values, query, *patterns]).fetchall()  # noqa: S608 - only our own words
            if found:
                return found
        likes, patterns = search.likes(search.words_of(text), ILIKE)
        query = f"SELECT * FROM task{where}{likes}{order}"  # noqa: S608 - see above
        return self._db.execute(query, [*values, *patterns]).fetchall()

    def index_agrees(self) -> bool:
        """The words are a column of the task itself."""
        return True

    # Wishes of other machines

    def _cancels(self) -> "set[TaskId]":
        """What a thread of its own has last read: the event loop waits for no network."""
        return super()._cancels() if self._listener is None else self._listener.cancels

    def pauses(self) -> dict[str, float]:
        return super().pauses() if self._listener is None else self._listener.pauses()

    def listen(self) -> None:
        if self._listener is None and self._leases.owner is not None:
            self._listener = Listener(self.connect, self._leases.owner)

    @property
    def wakes(self) -> int:
        return 0 if self._listener is None else self._listener.wakes

    def notify(self, what: str) -> None:
        self._writer.change("SELECT pg_notify('imagegen_' || current_schema(), ?)", what)


class Listener:
    """A thread that reads what other machines ask of this process: at once where they notify, else each second."""

    def __init__(self, connect: "Callable[[], PostgresConnection]", owner: int) -> None:
        self._connect = connect
        self._owner = owner
        self._closing = threading.Event()
        self._until: dict[str, float] = {}
        self.cancels: set[TaskId] = set()
        self.wakes = 0
        """How often other machines have notified: more tasks, or room at an account."""
        self._thread = threading.Thread(target=self._listen, name="wishes", daemon=True)
        self._thread.start()

    def pauses(self) -> dict[str, float]:
        """By account, for how many seconds more a service takes nothing."""
        now = time.monotonic()
        return {account: until - now for account, until in self._until.items() if until > now}

    def close(self) -> None:
        self._closing.set()
        self._thread.join(2 * POLL_S)

    def _listen(self) -> None:
        while not self._closing.is_set():
            with suppress(psycopg.Error):
                db = self._connect()
                try:
                    self._follow(db)
                finally:
                    db.close()
            self._closing.wait(POLL_S)

    def _follow(self, db: PostgresConnection) -> None:
        channel = db.execute("SELECT quote_ident('imagegen_' || current_schema())").fetchone()[0]
        db.raw.execute(f"LISTEN {channel}")
        while not self._closing.is_set() and not db.is_lost:
            self._read(db)
            for _ in db.raw.notifies(timeout=POLL_S, stop_after=1):
                self.wakes += 1

    def _read(self, db: PostgresConnection) -> None:
        query = "SELECT id FROM task WHERE owner = ? AND cancel_requested = 1"
        self.cancels = {row["id"] for row in db.execute(query, (self._owner,))}
        rows = db.execute(f"SELECT account, until - {CLOCK} AS left_s FROM lane WHERE until > {CLOCK}")  # noqa: S608 - our own words
        self._until = {row["account"]: time.monotonic() + row["left_s"] for row in rows}


def _parts_of(address: str, password: str) -> tuple[str, str]:
    """What messages call the server, and what psycopg is told. Raises HistoryError where it is no address."""
    found = database_address(address)
    if trouble := found.trouble(Message("the address of the history")):
        raise HistoryError(trouble, hint=CODES)
    try:
        known = {name: str(value) for name, value in conninfo_to_dict(address).items() if value is not None}
    except psycopg.Error:
        hint = Message("write it as postgresql://user@host/database")
        raise HistoryError(Message("the address of the history is none that PostgreSQL knows"), hint=hint) from None
    hide(known.get("password", ""))
    if password:
        known["password"] = password
    return masked(found.name), make_conninfo(**(DEFAULTS | known))


def _words(error: Exception) -> str:
    """The first line of what the server or the driver says, without secrets."""
    text = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return masked(" ".join(text.split())[:300])


def vector(prompt: str) -> str:
    """The words of a prompt with their places, as a tsvector."""
    found = search.indexed(prompt)
    words = (run for _, run in search.runs(found))
    return " ".join(
        f"'{word[:MAX_LEXEME_SIGNS]}':{place}" for place, word in zip(range(1, MAX_POSITION), words, strict=False)
    )


def expression(text: str) -> str:
    """A tsquery of each word of a search, in any order; empty where it has none."""
    return " & ".join(f"({phrase})" for phrase in map(_phrase, search.folded(text).split()) if phrase)


def _phrase(word: str) -> str:
    words, is_whole = search.phrase(word)
    quoted = [f"'{one[:MAX_LEXEME_SIGNS]}'" for one in words]
    return "" if not quoted else " <-> ".join(quoted) + ("" if is_whole else ":*")
