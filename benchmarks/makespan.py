"""1,000 tasks of 2 s with 4 pictures of 200 KB, all at once: the time after the 2 s, against curl on the same files."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import WATCHED, Cost, Figure, configured, cost, listed, median
from benchmarks.server import served

ROUNDS = 5
TASKS = 1000
SECONDS = 2.0
PICTURES = 4
SIZE = 200_000


def measured() -> Iterator[Figure]:
    with served(seconds=SECONDS, pictures=PICTURES, size=SIZE) as server, tempfile.TemporaryDirectory() as folder:
        rounds = [one_round(server.url, Path(folder), turn) for turn in range(ROUNDS)]
    ratios = [(ours.wall - SECONDS) / curl.wall for ours, curl in rounds]
    walls = f"{median([ours.wall for ours, _ in rounds]):.2f} s, curl {median([curl.wall for _, curl in rounds]):.2f} s"
    yield Figure("makespan: (wall - 2 s) / curl", walls, median(ratios), 1.6)
    yield Figure("makespan: open files", "", max(ours.files for ours, _ in rounds), 100, unit="")
    turn = median([ours.longest_turn_s for ours, _ in rounds]) * 1000
    yield Figure("makespan: event loop, median of the longest turns", "", turn, 80, unit=" ms")
    yield Figure("makespan: memory", "", max(ours.memory for ours, _ in rounds), unit=" MiB")


def one_round(url: str, folder: Path, turn: int) -> tuple[Cost, Cost]:
    """Both once, the first in turn.

    What they wrote stays until the end: ext4 makes files slowly for minutes after many were deleted.
    """
    first = fetched(folder / f"curl-{turn}", url, TASKS * PICTURES) if turn % 2 else None
    ours = run_batch(folder / f"ours-{turn}", url)
    return ours, first or fetched(folder / f"curl-{turn}", url, TASKS * PICTURES)


def run_batch(folder: Path, url: str) -> Cost:
    configured(folder, url)
    listed(folder, TASKS)
    found = cost([*WATCHED, "batch", "prompts.txt", "-p", "studio", "-q"], folder)
    pictures = len(list((folder / "images").iterdir()))
    if found.code or pictures != TASKS * PICTURES:
        raise RuntimeError(f"imagegen ended with {found.code} and {pictures} pictures")
    return found


def fetched(folder: Path, url: str, number: int, *, synced: bool = False) -> Cost:
    """The same files by curl, which neither checks nor syncs what it writes by default."""
    folder.mkdir()
    lines = [f'url = "{url}/files/job/{n}.jpg"\noutput = "{n}.jpg"\n' for n in range(number)]
    (folder / "urls").write_text("".join(lines))
    curl = "curl --silent --parallel --parallel-max 32 --config urls"
    return cost(["sh", "-c", f"{curl} && ls | xargs sync" if synced else f"exec {curl}"], folder)
