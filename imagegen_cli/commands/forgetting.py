"""Tasks out of the history, and with `--files` their pictures from the disk. It asks, and money stays counted."""

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from imagegen_cli.commands.console import all_there, answers, history, ids_of, is_asked, line_of, say
from imagegen_cli.commands.elsewhere import other_machine_of
from imagegen_cli.commands.filters import moment_of
from imagegen_cli.commands.task_ids import run_reference, task_ids
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.references import bytes_of, opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import ENDED
from imagegen_cli.core.text import Printer, literal
from imagegen_cli.display.board import can_be_fetched
from imagegen_cli.marks.reading import MAX_SIDECAR_BYTES, read_sidecar
from imagegen_cli.marks.writing import sidecar_paths
from imagegen_cli.net.image_files import sha256_of
from imagegen_cli.storage.forgetting import Forgotten
from imagegen_cli.storage.records import Filter, Picture, Record
from imagegen_cli.storage.store import Store


class Choice(NamedTuple):
    """Which tasks are to be forgotten: those with these names, or all that are older, failed or of one run."""

    names: Sequence[str] = ()
    older: str = ""
    failed: bool = False
    run: str = ""
    with_receipts: bool = False


def forget(choice: Choice, *, files: bool, dry_run: bool, yes: bool) -> int:
    """Forget tasks that have ended, after a question. Raises NothingToDo where there is none, UsageError at a no."""
    if not (choice.names or choice.older or choice.failed or choice.run):
        raise UsageError(Message("say which tasks to forget: IDs, --older 90d, --failed or --run N"))
    if choice.names and (choice.older or choice.failed or choice.run):
        both = Message("name tasks by their IDs, or choose them with --older, --failed and --run: not both")
        raise UsageError(both)
    with history() as store:
        records = sorted(_forgettable(_chosen(store, choice), choice), key=lambda record: record.task.id)
        records = _with_files_here(store, records) if files else records
        if not records:
            raise NothingToDo(Message("there is nothing to forget"), hint=Message("imagegen list shows the tasks"))
        pictures = store.pictures(record.task.id for record in records) if files else {}
        say(_what(records, sum(map(len, pictures.values())), files=files))
        if dry_run:
            _print(str(record.task.id) for record in records)
            would = ngettext(
                "nothing was forgotten: {count} task would be",
                "nothing was forgotten: {count} tasks would be",
                len(records),
            )
            say(would)
            return 0
        _agree(records, yes=yes)
        forgotten = store.forget(records)
        deleted = [_delete(store, one) if files else 0 for one in forgotten]
    _print(_outcome(one, count, files=files) for one, count in zip(forgotten, deleted, strict=True))
    if changed := len(records) - len(forgotten):
        stayed = ngettext(
            "{count} task changed meanwhile and stayed: imagegen list shows what they are now",
            "{count} tasks changed meanwhile and stayed: imagegen list shows what they are now",
            changed,
        )
        say(stayed)
    return 0 if forgotten else 4


def _chosen(store: Store, choice: Choice) -> list[Record]:
    if choice.names:
        return all_there(store, task_ids(choice.names, store))
    states = ("failed",) if choice.failed else ()
    until = moment_of(choice.older, "--older")
    return store.find(Filter(states=states, run=run_reference(choice.run, store), until=until))


FORGOTTEN_RECEIPTS = Message("can still be fetched without paying again, and no longer once forgotten: {ids}")
KEPT_RECEIPTS = Message(
    "left alone, can still be fetched: {ids}; imagegen resume {ids} fetches them without paying again;"
    " --with-receipts forgets them as well"
)


def _forgettable(found: Sequence[Record], choice: Choice) -> list[Record]:
    """Those of these tasks that may be forgotten. What is left alone is said, with the command that comes first."""
    unfinished = [record for record in found if not isinstance(record.task.state, ENDED) or record.is_owned]
    ended = [record for record in found if record not in unfinished] if unfinished else list(found)
    receipts = [record for record in ended if can_be_fetched(record.task.state)]
    kept = [] if choice.names else [record for record in ended if record.favourites]
    if unfinished:
        message = Message("left alone, unfinished: {ids}; imagegen cancel {ids} ends them first")
        say(message.format(ids=_ids(unfinished)))
    if receipts:
        say((FORGOTTEN_RECEIPTS if choice.with_receipts else KEPT_RECEIPTS).format(ids=_ids(receipts)))
    if kept:
        say(Message("left alone, favourites: {ids}; they are forgotten only by their IDs").format(ids=_ids(kept)))
    left = {record.task.id for record in [*kept, *([] if choice.with_receipts else receipts)]}
    return [record for record in ended if record.task.id not in left]


FILES_ELSEWHERE = Message(
    "left alone, their pictures are on the machine {host}: {ids}; the same command there deletes and forgets them,"
    " without --files the pictures stay"
)


def _with_files_here(store: Store, records: Sequence[Record]) -> list[Record]:
    """Those of these tasks whose pictures this machine can delete. Which are left alone is said, with their machine."""
    pictures = store.pictures(record.task.id for record in records)
    hosts = {record.task.id: other_machine_of(record, pictures.get(record.task.id, ())) for record in records}
    for host in sorted({*hosts.values()} - {""}):
        there = [record for record in records if hosts[record.task.id] == host]
        say(FILES_ELSEWHERE.format(host=host, ids=_ids(there)))
    return [record for record in records if not hosts[record.task.id]]


