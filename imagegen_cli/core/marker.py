"""Between saving a picture and marking it: what is put into a file, and what beside it, as plain values.

Who saves knows no format of marks, and who marks chooses no name and writes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

PIECE_BYTES = 1024 * 1024
"""At once."""


class Edit(NamedTuple):
    """Bytes that take the place of those from `start` up to `end`; where both are the same, nothing is replaced."""

    start: int
    end: int
    data: bytes


class Sidecar(NamedTuple):
    """A file beside a picture: its text, and the names that it may have, the first of which is best."""

    text: str
    paths: tuple[Path, ...]


class Marker(Protocol):
    """Says what made one picture. It is called in the threads that save, and never twice at a time.

    Whatever it raises costs no picture.
    """

    def edits(self, file: BinaryIO) -> Sequence[Edit]:
        """What is to be put into a file that is whole; nothing where it must stay as it came."""
        ...

    def sidecar(self, picture: Path, file: BinaryIO, sha256: str) -> Sidecar | None:
        """What is to be put beside a saved picture; None where the file itself says all. `sha256` is of the file."""
        ...


def edited(file: BinaryIO, edits: Iterable[Edit]) -> Iterator[bytes]:
    """The bytes of a file with the edits made, a piece at a time. Raises OSError."""
    at = 0
    for edit in sorted(edits):
        yield from _pieces(file, at, edit.start)
        yield edit.data
        at = edit.end
    yield from _pieces(file, at, None)


def _pieces(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    file.seek(start)
    left = PIECE_BYTES if end is None else end - start
    while left > 0 and (data := file.read(min(PIECE_BYTES, left))):
        yield data
        left -= 0 if end is None else len(data)
