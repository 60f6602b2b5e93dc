from pathlib import Path

import pytest

from tests.crash import INSIDE, THERE, CrashServer, Harness, intact
from tests.doubles.http import Pictures

FEW = [(step, 1) for step in (*INSIDE, *THERE)] + [("connect", 4), ("publish", 6), ("part", 9), ("time", 1)]


def test_killed_at_every_step_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """The short form of `python -m tests.crash`."""
    with CrashServer(polls=0, pictures=Pictures("png", (8, 8))) as server:
        harness = Harness(tmp_path, server, seed=7)
        for step, number in FEW:
            harness.round(step, number)
        ledgers = harness.compare()
    assert ledgers.kills.total() >= len(FEW) - 3
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
    assert ledgers.billed == ledgers.delivered + ledgers.told
    assert intact(harness.program.home / "history.db") == "ok"


@pytest.mark.parametrize("step", ["submit", "submit acted"])
def test_killed_while_submitting_the_task_is_uncertain_and_never_sent_again(tmp_path: Path, step: str) -> None:
    with CrashServer(polls=0, pictures=Pictures("png", (8, 8))) as server:
        harness = Harness(tmp_path, server, seed=1)
        harness.round(step, 1)
        ledgers = harness.compare()
        assert harness.program.tasks()[0]["reason"] == "uncertain"
    assert ledgers.told == 4
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
