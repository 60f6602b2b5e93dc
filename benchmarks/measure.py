"""What every benchmark uses: a program and what it cost; figures and whether they meet their goals."""

import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGEGEN = (sys.executable, "-m", "imagegen_cli")
WATCHED = (sys.executable, "-m", "benchmarks.watched")
FLOOR = (sys.executable, "-c", "pass")


@dataclass(frozen=True)
class Cost:
    """CPU and wall in seconds, the peak of memory in MiB.

    Only of a watched program: `longest_turn_s` of its event loop, and `files`, the most that were open at once.
    """

    cpu: float
    wall: float
    memory: float
    code: int
    out: str = ""
    longest_turn_s: float = 0.0
    files: int = 0


@dataclass(frozen=True)
class Figure:
    """`ratio` is compared with `goal`, which is an upper bound, or with `is_floor` a lower one; None: it is only shown.

    `value` has the figures in words.
    """

    what: str
    value: str
    ratio: float
    goal: float | None = None
    is_floor: bool = False
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.goal is None or (self.ratio >= self.goal if self.is_floor else self.ratio <= self.goal)


def cost(
    words: Sequence[str],
    folder: Path,
    *,
    live: bool = False,
    keep_output: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Cost:
    """Run a program to its end in `folder`, which holds its settings and history too.

    With `live` its stderr is a terminal that a thread reads; with `keep_output` its stdout is in `out`.
    """
    report = folder / "watched.json"
    report.unlink(missing_ok=True)
    surroundings = surroundings_of(folder) | {"IMAGEGEN_WATCHED": str(report)} | dict(environment or {})
    with tempfile.TemporaryFile() as nowhere:
        stderr = terminal() if live else subprocess.DEVNULL
        began = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=nowhere, stderr=stderr
        )
        if live:
            os.close(stderr)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        nowhere.seek(0)
        out = nowhere.read().decode() if keep_output else ""
    watched = json.loads(report.read_text()) if report.exists() else {}
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, process.returncode, out, **watched)


def surroundings_of(folder: Path) -> dict[str, str]:
    """The environment of a measured program: its own folder, no proxy, no compiled-away differences."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("IMAGEGEN_", "CI"))}
    return kept | {"IMAGEGEN_HOME": str(folder), "PYTHONPATH": str(ROOT), "NO_PROXY": "*", "TERM": "xterm-256color"}


def configured(folder: Path, url: str, *, poll: float = 0.5) -> Path:
    """A folder whose settings name our server as `studio`, without a limit on tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    table = f'[providers.studio]\nkind = "dreamina"\nbase_url = "{url}"\nconcurrency = 0\npoll = {poll}\n'
    (folder / "config.toml").write_text(table, encoding="utf-8")
    return folder


def listed(folder: Path, tasks: int) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"prompt number {number}\n" for number in range(tasks)), encoding="utf-8")
    return path


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def terminal(columns: int = 80, lines: int = 24) -> int:
    """The program's side of a terminal, which a thread reads."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    threading.Thread(target=drain, args=(master,), daemon=True).start()
    return slave


def drain(master: int) -> None:
    """Read a terminal until the other side is closed."""
    with suppress(OSError):
        while os.read(master, 65536):
            pass
    os.close(master)
