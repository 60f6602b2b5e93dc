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
    """Measures the turns of the event loop: the time between two waits for events. `longest_turn_s` is the longest."""

    longest_turn_s = 0.0
    _returned = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._returned:
            Watch.longest_turn_s = max(Watch.longest_turn_s, time.perf_counter() - self._returned)
        events = super().select(timeout)
        self._returned = time.perf_counter()
        return events


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(Watch())


max_files = 0


def count_files() -> None:
    global max_files  # noqa: PLW0603 - one number of one process
    while True:
        max_files = max(max_files, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - as cheap as can be
        time.sleep(0.02)


def write_report() -> None:
    Path(os.environ["IMAGEGEN_WATCHED"]).write_text(
        json.dumps({"longest_turn_s": Watch.longest_turn_s, "files": max_files})
    )


if __name__ == "__main__":
    asyncio.set_event_loop_policy(Policy())
    threading.Thread(target=count_files, daemon=True).start()
    atexit.register(write_report)
    from imagegen_cli.__main__ import main

    main()
