"""Short looks at the history for the tab key of a shell: read-only, soon over, and never an error."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

WAIT_S = 0.2
"""Seconds that a look waits for a lock: the tab key stands meanwhile."""
MAX_PROMPT_CHARACTERS = 200
MAX_TASKS = 500
"""The newest tasks among which models are looked for."""


def newest_tasks(path: Path, begun: str, limit: int) -> list[tuple[str, str, str]]:
    """Number, state and beginning of the prompt of the newest tasks whose numbers begin so; none on any trouble."""
    query = "SELECT id, state, substr(prompt, 1, ?) FROM task WHERE CAST(id AS TEXT) LIKE ? ORDER BY id DESC LIMIT ?"
    return [(str(id_), str(state), str(prompt)) for id_, state, prompt in _rows(path, query, begun, limit)]


def newest_runs(path: Path, begun: str, limit: int) -> list[tuple[str, str, str]]:
    """Number of the newest runs, how many tasks each has, and the beginning of its first prompt."""
    query = (
        "SELECT run, count(*), substr(min(prompt), 1, ?) FROM task"
        " WHERE CAST(run AS TEXT) LIKE ? GROUP BY run ORDER BY run DESC LIMIT ?"
    )
    return [(str(run), str(count), str(prompt)) for run, count, prompt in _rows(path, query, begun, limit)]


def models_used(path: Path) -> list[tuple[str, str]]:
    """Provider and model of the newest tasks, each pair once."""
    query = (
        "SELECT DISTINCT provider, model FROM (SELECT provider, model FROM task ORDER BY id DESC LIMIT ?)"
        " WHERE model != ''"
    )
    return [(str(provider), str(model)) for provider, model in _read(path, query, (MAX_TASKS,))]


def _rows(path: Path, query: str, begun: str, limit: int) -> Iterator[Any]:
    if not begun or begun.isdecimal():
        yield from _read(path, query, (MAX_PROMPT_CHARACTERS, f"{begun}%", limit))


def _read(path: Path, query: str, values: tuple[Any, ...]) -> list[Any]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=WAIT_S)) as db:
            return db.execute(query, values).fetchall()
    except (sqlite3.Error, OSError, ValueError):
        return []
