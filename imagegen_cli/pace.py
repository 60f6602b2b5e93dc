"""When: how many at once, how often to ask, how long to wait before asking again.

All times are seconds of the running loop's clock.
"""

import asyncio
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

HEAD_START = 1.0
"""Seconds that the first submit goes alone: a bad key is refused once, not five hundred times."""
FIRST_WINDOW = 8
"""Submits that may then be unanswered; each good answer lets one more out, as in TCP's slow start."""
WIDEST_WINDOW = 32
MOST_PATIENCE = 8
LONGEST_PAUSE = 3600.0
"""Whatever a service says, it is asked again after an hour."""
LONGEST_WAIT = 60.0
"""A service that does not say how long to wait is asked again at the latest after this."""


class Slot:
    """One task's place in a gate. Every method may be called again without harm."""

    def __init__(self, gate: "Gate", *, asking: bool) -> None:
        self._gate = gate
        self._asking = asking
        self._inside = True

    def answered(self) -> None:
        """Say that the submit was accepted."""
        if self._asking:
            self._asking = False
            self._gate.accepted()

    def leave(self, *, unused: bool = False) -> None:
        """Give the place back; `unused`: nothing was sent from it."""
        if self._inside:
            self._inside = False
            self._gate.left(asking=self._asking, unused=unused)
            self._asking = False


