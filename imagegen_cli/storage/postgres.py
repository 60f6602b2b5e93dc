"""The history in PostgreSQL, shared by several machines: what is different from SQLite, under the names of `Database`.

Imported only where the history is a `postgresql://` address. Moments that several machines compare are by the clock of
the server alone.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from imagegen_cli.core.database_address import CODES, database_address
from imagegen_cli.core.errors import HistoryAway, HistoryError, HistoryTrouble
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.masking import hide, masked
from imagegen_cli.storage import places, postgres_schema, receipts, search
from imagegen_cli.storage.database import (
    MAX_ABSENCE_S,
    MAX_LOCK_WAIT_S,
    MAX_ROWS_AT_ONCE,
    SET_BACK,
    Database,
    Reserve,
    not_text,
    roll_back,
)
from imagegen_cli.storage.leases import Leases
from imagegen_cli.storage.postgres_connection import (
    BEGIN_CLAIM,
    BEGIN_WRITING,
    HURRY_S,
    LOST_STATEMENT,
    MAX_CLOSE_S,
    MAX_SILENCE_S,
    QUICK_S,
    TICK_S,
    Commits,
    Limits,
    PostgresConnection,
    RefusedError,
    SetBackError,
    SilentError,
    translated,
)
from imagegen_cli.storage.processes import SILENT_S, Process, is_alive, is_near
from imagegen_cli.storage.rows import process_of
from imagegen_cli.storage.store import ADD_WAIT_S, HEARTBEAT_S, Store
from imagegen_cli.storage.writer import NOTICED_S

if TYPE_CHECKING:
    from imagegen_cli.core.task import RunId, State, Task, TaskId
    from imagegen_cli.storage.dialect import Connection, Row
    from imagegen_cli.storage.missing_tasks import PutBack
    from imagegen_cli.storage.receipts import Sent
    from imagegen_cli.storage.records import Planned, Record

MAX_COPY_SILENCE_S = 120.0
"""Seconds without an answer after which a copy of a whole history is given up: a large one has long statements."""
LOCK = "SELECT current_schema(), pg_advisory_lock(CAST(? AS bigint))"
TRY_LOCK = "SELECT current_schema(), pg_try_advisory_lock(CAST(? AS bigint))"
UNLOCK = "SELECT pg_advisory_unlock(CAST(? AS bigint))"
POLL_S = 1.0
"""Seconds between two looks for wishes of other machines, where no notification comes first."""
WISH_ANSWER_S = 5.0
"""Seconds without an answer after which the connection that reads wishes is given up."""
LISTEN_AGAIN_S = 60.0
"""Seconds until a server that gave no answer to LISTEN is told so again; until then wishes are only read."""
MIN_FLUSH_S = 0.2
"""Seconds that a flush waits at least: the server may be back."""
ENCODING = "UTF8"
MIN_VERSION = 13_00_00
"""The oldest server, as it tells its version itself."""
MIN_CONNECTIONS = 3
"""Connections of a run: commands, the thread that writes, and the one that reads wishes."""
TOO_MANY = ("too many c", "remaining connection slots", "connection limit")
"""What servers and pools say where they take no further connection."""
PASSING = (*TOO_MANY, "starting up", "shutting down", "recovery", "terminating connection")
"""What servers say that refuse for a while."""
PASSING_STATES = ("57P01", "57P02", "57P03", "53300", "25P03", "55P03")
"""A server that ends, has crashed, begins, or is full; a transaction that it ended; a lock."""
NEEDS = (
    "SELECT least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) AS connections, rolsuper AS is_super"
    " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
)
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
MAX_LENDING_S = 5.0
"""Seconds in which a pool that lends its connections has one for another client. A pool that keeps them may be full."""
OLD_SCHEMA = Message("the history {name} was exchanged for one with an older schema ({version})")
RIGHTS = {
    "attempt": "INSERT", "charge": "INSERT UPDATE", "committed": "INSERT UPDATE", "event": "INSERT",
    "held": "INSERT DELETE", "lane": "INSERT UPDATE", "numbering": "UPDATE", "picture": "INSERT",
    "process": "INSERT UPDATE", "receipt": "INSERT", "run": "INSERT UPDATE", "task": "INSERT UPDATE", "turn": "UPDATE",
    "waiting": "INSERT UPDATE DELETE",
}  # fmt: skip
"""By table, what a run does there from its beginning to a receipt."""
LACKING = (
    "SELECT name || ' (' || lower(verb) || ')' AS lacking FROM json_each_text(CAST(? AS json)) AS needed (name, verbs),"
    " regexp_split_to_table(verbs, ' ') AS verb"
    " WHERE coalesce(has_table_privilege(to_regclass(quote_ident(current_schema()) || '.' || name), verb), false)"
    " IS FALSE"
)
CLOCK = "extract(epoch FROM clock_timestamp())::double precision"
SILENT = f"{CLOCK} - greatest(heartbeat, extract(epoch FROM pg_postmaster_start_time())::double precision)"
"""Seconds since a process was heard of. While the server was away, no process could be heard."""
BEFORE_WORKERS = Message(
    "before workers start again: imagegen resume --receipts FILE, with what each of them has printed"
)
DOCTOR = Message("imagegen doctor tries it again; the setting history, or IMAGEGEN_HISTORY, names the server")
UNANSWERED = Message("the history {name} gives no answer")
CROWDED = Message("the history {name} takes no further connection: {why}")
NEW_DATABASE = Message(
    "make another one: CREATE DATABASE {database} OWNER {user} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0"
)
MORE_CONNECTIONS = Message(
    "each run and each worker needs 3 connections: ALTER ROLE … CONNECTION LIMIT, ALTER DATABASE … CONNECTION LIMIT or"
    " max_connections allows more"
)
REMEDIES: tuple[tuple[tuple[type[Exception], ...], Message], ...] = (
    ((psycopg.errors.LockNotAvailable,), Message("wait for the program that holds it and try again")),
    (
        (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidPassword),
        Message("ask the owner of the database for permission, or mend the user and the password of the history"),
    ),
    ((psycopg.errors.DiskFull,), Message("make room on the disk of the server")),
    (LOST_STATEMENT, UNPOOLED),
    ((SetBackError,), BEFORE_WORKERS),
)
PLAIN: tuple[tuple[tuple[type[Exception], ...], Message], ...] = (
    ((SetBackError,), SET_BACK),
    ((SilentError,), UNANSWERED),
    (LOST_STATEMENT, POOLED),
)
"""What is said of errors whose own words would tell nothing more."""
PROMPTS = "SELECT id, prompt FROM task WHERE id > ? ORDER BY id LIMIT ?"
ILIKE = "prompt ILIKE ? ESCAPE '!'"


class PostgresLeases(Leases):
    """Leases by the clock of the server: a process lives while its heartbeat is younger than SILENT_S."""

    FIRST = AGAIN = NEXT = CLOCK

    def __init__(self, me: Process) -> None:
        super().__init__(me)
        self._first_heard: dict[int, float] = {}
        """By process, its heartbeat when this one first looked."""

    def rows(self, db: "Connection") -> "list[Row]":
        return db.execute(f"SELECT *, {SILENT} AS silent_s FROM process").fetchall()  # noqa: S608 - only our own words

    def strike(self, db: "Connection", number: int) -> None:
        places.leave(db, number, self.shared_now(db))
        db.execute("DELETE FROM process WHERE id = ?", (number,))

    def shared_now(self, db: "Connection") -> float:
        return float(db.execute(f"SELECT {CLOCK} AS now").fetchone()["now"])  # only our own words

    def watch(self, _db: "Connection") -> None:
        """Watch nothing: the server has a clock for all."""

    def is_alive(self, _db: "Connection", row: "Row") -> bool:
        process = process_of(row)
        if process == self.me:
            return True
        if is_near(process, self.me) and not is_alive(process):
            return False
        return bool(row["silent_s"] < SILENT_S)

    def may_be_silent(self, db: "Connection") -> bool:
        """Whether one counts as alive that was not heard of since this process first looked, or not for a while."""
        return any(self.is_alive(db, row) and self._is_quiet(row) for row in self.rows(db))

    def _is_quiet(self, row: "Row") -> bool:
        process = process_of(row)
        if process == self.me:
            return False
        first = self._first_heard.setdefault(row["id"], row["heartbeat"])
        was_heard = row["heartbeat"] != first or is_near(process, self.me)
        return not was_heard or row["silent_s"] > 2 * HEARTBEAT_S


class Patience(Reserve):
    """What reserved space is for a file: a reason to write once more, while the loss of a server is not long ago."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lost_at: float | None = None

    def keep(self) -> None:
        """Forget the loss: something was written."""
        self._lost_at = None

    def give_up(self, error: Exception) -> bool:
        """Whether the connection was lost, and so lately that the next one may hold."""
        if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or self._limits.is_closing:
            return False
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        self._limits.pause()
        return now - self._lost_at < MAX_ABSENCE_S


