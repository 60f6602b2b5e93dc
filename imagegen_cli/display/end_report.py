"""What is said at the end of a run: the result, why tasks failed, and one exact command for each thing to do next.

Each command does just what its line says: it names the tasks, or where they are many, the run and what they share.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise

from imagegen_cli.core.errors import Reason, error_class
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Failed,
    Running,
    Saving,
    TaskId,
    may_be_paid,
    recovered,
)
from imagegen_cli.core.text import amount, seconds
from imagegen_cli.display import costs
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.messages import STOPS, general_hint

MAX_IDS = 12
"""Tasks that a command names one by one, where a shorter one means the same."""
MIN_RANGE = 3
"""Numbers in a row that are written as a range."""
RETRY = "imagegen retry {ids}"
RETRY_ANEW = f"{RETRY} --may-repeat"
"""What hints say; the command is written anew where it would not mean just the tasks of the hint."""


class Tone(Enum):
    """What a line of the summary is about; a display may colour it."""

    TOTAL = "total"
    COST = "cost"
    FAILURE = "failure"
    ADVICE = "advice"
    UNSENT = "unsent"
    OFFER = "offer"


SummaryLine = tuple[Tone, str]


def summary(board: Board, now: float, times: str) -> list[SummaryLine]:
    """The result of a run, why tasks failed, and what to do about it. `times` is the sign before a count.

    A run of one task gets only its cost and the advice: the rest was printed when the task ended.
    """
    failed = [row for row in board.rows.values() if isinstance(row.task.state, Failed)]
    again = to_repeat(failed)
    if len(board.rows) > 1:
        lines = [(Tone.TOTAL, total(board, now)), *spent(board), *failures(board, failed, again, times)]
        lines += [*unsent(board, times), *stopped(board, times)]
    else:
        lines = [*spent(board), *(line for line in failures(board, failed, again, times) if line[0] is Tone.ADVICE)]
    if board.resumable:
        fetch = command(board, "resume", board.resumable)
        lines.append((Tone.OFFER, f"{len(board.resumable)} can still be fetched without paying again: {fetch}"))
    if len(hints_of(failed)) > 1 and again:
        send = command(board, "retry", again)
        lines.append((Tone.OFFER, f"{len(again)} can be sent again, as new paid work: {send}"))
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


# Why tasks failed


def failures(board: Board, rows: Sequence[Row], again: Sequence[int], times: str) -> Iterator[SummaryLine]:
    """Why tasks failed, equal messages merged, and what to do about tasks that cannot be fetched.

    There is no general advice for tasks that can be fetched: a retry would pay for them a second time.
    """
    merged: dict[Reason, dict[str, list[int]]] = {}
    for row in rows:
        if isinstance(state := row.task.state, Failed):
            merged.setdefault(state.reason, {}).setdefault(state.message, []).append(row.task.id)
    hints = hints_of(rows)
    for reason, messages in merged.items():
        for message, ids in messages.items():
            count = f" {times}{len(ids)}" if len(ids) > 1 else ""
            yield Tone.FAILURE, f"{reason}{count}: {message} ({'tasks' if count else 'task'} {ranges(ids, times)})"
        for (about, hint), ids in hints.items():
            if about is reason:
                yield Tone.ADVICE, advice(board, hint, ids, again, is_only=len(hints) == 1)


def hints_of(rows: Iterable[Row]) -> dict[tuple[Reason, str], list[int]]:
    """The tasks for which each hint holds."""
    found: dict[tuple[Reason, str], list[int]] = {}
    for row in rows:
        if isinstance(state := row.task.state, Failed):
            hint = state.hint or ("" if state.resumable else general_hint(state))
            if hint:
                found.setdefault((state.reason, hint), []).append(row.task.id)
    return found


def advice(board: Board, hint: str, ids: Sequence[int], again: Sequence[int], *, is_only: bool) -> str:
    """A hint with its command; without one where the command of another line sends these tasks, and others too."""
    if not is_only and RETRY_ANEW not in hint and set(ids) <= set(again):
        return hint.replace(RETRY, "a retry")
    is_plain = RETRY_ANEW not in hint
    return hint.replace(RETRY, command(board, "retry", ids)) if is_plain else hint.replace("{ids}", listed(ids))


def to_repeat(rows: Iterable[Row]) -> list[int]:
    """The failed tasks that `imagegen retry` sends: not those that may be paid, nor those that are refused again."""
    return [
        row.task.id
        for row in rows
        if isinstance(state := row.task.state, Failed)
        and not may_be_paid(state)
        and not error_class(state.reason).is_refused_again
    ]


# What was cancelled


def unsent(board: Board, times: str) -> Iterator[SummaryLine]:
    """What was not sent, and how to send it; a run that ended for want of money says this itself, with the reason."""
    ids = cancelled(board, CancelOutcome.NOT_SENT)
    if not ids:
        return
    words = f"{ranges(ids, times)} {STOPS[CancelOutcome.NOT_SENT]}"
    if board.budget or board.paused_providers or board.reasons[Reason.OUT_OF_CREDITS]:
        yield Tone.UNSENT, words
        return
    send = command(board, "retry --cancelled", ids)
    yield Tone.UNSENT, f"{words}; to send {'it' if len(ids) == 1 else 'them'}: {send}"


def stopped(board: Board, times: str) -> Iterator[SummaryLine]:
    """Other ends of cancelled tasks, equal ones on one line; one alone was said when it ended."""
    for stop, words in STOPS.items():
        ids = [] if stop is CancelOutcome.NOT_SENT else cancelled(board, stop)
        if len(ids) > 1:
            yield Tone.UNSENT, f"{ranges(ids, times)} cancelled: {words}"


def cancelled(board: Board, stop: CancelOutcome) -> list[int]:
    states = ((row.task.id, row.task.state) for row in board.over.values())
    return [id_ for id_, state in states if isinstance(state, Cancelled) and state.stop is stop]


# Numbers of tasks


def command(board: Board, words: str, ids: Collection[int]) -> str:
    """The command with these tasks: by their numbers, or where they are many and all that it takes, by their run."""
    runs = {row.task.run for id_ in ids if (row := board.rows.get(TaskId(id_))) is not None}
    if len(ids) > MAX_IDS and len(runs) == 1:
        run = runs.pop()
        if set(board.taken_by(words, run)) == set(ids):
            return f"imagegen {words} --run {run}"
    return f"imagegen {words.split(maxsplit=1)[0]} {listed(ids)}"


def listed(ids: Iterable[int]) -> str:
    """All numbers, as a command takes them."""
    return " ".join(map(str, sorted(ids)))


def ranges(ids: Iterable[int], times: str) -> str:
    """Numbers for people: `4 7 9–12`. `times`: the sign before a count, which tells what the encoding can carry."""
    known = sorted(ids)
    dash = "-" if times.isascii() else "–"
    starts = [0, *(at for at, (one, two) in enumerate(pairwise(known), 1) if two != one + 1), len(known)]
    parts = [known[start:end] for start, end in pairwise(starts)]
    return " ".join(f"{part[0]}{dash}{part[-1]}" if len(part) >= MIN_RANGE else listed(part) for part in parts)
