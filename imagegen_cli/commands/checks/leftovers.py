"""What ended processes left behind: unfinished tasks, and part files. Only what is certainly useless is removed."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagegen_cli.commands.checks.finding import Finding, Level
from imagegen_cli.commands.elsewhere import machine_of
from imagegen_cli.commands.waiting import wait_for_workers
from imagegen_cli.core.errors import TaskError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.references import opened
from imagegen_cli.core.task import ENDED, Done, SavedImage, StagedImage, TaskId, recovered
from imagegen_cli.gallery.whole import parts_in
from imagegen_cli.net.image_files import free_path, left_behind, sha256_of, whole
from imagegen_cli.settings.paths import cache_folder, kept_folder
from imagegen_cli.storage.records import Filter, Picture, Record
from imagegen_cli.storage.store import Store

PART_AGE_S = 24 * 3600
"""Seconds after which no living process writes a sheet or a page any more."""
MAX_IDS = 20
"""Task numbers in one message."""
MAX_EXTRA = 20
"""Whole pictures that are named one by one."""
EXTRA = Message("extra pictures")
LEASES = Message("leases")
PARTS = Message("part files")
FIX = Message("imagegen doctor --fix removes them")
BY_HAND = Message("remove it by hand")
STUCK = Message("{path} cannot be removed")


def check_leftovers(store: Store, *, fix: bool) -> Iterator[Finding]:
    """Find them; with `fix`, remove the part files that are certainly useless."""
    count, first = store.orphans(MAX_IDS)
    if fix:
        store.take([])  # this releases the leases of processes that are gone
    if count:
        message = ngettext(
            "{count} task unfinished, and no process runs them: {ids}",
            "{count} tasks unfinished, and no process runs them: {ids}",
            count,
            ids=_ids(first, count),
        )
        advice = Message("imagegen resume fetches what was sent, and sends nothing")
        yield Finding(Level.WARN, LEASES, message, advice)
    elif waiting := store.waiting_for_workers():
        yield Finding(Level.OK, LEASES, wait_for_workers(waiting))
    else:
        yield Finding(Level.OK, LEASES, Message("a living process runs every unfinished task"))
    yield from _parts(store, fix=fix)
    yield _unfinished(store, fix=fix)


def _unfinished(store: Store, *, fix: bool) -> Finding:
    """Part files of sheets, galleries and thumbnails whose process was killed; only old ones certainly have none."""
    name = Message("sheets and galleries")
    ages = {path: age for folder in _folders_of_galleries(store) for path, age in parts_in(folder)}
    old = [path for path, age in ages.items() if age > PART_AGE_S]
    more = _young(len(ages) - len(old))
    if not old:
        return Finding(Level.OK, name, _both(Message("none was left unfinished"), more))
    found = ngettext("{count} part file left behind", "{count} part files left behind", len(old))
    if not fix:
        return Finding(Level.WARN, name, _both(found, more), FIX)
    stuck = [path for path in old if not _is_removed(path)]
    if stuck:
        return Finding(Level.WARN, name, _both(_both(found, more), STUCK.format(path=stuck[0])), BY_HAND)
    return Finding(Level.OK, name, _both(Message("{found}, all removed").format(found=found), more))


def _young(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "{count} part file younger than a day left alone", "{count} part files younger than a day left alone", count
    )


def _both(message: str, more: str) -> str:
    return Message("{message}; {more}").format(message=message, more=more) if more else message


def _folders_of_galleries(store: Store) -> set[Path]:
    """Where sheets, pages and thumbnails are written unless a person names another place, and this folder."""
    places = {Path.cwd(), *map(Path, store.folders())}
    beside = {folder for place in places for folder in place.glob("*_files") if folder.is_dir()}
    return places | beside | set((cache_folder() / "thumbnails").glob("??"))


def _is_removed(path: Path) -> bool:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return True
    return False


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part file, and the task that it belongs to; `record` is None where this history knows no such task.

    `index`: of which picture, from 1. `pictures`: those that the history has of the task. `staged`: the file as the
    task would take it; None where it holds no whole picture.
    """

    path: Path
    index: int
    record: Record | None
    pictures: Sequence[Picture]
    staged: StagedImage | None

    @property
    def is_half(self) -> bool:
        """Whether its task is over and it holds no whole picture."""
        return self.staged is None and self._is_over()

    @property
    def is_second_copy(self) -> bool:
        """Whether its task is over, and what it holds certainly lies at the place that the history names as well."""
        return self._is_over() and (self._has_another_name() or any(map(_is_in_place, self._same())))

    @property
    def is_for_resume(self) -> bool:
        """Whether `resume` goes on with its task, and the task lacks this picture."""
        if self.record is None or isinstance(self.record.task.state, Done):
            return False
        if not self._is_over():
            return True
        found = {} if self.staged is None else {self.index: self.staged}
        state = recovered(self.record.task, found).state
        return not isinstance(state, ENDED) and not self._is_saved(state)

    @property
    def lacking(self) -> Path | None:
        """Where the history says that the same picture lies, although it does not lie there."""
        return next((Path(picture.path) for picture in self._same() if not _is_in_place(picture)), None)

    def _same(self) -> list[Picture]:
        """The pictures of its task that had the same bytes when they were saved, or others only for the time in them.

        While pictures may still come, only the one with the same number counts: the other may be another picture.
        """
        if self.record is None or self.staged is None:
            return []
        is_done = isinstance(self.record.task.state, Done)
        alike = (picture for picture in self.pictures if is_done or picture.number == self.index)
        return [one for one in alike if one.sha256 == self.staged.sha256 or self._is_same_but_for_time(one)]

    def _is_same_but_for_time(self, picture: Picture) -> bool:
        """Whether the saved file of a picture differs from this one only in the time that the marks name."""
        from imagegen_cli.marks.writing import digest_without_time  # noqa: PLC0415 - most histories have no such file

        if picture.number != self.index or not _is_in_place(picture):
            return False
        with suppress(OSError), opened(self.path) as ours, opened(picture.path) as theirs:
            return digest_without_time(ours) == digest_without_time(theirs) != ""
        return False

    def _is_over(self) -> bool:
        """Whether its task needs it no more, and no process goes on with it."""
        state = None if self.record is None else self.record.task.state
        return isinstance(state, ENDED) and not self._is_staged(state)

    def _is_staged(self, state: object) -> bool:
        images = getattr(state, "images", ())
        return any(isinstance(image, StagedImage) and Path(image.path) == self.path for image in images)

    def _is_saved(self, state: object) -> bool:
        images = getattr(state, "images", ())
        return self.index <= len(images) and isinstance(images[self.index - 1], SavedImage)

    def _has_another_name(self) -> bool:
        if self.record is None:
            return False
        with suppress(OSError):
            files = [Path(path) for path in self.record.task.files if Path(path).exists()]
            return any(self.path.samefile(path) and not path.is_symlink() for path in files)
        return False


