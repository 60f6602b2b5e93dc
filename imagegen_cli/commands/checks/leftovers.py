"""What ended processes left behind: unfinished tasks, and part files. Only what is certainly useless is removed."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagegen_cli.commands.checks.finding import Finding, Level
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.task import Cancelled, Done, Failed, StagedImage
from imagegen_cli.gallery.whole import parts_in
from imagegen_cli.net.image_files import left_behind, whole
from imagegen_cli.settings.paths import cache_folder, kept_folder
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

PART_AGE_S = 24 * 3600
"""Seconds after which no living process writes a sheet or a page any more."""
MAX_IDS = 20
"""Task numbers in one message."""
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
    """A part file, and the task that it belongs to; None where this history knows no such task."""

    path: Path
    record: Record | None

    def is_useless(self) -> bool:
        """Whether its task is over and it is no whole picture, or a second name of one that the task has."""
        return self._is_over() and (not whole({1: [self.path]}) or self._has_another_name())

    def _is_over(self) -> bool:
        """Whether its task needs it no more, and no process goes on with it."""
        state = None if self.record is None else self.record.task.state
        return isinstance(state, Done | Cancelled | Failed) and not self._is_staged(state)

    def _is_staged(self, state: object) -> bool:
        images = getattr(state, "images", ())
        return any(isinstance(image, StagedImage) and Path(image.path) == self.path for image in images)

    def _has_another_name(self) -> bool:
        if self.record is None:
            return False
        with suppress(OSError):
            return any(self.path.samefile(path) for path in self.record.task.files if Path(path).exists())
        return False


def _parts(store: Store, *, fix: bool) -> Iterator[Finding]:
    ours, others = _part_files(store)
    useless = [one for one in ours if one.is_useless()]
    kept = [one for one in ours if one not in useless and not (one.record is not None and one.record.is_owned)]
    complete = [one for one in kept if whole({1: [one.path]})]
    yield _useless_parts(store, useless, others, fix=fix)
    if complete:
        ids = _ids_of([one.record for one in complete if one.record is not None])
        advice = Message("imagegen resume {ids}").format(ids=ids) if ids else "imagegen resume"
        yield Finding(Level.WARN, Message("whole pictures"), _nameless(complete, ids), advice)


def _nameless(complete: Sequence[PartFile], ids: str) -> Message:
    if ids:
        return ngettext(
            "{count} whole picture without a name (tasks {ids})",
            "{count} whole pictures without a name (tasks {ids})",
            len(complete),
            ids=ids,
        )
    return ngettext(
        "{count} whole picture without a name: {path}",
        "{count} whole pictures without a name: {path}",
        len(complete),
        path=complete[0].path,
    )


def _useless_parts(store: Store, useless: Sequence[PartFile], others: int, *, fix: bool) -> Finding:
    more = _of_others(others)
    if not useless:
        return Finding(Level.OK, PARTS, _both(Message("no task that is over has left one behind"), more))
    records = [one.record for one in useless if one.record is not None]
    half = ngettext(
        "{count} half picture (tasks {ids}) left behind",
        "{count} half pictures (tasks {ids}) left behind",
        len(useless),
        ids=_ids_of(records),
    )
    if not fix:
        return Finding(Level.WARN, PARTS, _both(half, more), FIX)
    removed, stuck = _removed(store, useless)
    message = _both(Message("{found}, {count} removed").format(found=half, count=len(removed)), more)
    if stuck:
        return Finding(Level.WARN, PARTS, _both(message, STUCK.format(path=stuck[0])), BY_HAND)
    return Finding(Level.OK, PARTS, message)


def _of_others(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "{count} part file of another history left alone", "{count} part files of another history left alone", count
    )


def _part_files(store: Store) -> tuple[list[PartFile], int]:
    """The part files of this history, and how many there are of others."""
    found = left_behind([*(Path(folder) for folder in store.folders()), kept_folder()])
    ids = {int(key.partition("-")[2]) for key in found if key.partition("-")[0] == store.token}
    records = {record.task.key: record for record in store.find(Filter(ids=tuple(ids)))} if ids else {}
    ours, others = [], 0
    for key, parts in found.items():
        paths = [path for copies in parts.values() for path in copies]
        if key.partition("-")[0] == store.token:
            ours += [PartFile(path, records.get(key)) for path in paths]
        else:
            others += len(paths)
    return ours, others


def _removed(store: Store, useless: Sequence[PartFile]) -> tuple[list[Path], list[Path]]:
    """Remove part files: those that are gone now, and those that cannot be removed.

    The tasks are taken first, so that no other process goes on with them.
    """
    taken, _ = store.take(sorted({one.record.task.id for one in useless if one.record is not None}))
    ours = {record.task.key: record for record in taken}
    removed, stuck = [], []
    for one in useless:
        record = ours.get(one.record.task.key) if one.record is not None else None
        if record is None or not PartFile(one.path, record).is_useless():
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


def _ids_of(records: Sequence[Record]) -> str:
    ids = sorted({record.task.id for record in records})
    return _ids(ids[:MAX_IDS], len(ids))
