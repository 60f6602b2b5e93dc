"""Pictures onto the disk, checked, synced and named, against curl that only writes.

python -m benchmarks.downloads URL PICTURES     into the working directory
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.makespan import fetched
from benchmarks.measure import Cost, Figure, cost, median
from benchmarks.server import served
from imagegen_cli.core.task import RemoteImage, StagedImage
from imagegen_cli.net.client import open_clients
from imagegen_cli.net.download import Downloader

ROUNDS = 3
SIZES = ((2000, 200_000), (20, 50_000_000))


async def save_all(url: str, number: int, folder: Path) -> None:
    async def chosen(_staged: StagedImage) -> None:
        """A run would write the name into its history here; a benchmark has none."""

    async with open_clients() as clients:
        saver = Downloader(clients.fetch)

        async def save(index: int) -> None:
            stem = folder / str(index)
            part = folder / f".{index}.part"
            staged = await saver.stage(RemoteImage(f"{url}/files/job/{index}.jpg"), stem, part)
            await saver.publish(staged, stem, chosen)

        await asyncio.gather(*(save(index) for index in range(number)))


def measured() -> Iterator[Figure]:
    for number, size in SIZES:
        with served(size=size) as server, tempfile.TemporaryDirectory() as folder:
            rounds = [one_round(server.url, number, Path(folder), turn) for turn in range(ROUNDS)]
            synced = fetched(Path(folder) / "synced", server.url, number, synced=True)
        what = f"downloads, {number} × {size / 1e6:g} MB"
        ratio = median([curl.wall / ours.wall for ours, curl in rounds])
        rate = f"{number * size / 1e6 / median([ours.wall for ours, _ in rounds]):.0f} MB/s"
        yield Figure(f"{what}: throughput against curl", rate, ratio, 0.8, is_floor=True)
        safe = median([synced.wall / ours.wall for ours, _ in rounds])
        yield Figure(f"{what}: against curl that syncs as well", "", safe)
        yield Figure(f"{what}: CPU against curl", "", median([ours.cpu / curl.cpu for ours, curl in rounds]))
        yield Figure(f"{what}: memory", "", max(ours.memory for ours, _ in rounds), 100, unit=" MiB")


def one_round(url: str, number: int, folder: Path, turn: int) -> tuple[Cost, Cost]:
    """Both once, the first in turn.

    What they wrote stays until the end: ext4 makes files slowly for minutes after many were deleted.
    """
    ours, curl = folder / f"ours-{turn}", folder / f"curl-{turn}"
    ours.mkdir()
    first = fetched(curl, url, number) if turn % 2 else None
    saved = cost([sys.executable, "-m", "benchmarks.downloads", url, str(number)], ours)
    return saved, first or fetched(curl, url, number)


if __name__ == "__main__":
    asyncio.run(save_all(sys.argv[1], int(sys.argv[2]), Path.cwd()))
