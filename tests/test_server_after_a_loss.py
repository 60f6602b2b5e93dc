"""A server that is there again after a loss and cannot have the history any more: each connection is looked at."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from imagegen_cli.commands.work import Queue
from imagegen_cli.core.errors import DiskError, HistoryAway, HistoryError
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Job, Running, Submitting, TaskId
from imagegen_cli.storage import migrations
from imagegen_cli.storage.postgres import PostgresStore
from imagegen_cli.storage.postgres_schema import STEPS
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests import clock, postgres
from tests.histories import opened, outside, place
from tests.test_shared_store import ELSEWHERE, STUDIO, Way, queued
from tests.test_silent_server import Idle, soon
from tests.test_store import become, started

JOB = Job("job-1")
SENT = (Submitting(), Running(JOB))
needs_server = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(place("postgres", tmp_path))


@pytest.fixture
def way(address: str) -> Iterator[tuple[Way, str]]:
    way = Way()
    yield way, address.replace(f":{postgres.server().port}/", f":{way.port}/")
    way.close()


def set_meta(address: str, name: str, value: object) -> None:
    with outside(address) as db:
        db.execute("UPDATE meta SET value = ? WHERE name = ?", (str(value), name))


def told(store: Store) -> str:
    """What the store says of a claim after all of its connections were lost."""
    postgres.server().cut()
    with pytest.raises(HistoryError) as caught:
        store.claim_queued(STUDIO, 1)
    return caught.value.message


SCHEMAS = [(len(STEPS) + 1, "was written by a newer imagegen"), (len(STEPS) - 1, "an older schema")]


@needs_server
@pytest.mark.parametrize(("version", "said"), SCHEMAS, ids=["newer", "older"])
def test_another_schema_is_refused_and_receipts_are_kept(address: str, version: int, said: str) -> None:
    store = opened(address)
    first, second = queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    set_meta(address, "schema", version)
    assert said in told(store)
    store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
    assert [(one.id, one.job) for one in store.close()] == [(first, JOB)]
    set_meta(address, "schema", len(STEPS))
    with closing(opened(address, process=ELSEWHERE)) as other:
        assert isinstance(other.find(Filter(ids=(first,)))[0].task.state, Submitting), "nothing was written"
        assert [one.id for one in other.claim_queued(STUDIO, 9)] == [second]


@needs_server
@pytest.mark.parametrize(("version", "said"), SCHEMAS, ids=["newer", "older"])
def test_the_schema_of_before_is_used_as_a_server_that_was_away(address: str, version: int, said: str) -> None:
    with closing(opened(address)) as store:
        first, second = queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        set_meta(address, "schema", version)
        assert said in told(store)
        for state in SENT:
            task = task.to(state)
            store.record(TaskChanged(2.0, task))
        set_meta(address, "schema", len(STEPS))
        asyncio.run(store.flush())
        assert store.find(Filter(ids=(first,)))[0].task.state == Running(JOB)
        assert [one.id for one in store.claim_queued(STUDIO, 9)] == [second]


@needs_server
def test_a_refusal_is_what_is_said_of_a_history_that_takes_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagegen_cli.storage.store.NOTICED_S", -1.0)
    monkeypatch.setattr("imagegen_cli.storage.postgres.MAX_ABSENCE_S", 0.2)
    store = opened(address)
    assert isinstance(store, PostgresStore)
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    set_meta(address, "schema", len(STEPS) + 1)
    assert "newer imagegen" in told(store)
    store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
    with pytest.raises(DiskError, match="newer imagegen"):
        asyncio.run(store.flush())
    assert "newer imagegen" in store.trouble
    assert store.close()


@needs_server
def test_a_worker_ends_after_a_minute_with_the_words_of_the_refusal(address: str) -> None:
    said: list[str] = []
    runner = Idle()
    with closing(opened(address)) as store:
        queued(store, "a")
        assert store.claim_queued(STUDIO, 1)
        set_meta(address, "schema", len(STEPS) + 1)
        postgres.server().cut()
        feed = Queue(store, {"studio": 1}, folder="", once=False)
        never: Callable[[object], None] = lambda _: None  # noqa: E731
        with suppress(TimeoutError):
            clock.run(asyncio.wait_for(feed.run(runner, never, said.append), 300))  # type: ignore[arg-type]
        assert runner.draining
        assert feed.error is not None
        assert "newer imagegen" in feed.error.message
        assert len(said) == 1
        assert "60 s" in said[0]
        set_meta(address, "schema", len(STEPS))


@needs_server
def test_the_thread_that_writes_looks_at_its_first_connection_too(address: str) -> None:
    """It is opened at the first claim, which may be long after the history was."""
    with closing(opened(address)) as store:
        with closing(opened(address, process=ELSEWHERE)) as other:
            (number,) = queued(other, "a")
        set_meta(address, "schema", len(STEPS) + 1)
        with pytest.raises(HistoryAway, match="newer imagegen"):
            store.claim_queued(STUDIO, 1)
        set_meta(address, "schema", len(STEPS))
        assert [task.id for task in store.claim_queued(STUDIO, 1)] == [number]


@needs_server
def test_a_commit_whose_answer_was_lost_is_asked_for_once_the_schema_is_that_of_before(
    address: str, way: tuple[Way, str]
) -> None:
    line, through = way
    with closing(opened(through)) as store:
        assert isinstance(store, PostgresStore)
        (task,) = started(store)
        left = [1]

        def cuts(data: bytes) -> str:
            if b"COMMIT" in data and left:
                left.pop()
                set_meta(address, "schema", len(STEPS) + 1)
                return "after"
            return ""

        line.cuts = cuts
        store.record(TaskChanged(1.0, task.to(Submitting())))
        soon(lambda: store._refusal is not None)
        with outside(address) as db:
            assert db.execute("SELECT count(*) FROM event").fetchall() == [(1,)], "the server has done it"
        set_meta(address, "schema", len(STEPS))
        asyncio.run(store.flush())
        assert len(store.events(task.run)) == 1
        assert store._refusal is None


@needs_server
def test_a_commit_that_cannot_be_asked_for_is_printed(address: str, way: tuple[Way, str]) -> None:
    line, through = way
    store = opened(through)
    assert isinstance(store, PostgresStore)
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    set_meta(address, "schema", len(STEPS) + 1)
    line.cuts = lambda data: "before" if b"COMMIT" in data else ""
    store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
    soon(lambda: store._refusal is not None)
    assert [(one.id, one.job) for one in store.close()] == [(task.id, JOB)]


@pytest.fixture
def swapped() -> Iterator[tuple[str, Callable[[], None]]]:
    """An address in UTF8, and what puts a database that does not hold every text in its place, and back."""
    server, name = postgres.server(), f"swapped{os.getpid()}"
    server.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0")
    server.execute(f"CREATE DATABASE {name}_other ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")

    def rename(before: str, after: str) -> None:
        server.execute(f"ALTER DATABASE {before} WITH ALLOW_CONNECTIONS false")
        server.cut()
        soon(lambda: (before,) not in server.execute("SELECT datname FROM pg_stat_activity"))
        server.execute(f"ALTER DATABASE {before} RENAME TO {after}")

    def swap() -> None:
        rename(name, f"{name}_x")
        rename(f"{name}_other", name)
        rename(f"{name}_x", f"{name}_other")
        for one in (name, f"{name}_other"):
            server.execute(f"ALTER DATABASE {one} WITH ALLOW_CONNECTIONS true")

    yield f"postgresql://{postgres.USER}@127.0.0.1:{server.port}/{name}", swap
    for one in (name, f"{name}_other"):
        server.execute(f"DROP DATABASE {one} WITH (FORCE)")


@needs_server
def test_a_server_of_another_encoding_is_refused_until_the_one_of_before_is_back(
    swapped: tuple[str, Callable[[], None]],
) -> None:
    address, swap = swapped
    with closing(opened(address, process=ELSEWHERE)) as other:
        queued(other, "a")
    with closing(opened(address)) as store:
        swap()
        assert "SQL_ASCII" in told(store)
        with psycopg.connect(address) as db:
            assert db.execute("SELECT to_regclass('meta')").fetchone() == (None,)
        swap()
        assert len(store.claim_queued(STUDIO, 1)) == 1


def drop(address: str) -> None:
    with outside(address) as db:
        schema = db.execute("SELECT current_schema()").fetchall()[0][0]
        db.execute(f"DROP SCHEMA {schema} CASCADE")
        db.execute(f"CREATE SCHEMA {schema}")


@needs_server
def test_another_history_is_written_to_by_no_process_that_has_claimed_tasks_of_the_first(address: str) -> None:
    store = opened(address)
    queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, *SENT)
    set_meta(address, "token", "another")
    assert "is another one now" in told(store)
    assert store.is_set_back
    store.close()


@needs_server
def test_a_process_that_has_claimed_nothing_goes_by_the_history_that_is_there(address: str) -> None:
    """Such as a worker of an empty history into which another one is copied."""
    with closing(opened(address)) as store:
        with closing(opened(address, process=ELSEWHERE)) as other:
            queued(other, "a")
        set_meta(address, "token", "another")
        postgres.server().cut()
        assert len(store.claim_queued(STUDIO, 1)) == 1
        assert store.token == "another"


@needs_server
def test_a_database_without_our_tables_is_written_to_by_no_process_that_has_written_nothing(address: str) -> None:
    store = opened(address)
    drop(address)
    assert "is another one now" in told(store)
    assert store.is_set_back
    store.close()


# What the user may do there


@pytest.fixture
def user() -> Iterator[str]:
    """A user with a schema of the same name."""
    name = f"after{os.getpid()}"
    server = postgres.server()
    server.execute(f"CREATE ROLE {name} LOGIN")
    server.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
    yield name
    server.execute(f"DROP OWNED BY {name} CASCADE")
    server.execute(f"DROP ROLE {name}")


@needs_server
def test_rights_that_are_gone_are_said_before_more_is_claimed(user: str) -> None:
    """A claim could still be written, and the receipt of what it sends could not."""
    server = postgres.server()
    where = f"postgresql://{user}@127.0.0.1:{server.port}/postgres?options=-csearch_path%3D{user}"
    with closing(opened(where)) as store:
        first, second = queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        server.execute(f"REVOKE INSERT ON {user}.receipt FROM {user}")
        assert "receipt (insert)" in told(store)
        server.execute(f"GRANT INSERT ON {user}.receipt TO {user}")
        become(store, task, *SENT)
        assert [one.id for one in store.claim_queued(STUDIO, 9)] == [second]
        assert store.find(Filter(ids=(first,)))[0].task.state == Running(JOB)


@needs_server
def test_a_sound_connection_is_looked_at_with_two_questions(address: str) -> None:
    with closing(opened(address)) as store:
        queued(store, "a")
        assert store.claim_queued(STUDIO, 1)
        asked: list[str] = []
        assert isinstance(store, PostgresStore)
        with closing(psycopg.connect(address)) as db:

            class Asked:
                info = db.info

                def execute(self, sql: str, values: Sequence[Any] = ()) -> object:
                    asked.append(sql)
                    return db.execute(sql.encode(), values)

            with suppress(TypeError):  # rows without names: the last answer is not read
                store._check(Asked(), is_pooled=False)
        assert len(asked) == 2


# A file


def test_a_file_that_was_exchanged_for_one_of_a_newer_program_gets_nothing(tmp_path: Path) -> None:
    where = tmp_path / "state" / "history.db"
    store = opened(where)
    queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    other = tmp_path / "other" / "history.db"
    with closing(opened(other)) as newer:
        queued(newer, "c")
    with outside(other) as db:
        db.execute(f"PRAGMA user_version = {len(migrations.MIGRATIONS) + 1}")
    other.replace(where)
    for left in ("-wal", "-shm"):
        where.with_name(where.name + left).unlink()
    with pytest.raises(HistoryError, match="is another one now"):
        store.claim_queued(STUDIO, 1)
    store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
    assert [(one.id, one.job) for one in store.close()] == [(TaskId(task.id), JOB)]
    with outside(where) as db:
        assert db.execute("SELECT owner FROM task").fetchall() == [(None,)]


FORGET_STATEMENTS = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"
"""What psycopg does not notice, as it does not notice that a pool has exchanged the server."""


@needs_server
def test_a_connection_whose_statements_are_lost_is_opened_again(address: str) -> None:
    with closing(opened(address)) as store:
        queued(store, "a", "b")
        for _ in range(9):  # psycopg prepares what it sends often
            assert len(store.find(Filter())) == 2
        store._db.raw.execute(FORGET_STATEMENTS)  # type: ignore[attr-defined]
        assert len(store.find(Filter())) == 2


@needs_server
def test_a_change_whose_statements_are_lost_fails_once(address: str) -> None:
    with closing(opened(address)) as store:
        (task,) = store.find(Filter(ids=(queued(store, "a")[0],)))
        for _ in range(9):
            store.set_favourite(task.task.id, 1, is_one=True)
        store._db.raw.execute(FORGET_STATEMENTS)  # type: ignore[attr-defined]
        with pytest.raises(HistoryError, match="behind a pool"):
            store.set_favourite(task.task.id, 2, is_one=True)
        store.set_favourite(task.task.id, 3, is_one=True)
        assert store.find(Filter(ids=(task.task.id,)))[0].favourites == (1, 3)
