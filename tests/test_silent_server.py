"""A server of the history that is silent, away, full, or of another kind than a history needs."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from imagegen_cli.commands.work import Queue
from imagegen_cli.core.errors import HistoryAway, HistoryError, HistoryTrouble
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Job, Running, Submitting, TaskId
from imagegen_cli.storage import postgres as histories, postgres_connection
from imagegen_cli.storage.postgres import PostgresStore
from imagegen_cli.storage.postgres_connection import MAX_SILENCE_S, PostgresConnection, SilentError
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests import clock, postgres
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.histories import opened, outside, place
from tests.program import LIMIT, Program, finished, take
from tests.test_shared_store import ELSEWHERE, STUDIO, Way, queued
from tests.test_store import become, one, started

JOB = Job("job-1")
Found = TypeVar("Found")
LEAVES_WITHIN_S = 15.0
"""Seconds for an end that is hurried, which needs about two of them; any other takes more than twenty."""
FAR_S = 300.0
CLOSES_LATE = {
    "imagegen_cli.storage.postgres_connection:MAX_CLOSE_S": FAR_S,
    "imagegen_cli.storage.postgres:PostgresStore.MAX_CLOSE_S": FAR_S,
}
pytestmark = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(place("postgres", tmp_path))


@pytest.fixture
def way(address: str) -> Iterator[tuple[Way, str]]:
    way = Way()
    yield way, address.replace(f":{postgres.server().port}/", f":{way.port}/")
    way.close()


@pytest.fixture
def closes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is not hurried takes longer than any machine that is busy."""
    monkeypatch.setattr(postgres_connection, "MAX_CLOSE_S", FAR_S)
    monkeypatch.setattr(PostgresStore, "MAX_CLOSE_S", FAR_S)


def at(moment: bytes) -> Callable[[bytes], str]:
    """From the first message with these words on, the server is told everything and nothing of it comes back."""
    return lambda data: "silent" if moment in data else ""


# What a history needs of a server


def in_database(name: str) -> str:
    return f"postgresql://{postgres.USER}@127.0.0.1:{postgres.server().port}/{name}"


@pytest.fixture
def database() -> Iterator[Callable[[str], str]]:
    """Makes a database with these words, and gives its address."""
    made: list[str] = []

    def make(words: str) -> str:
        name = f"needs{os.getpid()}_{len(made)}"
        postgres.server().execute(f"CREATE DATABASE {name} {words}")
        made.append(name)
        return in_database(name)

    yield make
    for name in made:
        postgres.server().execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_CN"])
