"""Picture files: whole under their final names, or not there. Plain functions that wait for the disk.

Each takes many at once and answers for each with what came of it, an error included: what is synced together costs
little more than one. Every step is safe to be killed after, and nothing that exists is ever overwritten.
"""

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from imagegen_cli.errors import BadImage, DiskError, Expired
from imagegen_cli.task import HeldImage

MOST_PIXELS = 500_000_000
"""A header that claims more is a bomb, not a picture."""
SMALLEST = 16
"""Bytes; no picture format has a shorter file."""
SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".avif", ".bmp", ".tiff", ".jxl", ".svg", ".mp4", ".webm", ".wav", ".flac")
SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), suffix)
    for pattern, suffix in (
        (rb"\x89PNG\r\n\x1a\n", ".png"),
        (rb"\xff\xd8\xff", ".jpg"),
        (rb"RIFF....WEBP", ".webp"),
        (rb"GIF8[79]a", ".gif"),
        (rb"....ftyp(?:avif|avis|mif1)", ".avif"),
        (rb"....ftyp(?:isom|iso[2-9]|mp4[12]|avc1|M4V |dash|MSNV)", ".mp4"),
        (rb"\x1a\x45\xdf\xa3.{0,64}webm", ".webm"),
        (rb"RIFF....WAVE", ".wav"),
        (rb"fLaC", ".flac"),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp"),
        (rb"II\*\0|MM\0\*", ".tiff"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", ".svg"),
    )
)

Bytes = bytes | bytearray | memoryview
Value = TypeVar("Value")


class Part(NamedTuple):
    """Bytes that wait for the name `stem` and a suffix: in the part file `path`, or still in `data`."""

    path: Path
    stem: Path
    data: Bytes | None = None


class TakenError(Exception):
    """Somebody else made a file of the chosen name meanwhile: choose again."""


def part_of(stem: Path) -> Path:
    """Where the bytes of `stem` wait: the same name in every process, so that a later one finds or replaces it."""
    return stem.with_name(f".{stem.name}.part")


def suffix_of(head: bytes) -> str:
    """The suffix that the first bytes stand for. Raises BadImage where they are no picture's."""
    for pattern, suffix in SIGNATURES:
        if pattern.match(head):
            return suffix
    kind = "a web page" if head.lstrip()[:1] == b"<" else "text" if head[:200].isascii() else "unknown bytes"
    raise BadImage(f"the service sent {kind} where a picture was due" if head else "the service sent an empty picture")


def hold(parts: Sequence[Part]) -> list[HeldImage | Exception]:
    """Check and sync parts, and choose the name that each can have: BadImage, DiskError.

    All are checked, and begin their way to the disk, before any is waited for.
    """
    begun = [_tried(_checked, part) for part in parts]
    return [
        checked if isinstance(checked, Exception) else _tried(_synced, part, *checked)
        for part, checked in zip(parts, begun, strict=True)
    ]


def choose(parts: Sequence[Part]) -> list[HeldImage | Exception]:
    """Choose anew for parts that are held already: Expired where one is gone."""
    return [_tried(_chosen_again, part) for part in parts]


def publish(held: Sequence[HeldImage]) -> list[Exception | None]:
    """Give parts their final names, and sync each folder once: TakenError, Expired (the part is gone), DiskError."""
    named = [_tried(_link, Path(one.path), Path(one.final)) for one in held]
    folders = {Path(one.final).parent for one, trouble in zip(held, named, strict=True) if trouble is None}
    synced = {folder: _tried(_sync_folder, folder) for folder in folders}
    return [
        trouble or synced[Path(one.final).parent] or _tried(_drop, Path(one.path))
        for one, trouble in zip(held, named, strict=True)
    ]


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


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say what the file system refused, and where."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _tried(work: Callable[..., Value], *words: object) -> Value | Exception:
    """One of many: what goes wrong with it is its own."""
    try:
        return work(*words)
    except Exception as error:  # noqa: BLE001 - whoever waits for it is told
        return error


