"""An image onto the disk: whole and named for what it is, or not there.

The steps, each safe to be killed after: fetch into a part file beside the final place, check it, sync it, choose a free
final name (`hold`); let the caller remember that name, then give it to the part (`publish`). Waiting for the disk is
done in threads, and together: what comes while one round is at work goes into the next.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imagegen_cli import __version__, files
from imagegen_cli.errors import BadImage, Expired, RateLimited, ServerTrouble, Unavailable
from imagegen_cli.files import Part, part_of
from imagegen_cli.task import HeldImage, InlineImage, RemoteImage, SavedImage

if TYPE_CHECKING:
    import httpx

    Fetch = Callable[[httpx.Request], Awaitable[httpx.Response]]
    Write = Callable[[files.Bytes], object]

AT_ONCE = 48
"""Pictures on their way, from the first byte to the synced part file."""
HANDS = 2
"""Threads that check and sync: while one waits for the disk, the other writes."""
IN_HAND = 12
"""Files that each of them has open at once."""
CONNECTIONS = 16
"""Of these, so many come over the network at a time; `client.DOWNLOADS` is the same."""
LONGEST = 900.0
"""Seconds for one picture from asking for it, however slowly it drips."""
PATIENCE = 30.0
"""Seconds without a single byte."""
MOST_BYTES = 512 * 1024 * 1024
ASKED = {
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": f"imagegen/{__version__}",  # without one, some that keep pictures refuse
}
PIECE = 1024 * 1024
PORTION = 8 * 1024 * 1024
"""Bytes of a large picture that are sent off to the disk together, while the rest is still coming."""
SMALL = 2 * 1024 * 1024
"""Bytes that may wait in memory for their turn at the disk."""

Job = TypeVar("Job")
Made = TypeVar("Made")


class Rounds(Generic[Job, Made]):
    """Work of many coroutines, done together in threads: what comes while these are busy waits for the next round."""

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Made | Exception]], *, threads: int = 1, most: int = 1000
    ) -> None:
        self._work = work
        self._most = most
        self._next: list[tuple[Job, asyncio.Future[Made]]] = []
        self._free = threads
        self._going: set[asyncio.Task[None]] = set()

    async def do(self, job: Job) -> Made:
        """What the work makes of this job, or the exception that it answers with."""
        made: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self._next.append((job, made))
        if self._free:
            self._free -= 1
            going = asyncio.ensure_future(self._rounds())
            self._going.add(going)
            going.add_done_callback(self._going.discard)
        return await made

    async def _rounds(self) -> None:
        try:
            while self._next:
                jobs, self._next = self._next[: self._most], self._next[self._most :]
                answers = await self._done([job for job, _ in jobs])
                for (_, made), answer in zip(jobs, answers, strict=True):
                    _answer(made, answer)
        finally:
            self._free += 1

    async def _done(self, jobs: Sequence[Job]) -> Sequence[Made | Exception]:
        try:
            return await asyncio.to_thread(self._work, jobs)
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            return [error] * len(jobs)


def _answer(made: "asyncio.Future[Made]", answer: Made | Exception) -> None:
    if made.done():
        return  # whoever asked has left
    if isinstance(answer, Exception):
        made.set_exception(answer)
    else:
        made.set_result(answer)


class Downloader:
    """`fetch` may be None where no picture comes over the network. Every file error becomes a DiskError."""

    def __init__(self, fetch: "Fetch | None", *, at_once: int = AT_ONCE, patience: float = PATIENCE) -> None:
        self._fetch = fetch
        self._limits = {"timeout": {"connect": patience, "read": patience, "write": patience, "pool": None}}
        self._door = asyncio.Semaphore(at_once)
        self._network = asyncio.Semaphore(CONNECTIONS)
        self._holding = Rounds(files.hold, threads=HANDS, most=IN_HAND)
        self._choosing = Rounds(files.choose)
        self._publishing = Rounds(files.publish)

    async def hold(self, image: InlineImage | RemoteImage, stem: Path) -> HeldImage:
        """Bring the bytes into the part file of `stem`, whole, checked and synced; choose, but not take, a final name.

        Raises BadImage, DiskError, Expired (the address has died: 401, 403, 404, 410), Unavailable, RateLimited.
        """
        try:
            async with self._door:
                part = Part(part_of(stem), stem)
                if isinstance(image, RemoteImage):
                    part = await self._fetched(image.url, part)
                else:
                    part = part._replace(data=image.data)
                return await self._holding.do(part)
        except BaseException:
            self.discard(stem)
            raise

    async def publish(self, held: HeldImage, stem: Path, chosen: Callable[[HeldImage], Awaitable[None]]) -> SavedImage:
        """Give the part file its final name, telling `chosen` first; or find that an earlier process did.

        Raises Expired where the part file is gone, DiskError where the folder refuses.
        """
        while True:
            if not held.final:
                held = await self._choosing.do(Part(Path(held.path), stem))
            await chosen(held)
            try:
                await self._publishing.do(held)
            except files.TakenError:
                held = HeldImage(held.path)
            else:
                return SavedImage(held.final)

    def discard(self, stem: Path) -> None:
        """Remove half a picture."""
        with suppress(OSError):
            part_of(stem).unlink(missing_ok=True)

    async def _fetched(self, url: str, part: Part) -> Part:
        import httpx  # noqa: PLC0415 - whoever draws for himself needs no network

        if self._fetch is None or not url.startswith(("http://", "https://")):
            raise BadImage("the service named a picture by an address that is not http")
        request = httpx.Request("GET", _address(url), headers=ASKED, extensions=self._limits)
        try:
            async with self._network, asyncio.timeout(LONGEST):
                response = await self._fetch(request)
                try:
                    _admit(response)
                    return await _received(response, part)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise Unavailable(f"a picture did not arrive within {LONGEST:.0f} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise BadImage("the service named a picture by an address that cannot be read") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"a picture did not arrive whole: {str(error) or type(error).__name__}") from error


def _address(url: str) -> "httpx.URL":
    """A port that no system has would end in an OverflowError, half a character in a UnicodeError. Raises BadImage."""
    import httpx  # noqa: PLC0415 - whoever draws for himself needs no network

    with suppress(httpx.InvalidURL, UnicodeError):
        address = httpx.URL(url)
        if (address.port or 1) in range(1, 1 << 16):
            return address
    raise BadImage("the service named a picture by an address that cannot be read")


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


async def _received(response: "httpx.Response", part: Part) -> Part:
    """Small pictures are written where they are synced, in a thread; the others as they come, so that memory is flat.

    What one read brings fits the page cache, so that the loop hardly waits for a write.
    """
    expected = _length(response)
    if expected is not None and expected <= SMALL:
        data = bytearray()
        await _pour(response, data.extend)
        part, size = part._replace(data=data), len(data)
    else:
        size = await _streamed(response, part.path)
    if expected is not None and size != expected:
        raise Unavailable(f"a picture did not arrive whole: {size} of {expected} bytes")
    return part


async def _streamed(response: "httpx.Response", path: Path) -> int:
    size = sent_off = 0
    with files.opened(path) as file:

        def write(data: files.Bytes) -> None:
            nonlocal size, sent_off
            size += len(data)
            if size > MOST_BYTES:
                raise BadImage(f"the service sent more than {MOST_BYTES >> 20} MB for one picture")
            with files.disk(path):
                files.write(file, data)
                if size - sent_off >= PORTION:
                    files.send_off(file)
                    sent_off = size

        await _pour(response, write)
    return size


async def _pour(response: "httpx.Response", write: "Write") -> None:
    """Give the picture's bytes to `write` as they come."""
    if response.headers.get("content-encoding", "identity") != "identity":
        write = partial(_unpacked, zlib.decompressobj(zlib.MAX_WBITS | 32), write)
    stream: Any = response.stream
    if hasattr(stream, "into"):
        await stream.into(write)
    else:
        async for data in stream:
            write(data)


def _unpacked(unpack: Any, write: "Write", packed: "files.Bytes") -> None:
    """What came packed although nobody asked for it is unpacked a piece at a time: a bomb fills no memory."""
    while packed:
        try:
            piece = unpack.decompress(packed, PIECE)
        except zlib.error as error:
            raise BadImage("the service sent a picture in a form that cannot be unpacked") from error
        packed = unpack.unconsumed_tail
        write(piece)
