"""Which process carries a task, and whether it still lives.

A pid alone is reused; a pid with its start time is not. Across hosts (a shared home folder) only a heartbeat tells.
"""

import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SILENT = 60.0
"""Seconds without a heartbeat after which a process on another host counts as dead."""


@dataclass(frozen=True, slots=True)
class Process:
    """`born` is whatever this system says of the start time; empty where it says nothing."""

    host: str
    pid: int
    born: str


@cache
def this_process() -> Process:
    return Process(platform.node(), os.getpid(), _born(os.getpid()) or "")


def alive(process: Process, beat: float) -> bool:
    """Whether it still runs; `beat` is when it last said so, in seconds since the epoch."""
    if process.host != platform.node() or sys.platform == "win32":
        return time.time() - beat < SILENT
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return (_born(process.pid) or "") == process.born


def _born(pid: int) -> str | None:
    """Boot and clock ticks on Linux, the date from ps elsewhere; None where neither is to be had."""
    with suppress(OSError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = after_name.split()
        return None if fields[0] == "Z" else f"{boot}:{fields[19]}"
    if sys.platform in ("linux", "win32"):
        return None
    with suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - our words
        return said.stdout.strip() or None
    return None