def _what(records: Sequence[Record], pictures: int, *, files: bool) -> Message:
    """What forgetting means, before it is done."""
    what = _of_pictures(records, pictures, files=files)
    if kept := sum(bool(record.favourites) for record in records):
        what = ngettext(
            "{what}; {count} of them is a favourite", "{what}; {count} of them are favourites", kept, what=what
        )
    if count := sum(bool(record.source) for record in records):
        lists = Message(
            "{what}; {count} came from lists: a list that is run again would send these again, and pay again"
        )
        what = lists.format(what=what, count=count)
    return what


def _of_pictures(records: Sequence[Record], pictures: int, *, files: bool) -> Message:
    if not files:
        return ngettext(
            "forgetting {count} task, {ids}: their pictures stay on the disk, what they cost stays counted in budgets"
            " and costs",
            "forgetting {count} tasks, {ids}: their pictures stay on the disk, what they cost stays counted in budgets"
            " and costs",
            len(records),
            ids=_ids(records),
        )
    return ngettext(
        "forgetting {count} task, {ids}: {pictures} would be deleted, what they cost stays counted in budgets and"
        " costs",
        "forgetting {count} tasks, {ids}: {pictures} would be deleted, what they cost stays counted in budgets and"
        " costs",
        len(records),
        ids=_ids(records),
        pictures=ngettext("{count} picture", "{count} pictures", pictures),
    )


def _agree(records: Sequence[Record], *, yes: bool) -> None:
    """Ask. Raises UsageError at a no, and where no person can answer."""
    which = ngettext("{count} task", "{count} tasks", len(records))
    if kept := sum(bool(record.favourites) for record in records):
        which = ngettext(
            "{tasks}, {count} favourite among them", "{tasks}, {count} favourites among them", kept, tasks=which
        )
    if yes or answers(Message("Forget {which}? This cannot be undone. [y/N]").format(which=which), ["yes"]):
        return
    ways = Message("--yes forgets them, --dry-run shows them; nothing was forgotten")
    hint = Message("nothing was forgotten") if is_asked() else ways
    raise UsageError(Message("{which} would be forgotten").format(which=which), hint=hint)


def _outcome(one: Forgotten, deleted: int, *, files: bool) -> Message:
    if not files or not one.pictures:
        return Message("{id} forgotten").format(id=one.task)
    stayed = len(one.pictures) - deleted
    if not stayed:
        return ngettext(
            "{id} forgotten, {count} picture deleted", "{id} forgotten, {count} pictures deleted", deleted, id=one.task
        )
    return ngettext(
        "{id} forgotten, {count} picture deleted, {stayed} left alone",
        "{id} forgotten, {count} pictures deleted, {stayed} left alone",
        deleted,
        id=one.task,
        stayed=stayed,
    )


NOT_DELETED = Message("not deleted: {path}: {why}")


def _delete(store: Store, one: Forgotten) -> int:
    """Delete the pictures of a forgotten task that are still as they were saved; how many it were."""
    count = 0
    for picture in one.pictures:
        if why := _obstacle(store, picture):
            say(NOT_DELETED.format(path=picture.path, why=why))
            continue
        for sidecar in filter(lambda path: _is_sidecar(path, picture), sidecar_paths(Path(picture.path))):
            _unlink(sidecar)
        count += _unlink(Path(picture.path))
    return count


def _obstacle(store: Store, picture: Picture) -> str:
    """Why a file is not certainly this picture alone; empty where it is. A file that is gone is no obstacle to say."""
    if not picture.sha256:
        return Message("the history does not know its SHA-256, so it may be another file")
    if any(other.path == picture.path for other in store.by_sha256(picture.sha256)):
        return Message("another task has it as well")
    try:
        if not stat.S_ISREG(os.lstat(picture.path).st_mode):
            return Message("it is no plain file any more")
        with opened(picture.path, follow=False) as file:
            is_same = sha256_of(file) == picture.sha256
            return "" if is_same else Message("it was changed after it had been saved")
    except FileNotFoundError:
        return Message("it is gone already")
    except OSError as error:
        return cause(error)


def _is_sidecar(path: Path, picture: Picture) -> bool:
    """Whether it is the sidecar that we wrote for this very picture."""
    with suppress(OSError, ValueError):
        if stat.S_ISREG(os.lstat(path).st_mode) and path.stat().st_size <= MAX_SIDECAR_BYTES:
            found = read_sidecar(bytes_of(path, MAX_SIDECAR_BYTES).decode())
            return found is not None and found[1] == picture.sha256
    return False


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except OSError as error:
        say(NOT_DELETED.format(path=path, why=cause(error)))
        return False
    return True


def _ids(records: Iterable[Record]) -> str:
    return ids_of(record.task for record in records)


def _print(lines: Iterable[str]) -> None:
    data = Printer(sys.stdout)
    for line in lines:
        data.line(literal(line_of(line), data.encoding))
