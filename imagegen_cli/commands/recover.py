"""Commands that continue, repeat or cancel tasks of the history: resume, retry, cancel. Each returns an exit code."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagegen_cli.commands.console import (
    HANDFUL,
    LIST_TELLS,
    all_there,
    answers,
    check_keys,
    history,
    ids_of,
    is_asked,
    line_of,
    numbers,
    printed,
    say,
    settings,
    unusable,
)
from imagegen_cli.commands.made_anew import go_on
from imagegen_cli.commands.options import Progress, RunOptions, SpendOptions
from imagegen_cli.commands.session import Session
from imagegen_cli.commands.spending import (
    NOTHING_SENT,
    YES_SENDS,
    Planned,
    Spending,
    agree,
    amounts,
    check_budget,
    cost,
    cost_lines,
)
from imagegen_cli.commands.task_ids import run_reference, task_ids
from imagegen_cli.commands.terms import sending
from imagegen_cli.commands.waiting import wait_for_workers
from imagegen_cli.core.errors import ImagegenError, NothingToDo, Reason, UsageError, error_class, label
from imagegen_cli.core.language import Message, joined, ngettext, translated
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import (
    ENDED,
    MARKS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Queued,
    Running,
    Saving,
    State,
    Task,
    TaskId,
    may_be_paid,
    recovered,
    word,
)
from imagegen_cli.core.text import Printer, is_capable_terminal
from imagegen_cli.display.messages import WORDS
from imagegen_cli.inputs import plan
from imagegen_cli.net.image_files import left_behind, whole
from imagegen_cli.settings.config import Config, load_config
from imagegen_cli.settings.paths import expanded, kept_folder, working_folder
from imagegen_cli.storage import serialize
from imagegen_cli.storage.receipt_lines import Receipt, Refused, receipts_in
from imagegen_cli.storage.records import UNFINISHED, Filter, Numbers, PlanChangedError, Record
from imagegen_cli.storage.store import Store

MAX_RECEIPTS_BYTES = 256 * 1024 * 1024
MAX_REFUSED = 20
"""Lines of a file that are refused one by one."""
CANCEL_WAIT_S = 20.0
"""Seconds that `cancel` waits until the other process has cancelled its tasks."""
WATCH_WAIT_S = 65.0
"""Seconds that `resume` watches the heartbeat of a process elsewhere that may be dead."""
LEFT = Message("left as they are: {ids}; {why}")
PRICED = Message("{pictures}, {cost}")
NOT_CANCELLED = Message("cannot be cancelled from here: {ids}; {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks `retry` sends. Without `ids`: those of the last run that has such tasks, of `run`, or of all runs."""

    ids: Sequence[str] = ()
    failed: bool = False
    cancelled: bool = False
    reasons: Sequence[str] = ()
    run: str = ""
    all_runs: bool = False


# Resume


def resume(given: Sequence[str], options: RunOptions, *, run: str = "", receipts: Path | None = None) -> int:
    """Fetch the pictures of tasks that were accepted and not delivered. It never submits."""
    config = settings()
    with history() as store:
        ids, run_id = task_ids(given, store), run_reference(run, store)
        is_refused = False
        if receipts is not None:
            found, is_refused = _restored(store, config, receipts)
            if not found:
                return _nothing(Message("the history needs none of these receipts"), is_refused=is_refused)
            ids = [*ids, *found]
        _say_recovered(store.recover_receipts())
        wanted = _wanted(store, ids, run_id)
        tasks, left = _claimed_to_fetch(store, config, wanted, quiet=not ids)
        unsent = [task for task in tasks if isinstance(task.state, Cancelled)]
        restored = _as_before(store, unsent)
        again, more_left = _claimed_to_fetch(store, config, [one for one in restored if _fetchable(one)], quiet=not ids)
        tasks, left, wanted = [*tasks, *again], [*left, *more_left], [*wanted, *restored]
        names = {record.task.id for record in restored}
        unsent = [task for task in unsent if task.id not in names]
        if unsent:
            message = Message("never sent, nothing spent: {ids}; to send them: {command}")
            say(message.format(ids=ids_of(unsent), command=sending(unsent)))
        lost = [task for task in tasks if isinstance(task.state, Failed)]
        if lost:
            say(Message("may have been accepted and charged, but nothing to ask with: {ids}").format(ids=ids_of(lost)))
        going = [task for task in tasks if isinstance(task.state, Running | Saving)]
        if not going:
            if lost or left:
                return 5 if left or is_refused else 1
            waiting = 0 if ids else store.waiting_for_workers(run=run_id)
            hint = wait_for_workers(waiting) if waiting else LIST_TELLS
            return _nothing(Message("there is nothing to resume"), hint=hint, is_refused=is_refused)
        late = {record.task.id for record in wanted if not ids and _timed_out(record.task.state)}
        code = _run(store, config, going, options, one_look=late)
        return code or (5 if left or is_refused else 0)


