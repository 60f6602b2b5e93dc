"""Displays without motion: lines for pipes, CI and screen readers; JSON for programs; failures only for --quiet.

JSON, one object a line on stdout, each with `"v": 1`, `"event"` and, but for the last, `"at"`:

    run-started     run, tasks (how many; each follows as task-added)
    task-added      the task object
    task-changed    the task object
    task-progressed id, run, fraction (0..1 or null), queue_position (or null), note
    task-delayed    id, run, attempt, seconds, because
    task-learned    id, run, facts {name: value}
    task-charged    id, run, cost: the service told what the task costs
    run-stopping    run, why
    budget-reached  run, because: nothing more is sent
    provider-paused provider, because: its account is out of credits, and a person at the keys is waited for
    run-finished    run
    summary         always the last line, exactly once: tasks, done, short (of those done, with fewer pictures than
                    expected), failed, cancelled, unfinished, pictures, seconds, reasons {code: count}, resumable [ids],
                    costs {settled, reserved, uncertain: [{amount, unit}], one for each unit}

The task object, here and in `list --json`: id, run, state (queued, submitting, running, saving, done, failed,
cancelled), reason (a code, or null while nothing went wrong), message, hint, prompt, provider, model, created, started,
ended, asked (pictures), files (paths), and once it was sent cost: amount and unit (left out where the price is not
known), source (told, priced, set, estimated, free, unknown), status (reserved, settled, uncertain, returned), and in a
comparison vary {name: value}: what was varied, in order. Moments are ISO 8601 in UTC with milliseconds, or null.
Receipts, picture addresses and settings are never part of it: they may be signed.
"""

import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import (
    BudgetReached,
    ChargesKnown,
    Event,
    HostsKnown,
    LaneChanged,
    PicturesCharged,
    ProviderPaused,
    QueueKnown,
    RunFinished,
    RunStarted,
    RunStopping,
    TaskAdded,
    TaskChanged,
    TaskCharged,
    TaskDelayed,
    TaskLearned,
    TaskProgressed,
)
from imagegen_cli.core.language import Message, joined, ngettext, tr, translated
from imagegen_cli.core.task import ENDED, Cancelled, Done, Failed, Task, TaskId, word
from imagegen_cli.core.text import Printer, encoded, finite, literal, seconds, sign
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board
from imagegen_cli.display.columns import PLAIN_ENDING
from imagegen_cli.display.costs import plainly as costs_plainly, text as costs_text
from imagegen_cli.display.end_report import Tone, summary
from imagegen_cli.display.fields import advice, varied

MAX_PROMPT = 80
HEARTBEAT_S = 30.0
"""Seconds between two lines that show that the run goes on."""
VERSION = 1


class StaticDisplay:
    """A display that draws nothing between events and reads no keys."""

    prints_paths = False
    takes_keys = False

    def __init__(self, board: Board, *, stderr: TextIO, clock: Callable[[], float] = time.time) -> None:
        self.board = board
        self._notes = Printer(stderr)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finish()

    def tell(self, event: Event) -> None:
        self.board.tell(event)

    async def run(self) -> None:
        """Return at once: nothing moves."""

    async def typed(self) -> None:
        """Return at once: no prompt is typed without keys."""

    def say(self, message: str) -> None:
        self._notes.line(self._literal(translated(message)))

    def interrupt(self) -> bool:
        return False

    def give_back(self) -> None:
        """Do nothing: the terminal was not changed."""

    def _literal(self, text: str) -> str:
        return literal(text, self._notes.encoding)

    def _finish(self) -> None:
        """Print no summary."""


