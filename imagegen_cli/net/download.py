"""Saves images: an image is whole and has the suffix of its format, or it is not there.

The process may be killed after any step: fetch into a part file beside the final place, check it, sync it, choose a
free final name (`stage`); let the caller store that name, then give it to the part file (`publish`). Threads wait for
the disk, for many images together: images that come while one batch is at work go into the next batch.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio loads it late, when perhaps no file can be opened any more
import ipaddress
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
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
    words_of,
)
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import InlineImage, RemoteImage, SavedImage, StagedImage
from imagegen_cli.net import image_files
from imagegen_cli.net.image_files import Part

if TYPE_CHECKING:
    import httpx

    from imagegen_cli.core.marker import Marker

    Fetch = Callable[[httpx.Request], Awaitable[httpx.Response]]
    Write = Callable[[image_files.Bytes], object]

MAX_IMAGES_AT_ONCE = 48
"""Images in progress, from the first byte to the synced part file."""
WORKERS = 2
"""Threads that check and sync: while one waits for the disk, the other writes."""
BATCH_SIZE = 12
"""Files that each of them has open at once."""
MAX_DOWNLOADS = 16
"""So many of them come over the network at once; `client.MAX_DOWNLOADS` is the same."""
MAX_DOWNLOAD_S = 900.0
"""Time for one image from the request to its last byte."""
READ_TIMEOUT_S = 30.0
"""Time without a single byte."""
MAX_IMAGE_BYTES = 512 * 1024 * 1024
REQUEST_HEADERS = {
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": f"imagegen/{__version__}",  # some image hosts refuse requests without one
}
UNPACK_BYTES = 1024 * 1024
"""Compressed data is unpacked in pieces of at most this size."""
REDIRECTS = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
MAX_REDIRECTS = 5
EXPIRED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""Statuses of an address that gives no image any more; the provider may give a new address."""
UNREADABLE_ADDRESS = Message("the service named a picture by an address that cannot be read")
MAX_BYTES_IN_MEMORY = 2 * 1024 * 1024
"""Size up to which an image waits in memory for its batch."""

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkBatcher(Generic[Job, Result]):
    """Does the jobs of many coroutines together, in threads: jobs that come meanwhile wait for the next batch."""

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Result | Exception]], *, threads: int = 1, max_batch: int = 1000
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._waiting: list[tuple[Job, asyncio.Future[Result]]] = []
        self._free_threads = threads
        self._running: set[asyncio.Task[None]] = set()

    async def do(self, job: Job) -> Result:
        """The result of this job. Raises the exception that the work returned for it."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, result))
        if self._free_threads:
            self._free_threads -= 1
            task = asyncio.ensure_future(self._work_through())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await result

    async def _work_through(self) -> None:
        """One batch after the other until no job waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                outcomes = await self._run([job for job, _ in batch])
                for (_, result), outcome in zip(batch, outcomes, strict=True):
                    _resolve(result, outcome)
        finally:
            self._free_threads += 1

    async def _run(self, jobs: Sequence[Job]) -> Sequence[Result | Exception]:
        try:
            return await asyncio.to_thread(self._work, jobs)
        except Exception as error:  # noqa: BLE001 - every caller of `do` must get an outcome
            return [error] * len(jobs)


def _resolve(result: "asyncio.Future[Result]", outcome: Result | Exception) -> None:
    if result.done():
        return  # its caller was cancelled
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)


