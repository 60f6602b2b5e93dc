"""Pictures that came inside a paid answer: they are kept and not paid again, whatever happens to process and disk."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash import KILLER
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.gemini import KEY, GeminiService
from tests.doubles.http import Fault, Pictures, Reply, Request
from tests.doubles.pictures import whose
from tests.program import LIMIT, Program, finished

CONFIG = """
default_provider = "cloud"
[providers.cloud]
kind = "gemini"
base_url = "{url}"
api_key = "{key}"
"""
STUDIO = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.05
"""
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of this kind")
pytestmark = POSIX


class Cloud(GeminiService):
    """Answers a submit with the picture; `meanwhile` happens after it was made and billed, before the answer leaves."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def answer(self, request: Request) -> Reply:
        reply = await super().answer(request)
        self.meanwhile()
        return reply


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, cloud: Cloud) -> Program:
    return Program(tmp_path, CONFIG.format(url=cloud.url, key=KEY))


def started(program: Program, script: str, *words: str) -> "subprocess.Popen[str]":
    """The program inside a script that prepares its world."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=program.folder,
        env=program.environment(PYTHONPATH=str(Path(__file__).parents[1])),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(program: Program, step: str, *words: str) -> None:
    ended = finished(started(program, KILLER, step, "1", *words))
    assert ended.code == -signal.SIGKILL, ended.err


def states(program: Program) -> list[str]:
    return [task["reason"] or task["state"] for task in program.tasks()]


def pictures(program: Program) -> list[str]:
    """The pictures in the folder, which holds no other file."""
    return sorted(whose(path.read_bytes()) for path in program.pictures() if path.suffix == ".png" or path.is_file())


# Killed between the synced part file and the word that it is there


def test_a_whole_picture_without_a_word_in_the_history_is_found_again(program: Program, cloud: Cloud) -> None:
    killed(program, "synced", "run", "a cat", "-q")
    (part,) = program.pictures()
    assert states(program) == ["submitting"]
    for words in (("doctor",), ("doctor", "--fix"), ("retry", "--failed", "--may-repeat"), ("batch", "/dev/null")):
        program.run(*words)
        assert part.exists(), words
    resumed = program.run("resume")
    assert resumed.code == 0, resumed.err
    assert [path.suffix for path in program.pictures()] == [".png"]
    assert pictures(program) == [f"{job}/1" for job in cloud.jobs]
    assert states(program) == ["done"]
    assert cloud.counts["submit"] == 1
    assert program.run("doctor", "--fix").code == 0


def test_an_earlier_resume_that_found_nothing_does_not_hide_it(program: Program, cloud: Cloud) -> None:
    """The folder was away, as a share is that was not mounted; then the picture is there, and is not paid again."""
    killed(program, "synced", "run", "a cat", "-q")
    images, away = program.folder / "images", program.folder / "away"
    images.rename(away)
    assert program.run("resume").code == 1
    assert states(program) == ["uncertain"]
    away.rename(images)
    for words in (("retry", "1", "--may-repeat"), ("retry", "--failed", "--may-repeat"), ("retry", "1")):
        ended = program.run(*words)
        assert "imagegen resume 1" in ended.err, words
    assert cloud.counts["submit"] == 1
    assert program.run("resume").code == 0
    assert pictures(program) == [f"{job}/1" for job in cloud.jobs]


def test_a_cancel_after_the_kill_throws_nothing_away(program: Program, cloud: Cloud) -> None:
    killed(program, "synced", "run", "a cat", "-q")
    program.run("cancel", "--all")
    assert program.run("resume", "1").code == 0
    assert pictures(program) == [f"{job}/1" for job in cloud.jobs]


def test_half_a_picture_is_not_adopted(program: Program, cloud: Cloud) -> None:
    killed(program, "synced", "run", "a cat", "-q")
    (part,) = program.pictures()
    part.write_bytes(part.read_bytes()[:-20])
    assert program.run("resume").code == 1
    assert states(program) == ["uncertain"]
    assert "1 half picture (tasks 1) left behind, 1 removed" in program.run("doctor", "--fix").out
    assert program.pictures() == []


# The output folder takes nothing


@pytest.mark.parametrize("trouble", ["a file in its place", "removed and its parent a file", "a device in its place"])
def test_a_folder_that_takes_nothing_costs_no_paid_picture(program: Program, cloud: Cloud, trouble: str) -> None:
    images = program.folder / "out" / "images"
    blocked = images.parent if trouble.startswith("removed") else images

    def block() -> None:
        images.rmdir()
        if blocked != images:
            blocked.rmdir()
        if trouble.startswith("a device"):
            blocked.symlink_to("/dev/full")
        else:
            blocked.write_text("no folder", encoding="ascii")

    cloud.meanwhile = block
    ended = program.run("run", "a cat", "-o", "out/images")
    assert ended.code == 5, ended.err
    assert "imagegen resume 1" in ended.err
    assert "the picture is kept in" in ended.err
    cloud.meanwhile = lambda: None
    assert program.run("retry", "--failed").code == 4, "nothing that may be paid is sent again without a flag"
    assert program.run("resume").code == 5
    blocked.unlink()
    resumed = program.run("resume")
    assert resumed.code == 0, resumed.err
    (path,) = images.iterdir()
    assert [whose(path.read_bytes())] == [f"{job}/1" for job in cloud.jobs]
    assert list((program.home / "pictures").iterdir()) == []
    assert cloud.counts["submit"] == 1