class PlainLines(StaticDisplay):
    """One line for the start, one for each task that ends, a summary; no control codes, fit for a screen reader.

    Each reason for a delay is printed once, and the counts every HEARTBEAT_S seconds.
    """

    def __init__(
        self,
        board: Board,
        *,
        stderr: TextIO,
        clock: Callable[[], float] = time.time,
        summary: bool = True,
        since: float = -math.inf,
    ) -> None:
        super().__init__(board, stderr=stderr, clock=clock)
        self._since = since
        self._summary = summary
        self._reasons: set[str] = set()

    async def run(self) -> None:
        import asyncio  # noqa: PLC0415 - `list` and `show` need no loop

        before = ""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            parts = filter(None, (messages.tallies(self.board), costs_text(self.board.costs)))
            line = f"[{self.board.ended}/{len(self.board.rows)}] {translated(joined('; ', parts))}"
            if self.board.rows and (self.board.ended < len(self.board.rows) or line != before):  # else a worker is idle
                self.say(line)
                before = line

    def tell(self, event: Event) -> None:
        super().tell(event)
        if event.at >= self._since:
            self._say_of(event)

    def _say_of(self, event: Event) -> None:
        match event:
            case RunStarted(tasks=()):
                pass  # said by a history to a command that looks on, which knows the tasks
            case RunStarted():
                self.say(ngettext("{count} task", "{count} tasks", len(event.tasks)))
            case TaskAdded():
                prompt = shortened(event.task.request.prompt)
                self.say(Message("{id} added: {prompt}").format(id=event.task.id, prompt=prompt))
            case TaskChanged() if isinstance(event.task.state, ENDED):
                self.say(f"[{self.board.ended}/{len(self.board.rows)}] {self._ending(event.task)}")
            case TaskDelayed() if event.because not in self._reasons:
                self._reasons.add(event.because)
                again = Message("{id} again in {time}: {why}") if event.seconds >= 1 else Message("{id} waits: {why}")
                self.say(again.format(id=event.id, time=seconds(event.seconds), why=event.because))
            case RunStopping():
                self.say(Message("stopping: {why}").format(why=event.why))
            case BudgetReached(others_go_on=False):
                reached = Message("budget: {why}; what is sent finishes, the rest stays unsent")
                self.say(reached.format(why=event.because))
            case ProviderPaused():
                self.say(messages.paused(event.provider, event.because))
            case _:
                pass

    def _ending(self, task: Task) -> str:
        row, now = self.board.rows[task.id], self._clock()
        facts = joined(", ", filter(None, (column.text(row, now) for column in PLAIN_ENDING)))
        prompt = shortened(task.request.prompt)
        if task.cell:
            prompt = tr("{prompt} ({cell})", prompt=prompt, cell=varied(task.cell))
        return tr("{id} {facts}: {prompt}", id=task.id, facts=facts, prompt=prompt)

    def _finish(self) -> None:
        if not self._summary:
            return
        times = sign("×", "x", self._notes.encoding)
        for tone, text in summary(self.board, self._clock(), times):
            self.say(f"  {text}" if tone is Tone.ADVICE else text)


class Quiet(StaticDisplay):
    """Prints failures and notices only."""

    def tell(self, event: Event) -> None:
        super().tell(event)
        if isinstance(event, TaskChanged) and isinstance(event.task.state, Failed):
            self.say(Message("{ids} {what}").format(ids=event.task.id, what=messages.ending(event.task)))


