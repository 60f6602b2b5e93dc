"""Runs as lines: their tasks counted by how they ended, their pictures, times and costs."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.money import Money
from imagegen_cli.core.task import RunId
from imagegen_cli.storage.rows import NO_LIMIT, whole

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

COLUMNS = "id, command, source, started, ended"
COUNTS = (
    "SELECT run, count(*), sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END),"
    " sum(CASE WHEN state = 'done' AND coalesce(json_extract(detail, '$.missing'), 0) > 0 THEN 1 ELSE 0 END),"
    " sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), sum(CASE WHEN state = 'cancelled' THEN 1 ELSE 0 END),"
    " sum(CASE WHEN shared = 1 AND state = 'queued' AND owner IS NULL THEN 1 ELSE 0 END), max(ended),"
    " (SELECT count(*) FROM picture JOIN task AS one ON one.id = picture.task WHERE one.run = task.run)"
    " FROM task WHERE run IN (SELECT value FROM json_each(?)) GROUP BY run"
)


class RunSummary(NamedTuple):
    """What became of a run. Times are seconds since the epoch; `ended` is None while a task is unfinished.

    `short`: how many of those done have fewer pictures than expected. `costs` has each status that a charge has at
    least once, with a sum for each unit; what was returned is left out. Charges of forgotten tasks are in it.
    `is_told`: the services themselves told all that was settled.
    """

    id: RunId
    command: str
    source: str
    started: float
    ended: float | None
    tasks: int = 0
    done: int = 0
    short: int = 0
    failed: int = 0
    cancelled: int = 0
    pictures: int = 0
    costs: tuple[tuple[ChargeStatus, Money], ...] = ()
    is_told: bool = True
    waiting: int = 0
    """How many of the unfinished tasks wait for a worker to take them."""

    @property
    def unfinished(self) -> int:
        return self.tasks - self.done - self.failed - self.cancelled


def summaries(
    db: "Connection", ids: Iterable[int] | None, since: float | None, limit: int | None, unowned: str
) -> list[RunSummary]:
    """The runs with these numbers, or all, newest first. `unowned` is an SQL condition, as in `charges.sums`."""
    conditions, values = ["1 = 1"], list[Any]()
    if ids is not None:
        conditions, values = ["id IN (SELECT value FROM json_each(?))"], [json.dumps([whole(one) for one in ids])]
    if since is not None:
        conditions.append("started >= ?")
        values.append(since)
    rows = db.execute(
        f"SELECT {COLUMNS} FROM run WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",  # noqa: S608 - only our own words
        (*values, NO_LIMIT if limit is None else whole(limit)),
    ).fetchall()
    wanted = json.dumps([row["id"] for row in rows])
    found = {row["id"]: RunSummary(RunId(row["id"]), *tuple(row)[1:]) for row in rows}
    for run, tasks, done, short, failed, cancelled, waiting, ended, pictures in db.execute(COUNTS, (wanted,)):
        one = found[run]._replace(
            tasks=tasks, done=done, short=short, failed=failed, cancelled=cancelled, waiting=waiting, pictures=pictures
        )
        found[run] = one._replace(ended=None if one.unfinished else ended or one.ended)
    _add_costs(db, found, wanted, unowned)
    return list(found.values())


def _add_costs(db: "Connection", found: dict[int, RunSummary], wanted: str, unowned: str) -> None:
    status = f"CASE WHEN charge.status = 'reserved' AND {unowned} THEN 'uncertain' ELSE charge.status END"
    rows = db.execute(
        f"SELECT charge.run, {status}, unit, sum(amount),"  # noqa: S608 - only our own words
        " max(CASE WHEN charge.source IN ('set', 'priced', 'estimated') THEN 1 ELSE 0 END)"
        " FROM charge LEFT JOIN task ON task.id = charge.task"
        " WHERE charge.run IN (SELECT value FROM json_each(?)) AND charge.status != 'returned' AND amount IS NOT NULL"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        (wanted,),
    )
    for run, standing, unit, micros, is_by_price in rows:
        one, status = found[run], ChargeStatus(standing)
        costs = (*one.costs, (status, Money(int(micros), unit)))
        is_told = one.is_told and not (is_by_price and status is ChargeStatus.SETTLED)
        found[run] = one._replace(costs=costs, is_told=is_told)