def _nothing(message: Message, *, is_refused: bool, hint: str = LIST_TELLS) -> int:
    """Raise NothingToDo, unless lines of receipts were refused: then something may be left at a service."""
    if not is_refused:
        raise NothingToDo(message, hint=hint)
    say(message)
    return 5


def _say_recovered(ids: Sequence[TaskId]) -> None:
    if ids:
        message = Message("the history did not know that these tasks were sent, but receipts of them are there: {ids}")
        say(message.format(ids=numbers(ids)))


def _as_before(store: Store, tasks: Sequence[Task]) -> list[Record]:
    """Those of these tasks that were not sent again and are what an earlier attempt had come to."""
    ids = tuple(task.id for task in tasks)
    now = store.find(Filter(ids=ids)) if ids else []
    restored = [record for record in now if not isinstance(record.task.state, Cancelled)]
    if restored:
        message = Message("not sent again, and as they were before: {ids}; imagegen show tells what that was")
        say(message.format(ids=ids_of(record.task for record in restored)))
    return restored


def _wanted(store: Store, ids: Sequence[int], run_id: int | None) -> list[Record]:
    """The records to continue. Where a process elsewhere may be dead, its heartbeat is watched first."""
    unended = Filter(states=(*UNFINISHED, "failed", "cancelled"), run=run_id)

    def found() -> list[Record]:
        records = all_there(store, ids) if ids else store.find(unended)
        parts = part_files(records)
        return [
            record for record in records if ids or _fetchable(record) or record.is_owned or _lies_here(record, parts)
        ]

    records = found()
    deadline = time.monotonic() + WATCH_WAIT_S
    if any(record.is_owned for record in records) and store.may_be_silent():
        say(
            Message(
                "a process on another host, or in another container, may still work on some; watching it for a minute"
            )
        )
        while time.monotonic() < deadline and store.may_be_silent():
            time.sleep(1.0)
        records = found()
    parts = part_files(records)
    idle = [record for record in records if ids or not record.is_owned]
    return [record for record in idle if _lies_here(record, parts) or _resumable(record)]


def _claimed_to_fetch(
    store: Store, config: Config, wanted: Sequence[Record], *, quiet: bool
) -> tuple[list[Task], list[Task]]:
    """The tasks that this process has claimed, and those that are left because their provider cannot be used."""
    faults = unusable(config, [record.task.request.provider for record in wanted])
    _say_unusable(faults, [record.task for record in wanted], LEFT)
    usable = [record for record in wanted if record.task.request.provider not in faults]
    parts = part_files(usable)
    tasks, owned, changed = store.claim([(record, revived(record.task, parts).state) for record in usable])
    if not quiet:
        _say_owned([*owned, *changed])
    return tasks, [record.task for record in wanted if record.task.request.provider in faults]


def _say_unusable(faults: Mapping[str, ImagegenError], tasks: Sequence[Task], message: Message) -> None:
    for name, error in faults.items():
        ids = ids_of(task for task in tasks if task.request.provider == name)
        say(message.format(ids=ids, why=error.message))


