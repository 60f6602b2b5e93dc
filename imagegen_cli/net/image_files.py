"""Picture files: whole under their final names, or not there. Plain functions that wait for the disk.

A picture waits in a part file that is named by its history and task (`Task.part`), so that no two ever share one, and
that a later process finds what is paid for.

Each takes many at once and answers for each with what came of it, an error included: what is synced together costs
little more than one. Every step is safe to be killed after, and nothing that exists is ever overwritten.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from imagegen_cli.core.errors import BadImage, Busy, DiskError, Expired, Unavailable
from imagegen_cli.core.forms import HEAD_BYTES, Form, check, suffix_of
from imagegen_cli.core.task import StagedImage

Bytes = bytes | bytearray | memoryview
Value = TypeVar("Value")


PART = re.compile(r"\.imagegen-(?P<key>[0-9a-f]+-\d{1,18})-(?P<index>\d{1,6})\.part")
"""As `Task.part` names them."""
PIECE = 1024 * 1024
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems answer that have no fsync, for files or for folders: what is written is in place all the same."""
NO_HANDLE = {errno.EMFILE, errno.ENFILE}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES, 1, 50}
"""What file systems without hard links answer (FAT, some network shares, Windows' code 1 and 50)."""
LONGEST_NAME = 255
"""Bytes, where the file system does not tell."""


class Part(NamedTuple):
    """Bytes that wait for the name `stem` and a suffix: in the part file `path`, or still in `data`.

    `ends`: whether the way by which they came would have told if some were missing.
    """

    path: Path
    stem: Path
    data: Bytes | None = None
    ends: bool = True


class Choice(NamedTuple):
    """A held picture and the name, without its suffix, that it should get."""

    held: StagedImage
    stem: Path


class TakenError(Exception):
    """Another process or task made a file of the chosen name meanwhile: choose again."""


def stage(parts: Sequence[Part]) -> list[StagedImage | Exception]:
    """Check and sync parts, and choose the name that each can have: BadImage, DiskError.

    All are checked, and begin their way to the disk, before any is waited for.
    """
    begun = [_tried(_checked, part) for part in parts]
    return [
        checked if isinstance(checked, Exception) else _tried(_synced, part, *checked)
        for part, checked in zip(parts, begun, strict=True)
    ]


def choose(choices: Sequence[Choice]) -> list[StagedImage | Exception]:
    """Choose anew for pictures that are held already, and bring them into that folder: Expired, DiskError."""
    return [_tried(_chosen_again, *choice) for choice in choices]


def publish(held: Sequence[StagedImage]) -> list[Exception | None]:
    """Give parts their final names, and sync each folder once: TakenError, Expired (the part is gone), DiskError."""
    named = [_tried(_link, one) for one in held]
    folders = {Path(one.final).parent for one, trouble in zip(held, named, strict=True) if trouble is None}
    synced = {folder: _tried(_sync_folder, folder) for folder in folders}
    return [
        trouble or synced[Path(one.final).parent] or _tried(_drop, Path(one.path))
        for one, trouble in zip(held, named, strict=True)
    ]


