"""What happened: a handful of values in the past tense, and who is told.

`at` is seconds since the epoch. A sink is called synchronously, so the order is kept and nothing is lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imagegen_cli.core.durations import Span
from imagegen_cli.core.masking import masked
from imagegen_cli.core.task import RunId, Task, TaskId


@dataclass(frozen=True, slots=True)
class Working:
    """What a service says of a job that is not ready.

    `fraction` is 0..1 and only what the service said; `queue_position` counts those before us;
    `note` is the service's own word without any secret, hostile until it is shown literally; `preview` is an encoded
    picture.
    """

    fraction: float | None = None
    queue_position: int | None = None
    note: str = ""
    preview: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.note:
            object.__setattr__(self, "note", masked(self.note))


@dataclass(frozen=True, slots=True)
class RunStarted:
    """`tasks` are all that the run begins with."""

    at: float
    run: RunId
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TaskAdded:
    """A task that joined a run that was already going."""

    at: float
    task: Task


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """`lasted`: how long the service worked, where this process watched all of it and nothing interrupted that."""

    at: float
    task: Task
    lasted: Span | None = None


@dataclass(frozen=True, slots=True)
class TaskProgressed:
    """The service answered a question about a job that is not ready."""

    at: float
    id: TaskId
    working: Working


@dataclass(frozen=True, slots=True)
class TaskLearned:
    """What the service told of how pictures were made: `seed`, `model`, `revised_prompt` and so on."""

    at: float
    id: TaskId
    facts: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class TaskDelayed:
    """A step will be repeated: attempt `attempt` in `seconds`."""

    at: float
    id: TaskId
    attempt: int
    seconds: float
    because: str


@dataclass(frozen=True, slots=True)
class RunStopping:
    """A person asked the run to end early; `why` says how."""

    at: float
    run: RunId
    why: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Every task of the run has ended, or was let go of."""

    at: float
    run: RunId


Event = RunStarted | TaskAdded | TaskChanged | TaskProgressed | TaskLearned | TaskDelayed | RunStopping | RunFinished
Sink = Callable[[Event], None]


def tee(*sinks: Sink) -> Sink:
    """One sink that tells all of them, in the order given: the one that remembers comes before those that show.

    What a sink raises is raised: without a memory no step may follow. `spare` is for sinks that a run can do without.
    """

    def tell(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return tell


def spare(sink: Sink, said: Callable[[Exception], None]) -> Sink:
    """A sink that is switched off when it raises, which `said` is told once."""
    off = False

    def tell(event: Event) -> None:
        nonlocal off
        if off:
            return
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001 - what only shows must not end paid work
            off = True
            said(error)

    return tell
