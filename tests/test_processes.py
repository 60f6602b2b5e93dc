import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagegen_cli.storage.processes import Process, is_alive, is_near, this_process, uptime

HERE = platform.node()
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows tells by the heartbeat alone")


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """Another process, which has said who it is."""
    code = "from imagegen_cli.storage.processes import this_process as me; print(me().started_at, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child
        child.kill()


def started_at(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_this_process_lives_and_is_the_same_every_time() -> None:
    me = this_process()
    assert is_near(me, me)
    assert is_alive(me)
    assert me == Process(HERE, os.getpid(), me.started_at, me.place)
    assert this_process() is me


@ON_POSIX
def test_another_process_is_known_by_its_birth(child: "subprocess.Popen[str]") -> None:
    other = Process(HERE, child.pid, started_at(child))
    assert other.started_at
    assert is_alive(other)
    assert not is_alive(replace(other, started_at="another time")), "the number was given to another process"
    assert not is_alive(replace(other, started_at=""))


@ON_POSIX
def test_a_killed_process_is_dead_even_before_it_is_buried(child: "subprocess.Popen[str]") -> None:
    other = Process(HERE, child.pid, started_at(child))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(other)
    child.wait()
    assert not is_alive(other)


@ON_POSIX
def test_a_number_that_no_process_has_is_dead() -> None:
    assert not is_alive(Process(HERE, 999_999_999, "x"))


@pytest.mark.parametrize("other", [{"host": "another"}, {"place": "another boot"}, {"place": ""}])
def test_a_number_means_something_only_where_it_was_given(other: dict[str, str]) -> None:
    me = replace(this_process(), place="this boot:this namespace")
    assert not is_near(replace(me, **other), me)  # type: ignore[arg-type]  # both are texts


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has namespaces")
def test_the_place_of_a_process_names_its_boot_and_its_namespace() -> None:
    boot, _, namespace = this_process().place.partition(":")
    assert boot
    assert namespace == Path("/proc/self/ns/pid").readlink().name


def test_the_clock_of_heartbeats_runs_forward() -> None:
    assert 0 < uptime() <= uptime()