def _say_owned(records: Iterable[Record]) -> None:
    for record in records:
        if record.process is not None:
            message = Message("{id} belongs to process {pid} on {host}; left alone")
            say(message.format(id=record.task.id, pid=record.process.pid, host=record.process.host))
        else:
            message = Message("{id} has changed meanwhile and is {state} now; left alone")
            say(message.format(id=record.task.id, state=WORDS[type(record.task.state)]))


def _restored(store: Store, config: Config, path: Path) -> tuple[list[int], bool]:
    """Write the receipts of a file into the history. Returns the tasks to fetch, and whether lines were refused."""
    try:
        text = sys.stdin.read() if str(path) == "-" else bytes_of(expanded(path), MAX_RECEIPTS_BYTES).decode()
    except (OSError, ValueError) as error:  # of a path with NUL in it, and of bytes that are no text
        raise UsageError(Message("{path} cannot be read: {why}").format(path=path, why=cause(error))) from error
    lines = list(receipts_in(text))
    refused = [line for line in lines if isinstance(line, Refused)]
    _say_refused(path, refused)
    found = [_placed(line, config) for line in lines if isinstance(line, Receipt)]
    if not found:
        hint = Message('a receipt is a line such as {"task": 12, "job": "…", "url": ""}')
        raise UsageError(Message("the input has no receipt"), hint=hint)
    restored = store.restore_receipts(found)
    _say_strangers(restored.strangers)
    for message in go_on(restored.made):
        say(message)
    held = store.find(Filter(ids=tuple(restored.held))) if restored.held else []
    left = [record.task.id for record in held if _fetchable(record) or _is_at_work(record)]
    return [*restored.healed, *(one.id for one in restored.made), *left], bool(refused)


def _is_at_work(record: Record) -> bool:
    """Whether another process has the task: that is said, as of every task that it has."""
    return record.is_owned and not isinstance(record.task.state, ENDED)


def _say_refused(path: Path, refused: Sequence[Refused]) -> None:
    for line in refused[:MAX_REFUSED]:
        message = Message("line {number} of {path} is no receipt that can be used: {why}")
        say(message.format(number=line.number, path=path, why=line.why))
    if (more := len(refused) - MAX_REFUSED) > 0:
        say(Message("… and {count} more").format(count=more))


def _placed(receipt: Receipt, config: Config) -> Receipt:
    """A receipt whose pictures go where its line says, if that is inside of the output folder; else into that."""
    if receipt.planned is None:
        return receipt
    output = working_folder() / expanded(config.general.output)
    return receipt._replace(planned=receipt.planned._replace(folder=_inside(receipt.planned.folder, output)))


def _inside(folder: str, output: Path) -> str:
    try:
        if Path(folder).is_absolute() and Path(folder).resolve().is_relative_to(output.resolve()):
            return folder
    except (OSError, ValueError, RuntimeError):  # of links that go in a circle
        pass
    return str(output)


def _say_strangers(receipts: Sequence[Receipt]) -> None:
    """Say which receipts are of tasks that this history lacks; their numbers may be those of other tasks now."""
    if receipts:
        jobs = " ".join(receipt.job.id for receipt in receipts)
        message = ngettext(
            "{count} receipt is of a task that this history does not know; the service has its pictures, as job {jobs}",
            "{count} receipts are of tasks that this history does not know; the service has their pictures, as jobs"
            " {jobs}",
            len(receipts),
            jobs=jobs,
        )
        say(message)


def _timed_out(state: State) -> bool:
    return isinstance(state, Failed) and state.reason is Reason.TIMEOUT


def _fetchable(record: Record) -> bool:
    """Whether a plain `resume` continues a task: it was interrupted, or its receipt may still bring pictures."""
    state = record.task.state
    if record.waits_for_worker:
        return False
    if isinstance(state, Failed):
        return state.resumable
    if isinstance(state, Cancelled):
        return state.job is not None
    return not isinstance(state, ENDED) and not record.is_owned


