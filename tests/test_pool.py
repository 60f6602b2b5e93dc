"""A pool of connections between the program and PostgreSQL: pgbouncer in each of its modes."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from imagegen_cli.core.errors import HistoryError
from tests import postgres
from tests.histories import opened
from tests.ports import PortHold
from tests.program import LIMIT, Program

POOL = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SETTINGS = """
[databases]
postgres = host=127.0.0.1 port={server} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = {mode}
"""
pytestmark = [
    pytest.mark.program,
    pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing()),
    pytest.mark.skipif(POOL is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"),
]


@contextmanager
def pool(mode: str) -> Iterator[str]:
    """An address behind a pool."""
    assert POOL is not None
    folder = Path(tempfile.mkdtemp(prefix="imagegen-pool-"))
    hold = PortHold()
    port = hold.port
    (folder / "users").write_text(f'"{postgres.USER}" ""\n')
    (folder / "ini").write_text(SETTINGS.format(server=postgres.server().port, port=port, folder=folder, mode=mode))
    command = [POOL, str(folder / "ini")]
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, postgres.USER)
        command = [*["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"], *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port)
        yield f"postgresql://{postgres.USER}@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()
        hold.close()
        shutil.rmtree(folder)


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
