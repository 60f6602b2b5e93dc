"""Metadata inside the boxes of AVIF, HEIC and MP4: the Exif and XMP items of a picture, the keys of a film."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from imagegen_cli.marks.containers import Part, boxes, need, read_at
from imagegen_cli.marks.decoding import MAX_TEXT_BYTES

MAX_ITEMS = 4096
MAX_PIECES = 64
"""Of one item: no writer of metadata makes more than one."""
FULL_BOX_BYTES = 4
"""Version and flags at the beginning of a full box."""


class Item(NamedTuple):
    """`type` is `Exif` or `mime`; `places` are the pieces of its content in the file."""

    type: bytes
    places: tuple[Part, ...]


def of_picture(file: BinaryIO, meta: Part) -> Iterator[Item]:
    """The Exif and XMP items. Raises DamagedError or struct.error."""
    inside = {part.name: part for part in boxes(file, meta.body + FULL_BOX_BYTES, meta.end)}
    if b"iinf" not in inside or b"iloc" not in inside:
        return
    wanted = dict(_types(file, inside[b"iinf"]))
    location, start = _load(file, inside[b"iloc"]), inside[b"idat"].body if b"idat" in inside else 0
    for number, places in _places(location, start):
        if number in wanted:
            yield Item(wanted[number], tuple(Part(wanted[number], at, at, at + length) for at, length in places))


def of_film(file: BinaryIO, moov: Part) -> Iterator[Part]:
    """The metadata boxes of a film, with all its keys and values. Raises DamagedError."""
    for udta in boxes(file, moov.body, moov.end):
        if udta.name == b"udta":
            yield from (box for box in boxes(file, udta.body, udta.end) if box.name == b"meta")


def _load(file: BinaryIO, part: Part) -> bytes:
    need(part.length <= MAX_TEXT_BYTES)
    return read_at(file, part.body, part.length)


def _types(file: BinaryIO, iinf: Part) -> Iterator[tuple[int, bytes]]:
    """Number of each item that holds metadata, and its type."""
    long_count = read_at(file, iinf.body, 1) != b"\0"
    start = iinf.body + FULL_BOX_BYTES + (4 if long_count else 2)
    for count, entry in enumerate(boxes(file, start, iinf.end)):
        need(count < MAX_ITEMS)
        head = read_at(file, entry.body, min(entry.length, 64))
        number, kind = struct.unpack_from(">I2x4s" if head[0] > 2 else ">H2x4s", head, FULL_BOX_BYTES)  # noqa: PLR2004
        if kind == b"Exif" or (kind == b"mime" and b"application/rdf+xml" in head):
            yield number, kind


def _places(data: bytes, idat: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Number of each item, and the place and length of its pieces in the file.

    `idat`: where the box begins that places of method 1 count from. Items that are made of others are left out.
    """
    version, sizes = data[0], struct.unpack_from(">H", data, FULL_BOX_BYTES)[0]
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    long, at = version > 1, FULL_BOX_BYTES + 2
    count, at = _number(data, at, 4 if long else 2)
    need(count <= MAX_ITEMS)
    for _ in range(count):
        number, at = _number(data, at, 4 if long else 2)
        method, at = _number(data, at, 2 if version else 0)
        origin, at = _number(data, at + 2, base)
        pieces, at = _number(data, at, 2)
        need(pieces <= MAX_PIECES)
        found = []
        for _ in range(pieces):
            place, at = _number(data, at + (index if version else 0), offset)
            extent, at = _number(data, at, length)
            found.append((origin + place + (idat if method & 15 else 0), extent))
        if method & 15 < 2:  # noqa: PLR2004 - in the file, or in idat
            yield number, found


def _number(data: bytes, at: int, length: int) -> tuple[int, int]:
    """A big-endian number of this many bytes, and where the next one begins."""
    need(at + length <= len(data))
    return int.from_bytes(data[at : at + length], "big"), at + length
