"""An image onto the disk: whole and named for what it is, or not there.

The steps, each safe to be killed after: fetch into a part file beside the final place, check it, sync it (`hold`);
choose a free final name, which the caller remembers; give the part that name (`publish`). Nothing that exists is
ever overwritten.
"""

import asyncio
import errno
import os
import re
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imagegen_cli.errors import BadImage, DiskError, Expired, RateLimited, ServerTrouble, Unavailable
from imagegen_cli.task import HeldImage, InlineImage, RemoteImage, SavedImage

if TYPE_CHECKING:
    import httpx

AT_ONCE = 16
LONGEST = 900.0
"""Seconds for one picture, however slowly it drips."""
MOST_BYTES = 512 * 1024 * 1024
MOST_PIXELS = 500_000_000
"""A header that claims more is a bomb, not a picture."""
ASKED = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
PIECE = 1024 * 1024
SMALLEST = 16
"""Bytes; no picture format has a shorter file."""
SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".avif", ".bmp", ".tiff", ".jxl", ".svg")
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", ".png"),
    (rb"\xff\xd8\xff", ".jpg"),
    (rb"RIFF....WEBP", ".webp"),
    (rb"GIF8[79]a", ".gif"),
    (rb"....ftyp(?:avif|avis|mif1)", ".avif"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp"),
    (rb"II\*\0|MM\0\*", ".tiff"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", ".svg"),
)


def suffix_of(head: bytes) -> str:
    """The suffix that the first bytes stand for. Raises BadImage where they are no picture's."""
    for pattern, suffix in SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return suffix
    kind = "a web page" if head.lstrip()[:1] == b"<" else "text" if head[:200].isascii() else "unknown bytes"
    raise BadImage(f"the service sent {kind} where a picture was due" if head else "the service sent an empty picture")


class Downloader:
    """`client` may be None where no picture comes over the network. Every file error becomes a DiskError."""

    def __init__(self, client: "httpx.AsyncClient | None", *, at_once: int = AT_ONCE) -> None:
        self._client = client
        self._door = asyncio.Semaphore(at_once)

    async def hold(self, image: InlineImage | RemoteImage, stem: Path) -> HeldImage:
        """Bring the bytes into the part file of `stem`: whole, checked, synced.

        Raises BadImage, DiskError, Expired (the address has died: 401, 403, 404, 410), Unavailable, RateLimited.
        """
        part = part_of(stem)
        try:
            async with self._door:
                if isinstance(image, RemoteImage):
                    await self._fetch(image.url, part)
                await asyncio.to_thread(_finish, part, image.data if isinstance(image, InlineImage) else None)
        except BaseException:
            self.discard(stem)
            raise
        return HeldImage(str(part))

    async def publish(self, held: HeldImage, stem: Path, chosen: Callable[[HeldImage], Awaitable[None]]) -> SavedImage:
        """Give the part file its final name, telling `chosen` first; or find that an earlier process did.

        Raises Expired where the part file is gone, DiskError where the folder refuses.
        """
        while True:
            if not held.final:
                held = await asyncio.to_thread(_choose, Path(held.path), stem)
                await chosen(held)
            try:
                await asyncio.to_thread(_publish, Path(held.path), Path(held.final))
            except _TakenError:
                held = HeldImage(held.path)
            else:
                return SavedImage(held.final)

    def discard(self, stem: Path) -> None:
        """Remove half a picture."""
        with suppress(OSError):
            part_of(stem).unlink(missing_ok=True)

    async def _fetch(self, url: str, part: Path) -> None:
        import httpx  # noqa: PLC0415 - whoever draws for himself needs no network

        if self._client is None or not url.startswith(("http://", "https://")):
            raise BadImage("the service named a picture by an address that is not http")
        address = _address(url)
        try:
            async with asyncio.timeout(LONGEST), self._client.stream("GET", address, headers=ASKED) as response:
                _admit(response)
                expected = _length(response)
                size = await _stream(_bytes_of(response), part)
        except TimeoutError as error:
            raise Unavailable(f"a picture did not arrive within {LONGEST:.0f} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise BadImage("the service named a picture by an address that cannot be read") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"a picture did not arrive whole: {str(error) or type(error).__name__}") from error
        if expected is not None and size != expected:
            raise Unavailable(f"a picture did not arrive whole: {size} of {expected} bytes")


def _address(url: str) -> "httpx.URL":
    """A port that no system has would end in an OverflowError, half a character in a UnicodeError. Raises BadImage."""
    import httpx  # noqa: PLC0415 - whoever draws for himself needs no network

    with suppress(httpx.InvalidURL, UnicodeError):
        address = httpx.URL(url)
        if (address.port or 1) in range(1, 1 << 16):
            return address
    raise BadImage("the service named a picture by an address that cannot be read")


def part_of(stem: Path) -> Path:
    """Where the bytes of `stem` wait: the same name in every process, so that a later one finds or replaces it."""
    return stem.with_name(f".{stem.name}.part")


def _admit(response: "httpx.Response") -> None:
    status = response.status_code
    if status in (401, 403, 404, 410):
        raise Expired(f"the picture's address has expired (HTTP {status})")
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        raise RateLimited("too many downloads at once (HTTP 429)")
    if status != 200:  # noqa: PLR2004 - a redirect is not followed: whose it is cannot be known
        raise ServerTrouble(f"a picture could not be fetched (HTTP {status})")
    if "," in response.headers.get("content-encoding", ""):  # every layer multiplies by a thousand, unbounded
        raise BadImage("the service sent a picture that is packed more than once")


def _length(response: "httpx.Response") -> int | None:
    """The promised length, where the bytes come as they are."""
    promised = response.headers.get("content-length", "")
    return int(promised) if promised.isdecimal() and "content-encoding" not in response.headers else None


async def _bytes_of(response: "httpx.Response") -> AsyncIterator[bytes]:
    """What came packed although nobody asked for it is unpacked a piece at a time: a bomb fills no memory."""
    if response.headers.get("content-encoding", "identity") == "identity":
        async for data in response.aiter_raw():
            yield data
        return
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for packed in response.aiter_raw():
        rest = packed
        while rest:
            try:
                piece = unpack.decompress(rest, PIECE)
            except zlib.error as error:
                raise BadImage("the service sent a picture in a form that cannot be unpacked") from error
            rest = unpack.unconsumed_tail
            yield piece


async def _stream(parts: AsyncIterator[bytes], path: Path) -> int:
    """Write as it comes: what one read brings fits the page cache, so the loop hardly waits. Synced by `_finish`."""
    size = 0
    with _opened(path) as file:
        async for data in parts:
            size += len(data)
            if size > MOST_BYTES:
                raise BadImage(f"the service sent more than {MOST_BYTES >> 20} MB for one picture")
            with disk(path):
                _write(file, data)
    return size


def _finish(part: Path, data: bytes | None) -> None:
    """Write what came inside an answer, check what is there and sync it: one visit to a thread a picture."""
    if data is not None:
        with _opened(part) as file, disk(part):
            _write(file, data)
    with disk(part), part.open("r+b") as file:
        _check(file)
        os.fsync(file.fileno())


def _write(file: BinaryIO, data: bytes) -> None:
    """All of it: a disk that is nearly full takes a part, and says so only when it is asked to take the rest."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _opened(path: Path) -> BinaryIO:
    """A new file: what is there already may be a finished picture under its first name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with disk(path):
        path.unlink(missing_ok=True)
        try:
            handle = os.open(path, flags, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, flags, 0o666)
        return os.fdopen(handle, "wb", buffering=0)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say what the file system refused, and where."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _check(file: BinaryIO) -> None:
    head = file.read(512)
    suffix = suffix_of(head)
    size = file.seek(0, os.SEEK_END)
    if size < SMALLEST:
        raise BadImage("the service sent a picture of no size")
    if suffix == ".png":
        _check_png(file, size)
    elif suffix == ".jpg":
        file.seek(max(0, size - 65536))
        if b"\xff\xd9" not in file.read():
            raise BadImage("a JPEG picture ends in the middle")
    elif suffix == ".webp" and size < struct.unpack("<I", head[4:8])[0] + 8:
        raise BadImage("a WebP picture ends in the middle")


def _check_png(file: BinaryIO, size: int) -> None:
    """Walk the chunks to the end and add up their sums; no pixel is unpacked."""
    file.seek(8)
    headed = False
    while len(header := file.read(8)) == 8:  # noqa: PLR2004 - length and name of a chunk
        length, name = struct.unpack(">I4s", header)
        if length > size - file.tell():  # before reading: the buffer is made as large as the chunk claims to be
            break
        data, total = file.read(length), file.read(4)
        if len(total) < 4 or struct.unpack(">I", total)[0] != zlib.crc32(name + data):  # noqa: PLR2004
            break
        if name == b"IHDR" and length >= 8:  # noqa: PLR2004 - width and height
            width, height = struct.unpack(">II", data[:8])
            if not 0 < width * height <= MOST_PIXELS:
                raise BadImage(f"a picture claims {width} × {height} pixels")
            headed = True
        if name == b"IEND" and headed:
            return
    raise BadImage("a PNG picture ends in the middle or is damaged")


def _choose(part: Path, stem: Path) -> HeldImage:
    if not part.exists():
        raise Expired(f"the part file {part} is gone")
    with disk(part):
        with part.open("rb") as file:
            suffix = suffix_of(file.read(512))
        names = chain([stem.name], (f"{stem.name}~{number}" for number in range(2, 10_000)))
        final = next(path for name in names if not os.path.lexists(path := stem.with_name(name + suffix)))
    return HeldImage(str(part), str(final))


def _publish(part: Path, final: Path) -> None:
    if not part.exists():
        if final.exists():
            return
        raise Expired(f"the part file {part} is gone")
    with disk(final):
        try:
            os.link(part, final)
        except FileExistsError:
            if not part.samefile(final):
                raise _TakenError(str(final)) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(final):
                raise _TakenError(str(final)) from None
            part.replace(final)
        _sync_folder(final.parent)
        part.unlink(missing_ok=True)


class _TakenError(Exception):
    """Somebody else made a file of the chosen name meanwhile: choose again."""


_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES, 1, 50}
"""What file systems without hard links answer (FAT, some network shares, Windows' code 1 and 50)."""


def _sync_folder(folder: Path) -> None:
    """Make the new name durable; where folders cannot be opened (Windows) the system does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
