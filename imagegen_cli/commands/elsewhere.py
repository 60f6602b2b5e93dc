"""Pictures that lie on another machine: a history that several machines share names the one that made them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.core.task import TaskId
from imagegen_cli.storage.processes import this_process
from imagegen_cli.storage.records import Picture, Record
from imagegen_cli.storage.store import Store

LIES_THERE = Message("{path} is on the machine {host}, and not on this one")
BRING_IT = Message("copy it from {host} to this machine, or give the command on {host}")
WRITING_S = 10.0
"""Seconds for which a file may still change after its task has ended: its name and its times are written last."""
Pictures = Mapping[TaskId, Sequence[Picture]]


def machine_of(record: Record) -> str:
    """The other machine that has carried a task; empty where this one has."""
    return "" if record.host in ("", this_process().host) else record.host


def other_machine(record: Record, paths: Iterable[str], pictures: Iterable[Picture] = ()) -> str:
    """The machine that has the pictures of a task, where it is another one and one of `paths` is not here; else empty.

    Folders that machines share are at the same path on each, so a file that is here is looked at: where `pictures` has
    its digest, it is the picture only with the same bytes.
    """
    if not (host := machine_of(record)):
        return ""
    digests = {picture.path: picture.sha256 for picture in pictures}
    return "" if all(_is_here(path, digests.get(path, "")) for path in paths) else host


def other_machine_of(record: Record, pictures: Sequence[Picture]) -> str:
    """The same of all pictures of a task."""
    return other_machine(record, [picture.path for picture in pictures], pictures)


def made_elsewhere(store: Store, records: Iterable[Record]) -> Pictures:
    """The pictures of those tasks that other machines have carried, for `other_machine`."""
    ids = [record.task.id for record in records if machine_of(record)]
    return store.pictures(ids) if ids else {}


def is_changed(record: Record, picture: Picture) -> bool:
    """Whether a file of this machine has other bytes than were saved.

    It is read only where it was touched since its task ended.
    """
    with suppress(OSError, ValueError):
        touched_at = os.stat(picture.path).st_ctime  # noqa: PTH116 - a path of the history may hold anything
        if picture.sha256 and touched_at > (record.ended or 0.0) + WRITING_S:
            return not _is_here(picture.path, picture.sha256)
    return False


def _is_here(path: str, digest: str) -> bool:
    with suppress(OSError, ValueError):
        found = os.stat(path)  # noqa: PTH116 - see above
        return not digest or _digest(path, found.st_mtime_ns, found.st_size) == digest
    return not digest and os.path.lexists(path)


@lru_cache(maxsize=10_000)
def _digest(path: str, _mtime_ns: int, _size: int) -> str:
    """The SHA-256 in hex of a file in one of its versions. Raises OSError."""
    from imagegen_cli.net.image_files import sha256_of  # noqa: PLC0415 - few histories name another machine

    with opened(path) as file:
        return sha256_of(file)
