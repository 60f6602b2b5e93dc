"""Five workers on one history, on hosts of their own: killed, paused for longer than their leases, with clocks that are
ten minutes off, and, where the history is in PostgreSQL, with a server that restarts and connections that are cut.

    python -m tests.crash --kills 500 --team sqlite
    python -m tests.crash --kills 500 --team postgres

Afterwards the ledgers of `tests.crash` are compared.
"""

import json
import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests import postgres
from tests.crash import CrashComfy, CrashServer, Ledgers
from tests.crowd import LEASE_S, CrashWhole, Crowd
from tests.doubles.http import Pictures
from tests.histories import place
from tests.program import Ended, finished

WORKERS = 5
TASKS = 4
"""The number of tasks for each service in each round."""
ROUNDS_TO_END = 5
"""After so many rounds everything is brought to its end; between them the next workers go on with what was left."""
OFF_S = 600.0
"""Seconds that the clock of another host is off."""
WORK = ("work", "--once", "-q", "-j", "3")


class Team(Crowd):
    """Rounds of one queue and five workers."""

    def __init__(
        self, folder: Path, servers: Sequence[CrashServer | CrashComfy | CrashWhole], seed: int, kind: str
    ) -> None:
        super().__init__(folder, servers, seed)
        self.kind = kind
        self.clock_s, self.hosts = OFF_S, WORKERS
        self.troubles = 0
        where = place(kind, folder)
        if isinstance(where, str):
            self.program.more["IMAGEGEN_HISTORY"] = where

    def together(self) -> None:
        """One round: a list is queued, five workers carry it, most of them are stopped in some way, others go on."""
        self._round += 1
        self._write_specs()
        ended = self.program.run("batch", "list.jsonl", "--queue", "-q")
        if ended.code:
            self.ledgers.other.append(f"queue exits {ended.code}: {ended.err}")
        self._meet([WORK] * WORKERS)
        if self._round % ROUNDS_TO_END == 0:
            self.finish()

    def _write_specs(self) -> None:
        specs = [
            {"prompt": f"round {self._round} {name} {n}", "provider": name, "name": f"the same name {self._round}"}
            for n in range(TASKS)
            for name in ("studio", "comfy", "whole")
        ]
        self.ledgers.tasks += len(specs)
        (self.program.folder / "list.jsonl").write_text("\n".join(json.dumps(spec) for spec in specs))

    def _meet(self, crowd: Sequence[Sequence[str]]) -> None:
        members = [self._begun(words) for words in crowd]
        begun = time.monotonic()
        trouble = self.random.choice(("", "cut", "restart")) if self.kind == "postgres" else ""
        for member in sorted(members, key=lambda member: member.after_s):
            time.sleep(max(0.0, begun + member.after_s - time.monotonic()))
            if member.deed == "kill":
                member.signal(signal.SIGKILL)
            elif member.deed == "pause":
                member.signal(signal.SIGSTOP)
            trouble = self._trouble(trouble)
        if any(member.deed == "pause" for member in members):
            self._judge(self._begun(WORK, deed=""))
            time.sleep(LEASE_S)
            self._judge(self._begun(WORK, deed=""))
            for member in members:
                member.signal(signal.SIGCONT)
        for member in members:
            self._judge(member)

    def _trouble(self, what: str) -> str:
        """Do it to the server of the history, once."""
        if what == "cut":
            postgres.server().cut()
        elif what == "restart":
            postgres.server().stop()
            postgres.server().start()
        self.troubles += bool(what)
        return ""

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


def teams(kills: int, folder: Path, seed: int, kind: str, max_s: float = math.inf) -> Ledgers:
    """Rounds until so many workers were killed or paused, or until so many seconds have passed."""
    begun = time.monotonic()
    small = Pictures("png", (8, 8))
    with (
        CrashServer(polls=1, pictures=small) as studio,
        CrashComfy(polls=1, pictures=small) as comfy,
        CrashWhole(seconds=0.2, pictures=small) as whole,
    ):
        team = Team(folder, (studio, comfy, whole), seed, kind)
        while team.ledgers.kills.total() < kills and time.monotonic() - begun < max_s:
            team.together()
        team.finish()
        return team.compare()
