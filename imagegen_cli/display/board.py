"""Events folded into rows and counts. No terminal, no clock: the caller gives each moment.

Everything that a frame needs is updated with each event, so the cost of a frame does not grow with the tasks.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import NamedTuple

from imagegen_cli.core.charges import Charge, after, as_counted, as_settled, as_told, reserved
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
    Working,
)
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import (
    ENDED,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
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
from imagegen_cli.display.costs import Costs

GUESS_ON_TIME = 0.8
MAX_GUESS = 0.95
MAX_OVERRUN = 1.5
"""A task that takes more than this many times its estimate has no estimate: the bar shows that nothing is known."""
MIN_FRACTION = 0.01
"""A service that tells less knows nothing yet: a bar at 0 % looks dead."""
MAX_FRACTION = 0.99
"""The most that a bar shows before the end: a task ends when its pictures are on the disk, whatever a service says."""

NOTHING_TO_FETCH = frozenset({CancelOutcome.NOT_SENT, CancelOutcome.STOPPED})
MAX_ENDINGS = 50
MIN_ENDINGS = 3


class Known(Enum):
    """Where a bar's length comes from."""

    NOTHING = "nothing"
    REPORTED = "reported"
    GUESSED = "guessed"


class Delay(NamedTuple):
    """A step is repeated at `until`, seconds since the epoch."""

    until: float
    attempt: int
    because: str


@dataclass(slots=True, eq=False, repr=False)
class Row:
    """One task as it is shown. Moments are seconds since the epoch.

    `clock` is when the work itself began: after the service's own queue, if the service reports one. `queue_position`
    is None until the service reports something, and stays 0 once the work has begun. `floor` is how far a guess had
    come when the service first reported progress: a bar never runs backwards. `terms`: options that a command has to
    have which sends the task again, with a blank before each, so that a budget holds for it too.
    """

    task: Task
    created: float
    started: float | None = None
    ended: float | None = None
    clock: float | None = None
    fraction: float | None = None
    floor: float = 0.0
    queue_position: int | None = None
    note: str = ""
    preview: bytes | None = None
    delay: Delay | None = None
    estimate: float | None = None
    charge: Charge | None = None
    favourite: bool = False
    host: str = ""
    terms: str = ""
    """The machine that carries it, where several are shown."""
    searched: str = ""
    """The words that a filter looks in, made when one is first used; empty again after a change of the task."""

    def elapsed(self, now: float) -> float | None:
        if self.started is None:
            return None
        return max(0.0, (now if self.ended is None else self.ended) - self.started)

    @property
    def queued_there(self) -> bool:
        """Whether the service has accepted the task but has not begun to work on it."""
        return bool(self.queue_position) and self.fraction is None

    def progress(self, now: float) -> tuple[Known, float]:
        if self.fraction is not None and self.fraction >= MIN_FRACTION:
            return (Known.REPORTED, self.fraction) if self.fraction >= self.floor else (Known.GUESSED, self.floor)
        passed = self.passed(now)
        if passed is None or passed > MAX_OVERRUN:
            return Known.NOTHING, 0.0
        return Known.GUESSED, max(self.floor, guessed(passed))

    def passed(self, now: float) -> float | None:
        """The part of the estimated time that is over; None without an estimate, and before the work has begun."""
        if self.estimate is None or self.clock is None or self.queue_position:
            return None
        return (now - self.clock) / self.estimate


def guessed(passed: float) -> float:
    """The fraction that a bar shows when `passed` of the estimated time is over: steady at first, then ever slower."""
    if passed <= 1:
        return GUESS_ON_TIME * max(0.0, passed)
    rest = MAX_GUESS - GUESS_ON_TIME
    return GUESS_ON_TIME + rest * (1 - math.exp((1 - passed) * GUESS_ON_TIME / rest))


TakenBy = Callable[[str, RunId], Collection[TaskId]]
"""The tasks that a command takes which names a run in place of tasks: `retry`, `retry --cancelled` or `resume`."""


