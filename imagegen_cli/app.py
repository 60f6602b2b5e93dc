"""One function a command: where prompts, settings, history and sessions meet. Each returns an exit code."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imagegen_cli import plan
from imagegen_cli.config import Config, key_of, load_config
from imagegen_cli.display.lines import Printer
from imagegen_cli.display.words import literal
from imagegen_cli.errors import NothingToDo, Reason, UsageError
from imagegen_cli.places import history_file
from imagegen_cli.prompts import Wish, from_arguments, from_list
from imagegen_cli.session import Manner, Session
from imagegen_cli.store import UNFINISHED, Filter, Record, Store
from imagegen_cli.task import (
    ENDED,
    Cancelled,
    Done,
    Failed,
    Queued,
    RunId,
    Running,
    Saving,
    Stop,
    Task,
    TaskId,
    recovered,
    word,
)

CANCEL_WAIT = 20.0
"""Seconds that `cancel` waits for what the other process makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `run` and `batch` share. `common` goes for every prompt; None and "" leave it to the settings."""

    common: Wish = field(default_factory=lambda: Wish(prompt=""))
    output: Path | None = None
    template: str = ""
    manner: Manner = field(default_factory=Manner)
    dry_run: bool = False
    again: bool = False


def run(prompts: Sequence[str], options: Options) -> int:
    """Carry prompts from the command line; `-` stands for those on stdin, one a line."""
    wishes: list[Wish] = []
    for prompt in prompts:
        if prompt == "-":
            wishes += _listed("-", options.common)
        else:
            wishes += from_arguments([prompt], options.common)
    wishes = [replace(wish, line=number) for number, wish in enumerate(wishes, 1)]
    return _carry_wishes(wishes, options, command="run", source="")


def batch(files: Sequence[str], options: Options) -> int:
    """Carry prompt lists. Run again, it sends only what is new or was never sent."""
    wishes = [wish for name in files for wish in _listed(name, options.common)]
    source = "" if "-" in files else "\n".join(str(Path(name).absolute()) for name in files)
    return _carry_wishes(wishes, options, command="batch", source=source)


def again(task_id: int, options: Options) -> int:
    """Make a new task with the same parameters, but for those that options change."""
    with _history() as store:
        record = _all_there(store, [task_id])[0]
    request, asked = record.task.request, options.common
    size = f"{request.width}x{request.height}" if request.width else ""
    other = asked.provider and asked.provider != request.provider
    wish = Wish(
        prompt=asked.prompt or request.prompt,
        provider=asked.provider or request.provider,
        models=asked.models or (() if other else (request.model,)),
        ratio=asked.ratio or ("" if asked.size else request.ratio),
        resolution=asked.resolution or ("" if asked.size else request.resolution),
        size=asked.size or ("" if asked.ratio or asked.resolution else size),
        count=request.count if asked.count is None else asked.count,
        seed=request.seed if asked.seed is None else asked.seed,
        negative=asked.negative or request.negative,
        references=asked.references or request.references,
        name=request.name,
        extra=request.extra,
    )
    common = replace(wish, prompt="", name="")
    options = replace(options, common=common, output=options.output or Path(record.task.folder))
    return _carry_wishes([wish], options, command="again", source="")


def resume(ids: Sequence[int], manner: Manner, *, run_id: int | None = None) -> int:
    """Go on with what was accepted but not delivered. Never submits."""
    config = _config()
    with _history() as store:
        open_ = Filter(states=(*UNFINISHED, "failed", "cancelled"), run=run_id)
        found = _all_there(store, ids) if ids else store.find(open_)
        wanted = [record for record in found if ids or _fetchable(record)]
        records = _claimed(store, [record.task.id for record in wanted if _resumable(record)], quiet=not ids)
        tasks = [_revived(record.task) for record in records]
        store.rewrite(tasks)
        unsent = [task for task in tasks if isinstance(task.state, Cancelled)]
        if unsent:
            _say(f"never sent, nothing spent: {_ids(unsent)}; imagegen retry {_ids(unsent)} sends them")
        going = [task for task in tasks if isinstance(task.state, Running | Saving)]
        lost = [task for task in tasks if isinstance(task.state, Failed)]
        if lost:
            _say(f"may have been accepted and charged, but nothing to ask with: {_ids(lost)}")
        if not going:
            if lost:
                return 1
            raise NothingToDo("there is nothing to resume", hint="imagegen list shows what became of every task")
        return _carry(store, config, going, manner, records)


def retry(
    ids: Sequence[int],
    manner: Manner,
    *,
    failed: bool = False,
    cancelled: bool = False,
    reasons: Sequence[str] = (),
    run_id: int | None = None,
    may_repeat: bool = False,
) -> int:
    """Submit again, as new paid work. What may be running and billed already needs `may_repeat`."""
    if not (ids or failed or cancelled or reasons or run_id is not None):
        raise UsageError("say what to retry: IDs, --failed, --cancelled, --reason CODE or --run N")
    known = {reason.value for reason in Reason}
    if unknown := [reason for reason in reasons if reason not in known]:
        raise UsageError(f"there is no reason {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}")
    states = tuple(["failed"] * (failed or bool(reasons)) + ["cancelled"] * cancelled) or ("failed", "cancelled")
    config = _config()
    with _history() as store:
        wanted = Filter(states=states, reasons=tuple(reasons), run=run_id)
        found = _all_there(store, ids) if ids else store.find(wanted)
        chosen = _to_repeat(found, may_repeat=may_repeat, named=bool(ids))
        if not chosen:
            raise NothingToDo("there is nothing to retry")
        records = _claimed(store, [record.task.id for record in chosen], quiet=False)
        tasks = [replace(record.task, state=Queued()) for record in records]
        _check_keys(config, tasks)
        store.rewrite(tasks, again=True)
        _say(f"sending {len(tasks)} again, as new paid work: {_ids(tasks)}")
        return _carry(store, config, tasks, manner, records)


def cancel(ids: Sequence[int], *, everything: bool = False, run_id: int | None = None, queued: bool = False) -> int:
    """Stop unfinished tasks, whoever carries them, and say for each what came of it."""
    if not (ids or everything or queued or run_id is not None):
        raise UsageError("say what to cancel: IDs, --all, --queued or --run N")
    with _history() as store:
        if ids:
            records = _all_there(store, ids)
        else:
            states = ("queued",) if queued else UNFINISHED
            records = store.find(Filter(states=states, run=run_id))
        if not records:
            raise NothingToDo("nothing is unfinished")
        open_ = [record for record in records if not isinstance(record.task.state, ENDED)]
        carried = [record.task.id for record in open_ if record.carried]
        orphans = [record.task.id for record in open_ if not record.carried]
        store.ask_cancel(carried)
        if orphans:
            _cancel_here(store, orphans)
        ended = _awaited(store, carried)
        before = {record.task.id for record in records} - {record.task.id for record in open_}
        return _told(store, [record.task.id for record in records], before, ended)


# How commands carry tasks


def _carry_wishes(wishes: list[Wish], options: Options, *, command: str, source: str) -> int:
    config = _config()
    if not wishes:
        raise NothingToDo("there is no prompt", hint="blank lines and lines that begin with # are skipped")
    items = plan.prepare(wishes, config)
    folder, template = options.output or Path(config.general.output), options.template or config.general.name
    if options.dry_run:
        return _dry_run(items, config, plan.Place(folder=folder.expanduser().absolute(), template=template))
    where = plan.place(folder, template)
    _check_keys(config, [request for item in items for request in (item.request, *item.elsewhere)])
    with _history() as store:
        if source and not options.again:
            items = _unsent(store, source, items)
            if not items:
                return 0
        run_id, tasks = store.start_run(command, source, plan.planned(items, where))
        asked = {task.id: item.asked for task, item in zip(tasks, items, strict=True)}

        def add(to: RunId, prompt: str) -> Sequence[Task]:
            more = plan.prepare(from_arguments([prompt], options.common), config)
            if strangers := {item.request.provider for item in more} - {item.request.provider for item in items}:
                raise UsageError(f"this run does not use {', '.join(strangers)}")
            added = store.add(to, plan.planned(more, where))
            asked.update({task.id: item.asked for task, item in zip(added, more, strict=True)})
            return added

        elsewhere = {task.id: item.elsewhere for task, item in zip(tasks, items, strict=True) if item.elsewhere}
        return Session(store, config, options.manner, add).carry(run_id, tasks, asked=asked, elsewhere=elsewhere)


def _carry(store: Store, config: Config, tasks: Sequence[Task], manner: Manner, records: Sequence[Record]) -> int:
    asked = {record.task.id: record.asked for record in records}
    return Session(store, config, manner).carry(max(task.run for task in tasks), tasks, asked=asked)


def _dry_run(items: Sequence[plan.Item], config: Config, where: plan.Place) -> int:
    data = Printer(sys.stdout)
    for item in items:
        data.line(json.dumps(dict(plan.plainly(item, config, where)), ensure_ascii=False))
    pictures = sum(item.asked for item in items)
    _say(f"nothing was sent: {len(items)} tasks, {pictures} pictures would go to {where.folder}")
    return 0


def _unsent(store: Store, source: str, items: list[plan.Item]) -> list[plan.Item]:
    """What this list brings anew, saying what it leaves out and why."""
    known = store.known(source, [item.identity for item in items])
    fresh: list[plan.Item] = []
    left: dict[str, list[Task]] = {}
    for item in items:
        sent = [record for record in known.get(item.identity, []) if not _never_sent(record)]
        if sent:
            left.setdefault(_standing(sent[-1]), []).append(sent[-1].task)
        else:
            fresh.append(item)
    for standing, tasks in left.items():
        _say(f"skipped {len(tasks)} that {standing} (tasks {_ids(tasks)})")
    if left and not fresh:
        _say("nothing new in the list; --again sends all of it once more")
    return fresh


def _never_sent(record: Record) -> bool:
    """Certainly nothing left the house for it, and nobody is about to send it."""
    match record.task.state:
        case Queued():
            return not record.carried
        case Cancelled(stop=Stop.NOT_SENT):
            return True
        case _:
            return False


def _standing(record: Record) -> str:  # noqa: PLR0911 - one return a case
    match record.task.state:
        case Done(missing=0):
            return "are done"
        case Done():
            return "are done with fewer pictures than asked"
        case Failed(reason=reason) if record.task.state.resumable:
            return f"failed ({reason}) and can be fetched: imagegen resume"
        case Failed(reason=reason):
            return f"failed ({reason}): imagegen retry"
        case Cancelled():
            return "were cancelled after they had been sent: imagegen resume, imagegen retry"
        case _ if record.carried:
            return "another process is carrying"
        case _:
            return "were interrupted: imagegen resume"


def _fetchable(record: Record) -> bool:
    """What a plain `resume` takes: interrupted work, and what ended with a receipt that may still pay off."""
    state = record.task.state
    if isinstance(state, Failed):
        return state.resumable
    if isinstance(state, Cancelled):
        return state.job is not None
    return not isinstance(state, ENDED) and not record.carried


def _resumable(record: Record) -> bool:
    """What a named task needs so that asking again may bring something; anything else is said."""
    state, id_ = record.task.state, record.task.id
    if isinstance(state, Done):
        _say(f"{id_} is done: {len(state.files)} pictures")
    elif isinstance(state, Failed) and not state.resumable:
        _say(f"{id_} failed ({state.reason}) and holds no receipt: imagegen retry {id_} makes it anew")
    elif isinstance(state, Cancelled) and state.job is None:
        _say(f"{id_} was cancelled and nothing is running there: imagegen retry {id_} makes it anew")
    else:
        return True
    return False


def _revived(task: Task) -> Task:
    """As `recovered`, and what was never sent stays unsent: resuming never submits."""
    task = recovered(task)
    return task.to(Cancelled(Stop.NOT_SENT)) if isinstance(task.state, Queued) else task


def _claimed(store: Store, ids: Sequence[int], *, quiet: bool) -> list[Record]:
    taken, refused = store.take(ids)
    for record in refused:
        if not quiet and record.process is not None:
            _say(f"{record.task.id} is carried by process {record.process.pid} on {record.process.host}; left alone")
    return taken


def _to_repeat(found: Iterable[Record], *, may_repeat: bool, named: bool) -> list[Record]:
    """Failed and cancelled tasks whose repetition cannot pay twice, or whose person said that it may."""
    chosen: list[Record] = []
    risky: list[Task] = []
    for record in found:
        state = record.task.state
        if not isinstance(state, Failed | Cancelled):
            if named:
                _say(f"{record.task.id} is {word(state)}; only failed and cancelled tasks can be retried")
        elif _may_be_paid(state) and not may_repeat:
            risky.append(record.task)
        else:
            chosen.append(record)
    if risky:
        fetch = [task for task in risky if task.job is not None]
        first = f"; imagegen resume {_ids(fetch)} fetches without paying again" if fetch else ""
        _say(f"left alone, may be made and billed already: {_ids(risky)}{first}; --may-repeat sends them anew")
    return chosen


def _may_be_paid(state: Failed | Cancelled) -> bool:
    if isinstance(state, Cancelled):
        return state.stop not in (Stop.NOT_SENT, Stop.STOPPED)
    return state.resumable or state.may_be_paid


# How commands cancel


def _cancel_here(store: Store, ids: Sequence[int]) -> None:
    """Nobody carries them any more: what was never sent is struck out, the rest is cancelled from here."""
    records, _ = store.take(ids)
    tasks = [_revived(record.task) for record in records]
    store.rewrite(tasks)
    going = [task for task in tasks if isinstance(task.state, Running)]
    if going:
        asked = {record.task.id: record.asked for record in records}
        session = Session(store, load_config(), Manner(progress="quiet"))
        session.carry(max(task.run for task in going), going, asked=asked, stop=True)


def _awaited(store: Store, ids: Sequence[TaskId]) -> set[TaskId]:
    """Those that have ended, or are being saved, within CANCEL_WAIT seconds."""
    deadline = time.monotonic() + CANCEL_WAIT
    while ids:
        records = store.find(Filter(ids=tuple(ids)))
        open_ = [record.task.id for record in records if not isinstance(record.task.state, (*ENDED, Saving))]
        if not open_ or time.monotonic() > deadline:
            return set(ids) - set(open_)
        time.sleep(0.05)
    return set()


def _told(store: Store, ids: Sequence[int], before: set[TaskId], ended: set[TaskId]) -> int:
    data = Printer(sys.stdout)
    stopped = 0
    for record in sorted(_all_there(store, ids), key=lambda record: record.task.id):
        task = record.task
        stopped += isinstance(task.state, Cancelled) and task.id not in before
        data.line(f"{task.id} {_outcome(task, ended_before=task.id in before, answered=task.id in ended)}")
    if not stopped:
        _say("nothing was cancelled: only unfinished tasks can be")
    return 0 if stopped else 4


OUTCOMES = {
    Stop.NOT_SENT: "not sent, nothing spent",
    Stop.STOPPED: "stopped at the service",
    Stop.REQUESTED: "asked to stop; the service may go on, credits may be used",
    Stop.GOES_ON: "the service goes on, credits may be used",
    Stop.TOO_LATE: "already finished",
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


# What all commands use


@contextmanager
def _history() -> Iterator[Store]:
    with closing(Store(history_file())) as store:
        yield store


def _config() -> Config:
    config = load_config()
    for remark in config.remarks:
        _say(remark)
    return config


def _check_keys(config: Config, tasks: Iterable[Any]) -> None:
    """Find every key before anything is sent."""
    for name in sorted({getattr(task, "request", task).provider for task in tasks}):
        key_of(config.provider(name))


def _listed(name: str, common: Wish) -> list[Wish]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    wishes, remark = from_list("stdin" if name == "-" else name, data, common)
    if remark:
        _say(remark)
    return wishes


def _all_there(store: Store, ids: Sequence[int]) -> list[Record]:
    if missing := store.missing(ids):
        raise NothingToDo(f"there is no task {_ids_of(missing)}", hint="imagegen list shows the tasks")
    return store.find(Filter(ids=tuple(ids)))


def _ids(tasks: Iterable[Task]) -> str:
    return _ids_of(task.id for task in tasks)


def _ids_of(ids: Iterable[int]) -> str:
    ids = sorted(ids)
    shown = " ".join(str(id_) for id_ in ids[:20])
    return f"{shown} and {len(ids) - 20} more" if len(ids) > 20 else shown  # noqa: PLR2004 - a line's length


def _say(text: str) -> None:
    Printer(sys.stderr).line(literal(text, sys.stderr.encoding or "utf-8"))