def _is_in_place(picture: Picture) -> bool:
    """Whether the file of a picture exists, as itself and no link to a part file, with the bytes that were saved."""
    with suppress(OSError):
        if os.path.realpath(picture.path).endswith(".part"):
            return False
        with opened(picture.path) as file:
            return bool(picture.sha256) and sha256_of(file) == picture.sha256
    return False


def _parts(store: Store, *, fix: bool) -> Iterator[Finding]:
    ours, others = _part_files(store)
    useless = [one for one in ours if one.is_half or one.is_second_copy]
    kept = [one for one in ours if one.staged is not None and one not in useless]
    yield _useless_parts(store, useless, others, fix=fix)
    complete = [one for one in kept if one.is_for_resume]
    if complete:
        ids = _ids_of(complete)
        advice = Message("imagegen resume {ids}").format(ids=ids)
        yield Finding(Level.WARN, Message("whole pictures"), _nameless(complete, ids), advice)
    yield from _extra([one for one in kept if not one.is_for_resume])


def _extra(extra: Sequence[PartFile]) -> Iterator[Finding]:
    """Whole pictures that no command takes up: each can be kept under a name of its own."""
    names: set[str] = set()
    for one in extra[:MAX_EXTRA]:
        with suppress(OSError, TaskError):  # another process took it away meanwhile
            name = free_path(_stem(one), one.path, names)
            names.add(name)
            command = f"mv {shlex.quote(str(one.path))} {shlex.quote(name)}"
            yield Finding(Level.WARN, EXTRA, _unclaimed(one), Message("to keep it: {command}").format(command=command))
    if len(extra) > MAX_EXTRA:
        more = ngettext("{count} more file", "{count} more files", len(extra) - MAX_EXTRA)
        yield Finding(Level.WARN, EXTRA, more, Message("imagegen doctor names them once these have names"))


def _stem(one: PartFile) -> Path:
    """The path, without its suffix, that the picture of a part file can have."""
    if one.record is None:
        return one.path.with_name(one.path.name.removeprefix(".").removesuffix(".part"))
    stem = one.record.task.stem(one.index)
    return stem if stem.parent.is_dir() else one.path.with_name(stem.name)


