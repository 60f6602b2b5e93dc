"""The program with a history that several machines share: settings, workers, accounts, budgets."""

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagegen_cli.settings.shared_history import network_disk
from imagegen_cli.storage.processes import Process
from tests import postgres
from tests.crash import intact
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures, Reply
from tests.histories import KINDS, Place, opened, outside, place
from tests.program import LIMIT, Program, finished, take
from tests.team import teams
from tests.test_store import started

if TYPE_CHECKING:
    import subprocess

CONFIG = """
[prices]
"studio/*" = "0.04usd"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
concurrency = 4
account_concurrency = 3
"""
SMALL = Pictures("png", (8, 8))
PICTURES_EACH = 4
"""What the double makes for a prompt."""
needs_postgres = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=SMALL, seconds=0.2) as server:
        yield server


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest, tmp_path: Path, server: DreaminaServer) -> Program:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    where = place(request.param, tmp_path)
    program.use_history(where)
    return program


def queue(program: Program, count: int) -> None:
    (program.folder / "list.txt").write_text("\n".join(f"prompt {number}" for number in range(count)))
    ended = program.run("batch", "list.txt", "-p", "studio", "--queue", "--yes")
    assert ended.code == 0
    assert ("1 task waits for workers" if count == 1 else f"{count} tasks wait for workers") in ended.err


def states(program: Program) -> Counter[str]:
    return Counter(task["state"] for task in program.tasks())


# Workers


def test_what_is_queued_is_sent_by_a_worker_and_by_nothing_else(program: Program, server: DreaminaServer) -> None:
    queue(program, 3)
    assert program.run("resume", "-q").code == 4
    assert "waits for a worker" in program.run("resume", "1").err
    assert server.jobs == {}
    assert program.run("batch", "list.txt", "-p", "studio", "--queue").code == 0, "what was never sent is queued anew"
    assert states(program) == {"queued": 3}
    assert program.run("cancel", "3").out.startswith("3 not sent")
    ended = program.run("work", "--once", "--progress", "plain", "-o", "mine")
    assert ended.code == 0, ended.err
    assert states(program) == {"done": 2, "cancelled": 1}
    assert len(server.jobs) == 2
    assert len(list((program.folder / "mine").glob("*.png"))) == 2 * PICTURES_EACH
    nothing = program.run("work", "--once")
    assert (nothing.code, server.jobs.keys()) == (4, server.jobs.keys())


@pytest.mark.parametrize("words", [["--progress", "plain"], ["-q"]], ids=" ".join)
def test_a_worker_for_services_says_nothing_of_the_sketch(program: Program, words: list[str]) -> None:
    queue(program, 1)
    ended = program.run("work", "--once", *words)
    assert ended.code == 0, ended.err
    assert "sketch draws" not in ended.err + ended.out


def test_a_cancel_that_no_process_answers_says_so_and_not_that_the_task_has_ended(program: Program) -> None:
    where = program.history
    with closing(opened(where, process=Process("elsewhere", 1, "then", "other"))) as other:
        started(other)
        if isinstance(where, Path):
            other.may_be_silent()
        ended = program.run("cancel", "1")
    assert ended.code == 4
    assert "asked to stop; no answer yet" in ended.out
    assert "has not answered yet; if it is gone" in ended.err
    assert "only unfinished tasks" not in ended.err


def test_a_picture_on_stdout_cannot_be_queued(program: Program) -> None:
    assert program.run("run", "a cat", "-o", "-", "--queue").code == 2


def test_ctrl_c_lets_what_was_sent_end_and_gives_the_rest_back(program: Program, server: DreaminaServer) -> None:
    server.seconds = HELD
    queue(program, 12)
    worker = program.start("work", "--progress", "plain")
    while len(server.jobs) < 3:
        assert worker.poll() is None
        time.sleep(0.01)
    take(worker, signal.SIGINT)
    await_given_back(program, server, worker)
    server.release()
    ended = finished(worker)
    assert ended.code == 130, ended.err
    counts = states(program)
    assert counts["done"] == len(server.jobs) >= 3
    assert counts == {"done": len(server.jobs), "queued": 12 - len(server.jobs)}
    assert program.run("work", "--once", "-q").code == 0
    assert states(program) == {"done": 12}
    assert len(server.jobs) == 12


