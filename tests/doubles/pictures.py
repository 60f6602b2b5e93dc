"""Real pictures of any size, each with content of its own, cheap enough for benchmarks.

`Pictures(...).make(job, index)` paints a 4x4 pattern that belongs to that job and index, and writes
`double:<job>/<index>;` into the metadata, so that `whose(data)` can tell which picture a file is.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_128
from io import BytesIO
from urllib.parse import quote, unquote

from PIL import Image

MARK = re.compile(rb"double:([^;/]*/\d+);")
GRID = 4
CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class Pictures:
    """`size` in pixels; `least_bytes` pads PNG and JPEG with metadata that decoders skip."""

    format: str = "png"
    size: tuple[int, int] = (64, 64)
    min_bytes: int = 0

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.format]

    def make(self, job: str, index: int) -> bytes:
        return _painted(self.format, self.size, self.min_bytes, f"{quote(job, safe='')}/{index}")


def whose(data: bytes) -> str:
    """`<job>/<index>` of a picture that was made here. Raises ValueError for any other."""
    found = MARK.search(data)
    if found is None:
        raise ValueError("not a picture of ours")
    return unquote(found[1].decode())


@lru_cache(maxsize=256)
def _painted(form: str, size: tuple[int, int], min_bytes: int, name: str) -> bytes:
    mark = f"double:{name};".encode()
    colours = shake_128(name.encode()).digest(3 * GRID * GRID)
    data = _png(size, colours, mark) if form == "png" else _by_pillow(form, size, colours, mark)
    lacking = min_bytes - len(data)
    if lacking <= 0 or form in ("webp", "avif"):
        return data
    return _padded_png(data, lacking) if form == "png" else _padded_jpeg(data, lacking)


def _by_pillow(form: str, size: tuple[int, int], colours: bytes, mark: bytes) -> bytes:
    image = Image.frombytes("RGB", (GRID, GRID), colours).resize(size, Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x010E] = mark.decode()  # ImageDescription
    file = BytesIO()
    image.save(file, form.upper(), exif=exif, quality=80, method=0)
    return file.getvalue()


def _png(size: tuple[int, int], colours: bytes, mark: bytes) -> bytes:
    """A palette picture: the pixels are the same for every picture of a size, only the colours differ."""
    head = struct.pack(">IIBBBBB", *size, 8, 3, 0, 0, 0)
    body = _chunk(b"PLTE", colours) + _chunk(b"tEXt", b"Comment\0" + mark) + _chunk(b"IDAT", _grid(size))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + body + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@lru_cache(maxsize=16)
def _grid(size: tuple[int, int]) -> bytes:
    """Compressed rows of palette numbers, each row after its filter byte 0."""
    width, height = size
    columns = bytes(column * GRID // width for column in range(width))
    rows = [b"\0" + bytes(GRID * row + cell for cell in columns) for row in range(GRID)]
    return zlib.compress(b"".join(rows[line * GRID // height] for line in range(height)), 1)


def _padded_png(data: bytes, lacking: int) -> bytes:
    """An ancillary private chunk before IEND."""
    end = data.rindex(b"IEND") - 4
    return data[:end] + _chunk(b"paDd", bytes(max(0, lacking - 12))) + data[end:]


def _padded_jpeg(data: bytes, lacking: int) -> bytes:
    """Comment segments after the start marker, each of at most 65,533 bytes."""
    segments = []
    while lacking > 0:
        size = min(lacking, 65_533)
        segments.append(b"\xff\xfe" + struct.pack(">H", size + 2) + bytes(size))
        lacking -= size
    return data[:2] + b"".join(segments) + data[2:]
