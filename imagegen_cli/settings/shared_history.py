"""Where the history is: a file of this person or a database that several machines share; and the disk of a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import REFERENCES
from imagegen_cli.settings.paths import user_file

SCHEMES = ("postgresql://", "postgres://")
FORM = Message("write it as {example}").format(example='history = "postgresql://user@host/database"')
WHERE_PASSWORDS_ARE = Message('in ~/.pgpass, in PGPASSWORD, or as history_password = "env:NAME" or "cmd:COMMAND"')
KEEP = Message("keep it {where}").format(where=WHERE_PASSWORDS_ARE)
NETWORK_DISKS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "ncpfs",
     "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.gcsfuse", "fuse.davfs", "fuse.ceph-fuse")
)  # fmt: skip
"""Kinds of file systems that several machines can have at once: SQLite's locks and shared memory end at one machine."""
MOUNTS = Path("/proc/self/mounts")


class SharedHistory(NamedTuple):
    """A database on a server. `password` is where it comes from: env:NAME, cmd:COMMAND, or empty."""

    address: str
    password: str = ""


def shared_history() -> SharedHistory | None:
    """The database that IMAGEGEN_HISTORY or the person's own settings name; None: the history is a file.

    Raises ConfigError. A command that only reads the history does not read all settings: here the file is only parsed
    where it has the word.
    """
    named = os.environ.get("IMAGEGEN_HISTORY", "").strip()
    try:
        text = user_file().read_bytes()
    except OSError:
        text = b""
    general = _general() if b"history" in text else {}
    address = named or str(general.get("history", "")).strip()
    if not address:
        return None
    if not address.startswith(SCHEMES):
        place = "IMAGEGEN_HISTORY" if named else Message("history in {path}").format(path=user_file())
        raise ConfigError(Message("{place} is no address of PostgreSQL").format(place=place), hint=FORM)
    if not named and has_password(address):
        raise ConfigError(Message("history in {path} holds a password").format(path=user_file()), hint=KEEP)
    password = str(general.get("history_password", ""))
    if password and not password.startswith(REFERENCES):
        message = Message("history_password in {path} is a password itself").format(path=user_file())
        raise ConfigError(message, hint=KEEP)
    return SharedHistory(address, password)


def _general() -> Mapping[str, object]:
    from imagegen_cli.settings.files import SettingsFile  # noqa: PLC0415 - most histories are files

    found = SettingsFile.read(user_file(), trusted=True)
    return {} if found is None else found.data


def has_password(address: str) -> bool:
    """Whether an address holds a password, before the host or among its parameters."""
    user = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return ":" in user or "password=" in address


def network_disk(folder: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the network file system that a folder is on; empty where it is on a disk of this machine.

    A system without a list of mounts is not asked: nothing tells there.
    """
    existing = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    if os.name == "nt" or os.major(existing.stat().st_dev):  # a disk of this machine has a number
        return ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, found, length = existing.resolve(), "", 0
    for line in lines:
        _, point, kind, *_ = [*line.split(" "), "", "", ""]
        place = Path(point.replace("\\040", " ") or "/")
        if len(place.parts) >= length and resolved.is_relative_to(place):
            found, length = kind, len(place.parts)
    is_root = length == 1  # some sandboxes have their whole disk so, and it is one machine's
    return found if found in NETWORK_DISKS and not is_root else ""
