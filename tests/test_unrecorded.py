"""Tasks whose submit the history does not take: they were not sent, so they have not failed, and wait to be sent."""

import asyncio
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagegen_cli.core.errors import DiskError
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Queued, Submitting
from imagegen_cli.storage.records import Filter
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures, Reply
from tests.histories import KINDS, Place, opened, outside, place, refuse, take_again
from tests.program import Ended, Program, finished
from tests.test_recover import Starving
from tests.test_store import become, one, started

if TYPE_CHECKING:
    import subprocess

CONFIG = """
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
concurrency = 4
"""
SOON = {"imagegen_cli.commands.work:MAX_ABSENCE_S": 1.0}
"""The minute for which a worker waits for its history."""
AFTER = "; once the history can be written again: imagegen "
PLAIN, JSON = ("--progress", "plain"), ("--json",)


@pytest.fixture
def server() -> Iterator[Starving]:
    with Starving(pictures=Pictures("png", (8, 8)), seconds=0.1) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: Starving) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


@pytest.fixture(params=KINDS)
def team(request: pytest.FixtureRequest, program: Program, tmp_path: Path) -> Program:
    """The same with either kind of history."""
    where = place(request.param, tmp_path)
    program.use_history(where)
    return program


def queue(program: Program, count: int) -> None:
    (program.folder / "list.txt").write_text("\n".join(f"prompt {number}" for number in range(count)))
    ended = program.run("batch", "list.txt", "-p", "studio", "--queue", "--yes")
    assert ended.code == 0, ended.err


def prompts(server: DreaminaServer) -> Counter[str]:
    return Counter(job.payload["prompt"] for job in server.jobs.values())


def check_nothing_is_said_to_have_failed(ended: Ended, count: int) -> None:
    assert "failed" not in ended.err, ended.err
    assert "is not in it" not in ended.err, "the history has the last state of each"
    assert "Traceback" not in ended.err
    if ended.out:
        summary = ended.objects[-1]
        assert (summary["failed"], summary["cancelled"], summary["unfinished"]) == (0, 0, count)
        assert {one["state"] for one in ended.objects if "state" in one} == {"queued"}


def paste(program: Program, ended: Ended) -> None:
    """Run the command that the last line which has one names."""
    command = next(line for line in reversed(ended.err.splitlines()) if AFTER in line).partition(AFTER)[2]
    again = program.run(*shlex.split(command))
    assert again.code == 0, again.err


def until_it_waits(worker: "subprocess.Popen[str]") -> str:
    """What a worker says until it waits for its history."""
    assert worker.stderr is not None
    said = ""
    while "trying for 60 s" not in (line := worker.stderr.readline()):
        assert line, said
        said += line
    return said


# Workers


@pytest.mark.program
@pytest.mark.parametrize("display", [PLAIN, JSON], ids=" ".join)
def test_a_worker_leaves_in_the_queue_what_the_history_does_not_take(
    team: Program, server: Starving, display: tuple[str, ...]
) -> None:
    queue(team, 4)
    refuse(team.history)
    team.set_limits(SOON)
    ended = team.run("work", "--once", "-j", "2", *display)
    assert ended.code == 3, ended.err
    check_nothing_is_said_to_have_failed(ended, 4)
    said = next(line for line in ended.err.splitlines() if AFTER in line)
    assert said.startswith("4 tasks wait in the queue, not sent: the history ")
    assert team.states() == ["queued"] * 4
    assert not server.jobs
    take_again(team.history)
    paste(team, ended)
    assert team.states() == ["done"] * 4
    assert set(prompts(server).values()) == {1}
    assert len(server.jobs) == 4


@pytest.mark.program
@pytest.mark.parametrize("once", [("--once",), ()], ids=["once", "until it is stopped"])
def test_a_worker_goes_on_once_the_history_takes_submits_again(
    team: Program, server: Starving, once: tuple[str, ...]
) -> None:
    queue(team, 3)
    refuse(team.history)
    worker = team.start("work", *once, *PLAIN)
    said = until_it_waits(worker)
    take_again(team.history)
    if once:
        ended = finished(worker)
        assert ended.code == 0, ended.err
    else:
        team.await_states(*["done"] * 3)
        worker.terminate()
        ended = finished(worker)
    assert "failed" not in said + ended.err
    assert team.states() == ["done"] * 3
    assert len(server.jobs) == 3


@pytest.mark.program
def test_a_task_that_another_process_has_taken_meanwhile_is_left_to_it(team: Program, server: Starving) -> None:
    queue(team, 1)
    where = team.history
    refuse(where)
    worker = team.start("work", "--once", *PLAIN)
    said = until_it_waits(worker)
    with closing(opened(where)) as other:
        started(other)
        with outside(where) as db:
            db.execute("UPDATE task SET owner = (SELECT max(id) FROM process), fence = fence + 1 WHERE id = 1")
        take_again(where)
        ended = finished(worker)
    assert "another process goes on with 1: left to it" in ended.err
    check_nothing_is_said_to_have_failed(Ended(ended.code, "", said + ended.err), 1)
    assert not server.jobs


