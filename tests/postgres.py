"""A private PostgreSQL server for the tests: in a folder of its own, on a free port of loopback, one for a process.

`address` gives a history of its own, empty, to each test. Where PostgreSQL is not installed, `missing` says so.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.ports import PortHold

USER = "postgres"
QUIET = "-c autovacuum=off -c checkpoint_timeout=1d -c wal_level=minimal -c max_wal_senders=0"
"""Nothing is written at a moment of the server's own: its background would keep the number of a transaction that the
test lets be lost in a crash, or take one."""
_numbers = count(1)


def programs(installed: Path = Path("/usr/lib/postgresql")) -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version; None where none is installed."""
    found = sorted(installed.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


@cache
def missing() -> str:
    """Why no server can be started here; empty where one can."""
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra of ours
    except ImportError:
        return "psycopg is not installed (pip install 'imagegen-cli[postgres]')"
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser"
    return ""


class Server:
    """One server. `stop`, `start` and `cut` do what happens to servers."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self.programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="imagegen-postgres-"))
        self._hold = PortHold()
        self.port = self._hold.port
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()
        atexit.register(self.remove)

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
            f" -c fsync=off -c max_connections=200 {QUIET}"
        )
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def remove(self) -> None:
        with suppress(subprocess.SubprocessError, OSError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, timeout=120
        )

    def execute(self, sql: str) -> list[Any]:
        import psycopg  # noqa: PLC0415 - an extra of ours

        with psycopg.connect(self.base, autocommit=True) as db:
            cursor: Any = db.execute(sql.encode())
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def base(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def address(self) -> str:
        """An address of a history that nothing has opened yet."""
        schema = f"test{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return f"{self.base}?options=-csearch_path%3D{schema}"

    def cut(self) -> None:
        """End all connections but this one."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()")


@cache
def server() -> Server:
    return Server()
