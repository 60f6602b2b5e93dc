"""Width and height of a picture by its header alone: nothing is unpacked."""

import struct
from contextlib import suppress
from typing import BinaryIO

from imagegen_cli.marks.containers import ISO_FORMATS, DamagedError, boxes, parts, read_at

Size = tuple[int, int]
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG's frame header; those left out are tables and extensions."""
CONTAINERS = (b"meta", b"iprp", b"ipco")
"""Boxes of AVIF and HEIC, one inside the other; the last one holds the sizes."""
FULL_BOX_BYTES = 4


def dimensions(file: BinaryIO, suffix: str, size: int) -> Size | None:
    """In pixels; None where the format is not known or the file is damaged. Raises OSError."""
    with suppress(DamagedError, struct.error, IndexError):
        found = _dimensions(file, suffix, size)
        return found if found and min(found) > 0 else None
    return None


def _dimensions(file: BinaryIO, suffix: str, size: int) -> Size | None:
    if suffix == ".png":
        return _pair(">II", read_at(file, 16, 8))
    if suffix == ".gif":
        return _pair("<HH", read_at(file, 6, 4))
    if suffix == ".jpg":
        frame = next((part for part in parts(file, suffix, size) if part.name[0] in FRAMES), None)
        return _pair(">HH", read_at(file, frame.body + 1, 4))[::-1] if frame else None
    if suffix == ".webp":
        return _of_webp(read_at(file, 12, 18))
    return _of_iso(file, size) if suffix in ISO_FORMATS else None


def _pair(form: str, data: bytes) -> Size:
    first, second = struct.unpack(form, data)
    return first, second


def _of_webp(head: bytes) -> Size | None:
    """RFC 9649 and RFC 6386: the canvas of the extended form, or the picture of a simple one."""
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[:4] == b"VP8 ":
        width, height = _pair("<HH", head[14:18])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _of_iso(file: BinaryIO, size: int) -> Size | None:
    """The largest of the sizes that the pictures of the file have: a thumbnail may be one of them."""
    at, end = 0, size
    for name in CONTAINERS:
        box = next((part for part in boxes(file, at, end) if part.name == name), None)
        if box is None:
            return None
        at, end = box.body + (FULL_BOX_BYTES if name == b"meta" else 0), box.end
    places = [part.body + FULL_BOX_BYTES for part in boxes(file, at, end) if part.name == b"ispe"]
    return max((_pair(">II", read_at(file, place, 8)) for place in places), default=None)