def await_given_back(program: Program, server: DreaminaServer, worker: "subprocess.Popen[str]") -> None:
    """Wait until a worker has no task any more but those that the service has begun."""
    with outside(program.history) as db:
        while db.execute("SELECT count(*) FROM task WHERE owner IS NOT NULL").fetchall() > [(len(server.jobs),)]:
            assert worker.poll() is None
            time.sleep(0.01)


def test_a_worker_with_a_bad_key_fails_one_task_and_leaves_the_rest(program: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"error": {"message": "no", "code": "unauthorized"}}, 401), times=None)
    queue(program, 9)
    ended = finished(program.start("work", "-p", "studio", "--progress", "plain"))
    assert "no service takes tasks any more" in ended.err
    counts = states(program)
    assert counts["failed"] <= 4
    assert counts["queued"] >= 5
    assert counts["cancelled"] == 0


def crowd(program: Program, count: int, *words: str) -> list[str]:
    workers = [program.start("work", "--once", "-q", *words) for _ in range(count)]
    return [finished(worker).err for worker in workers]


def test_five_workers_hold_the_limit_of_the_account(program: Program, server: DreaminaServer) -> None:
    queue(program, 20)
    errors = crowd(program, 5)
    assert states(program) == {"done": 20}, errors
    assert len(server.jobs) == 20
    assert server.peak["jobs"] <= 3


def test_five_workers_hold_the_budget_and_leave_the_rest_in_the_queue(program: Program, server: DreaminaServer) -> None:
    queue(program, 20)
    crowd(program, 5, "--budget", f"{0.04 * PICTURES_EACH * 7:.2f}usd/month")
    assert states(program) == {"done": 7, "queued": 13}
    assert len(server.jobs) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_whose_tasks_others_gave_back_sends_none_twice(
    tmp_path: Path, server: DreaminaServer, kind: str
) -> None:
    """After a pause it finds its own tasks in the queue again, while its earlier flows still wait to be sent."""
    server.seconds = HELD
    program, where = Program(tmp_path, CONFIG.format(url=server.url)), place(kind, tmp_path)
    program.use_history(where)
    queue(program, 5)
    worker = program.start("work", "--once", "-q", "-j", "3")
    while len(server.jobs) < 3:
        assert worker.poll() is None
        time.sleep(0.01)
    with outside(where if isinstance(where, str) else program.home / "history.db") as db:
        query = "UPDATE task SET owner = NULL, fence = fence + 1 WHERE state = 'queued' AND owner IS NOT NULL"
        db.execute(query)
        assert db.execute("SELECT count(*) FROM task WHERE state = 'queued'").fetchall()[0][0] == 2
    server.release()
    finished(worker)
    program.run("work", "--once", "-q")
    assert states(program) == {"done": 5}
    assert len(server.jobs) == 5, "each was sent once"
    assert len([path for path in program.pictures() if path.suffix == ".png"]) == 5 * PICTURES_EACH


@pytest.mark.parametrize("kind", KINDS)
def test_five_workers_killed_paused_and_elsewhere_lose_nothing_and_pay_nothing_twice(tmp_path: Path, kind: str) -> None:
    """The short form of `python -m tests.crash --team`."""
    ledgers = teams(5, tmp_path, 3, kind)
    assert (ledgers.lost, ledgers.doubled, ledgers.other) == ([], [], [])
    assert ledgers.billed == ledgers.delivered + ledgers.uncertain
    if kind == "sqlite":
        assert intact(tmp_path / "home" / "history.db") == "ok"


