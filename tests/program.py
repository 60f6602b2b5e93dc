"""The program as a person starts it: a process with a folder of its own, no terminal and no inherited settings."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 60.0


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def without_site() -> str:
    """PYTHONPATH for `python -S`: under LC_ALL=C `site` dies of a folder whose name is not ASCII."""
    return os.pathsep.join([str(Path(__file__).parents[1]), sysconfig.get_path("purelib")])


class Program:
    """`imagegen` in `folder`, with its history and settings in `folder/home`."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.more: dict[str, str] = {}
        """Further variables of the environment of every process."""
        if config:
            self.configure(config)

    def use_history(self, where: Path | str) -> None:
        """Have the history at this address; a file is always the one in its own folder."""
        if isinstance(where, str):
            self.more["IMAGEGEN_HISTORY"] = where

    @property
    def history(self) -> Path | str:
        return self.more.get("IMAGEGEN_HISTORY") or self.home / "history.db"

    def configure(self, text: str) -> None:
        path = self.home / "config.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def set_limits(self, limits: Mapping[str, float]) -> None:
        """Change limits of every process, named `module:name`.

        A test of one limit moves the next one so far away that no busy machine takes the one for the other.
        """
        folder = self.folder / "limits"
        folder.mkdir()
        named = [(*key.split(":"), value) for key, value in limits.items()]
        lines = [f"import {module}; {module}.{name} = {value}\n" for module, name, value in named]
        (folder / "sitecustomize.py").write_text("".join(lines), encoding="utf-8")
        self.more["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("IMAGEGEN_", "CI", "GITHUB_", "COVERAGE_", "COV_")) and not key.endswith("_API_KEY")
        }
        return kept | {"IMAGEGEN_HOME": str(self.home), "PYTHONUTF8": "1", "NO_PROXY": "*"} | self.more | more

    def start(self, *words: str, text: bool = True, flags: Sequence[str] = (), **more: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, *flags, "-m", "imagegen_cli", *words]
        environment = self.environment(**more.pop("environment", {}))
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=text,
            **more,
        )

    def run(self, *words: str, stdin: str = "", **environment: str) -> Ended:
        return finished(self.start(*words, environment=environment), stdin)

    def run_out_of_time(self, *words: str) -> Ended:
        """Send a prompt that never ends as a new task, and let its time be over.

        A short limit would be over before a busy machine has the answer to the submit: another process has it.
        """
        before = self.states()
        process = self.start("run", *words, "-q")
        self.await_states(*before, "running")
        process.kill()
        finished(process)
        return self.run("resume", str(len(before) + 1), "--timeout", "0.3")

    def await_states(self, *states: str) -> None:
        """Wait until the history has tasks in these states: it learns of some a moment after they are printed."""
        end = time.monotonic() + LIMIT
        while self.states() != [*states]:
            assert time.monotonic() < end, f"{self.states()} instead of {states}"

    def states(self) -> list[str]:
        return [str(task["state"]) for task in self.tasks()]

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks, oldest first."""
        return self.run("list", "--json", "--limit", "100000").objects[::-1]

    def pictures(self) -> list[Path]:
        folder = self.folder / "images"
        return sorted(folder.rglob("*")) if folder.exists() else []


def finished(process: "subprocess.Popen[str]", stdin: str = "") -> Ended:
    try:
        out, err = process.communicate(stdin, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it hangs\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


def next_line(process: "subprocess.Popen[str]", wanted: str) -> str:
    """Read stdout until a line holds each of `wanted` in turn; the wait is bounded."""
    assert process.stdout is not None
    while line := _line(process.stdout.fileno()):
        if wanted in line:
            return line
    raise AssertionError(f"{wanted!r} never came: {process.stderr.read() if process.stderr else ''}")


def _line(descriptor: int) -> str:
    """Read one line and nothing behind it: what a buffer takes ahead, in the middle of a line too, `finished` lacks."""
    data = b""
    while not data.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        data += byte
    return data.decode(errors="replace")


def await_lines(process: "subprocess.Popen[str]", wanted: Iterable[str]) -> None:
    for word in wanted:
        next_line(process, word)


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)


def take(process: "subprocess.Popen[Any]", number: signal.Signals) -> None:
    """Send a signal, and wait until the process has it: two of a kind that wait for a busy machine would be one."""
    process.send_signal(number)
    end = time.monotonic() + LIMIT
    while process.poll() is None and waits(process.pid, number):
        assert time.monotonic() < end, f"{number.name} is not taken"
        time.sleep(0.005)


def waits(pid: int, number: signal.Signals) -> bool:
    """Whether the signal still waits for the process; only Linux tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(
        int(line.split()[1], 16) >> (number - 1) & 1
        for line in status.splitlines()
        if line.startswith(("SigPnd:", "ShdPnd:"))
    )
