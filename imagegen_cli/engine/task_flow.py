"""The steps of one task, from the state that it is in to an end.

The state decides the next step, and a retry repeats a step. To resume a task is to begin with its stored state. Every
change of state is an event; what must not be lost is durable before the next step is taken.
"""

import asyncio
import errno
import random
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from imagegen_cli.core.durations import Durations, Span
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
    PicturesCharged,
    Sink,
    TaskChanged,
    TaskCharged,
    TaskDelayed,
    TaskLearned,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.masking import masked
from imagegen_cli.core.money import Money, Quote, Source, parse_money
from imagegen_cli.core.provider import Accepted, Facts, Provider, Ready
from imagegen_cli.core.task import (
    ASSUMED_PRICE,
    ENDED,
    KNOWN_PRICE,
    OWN_FACTS,
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
from imagegen_cli.engine.lane import Lane
from imagegen_cli.engine.scheduling import PollSchedule, Slot, Stopwatch, retry_delay

if TYPE_CHECKING:
    from imagegen_cli.core.marker import Marker

MAX_POLL_FAILURES = 3
"""Status queries in a row that fail."""
MAX_ATTEMPTS = 4
"""Times that a submit is tried that certainly never left."""
MAX_DOWNLOAD_S = 180.0
"""Seconds of planned waits between the tries to get one picture; then its task fails, and `resume` tries again."""
MAX_URL_RENEWALS = 3
"""Times that a task asks for new addresses because one has expired."""
MAX_QUERY_S = 60.0
"""Seconds from sending it after which a status query counts as failed, however slowly its answer drips."""
MAX_QUERIES_AT_ONCE = 24
"""Status queries and cancels on their way at once. It does not limit the tasks."""
MAX_HANDLE_WAITS = 100
"""Times that a step is repeated because no further file could be opened."""
MIN_REFUSAL_WAIT_S = 1.0
"""Less time than this is not worth one more try."""
CLOCK_STEP_S = 5.0
"""Time limits are counted in pieces of this, so that a stopped or sleeping machine ages no task by more."""
CANCEL_GRACE_S = 5.0
"""Seconds that a stop waits: for the answer to a submit on its way, for a cancel, for a picture that exists."""


NameChosen = Callable[[StagedImage], Awaitable[None]]
"""Called with the final name before a picture gets it, so that the history has the name first."""


MarkerOf = Callable[[Task, int], "Marker | None"]
"""The marker of a picture of a task, by its number from 1; None where it stays as it came."""


class Saver(Protocol):
    """Brings pictures onto the disk; see net/download.py. Both raise a TaskError."""

    async def stage(
        self, image: InlineImage | RemoteImage, stem: Path, part: Path, marker: "Marker | None" = None
    ) -> StagedImage: ...
    async def publish(
        self, staged: StagedImage, /, stem: Path, chosen: NameChosen, marker: "Marker | None" = None
    ) -> SavedImage: ...
    def discard(self, part: Path) -> None: ...


@dataclass(slots=True, kw_only=True)
class RunContext:
    """What the tasks of one run share; see `Runner` for what each means."""

    lanes: Mapping[str, Lane]
    saver: Saver
    emit: Sink
    flush: Callable[[], Awaitable[None]]
    durations: Callable[[Task], Durations]
    owns: Callable[[TaskId], bool]
    one_look: Container[TaskId]
    over_budget: Callable[[TaskId], str]
    reached_budget: Callable[[str], None]
    pause_for_credit: Callable[[str, str], None] | None
    """Called with the provider and its words; None where no person is there to let it go on."""
    marker: MarkerOf = lambda _task, _number: None
    is_full: Callable[[TaskId], bool] = lambda _: False
    why_full: Callable[[str], str] = lambda _: ""
    is_elsewhere: Callable[[TaskId], bool] = lambda _: False
    record: Sink | None = None
    announce: Sink | None = None
    give_back: Callable[[TaskId], None] | None = None
    fits: Callable[[Task], bool] = lambda _: True
    is_over_run: Callable[[TaskId], bool] = lambda _: False
    reached_budget_of_run: Callable[[RunId, str], None] = lambda _run, _because: None
    unrecorded: Callable[[TaskId, DiskError], float | None] = lambda _task, _error: None
    queries: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_QUERIES_AT_ONCE))
    holders: dict[tuple[str, str], TaskId] = field(default_factory=dict)
    """Provider and id of a job -> the task that has it, also after its end."""
    stopping: bool = False
    draining: bool = False
    """What was sent comes to its end, and nothing more is sent."""
    leaving: bool = False
    """The process ends: only an answer to a submit, and pictures that are being saved, are still waited for."""


PLACE_WAIT_S = (0.3, 0.7)
"""Seconds between two looks for a place at an account that other processes use too, at random."""
PLACE_TOLD_S = 3.0
"""Seconds of that wait after which it is said why."""


class TakenOverError(Exception):
    """The task is left as the history has it: another process has claimed it, or it was not sent and waits there."""


class RepeatedReceiptError(Uncertain):
    """The receipt is another task's: what became of this request cannot be asked for."""


