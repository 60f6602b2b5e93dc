import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.references import (
    ANY_FORMAT,
    FIRST_BYTES,
    bytes_of,
    examined,
    media_type,
    opened,
    read,
    referred,
)
from tests.doubles.pictures import Pictures

PICTURE = Pictures().make("reference", 1)
BEGUN = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff\xe0",
    "WebP": b"RIFF\n\r\0\0WEBPVP8 ",
    "GIF": b"GIF89a",
    "BMP": b"BM\x46\n\x05\0\0\0\0\0\x36",
    "TIFF": b"II*\0",
    "HEIC": b"\0\0\0\x18ftypheic",
    "HEIF": b"\0\0\0\x18ftypmif1",
    "AVIF": b"\0\0\0\x1cftypavif",
}


@pytest.mark.parametrize("name", FIRST_BYTES)
def test_a_format_is_told_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(BEGUN[name] + b"\n" * 40)
    picture = read(str(path), formats=ANY_FORMAT)
    assert (picture.format, picture.data) == (name, path.read_bytes())
    assert picture.media_type == media_type(str(path), formats=ANY_FORMAT) == f"image/{name.lower()}"
    assert picture.suffix == (".jpg" if name == "JPEG" else f".{name.lower()}")


NO_PICTURES: dict[str, bytes] = {
    "a private key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n",
    "an environment": b"PATH=/bin\0HOME=/root\0API_KEY=x\0",
    "a database": b"SQLite format 3\0",
    "words that begin as BMP does": b"BMW is a car, and this is a diary\n",
    "words that begin as RIFF does": b"RIFF raff, and this is a diary\n",
    "a program": b"\x7fELF\x02\x01\x01\0",
    "nothing": b"",
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES.keys())
@pytest.mark.parametrize("look", [read, media_type, referred])
def test_what_is_no_picture_is_not_sent(tmp_path: Path, look: Callable[[str], object], content: bytes) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    with pytest.raises(
        BadRequest, match=r"is not a PNG, JPEG, WebP or GIF picture, and this service takes no other formats"
    ):
        look(str(path))


def socket_in(folder: Path) -> Path:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    return path


def pipe_in(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def linked(target: str) -> Callable[[Path], Path]:
    def link(folder: Path) -> Path:
        (folder / "link.png").symlink_to(target)
        return folder / "link.png"

    return link


ODD: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda folder: folder,
    "a pipe": pipe_in,
    "a socket": socket_in,
    "an endless device": lambda _: Path("/dev/zero"),
    "a link to a device": linked("/dev/zero"),
    "a link to itself": linked("link.png"),
    "what the system makes up": lambda _: Path("/proc/self/environ"),
    "memory": lambda _: Path("/proc/self/mem"),
    "a name with a NUL": lambda folder: folder / "a\0b",
    "nothing there": lambda folder: folder / "nowhere.png",
    "a name too long": lambda folder: folder / ("x" * 300),
}


@pytest.mark.skipif(os.name == "nt", reason="has other devices")
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    for look in (read, media_type):
        with pytest.raises(BadRequest, match=r"cannot read|there is no|is not a PNG"):
            look(str(make(tmp_path / "x")) if make is None else str(_made(make, tmp_path, look.__name__)))


def _made(make: Callable[[Path], Path], folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return make(folder / name)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(PICTURE)
    os.truncate(path, 1 << 40)
    with pytest.raises(BadRequest, match="at most 65536 KB here, not 1073741824"):
        read(str(path))
    with pytest.raises(BadRequest, match="at most 1 KB"):
        media_type(str(path), max_bytes=1024)
    with pytest.raises(OSError, match="larger than 1 KB"):
        bytes_of(path, 1024)


def test_the_bytes_that_are_judged_are_those_that_are_sent(tmp_path: Path) -> None:
    """A file that is exchanged after it was looked at is judged anew, by the descriptor that is read."""
    path = tmp_path / "cat.png"
    path.write_bytes(PICTURE)
    assert examined([str(path), "https://example.org/a"]) == ["image/png", "https://example.org/a"]
    with opened(path) as file:
        path.unlink()
        path.write_bytes(NO_PICTURES["a private key"])
        assert file.read() == PICTURE
    with pytest.raises(BadRequest, match="is not a PNG"):
        read(str(path))


def test_an_address_is_left_as_it_is() -> None:
    assert referred("HTTPS://example.org/a.png") == "HTTPS://example.org/a.png"
