"""`imagegen`, with a watch on how long each turn of its event loop lasted and how many files were open.

Written as JSON to the file that IMAGEGEN_WATCHED names.
"""

import asyncio
import atexit
import json
import os
import selectors
import threading
import time
from pathlib import Path


class Watch(selectors.DefaultSelector):
    """Between two looks for news the loop belongs to somebody: the longest of these spans is what it was held for."""

    held = 0.0
    _returned = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._returned:
            Watch.held = max(Watch.held, time.perf_counter() - self._returned)
        events = super().select(timeout)
        self._returned = time.perf_counter()
        return events


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(Watch())


most = 0


def count_files() -> None:
    global most  # noqa: PLW0603 - one number of one process
    while True:
        most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - as cheap as can be
        time.sleep(0.02)


def told() -> None:
    Path(os.environ["IMAGEGEN_WATCHED"]).write_text(json.dumps({"held": Watch.held, "files": most}))


if __name__ == "__main__":
    asyncio.set_event_loop_policy(Policy())
    threading.Thread(target=count_files, daemon=True).start()
    atexit.register(told)
    from imagegen_cli.__main__ import main

    main()
