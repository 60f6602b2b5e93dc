"""What submits cost, in the history: reserved, settled and reported in the transactions of the tasks' own states.

One row a submit. A reservation is checked against the limits in the transaction that writes it, while no other process
can write: a check before it would let two of them spend the same rest.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.core.budget import Limit, Period, in_units
from imagegen_cli.core.charges import Charge, ChargeStatus, after, as_counted, as_settled, as_told, reserved
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import ENDED, Done, Saving, State, Task, TaskId
from imagegen_cli.storage.places import Account
from imagegen_cli.storage.processes import uptime

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection, Row


class Entry(NamedTuple):
    """A row of the table: its number, what it says of the charge, how many pictures came, and what it counts for."""

    id: int
    charge: Charge
    pictures: int
    command: int
    at: float


Known = dict[int, Entry]
"""The last rows of tasks that this process owns, as it wrote them: they need not be read again."""


OTHERS_WROTE = "PRAGMA data_version"
"""Its result changes where another connection has written. PostgreSQL's connection knows another way."""
DAY = "strftime('%Y-%m-%d', charge.at, 'unixepoch', 'localtime')"
"""The day of a charge, here. The schema of PostgreSQL has this function too."""


class Tally:
    """What counts against limits, kept up to date by the connection that writes; after others wrote, added up anew.

    Adding up takes 50 ns a charge: for each submit of ten thousand that would be seconds.
    """

    def __init__(self, *, in_utc: bool = False) -> None:
        self._in_utc = in_utc
        self._sums: dict[tuple[str, Period], tuple[float, int, int]] = {}
        """When the period began, the number of the command, and the sum in millionths."""
        self._version = -1

    def spent(self, db: "Connection", limit: Limit, command: int, now: float) -> Money:
        """As the function `spent`. Only inside of a writing transaction."""
        version = db.execute(OTHERS_WROTE).fetchone()[0]
        if version != self._version:
            self._sums.clear()
            self._version = version
        begins, key = limit.begins(now, in_utc=self._in_utc), (limit.amount.unit, limit.period)
        if (kept := self._sums.get(key)) is None or kept[:2] != (begins, command):
            kept = self._sums[key] = begins, command, spent(db, limit, command, now, in_utc=self._in_utc).micros
        return Money(kept[2], limit.amount.unit)

    def changed(self, before: Charge | None, now: Entry) -> None:
        """Take in that a row was written; `before` is what it said, None where nothing of it counted."""
        old, new = _counted(before), _counted(now.charge)
        for (unit, period), (begins, command, sum_) in self._sums.items():
            more = new.micros * (new.unit == unit) - old.micros * (old.unit == unit)
            if now.command == command if period is Period.COMMAND else now.at >= begins:
                self._sums[unit, period] = begins, command, sum_ + more

    def clear(self) -> None:
        self._sums.clear()


NOTHING = Money(0, "")


def _counted(charge: Charge | None) -> Money:
    if charge is None or charge.status is ChargeStatus.RETURNED or charge.amount is None:
        return NOTHING
    return charge.amount


@dataclass(slots=True, eq=False, repr=False)
class Budget:
    """The limits that this process keeps, why some of its submits were not reserved, and what it knows of charges.

    `clock`: of the server where several machines share the history, so that they have the same days; None: the events
    tell the time themselves. `accounts`: by provider, where other processes use the same account; `full`: submits that
    found no place there.
    """

    limits: tuple[Limit, ...] = ()
    refused: dict[TaskId, str] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    accounts: dict[str, Account] = field(default_factory=dict)
    full: set[TaskId] = field(default_factory=set)
    clock: Callable[[], float] | None = None
    holds_runs: bool = False
    """Whether a task is also held to what the command that queued its run may spend: workers do that."""
    of_runs: set[TaskId] = field(default_factory=set)
    """Submits that were not reserved because of that."""

    def moment(self, at: float) -> float:
        """The moment of an event, by the clock that all have who spend together."""
        return at if self.clock is None else self.clock()

    def shared_now(self) -> float:
        """Seconds on a clock that all processes of the history share, whatever their own clocks say."""
        return uptime() if self.clock is None else self.clock()

    def forget(self) -> None:
        """Know nothing, after what was written has been taken back."""
        self.known.clear()
        self.tally.clear()


class Sum(NamedTuple):
    """What a group of submits cost in one unit by one source. `key` names the group; `amount` None: not known."""

    key: str
    unit: str
    source: Source
    status: ChargeStatus
    amount: Money | None
    submits: int
    pictures: int


RESERVED = (
    "task", "run", "command", "provider", "model", "images", "each", "each_unit", "amount", "unit", "source", "status",
    "at",
)  # fmt: skip
"""Columns of a reservation."""
SET_AGAIN = ", ".join(f"{column} = ?" for column in RESERVED)


