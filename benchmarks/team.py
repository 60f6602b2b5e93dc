"""What 100,000 queued tasks and four workers cost a shared history: claims, `list` and a look of `watch`."""

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from benchmarks.measure import Figure
from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.records import UNFINISHED, Filter, Planned
from imagegen_cli.storage.store import Store
from tests.histories import KINDS, Place, opened, place
from tests.program import Program

TASKS = 100_000
WORKERS = 4
AT_ONCE = 50
CLAIMS_EACH = 40
LISTED = 50


def measured() -> Iterator[Figure]:
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            yield from _of(kind, place(kind, Path(folder) / "home"), Path(folder))


def _of(kind: str, where: Place, folder: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        store = stack.enter_context(closing(opened(where)))
        begun = time.monotonic()
        _fill(store)
        each_ms = (time.monotonic() - begun) / TASKS * 1000
        yield Figure(f"team: {kind} queues {TASKS:,} tasks, each", f"{each_ms:.2f} ms", each_ms)
        processes = [Process(f"host{number}", number, "then", "place") for number in range(WORKERS)]
        workers = [stack.enter_context(closing(opened(where, process=process))) for process in processes]
        cost_ms = _claimed(workers)
        yield Figure(
            f"team: {kind} claim of a task, {WORKERS} workers, {AT_ONCE} at once", f"{cost_ms:.2f} ms", cost_ms, 1
        )
        look_s = _spent(store, Filter(states=UNFINISHED, limit=LISTED))
        yield Figure(f"team: {kind} newest unfinished tasks, as list and watch read", f"{look_s:.3f} s", look_s, 1)
        owned_s = _spent(store, Filter(states=UNFINISHED, owned=True))
        owned = f"{WORKERS * CLAIMS_EACH * AT_ONCE:,}"
        yield Figure(f"team: {kind} {owned} tasks that workers have, as watch opens", f"{owned_s:.3f} s", owned_s, 1)
        begun = time.monotonic()
        store.runs_at_work()
        around_s = time.monotonic() - begun
        yield Figure(f"team: {kind} runs at work, as watch looks around", f"{around_s:.3f} s", around_s, 0.25)
        begun = time.monotonic()
        store.waiting_for_workers(["studio"])
        count_s = time.monotonic() - begun
        yield Figure(
            f"team: {kind} tasks in the queue, as work and watch count them", f"{count_s:.3f} s", count_s, 0.05
        )
    program = Program(folder)
    if isinstance(where, str):
        program.more["IMAGEGEN_HISTORY"] = where
    else:
        program.more["IMAGEGEN_HOME"] = str(where.parent)
    begun = time.monotonic()
    program.run("list", "--limit", str(LISTED))
    took_s = time.monotonic() - begun
    yield Figure(f"team: {kind} imagegen list, start-up included", f"{took_s:.2f} s", took_s, 1)


def _spent(store: Store, wanted: Filter) -> float:
    begun = time.monotonic()
    store.find(wanted)
    return time.monotonic() - begun


def _fill(store: Store) -> None:
    numbers = store.reserve(TASKS)
    request = ImageRequest(prompt="a cat", provider="studio", model="4.0")
    planned = [
        Planned(id=id_, name="{index}", request=request, expected_images=1, folder="/", identity=str(id_))
        for id_ in numbers.tasks
    ]
    store.start_run(numbers.run, "batch", "", planned, for_workers=True)


def _claimed(workers: Sequence[Store]) -> float:
    """Milliseconds of wall time for a task, while all workers claim."""

    def claim(store: Store) -> None:
        left = CLAIMS_EACH
        while left:
            with suppress(HistoryError):  # SQLite gives its lock to any of those that wait
                left -= len(store.claim_queued(["studio"], AT_ONCE)) == AT_ONCE

    threads = [threading.Thread(target=claim, args=(store,)) for store in workers]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.monotonic() - begun) / (WORKERS * CLAIMS_EACH * AT_ONCE) * 1000
