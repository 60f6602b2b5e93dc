"""The file of the history: connections, transactions, locks, the index, and what goes wrong with it as HistoryErrors.

What is different in PostgreSQL is here, and in `postgres.py` under the same names.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_cli.core.errors import DiskError, HistoryError, HistoryTrouble, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.system_errors import cause
from imagegen_cli.storage import migrations, search
from imagegen_cli.storage.continuity import Continuity, SetBackError
from imagegen_cli.storage.leases import Leases
from imagegen_cli.storage.processes import Process

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection, Row

MAX_LOCK_WAIT_S = 10.0
"""Seconds that a command waits for a lock of another process."""
MAX_ABSENCE_S = 60.0
"""Seconds for which a server that was lost is waited for before that is an end."""
RESERVE_BYTES = 512 * 1024
"""Bytes of disk space that are reserved beside the database."""
MAX_ROWS_AT_ONCE = 5000
"""Rows that are in memory at a time where all rows are read."""
INDEX_WAIT_S = 1.0
"""Seconds that a search waits for a lock to index new prompts; then it reads the prompts themselves."""
LOOKED_AT = 500
"""Tasks whose prompts are compared with the index of words by a check."""

SET_BACK = Message("the history {name} was set back to an earlier state, or is another one now")
SALVAGE = Message(
    "keep the file, for receipts of paid pictures are in it: put back a copy, or save what can be read with"
    " sqlite3's .recover; IMAGEGEN_HOME=FOLDER works with another history meanwhile"
)
"""What to do about a damaged history. Beginning a new one in its place would lose what was paid for."""


def not_text(error: UnicodeEncodeError) -> UsageError:
    """What no database can be asked for: bytes of a command line that are no text, which Python has as half signs."""
    text = error.object.encode("utf-8", "backslashreplace").decode()
    message = Message("{text} has bytes that are no text").format(text=repr(text[:100]))
    return UsageError(message, hint=Message("write it in UTF-8"))


class Database:
    """One connection for this thread; `connect` opens one for another. Raises HistoryError where none can be used.

    `wait_s`: seconds for which a lock of another process is waited for.
    """

    ERRORS: tuple[type[Exception], ...] = (sqlite3.Error,)
    """What its connections raise."""
    NEWER_HINT = Message("upgrade imagegen, or set IMAGEGEN_HOME to another folder")
    PLUS = "+"
    """See `rows.condition`."""
    is_remote = False
    """Whether it is on a server, where other machines use it too."""
    UNWRITTEN: type[DiskError] = DiskError
    """What a flush raises where events cannot be written."""
    MAX_CLOSE_S: float | None = None
    """Seconds for which its end waits for the last changes; None where each wait of its own has an end."""
    LOCKED = ""
    """What a claim adds to its SELECT, so that it takes no row that another claim is about to take."""

    def __init__(self, path: Path, *, wait_s: float = MAX_LOCK_WAIT_S) -> None:
        self.path = path
        self._wait_s = wait_s
        self._db: Connection
        self._open(path)

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    def _open(self, path: Path) -> None:
        if ":" in str(path):
            self._refuse_address(path)
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = self.connect()
            try:
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def _refuse_address(self, path: Path) -> None:
        """A file whose path is an address would be made where the history was meant to be on a server."""
        from imagegen_cli.core.database_address import is_address  # noqa: PLC0415 - few paths have a colon

        if is_address(str(path)) or {"postgresql:", "postgres:"} & set(path.parts):
            message = Message("an address of a history was taken for the path of a file")
            raise HistoryError(message, hint=Message("imagegen config path names the history"))

    def connect(self) -> "Connection":
        """Open one more connection. Raises one of ERRORS."""
        db = sqlite3.connect(self.path, timeout=self._wait_s, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            self._write_ahead(db)
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        """Switch to write-ahead logging. Where several processes do so at once, SQLite itself waits for no lock."""
        deadline = time.monotonic() + self._wait_s
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
        version, newest = migrations.version_of(self._db), len(migrations.MIGRATIONS)
        if version > newest:
            raise self._too_new(version)
        if version < newest:
            with self._begun_to_write():
                migrations.migrate(self._db)

    def _too_new(self, version: int) -> HistoryError:
        return HistoryError(
            Message("the history {name} was written by a newer imagegen (schema {version})").format(
                name=self.name, version=version
            ),
            hint=self.NEWER_HINT,
        )

    @contextmanager
    def _begun_to_write(self) -> Iterator[None]:
        """Change all or nothing, while no other process writes. Raises HistoryError."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                roll_back(self._db)
                raise

    def _begun_to_claim(self) -> "AbstractContextManager[None]":
        """Change all or nothing, where other processes may write too: rows that are read with LOCKED are left out."""
        return self._begun_to_write()

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        """Inside, wait for a lock for at most so many seconds."""
        self._db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {int(self._wait_s * 1000)}")

    def hurry(self) -> None:
        """Wait for a server that gives no answer for a second at most from now on. A signal handler may call it."""

    def save_receipts(self, _db: "Connection | None") -> None:
        """Where the history was set back, write into it what this process has receipts for. Its writer calls it."""

    @property
    def is_silent(self) -> bool:
        """Whether something waits for an answer of a server just now, and has for a while."""
        return False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise HistoryError for whatever goes wrong with the file, and with its contents."""
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(self.trouble_of(error), hint=self.remedy_for(error)) from error
        except OSError as error:
            message = Message("the history {name} cannot be opened: {why}").format(name=self.name, why=cause(error))
            raise HistoryError(message, hint=Message("set IMAGEGEN_HOME to a folder that can be written")) from error
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            message = Message("the history {name} is damaged: {why}").format(name=self.name, why=str(error))
            raise HistoryError(message, hint=SALVAGE) from error

    def trouble_of(self, error: Exception) -> str:
        """What is wrong with the history."""
        if isinstance(error, SetBackError):
            return SET_BACK.format(name=self.name)
        text = str(error)
        if "locked" in text or "busy" in text:
            return Message("the history {name} is locked by another program").format(name=self.name)
        if "readonly" in text or "read-only" in text:
            return Message("the history {name} cannot be written: it is read-only").format(name=self.name)
        if "full" in text:
            return Message("the history {name} cannot be written: the disk is full").format(name=self.name)
        if "malformed" in text or "not a database" in text:
            return Message("the history {name} is damaged or no history at all").format(name=self.name)
        return Message("the history {name} cannot be used: {why}").format(name=self.name, why=text)

    def remedy_for(self, error: Exception) -> str:
        """What a person can do about it."""
        if isinstance(error, SetBackError):
            return Message("imagegen list shows what became of every task")
        text = str(error)
        if "locked" in text or "busy" in text:
            return Message("close the program that holds it and try again")
        if "malformed" in text or "not a database" in text:
            return SALVAGE
        return Message("make room or give write permission, or set IMAGEGEN_HOME to another folder")

    def check(self) -> str:
        """Whether the file is sound: "ok", or the first fault that SQLite finds."""
        return str(self._only("PRAGMA quick_check(1)"))

    def now(self) -> float:
        """Seconds since the epoch, by the clock that all who share this history go by."""
        return time.time()

    def leases_of(self, me: Process) -> Leases:
        return Leases(me)

    def continuity(self) -> Continuity | None:
        """What tells whether the open file goes on; None where its server tells."""
        return Continuity(self.path)

    def unwritten(self, error: Exception) -> DiskError:
        """What a flush raises because of this error."""
        kind = HistoryTrouble if isinstance(error, SetBackError) else self.UNWRITTEN
        return kind(self.trouble_of(error), hint=self.remedy_for(error))

    def reserve_space(self) -> "Reserve":
        """Room on the disk for the last receipts."""
        return Reserve(self.path)

    def delete_securely(self) -> None:
        """Leave nothing in free pages of what is deleted from now on."""
        self._db.execute("PRAGMA secure_delete = ON")

    def _numbers(self, table: str, count: int, db: "Connection | None" = None) -> range:
        """The next numbers of a table; SQLite gives none of them again. `db`: where it is not this thread's own."""
        db = db or self._db
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if row is None:
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", (table,))
        last = row["seq"] if row is not None else 0
        db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last + count, table))
        return range(last + 1, last + count + 1)

    def last_numbers(self) -> dict[str, int]:
        """The last numbers that were given, of runs, tasks and processes."""
        rows = self._db.execute("SELECT name, seq FROM sqlite_sequence WHERE name IN ('run', 'task', 'process')")
        return {row["name"]: row["seq"] for row in rows}

    def continue_numbers(self, last: Mapping[str, int]) -> None:
        """Give no number again that another history gave, after its rows were copied, and index their words later."""
        for name, number in last.items():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, number))
        self._db.execute("INSERT OR IGNORE INTO unsearched (task) SELECT id FROM task")

    def be_patient(self) -> "AbstractContextManager[None]":
        """Inside of it a transaction waits for another database for long."""
        return nullcontext()

    def lock_all(self) -> None:
        """Inside of a transaction, let no other process claim tasks: here it writes alone already."""

    def is_same(self, other: "Database") -> bool:
        """Whether two names, such as a file and a link to it, mean the same history."""
        with suppress(OSError):
            return not other.is_remote and self.path.samefile(other.path)
        return False

    def _only(self, query: str) -> Any:
        with self._errors():
            return self._db.execute(query).fetchone()[0]

    # Words

    def words_of(self, _prompt: str) -> str:
        """What the row of a task itself has for searches: here nothing."""
        return ""

    def in_bulk(self) -> "AbstractContextManager[Any]":
        """Send many statements whose results do not matter, inside a transaction."""
        return nullcontext()

    def note_words(self, task: int, db: "Connection | None" = None) -> None:
        """Note a new task, inside a transaction: the next search indexes it. `db`: see `_numbers`."""
        search.note(db or self._db, task)

    def forget_words(self, prompts: Mapping[int, str]) -> None:
        """Take tasks out of the index, which has all of them, inside a transaction."""
        search.remove(self._db, prompts)

    def unindexed(self) -> int:
        """How many prompts the next search has to index first."""
        return int(self._only("SELECT count(*) FROM unsearched"))

    def is_indexed(self) -> bool:
        """Bring the index of words up to date; whether it could be: another process may write, or FTS5 be missing."""
        if search.is_ready(self._db):
            return True
        with suppress(HistoryError), self._waiting(min(self._wait_s, INDEX_WAIT_S)):
            is_more = True
            while is_more:
                with self._begun_to_write():
                    is_more = search.index(self._db, MAX_ROWS_AT_ONCE)
            return True
        return False

    def searched(self, text: str, where: str, values: Sequence[Any], order: str) -> "list[Row]":
        """Rows whose prompt has each word of a text: words that begin so, and where there are none, parts of words."""
        try:
            return self._searched(text, where, values, order)
        except sqlite3.DatabaseError as error:
            if not search.is_damaged(error) or self._db.in_transaction:
                raise
            self.rebuild_index()
            return self._searched(text, where, values, order)

    def _searched(self, text: str, where: str, values: Sequence[Any], order: str) -> "list[Row]":
        where = f"{where} AND " if where else " WHERE "
        matched = search.expression(text) if self.is_indexed() else ""
        if matched:
            exact, patterns = search.likes(search.exact(text))
            words = " AND ".join(filter(None, ["prompt_words MATCH ?", exact]))
            of_words = f"{where}{words}{order}".replace("task.id", "prompt_words.rowid")
            query = f"SELECT task.* FROM {search.MATCHED}{of_words}"  # noqa: S608 - only our own words
            rows = self._db.execute(query, [*values, matched, *patterns]).fetchall()
            if rows or (not exact and search.has_any(self._db, matched)) or not search.may_be_inside(self._db, text):
                return rows
        likes, patterns = search.likes(search.words_of(text))
        query = f"SELECT * FROM task{where}{likes}{order}"  # noqa: S608 - see above
        return self._db.execute(query, [*values, *patterns]).fetchall()

    def index_agrees(self) -> bool:
        """Whether the index of words fits together, and says of the newest tasks what their prompts say."""
        with self._errors():
            return not self.is_indexed() or search.agrees(self._db, LOOKED_AT)

    def rebuild_index(self) -> bool:
        """Make the index of words anew; whether that could be done. All that it says is in the prompts as well."""
        with self._begun_to_write():
            search.empty(self._db)
        return self.is_indexed()


class Reserve:
    """Reserved disk space: deleted when the disk is full, so that receipts can still be written."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".reserve")
        self._kept = False

    def keep(self) -> None:
        """Reserve the space, unless it is reserved."""
        if not self._kept and not self._path.exists():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with suppress(OSError), os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(bytes(RESERVE_BYTES))
        self._kept = True

    def give_up(self, _error: Exception) -> bool:
        """Free the space. Returns whether there was any, so that writing may work now."""
        self._kept = False
        with suppress(OSError):
            self._path.unlink()
            return True
        return False


def roll_back(db: "Connection") -> None:
    """End a transaction without its changes; on a full disk SQLite has done so already."""
    if db.in_transaction:
        db.execute("ROLLBACK")
