"""Which process owns which tasks: a row for each process, a heartbeat that others watch, a fence for each claim."""

from typing import TYPE_CHECKING, Any

from imagegen_cli.storage import places
from imagegen_cli.storage.processes import SILENT_S, Process, is_alive, is_near, uptime
from imagegen_cli.storage.rows import process_of

if TYPE_CHECKING:
    from imagegen_cli.core.task import TaskId
    from imagegen_cli.storage.continuity import Continuity
    from imagegen_cli.storage.dialect import Connection, Row


class Leases:
    """The lease of this process on its tasks, and what it knows of the leases of others.

    `owner`: the number of this process in the history, once it has claimed something. `fences`: for each of its tasks
    the number of the claim. `lost`: its tasks that another process has claimed meanwhile. `is_set_back`: one of its
    tasks is not there, or is another task, or the history itself does not go on.
    """

    FIRST, AGAIN, NEXT = "0", "1", "process.heartbeat + 1"
    """A heartbeat in SQL: a number that others see changing, where there is no clock for all."""

    def __init__(self, me: Process) -> None:
        self.me = me
        self.continuity: Continuity | None = None
        """What tells whether the history goes on, where the server does not."""
        self.owner: int | None = None
        self.fences: dict[TaskId, int] = {}
        self.lost: set[TaskId] = set()
        self.is_set_back = False

    def check(self, db: "Connection") -> None:
        """Raise one of the database's errors where the history does not go on. First in each transaction."""
        if self.continuity is not None:
            try:
                self.continuity.check(db)
            finally:
                self.is_set_back = self.is_set_back or self.continuity.is_broken

    def note(self, db: "Connection") -> None:
        """Remember what was just committed."""
        if self.continuity is not None:
            self.continuity.note(db)

    def own(self, db: "Connection") -> int:
        """The number of this process. The first call inserts it, and deletes the rows of processes that are dead."""
        self.watch(db)
        if self.owner is None:
            self.strike_dead(db)
            me = self.me
            cursor = db.execute(
                f"INSERT INTO process (host, place, pid, started_at, heartbeat) VALUES (?, ?, ?, ?, {self.FIRST})",  # noqa: S608 - only our own words
                (me.host, me.place, me.pid, me.started_at),
            )
            self.owner = cursor.lastrowid or 0
        return self.owner

    def rows(self, db: "Connection") -> "list[Row]":
        """All processes that the history knows."""
        return db.execute("SELECT * FROM process").fetchall()

    def strike_dead(self, db: "Connection") -> None:
        """Delete the rows of processes that are dead."""
        for row in self.rows(db):
            if not self.is_alive(db, row):
                self.strike(db, row["id"])

    def strike(self, db: "Connection", number: int) -> None:
        """Delete the row of a process that is dead."""
        places.leave(db, number, self.shared_now(db))
        db.execute("DELETE FROM process WHERE id = ?", (number,))
        db.execute("DELETE FROM sighting WHERE process = ?", (number,))

    def heartbeat(self) -> tuple[Any, ...]:
        """A statement and its values. Where another process has deleted the row of this one, it is inserted again."""
        me = self.me
        columns = "id, host, place, pid, started_at, heartbeat"
        insert = f"INSERT INTO process ({columns}) VALUES (?, ?, ?, ?, ?, {self.AGAIN})"  # noqa: S608 - our own words
        again = f" ON CONFLICT (id) DO UPDATE SET heartbeat = {self.NEXT}"
        return insert + again, self.owner, me.host, me.place, me.pid, me.started_at

    def shared_now(self, _db: "Connection") -> float:
        """See `Budget.shared_now`."""
        return uptime()

    def watch(self, db: "Connection") -> None:
        """Write since when each process elsewhere has had the same heartbeat."""
        for row in self.rows(db):
            if not is_near(process_of(row), self.me):
                db.execute(
                    "INSERT INTO sighting (process, observer, heartbeat, at) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (process, observer) DO UPDATE SET heartbeat = excluded.heartbeat, at = excluded.at"
                    " WHERE heartbeat != excluded.heartbeat OR at > excluded.at",
                    (row["id"], self._observer, row["heartbeat"], uptime()),
                )

    def is_alive(self, db: "Connection", row: "Row") -> bool:
        """Whether the process of this row runs. One elsewhere does until its heartbeat has not changed for SILENT_S."""
        process = process_of(row)
        if process == self.me:
            return True
        if is_near(process, self.me):
            return is_alive(process)
        seen = db.execute(
            "SELECT at FROM sighting WHERE process = ? AND observer = ? AND heartbeat = ?",
            (row["id"], self._observer, row["heartbeat"]),
        ).fetchone()
        return seen is None or uptime() - seen["at"] < SILENT_S

    def living(self, db: "Connection") -> dict[int, Process]:
        """The processes that run, by their numbers."""
        rows = self.rows(db)
        return {row["id"]: process_of(row) for row in rows if self.is_alive(db, row)}

    def may_be_silent(self, db: "Connection") -> bool:
        """Whether a process elsewhere counts as alive only because it has not been watched for long enough."""
        rows = self.rows(db)
        return any(not is_near(process_of(row), self.me) and self.is_alive(db, row) for row in rows)

    @property
    def _observer(self) -> str:
        return f"{self.me.host} {self.me.place}"