def test_a_database_that_does_not_hold_every_text_is_refused_before_anything_is_in_it(
    database: Callable[[str], str], encoding: str
) -> None:
    where = database(f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(HistoryError, match=encoding) as caught:
        opened(where)
    assert "ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0" in caught.value.hint
    with psycopg.connect(where) as db:
        assert db.execute("SELECT to_regclass('meta')").fetchone() == (None,)
    command = caught.value.hint.partition(": ")[2]
    name = command.split()[2]
    postgres.server().execute(command)
    opened(in_database(name)).close()
    postgres.server().execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.program
def test_doctor_says_what_is_wrong_with_a_database(database: Callable[[str], str], tmp_path: Path) -> None:
    program = Program(tmp_path)
    where = database("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    ended = program.run("doctor", IMAGEGEN_HISTORY=where)
    assert ended.code == 3
    assert "SQL_ASCII" in ended.out
    assert "bug" not in ended.out + ended.err
    assert program.run("run", "a cat", "-p", "sketch", IMAGEGEN_HISTORY=where).code == 3


@pytest.mark.parametrize(
    "more", ["client_encoding=LATIN1", "client_encoding=SQL_ASCII", "options=-cclient_encoding%3DLATIN1"]
)
def test_an_address_changes_no_text(address: str, more: str) -> None:
    kept = "options=-csearch_path%3D" + address.partition("%3D")[2]
    more = f"{kept}%20{more[8:]}" if more.startswith("options") else f"{kept}&{more}"
    with closing(opened(f"{postgres.server().base}?{more}")) as store:
        (task,) = started(store, "一只小猫 É 🦊")
        assert one(store, task).task.request.prompt == "一只小猫 É 🦊"


@pytest.mark.parametrize("zone", ["Foo/Bar", "right/UTC", "Asia/Shanghai", "EST5EDT", ":UTC"])
def test_a_time_zone_that_the_server_lacks_is_an_offset(
    address: str, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with closing(opened(address)) as store:
            assert started(store)
        with closing(PostgresConnection(address, wait_s=1.0)) as db:
            seconds = db.execute("SELECT extract(timezone FROM now())::int AS s").fetchone()["s"]
        assert seconds == time.localtime().tm_gmtoff
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def limited() -> Iterator[Callable[[int], str]]:
    """Makes a user who may have so many connections, and gives the address of an empty history of theirs."""
    name = f"limited{os.getpid()}"
    server = postgres.server()

    def make(count: int) -> str:
        server.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT {count}")
        server.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        return f"postgresql://{name}@127.0.0.1:{server.port}/postgres?options=-csearch_path%3D{name}"

    yield make
    server.execute(f"DROP OWNED BY {name} CASCADE")
    server.execute(f"DROP ROLE {name}")


def test_too_few_connections_for_a_run_are_said_before_it_is_planned(limited: Callable[[int], str]) -> None:
    with closing(opened(limited(2))) as store:
        with pytest.raises(HistoryError, match="takes 2 connections") as caught:
            started(store)
        assert "CONNECTION LIMIT" in caught.value.hint
        assert store.run_ids() == []


def test_a_limit_that_others_have_reached_is_said_before_a_run_is_planned(limited: Callable[[int], str]) -> None:
    where = limited(3)
    with closing(opened(where)) as store, closing(opened(where)), psycopg.connect(where):
        with pytest.raises(HistoryAway, match="takes no further connection"):
            started(store)
        assert store.run_ids() == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("REVOKE UPDATE ON {0}.task FROM {0}", r"task \(update\)"),
        ("REVOKE INSERT ON {0}.receipt FROM {0}", r"receipt \(insert\)"),
        ("DROP TABLE {0}.lane", r"lane \(insert\), lane \(update\)"),
    ],
)
def test_what_a_user_may_not_write_is_said_before_a_run_is_planned(
    limited: Callable[[int], str], sql: str, said: str
) -> None:
    where = limited(9)
    opened(where).close()
    postgres.server().execute(sql.format(f"limited{os.getpid()}"))
    with closing(opened(where)) as store:
        with pytest.raises(HistoryError, match=said):
            started(store)
        assert store.run_ids() == []


# Silence


def test_a_statement_without_an_answer_has_an_end_and_its_connection_too(way: tuple[Way, str]) -> None:
    line, through = way
    with closing(PostgresConnection(through, wait_s=1.0)) as db:
        line.cuts = at(b"SELECT 42")
        db.be_quick(0.2)
        with pytest.raises(SilentError):
            db.execute("SELECT 42")
        assert db.is_lost
        line.cuts = lambda _: ""
        db.be_quick(MAX_SILENCE_S)
        assert db.execute("SELECT 43 AS number").fetchone()["number"] == 43


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(way: tuple[Way, str]) -> None:
    line, through = way
    line.cuts = lambda _: "silent"
    with pytest.raises(SilentError):
        PostgresConnection(through, wait_s=1.0, answer_s=0.2)


def test_a_commit_that_the_server_swallows_is_asked_for(way: tuple[Way, str], address: str) -> None:
    line, through = way
    with closing(PostgresConnection(through, wait_s=1.0, patience_s=60.0)) as db:
        opened(address).close()
        line.cuts = at(b"COMMIT")
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO lane (account, until) VALUES ('a', 1)")
        db.be_quick(0.5)
        db.execute("COMMIT")
        db.be_quick(MAX_SILENCE_S)
        assert db.execute("SELECT count(*) AS number FROM lane").fetchone()["number"] == 1


def test_where_it_cannot_be_asked_a_commit_is_an_error_and_no_endless_wait(way: tuple[Way, str], address: str) -> None:
    line, through = way
    opened(address).close()
    with closing(PostgresConnection(through, wait_s=10.0)) as db:
        db.execute("BEGIN IMMEDIATE")
        line.cuts = lambda _: "silent"
        db.wait_s = 0.2
        db.be_quick(0.2)
        with pytest.raises(psycopg.OperationalError):
            db.execute("COMMIT")


@pytest.mark.usefixtures("closes_late")
def test_a_store_that_is_hurried_prints_what_the_silent_server_does_not_take(way: tuple[Way, str]) -> None:
    line, through = way
    store = opened(through)
    (task,) = started(store)
    become(store, task, Submitting())
    line.cuts = lambda _: "silent"
    running = task.to(Submitting()).to(Running(JOB))
    store.record(TaskChanged(2.0, running))
    store.hurry()
    begun = time.monotonic()
    assert store.close() == [running]
    assert time.monotonic() - begun < LEAVES_WITHIN_S


class Interrupted(threading.Event):
    """An event whose first wait another thread interrupts, as Ctrl-C does."""

    is_interrupted = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_interrupted:
            self.is_interrupted = True
            threading.Thread(target=signal.raise_signal, args=[signal.SIGINT]).start()
        return super().wait(timeout)


@pytest.mark.usefixtures("closes_late")
def test_a_ctrl_c_ends_the_wait_for_the_last_changes(address: str) -> None:
    store = opened(address)
    (task,) = started(store)
    become(store, task, Submitting())
    running = task.to(Submitting()).to(Running(JOB))
    with outside(address) as db:
        db.execute("BEGIN IMMEDIATE")
        store.record(TaskChanged(2.0, running))
        store._writer._ended = Interrupted()
        begun = time.monotonic()
        assert store.close() == [running]
        assert time.monotonic() - begun < LEAVES_WITHIN_S


def test_a_flush_waits_for_a_minute_in_all_and_the_next_ones_do_not(
    way: tuple[Way, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "MAX_ABSENCE_S", 1.0)
    line, through = way
    with closing(opened(through)) as store:
        (task,) = started(store)
        become(store, task, Submitting())
        line.cuts = lambda _: "silent"
        store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
        with pytest.raises(HistoryTrouble, match="no answer"):
            asyncio.run(store.flush())
        assert clock.run(planned_wait(store)) < 0.9
        store.hurry()


async def planned_wait(store: Store) -> float:
    """Seconds that a flush in vain means to wait: virtual time jumps over them, so that a busy machine adds none."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(HistoryTrouble):
        await store.flush()
    return loop.time() - begun


def test_wishes_are_read_where_listen_gets_no_answer(way: tuple[Way, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "WISH_ANSWER_S", 0.3)
    line, through = way
    line.cuts = at(b"LISTEN ")
    with closing(opened(through)) as store, closing(opened(through, process=ELSEWHERE)) as other:
        assert isinstance(store, PostgresStore)
        (task,) = started(store)
        store.listen()
        other.request_cancel([task.id])
        assert soon(store.cancel_requests) == [task.id]
        listener = store._listener
        soon(lambda: listener is not None and listener._listens_again_at > 0)
        other.request_cancel([task.id])
        assert soon(store.cancel_requests) == [task.id], "also after LISTEN was given up"
        assert store.trouble == ""


def soon(found: Callable[[], Found]) -> Found:
    deadline = time.monotonic() + LIMIT
    while not (now := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return now


# Workers


class Idle:
    """A runner that takes tasks and never ends them."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        self.draining = True

    def unfinished(self, _provider: str) -> int:
        return 0

    def in_hand(self) -> set[TaskId]:
        return set()

    def is_open(self, _provider: str) -> bool:
        return True


@pytest.mark.parametrize("once", [True, False])
def test_a_worker_says_once_that_it_may_not_write_and_ends_after_a_minute(address: str, *, once: bool) -> None:
    said: list[str] = []
    runner = Idle()
    with closing(opened(address)) as store:
        queued(store, "a")
        with outside(address) as db:
            db.execute("ALTER TABLE process RENAME COLUMN started_at TO gone")
        feed = Queue(store, {"studio": 1}, folder="", once=once)
        never: Callable[[object], None] = lambda _: None  # noqa: E731
        limit = asyncio.wait_for(feed.run(runner, never, said.append), 300)  # type: ignore[arg-type]
        with suppress(TimeoutError):
            clock.run(limit)
        assert runner.draining
        assert isinstance(feed.error, HistoryError)
        assert len(said) == 1
        assert "60 s" in said[0]
        with outside(address) as db:
            db.execute("ALTER TABLE process RENAME COLUMN gone TO started_at")


class Behind(Store):
    """Can be read, and takes nothing since `full_at` by the clock of the loop."""

    full_at = float("inf")

    @property
    def behind_s(self) -> float:
        return max(0.0, asyncio.get_running_loop().time() - self.full_at)

    @property
    def trouble(self) -> str:
        return "the disk of the server is full"


def test_a_worker_ends_after_a_minute_where_the_history_can_be_read_and_takes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    runner = Idle()
    with closing(Behind(tmp_path / "history.db")) as store:
        feed = Queue(store, {"studio": 1}, folder="", once=False)
        never: Callable[[object], None] = lambda _: None  # noqa: E731

        async def filled() -> float:
            begun = store.full_at = asyncio.get_running_loop().time()
            with suppress(TimeoutError):
                await asyncio.wait_for(feed.run(runner, never, said.append), 300)  # type: ignore[arg-type]
            return asyncio.get_running_loop().time() - begun

        clock.run(filled())
    assert runner.draining
    assert feed.error is not None
    assert "full" in feed.error.message
    assert said == [], "the session says it"


def test_what_a_worker_claimed_without_knowing_is_left_to_others(address: str) -> None:
    with closing(opened(address)) as store, closing(opened(address, process=ELSEWHERE)) as other:
        first, second = queued(store, "a", "b")
        asyncio.run(store.flush())
        assert len(store.claim_queued(STUDIO, 2)) == 2
        assert store.keep_only([first])
        assert [task.id for task in other.claim_queued(STUDIO, 9)] == [second]
        assert store.find(Filter(ids=(first,)))[0].is_owned


def test_nothing_is_left_while_its_end_may_wait_to_be_written(way: tuple[Way, str]) -> None:
    line, through = way
    store = opened(through)
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    line.cuts = lambda _: "silent"
    store.record(TaskChanged(2.0, task.to(Submitting())))
    assert not store.keep_only([])
    store.hurry()
    store.close()


# The program


CONFIG = """
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
"""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=20) as server:
        yield server


@pytest.mark.program
@pytest.mark.parametrize(
    "words", [("run", "a cat", "-p", "studio"), ("work", "--once", "-p", "studio")], ids=lambda x: x[0]
)
@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["ctrl-c twice", "sigterm"]
)
def test_signals_end_what_waits_for_a_silent_server_and_receipts_are_printed(
    tmp_path: Path,
    server: DreaminaServer,
    way: tuple[Way, str],
    words: tuple[str, ...],
    numbers: tuple[signal.Signals, ...],
) -> None:
    line, through = way
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = through
    if words[0] == "work":
        assert program.run("run", "a cat", "-p", "studio", "--queue", "-q").code == 0
    program.set_limits(CLOSES_LATE)
    line.cuts = lambda _: "silent" if server.jobs else ""  # before the receipt can be written
    process = program.start(*words, "--progress", "plain")
    while not line.is_silent:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(1.5)
    begun = time.monotonic()
    for number in numbers:
        take(process, number)
        time.sleep(0.3)
    ended = finished(process)
    assert time.monotonic() - begun < LEAVES_WITHIN_S
    assert ended.code == (130 if signal.SIGINT in numbers else 143), "also where receipts could not be written"
    line.cuts = lambda _: ""
    assert len(server.jobs) == 1
    (job,) = server.jobs
    assert f'"job": "{job}"' in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.program
