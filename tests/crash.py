"""Kill the real program at every step, resume, and compare three ledgers: what the service billed, what the history
says, what lies on disk.

    python -m tests.crash --kills 500               a long round; prints kills, tasks, billed, delivered, lost, doubled
    python -m tests.crash --kills 500 --together    the same with two and three processes at once: tests/crowd.py

Steps inside the program are met through the interpreter's own audit events, raised before the step is taken: the
program itself knows nothing of it. That a file has been synced is no such event, and is told by the call itself.
Steps at the service are met by the service, which kills its client.
"""

import argparse
import json
import logging
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.comfyui import ComfyServer
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Fault, Job, Pictures, Reply, Request, Service
from tests.doubles.pictures import whose
from tests.program import Program, finished

KILLER = """
import os, signal, stat, sys
step, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
STEPS = {
    "connect": lambda event, args: event == "socket.connect",
    "part": lambda event, args: event == "open" and str(args[0]).endswith(".part"),
    "publish": lambda event, args: event == "os.link",
    "unlink": lambda event, args: event == "os.remove" and str(args[0]).endswith(".part"),
    "database": lambda event, args: event == "sqlite3.connect",
    "thread": lambda event, args: event == "_thread.start_new_thread",
    "synced": lambda event, args: event == "synced",
}
meets, seen, sync = STEPS[step], 0, os.fsync
def hook(event, args):
    global seen
    if meets(event, args):
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
def synced(handle):
    sync(handle)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        sys.audit("synced")
os.fsync = synced
sys.addaudithook(hook)
from imagegen_cli.__main__ import main
main()
"""
INSIDE = ("connect", "part", "synced", "publish", "unlink", "database", "thread")
THERE = ("submit", "submit acted", "query", "download", "download half")
TASKS = 2
"""The number of tasks for each service in each round."""
CONFIG = """
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
poll = 0.02
[providers.comfy]
kind = "comfyui"
base_url = "{comfy}"
poll = 0.02
"""


class Aim:
    """Which client is to be killed at which step; `left` counts how often the step is let pass, plus one."""

    def __init__(self) -> None:
        self.victim: subprocess.Popen[str] | None = None
        self.aim: tuple[str, int] = ("", 0)
        self.begins = threading.Lock()
        """Held while a victim starts: its first step may come before this process knows it."""

    def shoot(self, step: str) -> bool:
        with self.begins:
            wanted, left = self.aim
            if step != wanted or self.victim is None:
                return False
            self.aim = (wanted, left - 1)
        if left != 1:
            return False
        self.victim.send_signal(signal.SIGKILL)
        self.victim.wait()
        return True

    def meets(self, step: str, request: Request) -> None:
        """Do what is to be done to the client whose request has come to this step."""


class Deadly(Service):
    """A service that kills its client: mixed into a double, before it."""

    aim = Aim()

    async def answer(self, request: Request) -> Reply:
        kind = self.kind(request)
        self.aim.shoot(kind)
        self.aim.meets(kind, request)
        reply = await super().answer(request)
        self.aim.shoot(f"{kind} acted")
        self.aim.meets(f"{kind} acted", request)
        if kind == "download" and self.aim.shoot("download half"):
            reply.fault = Fault.TRUNCATE
        return reply

    async def file(self, request: Request, job_id: str, index: int) -> Reply:
        self.aim.shoot("download")
        self.aim.meets("download", request)
        reply = await super().file(request, job_id, index)
        if self.aim.shoot("download half"):
            reply.fault = Fault.TRUNCATE
        return reply


class CrashServer(Deadly, DreaminaServer):
    """A service without client jobs: a lost answer cannot be looked up. It makes four pictures a task."""

    pictures_each = 4


class CrashComfy(Deadly, ComfyServer):
    """A service with client jobs: a lost answer can be looked up. It makes one picture a task."""

    pictures_each = 1


@dataclass
class Ledgers:
    """What a round came to. `uncertain`: billed, not delivered, and shown to the person as uncertain, which is true."""

    kills: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    """What else happened, and what it came to."""
    tasks: int = 0
    billed: int = 0
    delivered: int = 0
    uncertain: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        steps = ", ".join(f"{step} {count}" for step, count in sorted(self.kills.items()))
        others = "".join(f"\n  {trouble}: {count}" for trouble, count in self.troubles.items())
        return (
            f"kills {self.kills.total()}  tasks {self.tasks}  billed {self.billed}  delivered {self.delivered}  "
            f"uncertain {self.uncertain}  lost {len(self.lost)}  doubled {len(self.doubled)}  "
            f"other {len(self.other)}\n  by step: {steps}{others}"
        )


