"""How many tasks at once, how often to ask for their status, how long to wait before a step is repeated.

All times are seconds by the clock of the running loop.
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
"""Seconds before a step is repeated, at the most, but for jitter."""
HEAD_START_S = 1.0
"""Seconds that the first submit is alone: a bad key is refused once, not five hundred times."""
FIRST_WINDOW = 8
"""Submits that may then be unanswered at once; each good answer permits one more, as in TCP's slow start."""
MAX_WINDOW = 32
"""Submits that may be unanswered at once."""
MAX_PATIENCE = 8
"""The number of tasks inside rises after at most this many good answers for each task inside."""
MAX_PAUSE_S = 3600.0
"""A service is tried again after an hour, whatever it says."""
MIN_REQUESTED_WAIT_S = 1.0
"""A shorter wait that a service asks for, such as 0 or a time that has passed, is ignored."""
MAX_OWN_WAIT_S = 60.0
"""A service that does not say how long to wait is tried again after this at the latest."""


def _nothing() -> None:
    """Do nothing: there is no listener."""


def _hear_nothing(_seconds: float) -> None:
    """Do nothing: there is no listener."""


class Slot:
    """One task's place in a gate. Every method may be called twice without harm."""

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
    """Limits the tasks that are at one provider at a time. `limit` None: no limit.

    `window` None: a submit lasts as long as the generation, so that the service works on unanswered ones already.

    A refusal closes the gate for all tasks and lowers their number to what the service had accepted. The number rises
    again by one after as many good answers as there are tasks inside, and after twice as many each time that a rise was
    refused.
    """

    def __init__(self, limit: int | None, *, window: int | None = FIRST_WINDOW) -> None:
        self.limit = limit
        self.paused = False
        self._allowed: float = limit or float("inf")
        self._is_open_from_start = window is None
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
        self.on_refused: Callable[[float], None] = _hear_nothing
        """Called with the seconds for which a refusal has closed the gate."""
        self.on_change: Callable[[], None] = _nothing
        """Called where the limit, what the service takes, the time of a pause or the pause itself has changed."""

    @property
    def allowed(self) -> int | None:
        """How many tasks the service has lately taken at a time; None: no limit is known."""
        return None if math.isinf(self._allowed) else int(self._allowed)

    def set_limit(self, limit: int) -> None:
        """Let so many tasks be here at a time. One more than the service has lately taken is tried at once."""
        grows = self.limit is not None and limit > self.limit
        self.limit = limit
        self._allowed = min(self._allowed + grows, float(limit))
        self.on_change()
        self._admit()

    async def enter(self) -> Slot:
        """Wait for a place, and until the gate is open; first come, first served."""
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
        """Take a place without waiting: the service has this task already."""
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

    def refused(self, slot: Slot, after: float | None, max_s: float = MAX_PAUSE_S) -> float:
        """The service took no more: close the gate for at most `max_s` seconds, and return for how many.

        Afterwards one submit goes alone again, as at the beginning.
        """
        now = asyncio.get_running_loop().time()
        if self._refusing_since is None:
            self._refusing_since = now
        if self._opens_at <= now:
            self._refusals += 1
            self._patience = min(self._patience * 2, MAX_PATIENCE)
        if after is not None and after >= MIN_REQUESTED_WAIT_S:
            seconds = after
        else:
            seconds = min(2.0 ** min(self._refusals - 1, 16), MAX_OWN_WAIT_S) * random.uniform(1, 1.3)
        self.close_for(min(seconds, max_s))
        self.on_refused(self.closed_for())
        slot.leave()
        self._good = 0
        if self._is_open_from_start:
            self._allowed = max(1, self._inside)
        else:
            self._allowed = max(1, self._inside - self._asking)
            self._window, self._first_window = 1.0, max(self._first_window, self._window)
            self._head_start = None
        self.on_change()
        return max(0.0, self._opens_at - now)

    @property
    def load(self) -> float:
        """How full the gate is, with those that wait: at 1 all places are taken."""
        return (self._inside + len(self._waiting)) / min(self._allowed, 1000)

    def refusing_for(self) -> float:
        """Seconds since the service began to refuse all submits."""
        if self._refusing_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._refusing_since

    def give_up(self) -> None:
        """Forget the refusals: tasks that come later are tried anew."""
        self._refusing_since = None
        self._refusals = 0

    def close_for(self, seconds: float) -> None:
        """Let no task enter for so many seconds; a longer wait that is already set stays."""
        loop = asyncio.get_running_loop()
        self._opens_at = max(self._opens_at, loop.time() + min(seconds, MAX_PAUSE_S))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._opens_at, self._admit)
        self.on_change()

    def closed_for(self) -> float:
        """Seconds until the gate opens; 0 where it is open."""
        return max(0.0, self._opens_at - asyncio.get_running_loop().time())

    def pause(self, paused: bool) -> None:
        """Keep back the tasks that have not been sent, or let them go on."""
        self.paused = paused
        self.on_change()
        self._admit()

    def left(self, *, asking: bool, unused: bool) -> None:
        self._inside -= 1
        self._asking -= asking
        if asking and not unused:
            self._widen()
        self._admit()

    def _widen(self) -> None:
        """Admit more than one submit: the first was answered, or its head start is over."""
        if self._head_start is not None:
            self._head_start.cancel()
        self._window = max(self._window, self._first_window)
        self._first_window = 0.0

    def _climb(self) -> None:
        self._good += 1
        if self._allowed < (self.limit or float("inf")) and self._good >= self._allowed * self._patience:
            self._good = 0
            self._allowed += 1
            self.on_change()

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
    """When to ask for a task's status next.

    With the service's own progress: just before the end that it points to. With `known` durations: often at the times
    when earlier tasks of the kind became ready, seldom at others. With neither: after a fifth of the time that has
    passed, so that the end is seen about a tenth late.

    Progress and durations only ever bring a query forward; the longest delays below hold always. So a service that has
    become faster, and a failure at any moment, are seen in time.
    """

    ELAPSED_SHARE = 0.189
    MIN_DELAY_S = 0.4
    MAX_DELAY_S = 30.0
    MIN_TASKS = 8
    """With fewer earlier tasks than this, their durations are not used."""
    FIRST_QUERY_S = (2.1, 2.4)
    """Seconds before the first query of a task whose durations are known; a range, so that many do not ask together."""
    ALWAYS_ALLOWED_S = 2.65
    """Seconds that may always be between two queries."""
    MAX_ELAPSED_SHARE = 0.28
    """The share of the time that has passed which may be between two later queries: with jitter it stays below 30 %."""
    QUERY_COST_SHARE = 0.0096
    """What a query costs, as a share of the usual duration: it is sent where the end is seen so much sooner by it."""
    ENDING_SHARE = 1 / 3
    """The share of the tasks still running whose ends tell how many end now."""
    UNUSUAL_SHARE = 0.03
    """When only this share of the earlier tasks took longer still, their durations are not used."""
    MAX_QUEUED_DELAY_S = 10.0
    """Seconds between two queries of a job in the service's own queue, at the most."""

    def __init__(self, min_delay_s: float, known: Durations = UNKNOWN) -> None:
        self._min_delay_s = min_delay_s
        self._moments: Sequence[float] = known.moments if known.tasks >= self.MIN_TASKS else ()
        self._price = self.QUERY_COST_SHARE * known.median_s if self._moments else 0.0
        self._seen: list[tuple[float, float]] = []

    def observe(self, elapsed: float, fraction: float | None) -> None:
        """Take in the progress that the service reports at `elapsed` seconds."""
        if fraction is not None and 0 < fraction <= 1 and (not self._seen or fraction > self._seen[-1][1]):
            self._seen.append((elapsed, fraction))

    def next_delay(self, elapsed: float, *, queued: float = 0.0) -> float:
        """Seconds until the next query, jittered so that many tasks do not ask together.

        `elapsed`: seconds that the service has worked on it; `queued`: seconds that it has been in the service's queue.
        """
        if queued:
            seconds = min(self._by_time(queued), self.MAX_QUEUED_DELAY_S)
        else:
            seconds = self._by_progress(elapsed) or self._by_history(elapsed) or self._by_time(elapsed)
        return max(self._min_delay_s, min(seconds, self.MAX_DELAY_S)) * random.uniform(1, 1.03)

    def _by_time(self, elapsed: float) -> float:
        return max(self.MIN_DELAY_S, elapsed * self.ELAPSED_SHARE)

    def _by_progress(self, elapsed: float) -> float | None:
        """By a line through the last two reports, if they agree on the end; else None.

        It asks again at the latest when the time that has passed has doubled: a job may fail half-way.
        """
        if len(self._seen) < 2:  # noqa: PLR2004 - a line has two points
            return None
        (early, less), (late, more) = self._seen[-2:]
        end = late + (1 - more) * (late - early) / (more - less)
        straight = late / more
        if abs(end - straight) > 0.25 * straight:
            return None
        left = straight - elapsed
        if left <= 0:  # overdue: soon, and later each time
            return max(self._min_delay_s, self.MIN_DELAY_S, min(-left, self._max_delay(elapsed)))
        return min(left * (1 if more > 0.75 else 0.75), max(self.ALWAYS_ALLOWED_S, elapsed))  # noqa: PLR2004 - a close end is more certain

    def _by_history(self, elapsed: float) -> float | None:
        """The delay that costs least: half of it is lost at the end of the job, and each query has its price."""
        passed = bisect_right(self._moments, elapsed)
        left = len(self._moments) - passed
        if left <= len(self._moments) * self.UNUSUAL_SHARE:
            return None
        ending = max(1, round(left * self.ENDING_SHARE))
        each = (self._moments[passed + ending - 1] - elapsed) / ending
        return min(math.sqrt(2 * self._price * left * each), self._max_delay(elapsed))

    def _max_delay(self, elapsed: float) -> float:
        if elapsed <= self.MIN_DELAY_S:
            return random.uniform(*self.FIRST_QUERY_S)
        return max(self.ALWAYS_ALLOWED_S, elapsed * self.MAX_ELAPSED_SHARE)