class Downloader:
    """Saves images. Every error of a file becomes a DiskError.

    `fetch` may be None where no image comes over the network.
    `fallback_folder` takes the bytes of an image that its own folder cannot take, and that cannot be fetched again.
    `own_headers` are, by origin such as http://127.0.0.1:8188, the headers that a service of the user's own requires: a
    name and a password in its base_url, further headers. They go to that origin alone, and no key is among them.
    `read_timeout` is in seconds without a single byte.
    """

    def __init__(
        self,
        fetch: "Fetch | None",
        *,
        fallback_folder: Path | None = None,
        own_headers: Mapping[str, Mapping[str, str]] | None = None,
        max_images: int = MAX_IMAGES_AT_ONCE,
        read_timeout: float = READ_TIMEOUT_S,
    ) -> None:
        self._fetch = fetch
        self._fallback_folder = fallback_folder
        self._own_headers = own_headers or {}
        timeouts = {"connect": read_timeout, "read": read_timeout, "write": read_timeout, "pool": None}
        self._extensions = {"timeout": timeouts}
        self._limit = asyncio.Semaphore(max_images)
        self._download_limit = asyncio.Semaphore(MAX_DOWNLOADS)
        self._stage_batcher = WorkBatcher(image_files.stage, threads=WORKERS, max_batch=BATCH_SIZE)
        self._choose_batcher = WorkBatcher(image_files.choose)
        self._publish_batcher = WorkBatcher(image_files.publish)

    async def stage(
        self, image: InlineImage | RemoteImage, stem: Path, part: Path, marker: "Marker | None" = None
    ) -> StagedImage:
        """Bring the bytes into the part file, whole, checked, marked and synced; choose a final name without taking it.

        An image that came inside a response, and that the folder of `part` cannot take, goes to the fallback folder.
        Raises BadImage, DiskError, Expired (HTTP 401, 403, 404 or 410), Unavailable, RateLimited, ServerTrouble, and
        Busy (no file handle is left).
        """
        if isinstance(image, RemoteImage):
            return await self._stage_remote(image, Part(part, stem, marker=marker))
        inline = Part(part, stem, image.data, marker=marker)
        try:
            return await self._stage_inline(inline)
        except DiskError as error:
            if self._fallback_folder is None:
                raise
            try:
                staged = await self._stage_inline(inline._replace(path=self._fallback_folder / part.name))
            except TaskError:
                raise error from None
            return replace(staged, final="")

    async def publish(
        self,
        staged: StagedImage,
        stem: Path,
        chosen: Callable[[StagedImage], Awaitable[None]],
        marker: "Marker | None" = None,
    ) -> SavedImage:
        """Give the part file its final name, after awaiting `chosen` with it; or find that an earlier process did.

        An image that the history knows by no name yet is marked first, if it is not: one that came whole in an earlier
        process. Any other keeps its bytes, because the history knows it by their digest.

        Raises Expired where the part file is gone, DiskError where the folder refuses, Busy as `stage` does.
        """
        unmarked = marker if not staged.final else None
        while True:
            if not staged.final:
                staged = await self._choose_batcher.do(image_files.Choice(staged, stem, unmarked))
                unmarked = None
            await chosen(staged)
            try:
                remark = await self._publish_batcher.do(image_files.Publication(staged, marker))
            except image_files.TakenError:
                staged = replace(staged, final="")
            else:
                self.discard(Path(staged.path))
                return SavedImage(staged.final, staged.sha256, staged.doubt, remark)

    def discard(self, part: Path) -> None:
        """Remove the part file of an incomplete image, or of one that has its final name; in both folders."""
        image_files.remove(part)
        if self._fallback_folder is not None:
            image_files.remove(self._fallback_folder / part.name)

    async def _stage_remote(self, image: RemoteImage, part: Part) -> StagedImage:
        try:
            async with self._limit:
                return await self._stage_batcher.do(await self._download(image.url, part))
        except BaseException as error:
            self.discard(part.path)
            _give_up_idle(error)
            raise

    async def _stage_inline(self, part: Part) -> StagedImage:
        """Where this is only interrupted, the part file stays: its bytes may be whole, and are nowhere else."""
        try:
            async with self._limit:
                return await self._stage_batcher.do(part)
        except Exception:
            image_files.remove(part.path)
            raise

    async def _download(self, url: str, part: Part) -> Part:
        import httpx  # noqa: PLC0415 - a local drawing needs no network

        from imagegen_cli.net.proxies import through  # noqa: PLC0415 - see above
        from imagegen_cli.net.transport import NoHandleError  # noqa: PLC0415 - the same

        if self._fetch is None or not url.startswith(("http://", "https://")):
            raise UnusableImage(Message("the service named a picture by an address that is not http"))
        try:
            async with self._download_limit, asyncio.timeout(MAX_DOWNLOAD_S):
                response = await self._follow_redirects(_parse_address(url))
                try:
                    _check_status(response)
                    return await _receive(response, part)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            late = Message("a picture did not arrive within {seconds} s").format(seconds=round(MAX_DOWNLOAD_S))
            raise Unavailable(through(late, url)) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UnusableImage(UNREADABLE_ADDRESS) from error
        except NoHandleError as error:
            raise Busy(words_of(error), after=1.0, hint=image_files.RAISE_LIMIT) from error
        except httpx.HTTPError as error:
            cut = through(Message("a picture did not arrive whole"), url)
            why = words_of(error) or type(error).__name__
            raise Unavailable(Message("{problem}: {why}").format(problem=cut, why=why)) from error

    async def _follow_redirects(self, address: "httpx.URL") -> "httpx.Response":
        """The first response that is not a redirect. No request carries a key, so none can leak to another host."""
        import httpx  # noqa: PLC0415 - see above

        if self._fetch is None:
            raise RuntimeError("a picture is to be fetched, but there is no transport")
        for _ in range(MAX_REDIRECTS + 1):
            address = address.copy_with(userinfo=b"")
            headers = {**REQUEST_HEADERS, **self._own_headers.get(_origin(address), {})}
            request = httpx.Request("GET", address, headers=headers, extensions=self._extensions)
            response = await self._fetch(request)
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            address = await _redirect_target(address, response)
        too_many = Message("a picture's address redirects more than {count} times").format(count=MAX_REDIRECTS)
        raise ServerTrouble(too_many)