@pytest.mark.parametrize("once", [True, False], ids=["once", "until Ctrl-C"])
@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_a_worker_that_was_told_to_end_does_not_wait_for_a_server_that_falls_silent(
    tmp_path: Path, server: DreaminaServer, way: tuple[Way, str], after_s: float, *, once: bool
) -> None:
    """The signal comes before anything can have noticed the silence."""
    line, through = way
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = through
    assert program.run("run", "a cat", "-p", "studio", "--queue", "-q").code == 0
    program.set_limits(CLOSES_LATE)
    line.cuts = lambda _: "silent" if server.jobs else ""
    process = program.start("work", *(["--once"] if once else []), "--progress", "plain")
    while not line.is_silent:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(after_s)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert time.monotonic() - begun < LEAVES_WITHIN_S
    line.cuts = lambda _: ""
    (job,) = server.jobs
    assert (ended.code, f'"job": "{job}"' in ended.err) == (143, True), ended.err


@pytest.mark.program
def test_a_worker_waits_for_a_server_that_is_about_to_start(tmp_path: Path, server: DreaminaServer) -> None:
    server.seconds = 0.1
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = postgres.server().address()
    assert program.run("run", "a cat", "-p", "studio", "--queue", "-q").code == 0
    postgres.server().stop()
    worker = program.start("work", "--once", "-p", "studio")
    try:
        assert worker.stderr is not None
        assert "trying for 60 s" in worker.stderr.readline()
        assert program.run("list").code == 3, "what only reads does not wait"
    finally:
        postgres.server().start()
    assert finished(worker).code == 0
    assert len(server.jobs) == 1


