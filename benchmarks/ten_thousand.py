"""10,000 tasks of 10 s with a picture of 50 KB, unlimited, live table and history on."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import WATCHED, Cost, Figure, configured, cost, listed
from benchmarks.server import served

FEW = 100
MANY = 10_000


def measured() -> Iterator[Figure]:
    with served(seconds=10.0, pictures=1, size=50_000) as server, tempfile.TemporaryDirectory() as folder:
        few, many = (run_batch(Path(folder) / str(tasks), server.url, tasks) for tasks in (FEW, MANY))
    each = many.cpu / MANY
    yield Figure("10,000 tasks: wall", f"{many.wall:.0f} s", many.wall / few.wall)
    yield Figure("10,000 tasks: CPU a task against 100 tasks", f"{each * 1000:.1f} ms", each / (few.cpu / FEW), 1.3)
    yield Figure("10,000 tasks: memory", "", many.memory, 200, unit=" MiB")
    yield Figure("10,000 tasks: event loop, longest turn", "", many.longest_turn_s * 1000, 100, unit=" ms")
    yield Figure("10,000 tasks: open files", "", many.files, 100, unit="")


def run_batch(folder: Path, url: str, tasks: int) -> Cost:
    configured(folder, url)
    listed(folder, tasks)
    found = cost([*WATCHED, "batch", "prompts.txt", "-p", "studio", "--progress", "live"], folder, live=True)
    pictures = len(list((folder / "images").iterdir()))
    shutil.rmtree(folder)
    if pictures != tasks:  # one picture each where four are due: the exit code is that of a run with too few
        raise RuntimeError(f"imagegen ended with {found.code} and {pictures} pictures of {tasks}")
    return found
