"""Where the history is: a file of this person or a database that several machines share; and the disk of a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import REFERENCES
from imagegen_cli.settings.paths import user_file

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
    if named:
        _check_address(named, "IMAGEGEN_HISTORY", may_hold_password=True)
    else:
        check_address(address, user_file())
    password = str(general.get("history_password", ""))
    check_password(password, user_file())
    return SharedHistory(address, password)


def check_history_settings(general: Mapping[str, object], path: Path) -> None:
    """Raise ConfigError where what a settings file says of the history cannot be used, whatever is in force."""
    if address := str(general.get("history", "")).strip():
        check_address(address, path)
    check_password(str(general.get("history_password", "")), path)


def check_address(address: str, path: Path) -> None:
    """Raise ConfigError where `history` of a settings file cannot be used; nothing of a password is in the error."""
    _check_address(address, Message("history in {path}").format(path=path), may_hold_password=False)


def _check_address(address: str, place: str, *, may_hold_password: bool) -> None:
    from imagegen_cli.core.database_address import CODES, NO_ADDRESS, database_address  # noqa: PLC0415 - see below

    found = database_address(address)
    if trouble := found.trouble(place):
        raise ConfigError(trouble, hint=FORM if found.template == NO_ADDRESS else CODES)
    if found.has_password and not may_hold_password:
        raise ConfigError(Message("{place} holds a password").format(place=place), hint=KEEP)


def check_password(reference: str, path: Path) -> None:
    """Raise ConfigError where `history_password` is the password itself, and not the name of its place."""
    if reference and not reference.startswith(REFERENCES):
        message = Message("history_password in {path} is a password itself").format(path=path)
        raise ConfigError(message, hint=KEEP)


def _general() -> Mapping[str, object]:
    from imagegen_cli.settings.files import SettingsFile  # noqa: PLC0415 - most histories are files

    found = SettingsFile.read(user_file(), trusted=True)
    return {} if found is None else found.data


def history_in_force() -> str:
    """What may be shown of the address that names the history, from where it is set; empty where it is a file."""
    from imagegen_cli.core.database_address import database_address  # noqa: PLC0415 - most histories are files

    address = os.environ.get("IMAGEGEN_HISTORY", "").strip()
    return database_address(address).shown if address else ""


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
