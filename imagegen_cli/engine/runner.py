"""Carries every task from the state it is in to an end, many at a time.

One coroutine a task; the state says which step is next; a retry repeats a step. Resuming is starting that coroutine
from the stored state. The runner says events and knows no listener; `settled` lets it wait until they are durable.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from imagegen_cli.core.errors import (
    BadImage,
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
    Done,
    Failed,
    HeldImage,
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
    State,
    Stop,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.engine.scheduling import NOTHING, Gate, Known, Rhythm, Slot, Stopwatch, pause

STRIKES = 3
"""Status queries in a row that fail."""
TRIES = 4
"""Times a submit is tried that certainly never left."""
MAX_DOWNLOAD_S = 180.0
"""Seconds of planned pauses between the tries to get one picture; then its task fails, and `resume` tries again."""
RENEWALS = 3
"""Times an expired address is asked for anew."""
REFUSING = 900.0
"""Seconds that a service may refuse everything before its waiting tasks fail, where the settings do not say."""
ONE_QUERY = 60.0
"""Seconds from sending it after which a status query counts as failed, however slowly it drips."""
QUESTIONS = 24
"""Status queries and cancels on their way at once; tasks are not limited by it."""
MOMENT = 1.0
"""Seconds that are not worth one more try."""
SLICE = 5.0
"""Time limits are counted in pieces of this, so that a stopped or sleeping machine ages no task by more."""
TOGETHER = 500
"""Tasks that begin in one turn of the loop: ten thousand would hold it."""
LAST_WORDS = 5.0
"""Seconds that a stop waits: for the answer to a submit on its way, for a cancel, for a picture that exists."""


Chosen = Callable[[HeldImage], Awaitable[None]]
"""Told the final name before a picture gets it, so that it can be remembered."""


class Saver(Protocol):
    """Brings pictures onto the disk; see download.py."""

    async def hold(self, image: InlineImage | RemoteImage, stem: Path, part: Path) -> HeldImage: ...
    async def publish(self, held: HeldImage, stem: Path, chosen: Chosen) -> SavedImage: ...
    def discard(self, part: Path) -> None: ...


@dataclass(slots=True)
class Lane:
    """One configured provider, its gate, and why it is closed, if it is. Times in seconds."""

    provider: Provider
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

    def closed_to(self, carried: "Carried") -> TaskError | None:
        """Why nothing of this task is sent here, if so."""
        return self.shut or (self.given_up if carried.since <= self.given_up_at else None)


@dataclass(slots=True)
class Carried:
    """A task on its way, and what only this process needs to know about it."""

    task: Task
    lane: Lane
    asked: int
    slot: Slot | None = None
    tries: int = 0
    renewals: int = 0
    begun: bool = False
    """A coroutine that is cancelled before its first step never takes one."""
    stopping: bool = False
    left: bool = False
    """Another process has it now."""
    coroutine: "asyncio.Task[None] | None" = None
    answer: "asyncio.Task[Accepted | Ready] | None" = None
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    rhythm: Rhythm | None = None
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


class Runner:
    """`emit` is told everything; `settled` waits until that is durable, and raises DiskError where it cannot be.

    `owns` tells, once that is durable, whether a task is still this process'. Of the tasks in `one_look` the service is
    asked once: they have waited for their time limit before. `complete` waits until a prompt that is typed is added.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        saver: Saver,
        emit: Sink,
        settled: Callable[[], Awaitable[None]],
        *,
        known: Callable[[Task], Known] = lambda _: NOTHING,
        elsewhere: Mapping[TaskId, Sequence[ImageRequest]] | None = None,
        owns: Callable[[TaskId], bool] = lambda _: True,
        one_look: Container[TaskId] = (),
        complete: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._lanes = lanes
        self._saver = saver
        self._emit = emit
        self._settled = settled
        self._how_long = known
        self._elsewhere = elsewhere or {}
        self._owns = owns
        self._one_look = one_look
        self._complete = complete
        self._carried: dict[TaskId, Carried] = {}
        self._group: asyncio.TaskGroup | None = None
        self._run = RunId(0)
        self._questions = asyncio.Semaphore(QUESTIONS)
        self.stopping = False
        self._draining = False

    async def run(self, run: RunId, tasks: Iterable[Task]) -> None:
        """Carry all of them, and what `add` brings meanwhile, to an end."""
        tasks = tuple(tasks)
        self._run = run
        self._emit(RunStarted(time.time(), run, tasks))
        async with asyncio.TaskGroup() as self._group:
            for number, carried in enumerate([self._known(task) for task in tasks], 1):
                self._start(carried)
                if number % TOGETHER == 0:
                    await asyncio.sleep(0)
            await self._all_carried()
        self._emit(RunFinished(time.time(), run))

    async def _all_carried(self) -> None:
        while going := [one for carried in self._carried.values() if (one := carried.coroutine) and not one.done()]:
            await asyncio.wait(going)
            await self._complete()

    def add(self, task: Task) -> None:
        """Let one more task join while the others run."""
        self._emit(TaskAdded(time.time(), task))
        self._start(self._known(task))

    def cancel(self, ids: Iterable[TaskId]) -> None:
        """Stop those of these tasks that are unfinished."""
        for id_ in ids:
            carried = self._carried.get(id_)
            if carried is not None and not carried.stopping and not isinstance(carried.task.state, Saving):
                carried.stopping = True
                if carried.begun and carried.coroutine is not None:
                    carried.coroutine.cancel()

    def let_go(self, ids: Iterable[TaskId]) -> list[TaskId]:
        """Leave tasks to the process that has claimed them; those that this runner was still busy with.

        A request on its way is waited for: its answer may be a receipt, and a late receipt is worth as much.
        """
        known = [self._carried[id_] for id_ in ids if id_ in self._carried]
        left = [carried for carried in known if not isinstance(carried.task.state, Submitting)]
        for carried in left:
            del self._carried[carried.task.id]
            carried.left = True
            if carried.coroutine is not None:
                carried.coroutine.cancel()
        return [carried.task.id for carried in left]

    def stop(self, why: str) -> None:
        """Send nothing new, cancel what runs, keep what exists; `run` returns within about LAST_WORDS seconds."""
        if not self.stopping:
            self.stopping = True
            self._emit(RunStopping(time.time(), self._run, why))
            self.cancel(list(self._carried))
            asyncio.get_running_loop().call_later(2 * LAST_WORDS, self._leave)

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
        return [id_ for id_, carried in self._carried.items() if isinstance(carried.task.state, Queued)]

    def _leave(self) -> None:
        """Whoever still saves is left as it stands: the history knows where to go on."""
        for carried in self._carried.values():
            if carried.coroutine is not None:
                carried.stopping = False
                carried.coroutine.cancel()

    def _known(self, task: Task) -> Carried:
        """From here on it can be cancelled, also before its coroutine begins."""
        lane = self._lanes[task.request.provider]
        try:
            expected = lane.provider.expected(task.request)
        except Exception:  # noqa: BLE001 - a provider that cannot count any more says why when the task is sent
            expected = task.request.count or 1
        unconfirmed = isinstance(task.state, Running) and task.state.unconfirmed
        carried = self._carried[task.id] = Carried(task, lane, expected, unconfirmed=unconfirmed)
        return carried

    def _start(self, carried: Carried) -> None:
        if self._group is None:
            raise RuntimeError("no run is going on")
        carried.coroutine = self._group.create_task(self._carry(carried))

    async def _carry(self, carried: Carried) -> None:
        carried.begun = True
        try:
            if carried.stopping:
                await self._failing(carried, self._stop_one(carried))
            while not isinstance(carried.task.state, ENDED):
                await self._step_or_stop(carried)
        except TakenOverError:
            carried.left = True
        except asyncio.CancelledError:
            if not (self.stopping or carried.left):
                raise
        finally:
            self._free(carried)
            if not carried.left:  # else its part files are another process' now
                self._tidy(carried)
            if self._carried.get(carried.task.id) is carried:
                del self._carried[carried.task.id]

    async def _step_or_stop(self, carried: Carried) -> None:
        try:
            await self._failing(carried, self._step(carried))
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if carried.left or not carried.stopping or current is None or isinstance(carried.task.state, Saving):
                raise
            current.uncancel()
            await self._failing(carried, self._stop_one(carried))

    async def _failing(self, carried: Carried, step: Coroutine[Any, Any, None]) -> None:
        """Take a step; what is raised there ends this task and no other, a provider's bug included."""
        try:
            await step
        except TakenOverError:
            raise
        except TaskError as error:
            await self._fail(carried, error)
        except Exception as error:  # noqa: BLE001 - one provider's bug ends one task, not its siblings
            await self._fail(carried, _bug(carried, error))

    async def _step(self, carried: Carried) -> None:
        match carried.task.state:
            case Queued():
                await self._send(carried)
            case Running(job):
                await self._ask(carried, job)
            case Saving():
                await self._save(carried)
            case state:
                raise RuntimeError(f"task {carried.task.id} cannot be carried on from {state}")

    # Queued → Submitting

    async def _send(self, carried: Carried) -> None:
        self._free(carried)
        if self._draining:
            self._become(carried, Cancelled(Stop.NOT_SENT))
            return
        await self._enter(carried)
        lane = carried.lane
        if (closed := lane.closed_to(carried)) is not None:
            if self._open_elsewhere(carried):
                return
            raise _like(closed)
        draft = lane.provider.draft(carried.task.request)
        self._become(carried, Submitting(draft))
        try:
            await self._on_disk(carried)
            reply = await self._reply(carried, draft)
        except SlowDown as error:
            await self._refused(carried, error)
        except Unavailable as error:
            await self._unsent(carried, error)
        except Uncertain as error:
            await self._lost(carried, draft, error)
        except (Unauthorized, OutOfCredits) as error:
            lane.shut = lane.shut or error
            told_late = lane.provider.holds and not error.unspent
            if told_late or not self._open_elsewhere(carried):
                raise  # where a submit lasts as long as the work, that may have been begun
            self._become(carried, Queued())
        else:
            await self._received(carried, reply)

    async def _on_disk(self, carried: Carried) -> None:
        """Wait until the history says that the request is leaving; where it cannot, nothing leaves."""
        try:
            await self._settle(carried)
        except DiskError:
            self._become(carried, Queued())
            raise

    async def _settle(self, carried: Carried) -> None:
        """Wait until what happened is on disk. Raises DiskError, or TakenOverError where the history refused it."""
        await self._settled()
        if not self._owns(carried.task.id):
            raise TakenOverError

    async def _enter(self, carried: Carried) -> None:
        """Take a slot: of several providers that a person named, in the first that has one and is not shut."""
        choices = [carried.task.request, *self._elsewhere.get(carried.task.id, ())]
        if len(choices) == 1:
            carried.slot = await carried.lane.gate.enter()
            return
        open_ = [one for one in choices if self._lanes[one.provider].closed_to(carried) is None] or choices[:1]
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
        carried.slot, request = taken.result(), entries[taken]
        carried.task = replace(carried.task, request=request)
        carried.lane = self._lanes[request.provider]
        carried.asked = carried.lane.provider.expected(request)

    def _open_elsewhere(self, carried: Carried) -> bool:
        choices = self._elsewhere.get(carried.task.id, ())
        return any(self._lanes[request.provider].closed_to(carried) is None for request in choices)

    async def _reply(self, carried: Carried, draft: Job | None) -> Accepted | Ready:
        """Submit in a task of its own, so that a stop can still wait for the receipt."""
        provider = carried.lane.provider
        submit = provider.submit(carried.task.request, draft, self._report(carried))
        carried.answer = asyncio.ensure_future(submit)
        carried.watch = Stopwatch()
        limit, spent = carried.lane.timeout, 0.0
        while spent < limit:
            part = min(SLICE, limit - spent)
            done, _ = await asyncio.wait({carried.answer}, timeout=part)
            carried.watch.planned(spent + part)
            if done:
                return carried.answer.result()
            spent += part
        carried.answer.cancel()
        raise Uncertain(f"no answer within the time limit of {limit:g} s; it may have been accepted and charged")

    async def _received(self, carried: Carried, reply: Accepted | Ready) -> None:
        if carried.slot is not None:
            carried.slot.answered()
        if isinstance(reply, Accepted):
            self._learn(carried, reply.facts)
            carried.watch = Stopwatch()
            self._become(carried, Running(reply.job))
            await self._durable(carried)
        else:
            await self._made(carried, reply)

    async def _refused(self, carried: Carried, error: SlowDown) -> None:
        """Certainly not accepted: back to the queue, and the lane waits for all. After its patience they all fail."""
        lane, gate = carried.lane, carried.lane.gate
        self._become(carried, Queued())
        left = lane.patience - gate.refusing_for()
        if left < MOMENT:
            lane.give_up(_given_up(error, lane.patience))
            return
        seconds = gate.refused(carried.slot, error.after, left) if carried.slot is not None else 0.0
        carried.slot = None
        self._emit(TaskDelayed(time.time(), carried.task.id, carried.tries, seconds, _until(error, left)))

    async def _unsent(self, carried: Carried, error: Unavailable) -> None:
        """It never left the house: again, a little later."""
        carried.tries += 1
        if carried.tries >= TRIES:
            raise error
        self._become(carried, Queued())
        self._free(carried)
        await self._wait(carried, pause(carried.tries), error)

    async def _lost(self, carried: Carried, draft: Job | None, error: Uncertain) -> None:
        """Never sent again by itself. With an id of ours the service can be asked what became of it."""
        if draft is None:
            raise error
        if carried.slot is not None:
            carried.slot.answered()
        carried.watch = None
        carried.unconfirmed = True
        self._become(carried, Running(draft, unconfirmed=True))
        await self._durable(carried)

    # Running → Saving

    async def _ask(self, carried: Carried, job: Job) -> None:
        """Ask until it is ready. Time counts only as long as we planned to wait: a stopped process ages no task."""
        lane = carried.lane
        carried.slot = carried.slot or lane.gate.join()
        watch, rhythm = self._watched(carried)
        strikes = 0
        while True:
            seconds = self._next_look(carried, watch, rhythm)
            await watch.sleep(seconds, lane.gate.closed_for())
            try:
                reply = await self._status(carried, job)
            except SlowDown as error:
                self._slowed(carried, watch, seconds, error)
                continue
            except TaskError as error:
                strikes += 1
                self._strike(carried, strikes, seconds, error)
                continue
            strikes = carried.refusals = 0
            carried.unconfirmed = False
            if isinstance(reply, Ready):
                await self._made(carried, reply)
                return
            self._spend(carried, seconds)
            self._report(carried)(reply)
            if carried.task.id in self._one_look:
                raise TimedOut("the service was asked once more and still has no picture")

    def _watched(self, carried: Carried) -> tuple[Stopwatch, Rhythm]:
        """How old a job is that was resumed, or asked for anew, is not known: it may be ready now."""
        if carried.watch is None:
            carried.watch, carried.rhythm = Stopwatch(whole=False), Rhythm(carried.lane.poll)
        else:
            carried.rhythm = Rhythm(carried.lane.poll, self._how_long(carried.task))
        return carried.watch, carried.rhythm

    def _next_look(self, carried: Carried, watch: Stopwatch, rhythm: Rhythm) -> float:
        seconds = rhythm.wait(watch.elapsed(), queued=watch.queued())
        if carried.refusals:
            seconds = min(seconds, max(MOMENT, carried.refused_until - asyncio.get_running_loop().time()))
        return seconds

    def _slowed(self, carried: Carried, watch: Stopwatch, seconds: float, error: SlowDown) -> None:
        """The service refuses to be asked: the lane waits for all. After its patience the task fails."""
        lane, now = carried.lane, asyncio.get_running_loop().time()
        watch.leave_out()
        if not carried.refusals:
            carried.refused_until = now + lane.patience
        carried.refusals += 1
        left = carried.refused_until - now
        if left < MOMENT:
            raise _given_up(error, lane.patience)
        after = pause(carried.refusals) if error.after is None else error.after
        lane.gate.close_for(min(after, left))
        with suppress(TimedOut):  # said when the service answers again
            self._spend(carried, seconds)
        wait = lane.gate.closed_for()
        self._emit(TaskDelayed(time.time(), carried.task.id, carried.refusals, wait, _until(error, left)))

    def _strike(self, carried: Carried, strikes: int, seconds: float, error: TaskError) -> None:
        """One status query failed; the last of STRIKES in a row fails the task.

        Only the service's own word about this job ends it at once; an id of ours it may not have heard of yet.
        """
        if error.final and not (carried.unconfirmed and isinstance(error, Expired)):
            raise error
        if strikes >= STRIKES:
            if carried.unconfirmed:
                lost = f"the answer to the submit was lost, and asking did not help: {error.message}"
                unknown = Uncertain(lost, hint=error.hint)
                raise unknown.as_final() if error.final else unknown
            raise _of_questions(error)(
                f"{STRIKES} status queries in a row failed: {error.message}", hint=error.hint
            ) from error
        self._spend(carried, seconds)
        self._emit(TaskDelayed(time.time(), carried.task.id, strikes, seconds, error.message))

    async def _status(self, carried: Carried, job: Job) -> Working | Ready:
        try:
            async with self._questions, asyncio.timeout(ONE_QUERY):
                return await carried.lane.provider.poll(job, self._report(carried))
        except TimeoutError as error:
            raise Unavailable(f"a status query took more than {ONE_QUERY:g} s") from error

    def _spend(self, carried: Carried, seconds: float) -> None:
        """Count against the time limit, but for the time in the service's own queue, where it tells."""
        if carried.queued_there:
            return
        carried.spent += seconds
        if carried.spent >= carried.lane.timeout:
            raise TimedOut(f"no picture within the time limit of {carried.lane.timeout:g} s")

    def _report(self, carried: Carried) -> Callable[[Working], None]:
        def report(working: Working) -> None:
            carried.queued_there = bool(working.queue_position)
            if carried.watch is not None:
                carried.watch.unready(queued=carried.queued_there)
                if carried.rhythm is not None:
                    carried.rhythm.told(carried.watch.elapsed(), working.fraction)
            self._emit(TaskProgressed(time.time(), carried.task.id, working))

        return report

    # Saving → Done

    async def _made(self, carried: Carried, ready: Ready) -> None:
        """The pictures exist. What came inside the answer goes to the disk before anything else is said."""
        lasted = carried.watch.span() if carried.watch is not None else None
        carried.watch = carried.rhythm = None
        if not ready.images:
            raise GenerationFailed(ready.note or "the service says it is done, but names no picture")
        state = carried.task.state
        before = state.images if isinstance(state, Running) else ()
        merged = [_merged(before, ready.images, index) for index in range(max(len(before), len(ready.images)))]
        merged = [image for index, image in enumerate(merged) if index < len(ready.images) or not _lost(image)]
        images = await asyncio.gather(*(self._grasp(carried, number, image) for number, image in enumerate(merged, 1)))
        self._learn(carried, ready.facts)
        self._become(carried, Saving(tuple(images), carried.task.job, ready.note), lasted)
        self._free(carried)
        await self._durable(carried)

    async def _grasp(self, carried: Carried, number: int, image: Image) -> Image:
        if not isinstance(image, InlineImage):
            return image
        with suppress(TaskError):  # said when it is saved: until then the bytes stay in memory
            return await self._saver.hold(image, carried.task.stem(number), carried.task.part(number))
        return image

    async def _save(self, carried: Carried) -> None:
        """Bring every picture under its name; one that fails never costs the others."""
        state = _saving(carried)
        saves = [asyncio.ensure_future(self._save_one(carried, number)) for number in range(1, len(state.images) + 1)]
        try:
            results = await asyncio.gather(*saves)
        finally:  # where another process has claimed the task, none of them may go on
            for save in saves:
                save.cancel()
        errors = [error for error in results if error is not None]
        expired = any(isinstance(error, Expired) for error in errors)
        state = _saving(carried)
        if not errors:
            self._finish(carried, state)
        elif expired and state.job is not None and carried.renewals < RENEWALS:
            carried.renewals += 1
            self._become(carried, Running(state.job, state.images))
        else:
            raise errors[0]

    async def _save_one(self, carried: Carried, number: int) -> TaskError | None:
        """Try for minutes: what exists at the service is paid for. None when it is saved."""
        attempt, waited = 1, 0.0
        while True:
            try:
                await self._save_once(carried, number)
            except TaskError as error:
                seconds = self._pause_before(carried, number, error, attempt)
                if seconds is None or waited >= MAX_DOWNLOAD_S:
                    return error
                seconds = min(seconds, max(1.0, MAX_DOWNLOAD_S - waited))
                await self._wait(carried, seconds, error)
                attempt, waited = attempt + 1, waited + seconds
            else:
                return None

    def _pause_before(self, carried: Carried, number: int, error: TaskError, attempt: int) -> float | None:
        """Seconds to wait before a picture is tried once more; None where that cannot help.

        What only this process has in memory waits for the disk; what can be asked for again is left to `resume`.
        """
        state = _saving(carried)
        inline = isinstance(state.images[number - 1], InlineImage)
        if isinstance(error, SlowDown) and error.after is not None:
            return error.after
        if isinstance(error, Unavailable | SlowDown):
            return pause(attempt)
        if isinstance(error, BadImage):
            return None if inline or isinstance(error, UnusableImage) else pause(attempt)
        return pause(attempt) if isinstance(error, DiskError) and inline and state.job is None else None

    async def _save_once(self, carried: Carried, number: int) -> None:
        task, image = carried.task, _saving(carried).images[number - 1]
        if isinstance(image, InlineImage | RemoteImage):
            image = await self._saver.hold(image, task.stem(number), task.part(number))
        if isinstance(image, HeldImage):

            async def chosen(held: HeldImage) -> None:
                self._place(carried, number, held)
                await self._settle(carried)

            if not image.final:  # held in another place than its own: that must be known before it can fail
                self._place(carried, number, image)
            try:
                self._place(carried, number, await self._saver.publish(image, task.stem(number), chosen))
            except Expired:
                self._place(carried, number, InlineImage(b""))
                raise

    def _place(self, carried: Carried, number: int, image: Image) -> None:
        """Say where one picture is now."""
        state = carried.task.state
        if isinstance(state, Saving):
            images = (*state.images[: number - 1], image, *state.images[number:])
            self._become(carried, replace(state, images=images))

    def _finish(self, carried: Carried, state: Saving) -> None:
        """All pictures are saved. Where one cannot be known to be whole, the note says so and the receipt is kept."""
        files = carried.task.files
        doubts = dict.fromkeys(image.doubt for image in state.images if isinstance(image, SavedImage) and image.doubt)
        note = "; ".join(part for part in (state.note, *doubts) if part)
        missing = max(0, carried.asked - len(files))
        self._become(carried, Done(files, missing, note, state.job if doubts else None))

    # Any → Failed, Cancelled

    async def _fail(self, carried: Carried, error: TaskError) -> None:
        """End one task. The receipt is kept wherever asking again may still help."""
        state = carried.task.state
        if isinstance(error, Unauthorized | OutOfCredits) and not isinstance(state, Saving):
            carried.lane.shut = carried.lane.shut or error
        job = carried.task.job
        if isinstance(state, Submitting) and not isinstance(error, Uncertain | ProviderBug):
            job = None  # an id of ours, and the service has said that it does not take the task
        job = _receipt(carried, job)
        images = state.images if isinstance(state, Running | Saving) else ()
        paid = _may_be_paid(state, error)
        self._become(carried, Failed(error.reason, error.message, job, images, error.hint, error.final, paid))
        self._free(carried)
        self._tidy(carried)
        await self._durable(carried)

    async def _stop_one(self, carried: Carried) -> None:
        """A person wants it stopped: do what can be done, and say which it was."""
        match carried.task.state:
            case Submitting(draft) if carried.answer is not None:
                await self._stop_submit(carried, draft, carried.answer)
            case Queued() | Submitting():
                self._become(carried, Cancelled(Stop.NOT_SENT))
            case Running(job):
                await self._stop_job(carried, job)
            case _:
                return
        self._free(carried)

    async def _stop_submit(self, carried: Carried, draft: Job | None, answer: "asyncio.Task[Accepted | Ready]") -> None:
        """The request is on its way: a receipt is money, so wait a little for it."""
        if carried.lane.provider.stops_when_dropped:
            answer.cancel()
            await asyncio.wait({answer}, timeout=LAST_WORDS)
            self._become(carried, Cancelled(Stop.STOPPED))
            return
        outcome = await self._cancel_there(carried, draft) if draft is not None else Stop.GOES_ON
        await asyncio.wait({answer}, timeout=LAST_WORDS)
        if not answer.done():
            answer.cancel()
            outcome = Stop.GOES_ON if outcome is Stop.TOO_LATE else outcome
            self._become(carried, Cancelled(outcome, _receipt(carried, draft)))
            return
        try:
            reply = answer.result()
        except Uncertain:
            self._become(carried, Cancelled(outcome, _receipt(carried, draft)))
        except TaskError:
            told = outcome in (Stop.STOPPED, Stop.REQUESTED)
            self._become(carried, Cancelled(outcome if told else Stop.NOT_SENT))
        else:
            await self._received(carried, reply)
            if isinstance(reply, Accepted):
                await self._stop_job(carried, reply.job)

    async def _stop_job(self, carried: Carried, job: Job) -> None:
        """What had been finished before is kept: it is paid for."""
        outcome = await self._cancel_there(carried, job)
        if outcome in (Stop.TOO_LATE, Stop.REQUESTED):
            outcome = await self._last_look(carried, job, outcome)
        if isinstance(carried.task.state, Running):
            self._become(carried, Cancelled(outcome, None if outcome is Stop.STOPPED else _receipt(carried, job)))

    async def _last_look(self, carried: Carried, job: Job, outcome: Stop) -> Stop:
        for _ in range(int(LAST_WORDS)):
            try:
                reply = await self._status(carried, job)
            except TaskError as error:
                if error.final:
                    return Stop.STOPPED
                break
            if isinstance(reply, Ready):
                await self._made(carried, reply)
                return Stop.TOO_LATE
            await asyncio.sleep(1)
        return Stop.GOES_ON if outcome is Stop.TOO_LATE else outcome

    async def _cancel_there(self, carried: Carried, job: Job) -> Stop:
        """Ask the service; whatever goes wrong with that, it goes on for all we know."""
        try:
            async with self._questions, asyncio.timeout(LAST_WORDS):
                return await carried.lane.provider.cancel(job)
        except Exception:  # noqa: BLE001 - a cancel that fails is an answer: it goes on
            return Stop.GOES_ON

    # What every step uses

    def _learn(self, carried: Carried, facts: Facts) -> None:
        if facts:
            self._emit(TaskLearned(time.time(), carried.task.id, facts))

    def _become(self, carried: Carried, state: State, lasted: Span | None = None) -> None:
        carried.task = carried.task.to(state)
        self._emit(TaskChanged(time.time(), carried.task, lasted))

    async def _durable(self, carried: Carried) -> None:
        """Wait until what happened is on disk; where that cannot be, what is paid for goes on all the same."""
        with suppress(DiskError):
            await self._settle(carried)

    async def _wait(self, carried: Carried, seconds: float, error: TaskError) -> None:
        self._emit(TaskDelayed(time.time(), carried.task.id, carried.tries, seconds, error.message))
        await asyncio.sleep(seconds)

    def _free(self, carried: Carried) -> None:
        if carried.slot is not None:
            carried.slot.leave()
            carried.slot = None

    def _tidy(self, carried: Carried) -> None:
        """Remove what an earlier process left of a picture that could not be fetched; whole ones stay for `resume`."""
        state = carried.task.state
        for number, image in enumerate(state.images if isinstance(state, Failed) else (), 1):
            if isinstance(image, RemoteImage):
                self._saver.discard(carried.task.part(number))


