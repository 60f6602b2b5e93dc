"""What happened: a few values in the past tense, and the sinks that receive them.

`at` is seconds since the epoch. A sink is called synchronously, so that the order is kept and nothing is lost. Events
are named tuples: Python makes such a class in a fifth of the time of a dataclass, and every command imports all of
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imagegen_cli.core.charges import Charge
from imagegen_cli.core.durations import Span
from imagegen_cli.core.masking import masked
from imagegen_cli.core.money import Money, Source
from imagegen_cli.core.task import RunId, Task, TaskId


@dataclass(frozen=True, slots=True)
class Working:
    """What a service says of a job that is not ready.

    `fraction` is 0..1, and only what the service said. `queue_position` counts the jobs before this one. `note` is the
    service's own text without any secret; it is hostile, so it is shown literally. `preview` is an encoded picture.
    """

    fraction: float | None = None
    queue_position: int | None = None
    note: str = ""
    preview: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.note:
            object.__setattr__(self, "note", masked(self.note))


class RunStarted(NamedTuple):
    """A run began with these tasks."""

    at: float
    run: RunId
    tasks: tuple[Task, ...]


class TaskAdded(NamedTuple):
    """A task joined a run that had begun."""

    at: float
    task: Task


class TaskChanged(NamedTuple):
    """A task has another state. `lasted`: how long the service worked, if this process watched all of it."""

    at: float
    task: Task
    lasted: Span | None = None


class TaskProgressed(NamedTuple):
    """The service answered a status query about a job that is not ready."""

    at: float
    id: TaskId
    working: Working


class TaskLearned(NamedTuple):
    """The service told how pictures were made: `seed`, `model`, `revised_prompt` and so on."""

    at: float
    id: TaskId
    facts: Mapping[str, str | int | float]


class TaskCharged(NamedTuple):
    """What the last submit of a task costs, and who says so: the service, or a price of what the service counted.

    `settled`: that is certain, although the task brings no pictures.
    """

    at: float
    id: TaskId
    amount: Money
    source: Source
    settled: bool = False


class PicturesCharged(NamedTuple):
    """How many pictures the service says it charges for the last submit of a task, each at the price of its quote."""

    at: float
    id: TaskId
    images: int


class ChargesKnown(NamedTuple):
    """What the last submits of tasks cost, read from the history by a command that looks on; no run says it."""

    at: float
    charges: Mapping[TaskId, Charge]


class HostsKnown(NamedTuple):
    """Which machine carries each of these tasks, read by a command that looks on; told where there are several."""

    at: float
    hosts: Mapping[TaskId, str]


class QueueKnown(NamedTuple):
    """How many tasks no worker has taken, read from the history by `work` and `watch`; no run says it."""

    at: float
    tasks: int


class TaskDelayed(NamedTuple):
    """A step will be repeated in `seconds`, as attempt `attempt`."""

    at: float
    id: TaskId
    attempt: int
    seconds: float
    because: str


class RunStopping(NamedTuple):
    """A person asked the run to end early; `why` is the way, such as Ctrl-C."""

    at: float
    run: RunId
    why: str


class BudgetReached(NamedTuple):
    """The next task does not fit the budget: what is sent finishes, nothing more is sent. `because` says the sums.

    `others_go_on`: it is the budget of one queued run, and a worker goes on with the tasks of others.
    """

    at: float
    run: RunId
    because: str
    others_go_on: bool = False


class ProviderPaused(NamedTuple):
    """An account is out of credits: what was not sent waits until a person lets it go on. `because` has its words."""

    at: float
    provider: str
    because: str
    run: RunId = RunId(0)


class LaneChanged(NamedTuple):
    """How many tasks may be at a provider at a time.

    `limit` is what the settings or a person say, `allowed` what the service has lately taken; None: no limit. `until`:
    nothing is sent before that moment, because the service asked to wait. `paused`: a person holds back what waits.
    """

    at: float
    run: RunId
    provider: str
    limit: int | None
    allowed: int | None = None
    until: float = 0.0
    paused: bool = False


class RunFinished(NamedTuple):
    """Every task of the run has ended, or was left to another process."""

    at: float
    run: RunId


Event = (
    RunStarted
    | TaskAdded
    | TaskChanged
    | TaskProgressed
    | TaskLearned
    | TaskCharged
    | PicturesCharged
    | ChargesKnown
    | HostsKnown
    | QueueKnown
    | TaskDelayed
    | RunStopping
    | BudgetReached
    | ProviderPaused
    | LaneChanged
    | RunFinished
)
Sink = Callable[[Event], None]


def tee(*sinks: Sink) -> Sink:
    """One sink that calls all of these in order: the one that stores comes before those that show.

    What a sink raises is raised: no step may follow what is not stored. `spare` is for sinks that a run can do without.
    """

    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


def spare(sink: Sink, failed: Callable[[Exception], None]) -> Sink:
    """A sink that is switched off when it raises; `failed` is called with the error."""
    off = False

    def emit(event: Event) -> None:
        nonlocal off
        if off:
            return
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001 - what only shows must not end paid work
            off = True
            failed(error)

    return emit
