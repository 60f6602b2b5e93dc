"""A history of either kind, so that the same test runs on both."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.storage.store import Store
from tests import postgres

KINDS = ("sqlite", "postgres")
Place = Path | str
"""A file of SQLite, or an address of PostgreSQL."""


def place(kind: str, folder: Path) -> Place:
    """Where a new history of this kind is to be; skips the test where that cannot be."""
    if kind == "sqlite":
        return folder / "state" / "history.db"
    if why := postgres.missing():
        pytest.skip(why)
    return postgres.server().address()


def opened(where: Place, **options: Any) -> Store:
    if isinstance(where, Path):
        return Store(where, **options)
    from imagegen_cli.storage.postgres import PostgresStore  # noqa: PLC0415 - needs an extra of ours

    return PostgresStore(where, **options)


def place_of(text: str) -> Place:
    """A place that was given as a word to another process."""
    return text if "://" in text else Path(text)


@contextmanager
def outside(where: Place) -> Iterator[Any]:
    """A connection for what another program would do to a history; each statement is a transaction."""
    if isinstance(where, Path):
        with closing(sqlite3.connect(where, isolation_level=None)) as db:
            yield db
        return
    from imagegen_cli.storage.postgres_connection import PostgresConnection  # noqa: PLC0415 - see above

    with closing(Words(PostgresConnection(where, wait_s=5.0))) as words:
        yield words


REFUSE = {
    "sqlite": (
        "CREATE TRIGGER refuse BEFORE UPDATE ON task WHEN {when} BEGIN SELECT RAISE(ABORT, 'nothing is taken'); END",
    ),
    "postgres": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing is taken'; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON task FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()",
    ),
}
TAKE_AGAIN = {"sqlite": ("DROP TRIGGER refuse",), "postgres": ("DROP FUNCTION refuse CASCADE",)}


def refuse(where: Place, when: str = "NEW.state = 'submitting'") -> None:
    """Let the history take no such change of a task, and so nothing that is written together with it."""
    _each(where, [sql.format(when=when) for sql in REFUSE[_kind(where)]])


def take_again(where: Place) -> None:
    """Let it take everything again."""
    _each(where, TAKE_AGAIN[_kind(where)])


def _kind(where: Place) -> str:
    return "sqlite" if isinstance(where, Path) else "postgres"


def _each(where: Place, statements: Iterable[str]) -> None:
    with outside(where) as db:
        for statement in statements:
            db.execute(statement)


class Words:
    """The connection, whose statements without rows have an empty list of them, as those of SQLite."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def execute(self, sql: str, values: Any = ()) -> Any:
        self._found = self._db.execute(sql, values)
        return self

    def fetchall(self) -> list[Any]:
        cursor = self._found._cursor
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def close(self) -> None:
        self._db.close()