def left_behind(folders: Iterable[Path]) -> dict[str, dict[int, list[Path]]]:
    """The part files in these folders by `Task.key` and index; a picture may lie in several, in the order given."""
    found: dict[str, dict[int, list[Path]]] = {}
    for folder in dict.fromkeys(folders):
        with suppress(OSError), os.scandir(folder) as entries:  # a folder that is gone has taken its part files with it
            for entry in entries:
                if (named := PART.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                    found.setdefault(named["key"], {}).setdefault(int(named["index"]), []).append(Path(entry.path))
    return found


def whole(parts: Mapping[int, Iterable[Path]]) -> dict[int, StagedImage]:
    """Those pictures of one task that lie whole in a part file, as far as their bytes can tell, by index."""
    found = {index: _first_whole(paths) for index, paths in sorted(parts.items())}
    return {index: held for index, held in found.items() if held is not None}


def _first_whole(paths: Iterable[Path]) -> StagedImage | None:
    for path in paths:
        with suppress(BadImage, OSError), path.open("rb", buffering=0) as file:
            form = check(file)
            return StagedImage(str(path), "", sha256_of(file), _doubt(form, ends=False))
    return None


def sha256_of(data: Bytes | BinaryIO) -> str:
    """In hex; of a file, of all of it."""
    from hashlib import sha256  # noqa: PLC0415 - looking at the history needs no OpenSSL

    if isinstance(data, Bytes):
        return sha256(data).hexdigest()
    data.seek(0)
    total = sha256()
    while piece := data.read(PIECE):
        total.update(piece)
    return total.hexdigest()


def opened(path: Path) -> BinaryIO:
    """A new file: what is there already may be a finished picture under its first name. Raises DiskError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with disk(path):
        try:
            handle = os.open(path, flags, 0o666)
        except FileExistsError:
            path.unlink(missing_ok=True)
            handle = os.open(path, flags, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, flags, 0o666)
        return os.fdopen(handle, "w+b", buffering=0)


def write(file: BinaryIO, data: Bytes) -> None:
    """All of it: a disk that is nearly full takes a part, and says so only when it is asked to take the rest."""
    taken = file.write(data)
    if taken < len(data):
        left = memoryview(data)[taken:]
        while left:
            left = left[file.write(left) :]


def remove(part: Path) -> None:
    """Remove a part file, as far as the folder lets us."""
    with suppress(OSError):
        part.unlink(missing_ok=True)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say what the file system refused, and where. Too many open files are no matter of the disk: Busy."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_HANDLE:
            raise Busy("too many files are open at once", hint="raise the limit: ulimit -n 1024") from error
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _tried(work: Callable[..., Value], *words: object) -> Value | Exception:
    """One of many: what goes wrong with it is its own."""
    try:
        return work(*words)
    except Exception as error:  # noqa: BLE001 - the caller is told
        return error


def _checked(part: Part) -> tuple[BinaryIO, Form, str]:
    file: BinaryIO
    with ExitStack() as undo, disk(part.path):
        if part.data is None:
            file = undo.enter_context(_reopened(part.path))
        else:
            file = undo.enter_context(opened(part.path))
            write(file, part.data)
        form = check(file)
        digest = sha256_of(file if part.data is None else part.data)
        undo.pop_all()
    return file, form, digest


def _reopened(path: Path) -> BinaryIO:
    """What was written as it came. Another process that has claimed the task meanwhile may have taken it away."""
    try:
        return path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise Unavailable(f"the part file {path} was taken away") from None


def _synced(part: Part, file: BinaryIO, form: Form, digest: str) -> StagedImage:
    with file, disk(part.path):
        sync(file.fileno())
        return StagedImage(str(part.path), _free(part.stem, form.suffix), digest, _doubt(form, ends=part.ends))


def _doubt(form: Form, *, ends: bool) -> str:
    """Why it cannot be known that a picture is whole; empty where it can."""
    if form.whole or ends:
        return ""
    return f"whether a picture came whole cannot be known: nothing says where it ends ({form.suffix[1:]})"


def sync(handle: int) -> None:
    """Wait until it is on the disk, where the file system can tell."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _chosen_again(held: StagedImage, stem: Path) -> StagedImage:
    path = Path(held.path)
    if not path.exists():
        raise Expired(f"the part file {path} is gone")
    if path.parent != stem.parent:
        path = _brought(path, stem.parent / path.name)
    with disk(path), path.open("rb", buffering=0) as file:
        final = _free(stem, suffix_of(file.read(HEAD_BYTES)))
        return replace(held, path=str(path), final=final, sha256=held.sha256 or sha256_of(file))


def _brought(source: Path, part: Path) -> Path:
    """Copy a picture from the second place into a part file of its own folder. The source stays until it is named."""
    try:
        with disk(part), source.open("rb", buffering=0) as data, opened(part) as file:
            while piece := data.read(PIECE):
                write(file, piece)
            sync(file.fileno())
    except DiskError as error:
        remove(part)
        raise DiskError(f"{error.message}; the picture is kept in {source}", hint=error.hint) from error
    return part


def _free(stem: Path, suffix: str) -> str:
    """The first name that is not taken, cut to what the file system can take."""
    stem = _fitting(stem, len(suffix) + len("~9999"))
    further = chain([""], (f"~{number}" for number in range(2, 10_000)))
    return next(path for more in further if not os.path.lexists(path := f"{stem}{more}{suffix}"))


def _fitting(stem: Path, room: int) -> Path:
    longest = LONGEST_NAME
    with suppress(OSError, ValueError, AttributeError):
        longest = os.pathconf(stem.parent, "PC_NAME_MAX")
    name = os.fsencode(stem.name)
    return stem if len(name) + room <= longest else stem.with_name(name[: longest - room].decode(errors="ignore"))


def _link(held: StagedImage) -> None:
    part, final = Path(held.path), Path(held.final)
    if not part.exists():
        if _is_it(final, held.sha256):
            return
        raise Expired(f"the part file {part} is gone")
    with disk(final):
        try:
            os.link(part, final)
        except FileExistsError:
            if not _same(part, final):
                raise TakenError(str(final)) from None
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _rename(part, final)


def _is_it(final: Path, digest: str) -> bool:
    """Whether the file of this name is the picture that was about to get it, and not another one's."""
    with suppress(OSError), final.open("rb", buffering=0) as file:
        return bool(digest) and sha256_of(file) == digest
    return False


def _same(part: Path, final: Path) -> bool:
    with suppress(OSError):
        return part.samefile(final)
    return False


def _rename(part: Path, final: Path) -> None:
    """Where no links can be made: an empty file, which only one can make, keeps the name until the picture has it."""
    if os.name == "nt":  # a rename replaces nothing there
        with _taken(final):
            part.rename(final)
        return
    with _taken(final):
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        part.replace(final)
    except OSError:
        final.unlink(missing_ok=True)
        raise


@contextmanager
def _taken(final: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise TakenError(str(final)) from None


def _sync_folder(folder: Path) -> None:
    """Make new names durable, where a folder can be opened at all: not on Windows, not without the right to read."""
    if os.name == "nt":
        return
    with disk(folder):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return
        try:
            sync(handle)
        finally:
            os.close(handle)


def _drop(part: Path) -> None:
    with disk(part):
        part.unlink(missing_ok=True)
