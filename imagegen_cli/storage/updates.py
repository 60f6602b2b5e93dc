"""What an event changes in the database. All functions but `write` work inside a transaction that is open already."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from imagegen_cli.core.budget import Limit, Period, parse_limits
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import (
    BudgetReached,
    Event,
    LaneChanged,
    PicturesCharged,
    ProviderPaused,
    RunFinished,
    RunStarted,
    RunStopping,
    TaskChanged,
    TaskCharged,
    TaskLearned,
    TaskProgressed,
)
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import NOT_KNOWN, Money, Quote
from imagegen_cli.core.task import (
    BUDGET,
    ENDED,
    MARKS,
    OWN_FACTS,
    SAID,
    Cancelled,
    CancelOutcome,
    Failed,
    ImageRequest,
    Queued,
    RunId,
    Running,
    Saving,
    State,
    Submitting,
    Task,
    TaskId,
    word,
)
from imagegen_cli.storage import charges, pictures, places, receipts, serialize
from imagegen_cli.storage.charges import Budget
from imagegen_cli.storage.database import roll_back
from imagegen_cli.storage.leases import Leases
from imagegen_cli.storage.records import Planned, size_of

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

MAX_KEPT_RUNS = 200
"""Runs whose events are kept for replay. Their tasks are kept for ever."""
OF_RUN = (RunStarted, RunStopping, BudgetReached, ProviderPaused, LaneChanged)
"""Events about a whole run, by which a command that looks on knows why nothing is sent."""
MOMENTS = "started, accepted, began, ready, ended"
"""Columns with the times of an attempt."""
TIME_OF = {Submitting: "started", Running: "accepted", Saving: "ready"}
"""The column that a task's coming into a state sets, the first time."""


def write(db: "Connection", events: Sequence[Event], leases: Leases, budget: Budget) -> None:
    """Write these events in one transaction.

    Tasks that another process has claimed go to `leases.lost`; submits that fit no budget to `budget.refused`, and
    those for which an account has no place to `budget.full`.
    """
    lost: set[TaskId] = set()
    refused: dict[TaskId, str] = {}
    full: set[TaskId] = set()
    db.execute("BEGIN IMMEDIATE")
    try:
        leases.check(db)
        for event in events:
            if because := _over_budget(db, event, leases, budget):
                refused |= because
            elif budget.accounts and _has_no_place(db, event, leases, budget, full):
                continue
            else:
                lost |= _write_one(db, event, leases, budget)
        db.execute("COMMIT")
    except BaseException:
        budget.forget()
        roll_back(db)
        raise
    leases.note(db)
    leases.lost |= lost
    again = {event.task.id for event in events if _is_submit(event)} - refused.keys()
    budget.refused = {id_: why for id_, why in budget.refused.items() if id_ not in again} | refused
    budget.full = (budget.full | full) - {event.task.id for event in events if _is_granted(event, full)}


def _over_budget(db: "Connection", event: Event, leases: Leases, budget: Budget) -> dict[TaskId, str]:
    """The task whose submit does not fit the budget, and why. Its submit is not written: it stays queued."""
    if not (budget.limits or budget.holds_runs) or not isinstance(event, TaskChanged):
        return {}
    state = event.task.state
    if not isinstance(state, Submitting):
        return {}
    quote, owner, at = state.quote or NOT_KNOWN, leases.owner or 0, budget.moment(event.at)
    because = charges.over(db, budget.limits, quote, owner, at, count=budget.tally.spent)
    if not because and (because := _over_budget_of_run(db, event.task, quote, at, budget)):
        budget.of_runs.add(event.task.id)
    return {event.task.id: because} if because else {}


def _over_budget_of_run(db: "Connection", task: Task, quote: Quote, at: float, budget: Budget) -> str:
    """Why a queued task does not fit what the command that queued its run may spend; all workers spend it together."""
    if not budget.holds_runs or not (text := task.facts.get(BUDGET)):
        return ""

    def count(db: "Connection", limit: Limit, command: int, now: float) -> Money:
        if limit.period is Period.COMMAND:
            return charges.spent_in_run(db, limit, task.run)
        return budget.tally.spent(db, limit, command, now)

    because = charges.over(db, parse_limits(str(text)), quote, 0, at, count=count)
    return Message("run {run}: {why}").format(run=task.run, why=because) if because else ""


