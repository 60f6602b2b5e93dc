"""What remembering costs: the events of a real run, recorded in a history again, against the CPU of that run."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import IMAGEGEN, Figure, configured, cost, listed
from benchmarks.server import served
from imagegen_cli.core.events import Event
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store

TASKS = 1000
SECONDS = 10.0
TURN = 20
"""Events that the loop tells in one turn, so that there are pauses for the writer's thread to find."""


def measured() -> Iterator[Figure]:
    with served(seconds=SECONDS, size=50_000) as server, tempfile.TemporaryDirectory() as folder:
        here = configured(Path(folder), server.url)
        listed(here, TASKS)
        run = cost([*IMAGEGEN, "batch", "prompts.txt", "-p", "studio", "-q"], here)
        store = Store(here / "history.db")
        events = [event for _, event in store.events(store.run_ids()[0])]
        store.close()
        all_, loop = asyncio.run(remembered(Path(folder) / "again.db", events))
    yield Figure("history: CPU a change", f"{all_ / len(events) * 1e6:.1f} µs", all_ / run.cpu * 100, 3, unit="%")
    yield Figure(
        "history: of it on the event loop", f"{loop / len(events) * 1e6:.2f} µs", loop / run.cpu * 100, unit="%"
    )


async def remembered(path: Path, events: list[Event]) -> tuple[float, float]:
    """Seconds of CPU, in all and on the loop."""
    store = Store(path)
    request = ImageRequest(prompt="a", provider="studio")
    run, ids = store.reserve(TASKS)
    planned = [
        Planned(id=id_, name=str(id_), request=request, expected_images=1, folder="/", identity="a") for id_ in ids
    ]
    store.start_run(run, "batch", "", planned)
    all_, loop = time.process_time(), time.thread_time()
    for start in range(0, len(events), TURN):
        for event in events[start : start + TURN]:
            store.record(event)
        await asyncio.sleep(0)
    spent_on_the_loop = time.thread_time() - loop
    await store.flush()
    spent = time.process_time() - all_
    store.close()
    return spent, spent_on_the_loop