def _unclaimed(one: PartFile) -> Message:
    path = str(one.path)
    if one.record is None:
        return Message("{path} is a whole picture of a task that is not in the history").format(path=path)
    if one.lacking is not None and (host := machine_of(one.record)):
        there = Message("{path} is a picture of task {id}, and its own file {file} is on the machine {host}")
        return there.format(path=path, id=one.record.task.id, file=str(one.lacking), host=host)
    if one.lacking is not None:
        lacks = Message("{path} is a picture of task {id}, and its own file {file} is gone or changed")
        return lacks.format(path=path, id=one.record.task.id, file=str(one.lacking))
    other = Message("{path} is a whole picture of task {id}, and not one that its history has")
    return other.format(path=path, id=one.record.task.id)


def _nameless(complete: Sequence[PartFile], ids: str) -> Message:
    return ngettext(
        "{count} whole picture without a name (tasks {ids})",
        "{count} whole pictures without a name (tasks {ids})",
        len(complete),
        ids=ids,
    )


def _useless_parts(store: Store, useless: Sequence[PartFile], others: int, *, fix: bool) -> Finding:
    more = _of_others(others)
    if not useless:
        return Finding(Level.OK, PARTS, _both(Message("no task that is over has left one behind"), more))
    found = _left(useless)
    if not fix:
        return Finding(Level.WARN, PARTS, _both(found, more), FIX)
    removed, stuck = _removed(store, useless)
    message = _both(Message("{found}, {count} removed").format(found=found, count=len(removed)), more)
    if stuck:
        return Finding(Level.WARN, PARTS, _both(message, STUCK.format(path=stuck[0])), BY_HAND)
    return Finding(Level.OK, PARTS, message)


def _left(useless: Sequence[PartFile]) -> str:
    """How many half pictures and second copies there are, and of which tasks."""
    half = [one for one in useless if one.is_half]
    copies = [one for one in useless if not one.is_half]
    halves = ngettext(
        "{count} half picture (tasks {ids}) left behind",
        "{count} half pictures (tasks {ids}) left behind",
        len(half),
        ids=_ids_of(half),
    )
    seconds = ngettext(
        "{count} second copy of a saved picture (tasks {ids}) left behind",
        "{count} second copies of saved pictures (tasks {ids}) left behind",
        len(copies),
        ids=_ids_of(copies),
    )
    return _both(halves, seconds if copies else "") if half else seconds


def _of_others(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "{count} part file of another history left alone", "{count} part files of another history left alone", count
    )


def _part_files(store: Store) -> tuple[list[PartFile], int]:
    """The part files of this history, and how many there are of others. Those of living processes are left out."""
    found = left_behind([*(Path(folder) for folder in store.folders()), kept_folder()])
    here = {key: parts for key, parts in found.items() if key.startswith(store.token)}
    ids = [int(key.partition("-")[2]) for key in here]
    records = {record.task.key: record for record in store.find(Filter(ids=tuple(ids)))} if ids else {}
    pictures = store.pictures(ids)
    ours = [
        _part_file(path, index, records.get(key), pictures)
        for key, parts in here.items()
        if key not in records or not records[key].is_owned
        for index, copies in parts.items()
        for path in copies
    ]
    others = sum(len(copies) for key, parts in found.items() if key not in here for copies in parts.values())
    return ours, others


def _part_file(path: Path, index: int, record: Record | None, pictures: Mapping[TaskId, Sequence[Picture]]) -> PartFile:
    known = [] if record is None else pictures.get(record.task.id, [])
    return PartFile(path, index, record, known, whole({index: [path]}).get(index))


def _removed(store: Store, useless: Sequence[PartFile]) -> tuple[list[Path], list[Path]]:
    """Remove part files: those that are gone now, and those that cannot be removed.

    The tasks are taken first, so that no other process goes on with them.
    """
    ids = sorted({one.record.task.id for one in useless if one.record is not None})
    taken, _ = store.take(ids)
    ours, pictures = {record.task.key: record for record in taken}, store.pictures(ids)
    removed, stuck = [], []
    for one in useless:
        record = ours.get(one.record.task.key) if one.record is not None else None
        if record is None:
            continue
        now = _part_file(one.path, one.index, record, pictures)
        if not (now.is_half or now.is_second_copy):
            continue
        try:
            one.path.unlink(missing_ok=True)
            removed.append(one.path)
        except OSError:
            stuck.append(one.path)
    return removed, stuck


def _ids(first: Sequence[int], count: int) -> str:
    ids = " ".join(map(str, first))
    return Message("{ids} and {count} more").format(ids=ids, count=count - len(first)) if count > len(first) else ids


def _ids_of(files: Sequence[PartFile]) -> str:
    ids = sorted({one.record.task.id for one in files if one.record is not None})
    return _ids(ids[:MAX_IDS], len(ids))