class Gate:
    """One configured provider's door. `limit` None: as many tasks at once as anybody brings.

    `window` None: a submit lasts as long as the generation, so that unanswered ones are at the service already.

    A refusal shuts it for everyone and lowers the number inside to what the service held; it climbs again by one
    after as many good answers as it holds, and twice as many after each climb that was refused.
    """

    def __init__(self, limit: int | None, *, window: int | None = FIRST_WINDOW) -> None:
        self.limit = limit
        self.held = False
        self._allowed: float = limit or float("inf")
        self._holds = window is None
        self._first_window: float = window or float("inf")
        self._window = 1.0
        self._head_start: asyncio.TimerHandle | None = None
        self._inside = 0
        self._asking = 0
        self._opens_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._refusals = 0
        self._refusing_since: float | None = None
        self._good = 0
        self._patience = 1

    async def enter(self) -> Slot:
        """Wait for a place, and for the gate to be open; first come, first served."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.left(asking=True, unused=True)
            raise
        return Slot(self, asking=True)

    def join(self) -> Slot:
        """Take a place at once: the service has this task already."""
        self._inside += 1
        return Slot(self, asking=False)

    def accepted(self) -> None:
        self._asking -= 1
        self._refusals = 0
        self._refusing_since = None
        self._widen()
        if self._window < WIDEST_WINDOW:
            self._window += 1
        self._climb()
        self._admit()

    def refused(self, slot: Slot, after: float | None) -> float:
        """The service would not take one more: shut the gate, and say for how many seconds.

        Afterwards one goes alone again, as at the beginning.
        """
        now = asyncio.get_running_loop().time()
        if self._refusing_since is None:
            self._refusing_since = now
        if self._opens_at <= now:
            self._refusals += 1
            self._patience = min(self._patience * 2, MOST_PATIENCE)
        seconds = (
            after if after is not None else min(2.0 ** (self._refusals - 1), LONGEST_WAIT) * random.uniform(1, 1.3)
        )
        self.close_for(seconds)
        slot.leave()
        self._good = 0
        if self._holds:
            self._allowed = max(1, self._inside)
        else:
            self._allowed = max(1, self._inside - self._asking)
            self._window, self._first_window = 1.0, max(self._first_window, self._window)
            self._head_start = None
        return max(0.0, self._opens_at - now)

    @property
    def load(self) -> float:
        """How full it is, those who wait included: 1 is a full house."""
        return (self._inside + len(self._waiting)) / min(self._allowed, 1000)

    def refusing_for(self) -> float:
        """Seconds since the service began to refuse everybody."""
        if self._refusing_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._refusing_since

    def close_for(self, seconds: float) -> None:
        """Nobody enters for that long; a longer wait that is already set stays."""
        loop = asyncio.get_running_loop()
        self._opens_at = max(self._opens_at, loop.time() + min(seconds, LONGEST_PAUSE))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._opens_at, self._admit)

    def closed_for(self) -> float:
        """Seconds until the gate opens; 0 where it is open."""
        return max(0.0, self._opens_at - asyncio.get_running_loop().time())

    def hold(self, held: bool) -> None:
        """Keep back what has not been sent, or let it go on."""
        self.held = held
        self._admit()

    def left(self, *, asking: bool, unused: bool) -> None:
        self._inside -= 1
        self._asking -= asking
        if asking and not unused:
            self._widen()
        self._admit()

    def _widen(self) -> None:
        """The first submit was answered, or had its head start."""
        if self._head_start is not None:
            self._head_start.cancel()
        self._window = max(self._window, self._first_window)
        self._first_window = 0.0

    def _climb(self) -> None:
        self._good += 1
        if self._allowed < (self.limit or float("inf")) and self._good >= self._allowed * self._patience:
            self._good = 0
            self._allowed += 1

    def _open_wide(self) -> None:
        self._widen()
        self._admit()

    def _admit(self) -> None:
        if self.held or asyncio.get_running_loop().time() < self._opens_at:
            return
        while self._waiting and self._inside < self._allowed and self._asking < self._window:
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                self._asking += 1
                turn.set_result(None)
                if self._head_start is None:
                    self._head_start = asyncio.get_running_loop().call_later(HEAD_START, self._open_wide)


class Rhythm:
    """When to ask a task's status next.

    With the service's own progress: just before the end it points to. With `known`, the sorted durations of earlier
    tasks of the same kind: where the next sixteenth of those still running would have ended. With neither: after a
    fifth of the time that has passed, so that the end is seen about a tenth late.
    """

    SHARE = 0.19
    FIRST = 0.4
    LONGEST = 30.0
    FEW = 8
    """Fewer durations than this say nothing."""
    STEP = 0.06

    def __init__(self, shortest: float, known: Sequence[float] = ()) -> None:
        self._shortest = shortest
        self._known = known if len(known) >= self.FEW else ()
        self._seen: list[tuple[float, float]] = []

    def told(self, elapsed: float, fraction: float | None) -> None:
        """Remember what the service said of its progress."""
        if fraction is not None and 0 < fraction <= 1 and (not self._seen or fraction > self._seen[-1][1]):
            self._seen.append((elapsed, fraction))

    def wait(self, elapsed: float) -> float:
        """Seconds until the next query, jittered so that many tasks do not ask together."""
        seconds = self._by_progress(elapsed) or self._by_history(elapsed) or self._by_time(elapsed)
        return max(self._shortest, min(seconds, self.LONGEST)) * random.uniform(1, 1.03)

    def _by_time(self, elapsed: float) -> float:
        return max(self.FIRST, elapsed * self.SHARE)

    def _by_progress(self, elapsed: float) -> float | None:
        """Two points that agree on the end make a line; points that disagree say nothing."""
        if len(self._seen) < 2:  # noqa: PLR2004 - a line has two points
            return None
        (early, less), (late, more) = self._seen[-2:]
        end = late + (1 - more) * (late - early) / (more - less)
        straight = late / more
        if abs(end - straight) > 0.25 * straight:
            return None
        left = straight - elapsed
        if left <= 0:  # overdue: soon, and ever later while nothing is heard
            return max(self._shortest, self.FIRST, -left)
        return left * (1 if more > 0.8 else 0.7)  # noqa: PLR2004 - the closer, the surer

    def _by_history(self, elapsed: float) -> float | None:
        passed = bisect_right(self._known, elapsed)
        left = len(self._known) - passed
        if not left:
            return None
        index = min(passed + int(left * self.STEP), len(self._known) - 1)
        return max(self._known[index] - elapsed, self._known[-1] * 0.01)


def pause(attempt: int, *, first: float = 1.0, longest: float = 30.0) -> float:
    """Seconds before attempt `attempt` + 1 of a step that certainly did nothing: doubling, jittered."""
    return min(first * 2.0 ** (attempt - 1), longest) * random.uniform(0.8, 1.2)