UNSYNCED = """
import errno, os, stat
def fsync(handle):
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
os.fsync = fsync
from imagegen_cli.__main__ import main
main()
"""


def test_a_file_system_without_fsync_is_no_failure(program: Program, cloud: Cloud) -> None:
    """As some network shares and FUSE file systems answer, for files and for folders."""
    ended = finished(started(program, UNSYNCED, "run", "a cat", "-q"))
    assert ended.code == 0, ended.err
    assert pictures(program) == [f"{job}/1" for job in cloud.jobs]


# Names that several share


def test_processes_with_one_name_at_once_lose_and_mistake_nothing(program: Program, cloud: Cloud) -> None:
    words = ["run", "a cat", "a cat", "a cat", "--name", "{slug}", "-q", "-j", "unlimited"]
    processes = [program.start(*words) for _ in range(4)]
    assert [finished(process).code for process in processes] == [0] * 4
    assert pictures(program) == sorted(f"{job}/1" for job in cloud.jobs)
    files = [file for task in program.tasks() for file in task["files"]]
    assert len(files) == len(set(files)) == 12
    assert sorted(files) == [str(path) for path in program.pictures()]


@pytest.mark.parametrize("step", ["synced", "publish", "unlink"])
def test_a_name_that_was_taken_meanwhile_is_not_mistaken_for_ours(program: Program, cloud: Cloud, step: str) -> None:
    killed(program, step, "run", "a cat", "--name", "{slug}", "-q")
    assert program.run("run", "a cat", "--name", "{slug}", "-q").code == 0
    assert program.run("resume", "-q").code == 0
    files = [file for task in program.tasks() for file in task["files"]]
    assert len(set(files)) == 2
    assert pictures(program) == sorted(f"{job}/1" for job in cloud.jobs)


# Few file handles


def test_few_file_handles_cost_time_and_no_task(tmp_path: Path) -> None:
    import resource  # noqa: PLC0415 - Windows has none

    with DreaminaServer(pictures=Pictures("png", (16, 16)), polls=1) as server:
        program = Program(tmp_path, STUDIO.format(url=server.url))
        prompts = [f"cat {number}" for number in range(60)]
        limit = (48, 48)
        process = program.start(
            "run",
            *prompts,
            "-q",
            "-j",
            "unlimited",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
        )
        ended = finished(process)
        assert ended.code == 0, ended.err
        assert server.counts["submit"] == len(server.jobs) == 60
    assert len(without_sidecars(program)) == 240


def without_sidecars(program: Program) -> list[Path]:
    """The files of pictures: where no handle is left to mark one, what would be in it stands beside it."""
    return [path for path in program.pictures() if path.suffix != ".json"]


def leave_one_handle(pid: int) -> None:
    """Let a process open one file or connection more than it has, until it closes some."""
    import resource  # noqa: PLC0415 - Windows has none

    limit = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 2
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


class Crowded(DreaminaServer):
    """Answers queries once `tasks` of them are open; from then on its client may open one more handle, no second."""

    client: "subprocess.Popen[str]"
    tasks = 6

    async def answer(self, request: Request) -> Reply:
        if self.kind(request) == "query":
            await self._all_asked()
        return await super().answer(request)

    async def _all_asked(self) -> None:
        self.all_asked = getattr(self, "all_asked", asyncio.Event())
        if self.counts["query"] == self.tasks:
            leave_one_handle(self.client.pid)
            self.all_asked.set()
        await self.all_asked.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes handles from a running process")
def test_connections_that_nothing_uses_are_given_up_where_a_picture_needs_a_handle(tmp_path: Path) -> None:
    with Crowded(pictures=Pictures("png", (16, 16))) as server:
        program = Program(tmp_path, STUDIO.format(url=server.url))
        prompts = [f"cat {number}" for number in range(server.tasks)]
        server.client = program.start("run", *prompts, "-q", "-j", "unlimited")
        ended = finished(server.client)
        assert ended.code == 0, ended.err
    assert len(without_sidecars(program)) == 4 * server.tasks


# A picture that comes late


def test_a_page_instead_of_the_picture_keeps_the_task_resumable(tmp_path: Path) -> None:
    """Interrupted while it still tries; the trying itself takes minutes and is tested under virtual time."""
    with DreaminaServer(pictures=Pictures("png", (16, 16))) as server:
        program = Program(tmp_path, STUDIO.format(url=server.url))
        server.fail("download", Fault.HTML, times=None, after=3)
        process = program.start("run", "a cat", "--progress", "plain")
        assert process.stderr is not None
        deadline = time.monotonic() + LIMIT
        while server.counts["download"] < 6:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert any("stopping" in line for line in process.stderr), "two signals that arrive together would be one"
        process.send_signal(signal.SIGINT)
        assert finished(process).code == 130
        server.heal()
        assert program.run("resume").code == 0
        assert len(program.pictures()) == 4
        assert server.counts["submit"] == 1
