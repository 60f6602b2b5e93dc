"""Whether the file of a history goes on: no other file took its place, and it is in no earlier state than before.

A restored backup, a deleted file or an exchanged folder may say of a task that it waits to be sent, although a process
has sent it. A server keeps what each connection has committed; here a trigger counts the changes of tasks, and each
process remembers the highest count that it has seen.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection


class SetBackError(sqlite3.DatabaseError):
    """The file is another one now, or in an earlier state: nothing more may be written."""

    def __init__(self) -> None:
        super().__init__("the history was set back")


class Continuity:
    """What one process has seen of the file of a history."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)
        """Of the file that is open."""
        self._newest = -1
        """The highest count of changes that was there."""
        self.is_broken = False

    def check(self, db: "Connection") -> None:
        """Raise SetBackError where the file does not go on. Not after a change inside of the same transaction."""
        if not self.is_broken:
            seen = self._newest  # before the query: another thread may write meanwhile
            self.is_broken = _identity(self._path) != self._file or self._noted(db) < seen
        if self.is_broken:
            raise SetBackError

    def note(self, db: "Connection") -> None:
        """Remember what was just committed."""
        self._noted(db)

    def _noted(self, db: "Connection") -> int:
        number = int(db.execute("SELECT number FROM changes").fetchone()[0])
        self._newest = max(self._newest, number)
        return number


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that takes its name; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
