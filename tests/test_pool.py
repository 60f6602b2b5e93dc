"""A pool of connections between the program and PostgreSQL: pgbouncer in each of its modes."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from imagegen_cli.core.errors import HistoryAway, HistoryError
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Job, Running, Submitting
from imagegen_cli.storage import postgres as histories
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests import postgres
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures
from tests.histories import opened
from tests.ports import PortHold
from tests.program import LIMIT, Program, finished, take
from tests.test_shared_store import STUDIO, queued
from tests.test_silent_server import CONFIG, FAR_S
from tests.test_store import become

POOL = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
admin_users = {user}
{more}
pool_mode = {mode}
"""
JOB = Job("job-1")
MAX_ABSENCE = "imagegen_cli.storage.database:MAX_ABSENCE_S"
MAX_LENDING = "imagegen_cli.storage.postgres:MAX_LENDING_S"
pytestmark = [
    pytest.mark.program,
    pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing()),
    pytest.mark.skipif(POOL is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"),
]


class Pool:
    """A pool with a database of its own, in which `address` is a history."""

    def __init__(self, mode: str, more: str = "") -> None:
        assert POOL is not None
        self.folder = Path(tempfile.mkdtemp(prefix="imagegen-pool-"))
        self._hold = PortHold()
        self._port = self._hold.port
        self._more = more
        (self.folder / "users").write_text(f'"{postgres.USER}" ""\n')
        self._set(mode)
        self._name = f"pool{os.getpid()}_{self._port}"
        postgres.server().execute(f"CREATE DATABASE {self._name}")
        self.address, self.direct = (self._in(port, self._name) for port in (self._port, postgres.server().port))
        command = [POOL, str(self.folder / "ini")]
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, postgres.USER)
            command = [*["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"], *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _await(self._port)

    def _in(self, port: int, name: str) -> str:
        return f"postgresql://{postgres.USER}@127.0.0.1:{port}/{name}"

    def _set(self, mode: str) -> None:
        words = SETTINGS.format(
            server=postgres.server().port,
            port=self._port,
            folder=self.folder,
            user=postgres.USER,
            mode=mode,
            more=self._more,
        )
        (self.folder / "ini").write_text(words)

    def change(self, mode: str) -> None:
        """Be in this mode, and lose all connections."""
        import psycopg  # noqa: PLC0415 - an extra of ours

        self._set(mode)
        with closing(psycopg.connect(self._in(self._port, "pgbouncer"), autocommit=True)) as db:
            db.execute("RELOAD")
        postgres.server().cut()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        postgres.server().execute(f"DROP DATABASE {self._name} WITH (FORCE)")
        self._hold.close()
        shutil.rmtree(self.folder)


@contextmanager
def pool(mode: str) -> Iterator[str]:
    """An address behind a pool."""
    with closing(Pool(mode)) as made:
        yield made.address


def _await(port: int) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError("the pool does not listen")


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pool_that_keeps_no_connection_is_refused_with_the_way_out(tmp_path: Path, mode: str) -> None:
    with pool(mode) as address:
        for words in (["list"], ["run", "a cat", "--size", "64x64", "-q"], ["doctor"]):
            ended = Program(tmp_path).run(*words, IMAGEGEN_HISTORY=address)
            assert ended.code != 0
            assert "gives each transaction another connection" in ended.out + ended.err
            assert "pool_mode = session" in ended.out + ended.err
            assert "Traceback" not in ended.err
    assert not list(tmp_path.rglob("*.png"))


def test_other_clients_of_the_pool_do_not_hide_it() -> None:
    with pool("transaction") as address:
        import psycopg  # noqa: PLC0415 - an extra of ours

        with closing(psycopg.connect(address)) as busy:
            busy.execute("SELECT 1")  # its transaction goes on and keeps a connection
            with pytest.raises(HistoryError, match="gives each transaction another"):
                opened(address)


def test_a_pool_that_keeps_connections_is_used_as_the_server_itself() -> None:
    with pool("session") as address, closing(opened(address)) as store:
        for _ in range(10):  # psycopg prepares a statement that comes often
            assert store.run_ids() == []


def test_options_that_a_pool_does_not_take_are_said() -> None:
    with pool("session") as address:
        with pytest.raises(HistoryError, match="unsupported startup parameter") as caught:
            opened(f"{address}?options=-csearch_path%3Dours")
        assert "ALTER ROLE" in (caught.value.hint or "")


# A pool that is set otherwise while a process has its connections


@pytest.fixture
def _lends_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a pool that lends its connections has one in time."""
    monkeypatch.setattr(histories, "MAX_LENDING_S", FAR_S)


def claimed(store: Store) -> list[int]:
    return [task.id for task in store.claim_queued(STUDIO, 1)]


@pytest.mark.usefixtures("_lends_late")
def test_a_pool_that_keeps_connections_no_more_is_refused_at_the_next_connection() -> None:
    with closing(Pool("session")) as between:
        store = opened(between.address)
        first, second = queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        become(store, task, Submitting())
        between.change("transaction")
        with pytest.raises(HistoryAway, match="gives each transaction another") as caught:
            store.claim_queued(STUDIO, 1)
        assert "pool_mode = session" in caught.value.hint
        store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
        assert [(one.id, one.job) for one in store.close()] == [(first, JOB)], "it is printed"
        with closing(opened(between.direct)) as other:
            assert isinstance(other.find(Filter(ids=(first,)))[0].task.state, Submitting), "nothing was written"
            assert [task.id for task in other.claim_queued(STUDIO, 9)] == [second]


@pytest.mark.usefixtures("_lends_late")
def test_a_pool_that_keeps_connections_again_is_used_as_a_server_that_was_away() -> None:
    with closing(Pool("session")) as between, closing(opened(between.address)) as store:
        first, second = queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        between.change("transaction")
        with pytest.raises(HistoryAway, match="gives each transaction another"):
            store.claim_queued(STUDIO, 1)
        store.record(TaskChanged(2.0, task.to(Submitting())))
        store.record(TaskChanged(3.0, task.to(Submitting()).to(Running(JOB))))
        between.change("session")
        asyncio.run(store.flush())
        assert store.find(Filter(ids=(first,)))[0].task.state == Running(JOB)
        assert claimed(store) == [second]


def test_a_pool_that_keeps_connections_and_has_no_more_of_them_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MAX_LENDING_S", 0.2)
    with closing(Pool("session", "default_pool_size = 2")) as between, closing(opened(between.address)) as store:
        first, second = queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        between.change("session")
        become(store, task, Submitting(), Running(JOB))
        assert claimed(store) == [second]
        assert store.find(Filter(ids=(first,)))[0].task.state == Running(JOB)


def said_of(worker: "subprocess.Popen[str]", wanted: str) -> str:
    """What a worker has said up to the line with these words."""
    assert worker.stderr is not None
    said = ""
    while line := worker.stderr.readline():
        said += line
        if wanted in line:
            return said
    raise AssertionError(f"{wanted!r} never came: {said}")


@pytest.mark.parametrize("is_mended", [True, False])
def test_a_worker_pays_for_nothing_through_a_pool_that_keeps_connections_no_more(
    tmp_path: Path, *, is_mended: bool
) -> None:
    with (
        closing(Pool("session")) as between,
        DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=HELD) as server,
    ):
        program = Program(tmp_path, CONFIG.format(url=server.url))
        program.more["IMAGEGEN_HISTORY"] = between.address
        (tmp_path / "list.txt").write_text("a cat\na dog\na fox\n")
        assert program.run("batch", "list.txt", "-p", "studio", "--queue", "-q").code == 0
        program.set_limits({MAX_ABSENCE: FAR_S, MAX_LENDING: FAR_S})
        worker = program.start("work", "--once", "-j", "1", "-p", "studio", "--progress", "plain")
        program.await_states("running", "queued", "queued")
        between.change("transaction")
        said_of(worker, "gives each transaction another connection")
        if is_mended:
            between.change("session")
            server.release()
        else:
            take(worker, signal.SIGTERM)
        ended = finished(worker)
        program.more["IMAGEGEN_HISTORY"] = between.direct
        states = program.states()
    assert "Traceback" not in ended.err
    if is_mended:
        assert (ended.code, len(server.jobs), states) == (0, 3, ["done"] * 3), ended.err
        return
    assert ended.code == 143, ended.err
    assert (len(server.jobs), states) == (1, ["running", "queued", "queued"]), ended.err