class PostgresStore(Store):
    """The history that several machines share. Raises HistoryError where the server cannot be used."""

    ERRORS = (psycopg.Error,)
    NEWER_HINT = Message("upgrade imagegen here: pip install -U imagegen-cli")
    PLUS = ""
    is_remote = True
    UNWRITTEN = HistoryTrouble
    MAX_CLOSE_S = MAX_CLOSE_S + 2 * TICK_S
    LOCKED = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self, address: str, password: str = "", *, wait_s: float = MAX_LOCK_WAIT_S, process: Process | None = None
    ) -> None:
        hide(password)
        self._name, self._conninfo = _parts_of(address, password)
        self._limits = Limits()
        self._commits = Commits()
        self._saved: set[TaskId] = set()
        """Tasks whose receipts were looked at after the history was set back."""
        self._complete: set[TaskId] = set()
        """Those of them of which that history lacks nothing."""
        self._listener: Listener | None = None
        self._is_prepared = self._is_open = False
        self._refusal: HistoryError | None = None
        """Why the last connection was not used; None where it was."""
        super().__init__(Path("postgresql"), wait_s=wait_s, process=process)
        self._is_open = True

    @property
    def name(self) -> str:
        return self._name

    def _open(self, _path: Path) -> None:
        with self._errors():
            self._db = self._postgres = self._connected(patience_s=None)
            try:
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def connect(self) -> PostgresConnection:
        return self._connected(patience_s=MAX_ABSENCE_S)

    def _connected(
        self, patience_s: float | None, answer_s: float = MAX_SILENCE_S, *, only_reads: bool = False
    ) -> PostgresConnection:
        return PostgresConnection(
            self._conninfo, wait_s=self._wait_s, patience_s=patience_s, answer_s=answer_s, limits=self._limits,
            commits=self._commits, check=None if only_reads else self._check,
        )  # fmt: skip

    def _check(self, raw: Any, *, is_pooled: bool) -> None:
        """Look at each new connection before anything is written or claimed through it.

        Raises HistoryError while the history is being opened. Later a server that cannot have the history is as one
        that is away: RefusedError says why.
        """
        try:
            self._check_server(raw.info)
            if is_pooled:
                self._refuse_pool(raw)
            if self._is_open:
                self._check_schema(raw)
            if self._is_prepared:
                self._check_rights(raw)
        except HistoryError as error:
            if not self._is_open:
                raise
            self._refusal = error
            raise RefusedError(error) from None
        self._refusal = None

    def _check_schema(self, raw: Any) -> None:
        """Raise HistoryError where it has another schema: a server that took over, or a backup that was restored.

        Raises SetBackError where it is not the history from which this process has claimed tasks.
        """
        found = self._known_of(raw)
        version = int(found.get("schema", 0))
        if version > len(postgres_schema.STEPS):
            raise self._too_new(version)
        if version < len(postgres_schema.STEPS):
            raise HistoryError(OLD_SCHEMA.format(name=self.name, version=version), hint=DOCTOR)
        is_other = self._is_prepared and found.get("token") != self._token
        if is_other and not self._commits.is_set_back:
            raise self._commits.set_back()

    def _known_of(self, raw: Any) -> dict[str, str]:
        """What is known of the history itself."""
        return dict(raw.execute("SELECT name, value FROM meta").fetchall())

    def _check_server(self, info: Any) -> None:
        """Raise HistoryError where the server or the database cannot have a history, before anything is paid for."""
        encoding = info.parameter_status("server_encoding")
        if encoding not in (None, ENCODING):
            message = Message("the history {name} is in a database with the encoding {encoding}, and needs UTF8")
            hint = NEW_DATABASE.format(database=f"{info.dbname}_utf8", user=info.user)
            raise HistoryError(message.format(name=self.name, encoding=encoding), hint=hint)
        if info.server_version < MIN_VERSION:
            message = Message("the history {name} is on a server of version {version}, which is too old")
            raise HistoryError(
                message.format(name=self.name, version=info.parameter_status("server_version")),
                hint=Message("PostgreSQL 13 is the oldest one that has what a history needs"),
            )

    def _check_connections(self) -> None:
        """Raise HistoryError where the server lets this user, or this database, have too few connections for a run."""
        row = self._db.execute(NEEDS).fetchone()
        count = None if row is None or row["is_super"] else row["connections"]
        if count is not None and count < MIN_CONNECTIONS:
            message = ngettext(
                "the history {name} takes {count} connection of this user or database, and a run needs {needed}",
                "the history {name} takes {count} connections of this user or database, and a run needs {needed}",
                count, name=self.name, needed=MIN_CONNECTIONS,
            )  # fmt: skip
            raise HistoryError(message, hint=MORE_CONNECTIONS)

    def _check_rights(self, raw: Any) -> None:
        """Raise HistoryError where this user may not write what a run writes, or a table of it is gone."""
        if lacking := [row["lacking"] for row in raw.execute(translated(LACKING), (json.dumps(RIGHTS),))]:
            message = Message("the history {name} does not let this user write: {tables}")
            hint = Message(
                "ask the owner of the database for permission: GRANT ALL ON ALL TABLES IN SCHEMA … TO {user}"
            )
            user = raw.info.user
            raise HistoryError(message.format(name=self.name, tables=", ".join(lacking)), hint=hint.format(user=user))

    def _prepare(self) -> None:
        """Have the connection that writes before anything is sent. Raises HistoryError.

        A history that was opened long ago may be a finished copy of another one by now, with the token of that.
        """
        if not self._is_prepared:
            with self._errors():
                self._check_connections()
                self._check_rights(self._postgres.raw)
                self._token = str(self._known_of(self._postgres.raw)["token"])
                self._writer.connect()
            self._is_prepared = True

    def start_run(
        self, run: "RunId", command: str, source: str, planned: "Sequence[Planned]", *, for_workers: bool = False
    ) -> "tuple[Task, ...]":
        if not for_workers:
            self._prepare()
        return super().start_run(run, command, source, planned, for_workers=for_workers)

    def claim(
        self, changes: "Sequence[tuple[Record, State]]", *, again: bool = False, for_workers: bool = False
    ) -> "tuple[list[Task], list[Record], list[Record]]":
        self._prepare()
        return super().claim(changes, again=again, for_workers=for_workers)

    def claim_queued(
        self,
        providers: Sequence[str],
        limit: int,
        *,
        folder: str = "",
        without: "Collection[TaskId]" = (),
        fits: "Callable[[Task], bool]" = lambda _: True,
    ) -> "list[Task]":
        self._prepare()
        return super().claim_queued(providers, limit, folder=folder, without=without, fits=fits)

    async def flush(self) -> None:
        """Wait for a server that is away for MAX_ABSENCE_S in all; after that no flush waits until it is back."""
        from asyncio import wait_for, wrap_future  # noqa: PLC0415 - see Store.flush

        left = HURRY_S if self._limits.is_hurried else MAX_ABSENCE_S - self._writer.behind_s
        try:
            await wait_for(wrap_future(self._writer.flush()), max(MIN_FLUSH_S, left))
        except TimeoutError:
            trouble = self._refused or self._writer.trouble or UNANSWERED.format(name=self.name)
            raise HistoryTrouble(trouble, hint=DOCTOR) from None

    def hurry(self) -> None:
        self._limits.hurry()

    @property
    def is_silent(self) -> bool:
        return self._limits.is_silent

    @property
    def is_set_back(self) -> bool:
        return self._commits.is_set_back or super().is_set_back

    def cancel_requests(self) -> "list[TaskId]":
        """None of a history that was set back: there this process' number may be another's now."""
        if not self._commits.is_set_back:
            return super().cancel_requests()
        if not self._writer.behind_s:
            self._writer.change("SELECT 1")  # is refused, and so the receipts are saved
        return []

    def save_receipts(self, db: "Connection | None") -> None:
        if not self._commits.is_set_back or not isinstance(db, PostgresConnection):
            return
        fresh = [sent for id_, sent in list(self._sent.items()) if id_ not in self._saved]
        unanswered = self._fresh_unanswered()
        with suppress(psycopg.Error), db.for_receipts():
            if fresh or unanswered:
                put = self._receipts_saved(db, fresh, unanswered)
                self._told_unanswered |= {task.id for task in unanswered}
                self._complete |= put.complete
                self._run_of_made = put.run
                self.made += put.made
                self._saved |= {sent.task.id for sent in fresh}

    def _receipts_saved(
        self, db: PostgresConnection, fresh: "Sequence[Sent]", unanswered: "Sequence[Task]"
    ) -> "PutBack":
        db.execute(BEGIN_WRITING)
        try:
            put = self._put_receipts(db, fresh, self._run_of_made)
            unknown = receipts.doubt(db, unanswered)
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise
        self.unknown += unknown
        return put

    @property
    def trouble(self) -> str:
        if (trouble := super().trouble) and not self.is_set_back:
            return self._refused or trouble
        return trouble or ("" if self._listener is None else self._listener.trouble)

    @property
    def _refused(self) -> str:
        return "" if self._refusal is None else self._refusal.message

    def close(self) -> "list[Task]":
        self._limits.close()
        if self._listener is not None:
            self._listener.stop()
        self._postgres.be_quick(ADD_WAIT_S + QUICK_S)
        unwritten = super().close()
        if self._listener is not None:
            self._listener.close()
        return self._with_receipts(unwritten) if self._commits.is_set_back else unwritten

    def _with_receipts(self, unwritten: "list[Task]") -> "list[Task]":
        """These tasks and those whose written states were lost when the history was set back, each with its receipt."""
        lost = {id_: sent.task for id_, sent in self._sent.items() if id_ not in self._complete}
        found = {task.id: task if task.job is not None else self._known_with_job(task) for task in unwritten}
        return list((lost | found).values())

    def _known_with_job(self, task: "Task") -> "Task":
        return self._sent[task.id].task if task.id in self._sent else task

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

    def _refuse_pool(self, raw: Any) -> None:
        """Raise HistoryError where the pool that stands between keeps no connection for a client."""
        if (other := self._lent()) is None:
            return
        with closing(other):
            if any(other.shares_with(raw) for _ in range(POOL_LOOKS)):
                raise HistoryError(POOLED.format(name=self.name), hint=UNPOOLED)

    def _lent(self) -> PostgresConnection | None:
        """One more connection of a pool; None where the others of this process and of others have all that it keeps.

        When the history is opened, a run would need it too.
        """
        if not self._is_open:
            return self._connected(patience_s=None, only_reads=True)
        try:
            return self._connected(patience_s=None, answer_s=MAX_LENDING_S, only_reads=True)
        except psycopg.OperationalError as error:
            if self._limits.is_over or not (isinstance(error, SilentError) or _is_crowded(error)):
                raise
            return None

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
        db = self._postgres
        before = db.wait_s, db.answer_s
        db.wait_s = seconds
        db.be_quick(min(db.answer_s, seconds + QUICK_S))
        try:
            yield
        finally:
            db.wait_s = before[0]
            db.be_quick(before[1])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            kind = HistoryAway if _is_passing(error) else HistoryError
            raise kind(self.trouble_of(error), hint=self.remedy_for(error)) from None
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            hint = Message("imagegen cannot repair it; imagegen history migrate copies what can be read")
            message = Message("the history {name} is damaged: {why}").format(name=self.name, why=str(error))
            raise HistoryError(message, hint=hint) from error

    def trouble_of(self, error: Exception) -> str:
        if isinstance(error, RefusedError):
            return error.refusal.message
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Message("the history {name} is locked by another program").format(name=self.name)
        if isinstance(error, psycopg.errors.DiskFull):
            full = Message("the history {name} cannot be written: the disk of the server is full")
            return full.format(name=self.name)
        if _is_crowded(error):
            return CROWDED.format(name=self.name, why=_words(error))
        if plain := next((message for kinds, message in PLAIN if isinstance(error, kinds)), None):
            return plain.format(name=self.name)
        trouble = Message("the history {name} cannot be used: {why}")
        if isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReadOnlySqlTransaction):
            trouble = Message("the history {name} cannot be written: {why}")
        elif isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            trouble = Message("the history {name} cannot be reached: {why}")
        return trouble.format(name=self.name, why=_words(error))

    def remedy_for(self, error: Exception) -> str:
        if isinstance(error, RefusedError):
            return error.refusal.hint
        if _is_crowded(error):
            return MORE_CONNECTIONS
        if "unsupported startup parameter" in str(error):
            return Message("a pool takes no ?options=: give the user its schema by ALTER ROLE … SET search_path = …")
        return next((remedy for kinds, remedy in REMEDIES if isinstance(error, kinds)), DOCTOR)

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

    def continuity(self) -> None:
        return None

    def _as_it_is(self) -> "AbstractContextManager[Store]":
        return nullcontext(self)

    def leases_of(self, me: Process) -> Leases:
        return PostgresLeases(me)

    def reserve_space(self) -> Reserve:
        return Patience(self._limits)

    def delete_securely(self) -> None:
        """Do nothing: the server cleans its pages by VACUUM."""

    def _numbers(self, table: str, count: int, db: "Connection | None" = None) -> range:
        query = "UPDATE numbering SET last = last + ? WHERE name = ? RETURNING last"
        last = int((db or self._db).execute(query, (count, table)).fetchone()[0])
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

    @contextmanager
    def be_patient(self) -> Iterator[None]:
        """A statement about a whole table, and the COMMIT of a copy, take the server longer than others."""
        before = self._postgres.answer_s
        self._postgres.be_quick(MAX_COPY_SILENCE_S)
        try:
            yield
        finally:
            self._postgres.be_quick(before)

    def lock_all(self) -> None:
        self._db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._db.execute("LOCK TABLE task, process IN EXCLUSIVE MODE")  # a claim waits for no other lock

    def is_same(self, other: Database) -> bool:
        """Whether a lock that one of them has is taken for the other. Copies have the same token."""
        if not isinstance(other, PostgresStore) or other.token != self.token:
            return False
        key = (secrets.randbits(62),)
        mine, its = self._postgres, other._postgres  # noqa: SLF001 - the same class
        with self._errors():
            schema = mine.execute(LOCK, key).fetchone()[0]
            try:
                other_schema, is_free = its.execute(TRY_LOCK, key).fetchone()
                if is_free:
                    its.execute(UNLOCK, key)
            finally:
                mine.execute(UNLOCK, key)
        return not is_free and bool(other_schema == schema)

    # Words

    def words_of(self, prompt: str) -> str:
        return vector(prompt)

    def in_bulk(self) -> AbstractContextManager[Any]:
        return self._postgres.raw.pipeline()  # type: ignore[no-any-return]

    def note_words(self, _task: int, _db: "Connection | None" = None) -> None:
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
            connect = partial(self._connected, patience_s=0.0, answer_s=WISH_ANSWER_S, only_reads=True)
            self._listener = Listener(connect, self._leases.owner, self.trouble_of)

    @property
    def wakes(self) -> int:
        return 0 if self._listener is None else self._listener.wakes

    def notify(self, what: str) -> None:
        self._writer.change("SELECT pg_notify('imagegen_' || current_schema(), ?)", what)


