"""What the bytes of a file say it is, and whether they reach its end. Plain functions that read.

A picture may come without a promised length, from a service that closes the connection when it has sent everything, or
when it breaks. Then only the form itself can tell a whole file from a cut one. No pixel is unpacked.
"""

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import BinaryIO, NamedTuple

from imagegen_cli.core.errors import BadImage, UnusableImage
from imagegen_cli.core.language import Message

MAX_PIXELS = 500_000_000
"""A header that claims more is a bomb, not a picture."""
SMALLEST = 16
"""Bytes; no picture format has a shorter file."""
HEAD_BYTES = 512
TAIL_BYTES = 64 * 1024
MAX_TEXT_BYTES = 32 * 1024 * 1024
MAX_PARTS = 200_000
"""Boxes, segments or strips of one file; more are a trap."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", ".png"),
    (rb"\xff\xd8\xff", ".jpg"),
    (rb"RIFF....WEBP", ".webp"),
    (rb"GIF8[79]a", ".gif"),
    (rb"....ftyp(?:hei[cxms]|hev[cxms])", ".heic"),
    (rb"....ftyp(?:mif1|msf1)....(?:....){0,8}?hei[cxms]", ".heic"),
    (rb"....ftyp(?:avif|avis|mif1|msf1)", ".avif"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp"),
    (rb"II[*+]\0|MM\0[*+]", ".tiff"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
    (
        (
            rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*){0,2}(?:<!DOCTYPE svg[^>]*>\s*)?"
            rb"(?:<!--.*?-->\s*){0,2}<svg[\s>]"
        ),
        ".svg",
    ),
    (rb"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
    (rb"8BPS\0[\x01\x02]", ".psd"),
    (rb"....ftypqt  ", ".mov"),
    (rb"....ftypM4A ", ".m4a"),
    (rb"....ftyp", ".mp4"),
    (rb"\x1a\x45\xdf\xa3.{0,64}webm", ".webm"),
    (rb"\x1a\x45\xdf\xa3.{0,64}matroska", ".mkv"),
    (rb"RIFF....WAVE", ".wav"),
    (rb"RIFF....AVI ", ".avi"),
    (rb"fLaC[\0\x80]\0\0", ".flac"),
    (rb"OggS\0", ".ogg"),
    (rb"ID3[\x02-\x04]\0", ".mp3"),
    (rb"%PDF-\d", ".pdf"),
    (rb"glTF\x02\0\0\0", ".glb"),
)
"""Patterns of first bytes; only what looks at a picture compiles them."""
PICTURES = (".png", ".jpg", ".webp", ".gif", ".avif", ".heic", ".bmp", ".tiff", ".jxl", ".svg", ".jp2", ".psd")
"""What a service may be given as a picture; the other forms are only kept as they come."""
SUFFIXES = tuple(dict.fromkeys(suffix for _, suffix in SIGNATURES))
NAMES = {
    ".jpg": Message("a JPEG picture"),
    ".webp": Message("a WebP picture"),
    ".avif": Message("an AVIF picture"),
    ".svg": Message("an SVG picture"),
}


class Form(NamedTuple):
    """`whole` False: nothing in the file says where it ends, so a cut one looks the same."""

    suffix: str
    whole: bool = True


class CutError(Exception):
    """The file ends before its form does, or contradicts itself."""


def begins_a_form(data: bytes) -> bool:
    """Whether the first bytes are those of something that is kept: a picture, a film, a sound."""
    try:
        suffix_of(data[:HEAD_BYTES])
    except BadImage:
        return False
    return True


def suffix_of(head: bytes) -> str:
    """The suffix that the first bytes stand for. Raises BadImage where they are no picture's."""
    for pattern, suffix in SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return suffix
    if not head:
        raise BadImage(Message("the service sent an empty picture"))
    if head.lstrip()[:1] == b"<":
        raise BadImage(Message("the service sent a web page where a picture was due"))
    if head[:200].isascii():
        raise BadImage(Message("the service sent text where a picture was due"))
    raise BadImage(Message("the service sent unknown bytes where a picture was due"))


