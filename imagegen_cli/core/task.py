"""Requests, tasks and their states, and which state may follow which.

All that concerns states is in this file; it knows no provider, no store and no display.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, NewType

from imagegen_cli.core.errors import Reason, TaskError
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import Quote

TaskId = NewType("TaskId", int)
RunId = NewType("RunId", int)

MARKS = "marks"
"""The fact that keeps what a command said about marks, so that `resume` and workers follow it."""
BUDGET = "budget"
"""The fact of a queued task that is the budget of its run, as `--budget` takes it: workers hold it together."""
ASSUMED_PRICE = "assumed_price"
"""The fact of a queued task that is the price of a picture which a person told it to assume."""
KNOWN_PRICE = "known_price"
"""The fact of a task queued with a budget that is the price of a picture which the machine that queued it knew."""
REFERENCE_DIGESTS = "references_sha256"
"""The fact of a queued task that has the SHA-256 of each reference picture that is a file, in order, in hex."""
SAID = (MARKS, BUDGET, ASSUMED_PRICE, KNOWN_PRICE, REFERENCE_DIGESTS)
"""Facts that a command said of the tasks that it sends or queues."""
OWN_FACTS = ("repeats", *SAID)
"""Facts that no service told: what is told of another submit does not replace them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One paid submit, in terms of the person; the provider translates it.

    `provider` is the configured name, not the kind. `count` None: as many as the service makes by itself.
    `seed` None: the service chooses; `ratio` is "W:H"; `width` and `height` are pixels and come together.
    `references` are local paths or http(s) addresses of pictures to start from. `name` is what the
    person calls the file. `extra` holds options of this kind of service alone, as given.
    """

    prompt: str
    provider: str
    model: str = ""
    ratio: str = ""
    resolution: str = ""
    width: int | None = None
    height: int | None = None
    count: int | None = None
    seed: int | None = None
    negative: str = ""
    references: tuple[str, ...] = ()
    name: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A service's receipt for a request: enough to ask for the pictures later, from another process."""

    id: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A picture that came inside the answer itself."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A picture at an address. The address may be signed: it is never shown, and is requested without a key."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StagedImage:
    """A picture that is complete in a part file. `final` is the path that it is about to get, once it is chosen.

    `sha256` of the bytes, in hex, distinguishes its file from others. `doubt` says why it may be cut off, if it may.
    """

    path: str
    final: str = ""
    sha256: str = ""
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class SavedImage:
    """A picture under its final name: complete, synced, never written again. Fields as in StagedImage.

    `remark` says what could not be written beside it.
    """

    path: str
    sha256: str = ""
    doubt: str = ""
    remark: str = ""


Image = InlineImage | RemoteImage | StagedImage | SavedImage


class CancelOutcome(StrEnum):
    """What a cancel came to."""

    NOT_SENT = "not-sent"
    STOPPED = "stopped"
    REQUESTED = "requested"
    GOES_ON = "goes-on"
    TOO_LATE = "too-late"


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits for a slot; it was not sent, or certainly not accepted."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """The request is leaving. `job` is an id that we chose, where the service permits that.

    `quote` is what it is expected to cost; None where prices do not matter. The history keeps it as a charge.
    """

    job: Job | None = None
    quote: Quote | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The service has it. `images`: those that were fetched before a link expired or a resume began.

    `unconfirmed`: the job is an id of our own whose submit was not answered; the service may not know it.
    """

    job: Job
    images: tuple[Image, ...] = ()
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Saving:
    """The pictures exist. `images` says for each where it is now, `note` what the service left out."""

    images: tuple[Image, ...]
    job: Job | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """`missing` > 0: the service made fewer pictures than requested, and `note` has its message.

    The receipt is kept where a picture may be incomplete; `note` says so then.
    """

    files: tuple[str, ...]
    missing: int = 0
    note: str = ""
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """With a `job` or with `images`, the pictures may still be fetched without paying again.

    `hint` is what to do where the reason's general hint does not fit. `final`: the service itself said that this job is
    over and brings no pictures. `may_be_paid`: the request has left, and it is not known that it was not charged.
    """

    reason: Reason
    message: str
    job: Job | None = None
    images: tuple[Image, ...] = ()
    hint: str = ""
    final: bool = False
    may_be_paid: bool = False

    @classmethod
    def after(cls, state: "State", error: TaskError, job: Job | None) -> "Failed":
        """What a task in `state` comes to by an error; `job` is its receipt, where asking again may still help."""
        images = state.images if isinstance(state, Running | Saving) else ()
        paid = _leaves_a_charge(state, error)
        return cls(error.reason, error.message, job, images, error.hint, error.final, paid)

    @property
    def resumable(self) -> bool:
        """Whether `imagegen resume` may fetch pictures that are not on the disk yet."""
        waiting = any(isinstance(image, RemoteImage | StagedImage) for image in self.images)
        return waiting or (self.job is not None and not self.final)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """With a `job`, the service may go on, and its pictures can be fetched."""

    stop: CancelOutcome
    job: Job | None = None


