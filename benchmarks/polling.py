"""When the end of a task is seen: the real Rhythm, simulated exactly, an answer 60 ms away.

Late: the mean of (seen - ended), as a share of the mean running time. Queries: the mean a task.
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.measure import Figure
from imagegen_cli.pace import Rhythm

TASKS = 1000
HISTORIES = 5
"""Fifty tasks are few: what was learned from one fifty differs from the next."""
TRIP = 0.06
SHORTEST = 0.5
KNOWN = 50


class Kind(NamedTuple):
    name: str
    draw: Callable[[random.Random], float]


KINDS = (
    Kind("lognormal 12 s σ.25", lambda chance: chance.lognormvariate(2.485, 0.25)),
    Kind("lognormal 40 s σ.4", lambda chance: chance.lognormvariate(3.689, 0.4)),
    Kind("10 s or 90 s", lambda chance: chance.choice((10, 90)) * chance.uniform(0.9, 1.1)),
)


class Outcome(NamedTuple):
    queries: float
    late: float


def several(kind: Kind, way: "Way") -> Outcome:
    outcomes = [simulated(kind, lambda known=known: way(known)) for known in histories(kind)]  # type: ignore[misc]
    return Outcome(*(sum(values) / HISTORIES for values in zip(*outcomes, strict=True)))


def histories(kind: Kind) -> list[list[float]]:
    chance = random.Random(3)
    return [sorted(kind.draw(chance) for _ in range(KNOWN)) for _ in range(HISTORIES)]


def simulated(kind: Kind, wait: Callable[[], "Wait"]) -> Outcome:
    chance = random.Random(2)
    queries, late, total = 0, 0.0, 0.0
    for _ in range(TASKS):
        length, passed, one = kind.draw(chance), 0.0, wait()
        while True:
            passed += one.wait(passed) + TRIP
            queries += 1
            if passed - TRIP / 2 >= length:
                break
            one.told(passed, (passed - TRIP / 2) / length)
        late += passed - length
        total += length
    return Outcome(queries / TASKS, late / total)


class Wait:
    def __init__(self, rhythm: Rhythm | None, *, progress: bool) -> None:
        self._rhythm, self._progress = rhythm, progress

    def wait(self, passed: float) -> float:
        return self._rhythm.wait(passed) if self._rhythm is not None else 5.0

    def told(self, passed: float, fraction: float) -> None:
        if self._progress and self._rhythm is not None:
            self._rhythm.told(passed, round(fraction, 2))


Way = Callable[[list[float]], Wait]


def measured() -> Iterator[Figure]:
    random.seed(1)
    ways: list[tuple[str, float | None, float | None, Way]] = [
        (f"{KNOWN} known", 6, 12, lambda known: Wait(Rhythm(SHORTEST, known), progress=False)),
        ("linear progress", 1, 8, lambda _: Wait(Rhythm(SHORTEST), progress=True)),
        ("nothing known", 10, None, lambda _: Wait(Rhythm(SHORTEST), progress=False)),
        ("rival: fixed 5 s", None, None, lambda _: Wait(None, progress=False)),
    ]
    for kind in KINDS:
        for name, late, queries, way in ways:
            found = several(kind, way)
            yield Figure(f"{kind.name}, {name}: late", "", found.late * 100, late, unit="%")
            yield Figure(f"{kind.name}, {name}: queries", "", found.queries, queries, unit="")