def check(file: BinaryIO) -> Form:
    """What a file is, from its first byte to its last. Raises BadImage where it is damaged or ends early."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    suffix = suffix_of(head)
    size = file.seek(0, os.SEEK_END)
    if size < SMALLEST:
        raise BadImage(Message("the service sent a picture of no size"))
    try:
        return Form(suffix, ENDS[suffix](file, size, head))
    except (CutError, struct.error, IndexError):
        raise BadImage(Message("{file} ends in the middle or is damaged").format(file=_named(suffix))) from None


def _named(suffix: str) -> Message:
    kind = Message("a {form} picture") if suffix in PICTURES else Message("a {form} file")
    return NAMES.get(suffix) or kind.format(form=suffix[1:].upper())


def _need(is_valid: bool) -> None:
    if not is_valid:
        raise CutError


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    _need(len(data) == size)
    return data


def _tail(file: BinaryIO, size: int, max_bytes: int = TAIL_BYTES) -> bytes:
    file.seek(max(0, size - max_bytes))
    return file.read(max_bytes)


def _unknown(_file: BinaryIO, _size: int, _head: bytes) -> bool:
    return False


def _png(file: BinaryIO, size: int, _head: bytes) -> bool:
    """Walk the chunks to the end and add up their sums."""
    file.seek(8)
    header, at, headed = file.read(8), 16, False
    while len(header) == 8:  # noqa: PLR2004 - length and name of a chunk
        length, name = struct.unpack(">I4s", header)
        _need(length <= size - at)  # before reading: the buffer is made as large as the chunk claims to be
        rest = file.read(length + 12)
        at += length + 12
        data, total, header = memoryview(rest)[:length], rest[length : length + 4], rest[length + 4 :]
        _need(struct.unpack(">I", total)[0] == zlib.crc32(data, zlib.crc32(name)))
        if name == b"IHDR":
            _check_pixels(*struct.unpack(">II", data[:8]))
            headed = True
        if name == b"IEND" and headed:
            return True
    raise CutError


def _check_pixels(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        claims = Message("a picture claims {width} × {height} pixels")
        raise UnusableImage(claims.format(width=width, height=height))


def _jpeg(file: BinaryIO, size: int, _head: bytes) -> bool:
    """Hop over the segments, thumbnails included, to the picture's own data, and look for the end mark after it.

    Inside that data 0xFF is always followed by 0: what looks like the end mark is it. A camera or an editor may have
    added further data, and further pictures.
    """
    at = 2
    for _ in range(MAX_PARTS):
        mark, kind = _read(file, at, 2)
        _need(mark == 0xFF)  # noqa: PLR2004 - every segment begins so
        if kind == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        length = 0 if kind == 1 or 0xD0 <= kind <= 0xD8 else struct.unpack(">H", _read(file, at + 2, 2))[0]  # noqa: PLR2004
        at += 2 + length
        if kind == 0xDA:  # noqa: PLR2004 - from here on it is the picture's data
            _need(_contains(file, b"\xff\xd9", at, size))
            return True
    raise CutError


def _contains(file: BinaryIO, wanted: bytes, start: int, end: int) -> bool:
    """Whether these bytes stand between two places; looked for from the end, where they usually are."""
    while end > start:
        at = max(start, end - TAIL_BYTES)
        file.seek(at)
        if wanted in file.read(end - at):
            return True
        end = at + len(wanted) - 1 if at > start else start
    return False


def _riff(_file: BinaryIO, size: int, head: bytes) -> bool:
    """WebP, WAV and AVI. What was written without knowing its length has 0 or the largest number there."""
    length = struct.unpack("<I", head[4:8])[0]
    if length in (0, 0xFFFFFFFF) and head[8:12] != b"WEBP":
        return False
    _need(len(b"WEBP") < length <= size - 8)
    return True


def _gif(file: BinaryIO, _size: int, head: bytes) -> bool:
    """Walk the blocks to the trailer."""
    reader = BufferedReader(file)  # type: ignore[type-var]  # a raw file and one in memory alike
    try:
        reader.seek(13 + _colours(head[10]))
        while (kind := reader.read(1)) != b";":
            if kind == b",":
                reader.seek(_colours(_some(reader, 9)[8]) + 1, os.SEEK_CUR)
            else:
                _need(kind in (b"!", b"\0"))  # some writers leave empty bytes between blocks
                if kind == b"\0":
                    continue
                _some(reader, 1)
            while length := _some(reader, 1)[0]:
                reader.seek(length, os.SEEK_CUR)
    finally:
        reader.detach()  # else it would close the file
    return True


def _some(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    _need(len(data) == size)
    return data


def _colours(packed: int) -> int:
    """Bytes of a GIF's colour table."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _bmp(_file: BinaryIO, size: int, head: bytes) -> bool:
    """Where the pixels are not packed, their number says how long it must be; else the length in the head does."""
    length, start, kind = struct.unpack("<I4xII", head[2:18])
    if kind == 12:  # noqa: PLR2004 - the oldest header
        width, height, bits, packing = *struct.unpack("<HH2xH", head[18:26]), 0
    else:
        width, height, bits, packing = struct.unpack("<ii2xHI", head[18:34])
    _check_pixels(abs(width), abs(height))
    rows = (width * bits + 31) // 32 * 4 * abs(height) if packing in (0, 3, 6) else 0
    _need(size >= max(start + rows, length if packing not in (0, 3, 6) else 0))
    return bool(rows or length)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, bool]]:
    """The boxes of the ISO base media form (AVIF, HEIC, MP4, JXL): name, where the content begins, "to the end"."""
    at = 0
    for _ in range(MAX_PARTS):
        if at == size:
            return
        length, name = struct.unpack(">I4s", _read(file, at, 8))
        start = at + 8
        if length == 1:
            length, start = struct.unpack(">Q", _read(file, start, 8))[0], start + 8
        if length == 0:
            yield name, start, True
            return
        _need(start <= at + length <= size)
        yield name, start, False
        at += length
    raise CutError


