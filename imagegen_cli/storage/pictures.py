"""The pictures on disk, in the history: written in the transactions of the states that say that they are saved."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imagegen_cli.core.task import Done, Failed, Running, SavedImage, Saving, State, TaskId
from imagegen_cli.storage.records import Picture

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection, Row

KEEP = (
    "INSERT INTO picture (task, number, path, sha256) VALUES (?, ?, ?, ?) ON CONFLICT (task, number) DO UPDATE"
    " SET path = excluded.path, sha256 = excluded.sha256"
    " WHERE picture.path != excluded.path OR picture.sha256 != excluded.sha256"
)
ADD = "INSERT INTO picture (task, number, path, sha256) VALUES (?, ?, ?, '') ON CONFLICT DO NOTHING"


def keep(db: "Connection", task: TaskId, state: State) -> None:
    """Write the pictures that a state names as saved. Works inside a transaction that is open already.

    `Done` names its files alone: their digests are there since they were saved.
    """
    if isinstance(state, Running | Saving | Failed):
        for number, image in enumerate(state.images, 1):
            if isinstance(image, SavedImage):
                db.execute(KEEP, (task, number, image.path, image.sha256))
    elif isinstance(state, Done):
        for number, path in enumerate(state.files, 1):
            db.execute(ADD, (task, number, path))


def of_tasks(db: "Connection", tasks: Iterable[int]) -> dict[TaskId, list[Picture]]:
    """The pictures of these tasks in their order; a task that has none is left out."""
    found: dict[TaskId, list[Picture]] = {}
    query = "SELECT * FROM picture WHERE task IN (SELECT value FROM json_each(?)) ORDER BY task, number"
    for row in db.execute(query, (json.dumps(list(tasks)),)):
        found.setdefault(TaskId(row["task"]), []).append(_picture(row))
    return found


def by_sha256(db: "Connection", sha256: str) -> list[Picture]:
    """The pictures whose files had this digest when they were saved, newest task first."""
    query = "SELECT * FROM picture WHERE sha256 = ? AND sha256 != '' ORDER BY task DESC, number"  # as the index says
    return [_picture(row) for row in db.execute(query, (sha256.lower(),))]


def by_path(db: "Connection", path: str) -> list[Picture]:
    """The pictures that were saved at this path, newest task first."""
    query = "SELECT * FROM picture WHERE path = ? ORDER BY task DESC, number"
    return [_picture(row) for row in db.execute(query, (path,))]


def _picture(row: "Row") -> Picture:
    return Picture(TaskId(row["task"]), row["number"], row["path"], row["sha256"])
