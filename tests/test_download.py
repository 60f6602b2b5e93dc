"""A picture onto the disk: whole, under a name that no file had, or not at all."""

# ruff: noqa: ASYNC240 - the loop of a test serves no other task

import asyncio
import gzip
import os
import re
import shutil
import ssl
import struct
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

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
from imagegen_cli.core.forms import suffix_of
from imagegen_cli.core.provider import Fetch
from imagegen_cli.core.task import InlineImage, RemoteImage, SavedImage, StagedImage
from imagegen_cli.net.client import MAX_DOWNLOADS
from imagegen_cli.net.download import MAX_BYTES_IN_MEMORY, MAX_IMAGES_AT_ONCE, Downloader, WorkBatcher
from imagegen_cli.net.image_files import _sync_folder, sync
from imagegen_cli.net.transport import Transport
from tests import handles
from tests.clock import run
from tests.doubles.forms import UNMARKED, samples
from tests.doubles.http import Fault, Pictures, Reply, Service
from tests.scripted import png

pytestmark = pytest.mark.anyio

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""
TRUST = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context without certificates, which takes no time to load: doubles speak plain HTTP."""
POSIX = pytest.mark.skipif(os.name == "nt", reason="rights, limits and links of this kind")


class Files(Service):
    """Pictures at /files/<job>/<n>.<format>; anything that a test has laid under another path."""

    def __init__(self) -> None:
        super().__init__()
        self.laid: dict[str, Reply] = {}

    async def answer(self, request: Any) -> Reply:
        return self.laid[request.path]

    def lay(self, reply: Reply | bytes) -> RemoteImage:
        self.laid["/it"] = reply if isinstance(reply, Reply) else Reply.file(reply, "image/png")
        return RemoteImage(f"{self.url}/it")


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as files:
        yield files


@pytest.fixture(params=["own", "httpx"])
async def fetch(request: pytest.FixtureRequest) -> AsyncIterator[Fetch]:
    """Both ways that pictures can travel: httpx's is for proxies."""
    if request.param == "own":
        async with Transport(lambda: TRUST, 32) as transport:
            yield transport.handle_async_request
    else:
        async with httpx.AsyncClient(verify=TRUST) as client:
            yield partial(client.send, stream=True)


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "images" / "12-猫-1"


@pytest.fixture
def downloader(fetch: Fetch) -> Downloader:
    return Downloader(fetch)


def part_of(stem: Path) -> Path:
    """As `Task.part` names it, for a task of its own for each stem."""
    return stem.with_name(f".imagegen-ab12-{zlib.crc32(stem.name.encode())}-1.part")


async def no_name_kept(staged: StagedImage) -> None:
    """Do nothing with the chosen name: these tests have no history."""


async def save(downloader: Downloader, image: InlineImage | RemoteImage, stem: Path) -> Path:
    staged = await downloader.stage(image, stem, part_of(stem))
    return Path((await downloader.publish(staged, stem, no_name_kept)).path)


def there(stem: Path) -> list[str]:
    return sorted(path.name for path in stem.parent.iterdir()) if stem.parent.exists() else []


async def refused(downloader: Downloader, image: InlineImage | RemoteImage, stem: Path) -> TaskError:
    """The error of a download that fails; it must leave no file."""
    before = there(stem)
    with pytest.raises(TaskError) as caught:
        await downloader.stage(image, stem, part_of(stem))
    assert there(stem) == before
    return caught.value


# Whole


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_a_picture_arrives_whole_under_its_name(
    files: Files, downloader: Downloader, stem: Path, form: str
) -> None:
    files.pictures = Pictures(form, (300, 200), 200_000)
    path = await save(downloader, RemoteImage(files.file_url("job", 1)), stem)
    assert path == stem.with_name(f"12-猫-1.{form.replace('jpeg', 'jpg')}")
    assert path.read_bytes() == files.pictures.make("job", 1)
    assert there(stem) == [path.name]


async def test_a_picture_that_came_inside_an_answer_needs_no_network(stem: Path) -> None:
    path = await save(Downloader(None), InlineImage(png("a cat")), stem)
    assert path.read_bytes() == png("a cat")
    assert there(stem) == ["12-猫-1.png"]


async def test_a_picture_is_asked_for_without_a_key_and_unpacked(
    files: Files, downloader: Downloader, stem: Path
) -> None:
    await save(downloader, RemoteImage(files.file_url("job", 1)), stem)
    (request,) = files.requests
    assert "authorization" not in request.headers
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == f"imagegen/{__version__}"


async def test_a_slow_picture_arrives_whole(files: Files, downloader: Downloader, stem: Path) -> None:
    files.fail("download", Fault.SLOW_DRIP, seconds=0.0)
    path = await save(downloader, RemoteImage(files.file_url("job", 1)), stem)
    assert path.read_bytes() == files.pictures.make("job", 1)


async def test_a_packed_answer_is_unpacked(files: Files, downloader: Downloader, stem: Path) -> None:
    packed = Reply(200, gzip.compress(png("a cat")), {"content-type": "image/png", "content-encoding": "gzip"})
    path = await save(downloader, files.lay(packed), stem)
    assert path.read_bytes() == png("a cat")