def _iso_picture(file: BinaryIO, size: int, _head: bytes) -> bool:
    """AVIF and HEIC: what describes the pictures, and what holds them."""
    boxes = {name: open_ for name, _, open_ in _boxes(file, size)}
    _need(bool(boxes.keys() & {b"meta", b"moov"}) and (b"mdat" in boxes or _contains(file, b"idat", 0, size)))
    return not any(boxes.values())


def _iso_film(file: BinaryIO, size: int, _head: bytes) -> bool:
    """MP4 and its kin. A film in fragments may end after any of them; only an index at its end says that it is all."""
    boxes = {name: open_ for name, _, open_ in _boxes(file, size)}
    _need(b"moov" in boxes and bool(boxes.keys() & {b"mdat", b"moof"}))
    return not any(boxes.values()) and (b"moof" not in boxes or b"mfra" in boxes)


def _jxl(file: BinaryIO, size: int, head: bytes) -> bool:
    """The bare form does not say where it ends; in boxes, the last part of the picture is marked."""
    if head.startswith(b"\xff\x0a"):
        return False
    ended = whole = False
    for name, start, open_ in _boxes(file, size):
        if name == b"jxlc" or (name == b"jxlp" and _read(file, start, 1)[0] & 0x80):
            ended, whole = True, not open_
    _need(ended)
    return whole


def _jp2(file: BinaryIO, size: int, _head: bytes) -> bool:
    _need(b"jp2c" in {name for name, _, _ in _boxes(file, size)} and _contains(file, b"\xff\xd9", 0, size))
    return True


SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of each type that a TIFF's field can have."""
PIXELS = ((273, 279), (324, 325), (513, 514))
"""Fields with the places, and with the lengths, of strips, tiles and an embedded JPEG."""


def _tiff(file: BinaryIO, size: int, head: bytes) -> bool:
    """Every list of fields, every field and every strip must lie inside the file."""
    order = "<" if head[:1] == b"I" else ">"
    if b"+" in head[:4]:
        return False  # the form for files above 4 GB
    at, seen, found = struct.unpack(order + "I", head[4:8])[0], set[int](), False
    while at and at not in seen and len(seen) < 1000:  # noqa: PLR2004 - pages
        seen.add(at)
        count = struct.unpack(order + "H", _read(file, at, 2))[0]
        fields = _read(file, at + 2, 12 * count + 4)
        values = dict(_tiff_fields(file, size, order, fields[:-4]))
        for places, lengths in PIXELS:
            for place, length in zip(values.get(places, ()), values.get(lengths, ()), strict=False):
                _need(place + length <= size)
                found = True
        at = struct.unpack(order + "I", fields[-4:])[0]
    return found


