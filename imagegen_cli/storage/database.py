"""The file of the history: its connections, transactions and locks, and what goes wrong with it as HistoryErrors."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.storage import migrations

MAX_LOCK_WAIT_S = 10.0
"""Seconds that a command waits for a lock of another process."""
SALVAGE = (
    "keep the file, for receipts of paid pictures are in it: put back a copy, or save what can be read with"
    " sqlite3's .recover; IMAGEGEN_HOME=FOLDER works with another history meanwhile"
)
"""What to do about a damaged history. Beginning a new one in its place would lose what was paid for."""


class Database:
    """One connection for this thread; `connect` opens one for another. Raises HistoryError where none can be used.

    `wait_s`: seconds for which a lock of another process is waited for.
    """

    def __init__(self, path: Path, *, wait_s: float = MAX_LOCK_WAIT_S) -> None:
        self.path = path
        self._wait_s = wait_s
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

    def connect(self) -> sqlite3.Connection:
        """Open one more connection. Raises sqlite3.Error."""
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
            raise HistoryError(
                f"the history {self.path} was written by a newer imagegen (schema {version})",
                hint="upgrade imagegen, or set IMAGEGEN_HOME to another folder",
            )
        if version < newest:
            with self._transaction():
                migrations.migrate(self._db)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Change all or nothing. Raises HistoryError."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                roll_back(self._db)
                raise

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        """Inside, wait for a lock for at most so many seconds."""
        self._db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {int(self._wait_s * 1000)}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise HistoryError for whatever goes wrong with the file, and with its contents."""
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(f"the history {self.path} {trouble_of(error)}", hint=remedy_for(error)) from error
        except OSError as error:
            hint = "set IMAGEGEN_HOME to a folder that can be written"
            raise HistoryError(f"the history {self.path} cannot be opened: {error.strerror}", hint=hint) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            hint = SALVAGE
            raise HistoryError(f"the history {self.path} is damaged: {error}", hint=hint) from error


def roll_back(db: sqlite3.Connection) -> None:
    """End a transaction without its changes; on a full disk SQLite has done so already."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def trouble_of(error: sqlite3.Error) -> str:
    """What is wrong, as the predicate of a sentence about the history."""
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


def remedy_for(error: sqlite3.Error) -> str:
    """What a person can do about it."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return "close the program that holds it and try again"
    if "malformed" in text or "not a database" in text:
        return SALVAGE
    return "make room or give write permission, or set IMAGEGEN_HOME to another folder"
