"""The parts of a picture file: PNG chunks, JPEG segments, RIFF chunks, ISO boxes. Every declared size is checked.

Only headers are read here, so that a file of any size costs the same memory.
"""

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

MAX_PARTS = 100_000
"""Parts of one file; more are a trap."""
SIGNATURE_BYTES = 8
"""Of a PNG file, and of the header of a PNG chunk, a RIFF chunk and an ISO box."""
UUID_BYTES = 16
START_OF_SCAN = 0xDA
"""The JPEG marker after which the picture's own data begins."""
ISO_FORMATS = (".avif", ".heic", ".mp4", ".mov", ".m4a")


class DamagedError(Exception):
    """The file ends before its parts do, or contradicts itself."""


class Part(NamedTuple):
    """Places in bytes: `start` of the header, `body` to `end` of the content.

    `name` is the four letters of a chunk or box, the 16 bytes of a `uuid` box, or the marker byte of a JPEG segment.
    """

    name: bytes
    start: int
    body: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.body


def parts(file: BinaryIO, suffix: str, size: int) -> Iterator[Part]:
    """The parts of a file of this format in their order; none where the format is not walked.

    Raises DamagedError where the walk cannot go on; what was yielded before stands.
    """
    walk = WALKS.get(suffix)
    return walk(file, size) if walk else iter(())


def need(condition: bool) -> None:
    if not condition:
        raise DamagedError


def read_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    data = file.read(length)
    need(len(data) == length)
    return data


def _png(file: BinaryIO, size: int) -> Iterator[Part]:
    at = SIGNATURE_BYTES
    for _ in range(MAX_PARTS):
        length, name = struct.unpack(">I4s", read_at(file, at, 8))
        part = Part(name, at, at + 8, at + 8 + length)
        at = part.end + 4
        need(at <= size)
        yield part
        if name == b"IEND":
            return
    raise DamagedError


def _jpeg(file: BinaryIO, size: int) -> Iterator[Part]:
    """The segments before the picture's own data: no writer of metadata puts any behind it."""
    at = 2
    for _ in range(MAX_PARTS):
        mark, kind = read_at(file, at, 2)
        need(mark == 0xFF)  # noqa: PLR2004 - every segment begins so
        if kind == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        (length,) = struct.unpack(">H", read_at(file, at + 2, 2))
        part = Part(bytes([kind]), at, at + 4, at + 2 + length)
        need(part.body <= part.end <= size)
        at = part.end
        yield part
        if kind == START_OF_SCAN:
            return
    raise DamagedError


def _webp(file: BinaryIO, size: int) -> Iterator[Part]:
    """The chunks inside the RIFF. A chunk of odd length is followed by one byte."""
    end = riff_end(file)
    need(end <= size)
    at = 12
    for _ in range(MAX_PARTS):
        if at >= end:
            return
        name, length = struct.unpack("<4sI", read_at(file, at, 8))
        part = Part(name, at, at + 8, at + 8 + length)
        need(part.end <= end)
        at = part.end + length % 2
        yield part
    raise DamagedError


def riff_end(file: BinaryIO) -> int:
    """Where the RIFF says that it ends, in bytes from the start of the file."""
    return SIGNATURE_BYTES + int.from_bytes(read_at(file, 4, 4), "little")


def _iso(file: BinaryIO, size: int) -> Iterator[Part]:
    return boxes(file, 0, size)


def boxes(file: BinaryIO, at: int, end: int) -> Iterator[Part]:
    """The boxes of the ISO base media form between two places. Raises DamagedError."""
    for _ in range(MAX_PARTS):
        if at == end:
            return
        part = _box(file, at, end)
        need(part.body <= part.end <= end)
        yield part
        at = part.end
    raise DamagedError


def _box(file: BinaryIO, at: int, end: int) -> Part:
    """The box at a place, as it declares itself: its length may be wrong."""
    length, name = struct.unpack(">I4s", read_at(file, at, 8))
    body = at + 8
    if length == 1:
        length, body = struct.unpack(">Q", read_at(file, body, 8))[0], body + 8
    last = at + length if length else end
    if name == b"uuid":
        return Part(read_at(file, body, UUID_BYTES), at, body + UUID_BYTES, last)
    return Part(name, at, body, last)


Walk = Callable[[BinaryIO, int], Iterator[Part]]
WALKS: dict[str, Walk] = {".png": _png, ".jpg": _jpeg, ".webp": _webp, **dict.fromkeys(ISO_FORMATS, _iso)}
