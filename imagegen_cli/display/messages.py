"""Messages that people read, the same on every display."""

from collections import Counter

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
)
from imagegen_cli.core.text import amount
from imagegen_cli.display.board import Board

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


def general_hint(state: Failed) -> str:
    """What to do where the provider gives no hint. It never advises to pay a second time without a warning."""
    is_explained = error_class(state.reason).may_be_paid
    return HINTS[Reason.UNCERTAIN if state.may_be_paid and not is_explained else state.reason]
