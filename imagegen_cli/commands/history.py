"""Commands that print what the history knows: list, show."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from imagegen_cli.commands.elsewhere import other_machine
from imagegen_cli.commands.filters import filter_of
from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.lineage import Chain, as_objects, chains, in_words
from imagegen_cli.commands.options import FilterOptions
from imagegen_cli.commands.task_ids import task_ids, task_reference
from imagegen_cli.commands.terms import queued_terms
from imagegen_cli.commands.waiting import wait_for_workers
from imagegen_cli.core.charges import Charge, ChargeStatus
from imagegen_cli.core.errors import NothingToDo, UsageError, label
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.task import ENDED, Failed, Queued, State, Task, TaskId, recovered, word
from imagegen_cli.core.text import Printer, encoded
from imagegen_cli.display import costs, task_object
from imagegen_cli.display.board import Row
from imagegen_cli.display.fields import moment
from imagegen_cli.display.listing import print_list, print_task
from imagegen_cli.display.messages import described
from imagegen_cli.display.notices import print_notice
from imagegen_cli.storage.processes import this_process
from imagegen_cli.storage.records import Attempt, Filter, Picture, Record
from imagegen_cli.storage.store import Store

SHOWN_DIGITS = 16
"""Of a SHA-256 in hex."""


def list_tasks(options: FilterOptions, limit: int, *, as_json: bool) -> int:
    """Print tasks, newest first: one line or one JSON object each. Raises NothingToDo if none match."""
    with closing(open_history()) as store:
        wanted = filter_of(options, store, limit)
        found = _print_objects(store, wanted) if as_json else _print_rows(store, wanted)
    if not found:
        raise NothingToDo(Message("no matching tasks"))
    return 0


def _print_objects(store: Store, wanted: Filter) -> bool:
    """Print each task as soon as it is read; whether there was one."""
    data, found = Printer(sys.stdout, "utf-8"), False
    for plain in objects(store, wanted):
        data.line(encoded(plain, data.encoding))
        found = True
        if data.is_gone:
            break
    return found


def _print_rows(store: Store, wanted: Filter) -> bool:
    records = store.find(wanted)
    charges = store.charges(record.task.id for record in records)
    rows = [_row(record, charges.get(record.task.id)) for record in records]
    if len({record.host for record in records} - {""}) > 1:
        for row, record in zip(rows, records, strict=True):
            row.host = record.host
    print_list(rows, stdout=sys.stdout, environ=os.environ, now=time.time(), headings=partial(_headings, store))
    idle = [record for record in records if not isinstance(record.task.state, ENDED) and not record.is_owned]
    if waiting := sum(record.waits_for_worker for record in idle):
        print_notice(wait_for_workers(waiting), sys.stderr, os.environ)
    if left := [record for record in idle if not record.waits_for_worker]:
        message = Message("{count} of these are unfinished and their process has ended: imagegen resume goes on")
        print_notice(message.format(count=len(left)), sys.stderr, os.environ)
    return bool(records)


def _headings(store: Store, runs: Sequence[int]) -> dict[int, str]:
    from imagegen_cli.commands.runs import heading  # noqa: PLC0415 - off a terminal there are none

    return {one.id: heading(one, time.time()) for one in store.runs(runs)}


def objects(store: Store, wanted: Filter) -> Iterator[dict[str, object]]:
    """The tasks that match for programs, newest first, each read when it is asked for."""
    for records in store.each(wanted):
        ids = [record.task.id for record in records]
        charges, pictures = store.charges(ids), store.pictures(ids)
        yield from (_object(record, charges.get(record.task.id), pictures) for record in records)


def show_task(name: str, *, as_json: bool, preview: bool = False) -> int:
    """Print everything about one task, and draw its pictures with `preview`. Raises NothingToDo if it is not there."""
    with closing(open_history()) as store:
        reference = task_reference(name, store)
        task = reference.id if preview else task_ids([name], store)[0]
        found = store.find(Filter(ids=(task,)))
        attempts = store.attempts(task)
        charges = store.all_charges([task]).get(task, [])
        pictures = store.pictures([task])
        made_from = chains((), found[0].task.parents, store) if found else []
    if not found:
        message = Message("there is no task {ids}").format(ids=task)
        raise NothingToDo(message, hint=Message("imagegen list shows the tasks"))
    record, charge, before = found[0], charges[-1] if charges else None, charges[:-1]
    if as_json:
        data = Printer(sys.stdout, "utf-8")
        more: dict[str, object] = {"attempts": [_attempt(one) for one in attempts]}
        more |= {"chains": as_objects(made_from)}
        earlier = {"earlier_costs": [one.plainly() for one in before]} if before else {}
        data.line(encoded(_object(record, charge, pictures) | more | earlier, data.encoding))
    else:
        print_task(
            _row(record, charge), stdout=sys.stdout, environ=os.environ, now=time.time(),
            more=_made_from(made_from, record.task.id)
            | _further(record, attempts, before)
            | _digests(pictures.get(record.task.id, [])),
        )  # fmt: skip
    return _draw(record, reference.number, pictures.get(record.task.id, [])) if preview and not as_json else 0


def _draw(record: Record, number: int | None, pictures: Sequence[Picture]) -> int:
    """Draw the pictures of a task, or picture `number` of it, below what was said of it."""
    from imagegen_cli.commands.gallery import picture_path  # noqa: PLC0415 - only where something is drawn
    from imagegen_cli.display import preview  # noqa: PLC0415

    task = record.task
    if not preview.wanted("on", stdout=sys.stdout, stderr=sys.stderr, environ=os.environ):
        hint = Message("imagegen open {id} opens the picture").format(id=task.id)
        raise UsageError(Message("--preview draws on a terminal only"), hint=hint)
    is_one = number is not None or not task.files or other_machine(record, task.files, pictures)
    paths = [picture_path(record, number, pictures)] if is_one else list(task.files)
    if trouble := preview.show(paths, "on", stdout=sys.stdout, environ=os.environ):
        print_notice(trouble, sys.stderr, os.environ)
        return 1
    return 0


def _made_from(found: Sequence[Chain], task: int) -> dict[str, str]:
    """Each chain that leads to a task, under a label of its own."""
    more = (Message("and from {number}").format(number=number) for number in range(2, len(found) + 1))
    labels = (Message("made from"), *more)
    return {label: in_words(chain, str(task)) for label, chain in zip(labels, found, strict=False)}


def _further(record: Record, attempts: Sequence[Attempt], charges: Sequence[Charge]) -> dict[str, str]:
    """What `show` tells beside the fields of every display; `charges` are those of earlier submits."""
    elsewhere = record.host if record.host != this_process().host else ""
    more: dict[str, str] = {
        Message("favourite"): _favourite(record),
        Message("process"): _process(record),
        Message("machine"): elsewhere,
        Message("folder"): record.task.folder,
    }
    receipt = record.task.job.id if record.task.job is not None else ""
    told = {name: value if isinstance(value, str) else str(value) for name, value in record.facts.items()}
    more |= {_label(name): text for name, text in told.items() if (name, text) != ("job_id", receipt)}
    more |= {Message("attempt {number}").format(number=one.number): _attempt_line(one) for one in attempts}
    earlier = filter(None, (costs.described(charge, record.task.id) for charge in charges))
    return more | {Message("cost {number}").format(number=number): text for number, text in enumerate(earlier, 1)}


FACTS = {
    "seed": Message("seed"),
    "model": Message("model"),
    "revised_prompt": Message("revised prompt"),
    "job_id": Message("job id"),
    "repeats": Message("repeats"),
    "marks": Message("marks"),
    "drawn": Message("drawn"),
    "not_drawn": Message("not drawn"),
    "differs": Message("differs"),
    "upscaler": Message("upscaler"),
    "budget": Message("budget of its run"),
    "assumed_price": Message("assumed price"),
    "known_price": Message("known price"),
    "references_sha256": Message("references' sha256"),
    "request_id": Message("request id"),
    "tokens": Message("tokens"),
    "model_version": Message("model version"),
}
"""Labels of what a service told, and of what we noted. Other facts are labelled by their names."""


def _label(fact: str) -> str:
    return FACTS.get(fact) or fact.replace("_", " ")


def _favourite(record: Record) -> str:
    """`yes`, or which of its pictures are favourites."""
    if 0 in record.favourites:
        return Message("yes")
    if not record.favourites:
        return ""
    numbers = ", ".join(map(str, record.favourites))
    return ngettext("picture {numbers}", "pictures {numbers}", len(record.favourites), numbers=numbers)


def _digests(pictures: Sequence[Picture]) -> dict[str, str]:
    """The first digits of each picture's SHA-256, which are enough to know it by; `--json` has all of them."""
    known = [picture for picture in pictures if picture.sha256]
    labels = ["sha256"] if len(pictures) == 1 else [f"sha256 {picture.number}" for picture in known]
    return {label: picture.sha256[:SHOWN_DIGITS] for label, picture in zip(labels, known, strict=False)}