class Listener:
    """A thread that reads what other machines ask of this process: at once where they notify, else each second."""

    def __init__(
        self, connect: "Callable[[], PostgresConnection]", owner: int, trouble_of: Callable[[Exception], str]
    ) -> None:
        self._connect = connect
        self._owner = owner
        self._trouble_of = trouble_of
        self._closing = threading.Event()
        self._until: dict[str, float] = {}
        self._listens_again_at = float("-inf")
        self._failing_since: float | None = None
        self._error = ""
        self.cancels: set[TaskId] = set()
        self.wakes = 0
        """How often other machines have notified, or may have before they were listened to: more tasks, or room at an
        account."""
        self._thread = threading.Thread(target=self._listen, name="wishes", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why wishes have not been read for a while; empty where they are."""
        since = self._failing_since
        return self._error if since is not None and time.monotonic() - since > NOTICED_S else ""

    def pauses(self) -> dict[str, float]:
        """By account, for how many seconds more a service takes nothing."""
        now = time.monotonic()
        return {account: until - now for account, until in self._until.items() if until > now}

    def stop(self) -> None:
        self._closing.set()

    def close(self) -> None:
        """End the thread. It is not waited for long: it changes nothing."""
        self.stop()
        self._thread.join(POLL_S + 2 * TICK_S)

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                db = self._connect()
                try:
                    self._follow(db)
                finally:
                    db.close()
            except psycopg.Error as error:
                self._failing_since = self._failing_since or time.monotonic()
                self._error = self._trouble_of(error)
            self._closing.wait(POLL_S)

    def _follow(self, db: PostgresConnection) -> None:
        """Read, then listen: where LISTEN gets no answer, the next connections only read for a while."""
        self._read(db)
        if listens := time.monotonic() >= self._listens_again_at:
            self._listens_again_at = time.monotonic() + LISTEN_AGAIN_S
            channel = db.execute("SELECT quote_ident('imagegen_' || current_schema())").fetchone()[0]
            db.raw.execute(f"LISTEN {channel}")
            self._listens_again_at = float("-inf")
            self.wakes += 1  # what was notified before is heard of by none
        while not self._closing.is_set() and not db.is_lost:
            self._read(db)
            if not listens:
                self._closing.wait(POLL_S)
                if time.monotonic() >= self._listens_again_at:
                    return
                continue
            for _ in db.raw.notifies(timeout=POLL_S, stop_after=1):
                self.wakes += 1

    def _read(self, db: PostgresConnection) -> None:
        query = "SELECT id FROM task WHERE owner = ? AND cancel_requested = 1"
        self.cancels = {row["id"] for row in db.execute(query, (self._owner,))}
        rows = db.execute(f"SELECT account, until - {CLOCK} AS left_s FROM lane WHERE until > {CLOCK}")  # noqa: S608 - our own words
        self._until = {row["account"]: time.monotonic() + row["left_s"] for row in rows}
        self._failing_since = None


def _is_crowded(error: Exception) -> bool:
    return isinstance(error, psycopg.OperationalError) and any(words in str(error) for words in TOO_MANY)


def _is_passing(error: Exception) -> bool:
    """Whether waiting may help. What a server says before it lets a client in has no code, only words."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    if isinstance(error, RefusedError):
        return True
    if error.sqlstate is not None:
        return error.sqlstate in PASSING_STATES
    return "FATAL" not in str(error) or any(words in str(error) for words in PASSING)


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
    return masked(" ".join(next(iter(text.strip().splitlines()), "").split())[:300])


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
