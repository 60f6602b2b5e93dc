"""What is said at the end of a run: the result, why tasks failed, and one exact command for each thing to do next.

Each command does just what its line says: it names the tasks, or where they are many, the run and what they share.
The lines are in the language in use.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise

from imagegen_cli.core.errors import HINTS, Reason, error_class, label
from imagegen_cli.core.language import Message, joined, ngettext, tr, translated
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Failed,
    Running,
    Saving,
    Task,
    TaskId,
    may_be_paid,
    recovered,
)
from imagegen_cli.core.text import seconds
from imagegen_cli.display import costs
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.messages import RETRY, STOPS, general_hint

MAX_IDS = 12
"""Tasks that a command names one by one, where a shorter one means the same."""
MAX_PARTS = 24
"""Numbers and ranges that a line for people names; their count stands before them."""
MIN_RANGE = 3
"""Numbers in a row that are written as a range."""
RETRY_ANEW = f"{RETRY} --may-repeat"
"""What hints say; the command is written anew where it would not mean just the tasks of the hint.

Before a full-width colon, as in Chinese, a hint says itself that the tasks are sent again, so the command may be left
out with the colon.
"""


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

    A run of one task gets only its cost and the advice: the rest was printed when the task ended. Where the history was
    set back, no line names a task: its number may be another one's there.
    """
    if board.is_set_back():
        return [*([(Tone.TOTAL, total(board, now))] if len(board.rows) > 1 else []), *spent(board)]
    failed = [row for row in board.rows.values() if isinstance(row.task.state, Failed)]
    again = to_repeat(failed)
    if len(board.rows) > 1:
        lines = [(Tone.TOTAL, total(board, now)), *spent(board), *failures(board, failed, again, times)]
        lines += [*unsent(board, times), *stopped(board, times)]
    else:
        found = [*failures(board, failed, again, times), *stopped(board, times)]
        lines = [*spent(board), *(line for line in found if line[0] is Tone.ADVICE)]
    if board.resumable:
        fetch = command(board, "resume", board.resumable)
        words = Message("{count} can still be fetched without paying again: {command}")
        lines.append((Tone.OFFER, translated(words.format(count=len(board.resumable), command=fetch))))
    if len(hints_of(failed)) > 1 and again:
        send = command(board, "retry", again)
        words = Message("{count} can be sent again, as new paid work: {command}")
        lines.append((Tone.OFFER, translated(words.format(count=len(again), command=send))))
    return [*lines, *left_behind(board)] if board.stopping else lines


def spent(board: Board) -> Iterator[SummaryLine]:
    """What the run cost, on one line; none where nothing has a price."""
    if text := costs.text(board.costs):
        yield Tone.COST, text


def left_behind(board: Board) -> Iterator[SummaryLine]:
    """The tasks that a stop left unfinished."""
    ahead = [recovered(row.task) for row in board.active.values()]
    if going := [task.id for task in ahead if isinstance(task.state, Running | Saving)]:
        left = Message("{count} left before the end; to go on: imagegen resume {ids}")
        yield Tone.OFFER, translated(left.format(count=len(going), ids=listed(going)))
    if lost := [task.id for task in ahead if isinstance(task.state, Failed)]:
        accepted = Message("{count} may have been accepted and charged: {ids}")
        yield Tone.OFFER, translated(accepted.format(count=len(lost), ids=listed(lost)))


def total(board: Board, now: float) -> str:
    waiting = board.waiting if board.is_of_worker and not board.is_set_back() else 0
    left = len(board.rows) - board.ended - waiting
    pictures = ngettext("{count} picture", "{count} pictures", board.pictures)
    done = Message("{count} done ({pictures}, {short} of them with too few)")
    parts = (
        (board.done, done if board.short else Message("{count} done ({pictures})")),
        (board.failed, Message("{count} failed")),
        (board.cancelled, Message("{count} cancelled")),
        (left, Message("{count} not finished")),
        (waiting, Message("{count} back in the queue")),
    )
    counted = (words.format(count=count, pictures=pictures, short=board.short) for count, words in parts if count)
    tasks = ngettext("{count} task", "{count} tasks", len(board.rows))
    lasted = seconds(board.lasted(now))
    return tr("{tasks}: {counts} in {time}", tasks=tasks, counts=joined(", ", counted), time=lasted)


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
            several = Message("{reason} {times}{count}: {why} (tasks {ids})")
            words = several if len(ids) > 1 else Message("{reason}: {why} (task {ids})")
            numbers = {"times": times, "count": len(ids), "ids": few(ids, times)}
            yield Tone.FAILURE, translated(words.format(reason=label(reason), why=message, **numbers))
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
    is_plain, shown = RETRY_ANEW not in hint, translated(hint)
    if not is_only and is_plain and set(ids) <= set(again):
        return shown.replace(f"：{RETRY}", "").replace(RETRY, tr("a retry"))
    if is_plain:
        return shown.replace(RETRY, command(board, "retry", ids))
    return shown.replace(RETRY_ANEW, _each(board, ids, RETRY_ANEW)).replace("{ids}", listed(ids))


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
    if board.is_of_worker:  # it says this of the tasks of such runs, also of those that are not in its table
        ids = [id_ for id_ in ids if board.rows[TaskId(id_)].task.run not in board.ended_runs]
    if not ids:
        return
    words = Message("{ids} {what}").format(ids=few(ids, times), what=STOPS[CancelOutcome.NOT_SENT])
    if board.budget or board.paused_providers or board.reasons[Reason.OUT_OF_CREDITS]:
        yield Tone.UNSENT, translated(words)
        return
    way = Message("{what}; to send it: {command}") if len(ids) == 1 else Message("{what}; to send them: {command}")
    yield Tone.UNSENT, translated(way.format(what=words, command=command(board, "retry --cancelled", ids)))