class JsonLines(StaticDisplay):
    prints_paths = True

    def __init__(self, board: Board, *, stdout: TextIO, stderr: TextIO, clock: Callable[[], float] = time.time) -> None:
        super().__init__(board, stderr=stderr, clock=clock)
        self._data = Printer(stdout, "utf-8")

    def tell(self, event: Event) -> None:
        super().tell(event)
        match event:
            case TaskAdded():
                self._send("task-added", event.at, **self._task(event.task))
            case TaskChanged():
                self._send("task-changed", event.at, **self._task(event.task))
            case TaskProgressed():
                self._progressed(event)
            case TaskDelayed():
                delay = {"attempt": event.attempt, "seconds": finite(event.seconds), "because": event.because}
                self._send("task-delayed", event.at, id=event.id, run=self._run(event.id), **delay)
            case TaskLearned():
                self._send("task-learned", event.at, id=event.id, run=self._run(event.id), facts=dict(event.facts))
            case TaskCharged() | PicturesCharged():
                self._charged([event.id], event.at)
            case ChargesKnown():
                self._charged(event.charges, event.at)
            case HostsKnown() | QueueKnown():
                pass  # only a table has room for it; imagegen list --json tells both
            case _:
                self._tell_of_run(event)

    def _tell_of_run(
        self, event: RunStarted | RunStopping | BudgetReached | ProviderPaused | LaneChanged | RunFinished
    ) -> None:
        match event:
            case RunStarted():
                self._send("run-started", event.at, run=event.run, tasks=len(event.tasks))
                for task in event.tasks:
                    self._send("task-added", event.at, **self._task(task))
            case RunStopping():
                self._send("run-stopping", event.at, run=event.run, why=event.why)
            case BudgetReached():
                self._send("budget-reached", event.at, run=event.run, because=event.because)
            case ProviderPaused():
                self._send("provider-paused", event.at, provider=event.provider, because=event.because)
            case RunFinished():
                self._send("run-finished", event.at, run=event.run)
            case LaneChanged():
                pass  # only a table says why a task waits

    def _progressed(self, event: TaskProgressed) -> None:
        working = event.working
        progress = {
            "fraction": finite(working.fraction),
            "queue_position": working.queue_position,
            "note": working.note,
        }
        self._send("task-progressed", event.at, id=event.id, run=self._run(event.id), **progress)

    def _charged(self, tasks: Iterable[TaskId], at: float) -> None:
        for task in tasks:
            self._send("task-charged", at, id=task, run=self._run(task), **self._charge(task))

    def _charge(self, task: TaskId) -> dict[str, Any]:
        row = self.board.rows.get(task)
        return {} if row is None or row.charge is None else {"cost": row.charge.plainly()}

    def _run(self, task: TaskId) -> int | None:
        row = self.board.rows.get(task)
        return None if row is None else row.task.run

    def _task(self, task: Task) -> dict[str, Any]:
        row = self.board.rows[task.id]
        plain = task_object(task, created=row.created, started=row.started, ended=row.ended, terms=row.terms)
        hint = {"hint": ""} if self.board.is_set_back() else {}  # it would name a task that the history lacks
        return plain | hint | self._charge(task.id)

    def _send(self, event: str, at: float, **fields: Any) -> None:
        self._data.line(encoded({"v": VERSION, "event": event, "at": moment(at), **fields}, self._data.encoding))

    def _finish(self) -> None:
        self._data.last_line(encoded(summary_object(self.board, self._clock()), self._data.encoding))


def shortened(prompt: str) -> str:
    """The start of a prompt, for one line; whole if it is short."""
    return prompt if len(prompt) <= MAX_PROMPT else prompt[: MAX_PROMPT - 3] + "..."


def task_object(
    task: Task, *, created: float | None, started: float | None, ended: float | None, terms: str = ""
) -> dict[str, Any]:
    """A task for programs. The parameters are seconds since the epoch; the object has ISO 8601. `terms`: see Row."""
    reason, message = _why(task)
    return {
        "v": VERSION,
        "id": task.id,
        "run": task.run,
        "state": word(task.state),
        "reason": reason,
        "message": message,
        "hint": advice(task, terms),
        "prompt": task.request.prompt,
        "provider": task.request.provider,
        "model": task.request.model,
        "created": moment(created),
        "started": moment(started),
        "ended": moment(ended),
        "asked": task.expected_images,
        "files": list(task.files),
        "parents": [parent._asdict() for parent in task.parents],
        **({"vary": dict(task.cell)} if task.cell else {}),
    }


def _why(task: Task) -> tuple[str | None, str]:
    match task.state:
        case Failed(reason=reason, message=message):
            return str(reason), message
        case Cancelled():
            return str(Reason.CANCELLED), messages.described(task.state)
        case Done(note=note):
            return None, note
        case _:
            return None, ""


def summary_object(board: Board, now: float) -> dict[str, Any]:
    return {
        "v": VERSION,
        "event": "summary",
        "tasks": len(board.rows),
        "done": board.done,
        "short": board.short,
        "failed": board.failed,
        "cancelled": board.cancelled,
        "unfinished": len(board.rows) - board.ended,
        "pictures": board.pictures,
        "seconds": round(board.lasted(now), 3),
        "reasons": {str(reason): count for reason, count in board.reasons.most_common() if count},
        "resumable": [] if board.is_set_back() else sorted(board.resumable),
        "costs": costs_plainly(board.costs),
    }


def moment(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
