"""What submits cost, in the history: reserved, settled and reported in the transactions of the tasks' own states.

One row a submit. A reservation is checked against the limits in the transaction that writes it, while no other process
can write: a check before it would let two of them spend the same rest.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from imagegen_cli.core.budget import Limit, Period
from imagegen_cli.core.charges import Charge, ChargeStatus, after, as_counted, as_settled, as_told, reserved
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import Done, Saving, State, Task, TaskId


@dataclass(slots=True)
class Budget:
    """The limits that this process keeps, and why some of its submits were not reserved."""

    limits: tuple[Limit, ...] = ()
    refused: dict[TaskId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sum:
    """What a group of submits cost in one unit by one source. `key` names the group; `amount` None: not known."""

    key: str
    unit: str
    source: Source
    status: ChargeStatus
    amount: Money | None
    submits: int
    pictures: int


def reserve(db: sqlite3.Connection, task: Task, quote: Quote, command: int, at: float) -> None:
    """Reserve what a submit is expected to cost. A row whose amount was returned is used again: nothing came of it."""
    charge = reserved(quote)
    old = db.execute("SELECT id, status FROM charge WHERE task = ? ORDER BY id DESC LIMIT 1", (task.id,)).fetchone()
    values = (
        task.id, task.run, command, task.request.provider, task.request.model, quote.images,
        quote.each.micros if quote.each else None, quote.each.unit if quote.each else "", *_columns(charge), at,
    )  # fmt: skip
    again = old is not None and old["status"] == ChargeStatus.RETURNED
    db.execute(
        "INSERT OR REPLACE INTO charge (id, task, run, command, provider, model, images, each, each_unit,"
        " amount, unit, source, status, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (old["id"] if again else None, *values),
    )


def over(db: sqlite3.Connection, limits: Sequence[Limit], quote: Quote, command: int, now: float) -> str:
    """Why this may not be reserved, in words; empty where it fits every limit. Only inside of a writing transaction."""
    for limit in limits:
        if quote.source is Source.FREE:
            return ""
        wanted = quote.total
        if wanted is None:
            return "its price is not known"
        if wanted.unit != limit.amount.unit:
            continue
        before = spent(db, limit, command, now)
        if before.micros + wanted.micros > limit.amount.micros:
            return f"{before} of {limit} is spent or reserved, and the next task costs {wanted}"
    return ""


def spent(db: sqlite3.Connection, limit: Limit, command: int, now: float) -> Money:
    """What counts against a limit: everything that was not certainly returned."""
    if limit.period is Period.COMMAND:
        where, value = "command = ?", float(command)
    else:
        where, value = "at >= ?", limit.begins(now)
    row = db.execute(
        f"SELECT coalesce(sum(amount), 0) FROM charge WHERE unit = ? AND status != 'returned' AND {where}",  # noqa: S608 - only our own words
        (limit.amount.unit, value),
    ).fetchone()
    return Money(int(row[0]), limit.amount.unit)


def follow(db: sqlite3.Connection, task: int, state: State) -> None:
    """Let the charge of a task's last submit follow the task to its new state."""
    if (found := _last(db, task)) is not None:
        id_, charge = found
        new = after(charge, state)
        pictures = (
            len(state.images) if isinstance(state, Saving) else len(state.files) if isinstance(state, Done) else 0
        )
        if new != charge or pictures:
            db.execute(
                "UPDATE charge SET amount = ?, unit = ?, source = ?, status = ?, pictures = max(pictures, ?)"
                " WHERE id = ?",
                (*_columns(new), pictures, id_),
            )


def tell(
    db: sqlite3.Connection, task: int, amount: Money, source: Source = Source.TOLD, *, settled: bool = False
) -> None:
    """Take in what the service told of the cost of a task's last submit; `settled`: also that it does charge it."""
    if (found := _last(db, task)) is not None:
        id_, charge = found
        told = as_told(charge, amount, source)
        _write(db, id_, as_settled(told) if settled else told)


