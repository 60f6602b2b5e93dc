"""When: how many at once, how often to ask, how long to wait before asking again.

All times are seconds of the running loop's clock.
"""

import asyncio
import math
import random
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence

from imagegen_cli.core.durations import UNKNOWN, Durations, Span

MAX_RETRY_DELAY_S = 30.0
HEAD_START_S = 1.0
"""Seconds that the first submit goes alone: a bad key is refused once, not five hundred times."""
FIRST_WINDOW = 8
"""Submits that may then be unanswered; each good answer lets one more out, as in TCP's slow start."""
MAX_WINDOW = 32
MAX_PATIENCE = 8
MAX_PAUSE_S = 3600.0
"""Whatever a service says, it is asked again after an hour."""
MIN_ASKED_WAIT_S = 1.0
"""A shorter wait that a service asks for, such as none, or a moment that has passed, is no answer to a refusal."""
MAX_UNASKED_WAIT_S = 60.0
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
        self.paused = False
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
        if self._window < MAX_WINDOW:
            self._window += 1
        self._climb()
        self._admit()

    def refused(self, slot: Slot, after: float | None, most: float = MAX_PAUSE_S) -> float:
        """The service would not take one more: shut the gate, for `most` seconds at most, and say for how many.

        Afterwards one goes alone again, as at the beginning.
        """
        now = asyncio.get_running_loop().time()
        if self._refusing_since is None:
            self._refusing_since = now
        if self._opens_at <= now:
            self._refusals += 1
            self._patience = min(self._patience * 2, MAX_PATIENCE)
        if after is not None and after >= MIN_ASKED_WAIT_S:
            seconds = after
        else:
            seconds = min(2.0 ** min(self._refusals - 1, 16), MAX_UNASKED_WAIT_S) * random.uniform(1, 1.3)
        self.close_for(min(seconds, most))
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

    def give_up(self) -> None:
        """Those who wait are told that it is in vain; what comes later is tried anew."""
        self._refusing_since = None
        self._refusals = 0

    def close_for(self, seconds: float) -> None:
        """Nobody enters for that long; a longer wait that is already set stays."""
        loop = asyncio.get_running_loop()
        self._opens_at = max(self._opens_at, loop.time() + min(seconds, MAX_PAUSE_S))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._opens_at, self._admit)

    def closed_for(self) -> float:
        """Seconds until the gate opens; 0 where it is open."""
        return max(0.0, self._opens_at - asyncio.get_running_loop().time())

    def pause(self, paused: bool) -> None:
        """Keep back what has not been sent, or let it go on."""
        self.paused = paused
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
        if self.paused or asyncio.get_running_loop().time() < self._opens_at:
            return
        while self._waiting and self._inside < self._allowed and self._asking < self._window:
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                self._asking += 1
                turn.set_result(None)
                if self._head_start is None:
                    self._head_start = asyncio.get_running_loop().call_later(HEAD_START_S, self._open_wide)


