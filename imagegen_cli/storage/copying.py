"""Copies a whole history from one place to another, of either kind, in one transaction, and proves it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.errors import HistoryError, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.storage.store import COPY_AGAIN, UNFINISHED_COPY, Store

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

MAX_ROWS = 2000
"""Rows that are in memory at a time."""


LET_GO = "let-go"
"""The name in `meta` of the number of the last copy for which a source has let go of its tasks."""
FINISHED_COPY = "finished-copy"
"""The name in `meta` of the copy that a target was made by, so that the same command again finds it done."""
LOOK_AGAIN = Message(
    "give the same command again once the server is there: it copies, or says that there are tasks already, and then"
    " the copy is whole"
)
SET_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
HELD = 2
"""In `task.shared`: it waits for a worker once the copy is finished."""


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
    """Copy everything, and compare. Raises HistoryError.

    Tasks that have not ended go on in one of the two alone, which `keep` names; without it they are refused. Returns
    what was copied, and how many tasks have been cancelled in the other one for that.

    To move such tasks, three transactions follow each other: the copy, which is marked as unfinished, so that nothing
    uses it; the source lets go of the tasks and remembers the number of the copy; the mark is taken away. The same
    call again goes on after every interruption: with a new copy, or, where the source has let go, with the last step.
    """
    if source.is_same(target):
        message = Message("{name} and {other} are the same history").format(name=source.name, other=target.name)
        raise UsageError(message, hint=Message("name another place for the copy"))
    number, ends = "", False
    try:
        with source.copying() as old:
            with target.copying() as new:
                if _meta(new, UNFINISHED_COPY).partition(" ")[0] == (_meta(old, LET_GO) or None):
                    return _finished(target, new, keep)
                if keep is Keep.TO and _meta(new, FINISHED_COPY) == _mark_of_end(old, _meta(old, LET_GO)):
                    return _proofs(new), 0
                _clear(source, old, target, new)
                copied = _copied(source, old, target, new, keep)
                let_go = target.let_go() if keep is Keep.FROM else 0
                if keep is Keep.TO and source.count_unfinished():
                    number = _hold(source, new)
                ends = True
            ends = False
            if not number:
                return copied, let_go
            let_go = source.let_go()
            old.execute(SET_META, (LET_GO, number))
        with target.copying() as new:
            _release(new)
    except HistoryError as error:
        if not number and not ends:
            raise
        raise _interrupted(target, error, is_marked=bool(number)) from error
    return copied, let_go


def _interrupted(target: Store, error: HistoryError, *, is_marked: bool) -> HistoryError:
    """What is known of a copy whose end may be written or not, and the command that goes on."""
    if is_marked:
        message = Message("the copy into {name} is not finished: {why}").format(name=target.name, why=error.message)
        return HistoryError(message, hint=COPY_AGAIN)
    message = Message("the copy into {name} is there as a whole or not at all: {why}")
    return HistoryError(message.format(name=target.name, why=error.message), hint=LOOK_AGAIN)


def _mark_of_end(db: "Connection", number: str) -> str:
    """What a finished copy remembers: its number, and how many tasks it had."""
    count = db.execute("SELECT count(*) FROM task").fetchone()[0]
    return f"{number} {count}"


def _meta(db: "Connection", name: str) -> str:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return "" if row is None else str(row["value"])


def _hold(source: Store, new: "Connection") -> str:
    """Mark a copy as unfinished, and keep its tasks from workers that have it open. Returns the number of the copy."""
    number = token_hex(8)
    new.execute("UPDATE task SET shared = ? WHERE shared = 1", (HELD,))
    new.execute(SET_META, (UNFINISHED_COPY, f"{number} {_identity(source)}"))
    return number


def _release(new: "Connection") -> None:
    number = _meta(new, UNFINISHED_COPY).partition(" ")[0]
    new.execute(SET_META, (FINISHED_COPY, _mark_of_end(new, number)))
    new.execute("UPDATE task SET shared = 1 WHERE shared = ?", (HELD,))
    new.execute("DELETE FROM meta WHERE name = ?", (UNFINISHED_COPY,))


def _identity(store: Store) -> str:
    """Copies have the same token, and databases may have the same name."""
    return f"{store.token} {store.name}"


def _finished(target: Store, new: "Connection", keep: Keep | None) -> tuple[list[Copied], int]:
    """Let a copy go on whose source has let go of the tasks."""
    if keep is not Keep.TO:
        message = Message("the tasks go on in {name} already, and its copy is not finished").format(name=target.name)
        raise HistoryError(message, hint=COPY_AGAIN)
    _release(new)
    return _proofs(new), target.count_unfinished()


def _proofs(db: "Connection") -> list[Copied]:
    return [_proof(db, table) for table in TABLES]


def _clear(source: Store, old: "Connection", target: Store, new: "Connection") -> None:
    """Empty a target that holds an unfinished copy of this source, which still has all of its tasks."""
    if _meta(old, UNFINISHED_COPY):
        message = Message("the history {name} is a copy that is not finished").format(name=source.name)
        raise HistoryError(message, hint=COPY_AGAIN)
    mark = _meta(new, UNFINISHED_COPY)
    if not mark:
        return
    if mark.partition(" ")[2] != _identity(source):
        message = Message("the history {name} is an unfinished copy of another one").format(name=target.name)
        raise HistoryError(message, hint=Message("name an empty one; nothing was copied"))
    for table in TABLES:
        new.execute(f"DELETE FROM {table.name} WHERE {table.where or '1 = 1'}")  # noqa: S608 - our own words
    new.execute("DELETE FROM meta WHERE name = ?", (UNFINISHED_COPY,))


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
