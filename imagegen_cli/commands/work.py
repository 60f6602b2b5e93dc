"""`imagegen work`: carries tasks that wait in a history for any worker, until none is left or a person stops it.

A worker is a session as any other, which takes its tasks while it runs. It claims a few more than its services take
at a time, gives back what it has not sent when it stops, and takes over what dead workers left: what was not sent goes
back into the queue, what may have been sent is uncertain and never sent again, what runs is asked for by this one.
"""

import asyncio
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from imagegen_cli.commands.console import GOES_ON, history, ids_of, patiently, say, settings, unusable
from imagegen_cli.commands.files_here import FilesHere
from imagegen_cli.commands.options import RunOptions, SpendOptions, is_typed
from imagegen_cli.commands.outages import Outages
from imagegen_cli.commands.recover import part_files, revived
from imagegen_cli.commands.session import AFTER_HISTORY, MAX_NAMED_TASKS, Session
from imagegen_cli.commands.spending import Spending
from imagegen_cli.commands.terms import of_process
from imagegen_cli.core.budget import Period
from imagegen_cli.core.errors import DiskError, HistoryError, NothingToDo, Reason, TaskError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.task import (
    ASSUMED_PRICE,
    BUDGET,
    ENDED,
    KNOWN_PRICE,
    Cancelled,
    CancelOutcome,
    Queued,
    RunId,
    Task,
    TaskId,
)
from imagegen_cli.engine.runner import Runner
from imagegen_cli.settings.config import Config
from imagegen_cli.settings.paths import expanded
from imagegen_cli.storage.database import MAX_ABSENCE_S
from imagegen_cli.storage.processes import this_process
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store
from imagegen_cli.storage.writer import NOTICED_S

LOOK_S = 0.5
"""Seconds between two looks for tasks, where no other machine notifies."""
WAKE_S = 0.05
"""Seconds between two looks at whether one has."""
TAKE_OVER_S = 5.0
"""Seconds between two looks for what dead workers left."""
AWAY = Message("{why}; trying for {seconds:.0f} s, and what was sent goes on")
AGAIN_S = 2.0
"""Seconds between two looks while the history is away: what was sent needs the event loop too."""
LOOK_FOR_FILES_S = 30.0
"""Seconds after which a worker looks again for files that it lacked."""
MAX_FILES_TOLD = 5
"""Files that a worker lacks and names one by one."""
MAX_LOOKED_AT = 200
"""Tasks of the queue of which the price is looked at where a budget was too low."""
SPENDS_MORE = Message("this may spend up to {budget} more: {command}")
AFTER_REFUSAL = {
    Reason.UNAUTHORIZED: Message("check the key (imagegen config show), then {command}"),
    Reason.OUT_OF_CREDITS: Message("top up, then {command}"),
}
"""What comes before the command that goes on, by each reason for which a service refuses the account for good."""
MAX_AHEAD = 50
"""Tasks of a provider that are claimed at once, and that wait here at most."""


def work(providers: Sequence[str], options: RunOptions, spend: SpendOptions, *, output: Path | None, once: bool) -> int:
    """Carry tasks of the queue. Raises NothingToDo where `once` finds none."""
    config = settings()
    names = _usable(config, providers)
    with history(patience_s=MAX_ABSENCE_S) as store:
        folder = "" if output is None else str(expanded(output).absolute())
        wanted = {name: _wanted(config, name, options.concurrency) for name in names}
        feed = Queue(store, wanted, folder=folder, once=once)
        waiting, is_left = patiently(lambda: _first_look(store, names), MAX_ABSENCE_S)
        if once and not waiting and not is_left:
            hint = Message("imagegen batch FILE --queue makes some")
            raise NothingToDo(Message("no task waits for a worker"), hint=hint)
        if options.display not in ("json", "quiet"):
            say(_what_waits(waiting, ", ".join(sorted(names)), once=once))
        spending = Spending(config, spend, names)
        session = Session(store, config, options, spending=spending, feed=feed)
        code = session.run_tasks(RunId(0), (), providers=feed.providers)
        for run, because in feed.reached.items() if not store.is_set_back else ():
            _say_reached(store, config, run, because, unsent={*feed.unsent[run], *session.unsent})
        unsent = [task for task in session.tasks if isinstance(task.state, Queued)]
        left = Left(store, spending, _command(providers, options, output=output, once=once), unsent)
        if not store.is_set_back:
            say_what_is_left(left, feed, session.budget_reached)
        if feed.error is not None:
            raise feed.error
        return _with_what_is_left(store, feed, code, session.tasks) if once else code