def reserve(
    db: "Connection", task: Task, quote: Quote, command: int, at: float, *, budget: Budget | None = None
) -> None:
    """Reserve what a submit is expected to cost. A row whose amount was returned is used again: nothing came of it."""
    charge = reserved(quote)
    old = db.execute("SELECT id, status FROM charge WHERE task = ? ORDER BY id DESC LIMIT 1", (task.id,)).fetchone()
    values = (
        task.id, task.run, command, task.request.provider, task.request.model, quote.images,
        quote.each.micros if quote.each else None, quote.each.unit if quote.each else "", *_columns(charge), at,
    )  # fmt: skip
    if old is not None and old["status"] == ChargeStatus.RETURNED:
        number = old["id"]
        db.execute(f"UPDATE charge SET {SET_AGAIN}, pictures = 0 WHERE id = ?", (*values, number))  # noqa: S608 - our own words
    else:
        written = db.execute(
            f"INSERT INTO charge ({', '.join(RESERVED)}) VALUES ({', '.join('?' * len(RESERVED))})",  # noqa: S608 - our own words
            values,
        )
        number = written.lastrowid if budget is not None else 0
    if budget is not None:
        budget.known[task.id] = entry = Entry(number or 0, charge, 0, command, at)
        budget.tally.changed(None, entry)


def over(
    db: "Connection",
    limits: Sequence[Limit],
    quote: Quote,
    command: int,
    now: float,
    *,
    count: "Callable[[Connection, Limit, int, float], Money] | None" = None,
) -> str:
    """Why this may not be reserved, in words; empty where it fits every limit. Only inside of a writing transaction.

    `count` tells what counts against a limit, as the function `spent` does.
    """
    if quote.source is Source.FREE or not limits:
        return ""
    wanted = quote.total
    if wanted is None:
        return Message("the price of the next task is not known")
    if in_units(limits, [wanted.unit]):
        uncounted = Message("the next task costs {cost}, and no budget counts {unit}")
        return uncounted.format(cost=str(wanted), unit=wanted.unit)
    for limit in limits:
        if wanted.unit != limit.amount.unit:
            continue
        before = (count or spent)(db, limit, command, now)
        if before.micros + wanted.micros > limit.amount.micros:
            reached = Message("{spent} of {limit} is spent or reserved, and the next task costs {cost}")
            return reached.format(spent=str(before), limit=str(limit), cost=str(wanted))
    return ""


def spent(db: "Connection", limit: Limit, command: int, now: float, *, in_utc: bool = False) -> Money:
    """What counts against a limit: everything that was not certainly returned."""
    if limit.period is Period.COMMAND:
        where, value = "command = ?", float(command)
    else:
        where, value = "at >= ?", limit.begins(now, in_utc=in_utc)
    row = db.execute(
        "SELECT coalesce(sum(amount), 0) FROM charge"  # noqa: S608 - only our own words
        f" WHERE status != 'returned' AND amount IS NOT NULL AND unit = ? AND {where}",
        (limit.amount.unit, value),
    ).fetchone()
    return Money(int(row[0]), limit.amount.unit)


def spent_in_run(db: "Connection", limit: Limit, run: int) -> Money:
    """What all processes have spent and reserved for the tasks of a run, in the unit of a limit."""
    row = db.execute(
        "SELECT coalesce(sum(amount), 0) FROM charge"
        " WHERE run = ? AND status != 'returned' AND amount IS NOT NULL AND unit = ?",
        (run, limit.amount.unit),
    ).fetchone()
    return Money(int(row[0]), limit.amount.unit)


def follow(db: "Connection", task: int, state: State, budget: Budget | None = None) -> None:
    """Let the charge of a task's last submit follow the task to its new state.

    `budget` is given by the process that owns the task. A person may settle meanwhile what a process left that seemed
    dead: then the row is read anew.
    """
    budget = budget or Budget()
    own = budget.known.pop(task, None)
    entry = own or _last(db, task)
    if entry is None:
        return
    new = entry._replace(charge=after(entry.charge, state), pictures=max(entry.pictures, _pictures(state)))
    if new != entry and not _changed(db, entry, new, budget) and own is not None:
        follow(db, task, state, budget)
    elif not isinstance(state, ENDED):
        budget.known[task] = new


def _changed(db: "Connection", before: Entry, now: Entry, budget: Budget) -> bool:
    """Write what is known of a charge now; whether its row was still as before."""
    written = db.execute(
        "UPDATE charge SET amount = ?, unit = ?, source = ?, status = ?, pictures = ? WHERE id = ? AND status = ?",
        (*_columns(now.charge), now.pictures, now.id, str(before.charge.status)),
    )
    if written.rowcount:
        budget.tally.changed(before.charge, now)
    return bool(written.rowcount)


def tell(
    db: "Connection",
    task: int,
    amount: Money,
    source: Source = Source.TOLD,
    *,
    settled: bool = False,
    budget: Budget | None = None,
) -> None:
    """Take in what the service told of the cost of a task's last submit, also where another process owns the task now.

    `settled`: it also said that it does charge it.
    """
    if (entry := _last(db, task)) is not None:
        charge = as_told(entry.charge, amount, source)
        _learned(db, task, entry, as_settled(charge) if settled else charge, budget)


def count(db: "Connection", task: int, images: int, *, budget: Budget | None = None) -> None:
    """Take in how many pictures the service charges for a task's last submit."""
    if (entry := _last(db, task)) is not None:
        _learned(db, task, entry, as_counted(entry.charge, images), budget)