def _has_no_place(db: "Connection", event: Event, leases: Leases, budget: Budget, full: set[TaskId]) -> bool:
    """Whether a submit finds no place at its account, or the task goes back into the queue because of that.

    Neither is written: in the history the task has been in the queue all the time.
    """
    if not isinstance(event, TaskChanged):
        return False
    task = event.task
    if isinstance(task.state, Queued) and task.id in full | budget.full:
        full.discard(task.id)
        return True
    account = budget.accounts.get(task.request.provider)
    if not isinstance(task.state, Submitting) or account is None:
        return False
    if places.take(db, account, task.id, leases.owner or 0, budget.shared_now()):
        return False
    full.add(task.id)
    return True


def _is_submit(event: Event) -> TypeGuard[TaskChanged]:
    return isinstance(event, TaskChanged) and isinstance(event.task.state, Submitting)


def _is_granted(event: Event, full: set[TaskId]) -> TypeGuard[TaskChanged]:
    """Whether a task needs no place any more: it has one, or it is over. What goes back into the queue looks again."""
    if not isinstance(event, TaskChanged) or isinstance(event.task.state, Queued):
        return False
    return event.task.id not in full


def _write_one(db: "Connection", event: Event, leases: Leases, budget: Budget) -> set[TaskId]:
    """Write one event. Returns its task where another process has claimed it."""
    if isinstance(event, TaskChanged):
        change, ours = _write_state(db, event, leases, budget)
        if not ours:
            budget.known.pop(event.task.id, None)
            _leave_to_others(db, event, leases)
            return {event.task.id}
        _write_event(db, event, event.task.id, change)
        return set()
    if isinstance(event, TaskLearned):
        _learn(db, event)
        return set()
    if isinstance(event, TaskCharged):
        charges.tell(db, event.id, event.amount, event.source, settled=event.settled, budget=budget)
    if isinstance(event, PicturesCharged):
        charges.count(db, event.id, event.images, budget=budget)
    about, body = serialize.from_event(event)
    if isinstance(event, TaskProgressed) and event.working.queue_position:
        db.execute("UPDATE task SET began = ? WHERE id = ?", (event.at, event.id))
    if isinstance(event, RunFinished):
        db.execute("UPDATE run SET ended = ? WHERE id = ?", (event.at, event.run))
        db.execute("DELETE FROM event WHERE run <= ?", (event.run - MAX_KEPT_RUNS,))
    if about is not None:
        _write_event(db, event, about, serialize.dumps(body))
    elif isinstance(event, OF_RUN) and event.run:
        db.execute(
            "INSERT INTO event (run, task, at, kind, body) VALUES (?, NULL, ?, ?, ?)",
            (event.run, event.at, type(event).__name__, serialize.dumps(body)),
        )
    return set()


def _write_event(db: "Connection", event: Event, task: int, body: str) -> None:
    db.execute(
        "INSERT INTO event (run, task, at, kind, body) SELECT run, id, ?, ?, ? FROM task WHERE id = ?",
        (event.at, type(event).__name__, body, task),
    )


def _write_state(db: "Connection", event: TaskChanged, leases: Leases, budget: Budget) -> tuple[str, bool]:
    """Write the state of a task. Returns the change as JSON, and whether the task still belongs to this process."""
    task, state = event.task, event.task.state
    column = "ended" if isinstance(state, ENDED) else TIME_OF.get(type(state))
    moment = f", {column} = coalesce({column}, :at)" if column else ""
    more = "" if isinstance(state, ENDED) else ", ended = NULL"
    account = budget.accounts.get(task.request.provider) if budget.accounts else None
    where = "id = :id AND owner = :owner AND fence = :fence"
    if isinstance(state, Submitting | Failed | Cancelled):
        where += f" AND NOT (state = 'queued' AND {receipts.IS_SENT})"
    if isinstance(state, Submitting):
        more += ", began = NULL" + (", account = :account" if account is not None else "")
        _write_taker(db, task)
    if event.lasted is not None:
        more += ", min_duration_s = :min_s, max_duration_s = :max_s"
    min_s, max_s = event.lasted or (None, None)
    detail = detail_of(task)
    written = db.execute(
        f"UPDATE task SET state = :state, detail = :detail, reason = :reason{moment}{more} WHERE {where}",  # noqa: S608 - only our own words
        {
            "state": word(state), "detail": detail, "reason": reason_of(task), "at": event.at, "id": task.id,
            "owner": leases.owner, "fence": leases.fences.get(task.id), "min_s": min_s, "max_s": max_s,
            "account": account.key if account is not None else "",
        },
    )  # fmt: skip
    if written.rowcount:
        _write_charge(db, event, leases, budget)
        places.hold(db, task.id, state, budget.shared_now())
        pictures.keep(db, task.id, state)
    if written.rowcount and isinstance(state, Failed | Cancelled):
        fall_back(db, task)
    return f'{{"state":"{word(state)}"' + (f",{detail[1:]}" if detail != "{}" else "}"), bool(written.rowcount)