State = Queued | Submitting | Running | Saving | Done | Failed | Cancelled
ENDED = (Done, Failed, Cancelled)

FOLLOWS: dict[type[State], tuple[type[State], ...]] = {
    Queued: (Submitting, Failed, Cancelled),
    Submitting: (Running, Saving, Queued, Failed, Cancelled),
    Running: (Saving, Queued, Failed, Cancelled),
    Saving: (Saving, Done, Running, Failed, Cancelled),
    Done: (),
    Failed: (Queued, Running, Saving),
    Cancelled: (Queued, Running),
}


def may_be_paid(state: State) -> bool:
    """Whether sending the task again may pay a second time for what the service has made or is making."""
    if isinstance(state, Failed):
        return state.resumable or state.may_be_paid
    if isinstance(state, Cancelled):
        return state.stop not in (CancelOutcome.NOT_SENT, CancelOutcome.STOPPED)
    return not isinstance(state, Queued)


def _leaves_a_charge(state: State, error: TaskError) -> bool:
    """Whether the service may charge for what an error ended: it has the task, or the request's fate is not known."""
    if isinstance(state, Submitting):
        return error.charged or error.may_be_paid
    return error.charged or (isinstance(state, Running | Saving) and not error.final)


class Parent(NamedTuple):
    """A picture of an earlier task that a task starts from; `picture` counts from 1. Its text is `12/2`."""

    task: int
    picture: int

    def __str__(self) -> str:
        return f"{self.task}/{self.picture}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`folder` and `name` are fixed before the task is sent; `name` holds the one field `{index}`, from 1.

    `key` is this task's alone, among all histories: the history's own token and the id. `expected_images` is how many
    pictures the service should bring for `request`. `alternatives` are the same prompt as other providers would take
    it: until a request has left, the task may be sent as any of them instead. `parents` are those references of the
    request that are pictures of earlier tasks. `facts` are what the service has told. `cell`: what was varied in a
    comparison, by name in order, with the value that this task has.
    """

    id: TaskId
    run: RunId
    request: ImageRequest
    state: State
    folder: str
    name: str
    key: str = ""
    expected_images: int = 1
    alternatives: tuple[ImageRequest, ...] = ()
    parents: tuple[Parent, ...] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    cell: Mapping[str, str] = field(default_factory=dict)

    def as_sent(self, request: ImageRequest, expected_images: int) -> "Task":
        """The same task, to be sent as one of its alternatives; what it was before becomes an alternative."""
        others = tuple(one for one in (self.request, *self.alternatives) if one != request)
        return replace(self, request=request, expected_images=expected_images, alternatives=others)

    def to(self, state: State) -> "Task":
        """The task in another state. Raises RuntimeError where FOLLOWS does not allow the step: that is a bug."""
        if type(state) not in FOLLOWS[type(self.state)]:
            raise RuntimeError(f"task {self.id}: {word(self.state)} cannot become {word(state)}")
        return replace(self, state=state)

    def stem(self, index: int) -> Path:
        """The path of picture `index` (from 1) without the suffix, which depends on its first bytes."""
        return Path(self.folder) / self.name.replace("{index}", str(index))

    def part(self, index: int) -> Path:
        """The part file of picture `index` (from 1): the same path in every process, and of no other task."""
        return Path(self.folder) / f".imagegen-{self.key or self.id}-{index}.part"

    @property
    def job(self) -> Job | None:
        return getattr(self.state, "job", None)

    @property
    def files(self) -> tuple[str, ...]:
        """The pictures on disk so far."""
        match self.state:
            case Running(images=images) | Saving(images=images) | Failed(images=images):
                return tuple(image.path for image in images if isinstance(image, SavedImage))
            case Done(files=files):
                return files
            case _:
                return ()


def word(state: State) -> str:
    """The name of the state in scripts and in the history: `queued`, `running` and so on."""
    return type(state).__name__.lower()


def recovered(task: Task, found: Mapping[int, StagedImage] | None = None) -> Task:
    """A task whose process ended, as the next process goes on with it; `found`: complete pictures of it on the disk.

    A submit that was on its way may have arrived. With an id of ours the service can be asked for it; else it is
    uncertain and never sent again by itself, unless its pictures had come. Pictures that were only in memory are
    gone; with a job the service is asked for them again.
    """
    return _again(_adopting(task, found)) if found else _again(task)


def _again(task: Task) -> Task:
    match task.state:
        case Submitting(job=None):
            lost = Message("the program stopped while this was being sent; it may have been accepted and charged")
            return replace(task, state=Failed(Reason.UNCERTAIN, lost, may_be_paid=True))
        case Saving(images=images, job=Job() as job) | Failed(images=images, job=Job() as job) if _gone(images):
            return replace(task, state=Running(job, images))
        case Failed(images=images, job=job) if any(isinstance(image, RemoteImage | StagedImage) for image in images):
            return replace(task, state=Saving(images, job))
        case Failed(job=Job() as job, images=images):
            return replace(task, state=Running(job, images))
        case Submitting(job=Job() as job) | Cancelled(job=Job() as job):
            return replace(task, state=Running(job, unconfirmed=isinstance(task.state, Submitting)))
        case _:
            return task


def _gone(images: tuple[Image, ...]) -> bool:
    """Whether some were only in the memory of a process that has ended."""
    return any(isinstance(image, InlineImage) for image in images)


def _adopting(task: Task, found: Mapping[int, StagedImage]) -> Task:
    """Add pictures that came complete although the history does not say so."""
    match task.state:
        case Submitting(job=None) | Cancelled(job=None) | Failed(job=None, images=()):
            note = Message("the program stopped while the answer came; what had come whole was kept")
            return replace(task, state=Saving(tuple(found[index] for index in sorted(found)), None, note))
        case Submitting(job=Job() as job) | Cancelled(job=Job() as job) | Failed(job=Job() as job, images=()):
            return replace(task, state=Running(job, _with_found((), found, job)))
        case Running(images=images, job=job):
            return replace(task, state=replace(task.state, images=_with_found(images, found, job)))
        case Saving(images=images, job=job) | Failed(images=images, job=job):
            known = {index: image for index, image in found.items() if index <= len(images)}
            return replace(task, state=replace(task.state, images=_with_found(images, known, job)))
        case _:
            return task


def _with_found(images: tuple[Image, ...], found: Mapping[int, StagedImage], job: Job | None) -> tuple[Image, ...]:
    """Each picture at its own place. One that may be cut off is taken only where it cannot be fetched again."""
    places = range(1, max([len(images), *found]) + 1)
    before = dict(enumerate(images, 1))
    nothing = InlineImage(b"")
    return tuple(_better(before.get(place, nothing), found.get(place), job) for place in places)


def _better(before: Image, found: StagedImage | None, job: Job | None) -> Image:
    if found is None or isinstance(before, SavedImage | StagedImage):
        return before
    again = isinstance(before, RemoteImage) or job is not None
    return before if found.doubt and again else found