def _learned(db: "Connection", task: int, entry: Entry, charge: Charge, budget: Budget | None) -> None:
    new = entry._replace(charge=charge)
    budget = budget or Budget()
    _changed(db, entry, new, budget)
    if task in budget.known:
        budget.known[task] = new


def settle(db: "Connection", task: int, amount: Money | None, *, owned: bool = False) -> list[Charge]:
    """Take a person's word for what the open submits of a task cost each; None: as reserved, 0: nothing.

    Open is what is uncertain, and what was reserved by a process that is gone. Of a task that is `owned` nothing is
    open: its process will know. Returns the charges as they are now.
    """
    entries = [] if owned else [entry for entry in _all(db, task) if _is_open(entry.charge)]
    settled = [(entry, entry._replace(charge=_settled(entry.charge, amount))) for entry in entries]
    return [now.charge for before, now in settled if _changed(db, before, now, Budget())]


def _is_open(charge: Charge) -> bool:
    return charge.status in (ChargeStatus.UNCERTAIN, ChargeStatus.RESERVED)


def _settled(charge: Charge, amount: Money | None) -> Charge:
    """What was not charged keeps its price: a receipt that is found later reserves it again."""
    if amount is None:
        return charge._replace(status=ChargeStatus.SETTLED)
    if not amount.micros:
        return charge._replace(status=ChargeStatus.RETURNED)
    return charge._replace(amount=amount, source=Source.SET, status=ChargeStatus.SETTLED)


def open_tasks(db: "Connection", unowned: str, run: int | None = None) -> list[int]:
    """The tasks, of a run or all, with a submit that a person or `resume` has to settle; for `unowned` see `sums`."""
    rows = db.execute(
        "SELECT DISTINCT charge.task AS task FROM charge LEFT JOIN task ON task.id = charge.task"  # noqa: S608 - only our own words
        f" WHERE (charge.status = 'uncertain' OR (charge.status = 'reserved' AND {unowned}))"
        " AND (CAST(? AS bigint) IS NULL OR charge.run = ?) ORDER BY 1",
        (run, run),
    )
    return [row["task"] for row in rows]


def all_of(db: "Connection", tasks: Iterable[int], unowned: str) -> dict[int, list[Charge]]:
    """The charges of all submits of these tasks, the last one last; for `unowned` see `sums`."""
    found: dict[int, list[Charge]] = {}
    rows = db.execute(
        f"SELECT charge.*, charge.status = 'reserved' AND {unowned} AS is_left"  # noqa: S608 - only our own words
        " FROM charge LEFT JOIN task ON task.id = charge.task"
        " WHERE charge.task IN (SELECT value FROM json_each(?)) ORDER BY charge.id",
        (json.dumps(list(tasks)),),
    )
    for row in rows:
        charge = _entry(row).charge
        left = charge._replace(status=ChargeStatus.UNCERTAIN) if row["is_left"] else charge
        found.setdefault(row["task"], []).append(left)
    return found


def sums(db: "Connection", by: str, since: float | None, unowned: str, run: int | None = None) -> Iterator[Sum]:
    """Costs by `day`, `model`, `provider` or `run`, told and estimated apart.

    `unowned` is an SQL condition on a task that no living process owns: what such a task reserved is uncertain.
    """
    key = {
        "day": DAY,
        "model": "trim(charge.provider || ' ' || charge.model)",
        "provider": "charge.provider",
        "run": "charge.run",
    }[by]
    status = f"CASE WHEN charge.status = 'reserved' AND {unowned} THEN 'uncertain' ELSE charge.status END"
    rows = db.execute(
        f"SELECT {key} AS name, unit, charge.source AS source, {status} AS standing, sum(amount) AS amount,"  # noqa: S608 - only our own words
        " count(*) AS submits, sum(pictures) AS pictures, count(amount) AS known"
        " FROM charge LEFT JOIN task ON task.id = charge.task WHERE charge.status != 'returned' AND charge.at >= ?"
        " AND (CAST(? AS bigint) IS NULL OR charge.run = ?) GROUP BY 1, 2, 3, 4 ORDER BY min(charge.id)",
        (since or 0.0, run, run),
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


def _last(db: "Connection", task: int) -> Entry | None:
    row = db.execute("SELECT * FROM charge WHERE task = ? ORDER BY id DESC LIMIT 1", (task,)).fetchone()
    return None if row is None else _entry(row)


def _all(db: "Connection", task: int) -> list[Entry]:
    return [_entry(row) for row in db.execute("SELECT * FROM charge WHERE task = ? ORDER BY id", (task,)).fetchall()]


def _entry(row: "Row") -> Entry:
    each = None if row["each"] is None else Money(row["each"], row["each_unit"])
    amount = None if row["amount"] is None else Money(row["amount"], row["unit"])
    source = Source(row["source"])
    charge = Charge(Quote(row["images"], each, source), ChargeStatus(row["status"]), amount, source)
    return Entry(row["id"], charge, row["pictures"], row["command"], row["at"])
