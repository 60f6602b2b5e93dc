"""Copies a whole history from one place to another, of either kind, in one transaction, and proves it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.storage.store import Store

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

MAX_ROWS = 2000
"""Rows that are in memory at a time."""


class Table(NamedTuple):
    """A table with its columns, those that tell its rows apart, and a condition on what is copied."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    where: str = ""


MOMENTS = ("started", "accepted", "began", "ready", "ended")
TABLES = (
    Table("meta", ("name", "value"), ("name",), "name = 'token'"),
    Table("run", ("id", "command", "source", "started", "ended"), ("id",)),
    Table(
        "task",
        (
            "id", "run", "owner", "provider", "model", "size", "prompt", "request", "identity", "folder", "name",
            "expected_images", "state", "detail", "reason", "created", *MOMENTS, "cancel_requested", "fence", "source",
            "facts", "min_duration_s", "max_duration_s", "alternatives", "favourites", "parents", "cell", "shared",
            "host", "account",
        ),
        ("id",),
    ),
    Table("event", ("id", "run", "task", "at", "kind", "body"), ("id",)),
    Table("attempt", ("task", "number", "state", "detail", "reason", *MOMENTS), ("task", "number")),
    Table(
        "charge",
        (
            "id", "task", "run", "command", "provider", "model", "images", "each", "each_unit", "amount", "unit",
            "source", "status", "at", "pictures",
        ),
        ("id",),
    ),
    Table("price", ("service", "model", "amount", "unit", "per_megapixel", "at"), ("service", "model")),
    Table("picture", ("task", "number", "path", "sha256"), ("task", "number")),
    Table("receipt", ("id", "task", "fence", "job", "url", "at"), ("id",)),
)  # fmt: skip
"""All but processes, which are those of the old place, and indexes."""


class Keep(StrEnum):
    """Which of two histories goes on with tasks that have not ended."""

    FROM = "from"
    TO = "to"


class Copied(NamedTuple):
    """How many rows a table has, and a digest of all of them in hex, whatever their order."""

    table: str
    rows: int
    digest: str


def copy(source: Store, target: Store, keep: Keep | None = None) -> tuple[list[Copied], int]:
    """Copy everything, and compare. Raises HistoryError; then both are as they were.

    Tasks that have not ended go on in one of the two alone, which `keep` names; without it they are refused. Returns
    what was copied, and how many tasks have been cancelled in the other one for that.
    """
    is_handed_over = False
    try:
        with target.copying() as new:
            with source.copying() as old:
                copied = _copied(source, old, target, new, keep)
                let_go = source.let_go() if keep is Keep.TO else 0
            # The source is written first: a crash between the two leaves such tasks cancelled, and never sent twice.
            is_handed_over = let_go > 0
            let_go += target.let_go() if keep is Keep.FROM else 0
    except HistoryError as error:
        if not is_handed_over:
            raise
        message = Message("{name} has let go of tasks that the copy lacks: {why}").format(
            name=source.name, why=error.message
        )
        hint = Message("imagegen list --state cancelled names them, and imagegen retry ID sends them from there")
        raise HistoryError(message, hint=hint) from error
    return copied, let_go


def _copied(source: Store, old: "Connection", target: Store, new: "Connection", keep: Keep | None) -> list[Copied]:
    if source.is_anyone_alive():
        message = Message("processes still work on the history {name}").format(name=source.name)
        raise HistoryError(message, hint=Message("wait until they have ended: imagegen watch"))
    if keep is None and (count := source.count_unfinished()):
        raise HistoryError(
            ngettext(
                "{count} task has not ended, and would go on in both histories",
                "{count} tasks have not ended, and would go on in both histories",
                count,
            ),
            hint=Message("--keep from or --keep to says which of the two goes on with them; nothing was copied"),
        )
    if new.execute("SELECT count(*) FROM task").fetchone()[0] or new.execute("SELECT id FROM run").fetchone():
        message = Message("the history {name} has tasks already").format(name=target.name)
        raise HistoryError(message, hint=Message("name an empty one; nothing was copied"))
    new.execute("DELETE FROM meta WHERE name = 'token'")
    for table in TABLES:
        columns, marks = ", ".join(table.columns), ", ".join("?" * len(table.columns))
        for rows in _parts(old, table):
            new.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - our own words
    target.continue_numbers(source.last_numbers())
    proved = [(_proof(old, table), _proof(new, table)) for table in TABLES]
    if wrong := [before.table for before, after in proved if before != after]:
        hint = Message("nothing was copied; please report it to the project's issues")
        raise HistoryError(Message("the copy differs in {tables}").format(tables=", ".join(wrong)), hint=hint)
    return [before for before, _ in proved]


def _parts(db: "Connection", table: Table) -> Iterator[Sequence[Any]]:
    """The rows in their order, some at a time, as tuples of their columns."""
    columns, order = ", ".join(table.columns), ", ".join(table.key)
    where, after = table.where or "1 = 1", ()
    while True:
        query = f"SELECT {columns} FROM {table.name} WHERE {where} ORDER BY {order} LIMIT {MAX_ROWS}"  # noqa: S608 - our own words
        rows = [tuple(row) for row in db.execute(query, after).fetchall()]
        if not rows:
            return
        yield rows
        last = dict(zip(table.columns, rows[-1], strict=True))
        after = tuple(last[column] for column in table.key)
        where = f"{table.where or '1 = 1'} AND ({order}) > ({', '.join('?' * len(after))})"


def _proof(db: "Connection", table: Table) -> Copied:
    count, total = 0, 0
    for rows in _parts(db, table):
        count += len(rows)
        for row in rows:
            total += int.from_bytes(sha256(repr(tuple(map(_same, row))).encode()).digest())
    return Copied(table.name, count, f"{total % 2**256:064x}")


def _same(value: Any) -> Any:
    """A value as both databases give it: a whole moment may be a whole number, and PostgreSQL has no NUL."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    return float(value) if isinstance(value, int) else value
