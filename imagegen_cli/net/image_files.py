"""Image files: whole under their final names, or not there. Plain functions that wait for the disk.

An image waits in a part file that is named by its history and task (`Task.part`), so that no two ever share one, and
that a later process finds what is paid for.

`stage`, `choose` and `publish` take many images at once and return an outcome for each, which may be an exception: many
synced together cost little more than one. The process may be killed after every step, and no existing file is ever
overwritten.

What made an image is put into its part file when that is whole, before its digest is taken; what goes beside it is
written when the image has its name. Neither can cost an image.
"""

import errno
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from imagegen_cli.core.errors import BadImage, Busy, DiskError, Expired, TaskError, Unavailable
from imagegen_cli.core.forms import HEAD_BYTES, Form, check, suffix_of
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import StagedImage

if TYPE_CHECKING:
    from imagegen_cli.core.marker import Edit, Marker, Sidecar

Bytes = bytes | bytearray | memoryview
Value = TypeVar("Value")

PART_NAME = re.compile(r"\.imagegen-(?P<key>[0-9a-f]+-\d{1,18})-(?P<index>\d{1,6})(?:\.(?:marked|json))?\.part")
"""The names that `Task.part` gives, and those of what becomes of such a file."""
MARKED, SIDECAR = ".marked.part", ".json.part"
"""How the name of a part file ends while its copy with marks, and the file beside its image, are being written."""
READ_BYTES = 1024 * 1024
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems without fsync, for files or for folders. What is written there is in place all the same."""
NO_HANDLE = {errno.EMFILE, errno.ENFILE}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES, 1, 50}
"""Errors of file systems without hard links (FAT, some network shares, Windows' codes 1 and 50)."""
GONE = Message("the part file {path} is gone")
RAISE_LIMIT = Message("raise the limit: ulimit -n 1024")
MAX_NAME_BYTES = 255
"""Where the file system does not tell."""


class Part(NamedTuple):
    """Bytes that will get the name `stem` and a suffix: in the part file `path`, or still in `data`.

    `ends`: whether the connection would have shown that some bytes were missing. Without a marker they are not changed.
    """

    path: Path
    stem: Path
    data: Bytes | None = None
    ends: bool = True
    marker: "Marker | None" = None


class Choice(NamedTuple):
    """A staged image and the name, without its suffix, that it should get. With a marker it is marked before."""

    staged: StagedImage
    stem: Path
    marker: "Marker | None" = None


class Publication(NamedTuple):
    """A staged image that is to get its name; with a marker it may get a file beside it."""

    staged: StagedImage
    marker: "Marker | None" = None


class TakenError(Exception):
    """Another process or task made a file of the chosen name meanwhile: choose again."""


def stage(parts: Sequence[Part]) -> list[StagedImage | Exception]:
    """Check and sync part files, and choose a free name for each.

    Outcomes may be BadImage, DiskError, Unavailable (the part file is gone), Busy.
    All are checked, and the writing of all begins, before any is waited for.
    """
    all_checked = [_attempt(_check, part) for part in parts]
    return [
        checked if isinstance(checked, Exception) else _attempt(_sync_and_choose, part, *checked)
        for part, checked in zip(parts, all_checked, strict=True)
    ]


def choose(choices: Sequence[Choice]) -> list[StagedImage | Exception]:
    """Choose a new name for staged images, and move each into that folder. Outcomes may be Expired, DiskError, Busy."""
    return [_attempt(_choose_again, *choice) for choice in choices]


def publish(publications: Sequence[Publication]) -> list[str | Exception]:
    """Give part files their final names, and sync each folder once. A text says why there is no file beside the image.

    Outcomes may be TakenError, Expired (the part file is gone), DiskError, Busy.
    """
    images = [one.staged for one in publications]
    errors = [_attempt(_link, image) for image in images]
    remarks = ["" if error else _sidecar_written(*one) for one, error in zip(publications, errors, strict=True)]
    folders = {Path(image.final).parent for image, error in zip(images, errors, strict=True) if error is None}
    synced = {folder: _attempt(_sync_folder, folder) for folder in folders}
    return [
        error or synced[Path(image.final).parent] or _attempt(_remove_published, Path(image.path)) or remark
        for image, error, remark in zip(images, errors, remarks, strict=True)
    ]


def left_behind(folders: Iterable[Path]) -> dict[str, dict[int, list[Path]]]:
    """The part files in these folders by `Task.key` and index; several of one image in the folders' order.

    In one folder the part file itself is the first, before what was being made of it.
    """
    found: dict[str, dict[int, list[Path]]] = {}
    for folder in dict.fromkeys(folders):
        with suppress(OSError), os.scandir(folder) as entries:  # in a folder that is gone there are no part files
            files = [entry for entry in entries if PART_NAME.fullmatch(entry.name)]
            for entry in sorted(files, key=lambda entry: len(entry.name)):
                if (named := PART_NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                    found.setdefault(named["key"], {}).setdefault(int(named["index"]), []).append(Path(entry.path))
    return found


def whole(parts: Mapping[int, Iterable[Path]]) -> dict[int, StagedImage]:
    """The images of one task that a part file holds whole, as far as the bytes can tell, by index."""
    found = {index: _first_whole(paths) for index, paths in sorted(parts.items())}
    return {index: staged for index, staged in found.items() if staged is not None}


def _first_whole(paths: Iterable[Path]) -> StagedImage | None:
    for path in paths:
        with suppress(BadImage, OSError), path.open("rb", buffering=0) as file:
            form = check(file)
            return StagedImage(str(path), "", sha256_of(file), _doubt(form, ends=False))
    return None


def free_path(stem: Path, part: Path, taken: Collection[str] = ()) -> str:
    """A path that does not exist and is not in `taken`, for what a part file holds. Raises OSError."""
    with part.open("rb", buffering=0) as file:
        suffix = suffix_of(file.read(HEAD_BYTES))
    return _free_name(stem, suffix, taken)


def sha256_of(data: Bytes | BinaryIO) -> str:
    """The digest in hex; for a file, of all its bytes."""
    from hashlib import sha256  # noqa: PLC0415 - looking at the history needs no OpenSSL

    if isinstance(data, Bytes):
        return sha256(data).hexdigest()
    data.seek(0)
    total = sha256()
    while piece := data.read(READ_BYTES):
        total.update(piece)
    return total.hexdigest()


def create(path: Path) -> BinaryIO:
    """Create a file. An old one is unlinked, never emptied: it may be another link to a finished image.

    Raises DiskError, Busy.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with named_errors(path):
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
    """Write all of `data`: a disk that is nearly full takes a part of it, and fails only with the rest."""
    written = file.write(data)
    if written < len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[file.write(rest) :]


def remove(part: Path) -> None:
    """Remove a part file and what was being made of it, where the folder allows it."""
    for path in (part, _beside(part, MARKED), _beside(part, SIDECAR)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError that names the path, or into Busy where too many files are open."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_HANDLE:
            raise Busy(Message("too many files are open at once"), hint=RAISE_LIMIT) from error
        unwritten = Message("cannot write {path}: {why}").format(path=str(path), why=cause(error))
        raise DiskError(unwritten) from error


def _attempt(work: Callable[..., Value], *arguments: object) -> Value | Exception:
    """The result or the exception: one image of a batch that fails must not end the others."""
    try:
        return work(*arguments)
    except Exception as error:  # noqa: BLE001 - the caller gets it
        return error


def _check(part: Part) -> tuple[BinaryIO, Form, str]:
    """The part file with its marks, what it is, and the digest of what it holds now."""
    with named_errors(part.path):
        return _check_file(part) if part.data is None else _check_data(part, part.data)


def _check_file(part: Part) -> tuple[BinaryIO, Form, str]:
    with ExitStack() as undo:
        file = undo.enter_context(_reopen(part.path))
        form = check(file)
        file = undo.enter_context(_marked(part.path, file, part.marker))
        digest = sha256_of(file)
        undo.pop_all()
    return file, form, digest


def _check_data(part: Part, data: Bytes) -> tuple[BinaryIO, Form, str]:
    """Bytes in memory reach the disk with their marks in them."""
    with ExitStack() as undo:
        file = undo.enter_context(create(part.path))
        form = check(BytesIO(data))
        edits = _edits(part.marker, BytesIO(data))
        for piece in _edited(BytesIO(data), edits) if edits else [data]:
            write(file, piece)
        digest = sha256_of(file if edits else data)
        undo.pop_all()
    return file, form, digest


def _edits(marker: "Marker | None", file: BinaryIO) -> "Sequence[Edit]":
    """What is to be put into an image. Where that fails, nothing: `publish` then puts it beside the image."""
    try:
        return marker.edits(file) if marker is not None else ()
    except Exception:  # noqa: BLE001 - the image is paid for, and whole without any mark
        return ()


def _edited(file: BinaryIO, edits: "Sequence[Edit]") -> Iterator[bytes]:
    from imagegen_cli.core.marker import edited  # noqa: PLC0415 - a run that marks nothing needs none of it

    return edited(file, edits)


def _marked(part: Path, file: BinaryIO, marker: "Marker | None") -> BinaryIO:
    """The part file with its marks: a copy takes its name when it is complete. Where that fails, the file as it came.

    Raises Unavailable.
    """
    edits = _edits(marker, file) if not part.name.endswith(MARKED) else ()
    if not edits:
        return file
    copy = _beside(part, MARKED)
    try:
        with create(copy) as target:
            for piece in _edited(file, edits):
                write(target, piece)
        file.close()  # Windows renames nothing over an open file
        copy.replace(part)
    except (OSError, TaskError):
        remove(copy)
    return _reopen(part) if file.closed else file


def _beside(part: Path, suffix: str) -> Path:
    return part.with_name(part.name.removesuffix(".part") + suffix)


def _reopen(path: Path) -> BinaryIO:
    """A part file that was written as its bytes came. Another process that claimed the task may have removed it."""
    try:
        return path.open("r+b", buffering=0)
    except FileNotFoundError:
        removed = Message("the part file {path} was removed by another process").format(path=str(path))
        raise Unavailable(removed) from None


def _sync_and_choose(part: Part, file: BinaryIO, form: Form, digest: str) -> StagedImage:
    with file, named_errors(part.path):
        sync(file.fileno())
        return StagedImage(str(part.path), _free_name(part.stem, form.suffix), digest, _doubt(form, ends=part.ends))


def _doubt(form: Form, *, ends: bool) -> str:
    """Why it is not known whether an image is whole; empty where it is known."""
    if form.whole or ends:
        return ""
    doubt = Message("whether a picture came whole is not known: nothing marks its end ({form})")
    return doubt.format(form=form.suffix[1:])


def sync(handle: int) -> None:
    """Wait until a file or folder is on the disk, where the file system has such a call."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _choose_again(staged: StagedImage, stem: Path, marker: "Marker | None") -> StagedImage:
    path = Path(staged.path)
    if not path.exists():
        raise Expired(GONE.format(path=str(path)))
    if path.parent != stem.parent:
        path = _copy(path, stem.parent / path.name)
    with ExitStack() as undo, named_errors(path):
        came = undo.enter_context(path.open("rb", buffering=0))
        final = _free_name(stem, suffix_of(came.read(HEAD_BYTES)))
        file = undo.enter_context(_marked(path, came, marker))
        if file is not came:
            sync(file.fileno())
        digest = staged.sha256 if file is came and staged.sha256 else sha256_of(file)
        return replace(staged, path=str(path), final=final, sha256=digest)


def _copy(source: Path, part: Path) -> Path:
    """Copy an image from the fallback folder into a part file of its own folder. The source stays until `publish`."""
    try:
        with named_errors(part), source.open("rb", buffering=0) as data, create(part) as file:
            while piece := data.read(READ_BYTES):
                write(file, piece)
            sync(file.fileno())
    except DiskError as error:
        remove(part)
        kept = Message("{problem}; the picture is kept in {path}").format(problem=error.message, path=str(source))
        raise DiskError(kept, hint=error.hint) from error
    return part


def _free_name(stem: Path, suffix: str, taken: Collection[str] = ()) -> str:
    """The first path that does not exist, its name cut to what the file system allows."""
    stem = _shortened(stem, len(suffix) + len("~9999"))
    numbers = chain([""], (f"~{number}" for number in range(2, 10_000)))
    paths = (f"{stem}{number}{suffix}" for number in numbers)
    return next(path for path in paths if path not in taken and not os.path.lexists(path))


def _shortened(stem: Path, added_bytes: int) -> Path:
    """Cut the name so that `added_bytes` more can follow it."""
    max_bytes = MAX_NAME_BYTES
    with suppress(OSError, ValueError, AttributeError):
        max_bytes = os.pathconf(stem.parent, "PC_NAME_MAX")
    name = os.fsencode(stem.name)
    if len(name) + added_bytes <= max_bytes:
        return stem
    return stem.with_name(name[: max_bytes - added_bytes].decode(errors="ignore"))


def _link(staged: StagedImage) -> None:
    part, final = Path(staged.path), Path(staged.final)
    if not part.exists():
        if _has_digest(final, staged.sha256):
            return
        raise Expired(GONE.format(path=str(part)))
    with named_errors(final):
        _name(part, final)


def _name(part: Path, final: Path) -> None:
    """Give a part file its final name beside its own, or instead of it. Raises TakenError, OSError."""
    try:
        os.link(part, final)
    except FileExistsError:
        if not _is_same_file(part, final):
            raise TakenError(str(final)) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _rename(part, final)


def _sidecar_written(staged: StagedImage, marker: "Marker | None") -> str:
    """Write the file beside an image that has its name, where it needs one. Returns why that was not possible."""
    if marker is None:
        return ""
    final = Path(staged.final)
    try:
        with opened(final) as file:
            digest = staged.sha256 or sha256_of(file)
            sidecar = marker.sidecar(final, file, digest)
        if sidecar is not None:
            _write_sidecar(_beside(final.with_name(Path(staged.path).name), SIDECAR), sidecar, digest)
    except Exception as error:  # noqa: BLE001 - the image is saved
        told = Message("only the history says how {name} was made, because no file could be written beside it: {why}")
        return told.format(name=final.name, why=cause(error) or type(error).__name__)
    return ""


def _write_sidecar(part: Path, sidecar: "Sidecar", digest: str) -> None:
    """Write it under the first name that is free, unless one of them has it already: it then names this very image."""
    for path in sidecar.paths:
        if _contains(path, digest):
            return
        if not os.path.lexists(path):
            with create(part) as file:
                write(file, sidecar.text.encode())
                sync(file.fileno())
            try:
                _name(part, path)
            except TakenError:
                continue
            finally:
                part.unlink(missing_ok=True)
            return
    *others, last = (path.name for path in sidecar.paths)
    taken = Message("{names} and {last} are other files").format(names=" and ".join(others), last=last)
    raise FileExistsError(errno.EEXIST, taken)


def _contains(path: Path, digest: str) -> bool:
    """Whether a small file names this digest. A fifo or a device is never opened."""
    with suppress(OSError):
        if path.is_file() and path.stat().st_size <= READ_BYTES:
            return digest.encode() in path.read_bytes()
    return False


def _has_digest(final: Path, digest: str) -> bool:
    """Whether the file with this name is the image that was about to get it, and not another file."""
    with suppress(OSError), opened(final) as file:
        return bool(digest) and sha256_of(file) == digest
    return False


def _is_same_file(part: Path, final: Path) -> bool:
    with suppress(OSError):
        return part.samefile(final)
    return False


def _rename(part: Path, final: Path) -> None:
    """Without links, an empty file reserves the name until the image has it: only one process can create that file."""
    if os.name == "nt":  # a rename fails there where the name exists
        with _taken_error(final):
            part.rename(final)
        return
    with _taken_error(final):
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        part.replace(final)
    except OSError:
        final.unlink(missing_ok=True)
        raise


@contextmanager
def _taken_error(final: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise TakenError(str(final)) from None


def _sync_folder(folder: Path) -> None:
    """Make new names durable. A folder cannot be opened on Windows, and not without the right to read it."""
    if os.name == "nt":
        return
    with named_errors(folder):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return
        try:
            sync(handle)
        finally:
            os.close(handle)


def _remove_published(part: Path) -> None:
    with named_errors(part):
        part.unlink(missing_ok=True)
