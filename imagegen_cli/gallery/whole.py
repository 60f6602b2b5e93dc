"""Files that are there whole or not at all, and which of them this program wrote, so that it may replace them."""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened

HEAD = 4096
"""Bytes at the beginning of a file in which its mark stands."""
PART_NAME = re.compile(r"\.imagegen-[0-9a-f]{16}\.part")
MARKS = {
    "gallery": rb'\A<!doctype html>.*<meta name="generator" content="imagegen gallery ([0-9a-f]{16})">',
    "sheet": rb"\A\x89PNG.{33}tEXtSoftware\x00imagegen sheet ([0-9a-f]{16})",
}
"""How a page and a sheet say that we wrote them, with the subject that each shows: where no prompt can say it."""


@contextmanager
def whole(file: Path, *, fresh: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which gets the name `file` when the block ends well, and is removed when it does not.

    What has that name is replaced; with `fresh` it is kept, and FileExistsError is raised. Raises OSError.
    """
    part = file.with_name(f".imagegen-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        if fresh:
            _name(part, file)
        else:
            part.replace(file)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def parts_in(folder: Path) -> Iterator[tuple[Path, float]]:
    """Part files that processes have left in a folder, or are writing, with their ages in seconds."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if PART_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                yield Path(entry.path), time.time() - entry.stat(follow_symlinks=False).st_mtime


def _name(part: Path, file: Path) -> None:
    """Give a file a name that none has. Some file systems have no links: there it is looked up first."""
    try:
        os.link(part, file)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(file):
            raise FileExistsError(Message("{path} is there already").format(path=file)) from None
        part.replace(file)
    else:
        part.unlink()


def mark(kind: str, subject: str) -> str:
    """The words that stand in a file of ours; `kind` is `gallery` or `sheet`, `subject` 16 hexadecimal digits."""
    return f"imagegen {kind} {subject or '0' * 16}"


def subject_of(file: Path, kind: str) -> str | None:
    """The subject of a page or a sheet of ours; None where the file is none of this kind, or cannot be read."""
    with suppress(OSError), opened(file) as stream:
        found = re.search(MARKS[kind], stream.read(HEAD), re.DOTALL)
        return found[1].decode() if found else None
    return None