def count(db: sqlite3.Connection, task: int, images: int) -> None:
    """Take in how many pictures the service charges for a task's last submit."""
    if (found := _last(db, task)) is not None:
        id_, charge = found
        _write(db, id_, as_counted(charge, images))


def _write(db: sqlite3.Connection, id_: int, charge: Charge) -> None:
    db.execute("UPDATE charge SET amount = ?, unit = ?, source = ?, status = ? WHERE id = ?", (*_columns(charge), id_))


def settle(db: sqlite3.Connection, task: int, amount: Money | None) -> bool:
    """Take a person's word for what an uncertain submit cost; None: as it was reserved. Whether there was one."""
    found = _last(db, task)
    if found is None:
        return False
    id_, charge = found
    if amount is not None:
        charge = replace(charge, amount=amount, source=Source.SET)
    status = ChargeStatus.RETURNED if amount is not None and not amount.micros else ChargeStatus.SETTLED
    db.execute(
        "UPDATE charge SET amount = ?, unit = ?, source = ?, status = ? WHERE id = ?",
        (*_columns(replace(charge, status=status)), id_),
    )
    return True


def last_of(db: sqlite3.Connection, tasks: Iterable[int]) -> dict[int, Charge]:
    """The charges of the tasks' last submits."""
    found: dict[int, Charge] = {}
    for task in tasks:
        if (one := _last(db, task)) is not None:
            found[task] = one[1]
    return found


def sums(db: sqlite3.Connection, by: str, since: float | None, unowned: str) -> Iterator[Sum]:
    """Costs by `day`, `model`, `provider` or `run`, told and estimated apart.

    `unowned` is an SQL condition on a task that no living process owns: what such a task reserved is uncertain.
    """
    key = {
        "day": "strftime('%Y-%m-%d', charge.at, 'unixepoch', 'localtime')",
        "model": "trim(charge.provider || ' ' || charge.model)",
        "provider": "charge.provider",
        "run": "charge.run",
    }[by]
    status = f"iif(charge.status = 'reserved' AND {unowned}, 'uncertain', charge.status)"
    rows = db.execute(
        f"SELECT {key} AS name, unit, charge.source AS source, {status} AS standing, sum(amount) AS amount,"  # noqa: S608 - only our own words
        " count(*) AS submits, sum(pictures) AS pictures, count(amount) AS known"
        " FROM charge JOIN task ON task.id = charge.task WHERE charge.status != 'returned' AND charge.at >= ?"
        " GROUP BY 1, 2, 3, 4 ORDER BY min(charge.id)",
        (since or 0.0,),
    )
    for row in rows:
        amount = Money(int(row["amount"]), row["unit"]) if row["known"] else None
        source, standing = Source(row["source"]), ChargeStatus(row["standing"])
        yield Sum(str(row["name"]), row["unit"], source, standing, amount, row["submits"], row["pictures"])


def _pictures(state: State) -> int:
    match state:
        case Saving(images=images):
            return len(images)
        case Done(files=files):
            return len(files)
        case _:
            return 0


def _columns(charge: Charge) -> tuple[int | None, str, str, str]:
    amount = charge.amount
    return amount.micros if amount else None, amount.unit if amount else "", str(charge.source), str(charge.status)


def _last(db: sqlite3.Connection, task: int) -> tuple[int, Charge] | None:
    row = db.execute("SELECT * FROM charge WHERE task = ? ORDER BY id DESC LIMIT 1", (task,)).fetchone()
    if row is None:
        return None
    each = None if row["each"] is None else Money(row["each"], row["each_unit"])
    amount = None if row["amount"] is None else Money(row["amount"], row["unit"])
    source = Source(row["source"])
    return row["id"], Charge(Quote(row["images"], each, source), ChargeStatus(row["status"]), amount, source)