@pytest.mark.program
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes room from a running process")
@pytest.mark.parametrize("display", [PLAIN, JSON], ids=" ".join)
def test_where_the_disk_is_full_only_what_the_history_lacks_is_named(
    program: Program, server: Starving, display: tuple[str, ...]
) -> None:
    """The first task was sent, and its receipt is printed. The worker has taken the second, and not the third."""
    queue(program, 3)
    program.set_limits(SOON)
    server.client = program.start("work", "--once", "-p", "studio", "-j", "1", *display)
    ended = finished(server.client)
    server.client = None
    assert ended.code == 5, ended.err
    assert "the last state of 1 tasks is not in it: 1\n" in ended.err
    assert ended.err.count('"job": ') == 1
    assert "2 tasks wait in the queue, not sent: the history " in ended.err
    if display == JSON:
        assert (ended.objects[-1]["failed"], ended.objects[-1]["unfinished"]) == (1, 1)
    else:
        assert "2 tasks: 1 failed, 1 back in the queue" in ended.err
    assert program.states()[1:] == ["queued"] * 2
    (program.folder / "receipts.txt").write_text(ended.err)
    assert program.run("resume", "--receipts", "receipts.txt", "-q").code == 0
    paste(program, ended)
    assert program.states() == ["done"] * 3
    assert sorted(prompts(server).values()) == [1] * 3


# Other commands that send


@pytest.mark.program
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("display", [PLAIN, JSON], ids=" ".join)
def test_a_list_names_the_command_that_sends_once_what_the_history_did_not_take(
    team: Program, server: Starving, display: tuple[str, ...], count: int
) -> None:
    assert team.run("list").code == 4
    (team.folder / "list.txt").write_text("\n".join(f"prompt {number}" for number in range(count)))
    refuse(team.history)
    ended = team.run("batch", "list.txt", "-p", "studio", "--yes", *display)
    assert ended.code == 3, ended.err
    check_nothing_is_said_to_have_failed(ended, count)
    assert ended.err.splitlines()[-1].startswith("1 task not sent: " if count == 1 else f"{count} tasks not sent: ")
    assert team.states() == ["queued"] * count
    take_again(team.history)
    paste(team, ended)
    paste_again = team.run("retry", "1")
    assert paste_again.code == 4, "it is done: nothing is sent twice"
    assert team.states() == ["done"] * count
    assert set(prompts(server).values()) == {1}
    assert len(server.jobs) == count


@pytest.mark.program
def test_what_was_sent_before_counts_as_always(team: Program, server: Starving) -> None:
    assert team.run("list").code == 4
    refuse(team.history, "NEW.state = 'submitting' AND NEW.id = 2")
    ended = team.run("run", "--each", "a cat", "a dog", "-p", "studio", "-j", "1", *JSON)
    assert ended.code in (1, 5), "5 where the end of the first one met the submit that was not taken"
    assert (ended.objects[-1]["cancelled"], ended.objects[-1]["unfinished"]) == (0, 1)
    assert ended.err.partition("is not in it: ")[2].partition("\n")[0] in ("", "1")
    take_again(team.history)
    paste(team, ended)
    assert team.run("resume", "-q").code in (0, 4)
    assert team.states() == ["done"] * 2
    assert len(server.jobs) == 2


@pytest.mark.program
def test_a_task_that_is_sent_again_keeps_what_it_had_come_to(team: Program, server: Starving) -> None:
    server.fail("submit", Reply.json({"detail": "no"}, 400), times=1)
    assert team.run("run", "a cat", "-p", "studio", "-q").code == 1
    refuse(team.history)
    ended = team.run("retry", "1", *JSON)
    assert ended.code == 3, ended.err
    check_nothing_is_said_to_have_failed(ended, 1)
    take_again(team.history)
    paste(team, ended)
    assert team.states() == ["done"]
    shown = json.loads(team.run("show", "1", "--json").out)
    assert [attempt["state"] for attempt in shown["attempts"]] == ["failed"]


@pytest.mark.program
def test_retry_takes_what_a_killed_process_left_unsent_where_it_is_named(team: Program, server: Starving) -> None:
    refused: Callable[[], None] = lambda: refuse(team.history)  # noqa: E731
    assert team.run("list").code == 4
    refused()
    assert team.run("run", "a cat", "-p", "studio", "-q").code == 3
    take_again(team.history)
    assert team.run("retry").code == 4, "only where it is named"
    assert team.run("retry", "1", "--dry-run").code == 0
    assert team.run("retry", "1", "-q").code == 0
    assert len(server.jobs) == 1


# The history


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


def test_a_submit_that_was_not_written_leaves_nothing_that_the_history_lacks(where: Place) -> None:
    store = opened(where)
    (task,) = started(store)
    refuse(where)
    with pytest.raises(DiskError, match="nothing is taken"):
        become(store, task, Submitting())
    store.record(TaskChanged(2.0, task))
    assert store.close() == []
    take_again(where)


def test_a_submit_that_was_written_and_came_back_is_named(where: Place) -> None:
    """The history has it as leaving: the next process would take it for uncertain."""
    store = opened(where)
    (task,) = started(store)
    become(store, task, Submitting())
    refuse(where, "NEW.state = 'queued'")
    store.record(TaskChanged(2.0, task))
    with pytest.raises(DiskError, match="nothing is taken"):
        asyncio.run(store.flush())
    assert store.close() == [task]
    take_again(where)
    with closing(opened(where)) as now:
        assert one(now, task).task.state == Submitting()
        assert now.find(Filter(states=("queued",))) == []
    assert task.state == Queued()
