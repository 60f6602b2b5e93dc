"""CPU from nothing to an answer, against `python -c pass`; each round runs every case once."""

import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import FLOOR, IMAGEGEN, Figure, configured, cost, median, milliseconds, surroundings_of
from imagegen_cli.core.task import ImageRequest, TaskId
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store

ROUNDS = 9
TASKS = 100_000
COMPLETE = {"_IMAGEGEN_COMPLETE": "bash", "_IMAGEGEN_LINE": "imagegen ru"}


def measured() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        remember(Path(few), 50)
        remember(Path(many), TASKS)
        here = Path(few)
        cases: dict[str, tuple[float | None, Callable[[], float]]] = {
            "python -c pass": (None, lambda: cost(FLOOR, here).cpu),
            "imagegen --version": (1.5, lambda: cost([*IMAGEGEN, "--version"], here).cpu),
            "imagegen --help": (9, lambda: cost([*IMAGEGEN, "--help"], here).cpu),
            "imagegen run --help": (9, lambda: cost([*IMAGEGEN, "run", "--help"], here).cpu),
            "completion in the shell": (9, lambda: cost(IMAGEGEN, here, environment=COMPLETE).cpu),
            "imagegen list, 50 tasks": (12, lambda: cost([*IMAGEGEN, "list"], here).cpu),
            f"imagegen list, {TASKS} tasks": (12, lambda: cost([*IMAGEGEN, "list"], Path(many)).cpu),
            "imagegen run, first byte of the submit": (16, first_byte),
        }
        rounds = [{name: case() for name, (_, case) in cases.items()} for _ in range(ROUNDS)]
    floor = median([one["python -c pass"] for one in rounds])
    for name, (goal, _) in cases.items():
        spent = median([one[name] for one in rounds])
        yield Figure(f"{name}, CPU", milliseconds(spent), spent / floor, goal)


def remember(folder: Path, tasks: int) -> None:
    """A history as it would be after so many tasks."""
    store = Store(folder / "history.db")
    request = ImageRequest(prompt="two cats on a beach", provider="studio", model="3.0")
    run, ids = store.reserve(tasks)
    store.start_run(run, "batch", "", [_planned(request, id_) for id_ in ids])
    store.close()


def _planned(request: ImageRequest, id_: TaskId) -> Planned:
    return Planned(id=id_, name=f"{id_}-{{index}}", request=request, expected_images=4, folder="/", identity=str(id_))


def first_byte() -> float:
    """What every thread of `imagegen run` had spent when the service saw the first byte; only Linux tells."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        here = configured(Path(folder), f"http://127.0.0.1:{listener.getsockname()[1]}")
        quiet = subprocess.DEVNULL
        words = [*IMAGEGEN, "run", "a cat", "-p", "studio", "-q"]
        process = subprocess.Popen(words, cwd=here, env=surroundings_of(here), stdin=quiet, stdout=quiet, stderr=quiet)
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            threads = Path(f"/proc/{process.pid}/task").iterdir()
            spent = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        process.kill()
        process.wait()
    return spent / 1e9
