"""What the history holds, and what it is searched for, as values."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from imagegen_cli.core.task import ENDED, ImageRequest, Parent, Queued, RunId, State, Task, TaskId, word
from imagegen_cli.storage import serialize
from imagegen_cli.storage.processes import Process

UNFINISHED = ("queued", "submitting", "running", "saving")


class Origin(NamedTuple):
    """What the history said of a task when it was planned: when that was, and where in which list it stands."""

    created: float = 0.0
    source: str = ""
    identity: str = ""


class Record(NamedTuple):
    """A task as the history knows it. Times are seconds since the epoch; `process` is the living one that owns it."""

    task: Task
    created: float
    started: float | None = None
    accepted: float | None = None
    ready: float | None = None
    ended: float | None = None
    process: Process | None = None
    fence: int = 0
    repeated: bool = False
    """Whether it was sent before, in an earlier attempt. Only `Store.known` sets it."""
    facts: Mapping[str, Any] = MappingProxyType({})
    favourites: tuple[int, ...] = ()
    """What a person keeps of it: 0 for the whole task, or numbers of pictures."""
    source: str = ""
    """The list that it comes from; empty where it comes from none."""
    shared: bool = False
    """Whether workers carry it: `imagegen work` takes it, and takes it over."""
    host: str = ""
    """The machine that it was last at; empty in an early history."""
    owner: int | None = None
    """The number of the process that claimed it last, whether it lives or not."""
    identity: str = ""
    """See `Planned`."""

    @property
    def waits_for_worker(self) -> bool:
        """Whether it is in the queue of the workers, and none has taken it."""
        return self.shared and self.process is None and isinstance(self.task.state, Queued)

    @property
    def is_owned(self) -> bool:
        """Whether a living process works on it."""
        return self.process is not None and not isinstance(self.task.state, ENDED)

    @property
    def version(self) -> tuple[int, int, str]:
        """What a claim compares: an equal version means the same task with the same claims and in the same state."""
        state = self.task.state
        return self.task.id, self.fence, serialize.dumps({"state": word(state)} | serialize.from_state(state))


class Attempt(NamedTuple):
    """What became of a task before it was sent again. Times are seconds since the epoch."""

    number: int
    state: State
    started: float | None
    ended: float | None


class Picture(NamedTuple):
    """A saved picture of a task; `number` from 1. `sha256` in hex of the file as it was saved; empty: not known."""

    task: TaskId
    number: int
    path: str
    sha256: str


class Filter(NamedTuple):
    """Which tasks to find; an empty field admits all.

    `after` and `before`: only tasks with a higher and with a lower number than this. `since` and `until` are seconds
    since the epoch.
    """

    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    run: int | None = None
    after: int | None = None
    since: float | None = None
    search: str = ""
    limit: int | None = None
    owned: bool = False
    """Only tasks that a living process works on."""
    before: int | None = None
    until: float | None = None
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    favourite: bool = False
    has_picture: bool = False


class Planned(NamedTuple):
    """A task that is to be inserted. `id` comes from `Store.reserve`, or is that of the row that it `adopts`."""

    id: TaskId
    name: str
    request: ImageRequest
    expected_images: int
    folder: str
    identity: str
    alternatives: tuple[ImageRequest, ...] = ()
    source: str = ""
    """The resolved path of the list that it comes from; empty where it comes from none."""
    earlier: tuple[Record, ...] | None = None
    """The tasks of this source and identity when it was planned; None where they are not compared."""
    others: frozenset[int] | None = None
    """Tasks of other lists with this identity when it was planned; None where they are not compared."""
    repeats: TaskId | None = None
    """The task that may have been paid, and that this one repeats."""
    adopts: Record | None = None
    """The record of a task that was never sent, whose row becomes this task."""
    parents: tuple[Parent, ...] = ()
    """See `Task`."""
    cell: Mapping[str, str] = MappingProxyType({})
    """What was varied, with the value that this task has."""
    marks: str = ""
    """What the command said about marks, `none` or `sidecar`; empty where it left them to the settings."""
    terms: Mapping[str, str] = MappingProxyType({})
    """What a command that queues says for workers, by the names of the facts that keep it; see `core.task`."""


class Numbers(NamedTuple):
    """Reserved numbers: no other run and no other task gets them, also where they stay unused."""

    run: RunId
    tasks: tuple[TaskId, ...]


class PlanChangedError(Exception):
    """Another process has planned or sent tasks of the same list since the history was read."""


def others_of(source: str, identity: str, known: Mapping[tuple[str, str], Sequence[Record]]) -> frozenset[int]:
    """Tasks of other lists with the same identity. A list from a pipe has no name and counts as another list."""
    return frozenset(
        record.task.id
        for (other, same), records in known.items()
        if same == identity and (other != source or other == "-")
        for record in records
    )


def size_of(request: ImageRequest) -> str:
    """What decides how long a picture takes, beside the model."""
    pixels = f"{request.width}x{request.height}" if request.width else ""
    return f"{request.resolution} {request.ratio} {pixels} {request.count or ''}".strip()
