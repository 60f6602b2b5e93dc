"""Receipts that a history lacks where they belong, because it was set back after they had come.

A backup that was restored, or a server that was behind, may say of a task that it waits to be sent, although it was
sent and a receipt is known. The table `receipt` keeps such receipts, each with the fence number of the claim under
which its task was sent.
"""

import json
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.masking import without_own_user
from imagegen_cli.core.task import Job, Running, State, Submitting, Task, TaskId, recovered, word
from imagegen_cli.storage import charges, pictures, serialize
from imagegen_cli.storage.rows import key_of, parts

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

NEVER_REPEATED = "NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id)"
IS_SENT = (
    f"EXISTS (SELECT 1 FROM receipt WHERE receipt.task = task.id AND (receipt.fence >= task.fence OR {NEVER_REPEATED}))"  # noqa: S608 - our own words
)
"""A condition on a task that waits to be sent: it was sent, and the history does not know that.

A receipt that comes late has a lower fence than its task, because another process has claimed the task since. Such a
task only waits again as another attempt.
"""
MISPLACED = (
    "SELECT task.id, task.state, task.owner, task.fence, receipt.fence AS sent_under, receipt.job, receipt.url"  # noqa: S608 - our own words
    " FROM receipt JOIN task ON task.id = receipt.task"
    f" WHERE ((task.state = 'queued' AND (receipt.fence >= task.fence OR {NEVER_REPEATED}))"
    " OR (task.state = 'submitting' AND receipt.fence >= task.fence)"
    " OR (task.state IN ('failed', 'cancelled') AND receipt.fence > task.fence))"
)
OF_SOME = f"{MISPLACED} AND receipt.task IN (SELECT value FROM json_each(?)) ORDER BY receipt.fence, receipt.id"  # noqa: S608 - see above
OF_ALL = f"{MISPLACED} ORDER BY receipt.fence, receipt.id"


class Sent(NamedTuple):
    """A task in its last state that has a receipt, and the fence number of the claim under which it was sent."""

    task: Task
    fence: int


def newest(db: "Connection") -> int:
    """The number of the last receipt; 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM receipt").fetchone()[0])


def misplaced(db: "Connection") -> list[Any]:
    """Rows of tasks that have a receipt of which their state knows nothing, each with it."""
    return db.execute(OF_ALL).fetchall()


def recover(db: "Connection", living: Container[int]) -> list[TaskId]:
    """Let tasks run whose receipts are misplaced. Returns them. Only inside of a writing transaction.

    A task that one of the `living` processes is sending just now is left to it.
    """
    rows = misplaced(db)
    return _put_back_all(db, [row for row in rows if row["state"] != "submitting" or row["owner"] not in living])


def recover_these(db: "Connection", waiting: Iterable[int]) -> list[TaskId]:
    """The same among tasks that wait to be sent, which the caller has locked."""
    return _put_back_all(db, db.execute(OF_SOME, (json.dumps(list(waiting)),)).fetchall())


def _put_back_all(db: "Connection", rows: Iterable[Any]) -> list[TaskId]:
    found = {row["id"]: row for row in rows}
    for row in found.values():
        put_back(db, row["id"], Running(Job(row["job"], row["url"])), max(row["fence"], row["sent_under"]) + 1)
    return [TaskId(id_) for id_ in found]


def put_back(db: "Connection", id_: int, state: State, fence: int) -> None:
    """Give a task the state that follows from its receipt. It belongs to no process then."""
    db.execute(
        "UPDATE task SET state = ?, detail = ?, reason = '', ended = NULL, owner = NULL, fence = ? WHERE id = ?",
        (word(state), serialize.dumps(serialize.from_state(state)), fence, id_),
    )
    charges.follow(db, id_, state)
    pictures.keep(db, TaskId(id_), state)


def keep(db: "Connection", sent: Iterable[Sent], at: float) -> set[TaskId]:
    """Write the receipts that the history lacks. Returns the tasks of which it lacks nothing.

    Only inside of a writing transaction. Where the history was set back, the number of a task may be another task's
    now: that one gets no receipt.
    """
    complete: set[TaskId] = set()
    for some in parts(list(sent)):
        known = json.dumps([one.task.id for one in some])
        query = "SELECT id, run, name, prompt, state, fence FROM task WHERE id IN (SELECT value FROM json_each(?))"
        rows = {row["id"]: row for row in db.execute(query, (known,)).fetchall()}
        for one in some:
            row = rows.get(one.task.id)
            if row is None or not _is_same(row, one.task):
                continue
            if _is_behind(row, one.fence):
                write(db, one.task.id, one.fence, one.task.job, at)
            else:
                complete.add(one.task.id)
    return complete


def is_there(db: "Connection", task: Task) -> bool:
    """Whether the history has this very task: a list that is sent once more has one of the same number and prompt."""
    row = db.execute("SELECT created FROM task WHERE id = ?", (task.id,)).fetchone()
    return row is not None and task.key.endswith(key_of("", task.id, row["created"]))


def doubt(db: "Connection", tasks: Iterable[Task]) -> list[Task]:
    """Let tasks be uncertain that wait to be sent here, and may have been sent. Returns those that are not here.

    Only inside of a writing transaction.
    """
    missing: list[Task] = []
    for task in tasks:
        row = db.execute("SELECT state, fence FROM task WHERE id = ?", (task.id,)).fetchone()
        if row is None or not is_there(db, task):
            missing.append(task)
        elif row["state"] == "queued":
            state = recovered(task).state if isinstance(task.state, Submitting) else task.state
            put_back(db, task.id, state, row["fence"] + 1)
    return missing


def _is_same(row: Any, task: Task) -> bool:
    return bool((row["run"], row["name"], row["prompt"]) == (task.run, task.name, task.request.prompt))


def _is_behind(row: Any, fence: int) -> bool:
    """Whether a task is as it was before it was sent under this fence number."""
    if row["state"] in ("queued", "submitting"):
        return bool(row["fence"] <= fence)
    return bool(row["fence"] < fence)


def write(db: "Connection", id_: int, fence: int, job: Job | None, at: float) -> None:
    """Add a receipt to those of a task, unless it is there."""
    if job is not None:
        db.execute(
            "INSERT INTO receipt (task, fence, job, url, at) SELECT ?, ?, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM receipt WHERE task = ? AND job = ?)",
            (id_, fence, job.id, without_own_user(job.url), at, id_, job.id),
        )
