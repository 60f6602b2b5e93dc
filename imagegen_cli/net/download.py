"""An image onto the disk: whole and named for what it is, or not there.

The steps, each safe to be killed after: fetch into a part file beside the final place, check it, sync it, choose a free
final name (`hold`); let the caller remember that name, then give it to the part (`publish`). Waiting for the disk is
done in threads, and together: what comes while one round is at work goes into the next.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio loads it late, when perhaps no file can be opened any more
import ipaddress
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imagegen_cli import __version__
from imagegen_cli.core.errors import (
    BadImage,
    Busy,
    DiskError,
    Expired,
    RateLimited,
    ServerTrouble,
    TaskError,
    Unavailable,
    UnusableImage,
)
from imagegen_cli.core.task import InlineImage, RemoteImage, SavedImage, StagedImage
from imagegen_cli.net import image_files
from imagegen_cli.net.image_files import Part

if TYPE_CHECKING:
    import httpx

    Fetch = Callable[[httpx.Request], Awaitable[httpx.Response]]
    Write = Callable[[image_files.Bytes], object]

AT_ONCE = 48
"""Pictures on their way, from the first byte to the synced part file."""
WORKERS = 2
"""Threads that check and sync: while one waits for the disk, the other writes."""
BATCH_SIZE = 12
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
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
SMALL = 2 * 1024 * 1024
"""Bytes that may wait in memory for their turn at the disk."""

Job = TypeVar("Job")
Made = TypeVar("Made")


class WorkBatcher(Generic[Job, Made]):
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
        except Exception as error:  # noqa: BLE001 - the callers must be answered
            return [error] * len(jobs)


def _answer(made: "asyncio.Future[Made]", answer: Made | Exception) -> None:
    if made.done():
        return  # the caller has left
    if isinstance(answer, Exception):
        made.set_exception(answer)
    else:
        made.set_result(answer)


class Downloader:
    """`fetch` may be None where no picture comes over the network. Every file error becomes a DiskError.

    `second` is a folder for the bytes of a picture that its own folder cannot take, and that cannot be fetched again.
    `own_headers` tells, by origin such as http://127.0.0.1:8188, what opens the way to a service of the person's own: a
    name and a password in its base_url, further headers. They go to that origin alone, and no key is among them.
    """

    def __init__(
        self,
        fetch: "Fetch | None",
        *,
        second: Path | None = None,
        own_headers: Mapping[str, Mapping[str, str]] | None = None,
        at_once: int = AT_ONCE,
        patience: float = PATIENCE,
    ) -> None:
        self._fetch = fetch
        self._second = second
        self._own_headers = own_headers or {}
        self._limits = {"timeout": {"connect": patience, "read": patience, "write": patience, "pool": None}}
        self._door = asyncio.Semaphore(at_once)
        self._network = asyncio.Semaphore(CONNECTIONS)
        self._holding = WorkBatcher(image_files.stage, threads=WORKERS, most=BATCH_SIZE)
        self._choosing = WorkBatcher(image_files.choose)
        self._publishing = WorkBatcher(image_files.publish)

    async def stage(self, image: InlineImage | RemoteImage, stem: Path, part: Path) -> StagedImage:
        """Bring the bytes into the part file, whole, checked and synced; choose, but not take, a final name.

        What came inside an answer, and finds no place in the folder of `part`, is held in the second folder.
        Raises BadImage, DiskError, Expired (the address has died: 401, 403, 404, 410), Unavailable, RateLimited,
        Busy (no file handle is left).
        """
        if isinstance(image, RemoteImage):
            return await self._held_remote(image, stem, part)
        try:
            return await self._held_inline(image, stem, part)
        except DiskError as error:
            if self._second is None:
                raise
            try:
                held = await self._held_inline(image, stem, self._second / part.name)
            except TaskError:
                raise error from None
            return replace(held, final="")

    async def publish(
        self, held: StagedImage, stem: Path, chosen: Callable[[StagedImage], Awaitable[None]]
    ) -> SavedImage:
        """Give the part file its final name, telling `chosen` first; or find that an earlier process did.

        Raises Expired where the part file is gone, DiskError where the folder refuses, Busy as `hold` does.
        """
        while True:
            if not held.final:
                held = await self._choosing.do(image_files.Choice(held, stem))
            await chosen(held)
            try:
                await self._publishing.do(held)
            except image_files.TakenError:
                held = replace(held, final="")
            else:
                self.discard(Path(held.path))
                return SavedImage(held.final, held.sha256, held.doubt)

    def discard(self, part: Path) -> None:
        """Remove half a picture, or one that has its name."""
        for path in (part, self._second / part.name) if self._second is not None else (part,):
            image_files.remove(path)

    async def _held_remote(self, image: RemoteImage, stem: Path, part: Path) -> StagedImage:
        try:
            async with self._door:
                return await self._holding.do(await self._fetched(image.url, Part(part, stem)))
        except BaseException:
            self.discard(part)
            raise

    async def _held_inline(self, image: InlineImage, stem: Path, part: Path) -> StagedImage:
        """Where it is only interrupted, the part file stays: its bytes may be whole, and are nowhere else."""
        try:
            async with self._door:
                return await self._holding.do(Part(part, stem, image.data))
        except Exception:
            image_files.remove(part)
            raise

    async def _fetched(self, url: str, part: Part) -> Part:
        import httpx  # noqa: PLC0415 - a local drawing needs no network

        from imagegen_cli.net.proxies import through  # noqa: PLC0415 - see above
        from imagegen_cli.net.transport import NoHandleError  # noqa: PLC0415 - the same

        if self._fetch is None or not url.startswith(("http://", "https://")):
            raise UnusableImage("the service named a picture by an address that is not http")
        try:
            async with self._network, asyncio.timeout(LONGEST):
                response = await self._answer(_address(url))
                try:
                    _admit(response)
                    return await _received(response, part)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise Unavailable(f"a picture did not arrive within {LONGEST:.0f} s{through(url)}") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UnusableImage("the service named a picture by an address that cannot be read") from error
        except NoHandleError as error:
            raise Busy(str(error), after=1.0, hint="raise the limit: ulimit -n 1024") from error
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"a picture did not arrive whole{through(url)}: {why}") from error

    async def _answer(self, address: "httpx.URL") -> "httpx.Response":
        """The first answer that leads to no other address. No request carries a key, and so none can travel."""
        import httpx  # noqa: PLC0415 - see above

        if self._fetch is None:
            raise RuntimeError("there is no way to the network")
        for _ in range(MOST_REDIRECTS + 1):
            address = address.copy_with(userinfo=b"")
            headers = {**ASKED, **self._own_headers.get(_origin(address), {})}
            request = httpx.Request("GET", address, headers=headers, extensions=self._limits)
            response = await self._fetch(request)
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            address = await _next_address(address, response)
        raise ServerTrouble(f"a picture's address leads on more than {MOST_REDIRECTS} times")


def _origin(address: "httpx.URL") -> str:
    return str(address.copy_with(raw_path=b"/", fragment=None)).rstrip("/")


async def _next_address(address: "httpx.URL", response: "httpx.Response") -> "httpx.URL":
    """Where a redirect leads, if it may: not down from https, not from the world into a private network."""
    status = f"(HTTP {response.status_code})"
    try:
        target = _address(str(address.join(_named(response)))).copy_with(userinfo=b"")
    except (KeyError, ValueError, BadImage) as error:
        raise ServerTrouble(f"a picture's address leads to none that can be read {status}") from error
    if target.scheme not in ("http", "https"):
        raise ServerTrouble(f"a picture's address leads to one that is not on the web ({target.scheme}:) {status}")
    if (address.scheme, target.scheme) == ("https", "http"):
        raise ServerTrouble(f"a picture's address leads away from https {status}")
    if await _inside(target) and not await _inside(address):
        raise ServerTrouble(f"a picture's address leads into a private network {status}")
    return target


def _named(response: "httpx.Response") -> str:
    """Where a redirect leads. Raises KeyError where it does not say: an empty address would be the same one again."""
    place = str(response.headers["location"]).strip()
    if not place:
        raise KeyError("location")
    return place


async def _inside(address: "httpx.URL") -> bool:
    """Whether it is on this machine or in a private network. A name that only a proxy can look up is not."""
    with suppress(ValueError):
        return not _public(address.host)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port or 443)
    except (OSError, UnicodeError):
        return address.host == "localhost" or address.host.endswith(".localhost")
    return not all(_public(str(where[4][0]).partition("%")[0]) for where in found)


def _public(number: str) -> bool:
    """Raises ValueError where it is no number but a name."""
    ip = ipaddress.ip_address(number)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global


def _address(url: str) -> "httpx.URL":
    """Raises UnusableImage.

    A port that no system has would end in an OverflowError, half a character in a UnicodeError.
    """
    import httpx  # noqa: PLC0415 - a local drawing needs no network

    with suppress(httpx.InvalidURL, UnicodeError):
        address = httpx.URL(url)
        if (address.port or 1) in range(1, 1 << 16):
            return address
    raise UnusableImage("the service named a picture by an address that cannot be read")


def _admit(response: "httpx.Response") -> None:
    status = response.status_code
    if status in (401, 403, 404, 410):
        raise Expired(f"the picture's address has expired (HTTP {status})")
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        raise RateLimited("too many downloads at once (HTTP 429)")
    if status != 200:  # noqa: PLR2004
        raise ServerTrouble(f"a picture could not be fetched (HTTP {status})")
    if "," in response.headers.get("content-encoding", ""):  # every layer multiplies by a thousand, unbounded
        raise BadImage("the service sent a picture that is packed more than once")


def _length(response: "httpx.Response") -> int | None:
    """The promised length, where the bytes come as they are."""
    promised = response.headers.get("content-length", "")
    return int(promised) if promised.isdecimal() and "content-encoding" not in response.headers else None


def _tells_its_end(response: "httpx.Response") -> bool:
    """Whether a connection that breaks would be noticed: not where the answer ends by closing it."""
    told = response.headers
    packed = told.get("content-encoding", "identity") != "identity"
    return packed or "content-length" in told or "transfer-encoding" in told


async def _received(response: "httpx.Response", part: Part) -> Part:
    """Small pictures are written where they are synced, in a thread; the others as they come, so that memory is flat.

    What one read brings fits the page cache, so that the loop hardly waits for a write.
    """
    expected = _length(response)
    part = part._replace(ends=_tells_its_end(response))
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
    size = 0
    with image_files.opened(path) as file:

        def write(data: image_files.Bytes) -> None:
            nonlocal size
            size += len(data)
            if size > MOST_BYTES:
                raise UnusableImage(f"the service sent more than {MOST_BYTES >> 20} MB for one picture")
            with image_files.disk(path):
                image_files.write(file, data)

        await _pour(response, write)
    return size


async def _pour(response: "httpx.Response", write: "Write") -> None:
    """Give the picture's bytes to `write` as they come."""
    unpack: Any = None
    if response.headers.get("content-encoding", "identity") != "identity":
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
        write = partial(_unpacked, unpack, write)
    stream: Any = response.stream
    if hasattr(stream, "into"):
        await stream.into(write)
    else:
        async for data in stream:
            write(data)
    if unpack is not None and not unpack.eof:
        raise Unavailable("a picture did not arrive whole: its packed form has no end")


def _unpacked(unpack: Any, write: "Write", packed: "image_files.Bytes") -> None:
    """What came packed although it was not asked for is unpacked a piece at a time: a bomb fills no memory."""
    while packed:
        try:
            piece = unpack.decompress(packed, PIECE)
        except zlib.error as error:
            raise BadImage("the service sent a picture in a form that cannot be unpacked") from error
        packed = unpack.unconsumed_tail
        write(piece)