@pytest.mark.program
def test_a_run_goes_on_without_the_history_and_prints_its_receipts(
    tmp_path: Path, server: DreaminaServer, way: tuple[Way, str]
) -> None:
    """The minute is shortened from outside."""
    server.seconds = 3
    line, through = way
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = through
    short = tmp_path / "short.py"
    short.write_text(
        "import sys\ndel sys.argv[1:3]\n"
        "from imagegen_cli.storage import database, writer\n"
        "database.MAX_ABSENCE_S, writer.NOTICED_S = 2.0, 0.5\n"
        "from imagegen_cli.storage import postgres, store\n"
        "from imagegen_cli.__main__ import main\nmain()\n"
    )
    process = program.start("run", "a cat", "-p", "studio", "--progress", "plain", flags=[str(short)])
    line.cuts = lambda _: "before" if server.jobs else ""  # from here on each connection is cut
    ended = finished(process)
    line.cuts = lambda _: ""
    assert ended.code == 5, ended.err
    assert "1 failed, history: " in ended.err
    (job,) = server.jobs
    assert f'"job": "{job}"' in ended.err
    assert ended.err.count("what was sent goes on") == 1
    (tmp_path / "receipts.txt").write_text(ended.err)
    assert program.run("resume", "--receipts", "receipts.txt", "-q").code == 0
    assert len(server.jobs) == 1
    assert [task["state"] for task in program.tasks()] == ["done"]