def _resumable(record: Record) -> bool:
    """Whether `resume ID` can bring something; if not, say why."""
    obstacle = _obstacle(record)
    if obstacle is not None:
        say(obstacle)
    return obstacle is None


def _obstacle(record: Record) -> Message | None:
    """Why `resume ID` can bring nothing."""
    state, id_ = record.task.state, record.task.id
    if record.waits_for_worker:
        waits = Message(
            "{id} waits for a worker: imagegen work carries it, imagegen cancel {id} takes it out of the queue"
        )
        return waits.format(id=id_)
    if isinstance(state, Done):
        return ngettext("{id} is done: {count} picture", "{id} is done: {count} pictures", len(state.files), id=id_)
    if isinstance(state, Failed | Cancelled) and not getattr(state, "resumable", False) and state.job is None:
        return _nothing_to_ask_with(record.task.id, state, sending([record.task]))
    return None


def _nothing_to_ask_with(id_: TaskId, state: Failed | Cancelled, command: str) -> Message:
    """Why a task without a receipt cannot be fetched; `command` sends it again."""
    if isinstance(state, Failed) and not may_be_paid(state):
        failed = Message("{id} failed ({reason}) and holds no receipt: {command} makes it anew")
        return failed.format(id=id_, reason=label(state.reason), command=command)
    why = Message("{id} was cancelled and nothing is running there: {command} makes it anew")
    if isinstance(state, Failed):
        why = Message("{id} may be made and billed already, and holds no receipt: {command} --may-repeat pays anew")
    elif may_be_paid(state):
        why = Message(
            "{id} was cancelled on its way, may be charged, and holds no receipt: look at the service; {command}"
            " --may-repeat pays anew"
        )
    return why.format(id=id_, command=command)


Parts = Mapping[str, Mapping[int, Sequence[Path]]]
"""Part files by the key of their task and the index of the picture."""


def part_files(records: Iterable[Record]) -> Parts:
    """What earlier processes left of these tasks, in their own folders and beside the history."""
    return left_behind([*(Path(record.task.folder) for record in records), kept_folder()])


def _lies_here(record: Record, parts: Parts) -> bool:
    """Whether a picture that a task lacks is complete on this disk."""
    if record.is_owned or isinstance(record.task.state, Done) or record.task.key not in parts:
        return False
    return bool(whole(parts[record.task.key]))


def revived(task: Task, parts: Parts) -> Task:
    """The task as `recovered` gives it; one that was never sent is cancelled, because `resume` never submits."""
    task = recovered(task, whole(parts.get(task.key, {})))
    return task.to(Cancelled(CancelOutcome.NOT_SENT)) if isinstance(task.state, Queued) else task


# Retry


