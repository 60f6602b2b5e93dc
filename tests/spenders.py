"""Several processes that spend at once on one history, each with the real runner and a service that tells its own cost.

    python -m tests.spenders FOLDER NUMBER TASKS LIMITS LEAST MOST [--check-then-spend]

The service charges between LEAST and MOST of the price that is reserved. `--check-then-spend` is what the history does
not do: it looks whether there is money left, and spends it afterwards.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from imagegen_cli.core.budget import Limit, parse_limits
from imagegen_cli.core.events import Event, TaskChanged
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.provider import Accepted
from imagegen_cli.core.task import ImageRequest, Job, Submitting, TaskId
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store
from tests.scripted import Asleep, Scripted, Stage, ready

PRICE = Money(40_000, "usd")
PROCESSES = 8
TASKS = 20


class Estimates:
    def quote(self, request: ImageRequest, images: int) -> Quote:
        return Quote(images, PRICE, Source.ESTIMATED)

    def of_tokens(self, request: ImageRequest, tokens: Mapping[str, int]) -> Money | None:
        return None


class CheckThenSpend(Store):
    """Compares with the limits before it writes, in a transaction of its own."""

    def __init__(self, path: Path, limits: tuple[Limit, ...]) -> None:
        super().__init__(path)
        self._limits = limits

    def record(self, event: Event) -> None:
        if isinstance(event, TaskChanged) and isinstance(event.task.state, Submitting):
            for limit in self._limits:
                if self.spent(limit).micros + PRICE.micros > limit.amount.micros:
                    self.budget.refused[event.task.id] = "spent"
                    return
        super().record(event)


def spend(folder: Path, number: int, tasks: int, store: Store, factors: tuple[float, float]) -> None:
    chance = random.Random(number)

    def accepted(one: Scripted) -> Asleep:
        cost = Money(round(PRICE.micros * chance.uniform(*factors)), "usd")
        with (folder / "bill").open("a", encoding="ascii") as bill:
            bill.write(f"{cost.micros}\n")
        return Asleep(chance.uniform(0.0, 0.05), Accepted(Job(f"{number}-{one.counts['submit']}"), cost=cost))

    stage = Stage(
        Scripted([accepted], [Asleep(0.02, ready())]),
        folder,
        poll=0.02,
        also=store.record,
        flush=store.flush,
        pricing=Estimates(),
        over_budget=lambda task: store.budget.refused.get(task, ""),
    )
    numbers = store.reserve(tasks)
    planned = [_planned(id_, folder) for id_ in numbers.tasks]
    entered = store.start_run(numbers.run, "batch", "", planned)
    (folder / f"ready {number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)
    asyncio.run(stage.run_tasks(*entered))


def _planned(id_: TaskId, folder: Path) -> Planned:
    request = ImageRequest(prompt="a cat", provider="scripted")
    name = f"{id_}-{{index}}"
    return Planned(request=request, expected_images=1, folder=str(folder), identity=str(id_), id=id_, name=name)


def together(folder: Path, limits: str, least: float, most: float, *words: str) -> None:
    """Let PROCESSES processes begin to spend at the same moment, and wait for their ends."""
    given = [str(TASKS), limits, str(least), str(most), *words]
    command = [sys.executable, "-m", "tests.spenders", str(folder)]
    crowd = [subprocess.Popen([*command, str(number), *given]) for number in range(PROCESSES)]
    while len(list(folder.glob("ready *"))) < PROCESSES and not any(one.poll() for one in crowd):
        time.sleep(0.01)
    (folder / "go").touch()
    assert [one.wait(60) for one in crowd] == [0] * PROCESSES


def main() -> None:
    folder, number, tasks, text, least, most, *words = sys.argv[1:]
    path, limits = Path(folder) / "history.db", parse_limits(text)
    with closing(CheckThenSpend(path, limits) if words else Store(path)) as store:
        if not words:
            store.budget.limits = limits
        spend(Path(folder), int(number), int(tasks), store, (float(least), float(most)))


if __name__ == "__main__":
    main()