def _row(record: Record, charge: Charge | None = None) -> Row:
    """What the display shows of a record. A queued task has not started, whatever an earlier attempt did."""
    started = None if isinstance(record.task.state, Queued) else record.started
    return Row(
        record.task, record.created, started=started, ended=record.ended, charge=_seen(charge, record),
        favourite=bool(record.favourites), terms=queued_terms(record.task),
    )  # fmt: skip


def _seen(charge: Charge | None, record: Record) -> Charge | None:
    """What a process reserved that is gone is uncertain."""
    if charge is None or record.is_owned or charge.status is not ChargeStatus.RESERVED:
        return charge
    return charge._replace(status=ChargeStatus.UNCERTAIN)


def _process(record: Record) -> str:
    """The process that runs the task; if an unfinished task has none, what to do."""
    if isinstance(record.task.state, ENDED):
        return ""
    if record.process is not None:
        return Message("{pid} on {host}").format(pid=record.process.pid, host=record.process.host)
    if record.waits_for_worker:
        return Message("none: the task waits for a worker; imagegen work carries it")
    return _left(record.task)


def _left(task: Task) -> Message:
    """What an ended process has left of a task, and what `resume` makes of it."""
    match recovered(task).state:
        case Queued():
            left = Message(
                "none: it ended before it sent anything; imagegen resume {id} cancels the task, then imagegen retry"
                " {id}{terms} sends it"
            )
        case Failed():
            left = Message(
                "none: it ended while the request was on its way, which may be accepted and charged: look at the"
                " service; imagegen resume {id} ends the task as uncertain, then imagegen retry {id}{terms}"
                " --may-repeat pays anew"
            )
        case _:
            left = Message("none: it has ended; imagegen resume {id} continues the task")
    return left.format(id=task.id, terms=queued_terms(task))