def _command(providers: Sequence[str], options: RunOptions, *, output: Path | None, once: bool) -> str:
    """That of a worker which goes on as this one; what a variable says holds for that one too."""
    words = [f"-p {shlex.quote(name)}" for name in providers]
    if output is not None and is_typed("--output"):
        words.append(f"-o {shlex.quote(str(output))}")
    return " ".join(filter(None, ("imagegen work", *words, "--once" if once else "", of_process(options))))


def _with_what_is_left(store: Store, feed: "Queue", code: int, tasks: Sequence[Task]) -> int:
    """The exit code, after saying which tasks are left for want of their files. Raises NothingToDo where all are."""
    waiting = store.find(Filter(ids=tuple(feed.lacking))) if feed.lacking else []
    left = [record.task for record in waiting if record.waits_for_worker]
    if not left:
        return code
    message = ngettext(
        "{count} task is left in the queue, because this machine lacks what it starts from: {ids}",
        "{count} tasks are left in the queue, because this machine lacks what they start from: {ids}",
        len(left),
        ids=ids_of(left),
    )
    hint = Message("{why}; bring it here or start a worker where it is, or imagegen cancel {id} and queue it anew")
    hint = hint.format(why=feed.lacking[left[0].id], id=left[0].id)
    if all(task.id in feed.lacking for task in tasks):
        raise NothingToDo(message, hint=hint)
    say(message)
    say(hint)
    return code or 1


def _say_reached(store: Store, config: Config, run: RunId, because: str, *, unsent: Collection[TaskId]) -> None:
    """Say what this worker has left unsent of a queued run because of its budget, and the command that sends it."""
    with suppress(HistoryError), store.quickly():
        records = store.find(Filter(states=("cancelled",), run=run))
        cancelled = [one.task for one in records if one.task.state == Cancelled(CancelOutcome.NOT_SENT)][::-1]
        left = [task for task in cancelled if task.id in unsent]
        if not left:
            return
        spending = _as_queued(config, store, left)
        is_all = len(left) == len(records)
        which = f"--cancelled --run {run}" if is_all and len(left) > MAX_NAMED_TASKS else ""
        command = spending.go_on([task.id for task in left], left, which=which)
        step = spending.next_step(command, because, left)
        budget = joined(", ", [str(limit.amount) for limit in spending.limits if limit.period is Period.COMMAND])
        command = SPENDS_MORE.format(budget=budget, command=command) if step == command and budget else step
        say(_not_sent(len(left), because, command))


def _after(words: Message) -> Callable[[str, Sequence[Task]], str]:
    return lambda command, _: words.format(command=command)


def _as_queued(config: Config, store: Store, left: Sequence[Task]) -> Spending:
    """What the command that queued these tasks may spend, with the price that it knew where the settings have none."""
    facts, names = left[0].facts, {task.request.provider for task in left}
    budget, assumed = str(facts.get(BUDGET, "")), str(facts.get(ASSUMED_PRICE, ""))
    spending = Spending(config, SpendOptions(budget, assumed), names)
    spending.learn((task.request for task in left), store, ask=False)
    if spending.plan((task.request, task.expected_images, ()) for task in left).unpriced:
        return Spending(config, SpendOptions(budget, str(facts.get(KNOWN_PRICE, ""))), names)
    return spending


class Left(NamedTuple):
    """What says which tasks a worker leaves in the queue. `command`: that of a worker which goes on with them.

    `unsent`: tasks that this worker had taken and has let go of. It may have them still, as the history has it.
    """

    store: Store
    spending: Spending
    command: str
    unsent: Sequence[Task] = ()

    def say(self, names: Collection[str], why: str, step: Callable[[str, Sequence[Task]], str]) -> None:
        """Say how many tasks of these providers wait, why, and the `step` made of the command that goes on."""
        own = [task for task in self.unsent if task.request.provider in names]
        try:
            with self.store.quickly():
                count, left = self._waiting(names, own) if names else (0, [])
            words = _waits_in_the_queue
        except HistoryError:
            count, left, words = len(own), own, _not_sent
        if left:
            say(words(count, why, step(self.command + self.spending.terms(left), left)))

    def _waiting(self, names: Collection[str], own: Sequence[Task]) -> tuple[int, list[Task]]:
        """How many tasks of these providers wait, with those that this process has `own` still, and the first ones."""
        found = self.store.find(Filter(ids=tuple(task.id for task in own))) if own else []
        kept = {record.task.id for record in found if _is_kept(record)}
        count = self.store.waiting_for_workers(sorted(names), without=kept) + len(kept)
        wanted = Filter(states=("queued",), providers=tuple(names), limit=MAX_LOOKED_AT)
        records = self.store.find(wanted) if count else []
        return count, [one.task for one in records if one.waits_for_worker or one.task.id in kept]


