"""`--exec`: a command of the person's own, run for each picture that is saved.

The command is split into words once, before anything is sent, and the placeholders are filled in word by word: no text
of a prompt can become another word, and no shell reads it. A command that fails, is missing or takes too long is said
and changes nothing about its task.
"""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.events import Event, RunStarted, RunStopping, TaskAdded, TaskChanged, TaskLearned
from imagegen_cli.core.masking import masked
from imagegen_cli.core.task import Task, TaskId
from imagegen_cli.core.text import amount

MAX_AT_ONCE = 4
"""Commands that run at the same time."""
MAX_OUTPUT_BYTES = 64 * 1024
"""What is kept of the output of one command; the rest is read and dropped."""
MAX_LINES = 5
MAX_LINE_CHARACTERS = 300
MAX_FAILURES_SAID = 5
"""Failures that are said one by one; the rest is counted at the end."""
GRACE_S = 1.0
"""Seconds that a command has to end after it was told to, before it is killed."""
QUIET_WAIT_S = 1.0
"""Seconds for which the end of a run waits for commands before that is said."""
MIN_TIMEOUT_S = 0.1
PLACEHOLDER = re.compile(r"\{(path|prompt|id|index|model|provider|seed)\}")
SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "fish", "cmd", "cmd.exe", "powershell", "pwsh"))
SCRIPT_OPTION = re.compile(r"-\w*c\w*|/c|-Command", re.IGNORECASE)
"""How shells are given a script as a word: -c, -lc and the like."""


