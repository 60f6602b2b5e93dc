"""Tasks that a history lacks although they were sent, made anew from their receipts.

Where a history was set back to before a task existed, or its number is another task's now, or it was sent once more,
the task cannot take its receipt. Its picture is paid: a new task takes it, which `resume` fetches. All functions work
inside a writing transaction that is open already, so that of several processes one makes the task.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.money import NOT_KNOWN
from imagegen_cli.core.task import Queued, RunId, Running, Task, TaskId
from imagegen_cli.storage import charges, receipts, updates
from imagegen_cli.storage.receipt_lines import Receipt
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.rows import key_of, parts

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

COMMAND = "resume"
"""The command of the run that such tasks are in."""
WITH_JOB = "SELECT id, provider, detail FROM task WHERE detail LIKE '%\"job\":%'"
ATTEMPT_WITH_JOB = (
    "SELECT task.id, task.provider, attempt.detail FROM attempt JOIN task ON task.id = attempt.task"
    " WHERE attempt.detail LIKE '%\"job\":%'"
)
EVENT_WITH_JOB = "SELECT task AS id, body AS detail FROM event WHERE run = ? AND body LIKE '%\"job\":%'"
Held = dict[tuple[str, str], TaskId]
"""By provider and job, the task that holds it."""


class Made(NamedTuple):
    """A new task: its number and key, and those that its receipt names.

    `has_parts`: the part files of the key that the receipt names are of no other task of this history.
    """

    lost: int
    lost_key: str
    id: TaskId
    key: str
    folder: str
    has_parts: bool


class Restored(NamedTuple):
    """What became of receipts: tasks that took theirs, that held theirs before, and that were made for theirs.

    `strangers`: receipts whose task the history lacks, and that do not tell enough to make it.
    """

    healed: Sequence[TaskId] = ()
    held: Sequence[TaskId] = ()
    made: Sequence[Made] = ()
    strangers: Sequence[Receipt] = ()


class PutBack(NamedTuple):
    """What a process has put into a history that was set back.

    `complete`: its tasks of which the history lacked nothing. `run`: that of the tasks that were made.
    """

    complete: set[TaskId]
    run: RunId | None
    made: Sequence[Made]


class Numbering(NamedTuple):
    """What making tasks needs of the history: token, numbers, words for searches, a note for the index, time."""

    token: str
    next: Callable[[str, int], range]
    words_of: Callable[[str], str]
    note: Callable[[int], None]
    at: float


def holders(db: "Connection", wanted: Iterable[tuple[str, str]], named: Mapping[TaskId, RunId]) -> Held:
    """The tasks that hold these jobs, each of a provider; where that is empty, none is known to.

    `named`: tasks that are those of the receipts, with their runs. What was done without its job being kept is known
    from their events.
    """
    wanted = {(provider, job) for provider, job in wanted if provider}
    found = {key: id_ for key, id_ in _in_receipts(db, wanted) if key in wanted}
    for query in (ATTEMPT_WITH_JOB, WITH_JOB):
        found |= {
            key: TaskId(row["id"]) for row in db.execute(query) if (key := _job_in(row, row["provider"])) in wanted
        }
    jobs = {job: provider for provider, job in wanted - found.keys()}
    for run in set(named.values()) if jobs else ():
        for row in db.execute(EVENT_WITH_JOB, (run,)):
            job = _job_in(row, "")[1]
            if row["id"] in named and job in jobs:
                found[jobs[job], job] = TaskId(row["id"])
    return found


def _in_receipts(db: "Connection", wanted: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str], TaskId]]:
    found: list[tuple[tuple[str, str], TaskId]] = []
    for some in parts(sorted({job for _, job in wanted})):
        rows = db.execute(
            "SELECT task.id, task.provider, receipt.job FROM receipt JOIN task ON task.id = receipt.task"  # noqa: S608 - our own words
            f" WHERE receipt.job IN ({','.join('?' * len(some))})",
            some,
        )
        found += [((row["provider"], row["job"]), TaskId(row["id"])) for row in rows]
    return found


def _job_in(row: Any, provider: str) -> tuple[str, str]:
    plain = json.loads(row["detail"])
    job = plain.get("job") if isinstance(plain, dict) else None
    return provider, str(job.get("id", "")) if isinstance(job, dict) else ""


def make(
    db: "Connection", lost: Sequence[Receipt], run: RunId | None, numbering: Numbering
) -> tuple[RunId, list[Made]]:
    """Make a task of each of these receipts, which tell how. Returns their run and them.

    They run at their services, and belong to no process. `run`: one that was begun for such tasks before.
    """
    if run is None:
        run = RunId(numbering.next("run", 1)[0])
        started = "INSERT INTO run (id, command, source, started) VALUES (?, ?, '', ?)"
        db.execute(started, (run, COMMAND, numbering.at))
    items = [(receipt, receipt.planned) for receipt in lost if receipt.planned is not None]
    ids = numbering.next("task", len(items))
    keys = Counter([receipt.key for receipt in lost]) + _keys_of(
        db, [receipt.task for receipt in lost], numbering.token
    )
    made = [
        _make(db, receipt, item._replace(id=TaskId(id_)), run, numbering)
        for (receipt, item), id_ in zip(items, ids, strict=True)
    ]
    return run, [one._replace(has_parts=bool(one.lost_key) and keys[one.lost_key] == 1) for one in made]


def _keys_of(db: "Connection", ids: Sequence[int], token: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for some in parts(ids):
        query = "SELECT id, created FROM task WHERE id IN (SELECT value FROM json_each(?))"
        found.update(key_of(token, row["id"], row["created"]) for row in db.execute(query, (json.dumps(some),)))
    return found


def _make(db: "Connection", receipt: Receipt, item: Planned, run: RunId, numbering: Numbering) -> Made:
    """The submit was paid when it was sent: its charge counts from then on, and no budget is asked."""
    id_ = item.id
    created = min(receipt.created or numbering.at, numbering.at)
    words = numbering.words_of(item.request.prompt)
    updates.insert(db, run, item, None, at=created, host="", words=words)
    numbering.note(id_)
    moments = "UPDATE task SET shared = 0, started = ?, accepted = ? WHERE id = ?"
    db.execute(moments, (created, created, id_))
    task = Task(id=id_, run=run, request=item.request, state=Queued(), folder=item.folder, name=item.name)
    charges.reserve(db, task, receipt.quote or NOT_KNOWN, 0, created)
    receipts.put_back(db, id_, Running(receipt.job), 1)
    receipts.write(db, id_, 0, receipt.job, numbering.at)
    return Made(receipt.task, receipt.key, id_, key_of(numbering.token, id_, created), item.folder, has_parts=False)