def retry(
    selection: Selection,
    options: RunOptions,
    spend: SpendOptions = SpendOptions(),  # noqa: B008 - it is a tuple
    *,
    may_repeat: bool = False,
    dry_run: bool = False,
    yes: bool = False,
) -> int:
    """Submit tasks again, as new paid work. Those that may run and be billed already need `may_repeat`."""
    known = {reason.value for reason in Reason}
    if unknown := [reason for reason in selection.reasons if reason not in known]:
        from imagegen_cli.core.schema import nearest  # noqa: PLC0415 - only for slips

        message = Message("there is no reason {name!r}").format(name=unknown[0])
        raise UsageError(message, hint=nearest(unknown[0], known))
    config = settings()
    with history() as store:
        found = _selected(store, selection)
        doubtful = frozenset() if may_repeat else _repeats_of_paid(store, found)
        chosen = _to_repeat(found, may_repeat=may_repeat, named=bool(selection.ids), doubtful=doubtful)
        if not chosen:
            hint = Message("imagegen list --state failed shows what failed")
            raise NothingToDo(Message("there is nothing to retry"), hint=hint)
        spending = Spending(config, spend, _providers_of(chosen))
        spending.learn((record.task.request for record in chosen), store, ask=not dry_run)
        plan_ = spending.plan(_as_planned(record, is_copied=may_be_paid(record.task.state)) for record in chosen)
        if dry_run:
            code = _shown(chosen, plan_, yes=yes)
            spending.foretell(plan_, store)
            return code
        check_budget(plan_, spending.limits)
        is_said = _agree(chosen, plan_, config, yes=yes) or not plan_.totals
        check_keys(config, [record.task.request.provider for record in chosen])
        paid = [record for record in chosen if may_be_paid(record.task.state)]
        plain = [record for record in chosen if not may_be_paid(record.task.state)]
        tasks = [*_claimed_to_send(store, plain), *_copied(store, config, paid)]
        if not tasks:
            raise NothingToDo(Message("there is nothing left to retry"), hint=LIST_TELLS)
        said = ngettext(
            "sending {count} task again, as new paid work: {ids}",
            "sending {count} tasks again, as new paid work: {ids}",
            len(tasks),
            ids=ids_of(tasks),
        )
        say(said if is_said else joined(" · ", (said, cost(plan_))))
        return _run(store, config, tasks, options, spending=spending)


def _claimed_to_send(store: Store, records: Sequence[Record]) -> list[Task]:
    """The tasks that this process has claimed. What was left unsent has come to nothing, and is no earlier attempt."""
    ended = [(record, Queued()) for record in records if not isinstance(record.task.state, Queued)]
    unsent = [(record, Queued()) for record in records if isinstance(record.task.state, Queued)]
    found: list[Task] = []
    for changes, again in ((ended, True), (unsent, False)):
        tasks, owned, changed = store.claim(changes, again=again) if changes else ([], [], [])
        _say_owned([*owned, *changed])
        found += tasks
    return found


def _providers_of(records: Iterable[Record]) -> set[str]:
    """Providers that these tasks may be sent to."""
    return {one.provider for record in records for one in (record.task.request, *record.task.alternatives)}


def _copied(store: Store, config: Config, paid: Sequence[Record]) -> list[Task]:
    """New tasks for those that may be paid already, which keep their receipts and can still be fetched.

    The old tasks are claimed as they are, so that only one of two commands at the same time makes copies.
    """
    taken, owned, changed = store.claim([(record, record.task.state) for record in paid])
    _say_owned([*owned, *changed])
    ids = {task.id for task in taken}
    records = [record for record in paid if record.task.id in ids]
    if not records:
        return []
    numbers = store.reserve(len(records))
    planned = []
    for record, id_ in zip(records, numbers.tasks, strict=True):
        where = plan.place(Path(record.task.folder), config.general.name)
        where = replace(where, marks=str(record.facts.get(MARKS, "")))
        task = record.task  # no alternatives: only the provider that may have been paid can say what it was paid for
        item = plan.Item(
            request=task.request, expected_images=task.expected_images, line=1, identity="", repeats=task.id
        )
        planned += plan.planned([item], where, Numbers(numbers.run, (id_,)))
    try:
        tasks = store.start_run(numbers.run, "retry", "", planned)
    except PlanChangedError as error:
        message = Message("left alone: {why}; imagegen again ID makes one more")
        say(message.format(why=error.args[0] if error.args else ""))
        return []
    message = Message("new tasks {ids} for {earlier}, which keep what can be fetched of them")
    say(message.format(ids=ids_of(tasks), earlier=ids_of(taken)))
    return list(tasks)


def _repeats_of_paid(store: Store, found: Iterable[Record]) -> frozenset[int]:
    """Those of these tasks that repeat another one which may have been paid."""
    firsts = {record.task.id: record.facts["repeats"] for record in found if "repeats" in record.facts}
    known = store.find(Filter(ids=tuple(firsts.values()))) if firsts else []
    paid = {record.task.id for record in known if may_be_paid(record.task.state)}
    return frozenset(id_ for id_, first in firsts.items() if first in paid)


