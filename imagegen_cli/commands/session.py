"""Run tasks in this process: build lanes, clients, display and runner, obey signals, keys and other terminals."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from imagegen_cli.commands.console import say, unusable
from imagegen_cli.commands.key_queue import KeyQueue, open_folder, refusals_as_outcomes, sent_again
from imagegen_cli.commands.options import RunOptions, SpendOptions
from imagegen_cli.commands.outages import Outages
from imagegen_cli.commands.provenance import Provenance
from imagegen_cli.commands.signals import NAMES, SIGNALS, note_end, signals
from imagegen_cli.commands.spending import Spending
from imagegen_cli.commands.taken import taken_by
from imagegen_cli.commands.terms import queued_terms
from imagegen_cli.core.errors import DiskError, HistoryError, ImagegenError, Reason
from imagegen_cli.core.events import BudgetReached, Event, ProviderPaused, QueueKnown, Sink, TaskChanged, spare, tee
from imagegen_cli.core.language import Message, ngettext, tr
from imagegen_cli.core.output import Output
from imagegen_cli.core.provider import Clients, way_to
from imagegen_cli.core.task import (
    ENDED,
    MARKS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Queued,
    RunId,
    Running,
    Saving,
    Submitting,
    Task,
    TaskId,
    may_be_paid,
)
from imagegen_cli.core.text import Printer
from imagegen_cli.display import Display, choose, preview
from imagegen_cli.display.guarded import Guarded
from imagegen_cli.display.key_commands import (
    Add,
    Cancel,
    CancelWaiting,
    Command,
    Concurrency,
    Drain,
    Keys,
    Offer,
    OpenFolder,
    OpenPicture,
    Outcome,
    Pause,
    PromptLine,
    Retry,
    Stop,
    Typed,
)
from imagegen_cli.engine.lane import Lane
from imagegen_cli.engine.runner import Runner
from imagegen_cli.engine.scheduling import FIRST_WINDOW, Gate
from imagegen_cli.net.download import Downloader
from imagegen_cli.settings.config import Config
from imagegen_cli.settings.keys import key_of
from imagegen_cli.settings.paths import kept_folder
from imagegen_cli.storage.database import MAX_ABSENCE_S
from imagegen_cli.storage.estimates import Estimates
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

if TYPE_CHECKING:
    from imagegen_cli.commands.hooks import Hooks  # only where a command is to be run
    from imagegen_cli.core.marker import Marker

CANCEL_POLL_S = 0.2
"""Seconds between two queries of the history for a cancel from another terminal."""
QUEUE_LOOK_S = 2.0
"""Seconds between two looks at how many tasks no worker has taken."""
PLACES_LOOK_S = 5.0
"""Seconds between two looks at what holds the places of a full account."""
PAUSE_STEP_S = 0.5
"""Seconds by which a pause that another process told must be longer than the own one to count."""
AWAY = Message(
    "{why}; what was sent goes on, and after {seconds:.0f} s nothing more is sent: receipts that cannot be written are"
    " printed at the end"
)
SET_BACK = Message("{why}; nothing more is sent, what was sent comes to its end, and its receipts are printed then")
OTHERS_HAVE = Message("other processes have all places at this account")
AFTER_HISTORY = Message("once the history can be written again: {command}")
SET_BACK_HERE = Message("{why}; nothing more is sent, and the receipts of what was sent are put into it")
LAST_ANSWERS_S = 2.0
"""Seconds that a second signal leaves to submits on their way, for their answers."""
HANGUP_WAIT_S = 10.0
"""The same where the terminal is gone; as long as a stop lasts at most."""
HANGUP_BURST_S = 1.0
"""A terminal that goes away is told by its kernel and by its shell: seconds in which SIGHUP is one signal."""
MAX_ENDS = 2
"""Signals after which one more ends the process at once."""
END_WAIT_S = 2.0
"""Seconds that a person who has stopped the run waits for the history before the end report."""
MAX_NAMED_TASKS = 12
"""Tasks that a command names one by one."""
TRY_AGAIN_S = 2.0
"""Seconds until an open prompt line asks a history once more that did not take a submit."""


class Feed(Protocol):
    """Where a worker gets its tasks from, while it runs: see `work`."""

    @property
    def providers(self) -> frozenset[str]: ...
    @property
    def is_failing(self) -> bool: ...
    @property
    def outages(self) -> Outages: ...
    def give_back(self, id_: TaskId, /) -> None: ...
    def unrecorded(self, error: DiskError, /) -> None: ...
    def fits(self, task: Task, /) -> bool: ...
    def reached_budget(self, run: RunId, because: str, /) -> None: ...
    async def complete(self) -> None: ...
    async def run(self, runner: Runner, add: Callable[[Task], None], tell: Callable[[str], None], /) -> None: ...


class Session:
    """The tasks that one process runs.

    `add` makes tasks of what is typed while others run; `outcome_of` tells what that would do, and does nothing.
    `prints_paths`: finished paths are data on stdout.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        options: RunOptions,
        add: Callable[[RunId, Typed], Sequence[Task]] | None = None,
        outcome_of: Callable[[Typed], Outcome] | None = None,
        *,
        spending: Spending | None = None,
        line: PromptLine | None = None,
        prints_paths: bool = True,
        feed: Feed | None = None,
    ) -> None:
        """`line`: a prompt line stays open, and the run ends when it is closed. `feed` makes a worker of it."""
        self._store = store
        self._feed = feed
        self._outages = Outages() if feed is None else feed.outages
        self._prints_paths = prints_paths
        self._spending = spending
        self._budget_reached = ""
        """Why the budget let nothing more be sent; empty where it did not come to that."""
        self._cancelled_before: set[TaskId] = set()
        """What was left unsent before that, for another reason."""
        self._credit_pause = ""
        """The words of a service without credits, until a person lets its tasks go on."""
        self._config = config
        self._options = options
        self._add = add
        self._key_queue = KeyQueue()
        self._line = line
        offer = Offer(keeps=line is not None) if add is not None else Offer(without=frozenset({"a"}))
        self._keys = Keys(self._key_queue.send, offer, refusals_as_outcomes(outcome_of or _nothing), line)
        self._tasks: dict[TaskId, Task] = {}
        self._estimates = Estimates(store)
        self._runner: Runner | None = None
        self._open_lanes: Callable[[Iterable[str]], None] = _no_lanes
        self._is_paused = False
        self._interrupt: Callable[[], bool] = lambda: False
        self._run = RunId(0)
        self._main: asyncio.Task[Any] | None = None
        self._exit: int | None = None
        self._ends = 0
        """Signals that asked for the end so far."""
        self._hung_up_at = float("-inf")
        self._output: Output | None = None
        self._one_look: frozenset[TaskId] = frozenset()
        self._more_providers: frozenset[str] = frozenset()
        self._shared: dict[str, tuple[Lane, str]] = {}
        """By provider, its lane and the account that other processes use too."""
        self._why_full: dict[str, str] = {}
        """By provider, why its account has no place for longer than a task lasts."""
        self._looked_at_queue_at = self._looked_at_places_at = float("-inf")
        self._in_queue = 0
        """Tasks of the queue that are not in the table, as it was told last."""
        self._unrecorded: dict[TaskId, DiskError] = {}
        """Tasks that were not sent because the history did not take their submits."""
        self._told_lost: set[TaskId] = set()
        self._is_set_back_told = False

    @property
    def budget_reached(self) -> str:
        """Why the budget of this command let nothing more be sent; empty where it did not come to that."""
        return self._budget_reached

    @property
    def tasks(self) -> list[Task]:
        """The tasks as they are now."""
        return list(self._tasks.values())

    @property
    def unsent(self) -> list[TaskId]:
        """Tasks that this process has not sent, without those that were cancelled before money ran out."""
        return [id_ for id_, task in self._tasks.items() if _is_unsent(task) and id_ not in self._cancelled_before]

    def run_tasks(
        self,
        run: RunId,
        tasks: Sequence[Task],
        *,
        one_look: frozenset[TaskId] = frozenset(),
        stop: bool = False,
        providers: frozenset[str] = frozenset(),
    ) -> int:
        """Bring tasks to an end and return the exit code. With `stop` they are only cancelled, as far as possible.

        About the tasks in `one_look` the service is asked once. `providers`: further ones that are sent tasks later.
        """
        self._run = run
        self._one_look = one_look
        self._more_providers = providers
        self._tasks = {task.id: task for task in tasks}
        self._spending = self._spending or self._prices()
        self._store.budget.holds_runs = self._feed is not None
        self._store.budget.limits = self._spending.limits if self._spending is not None else ()
        self._output = output = Output()
        chosen = choose(
            self._options.display,
            stdin=sys.stdin,
            stdout=output.stdout,
            stderr=output.stderr,
            environ=os.environ,
            estimate=self._estimates.seconds,
            preview=self._options.preview,
            keys=self._keys,
            taken_by=partial(taken_by, self._store),
            is_set_back=lambda: self._store.is_set_back,
            terms_of=self._terms_of,
        )
        display = Guarded(chosen, stderr=output.stderr)
        with signals(self._signalled), output, suppress(asyncio.CancelledError):
            asyncio.run(self._run_all(display, stop=stop))
        try:
            self._afterwards()
        except Exception as error:  # noqa: BLE001 - the pictures are on disk
            say(Message("no preview: {why}").format(why=f"{type(error).__name__}: {error}"))
        self._say_what_it_cost_more()
        self._say_how_to_go_on()
        self._say_unrecorded()
        if self._exit is not None:
            return self._exit
        if self._unrecorded and all(isinstance(task.state, Queued) for task in self._tasks.values()):
            return HistoryError.exit_code
        return exit_code(self._tasks.values(), budget=self._budget_reached)

    def _say_what_it_cost_more(self) -> None:
        """Where a budget holds: by how much the reservations were too low."""
        if self._spending is None or not self._spending.limits:
            return
        with suppress(HistoryError), self._store.quickly():
            charges = self._store.charges(self._tasks).values()
            lines = self._spending.overshoot(charges, self._store.spent)
            for line in lines:
                say(line)
            if lines:
                self._store.forget_prices()

    def _say_how_to_go_on(self) -> None:
        """The last line: what was left unsent for want of money, and the command that sends it."""
        unsent = self.unsent
        because = self._budget_reached or self._out_of_credits
        if self._store.is_set_back or self._feed is not None or not (unsent and because and self._spending is not None):
            return  # what a worker has not sent waits for others, or was queued with a budget: `work` says so
        left = [self._tasks[id_] for id_ in unsent]
        refused = [id_ for id_, task in self._tasks.items() if _is_without_credits(task) and not self._budget_reached]
        with suppress(HistoryError), self._store.quickly():
            records = self._store.find(Filter(ids=tuple(unsent)))
            is_repeat = any("repeats" in record.facts for record in records)
            which = self._shorter(unsent, refused)
            command = self._spending.go_on(sorted([*unsent, *refused]), left, which=which, is_repeat=is_repeat)
            message = ngettext(
                "{count} task not sent: {why}; {command}",
                "{count} tasks not sent: {why}; {command}",
                len(unsent),
                why=because,
                command=self._next_step(command, left),
            )
            say(message)

    def _say_unrecorded(self) -> None:
        """The last line of a run: what the history did not let leave, and the command that sends it.

        What a worker lets go of is in the queue: `work` says so.
        """
        left = [task for id_, task in self._tasks.items() if id_ in self._unrecorded and isinstance(task.state, Queued)]
        left = [task for task in left if task.id not in self._store.lost]
        if self._store.is_set_back or self._feed is not None or not left or self._spending is None:
            return
        ids = sorted(task.id for task in left)
        command = self._spending.go_on(ids, left, is_repeat=any("repeats" in task.facts for task in left))
        message = ngettext(
            "{count} task not sent: {why}; {command}",
            "{count} tasks not sent: {why}; {command}",
            len(ids),
            why=self._unrecorded[ids[0]].message,
            command=AFTER_HISTORY.format(command=command),
        )
        say(message)

    def _not_recorded(self, id_: TaskId, error: DiskError) -> float | None:
        """What becomes of a task whose submit the history did not take: see `unrecorded` of the Runner."""
        if self._line is not None:
            return TRY_AGAIN_S
        self._unrecorded[id_] = error
        if self._feed is not None:
            self._feed.unrecorded(error)
        return None

    def _terms_of(self, task: Task) -> str:
        """The options by which the budget of this command, or of the one that queued a task, holds for a retry too."""
        own = "" if self._spending is None else self._spending.terms_of(task)
        return own if self._feed is None else queued_terms(task) or own

    def _next_step(self, command: str, left: Iterable[Task]) -> str:
        """The command that sends `left`, and what a person has to do before it."""
        if not self._budget_reached or self._spending is None:
            return Message("top up, then {command}").format(command=command)
        return self._spending.next_step(command, self._budget_reached, left)

    def _shorter(self, unsent: Sequence[TaskId], refused: Sequence[TaskId]) -> str:
        """Words for `retry` that mean just these tasks, where they are many and all of their kind in their run.

        `refused` were sent and refused for want of credits.
        """
        if len(unsent) <= MAX_NAMED_TASKS:
            return ""
        words, found = "--cancelled", Filter(states=("cancelled",), run=self._run)
        if refused:
            reasons = (Reason.CANCELLED, Reason.OUT_OF_CREDITS)
            words += "".join(f" --reason {reason}" for reason in reasons)
            found = Filter(states=("failed", "cancelled"), reasons=reasons, run=self._run)
        same = {record.task.id for record in self._store.find(found)} == {*unsent, *refused}
        return f"{words} --run {self._run}" if same else ""

    @property
    def _out_of_credits(self) -> str:
        failed = (task.state for task in self._tasks.values() if isinstance(task.state, Failed))
        told = (state.message for state in failed if state.reason is Reason.OUT_OF_CREDITS)
        return self._credit_pause or next(told, "")

    def _afterwards(self) -> None:
        """Notify and show pictures, where options ask for it; the display has given the terminal back."""
        tasks, options = list(self._tasks.values()), self._options
        if options.notify:
            done = sum(isinstance(task.state, Done) for task in tasks)
            text = tr("imagegen: {done} of {total} done", done=done, total=len(tasks))
            preview.notify(text, stderr=sys.stderr, environ=os.environ)
        live = options.display in ("auto", "live")
        if live and (len(tasks) == 1 or options.preview == "on") and _previewed(options.preview):
            paths = [path for task in tasks for path in task.files]
            trouble = preview.show(paths, options.preview, stdout=sys.stdout, environ=os.environ)
            if trouble:
                say(trouble)

    async def _run_all(self, display: Display, *, stop: bool) -> None:
        self._main = asyncio.current_task()
        if self._exit is not None:
            return
        async with AsyncExitStack() as stack:
            names = self._providers() | self._more_providers
            clients = await self._clients(stack, names)
            lanes = {name: self._lane(name, clients) for name in sorted(names)}
            own_headers = self._own_headers(names)
            hooks = self._hooks(display)
            downloader = Downloader(clients.fetch, fallback_folder=kept_folder(), own_headers=own_headers)
            self._runner = runner = self._runner_of(lanes, downloader, display, self._listeners(display, hooks))
            stack.enter_context(display)
            self._interrupt = display.interrupt
            for name, lane in lanes.items():  # a worker may have no task of this lane
                self._begin_lane(stack, display, name, lane, says_notice=not stop and self._feed is None)

            def open_lanes(wanted: Iterable[str]) -> None:
                for name in sorted(set(wanted) - lanes.keys()):
                    lanes[name] = lane = self._lane(name, clients)
                    lane.gate.pause(self._is_paused)
                    own_headers.update(self._own_headers([name]))
                    self._begin_lane(stack, display, name, lane, says_notice=True)

            self._open_lanes = open_lanes
            stack.callback(self._say_not_added, display)
            do = partial(self._do, runner=runner, display=display)
            obeying = asyncio.ensure_future(self._key_queue.obey(do, display))
            for helper in (obeying, display.run(), self._listen(runner, display), *self._feeding(runner, display)):
                stack.push_async_callback(end, asyncio.ensure_future(helper))
            if stop:
                asyncio.get_running_loop().call_soon(runner.cancel, list(self._tasks))
            if hooks is not None:
                stack.push_async_callback(hooks.close)
            await runner.run(self._run, self._tasks.values())
            self._say_the_last(display)
            if hooks is not None:
                await hooks.finished()
            await end(obeying)
            await self._write_the_end()

    def _runner_of(self, lanes: dict[str, Lane], downloader: Downloader, display: Display, announce: Sink) -> Runner:
        return Runner(
            lanes,
            downloader,
            tee(self._store.record, announce),
            self._store.flush,
            record=self._store.record,
            announce=announce,
            durations=self._estimates.durations,
            owns=lambda task: task not in self._store.lost,
            one_look=self._one_look,
            complete=lambda: self._all_added(display),
            is_full=lambda task: task in self._store.budget.full,
            why_full=lambda name: self._why_full.get(name, ""),
            is_elsewhere=self._is_elsewhere,
            give_back=None if self._feed is None else self._feed.give_back,
            fits=(lambda _: True) if self._feed is None else self._feed.fits,
            is_over_run=lambda task: task in self._store.budget.of_runs,
            over_budget=lambda task: self._store.budget.refused.get(task, ""),
            waits_for_credit=display.takes_keys,
            marker=self._marker,
            unrecorded=self._not_recorded,
        )

    def _listeners(self, display: Display, hooks: "Hooks | None") -> Sink:
        """All that hear of a submit once the history has granted it."""
        hooked = [] if hooks is None else [spare(hooks.tell, self._no_hooks)]
        return tee(
            self._store.follow, self._remember, display.tell, spare(self._paths_to(display), self._no_paths), *hooked
        )

    def _begin_lane(self, stack: AsyncExitStack, display: Display, name: str, lane: Lane, *, says_notice: bool) -> None:
        """Let a lane be used until the end of the run."""
        self._share_account(name, lane)
        stack.push_async_callback(lane.provider.close)
        if lane.provider.notice and says_notice:
            display.say(lane.provider.notice)

    def _say_the_last(self, display: Display) -> None:
        """Say what came since the last look at the history: the tasks may have ended because of it."""
        if self._store.is_set_back:
            self._leave_what_was_set_back(self._store.trouble, display)
        self._say_lost(display)

    async def _write_the_end(self) -> None:
        """Let the end report and the next command read how the run ended.

        Where a person waits for the end, that is left to `close` after a moment.
        """
        with suppress(DiskError, TimeoutError):
            async with asyncio.timeout(None if self._exit is None else END_WAIT_S):
                await self._store.flush()

    def _hooks(self, display: Display) -> "Hooks | None":
        """What runs the command of --exec; None where there is none."""
        if not self._options.hook:
            return None
        from imagegen_cli.commands.hook_words import words_of  # noqa: PLC0415 - few runs have one
        from imagegen_cli.commands.hooks import Hooks  # noqa: PLC0415 - see above

        timeout_s, prints_output = self._config.general.exec_timeout_s, self._options.display != "quiet"
        return Hooks(words_of(self._options.hook), timeout_s, display.say, prints_output=prints_output)

    def _no_hooks(self, error: Exception) -> None:
        say(Message("--exec is not run any more: {why}").format(why=f"{type(error).__name__}: {error}"))

    def _prices(self) -> Spending | None:
        """Prices for tasks that are only fetched or cancelled; wrong settings of money must not stop that."""
        try:
            return Spending(self._config, SpendOptions(), self._providers())
        except ImagegenError as error:
            say(Message("costs are not known: {why}").format(why=error.message))
            return None

    def _providers(self) -> set[str]:
        """The providers of the tasks, and those of their alternatives that can be used with the settings of today."""
        tasks = self._tasks.values()
        names = {task.request.provider for task in tasks}
        unsent = [task for task in tasks if isinstance(task.state, Queued)]
        others = {request.provider for task in unsent for request in task.alternatives} - names
        return names | (others - unusable(self._config, others).keys())

    async def _clients(self, stack: AsyncExitStack, names: Iterable[str]) -> Clients:
        if self._line is None and all(self._config.provider(name).type.local for name in names):
            none: Any = None
            return Clients(paid=none, free=none)
        from imagegen_cli.net.client import open_clients  # noqa: PLC0415 - httpx costs more than all the rest

        return await stack.enter_async_context(open_clients())

    def _own_headers(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Headers that requests for pictures at the services' own addresses need, by origin."""
        found = (way_to(key_of(self._config.provider(name))) for name in names)
        return {origin: headers for origin, headers in found if origin and headers}

    def _lane(self, name: str, clients: Clients) -> Lane:
        configured = self._config.provider(name)
        settings = key_of(configured)
        if self._options.timeout is not None:
            settings = replace(settings, timeout=self._options.timeout)
        limit = settings.concurrency if self._options.concurrency is None else self._options.concurrency
        window = None if configured.type.is_synchronous else FIRST_WINDOW
        gate = Gate(limit or None, window=window)
        provider = configured.type(settings, clients)
        pricing = self._spending.by_provider.get(name) if self._spending is not None else None
        return Lane(
            provider, gate, settings.poll, settings.timeout, busy_timeout=settings.busy_timeout, pricing=pricing
        )

    def _marker(self, task: Task, number: int) -> "Marker | None":
        """What says in the file of a picture how it was made, or beside it.

        This command decides, else the one that sent the task, else the settings.
        """
        way = self._options.marks.said or str(task.facts.get(MARKS, "")) or self._config.general.metadata
        if way == "none":
            return None
        provider = self._config.provider(task.request.provider)
        return Provenance(task, number, kind=provider.kind, model=provider.settings.model, embeds=way == "embed")

    # Signals, keys and other terminals

    def _signalled(self, code: int) -> None:
        """A Ctrl-C that finds a typed line only clears it. The loop does that: it may be at work on the line."""
        if self._is_over():
            self._leave_output(code)
        elif self._line is not None and code == SIGNALS["SIGINT"] and self._exit is None and self._main is not None:
            self._main.get_loop().call_soon_threadsafe(self._interrupted)
        else:
            self._end(code)

    def _interrupted(self) -> None:
        if not self._interrupt():
            self._end(SIGNALS["SIGINT"])

    def _is_over(self) -> bool:
        """Whether all tasks have ended and only output waits for its reader."""
        return self._main is not None and self._main.get_loop().is_closed()

    def _leave_output(self, code: int) -> None:
        """Wait no longer for the reader of the output than a moment."""
        note_end(code)
        self._exit = self._exit or code
        if self._output is not None:
            self._output.hurry()

    def _end(self, code: int) -> None:
        """End in good order at the first signal; soon after the second, and at once at the third.

        A terminal that is gone needs no more from this process: what runs is left to `resume`.
        """
        if code == SIGNALS["SIGHUP"] and self._is_known_hangup():
            return
        self._ends += 1
        note_end(code)
        self._exit = self._exit or code
        if self._ends > 1 or code != SIGNALS["SIGINT"]:
            self._leave_output(code)
            self._store.hurry()
        if self._main is None:
            return  # the event loop is being made, and an error in the middle of that would leave half of it
        loop = self._main.get_loop()
        is_stuck = code != SIGNALS["SIGINT"] and self._is_stuck
        why = NAMES[code]
        if self._ends > MAX_ENDS or self._runner is None:
            loop.call_soon_threadsafe(self._main.cancel)
        elif self._ends > 1 or is_stuck:
            loop.call_soon_threadsafe(self._leave, self._main, self._runner, why, LAST_ANSWERS_S)
        elif code == SIGNALS["SIGHUP"]:
            loop.call_soon_threadsafe(self._leave, self._main, self._runner, why, HANGUP_WAIT_S)
        elif self._feed is not None:
            loop.call_soon_threadsafe(self._runner.drain)
        else:
            loop.call_soon_threadsafe(self._runner.stop, why)

    @property
    def _is_stuck(self) -> bool:
        """Whether the history is not to be had just now."""
        return self._store.is_silent or bool(self._store.trouble)

    def _leave_if_stuck(self, runner: Runner) -> None:
        """Where SIGTERM asked for the end and the history has fallen silent since, wait for no task any more."""
        if self._ends == 1 and self._exit == SIGNALS["SIGTERM"] and self._main is not None and self._is_stuck:
            self._ends += 1
            self._leave(self._main, runner, NAMES[self._exit], LAST_ANSWERS_S)

    def _is_known_hangup(self) -> bool:
        """Whether the terminal was said to be gone a moment ago."""
        now, before = time.monotonic(), self._hung_up_at
        self._hung_up_at = now
        return now - before < HANGUP_BURST_S

    def _leave(self, main: "asyncio.Task[Any]", runner: Runner, why: str, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, main.cancel)
        runner.leave(why)

    def _do(self, command: Command, runner: Runner, display: Display) -> None:
        """Do what a key asks for. Raises ImagegenError where a typed prompt cannot be added."""
        match command:
            case Cancel(ids):
                runner.cancel(ids)
            case CancelWaiting():
                runner.cancel(runner.waiting())
            case Pause(paused):
                self._credit_pause, self._is_paused = "", paused
                runner.pause(paused)
            case Drain():
                runner.drain()
            case Concurrency(provider, limit):
                runner.set_limit(provider, limit)
            case OpenFolder() | OpenPicture():
                self._open(command, display)
            case Add() | Retry():
                for task in self._more(command, display):
                    self._tasks[task.id] = task
                    self._open_lanes(request.provider for request in (task.request, *task.alternatives))
                    runner.add(task)
            case Stop():  # also where SIGINT is ignored, and on Windows, where `os.kill` would end the process
                self._end(SIGNALS["SIGINT"])

    def _open(self, command: OpenFolder | OpenPicture, display: Display) -> None:
        folder = next((task.folder for task in self._tasks.values()), "")
        if path := command.path if isinstance(command, OpenPicture) else folder:
            open_folder(path, display)
        else:
            display.say(Message("there is no picture yet"))

    def _more(self, command: Add | Retry, display: Display) -> Sequence[Task]:
        """Tasks that join the run: of a typed prompt, or one that is sent again."""
        if isinstance(command, Retry):
            return sent_again(self._store, command.ids, display)
        return self._add(self._run, command.typed) if self._add is not None else ()

    async def _all_added(self, display: Display) -> None:
        """Wait until a prompt that is being typed has been added or given up."""
        await display.typed()
        await self._key_queue.all_done()
        if self._feed is not None:
            await self._feed.complete()

    def _say_not_added(self, display: Display) -> None:
        for prompt in self._key_queue.not_added():
            display.say(Message("not added: {why}").format(why=prompt))

    async def _listen(self, runner: Runner, display: Display) -> None:
        """Cancel what other terminals ask for through the history, and leave what another process has claimed to it."""
        trouble = ""
        while True:
            await asyncio.sleep(CANCEL_POLL_S)
            trouble = self._noticed(trouble, display)
            self._leave_if_stuck(runner)
            with suppress(HistoryError):
                self._store.listen()
                runner.cancel(self._store.cancel_requests())
                if self._shared:
                    self._keep_pauses(self._store.pauses())
                if self._store.budget.full:
                    self._look_at_places(display)
                if self._feed is not None:
                    self._tell_queue(self._feed.providers, display)
            runner.let_go(self._store.lost)
            self._say_lost(display)

    def _tell_queue(self, providers: frozenset[str], display: Display) -> None:
        """Tell, now and then, how many tasks wait for any worker of these providers.

        What this worker has given back is in its table, as waiting, and is not counted twice.
        """
        now = asyncio.get_running_loop().time()
        if now - self._looked_at_queue_at < QUEUE_LOOK_S:
            return
        self._looked_at_queue_at = now
        with self._store.quickly():
            shown = [id_ for id_, task in self._tasks.items() if isinstance(task.state, Queued)]
            self._in_queue = self._store.waiting_for_workers(sorted(providers), without=shown)
            display.tell(QueueKnown(time.time(), self._in_queue))

    def _say_lost(self, display: Display) -> None:
        """Say of which tasks this process has lost the claim, and what becomes of them: it has let go of them."""
        lost = set(self._store.lost)
        known = {id_: self._tasks[id_].state for id_ in lost - self._told_lost if id_ in self._tasks}
        self._told_lost = lost
        fresh = [id_ for id_, state in known.items() if not isinstance(state, ENDED)]
        if fresh and not self._store.is_set_back:
            with suppress(HistoryError), self._store.quickly():
                records = self._store.find(Filter(ids=tuple(fresh)))
                is_told = self._feed is not None and bool(self._budget_reached)  # at the end, with the command
                for message in _become_of(one for one in records if not (is_told and one.waits_for_worker)):
                    display.say(message)

    def _leave_what_was_set_back(self, why: str, display: Display) -> None:
        """Send nothing more: what the history says is older than what this process has done."""
        if not self._is_set_back_told and self._runner is not None:
            self._is_set_back_told = True
            self._runner.drain()
            message = SET_BACK if self._store.is_remote else SET_BACK_HERE
            display.say(message.format(why=why))

    def _noticed(self, before: str, display: Display) -> str:
        """Say once that the history is not to be had, and once that it is again. Returns what is wrong with it."""
        now = self._store.trouble
        if self._store.is_set_back:
            self._leave_what_was_set_back(now, display)
            return now
        if now and not before and not (self._feed is not None and self._feed.is_failing):  # it has said so
            self._outages.begins(AWAY.format(why=now, seconds=MAX_ABSENCE_S), display.say)
        elif before and not now:
            self._outages.ends(display.say)
        return now

    def _feeding(self, runner: Runner, display: Display) -> "list[Coroutine[Any, Any, None]]":
        return (
            [] if self._feed is None else [self._feed.run(runner, partial(self._take_in, runner, display), display.say)]
        )

    def _take_in(self, runner: Runner, display: Display, task: Task) -> None:
        """Carry one more task, which this process has just claimed; the last count of the queue has it still."""
        if self._in_queue and task.id not in self._tasks and isinstance(task.state, Queued):
            self._in_queue -= 1
            display.tell(QueueKnown(time.time(), self._in_queue))
        self._tasks[task.id] = task
        runner.add(task)

    def _share_account(self, name: str, lane: Lane) -> None:
        """Count places at the account, and heed its refusals, over all processes that share the history.

        With a history in a file, processes that are no workers share an account only where its own limit is set: else
        one terminal would wait for another that has just as many places as `concurrency` says.
        """
        is_shared = self._store.is_remote or self._feed is not None
        if not is_shared and not self._config.provider(name).settings.account_concurrency:
            return
        from imagegen_cli.commands.accounts import account_of  # noqa: PLC0415 - most histories are one person's

        if account := account_of(self._config.provider(name), self._store.token):
            self._store.budget.accounts[name] = account
            self._shared[name] = lane, account.key
            lane.gate.on_refused = partial(self._store.share_pause, account.key)
            with suppress(HistoryError):  # `_listen` asks again, and says what is wrong
                self._keep_pauses(self._store.pauses())

    def _is_elsewhere(self, id_: TaskId) -> bool:
        """Whether a task was sent to another service than the one that its provider is in the settings here.

        What the history does not tell now counts as elsewhere: a receipt is kept.
        """
        from imagegen_cli.commands.accounts import is_at  # noqa: PLC0415 - asked before a job is believed to be over

        here = self._config.provider(self._tasks[id_].request.provider)
        try:
            with self._store.quickly():
                return not is_at(self._store.account_of(id_), here, self._store.token)
        except HistoryError:
            return True

    def _look_at_places(self, display: Display) -> None:
        """Look, now and then, why the places of an account are taken; where a person can do something, say so."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at_places_at < PLACES_LOOK_S:
            return
        self._looked_at_places_at = now
        own = frozenset[str]() if self._feed is None else self._feed.providers  # a worker takes over what is left there
        with self._store.quickly():
            for name, (_, account) in self._shared.items():
                left = [] if name in own else self._store.left_at(account)
                why = _left_there(left) if left else self._why_others_have(name, account)
                if left and why != self._why_full.get(name) and self._options.display == "quiet":
                    display.say(why)
                self._why_full[name] = why

    def _why_others_have(self, name: str, account: str) -> str:
        """Why an account is full; empty while a task of this process is there, for then its own list goes on."""
        if held := self._store.held_at(account):
            return ngettext(
                "{count} task that may still be at work holds a place at this account for up to a minute",
                "{count} tasks that may still be at work hold places at this account for up to a minute",
                held,
            )
        states = (task.state for task in self._tasks.values() if task.request.provider == name)
        return "" if any(isinstance(state, Submitting | Running) for state in states) else OTHERS_HAVE

    def _keep_pauses(self, pauses: Mapping[str, float]) -> None:
        """Send nothing where a service has refused another process."""
        for lane, account in self._shared.values():
            if (seconds := pauses.get(account, 0.0)) > lane.gate.closed_for() + PAUSE_STEP_S:
                lane.gate.close_for(seconds)

    # Sinks of events

    def _remember(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            if _is_without_credits(event.task) and not self._out_of_credits:
                self._note_cancelled()
            self._tasks[event.task.id] = event.task
        elif isinstance(event, BudgetReached):
            self._budget_reached = event.because
            self._note_cancelled(event.run if event.others_go_on else None)
            if self._feed is not None and event.run:
                self._feed.reached_budget(event.run, event.because)
        elif isinstance(event, ProviderPaused):
            self._credit_pause = event.because
            self._note_cancelled()

    def _note_cancelled(self, run: RunId | None = None) -> None:
        """Remember what was left unsent before money ran out, of one run or of all: a person wanted that.

        What a worker has not sent for another reason than the budget of a run is back in the queue.
        """
        if run is None:
            self._cancelled_before.clear()
        of_it = (task for task in self._tasks.values() if run in (None, task.run))
        self._cancelled_before |= {task.id for task in of_it if _is_unsent(task)}

    def _paths_to(self, display: Display) -> Sink:
        """A sink that prints finished paths on stdout, unless the display shows them there."""
        data = Printer(sys.stdout)

        def tell(event: Event) -> None:
            shown = display.prints_paths or not self._prints_paths
            if isinstance(event, TaskChanged) and isinstance(event.task.state, ENDED) and not shown:
                from imagegen_cli.display.links import linked  # noqa: PLC0415 - no file is there when a run begins

                for path in event.task.files:
                    data.line(linked(path, sys.stdout, os.environ))

        return tell

    def _no_paths(self, error: Exception) -> None:
        message = Message("no more paths on stdout ({why}); imagegen show ID names the files")
        say(message.format(why=f"{type(error).__name__}: {error}"))


def _left_there(left: Sequence[TaskId]) -> Message:
    """Why the account stays full, and the command that ends it. It sends nothing."""
    ids = " ".join(map(str, left)) if len(left) <= MAX_NAMED_TASKS else ""
    return ngettext(
        "a worker that is gone left {count} task at this account: {command} takes it over",
        "a worker that is gone left {count} tasks at this account: {command} takes them over",
        len(left),
        command=f"imagegen resume {ids}".strip(),
    )


def _become_of(lost: Iterable[Record]) -> Iterator[Message]:
    """What is said of tasks whose claim was lost, by what the history has of them now."""
    found: dict[Message, list[TaskId]] = {}
    for record in lost:
        if record.is_owned:
            message = Message("another process goes on with {ids}: left to it")
        elif record.waits_for_worker:
            message = Message("back in the queue, not sent: {ids}; imagegen work carries what is there")
        elif isinstance(record.task.state, ENDED):
            message = Message("another command has ended {ids}: imagegen show ID tells what became of a task")
        else:
            message = Message("no process has {ids} any more: imagegen resume {ids} goes on with what was sent")
        found.setdefault(message, []).append(record.task.id)
    for message, ids in found.items():
        yield message.format(ids=" ".join(map(str, sorted(ids))))


def _is_unsent(task: Task) -> bool:
    return isinstance(task.state, Cancelled) and task.state.stop is CancelOutcome.NOT_SENT


def _is_without_credits(task: Task) -> bool:
    """Whether it was refused because the account has no credits, so that sending it again pays nothing twice."""
    state = task.state
    return isinstance(state, Failed) and state.reason is Reason.OUT_OF_CREDITS and not may_be_paid(state)


def _nothing(_typed: Typed) -> Outcome:
    return Outcome()


def _no_lanes(_names: Iterable[str]) -> None:
    """Open no lane: no run is going on."""


def exit_code(tasks: Iterable[Task], *, budget: str = "") -> int:
    """The exit code of a run: the first of 3, 6, 5 and 1 that applies, else 0. `budget`: why one stopped it."""
    tasks = list(tasks)
    sent = [task.state for task in tasks if not _is_unsent(task)]
    spent = any(not isinstance(state, Failed) or state.resumable for state in sent)
    failed = [task.state for task in tasks if isinstance(task.state, Failed)]
    if not spent and any(state.reason is Reason.UNAUTHORIZED for state in failed):
        return 3
    if budget:
        return 6
    unfinished = any(isinstance(task.state, Running | Saving) for task in tasks)
    goes_on = any(isinstance(task.state, Cancelled) and task.state.job is not None for task in tasks)
    if unfinished or goes_on or any(state.resumable for state in failed):
        return 5
    whole = all(isinstance(task.state, Done) and not task.state.missing for task in tasks)
    return 0 if whole else 1


def _previewed(mode: str) -> bool:
    return preview.wanted(mode, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ)


async def end(helper: "asyncio.Future[None]") -> None:
    """Cancel a helper and wait until it has ended."""
    helper.cancel()
    with suppress(asyncio.CancelledError):
        await helper
