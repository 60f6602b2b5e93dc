"""Virtual time: an event loop whose clock jumps to the next timer whenever nothing else can happen."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """The clock stands while anything works, so that a busy machine changes nothing, and jumps when all wait for it.

    Sockets get `patience` real seconds to speak before it jumps.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._now = 0.0
        self._working = 0
        self._patience = patience
        super().__init__()

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Any:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _future: Any) -> None:
        self._working -= 1

    async def shutdown_default_executor(self, *limits: Any) -> None:
        """Keep the clock still while the threads end: the thread that joins them is not one of the executor's."""
        self._working += 1
        try:
            await super().shutdown_default_executor(*limits)
        finally:
            self._working -= 1

    def _run_once(self) -> None:
        loop: Any = self
        while loop._scheduled and loop._scheduled[0]._cancelled:
            handle = heapq.heappop(loop._scheduled)
            handle._scheduled = False
            loop._timer_cancelled_count -= 1
        if not loop._ready and loop._scheduled and not self._working:
            events = loop._selector.select(self._patience)
            loop._process_events(events)
            if not events and not loop._ready:
                self._now = max(self._now, loop._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def run(coroutine: Coroutine[Any, Any, T], *, patience: float = 0.0) -> T:
    """Run to the end under virtual time."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(patience)) as runner:
        return runner.run(coroutine)
