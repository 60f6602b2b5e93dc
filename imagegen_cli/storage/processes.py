"""What a process is known by, and whether it still runs.

A pid alone is reused; a pid with its start time is not. A pid has a meaning only in one place: one boot of one machine,
one PID namespace. Whether a process in another place runs is known by its heartbeat alone, which must change while this
place watches it: clocks of two machines are never compared.
"""

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message

WANTED_FILES = 4096
"""Open files that a run asks for."""
MIN_FILES = 20
"""Open files without which no run can work."""
HAS_PS: bool = sys.platform not in {"linux", "win32"}
"""Whether the start time of a process comes from `ps`. On Linux it is in /proc, and Windows has no `ps`."""
SILENT_S = 60.0
"""Seconds for which a heartbeat must be watched without a change before a process elsewhere counts as dead."""


@dataclass(frozen=True, slots=True)
class Process:
    """`host` is the machine's name, for people. `place` differs between boots, and between containers of one name.

    `started_at` is the start time in the words of the system. Both are empty where the system has none.
    """

    host: str
    pid: int
    started_at: str
    place: str = ""


@cache
def this_process() -> Process:
    """The process that runs this code."""
    return Process(_host(), os.getpid(), _started_at(os.getpid()) or "", _place())


def more_files() -> None:
    """Raise the soft limit of open files: each task has a connection open, and a shell's default may be 64.

    Raises ConfigError where the hard limit is too low for any run.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_FILES:
        hint = Message("raise the limit: ulimit -n {count}").format(count=WANTED_FILES)
        message = Message("only {count} files may be open at a time here, and a run needs {least}")
        raise ConfigError(message.format(count=hard, least=MIN_FILES), hint=hint)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_near(process: Process, me: Process) -> bool:
    """Whether its pid has a meaning here."""
    return (process.host, process.place) == (me.host, me.place) and sys.platform != "win32"


def is_alive(process: Process) -> bool:
    """Whether a process of this place still runs."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return (_started_at(process.pid) or "") == process.started_at


def uptime() -> float:
    """Seconds on a clock that all processes of this place share, and that runs on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import platform  # noqa: PLC0415 - only Windows needs it

    return platform.node()


def _place() -> str:
    with suppress(OSError):
        return f"{_boot()}:{Path('/proc/self/ns/pid').readlink().name}"
    return ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started_at(pid: int) -> str | None:
    """Boot and clock ticks on Linux, the date from ps on other systems; None where there is neither."""
    with suppress(OSError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        fields = after_name.split()
        return None if fields[0] == "Z" else f"{_boot()}:{fields[19]}"
    if not HAS_PS:
        return None
    import subprocess  # noqa: PLC0415 - only systems without /proc need it

    with suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - our words
        return result.stdout.strip() or None
    return None