def _attempt_line(attempt: Attempt) -> str:
    """The end of an earlier attempt, in one line."""
    return joined(" ", filter(None, (moment(attempt.ended), _what_became_of(attempt.state))))


def _what_became_of(state: State) -> str:
    if not isinstance(state, Failed):
        return described(state)
    if not state.message:
        return Message("failed, {reason}").format(reason=label(state.reason))
    return Message("failed, {reason}: {why}").format(reason=label(state.reason), why=state.message)


def _attempt(attempt: Attempt) -> dict[str, object]:
    state = attempt.state
    return {
        "number": attempt.number,
        "state": word(state),
        "reason": state.reason if isinstance(state, Failed) else None,
        "message": state.message if isinstance(state, Failed) else described(state),
        "ended": None if attempt.ended is None else datetime.fromtimestamp(attempt.ended, UTC).isoformat(),
    }


def _object(record: Record, charge: Charge | None, pictures: Mapping[TaskId, Sequence[Picture]]) -> dict[str, object]:
    plain = task_object(
        record.task, created=record.created, started=record.started, ended=record.ended,
        terms=queued_terms(record.task),
    )  # fmt: skip
    seen = _seen(charge, record)
    cost = {} if seen is None else {"cost": seen.plainly()}
    saved = [{"path": one.path, "sha256": one.sha256 or None} for one in pictures.get(record.task.id, ())]
    pid = record.process.pid if record.process else None
    kept: dict[str, object] = {"favourite": bool(record.favourites)}
    if pictures_kept := [number for number in record.favourites if number]:
        kept |= {"favourite_pictures": pictures_kept}
    return plain | cost | {"host": record.host, "pid": pid, "facts": dict(record.facts), "pictures": saved} | kept