class Harness:
    """One history and one folder, killed again and again."""

    def __init__(self, folder: Path, studio: CrashServer, comfy: CrashComfy, seed: int) -> None:
        self.program = Program(folder, CONFIG.format(studio=studio.url, comfy=comfy.url))
        self.servers: tuple[Any, ...] = (studio, comfy)
        self.aim = Deadly.aim = Aim()
        self.random = random.Random(seed)
        self.ledgers = Ledgers()
        self._round = 0

    def round(self, step: str, number: int) -> None:
        """Begin a batch, kill it at the step, resume, sometimes killed again, and resume to the end."""
        self._round += 1
        specs = [
            {"prompt": f"round {self._round} {name} {n}", "provider": name}
            for n in range(TASKS)
            for name in ("studio", "comfy")
        ]
        self.ledgers.tasks += len(specs)
        (self.program.folder / "list.jsonl").write_text("\n".join(json.dumps(spec) for spec in specs))
        self._killed(["batch", "list.jsonl", "-q", "-j", "unlimited"], step, number)
        if self.random.random() < 0.3:
            self._killed(["resume", "-q"], self.random.choice((*INSIDE, *THERE, "time")), self.random.randint(1, 6))
        self._resumed()

    def _killed(self, words: list[str], step: str, number: int) -> None:
        inside = step in INSIDE
        start = [sys.executable, "-c", KILLER, step, str(number)] if inside else [sys.executable, "-m", "imagegen_cli"]
        with self.aim.begins:
            process = subprocess.Popen(
                [*start, *words],
                cwd=self.program.folder,
                env=self.program.environment(PYTHONPATH=str(Path(__file__).parents[1])),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.aim.victim, self.aim.aim = process, (step, number) if step in THERE else ("", 0)
        if step == "time":
            time.sleep(self.random.uniform(0.15, 0.9))
            process.kill()
        ended = finished(process)
        self.aim.aim = ("", 0)
        if ended.code == -signal.SIGKILL:
            self.ledgers.kills[step] += 1
        elif ended.code not in (0, 1, 4, 5):
            self.ledgers.other.append(f"exit {ended.code}: {ended.err}")

    def _resumed(self) -> None:
        ended = self.program.run("resume", "-q")
        if ended.code not in (0, 1, 4) or "Traceback" in ended.err:
            self.ledgers.other.append(f"resume exits {ended.code}: {ended.err}")

    def compare(self) -> Ledgers:
        """Read the three ledgers side by side."""
        found, ledgers = Counter[str](), self.ledgers
        recorded: dict[str, str] = {}
        states: dict[str, str] = {}
        for task in self.program.tasks():
            states[task["prompt"]] = task["reason"] or task["state"]
            for file in task["files"]:
                recorded[file] = task["prompt"]
        for path in self.program.pictures():
            if path.suffix != ".png":
                ledgers.other.append(f"left behind: {path.name}")
            elif recorded.pop(str(path), None) is None:
                ledgers.other.append(f"on disk, not in the history: {path.name}")
            else:
                found[whose(path.read_bytes())] += 1
        ledgers.other += [f"in the history, not on disk: {path}" for path in recorded]
        ledgers.other += [f"{prompt}: {state}" for prompt, state in states.items() if state in OPEN]
        self._compare_jobs(found, states)
        return ledgers

    def _compare_jobs(self, found: Counter[str], states: dict[str, str]) -> None:
        ledgers = self.ledgers
        ledgers.delivered = sum(found.values())
        prompts = Counter[str]()
        for server in self.servers:
            for job in server.jobs.values():
                prompt = prompt_of(job)
                prompts[prompt] += 1
                names = [f"{job.id}/{index}" for index in range(1, server.pictures_each + 1)]
                ledgers.billed += len(names)
                ledgers.doubled += [f"on disk {found[name]} times: {name}" for name in names if found[name] > 1]
                missing = [name for name in names if not found[name]]
                if missing and states.get(prompt) == "uncertain":
                    ledgers.uncertain += len(missing)
                else:
                    ledgers.lost += [f"{name} ({prompt}: {states.get(prompt)})" for name in missing]
        ledgers.doubled += [f"paid {count} times: {prompt}" for prompt, count in prompts.items() if count > 1]


def prompt_of(job: Job) -> str:
    """The prompt, wherever a service keeps it."""
    found = re.search(r"round \d+ \w+ \d+", json.dumps(job.payload))
    assert found is not None, job.payload
    return found[0]


OPEN = {"queued", "submitting", "running", "saving"}


def rounds(kills: int, folder: Path, seed: int) -> Ledgers:
    """Kill until so many kills have met their step: every step at its first occurrences, then at random."""
    chance = random.Random(seed)
    small = Pictures("png", (8, 8))
    with CrashServer(polls=1, pictures=small) as studio, CrashComfy(polls=1, pictures=small) as comfy:
        harness = Harness(folder, studio, comfy, seed)
        plan = [(step, number) for step in (*INSIDE, *THERE) for number in (1, 2, 3, 5, 8)]
        chance.shuffle(plan)
        while harness.ledgers.kills.total() < kills:
            step, number = (
                plan.pop() if plan else (chance.choice((*INSIDE, *THERE, "time", "time")), chance.randint(1, 14))
            )
            harness.round(step, number)
        return harness.compare()


def intact(path: Path) -> str:
    """What SQLite itself says of the history."""
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", action="store_true", help="several processes at once, some of them elsewhere")
    parser.add_argument("--minutes", type=float, default=1e6, help="of --team, at most")
    parser.add_argument("--team", choices=["sqlite", "postgres"], help="five workers on several hosts: tests/team.py")
    options = parser.parse_args()
    os.environ.pop("IMAGEGEN_HOME", None)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the doubles write to clients that were just killed
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        if options.team:
            from tests.team import teams  # noqa: PLC0415 - it builds on this module

            ledgers = teams(options.kills, Path(folder), options.seed, options.team, 60 * options.minutes)
        elif options.together:
            from tests.crowd import crowds  # noqa: PLC0415 - it builds on this module

            ledgers = crowds(options.kills, Path(folder), options.seed)
        else:
            ledgers = rounds(options.kills, Path(folder), options.seed)
        file = Path(folder) / "home" / "history.db"
        sound = intact(file) if file.exists() else "on a server"
        print(f"{ledgers}\n  history {sound}, {time.monotonic() - begun:.0f} s")  # noqa: T201 - a table for people
        for line in [*ledgers.lost, *ledgers.doubled, *ledgers.other][:40]:
            print("  " + line)  # noqa: T201 - see above
        sys.exit(bool(ledgers.lost or ledgers.doubled or ledgers.other))


if __name__ == "__main__":
    main()
