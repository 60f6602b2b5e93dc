"""The texts of an Exif block: a TIFF structure whose main list and Exif list are looked at, and nothing else."""

import struct

TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x927C: "MakerNote",
    0x9286: "UserComment",
}
EXIF_LIST = 0x8769
"""The tag that says where the second list is."""
TEXT_TYPES = (1, 2, 7)
"""Types of one byte a value: BYTE, ASCII, UNDEFINED."""
ENTRY_BYTES = 12
INLINE_BYTES = 4
"""A value that is no longer stands in its entry."""
PREFIX_BYTES = 8
"""The name of the encoding before a user comment."""


def texts(data: bytes) -> dict[str, str]:
    """Name of the tag -> text. What lies outside the block is left out.

    Raises struct.error where a list ends early.
    """
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return {}
    found: dict[str, str] = {}
    second = _list(data, order, struct.unpack_from(order + "I", data, 4)[0], found)
    if second:
        _list(data, order, second, found)
    return found


def _list(data: bytes, order: str, at: int, found: dict[str, str]) -> int:
    """Take in the texts of one list; where the Exif list begins, 0 where this list does not say."""
    second = 0
    (count,) = struct.unpack_from(order + "H", data, at)
    for entry in range(at + 2, at + 2 + count * ENTRY_BYTES, ENTRY_BYTES):
        tag, kind, length, place = struct.unpack_from(order + "HHII", data, entry)
        if tag == EXIF_LIST:
            second = place
        elif tag in TAGS and TAGS[tag] not in found and kind in TEXT_TYPES:
            start = entry + 8 if length <= INLINE_BYTES else place
            found[TAGS[tag]] = _text(data[start : start + length], order)
    return second


def _text(data: bytes, order: str) -> str:
    """A text without the name of its encoding. Writers that name ASCII write UTF-8 where the text has other letters."""
    prefix, rest = data[:PREFIX_BYTES], data[PREFIX_BYTES:]
    if prefix == b"UNICODE\0":
        return rest.decode(_utf_16(rest, order), "replace").strip("\ufeff\0")
    if prefix in (b"ASCII\0\0\0", bytes(PREFIX_BYTES)):
        data = rest
    return data.decode("utf-8", "replace").strip("\0")


def _utf_16(data: bytes, order: str) -> str:
    """A1111 and its kin write big-endian whatever the order of the block is; others follow the block.

    The zero bytes of Latin letters tell which it is, and every line of settings has such letters.
    """
    big, little = data[::2].count(0), data[1::2].count(0)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16-be" if data[:1] == b"\xfe" else "utf-16-le"
    if big != little:
        return "utf-16-be" if big > little else "utf-16-le"
    return "utf-16-be" if order == ">" else "utf-16-le"
