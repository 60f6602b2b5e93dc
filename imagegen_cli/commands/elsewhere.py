"""Pictures that lie on another machine: a history that several machines share names the one that made them."""

import os
from collections.abc import Iterable

from imagegen_cli.core.language import Message
from imagegen_cli.storage.processes import this_process
from imagegen_cli.storage.records import Record

LIES_THERE = Message("{path} is on the machine {host}, and not on this one")
BRING_IT = Message("copy it from {host} to this machine, or give the command on {host}")


def other_machine(record: Record, paths: Iterable[str]) -> str:
    """The machine that has the pictures of a task, where it is another one and one of `paths` is not here; else empty.

    Folders that machines share are at the same path on each, so a file that is here is taken for the picture.
    """
    if record.host in ("", this_process().host):
        return ""
    return "" if all(map(os.path.lexists, paths)) else record.host