@needs_postgres
def test_connections_cut_and_a_server_restarted_in_mid_submit(tmp_path: Path, server: DreaminaServer) -> None:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = postgres.server().address()
    queue(program, 15)
    workers = [program.start("work", "--once", "-q") for _ in range(3)]
    for number in range(4):
        sent = len(server.jobs)
        while len(server.jobs) == sent and any(worker.poll() is None for worker in workers):
            time.sleep(0.01)
        if number == 2:
            postgres.server().stop()
            postgres.server().start()
        else:
            postgres.server().cut()
    errors = [finished(worker).err for worker in workers]
    program.run("work", "--once", "-q")
    assert states(program) == {"done": 15}, errors
    assert len(server.jobs) == 15
    assert not any("Traceback" in error for error in errors)


def worker_at_work(folder: Path, server: DreaminaServer, kind: str) -> "tuple[Program, Place, subprocess.Popen[str]]":
    """A worker whose only task is at the service, as the history knows, with its program and its history."""
    server.seconds = HELD
    program, where = Program(folder, CONFIG.format(url=server.url)), place(kind, folder)
    program.use_history(where)
    queue(program, 1)
    worker = program.start("work", "--once", "--progress", "plain")
    history = where if isinstance(where, str) else program.home / "history.db"
    with outside(history) as db:
        while db.execute("SELECT state FROM task").fetchall() != [("running",)]:
            assert worker.poll() is None
            time.sleep(0.01)
    return program, history, worker


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [("work", "--once"), ("resume",)], ids=["work", "resume"])
def test_what_another_service_says_of_a_job_that_was_not_sent_to_it_ends_nothing(
    tmp_path: Path, server: DreaminaServer, kind: str, words: tuple[str, ...]
) -> None:
    """Two people call different services by one name: the second one has no receipt of the first one's job."""
    program, _, worker = worker_at_work(tmp_path, server, kind)
    worker.kill()
    finished(worker)
    with DreaminaServer(pictures=SMALL) as other:
        unknown = {"success": True, "completed": False, "failed": True, "error": "no such task"}
        other.fail("query", Reply.json(unknown), times=None)
        program.configure(CONFIG.format(url=other.url))
        ended = program.run(*words, "-q")
        assert ended.code == 5, ended.err
        assert "no such task; the task was sent to another address than studio has here" in program.run("show", "1").out
        assert other.counts["query"] == 3
        assert other.jobs == {}
    server.release()
    program.configure(CONFIG.format(url=server.url))
    ended = program.run("resume", "-q")
    assert (ended.code, len(server.jobs)) == (0, 1), ended.err
    assert states(program) == {"done": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_another_service_is_not_asked_to_cancel_what_was_not_sent_to_it(
    tmp_path: Path, server: DreaminaServer, kind: str
) -> None:
    program, _, worker = worker_at_work(tmp_path, server, kind)
    worker.kill()
    finished(worker)
    with DreaminaServer(pictures=SMALL) as other:
        program.configure(CONFIG.format(url=other.url))
        assert "the service goes on" in program.run("cancel", "1").out
        assert other.counts["cancel"] == 0
    server.release()
    program.configure(CONFIG.format(url=server.url))
    assert program.run("resume", "1", "-q").code == 0
    assert states(program) == {"done": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_lost_its_tasks_says_who_goes_on(tmp_path: Path, server: DreaminaServer, kind: str) -> None:
    """It has let go of them itself, at the next thing that it wrote."""
    program, history, worker = worker_at_work(tmp_path, server, kind)
    with outside(history) as db:
        db.execute("UPDATE task SET owner = NULL, fence = fence + 1")
    server.release()
    assert "no process has 1 any more: imagegen resume 1 goes on" in finished(worker).err
    assert program.run("resume", "1", "-q").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_whose_tasks_another_process_has_says_that(tmp_path: Path, server: DreaminaServer, kind: str) -> None:
    _, history, worker = worker_at_work(tmp_path, server, kind)
    with closing(opened(history)) as other, outside(history) as db:
        started(other)
        db.execute("UPDATE task SET owner = (SELECT max(id) FROM process), fence = fence + 1 WHERE id = 1")
        server.release()
        assert "another process goes on with 1: left to it" in finished(worker).err


def one_place(program: Program, server: DreaminaServer, settings: str = "account_concurrency = 1") -> None:
    """Let the account take one task at once, or have other `settings`."""
    program.configure(CONFIG.replace("account_concurrency = 3", settings).format(url=server.url))


def running(program: Program, *words: str) -> "subprocess.Popen[str]":
    """A command whose only task the service has begun."""
    process = program.start(*words, "-p", "studio", "-q")
    while states(program) != {"running": 1}:
        assert process.poll() is None
        time.sleep(0.01)
    return process


SENDERS = {
    "run": [["run", "a fox"]] * 3,
    "batch, again, retry": [["batch", "list.txt"], ["again", "1", "--yes"], ["retry", "2", "--yes"]],
}
"""Commands that send at the same time, and none of which is a worker."""


@pytest.mark.parametrize("name", SENDERS)
def test_all_commands_that_send_hold_the_limit_of_the_account(
    program: Program, server: DreaminaServer, name: str
) -> None:
    one_place(program, server)
    (program.folder / "list.txt").write_text("an owl\na whale")
    assert program.run("run", "a cat", "-p", "studio", "-q").code == 0
    assert program.run("run", "a dog #fail", "-p", "studio", "-q").code == 1
    server.seconds = 0.6
    commands = [
        program.start(*words, *([] if "1" in words or "2" in words else ["-p", "studio"]), "-q")
        for words in SENDERS[name]
    ]
    errors = [finished(command).err for command in commands]
    assert len(server.jobs) == (5 if name == "run" else 6), errors
    assert server.peak["jobs"] == 1


@pytest.mark.parametrize("settings", ["", "account_concurrency = 0"])
def test_commands_with_a_file_do_not_wait_for_each_other_where_no_limit_of_the_account_is_set(
    tmp_path: Path, server: DreaminaServer, settings: str
) -> None:
    server.seconds = HELD
    program = Program(tmp_path)
    one_place(program, server, f"{settings}\n")
    program.configure((program.home / "config.toml").read_text().replace("concurrency = 4", "concurrency = 1"))
    commands = [program.start("run", "a fox", "-p", "studio", "-q") for _ in range(3)]
    until = time.monotonic() + LIMIT / 2
    while len(server.jobs) < 3:
        assert time.monotonic() < until, "they wait for each other"
        time.sleep(0.01)
    for command in commands:
        command.kill()
        command.communicate()


def test_a_refusal_pauses_the_other_commands_from_their_first_submit_on(
    program: Program, server: DreaminaServer
) -> None:
    refused = Reply.json({"success": False, "error": "busy"}, 429)
    refused.headers["Retry-After"] = "4"
    server.fail("submit", refused, times=None)
    command = program.start("run", "a fox", "-p", "studio", "-q")
    with closing(opened(program.history)) as store:
        while not store.pauses():
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(signal.SIGTERM)
        assert finished(command).code == 143
        server.heal()
        now = time.monotonic()
        opens = now + max(store.pauses().values(), default=0.0)
    assert program.run("run", "a hare", "-p", "studio", "-q").code == 0
    (job,) = server.jobs.values()
    assert job.started_at > opens - 0.5, "it was sent while the service takes nothing"


def test_a_run_names_what_holds_the_places_of_its_account_and_goes_on_once_that_is_over(
    program: Program, server: DreaminaServer
) -> None:
    server.seconds = HELD
    one_place(program, server)
    queue(program, 1)
    worker = program.start("work", "-q")
    while states(program) != {"running": 1}:
        assert worker.poll() is None
        time.sleep(0.01)
    worker.kill()
    worker.communicate()
    run = program.start("run", "a fox", "-p", "studio", "--progress", "plain")
    assert run.stderr is not None
    line = next(line for line in run.stderr if "imagegen resume" in line)
    assert "a worker that is gone left 1 task at this account: imagegen resume 1 takes it over" in line
    quiet = program.start("run", "a hare", "-p", "studio", "-q")
    assert quiet.stderr is not None
    assert "imagegen resume 1 takes it over" in quiet.stderr.readline()
    assert len(server.jobs) == 1, "the limit of the account holds"
    server.release()
    assert program.run("resume", "1", "-q").code == 0
    assert finished(run).code == finished(quiet).code == 0
    assert len(server.jobs) == 3


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_that_waits_for_a_place_says_once_why_and_shows_no_submit(
    program: Program, server: DreaminaServer, *, ends: bool
) -> None:
    """The places are those of a run of another process, which has them still, or has ended and left them."""
    server.seconds = HELD
    one_place(program, server)
    first = running(program, "run", "a fox")
    if ends:
        first.send_signal(signal.SIGHUP)
        finished(first)
    waiting = program.start("run", "a hare", "-p", "studio", "--json")
    assert waiting.stdout is not None
    lines = (json.loads(line) for line in waiting.stdout)
    told = [next(line for line in lines if line["event"] == "task-delayed")]
    assert ("1 task that may still be at work holds a place" in told[0]["because"]) is ends
    assert ("other processes have all places" in told[0]["because"]) is not ends
    waiting.send_signal(signal.SIGTERM)
    told += lines
    assert [line["event"] for line in told].count("task-delayed") == 1
    assert "submitting" not in [line.get("state") for line in told]
    assert finished(waiting).code == 143
    first.kill()
    first.communicate()


@pytest.mark.parametrize("code", [500, 401])
def test_a_task_whose_status_queries_failed_keeps_its_place_while_the_service_may_work_on_it(
    program: Program, server: DreaminaServer, code: int
) -> None:
    server.seconds = HELD
    one_place(program, server)
    server.fail("query", Reply.json({"error": "no"}, code), times=None)
    failed = program.run("run", "a fox", "-p", "studio", "-q")
    assert failed.code in (1, 3, 5), failed.err
    assert [task["reason"] for task in program.tasks()] == ["server" if code == 500 else "unauthorized"]
    waiting = program.start("run", "a hare", "-p", "studio", "--json")
    assert waiting.stdout is not None
    told = next(line for line in map(json.loads, waiting.stdout) if line["event"] == "task-delayed")
    assert "1 task that may still be at work holds a place" in told["because"]
    assert len(server.jobs) == 1
    waiting.send_signal(signal.SIGTERM)
    assert finished(waiting).code == 143


# Settings


@needs_postgres
def test_the_settings_of_the_person_name_the_history_and_a_password_is_never_shown(tmp_path: Path) -> None:
    program = Program(tmp_path, f'history = "{postgres.server().address()}"\nhistory_password = "env:SECRET_WORD"\n')
    program.more["SECRET_WORD"] = "s3cretword"
    assert program.run("run", "a cat", "--size", "64x64", "-q").code == 0
    assert not (program.home / "history.db").exists()
    for words in (["list"], ["config", "show"], ["config", "path"], ["doctor"], ["config", "check"]):
        ended = program.run(*words)
        assert ended.code == 0, ended.err
        assert "s3cretword" not in ended.out + ended.err
    assert "a cat" in program.run("list").out


@needs_postgres
@pytest.mark.parametrize(
    ("config", "environment", "code", "said"),
    [
        ('history = "mysql://x/y"', {}, 3, "no address of PostgreSQL"),
        ('history = "postgresql://ann:s3cretword@127.0.0.1:1/x"', {}, 3, "holds a password"),
        ('history = "postgresql://ann@127.0.0.1:1/x"\nhistory_password = "s3cretword"', {}, 3, "is a password itself"),
        ('history = "postgresql://ann@127.0.0.1:1/x"\nhistory_password = "env:NO"', {}, 3, "$NO"),
        ("", {"IMAGEGEN_HISTORY": "postgresql://ann:s3cretword@127.0.0.1:1/x"}, 3, "cannot be reached"),
        ("", {"IMAGEGEN_HISTORY": "postgresql://s3cretword:%zz@/x"}, 3, "cannot be told apart"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_secret(
    tmp_path: Path, config: str, environment: dict[str, str], code: int, said: str
) -> None:
    program = Program(tmp_path, config + "\n")
    ended = program.run("list", **environment)
    assert ended.code == code
    assert said in ended.err
    assert "s3cretword" not in ended.out + ended.err


@pytest.mark.parametrize("line", ['history = "postgresql://me@evil.example/x"', 'history_password = "env:HOME"'])
def test_a_project_file_does_not_name_the_history(tmp_path: Path, line: str) -> None:
    program = Program(tmp_path)
    (tmp_path / "imagegen.toml").write_text(line + "\n")
    ended = program.run("run", "a cat")
    assert ended.code == 3
    assert "a project file cannot set history" in ended.err


def test_without_the_driver_its_installation_is_said(tmp_path: Path) -> None:
    program = Program(tmp_path)
    (tmp_path / "psycopg.py").write_text("raise ImportError('no psycopg')")
    ended = program.run("list", IMAGEGEN_HISTORY="postgresql://ann@127.0.0.1/x", PYTHONPATH=str(tmp_path))
    assert ended.code == 3
    assert "pip install 'imagegen-cli[postgres]'" in ended.err


def test_a_password_of_an_argument_is_refused(tmp_path: Path) -> None:
    program = Program(tmp_path)
    with closing(sqlite3.connect(program.home / "history.db")):
        pass
    ended = program.run("history", "migrate", str(program.home / "history.db"), "postgresql://ann:s3cretword@h/x")
    assert ended.code == 2
    assert "s3cretword" not in ended.err


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("server:/x {home} nfs4 rw 0 0\n", "nfs4"), ("//s/x {parent} cifs rw 0 0\n", "cifs"),
        ("s: {parent} nfs rw 0 0\ntmpfs {home} tmpfs rw 0 0\n", ""), ("none / 9p rw 0 0\n", ""), ("", ""),
        ("s: {home}-other nfs rw 0 0\n", ""), ("x: {home} fuse.sshfs rw 0 0\nbroken\n", "fuse.sshfs"),
    ],
)  # fmt: skip
def test_a_network_disk_is_known_by_its_mount(mounts: str, kind: str) -> None:
    folder = Path("/dev/shm")  # noqa: S108 - its device has no number, as those of network disks
    if not folder.exists():
        pytest.skip("this system has no /dev/shm")
    found = folder / f"imagegen-test-{time.monotonic_ns()}" / "home"
    found.mkdir(parents=True)
    try:
        table = found / "mounts"
        table.write_text(mounts.format(home=found, parent=found.parent))
        assert network_disk(found, table) == kind
    finally:
        table.unlink()
        found.rmdir()
        found.parent.rmdir()


# Copies


@needs_postgres
def test_a_history_is_copied_to_a_server_and_back(tmp_path: Path, server: DreaminaServer) -> None:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    assert program.run("run", "a cat", "a dog", "--each", "-p", "studio", "-q", "--yes").code == 0
    address, file = postgres.server().address(), str(program.home / "history.db")
    there = program.run("history", "migrate", file, address)
    assert there.code == 0, there.err
    assert "every row was compared" in there.err
    back = program.run("history", "migrate", address, str(tmp_path / "back.db"))
    assert back.out == there.out
    again = program.run("history", "migrate", file, address)
    assert (again.code, again.out) == (3, "")
    assert "has tasks already" in again.err
    assert program.run("list", "--json", IMAGEGEN_HISTORY=address).out == program.run("list", "--json").out
    assert program.run("costs", "--json", IMAGEGEN_HISTORY=address).out == program.run("costs", "--json").out
    assert program.run("history", "migrate", str(tmp_path / "none.db"), address).code == 4