def _write_charge(db: "Connection", event: TaskChanged, leases: Leases, budget: Budget) -> None:
    """Reserve what a submit is expected to cost, in the transaction that says that it leaves; else follow the task."""
    state = event.task.state
    if isinstance(state, Submitting) and state.quote is not None:
        charges.reserve(db, event.task, state.quote, leases.owner or 0, budget.moment(event.at), budget=budget)
    else:
        charges.follow(db, event.task.id, state, budget)


def heal(db: "Connection", id_: int, state: State, *, sending: bool = False) -> bool:
    """Keep a receipt that comes late: `resume` can ask for what was taken for lost. Returns whether it was needed.

    A task that has ended without having been sent, as far as the history knows, was sent before that was set back.
    `sending`: also where the history says that the request is leaving; then no living process may own the task.
    """
    if not isinstance(state, Running | Saving):
        return False
    detail = serialize.dumps(serialize.from_state(state))
    written = db.execute(
        "UPDATE task SET state = ?, detail = ?, reason = '', ended = NULL, owner = NULL, fence = fence + 1"  # noqa: S608 - our own words
        " WHERE id = ? AND ((state = 'failed' AND reason = 'uncertain') OR (state = 'submitting' AND ? = 1)"
        f" OR (state IN ('failed', 'cancelled') AND started IS NULL AND {receipts.NEVER_REPEATED}))",
        (word(state), detail, id_, sending),
    )
    if written.rowcount:
        charges.follow(db, id_, state)
        pictures.keep(db, TaskId(id_), state)
    else:
        db.execute(
            "UPDATE attempt SET state = ?, detail = ? WHERE task = ? AND reason = 'uncertain'",
            (word(state), detail, id_),
        )
    return bool(written.rowcount)


def _leave_to_others(db: "Connection", event: TaskChanged, leases: Leases) -> None:
    """Write down what a service knows a task by whose state this process must not change any more.

    A submit that has lost its task is not sent: an id of ours for it is no receipt. Where the history was set back, the
    number may be another task's, which gets nothing.
    """
    id_, state = event.task.id, event.task.state
    if not receipts.is_there(db, event.task):
        leases.is_set_back = True
        return
    if not isinstance(state, Submitting):
        receipts.write(db, id_, leases.fences.get(id_, 0), event.task.job, event.at)
        heal(db, id_, state)
    receipts.recover(db, leases.living(db))


def keep_attempt(db: "Connection", id_: int) -> None:
    """Keep the state and the times of a task as an earlier attempt, before it is sent again."""
    db.execute(
        f"INSERT INTO attempt (task, number, state, detail, reason, {MOMENTS})"  # noqa: S608 - only our own words
        " SELECT id, (SELECT count(*) + 1 FROM attempt WHERE attempt.task = ?),"
        f" state, detail, reason, {MOMENTS} FROM task WHERE id = ?",
        (id_, id_),
    )
    fresh = ", ".join(f"{moment} = NULL" for moment in (*MOMENTS.split(", "), "min_duration_s", "max_duration_s"))
    db.execute(f"UPDATE task SET {fresh} WHERE id = ?", (id_,))  # noqa: S608 - only our own words


