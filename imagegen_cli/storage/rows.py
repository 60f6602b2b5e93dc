"""Rows of the database as records, and a filter as the condition of a query."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from imagegen_cli.core.task import Parent, RunId, State, Task, TaskId
from imagegen_cli.storage import serialize
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.records import Filter, Record

PLAIN_COLUMNS = tuple(name for name in Record._fields if name not in {"task", "process", "repeated", "facts"})
"""Columns of `task` that a record has under the same name, as they are."""


def record_of(row: sqlite3.Row, living: dict[int, Process], token: str) -> Record:
    """A row of `task` as a record. `living`: the processes that run, by number; `token`: see `Store.token`."""
    state, facts = state_of(row["state"], row["detail"]), json.loads(row["facts"])
    task = Task(
        id=TaskId(row["id"]), run=RunId(row["run"]), request=serialize.to_request(json.loads(row["request"])),
        state=state, folder=row["folder"], name=row["name"], key=f"{token}-{row['id']}",
        expected_images=row["expected_images"],
        alternatives=tuple(serialize.to_request(request) for request in json.loads(row["alternatives"])),
        parents=tuple(Parent(*parent) for parent in json.loads(row["parents"])),
        facts=facts,
        cell=json.loads(row["cell"]) if row["cell"] != "{}" else {},
    )  # fmt: skip
    return Record(
        task=task,
        process=living.get(row["owner"]),
        repeated=bool(row["repeated"]) if "repeated" in row.keys() else False,  # noqa: SIM118 - a row has no `in`
        facts=facts,
        **{name: row[name] for name in PLAIN_COLUMNS},
    )


def state_of(name: str, detail: str) -> State:
    """A state from the columns `state` and `detail`."""
    return serialize.to_state(name, json.loads(detail))


def process_of(row: sqlite3.Row) -> Process:
    """A row of `process` as a value."""
    return Process(row["host"], row["pid"], row["started_at"], row["place"])


def condition(wanted: Filter) -> tuple[str, list[Any]]:
    """The WHERE clause of a filter and its values, without `owned`, which needs the living processes."""
    parts: list[str] = []
    values: list[Any] = []
    if wanted.ids:
        parts.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(wanted.ids))
    for column, many in (("state", wanted.states), ("reason", wanted.reasons)):
        if many:
            parts.append(f"{column} IN ({','.join('?' * len(many))})")
            values.extend(many)
    if wanted.run is not None:
        parts.append("run = ?")
        values.append(whole(wanted.run))
    if wanted.after is not None:
        parts.append("id > ?")
        values.append(whole(wanted.after))
    if wanted.since is not None:
        parts.append("created >= ?")
        values.append(wanted.since)
    if wanted.search:
        parts.append("prompt LIKE ? ESCAPE '!'")
        text = wanted.search.encode("utf-8", "replace").decode()
        for sign in "!%_":
            text = text.replace(sign, f"!{sign}")
        values.append(f"%{text}%")
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def whole(number: int) -> int:
    """The nearest number that SQLite can hold."""
    return max(-(2**63), min(number, 2**63 - 1))


def parts(values: Sequence[Any], size: int = 500) -> Iterator[tuple[Any, ...]]:
    """Slices of at most `size` values."""
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])