class TaskFlow:
    """One task on its way, and what only this process needs to know about it."""

    def __init__(self, task: Task, context: RunContext) -> None:
        self.task = task
        self.coroutine: asyncio.Task[None] | None = None
        self._context = context
        self._lane = context.lanes[task.request.provider]
        self._provider = self._lane.provider
        self._since = asyncio.get_running_loop().time()
        self._slot: Slot | None = None
        self._waits_for_place = False
        """It keeps its place at the gate until the account has one for it."""
        self._full_since: float | None = None
        """By the loop's clock, since when the account has had no place for it."""
        self._told_full = ""
        """What was said of that."""
        self._begun = False
        """A coroutine that is cancelled before its first step never takes one."""
        self._cancelling = False
        self._taken_over = False
        """The task is left as the history has it: another process has it now, or may have it."""
        self._refusal: DiskError | None = None
        """The last error with which the history took nothing."""
        self._attempts = 0
        self._renewals = 0
        self._handle_waits = 0
        self._answer: asyncio.Task[Accepted | Ready] | None = None
        self._watch: Stopwatch | None = None
        """Of the job at the service, from the submit on; None where it began before this process, or has ended."""
        self._schedule: PollSchedule | None = None
        self._refused_until = 0.0
        """By the loop's clock: when a service that refuses to be asked is given up."""
        self._refusals = 0
        """Status queries in a row that the service refused to answer."""
        self._spent_s = 0.0
        """Seconds that count against the time limit."""
        self._queued_there = False
        self._unconfirmed = isinstance(task.state, Running) and task.state.unconfirmed
        """The job is an id of ours whose submit was not answered: the service may not know it."""
        if task.job is not None:
            context.holders.setdefault((task.request.provider, task.job.id), task.id)

    # What the runner calls

    async def run(self) -> None:
        """Take step after step until the task has ended, is cancelled, or is left as the history has it."""
        self._begun = True
        try:
            if self._cancelling:
                await self._guarded(self._stop())
            while self._goes_on():
                await self._step_or_stop()
        except TakenOverError:
            self._taken_over = True
        except asyncio.CancelledError:
            if not (self._context.stopping or self._taken_over):
                raise
        finally:
            self._free_slot()
            if not self._taken_over:  # else its part files are another process' now
                self._discard_parts()

    def cancel(self) -> None:
        """Stop the task where it is unfinished; pictures that are being saved are saved."""
        if self._cancelling or isinstance(self.task.state, Saving):
            return
        self._cancelling = True
        if self._begun and self.coroutine is not None:
            self.coroutine.cancel()

    def let_go(self) -> None:
        """Leave the task to another process, in the state that it is in."""
        self._taken_over = True
        if self.coroutine is not None:
            self.coroutine.cancel()

    def leave(self) -> None:
        """Leave a job that runs as it is, for `resume`. A submit that waits for its answer goes on."""
        if isinstance(self.task.state, Running):
            self.abandon()

    def abandon(self) -> None:
        """End at once, in whatever state the task is."""
        if self.coroutine is not None:
            self._cancelling = False
            self.coroutine.cancel()

    # One step after another

    def _goes_on(self) -> bool:
        state = self.task.state
        return not isinstance(state, ENDED) and not (self._context.leaving and isinstance(state, Running))

    async def _step_or_stop(self) -> None:
        try:
            await self._guarded(self._step())
        except asyncio.CancelledError:
            current = asyncio.current_task()
            saving = isinstance(self.task.state, Saving)
            if self._taken_over or not self._cancelling or current is None or saving:
                raise
            current.uncancel()
            await self._guarded(self._stop())

    async def _guarded(self, step: Coroutine[Any, Any, None]) -> None:
        """Take a step; what is raised there ends this task and no other, a provider's bug included."""
        try:
            await step
        except TakenOverError:
            raise
        except TaskError as error:
            await self._fail(error)
        except Exception as error:  # noqa: BLE001 - one provider's bug ends one task, not its siblings
            if self._may_wait_for_handles(error):
                await self._wait(retry_delay(1), Busy(Message("too many files are open at once (ulimit -n)")))
            else:
                await self._fail(self._bug(error))

    async def _step(self) -> None:
        match self.task.state:
            case Queued():
                await self._submit()
            case Running(job):
                await self._poll_until_ready(job)
            case Saving():
                await self._save()
            case state:
                raise RuntimeError(f"task {self.task.id} cannot go on from {state}")

    # Queued → Submitting

    async def _submit(self) -> None:
        await self._come_to_gate()
        if self._context.draining or not self._context.fits(self.task):
            self._leave_unsent()
            return
        if (closed := self._lane.closed_to(self._since)) is not None:
            self._turned_away(closed)
            return
        client_job = self._provider.client_job(self.task.request)
        self._ask_history(Submitting(client_job, self._quote()))
        try:
            if not await self._is_entered() or await self._is_account_full():
                return
            if self._context.leaving:
                self._leave_unsent()
                return
            self._announce()
            reply = await self._reply(client_job)
        except SlowDown as error:
            self._submit_refused(error)
        except Unavailable as error:
            await self._submit_unsent(error)
        except Uncertain as error:
            await self._answer_lost(client_job, error)
        except TaskError as error:
            self._hand_over(error)
        else:
            await self._answered(reply)

    async def _come_to_gate(self) -> None:
        """Have a slot, unless nothing more is sent."""
        if not self._waits_for_place:
            self._free_slot()
            if not self._context.draining:
                await self._enter_gate()
        self._waits_for_place = False

    def _quote(self) -> Quote | None:
        pricing = self._lane.pricing
        if pricing is None:
            return None
        quote = pricing.quote(self.task.request, self.task.expected_images)
        if quote.source is not Source.UNKNOWN or self._context.give_back is None:
            return quote
        kept = self.task.facts.get(KNOWN_PRICE) or self.task.facts.get(ASSUMED_PRICE)
        return Quote(quote.images, parse_money(str(kept)), Source.SET) if kept else quote

    def _is_over_budget(self) -> bool:
        """Whether the history reserved nothing for this submit, because it does not fit; then nothing more is sent."""
        because = self._context.over_budget(self.task.id)
        if because and self._context.is_over_run(self.task.id):
            self._context.reached_budget_of_run(self.task.run, because)
            self._transition(Cancelled(CancelOutcome.NOT_SENT))
        elif because:
            self._context.reached_budget(because)
            self._leave_unsent()
        return bool(because)

    async def _is_account_full(self) -> bool:
        """Whether other processes have taken all places at the account; then wait a little, inside of the gate."""
        if not self._context.is_full(self.task.id):
            self._full_since, self._told_full = None, ""
            return False
        self._ask_history(Queued())
        self._waits_for_place = True
        seconds, now = random.uniform(*PLACE_WAIT_S), asyncio.get_running_loop().time()
        self._full_since = now if self._full_since is None else self._full_since
        because = self._context.why_full(self.task.request.provider)
        if because not in ("", self._told_full) and now - self._full_since >= PLACE_TOLD_S:
            self._told_full = because
            self._delayed(0, seconds, because)
        await asyncio.sleep(seconds)
        return True

    def _leave_unsent(self) -> None:
        """End as not sent, or leave the task to other workers where it is theirs too."""
        if self._context.give_back is None:
            self._transition(Cancelled(CancelOutcome.NOT_SENT))
            return
        if isinstance(self.task.state, Submitting):
            self._transition(Queued())
        self._context.give_back(self.task.id)
        raise TakenOverError

    def _turned_away(self, closed: TaskError) -> None:
        """Stay queued where another provider may take the task. An account that is out of credits leaves it unsent."""
        if self._has_open_alternative():
            return
        if not isinstance(closed, OutOfCredits) and self._context.give_back is None:
            raise _not_sent(closed)
        self._leave_unsent()

    async def _is_entered(self) -> bool:
        """Wait until the history says that the request is leaving, and whether it may; else nothing leaves.

        Where it cannot say so, the task has not failed: nothing was sent, and in the history it waits.
        """
        try:
            await self._flush()
        except DiskError as error:
            self._ask_history(Queued())
            await self._wait_for_history(error)
            return False
        return not self._is_over_budget()

    async def _wait_for_history(self, error: DiskError) -> None:
        """Wait before the history is asked once more, or let go of the task. Nothing was sent."""
        seconds = self._context.unrecorded(self.task.id, error)
        if seconds is None:
            raise TakenOverError from error
        self._free_slot()
        await self._wait(seconds, error)

    async def _enter_gate(self) -> None:
        """Take a slot: of several providers that a person named, in the first that has one and is not shut."""
        choices = [self.task.request, *self._alternatives()]
        if len(choices) == 1:
            self._slot = await self._lane.gate.enter()
            return
        lanes = [(self._context.lanes[request.provider], request) for request in choices]
        open_ = [(lane, request) for lane, request in lanes if lane.closed_to(self._since) is None] or lanes[:1]
        self._slot, lane, request = await _first_slot(open_)
        if request is not self.task.request:
            self._lane, self._provider = lane, lane.provider
            self.task = self.task.as_sent(request, _expected_images(self._provider, request))

    def _alternatives(self) -> list[ImageRequest]:
        """Those whose providers are still set up: a task of an earlier process remembers all that it once had."""
        return [request for request in self.task.alternatives if request.provider in self._context.lanes]

    def _has_open_alternative(self) -> bool:
        lanes = [self._context.lanes[request.provider] for request in self._alternatives()]
        return any(lane.closed_to(self._since) is None for lane in lanes)

    async def _reply(self, client_job: Job | None) -> Accepted | Ready:
        """Submit in a task of its own, so that a stop can still wait for the receipt."""
        self._answer = asyncio.ensure_future(self._provider.submit(self.task.request, client_job, self._report))
        self._watch = Stopwatch()
        limit, spent = self._lane.timeout, 0.0
        while spent < limit:
            part = min(CLOCK_STEP_S, limit - spent)
            done, _ = await asyncio.wait({self._answer}, timeout=part)
            self._watch.planned(spent + part)
            if done:
                return self._answer.result()
            spent += part
        self._answer.cancel()
        lost = Message("no answer within the time limit of {seconds:g} s; it may have been accepted and charged")
        raise Uncertain(lost.format(seconds=limit))

    async def _answered(self, reply: Accepted | Ready) -> None:
        if self._slot is not None:
            self._slot.answered()
        if isinstance(reply, Ready):
            await self._take_pictures(reply)
            return
        self._register_receipt(reply.job)
        self._learn(_with_job(reply.facts, reply.job))
        self._watch = Stopwatch()
        self._transition(Running(reply.job))
        self._charged(reply.cost)
        await self._flush_if_possible()

    def _register_receipt(self, job: Job) -> None:
        """Raise RepeatedReceiptError where another task of this run has the job: it has one picture, not two."""
        holder = self._context.holders.setdefault((self.task.request.provider, job.id), self.task.id)
        if holder == self.task.id:
            return
        self._watch = None
        again = Message(
            "the service gave the receipt of task {id} again; the request may have been accepted and charged"
        )
        raise RepeatedReceiptError(again.format(id=holder))

    def _submit_refused(self, error: SlowDown) -> None:
        """Certainly not accepted: back to the queue, and the lane waits for all. After its limit they all fail."""
        lane, gate = self._lane, self._lane.gate
        self._transition(Queued())
        left = lane.max_refused_s - gate.refusing_for()
        if left < MIN_REFUSAL_WAIT_S:
            lane.give_up(_given_up(error, lane.max_refused_s))
            return
        seconds = gate.refused(self._slot, error.after, left) if self._slot is not None else 0.0
        self._slot = None
        self._delayed(self._attempts, seconds, _until(error, left))

    async def _submit_unsent(self, error: Unavailable) -> None:
        """The request never left: it is sent again, a little later."""
        self._attempts += 1
        if self._attempts >= MAX_ATTEMPTS:
            raise error
        self._transition(Queued())
        self._free_slot()
        if not self._context.leaving:
            await self._wait(retry_delay(self._attempts), error)

    async def _answer_lost(self, client_job: Job | None, error: Uncertain) -> None:
        """Never sent again by itself. With an id of ours the service can be asked what became of it."""
        if client_job is None:
            raise error
        if self._slot is not None:
            self._slot.answered()
        self._watch = None
        self._unconfirmed = True
        self._transition(Running(client_job, unconfirmed=True))
        await self._flush_if_possible()

    def _hand_over(self, error: TaskError) -> None:
        """Go back to the queue where the account was refused and another provider may take the task; else raise."""
        if not error.shuts_lane:
            raise error
        if isinstance(error, OutOfCredits) and error.unspent and self._waits_for_credit(error):
            return
        self._lane.shut = self._lane.shut or error
        may_have_begun = self._provider.is_synchronous and not error.unspent  # such a submit lasts as long as the work
        if may_have_begun or not self._has_open_alternative():
            raise error
        self._transition(Queued())

    def _waits_for_credit(self, error: OutOfCredits) -> bool:
        """Go back to the queue, and let all wait that was not sent, where a person is there who can top up."""
        if self._context.pause_for_credit is None or self._has_open_alternative():
            return False
        self._transition(Queued())
        self._context.pause_for_credit(self.task.request.provider, error.message)
        self._free_slot()  # after the pause: else it would let one more task out, to be refused
        return True

    # Running → Saving

    async def _poll_until_ready(self, job: Job) -> None:
        """Ask until it is ready. Time counts only as long as we planned to wait: a stopped process ages no task."""
        lane = self._lane
        self._slot = self._slot or lane.gate.join()
        watch, schedule = self._scheduled()
        failures = 0
        while True:
            seconds = self._next_delay(watch, schedule)
            await watch.sleep(seconds, lane.gate.closed_for())
            try:
                reply = await self._status(job)
            except SlowDown as error:
                self._query_refused(watch, seconds, error)
                continue
            except TaskError as error:
                failures += 1
                self._query_failed(failures, seconds, error)
                continue
            failures = self._refusals = 0
            self._unconfirmed = False
            if isinstance(reply, Ready):
                await self._take_pictures(reply)
                return
            self._spend(seconds)
            self._report(reply)
            if self.task.id in self._context.one_look:
                raise TimedOut(Message("the service was asked once more and still has no picture"))

    def _scheduled(self) -> tuple[Stopwatch, PollSchedule]:
        """How old a job is that was resumed, or asked for anew, is not known: it may be ready now."""
        if self._watch is None:
            self._watch, self._schedule = Stopwatch(whole=False), PollSchedule(self._lane.poll)
        else:
            self._schedule = PollSchedule(self._lane.poll, self._context.durations(self.task))
        return self._watch, self._schedule

    def _next_delay(self, watch: Stopwatch, schedule: PollSchedule) -> float:
        seconds = schedule.next_delay(watch.elapsed(), queued=watch.queued())
        if self._refusals:
            left = self._refused_until - asyncio.get_running_loop().time()
            seconds = min(seconds, max(MIN_REFUSAL_WAIT_S, left))
        return seconds

    def _query_refused(self, watch: Stopwatch, seconds: float, error: SlowDown) -> None:
        """The service refuses to be asked: the lane waits for all. After its limit the task fails."""
        lane, now = self._lane, asyncio.get_running_loop().time()
        watch.leave_out()
        if not self._refusals:
            self._refused_until = now + lane.max_refused_s
        self._refusals += 1
        left = self._refused_until - now
        if left < MIN_REFUSAL_WAIT_S:
            raise _given_up(error, lane.max_refused_s)
        after = retry_delay(self._refusals) if error.after is None else error.after
        lane.gate.close_for(min(after, left))
        with suppress(TimedOut):  # raised when the service answers again
            self._spend(seconds)
        self._delayed(self._refusals, lane.gate.closed_for(), _until(error, left))

    def _query_failed(self, failures: int, seconds: float, error: TaskError) -> None:
        """One status query failed; the last of MAX_POLL_FAILURES in a row fails the task.

        Only the service's own word about this job ends it at once, but for an id of ours that it may not know yet.
        """
        if error.final and self._context.is_elsewhere(self.task.id):
            error = _of_another_service(error, self.task.request.provider)
        if error.final and not (self._unconfirmed and isinstance(error, Expired)):
            raise error
        if failures >= MAX_POLL_FAILURES:
            raise self._given_up_asking(error) from error
        self._spend(seconds)
        self._delayed(failures, seconds, error.message)

    def _given_up_asking(self, error: TaskError) -> TaskError:
        """An id of ours that the service does not know at the last query is not asked for again by a plain resume."""
        if not self._unconfirmed:
            message = Message("{count} status queries in a row failed: {why}")
            message = message.format(count=MAX_POLL_FAILURES, why=error.message)
            return _kind_of_failed_queries(error)(message, hint=error.hint).as_billed(error.cost, error.tokens)
        message = Message("the answer to the submit was lost, and asking did not help: {why}")
        unknown = Uncertain(message.format(why=error.message), hint=error.hint)
        return unknown.as_final() if isinstance(error, Expired) else unknown

    async def _status(self, job: Job) -> Working | Ready:
        try:
            async with self._context.queries, asyncio.timeout(MAX_QUERY_S):
                return await self._provider.poll(job, self._report)
        except TimeoutError as error:
            message = Message("a status query took more than {seconds:g} s").format(seconds=MAX_QUERY_S)
            raise Unavailable(message) from error

    def _spend(self, seconds: float) -> None:
        """Count against the time limit, but for the time in the service's own queue, where it tells."""
        if self._queued_there:
            return
        self._spent_s += seconds
        if self._spent_s >= self._lane.timeout:
            message = Message("no picture within the time limit of {seconds:g} s")
            raise TimedOut(message.format(seconds=self._lane.timeout))

    def _report(self, working: Working) -> None:
        """Note what the service says of its work, and emit it."""
        self._queued_there = bool(working.queue_position)
        if self._watch is not None:
            self._watch.unready(queued=self._queued_there)
            if self._schedule is not None:
                self._schedule.observe(self._watch.elapsed(), working.fraction)
        self._context.emit(TaskProgressed(time.time(), self.task.id, working))

    # Saving → Done

    async def _take_pictures(self, ready: Ready) -> None:
        """The pictures exist. What came inside the answer goes to the disk before the state says so."""
        lasted = self._watch.span() if self._watch is not None else None
        self._watch = self._schedule = None
        if not ready.images:
            nameless = Message("the service says it is done, but names no picture")
            raise GenerationFailed(ready.note or nameless).as_charged()
        state = self.task.state
        merged = _merged(state.images if isinstance(state, Running) else (), ready.images)
        self._learn(ready.facts)
        images = await asyncio.gather(*(self._stage_inline(number, image) for number, image in enumerate(merged, 1)))
        self._transition(Saving(tuple(images), self.task.job, ready.note), lasted)
        self._charged(ready.cost, ready.tokens)
        if ready.charged_images is not None:
            self._context.emit(PicturesCharged(time.time(), self.task.id, ready.charged_images))
        self._free_slot()
        await self._flush_if_possible()

    async def _stage_inline(self, number: int, image: Image) -> Image:
        if not isinstance(image, InlineImage):
            return image
        with suppress(TaskError):  # raised when it is saved: until then the bytes stay in memory
            return await self._staged(number, image)
        return image

    async def _staged(self, number: int, image: InlineImage | RemoteImage) -> StagedImage:
        task, context = self.task, self._context
        return await context.saver.stage(image, task.stem(number), task.part(number), context.marker(task, number))

    async def _save(self) -> None:
        """Bring every picture under its name; one that fails never costs the others."""
        numbers = range(1, len(self._saving.images) + 1)
        saves = [asyncio.ensure_future(self._save_one(number)) for number in numbers]
        try:
            results = await asyncio.gather(*saves)
        finally:  # where another process has claimed the task, none of them may go on
            for save in saves:
                save.cancel()
        errors = [error for error in results if error is not None]
        expired = any(isinstance(error, Expired) for error in errors)
        state = self._saving
        if not errors:
            self._finish(state)
        elif expired and state.job is not None and self._renewals < MAX_URL_RENEWALS:
            self._renewals += 1
            self._transition(Running(state.job, state.images))
        else:
            raise errors[0]

    async def _save_one(self, number: int) -> TaskError | None:
        """Try for minutes: what exists at the service is paid for. None when it is saved."""
        attempt, waited = 1, 0.0
        while True:
            try:
                await self._save_once(number)
            except TaskError as error:
                seconds = self._delay_before_saving(number, error, attempt)
                if seconds is None or waited >= MAX_DOWNLOAD_S:
                    return error
                seconds = min(seconds, max(1.0, MAX_DOWNLOAD_S - waited))
                await self._wait(seconds, error)
                attempt, waited = attempt + 1, waited + seconds
            else:
                return None

    def _delay_before_saving(self, number: int, error: TaskError, attempt: int) -> float | None:
        """Seconds to wait before a picture is tried once more; None where that cannot help.

        What only this process has in memory waits for the disk; what can be asked for again is left to `resume`.
        """
        state = self._saving
        inline = isinstance(state.images[number - 1], InlineImage)
        if isinstance(error, SlowDown) and error.after is not None:
            return error.after
        if isinstance(error, Unavailable | SlowDown):
            return retry_delay(attempt)
        if isinstance(error, BadImage):
            return None if inline or isinstance(error, UnusableImage) else retry_delay(attempt)
        return retry_delay(attempt) if isinstance(error, DiskError) and inline and state.job is None else None

    async def _save_once(self, number: int) -> None:
        task, image, context = self.task, self._saving.images[number - 1], self._context
        if isinstance(image, InlineImage | RemoteImage):
            image = await self._staged(number, image)
        if not isinstance(image, StagedImage):
            return
        if not image.final:  # staged in another place than its own: that must be known before it can fail
            self._place(number, image)
        chosen, marker = partial(self._name_chosen, number), context.marker(task, number)
        try:
            self._place(number, await context.saver.publish(image, task.stem(number), chosen, marker))
        except Expired:
            self._place(number, InlineImage(b""))
            raise

    async def _name_chosen(self, number: int, staged: StagedImage) -> None:
        self._place(number, staged)
        await self._flush()

    def _place(self, number: int, image: Image) -> None:
        """Say where one picture is now."""
        state = self.task.state
        if isinstance(state, Saving):
            images = (*state.images[: number - 1], image, *state.images[number:])
            self._transition(replace(state, images=images))

    def _finish(self, state: Saving) -> None:
        """All pictures are saved. Where one cannot be known to be whole, the note says so and the receipt is kept."""
        files = self.task.files
        saved = [image for image in state.images if isinstance(image, SavedImage)]
        doubts = dict.fromkeys(image.doubt for image in saved if image.doubt)
        remarks = dict.fromkeys(image.remark for image in saved)
        parts = [part for part in (state.note, *doubts, *remarks) if part]
        note = joined("; ", parts) if len(parts) > 1 else (parts or [""])[0]
        missing = max(0, self.task.expected_images - len(files))
        self._transition(Done(files, missing, note, state.job if doubts else None))

    @property
    def _saving(self) -> Saving:
        state = self.task.state
        if not isinstance(state, Saving):
            raise TypeError(f"task {self.task.id} is not being saved but {state}")
        return state

    # Any → Failed, Cancelled

    async def _fail(self, error: TaskError) -> None:
        """End the task. The receipt is kept wherever asking again may still help."""
        state, job = self.task.state, self.task.job
        if error.shuts_lane and not isinstance(state, Saving):
            self._lane.shut = self._lane.shut or error
        if isinstance(state, Submitting) and not isinstance(error, Uncertain | ProviderBug):
            job = None  # an id of ours, and the service has said that it does not take the task
        if isinstance(error, RepeatedReceiptError):
            job = None  # an id of ours that the service did not take
        self._billed(error)
        failed = Failed.after(state, error, self._receipt(job))
        if error is self._refusal:
            await self._fail_by_history(failed)
        else:
            self._transition(failed)
        self._free_slot()
        self._discard_parts()
        await self._flush_if_possible()

    async def _fail_by_history(self, failed: Failed) -> None:
        """End the task because the history takes nothing, unless it tells now that another process has the task."""
        self._ask_history(failed)
        await self._flush_if_possible()
        self._announce()

    async def _stop(self) -> None:
        """A person wants it stopped: do what can be done, and say which it was."""
        match self.task.state:
            case Submitting(client_job) if self._answer is not None:
                await self._stop_submit(client_job, self._answer)
            case Queued() | Submitting():
                self._transition(Cancelled(CancelOutcome.NOT_SENT))
            case Running(job):
                await self._stop_job(job)
            case _:
                return
        self._free_slot()

    async def _stop_submit(self, client_job: Job | None, answer: "asyncio.Task[Accepted | Ready]") -> None:
        """The request is on its way: a receipt is money, so wait a little for it."""
        if self._provider.stops_when_dropped:
            answer.cancel()
            await asyncio.wait({answer}, timeout=CANCEL_GRACE_S)
            self._transition(Cancelled(CancelOutcome.STOPPED))
            return
        outcome = await self._cancel_there(client_job) if client_job is not None else CancelOutcome.GOES_ON
        await asyncio.wait({answer}, timeout=CANCEL_GRACE_S)
        if not answer.done():
            answer.cancel()
            outcome = CancelOutcome.GOES_ON if outcome is CancelOutcome.TOO_LATE else outcome
            self._transition(Cancelled(outcome, self._receipt(client_job)))
            return
        try:
            reply = answer.result()
        except Uncertain:
            self._transition(Cancelled(outcome, self._receipt(client_job)))
        except TaskError:
            answered = outcome in (CancelOutcome.STOPPED, CancelOutcome.REQUESTED)
            self._transition(Cancelled(outcome if answered else CancelOutcome.NOT_SENT))
        else:
            await self._answered(reply)
            if isinstance(reply, Accepted) and not self._context.leaving:
                await self._stop_job(reply.job)

    async def _stop_job(self, job: Job) -> None:
        """What had been finished before is kept: it is paid for."""
        outcome = await self._cancel_there(job)
        if outcome in (CancelOutcome.TOO_LATE, CancelOutcome.REQUESTED):
            outcome = await self._last_look(job, outcome)
        if isinstance(self.task.state, Running):
            receipt = None if outcome is CancelOutcome.STOPPED else self._receipt(job)
            self._transition(Cancelled(outcome, receipt))

    async def _last_look(self, job: Job, outcome: CancelOutcome) -> CancelOutcome:
        """Ask for a few seconds whether there are pictures after all, and take them; the outcome as it is then."""
        for _ in range(int(CANCEL_GRACE_S)):
            try:
                reply = await self._status(job)
            except TaskError as error:
                if error.final:
                    self._billed(error)
                    return CancelOutcome.STOPPED
                break
            if isinstance(reply, Ready):
                await self._take_pictures(reply)
                return CancelOutcome.TOO_LATE
            await asyncio.sleep(1)
        return CancelOutcome.GOES_ON if outcome is CancelOutcome.TOO_LATE else outcome

    async def _cancel_there(self, job: Job) -> CancelOutcome:
        """Ask the service to stop; where that fails in any way, the work must be taken to go on."""
        if self._context.is_elsewhere(self.task.id):
            return CancelOutcome.GOES_ON  # the job of this id at this service is another one
        try:
            async with self._context.queries, asyncio.timeout(CANCEL_GRACE_S):
                return await self._provider.cancel(job)
        except Exception:  # noqa: BLE001 - a cancel that fails is an answer: the work goes on
            return CancelOutcome.GOES_ON

    # What every step uses

    def _learn(self, facts: Facts) -> None:
        """Emit what the service told; of an earlier attempt nothing counts any more."""
        if facts.get("revised_prompt") in (self.task.request.prompt, " ".join(self.task.request.prompt.split())):
            facts = {name: fact for name, fact in facts.items() if name != "revised_prompt"}
        kept = OWN_FACTS if isinstance(self.task.state, Submitting) else self.task.facts.keys()
        before = {name: fact for name, fact in self.task.facts.items() if name in kept}
        if facts or before != self.task.facts:
            self.task = replace(self.task, facts={**before, **facts})
            self._context.emit(TaskLearned(time.time(), self.task.id, facts))

    def _charged(
        self, told: Money | None, tokens: Mapping[str, int] = MappingProxyType({}), *, settled: bool = False
    ) -> None:
        """Emit what the service told of the cost, or the price of the tokens that it counted."""
        if told is not None:
            self._context.emit(TaskCharged(time.time(), self.task.id, told, Source.TOLD, settled))
        elif tokens and self._lane.pricing is not None:
            amount = self._lane.pricing.of_tokens(self.task.request, tokens)
            if amount is not None:
                self._context.emit(TaskCharged(time.time(), self.task.id, amount, Source.ESTIMATED, settled))

    def _billed(self, error: TaskError) -> None:
        """Emit what the service charges although it brought no picture. What it gave back follows from the state."""
        if (error.cost is not None and error.cost.micros) or any(error.tokens.values()):
            self._charged(error.cost, error.tokens, settled=True)

    def _transition(self, state: State, lasted: Span | None = None) -> None:
        self.task = self.task.to(state)
        self._context.emit(TaskChanged(time.time(), self.task, lasted))

    def _ask_history(self, state: State) -> None:
        """Change the state as the history sees it, which may refuse a submit. The others are told what comes of it."""
        self.task = self.task.to(state)
        record = self._context.record or self._context.emit
        record(TaskChanged(time.time(), self.task))

    def _announce(self) -> None:
        """Tell the others what the history was asked to write."""
        if self._context.announce is not None:
            self._context.announce(TaskChanged(time.time(), self.task))

    async def _flush(self) -> None:
        """Wait until what happened is on disk. Raises DiskError, or TakenOverError where the history refused it."""
        try:
            await self._context.flush()
        except DiskError as error:
            self._refusal = error
            raise
        if not self._context.owns(self.task.id):
            raise TakenOverError

    async def _flush_if_possible(self) -> None:
        """Wait until what happened is on disk; where that cannot be, what is paid for goes on all the same."""
        with suppress(DiskError):
            await self._flush()

    def _delayed(self, attempt: int, seconds: float, because: str) -> None:
        self._context.emit(TaskDelayed(time.time(), self.task.id, attempt, seconds, because))

    async def _wait(self, seconds: float, error: TaskError) -> None:
        self._delayed(self._attempts, seconds, error.message)
        await asyncio.sleep(seconds)

    def _receipt(self, job: Job | None) -> Job | None:
        """The job, where a resume could fetch its pictures: nothing else may be promised."""
        return job if job is not None and self._provider.fetchable(job) else None

    def _free_slot(self) -> None:
        if self._slot is not None:
            self._slot.leave()
            self._slot = None

    def _discard_parts(self) -> None:
        """Remove what an earlier process left of a picture that could not be fetched; whole ones stay for `resume`."""
        state = self.task.state
        for number, image in enumerate(state.images if isinstance(state, Failed) else (), 1):
            if isinstance(image, RemoteImage):
                self._context.saver.discard(self.task.part(number))

    def _may_wait_for_handles(self, error: Exception) -> bool:
        """Whether a step broke because no file could be opened, also one of Python's own, and may be repeated."""
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE) or self._cancelling:
            return False
        self._handle_waits += 1
        return isinstance(self.task.state, Queued | Running | Saving) and self._handle_waits <= MAX_HANDLE_WAITS

    def _bug(self, error: Exception) -> ProviderBug:
        why = f"{type(error).__name__}: {error}"
        if isinstance(self.task.state, Saving):
            return ProviderBug(Message("saving broke: {why}").format(why=why))
        return ProviderBug(Message("the provider {kind!r} broke: {why}").format(kind=self._provider.kind, why=why))