async def test_a_length_that_nobody_promised_is_not_missed(files: Files, downloader: Downloader, stem: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(png()), 10):
            yield png()[start : start + 10]

    path = await save(downloader, files.lay(Reply(200, stream=chunks())), stem)
    assert path.read_bytes() == png()


async def test_very_many_pictures_come_a_few_at_a_time(files: Files, fetch: Fetch, stem: Path) -> None:
    downloader = Downloader(fetch, max_images=3)
    stems = [stem.with_name(f"{number}-1") for number in range(40)]
    await asyncio.gather(*(save(downloader, RemoteImage(files.file_url("job", 1)), one) for one in stems))
    assert len(there(stem)) == 40
    assert files.peak["download"] <= 3


def test_a_picture_has_its_time_from_when_it_is_asked_for(tmp_path: Path) -> None:
    """Each takes 600 s of the 900 that it may, and not all are asked for at once."""

    async def slowly(_: httpx.Request) -> httpx.Response:
        async with line:
            await asyncio.sleep(600.0)
            return httpx.Response(200, content=png())

    async def all_of_them() -> list[Path]:
        downloader = Downloader(slowly)
        stems = [tmp_path / f"{number}-1" for number in range(MAX_IMAGES_AT_ONCE)]
        return await asyncio.gather(*(save(downloader, RemoteImage("http://127.0.0.1/1.png"), one) for one in stems))

    line = asyncio.Semaphore(MAX_DOWNLOADS)
    assert len(run(all_of_them())) == MAX_IMAGES_AT_ONCE


# Not whole, or no picture


@pytest.mark.parametrize(
    ("fault", "error", "expected"),
    [
        (Fault.TRUNCATE, Unavailable, "did not arrive whole"),
        (Fault.CLOSE_AFTER, Unavailable, "did not arrive whole"),
        (Fault.CLOSE_BEFORE, Unavailable, "did not arrive whole"),
        (Fault.RESET_AFTER, Unavailable, "did not arrive whole"),
        (Fault.REFUSE, Unavailable, "did not arrive whole"),
        (Fault.HTML, BadImage, "the service sent a web page where a picture was due"),
        (Fault.EMPTY, BadImage, "the service sent an empty picture"),
        (Fault.GARBAGE, BadImage, "the service sent unknown bytes where a picture was due"),
        (Fault.ERROR_500, ServerTrouble, "(HTTP 500)"),
        (Fault.BAD_GATEWAY, ServerTrouble, "(HTTP 502)"),
        (Fault.TOO_MANY, RateLimited, "(HTTP 429)"),
    ],
)
async def test_what_goes_wrong_on_the_way_has_a_word_and_leaves_nothing(
    files: Files, downloader: Downloader, stem: Path, fault: Fault, error: type[TaskError], expected: str
) -> None:
    image = RemoteImage(files.file_url("job", 1))
    files.fail("download", fault, times=None)
    caught = await refused(downloader, image, stem)
    assert type(caught) is error
    assert expected in caught.message
    assert "sIgNaTuRe" not in f"{caught.message} {caught!r}"
    files.heal()
    assert (await save(downloader, image, stem)).exists(), "and can be had again"


@pytest.mark.parametrize("by", [-10, -1])
async def test_a_wrong_length_is_noticed(files: Files, downloader: Downloader, stem: Path, by: int) -> None:
    files.pictures = Pictures("webp")
    files.fail("download", Fault.WRONG_LENGTH, by=by)
    assert type(await refused(downloader, RemoteImage(files.file_url("job", 1)), stem)) in (BadImage, Unavailable)


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_BODY])
async def test_a_picture_that_stops_in_the_middle_is_given_up(
    files: Files, fetch: Fetch, stem: Path, fault: Fault
) -> None:
    files.fail("download", fault)
    caught = await refused(Downloader(fetch, read_timeout=0.05), RemoteImage(files.file_url("job", 1)), stem)
    assert type(caught) is Unavailable


@pytest.mark.parametrize("size", [10_000, 3 * MAX_BYTES_IN_MEMORY])
async def test_pictures_of_any_size_come_over_one_connection(
    files: Files, downloader: Downloader, stem: Path, size: int
) -> None:
    files.pictures = Pictures("jpeg", (64, 64), size)
    for number in range(3):
        path = await save(downloader, RemoteImage(files.file_url("job", number)), stem.with_name(f"{number}-1"))
        assert path.read_bytes() == files.pictures.make("job", number)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Expired), (403, Expired), (404, Expired), (410, Expired), (429, RateLimited), (400, ServerTrouble),
        (418, ServerTrouble), (500, ServerTrouble), (503, ServerTrouble), (204, ServerTrouble), (206, ServerTrouble),
        (300, ServerTrouble), (304, ServerTrouble),
    ],
)  # fmt: skip
async def test_only_200_is_a_picture(
    files: Files, downloader: Downloader, stem: Path, status: int, error: type[TaskError]
) -> None:
    body = b"" if status == 204 else png()
    image = files.lay(Reply(status, body, {"location": f"{files.url}/files/job/1.png"}))
    caught = await refused(downloader, image, stem)
    assert type(caught) is error
    assert f"(HTTP {status})" in caught.message
    assert files.counts["download"] == 0, "this is no redirect"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("absolute", [True, False])
