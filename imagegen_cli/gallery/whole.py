"""Files that are there whole or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(file: Path) -> Iterator[BinaryIO]:
    """A file to write into, which gets the name `file` when the block ends well, and is removed when it does not.

    What has that name is replaced. Raises OSError.
    """
    part = file.with_name(f".imagegen-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        part.replace(file)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
