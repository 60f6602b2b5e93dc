"""The history in SQLite: one row a task, always in its last state, shared by every process of this person.

Commands read and claim tasks through one connection. One thread (writer.py) writes the events of a run: all that have
come since the last transaction go into the next, so that a receipt costs microseconds instead of a disk flush, and the
event loop never waits. The runner awaits `flush` where an event must be on disk before the next step.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_cli.core.charges import Charge
from imagegen_cli.core.errors import HistoryError, Reason
from imagegen_cli.core.events import Event, TaskChanged
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import Money, Price, Quote
from imagegen_cli.core.task import (
    ENDED,
    Cancelled,
    CancelOutcome,
    Failed,
    Job,
    Queued,
    RunId,
    Running,
    State,
    Submitting,
    Task,
    TaskId,
    word,
)
from imagegen_cli.storage import (
    charges,
    pictures,
    places,
    prices,
    receipts,
    search,
    serialize,
    updates,
)
from imagegen_cli.storage.charges import Budget, Tally
from imagegen_cli.storage.database import MAX_LOCK_WAIT_S, MAX_ROWS_AT_ONCE, SET_BACK
from imagegen_cli.storage.processes import Process, this_process
from imagegen_cli.storage.queries import MAX_ROWS_AT_A_LOOK, Queries
from imagegen_cli.storage.receipts import Sent
from imagegen_cli.storage.records import (
    UNFINISHED,
    Filter,
    Numbers,
    Origin,
    PlanChangedError,
    Planned,
    Record,
    others_of,
)
from imagegen_cli.storage.rows import key_of, record_of, whole
from imagegen_cli.storage.writer import NOTICED_S, Writer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from imagegen_cli.storage.dialect import Connection, Row
    from imagegen_cli.storage.forgetting import Forgotten
    from imagegen_cli.storage.missing_tasks import Made, PutBack, Restored
    from imagegen_cli.storage.receipt_lines import Receipt

ADD_WAIT_S = 0.5
"""Seconds that a task which joins a run waits for a lock: the event loop of the run stands meanwhile."""
HEARTBEAT_S = 5.0
"""Seconds between two heartbeats of a process that has tasks."""
TAKEN = (
    "shared = 1 AND state IN ('queued', 'submitting', 'running', 'saving') AND (owner IS NOT NULL OR state != 'queued')"
)
"""What a worker has taken and not ended, in the words of the index."""

UNFINISHED_COPY = "unfinished-copy"
"""The name in `meta` of a copy whose source may go on with the same tasks. The value: its number, and whose it is."""
COPY_AGAIN = Message("give the same command again: imagegen history migrate FROM TO --keep to; it finishes the copy")


class Store(Queries):
    """The history that all commands and runs of a person share. Raises HistoryError where the database cannot be used.

    Every claim of a task raises its fence number, and every write names owner and fence. So a process that was taken
    for dead, and that goes on after others have claimed its tasks, changes nothing any more, and `lost` tells it.
    """

    def __init__(self, path: Path, *, wait_s: float = MAX_LOCK_WAIT_S, process: Process | None = None) -> None:
        self._leases = self.leases_of(process or this_process())  # before a migration, whose transaction keeps it
        super().__init__(path, wait_s=wait_s)
        self._leases.continuity = self.continuity()
        meta = self._meta()
        self._token = meta["token"]
        self.unfinished_copy = meta.get(UNFINISHED_COPY, "")
        """Not empty where this history is a copy that is not finished: nothing may go on with its tasks."""
        self._heartbeat_at = -math.inf
        self._sent: dict[TaskId, Sent] = {}
        """What this process has receipts for, whatever has become of the history since."""
        self._origins: dict[TaskId, Origin] = {}
        """When and for which list the tasks of this process were planned, as the history has said."""
        self._quotes: dict[TaskId, Quote] = {}
        """What their last submits were expected to cost."""
        self._run_of_made: RunId | None = None
        self._returned: set[TaskId] = set()
        """Tasks whose receipts this process has put back into a history that was set back."""
        self._unanswered: dict[TaskId, Task] = {}
        """What may have been sent, of which no receipt is known."""
        self._told_unanswered: set[TaskId] = set()
        """Those of them that were noted in a history that was set back."""
        self.unknown: list[Task] = []
        """Those of them that it lacks."""
        self.made: list[Made] = []
        """Tasks that the history lacked when this process put their receipts back."""
        self._receipts_seen = 0
        """The last receipt when none was misplaced."""
        self._cancelling: set[TaskId] = set()
        """Returned by `cancel_requests`; the writer has not yet deleted the request."""
        self.budget = self.new_budget()
        """What this process may spend; the limits are set before a run begins."""
        self._writer = Writer(self, self._leases, self.budget)

    @property
    def token(self) -> str:
        """A random word that is part of the names of this history's part files."""
        return self._token

    @property
    def host(self) -> str:
        """The name of this machine, where the history has several; else empty."""
        return self._leases.me.host if self.is_remote else ""

    @property
    def lost(self) -> set[TaskId]:
        """Tasks of this process that another process has claimed meanwhile."""
        return self._leases.lost

    def close(self) -> list[Task]:
        """Write all events that are left, and end the lease of this process on its tasks.

        Returns the tasks whose last state could not be written: the wait for a lock is as long as always.
        """
        unwritten = self._writer.close()
        if self._leases.is_set_back:
            self._put_back()
            unwritten = self._unsaved(unwritten)
        with suppress(HistoryError):  # the lease dies with this process anyway
            if self._leases.owner is not None and not unwritten and not self._leases.is_set_back:
                with self._transaction():
                    places.leave(self._db, self._leases.owner, self._leases.shared_now(self._db))
                    query = f"SELECT id FROM task WHERE {TAKEN} AND owner = ? AND state = 'queued'"  # noqa: S608 - only our own words
                    rows = self._db.execute(query, (self._leases.owner,)).fetchall()
                    self._give_back([row["id"] for row in rows])
                    self._db.execute("DELETE FROM process WHERE id = ?", (self._leases.owner,))
        self._db.close()
        return unwritten

    def _put_back(self) -> None:
        """Put what this process knows into the history as it is now, which may be another file.

        That is its receipts, and which tasks may have been sent without one.
        """
        fresh = [sent for id_, sent in list(self._sent.items()) if id_ not in self._returned]
        unanswered = self._fresh_unanswered()
        if not fresh and not unanswered:
            return
        with suppress(HistoryError), self._as_it_is() as now:
            put = now.take_back(fresh, self._origins, self._quotes, self._run_of_made)
            self.unknown += now.take_uncertain(unanswered)
            self._run_of_made = put.run
            self.made += put.made
            self._returned |= {sent.task.id for sent in fresh}
            self._told_unanswered |= {task.id for task in unanswered}

    def _fresh_unanswered(self) -> list[Task]:
        return [task for id_, task in list(self._unanswered.items()) if id_ not in self._told_unanswered]

    @property
    def has_returned(self) -> bool:
        """Whether this process has put receipts back into a history that was set back."""
        return bool(self._returned)

    def take_back(
        self,
        sent: Sequence[Sent],
        origins: Mapping[TaskId, Origin],
        quotes: Mapping[TaskId, Quote],
        run: RunId | None,
    ) -> "PutBack":
        """Take receipts of a process that knew this history in a later state, with what that had said of the tasks."""
        self._origins.update(origins)
        self._quotes.update(quotes)
        with self._transaction():
            return self._put_receipts(self._db, sent, run)

    def take_uncertain(self, tasks: Iterable[Task]) -> list[Task]:
        """Note that these tasks may have been sent without an answer. Returns those that this history lacks."""
        with self._transaction():
            return receipts.doubt(self._db, tasks)

    def _as_it_is(self) -> "AbstractContextManager[Store]":
        """The history that is there now."""
        return closing(Store(self.path, wait_s=min(self._wait_s, ADD_WAIT_S)))

    def _unsaved(self, unwritten: list[Task]) -> list[Task]:
        """These tasks and those whose receipts could not be put back."""
        lost = {id_: sent.task for id_, sent in self._sent.items() if id_ not in self._returned}
        return list((lost | {task.id: task for task in unwritten if task.id not in lost}).values())

    def _put_receipts(self, db: "Connection", sent: Sequence[Sent], run: RunId | None = None) -> "PutBack":
        """Write into a history that was set back what it lacks. Where a receipt fits no task of it, it gets a new one.

        Only inside of a writing transaction. `run`: of such tasks that were made before.
        """
        from imagegen_cli.storage import missing_tasks  # noqa: PLC0415 - few histories were set back

        for one in sent:
            if one.task.job is not None and receipts.is_there(db, one.task):
                updates.heal(db, one.task.id, Running(one.task.job))
        complete = receipts.keep(db, sent, self.now())
        receipts.recover(db, self._leases.living(db))
        known = {one.task.id: one.task.run for one in sent if receipts.is_there(db, one.task)}
        found = [self._receipt(one.task, one.task.job) for one in sent if one.task.job is not None]
        held = missing_tasks.holders(db, [(_provider_of(one, None), one.job.id) for one in found], known)
        lost = [one for one in found if (_provider_of(one, None), one.job.id) not in held]
        run, made = self._make(db, lost, run)
        return missing_tasks.PutBack(complete - {TaskId(one.task) for one in lost}, run, made)

    def _make(
        self, db: "Connection", lost: "Sequence[Receipt]", run: RunId | None = None
    ) -> "tuple[RunId | None, list[Made]]":
        if not lost:
            return run, []
        from imagegen_cli.storage import missing_tasks  # noqa: PLC0415 - few histories were set back

        numbering = missing_tasks.Numbering(
            self._token,
            lambda table, count: self._numbers(table, count, db),
            self.words_of,
            lambda id_: self.note_words(id_, db),
            self.now(),
        )
        return missing_tasks.make(db, lost, run, numbering)

    def _receipt(self, task: Task, job: Job) -> "Receipt":
        from imagegen_cli.storage.receipt_lines import receipt_of  # noqa: PLC0415 - few histories were set back

        return receipt_of(task, job, self._origins.get(task.id, Origin()), self._quotes.get(task.id))

    def receipts_of(self, tasks: Iterable[Task]) -> "list[Receipt]":
        """The receipts of those of these tasks that have one, with all that is needed to make the tasks again."""
        found = (task for task in tasks if task.id not in self._returned)
        return [self._receipt(task, task.job) for task in found if task.job is not None]

    def record(self, event: Event) -> None:
        """Write an event soon: this is a Sink. It returns at once; see `flush`."""
        if isinstance(event, TaskChanged) and isinstance(event.task.state, Submitting) and event.task.state.quote:
            self._quotes[event.task.id] = event.task.state.quote
        if isinstance(event, TaskChanged) and event.task.job is not None:
            self._note_sent(event.task)
        self._writer.put(event)

    def follow(self, event: Event) -> None:
        """Remember each submit that leaves, as long as nothing tells what became of it: this is a Sink.

        Unlike `record` it is told of a submit only once that is granted.
        """
        if not isinstance(event, TaskChanged):
            return
        if _waits_for_receipt(event.task.state):
            self._unanswered[event.task.id] = event.task
        else:
            self._unanswered.pop(event.task.id, None)

    def _note_sent(self, task: Task) -> None:
        """Remember a receipt. The id of ours for a request that is about to leave is none."""
        fence = self._leases.fences.get(task.id)
        if not isinstance(task.state, Submitting) and fence is not None:
            self._sent[task.id] = Sent(task, fence)

    @property
    def is_set_back(self) -> bool:
        """Whether the history was set back to an earlier state: this process sends nothing more."""
        return self._leases.is_set_back

    @property
    def behind_s(self) -> float:
        """For how many seconds the oldest change has waited that is not written."""
        return self._writer.behind_s

    def recover_receipts(self, ids: Iterable[int] = ()) -> list[TaskId]:
        """Let tasks run that wait to be sent although they were sent, because the history was set back. Returns them.

        `ids`: tasks that this process is about to claim; it looks among its own receipts for them too.
        """
        own = [self._sent[TaskId(id_)] for id_ in ids if id_ in self._sent]
        with self._errors():
            if not own and (newest := receipts.newest(self._db)) == self._receipts_seen:
                return []
            if not own and not receipts.misplaced(self._db):
                self._receipts_seen = newest
                return []
        with self._transaction():
            receipts.keep(self._db, own, self.now())
            return receipts.recover(self._db, self._leases.living(self._db))

    async def flush(self) -> None:
        """Wait until everything recorded so far is durable. Raises DiskError where it cannot be."""
        from asyncio import wrap_future  # noqa: PLC0415 - a command that only reads has no loop

        await wrap_future(self._writer.flush())

    @property
    def trouble(self) -> str:
        """Why nothing could be written, or heard, for some seconds; empty where all is well."""
        if self.is_set_back:
            return SET_BACK.format(name=self.name)
        if (behind := self._writer.behind_s) <= NOTICED_S:
            return ""
        said = Message("the history {name} has not been written for {seconds:.0f} s")
        return self._writer.trouble or said.format(name=self.name, seconds=behind)

    @contextmanager
    def quickly(self) -> Iterator[None]:
        """Inside, nothing waits for long: the event loop stands meanwhile, or a person waits for the end."""
        with self._errors(), self._waiting(min(self._wait_s, ADD_WAIT_S)):
            yield

    # New tasks

    def reserve(self, tasks: int, run: RunId | None = None) -> Numbers:
        """Reserve numbers for tasks of a new run, or of `run`, so that file names can be made of them.

        For a run that is going on, the wait for a lock is at most ADD_WAIT_S.
        """
        wait_s = self._wait_s if run is None else min(self._wait_s, ADD_WAIT_S)
        with self._errors(), self._waiting(wait_s), self._transaction():
            if run is None:
                run = RunId(self._numbers("run", 1)[0])
            return Numbers(run, tuple(map(TaskId, self._numbers("task", tasks))))

    def start_run(
        self, run: RunId, command: str, source: str, planned: Sequence[Planned], *, for_workers: bool = False
    ) -> tuple[Task, ...]:
        """Insert a run and its tasks, which belong to this process from now on, or wait for workers.

        Raises PlanChangedError, and inserts nothing, where another process has planned or sent the same meanwhile, or
        where a receipt says so.
        """
        adopted = [item.adopts.task.id for item in planned if item.adopts is not None]
        if adopted and set(self.recover_receipts(adopted)).intersection(adopted):
            raise PlanChangedError
        with self._transaction():
            self._leases.own(self._db)
            self._check_plan(planned)
            started = "INSERT INTO run (id, command, source, started) VALUES (?, ?, ?, ?)"
            self._db.execute(started, (run, command, source, self.now()))
            with self.in_bulk() if not adopted else nullcontext():
                tasks = tuple(self._plan(run, item, for_workers=for_workers) for item in planned)
            if for_workers and adopted:
                self._give_back(adopted)
        if for_workers:
            self.notify("tasks")
        return tasks

    def add(self, run: RunId, planned: Sequence[Planned]) -> tuple[Task, ...]:
        """Insert further tasks into a run that is going on; the wait for a lock is at most ADD_WAIT_S."""
        with self._errors(), self._waiting(min(self._wait_s, ADD_WAIT_S)), self._transaction():
            return tuple(self._plan(run, item) for item in planned)

    def _check_plan(self, planned: Sequence[Planned]) -> None:
        compared = [item for item in planned if item.earlier is not None or item.others is not None]
        known = self.known(item.identity for item in compared) if compared else {}
        if repeated := self._repeated(item.repeats for item in planned if item.repeats is not None):
            raise PlanChangedError(Message("task {id} was sent once more already").format(id=repeated))
        for item in compared:
            now = known.get((item.source, item.identity), [])
            if item.earlier is not None and [one.version for one in now] != [one.version for one in item.earlier]:
                raise PlanChangedError(item.source)
            if item.others is not None and others_of(item.source, item.identity, known) != item.others:
                raise PlanChangedError(item.source)

    def _repeated(self, ids: Iterable[int]) -> int | None:
        """The first of these tasks that another task repeats, if that one runs or is done."""
        row = self._db.execute(
            "SELECT json_extract(facts, '$.repeats') AS first FROM task WHERE state NOT IN ('failed', 'cancelled')"
            " AND facts LIKE '%\"repeats\"%' AND json_extract(facts, '$.repeats') IN (SELECT value FROM json_each(?))"
            " LIMIT 1",
            (json.dumps(list(ids)),),
        ).fetchone()
        return None if row is None else int(row["first"])

    def _plan(self, run: RunId, item: Planned, *, for_workers: bool = False) -> Task:
        if item.adopts is None:
            return self._insert(run, item, for_workers=for_workers)
        return self._adopt(run, item, item.adopts)

    def _adopt(self, run: RunId, item: Planned, before: Record) -> Task:
        """Move a task that was never sent into this run, as if it had been planned now."""
        task = replace(
            before.task, run=run, request=item.request, state=Queued(), folder=item.folder, name=item.name,
            expected_images=item.expected_images, alternatives=item.alternatives, parents=item.parents,
            cell=item.cell,
        )  # fmt: skip
        self._take_over(task, before.fence + 1, self._leases.own(self._db), again=False)
        self._db.execute(
            "UPDATE task SET run = ?, folder = ?, name = ?, parents = ?, cell = ? WHERE id = ?",
            (run, item.folder, item.name, serialize.dumps(item.parents), serialize.in_order(item.cell), before.task.id),
        )
        updates.write_request(self._db, task)
        updates.remember(self._db, task.id, item)
        self._origins[task.id] = Origin(before.created, item.source, item.identity)
        return task

    def _insert(self, run: RunId, item: Planned, *, for_workers: bool = False) -> Task:
        owner, prompt, now = self._leases.own(self._db), item.request.prompt, self.now()
        updates.insert(
            self._db, run, item, None if for_workers else owner, at=now, host="" if for_workers else self.host,
            words=self.words_of(prompt),
        )  # fmt: skip
        self.note_words(item.id)
        if not for_workers:
            self._leases.fences[item.id] = 1
            self._origins[item.id] = Origin(now, item.source, item.identity)
        return Task(
            id=item.id, run=run, request=item.request, state=Queued(), folder=item.folder, name=item.name,
            key=key_of(self._token, item.id, now), expected_images=item.expected_images, alternatives=item.alternatives,
            parents=item.parents,
            facts=updates.said(item),
            cell=item.cell,
        )  # fmt: skip

    # Claims

    def claim(
        self, changes: Sequence[tuple[Record, State]], *, again: bool = False, for_workers: bool = False
    ) -> tuple[list[Task], list[Record], list[Record]]:
        """Make tasks this process' own, each changed from the state that the caller has read to a new one.

        Returns the tasks claimed, the records that another living process owns, and the records that have changed since
        they were read. It is one transaction: of several processes that try together, one gets a task. With `again` the
        new state begins another attempt: the earlier one is kept, and the times of the task begin anew. A task that
        workers carry is theirs no more, unless it is claimed `for_workers`.
        """
        taken: list[Task] = []
        owned: list[Record] = []
        changed: list[Record] = []
        unsent = [record.task.id for record, state in changes if Queued in (type(record.task.state), type(state))]
        self.recover_receipts(unsent)
        with self._transaction():
            owner = self._leases.own(self._db)
            now = self._by_id([record.task.id for record, _ in changes])
            for record, state in changes:
                current = now.get(record.task.id)
                if current is None or (not self._is_other(current) and current.version != record.version):
                    changed.append(current or record)
                elif self._is_other(current):
                    owned.append(current)
                else:
                    task = replace(current.task, state=state)
                    is_shared = for_workers and current.shared
                    if self._take_over(task, current.fence + 1, owner, again=again, shared=is_shared):
                        self._origins[task.id] = Origin(current.created, current.source, current.identity)
                        taken.append(task)
                    else:
                        changed.append(current)
        return taken, owned, changed

    def _is_other(self, record: Record) -> bool:
        return record.is_owned and record.process != self._leases.me

    def _take_over(self, task: Task, fence: int, owner: int, *, again: bool, shared: bool = False) -> bool:
        """Claim a task; whether its fence is still the one that was read: a worker's claim waits for no other."""
        claimed = self._db.execute(
            "UPDATE task SET owner = ?, fence = ?, shared = ?, host = ? WHERE id = ? AND fence = ?",
            (owner, fence, int(shared), self.host, task.id, fence - 1),
        )
        if not claimed.rowcount:
            return False
        if again:
            updates.keep_attempt(self._db, task.id)
        ended = self.now() if isinstance(task.state, ENDED) else None
        self._db.execute(
            "UPDATE task SET cancel_requested = 0, state = :state, detail = :detail,"
            " reason = :reason, ended = CASE WHEN CAST(:ended AS DOUBLE PRECISION) IS NULL THEN NULL"
            " ELSE coalesce(ended, :ended) END WHERE id = :id",
            {
                "state": word(task.state), "detail": updates.detail_of(task), "reason": updates.reason_of(task),
                "ended": ended, "id": task.id,
            },
        )  # fmt: skip
        self.budget.known.pop(task.id, None)
        charges.follow(self._db, task.id, task.state)
        places.hold(self._db, task.id, task.state, self.budget.shared_now())
        pictures.keep(self._db, task.id, task.state)
        if isinstance(task.state, ENDED):
            updates.fall_back(self._db, task)
        self._leases.fences[task.id] = fence
        self._leases.lost.discard(task.id)
        return True

    # Tasks for workers

    def claim_queued(
        self,
        providers: Sequence[str],
        limit: int,
        *,
        folder: str = "",
        without: Collection[TaskId] = (),
        fits: Callable[[Task], bool] = lambda _: True,
    ) -> list[Task]:
        """Take tasks of these providers that wait for a worker, the oldest first, and at most so many.

        Their pictures go into `folder`, if it is given, else where they were planned to go. `without`: tasks that are
        left to others, as those are that do not fit. A task that was sent, as a receipt says, is not taken: see
        `recover_receipts`.
        """
        if not providers or limit < 1:
            return []
        names = ",".join("?" * len(providers))
        with self._errors(), self._waiting(min(self._wait_s, ADD_WAIT_S)), self._claiming():
            owner = self._leases.own(self._db)
            rows = self._db.execute(
                "SELECT * FROM task WHERE shared = 1 AND state = 'queued' AND owner IS NULL"  # noqa: S608 - only our own words
                f" AND {self.PLUS}provider IN ({names}) AND {self.PLUS}id NOT IN (SELECT value FROM json_each(?))"
                f" ORDER BY id LIMIT ?{self.LOCKED}",
                (*providers, json.dumps(list(without)), limit),
            ).fetchall()
            rows = self._without_sent(rows)
            found = [(row, task) for row in rows if fits(task := record_of(row, {}, self._token).task)]
            ids = json.dumps([task.id for _, task in found])
            self._db.execute(
                "UPDATE task SET owner = ?, host = ?, fence = fence + 1, cancel_requested = 0,"
                " folder = CASE WHEN ? = '' THEN folder ELSE ? END WHERE id IN (SELECT value FROM json_each(?))",
                (owner, self.host, folder, folder, ids),
            )
            tasks = [replace(task, folder=folder) if folder else task for _, task in found]
        for row, _ in found:
            self._leases.fences[TaskId(row["id"])] = row["fence"] + 1
            self._origins[TaskId(row["id"])] = Origin(row["created"], row["source"], row["identity"])
            self._leases.lost.discard(TaskId(row["id"]))
        return tasks

    def _without_sent(self, rows: "list[Row]") -> "list[Row]":
        """The rows of tasks that no receipt tells of, also none of this process; the other tasks go on with theirs."""
        own = [self._sent[row["id"]] for row in rows if row["id"] in self._sent]
        if own:
            receipts.keep(self._db, own, self.now())
        going = set(receipts.recover_these(self._db, [row["id"] for row in rows])) if rows else set()
        return [row for row in rows if row["id"] not in going]

    def left_by_workers(self, providers: Sequence[str], *, without: Collection[TaskId] = ()) -> list[Record]:
        """Unfinished tasks that dead workers left, newest first. What was not sent is back in the queue after this.

        `without`: tasks that are left as they are.
        """
        self.recover_receipts()
        names = ",".join("?" * len(providers)) or "NULL"
        query = f"SELECT * FROM task WHERE {TAKEN} AND {self.PLUS}provider IN ({names}) ORDER BY id DESC LIMIT ?"  # noqa: S608 - only our own words
        with self._errors():
            rows = self._db.execute(query, (*providers, MAX_ROWS_AT_ONCE)).fetchall()
            taken = self._records(rows)
            records = [record for record in taken if not record.is_owned and record.task.id not in without]
        unsent = [record for record in records if isinstance(record.task.state, Queued)]
        if left := [record.task.id for record in unsent if record.owner is not None]:
            with self._transaction():
                now = self._by_id(left)
                same = [one for one in unsent if (found := now.get(one.task.id)) and found.version == one.version]
                self._give_back([record.task.id for record in same])
        return [record for record in records if not isinstance(record.task.state, Queued)]

    def cancel_queued(self, run: int) -> list[TaskId]:
        """Cancel those tasks of a run that no worker has taken, but for those that were sent, as a receipt says."""
        self.recover_receipts()
        waits = f"run = ? AND shared = 1 AND state = 'queued' AND owner IS NULL AND NOT {receipts.IS_SENT}"
        detail = serialize.dumps(serialize.from_state(Cancelled(CancelOutcome.NOT_SENT)))
        with self._transaction():
            found = self._db.execute(f"SELECT id FROM task WHERE {waits}", (run,)).fetchall()  # noqa: S608 - our own words
            self._db.execute(
                "UPDATE task SET state = 'cancelled', detail = ?, reason = 'cancelled', ended = ?, shared = 0,"  # noqa: S608 - our own words
                f" fence = fence + 1 WHERE {waits}",
                (detail, self.now(), run),
            )
        return [row["id"] for row in found]

    def give_back(self, ids: Sequence[int]) -> bool:
        """Let other workers take tasks that this process has not sent; whether the history knows that of all of them.

        A task that came back to be sent again may still be leaving, as the history has it: that is this process's until
        the change is written, and `keep_only` or `close` gives it back.
        """
        with self._transaction():
            query = "SELECT id, state FROM task WHERE owner = ? AND id IN (SELECT value FROM json_each(?))"
            mine = self._db.execute(query, (self._leases.owner, json.dumps(list(ids)))).fetchall()
            waiting = [row["id"] for row in mine if row["state"] == "queued"]
            self._give_back(waiting)
        self.notify("tasks")
        return len(waiting) == len(mine)

    def keep_only(self, ids: Collection[int]) -> bool:
        """Leave to other workers what this process has claimed for them and is not at work on; whether that was done.

        A claim whose answer was lost may have been written, and a task that was left while the history was away is
        still this process's. Nothing is left while something waits to be written: that may be the end of a task.
        """
        if self._writer.behind_s:
            return False
        with self._transaction():
            query = f"SELECT id FROM task WHERE {TAKEN} AND owner = ? AND id NOT IN (SELECT value FROM json_each(?))"  # noqa: S608 - only our own words
            rows = self._db.execute(query, (self._leases.owner, json.dumps(list(ids)))).fetchall()
            left = [row["id"] for row in rows]
            self._give_back(left)
            free = (
                "UPDATE task SET owner = NULL, fence = fence + 1"
                " WHERE owner = ? AND id IN (SELECT value FROM json_each(?))"
            )
            self._db.execute(free, (self._leases.owner, json.dumps(left)))
            for id_ in left:
                self._leases.fences.pop(TaskId(id_), None)
        if left:
            self.notify("tasks")
        return True

    def _give_back(self, ids: Sequence[int]) -> None:
        self._db.execute(
            "UPDATE task SET owner = NULL, shared = 1, host = '', fence = fence + 1, cancel_requested = 0"
            " WHERE state = 'queued' AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        for id_ in ids:
            self._leases.fences.pop(TaskId(id_), None)

    # Accounts that processes share

    def share_pause(self, account: str, seconds: float) -> None:
        """Let all processes know that the service of an account takes nothing for so many seconds."""
        share = (
            "INSERT INTO lane (account, until) VALUES (?, ?) ON CONFLICT (account) DO UPDATE"
            " SET until = excluded.until WHERE lane.until < excluded.until"
        )
        self._writer.change(share, account, self.now() + seconds)
        self.notify("pause")

    def listen(self) -> None:
        """Begin to hear of other machines at once, where that can be."""

    def notify(self, what: str) -> None:
        """Wake other machines that listen."""

    @property
    def wakes(self) -> int:
        """How often others have woken this process."""
        return 0

    def left_at(self, account: str) -> list[TaskId]:
        """Tasks of dead workers that hold places at an account until they are taken over.

        Processes that are dead are struck out, so that what they began by themselves holds none.
        """
        at_work = "state IN ('submitting', 'running')"
        query = f"SELECT * FROM task WHERE account = ? AND {at_work} AND shared = 1 ORDER BY id LIMIT ?"  # noqa: S608 - only our own words
        with self._transaction():
            self._leases.strike_dead(self._db)
            found = self._records(self._db.execute(query, (account, MAX_ROWS_AT_A_LOOK)).fetchall())
        return [record.task.id for record in found if not record.is_owned]

    def take(self, ids: Sequence[int]) -> tuple[list[Record], list[Record]]:
        """Claim tasks in the state that they are in. Returns those claimed, and those that another process owns."""
        records = list(self._by_id(ids).values())
        taken, owned, changed = self.claim([(record, record.task.state) for record in records])
        names = {task.id for task in taken}
        return [record for record in records if record.task.id in names], [*owned, *changed]

    def request_cancel(self, ids: Sequence[int]) -> None:
        """Ask the processes that own these tasks to cancel them."""
        with self._transaction():
            self._db.executemany("UPDATE task SET cancel_requested = 1 WHERE id = ?", [(id_,) for id_ in ids])

    def cancel_requests(self) -> list[TaskId]:
        """Tasks of this process that another one asks to cancel, each returned once. Also writes the heartbeat.

        It is called on the event loop, so it waits for no lock, and leaves the writing to the writer.
        """
        if self._leases.owner is None:
            return []
        if not self._goes_on():
            self._put_back()
            return []
        if time.monotonic() - self._heartbeat_at > HEARTBEAT_S:
            self._heartbeat_at = time.monotonic()
            self._writer.change(*self._leases.heartbeat())
        known = set(self._cancelling)  # before the reading: the writer may forget one meanwhile
        fresh = self._cancels() - known
        if fresh:  # and no others: one more request may have come since
            self._cancelling |= fresh
            forget = "UPDATE task SET cancel_requested = 0 WHERE id IN (SELECT value FROM json_each(?))"
            ids = json.dumps(sorted(fresh))
            self._writer.change(forget, ids, done=lambda: self._cancelling.difference_update(fresh))
        return sorted(fresh)

    def _goes_on(self) -> bool:
        """Whether the history is what it was, and in no earlier state."""
        if not self._leases.is_set_back:
            with suppress(HistoryError), self._errors(), self._waiting(0):
                self._leases.check(self._db)
        return not self._leases.is_set_back

    def _cancels(self) -> set[TaskId]:
        with self._errors(), self._waiting(0):
            query = "SELECT id FROM task WHERE owner = ? AND cancel_requested = 1"
            return {TaskId(row["id"]) for row in self._db.execute(query, (self._leases.owner,))}

    def restore_receipts(self, found: "Sequence[Receipt]") -> "Restored":
        """Write receipts that an earlier process could not write.

        A task that was being sent, or that is uncertain, gets its own, and one that waits to be sent: the history may
        have been set back. A receipt that no task holds, and that its task cannot take, gets a new task.
        """
        from imagegen_cli.storage import missing_tasks  # noqa: PLC0415 - few histories were set back

        with self._transaction():
            known = self._by_id(sorted({one.task for one in found}))
            records = [known.get(TaskId(one.task)) for one in found]
            named = [
                record if record is not None and _is_of(one, record.task) else None
                for one, record in zip(found, records, strict=True)
            ]
            jobs = [(_provider_of(one, record), one.job.id) for one, record in zip(found, named, strict=True)]
            runs = {record.task.id: record.task.run for record in named if record is not None}
            held = missing_tasks.holders(self._db, jobs, runs)
            healed: dict[TaskId, None] = {}
            before: dict[TaskId, None] = {}
            lost: dict[tuple[str, str], Receipt] = {}
            strangers: list[Receipt] = []
            for one, record, job in zip(found, named, jobs, strict=True):
                holder, own = held.get(job), None if record is None else record.task.id
                if record is not None and holder in (None, own) and own not in healed and self._takes(record, one):
                    healed[record.task.id] = None
                    held[job] = record.task.id
                elif holder is not None:
                    before[holder] = None
                elif one.planned is not None:
                    lost.setdefault(job, one)
                elif record is None:
                    strangers.append(one)
            _, made = self._make(self._db, list(lost.values()))
        return missing_tasks.Restored(list(healed), [id_ for id_ in before if id_ not in healed], made, strangers)

    def _takes(self, record: Record, receipt: "Receipt") -> bool:
        """Let a task have its receipt; whether it could take it."""
        state, id_ = record.task.state, record.task.id
        if isinstance(state, Queued) and receipt.job.id not in self._jobs_before(id_):
            receipts.put_back(self._db, id_, Running(receipt.job), record.fence + 1)
        else:
            may_heal = not self._is_other(record) and (receipt.planned is None or _waits_for_receipt(state))
            if not (may_heal and updates.heal(self._db, id_, Running(receipt.job), sending=True)):
                return False
        receipts.write(self._db, id_, record.fence, receipt.job, self.now())
        return True

    def _jobs_before(self, id_: int) -> set[str]:
        """The jobs of earlier attempts of a task: none of them is what its next one came to."""
        states = (attempt.state for attempt in self.attempts(id_))
        return {job.id for job in (getattr(state, "job", None) for state in states) if job is not None}

    # What a command reads

    def set_favourite(self, task: int, number: int, *, is_one: bool) -> None:
        """Keep a picture of a task among the favourites, or no longer; number 0 is the whole task."""
        with self._transaction():
            row = self._db.execute("SELECT favourites FROM task WHERE id = ?", (whole(task),)).fetchone()
            before = set(json.loads(row["favourites"] or "[]")) if row is not None else set()
            now = before | {number} if is_one else before - {number} if number else set()
            text = json.dumps(sorted(now)) if now else ""
            self._db.execute("UPDATE task SET favourites = ? WHERE id = ?", (text, whole(task)))

    def forget(self, records: Sequence[Record]) -> "list[Forgotten]":
        """Delete tasks that have ended, with all that is known of them but their costs, and runs that are then empty.

        Tasks that have changed since they were read stay. Returns what was deleted, with its pictures.
        """
        if records and not self.is_indexed():
            hint = Message("use a Python whose SQLite has FTS5, when nothing else writes; nothing was forgotten")
            raise HistoryError(Message("the words of these tasks cannot be taken out of the index"), hint=hint)
        try:
            return self._forgotten(records)
        except HistoryError as error:
            if not search.is_damaged(error.__cause__) or not self.rebuild_index():
                raise
            return self._forgotten(records)

    def _forgotten(self, records: Sequence[Record]) -> "list[Forgotten]":
        from imagegen_cli.storage import forgetting  # noqa: PLC0415 - few commands forget

        with self._transaction():
            now = self._by_id([record.task.id for record in records])
            kept = [record for record in records if forgetting.is_same(record, now.get(record.task.id))]
            self.delete_securely()
            return forgetting.forget(self._db, kept, self.forget_words)

    def may_be_silent(self) -> bool:
        """Note the heartbeats of processes elsewhere; whether one may be dead and was not watched for long enough."""
        with self._transaction():
            self._leases.watch(self._db)
            return self._leases.may_be_silent(self._db)

    def keep_prices(self, service: str, found: Mapping[str, Price | None]) -> None:
        """Write what a service's price endpoint told now."""
        with self._transaction():
            prices.keep(self._db, service, found, self.now())

    def forget_prices(self) -> None:
        """Let the price endpoints be asked anew, where an answer of today has proved too low."""
        with self._transaction():
            prices.forget(self._db)

    def new_budget(self) -> Budget:
        """A budget without limits. Where several machines share the history, its days are those of the server."""
        return Budget(tally=Tally(in_utc=True), clock=self.now) if self.is_remote else Budget()

    def settle(self, tasks: Iterable[int], amount: Money | None) -> dict[int, list[Charge]]:
        """Take a person's word for what open submits of these tasks cost each; None: as reserved, 0: nothing.

        Returns the charges that were open, as they are now. Tasks that a living process works on are left to it, and no
        task changes.
        """
        settled: dict[int, list[Charge]] = {}
        with self._transaction():
            wanted = sorted(set(tasks))
            records = self._by_id(wanted)
            for task in wanted:  # one that was forgotten still has its costs
                owned = task in records and records[task].is_owned
                if found := charges.settle(self._db, task, amount, owned=owned):
                    settled[task] = found
        return settled

    def _meta(self) -> dict[str, str]:
        """What is known of the history itself. Closes it where that cannot be read."""
        try:
            with self._errors():
                found = {row["name"]: row["value"] for row in self._db.execute("SELECT name, value FROM meta")}
                return found | {"token": str(found["token"])}
        except BaseException:
            self._db.close()
            raise

    # Copies

    @contextmanager
    def copying(self) -> "Iterator[Connection]":
        """Its connection, while no other process writes; what is written to it is kept if nothing goes wrong."""
        with self.be_patient(), self._transaction():
            self.lock_all()
            yield self._db

    def let_go(self) -> int:
        """Cancel what has not ended, because another history goes on with it. Only inside of `copying`.

        What was not sent is cancelled as such; of the rest it stays known that the service may go on with it.
        """
        receipts.recover(self._db, self._leases.living(self._db))
        detail = serialize.dumps(serialize.from_state(Cancelled(CancelOutcome.NOT_SENT)))
        unsent = self._db.execute(
            "UPDATE task SET state = 'cancelled', detail = ?, ended = ?, owner = NULL, shared = 0, fence = fence + 1"
            " WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id)",
            (detail, self.now()),
        ).rowcount
        records = self.find(Filter(states=UNFINISHED))
        owner = self._leases.own(self._db) if records else 0
        for record in records:
            is_queued = isinstance(record.task.state, Queued)
            stop = CancelOutcome.NOT_SENT if is_queued else CancelOutcome.GOES_ON
            task = replace(record.task, state=Cancelled(stop, record.task.job))
            self._take_over(task, record.fence + 1, owner, again=False)
        return unsent + len(records)

    # What all of these use

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Change all or nothing, the lease of this process included."""
        owner = self._leases.owner
        try:
            with self._begun_to_write():
                self._leases.check(self._db)
                yield
            self._leases.note(self._db)
        except BaseException:
            self._leases.owner = owner
            raise

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """Change all or nothing, beside others that claim at the same time; the lease of this process included."""
        owner = self._leases.owner
        try:
            with self._begun_to_claim():
                self._leases.check(self._db)
                yield
            self._leases.note(self._db)
        except BaseException:
            self._leases.owner = owner
            raise


def _is_of(receipt: "Receipt", task: Task) -> bool:
    """Whether a receipt is of this task, and not of another one with its number."""
    return receipt.key in ("", task.key)


def _provider_of(receipt: "Receipt", record: Record | None) -> str:
    """The provider that has the job; empty where nothing tells it."""
    if receipt.planned is not None:
        return receipt.planned.request.provider
    return "" if record is None else record.task.request.provider


def _waits_for_receipt(state: State) -> bool:
    """Whether only a receipt tells what became of a request."""
    return isinstance(state, Submitting) or (isinstance(state, Failed) and state.reason is Reason.UNCERTAIN)
