"""Carries every task from the state it is in to an end, many at a time.

One coroutine a task; the state says which step is next; a retry repeats a step. Resuming is starting that coroutine
from the stored state. The runner says events and knows no listener; `flush` lets it wait until they are durable.
"""

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from imagegen_cli.core.errors import (
    BadImage,
    Busy,
    DiskError,
    Expired,
    GenerationFailed,
    OutOfCredits,
    ProviderBug,
    ServerTrouble,
    SlowDown,
    TaskError,
    TimedOut,
    Unauthorized,
    Unavailable,
    Uncertain,
    UnusableImage,
)
from imagegen_cli.core.events import (
    RunFinished,
    RunStarted,
    RunStopping,
    Sink,
    Span,
    TaskAdded,
    TaskChanged,
    TaskDelayed,
    TaskLearned,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.provider import Accepted, Facts, Provider, Ready
from imagegen_cli.core.task import (
    ENDED,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Image,
    ImageRequest,
    InlineImage,
    Job,
    Queued,
    RemoteImage,
    RunId,
    Running,
    SavedImage,
    Saving,
    StagedImage,
    State,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.engine.scheduling import NOTHING, Gate, Known, PollSchedule, Slot, Stopwatch, pause

MAX_POLL_FAILURES = 3
"""Status queries in a row that fail."""
MAX_ATTEMPTS = 4
"""Times a submit is tried that certainly never left."""
MAX_DOWNLOAD_S = 180.0
"""Seconds of planned pauses between the tries to get one picture; then its task fails, and `resume` tries again."""
MAX_URL_RENEWALS = 3
"""Times an expired address is asked for anew."""
REFUSING = 900.0
"""Seconds that a service may refuse everything before its waiting tasks fail, where the settings do not say."""
MAX_QUERY_S = 60.0
"""Seconds from sending it after which a status query counts as failed, however slowly it drips."""
MAX_QUERIES_AT_ONCE = 24
"""Status queries and cancels on their way at once; tasks are not limited by it."""
MOMENT = 1.0
"""Seconds that are not worth one more try."""
CLOCK_STEP_S = 5.0
"""Time limits are counted in pieces of this, so that a stopped or sleeping machine ages no task by more."""
START_BATCH = 500
"""Tasks that begin in one turn of the loop: ten thousand would hold it."""
CANCEL_GRACE_S = 5.0
"""Seconds that a stop waits: for the answer to a submit on its way, for a cancel, for a picture that exists."""


MAX_HANDLE_WAITS = 100
"""Times a step is repeated because no further file could be opened."""


Chosen = Callable[[StagedImage], Awaitable[None]]
"""Told the final name before a picture gets it, so that it can be remembered."""


class Saver(Protocol):
    """Brings pictures onto the disk; see download.py."""

    async def stage(self, image: InlineImage | RemoteImage, stem: Path, part: Path) -> StagedImage: ...
    async def publish(self, held: StagedImage, stem: Path, chosen: Chosen) -> SavedImage: ...
    def discard(self, part: Path) -> None: ...


@dataclass(slots=True)
class Lane:
    """One configured provider, its gate, and why it is closed, if it is. Times in seconds."""

    provider: Provider[Any]
    gate: Gate
    poll: float
    timeout: float
    shut: TaskError | None = None
    busy_timeout: float = REFUSING
    given_up: TaskError | None = None
    given_up_at: float = 0.0
    """By the loop's clock: tasks that were there before it fail; those that come later are tried."""

    @property
    def patience(self) -> float:
        """Seconds that the service may refuse everything."""
        return max(self.busy_timeout, self.timeout)

    def give_up(self, error: TaskError) -> None:
        self.given_up, self.given_up_at = error, asyncio.get_running_loop().time()
        self.gate.give_up()

    def closed_to(self, active: "ActiveTask") -> TaskError | None:
        """Why nothing of this task is sent here, if so."""
        return self.shut or (self.given_up if active.since <= self.given_up_at else None)


@dataclass(slots=True)
class ActiveTask:
    """A task on its way, and what only this process needs to know about it."""

    task: Task
    lane: Lane
    slot: Slot | None = None
    tries: int = 0
    renewals: int = 0
    begun: bool = False
    """A coroutine that is cancelled before its first step never takes one."""
    stopping: bool = False
    handle_waits: int = 0
    left: bool = False
    """Another process has it now."""
    coroutine: "asyncio.Task[None] | None" = None
    answer: "asyncio.Task[Accepted | Ready] | None" = None
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    rhythm: PollSchedule | None = None
    watch: Stopwatch | None = None
    """Of the job at the service, from the submit on; None where it began before this process, or has ended."""
    refused_until: float = 0.0
    """By the loop's clock: when a service that refuses to be asked is given up."""
    refusals: int = 0
    """Status queries in a row that the service refused to answer."""
    spent: float = 0.0
    queued_there: bool = False
    unconfirmed: bool = False
    """The job is an id of ours whose submit was not answered: the service may never have heard of it."""


async def _at_once() -> None:
    """Nothing to wait for."""


class TakenOverError(Exception):
    """Another process has claimed the task: this one lets go of it, whatever it was about to do."""


class RepeatedReceiptError(Uncertain):
    """The receipt is another task's: what became of this request cannot be asked for."""


class Runner:
    """`emit` is told everything; `flush` waits until that is durable, and raises DiskError where it cannot be.

    `owns` tells, once that is durable, whether a task is still this process'. Of the tasks in `one_look` the service is
    asked once: they have waited for their time limit before. `complete` waits until a prompt that is typed is added.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        saver: Saver,
        emit: Sink,
        flush: Callable[[], Awaitable[None]],
        *,
        known: Callable[[Task], Known] = lambda _: NOTHING,
        owns: Callable[[TaskId], bool] = lambda _: True,
        one_look: Container[TaskId] = (),
        complete: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._lanes = lanes
        self._saver = saver
        self._emit = emit
        self._flush = flush
        self._how_long = known
        self._owns = owns
        self._one_look = one_look
        self._complete = complete
        self._active: dict[TaskId, ActiveTask] = {}
        self._holders: dict[tuple[str, str], TaskId] = {}
        """Provider and id of a job -> the task that holds it, also after its end."""
        self._group: asyncio.TaskGroup | None = None
        self._run = RunId(0)
        self._questions = asyncio.Semaphore(MAX_QUERIES_AT_ONCE)
        self.stopping = False
        self._draining = False

    async def run(self, run: RunId, tasks: Iterable[Task]) -> None:
        """Carry all of them, and what `add` brings meanwhile, to an end."""
        tasks = tuple(tasks)
        self._run = run
        self._emit(RunStarted(time.time(), run, tasks))
        async with asyncio.TaskGroup() as self._group:
            for number, active in enumerate([self._known(task) for task in tasks], 1):
                self._start(active)
                if number % START_BATCH == 0:
                    await asyncio.sleep(0)
            await self._all_ended()
        self._emit(RunFinished(time.time(), run))

    async def _all_ended(self) -> None:
        while going := [one for active in self._active.values() if (one := active.coroutine) and not one.done()]:
            await asyncio.wait(going)
            await self._complete()

    def add(self, task: Task) -> None:
        """Let one more task join while the others run."""
        self._emit(TaskAdded(time.time(), task))
        self._start(self._known(task))

    def cancel(self, ids: Iterable[TaskId]) -> None:
        """Stop those of these tasks that are unfinished."""
        for id_ in ids:
            active = self._active.get(id_)
            if active is not None and not active.stopping and not isinstance(active.task.state, Saving):
                active.stopping = True
                if active.begun and active.coroutine is not None:
                    active.coroutine.cancel()

    def let_go(self, ids: Iterable[TaskId]) -> list[TaskId]:
        """Leave tasks to the process that has claimed them; those that this runner was still busy with.

        A request on its way is waited for: its answer may be a receipt, and a late receipt is worth as much.
        """
        known = [self._active[id_] for id_ in ids if id_ in self._active]
        left = [active for active in known if not isinstance(active.task.state, Submitting)]
        for active in left:
            del self._active[active.task.id]
            active.left = True
            if active.coroutine is not None:
                active.coroutine.cancel()
        return [active.task.id for active in left]

    def stop(self, why: str) -> None:
        """Send nothing new, cancel what runs, keep what exists; `run` returns within about CANCEL_GRACE_S seconds."""
        if not self.stopping:
            self.stopping = True
            self._emit(RunStopping(time.time(), self._run, why))
            self.cancel(list(self._active))
            asyncio.get_running_loop().call_later(2 * CANCEL_GRACE_S, self._leave)

    def drain(self) -> None:
        """Let what was sent come to its end; what waits, or comes back to be sent again, is cancelled as not sent."""
        self._draining = True
        self.cancel(self.waiting())

    def hold(self, held: bool) -> None:
        """Keep back what has not been sent, or let it go on."""
        for lane in self._lanes.values():
            lane.gate.hold(held)

    def waiting(self) -> list[TaskId]:
        """Tasks that have not been sent."""
        return [id_ for id_, active in self._active.items() if isinstance(active.task.state, Queued)]

    def _leave(self) -> None:
        """Tasks that are still saving are left as they are; `resume` continues them."""
        for active in self._active.values():
            if active.coroutine is not None:
                active.stopping = False
                active.coroutine.cancel()

    def _known(self, task: Task) -> ActiveTask:
        """From here on it can be cancelled, also before its coroutine begins."""
        lane = self._lanes[task.request.provider]
        unconfirmed = isinstance(task.state, Running) and task.state.unconfirmed
        if task.job is not None:
            self._holders.setdefault((task.request.provider, task.job.id), task.id)
        active = self._active[task.id] = ActiveTask(task, lane, unconfirmed=unconfirmed)
        return active

    def _start(self, active: ActiveTask) -> None:
        if self._group is None:
            raise RuntimeError("no run is going on")
        active.coroutine = self._group.create_task(self._run_task(active))

    async def _run_task(self, active: ActiveTask) -> None:
        active.begun = True
        try:
            if active.stopping:
                await self._failing(active, self._stop_one(active))
            while not isinstance(active.task.state, ENDED):
                await self._step_or_stop(active)
        except TakenOverError:
            active.left = True
        except asyncio.CancelledError:
            if not (self.stopping or active.left):
                raise
        finally:
            self._free(active)
            if not active.left:  # else its part files are another process' now
                self._tidy(active)
            if self._active.get(active.task.id) is active:
                del self._active[active.task.id]

    async def _step_or_stop(self, active: ActiveTask) -> None:
        try:
            await self._failing(active, self._step(active))
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if active.left or not active.stopping or current is None or isinstance(active.task.state, Saving):
                raise
            current.uncancel()
            await self._failing(active, self._stop_one(active))

    async def _failing(self, active: ActiveTask, step: Coroutine[Any, Any, None]) -> None:
        """Take a step; what is raised there ends this task and no other, a provider's bug included."""
        try:
            await step
        except TakenOverError:
            raise
        except TaskError as error:
            await self._fail(active, error)
        except Exception as error:  # noqa: BLE001 - one provider's bug ends one task, not its siblings
            if _may_wait_for_handles(active, error):
                await self._wait(active, pause(1), Busy("too many files are open at once (ulimit -n)"))
            else:
                await self._fail(active, _bug(active, error))

    async def _step(self, active: ActiveTask) -> None:
        match active.task.state:
            case Queued():
                await self._send(active)
            case Running(job):
                await self._ask(active, job)
            case Saving():
                await self._save(active)
            case state:
                raise RuntimeError(f"task {active.task.id} cannot be carried on from {state}")

    # Queued → Submitting

    async def _send(self, active: ActiveTask) -> None:
        self._free(active)
        if self._draining:
            self._transition(active, Cancelled(CancelOutcome.NOT_SENT))
            return
        await self._enter(active)
        lane = active.lane
        if (closed := lane.closed_to(active)) is not None:
            if self._has_open_alternative(active):
                return
            raise _like(closed)
        draft = lane.provider.client_job(active.task.request)
        self._transition(active, Submitting(draft))
        try:
            await self._on_disk(active)
            reply = await self._reply(active, draft)
        except SlowDown as error:
            await self._refused(active, error)
        except Unavailable as error:
            await self._unsent(active, error)
        except Uncertain as error:
            await self._lost(active, draft, error)
        except (Unauthorized, OutOfCredits) as error:
            lane.shut = lane.shut or error
            told_late = lane.provider.is_synchronous and not error.unspent
            if told_late or not self._has_open_alternative(active):
                raise  # where a submit lasts as long as the work, that may have been begun
            self._transition(active, Queued())
        else:
            await self._received(active, reply)

    async def _on_disk(self, active: ActiveTask) -> None:
        """Wait until the history says that the request is leaving; where it cannot, nothing leaves."""
        try:
            await self._flush_own(active)
        except DiskError:
            self._transition(active, Queued())
            raise

    async def _flush_own(self, active: ActiveTask) -> None:
        """Wait until what happened is on disk. Raises DiskError, or TakenOverError where the history refused it."""
        await self._flush()
        if not self._owns(active.task.id):
            raise TakenOverError

    async def _enter(self, active: ActiveTask) -> None:
        """Take a slot: of several providers that a person named, in the first that has one and is not shut."""
        choices = [active.task.request, *self._alternatives(active)]
        if len(choices) == 1:
            active.slot = await active.lane.gate.enter()
            return
        open_ = [one for one in choices if self._lanes[one.provider].closed_to(active) is None] or choices[:1]
        entries = {asyncio.ensure_future(self._lanes[one.provider].gate.enter()): one for one in open_}
        try:
            done, _ = await asyncio.wait(entries, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for entry in entries:
                if entry.done() and not entry.cancelled():  # granted in this very turn
                    entry.result().leave(unused=True)
            raise
        finally:
            for entry in entries:
                entry.cancel()
        taken = min(done, key=lambda entry: self._lanes[entries[entry].provider].gate.load)
        for entry in done - {taken}:
            entry.result().leave(unused=True)
        active.slot, request = taken.result(), entries[taken]
        if request is not active.task.request:
            active.lane = self._lanes[request.provider]
            active.task = active.task.as_sent(request, _expected_images(active.lane.provider, request))

    def _alternatives(self, active: ActiveTask) -> list[ImageRequest]:
        """Those whose providers are still set up: a task of an earlier process remembers all that it once had."""
        return [request for request in active.task.alternatives if request.provider in self._lanes]

    def _has_open_alternative(self, active: ActiveTask) -> bool:
        lanes = [self._lanes[request.provider] for request in self._alternatives(active)]
        return any(lane.closed_to(active) is None for lane in lanes)

    async def _reply(self, active: ActiveTask, draft: Job | None) -> Accepted | Ready:
        """Submit in a task of its own, so that a stop can still wait for the receipt."""
        provider = active.lane.provider
        submit = provider.submit(active.task.request, draft, self._report(active))
        active.answer = asyncio.ensure_future(submit)
        active.watch = Stopwatch()
        limit, spent = active.lane.timeout, 0.0
        while spent < limit:
            part = min(CLOCK_STEP_S, limit - spent)
            done, _ = await asyncio.wait({active.answer}, timeout=part)
            active.watch.planned(spent + part)
            if done:
                return active.answer.result()
            spent += part
        active.answer.cancel()
        raise Uncertain(f"no answer within the time limit of {limit:g} s; it may have been accepted and charged")

    async def _received(self, active: ActiveTask, reply: Accepted | Ready) -> None:
        if active.slot is not None:
            active.slot.answered()
        if isinstance(reply, Accepted):
            self._take_hold(active, reply.job)
            self._learn(active, reply.facts)
            active.watch = Stopwatch()
            self._transition(active, Running(reply.job))
            await self._flush_if_possible(active)
        else:
            await self._made(active, reply)

    def _take_hold(self, active: ActiveTask, job: Job) -> None:
        """Raises RepeatedReceiptError where another task of this run holds the job: it has one picture, not two."""
        holder = self._holders.setdefault((active.task.request.provider, job.id), active.task.id)
        if holder != active.task.id:
            active.watch = None
            said = (
                f"the service gave the receipt of task {holder} again; the request may have been accepted and charged"
            )
            raise RepeatedReceiptError(said)

    async def _refused(self, active: ActiveTask, error: SlowDown) -> None:
        """Certainly not accepted: back to the queue, and the lane waits for all. After its patience they all fail."""
        lane, gate = active.lane, active.lane.gate
        self._transition(active, Queued())
        left = lane.patience - gate.refusing_for()
        if left < MOMENT:
            lane.give_up(_given_up(error, lane.patience))
            return
        seconds = gate.refused(active.slot, error.after, left) if active.slot is not None else 0.0
        active.slot = None
        self._emit(TaskDelayed(time.time(), active.task.id, active.tries, seconds, _until(error, left)))

    async def _unsent(self, active: ActiveTask, error: Unavailable) -> None:
        """It never left the house: again, a little later."""
        active.tries += 1
        if active.tries >= MAX_ATTEMPTS:
            raise error
        self._transition(active, Queued())
        self._free(active)
        await self._wait(active, pause(active.tries), error)

    async def _lost(self, active: ActiveTask, draft: Job | None, error: Uncertain) -> None:
        """Never sent again by itself. With an id of ours the service can be asked what became of it."""
        if draft is None:
            raise error
        if active.slot is not None:
            active.slot.answered()
        active.watch = None
        active.unconfirmed = True
        self._transition(active, Running(draft, unconfirmed=True))
        await self._flush_if_possible(active)

    # Running → Saving

    async def _ask(self, active: ActiveTask, job: Job) -> None:
        """Ask until it is ready. Time counts only as long as we planned to wait: a stopped process ages no task."""
        lane = active.lane
        active.slot = active.slot or lane.gate.join()
        watch, rhythm = self._watched(active)
        strikes = 0
        while True:
            seconds = self._next_look(active, watch, rhythm)
            await watch.sleep(seconds, lane.gate.closed_for())
            try:
                reply = await self._status(active, job)
            except SlowDown as error:
                self._slowed(active, watch, seconds, error)
                continue
            except TaskError as error:
                strikes += 1
                self._strike(active, strikes, seconds, error)
                continue
            strikes = active.refusals = 0
            active.unconfirmed = False
            if isinstance(reply, Ready):
                await self._made(active, reply)
                return
            self._spend(active, seconds)
            self._report(active)(reply)
            if active.task.id in self._one_look:
                raise TimedOut("the service was asked once more and still has no picture")

    def _watched(self, active: ActiveTask) -> tuple[Stopwatch, PollSchedule]:
        """How old a job is that was resumed, or asked for anew, is not known: it may be ready now."""
        if active.watch is None:
            active.watch, active.rhythm = Stopwatch(whole=False), PollSchedule(active.lane.poll)
        else:
            active.rhythm = PollSchedule(active.lane.poll, self._how_long(active.task))
        return active.watch, active.rhythm

    def _next_look(self, active: ActiveTask, watch: Stopwatch, rhythm: PollSchedule) -> float:
        seconds = rhythm.wait(watch.elapsed(), queued=watch.queued())
        if active.refusals:
            seconds = min(seconds, max(MOMENT, active.refused_until - asyncio.get_running_loop().time()))
        return seconds

    def _slowed(self, active: ActiveTask, watch: Stopwatch, seconds: float, error: SlowDown) -> None:
        """The service refuses to be asked: the lane waits for all. After its patience the task fails."""
        lane, now = active.lane, asyncio.get_running_loop().time()
        watch.leave_out()
        if not active.refusals:
            active.refused_until = now + lane.patience
        active.refusals += 1
        left = active.refused_until - now
        if left < MOMENT:
            raise _given_up(error, lane.patience)
        after = pause(active.refusals) if error.after is None else error.after
        lane.gate.close_for(min(after, left))
        with suppress(TimedOut):  # said when the service answers again
            self._spend(active, seconds)
        wait = lane.gate.closed_for()
        self._emit(TaskDelayed(time.time(), active.task.id, active.refusals, wait, _until(error, left)))

    def _strike(self, active: ActiveTask, strikes: int, seconds: float, error: TaskError) -> None:
        """One status query failed; the last of MAX_POLL_FAILURES in a row fails the task.

        Only the service's own word about this job ends it at once; an id of ours it may not have heard of yet. An id of
        ours that it does not know at the last strike is not asked for again by a plain resume.
        """
        if error.final and not (active.unconfirmed and isinstance(error, Expired)):
            raise error
        if strikes >= MAX_POLL_FAILURES:
            if active.unconfirmed:
                lost = f"the answer to the submit was lost, and asking did not help: {error.message}"
                unknown = Uncertain(lost, hint=error.hint)
                raise unknown.as_final() if isinstance(error, Expired) else unknown
            raise _of_questions(error)(
                f"{MAX_POLL_FAILURES} status queries in a row failed: {error.message}", hint=error.hint
            ) from error
        self._spend(active, seconds)
        self._emit(TaskDelayed(time.time(), active.task.id, strikes, seconds, error.message))

    async def _status(self, active: ActiveTask, job: Job) -> Working | Ready:
        try:
            async with self._questions, asyncio.timeout(MAX_QUERY_S):
                return await active.lane.provider.poll(job, self._report(active))
        except TimeoutError as error:
            raise Unavailable(f"a status query took more than {MAX_QUERY_S:g} s") from error

    def _spend(self, active: ActiveTask, seconds: float) -> None:
        """Count against the time limit, but for the time in the service's own queue, where it tells."""
        if active.queued_there:
            return
        active.spent += seconds
        if active.spent >= active.lane.timeout:
            raise TimedOut(f"no picture within the time limit of {active.lane.timeout:g} s")

    def _report(self, active: ActiveTask) -> Callable[[Working], None]:
        def report(working: Working) -> None:
            active.queued_there = bool(working.queue_position)
            if active.watch is not None:
                active.watch.unready(queued=active.queued_there)
                if active.rhythm is not None:
                    active.rhythm.told(active.watch.elapsed(), working.fraction)
            self._emit(TaskProgressed(time.time(), active.task.id, working))

        return report

    # Saving → Done

    async def _made(self, active: ActiveTask, ready: Ready) -> None:
        """The pictures exist. What came inside the answer goes to the disk before anything else is said."""
        lasted = active.watch.span() if active.watch is not None else None
        active.watch = active.rhythm = None
        if not ready.images:
            raise GenerationFailed(ready.note or "the service says it is done, but names no picture").as_charged()
        state = active.task.state
        before = state.images if isinstance(state, Running) else ()
        merged = [_merged(before, ready.images, index) for index in range(max(len(before), len(ready.images)))]
        merged = [image for index, image in enumerate(merged) if index < len(ready.images) or not _lost(image)]
        images = await asyncio.gather(*(self._grasp(active, number, image) for number, image in enumerate(merged, 1)))
        self._learn(active, ready.facts)
        self._transition(active, Saving(tuple(images), active.task.job, ready.note), lasted)
        self._free(active)
        await self._flush_if_possible(active)

    async def _grasp(self, active: ActiveTask, number: int, image: Image) -> Image:
        if not isinstance(image, InlineImage):
            return image
        with suppress(TaskError):  # said when it is saved: until then the bytes stay in memory
            return await self._saver.stage(image, active.task.stem(number), active.task.part(number))
        return image

    async def _save(self, active: ActiveTask) -> None:
        """Bring every picture under its name; one that fails never costs the others."""
        state = _saving(active)
        saves = [asyncio.ensure_future(self._save_one(active, number)) for number in range(1, len(state.images) + 1)]
        try:
            results = await asyncio.gather(*saves)
        finally:  # where another process has claimed the task, none of them may go on
            for save in saves:
                save.cancel()
        errors = [error for error in results if error is not None]
        expired = any(isinstance(error, Expired) for error in errors)
        state = _saving(active)
        if not errors:
            self._finish(active, state)
        elif expired and state.job is not None and active.renewals < MAX_URL_RENEWALS:
            active.renewals += 1
            self._transition(active, Running(state.job, state.images))
        else:
            raise errors[0]

    async def _save_one(self, active: ActiveTask, number: int) -> TaskError | None:
        """Try for minutes: what exists at the service is paid for. None when it is saved."""
        attempt, waited = 1, 0.0
        while True:
            try:
                await self._save_once(active, number)
            except TaskError as error:
                seconds = self._pause_before(active, number, error, attempt)
                if seconds is None or waited >= MAX_DOWNLOAD_S:
                    return error
                seconds = min(seconds, max(1.0, MAX_DOWNLOAD_S - waited))
                await self._wait(active, seconds, error)
                attempt, waited = attempt + 1, waited + seconds
            else:
                return None

    def _pause_before(self, active: ActiveTask, number: int, error: TaskError, attempt: int) -> float | None:
        """Seconds to wait before a picture is tried once more; None where that cannot help.

        What only this process has in memory waits for the disk; what can be asked for again is left to `resume`.
        """
        state = _saving(active)
        inline = isinstance(state.images[number - 1], InlineImage)
        if isinstance(error, SlowDown) and error.after is not None:
            return error.after
        if isinstance(error, Unavailable | SlowDown):
            return pause(attempt)
        if isinstance(error, BadImage):
            return None if inline or isinstance(error, UnusableImage) else pause(attempt)
        return pause(attempt) if isinstance(error, DiskError) and inline and state.job is None else None

    async def _save_once(self, active: ActiveTask, number: int) -> None:
        task, image = active.task, _saving(active).images[number - 1]
        if isinstance(image, InlineImage | RemoteImage):
            image = await self._saver.stage(image, task.stem(number), task.part(number))
        if isinstance(image, StagedImage):

            async def chosen(held: StagedImage) -> None:
                self._place(active, number, held)
                await self._flush_own(active)

            if not image.final:  # held in another place than its own: that must be known before it can fail
                self._place(active, number, image)
            try:
                self._place(active, number, await self._saver.publish(image, task.stem(number), chosen))
            except Expired:
                self._place(active, number, InlineImage(b""))
                raise

    def _place(self, active: ActiveTask, number: int, image: Image) -> None:
        """Say where one picture is now."""
        state = active.task.state
        if isinstance(state, Saving):
            images = (*state.images[: number - 1], image, *state.images[number:])
            self._transition(active, replace(state, images=images))

    def _finish(self, active: ActiveTask, state: Saving) -> None:
        """All pictures are saved. Where one cannot be known to be whole, the note says so and the receipt is kept."""
        files = active.task.files
        doubts = dict.fromkeys(image.doubt for image in state.images if isinstance(image, SavedImage) and image.doubt)
        note = "; ".join(part for part in (state.note, *doubts) if part)
        missing = max(0, active.task.expected_images - len(files))
        self._transition(active, Done(files, missing, note, state.job if doubts else None))

    # Any → Failed, Cancelled

    async def _fail(self, active: ActiveTask, error: TaskError) -> None:
        """End one task. The receipt is kept wherever asking again may still help."""
        state = active.task.state
        if error.shuts_lane and not isinstance(state, Saving):
            active.lane.shut = active.lane.shut or error
        job = active.task.job
        if isinstance(state, Submitting) and not isinstance(error, Uncertain | ProviderBug):
            job = None  # an id of ours, and the service has said that it does not take the task
        if isinstance(error, RepeatedReceiptError):
            job = None  # an id of ours that the service did not take
        self._transition(active, Failed.after(state, error, _receipt(active, job)))
        self._free(active)
        self._tidy(active)
        await self._flush_if_possible(active)

    async def _stop_one(self, active: ActiveTask) -> None:
        """A person wants it stopped: do what can be done, and say which it was."""
        match active.task.state:
            case Submitting(draft) if active.answer is not None:
                await self._stop_submit(active, draft, active.answer)
            case Queued() | Submitting():
                self._transition(active, Cancelled(CancelOutcome.NOT_SENT))
            case Running(job):
                await self._stop_job(active, job)
            case _:
                return
        self._free(active)

    async def _stop_submit(
        self, active: ActiveTask, draft: Job | None, answer: "asyncio.Task[Accepted | Ready]"
    ) -> None:
        """The request is on its way: a receipt is money, so wait a little for it."""
        if active.lane.provider.stops_when_dropped:
            answer.cancel()
            await asyncio.wait({answer}, timeout=CANCEL_GRACE_S)
            self._transition(active, Cancelled(CancelOutcome.STOPPED))
            return
        outcome = await self._cancel_there(active, draft) if draft is not None else CancelOutcome.GOES_ON
        await asyncio.wait({answer}, timeout=CANCEL_GRACE_S)
        if not answer.done():
            answer.cancel()
            outcome = CancelOutcome.GOES_ON if outcome is CancelOutcome.TOO_LATE else outcome
            self._transition(active, Cancelled(outcome, _receipt(active, draft)))
            return
        try:
            reply = answer.result()
        except Uncertain:
            self._transition(active, Cancelled(outcome, _receipt(active, draft)))
        except TaskError:
            told = outcome in (CancelOutcome.STOPPED, CancelOutcome.REQUESTED)
            self._transition(active, Cancelled(outcome if told else CancelOutcome.NOT_SENT))
        else:
            await self._received(active, reply)
            if isinstance(reply, Accepted):
                await self._stop_job(active, reply.job)

    async def _stop_job(self, active: ActiveTask, job: Job) -> None:
        """What had been finished before is kept: it is paid for."""
        outcome = await self._cancel_there(active, job)
        if outcome in (CancelOutcome.TOO_LATE, CancelOutcome.REQUESTED):
            outcome = await self._last_look(active, job, outcome)
        if isinstance(active.task.state, Running):
            self._transition(
                active, Cancelled(outcome, None if outcome is CancelOutcome.STOPPED else _receipt(active, job))
            )

    async def _last_look(self, active: ActiveTask, job: Job, outcome: CancelOutcome) -> CancelOutcome:
        for _ in range(int(CANCEL_GRACE_S)):
            try:
                reply = await self._status(active, job)
            except TaskError as error:
                if error.final:
                    return CancelOutcome.STOPPED
                break
            if isinstance(reply, Ready):
                await self._made(active, reply)
                return CancelOutcome.TOO_LATE
            await asyncio.sleep(1)
        return CancelOutcome.GOES_ON if outcome is CancelOutcome.TOO_LATE else outcome

    async def _cancel_there(self, active: ActiveTask, job: Job) -> CancelOutcome:
        """Ask the service; whatever goes wrong with that, it goes on for all we know."""
        try:
            async with self._questions, asyncio.timeout(CANCEL_GRACE_S):
                return await active.lane.provider.cancel(job)
        except Exception:  # noqa: BLE001 - a cancel that fails is an answer: it goes on
            return CancelOutcome.GOES_ON

    # What every step uses

    def _learn(self, active: ActiveTask, facts: Facts) -> None:
        if facts:
            self._emit(TaskLearned(time.time(), active.task.id, facts))

    def _transition(self, active: ActiveTask, state: State, lasted: Span | None = None) -> None:
        active.task = active.task.to(state)
        self._emit(TaskChanged(time.time(), active.task, lasted))

    async def _flush_if_possible(self, active: ActiveTask) -> None:
        """Wait until what happened is on disk; where that cannot be, what is paid for goes on all the same."""
        with suppress(DiskError):
            await self._flush_own(active)

    async def _wait(self, active: ActiveTask, seconds: float, error: TaskError) -> None:
        self._emit(TaskDelayed(time.time(), active.task.id, active.tries, seconds, error.message))
        await asyncio.sleep(seconds)

    def _free(self, active: ActiveTask) -> None:
        if active.slot is not None:
            active.slot.leave()
            active.slot = None

    def _tidy(self, active: ActiveTask) -> None:
        """Remove what an earlier process left of a picture that could not be fetched; whole ones stay for `resume`."""
        state = active.task.state
        for number, image in enumerate(state.images if isinstance(state, Failed) else (), 1):
            if isinstance(image, RemoteImage):
                self._saver.discard(active.task.part(number))


def _expected_images(provider: Provider[Any], request: ImageRequest) -> int:
    try:
        return provider.expected_images(request)
    except Exception:  # noqa: BLE001 - a provider that cannot count any more says why when the task is sent
        return request.count or 1


def _merged(before: Sequence[Image], now: Sequence[Image], index: int) -> Image:
    """What was saved or held before stays; the rest has a new address."""
    if index < len(before) and (index >= len(now) or isinstance(before[index], SavedImage | StagedImage)):
        return before[index]
    return now[index]


def _lost(image: Image) -> bool:
    """Whether it stands for a picture of which nothing is left here."""
    return isinstance(image, InlineImage) and not image.data


def _saving(active: ActiveTask) -> Saving:
    state = active.task.state
    if not isinstance(state, Saving):
        raise TypeError(f"task {active.task.id} is not being saved but {state}")
    return state


def _receipt(active: ActiveTask, job: Job | None) -> Job | None:
    """The job, where a resume could fetch its pictures: nothing else may be promised."""
    return job if job is not None and active.lane.provider.fetchable(job) else None


def _of_questions(error: TaskError) -> type[TaskError]:
    """What failed questions come to: the account's fault, the network's, or the service's. Never the prompt's."""
    kinds = (Unauthorized, OutOfCredits, ServerTrouble, Unavailable)
    return next((kind for kind in kinds if isinstance(error, kind)), ServerTrouble)


def _like(error: TaskError) -> TaskError:
    """The same words for another task: a shut lane sends nothing."""
    return type(error)(f"not sent: {error.message}", hint=error.hint)


def _given_up(error: SlowDown, seconds: float) -> SlowDown:
    lasted = f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004 - a minute
    return type(error)(f"refused for {lasted}: {error.message}", hint=error.hint)


def _until(error: SlowDown, left: float) -> str:
    """The service's words, and until when they are taken for "later"."""
    return f"{error.message} (tried until {time.strftime('%H:%M', time.localtime(time.time() + left))})"


def _may_wait_for_handles(active: ActiveTask, error: Exception) -> bool:
    """Whether a step broke because no file could be opened, a module of Python's own included, and may be repeated."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE) or active.stopping:
        return False
    active.handle_waits += 1
    return isinstance(active.task.state, Queued | Running | Saving) and active.handle_waits <= MAX_HANDLE_WAITS


def _bug(active: ActiveTask, error: Exception) -> ProviderBug:
    saving = isinstance(active.task.state, Saving)
    culprit = "saving" if saving else f"the provider {active.lane.provider.kind!r}"
    return ProviderBug(f"{culprit} broke: {type(error).__name__}: {error}")
