"""Rows of the database as records, and a filter as the condition of a query."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imagegen_cli.core.task import Parent, RunId, State, Task, TaskId
from imagegen_cli.storage import serialize
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.records import Filter, Record

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Row

OTHER_COLUMNS = {"task", "process", "repeated", "facts", "favourites", "shared"}
PLAIN_COLUMNS = tuple(name for name in Record._fields if name not in OTHER_COLUMNS)
"""Columns of `task` that a record has under the same name, as they are."""


def record_of(row: "Row", living: dict[int, Process], token: str) -> Record:
    """A row of `task` as a record. `living`: the processes that run, by number; `token`: see `Store.token`."""
    state, facts = state_of(row["state"], row["detail"]), serialize.to_facts(json.loads(row["facts"]))
    task = Task(
        id=TaskId(row["id"]), run=RunId(row["run"]), request=serialize.to_request(json.loads(row["request"])),
        state=state, folder=row["folder"], name=row["name"], key=key_of(token, row["id"], row["created"]),
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
        favourites=tuple(json.loads(row["favourites"] or "[]")),
        shared=bool(row["shared"]),
        **{name: row[name] for name in PLAIN_COLUMNS},
    )


def key_of(token: str, id_: int, created: float) -> str:
    """A word for a task that no other task has, see `Task.key`.

    The number alone is another task's too where a history was copied, or set back to a backup: both go on with the same
    numbers. So the moment is a part of it, in microseconds.
    """
    return f"{token}{int(abs(created) * 1e6):x}-{id_}"


def state_of(name: str, detail: str) -> State:
    """A state from the columns `state` and `detail`."""
    return serialize.to_state(name, json.loads(detail))


def process_of(row: "Row") -> Process:
    """A row of `process` as a value."""
    return Process(row["host"], row["pid"], row["started_at"], row["place"])


def condition(wanted: Filter, plus: str = "+") -> tuple[str, list[Any]]:
    """The WHERE clause of a filter and its values. `plus` keeps SQLite from an index, and is empty for PostgreSQL.

    It lacks `owned`, which needs the living processes, and `search`, which needs the index of words.
    """
    parts: list[str] = []
    values: list[Any] = []
    if wanted.ids:
        parts.append("task.id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps([whole(id_) for id_ in wanted.ids]))
    for column, many in _columns(wanted):
        parts.append(f"{plus if parts else ''}{column} IN ({','.join('?' * len(many))})")
        values.extend(many)
    for limit, value in (
        ("task.id > ?", wanted.after), ("task.id < ?", wanted.before),
        (f"{plus}created >= ?", wanted.since), (f"{plus}created < ?", wanted.until),
    ):  # fmt: skip
        if value is not None:
            parts.append(limit)
            values.append(whole(value) if isinstance(value, int) else value)
    parts += [words for words, is_wanted in _yes_or_no(wanted) if is_wanted]
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _columns(wanted: Filter) -> list[tuple[str, tuple[Any, ...]]]:
    """Columns and the values that they may have, the one with the fewest rows for a value first.

    SQLite knows no such numbers: of several indexes it takes any, unless a plus sign keeps it from the others.
    """
    run = () if wanted.run is None else (whole(wanted.run),)
    columns = (
        ("run", run), ("reason", wanted.reasons), ("model", wanted.models), ("provider", wanted.providers),
        ("state", wanted.states),
    )  # fmt: skip
    return [(column, many) for column, many in columns if many]


def _yes_or_no(wanted: Filter) -> tuple[tuple[str, bool], ...]:
    """Conditions without values. Words of a partial index are repeated: only so does SQLite use it."""
    return (
        ("reason != ''", bool(wanted.reasons)),
        ("favourites != ''", wanted.favourite),
        ("EXISTS (SELECT 1 FROM picture WHERE picture.task = task.id)", wanted.has_picture),
    )


NO_LIMIT = 2**63 - 1
"""A LIMIT that lets all rows through."""


def whole(number: int) -> int:
    """The nearest number that SQLite can hold."""
    return max(-(2**63), min(number, 2**63 - 1))


def parts(values: Sequence[Any], size: int = 500) -> Iterator[tuple[Any, ...]]:
    """Slices of at most `size` values."""
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])
