"""File handles of this process, for tests of what happens when there is none left."""

import gc
import os
from contextlib import suppress


def take_all() -> list[int]:
    """Open files until no handle is left, also those that earlier tests have not closed yet. The caller closes them."""
    gc.collect()
    taken: list[int] = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    return taken
