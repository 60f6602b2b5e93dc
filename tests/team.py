"""Five workers on one history, on hosts of their own: killed, paused for longer than their leases, with clocks that are
ten minutes off, and, where the history is in PostgreSQL, with a server that restarts and connections that are cut.

    python -m tests.crash --kills 500 --team sqlite
    python -m tests.crash --kills 500 --team postgres

Half of what happens is done by a clock, and half by the services at the moment that a request arrives: the worker whose
submit it is gets killed or paused before the service has acted, or after it, and the server of the history is cut off
in the middle of a submit. One service has room for three tasks of the account at once, and half of the rounds have a
budget. Afterwards the ledgers of `tests.crash` are compared.
"""

import json
import math
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import word
from imagegen_cli.storage.records import Filter
from tests import postgres
from tests.crash import Aim, CrashComfy, CrashServer, Deadly, Ledgers, prompt_of
from tests.crowd import LEASE_S, CrashWhole, Crowd, Member
from tests.doubles.http import Job, Pictures, Request
from tests.histories import opened, place
from tests.program import Ended, finished

WORKERS = 5
TASKS = 6
"""The number of tasks for each service in each round."""
ROUNDS_TO_END = 5
"""After so many rounds everything is brought to its end; between them the next workers go on with what was left."""
OFF_S = 600.0
"""Seconds that the clock of another host is off."""
ROUND_S = 3.5
"""Seconds after the start of a round within which something is done to its workers."""
MAX_PAUSE_S = 10.0
"""Seconds for which workers that wait for what a paused one holds are left to wait."""
GENERATION_S = 0.3
WORK = ("work", "--once", "-q", "-j", "3")
ACCOUNT_LIMIT = 3
PRICES_CENTS = {"studio": 4 * 4, "whole": 10}
"""What a task costs: the one makes four pictures at 4 cents, the other one picture."""
SLACK_CENTS = 2 * 16
"""What a budget is short of: two tasks or more have to wait."""
CONFIG = """
[prices]
"studio/*" = "0.04usd"
"whole/*" = "0.10usd"
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
poll = 0.02
account_concurrency = 3
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
EXPLAINED = ("the program stopped while this was being sent", "the server does not know this job")
"""What the history says of a task whose worker was gone in the middle of its submit, and of one that was looked up."""
DEEDS = (("kill", "kill"), ("pause", "pause"), ("kill", "pause"))
"""What the services do to their clients in a round; the first is done before the second."""


class CountedServer(CrashServer):
    """Counts how many of its jobs it works on at once, by its own time: no client has to ask for the end of one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.most = 0
        self.over: list[float] = []

    def add_job(self, job_id: str, payload: dict[str, Any], *, seconds: float | None = None) -> Job:
        job, now = super().add_job(job_id, payload, seconds=seconds), time.monotonic()
        inside = sum(now - other.started_at < other.seconds for other in list(self.jobs.values())[-50:])
        self.most = max(self.most, inside)
        if inside > ACCOUNT_LIMIT:
            self.over.append(now)
        return job


class Moments(Aim):
    """What is done when a request arrives at a service: the first whose step it is."""

    def __init__(self) -> None:
        super().__init__()
        self._left: list[Moment] = []
        self._lock = threading.Lock()

    @property
    def are_left(self) -> bool:
        return bool(self._left)

    def set(self, moments: Sequence["Moment"]) -> None:
        with self._lock:
            self._left = list(moments)

    def meets(self, step: str, request: Request) -> None:
        with self._lock:
            moment = next((moment for moment in self._left if moment.step == step), None)
            if moment is not None:
                moment.number -= 1
            if moment is None or moment.number:
                return
            self._left.remove(moment)
            moment.act(request)  # `set` waits for it: what is paused has to go on again


@dataclass(slots=True)
class Moment:
    """What is done when the `number`th request reaches this step."""

    step: str
    number: int
    act: Callable[[Request], None]