def stopped(board: Board, times: str) -> Iterator[SummaryLine]:
    """Other ends of cancelled tasks, equal ones on one line; one alone was said when it ended."""
    for stop, words in STOPS.items():
        ids = [] if stop is CancelOutcome.NOT_SENT else cancelled(board, stop)
        if len(ids) > 1:
            yield Tone.UNSENT, tr("{ids} cancelled: {how}", ids=few(ids, times), how=words)
    lost = [row.task.id for row in board.over.values() if _is_lost(row.task)]
    if lost:
        told = translated(HINTS[Reason.UNCERTAIN]).replace(RETRY_ANEW, _each(board, lost, RETRY_ANEW))
        yield Tone.ADVICE, tr("{ids}: {hint}", ids=few(lost, times), hint=told)


def _is_lost(task: Task) -> bool:
    """Whether it was cancelled on its way, so that there is nothing to fetch it with, and it may be charged."""
    return isinstance(task.state, Cancelled) and task.job is None and may_be_paid(task.state)


def cancelled(board: Board, stop: CancelOutcome) -> list[int]:
    states = ((row.task.id, row.task.state) for row in board.over.values())
    return [id_ for id_, state in states if isinstance(state, Cancelled) and state.stop is stop]


# Numbers of tasks


def command(board: Board, words: str, ids: Collection[int]) -> str:
    """The command with these tasks: by their numbers, or where they are many and all that it takes, by their run."""
    runs = {row.task.run for id_ in ids if (row := board.rows.get(TaskId(id_))) is not None}
    if len(ids) > MAX_IDS and len(runs) == 1:
        run = runs.pop()
        if set(board.taken_by(words, run)) == set(ids) and len(terms := _terms(board, words, ids)) == 1:
            return f"imagegen {words} --run {run}{terms.pop()}"
    return _each(board, ids, f"imagegen {words.split(maxsplit=1)[0]} {{ids}}")


def _each(board: Board, ids: Iterable[int], words: str) -> str:
    """The command with these tasks; a further one for those that other budgets hold for, where it sends them."""
    found: dict[str, list[int]] = {}
    for id_ in sorted(ids):
        found.setdefault("".join(_terms(board, words.removeprefix("imagegen "), [id_])), []).append(id_)
    return "; ".join(f"{words.replace('{ids}', listed(some))}{terms}" for terms, some in found.items())


def _terms(board: Board, words: str, ids: Iterable[int]) -> set[str]:
    rows = (board.rows.get(TaskId(id_)) for id_ in ids)
    return {row.terms if words.startswith("retry") and row is not None else "" for row in rows}


def listed(ids: Iterable[int]) -> str:
    """All numbers, as a command takes them."""
    return " ".join(map(str, sorted(ids)))


def ranges(ids: Iterable[int], times: str) -> str:
    """Numbers for people: `4 7 9–12`. `times`: the sign before a count, which tells what the encoding can carry."""
    return " ".join(_parts(ids, times))


def few(ids: Iterable[int], times: str) -> str:
    """The same for a line of a report, where a screen full of numbers says less than the first ones and the last."""
    parts = _parts(ids, times)
    if len(parts) <= MAX_PARTS:
        return " ".join(parts)
    return " ".join([*parts[: MAX_PARTS - 1], "..." if times.isascii() else "…", parts[-1]])


def _parts(ids: Iterable[int], times: str) -> list[str]:
    known = sorted(ids)
    dash = "-" if times.isascii() else "–"
    starts = [0, *(at for at, (one, two) in enumerate(pairwise(known), 1) if two != one + 1), len(known)]
    parts = [known[start:end] for start, end in pairwise(starts)]
    return [f"{part[0]}{dash}{part[-1]}" if len(part) >= MIN_RANGE else listed(part) for part in parts]
