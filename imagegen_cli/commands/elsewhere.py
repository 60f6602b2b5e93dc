"""Pictures that lie on another machine: a history that several machines share names the one that made them."""

import os
from collections.abc import Iterable
from contextlib import suppress

from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.storage.processes import this_process
from imagegen_cli.storage.records import Picture, Record

LIES_THERE = Message("{path} is on the machine {host}, and not on this one")
BRING_IT = Message("copy it from {host} to this machine, or give the command on {host}")


def other_machine(record: Record, paths: Iterable[str]) -> str:
    """The machine that has the pictures of a task, where it is another one and one of `paths` is not here; else empty.

    Folders that machines share are at the same path on each, so a file that is here is taken for the picture.
    """
    if record.host in ("", this_process().host):
        return ""
    return "" if all(map(os.path.lexists, paths)) else record.host


def other_machine_of(record: Record, pictures: Iterable[Picture]) -> str:
    """The same by the bytes, for what cannot be taken back: a file at the same path may be another task's here."""
    if record.host in ("", this_process().host):
        return ""
    return "" if all(map(_is_here, pictures)) else record.host


def _is_here(picture: Picture) -> bool:
    from imagegen_cli.net.image_files import sha256_of  # noqa: PLC0415 - few histories name another machine

    with suppress(OSError), opened(picture.path) as file:
        return picture.sha256 in ("", sha256_of(file))
    return False
