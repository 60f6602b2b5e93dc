"""When a task is queried, and the duration that is measured for it."""

import asyncio
import random
from collections.abc import Callable

import pytest

from imagegen_cli.core.durations import Durations, Span
from imagegen_cli.engine.scheduling import Gate, PollSchedule, Stopwatch
from tests.clock import run

TRIP = 0.05


def exactly(*seconds: float) -> Durations:
    return Durations(Span(each, each) for each in seconds)


def looked(schedule: PollSchedule, length: float, progress: Callable[[float], float] | None = None) -> tuple[int, Span]:
    """The number of queries for a job of that length, and the span in which it ended."""
    queries, now, unready = 0, 0.0, 0.0
    while True:
        queried = now + schedule.next_delay(now)
        now, queries = queried + TRIP, queries + 1
        if now >= length:
            return queries, Span(unready, now)
        unready = queried
        if progress is not None:
            schedule.observe(now, progress(now))


TWELVE = [9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 16.0]
HISTORIES = {
    "empty": (),
    "about 12 s": TWELVE,
    "always 8 s": [8.0] * 20,
    "10 s or 90 s": [9.0, 9.5, 10.0, 10.5, 11.0, 84.0, 88.0, 90.0, 92.0, 98.0],
    "about 200 s": [seconds * 17 for seconds in TWELVE],
    "resumed the next morning": [*TWELVE, 30_000.0],
}