def nothing_taken(_words: str, _run: RunId) -> Collection[TaskId]:
    return ()


def never() -> bool:
    return False


def unknown(_task: Task) -> float | None:
    return None


def no_terms(_task: Task) -> str:
    return ""


class Board:
    """`estimate` gives the seconds that a task like this one took before.

    `previews`: how many running tasks keep their latest preview; each is a picture in memory. `taken_by`: see
    TakenBy. `is_set_back`: whether the history was set back to before the run, so that no command may name its tasks.
    `terms_of`: see `Row.terms`.
    """

    def __init__(
        self,
        *,
        estimate: Callable[[Task], float | None] = unknown,
        previews: int = 0,
        taken_by: TakenBy = nothing_taken,
        is_set_back: Callable[[], bool] = never,
        terms_of: Callable[[Task], str] = no_terms,
    ) -> None:
        self.taken_by = taken_by
        self.is_set_back = is_set_back
        self._terms_of = terms_of
        self.rows: dict[TaskId, Row] = {}
        self.active: dict[TaskId, Row] = {}
        self.delayed: dict[TaskId, Row] = {}
        self.queued: dict[TaskId, Row] = {}
        self.over: dict[TaskId, Row] = {}
        """Tasks that have ended, in that order."""
        self.lanes: dict[str, LaneChanged] = {}
        """By provider, what was last told of how many tasks may be there."""
        self.at_service = Counter[str]()
        """By provider, how many tasks it has, or is being sent."""
        self.resumable: dict[TaskId, None] = {}
        self.reasons = Counter[Reason]()
        self.counts = Counter[str]()
        self.is_of_worker = False
        """Tasks that it has not sent wait for other workers at its end."""
        self.in_queue = 0
        """Tasks that no worker has taken, beside those that are shown."""
        self.highest = 0
        self.short = 0
        self.pictures = 0
        self.started: float | None = None
        self.finished: float | None = None
        self._stops: dict[RunId, str] = {}
        self._budgets: dict[RunId, str] = {}
        self.ended_runs: set[RunId] = set()
        """Queued runs of which a worker sends nothing more, because of their budgets."""
        self.paused_providers: dict[str, str] = {}
        """Providers whose account is out of credits, with their words."""
        self.costs = Costs()
        self._endings: deque[float] = deque(maxlen=MAX_ENDINGS)
        self._first: float | None = None
        self._estimate = estimate
        self._previews = previews
        self._pictured: dict[TaskId, Row] = {}

    @property
    def stopping(self) -> str:
        """How a person asked a run to end; empty where none does."""
        return next(iter(self._stops.values()), "")

    @property
    def budget(self) -> str:
        """Why the budget lets nothing more be sent; empty where it does."""
        return next(iter(self._budgets.values()), "")

    @property
    def waiting(self) -> int:
        return self.counts["queued"]

    @property
    def running(self) -> int:
        return len(self.active)

    @property
    def done(self) -> int:
        return self.counts["done"]

    @property
    def failed(self) -> int:
        return self.counts["failed"]

    @property
    def cancelled(self) -> int:
        return self.counts["cancelled"]

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def busy(self) -> int:
        """How many tasks run or have a delay."""
        return len(self.rows) - self.ended - len(self.queued)

    def unfinished(self) -> Iterator[Row]:
        """Delayed tasks first, then running, then waiting ones. Lazy: a frame takes only what it shows."""
        untroubled = (row for row in self.active.values() if row.delay is None)
        return chain(self.delayed.values(), untroubled, self.queued.values())

    def lasted(self, now: float) -> float:
        if self.started is None:
            return 0.0
        return max(0.0, (now if self.finished is None else self.finished) - self.started)

    def rate(self, now: float) -> float | None:
        """Tasks that ended per second, lately; None while too few have ended."""
        if len(self._endings) < MIN_ENDINGS or self._first is None:
            return None
        since = self._endings[0] if len(self._endings) == MAX_ENDINGS else self._first
        return len(self._endings) / max(now - since, 0.1)

    def left(self, now: float) -> float | None:
        """Estimated seconds until all tasks have ended; None while there is no rate, and during a stop."""
        rate = self.rate(now)
        return None if rate is None or self.stopping else (len(self.rows) - self.ended) / rate

    def tell(self, event: Event) -> None:
        match event:
            case TaskAdded() | TaskChanged():
                self._put(event.task, event.at)
            case TaskProgressed():
                self._progress(event.id, event.working, event.at)
            case TaskDelayed():
                self._delay(event)
            case TaskCharged() | PicturesCharged():
                self._charge(event)
            case ChargesKnown():
                self._know_charges(event)
            case HostsKnown():
                self._know_hosts(event)
            case QueueKnown():
                self.in_queue = event.tasks
            case TaskLearned():
                pass
            case _:
                self._tell_of_run(event)

    def _tell_of_run(
        self, event: RunStarted | RunStopping | BudgetReached | ProviderPaused | LaneChanged | RunFinished
    ) -> None:
        match event:
            case RunStarted():
                self._begin(event)
            case RunStopping():
                self._stops[event.run] = event.why or Message("stopping")
            case BudgetReached(others_go_on=True):
                self.ended_runs.add(event.run)  # the worker says so, and its table goes on
            case BudgetReached():
                self._budgets[event.run] = event.because
            case ProviderPaused():
                self.paused_providers[event.provider] = event.because
            case LaneChanged():
                self._change_lane(event)
            case RunFinished():
                self.finished = event.at

    def _change_lane(self, event: LaneChanged) -> None:
        self.lanes[event.provider] = event
        if not event.paused:
            self.paused_providers.pop(event.provider, None)

    def forget_pauses(self) -> bool:
        """No provider is held back for its credits any more; whether one was."""
        was_paused = bool(self.paused_providers)
        self.paused_providers.clear()
        return was_paused

    def _begin(self, event: RunStarted) -> None:
        self.started = event.at if self.started is None else min(self.started, event.at)
        self.finished = None
        self.is_of_worker = self.is_of_worker or not event.run
        self._forget_run(event.run)
        for task in event.tasks:
            self._put(task, event.at)

    def _forget_run(self, run: RunId) -> None:
        """Forget what an earlier process of the run was told: the new one may spend and send."""
        self._stops.pop(run, None)
        self._budgets.pop(run, None)
        for name in [name for name, lane in self.lanes.items() if lane.run == run]:
            del self.lanes[name]
            self.paused_providers.pop(name, None)

    def _put(self, task: Task, at: float) -> None:
        row = self.rows.get(task.id)
        if row is None:
            row = self.rows[task.id] = Row(task=task, created=at, terms=self._terms_of(task))
            self.highest = max(self.highest, task.id)
            self.started = at if self.started is None else self.started
        else:
            self._count(row.task, -1)
        row.task = task
        row.searched = ""
        row.delay = None
        self._count(task, 1)
        self._follow(row)
        self._clock(row, at)
        self._place(row)

    def _follow(self, row: Row) -> None:
        """Let the charge of a task follow its state; a submit begins a new one."""
        state, before = row.task.state, row.charge
        if isinstance(state, Submitting) and state.quote is not None:
            row.charge = reserved(state.quote)
        elif before is not None:
            row.charge = after(before, state)
        if row.charge is not before:
            self._recount(before, row.charge)

    def _charge(self, event: TaskCharged | PicturesCharged) -> None:
        row = self.rows.get(event.id)
        if row is not None and row.charge is not None:
            before, row.charge = row.charge, _told(row.charge, event)
            self._recount(before, row.charge)

    def _know_charges(self, event: ChargesKnown) -> None:
        for task, charge in event.charges.items():
            if (row := self.rows.get(task)) is not None:
                before, row.charge = row.charge, charge
                self._recount(before, charge)

    def _know_hosts(self, event: HostsKnown) -> None:
        for task, host in event.hosts.items():
            if (row := self.rows.get(task)) is not None:
                row.host = host

    def _recount(self, before: Charge | None, now: Charge | None) -> None:
        self.costs.count(before, -1)
        self.costs.count(now, 1)

    def _count(self, task: Task, step: int) -> None:
        state = task.state
        self.counts[word(state)] += step
        if isinstance(state, Submitting | Running):
            self.at_service[task.request.provider] += step
        if isinstance(state, ENDED):
            self.pictures += step * len(task.files)
        if isinstance(state, Done):
            self.short += step * (state.missing > 0)
        if isinstance(state, Failed):
            self.reasons[state.reason] += step
        if can_be_fetched(state):
            if step > 0:
                self.resumable[task.id] = None
            else:
                self.resumable.pop(task.id, None)

    def _clock(self, row: Row, at: float) -> None:
        """A task that is queued again starts anew: the service accepted nothing of it."""
        state = row.task.state
        if isinstance(state, Queued):
            row.started = row.ended = row.clock = row.fraction = row.queue_position = None
            row.note, row.floor = "", 0.0
            self._drop_preview(row.task.id)
        elif isinstance(state, ENDED):
            row.ended = at
            self._drop_preview(row.task.id)
            if row.started is not None and not isinstance(state, Cancelled):
                self._endings.append(at)
        else:
            if row.started is None or row.ended is not None:
                self._start(row, at)
            if isinstance(state, Saving):
                row.fraction = MAX_FRACTION

    def _start(self, row: Row, at: float) -> None:
        row.started = row.clock = at
        row.ended = row.fraction = row.queue_position = None
        row.floor = 0.0
        estimate = self._estimate(row.task)
        row.estimate = estimate if estimate and 0 < estimate < math.inf else None
        self._first = at if self._first is None else self._first

    def _place(self, row: Row) -> None:
        key = row.task.id
        state = row.task.state
        home = self.over if isinstance(state, ENDED) else self.queued if isinstance(state, Queued) else self.active
        for group in (self.active, self.delayed, self.queued, self.over):
            if group is not home:
                group.pop(key, None)
        home[key] = row

    def _progress(self, key: TaskId, working: Working, at: float) -> None:
        row = self.active.get(key)
        if row is None:
            return
        self._untroubled(row)
        row.note = working.note
        known, shown = row.progress(at)
        row.floor = max(row.floor, shown if known is Known.GUESSED else 0.0)
        if working.queue_position and row.queue_position != 0:
            row.clock = at
        if row.queue_position != 0:
            row.queue_position = working.queue_position or 0
        if working.fraction is not None and not math.isnan(working.fraction):
            row.fraction = max(row.fraction or 0.0, min(MAX_FRACTION, max(0.0, working.fraction)))
        if working.preview:
            self._keep_preview(row, working.preview)

    def _keep_preview(self, row: Row, preview: bytes) -> None:
        self._pictured.pop(row.task.id, None)
        self._pictured[row.task.id] = row
        row.preview = preview
        if len(self._pictured) > self._previews:
            self._drop_preview(next(iter(self._pictured)))

    def _drop_preview(self, key: TaskId) -> None:
        row = self._pictured.pop(key, None)
        if row is not None:
            row.preview = None

    def _delay(self, event: TaskDelayed) -> None:
        row = self.rows.get(event.id)
        if row is None or row.ended is not None:
            return
        row.delay = Delay(event.at + event.seconds, event.attempt, event.because)
        self.queued.pop(event.id, None)
        self.delayed[event.id] = row

    def _untroubled(self, row: Row) -> None:
        row.delay = None
        self.delayed.pop(row.task.id, None)


def _told(charge: Charge, event: TaskCharged | PicturesCharged) -> Charge:
    if isinstance(event, PicturesCharged):
        return as_counted(charge, event.images)
    told = as_told(charge, event.amount, event.source)
    return as_settled(told) if event.settled else told


def can_be_fetched(state: State) -> bool:
    """Whether the receipt of the task may still bring pictures that are paid for."""
    match state:
        case Failed():
            return state.resumable
        case Cancelled(stop=stop, job=job):
            return job is not None and stop not in NOTHING_TO_FETCH
        case _:
            return False