def fall_back(db: "Connection", task: Task) -> None:
    """Where a new attempt was never sent, make the task again what the attempt before had come to."""
    unsent = isinstance(task.state, Cancelled) and task.state.stop is CancelOutcome.NOT_SENT
    if not unsent and not isinstance(task.state, Failed):
        return
    row = db.execute("SELECT * FROM attempt WHERE task = ? ORDER BY number DESC LIMIT 1", (task.id,)).fetchone()
    started = db.execute("SELECT started FROM task WHERE id = ?", (task.id,)).fetchone()
    if row is None or not (unsent or started["started"] is None):
        return
    columns = ("state", "detail", "reason", *MOMENTS.split(", "))
    db.execute(
        f"UPDATE task SET {', '.join(f'{column} = ?' for column in columns)} WHERE id = ?",  # noqa: S608 - only our own words
        (*(row[column] for column in columns), task.id),
    )
    db.execute("DELETE FROM attempt WHERE task = ? AND number = ?", (task.id, row["number"]))


def said(item: Planned) -> dict[str, str]:
    """What a command says of a task that it sends or queues, as facts."""
    return ({MARKS: item.marks} if item.marks else {}) | dict(item.terms)


def remember(db: "Connection", id_: int, item: Planned) -> None:
    """Keep what a command said of a task that it sends or queues, in place of what an earlier one said."""
    row = db.execute("SELECT facts FROM task WHERE id = ?", (id_,)).fetchone()
    facts = {name: value for name, value in json.loads(row["facts"]).items() if name not in SAID} | said(item)
    db.execute("UPDATE task SET facts = ? WHERE id = ?", (serialize.dumps(facts), id_))


def _learn(db: "Connection", event: TaskLearned) -> None:
    """Add what the service told. What is told while a submit is on its way replaces that of an earlier attempt."""
    row = db.execute("SELECT facts, state FROM task WHERE id = ?", (event.id,)).fetchone()
    if row is not None:
        before = serialize.to_facts(json.loads(row["facts"]))
        kept = before if row["state"] != "submitting" else {name: before[name] for name in OWN_FACTS if name in before}
        facts = serialize.from_facts(kept | dict(event.facts))
        db.execute("UPDATE task SET facts = ? WHERE id = ?", (serialize.dumps(facts), event.id))


def _write_taker(db: "Connection", task: Task) -> None:
    """Write as which of its alternatives a task is sent: that is decided only now."""
    row = db.execute("SELECT provider FROM task WHERE id = ?", (task.id,)).fetchone()
    if row is not None and row["provider"] != task.request.provider:
        write_request(db, task)


def write_request(db: "Connection", task: Task) -> None:
    """Write the request of a task and its alternatives."""
    request = task.request
    db.execute(
        "UPDATE task SET provider = ?, model = ?, size = ?, request = ?, expected_images = ?, alternatives = ?"
        " WHERE id = ?",
        (
            request.provider, request.model, size_of(request), serialize.dumps(serialize.from_request(request)),
            task.expected_images, _requests(task.alternatives), task.id,
        ),
    )  # fmt: skip


def _requests(requests: Sequence[ImageRequest]) -> str:
    return serialize.dumps([serialize.from_request(request) for request in requests])


def detail_of(task: Task) -> str:
    """What a state holds, as JSON."""
    return serialize.dumps(serialize.from_state(task.state))


def reason_of(task: Task) -> str:
    """The reason code of an end without pictures; else empty."""
    match task.state:
        case Failed(reason=reason):
            return reason.value
        case Cancelled():
            return Reason.CANCELLED.value
        case _:
            return ""


def insert(db: "Connection", run: RunId, item: Planned, owner: int | None, *, at: float, host: str, words: str) -> None:
    """Insert a task that is to be sent: its fence number is 1, this is the first claim. Without an owner: for workers.

    `words`: what the row itself has for searches, where it has something.
    """
    request = item.request
    facts = ({} if item.repeats is None else {"repeats": item.repeats}) | said(item)
    column, value, more = (", words", ", CAST(? AS tsvector)", (words,)) if words else ("", "", ())
    db.execute(
        "INSERT INTO task (id, run, owner, fence, provider, model, size, prompt, request, identity, source,"  # noqa: S608 - our own words
        " folder, name, expected_images, alternatives, facts, parents, cell, state, detail, created, host, shared"
        f"{column}) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', '{{}}', ?, ?, ?{value})",
        (
            item.id, run, owner, request.provider, request.model, size_of(request), request.prompt,
            serialize.dumps(serialize.from_request(request)), item.identity, item.source, item.folder, item.name,
            item.expected_images, _requests(item.alternatives), serialize.dumps(facts), serialize.dumps(item.parents),
            serialize.in_order(item.cell), at, host, int(owner is None), *more,
        ),
    )  # fmt: skip
