"""Runs many tasks at once, each from the state that it is in to an end.

The runner starts, adds, cancels, pauses and stops tasks; `task_flow.TaskFlow` has the steps of one. The runner emits
events and knows no listener; `flush` lets it wait until they are durable.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from functools import partial

from imagegen_cli.core.durations import UNKNOWN, Durations
from imagegen_cli.core.errors import DiskError, TaskError
from imagegen_cli.core.events import (
    BudgetReached,
    LaneChanged,
    ProviderPaused,
    RunFinished,
    RunStarted,
    RunStopping,
    Sink,
    TaskAdded,
)
from imagegen_cli.core.task import Queued, RunId, Submitting, Task, TaskId
from imagegen_cli.engine.lane import Lane
from imagegen_cli.engine.task_flow import CANCEL_GRACE_S, MarkerOf, RunContext, Saver, TaskFlow

START_BATCH = 500
"""Tasks that begin in one turn of the loop: ten thousand would block it."""


async def _at_once() -> None:
    """Return at once: the events of this run need not be durable."""


class Runner:
    """`emit` receives every event; `flush` waits until they are durable, and raises DiskError where they cannot be.

    `owns` tells, after a flush, whether a task still belongs to this process. Of the tasks in `one_look` the service is
    asked once: they have waited for their time limit before. `durations` tells how long earlier tasks of the kind took.
    `complete` waits until a prompt that is being typed is added. `over_budget` tells, after a flush, why a submit was
    not reserved. `waits_for_credit`: where an account is out of credits, a person lets go on what was not sent.
    `marker` gives what says in the file of a picture, or beside it, how it was made. `is_full` tells, after a flush,
    that other processes have taken all places at the account, and `why_full` of a provider says why that may last,
    where a person can do something. `is_elsewhere` tells of a task that it was sent to another service than that of its
    lane, whose word about a job is about another one. `give_back` takes tasks that are not sent, where other workers
    are to have them. `is_over_run` tells of a submit that was not reserved that it is too much for its own run. `fits`
    tells whether a task can be sent from here: what it starts from may have changed since it was queued. Where
    `record` and `announce` are given, a submit is first recorded, and announced once the history has granted it; `emit`
    is both of them.
    `unrecorded` is told of each task that was not sent because the history did not take its submit, with the error. It
    has not failed: `unrecorded` gives the seconds until the next try, or None where this run lets go of the task.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        saver: Saver,
        emit: Sink,
        flush: Callable[[], Awaitable[None]],
        *,
        durations: Callable[[Task], Durations] = lambda _: UNKNOWN,
        owns: Callable[[TaskId], bool] = lambda _: True,
        one_look: Container[TaskId] = (),
        complete: Callable[[], Awaitable[None]] = _at_once,
        over_budget: Callable[[TaskId], str] = lambda _: "",
        waits_for_credit: bool = False,
        marker: MarkerOf = lambda _task, _number: None,
        is_full: Callable[[TaskId], bool] = lambda _: False,
        why_full: Callable[[str], str] = lambda _: "",
        is_elsewhere: Callable[[TaskId], bool] = lambda _: False,
        record: Sink | None = None,
        announce: Sink | None = None,
        give_back: Callable[[TaskId], None] | None = None,
        is_over_run: Callable[[TaskId], bool] = lambda _: False,
        fits: Callable[[Task], bool] = lambda _: True,
        unrecorded: Callable[[TaskId, DiskError], float | None] = lambda _task, _error: None,
    ) -> None:
        self._context = RunContext(
            lanes=lanes,
            saver=saver,
            emit=emit,
            flush=flush,
            durations=durations,
            owns=owns,
            one_look=one_look,
            over_budget=over_budget,
            reached_budget=self._reached_budget,
            pause_for_credit=self._pause_for_credit if waits_for_credit else None,
            marker=marker,
            is_full=is_full,
            why_full=why_full,
            is_elsewhere=is_elsewhere,
            record=record,
            announce=announce,
            give_back=give_back,
            is_over_run=is_over_run,
            fits=fits,
            reached_budget_of_run=self._reached_budget_of_run,
            unrecorded=unrecorded,
        )
        self._complete = complete
        self._flows: dict[TaskId, TaskFlow] = {}
        self._leaving: list[TaskFlow] = []
        """Those that were let go, until they have ended."""
        self._group: asyncio.TaskGroup | None = None
        self._run = RunId(0)
        self._told_runs: set[RunId] = set()
        """Runs whose budget is reached, which was said."""
        self._told_lanes: dict[str, LaneChanged] = {}

    async def run(self, run: RunId, tasks: Iterable[Task]) -> None:
        """Bring all of these tasks, and those that `add` brings meanwhile, to an end."""
        tasks = tuple(tasks)
        self._run = run
        self._context.emit(RunStarted(time.time(), run, tasks))
        self._follow_lanes()
        async with asyncio.TaskGroup() as self._group:
            for number, flow in enumerate([self._flow_of(task) for task in tasks], 1):
                self._start(flow)
                if number % START_BATCH == 0:
                    await asyncio.sleep(0)
            await self._all_ended()
        self._context.emit(RunFinished(time.time(), run))

    async def _all_ended(self) -> None:
        while True:
            if going := self._going():
                await asyncio.wait(going)
            await self._complete()
            if not self._going():
                return

    def _going(self) -> "list[asyncio.Task[None]]":
        return [one for flow in self._flows.values() if (one := flow.coroutine) and not one.done()]

    def add(self, task: Task) -> None:
        """Let one more task join while the others run; its lane may be new."""
        self._follow_lanes()
        self._context.emit(TaskAdded(time.time(), task))
        self._start(self._flow_of(task))

    def cancel(self, ids: Iterable[TaskId]) -> None:
        """Stop those of these tasks that are unfinished."""
        for id_ in ids:
            if flow := self._flows.get(id_):
                flow.cancel()

    def let_go(self, ids: Iterable[TaskId]) -> list[TaskId]:
        """Leave tasks to the process that has claimed them. Returns those that this runner was still busy with.

        A request on its way is waited for: its answer may be a receipt, which is kept even if it comes late.
        """
        known = [self._flows[id_] for id_ in ids if id_ in self._flows]
        taken = [flow for flow in known if not isinstance(flow.task.state, Submitting)]
        for flow in taken:
            del self._flows[flow.task.id]
            flow.let_go()
        self._leaving += taken
        return [flow.task.id for flow in taken]

    def stop(self, why: str) -> None:
        """Send nothing new, cancel what runs, keep what exists; `run` returns within about CANCEL_GRACE_S seconds."""
        if not self._context.stopping:
            self._context.stopping = True
            self._context.emit(RunStopping(time.time(), self._run, why))
            self.cancel(list(self._flows))
            asyncio.get_running_loop().call_later(2 * CANCEL_GRACE_S, self._abandon)

    def leave(self, why: str) -> None:
        """Send nothing new, and let `run` return once all submits on their way have their answers.

        Pictures that are being saved are waited for too. What runs at a service stays as it is, for `resume`. This has
        no time limit: the caller cancels `run` after the time that it has.
        """
        context = self._context
        if context.leaving:
            return
        if not context.stopping:
            context.emit(RunStopping(time.time(), self._run, why))
        context.stopping = context.leaving = True
        self.drain()
        for flow in list(self._flows.values()):
            flow.leave()

    def drain(self) -> None:
        """Let what was sent come to its end; what waits, or comes back to be sent again, is cancelled as not sent."""
        self._context.draining = True
        give_back = self._context.give_back
        if give_back is None:
            self.cancel(self.waiting())
            return
        for id_ in self.let_go(self.waiting()):
            give_back(id_)

    def _reached_budget(self, because: str) -> None:
        if not self._context.draining:
            self._context.emit(BudgetReached(time.time(), self._run, because))
            self.drain()

    def _reached_budget_of_run(self, run: RunId, because: str) -> None:
        """Say once that a queued run may spend no more; tasks of other runs go on."""
        if run not in self._told_runs:
            self._told_runs.add(run)
            self._context.emit(BudgetReached(time.time(), run, because, others_go_on=True))

    def _pause_for_credit(self, provider: str, because: str) -> None:
        gate = self._context.lanes[provider].gate
        if not gate.paused:
            gate.pause(paused=True)
            self._context.emit(ProviderPaused(time.time(), provider, because, self._run))

    def _follow_lanes(self) -> None:
        for name in sorted(self._context.lanes.keys() - self._told_lanes.keys()):
            self._tell_of_lane(name)
            self._context.lanes[name].gate.on_change = partial(self._tell_of_lane, name)

    def _tell_of_lane(self, name: str) -> None:
        """Say how many tasks a provider may have at a time, where that has changed."""
        gate, now = self._context.lanes[name].gate, time.time()
        closed = gate.closed_for()
        event = LaneChanged(
            now, self._run, name, gate.limit, gate.allowed, round(now + closed) if closed else 0.0, gate.paused
        )
        before = self._told_lanes.get(name)
        if before is None or before[1:] != event[1:]:
            self._told_lanes[name] = event
            self._context.emit(event)

    def set_limit(self, provider: str, limit: int) -> None:
        """Let so many tasks be at a provider at a time, until the end of the run."""
        if (lane := self._context.lanes.get(provider)) is not None:
            lane.gate.set_limit(limit)

    def pause(self, paused: bool) -> None:
        """Keep back the tasks that have not been sent, or let them go on."""
        for lane in self._context.lanes.values():
            lane.gate.pause(paused)

    def unfinished(self, provider: str) -> int:
        """How many tasks of a provider this run has in hand."""
        return sum(flow.task.request.provider == provider for flow in self._flows.values())

    def in_hand(self) -> set[TaskId]:
        """Tasks that this runner has not let go of to the end. None of them may be claimed anew for it.

        After a pause another process may have given them back: a second flow of the same task would send it twice.
        """
        self._leaving = [flow for flow in self._leaving if flow.coroutine is not None and not flow.coroutine.done()]
        return self._flows.keys() | {flow.task.id for flow in self._leaving}

    def is_open(self, provider: str) -> bool:
        """Whether a provider takes tasks: it has not refused the account for good."""
        return self.why_shut(provider) is None

    def why_shut(self, provider: str) -> TaskError | None:
        """The error with which a provider has refused the account for good; None where it takes tasks."""
        return self._context.lanes[provider].shut

    @property
    def draining(self) -> bool:
        return self._context.draining or self._context.stopping

    def waiting(self) -> list[TaskId]:
        """Tasks that have not been sent."""
        return [id_ for id_, flow in self._flows.items() if isinstance(flow.task.state, Queued)]

    def _abandon(self) -> None:
        """Tasks that are still saving are left as they are; `resume` continues them."""
        for flow in self._flows.values():
            flow.abandon()

    def _flow_of(self, task: Task) -> TaskFlow:
        """From here on the task can be cancelled, also before its coroutine begins."""
        flow = self._flows[task.id] = TaskFlow(task, self._context)
        return flow

    def _start(self, flow: TaskFlow) -> None:
        if self._group is None:
            raise RuntimeError("no run is going on")
        flow.coroutine = self._group.create_task(self._run_task(flow))

    async def _run_task(self, flow: TaskFlow) -> None:
        try:
            await flow.run()
        finally:
            if self._flows.get(flow.task.id) is flow:
                del self._flows[flow.task.id]
