"""Several processes of the real program on one history at once: killed, paused for longer than a lease, on other hosts
and in other containers, with clocks that disagree. Afterwards three ledgers are compared, as in `tests.crash`.

    python -m tests.crash --kills 500 --together

A process "elsewhere" has a PID namespace and a host name of its own, and a wall clock that is 120 seconds off. Leases
are shortened from outside, so that a pause can be longer than one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.crash import INSIDE, Aim, CrashComfy, CrashServer, Deadly, Harness, Ledgers
from tests.doubles.http import Pictures, Reply
from tests.doubles.openai import ImageServer
from tests.doubles.pictures import whose
from tests.program import LIMIT, Ended, Program, finished

LEASE_S = 2.0
"""Seconds without a heartbeat after which a process counts as dead here; in the program it is a minute."""
CLOCK_S = 120.0
TASKS = 2
"""The number of tasks for each service in each round."""
PREAMBLE = f"""
import os, signal, sys, time
offset, step, number = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
real = time.time
time.time = lambda: real() + offset
from imagegen_cli.commands import recover, work
from imagegen_cli.storage import leases, places, store
places.HELD_S = {LEASE_S}
leases.SILENT_S, store.HEARTBEAT_S, recover.WATCH_WAIT_S, work.TAKE_OVER_S = {LEASE_S}, 0.2, {4 * LEASE_S}, 0.4
if "postgresql" in os.environ.get("IMAGEGEN_HISTORY", ""):
    from imagegen_cli.storage import postgres
    postgres.SILENT_S, postgres.HEARTBEAT_S = {LEASE_S}, 0.2
STEPS = {{
    "connect": lambda event, args: event == "socket.connect",
    "part": lambda event, args: event == "open" and str(args[0]).endswith(".part"),
    "publish": lambda event, args: event == "os.link",
    "unlink": lambda event, args: event == "os.remove" and str(args[0]).endswith(".part"),
    "database": lambda event, args: event == "sqlite3.connect",
    "thread": lambda event, args: event == "_thread.start_new_thread",
}}
seen = 0
def hook(event, args):
    global seen
    if step in STEPS and STEPS[step](event, args):
        seen += 1
        if seen == number:
            os._exit(137) if os.getpid() == 1 else os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
