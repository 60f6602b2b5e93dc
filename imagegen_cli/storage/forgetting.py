"""Tasks out of the history. What they cost stays: budgets and sums of what was spent do not change.

All functions work inside of a caller's transaction.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.core.task import ENDED, TaskId
from imagegen_cli.storage import pictures
from imagegen_cli.storage.records import Picture, Record

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

OF_TASKS = (("attempt", "task"), ("picture", "task"), ("task", "id"))
"""Tables with rows of a task, and the column that has its number."""


class Forgotten(NamedTuple):
    """A task that the history no longer knows, and the pictures that it had."""

    task: TaskId
    pictures: tuple[Picture, ...]


def is_same(read: Record, now: Record | None) -> bool:
    """Whether a task has ended and is as it was read."""
    return now is not None and isinstance(now.task.state, ENDED) and not now.is_owned and now.version == read.version


def forget(
    db: "Connection", records: Sequence[Record], forget_words: Callable[[Mapping[int, str]], None]
) -> list[Forgotten]:
    """Delete these tasks and what only belongs to them. Returns them with their pictures.

    `forget_words` takes prompts, by their tasks, out of the index of words.
    """
    ids, runs = json.dumps([record.task.id for record in records]), {record.task.run for record in records}
    found = pictures.of_tasks(db, [record.task.id for record in records])
    prompts = db.execute("SELECT id, prompt FROM task WHERE id IN (SELECT value FROM json_each(?))", (ids,)).fetchall()
    forget_words({row["id"]: row["prompt"] for row in prompts})
    within = json.dumps(sorted(runs))
    db.execute(
        "DELETE FROM event WHERE run IN (SELECT value FROM json_each(?)) AND task IN (SELECT value FROM json_each(?))",
        (within, ids),
    )
    for table, column in OF_TASKS:
        db.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (ids,))  # noqa: S608 - our own words
    for run in runs:
        db.execute("DELETE FROM run WHERE id = ? AND NOT EXISTS (SELECT 1 FROM task WHERE run = run.id)", (run,))
    return [Forgotten(record.task.id, tuple(found.get(record.task.id, ()))) for record in records]