class PollSchedule:
    """When to ask a task's status next.

    With the service's own progress: just before the end it points to. With `known`: often where earlier tasks of the
    kind became ready, seldom where they did not. With neither: after a fifth of the time that has passed, so that the
    end is seen about a tenth late.

    What is known and what is told only ever make it ask sooner than the longest pauses below. A service that has become
    faster, and a failure at any moment, are seen by these.
    """

    SHARE = 0.189
    FIRST = 0.4
    LONGEST = 30.0
    FEW = 8
    """Fewer earlier tasks than this say nothing."""
    FIRST_LOOK = (2.1, 2.4)
    """Seconds before the first query of a task whose kind is known: so that many do not go together."""
    PAUSE = 2.65
    """Seconds that two queries may always be apart."""
    LATEST = 0.28
    """Of the time that has passed: so far apart they may be later. With jitter and the way there it is below 30 %."""
    PRICE = 0.0096
    """Of the usual duration: a query is worth it where it lets the end be seen so much sooner."""
    WINDOW = 1 / 3
    """Of those still running: how soon they will have ended tells how many end now."""
    UNUSUAL = 0.03
    """When so few of the known ones took longer still, they say nothing of this one."""
    IN_QUEUE = 10.0
    """Seconds after which a job in the service's own queue is asked for at the latest."""

    def __init__(self, shortest: float, known: Durations = UNKNOWN) -> None:
        self._shortest = shortest
        self._known: Sequence[float] = known.moments if known.tasks >= self.FEW else ()
        self._price = self.PRICE * known.median_s if self._known else 0.0
        self._seen: list[tuple[float, float]] = []

    def observe(self, elapsed: float, fraction: float | None) -> None:
        """Remember what the service said of its progress."""
        if fraction is not None and 0 < fraction <= 1 and (not self._seen or fraction > self._seen[-1][1]):
            self._seen.append((elapsed, fraction))

    def next_delay(self, elapsed: float, *, queued: float = 0.0) -> float:
        """Seconds until the next query, jittered so that many tasks do not ask together.

        `elapsed`: for so long the service has worked on it; `queued`: for so long it has been in the service's queue.
        """
        if queued:
            seconds = min(self._by_time(queued), self.IN_QUEUE)
        else:
            seconds = self._by_progress(elapsed) or self._by_history(elapsed) or self._by_time(elapsed)
        return max(self._shortest, min(seconds, self.LONGEST)) * random.uniform(1, 1.03)

    def _by_time(self, elapsed: float) -> float:
        return max(self.FIRST, elapsed * self.SHARE)

    def _by_progress(self, elapsed: float) -> float | None:
        """Two points that agree on the end make a line; points that disagree say nothing.

        At the latest it asks again when the time that has passed has doubled: a job may fail half-way.
        """
        if len(self._seen) < 2:  # noqa: PLR2004 - a line has two points
            return None
        (early, less), (late, more) = self._seen[-2:]
        end = late + (1 - more) * (late - early) / (more - less)
        straight = late / more
        if abs(end - straight) > 0.25 * straight:
            return None
        left = straight - elapsed
        if left <= 0:  # overdue: soon, and ever later while nothing is heard
            return max(self._shortest, self.FIRST, min(-left, self._longest(elapsed)))
        return min(left * (1 if more > 0.75 else 0.75), max(self.PAUSE, elapsed))  # noqa: PLR2004 - the closer, the surer

    def _by_history(self, elapsed: float) -> float | None:
        """The pause that costs least: half of it is waited in vain where it ends, and each query has its price."""
        passed = bisect_right(self._known, elapsed)
        left = len(self._known) - passed
        if left <= len(self._known) * self.UNUSUAL:
            return None
        ending = max(1, round(left * self.WINDOW))
        each = (self._known[passed + ending - 1] - elapsed) / ending
        return min(math.sqrt(2 * self._price * left * each), self._longest(elapsed))

    def _longest(self, elapsed: float) -> float:
        return max(self.PAUSE, elapsed * self.LATEST) if elapsed > self.FIRST else random.uniform(*self.FIRST_LOOK)


def _skew() -> float:
    """Seconds. It changes when the clock is set, and when the machine sleeps."""
    return time.time() - time.monotonic()


class Stopwatch:
    """Between which two moments one job became ready, seen from this process, by the running loop's clock.

    `asked` is when the query left whose answer is at hand: what it says was true then or later. A span is kept only
    where everything was watched: not what was begun by another process, nor what a sleeping machine, a stopped process,
    a clock that was set or a service that refused to answer has interrupted.
    """

    LATE = 2.0
    """Seconds by which a sleep may be late, and the two clocks differ."""

    def __init__(
        self, *, whole: bool = True, clock: Callable[[], float] | None = None, skew: Callable[[], float] = _skew
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._skew = skew
        self._skewed = skew()
        self._whole = whole
        self._since = self._began_after = self._began_before = self._unready = self._clock()
        self._asked: float | None = None
        self._queued = False

    def elapsed(self) -> float:
        """Seconds that the service has worked on it, at the most."""
        return self._clock() - self._began_after

    def queued(self) -> float:
        """Seconds since the beginning while it is in the service's own queue, else 0."""
        return self._clock() - self._since if self._queued else 0.0

    async def sleep(self, seconds: float, shut: float = 0.0) -> None:
        """Wait for the next query; `shut`: for so long the service wants none."""
        due = self._clock() + seconds
        await asyncio.sleep(max(seconds, shut))
        self._asked = self._clock()
        self._whole = self._whole and self._asked <= due + self.LATE

    def planned(self, seconds: float) -> None:
        """Say how many seconds may have passed since the beginning."""
        self._whole = self._whole and self._clock() <= self._since + seconds + self.LATE

    def unready(self, *, queued: bool) -> None:
        """The service says that it is not ready; `queued`: it has not even begun."""
        now = self._clock()
        asked = now if self._asked is None else self._asked
        self._unready = asked
        if queued:
            self._began_after, self._began_before = asked, now
        elif self._queued:
            self._began_before = now
        self._queued = queued

    def leave_out(self) -> None:
        self._whole = False

    def span(self) -> Span | None:
        """It is ready now. A submit that lasts as long as the work is its own exact measure."""
        now = self._clock()
        unready = now if self._asked is None else self._unready
        if not self._whole or abs(self._skew() - self._skewed) > self.LATE:
            return None
        return Span(max(0.0, unready - self._began_before), now - self._began_after)


def retry_delay(attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 of a step that certainly did nothing: doubling, jittered."""
    return min(2.0 ** min(attempt - 1, 16), MAX_RETRY_DELAY_S) * random.uniform(0.8, 1.2)