def _merged(before: Sequence[Image], now: Sequence[Image], index: int) -> Image:
    """What was saved or held before stays; the rest has a new address."""
    if index < len(before) and (index >= len(now) or isinstance(before[index], SavedImage | HeldImage)):
        return before[index]
    return now[index]


def _lost(image: Image) -> bool:
    """Whether it stands for a picture of which nothing is left here."""
    return isinstance(image, InlineImage) and not image.data


def _saving(carried: Carried) -> Saving:
    state = carried.task.state
    if not isinstance(state, Saving):
        raise TypeError(f"task {carried.task.id} is not being saved but {state}")
    return state


def _receipt(carried: Carried, job: Job | None) -> Job | None:
    """The job, where a resume could fetch its pictures: nothing else may be promised."""
    return job if job is not None and carried.lane.provider.fetchable(job) else None


def _may_be_paid(state: State, error: TaskError) -> bool:
    """Whether the service may charge for what failed: it has the task, or what became of the request is not known."""
    if isinstance(error, Uncertain):
        return True
    if isinstance(state, Submitting):
        return isinstance(error, ProviderBug | DiskError | BadImage)
    return isinstance(state, Running | Saving) and not error.final


def _of_questions(error: TaskError) -> type[TaskError]:
    """What failed questions come to: the account's fault, the network's, or the service's. Never the prompt's."""
    kinds = (Unauthorized, OutOfCredits, ServerTrouble, Unavailable)
    return next((kind for kind in kinds if isinstance(error, kind)), ServerTrouble)


def _like(error: TaskError) -> TaskError:
    """The same words for another task: a shut lane sends nothing."""
    return type(error)(f"not sent: {error.message}", hint=error.hint)


def _given_up(error: SlowDown, seconds: float) -> SlowDown:
    return type(error)(f"refused for {seconds / 60:.0f} min: {error.message}", hint=error.hint)


def _until(error: SlowDown, left: float) -> str:
    """The service's words, and until when they are taken for "later"."""
    return f"{error.message} (tried until {time.strftime('%H:%M', time.localtime(time.time() + left))})"


def _bug(carried: Carried, error: Exception) -> ProviderBug:
    saving = isinstance(carried.task.state, Saving)
    culprit = "saving" if saving else f"the provider {carried.lane.provider.kind!r}"
    return ProviderBug(f"{culprit} broke: {type(error).__name__}: {error}")
