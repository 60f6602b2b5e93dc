"""What commands ask of the history. Nothing here changes it."""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from imagegen_cli.core.budget import Limit
from imagegen_cli.core.charges import Charge
from imagegen_cli.core.durations import Span
from imagegen_cli.core.events import Event
from imagegen_cli.core.money import Money, Price
from imagegen_cli.core.task import ImageRequest, RunId, TaskId
from imagegen_cli.storage import charges, pictures, places, prices, serialize
from imagegen_cli.storage.charges import Sum
from imagegen_cli.storage.database import MAX_ROWS_AT_ONCE, Database
from imagegen_cli.storage.leases import Leases
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.records import UNFINISHED, Attempt, Filter, Picture, Record, size_of
from imagegen_cli.storage.rows import NO_LIMIT, condition, parts, process_of, record_of, state_of, whole

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Row
    from imagegen_cli.storage.runs import RunSummary

MAX_ROWS_AT_A_LOOK = 500
"""Rows that are read at a time where each is printed before the next ones are read."""


class Queries(Database):
    """The history as it is read. Raises HistoryError where the database cannot be used."""

    _leases: Leases
    _token: str

    def find(self, wanted: Filter) -> list[Record]:
        """The tasks that match, newest first."""
        with self._errors():
            return self._records(self._rows(wanted))

    def each(self, wanted: Filter) -> Iterator[list[Record]]:
        """The tasks that match, newest first, a few hundred at a time: they are read when they are asked for."""
        left, before = wanted.limit, wanted.before
        while left is None or left > 0:
            size = MAX_ROWS_AT_A_LOOK if left is None else min(left, MAX_ROWS_AT_A_LOOK)
            if not (records := self.find(wanted._replace(limit=size, before=before))):
                return
            yield records
            before, left = records[-1].task.id, None if left is None else left - len(records)

    def _rows(self, wanted: Filter) -> "list[Row]":
        wanted = self._bounded(wanted)
        where, values = condition(wanted, self.PLUS)
        if wanted.owned:
            where += (" AND" if where else " WHERE") + " owner IN (SELECT value FROM json_each(?))"  # noqa: S608 - see below
            values.append(json.dumps(list(self._living())))
        order = " ORDER BY task.id DESC" + ("" if wanted.limit is None else f" LIMIT {whole(wanted.limit)}")
        if not wanted.search:
            return self._db.execute(f"SELECT * FROM task{where}{order}", values).fetchall()  # noqa: S608 - only our own words
        return self.searched(wanted.search, where, values, order)

    def _bounded(self, wanted: Filter) -> Filter:
        """The same filter with bounds on the numbers of tasks, where it has bounds on their times.

        Rows are read by their numbers, newest first. That nearly is the order of their times, but for clocks that
        were set and for processes that planned at the same time.
        """
        if wanted.since is not None:
            found = "SELECT count(*), min(id) FROM (SELECT id FROM task WHERE created >= ? LIMIT ?) AS first"
            count, first = self._db.execute(found, (wanted.since, MAX_ROWS_AT_ONCE)).fetchone()
            if count < MAX_ROWS_AT_ONCE:
                wanted = wanted._replace(after=max(wanted.after or 0, (first or 2**62) - 1))
        if wanted.until is not None:
            last = self._db.execute("SELECT max(+id) FROM task WHERE created < ?", (wanted.until,)).fetchone()[0] or 0
            wanted = wanted._replace(before=min(last + 1, wanted.before or last + 1))
        return wanted

    def _by_id(self, ids: Sequence[int]) -> dict[int, Record]:
        return {record.task.id: record for part in parts(ids) for record in self.find(Filter(ids=part))}

    def _records(self, rows: "Sequence[Row]") -> list[Record]:
        owners = {row["owner"] for row in rows if row["owner"] is not None and row["ended"] is None}
        living: dict[int, Process] = {}
        if owners:
            for row in self._leases.rows(self._db):
                if row["id"] in owners and self._leases.is_alive(self._db, row):
                    living[row["id"]] = process_of(row)
        return [record_of(row, living, self._token) for row in rows]

    def _living(self) -> dict[int, Process]:
        with self._errors():
            return self._leases.living(self._db)

    def _unowned(self) -> str:
        """An SQL condition on a task: no living process owns it."""
        living = ", ".join(map(str, self._living())) or "-1"
        return f"(owner IS NULL OR owner NOT IN ({living}))"

    def newest(self, table: Literal["task", "run"], back: int = 1) -> int | None:
        """The number of the newest row, or of the one `back` - 1 rows before it; None where there are not so many."""
        query = f"SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?"  # noqa: S608 - only our own words
        with self._errors():
            row = self._db.execute(query, (back - 1,)).fetchone()
        return None if row is None else int(row["id"])

    def missing(self, ids: Iterable[int]) -> list[int]:
        """Those of these ids that no task has."""
        wanted = set(ids)
        return sorted(wanted - {record.task.id for record in self.find(Filter(ids=tuple(wanted)))}) if wanted else []

    def known(self, identities: Iterable[str]) -> dict[tuple[str, str], list[Record]]:
        """Earlier tasks of prompt lists, by source and identity, oldest first."""
        found: dict[tuple[str, str], list[Record]] = {}
        for part in parts(list(set(identities))):
            with self._errors():
                rows = self._db.execute(
                    "SELECT *, EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id) AS repeated FROM task"  # noqa: S608 - only our own words
                    f" WHERE source != '' AND identity IN ({','.join('?' * len(part))}) ORDER BY id",
                    part,
                ).fetchall()
                for row, record in zip(rows, self._records(rows), strict=True):
                    found.setdefault((row["source"], row["identity"]), []).append(record)
        return found

    def prompts(self, *, before: int | None = None, limit: int) -> list[tuple[int, str]]:
        """The prompts of tasks older than `before`, newest first, each with its task."""
        with self._errors(), self._waiting(0):  # a prompt line calls it on the event loop
            rows = self._db.execute(
                "SELECT id, prompt FROM task WHERE id < ? ORDER BY id DESC LIMIT ?",
                (whole(before) if before is not None else 2**62, limit),
            ).fetchall()
        return [(row["id"], row["prompt"]) for row in rows]

    def attempts(self, task: int) -> list[Attempt]:
        """The earlier attempts of a task that was sent again, first attempt first."""
        with self._errors():
            rows = self._db.execute("SELECT * FROM attempt WHERE task = ? ORDER BY number", (whole(task),)).fetchall()
            return [
                Attempt(row["number"], state_of(row["state"], row["detail"]), row["started"], row["ended"])
                for row in rows
            ]

    def events(self, run: int, after: int = 0, limit: int = NO_LIMIT) -> list[tuple[int, Event]]:
        """The events of a run after event number `after`, in order, each with its number."""
        with self._errors():
            rows = self._db.execute(
                "SELECT * FROM event WHERE run = ? AND id > ? ORDER BY id LIMIT ?", (whole(run), after, limit)
            ).fetchall()
        about = tuple({row["task"] for row in rows if row["task"] is not None})
        tasks = {record.task.id: record.task for record in self.find(Filter(ids=about))} if about else {}
        found: list[tuple[int, Event]] = []
        with self._errors():
            for row in rows:
                if row["task"] is None:
                    event = serialize.to_run_event(row["kind"], row["at"], RunId(run), json.loads(row["body"]))
                    found += [(row["id"], event)] if event is not None else []
                elif task := tasks.get(TaskId(row["task"])):
                    body = json.loads(row["body"])
                    if "state" in body:
                        task = replace(task, state=serialize.to_state(body["state"], body))
                    found.append((row["id"], serialize.to_event(row["kind"], row["at"], task, body)))
        return found

    def durations(self, request: ImageRequest, limit: int = 200, before: float = math.inf) -> list[Span]:
        """How long the last tasks of the same provider, model and size took at the service, without its queue."""
        with self._errors(), self._waiting(0):  # a display calls it on the event loop
            rows = self._db.execute(
                "SELECT min_duration_s, max_duration_s FROM task"
                " WHERE provider = ? AND model = ? AND size = ? AND max_duration_s IS NOT NULL AND ready < ?"
                " ORDER BY id DESC LIMIT ?",
                (request.provider, request.model, size_of(request), before, limit),
            ).fetchall()
        return [Span(*row) for row in rows]

    def folders(self) -> list[str]:
        """Every folder that a task saves its pictures in."""
        with self._errors():
            return [row["folder"] for row in self._db.execute("SELECT DISTINCT folder FROM task")]

    def pictures(self, tasks: Iterable[int]) -> dict[TaskId, list[Picture]]:
        """The saved pictures of these tasks in their order; a task that has none is left out."""
        with self._errors():
            return pictures.of_tasks(self._db, tasks)

    def by_sha256(self, sha256: str) -> list[Picture]:
        """The pictures whose files had this digest (hex) when they were saved, newest task first."""
        with self._errors():
            return pictures.by_sha256(self._db, sha256)

    def by_path(self, path: str) -> list[Picture]:
        """The pictures that were saved at this path, on any machine, newest task first."""
        with self._errors():
            return pictures.by_path(self._db, path)

    def run_ids(self) -> list[RunId]:
        """All runs, newest first."""
        with self._errors():
            return [RunId(row["id"]) for row in self._db.execute("SELECT id FROM run ORDER BY id DESC")]

    def runs(
        self, ids: Iterable[int] | None = None, *, since: float | None = None, limit: int | None = None
    ) -> "list[RunSummary]":
        """The runs with these numbers, or all, newest first; `since`: only those that began at that time or later."""
        from imagegen_cli.storage import runs  # noqa: PLC0415 - a command that sends needs no sums

        unowned = self._unowned()
        with self._errors():
            return runs.summaries(self._db, ids, since, limit, unowned)

    def runs_at_work(self) -> set[RunId]:
        """The runs of which living processes have unfinished tasks."""
        where, values = condition(Filter(states=UNFINISHED), self.PLUS)
        query = f"SELECT DISTINCT run FROM task{where} AND owner IN (SELECT value FROM json_each(?))"  # noqa: S608 - only our own words
        with self._errors():
            owners = json.dumps(list(self._living()))
            return {RunId(row["run"]) for row in self._db.execute(query, (*values, owners))}

    def hosts(self, ids: Sequence[int]) -> dict[TaskId, str]:
        """The machine that carries, or has carried, each of these tasks; empty where none does."""
        found: dict[TaskId, str] = {}
        for part in parts(ids):
            query = f"SELECT id, host FROM task WHERE id IN ({','.join('?' * len(part))})"  # noqa: S608 - only our own words
            with self._errors():
                found |= {TaskId(row["id"]): row["host"] for row in self._db.execute(query, part)}
        return found

    def is_any_owned(self, ids: Iterable[int]) -> bool:
        """Whether a living process owns one of these tasks and works on it."""
        where, values = condition(Filter(ids=tuple(ids), states=UNFINISHED), self.PLUS)
        query = f"SELECT DISTINCT owner FROM task{where}"  # noqa: S608 - only our own words
        with self._errors():
            owners = {row["owner"] for row in self._db.execute(query, values)}
            return any(
                row["id"] in owners and self._leases.is_alive(self._db, row) for row in self._leases.rows(self._db)
            )

    def is_anyone_alive(self) -> bool:
        """Whether any other process works on tasks of this history."""
        return any(process != self._leases.me for process in self._living().values())

    def busy_providers(self) -> dict[str, Process]:
        """Providers at which living processes have unfinished tasks, and one such process for each."""
        where, values = condition(Filter(states=UNFINISHED), self.PLUS)
        living = self._living()
        with self._errors():
            rows = self._db.execute(f"SELECT DISTINCT provider, owner FROM task{where}", values)  # noqa: S608
            return {row["provider"]: living[row["owner"]] for row in rows if row["owner"] in living}

    def count_unfinished(self) -> int:
        """How many tasks have not ended."""
        where, values = condition(Filter(states=UNFINISHED), self.PLUS)
        with self._errors():
            return int(self._db.execute(f"SELECT count(*) FROM task{where}", values).fetchone()[0])  # noqa: S608 - only our own words

    def orphans(self, limit: int) -> tuple[int, list[int]]:
        """How many unfinished tasks belong to no living process, and the first ids of them.

        Those that wait for workers are left out: no process has begun with them.
        """
        where, values = condition(Filter(states=UNFINISHED), self.PLUS)
        where += " AND (owner IS NULL OR owner NOT IN (SELECT value FROM json_each(?)))"
        where += " AND NOT (shared = 1 AND state = 'queued' AND owner IS NULL)"
        values.append(json.dumps(list(self._living())))
        with self._errors():
            count = self._db.execute(f"SELECT count(*) FROM task{where}", values).fetchone()[0]  # noqa: S608 - only our own words
            rows = self._db.execute(f"SELECT id FROM task{where} ORDER BY id LIMIT {limit}", values)  # noqa: S608
            return count, [row["id"] for row in rows]

    def waiting_for_workers(
        self, providers: Sequence[str] | None = None, run: int | None = None, *, without: Collection[TaskId] = ()
    ) -> int:
        """How many tasks no worker has taken, beside those `without`: of these providers or all, of a run or all."""
        query = "SELECT count(*) FROM task WHERE shared = 1 AND state = 'queued' AND owner IS NULL"
        values: list[object] = []
        if providers is not None:
            query += f" AND {self.PLUS}provider IN ({','.join('?' * len(providers)) or 'NULL'})"
            values += providers
        if run is not None:
            query += f" AND {self.PLUS}run = ?"
            values.append(whole(run))
        if without:
            query += f" AND {self.PLUS}id NOT IN (SELECT value FROM json_each(?))"  # noqa: S608 - only our own words
            values.append(json.dumps(list(without)))
        with self._errors():
            return int(self._db.execute(query, values).fetchone()[0])

    def held_at(self, account: str) -> int:
        """How many tasks hold places at an account for a while although no process counts them."""
        with self._errors():
            return places.held(self._db, account, self._leases.shared_now(self._db))

    def account_of(self, task: int) -> str:
        """The word for the account that a task was sent to; empty where it was not counted at one."""
        with self._errors():
            row = self._db.execute("SELECT account FROM task WHERE id = ?", (whole(task),)).fetchone()
        return "" if row is None else str(row["account"])

    def pauses(self) -> dict[str, float]:
        """By account, for how many seconds more its service takes nothing, as any process has learned."""
        now = self.now()
        with self._errors(), self._waiting(0):
            rows = self._db.execute("SELECT account, until FROM lane WHERE until > ?", (now,)).fetchall()
        return {row["account"]: row["until"] - now for row in rows}

    def known_prices(self, service: str, max_age_s: float) -> dict[str, Price | None]:
        """By model, what a service's price endpoint told lately; None: it has no price for this model."""
        now = self.now()
        with self._errors():
            return prices.known(self._db, service, now - max_age_s, now)

    def charges(self, tasks: Iterable[int]) -> dict[int, Charge]:
        """What the last submits of these tasks cost, as far as it is known."""
        return {task: found[-1] for task, found in self.all_charges(tasks).items()}

    def all_charges(self, tasks: Iterable[int]) -> dict[int, list[Charge]]:
        """What each submit of these tasks cost, the last one last; what was returned was tried again or left."""
        unowned = self._unowned()
        with self._errors():
            return charges.all_of(self._db, tasks, unowned)

    def costs(self, by: str, since: float | None = None, run: int | None = None) -> list[Sum]:
        """Costs by `day`, `model`, `provider` or `run`, oldest first; what was certainly not charged is left out.

        `run`: only what tasks of this run cost.
        """
        unowned = self._unowned()
        with self._errors():
            return list(charges.sums(self._db, by, since, unowned, None if run is None else whole(run)))

    def open_charges(self, run: int | None = None) -> list[int]:
        """The tasks, of a run or all, with a submit that may have been charged and that no process will settle."""
        unowned = self._unowned()
        with self._errors():
            return charges.open_tasks(self._db, unowned, run)

    def spent(self, limit: Limit) -> Money:
        """What counts against a limit now."""
        with self._errors():
            return charges.spent(self._db, limit, self._leases.owner or 0, self.now(), in_utc=self.is_remote)