def words_of(command: str) -> list[str]:
    """The words of a command. Raises UsageError where it cannot be split, or would put a prompt into a shell script."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--exec cannot be read: {error}", hint="nothing was sent; close every quote") from error
    if not words or not words[0]:
        raise UsageError("--exec names no command", hint="nothing was sent; write it as --exec 'echo {path}'")
    shell = next((at for at, word in enumerate(words) if PurePath(word).name.lower() in SHELLS), len(words))
    for before, word in zip(words[shell:], words[shell + 1 :], strict=False):
        if SCRIPT_OPTION.fullmatch(before) and PLACEHOLDER.search(word):
            message = "--exec would put a prompt into a shell's script, where its words could become commands"
            raise UsageError(message, hint="nothing was sent; hand it over: sh -c 'echo \"$1\"' - {prompt}")
    return words


class Hooks:
    """Runs a command for each picture that is saved from now on. `say` prints one line for people.

    `tell` is a sink of events. `prints_output`: also say what a command writes when it succeeds.
    """

    def __init__(
        self, words: Sequence[str], timeout_s: float, say: Callable[[str], None], *, prints_output: bool
    ) -> None:
        self._words = words
        self._timeout_s = max(MIN_TIMEOUT_S, timeout_s)
        self._say = say
        self._prints_output = prints_output
        self._gate = asyncio.Semaphore(MAX_AT_ONCE)
        self._going: set[asyncio.Task[None]] = set()
        self._seen: set[str] = set()
        """Paths of pictures that a command was run for, or that were there before."""
        self._seeds: dict[TaskId, str] = {}
        self._is_stopped = False
        self._not_run = 0
        self._failures = 0

    def tell(self, event: Event) -> None:
        match event:
            case RunStarted(tasks=tasks):
                self._seen.update(path for task in tasks for path in task.files)
            case TaskAdded(task=task):
                self._seen.update(task.files)
            case TaskLearned(id=id_, facts=facts) if "seed" in facts:
                self._seeds[id_] = str(facts["seed"])
            case TaskChanged(task=task):
                for path in task.files:
                    if path not in self._seen:
                        self._seen.add(path)
                        self._start(task, path)
            case RunStopping():
                self.stop()
            case _:
                pass

    def stop(self) -> None:
        """End the commands that run, and run no more."""
        self._is_stopped = True
        for one in self._going:
            one.cancel()

    async def finished(self) -> None:
        """Wait until all commands have ended."""
        if self._going:
            await asyncio.wait(self._going, timeout=QUIET_WAIT_S)
        if self._going and not self._is_stopped:
            self._say(f"waiting for {amount(len(self._going), 'command')} of --exec; Ctrl-C ends them")
        while self._going:
            await asyncio.wait(self._going)

    async def close(self) -> None:
        """End what runs, and say how many pictures had no command."""
        self.stop()
        while self._going:
            await asyncio.wait(self._going)
        if self._not_run:
            self._say(f"--exec was ended, or not begun, for {amount(self._not_run, 'picture')}")
        if self._failures > MAX_FAILURES_SAID:
            self._say(f"--exec failed for {amount(self._failures - MAX_FAILURES_SAID, 'more picture')}")

    def _start(self, task: Task, path: str) -> None:
        if self._is_stopped:
            self._not_run += 1
            return
        going = asyncio.ensure_future(self._run(task, path))
        self._going.add(going)
        going.add_done_callback(self._going.discard)

    async def _run(self, task: Task, path: str) -> None:
        index = _index(task, path)
        name = f"{task.id}/{index}"
        try:
            async with self._gate:
                code, output = await self._ended(_filled(self._words, self._values(task, path, index)))
        except asyncio.CancelledError:
            self._not_run += 1
            raise
        except TimeoutError:
            self._fail(name, f"it was ended after {self._timeout_s:g} s (exec_timeout_s)")
        except (OSError, ValueError) as error:
            self._fail(name, f"{self._words[0]}: {getattr(error, 'strerror', None) or error}")
        else:
            self._tell_of(name, code, _lines(output))

    def _tell_of(self, name: str, code: int, lines: Sequence[str]) -> None:
        if code:
            ended = f"it was ended by signal {-code}" if code < 0 else f"exit code {code}"
            self._fail(name, ": ".join([ended, *lines[-1:]]))
        elif self._prints_output:
            for line in lines[:MAX_LINES]:
                self._say(f"{name}: {line}")

    def _fail(self, name: str, why: str) -> None:
        self._failures += 1
        if self._failures <= MAX_FAILURES_SAID:
            self._say(f"--exec failed for {name}, the picture is saved: {masked(why)}")

    def _values(self, task: Task, path: str, index: int) -> dict[str, str]:
        request = task.request
        seed = self._seeds.get(task.id) or ("" if request.seed is None else str(request.seed))
        return {
            "path": path, "prompt": request.prompt, "id": str(task.id), "index": str(index), "seed": seed,
            "model": request.model, "provider": request.provider,
        }  # fmt: skip

    async def _ended(self, words: Sequence[str]) -> tuple[int, bytes]:
        """Exit code and output of a command. Raises TimeoutError and OSError; it runs on in no case."""
        pipe = asyncio.subprocess.PIPE
        # In a session of its own it reads no keys, gets no Ctrl-C of the terminal, and ends with all that it started.
        session: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT, **session
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                output = await _output(process)
                return await process.wait(), output
        finally:
            await _end(process)


def _filled(words: Sequence[str], values: dict[str, str]) -> list[str]:
    """All at once: a prompt that holds `{path}` keeps it."""
    return [PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in words]


def _index(task: Task, path: str) -> int:
    """The number of a picture in its task, from 1."""
    for index in range(1, max(len(task.files), task.expected_images) + 1):
        if path.startswith(f"{task.stem(index)}."):
            return index
    return task.files.index(path) + 1


async def _output(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("a process without its pipe")
    kept = b""
    while data := await process.stdout.read(MAX_OUTPUT_BYTES):
        kept += data[: MAX_OUTPUT_BYTES - len(kept)]
    return kept


def _lines(output: bytes) -> list[str]:
    found = (line.strip()[:MAX_LINE_CHARACTERS] for line in masked(output.decode(errors="replace")).splitlines())
    return [line for line in found if line]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that still runs, with all that it started."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        _signal(process, "SIGTERM")
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            _signal(process, "SIGKILL")
        await process.wait()


def _signal(process: asyncio.subprocess.Process, name: str) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, getattr(signal, name))