async def _first_slot(choices: Sequence[tuple[Lane, ImageRequest]]) -> tuple[Slot, Lane, ImageRequest]:
    """Enter all these lanes at once, and take the first slot that is granted, in the lane with the least load."""
    entries = {asyncio.ensure_future(lane.gate.enter()): (lane, request) for lane, request in choices}
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
    taken = min(done, key=lambda entry: entries[entry][0].gate.load)
    for entry in done - {taken}:
        entry.result().leave(unused=True)
    return taken.result(), *entries[taken]


def _expected_images(provider: Provider[Any], request: ImageRequest) -> int:
    try:
        return provider.expected_images(request)
    except Exception:  # noqa: BLE001 - a provider that cannot count any more says why when the task is sent
        return request.count or 1


def _with_job(facts: Facts, job: Job) -> Facts:
    """The facts, and the service's own number of the job, which a finished task would not know any more."""
    return facts if job.id in facts.values() else {**facts, "job_id": masked(job.id)}


def _merged(before: Sequence[Image], now: Sequence[Image]) -> list[Image]:
    """What was saved or staged before stays; the rest has a new address. What is lost for good takes no place."""

    def merged(index: int) -> Image:
        if index < len(before) and (index >= len(now) or isinstance(before[index], SavedImage | StagedImage)):
            return before[index]
        return now[index]

    images = [merged(index) for index in range(max(len(before), len(now)))]
    return [image for index, image in enumerate(images) if index < len(now) or not _is_lost(image)]