def _selected(store: Store, selection: Selection) -> list[Record]:
    """The tasks that were selected; those of the last run that has any, where neither IDs nor runs are named."""
    if selection.ids:
        return all_there(store, task_ids(selection.ids, store))
    failed = selection.failed or bool(selection.reasons) or not selection.cancelled
    states = tuple(["failed"] * failed + ["cancelled"] * selection.cancelled)
    run = run_reference(selection.run, store)
    found = store.find(Filter(states=states, reasons=tuple(selection.reasons), run=run))
    left_out = [record for record in found if not selection.reasons and _is_refused_again(record)]
    found = [record for record in found if record not in left_out]
    if not selection.all_runs and run is None and found:
        last = max(record.task.run for record in found)
        older = [record for record in found if record.task.run != last]
        if older:
            message = Message("only run {run}; {count} of older runs are left alone: --run N or --all-runs takes them")
            say(message.format(run=last, count=len(older)))
        found = [record for record in found if record.task.run == last]
    runs = {record.task.run for record in found}
    refused = [record.task for record in left_out if record.task.run in runs or not found]
    if refused:
        message = Message("left alone, as they stand they would be refused again: {ids}; --reason CODE sends them")
        say(message.format(ids=ids_of(refused)))
    return found


def _is_refused_again(record: Record) -> bool:
    """Whether it is sent again only where the person names the reason or the task."""
    reason = _reason_of(record)
    return reason is not None and error_class(reason).is_refused_again


def _reason_of(record: Record) -> Reason | None:
    state = record.task.state
    return state.reason if isinstance(state, Failed) else None


def _to_repeat(
    found: Iterable[Record], *, may_repeat: bool, named: bool, doubtful: frozenset[int] = frozenset()
) -> list[Record]:
    """Failed and cancelled tasks that cannot be paid twice, and with `may_repeat` those that can.

    A task that is `named` is also taken where a process that has ended has left it unsent.
    """
    chosen: list[Record] = []
    risky: list[Task] = []
    here: list[Task] = []
    found = list(found)
    parts = part_files(found)
    for record in found:
        state = record.task.state
        if not isinstance(state, Failed | Cancelled) and not (named and _is_left_unsent(record)):
            if named:
                message = Message("{id} is {state}; only failed and cancelled tasks can be retried")
                say(message.format(id=record.task.id, state=WORDS[type(state)]))
        elif _lies_here(record, parts):
            here.append(record.task)
        elif (may_be_paid(state) or record.task.id in doubtful) and not may_repeat:
            risky.append(record.task)
        else:
            chosen.append(record)
    _say_left_alone(here, risky)
    return chosen


def _is_left_unsent(record: Record) -> bool:
    """Whether it waits to be sent, and neither a process nor the queue of the workers has it."""
    return isinstance(record.task.state, Queued) and not (record.is_owned or record.waits_for_worker)


def _say_left_alone(here: Sequence[Task], risky: Sequence[Task]) -> None:
    """Say which tasks are not sent again because their pictures lie on this disk, or because they may be paid twice."""
    if here:
        message = Message("left alone, their pictures lie on this disk: {ids}; imagegen resume {ids} names them")
        say(message.format(ids=ids_of(here)))
    fetchable = [task for task in risky if task.job is not None]
    if fetchable:
        message = Message(
            "left alone, may be made and billed already: {ids}; imagegen resume {fetchable} fetches without paying"
            " again; --may-repeat sends them anew"
        )
        say(message.format(ids=ids_of(risky), fetchable=ids_of(fetchable)))
    elif risky:
        message = Message("left alone, may be made and billed already: {ids}; --may-repeat sends them anew")
        say(message.format(ids=ids_of(risky)))