def _is_kept(record: Record) -> bool:
    """Whether this process, which ends, has a task of the queue still that was not sent."""
    return record.shared and record.process == this_process() and isinstance(record.task.state, Queued)


def _waits_in_the_queue(count: int, why: str, command: str) -> Message:
    return ngettext(
        "{count} task waits in the queue, not sent: {why}; {command}",
        "{count} tasks wait in the queue, not sent: {why}; {command}",
        count,
        why=why,
        command=command,
    )


def _not_sent(count: int, why: str, command: str) -> Message:
    return ngettext(
        "{count} task not sent: {why}; {command}",
        "{count} tasks not sent: {why}; {command}",
        count,
        why=why,
        command=command,
    )


def say_what_is_left(left: Left, feed: "Queue", budget_reached: str) -> None:
    """Say what waits in the queue because of what has ended the worker, and what a person has to do before it goes on.

    What the person has ended, or an empty queue, is no news.
    """
    if feed.error is not None:
        left.say(feed.providers, feed.error.message, _after(AFTER_HISTORY))
        return
    shut = feed.shut
    for name, error in shut.items():
        why = Message("{provider}: {why}").format(provider=name, why=error.message)
        left.say([name], why, _after(AFTER_REFUSAL[error.reason]))
    if budget_reached and budget_reached not in feed.reached.values():
        next_step = left.spending.next_step
        names = feed.providers - shut.keys()
        left.say(names, budget_reached, lambda command, tasks: next_step(command, budget_reached, tasks))


def _first_look(store: Store, names: Sequence[str]) -> tuple[int, bool]:
    """How many tasks wait for these providers, and whether dead workers have left some."""
    store.may_be_silent()  # it also notes which processes of other machines are heard of
    is_left = bool(store.left_by_workers(names))  # first: some that seem to wait may have been sent
    return store.waiting_for_workers(names), is_left


def _what_waits(count: int, names: str, *, once: bool) -> Message:
    if once:
        return ngettext(
            "{count} task in the queue for {providers}; working until there are no more",
            "{count} tasks in the queue for {providers}; working until there are no more",
            count,
            providers=names,
        )
    return ngettext(
        "{count} task in the queue for {providers}; working until Ctrl-C, which lets what was sent come to its end",
        "{count} tasks in the queue for {providers}; working until Ctrl-C, which lets what was sent come to its end",
        count,
        providers=names,
    )


def _usable(config: Config, providers: Sequence[str]) -> list[str]:
    """The providers to work for: those named, else all that the person has set up and that can be used."""
    names = list(dict.fromkeys(providers or [*config.providers, config.default]))
    if not providers:
        names = [name for name in names if config.is_own(name)]
    faults = unusable(config, names)
    for name in names:
        if name in faults:
            say(Message("not working for {provider}: {why}").format(provider=name, why=faults[name].message))
    if faults and len(faults) == len(names):
        raise next(iter(faults.values()))
    return [name for name in names if name not in faults]