def _skew() -> float:
    """Seconds between the two clocks. They change when the clock is set, and when the machine sleeps."""
    return time.time() - time.monotonic()


class Stopwatch:
    """Measures between which two moments a job became ready, by the clock of the running loop.

    An answer holds for the time at which its query left, or later. There is a span only where this process watched the
    job from its beginning, and where no sleeping machine, stopped process, changed clock or refused query interrupted
    it.
    """

    MAX_LATE_S = 2.0
    """Seconds by which a sleep may be late, and by which the two clocks may differ."""

    def __init__(
        self, *, whole: bool = True, clock: Callable[[], float] | None = None, skew: Callable[[], float] = _skew
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._skew = skew
        self._skewed = skew()
        self._whole = whole
        self._since = self._began_after = self._began_before = self._unready = self._clock()
        self._queried_at: float | None = None
        self._queued = False

    def elapsed(self) -> float:
        """Seconds that the service may have worked on it, at the most."""
        return self._clock() - self._began_after

    def queued(self) -> float:
        """Seconds since the submit, while the job is in the service's own queue; else 0."""
        return self._clock() - self._since if self._queued else 0.0

    async def sleep(self, seconds: float, closed: float = 0.0) -> None:
        """Wait for the next query, `seconds` or, where the lane is closed, at least `closed` seconds."""
        due = self._clock() + seconds
        await asyncio.sleep(max(seconds, closed))
        self._queried_at = self._clock()
        self._whole = self._whole and self._queried_at <= due + self.MAX_LATE_S

    def planned(self, seconds: float) -> None:
        """Note that so many seconds should have passed since the submit: more means an interruption."""
        self._whole = self._whole and self._clock() <= self._since + seconds + self.MAX_LATE_S

    def unready(self, *, queued: bool) -> None:
        """Note that the service says the job is not ready; `queued`: it has not begun."""
        now = self._clock()
        queried_at = now if self._queried_at is None else self._queried_at
        self._unready = queried_at
        if queued:
            self._began_after, self._began_before = queried_at, now
        elif self._queued:
            self._began_before = now
        self._queued = queued

    def leave_out(self) -> None:
        """Give no span for this job: something interrupted the watch."""
        self._whole = False

    def span(self) -> Span | None:
        """The span of a job that is ready now; None where something interrupted the watch.

        A submit that lasts as long as the work measures it exactly.
        """
        now = self._clock()
        unready = now if self._queried_at is None else self._unready
        if not self._whole or abs(self._skew() - self._skewed) > self.MAX_LATE_S:
            return None
        return Span(max(0.0, unready - self._began_before), now - self._began_after)


def retry_delay(attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 of a step that certainly had no effect: doubled each time, jittered."""
    return min(2.0 ** min(attempt - 1, 16), MAX_RETRY_DELAY_S) * random.uniform(0.8, 1.2)
