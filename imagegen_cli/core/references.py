"""Reference pictures on the disk: the one place where a file is opened to be sent to a service.

A name in a list or on the command line may lead anywhere: to a private key, a pipe that never ends, a device. Only
regular files of bounded size are opened, and only data that begins as a picture does is sent. Both are checked on the
descriptor that is read, so that exchanging the file in between has no effect.
"""

import errno
import os
import re
import stat
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.language import Message
from imagegen_cli.core.system_errors import cause

FIRST_BYTES: dict[str, bytes] = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WebP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM....\0\0\0\0",
    "TIFF": rb"II\*\0|MM\0\*",
    "HEIC": rb"....ftyp(?:heic|heix)",
    "HEIF": rb"....ftyp(?:mif1|msf1)",
    "AVIF": rb"....ftyp(?:avif|avis)",
}
"""Format -> how its files begin."""
ANY_FORMAT = tuple(FIRST_BYTES)
DEFAULT_FORMATS = ("PNG", "JPEG", "WebP", "GIF")
HEAD = 32
"""Bytes by which a format is recognised."""
MAX_BYTES = 64 * 1024 * 1024
"""Of one reference picture: no service takes a larger one."""


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes = field(repr=False)
    format: str

    @property
    def media_type(self) -> str:
        return _media_type(self.format)

    @property
    def suffix(self) -> str:
        """The suffix of a file name, by the format."""
        return f".{self.format.lower().replace('jpeg', 'jpg')}"

    @property
    def base64(self) -> str:
        return b64encode(self.data).decode()

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{self.base64}"


def is_remote(reference: str) -> bool:
    return reference.lower().startswith(("http://", "https://"))


def read(reference: str, *, formats: Sequence[str] = DEFAULT_FORMATS, max_bytes: int = MAX_BYTES) -> Picture:
    """The whole file. Raises BadRequest where the format is none of these, the file is too large or missing."""
    data = _begun(reference, formats, max_bytes, max_bytes + 1)
    if len(data) > max_bytes:  # it grew after its size was looked at
        raise BadRequest(_too_large(reference, len(data), max_bytes))
    return Picture(data, format_in(data))


def media_type(reference: str, *, formats: Sequence[str] = DEFAULT_FORMATS, max_bytes: int = MAX_BYTES) -> str:
    """The media type of the file by its first bytes. Raises BadRequest as `read` does."""
    return _media_type(format_in(_begun(reference, formats, max_bytes, HEAD)))


def examined(
    references: Iterable[str], *, formats: Sequence[str] = DEFAULT_FORMATS, max_bytes: int = MAX_BYTES
) -> list[str]:
    """Check the references: of each the address, or the media type of the file, in place of its data.

    Raises BadRequest where a file cannot be used.
    """
    return [one if is_remote(one) else media_type(one, formats=formats, max_bytes=max_bytes) for one in references]


def referred(reference: str, *, formats: Sequence[str] = DEFAULT_FORMATS) -> str:
    """A reference as one text: its address, or a data: URI of the file. Raises BadRequest."""
    return reference if is_remote(reference) else read(reference, formats=formats).data_uri


def form_file(name: str, reference: str, *, formats: Sequence[str] = DEFAULT_FORMATS) -> tuple[str, bytes, str]:
    """A file as a part of a form: `name` with the suffix of its format, the bytes, their type. Raises BadRequest."""
    picture = read(reference, formats=formats)
    return f"{name}{picture.suffix}", picture.data, picture.media_type


def format_in(head: bytes) -> str:
    """The format of a picture by its first bytes; empty where they are not a picture's."""
    found = (name for name, pattern in FIRST_BYTES.items() if re.match(pattern, head, re.DOTALL))
    return next(found, "")


@contextmanager
def opened(path: str | Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """A regular file, and without `follow` not a link to one. Raises OSError, with the reason in `strerror`.

    A device is not opened at all, because opening alone may start something. Opening a pipe does not block.
    """
    _must_be_regular(Path(path).stat(follow_symlinks=follow))
    with open(path, "rb", opener=_without_waiting if follow else _without_following) as file:
        _must_be_regular(os.fstat(file.fileno()))
        yield file


def bytes_of(path: Path, max_bytes: int) -> bytes:
    """The whole of a regular file. Raises OSError, with the reason in `strerror`, also where it is larger."""
    with opened(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, Message("it is larger than {kilobytes} KB").format(kilobytes=max_bytes >> 10))
    return data


def digest_of(file: BinaryIO) -> str:
    """The SHA-256, in hex, of a reference picture: no service takes more of one than MAX_BYTES."""
    from hashlib import sha256  # noqa: PLC0415 - few commands need OpenSSL

    return sha256(file.read(MAX_BYTES + 1)).hexdigest()


def version_of(file: BinaryIO) -> tuple[int, int, int, int]:
    """Device, inode, size and time of the last change: where none of them differs, the file is the same."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _without_following(path: str, flags: int) -> int:
    """A link may have replaced the file after a person, or a list, named it."""
    return _without_waiting(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _must_be_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, Message("it is a link, a device, a pipe or a socket, not a file"))


def _begun(reference: str, formats: Sequence[str], max_bytes: int, length: int) -> bytes:
    """The first `length` bytes of a picture of these formats. Raises BadRequest."""
    try:
        with opened(reference, follow=False) as file:
            head = file.read(HEAD)
            if format_in(head) not in formats:
                raise BadRequest(_no_picture(reference, formats))
            if (size := os.fstat(file.fileno()).st_size) > max_bytes:
                raise BadRequest(_too_large(reference, size, max_bytes))
            return head + file.read(length - HEAD)
    except FileNotFoundError as error:
        missing = Message("there is no reference picture {path!r}").format(path=reference)
        raise BadRequest(missing) from error
    except (OSError, ValueError) as error:  # a path with NUL in it is a ValueError
        unreadable = Message("cannot read the reference picture {path!r}: {why}")
        raise BadRequest(unreadable.format(path=reference, why=cause(error))) from error


def _no_picture(reference: str, formats: Sequence[str]) -> str:
    no_picture = Message("{path!r} is not a {formats} or {last} picture, and this service takes no other formats")
    return no_picture.format(path=reference, formats=", ".join(formats[:-1]), last=formats[-1])


def _too_large(reference: str, size: int, max_bytes: int) -> str:
    too_large = Message(
        "a reference picture from a file has at most {limit} KB here, not {size}: "
        "make {path!r} smaller, or give its address"
    )
    return too_large.format(limit=max_bytes >> 10, size=-(-size >> 10), path=reference)


def _media_type(name: str) -> str:
    return f"image/{name.lower()}"