class Team(Crowd):
    """Rounds of one queue and five workers."""

    def __init__(
        self, folder: Path, servers: Sequence[CrashServer | CrashComfy | CrashWhole], seed: int, kind: str
    ) -> None:
        super().__init__(folder, servers, seed)
        studio, comfy, whole = servers
        self.program.configure(CONFIG.format(studio=studio.url, comfy=comfy.url, whole=f"{whole.url}/v1"))
        self.kind = kind
        self.clock_s, self.hosts = OFF_S, WORKERS
        self.codes |= {6}  # the budget is reached
        self.moments = self.aim = Deadly.aim = Moments()
        self.resumed: list[tuple[float, float]] = []
        """From when paused workers went on until they ended: one that was stopped between its note and its request
        sends it then."""
        self.budgets = 0
        self._begun_at = time.time()
        where = place(kind, folder)
        self.where = self.program.home / "history.db" if isinstance(where, Path) else where
        self.program.use_history(where)

    def together(self) -> None:
        """One round: a list is queued, five workers carry it, most of them are stopped in some way, others go on."""
        self._round += 1
        self._write_specs()
        ended = self.program.run("batch", "list.jsonl", "--queue", "-q", "--yes")
        if ended.code:
            self.ledgers.other.append(f"queue exits {ended.code}: {ended.err}")
        cents = self._round * TASKS * sum(PRICES_CENTS.values()) - SLACK_CENTS
        has_budget = self.random.random() < 0.5
        budget = ("--budget", f"{cents / 100:.2f}usd/month") if has_budget else ()
        self._meet([(*WORK, *budget)] * WORKERS)
        if has_budget:
            self._check_budget(cents)
        if self._round % ROUNDS_TO_END == 0:
            self.finish()

    def _check_budget(self, cents: int) -> None:
        self.budgets += 1
        studio, _, whole = self.servers
        spent = len(studio.jobs) * PRICES_CENTS["studio"] + len(whole.jobs) * PRICES_CENTS["whole"]
        if spent > cents and self._is_one_month():
            self.ledgers.other.append(f"round {self._round} costs {spent} cents of a budget of {cents}")

    def _is_one_month(self) -> bool:
        """Whether all clocks have been in one month since the beginning: the budget is one of a month."""
        first, last = time.localtime(self._begun_at - OFF_S), time.localtime(time.time() + OFF_S)
        return first.tm_mon == last.tm_mon

    def _write_specs(self) -> None:
        specs = [
            {"prompt": f"round {self._round} {name} {n}", "provider": name, "name": f"the same name {self._round}"}
            for n in range(TASKS)
            for name in ("studio", "comfy", "whole")
        ]
        self.ledgers.tasks += len(specs)
        (self.program.folder / "list.jsonl").write_text("\n".join(json.dumps(spec) for spec in specs))

    def _meet(self, crowd: Sequence[Sequence[str]]) -> None:
        members = [replace(self._begun(words), after_s=self.random.uniform(0.3, ROUND_S)) for words in crowd]
        begun = time.monotonic()
        self._set_moments(members)
        for member in sorted(members, key=lambda member: member.after_s):
            time.sleep(max(0.0, begun + member.after_s - time.monotonic()))
            self._done_to(member, member.deed)
        while self.moments.are_left and time.monotonic() - begun < 2 * ROUND_S and any(map(_is_at_work, members)):
            time.sleep(0.05)
        self.moments.set(())
        if any(member.deed == "pause" for member in members):
            paused = time.monotonic()
            others = [self._begun(crowd[0], deed="")]
            _wait(others, LEASE_S)
            time.sleep(max(0.0, paused + 1.2 * LEASE_S - time.monotonic()))
            others.append(self._begun(crowd[0], deed=""))
            _wait(others, MAX_PAUSE_S)
            members += others
            resumed = time.monotonic()
            for member in members:
                member.go_on()
            for member in members:
                self._judge(member)
            self.resumed.append((resumed, time.monotonic()))
            return
        for member in members:
            self._judge(member)

    def _done_to(self, member: Member, deed: str) -> None:
        """Kill or pause a worker; one that has ended already was not paused."""
        if deed not in ("kill", "pause"):
            return
        has_ended = member.process.poll() is not None
        member.deed = "" if has_ended and deed == "pause" else deed
        member.signal(signal.SIGKILL if deed == "kill" else signal.SIGSTOP)

    # Moments of a request

    def _set_moments(self, members: Sequence[Member]) -> None:
        acts: list[Callable[[Request], None]] = [
            partial(self._to_client, members, deed) for deed in self.random.choice(DEEDS)
        ]
        if self.kind == "postgres":
            acts.append(self.random.choice((self._cut, self._cut, self._restart)))
        steps = ("submit", "submit", "submit acted", "submit acted", "query", "download")
        self.moments.set([Moment(self.random.choice(steps), self.random.randint(1, 4), act) for act in acts])

    def _to_client(self, members: Sequence[Member], deed: str, request: Request) -> None:
        member = next((member for member in members if request.peer in ports_of(member.pid)), None)
        if member is not None:
            member.where = f"{deed} in mid-request"
            self._done_to(member, deed)

    def _cut(self, _request: Request) -> None:
        self.ledgers.troubles["connections cut in mid-request"] += 1
        postgres.server().cut()

    def _restart(self, _request: Request) -> None:
        self.ledgers.troubles["server restarted in mid-request"] += 1
        postgres.server().stop()
        postgres.server().start()

    # The end

    def finish(self) -> None:
        """Work until nothing is left: the lease of a worker that is gone has to end first."""
        for _ in range(30):
            ended = self._worked_here()
            if ended.code not in (0, 1, 4, 5) or "Traceback" in ended.err:
                self.ledgers.other.append(f"work exits {ended.code}: {ended.err}")
            if ended.code == 4 and not self._is_open():
                return
            time.sleep(LEASE_S / 4)

    def _worked_here(self) -> Ended:
        """A worker of this machine, with shortened leases, to which nothing happens."""
        return finished(self._begun(WORK, deed="", elsewhere=False).process)

    def _is_open(self) -> bool:
        states = ("queued", "submitting", "running", "saving")
        return self.program.run("list", *(word for state in states for word in ("--state", state))).code == 0

    def compare(self) -> Ledgers:
        """The same, with what an account and a budget allow and what explains each uncertain task."""
        self._remove_second_copies()
        ledgers, studio = super().compare(), self.servers[0]
        ledgers.other = [self._with_story(line) for line in ledgers.other]
        self._explain_uncertain()
        late = sum(any(start <= at <= end for start, end in self.resumed) for at in studio.over)
        ledgers.troubles["rounds with a budget"] = self.budgets
        ledgers.troubles[f"most jobs at the account of {ACCOUNT_LIMIT}"] = studio.most
        ledgers.troubles["jobs over its limit that a paused worker sent"] = late
        ledgers.other += [f"{studio.most} tasks at an account of {ACCOUNT_LIMIT}"] * (len(studio.over) - late)
        return ledgers

    def _remove_second_copies(self) -> None:
        """Do what a person would: what a paused worker fetched as well, and what it left half, `doctor --fix` removes.

        It must leave nothing else to do, and every picture that the history has; the ledgers tell that afterwards.
        """
        ended = self.program.run("doctor", "--fix", "--json")
        for found in map(json.loads, ended.out.splitlines()):
            if found["check"] == "part files" and "left behind" in found["said"]:
                self.ledgers.troubles[f"doctor --fix: {found['said'].partition(' (')[0]}"] += 1
            if found["check"] in ("whole pictures", "extra pictures", "part files") and found["level"] != "ok":
                self.ledgers.other.append(f"doctor: {found['said']}; {found['todo']}")

    def _with_story(self, line: str) -> str:
        """What is wrong with a file, and what the history says of its task."""
        found = re.search(r"(?:\.imagegen-\w+-|history: )(\d+)-", line)
        if found is None:
            return line
        with closing(opened(self.where)) as store:
            for record in store.find(Filter(ids=(int(found[1]),))):
                events = (event for _, event in store.events(record.task.run) if isinstance(event, TaskChanged))
                states = [word(event.task.state) for event in events if event.task.id == record.task.id]
                line += f"\n    {record.task.state}\n    {', '.join(states)}; {record.host}"
        return line

    def _explain_uncertain(self) -> None:
        """Each has to be one whose worker was gone in the middle of its submit."""
        paid = {prompt_of(job) for server in self.servers for job in server.jobs.values()}
        for task in self.program.tasks():
            if task["reason"] != "uncertain":
                continue
            self.ledgers.troubles[f"uncertain tasks {'' if task['prompt'] in paid else 'not '}billed"] += 1
            if not any(words in task["message"] for words in EXPLAINED):
                self.ledgers.other.append(f"uncertain without a reason: {task['prompt']}: {task['message']}")