def _as_planned(record: Record, *, is_copied: bool) -> tuple[ImageRequest, int, Sequence[ImageRequest]]:
    """The request of a task, its pictures, and its alternatives; a copy of what may be paid has none."""
    task = record.task
    return task.request, task.expected_images, () if is_copied else task.alternatives


def _agree(chosen: Sequence[Record], plan_: Planned, config: Config, *, yes: bool) -> bool:
    """Ask before more than HANDFUL tasks are sent, or more than the settings say; whether a person was asked.

    Raises UsageError at a no.
    """
    if yes or len(chosen) <= HANDFUL:
        return agree(plan_, config, yes=yes)
    images = sum(record.task.expected_images for record in chosen)
    pictures = ngettext("{count} picture", "{count} pictures", images)
    what = ngettext(
        "{count} task ({pictures}) would be sent again, as new paid work",
        "{count} tasks ({pictures}) would be sent again, as new paid work",
        len(chosen),
        pictures=PRICED.format(pictures=pictures, cost=cost(plan_)) if plan_.totals else pictures,
    )
    question = Message("{what}: {ids}. Send them? [y/N]")
    if answers(question.format(what=what, ids=ids_of(record.task for record in chosen)), ["yes"]):
        return True
    raise UsageError(what, hint=NOTHING_SENT if is_asked() else YES_SENDS)


def _shown(chosen: Sequence[Record], plan_: Planned, *, yes: bool) -> int:
    for record in sorted(chosen, key=lambda record: record.task.id):
        task = record.task
        fields = {"task": task.id, "run": task.run, "state": word(task.state), "reason": _reason_of(record)}
        printed(fields | serialize.from_request(task.request) | {"asked": task.expected_images})
    pictures = sum(record.task.expected_images for record in chosen)
    for line in cost_lines(plan_):
        say(line)
    say(Message("nothing was sent: {amounts} would be sent again").format(amounts=amounts(len(chosen), pictures)))
    if len(chosen) > HANDFUL and not yes:
        asks = Message("more than {count} tasks: the real one asks first; --yes sends them without asking")
        stops = Message(
            "more than {count} tasks: the real one stops with exit code 2, sends nothing; --yes sends them without"
            " asking"
        )
        say((asks if is_asked() else stops).format(count=HANDFUL))
    return 0


# Cancel


def cancel(names: Sequence[str], *, everything: bool = False, run: str = "", queued: bool = False) -> int:
    """Cancel unfinished tasks of any process, and print for each what came of it."""
    if not (names or everything or queued or run):
        raise UsageError(Message("say what to cancel: IDs, --all, --queued or --run N"))
    with history() as store:
        ids, run_id = task_ids(names, store), run_reference(run, store)
        _say_recovered(store.recover_receipts())
        if ids:
            records = all_there(store, ids)
        else:
            states = ("queued",) if queued else UNFINISHED
            records = store.find(Filter(states=states, run=run_id))
        if not records:
            raise NothingToDo(Message("no task waits to be sent") if queued else Message("nothing is unfinished"))
        open_ = [record for record in records if _may_go_on(record.task)]
        owned = [record.task.id for record in open_ if record.is_owned]
        orphans = [record for record in open_ if not record.is_owned]
        store.request_cancel(owned)
        if orphans:
            _cancel_here(store, orphans)
        ended = _awaited(store, owned)
        before = {record.task.id for record in records} - {record.task.id for record in open_}
        return _print_outcomes(store, [record.task.id for record in records], before, ended)


def _may_go_on(task: Task) -> bool:
    """Whether the service may work on it: also where we gave up, as at a time limit, and keep the receipt."""
    if isinstance(task.state, Failed):
        return not task.state.final and isinstance(recovered(task).state, Running)
    return not isinstance(task.state, ENDED)


