"""A provider that follows the script of a test and counts the calls."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any, ClassVar

from imagegen_cli.core.durations import UNKNOWN, Durations
from imagegen_cli.core.errors import DiskError
from imagegen_cli.core.events import Event, Sink, TaskChanged, Working, tee
from imagegen_cli.core.provider import Accepted, Provider, Ready, Report
from imagegen_cli.core.task import CancelOutcome, ImageRequest, InlineImage, Job, Queued, RunId, State, Task, TaskId
from imagegen_cli.engine.lane import Lane, Pricing
from imagegen_cli.engine.runner import Runner
from imagegen_cli.engine.scheduling import Gate
from imagegen_cli.engine.task_flow import MarkerOf, Saver
from imagegen_cli.net.download import Downloader


def png(text: str = "") -> bytes:
    """A whole picture of one pixel that carries a text."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"tEXt", b"Comment\0" + text.encode("latin-1", "replace"))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


@dataclass
class Asleep:
    """A step that takes virtual seconds before it answers."""

    seconds: float
    then: Any = None


Step = Any
"""A reply, an error to raise, an Asleep, or a function of the provider that returns one of them."""


class Scripted(Provider[Any]):
    """`submits`, `polls` and `cancels` are answered in order; the last of each goes on for ever."""

    kind: ClassVar[str] = "scripted"
    title: ClassVar[str] = "scripted"

    def __init__(
        self,
        submits: Iterable[Step] = (),
        polls: Iterable[Step] = (),
        cancels: Iterable[Step] = (),
        *,
        client_job: Job | None = None,
        expected: int = 1,
        dropped: bool = False,
    ) -> None:
        self.steps = {"submit": list(submits), "poll": list(polls), "cancel": list(cancels)}
        self.counts = Counter[str]()
        self.at: list[tuple[str, float]] = []
        self.stops_when_dropped = dropped  # type: ignore[misc]
        self._client_job = client_job
        self._expected = expected

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        return await self._next("submit", Accepted(Job(f"job-{self.counts['submit'] + 1}")))  # type: ignore[no-any-return]

    async def poll(self, job: Job, report: Report) -> Working | Ready:
        return await self._next("poll", ready())  # type: ignore[no-any-return]

    async def cancel(self, job: Job) -> CancelOutcome:
        return await self._next("cancel", CancelOutcome.GOES_ON)  # type: ignore[no-any-return]

    def client_job(self, request: ImageRequest) -> Job | None:
        return self._client_job

    def expected_images(self, request: ImageRequest) -> int:
        return self._expected

    async def _next(self, name: str, default: Any) -> Any:
        self.counts[name] += 1
        self.at.append((name, asyncio.get_running_loop().time()))
        steps = self.steps[name]
        step = (steps.pop(0) if len(steps) > 1 else steps[0]) if steps else default
        while not isinstance(step, Accepted | Ready | Working | CancelOutcome):
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Asleep):
                await asyncio.sleep(step.seconds)
                step = default if step.then is None else step.then
            elif callable(step):
                step = step(self)
            else:
                return step
        return step


def ready(count: int = 1, note: str = "") -> Ready:
    return Ready(tuple(InlineImage(png(str(number))) for number in range(count)), note)


class Stage:
    """One lane, one runner, a folder, and all events that the runner has emitted."""

    def __init__(
        self,
        provider: Provider[Any],
        folder: Path,
        *,
        limit: int | None = None,
        timeout: float = 300.0,
        poll: float = 0.5,
        flush: Callable[[], Any] | None = None,
        fetch: Any = None,
        saver: Saver | None = None,
        complete: Callable[[], Any] | None = None,
        known: Durations = UNKNOWN,
        owns: Callable[[TaskId], bool] = lambda _: True,
        one_look: Container[TaskId] = (),
        others: Mapping[str, Lane] = {},
        also: Sink = lambda _: None,
        pricing: Pricing | None = None,
        over_budget: Callable[[TaskId], str] = lambda _: "",
        waits_for_credit: bool = False,
        marker: MarkerOf = lambda _task, _number: None,
        announce: Sink | None = None,
        unrecorded: Callable[[TaskId, DiskError], float | None] = lambda _task, _error: None,
    ) -> None:
        """`announce` is told what the history has granted; without it one sink is told everything."""
        self.provider: Any = provider
        self.folder = folder
        self.seconds = 0.0
        self.events: list[Event] = []
        self.last: dict[int, Task] = {}
        self.gate = Gate(limit)
        self.lane = Lane(provider, self.gate, poll, timeout, pricing=pricing)
        self.runner = Runner(
            {"scripted": self.lane, **others},
            saver or Downloader(fetch),
            tee(self.record, also),
            flush or _at_once,
            durations=lambda _: known,
            owns=owns,
            one_look=one_look,
            complete=complete or _at_once,
            over_budget=over_budget,
            waits_for_credit=waits_for_credit,
            marker=marker,
            record=self.record if announce is not None else None,
            announce=announce,
            unrecorded=unrecorded,
        )

    def task(self, id_: int = 1, state: State | None = None, prompt: str = "a cat") -> Task:
        request = ImageRequest(prompt=prompt, provider="scripted")
        return Task(
            id=TaskId(id_),
            run=RunId(1),
            request=request,
            state=state or Queued(),
            folder=str(self.folder),
            name=f"{id_}-{{index}}",
            expected_images=self.provider.expected_images(request),
        )

    async def run_tasks(self, *tasks: Task) -> list[Task]:
        """Run to the end; the tasks as they are then. `seconds` says how long it took."""
        began = asyncio.get_running_loop().time()
        await self.runner.run(RunId(1), tasks)
        self.seconds = asyncio.get_running_loop().time() - began
        return [self.last[task.id] for task in tasks]

    def states(self, id_: int = 1) -> list[str]:
        return [
            type(event.task.state).__name__
            for event in self.events
            if isinstance(event, TaskChanged) and event.task.id == id_
        ]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def record(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, TaskChanged):
            self.last[event.task.id] = event.task


async def _at_once() -> None:
    pass
