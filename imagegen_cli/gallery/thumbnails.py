"""Pictures made small, one at a time, and kept in a cache: a file that did not change is decoded once."""

import os
import struct
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, EISDIR
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from imagegen_cli.core.language import Message
from imagegen_cli.core.references import bytes_of, opened
from imagegen_cli.gallery.whole import whole

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

BOX = (512, 256)
"""Pixels that a thumbnail fits into: rows of the page have one height, so the height is what counts."""
QUALITY = 60
METHOD = 0
"""WebP's fastest; a slower one saves a tenth of the bytes and takes four times as long."""
LAYOUT = b"1"
"""A part of every key: another number makes all thumbnails anew."""

MAX_PIXELS = 80_000_000
"""Of one picture; its pixels take up to four bytes each while it is made small."""
MAX_BYTES = 256 * 1024 * 1024
MAX_SCANS = 32
"""Of a progressive JPEG, which may repeat the whole picture every 16 bytes."""
ORIENTATION = 0x0112
"""The number of EXIF's field."""
LYING = (5, 6, 7, 8)
"""Orientations that swap width and height."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000")
"""The only decoders that are tried: others of Pillow start programs."""


MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Of one thumbnail: more than its pixels take without any compression."""
MAX_CACHE_BYTES = 256 * 1024 * 1024
"""Of the whole cache, some 40,000 thumbnails; those that were not looked at for longest are removed first."""
TOUCHED_S = 24 * 3600
"""Seconds after which a thumbnail that is used is marked as used again."""
TOO_LARGE = Message("The picture has more than {number} million pixels.")


class NoThumbnail(Exception):
    """A picture cannot be made small; the text says why in words that fit below it."""


class Thumbnail(NamedTuple):
    """`data` is WebP; it is empty, and `why` says the reason, where the picture cannot be shown.

    `key` names this very content of the file. `made` is False where the cache had it.
    """

    data: bytes = b""
    width: int = 0
    height: int = 0
    key: str = ""
    made: bool = False
    why: str = ""


def thumbnails(paths: Iterable[str], folder: Path) -> Iterator[Thumbnail]:
    """One for each path, in order, each made when it is asked for; `folder` is the cache.

    A folder that cannot be written costs only time.
    """
    for path in paths:
        try:
            yield _kept_or_made(path, folder)
        except NoThumbnail as error:
            yield Thumbnail(why=error.args[0])


def _kept_or_made(path: str, folder: Path) -> Thumbnail:
    key = _key(path)
    file = folder / key[:2] / f"{key}.webp"
    with suppress(OSError, ValueError, struct.error):
        data = bytes_of(file, MAX_KEPT_BYTES)
        found = Thumbnail(data, *webp_size(data), key)
        _mark_used(file)
        return found
    with _told():
        data = encoded(small(path, BOX))
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole(file) as stream:
            stream.write(data)
    return Thumbnail(data, *webp_size(data), key, made=True)


def _mark_used(file: Path) -> None:
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > TOUCHED_S:
            file.touch()


def trim(folder: Path, used: set[str], most: int = MAX_CACHE_BYTES) -> int:
    """Remove the oldest thumbnails of the cache until it has at most `most` bytes; the number of those removed.

    Those whose keys are in `used` stay in any case.
    """
    found: list[tuple[float, int, Path]] = []
    for file in folder.glob("??/*.webp"):
        with suppress(OSError):
            about = file.stat()
            found.append((about.st_mtime, about.st_size, file))
    left, removed = sum(size for _, size, _ in found), 0
    for _, size, file in sorted(found):
        if left <= most:
            break
        if file.stem not in used:
            with suppress(OSError):
                file.unlink()
                left, removed = left - size, removed + 1
    return removed


def _key(path: str) -> str:
    with _told():
        found = os.stat(path)  # noqa: PTH116 - a path may hold bytes that are no text, and is not to be changed
    named = os.fsencode(os.path.abspath(path))  # noqa: PTH100 - as above
    return sha256(b"\0".join((LAYOUT, named, b"%d %d" % (found.st_size, found.st_mtime_ns)))).hexdigest()[:40]


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a WebP file as this module writes it. Raises ValueError and struct.error."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or struct.unpack("<I", data[4:8])[0] != len(data) - 8:
        raise ValueError("this is no whole WebP file")
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def encoded(image: "Image") -> bytes:
    """A picture as a lossy WebP file without any of the original's own data."""
    file = BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=METHOD)
    return file.getvalue()


