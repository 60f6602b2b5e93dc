from pathlib import Path

import pytest

from tests.crash import INSIDE, THERE, CrashComfy, CrashServer, Harness, intact
from tests.crowd import crowds
from tests.doubles.http import Pictures

SMALL = Pictures("png", (8, 8))
FEW = [(step, 1) for step in (*INSIDE, *THERE)] + [("connect", 4), ("publish", 6), ("part", 9), ("time", 1)]


def test_killed_at_every_step_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """The short form of `python -m tests.crash`."""
    with CrashServer(pictures=SMALL) as studio, CrashComfy(pictures=SMALL) as comfy:
        harness = Harness(tmp_path, studio, comfy, seed=7)
        for step, number in FEW:
            harness.round(step, number)
        ledgers = harness.compare()
    assert ledgers.kills.total() >= len(FEW) - 3
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
    assert ledgers.billed == ledgers.delivered + ledgers.uncertain
    assert intact(harness.program.home / "history.db") == "ok"


@pytest.mark.parametrize(("step", "number"), [("submit", 1), ("submit acted", 1), ("submit", 2), ("submit acted", 2)])
def test_killed_while_submitting_it_is_looked_up_or_uncertain_and_never_sent_again(
    tmp_path: Path, step: str, number: int
) -> None:
    with CrashServer(pictures=SMALL) as studio, CrashComfy(pictures=SMALL) as comfy:
        harness = Harness(tmp_path, studio, comfy, seed=1)
        harness.round(step, number)
        ledgers = harness.compare()
        reasons = {task["provider"]: task["reason"] for task in harness.program.tasks() if task["reason"]}
    assert reasons.get("studio") in (None, "uncertain", "cancelled")
    assert reasons.get("comfy") in (None, "cancelled")
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
    assert ledgers.billed == ledgers.delivered + ledgers.uncertain


def test_several_processes_killed_paused_and_elsewhere_lose_nothing_and_pay_nothing_twice(tmp_path: Path) -> None:
    """The short form of `python -m tests.crash --together`."""
    ledgers = crowds(4, tmp_path, seed=3)
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
    assert ledgers.billed == ledgers.delivered + ledgers.uncertain
    assert intact(tmp_path / "home" / "history.db") == "ok"