def _wait(members: Sequence[Member], seconds: float) -> None:
    """Wait for the ends of workers, and not for ever: places may be held by a stopped process of their own machine."""
    until = time.monotonic() + seconds
    for member in members:
        with suppress(subprocess.TimeoutExpired):
            member.process.wait(max(0.0, until - time.monotonic()))


def _is_at_work(member: Member) -> bool:
    return member.deed != "pause" and member.process.poll() is None


def ports_of(pid: int) -> set[int]:
    """The local TCP ports of a process."""
    sockets = set()
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(handle.readlink()))
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(field[1].rpartition(":")[2], 16) for field in fields if f"socket:[{field[9]}]" in sockets}


def teams(kills: int, folder: Path, seed: int, kind: str, max_s: float = math.inf) -> Ledgers:
    """Rounds until so many workers were killed or paused, or until so many seconds have passed."""
    begun = time.monotonic()
    small = Pictures("png", (8, 8))
    with (
        CountedServer(seconds=GENERATION_S, pictures=small) as studio,
        CrashComfy(polls=1, pictures=small) as comfy,
        CrashWhole(seconds=0.2, pictures=small) as whole,
    ):
        team = Team(folder, (studio, comfy, whole), seed, kind)
        while team.ledgers.kills.total() < kills and time.monotonic() - begun < max_s:
            team.together()
        team.finish()
        return team.compare()
