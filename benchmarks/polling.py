"""When the end of a task is seen: the real PollSchedule, simulated exactly, an answer 60 ms away.

Late: the mean of (seen - ended), as a share of the mean running time. Queries: the mean a task.

Shifts: the service is not as the history says. A task may then be seen late by 15 % of its running time or 1.5 s on
average, and by 30 % or 3 s at most, whichever is more: 1 is all that is allowed. The rival asks by learned quantiles
alone; it needs few queries where it sees nothing, so that ours are compared with what it needs there or where the
history is right, whichever is more.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.measure import Figure
from imagegen_cli.core.durations import Durations, Span
from imagegen_cli.engine.scheduling import PollSchedule

TASKS = 1000
HISTORIES = 5
"""Fifty tasks are few: what was learned from one fifty differs from the next."""
TRIP = 0.06
SHORTEST = 0.5
KNOWN = 50
LATER = 100
"""Tasks after which a history that learns from our own looks should have come to know of a shift."""

Draw = Callable[[random.Random], float]


class Kind(NamedTuple):
    name: str
    draw: Draw


KINDS = (
    Kind("lognormal 12 s σ.25", lambda chance: chance.lognormvariate(2.485, 0.25)),
    Kind("lognormal 40 s σ.4", lambda chance: chance.lognormvariate(3.689, 0.4)),
    Kind("10 s or 90 s", lambda chance: chance.choice((10, 90)) * chance.uniform(0.9, 1.1)),
)


class Outcome(NamedTuple):
    """`late` is a share of the running time; `mean` and `worst` are shares of what a shift allows."""

    queries: float
    late: float
    mean: float
    worst: float


class Seen(NamedTuple):
    length: float
    queries: int
    unready: float
    ready: float

    @property
    def late(self) -> float:
        return self.ready - self.length


class Poller:
    def __init__(self, schedule: PollSchedule | None, *, progress: bool) -> None:
        self._schedule, self._progress = schedule, progress

    def next_delay(self, passed: float) -> float:
        return self._schedule.next_delay(passed) if self._schedule is not None else 5.0

    def observe(self, passed: float, fraction: float) -> None:
        if self._progress and self._schedule is not None:
            self._schedule.observe(passed, round(fraction, 2))


History = Sequence[Span]
Way = Callable[[History], Poller]


class Quantiles(PollSchedule):
    """The rival: the next sixteenth of those still running decides, and nothing else."""

    def __init__(self, history: History) -> None:
        super().__init__(SHORTEST)
        self._durations = sorted(span.max_s for span in history)

    def _by_history(self, elapsed: float) -> float | None:
        passed = bisect_right(self._durations, elapsed)
        left = len(self._durations) - passed
        if not left:
            return None
        following = self._durations[min(passed + left // 16, len(self._durations) - 1)]
        return max(following - elapsed, self._durations[-1] * 0.01)


def learned(history: History) -> Poller:
    return Poller(PollSchedule(SHORTEST, Durations(history)), progress=False)


def rival(history: History) -> Poller:
    return Poller(Quantiles(history), progress=False)


def several(kind: Kind, way: Way) -> Outcome:
    return over(kind.draw, way, histories(kind))


def over(draw: Draw, way: Way, known: Sequence[History]) -> Outcome:
    """`mean` and the like over all histories; `worst` of all."""
    outcomes = [simulated(draw, lambda history=history: way(history)) for history in known]  # type: ignore[misc]
    means = Outcome(*(sum(values) / len(outcomes) for values in zip(*outcomes, strict=True)))
    return means._replace(worst=max(outcome.worst for outcome in outcomes))


def histories(kind: Kind) -> list[list[Span]]:
    chance = random.Random(3)
    return [[exactly(kind.draw(chance)) for _ in range(KNOWN)] for _ in range(HISTORIES)]


def exactly(seconds: float) -> Span:
    return Span(seconds, seconds)


def simulated(draw: Draw, new_poller: Callable[[], Poller], tasks: int = TASKS) -> Outcome:
    chance = random.Random(2)
    seen = [one(draw(chance), new_poller()) for _ in range(tasks)]
    late = sum(each.late for each in seen)
    return Outcome(
        sum(each.queries for each in seen) / tasks,
        late / sum(each.length for each in seen),
        late / sum(max(0.15 * each.length, 1.5) for each in seen),
        max(each.late / max(0.3 * each.length, 3.0) for each in seen),
    )


def one(length: float, poller: Poller) -> Seen:
    queries, passed, unready = 0, 0.0, 0.0
    while True:
        queried_at = passed + poller.next_delay(passed)
        passed = queried_at + TRIP
        queries += 1
        if passed - TRIP / 2 >= length:
            return Seen(length, queries, unready, passed)
        poller.observe(passed, (passed - TRIP / 2) / length)
        unready = queried_at


class Shift(NamedTuple):
    """`drawn` makes a task of the kind, `known` what the history holds when it comes."""

    name: str
    drawn: Callable[[Kind], Draw]
    known: Callable[[Kind, Way], list[list[Span]]] = lambda kind, _: histories(kind)


def scaled(factor: float) -> Callable[[Kind], Draw]:
    return lambda kind: lambda chance: kind.draw(chance) * factor


def with_outlier(kind: Kind, _: Way) -> list[list[Span]]:
    return [[exactly(known[0].max_s * 100), *known[1:]] for known in histories(kind)]


def grown(kind: Kind, way: Way) -> list[list[Span]]:
    """After LATER tasks of a service that became five times as fast, learned from the looks that this way takes."""
    known, chance = histories(kind), random.Random(4)
    for history in known:
        for _ in range(LATER):
            seen = one(kind.draw(chance) / 5, way(history))
            history.append(Span(seen.unready, seen.ready))
    return known


SHIFTS = (
    Shift("5 × faster", scaled(1 / 5)),
    Shift(f"5 × faster, {LATER} tasks later", scaled(1 / 5), grown),
    Shift("5 × slower", scaled(5)),
    Shift("an outlier of 100 × is known", scaled(1), with_outlier),
    Shift(
        "one task in 50 takes 100 ×", lambda kind: lambda chance: kind.draw(chance) * chance.choice([100] + [1] * 49)
    ),
    Shift("fails at second 1", lambda _: lambda chance: chance.uniform(0.5, 1.5)),
    Shift("fails at any moment", lambda kind: lambda chance: kind.draw(chance) * chance.random()),
    Shift("empty history", scaled(1), lambda _, __: [[]]),
)


def measured() -> Iterator[Figure]:
    random.seed(1)
    ways: list[tuple[str, float | None, float | None, Way]] = [
        (f"{KNOWN} known", 6, 12, learned),
        ("linear progress", 1, 8, lambda _: Poller(PollSchedule(SHORTEST), progress=True)),
        ("nothing known", 10, None, lambda _: Poller(PollSchedule(SHORTEST), progress=False)),
        ("rival: quantiles alone", None, None, rival),
        ("rival: fixed 5 s", None, None, lambda _: Poller(None, progress=False)),
    ]
    for kind in KINDS:
        for name, late, queries, way in ways:
            found = several(kind, way)
            yield Figure(f"{kind.name}, {name}: late", "", found.late * 100, late, unit="%")
            yield Figure(f"{kind.name}, {name}: queries", "", found.queries, queries, unit="")
    for shift in SHIFTS:
        yield from shifted(shift)


def shifted(shift: Shift) -> Iterator[Figure]:
    """The worst of all kinds, beside the rival's for the same kind."""
    pairs = []
    for kind in KINDS:
        ours, theirs = (over(shift.drawn(kind), way, shift.known(kind, way)) for way in (learned, rival))
        unshifted = several(kind, rival).queries
        pairs.append((ours, theirs, ours.queries / max(theirs.queries, unshifted), unshifted))
    for name, field in (("late on average", "mean"), ("late at most", "worst")):
        found, other = max((getattr(ours, field), getattr(theirs, field)) for ours, theirs, _, _ in pairs)
        yield Figure(f"{shift.name}: {name}", f"rival {other:.2f}", found, 1, unit="")
    ratio, mine, other, unshifted = max(
        (ratio, ours.queries, theirs.queries, unshifted) for ours, theirs, ratio, unshifted in pairs
    )
    words = f"{mine:.1f}, rival {other:.1f} ({unshifted:.1f})"
    yield Figure(f"{shift.name}: queries", words, ratio, 2)