async def test_a_redirect_is_followed_and_carries_no_key(
    files: Files, downloader: Downloader, stem: Path, status: int, absolute: bool
) -> None:
    target = f"{files.url.replace('http://', 'http://me:secret@')}" * absolute + "/files/job/1.png?sign=1"
    image = files.lay(Reply(status, b"moved", {"location": target}))
    path = await save(downloader, image, stem)
    assert path.read_bytes() == files.pictures.make("job", 1)
    for request in files.requests:
        assert not request.headers.keys() & {"authorization", "cookie", "x-api-key", "referer"}


@pytest.mark.parametrize(("steps", "good"), [(5, True), (6, False), (100, False)])
async def test_redirects_have_a_bound(files: Files, downloader: Downloader, stem: Path, steps: int, good: bool) -> None:
    for step in range(steps):
        following = f"/step-{step + 1}" if step < steps - 1 else "/files/job/1.png"
        files.laid[f"/step-{step}"] = Reply(302, b"", {"location": following})
    image = RemoteImage(f"{files.url}/step-0")
    if good:
        assert (await save(downloader, image, stem)).exists()
    else:
        assert type(await refused(downloader, image, stem)) is ServerTrouble
        assert len(files.requests) == 6


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("file:///etc/passwd", "redirects to one that is not http (file:)"),
        ("", "redirects to one that cannot be read"),
        (" ", "redirects to one that cannot be read"),
    ],
)
async def test_where_a_redirect_leads_is_said_as_it_is(
    files: Files, downloader: Downloader, stem: Path, target: str, expected: str
) -> None:
    image = files.lay(Reply(302, b"", {"location": target}))
    assert expected in (await refused(downloader, image, stem)).message


REDIRECTS = [
    ("https://cdn.example/a", "http://cdn.example/a", False),
    ("https://cdn.example/a", "ftp://cdn.example/a", False),
    ("https://cdn.example/a", "file:///etc/passwd", False),
    ("https://cdn.example/a", "http://[", False),
    ("https://cdn.example/a", "http://cdn.example:99999/", False),
    ("https://cdn.example/a", "", True),
    ("https://cdn.example/a", "  ", False),
    ("https://93.184.216.34/a", "https://1.1.1.1/b", True),
    ("http://93.184.216.34/a", "https://1.1.1.1/b", True),
    ("https://93.184.216.34/a", "https://127.0.0.1/b", False),
    ("https://93.184.216.34/a", "https://localhost/b", False),
    ("https://93.184.216.34/a", "https://a.localhost/b", False),
    ("https://93.184.216.34/a", "https://2130706433/b", False),
    ("https://93.184.216.34/a", "https://[::1]/b", False),
    ("https://93.184.216.34/a", "https://[::ffff:127.0.0.1]/b", False),
    ("https://93.184.216.34/a", "https://10.0.0.7/b", False),
    ("https://93.184.216.34/a", "https://192.168.1.1/b", False),
    ("https://93.184.216.34/a", "https://169.254.169.254/latest/meta-data", False),
    ("https://93.184.216.34/a", "https://[fd00::1]/b", False),
    ("http://127.0.0.1:8188/a", "http://192.168.1.1/b", True),
    ("http://127.0.0.1:8188/a", "http://127.0.0.1:9/b", True),
]


@pytest.mark.parametrize(("first", "target", "followed"), REDIRECTS)
async def test_a_redirect_leads_neither_down_nor_inside(stem: Path, first: str, target: str, followed: bool) -> None:
    """What travels is seen at the seam to the network: no test can answer for addresses of the world."""
    urls: list[httpx.URL] = []

    async def fetch(request: httpx.Request) -> httpx.Response:
        urls.append(request.url)
        if len(urls) > 1 or not target:
            return httpx.Response(200, stream=httpx.ByteStream(png()))
        return httpx.Response(302, headers={"location": target}, stream=httpx.ByteStream(b""))

    downloader = Downloader(fetch)
    if followed:
        assert (await save(downloader, RemoteImage(first), stem)).read_bytes() == png()
    else:
        assert type(await refused(downloader, RemoteImage(first), stem)) is ServerTrouble
        assert len(urls) == 1


# An answer that ends by closing the connection