def _is_lost(image: Image) -> bool:
    """Whether it stands for a picture of which nothing is left here."""
    return isinstance(image, InlineImage) and not image.data


def _kind_of_failed_queries(error: TaskError) -> type[TaskError]:
    """What failed queries come to: the account's fault, the network's, or the service's. Never the prompt's."""
    kinds = (Unauthorized, OutOfCredits, ServerTrouble, Unavailable)
    return next((kind for kind in kinds if isinstance(error, kind)), ServerTrouble)


def _not_sent(error: TaskError) -> TaskError:
    """The same error for another task: a shut lane sends nothing."""
    return type(error)(Message("not sent: {why}").format(why=error.message), hint=error.hint)


def _of_another_service(error: TaskError, provider: str) -> TaskError:
    """What a service says that the task was not sent to ends no job: it does not know it."""
    message = Message("{why}; the task was sent to another address than {provider} has here")
    hint = Message("imagegen resume it where {provider} has the address that it was sent to")
    return ServerTrouble(message.format(why=error.message, provider=provider), hint=hint.format(provider=provider))


def _given_up(error: SlowDown, seconds: float) -> SlowDown:
    if seconds >= 60:  # noqa: PLR2004 - a minute
        message = Message("refused for {minutes:.0f} min: {why}").format(minutes=seconds / 60, why=error.message)
    else:
        message = Message("refused for {seconds:.0f} s: {why}").format(seconds=seconds, why=error.message)
    return type(error)(message, hint=error.hint)


def _until(error: SlowDown, left: float) -> str:
    """The service's words, and until when the submit is tried."""
    until = time.strftime("%H:%M", time.localtime(time.time() + left))
    return Message("{why} (tried until {time})").format(why=error.message, time=until)