def _checked(part: Part) -> tuple[BinaryIO, str]:
    file: BinaryIO
    with ExitStack() as undo, disk(part.path):
        if part.data is None:
            file = undo.enter_context(part.path.open("r+b"))
        else:
            file = undo.enter_context(opened(part.path))
            write(file, part.data)
            file.seek(0)
        suffix = _check(file)
        send_off(file)
        undo.pop_all()
    return file, suffix


def send_off(file: BinaryIO) -> None:
    """Begin to write it out without waiting, where the system can: the sync that follows then finds little to do."""
    if hasattr(os, "posix_fadvise") and False:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _synced(part: Part, file: BinaryIO, suffix: str) -> HeldImage:
    with file, disk(part.path):
        os.fsync(file.fileno())
        return HeldImage(str(part.path), _free(part.stem, suffix))


def _chosen_again(part: Part) -> HeldImage:
    if not part.path.exists():
        raise Expired(f"the part file {part.path} is gone")
    with disk(part.path), part.path.open("rb") as file:
        return HeldImage(str(part.path), _free(part.stem, suffix_of(file.read(512))))


def _free(stem: Path, suffix: str) -> str:
    """The first name that nobody has."""
    further = chain([""], (f"~{number}" for number in range(2, 10_000)))
    return next(path for more in further if not os.path.lexists(path := f"{stem}{more}{suffix}"))


def _check(file: BinaryIO) -> str:
    """Whether it is a picture from its first byte to its last; its suffix."""
    head = file.read(512)
    suffix = suffix_of(head)
    size = file.seek(0, os.SEEK_END)
    if size < SMALLEST:
        raise BadImage("the service sent a picture of no size")
    if suffix == ".png":
        _check_png(file, size)
    elif suffix == ".jpg":
        _check_jpeg(file, size)
    elif suffix == ".webp" and size < struct.unpack("<I", head[4:8])[0] + 8:
        raise BadImage("a WebP picture ends in the middle")
    return suffix


def _check_jpeg(file: BinaryIO, size: int) -> None:
    """Its end mark may be followed by what a camera or an editor has added."""
    for tail in (1024, 65536):
        file.seek(max(0, size - tail))
        if b"\xff\xd9" in file.read(tail):
            return
    raise BadImage("a JPEG picture ends in the middle")


def _check_png(file: BinaryIO, size: int) -> None:
    """Walk the chunks to the end and add up their sums; no pixel is unpacked."""
    file.seek(8)
    header, at, headed = file.read(8), 16, False
    while len(header) == 8:  # noqa: PLR2004 - length and name of a chunk
        length, name = struct.unpack(">I4s", header)
        if length > size - at:  # before reading: the buffer is made as large as the chunk claims to be
            break
        rest = file.read(length + 12)
        at += length + 12
        data, total, header = memoryview(rest)[:length], rest[length : length + 4], rest[length + 4 :]
        if len(total) < 4 or struct.unpack(">I", total)[0] != zlib.crc32(data, zlib.crc32(name)):  # noqa: PLR2004
            break
        if name == b"IHDR" and length >= 8:  # noqa: PLR2004 - width and height
            width, height = struct.unpack(">II", data[:8])
            if not 0 < width * height <= MOST_PIXELS:
                raise BadImage(f"a picture claims {width} × {height} pixels")
            headed = True
        if name == b"IEND" and headed:
            return
    raise BadImage("a PNG picture ends in the middle or is damaged")


def _link(part: Path, final: Path) -> None:
    if not part.exists():
        if final.exists():
            return
        raise Expired(f"the part file {part} is gone")
    with disk(final):
        try:
            os.link(part, final)
        except FileExistsError:
            if not part.samefile(final):
                raise TakenError(str(final)) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(final):
                raise TakenError(str(final)) from None
            part.replace(final)


_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES, 1, 50}
"""What file systems without hard links answer (FAT, some network shares, Windows' code 1 and 50)."""


def _sync_folder(folder: Path) -> None:
    """Make new names durable; where folders cannot be opened (Windows) the system does it by itself."""
    if os.name == "nt":
        return
    with disk(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _drop(part: Path) -> None:
    with disk(part):
        part.unlink(missing_ok=True)
