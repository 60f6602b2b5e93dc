"""Messages that people read, the same on every display.

They are `Message`, so that JSON and the history get the English ones; a display translates them.
"""

from collections import Counter

from imagegen_cli.core.errors import HINTS, Reason, error_class, label
from imagegen_cli.core.language import Message, joined, ngettext, tr, translated
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
from imagegen_cli.display.board import Board

STOPS: dict[CancelOutcome, Message] = {
    CancelOutcome.NOT_SENT: Message("not sent, nothing spent"),
    CancelOutcome.STOPPED: Message("stopped at the service"),
    CancelOutcome.REQUESTED: Message("asked to stop, credits may be used"),
    CancelOutcome.GOES_ON: Message("the service goes on, credits may be used"),
    CancelOutcome.TOO_LATE: Message("it had already finished, credits are used"),
}
STATES: dict[type[State], Message] = {
    Queued: Message("waiting"),
    Submitting: Message("sending"),
    Running: Message("running"),
    Saving: Message("saving"),
    Done: Message("done"),
}
WORDS: dict[type[State], Message] = {
    Queued: Message("queued"),
    Submitting: Message("submitting"),
    Running: Message("running"),
    Saving: Message("saving"),
    Done: Message("done"),
    Failed: Message("failed"),
    Cancelled: Message("cancelled"),
}
"""The words of `task.word`: in English those of scripts."""


def described(state: State) -> Message:
    """A state for people, with its details."""
    match state:
        case Done(files=files, missing=missing, note=note) if missing:
            words = Message("only {count} of {all} pictures").format(count=len(files), all=len(files) + missing)
            return Message("{what}: {note}").format(what=words, note=note) if note else words
        case Failed(reason=reason, message=message):
            return Message("{reason}: {why}").format(reason=label(reason), why=message) if message else label(reason)
        case Cancelled(stop=stop):
            return Message("cancelled: {how}").format(how=STOPS[stop])
        case _:
            return STATES[type(state)]


def explained(state: State) -> str:
    """The same where there is room for the code of a reason too, which commands take; in the language in use."""
    if not isinstance(state, Failed) or (named := translated(label(state.reason))) == state.reason:
        return translated(described(state))
    named = tr("{reason} ({code})", reason=named, code=str(state.reason))
    return tr("{reason}: {why}", reason=named, why=translated(state.message)) if state.message else named


def ending(task: Task) -> Message:
    """How a task ended, on one line."""
    match task.state:
        case Done(missing=0, note=note):
            done = ngettext("done, {count} picture", "done, {count} pictures", len(task.files))
            return Message("{what}; {note}").format(what=done, note=note) if note else done
        case Done():
            return described(task.state)
        case Failed():
            return Message("failed, {why}").format(why=described(task.state))
        case _:
            return described(task.state)


def paused(provider: str, because: str) -> Message:
    """Why a provider is sent nothing, in its own words."""
    return Message("{provider} is out of credits: {why}").format(provider=provider, why=because)


def reasons(counts: Counter[Reason], times: str) -> str:
    """Counted reasons, the most frequent first: `out-of-credits ×2, moderated ×1`."""
    counted = ((translated(label(reason)), count) for reason, count in counts.most_common() if count)
    return translated(joined(", ", (f"{reason} {times}{count}" for reason, count in counted)))


def tallies(board: Board) -> str:
    """Counts by state: `5 running, 37 waiting, 112 done, 3 failed`. The reasons of failures can follow."""
    done = Message("{count} done ({short} short)") if board.short else Message("{count} done")
    parts = (
        (board.running, Message("{count} running")),
        (board.waiting, Message("{count} waiting")),
        (board.in_queue, Message("{count} in the queue")),
        (board.done, done),
        (board.cancelled, Message("{count} cancelled")),
        (board.failed, Message("{count} failed")),
    )
    counted = (words.format(count=count, short=board.short) for count, words in parts if count)
    return translated(joined(", ", counted))


RETRY = "imagegen retry {ids}"
"""What hints say that send a task again."""


def general_hint(state: Failed) -> Message:
    """What to do where the provider gives no hint. It never advises to pay a second time without a warning."""
    is_explained = error_class(state.reason).may_be_paid
    return HINTS[Reason.UNCERTAIN if state.may_be_paid and not is_explained else state.reason]