@pytest.mark.parametrize("known", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("length", [0.3, 1.0, 2.4, 5.0, 8.0, 17.0, 40.0, 60.0, 99.0])
def test_an_end_that_history_does_not_expect_is_seen_soon(known: list[float], length: float) -> None:
    """A failure at second 1 of 60, a service that is five times faster or slower, and an outlier in the history."""
    for _ in range(50):
        _, span = looked(PollSchedule(0.5, exactly(*known)), length)
        assert span.max_s - length <= max(0.3 * length, 3.0)


@pytest.mark.parametrize("known", [TWELVE, [*TWELVE, 30_000.0]], ids=["usual", "with an outlier"])
def test_what_history_expects_is_seen_closely_with_few_queries(known: list[float]) -> None:
    found = [(length, *looked(PollSchedule(0.5, exactly(*known)), length)) for length in TWELVE for _ in range(50)]
    assert sum(span.max_s - length for length, _, span in found) / sum(length for length, _, _ in found) <= 0.06
    assert sum(queries for _, queries, _ in found) / len(found) <= 10


def test_few_earlier_tasks_say_nothing() -> None:
    random.seed(1)
    without = [PollSchedule(0.5).next_delay(elapsed) for elapsed in (0.0, 5.0, 50.0)]
    random.seed(1)
    assert [PollSchedule(0.5, exactly(*[8.0] * 7)).next_delay(elapsed) for elapsed in (0.0, 5.0, 50.0)] == without


def test_what_is_learned_from_late_looks_does_not_confirm_itself() -> None:
    """The service took 8 s and takes 1 s now: the history finds out, although only its own looks tell it."""
    spans = [Span(8.0, 8.0)] * 20
    for _ in range(200):
        spans.append(looked(PollSchedule(0.5, Durations(spans[-200:])), 1.0)[1])
    assert 0.5 <= Durations(spans[-200:]).median_s <= 1.5
    late = [looked(PollSchedule(0.5, Durations(spans[-200:])), 1.0)[1].max_s - 1.0 for _ in range(50)]
    assert sum(late) / len(late) <= 0.6


def test_ready_at_the_first_look_is_an_upper_bound() -> None:
    """It may have been ready at any moment before: a look that came late counts as no late job."""
    known = Durations([Span(0.0, 8.0)] * 3 + [Span(0.9, 1.1)] * 3)
    assert known.median_s < 2.0
    assert Durations([Span(0.0, 8.0)] * 3).median_s < 8.0


def test_a_failure_while_progress_points_far_ahead_is_seen_before_its_time_has_doubled() -> None:
    for failed in (3.0, 10.0, 17.0):
        _, span = looked(PollSchedule(0.5), failed, progress=lambda now: now / 100)
        assert span.max_s <= max(2 * failed * 1.05, failed + 3.0)


@pytest.mark.parametrize("known", [(), TWELVE])
def test_in_the_queue_of_the_service_it_is_asked_ever_less_often(known: list[float]) -> None:
    schedule = PollSchedule(0.5, exactly(*known))
    waits = [schedule.next_delay(0.1, queued=queued) for queued in (0.1, 10.0, 40.0, 600.0)]
    assert waits == sorted(waits)
    assert 0.5 <= waits[0] < 0.6
    assert 10.0 <= waits[-1] < 10.4


class Clocks:
    """A monotonic clock and its difference to the time of day, both set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.skew = 1e9

    def stopwatch(self, *, whole: bool = True) -> Stopwatch:
        return Stopwatch(whole=whole, clock=lambda: self.now, skew=lambda: self.skew)


def watched(*looks: tuple[float, bool | None], trip: float = 0.5, whole: bool = True) -> Span | None:
    """Query after so many seconds each while the job is not ready (None: the service refused). Then find it ready."""

    async def inside() -> Span | None:
        watch = Stopwatch(whole=whole, skew=lambda: 0.0)
        for wait, queued in looks:
            await watch.sleep(wait)
            await asyncio.sleep(trip)
            if queued is None:
                watch.leave_out()
            else:
                watch.unready(queued=queued)
        await watch.sleep(2.0)
        await asyncio.sleep(trip)
        return watch.span()

    return run(inside())


@pytest.mark.parametrize(
    ("looks", "low", "high"),
    [
        ([], 0.0, 2.5),
        ([(3.0, False)], 3.0, 6.0),
        ([(3.0, False), (4.0, False)], 7.5, 10.5),
        # It left the service's queue after second 13.5, when the last query left that found it there, and before
        # second 20, when the first answer came that did not; it ended after second 25 and before second 28.
        ([(3.0, True), (10.0, True), (5.5, False), (5.0, False)], 5.0, 14.5),
        ([(3.0, True)], 0.0, 3.0),
    ],
    ids=["first look", "second look", "third look", "queue", "from the queue"],
)
def test_a_job_lasted_between_two_looks(looks: list[tuple[float, bool | None]], low: float, high: float) -> None:
    assert watched(*looks) == pytest.approx((low, high), abs=0.05)


def test_a_submit_that_lasts_as_long_as_the_work_is_measured_exactly() -> None:
    clocks = Clocks()
    watch = clocks.stopwatch()
    clocks.now += 10.0
    watch.unready(queued=True)
    clocks.now += 5.0
    assert watch.span() == (5.0, 5.0)


def test_what_began_elsewhere_or_was_refused_is_left_out() -> None:
    assert watched((3.0, False), whole=False) is None
    assert watched((3.0, False), (3.0, None)) is None


@pytest.mark.parametrize("skew", [-3600.0, 3600.0, 8 * 3600.0], ids=["set back", "set forward", "slept"])
def test_a_clock_that_was_set_and_a_machine_that_slept_leave_it_out(skew: float) -> None:
    clocks = Clocks()
    watch = clocks.stopwatch()
    clocks.now += 10.0
    assert watch.span() == (10.0, 10.0)
    clocks.skew += skew
    assert watch.span() is None


def test_a_process_that_was_stopped_leaves_it_out() -> None:
    clocks = Clocks()
    watch = clocks.stopwatch()
    clocks.now += 4.0
    watch.planned(5.0)
    assert watch.span() == (4.0, 4.0)
    clocks.now += 3600.0
    watch.planned(10.0)
    assert watch.span() is None


def test_a_lane_that_is_closed_for_long_leaves_it_out() -> None:
    async def inside() -> Span | None:
        watch = Stopwatch(skew=lambda: 0.0)
        await watch.sleep(2.0, 60.0)
        return watch.span()

    assert run(inside()) is None


def test_a_person_may_change_how_many_are_inside_while_others_wait() -> None:
    async def story() -> None:
        gate = Gate(2, window=None)
        told: list[tuple[int | None, int | None]] = []
        gate.on_change = lambda: told.append((gate.limit, gate.allowed))
        slots = [await gate.enter(), await gate.enter()]
        waiting = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.set_limit(3)
        slots.append(await asyncio.wait_for(waiting, 10))
        gate.set_limit(1)
        waiting = asyncio.ensure_future(gate.enter())
        for slot in slots:
            assert not waiting.done(), "what is inside may finish, and one alone may be there"
            slot.leave()
            await asyncio.sleep(0)
        await asyncio.wait_for(waiting, 10)
        assert told == [(3, 3), (1, 1)]

    run(story())


def test_a_raised_limit_tries_one_more_than_the_service_took() -> None:
    async def story() -> None:
        gate = Gate(8, window=None)
        slots = [await gate.enter() for _ in range(4)]
        gate.refused(slots.pop(), 1.0)
        assert gate.allowed == 3
        gate.set_limit(9)
        assert (gate.limit, gate.allowed) == (9, 4)
        unlimited = Gate(None)
        before = unlimited.allowed
        unlimited.set_limit(5)
        assert (before, unlimited.limit, unlimited.allowed) == (None, 5, 5)

    run(story())