def _give_up_idle(error: BaseException) -> None:
    """Close connections that nothing uses where this is the lack of a file handle: they would keep it for ever."""
    why = error.__cause__
    if isinstance(error, Busy) and isinstance(why, OSError) and why.errno in image_files.NO_HANDLE:
        from imagegen_cli.net.transport import close_idle  # noqa: PLC0415 - see _download

        close_idle()


def _origin(address: "httpx.URL") -> str:
    return str(address.copy_with(raw_path=b"/", fragment=None)).rstrip("/")


async def _redirect_target(address: "httpx.URL", response: "httpx.Response") -> "httpx.URL":
    """Raises ServerTrouble for a redirect from https to http, or from the public network into a private one."""
    status = response.status_code
    try:
        target = _parse_address(str(address.join(_location(response)))).copy_with(userinfo=b"")
    except (KeyError, ValueError, BadImage) as error:
        unreadable = Message("a picture's address redirects to one that cannot be read (HTTP {status})")
        raise ServerTrouble(unreadable.format(status=status)) from error
    if target.scheme not in ("http", "https"):
        other = Message("a picture's address redirects to one that is not http ({scheme}:) (HTTP {status})")
        raise ServerTrouble(other.format(scheme=target.scheme, status=status))
    if (address.scheme, target.scheme) == ("https", "http"):
        open_ = Message("a picture's address redirects from https to http (HTTP {status})")
        raise ServerTrouble(open_.format(status=status))
    if await _is_private(target) and not await _is_private(address):
        private = Message("a picture's address redirects into a private network (HTTP {status})")
        raise ServerTrouble(private.format(status=status))
    return target


def _location(response: "httpx.Response") -> str:
    """Raises KeyError also for an empty location, which would mean the same address again."""
    location = str(response.headers["location"]).strip()
    if not location:
        raise KeyError("location")
    return location


async def _is_private(address: "httpx.URL") -> bool:
    """Whether the host is this machine or in a private network; False for a name that only a proxy can look up."""
    with suppress(ValueError):
        return not _is_public(address.host)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port or 443)
    except (OSError, UnicodeError):
        return address.host == "localhost" or address.host.endswith(".localhost")
    return not all(_is_public(str(where[4][0]).partition("%")[0]) for where in found)


