"""Drawing without any service: one picture of 1024², and as many at once as there are cores."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import IMAGEGEN, Cost, Figure, cost, median

ROUNDS = 3


def measured() -> Iterator[Figure]:
    cores = os.cpu_count() or 1
    one = [drawn(1) for _ in range(ROUNDS)]
    many = [drawn(4 * cores) for _ in range(ROUNDS)]
    yield Figure("sketch: a picture of 1024², CPU", "", median([found.cpu for found in one]), 1.5, unit=" s")
    busy = median([found.cpu / found.wall for found in many])
    yield Figure(
        f"sketch: {4 * cores} pictures, cores in use of {cores}", "", busy, 0.8 * cores, is_floor=True, unit=""
    )


def drawn(number: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "run",
            *(f"{n} cats on a beach" for n in range(1, number + 1)),
            "-p",
            "sketch",
            "--size",
            "1024x1024",
            "-q",
        ]
        return cost([*IMAGEGEN, *words], Path(folder))
