"""Places at accounts that processes share: how many are taken, what holds one, and whose turn it is.

They are counted in the transaction that says that a submit leaves. A place that becomes free goes to the process that
has waited for one the longest: otherwise a worker with a long list, which knows at once that one of its own tasks has
ended, would leave none to others all night.
"""

from typing import TYPE_CHECKING, NamedTuple

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.task import Cancelled, Failed, State, may_be_paid

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

LEFT = (
    "(task.state IN ('failed', 'cancelled') OR (task.state IN ('submitting', 'running') AND task.shared = 0"
    " AND (task.owner IS NULL OR task.owner NOT IN (SELECT id FROM process))))"
)
"""A condition on a task whose place is held: no process counts it."""
MADE = (Reason.BAD_IMAGE, Reason.DISK, Reason.HISTORY, Reason.EXPIRED)
"""Why a task fails whose job is over at the service: it has made the pictures, and they cannot be had or kept here."""
REFUSED = (
    Reason.BAD_REQUEST,
    Reason.UNAUTHORIZED,
    Reason.OUT_OF_CREDITS,
    Reason.MODERATED,
    Reason.SERVER,
)
"""Why a task without a receipt fails whose job is over: the service has answered its submit with that. Some charge for
it. With a receipt they may be what became of status queries, which says nothing about the job."""
HELD_S = 60.0
"""Seconds for which a task counts at its account of which nothing tells whether the service works on it."""
WAITS_S = 5.0
"""Seconds after its last look for a place in which a process counts as waiting: it looks again every 2 s at least."""
GIVES_WAY_S = 3.0
"""Seconds that a process waits before others leave it a place: a place stands empty until that process looks again."""
HELD = (
    "SELECT count(*) FROM held JOIN task ON task.id = held.task WHERE held.account = :account"  # noqa: S608 - our own words
    f" AND held.task != :task AND abs(held.at - :now) < :held_s AND {LEFT}"
)
"""Counts the places that are held for other tasks: the service may still work on them."""
TAKEN = (
    "SELECT (SELECT count(*) FROM task WHERE account = :account AND state IN ('submitting', 'running') AND id != :task"  # noqa: S608 - our own words
    f" AND (shared = 1 OR owner IN (SELECT id FROM process))) + ({HELD})"
)
"""Counts the places that other tasks have. What a process left counts until it is taken over, if workers do that: the
service still works on it."""
AHEAD = (
    "SELECT count(*) FROM waiting WHERE account = :account AND process != :process"  # noqa: S608 - our own words
    f" AND abs(seen - :now) < {WAITS_S} AND process IN (SELECT id FROM process)"
    f" AND since < :now - {GIVES_WAY_S} AND since < coalesce((SELECT since FROM waiting WHERE account = :account"
    f" AND process = :process AND abs(seen - :now) < {WAITS_S}), :now)"
)
"""Counts the processes that have waited for a place for long, and for longer than this one."""


class Account(NamedTuple):
    """What a provider's tasks are counted by, over all processes: a word for the account, and how many it takes."""

    key: str
    limit: int | None


def take(db: "Connection", account: Account, task: int, process: int, now: float) -> bool:
    """Whether a task of a process may have a place now; else the process waits. Only inside of a writing transaction.

    `now`: by `Budget.shared_now`.
    """
    if account.limit is None:
        return True
    values = {"account": account.key, "task": task, "process": process, "now": now, "held_s": HELD_S}
    row = db.execute(f"SELECT ({TAKEN}) AS taken, ({AHEAD}) AS ahead", values).fetchone()
    if row["taken"] + row["ahead"] < account.limit:
        db.execute("DELETE FROM waiting WHERE account = ? AND process = ?", (account.key, process))
        return True
    db.execute(
        "INSERT INTO waiting (account, process, since, seen) VALUES (:account, :process, :now, :now)"  # noqa: S608 - our own words
        " ON CONFLICT (account, process) DO UPDATE SET seen = excluded.seen, since = CASE"
        f" WHEN abs(waiting.seen - excluded.seen) < {WAITS_S} THEN waiting.since ELSE excluded.since END",
        values,
    )
    return False


def held(db: "Connection", account: str, now: float) -> int:
    """How many tasks hold places at an account that no process counts."""
    row = db.execute(
        f"SELECT ({HELD}) AS places", {"account": account, "task": 0, "now": now, "held_s": HELD_S}
    ).fetchone()
    return int(row["places"])


def hold(db: "Connection", task: int, state: State, now: float) -> None:
    """Where a task is over here, and the service may be at work on it, let it count at its account for a while."""
    if isinstance(state, Failed | Cancelled) and may_be_paid(state) and not _is_over_there(state):
        db.execute("DELETE FROM held WHERE at < ? OR at > ?", (now - HELD_S, now + HELD_S))
        _hold(db, "id = ?", task, now)


def _is_over_there(state: Failed | Cancelled) -> bool:
    """Whether the service is known to work no more on a task that it may charge for. Any other reason leaves it open.

    One that is uncertain is final where the service does not know our id: the request may still be on its way.
    """
    if isinstance(state, Cancelled):
        return False
    is_told = state.final and state.reason is not Reason.UNCERTAIN
    is_refused = state.job is None and state.reason in REFUSED
    return is_told or is_refused or state.reason in MADE or bool(state.images)


def leave(db: "Connection", process: int, now: float) -> None:
    """Let a process that ends wait no more, and let what it leaves at services count where no worker takes it over."""
    db.execute("DELETE FROM waiting WHERE process = ?", (process,))
    _hold(db, "owner = ? AND shared = 0 AND state IN ('submitting', 'running')", process, now)


def _hold(db: "Connection", which: str, value: int, now: float) -> None:
    db.execute(
        f"INSERT INTO held (task, account, at) SELECT id, account, ? FROM task WHERE account != '' AND {which}"  # noqa: S608 - our own words
        " ON CONFLICT (task) DO UPDATE SET at = excluded.at",
        (now, value),
    )