@pytest.mark.parametrize("form", samples())
async def test_a_cut_answer_without_a_length_is_never_taken_for_a_picture(
    files: Files, downloader: Downloader, stem: Path, form: str
) -> None:
    suffix, data = samples()[form]
    image = files.lay(Reply(200, data[: len(data) * 2 // 3], unmeasured=True))
    if suffix in UNMARKED and not form.startswith("boxed"):
        staged = await downloader.stage(image, stem, part_of(stem))
        assert "whether a picture came whole is not known" in staged.doubt
    else:
        assert type(await refused(downloader, image, stem)) is BadImage


@pytest.mark.parametrize("form", samples())
@pytest.mark.parametrize("unmeasured", [True, False])
async def test_only_what_nothing_vouches_for_is_doubted(
    files: Files, downloader: Downloader, stem: Path, form: str, unmeasured: bool
) -> None:
    suffix, data = samples()[form]
    staged = await downloader.stage(files.lay(Reply(200, data, unmeasured=unmeasured)), stem, part_of(stem))
    known = suffix not in UNMARKED or form.startswith("boxed") or not unmeasured
    assert (staged.doubt == "") == known
    assert staged.sha256 == sha256(data).hexdigest()


async def test_a_packed_answer_that_was_cut_is_noticed(files: Files, downloader: Downloader, stem: Path) -> None:
    data = b"\xff\x0a" + os.urandom(50_000)
    packed = gzip.compress(data)
    image = files.lay(Reply(200, packed[: len(packed) // 2], {"content-encoding": "gzip"}, unmeasured=True))
    assert type(await refused(downloader, image, stem)) is Unavailable


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA", "//127.0.0.1/a.png", "a.png", "",
        "http://", "http://[", "http://a b/", "http://127.0.0.1:99999/a.png", "http://127.0.0.1:-1/", "http://\ud800/",
        "https://\x00/", "http://127.0.0.1:0/a.png",
    ],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused(downloader: Downloader, stem: Path, url: str) -> None:
    caught = await refused(downloader, RemoteImage(url), stem)
    assert isinstance(caught, BadImage | Unavailable)


async def test_without_a_network_no_address_is_asked(stem: Path) -> None:
    caught = await refused(Downloader(None), RemoteImage("http://127.0.0.1/a.png"), stem)
    assert type(caught) is UnusableImage


@pytest.mark.parametrize("large", [False, True])
async def test_a_download_that_is_cancelled_leaves_nothing(
    files: Files, downloader: Downloader, stem: Path, large: bool
) -> None:
    """Small pictures wait in memory for the disk, large ones are on it as they come."""
    files.pictures = Pictures("jpeg", (64, 64), 2 * MAX_BYTES_IN_MEMORY if large else 10_000)
    files.fail("download", Fault.STALL_BODY)
    loading = asyncio.ensure_future(downloader.stage(RemoteImage(files.file_url("job", 1)), stem, part_of(stem)))
    while not (part_of(stem).exists() if large else files.counts["download"]):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert there(stem) == []


# First bytes, and how much a picture claims


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def head(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


BODY, END = chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")
HEADS: dict[str, bytes] = {".jpg": Pictures("jpeg").make("job", 1), ".webp": Pictures("webp").make("job", 1)}


@pytest.mark.parametrize("form", samples())
async def test_the_first_bytes_decide_the_suffix(stem: Path, form: str) -> None:
    suffix, data = samples()[form]
    path = await save(Downloader(None), InlineImage(data), stem)
    assert path.name == f"12-猫-1{suffix}"
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b"GIF87a" + bytes(20), ".gif"),
        (b"MM\0*" + bytes(20), ".tiff"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), ".jxl"),
        (b"\0\0\0\x1cftypmif1" + bytes(20), ".avif"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>\n<!-- by hand -->\n<svg>", ".svg"),
        (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">\n<svg >', ".svg"),
    ],
)
def test_formats_have_several_beginnings(data: bytes, suffix: str) -> None:
    assert suffix_of(data) == suffix


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty picture"),
        (b"<!doctype html><svg></svg>", "a web page"),
        (b"  \n<html>", "a web page"),
        (b"<svgx>", "a web page"),
        (b'{"error": "no such file"}', "text"),
        (b"BMW is a make of car, and this is no bitmap", "text"),
        (b"GIF88a", "text"),
        (b"RIFF\0\0\0\0MIDI", "text"),
        (b"\xff\xd8", "unknown bytes"),
        (b"\x89PNG\r\n", "unknown bytes"),
        ("猫".encode(), "unknown bytes"),
    ],
)
async def test_what_is_no_picture_is_said(stem: Path, data: bytes, kind: str) -> None:
    caught = await refused(Downloader(None), InlineImage(data), stem)
    assert type(caught) is BadImage
    assert kind in caught.message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png_of(head(100_000, 100_000), BODY, END), "a picture claims 100000 × 100000 pixels"),
        (png_of(head(0, 5), BODY, END), "a picture claims 0 × 5 pixels"),
        (png_of(head(2**32 - 1, 2**32 - 1), BODY, END), "pixels"),
        (png()[:-1], "ends in the middle or is damaged"),
        (png()[:-12], "ends in the middle or is damaged"),
        (png()[:40], "ends in the middle or is damaged"),
        (png()[:20], "ends in the middle or is damaged"),
        (png("a cat").replace(b"a cat", b"a cut"), "ends in the middle or is damaged"),
        (png_of(END), "damaged"),
        (png_of(chunk(b"IHDR", b"\0\0"), BODY, END), "damaged"),
        (png_of(chunk(b"IHDR", b""), BODY, END), "damaged"),
        (png_of(head(1, 1), struct.pack(">I", 2**32 - 1) + b"IDAT"), "damaged"),
        (png_of(head(1, 1), struct.pack(">I", 2**31) + b"IDAT" + bytes(1000)), "damaged"),
        (HEADS[".jpg"][:-2], "a JPEG picture ends in the middle"),
        (HEADS[".jpg"][: len(HEADS[".jpg"]) // 2], "a JPEG picture ends in the middle"),
        (HEADS[".webp"][:-1], "a WebP picture ends in the middle"),
        (HEADS[".webp"][: len(HEADS[".webp"]) // 2], "a WebP picture ends in the middle"),
        (b"RIFF\xff\xff\xff\xffWEBP" + bytes(50), "a WebP picture ends in the middle"),
        (b"GIF89a", "of no size"),
    ],
)
async def test_a_picture_that_is_damaged_or_a_bomb_is_refused(stem: Path, data: bytes, expected: str) -> None:
    caught = await refused(Downloader(None), InlineImage(data), stem)
    assert isinstance(caught, BadImage)
    assert expected in caught.message


async def test_every_cut_through_a_png_is_noticed(stem: Path) -> None:
    whole = png("a cat")
    for length in range(len(whole)):
        assert type(await refused(Downloader(None), InlineImage(whole[:length]), stem)) is BadImage


@STEADY
@given(st.binary(max_size=40), st.sampled_from([b"", *(data[:20] for _, data in samples().values())]))
def test_any_bytes_are_saved_whole_or_refused(data: bytes, before: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "1-1"
        try:
            path = asyncio.run(save(Downloader(None), InlineImage(before + data), stem))
        except BadImage:
            assert there(stem) == []
        else:
            assert path.read_bytes() == before + data
            assert there(stem) == [path.name]


async def test_a_packed_answer_that_is_broken_is_refused(files: Files, downloader: Downloader, stem: Path) -> None:
    packed = gzip.compress(png())
    for broken in (packed[:-20], packed[:20] + bytes(20) + packed[40:], png()):
        image = files.lay(Reply(200, broken, {"content-encoding": "gzip"}))
        assert isinstance(await refused(downloader, image, stem), BadImage | Unavailable)


async def test_what_is_packed_twice_is_refused(files: Files, downloader: Downloader, stem: Path) -> None:
    twice = Reply(200, gzip.compress(gzip.compress(png())), {"content-encoding": "gzip, gzip"})
    assert type(await refused(downloader, files.lay(twice), stem)) is BadImage


# Nothing that exists is overwritten


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ((), "12-猫-1.png"),
        (("12-猫-1.png",), "12-猫-1~2.png"),
        (("12-猫-1.png", "12-猫-1~2.png"), "12-猫-1~3.png"),
        (("12-猫-1.jpg",), "12-猫-1.png"),
    ],
)
async def test_a_name_that_is_taken_is_left_alone(stem: Path, taken: tuple[str, ...], name: str) -> None:
    stem.parent.mkdir()
    for other in taken:
        stem.with_name(other).write_text("precious", encoding="ascii")
    assert (await save(Downloader(None), InlineImage(png()), stem)).name == name
    assert all(stem.with_name(other).read_text(encoding="ascii") == "precious" for other in taken)


async def test_a_link_to_nowhere_is_a_taken_name(stem: Path) -> None:
    stem.parent.mkdir()
    stem.with_name("12-猫-1.png").symlink_to(stem.with_name("nowhere"))
    assert (await save(Downloader(None), InlineImage(png()), stem)).name == "12-猫-1~2.png"
    assert not stem.with_name("nowhere").exists()


async def test_somebody_who_takes_the_name_at_the_last_moment_keeps_it(stem: Path) -> None:
    known: list[StagedImage] = []

    async def too_late(staged: StagedImage) -> None:
        known.append(staged)
        if len(known) < 3:
            Path(staged.final).write_text("precious", encoding="ascii")

    downloader = Downloader(None)
    staged = await downloader.stage(InlineImage(png()), stem, part_of(stem))
    saved = await downloader.publish(staged, stem, too_late)
    assert [Path(one.final).name for one in known] == ["12-猫-1.png", "12-猫-1~2.png", "12-猫-1~3.png"]
    assert saved == SavedImage(known[-1].final, sha256(png()).hexdigest())
    assert Path(known[0].final).read_text(encoding="ascii") == "precious"
    assert Path(saved.path).read_bytes() == png()


async def test_two_who_save_under_one_name_at_once_both_keep_their_picture(stem: Path) -> None:
    downloader = Downloader(None)
    stems = [stem, stem.with_name("other")]
    staged = [
        StagedImage((await downloader.stage(InlineImage(png(str(number))), one, part_of(one))).path)
        for number, one in enumerate(stems)
    ]
    both = asyncio.Barrier(2)
    rounds = {0: 0, 1: 0}

    def meeting(who: int) -> Callable[[StagedImage], Any]:
        async def chosen(staged: StagedImage) -> None:
            rounds[who] += 1
            if rounds[who] == 1:
                await both.wait()

        return chosen

    saved = await asyncio.gather(*(downloader.publish(one, stem, meeting(who)) for who, one in enumerate(staged)))
    assert sorted(Path(one.path).name for one in saved) == ["12-猫-1.png", "12-猫-1~2.png"]
    assert [Path(one.path).read_bytes() for one in saved] == [png("0"), png("1")]


async def test_a_link_in_the_place_of_the_part_file_is_not_followed(stem: Path) -> None:
    stem.parent.mkdir()
    precious = stem.with_name("precious")
    precious.write_text("precious", encoding="ascii")
    part_of(stem).symlink_to(precious)
    await save(Downloader(None), InlineImage(png()), stem)
    assert precious.read_text(encoding="ascii") == "precious"
    assert there(stem) == ["12-猫-1.png", "precious"]


async def test_the_same_bytes_under_the_same_name_are_still_two_pictures(stem: Path) -> None:
    """Two tasks with one seed draw the same; each has a file of its own."""
    downloader = Downloader(None)
    parts = [stem.with_name(f".imagegen-ab12-{number}-1.part") for number in (1, 2)]
    staged = [await downloader.stage(InlineImage(png()), stem, part) for part in parts]
    saved = [await downloader.publish(one, stem, no_name_kept) for one in staged]
    assert [Path(one.path).name for one in saved] == ["12-猫-1.png", "12-猫-1~2.png"]


async def test_a_file_of_the_chosen_name_is_ours_only_by_its_bytes(stem: Path) -> None:
    """Killed before the link; then another process with the same `--name` took the name, and the part file was lost."""
    staged = await killed_before_linking(stem, png("mine"))
    Path(staged.path).unlink()
    Path(staged.final).write_bytes(png("not mine"))
    with pytest.raises(Expired, match="is gone"):
        await Downloader(None).publish(staged, stem, no_name_kept)
    assert Path(staged.final).read_bytes() == png("not mine")
    Path(staged.final).write_bytes(png("mine"))
    assert await Downloader(None).publish(staged, stem, no_name_kept) == SavedImage(staged.final, staged.sha256)


# Killed at every step: what the next process finds


class KilledError(BaseException):
    """Stands for SIGKILL: no code of the program may catch it and tidy up."""


async def killed_before_linking(stem: Path, data: bytes) -> StagedImage:
    """The final name is remembered, and nothing has happened yet."""
    known: list[StagedImage] = []

    async def kill(staged: StagedImage) -> None:
        known.append(staged)
        raise KilledError

    downloader = Downloader(None)
    with pytest.raises(KilledError):
        await downloader.publish(await downloader.stage(InlineImage(data), stem, part_of(stem)), stem, kill)
    return known[0]


async def test_killed_while_fetching_the_next_begins_anew(stem: Path) -> None:
    stem.parent.mkdir()
    part_of(stem).write_bytes(png("a cat")[:30])
    path = await save(Downloader(None), InlineImage(png("a cat")), stem)
    assert path.read_bytes() == png("a cat")
    assert there(stem) == [path.name]


async def test_killed_after_holding_the_next_goes_on(stem: Path) -> None:
    staged = await Downloader(None).stage(InlineImage(png()), stem, part_of(stem))
    assert staged == StagedImage(str(part_of(stem)), str(stem.with_name("12-猫-1.png")), sha256(png()).hexdigest())
    assert there(stem) == [part_of(stem).name]
    saved = await Downloader(None).publish(staged, stem, no_name_kept)
    assert Path(saved.path).read_bytes() == png()
    assert there(stem) == ["12-猫-1.png"]


async def test_killed_after_choosing_the_next_uses_the_name(stem: Path) -> None:
    staged = await killed_before_linking(stem, png())
    assert there(stem) == [part_of(stem).name]
    assert await Downloader(None).publish(staged, stem, no_name_kept) == SavedImage(staged.final, staged.sha256)
    assert there(stem) == ["12-猫-1.png"]


async def test_killed_after_linking_the_next_only_tidies_up(stem: Path) -> None:
    staged = await killed_before_linking(stem, png())
    os.link(staged.path, staged.final)
    assert await Downloader(None).publish(staged, stem, no_name_kept) == SavedImage(staged.final, staged.sha256)
    assert there(stem) == ["12-猫-1.png"]


async def test_killed_after_tidying_up_the_next_finds_it_done(stem: Path) -> None:
    staged = await killed_before_linking(stem, png())
    Path(staged.path).rename(staged.final)
    assert await Downloader(None).publish(staged, stem, no_name_kept) == SavedImage(staged.final, staged.sha256)
    assert there(stem) == ["12-猫-1.png"]


async def test_killed_after_choosing_a_name_that_is_then_taken_the_next_chooses_again(stem: Path) -> None:
    staged = await killed_before_linking(stem, png())
    Path(staged.final).write_text("precious", encoding="ascii")
    saved = await Downloader(None).publish(staged, stem, no_name_kept)
    assert Path(saved.path).name == "12-猫-1~2.png"
    assert Path(staged.final).read_text(encoding="ascii") == "precious"


async def test_killed_after_linking_another_picture_of_the_same_name_destroys_nothing(stem: Path) -> None:
    """A retry after the kill fetches anew into the part file, which is still the finished picture's second name."""
    staged = await killed_before_linking(stem, png("first"))
    os.link(staged.path, staged.final)
    path = await save(Downloader(None), InlineImage(png("second")), stem)
    assert Path(staged.final).read_bytes() == png("first")
    assert path.read_bytes() == png("second")
    assert there(stem) == ["12-猫-1.png", "12-猫-1~2.png"]


async def test_a_part_file_that_is_gone_must_be_fetched_again(stem: Path) -> None:
    staged = await Downloader(None).stage(InlineImage(png()), stem, part_of(stem))
    Path(staged.path).unlink()
    for lost in (staged, StagedImage(staged.path, str(stem.with_name("12-猫-1.png")))):
        with pytest.raises(Expired, match="is gone"):
            await Downloader(None).publish(lost, stem, no_name_kept)


async def test_a_folder_that_is_gone_is_made_again_or_said(stem: Path) -> None:
    downloader = Downloader(None)
    staged = await downloader.stage(InlineImage(png()), stem, part_of(stem))
    shutil.rmtree(stem.parent)
    with pytest.raises(Expired):
        await downloader.publish(staged, stem, no_name_kept)
    assert (await save(downloader, InlineImage(png()), stem)).exists()


async def test_half_a_picture_can_be_thrown_away(stem: Path) -> None:
    downloader = Downloader(None)
    downloader.discard(part_of(stem))
    await downloader.stage(InlineImage(png()), stem, part_of(stem))
    downloader.discard(part_of(stem))
    assert there(stem) == []


# What the disk refuses


async def test_a_file_in_the_folders_place_is_said(stem: Path) -> None:
    stem.parent.write_text("no folder", encoding="ascii")
    with pytest.raises(DiskError, match=r"cannot write .*: Not a directory"):
        await Downloader(None).stage(InlineImage(png()), stem, part_of(stem))


async def test_a_folder_in_the_part_files_place_is_said(stem: Path) -> None:
    part_of(stem).mkdir(parents=True)
    with pytest.raises(DiskError, match="cannot write "):
        await Downloader(None).stage(InlineImage(png()), stem, part_of(stem))


async def test_a_name_that_is_too_long_for_the_folder_is_cut(stem: Path) -> None:
    saved = [await save(Downloader(None), InlineImage(png()), stem.with_name("猫" * 100)) for _ in range(2)]
    assert [path.name for path in saved] == ["猫" * 82 + ".png", "猫" * 82 + "~2.png"]


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """As on a disk that is nearly full: a write is taken in part, and only the next is refused."""
    import resource  # noqa: PLC0415 - Windows has none

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@POSIX
@pytest.mark.parametrize("size", [5_000, 500_000])
@pytest.mark.parametrize("remote", [False, True])
async def test_a_disk_that_takes_only_a_part_is_noticed(
    files: Files, downloader: Downloader, stem: Path, size: int, remote: bool
) -> None:
    data = Pictures("png", (8, 8), size).make("job", 1)
    image = files.lay(data) if remote else InlineImage(data)
    with small_files(4_000):
        caught = await refused(downloader, image, stem)
    assert type(caught) is DiskError
    assert re.match(f"cannot write {re.escape(str(part_of(stem)))}: ", caught.message)
    assert (await save(downloader, image, stem)).read_bytes() == data


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of root's while root gives its rights away; for any other user a folder without the right to write."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def give_up_rights() -> None:
    if os.getuid() == 0:
        os.seteuid(65534)


async def test_what_came_inside_an_answer_finds_a_second_place(stem: Path, tmp_path: Path) -> None:
    downloader = Downloader(None, fallback_folder=tmp_path / "second")
    stem.parent.write_text("no folder", encoding="ascii")
    staged = await downloader.stage(InlineImage(png()), stem, part_of(stem))
    assert staged == StagedImage(str(tmp_path / "second" / part_of(stem).name), "", sha256(png()).hexdigest())
    with pytest.raises(DiskError, match=r"cannot write .*; the picture is kept in .*second"):
        await downloader.publish(staged, stem, no_name_kept)
    stem.parent.unlink()
    saved = await downloader.publish(staged, stem, no_name_kept)
    assert Path(saved.path).read_bytes() == png()
    assert there(stem) == ["12-猫-1.png"]
    assert there(Path(staged.path)) == []


async def test_killed_while_it_is_brought_from_the_second_place_nothing_is_lost(stem: Path, tmp_path: Path) -> None:
    downloader = Downloader(None, fallback_folder=tmp_path / "second")
    stem.parent.write_text("no folder", encoding="ascii")
    staged = await downloader.stage(InlineImage(png()), stem, part_of(stem))
    stem.parent.unlink()

    async def kill(_held: StagedImage) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        await downloader.publish(staged, stem, kill)
    assert Path(staged.path).exists(), "the history still says that it lies there"
    assert Path((await downloader.publish(staged, stem, no_name_kept)).path).read_bytes() == png()
    assert there(Path(staged.path)) == []
    assert there(stem) == ["12-猫-1.png"]


async def test_without_a_second_place_either_the_first_trouble_is_said(stem: Path, tmp_path: Path) -> None:
    stem.parent.write_text("no folder", encoding="ascii")
    (tmp_path / "second").write_text("no folder", encoding="ascii")
    with pytest.raises(DiskError, match=r"cannot write .*images"):
        await Downloader(None, fallback_folder=tmp_path / "second").stage(InlineImage(png()), stem, part_of(stem))


async def test_a_picture_with_an_address_is_not_kept_elsewhere(
    files: Files, stem: Path, tmp_path: Path, fetch: Fetch
) -> None:
    stem.parent.write_text("no folder", encoding="ascii")
    downloader = Downloader(fetch, fallback_folder=tmp_path / "second")
    with pytest.raises(DiskError):
        await downloader.stage(RemoteImage(files.file_url("job", 1)), stem, part_of(stem))
    assert not (tmp_path / "second").exists()


async def test_an_interrupted_hold_does_not_throw_away_what_was_paid(stem: Path) -> None:
    holding = asyncio.ensure_future(Downloader(None).stage(InlineImage(png()), stem, part_of(stem)))
    while not part_of(stem).exists():  # noqa: ASYNC110 - the disk gives no event
        await asyncio.sleep(0)
    holding.cancel()
    await asyncio.wait([holding])
    await asyncio.get_running_loop().shutdown_default_executor()
    assert part_of(stem).read_bytes() == png()


@POSIX
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that has no fsync")
def test_what_cannot_be_synced_is_in_place_all_the_same() -> None:
    """Pipes and /proc answer as network shares and FUSE do: EINVAL."""
    read, write = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(write)
    sync(write)
    _sync_folder(Path("/proc"))
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync(write)


@POSIX
async def test_without_a_file_handle_it_is_busy_and_no_matter_of_the_disk(stem: Path) -> None:
    import resource  # noqa: PLC0415 - Windows has none

    downloader = Downloader(None, fallback_folder=stem.parent / "second")
    staged = await downloader.stage(InlineImage(png()), stem, part_of(stem))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, before[1]))
    try:
        taken += handles.take_all()  # also those of connections of earlier tests, which are closed where one is lacking
        with pytest.raises(Busy, match="too many files are open"):
            await downloader.stage(InlineImage(png()), stem, part_of(stem.with_name("other")))
        taken += handles.take_all()
        with pytest.raises(Busy, match="too many files are open"):
            await downloader.publish(StagedImage(staged.path), stem, no_name_kept)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for handle in taken:
            os.close(handle)
    assert (await downloader.publish(staged, stem, no_name_kept)).sha256 == staged.sha256