def _is_public(number: str) -> bool:
    """Raises ValueError where the host is a name and not a number."""
    ip = ipaddress.ip_address(number)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global


def _parse_address(url: str) -> "httpx.URL":
    """Raises UnusableImage.

    Later a port out of range would raise OverflowError, and half a surrogate pair UnicodeError.
    """
    import httpx  # noqa: PLC0415 - a local drawing needs no network

    with suppress(httpx.InvalidURL, UnicodeError):
        address = httpx.URL(url)
        if (address.port or 1) in range(1, 1 << 16):
            return address
    raise UnusableImage(UNREADABLE_ADDRESS)


def _check_status(response: "httpx.Response") -> None:
    status = response.status_code
    if status in EXPIRED:
        raise Expired(Message("the picture's address has expired (HTTP {status})").format(status=status))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(Message("too many downloads at once (HTTP {status})").format(status=status))
    if status != HTTPStatus.OK:
        raise ServerTrouble(Message("a picture could not be fetched (HTTP {status})").format(status=status))
    if "," in response.headers.get("content-encoding", ""):  # each layer may multiply the size by a thousand
        raise BadImage(Message("the service sent a picture that is compressed more than once"))


def _promised_size(response: "httpx.Response") -> int | None:
    """The content length in bytes, where it is known and the image is not compressed."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and "content-encoding" not in response.headers else None


def _tells_its_end(response: "httpx.Response") -> bool:
    """Whether a broken connection would be noticed: not where the body ends only with the connection."""
    headers = response.headers
    is_compressed = headers.get("content-encoding", "identity") != "identity"
    return is_compressed or "content-length" in headers or "transfer-encoding" in headers


async def _receive(response: "httpx.Response", part: Part) -> Part:
    """Receive a small image into memory, for the thread that syncs it; write others as they come: memory stays flat.

    The data of one read fits into the page cache, so the event loop hardly waits for a write.
    """
    size = _promised_size(response)
    part = part._replace(ends=_tells_its_end(response))
    if size is not None and size <= MAX_BYTES_IN_MEMORY:
        data = bytearray()
        await _pour(response, data.extend)
        part, received = part._replace(data=data), len(data)
    else:
        received = await _write_as_received(response, part.path)
    if size is not None and received != size:
        cut = Message("a picture did not arrive whole: {received} of {size} bytes")
        raise Unavailable(cut.format(received=received, size=size))
    return part


async def _write_as_received(response: "httpx.Response", path: Path) -> int:
    """The number of bytes that were written."""
    size = 0
    with image_files.create(path) as file:

        def write(data: image_files.Bytes) -> None:
            nonlocal size
            size += len(data)
            if size > MAX_IMAGE_BYTES:
                too_much = Message("the service sent more than {size} MB for one picture")
                raise UnusableImage(too_much.format(size=MAX_IMAGE_BYTES >> 20))
            with image_files.named_errors(path):
                image_files.write(file, data)

        await _pour(response, write)
    return size


async def _pour(response: "httpx.Response", write: "Write") -> None:
    """Give the image's bytes to `write` as they come."""
    decompressor: Any = None
    if response.headers.get("content-encoding", "identity") != "identity":
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        write = partial(_decompress, decompressor, write)
    stream: Any = response.stream
    if hasattr(stream, "into"):
        await stream.into(write)
    else:
        async for data in stream:
            write(data)
    if decompressor is not None and not decompressor.eof:
        raise Unavailable(Message("a picture did not arrive whole: its compressed data has no end"))


def _decompress(decompressor: Any, write: "Write", data: "image_files.Bytes") -> None:
    """Unpack what came compressed, although it was not requested, in small pieces: a bomb must not fill the memory."""
    while data:
        try:
            piece = decompressor.decompress(data, UNPACK_BYTES)
        except zlib.error as error:
            strange = Message("the service sent a picture with a compression that cannot be unpacked")
            raise BadImage(strange) from error
        data = decompressor.unconsumed_tail
        write(piece)
