"""Commands that continue, repeat or cancel tasks of the history: resume, retry, cancel. Each returns an exit code."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagegen_cli.commands.console import (
    HANDFUL,
    all_there,
    answers,
    check_keys,
    history,
    ids_of,
    is_asked,
    printed,
    receipts_in,
    say,
    settings,
    unusable,
)
from imagegen_cli.commands.options import Progress, RunOptions, SpendOptions
from imagegen_cli.commands.session import Session
from imagegen_cli.commands.spending import Planned, Spending, agree, check_budget, cost, cost_lines
from imagegen_cli.commands.task_ids import run_reference, task_ids
from imagegen_cli.core.errors import ImagegenError, NothingToDo, Reason, UsageError, error_class
from imagegen_cli.core.task import (
    ENDED,
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
from imagegen_cli.core.text import Printer, amount, is_capable_terminal
from imagegen_cli.inputs import plan
from imagegen_cli.net.image_files import left_behind, whole
from imagegen_cli.settings.config import Config, load_config
from imagegen_cli.settings.paths import expanded, kept_folder
from imagegen_cli.storage import serialize
from imagegen_cli.storage.records import UNFINISHED, Filter, Numbers, PlanChangedError, Record
from imagegen_cli.storage.store import Store

CANCEL_WAIT_S = 20.0
"""Seconds that `cancel` waits until the other process has cancelled its tasks."""
WATCH_WAIT_S = 65.0
"""Seconds that `resume` watches the heartbeat of a process elsewhere that may be dead."""


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
        if receipts is not None:
            ids = [*ids, *_restored(store, receipts)]
        wanted = _wanted(store, ids, run_id)
        tasks, left = _claimed_to_fetch(store, config, wanted, quiet=not ids)
        unsent = [task for task in tasks if isinstance(task.state, Cancelled)]
        restored = _as_before(store, unsent)
        again, more_left = _claimed_to_fetch(store, config, [one for one in restored if _fetchable(one)], quiet=not ids)
        tasks, left, wanted = [*tasks, *again], [*left, *more_left], [*wanted, *restored]
        names = {record.task.id for record in restored}
        unsent = [task for task in unsent if task.id not in names]
        if unsent:
            say(f"never sent, nothing spent: {ids_of(unsent)}; imagegen retry {ids_of(unsent)} sends them")
        lost = [task for task in tasks if isinstance(task.state, Failed)]
        if lost:
            say(f"may have been accepted and charged, but nothing to ask with: {ids_of(lost)}")
        going = [task for task in tasks if isinstance(task.state, Running | Saving)]
        if not going:
            if lost or left:
                return 5 if left else 1
            raise NothingToDo("there is nothing to resume", hint="imagegen list shows what became of every task")
        late = {record.task.id for record in wanted if not ids and _timed_out(record.task.state)}
        code = _run(store, config, going, options, one_look=late)
        return code or (5 if left else 0)


def _as_before(store: Store, tasks: Sequence[Task]) -> list[Record]:
    """Those of these tasks that were not sent again and are what an earlier attempt had come to."""
    ids = tuple(task.id for task in tasks)
    now = store.find(Filter(ids=ids)) if ids else []
    restored = [record for record in now if not isinstance(record.task.state, Cancelled)]
    if restored:
        numbers = ids_of(record.task for record in restored)
        say(f"not sent again, and as they were before: {numbers}; imagegen show tells what that was")
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
        say("a process on another host, or in another container, may still work on some; watching it for a minute")
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
    _say_unusable(faults, [record.task for record in wanted], "left as they are")
    usable = [record for record in wanted if record.task.request.provider not in faults]
    parts = part_files(usable)
    tasks, owned, changed = store.claim([(record, revived(record.task, parts).state) for record in usable])
    if not quiet:
        _say_owned([*owned, *changed])
    return tasks, [record.task for record in wanted if record.task.request.provider in faults]


def _say_unusable(faults: Mapping[str, ImagegenError], tasks: Sequence[Task], what: str) -> None:
    for name, error in faults.items():
        say(f"{what}: {ids_of(task for task in tasks if task.request.provider == name)}; {error.message}")


def _say_owned(records: Iterable[Record]) -> None:
    for record in records:
        if record.process is not None:
            process = record.process
            say(f"{record.task.id} belongs to process {process.pid} on {process.host}; left alone")
        else:
            say(f"{record.task.id} has changed meanwhile and is {word(record.task.state)} now; left alone")


def _restored(store: Store, path: Path) -> list[int]:
    """Write the receipts of a file into the history. Returns the tasks that they belong to."""
    try:
        text = sys.stdin.read() if str(path) == "-" else expanded(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    healed = store.restore_receipts(receipts_in(text.splitlines()))
    if not healed:
        raise NothingToDo(
            "the history needs none of these receipts", hint="imagegen list shows what became of every task"
        )
    return list(healed)


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
    state, id_ = record.task.state, record.task.id
    if record.waits_for_worker:
        say(f"{id_} waits for a worker: imagegen work carries it, imagegen cancel {id_} takes it out of the queue")
    elif isinstance(state, Done):
        say(f"{id_} is done: {amount(len(state.files), 'picture')}")
    elif isinstance(state, Failed) and not state.resumable and state.job is None:
        say(f"{id_} failed ({state.reason}) and holds no receipt: imagegen retry {id_} makes it anew")
    elif isinstance(state, Cancelled) and state.job is None:
        say(f"{id_} was cancelled and nothing is running there: imagegen retry {id_} makes it anew")
    else:
        return True
    return False


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

        raise UsageError(f"there is no reason {unknown[0]!r}", hint=nearest(unknown[0], known))
    config = settings()
    with history() as store:
        found = _selected(store, selection)
        doubtful = frozenset() if may_repeat else _repeats_of_paid(store, found)
        chosen = _to_repeat(found, may_repeat=may_repeat, named=bool(selection.ids), doubtful=doubtful)
        if not chosen:
            raise NothingToDo("there is nothing to retry", hint="imagegen list --state failed shows what failed")
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
        tasks, owned, changed = store.claim([(record, Queued()) for record in plain], again=True)
        _say_owned([*owned, *changed])
        tasks += _copied(store, config, paid)
        if not tasks:
            raise NothingToDo("there is nothing left to retry", hint="imagegen list shows what became of every task")
        price = "" if is_said else f" · {cost(plan_)}"
        say(f"sending {amount(len(tasks), 'task')} again, as new paid work: {ids_of(tasks)}{price}")
        return _run(store, config, tasks, options, spending=spending)


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
        task = record.task  # no alternatives: only the provider that may have been paid can say what it was paid for
        item = plan.Item(
            request=task.request, expected_images=task.expected_images, line=1, identity="", repeats=task.id
        )
        planned += plan.planned([item], where, Numbers(numbers.run, (id_,)))
    try:
        tasks = store.start_run(numbers.run, "retry", "", planned)
    except PlanChangedError as error:
        say(f"left alone: {error}; imagegen again ID makes one more")
        return []
    say(f"new tasks {ids_of(tasks)} for {ids_of(taken)}, which keep what can be fetched of them")
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
            say(f"only run {last}; {len(older)} of older runs are left alone: --run N or --all-runs takes them")
        found = [record for record in found if record.task.run == last]
    runs = {record.task.run for record in found}
    refused = [record.task for record in left_out if record.task.run in runs or not found]
    if refused:
        say(f"left alone, the service refused them as they stand: {ids_of(refused)}; --reason CODE sends them again")
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
    """Failed and cancelled tasks that cannot be paid twice, and with `may_repeat` those that can."""
    chosen: list[Record] = []
    risky: list[Task] = []
    here: list[Task] = []
    found = list(found)
    parts = part_files(found)
    for record in found:
        state = record.task.state
        if not isinstance(state, Failed | Cancelled):
            if named:
                say(f"{record.task.id} is {word(state)}; only failed and cancelled tasks can be retried")
        elif _lies_here(record, parts):
            here.append(record.task)
        elif (may_be_paid(state) or record.task.id in doubtful) and not may_repeat:
            risky.append(record.task)
        else:
            chosen.append(record)
    if here:
        say(f"left alone, their pictures lie on this disk: {ids_of(here)}; imagegen resume {ids_of(here)} names them")
    if risky:
        fetch = [task for task in risky if task.job is not None]
        first = f"; imagegen resume {ids_of(fetch)} fetches without paying again" if fetch else ""
        say(f"left alone, may be made and billed already: {ids_of(risky)}{first}; --may-repeat sends them anew")
    return chosen


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
    pictures = sum(record.task.expected_images for record in chosen)
    price = f", {cost(plan_)}" if plan_.totals else ""
    sum_ = f"{amount(len(chosen), 'task')} ({amount(pictures, 'picture')}{price})"
    what = f"{sum_} would be sent again, as new paid work"
    if answers(f"{what}: {ids_of(record.task for record in chosen)}. Send them? [y/N]", ["yes"]):
        return True
    hint = "nothing was sent" if is_asked() else "--yes sends them, --dry-run shows them; nothing was sent"
    raise UsageError(what, hint=hint)


def _shown(chosen: Sequence[Record], plan_: Planned, *, yes: bool) -> int:
    for record in sorted(chosen, key=lambda record: record.task.id):
        task = record.task
        fields = {"task": task.id, "run": task.run, "state": word(task.state), "reason": _reason_of(record)}
        printed(fields | serialize.from_request(task.request) | {"asked": task.expected_images})
    pictures = sum(record.task.expected_images for record in chosen)
    for line in cost_lines(plan_):
        say(line)
    say(f"nothing was sent: {amount(len(chosen), 'task')}, {amount(pictures, 'picture')} would be sent again")
    if len(chosen) > HANDFUL and not yes:
        asks = "the real one asks first" if is_asked() else "the real one stops with exit code 2, sends nothing"
        say(f"more than {HANDFUL} tasks: {asks}; --yes sends them without asking")
    return 0


# Cancel


def cancel(names: Sequence[str], *, everything: bool = False, run: str = "", queued: bool = False) -> int:
    """Cancel unfinished tasks of any process, and print for each what came of it."""
    if not (names or everything or queued or run):
        raise UsageError("say what to cancel: IDs, --all, --queued or --run N")
    with history() as store:
        ids, run_id = task_ids(names, store), run_reference(run, store)
        if ids:
            records = all_there(store, ids)
        else:
            states = ("queued",) if queued else UNFINISHED
            records = store.find(Filter(states=states, run=run_id))
        if not records:
            raise NothingToDo("nothing is unfinished")
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
    _say_unusable(faults, sent, "cannot be cancelled from here")
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

        items = [Item((str(task.id), outcome), word(task.state)) for task, outcome in zip(tasks, outcomes, strict=True)]
        print_items(items, stream=sys.stdout, environ=os.environ, styles=("dim", "plain"))
    else:
        data = Printer(sys.stdout)
        for task, outcome in zip(tasks, outcomes, strict=True):
            data.line(f"{task.id} {outcome}")
    stopped = any(isinstance(task.state, Cancelled) and task.id not in before for task in tasks)
    if not stopped:
        say("nothing was cancelled: only unfinished tasks can be")
    return 0 if stopped else 4


OUTCOMES = {
    CancelOutcome.NOT_SENT: "not sent, nothing spent",
    CancelOutcome.STOPPED: "stopped at the service",
    CancelOutcome.REQUESTED: "asked to stop; the service may go on, credits may be used",
    CancelOutcome.GOES_ON: "the service goes on, credits may be used",
    CancelOutcome.TOO_LATE: "already finished",
}


def _outcome(task: Task, *, ended_before: bool, answered: bool) -> str:
    match task.state:
        case Cancelled(stop=stop, job=job):
            words = OUTCOMES[stop]
            if ended_before:
                words = f"already cancelled: {words}"
            return f"{words}; imagegen resume {task.id} fetches what it makes" if job and not ended_before else words
        case Done() | Saving():
            return "already finished"
        case Failed(reason=reason):
            return f"already failed ({reason})"
        case _:
            return "asked to stop; no answer yet" if not answered else "still unfinished"


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
