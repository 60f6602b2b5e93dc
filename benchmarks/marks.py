"""What it costs to say what made a picture: into its file, by a copy of a large one, and beside a signed one."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, median
from imagegen_cli.commands.provenance import Provenance
from imagegen_cli.core.task import ImageRequest, InlineImage, Queued, RunId, StagedImage, Task, TaskId
from imagegen_cli.net.download import Downloader
from tests.doubles import marked
from tests.doubles.http import Pictures

ROUNDS = 3
REQUEST = ImageRequest(prompt="一只橘猫在雨夜的霓虹灯下 " * 8, provider="studio", seed=7, negative="blurry")
KINDS = (
    ("PNG of 0.2 MB", Pictures("png", (512, 512), 200_000).make("job", 1), 150, 2.0),
    ("JPEG", Pictures("jpeg", (2048, 2048)).make("job", 1), 150, 2.0),
    ("WebP", Pictures("webp", (512, 512)).make("job", 1), 150, 2.0),
    ("PNG of 8 MB", Pictures("png", (512, 512), 8_000_000).make("job", 1), 20, 20.0),
    ("signed PNG, with a sidecar", marked.signed()[".png"], 150, 2.0),
)
"""What it is, its bytes, how many are saved, and how many milliseconds of CPU the marks of one may cost."""


async def _saved(data: bytes, number: int, folder: Path, *, marks: bool) -> None:
    async def chosen(_staged: StagedImage) -> None:
        """A run would write the name into its history here; a benchmark has none."""

    saver = Downloader(None)

    async def save(index: int) -> None:
        task = Task(id=TaskId(index), run=RunId(1), request=REQUEST, state=Queued(), folder=str(folder), name="{index}")
        marker = Provenance(task, 1, kind="volcengine", model="4.0", embeds=True) if marks else None
        stem = folder / str(index)
        staged = await saver.stage(InlineImage(data), stem, folder / f".{index}.part", marker)
        await saver.publish(staged, stem, chosen, marker)

    await asyncio.gather(*(save(index) for index in range(number)))


def _seconds(data: bytes, number: int, folder: Path, *, marks: bool) -> float:
    """CPU seconds for one picture."""
    folder.mkdir()
    gc.collect()
    began = time.process_time()
    asyncio.run(_saved(data, number, folder, marks=marks))
    return (time.process_time() - began) / number


def measured() -> Iterator[Figure]:
    for what, data, number, limit_ms in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            _seconds(data, 3, Path(folder) / "first", marks=True)  # loads and compiles what is needed once
            plain, with_marks = (
                [_seconds(data, number, Path(folder) / f"{marks}-{turn}", marks=marks) for turn in range(ROUNDS)]
                for marks in (False, True)
            )
        more_ms = 1000 * (median(with_marks) - median(plain))
        yield Figure(
            f"marks, {what}: CPU for one more", f"of {1000 * median(plain):.2f} ms", more_ms, limit_ms, unit=" ms"
        )