def small(path: str, box: tuple[int, int]) -> "Image":
    """The first frame of a picture, upright, at most as large as the box, in RGB or RGBA. Raises NoThumbnail."""
    with _told(), opened(path) as file, _pillow().open(file, formats=FORMATS) as picture:
        _check(picture, file)
        found = _eight_bits(picture)
        turned = _turn(found, _orientation(picture), box)
        turned.load()  # one that was small enough has not been decoded yet, and its file is about to be closed
        return turned if turned.mode in ("RGB", "RGBA") else turned.convert("RGB")


def shape(path: str) -> float:
    """The width of a picture over its height, upright. Raises NoThumbnail."""
    with _told(), opened(path) as file, _pillow().open(file, formats=FORMATS) as picture:
        ratio = float(picture.width / picture.height)
        return 1 / ratio if _orientation(picture) in LYING else ratio


@cache
def _pillow() -> ModuleType:
    """Pillow, which says of a damaged file on stderr what we say in our own words."""
    from logging import NullHandler, getLogger  # noqa: PLC0415 - most commands need no picture

    from PIL import Image  # noqa: PLC0415

    getLogger("PIL").addHandler(NullHandler())
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    return Image


@contextmanager
def _told() -> Iterator[None]:
    """Whatever a decoder raises becomes a NoThumbnail with words for it."""
    try:
        yield
    except NoThumbnail:
        raise
    except Exception as error:
        raise NoThumbnail(_words(error)) from error


def _words(error: Exception) -> str:
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return Message("The file is not there any more.")
    if isinstance(error, PermissionError):
        return Message("This account may not read the file.")
    if isinstance(error, OSError) and error.errno in (EINVAL, EISDIR):
        return Message("There is no file at its place, but a folder, a pipe or a device.")
    if name in ("DecompressionBombWarning", "DecompressionBombError"):
        return TOO_LARGE.format(number=MAX_PIXELS // 1_000_000)
    if name == "UnidentifiedImageError":
        return Message("The file is of a form that has no thumbnail.")
    return Message("The file is damaged or ends too early.")


def _check(picture: "Image", file: BinaryIO) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise NoThumbnail(TOO_LARGE.format(number=MAX_PIXELS // 1_000_000))
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise NoThumbnail(Message("The file has more than {size} MiB.").format(size=MAX_BYTES // 1024**2))
    if "progressive" in picture.info and _whole_of(file).count(b"\xff\xda") > MAX_SCANS:
        raise NoThumbnail(Message("The picture would take too long to decode."))


def _whole_of(file: BinaryIO) -> bytes:
    """All bytes of a file, which is left where it was: a decoder is about to read on."""
    before = file.tell()
    file.seek(0)
    data = file.read(MAX_BYTES)
    file.seek(before)
    return data


def _eight_bits(picture: "Image") -> "Image":
    """The picture, decoded, in a mode of 8 bits a channel; that of a JPEG may be decoded smaller than it is."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    if picture.mode == "F":
        return picture.convert("L")
    transparent = picture.has_transparency_data
    if picture.mode in ("RGB", "RGBA", "L", "CMYK", "YCbCr") and not (transparent and picture.mode != "RGBA"):
        return picture
    return picture.convert("RGBA" if transparent else "RGB")


def _orientation(picture: "Image") -> int:
    with suppress(Exception):  # what a camera wrote beside the picture must not hide the picture
        return int(picture.getexif().get(ORIENTATION, 1))
    return 1


def _turn(picture: "Image", orientation: int, box: tuple[int, int]) -> "Image":
    """Made small and upright. `orientation` is the number of EXIF, 1 to 8."""
    picture.thumbnail(box[::-1] if orientation in LYING else box, _pillow().Resampling.LANCZOS)
    turn = _turns().get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _turns() -> "dict[int, Transpose]":
    way = _pillow().Transpose
    return {
        2: way.FLIP_LEFT_RIGHT, 3: way.ROTATE_180, 4: way.FLIP_TOP_BOTTOM, 5: way.TRANSPOSE,
        6: way.ROTATE_270, 7: way.TRANSVERSE, 8: way.ROTATE_90,
    }  # fmt: skip