def _cancel_here(store: Store, orphans: Sequence[Record]) -> None:
    """Cancel tasks that belong to no process any more; those that were never sent need no service."""
    config = load_config()
    sent = [record.task for record in orphans if not isinstance(record.task.state, Queued)]
    faults = unusable(config, [task.request.provider for task in sent])
    _say_unusable(faults, sent, NOT_CANCELLED)
    usable = [
        record
        for record in orphans
        if isinstance(record.task.state, Queued) or record.task.request.provider not in faults
    ]
    parts = part_files(usable)
    tasks, _, _ = store.claim([(record, revived(record.task, parts).state) for record in usable])
    going = [task for task in tasks if isinstance(task.state, Running)]
    if going:
        _run(store, config, going, RunOptions(progress=Progress.QUIET), stop=True)


def _awaited(store: Store, ids: Sequence[TaskId]) -> set[TaskId]:
    """Those of these tasks that have ended, or are being saved, within CANCEL_WAIT_S."""
    deadline = time.monotonic() + CANCEL_WAIT_S
    while ids:
        records = store.find(Filter(ids=tuple(ids)))
        open_ = [record.task.id for record in records if not isinstance(record.task.state, (*ENDED, Saving))]
        if not open_ or time.monotonic() > deadline:
            return set(ids) - set(open_)
        time.sleep(0.05)
    return set()


def _print_outcomes(store: Store, ids: Sequence[int], before: set[TaskId], ended: set[TaskId]) -> int:
    tasks = sorted((record.task for record in all_there(store, ids)), key=lambda task: task.id)
    outcomes = [_outcome(task, ended_before=task.id in before, answered=task.id in ended) for task in tasks]
    if is_capable_terminal(sys.stdout, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        items = [
            Item((str(task.id), translated(outcome)), word(task.state))
            for task, outcome in zip(tasks, outcomes, strict=True)
        ]
        print_items(items, stream=sys.stdout, environ=os.environ, styles=("dim", "plain"))
    else:
        data = Printer(sys.stdout)
        for task, outcome in zip(tasks, outcomes, strict=True):
            data.line(f"{task.id} {line_of(outcome)}")
    stopped = any(isinstance(task.state, Cancelled) and task.id not in before for task in tasks)
    if any(task.id not in ended and not isinstance(task.state, (*ENDED, Saving)) for task in tasks):
        say(NO_ANSWER)
    elif not stopped:
        say(Message("nothing was cancelled: only unfinished tasks can be"))
    return 0 if stopped else 4


NO_ANSWER = Message(
    "a process that works on them has not answered yet; if it is gone, the same command cancels them a minute after its"
    " last sign of life"
)
OUTCOMES = {
    CancelOutcome.NOT_SENT: Message("not sent, nothing spent"),
    CancelOutcome.STOPPED: Message("stopped at the service"),
    CancelOutcome.REQUESTED: Message("asked to stop; the service may go on, credits may be used"),
    CancelOutcome.GOES_ON: Message("the service goes on, credits may be used"),
    CancelOutcome.TOO_LATE: Message("already finished"),
}


def _outcome(task: Task, *, ended_before: bool, answered: bool) -> Message:
    match task.state:
        case Cancelled(stop=stop, job=job):
            words = OUTCOMES[stop]
            if ended_before:
                return Message("already cancelled: {outcome}").format(outcome=words)
            fetches = Message("{outcome}; imagegen resume {id} fetches what it makes")
            return fetches.format(outcome=words, id=task.id) if job else words
        case Done() | Saving():
            return OUTCOMES[CancelOutcome.TOO_LATE]
        case Failed(reason=reason):
            return Message("already failed ({reason})").format(reason=label(reason))
        case _:
            return Message("still unfinished") if answered else Message("asked to stop; no answer yet")


def _run(
    store: Store,
    config: Config,
    tasks: Sequence[Task],
    options: RunOptions,
    *,
    one_look: Iterable[TaskId] = (),
    stop: bool = False,
    spending: Spending | None = None,
) -> int:
    session = Session(store, config, options, spending=spending)
    run = max(task.run for task in tasks)
    return session.run_tasks(run, tasks, one_look=frozenset(one_look), stop=stop)