import asyncio
signal.signal(signal.SIGUSR1, lambda *_: [task.print_stack(file=sys.__stderr__) for task in asyncio.all_tasks()])
import faulthandler
faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
from imagegen_cli.__main__ import main
main()
"""
CONFIG = """
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
poll = 0.02
[providers.comfy]
kind = "comfyui"
base_url = "{comfy}"
poll = 0.02
[providers.whole]
kind = "openai"
base_url = "{whole}"
api_key = "k"
model = "gpt-image-1"
"""
CAN_UNSHARE = shutil.which("unshare") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


class CrashWhole(Deadly, ImageServer):
    """The answer to the submit is the picture itself: no id, nothing to ask for, one picture a task."""

    pictures_each = 1


@dataclass(slots=True)
class Member:
    """One process of a round, what is done to it, and when."""

    process: "subprocess.Popen[str]"
    deed: str
    after_s: float
    where: str = ""
    """A longer word for the deed, for the ledgers."""

    @property
    def pid(self) -> int:
        """The program itself, where another program has put it into a namespace."""
        with suppress(OSError, ValueError):
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            if "unshare" in Path(f"/proc/{pid}/comm").read_text(encoding="ascii") and children:
                return int(children[0])
        return self.process.pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def go_on(self) -> None:
        """Also where the pause met the other program, before it had started this one."""
        self.signal(signal.SIGCONT)
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)


class Crowd(Harness):
    """Ledgers as in `crash`, with several processes in each round."""

    def __init__(self, folder: Path, servers: Sequence[CrashServer | CrashComfy | CrashWhole], seed: int) -> None:
        studio, comfy, whole = servers
        addresses = {"studio": studio.url, "comfy": comfy.url, "whole": f"{whole.url}/v1"}
        self.program = Program(folder, CONFIG.format(**addresses))
        self.servers = tuple(servers)
        self.clock_s, self.hosts = CLOCK_S, 2
        self.codes = {0, 1, 4, 5}
        """Exit codes of a process to which nothing worse than its deed happened."""
        self.aim = Deadly.aim = Aim()
        self.random = random.Random(seed)
        self.ledgers = Ledgers()
        self._round = 0

    def together(self) -> None:
        """One round: several commands at once, something done to most of them, and everything resumed to its end."""
        self._round += 1
        self._write_list()
        name = ["--name", "{slug}"] if self.random.random() < 0.5 else []
        batch = ["batch", "list.jsonl", "-q", "-j", "unlimited", *name]
        resume, retry = ["resume", "-q"], ["retry", "--all-runs", "--yes", "-q"]
        crowds = [[batch, batch], [batch, resume], [batch, batch, resume], [batch, resume, resume]]
        if self.random.random() < 0.4:
            self._refused_first(batch)
            crowds = [[retry, retry], [retry, retry, batch], [retry, resume, retry]]
        self._meet(self.random.choice(crowds))
        self._resumed()

    def _write_list(self) -> None:
        specs = [
            {"prompt": f"round {self._round} {name} {n}", "provider": name, "name": f"the same name {self._round}"}
            for n in range(TASKS)
            for name in ("studio", "comfy", "whole")
        ]
        self.ledgers.tasks += len(specs)
        (self.program.folder / "list.jsonl").write_text("\n".join(json.dumps(spec) for spec in specs))

    def _refused_first(self, batch: Sequence[str]) -> None:
        refusal = Reply.json({"error": {"message": "not now", "code": "no"}}, 400)
        for server in self.servers:
            server.fail("submit", refusal, times=None)
        self.program.run(*batch)
        for server in self.servers:
            server.heal()

    def _meet(self, crowd: Sequence[Sequence[str]]) -> None:
        members = [self._begun(words) for words in crowd]
        begun = time.monotonic()
        for member in sorted(members, key=lambda member: member.after_s):
            time.sleep(max(0.0, begun + member.after_s - time.monotonic()))
            if member.deed == "kill":
                member.signal(signal.SIGKILL)
            elif member.deed == "pause":
                member.signal(signal.SIGSTOP)
        if any(member.deed == "pause" for member in members):
            time.sleep(LEASE_S / 2)
            others = [self._begun(["resume", "-q"], deed="") for _ in range(2)]
            for other in others:
                self._judge(other)
            time.sleep(LEASE_S / 2)
            for member in members:
                member.go_on()
        for member in members:
            self._judge(member)

    def _begun(self, words: Sequence[str], deed: str | None = None, *, elsewhere: bool | None = None) -> Member:
        if deed is None:
            deed = self.random.choice(["", "kill", "kill", "step", "step", "pause"])
        step = self.random.choice(INSIDE) if deed == "step" else "none"
        if elsewhere is None:
            elsewhere = CAN_UNSHARE and self.random.random() < 0.5
        offset = self.random.choice((-self.clock_s, self.clock_s)) if elsewhere else 0.0
        start = [sys.executable, "-c", PREAMBLE, str(offset), step, str(self.random.randint(1, 12)), *words]
        if elsewhere:
            apart = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child=SIGKILL", "sh", "-c"]
            start = [
                *apart,
                'hostname "$1"; shift; exec "$@"',
                "sh",
                f"host{self.random.randint(1, self.hosts)}",
                *start,
            ]
        process = subprocess.Popen(
            start,
            cwd=self.program.folder,
            env=self.program.environment(PYTHONPATH=str(Path(__file__).parents[1])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Member(process, deed, self.random.uniform(0.2, 1.5))

    def _judge(self, member: Member) -> None:
        if (ended := self._ended(member)) is None:
            return
        where = member.where or member.deed or "none"
        killed = ended.code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if killed or member.deed == "pause":
            self.ledgers.kills[where] += 1
        away = ("is locked by another program", "cannot be reached")  # a paused process holds the lock; a restart
        waits = ended.code == 3 and any(words in ended.err for words in away)
        if not killed and not waits and (ended.code not in self.codes or "Traceback" in ended.err):
            self.ledgers.other.append(f"exit {ended.code}: {ended.err}")

    def _ended(self, member: Member) -> Ended | None:
        """How a process ended; one that hangs tells its state and where its tasks are."""
        with suppress(subprocess.TimeoutExpired):
            member.process.wait(LIMIT)
            return finished(member.process)
        with suppress(OSError):
            state = Path(f"/proc/{member.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
            member.signal(signal.SIGUSR1)
            time.sleep(1.0)
            member.signal(signal.SIGKILL)
            self.ledgers.other.append(f"hangs in state {state} after {member.where or member.deed or 'nothing'}: ")
        self.ledgers.other[-1] += finished(member.process).err
        return None

    def _resumed(self) -> None:
        """Resume until no task is left: a process on another host may have to be watched first."""
        for _ in range(6):
            ended = finished(self._begun(["resume", "-q"], deed="").process)
            if ended.code not in (0, 1, 4, 5) or "Traceback" in ended.err:
                self.ledgers.other.append(f"resume exits {ended.code}: {ended.err}")
            if ended.code == 4:
                return

    def compare(self) -> Ledgers:
        """The same, after `doctor --fix`, which removes what a process that lost its task left of a picture."""
        self.program.run("doctor", "--fix")
        ledgers = super().compare()
        uncertain = {task["prompt"] for task in self.program.tasks() if task["reason"] == "uncertain"}
        jobs = {job.id: json.dumps(job.payload) for server in self.servers for job in server.jobs.values()}
        for path in self.program.folder.rglob("*.part"):
            with suppress(ValueError):
                job = whose(path.read_bytes()).rpartition("/")[0]
                if any(prompt in jobs.get(job, "") for prompt in uncertain):
                    ledgers.other.append(f"uncertain, but on our disk: {path.name}")
        return ledgers


def crowds(kills: int, folder: Path, seed: int) -> Ledgers:
    """Rounds until so many processes were killed or paused."""
    small = Pictures("png", (8, 8))
    with (
        CrashServer(polls=1, pictures=small) as studio,
        CrashComfy(polls=1, pictures=small) as comfy,
        CrashWhole(seconds=0.2, pictures=small) as whole,
    ):
        crowd = Crowd(folder, (studio, comfy, whole), seed)
        while crowd.ledgers.kills.total() < kills:
            crowd.together()
        return crowd.compare()