@POSIX
async def test_a_folder_without_the_right_to_write_is_said() -> None:
    with as_nobody() as folder:
        staged = await Downloader(None).stage(InlineImage(png()), folder / "1-1", part_of(folder / "1-1"))
        Path(staged.path).chmod(0o644)
        folder.chmod(0o555)
        give_up_rights()
        with pytest.raises(DiskError, match="Permission denied"):
            await Downloader(None).publish(staged, folder / "1-1", no_name_kept)
        with pytest.raises(DiskError, match="Permission denied"):
            await Downloader(None).stage(InlineImage(png()), folder / "2-1", part_of(folder / "2-1"))


def links_are_protected() -> bool:
    """Whether this kernel refuses links to other people's files, as file systems without links refuse all."""
    setting = Path("/proc/sys/fs/protected_hardlinks")
    return setting.exists() and setting.read_text(encoding="ascii").strip() == "1"


@POSIX
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not links_are_protected(),
    reason="only root can become a user to whom the kernel refuses a link",
)
@pytest.mark.parametrize("taken", [False, True])
async def test_where_no_links_can_be_made_the_part_file_is_renamed(taken: bool) -> None:
    with as_nobody() as folder:
        stem = folder / "1-1"
        staged = await Downloader(None).stage(InlineImage(png()), stem, part_of(stem))
        Path(staged.path).chmod(0o644)
        folder.chmod(0o777)
        give_up_rights()
        with pytest.raises(PermissionError):
            os.link(staged.path, folder / "probe")

        async def meanwhile(staged: StagedImage) -> None:
            if taken and not stem.with_name("1-1.png").exists():
                Path(staged.final).write_text("precious", encoding="ascii")

        saved = await Downloader(None).publish(staged, stem, meanwhile)
        assert Path(saved.path).read_bytes() == png()
        if taken:
            assert stem.with_name("1-1.png").read_text(encoding="ascii") == "precious"
        assert there(stem) == (["1-1.png", "1-1~2.png"] if taken else ["1-1.png"])


async def test_a_round_that_breaks_leaves_nobody_waiting() -> None:
    def broken(_jobs: Sequence[int]) -> list[int | Exception]:
        raise MemoryError("no room")

    rounds = WorkBatcher(broken)
    known = await asyncio.gather(*(rounds.do(number) for number in range(3)), return_exceptions=True)
    assert [type(one) for one in known] == [MemoryError] * 3
