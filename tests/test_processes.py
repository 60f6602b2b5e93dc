import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from imagegen_cli.processes import SILENT, Process, alive, this_process

HERE = platform.node()
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows tells by the heartbeat alone")


def now() -> float:
    return time.time()


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """Another process, which has said who it is."""
    code = "from imagegen_cli.processes import this_process as me; print(me().born, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child
        child.kill()


def born(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_this_process_lives_and_is_the_same_every_time() -> None:
    assert alive(this_process(), now())
    assert this_process() == Process(HERE, os.getpid(), this_process().born)
    assert this_process() is this_process()


@ON_POSIX
def test_another_process_is_known_by_its_birth(child: "subprocess.Popen[str]") -> None:
    other = Process(HERE, child.pid, born(child))
    assert other.born
    assert alive(other, now())
    assert alive(other, 0.0), "on the same host silence means nothing"
    assert not alive(replace(other, born="another time"), now()), "the number was given to somebody else"
    assert not alive(replace(other, born=""), now())


@ON_POSIX
def test_a_killed_process_is_dead_even_before_it_is_buried(child: "subprocess.Popen[str]") -> None:
    other = Process(HERE, child.pid, born(child))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(other, now())
    child.wait()
    assert not alive(other, now())


@ON_POSIX
def test_a_number_that_no_process_has_is_dead() -> None:
    assert not alive(Process(HERE, 999_999_999, "x"), now())


@pytest.mark.parametrize(("silent", "lives"), [(0.0, True), (SILENT - 5, True), (SILENT + 5, False), (-3600.0, True)])
def test_on_another_host_only_the_heartbeat_tells(silent: float, lives: bool) -> None:
    elsewhere = Process(f"not-{HERE}", os.getpid(), this_process().born)
    assert alive(elsewhere, now() - silent) is lives