class Queue:
    """Where a session gets its tasks from, while it runs."""

    def __init__(self, store: Store, wanted: Mapping[str, int], *, folder: str, once: bool) -> None:
        """`wanted`: by provider, how many tasks are in hand at a time."""
        self.providers = frozenset(wanted)
        self._runner: Runner | None = None
        self._store = store
        self._once = once
        self._folder = folder
        self._wanted = wanted
        self._looked_at = self._took_over_at = float("-inf")
        self._wakes = 0
        self._is_over = False
        self._failing_since: float | None = None
        """By the clock of the loop, since when no look has succeeded."""
        self._is_said = False
        self._refusal: DiskError | None = None
        """Why the history did not take a submit, until it has taken something since."""
        self._refused_at = float("-inf")
        self.outages = Outages()
        self._files = FilesHere()
        self.lacking: dict[TaskId, str] = {}
        """Tasks that are left to other workers, and why."""
        self._told_lacking: set[str] = set()
        self._lacking_since = 0.0
        self._has_more_than_its_own = False
        """The history may say that this worker has tasks that it is not at work on."""
        self._tell: Callable[[str], None] = say
        self.reached: dict[RunId, str] = {}
        """Queued runs that may spend no more, and why."""
        self.unsent: dict[RunId, list[TaskId]] = {}
        """By such a run, the tasks that this worker took out of the queue."""
        self.error: HistoryError | None = None
        """Why the worker has ended; None where nothing is wrong."""

    @property
    def shut(self) -> dict[str, TaskError]:
        """Providers that take nothing any more, each with its refusal."""
        found = {name: self._runner.why_shut(name) for name in sorted(self.providers)} if self._runner else {}
        return {name: error for name, error in found.items() if error is not None}

    @property
    def is_failing(self) -> bool:
        """Whether the last look at the history failed, which was said."""
        return self._is_said

    async def complete(self) -> None:
        """Wait until there is more to do, or nothing will come any more. The runner asks while it has no task."""
        while not self._is_over and not (self._runner and self._has_tasks(self._runner)):  # noqa: ASYNC110 - see LOOK_S
            await asyncio.sleep(WAKE_S)

    def _has_tasks(self, runner: Runner) -> bool:
        return any(map(runner.unfinished, self.providers))

    def give_back(self, id_: TaskId) -> None:
        """Leave a task that was not sent to other workers: now, or once the history can be written again."""
        if self._has_more_than_its_own:
            return
        try:
            with self._store.quickly():
                self._has_more_than_its_own = not self._store.give_back([id_])
        except HistoryError:
            self._has_more_than_its_own = True

    def unrecorded(self, error: DiskError) -> None:
        """Take no more tasks, after the history did not take a submit, until it takes something.

        The task goes back into the queue then, or when this process has ended.
        """
        self._refusal, self._refused_at, self._has_more_than_its_own = error, time.monotonic(), True

    def fits(self, task: Task) -> bool:
        """Whether this machine has what a task starts from; if not, the task is left to other workers."""
        if why := self._files.lacked_by(task):
            self.lacking[task.id] = why
        return not why

    def reached_budget(self, run: RunId, because: str) -> None:
        """Take what is left of a queued run out of the queue: its command may spend no more."""
        self.reached[run], self.unsent[run] = because, []
        self._tell(Message("budget: {why}; the rest of this run stays unsent, others go on").format(why=because))
        with suppress(HistoryError), self._store.quickly():  # else each of its tasks is refused when it is its turn
            self.unsent[run] = self._store.cancel_queued(run)

    async def run(self, runner: Runner, add: Callable[[Task], None], tell: Callable[[str], None]) -> None:
        """Feed the runner until it stops, or, with `once`, until nothing is left, or the history is away for long."""
        self._runner, self._tell = runner, tell
        while not runner.draining:
            try:
                self._check_writing()
                with self._store.quickly():
                    is_more = self._look(runner, add, tell)
            except HistoryError as error:
                if self._store.is_set_back or self._has_lasted(error, tell):
                    self.error = error
                    runner.drain()
                    break
                await asyncio.sleep(AGAIN_S)
                continue
            self._failing_since, self._is_said = None, False
            self.outages.ends(tell)
            if self._once and not is_more and not self._has_tasks(runner):
                break
            if not any(map(runner.is_open, self.providers)):
                tell(Message("no service takes tasks any more: the worker stops"))
                break
            await asyncio.sleep(WAKE_S)
        self._is_over = True
        if self._store.is_set_back and self.error is None:  # the session has noticed it first
            self.error = HistoryError(self._store.trouble, hint=GOES_ON)
        await self._leave_the_rest(runner)

    def _check_writing(self) -> None:
        """Raise HistoryError where the history can be read, and takes nothing: no submit, or nothing for seconds."""
        if self._refusal is not None and not self._store.is_set_back:
            if self._store.behind_s >= time.monotonic() - self._refused_at:
                raise HistoryError(self._refusal.message, hint=self._refusal.hint)
            self._refusal = None
        if self._store.behind_s > NOTICED_S:
            raise HistoryError(
                self._store.trouble, hint=Message("imagegen doctor tells whether it can be written again")
            )

    def _has_lasted(self, error: HistoryError, tell: Callable[[str], None]) -> bool:
        """Note that a look failed, and say so once; whether looks have failed for too long."""
        self._has_more_than_its_own = True
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
            self._is_said = self._store.behind_s <= NOTICED_S  # else the session says it
            if self._is_said:
                self.outages.begins(AWAY.format(why=error.message, seconds=MAX_ABSENCE_S), tell)
        return now - self._failing_since >= MAX_ABSENCE_S

    async def _leave_the_rest(self, runner: Runner) -> None:
        """Leave to other workers what could not be given back, while this one brings its own tasks to an end."""
        while self._has_more_than_its_own:
            await asyncio.sleep(AGAIN_S)
            with suppress(HistoryError), self._store.quickly():
                self._keep_own(runner)

    def _keep_own(self, runner: Runner) -> None:
        """Where the history was away, a claim or a task that was left may be in it without this worker's knowledge."""
        if self._has_more_than_its_own:
            self._has_more_than_its_own = not self._store.keep_only(runner.in_hand())

    def _look(self, runner: Runner, add: Callable[[Task], None], tell: Callable[[str], None]) -> bool:
        """Add tasks to carry from now on; whether there were some."""
        now, wakes = time.monotonic(), self._store.wakes
        self._keep_own(runner)
        if not self._once and now - self._lacking_since >= LOOK_FOR_FILES_S:
            self.lacking, self._lacking_since = {}, now  # what was lacking may be here by now
        is_more, lacking = False, len(self.lacking)
        if now - self._took_over_at >= TAKE_OVER_S:
            self._store.may_be_silent()  # it also notes which processes of other machines are heard of
            is_more |= _added(self._taken_over(runner, tell), add)
            self._took_over_at = now
        if now - self._looked_at < LOOK_S and wakes == self._wakes and not self._once:
            return is_more
        for name in self.providers:
            room = self._wanted[name] - runner.unfinished(name) if runner.is_open(name) else 0
            if room > 0:
                room = min(room, MAX_AHEAD)
                without = runner.in_hand() | self.lacking.keys()
                found = self._store.claim_queued([name], room, folder=self._folder, without=without, fits=self.fits)
                is_more |= _added(found, add)
        self._looked_at, self._wakes = now, wakes
        self._tell_lacking(tell)
        return is_more or len(self.lacking) > lacking or (self._once and self._are_more_waiting(runner))

    def _are_more_waiting(self, runner: Runner) -> bool:
        """Whether tasks wait that this worker has not looked at: at that moment another one did."""
        open_ = [name for name in self.providers if runner.is_open(name)]
        return self._store.waiting_for_workers(open_) > len(self.lacking)

    def _tell_lacking(self, tell: Callable[[str], None]) -> None:
        """Say once of each file that it is not here, up to MAX_FILES_TOLD."""
        for why in dict.fromkeys(self.lacking.values()):
            if why in self._told_lacking or len(self._told_lacking) >= MAX_FILES_TOLD:
                continue
            self._told_lacking.add(why)
            tell(Message("left in the queue for other workers: {why}").format(why=why))

    def _taken_over(self, runner: Runner, tell: Callable[[str], None]) -> list[Task]:
        """What dead workers were at: what may have been sent without a receipt ends here, as uncertain."""
        records = self._store.left_by_workers(list(self.providers), without=runner.in_hand())
        if not records:
            return []
        parts = part_files(records)
        changes = [(record, revived(record.task, parts).state) for record in records]
        tasks, _, _ = self._store.claim(changes, for_workers=True)
        ended = [task for task in tasks if isinstance(task.state, ENDED)]
        if ended:
            message = Message("left by a worker that is gone, and perhaps accepted and charged: {ids}")
            tell(message.format(ids=ids_of(ended)))
        going = [task for task in tasks if not isinstance(task.state, ENDED)]
        if going:
            message = Message("going on with what a worker left that is gone: {ids}")
            tell(message.format(ids=ids_of(going)))
        return going


def _added(tasks: Sequence[Task], add: Callable[[Task], None]) -> bool:
    for task in tasks:
        add(task)
    return bool(tasks)


def _wanted(config: Config, name: str, concurrency: int | None) -> int:
    """How many tasks of a provider a worker has in hand: twice what the service takes, so that none is waited for."""
    limit = config.provider(name).settings.concurrency if concurrency is None else concurrency
    return min(2 * limit, limit + MAX_AHEAD) if limit else 4 * MAX_AHEAD
