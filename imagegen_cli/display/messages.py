"""Messages that people read, the same on every display."""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum

from imagegen_cli.core.errors import HINTS, Reason, error_class
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Queued,
    Running,
    Saving,
    State,
    Submitting,
    Task,
    recovered,
)
from imagegen_cli.core.text import amount, seconds
from imagegen_cli.display import costs
from imagegen_cli.display.board import Board, Row

STOPS: dict[CancelOutcome, str] = {
    CancelOutcome.NOT_SENT: "not sent, nothing spent",
    CancelOutcome.STOPPED: "stopped at the service",
    CancelOutcome.REQUESTED: "asked to stop, credits may be used",
    CancelOutcome.GOES_ON: "the service goes on, credits may be used",
    CancelOutcome.TOO_LATE: "it had already finished, credits are used",
}
STATES: dict[type[State], str] = {
    Queued: "waiting",
    Submitting: "sending",
    Running: "running",
    Saving: "saving",
    Done: "done",
}
MAX_IDS = 12


def described(state: State) -> str:
    """A state for people, with its details."""
    match state:
        case Done(files=files, missing=missing, note=note) if missing:
            words = f"only {len(files)} of {len(files) + missing} pictures"
            return f"{words}: {note}" if note else words
        case Failed(reason=reason, message=message):
            return f"{reason}: {message}" if message else str(reason)
        case Cancelled(stop=stop):
            return f"cancelled: {STOPS[stop]}"
        case _:
            return STATES[type(state)]


def ending(task: Task) -> str:
    """How a task ended, on one line."""
    match task.state:
        case Done(missing=0, note=note):
            return f"done, {amount(len(task.files), 'picture')}" + (f"; {note}" if note else "")
        case Done():
            return described(task.state)
        case Failed():
            return f"failed, {described(task.state)}"
        case _:
            return described(task.state)


def paused(provider: str, because: str) -> str:
    """Why a provider is sent nothing, in its own words."""
    return f"{provider} is out of credits: {because}"


def reasons(counts: Counter[Reason], times: str) -> str:
    """Counted reasons, the most frequent first: `out-of-credits ×2, moderated ×1`."""
    return ", ".join(f"{reason} {times}{count}" for reason, count in counts.most_common() if count)


def tallies(board: Board) -> str:
    """Counts by state: `5 running, 37 waiting, 112 done, 3 failed`. The reasons of failures can follow."""
    short = f" ({board.short} short)" if board.short else ""
    parts = (
        (board.running, f"{board.running} running"),
        (board.waiting, f"{board.waiting} waiting"),
        (board.done, f"{board.done} done{short}"),
        (board.cancelled, f"{board.cancelled} cancelled"),
        (board.failed, f"{board.failed} failed"),
    )
    return ", ".join(words for count, words in parts if count)


class Tone(Enum):
    """What a line of the summary is about; a display may colour it."""

    TOTAL = "total"
    COST = "cost"
    FAILURE = "failure"
    ADVICE = "advice"
    OFFER = "offer"


SummaryLine = tuple[Tone, str]


def summary(board: Board, now: float, times: str) -> list[SummaryLine]:
    """The result of a run, why tasks failed, and what to do about it. `times` is the sign before a count.

    A run of one task gets only its cost and the advice: the rest was printed when the task ended.
    """
    failed = [row for row in board.rows.values() if isinstance(row.task.state, Failed)]
    if len(board.rows) > 1:
        lines = [(Tone.TOTAL, total(board, now)), *spent(board), *failures(failed, times)]
    else:
        lines = [*spent(board), *(line for line in failures(failed, times) if line[0] is Tone.ADVICE)]
    if board.resumable:
        fetch = f"imagegen resume {listed(board.resumable)}"
        lines.append((Tone.OFFER, f"{len(board.resumable)} can still be fetched without paying again: {fetch}"))
    return [*lines, *left_behind(board)] if board.stopping else lines


def spent(board: Board) -> Iterator[SummaryLine]:
    """What the run cost, on one line; none where nothing has a price."""
    if text := costs.text(board.costs):
        yield Tone.COST, text


def left_behind(board: Board) -> Iterator[SummaryLine]:
    """The tasks that a stop left unfinished."""
    ahead = [recovered(row.task) for row in board.active.values()]
    if going := [task.id for task in ahead if isinstance(task.state, Running | Saving)]:
        yield Tone.OFFER, f"{len(going)} left before the end; to go on: imagegen resume {listed(going)}"
    if lost := [task.id for task in ahead if isinstance(task.state, Failed)]:
        yield Tone.OFFER, f"{len(lost)} may have been accepted and charged: {listed(lost)}"


def total(board: Board, now: float) -> str:
    left = len(board.rows) - board.ended
    short = f", {board.short} of them with too few" if board.short else ""
    parts = (
        (board.done, f"{board.done} done ({amount(board.pictures, 'picture')}{short})"),
        (board.failed, f"{board.failed} failed"),
        (board.cancelled, f"{board.cancelled} cancelled"),
        (left, f"{left} not finished"),
    )
    counts = ", ".join(words for count, words in parts if count)
    return f"{amount(len(board.rows), 'task')}: {counts} in {seconds(board.lasted(now))}"


def failures(rows: Iterable[Row], times: str) -> Iterator[SummaryLine]:
    """Why tasks failed, equal messages merged, and what to do about tasks that cannot be fetched.

    There is no general advice for tasks that can be fetched: a retry would pay for them a second time.
    """
    merged: dict[Reason, dict[str, list[int]]] = {}
    hints: dict[Reason, dict[str, list[int]]] = {}
    for row in rows:
        if isinstance(state := row.task.state, Failed):
            merged.setdefault(state.reason, {}).setdefault(state.message, []).append(row.task.id)
            if hint := state.hint or ("" if state.resumable else general_hint(state)):
                hints.setdefault(state.reason, {}).setdefault(hint, []).append(row.task.id)
    for reason, messages in merged.items():
        for message, ids in messages.items():
            count = f" {times}{len(ids)}" if len(ids) > 1 else ""
            yield Tone.FAILURE, f"{reason}{count}: {message} ({'tasks' if count else 'task'} {listed(ids)})"
        for hint, ids in hints.get(reason, {}).items():
            yield Tone.ADVICE, hint.replace("{ids}", listed(ids))


def general_hint(state: Failed) -> str:
    """What to do where the provider gives no hint. It never advises to pay a second time without a warning."""
    is_explained = error_class(state.reason).may_be_paid
    return HINTS[Reason.UNCERTAIN if state.may_be_paid and not is_explained else state.reason]


def listed(ids: Iterable[int]) -> str:
    known = sorted(ids)
    shown = " ".join(str(number) for number in known[:MAX_IDS])
    return f"{shown} and {len(known) - MAX_IDS} more" if len(known) > MAX_IDS else shown