def _tiff_fields(file: BinaryIO, size: int, order: str, fields: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    for start in range(0, len(fields), 12):
        tag, kind, count, place = struct.unpack(order + "HHII", fields[start : start + 12])
        length = SIZES.get(kind, 0) * count
        _need(length <= 4 or place + length <= size)  # noqa: PLR2004 - four bytes fit into the field itself
        if any(tag in pair for pair in PIXELS) and kind in (3, 4):
            _need(count <= MAX_PARTS)
            data = fields[start + 8 : start + 8 + length] if length <= 4 else _read(file, place, length)  # noqa: PLR2004
            yield tag, struct.unpack(f"{order}{count}{'H' if kind == 3 else 'I'}", data)  # noqa: PLR2004


SVG_PARTS = rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<svg(?=[\s/>])[^>]*(?:>|\Z)|</svg\s*>"
"""Each goes on to the end of the text where it is not closed, so that looking for the next costs nothing."""


def _svg(file: BinaryIO, size: int, _head: bytes) -> bool:
    """As many elements must be closed as opened, and nothing may be left open at the very end."""
    if size > MAX_TEXT_BYTES:
        return False
    file.seek(0)
    text, inside, closed = file.read(size).rstrip(), 0, False
    for part in re.findall(SVG_PARTS, text, re.DOTALL):
        if part.startswith(b"<svg"):
            inside += not part.endswith(b"/>")
            closed = closed or part.endswith(b"/>")
        elif part.startswith(b"</"):
            inside, closed = inside - 1, True
    _need(closed and inside <= 0 and text.endswith(b">"))
    return True


def _ebml(_file: BinaryIO, size: int, head: bytes) -> bool:
    """WebM and Matroska: a head, and one segment that says how long it is, or that it is not known."""
    length, at = _variable(head, 4)
    at += length or 0
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return False
    length, at = _variable(head, at + 4)
    _need(length is None or at + length <= size)
    return length is not None


def _variable(data: bytes, at: int) -> tuple[int | None, int]:
    """A number that says itself how many bytes it has, and where the next begins. None: not known."""
    size = 9 - data[at].bit_length()
    _need(size <= 8)  # noqa: PLR2004 - the longest
    value = int.from_bytes(data[at : at + size], "big") & ((1 << 7 * size) - 1)
    return (None if value == (1 << 7 * size) - 1 else value), at + size


def _ogg(file: BinaryIO, size: int, _head: bytes) -> bool:
    """The last page is marked, and says how long it is."""
    page = _tail(file, size).rpartition(b"OggS")[2]
    pieces = page[23 : 23 + page[22]]
    _need(len(page) >= 23 + page[22] + sum(pieces))
    return bool(page[1] & 4)


def _pdf(file: BinaryIO, size: int, _head: bytes) -> bool:
    _need(b"%%EOF" in _tail(file, size, 1024))
    return True


def _glb(_file: BinaryIO, size: int, head: bytes) -> bool:
    _need(size >= struct.unpack("<I", head[8:12])[0])
    return True


End = Callable[[BinaryIO, int, bytes], bool]
"""Whether a file of this size certainly goes to its end, given its first bytes too. False: the form does not tell.

Raises CutError, struct.error or IndexError where it certainly does not.
"""
ENDS: dict[str, End] = {
    ".png": _png, ".jpg": _jpeg, ".webp": _riff, ".gif": _gif, ".heic": _iso_picture, ".avif": _iso_picture,
    ".bmp": _bmp, ".tiff": _tiff, ".jxl": _jxl, ".svg": _svg, ".jp2": _jp2, ".psd": _unknown, ".mov": _iso_film,
    ".m4a": _iso_film, ".mp4": _iso_film, ".webm": _ebml, ".mkv": _ebml, ".wav": _riff, ".avi": _riff,
    ".flac": _unknown, ".ogg": _ogg, ".mp3": _unknown, ".pdf": _pdf, ".glb": _glb,
}  # fmt: skip
