"""`--exec`: a command of the person's own, run for each picture that is saved.

The command is split into words once, before anything is sent, and the placeholders are filled in word by word: no text
of a prompt can become another word, and no shell reads it (`hook_words`). The same values are in the environment of the
command, as IMAGEGEN_EXEC_PROMPT, for programs that read their words as commands. A command that fails, is
missing or takes too long is said and changes nothing about its task.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from imagegen_cli.commands.hook_words import PLACEHOLDER
from imagegen_cli.core.events import Event, RunStarted, RunStopping, TaskAdded, TaskChanged, TaskLearned
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.masking import masked
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import Task, TaskId

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
GROUP_POLL_S = 0.02
"""Seconds between two looks whether all that a command started has ended."""
DRAIN_S = 0.2
"""Seconds for which output is read that still lies in the pipe of a command that has ended."""
QUIET_WAIT_S = 1.0
"""Seconds for which the end of a run waits for commands before that is said."""
MIN_TIMEOUT_S = 0.1
MAX_VARIABLE_BYTES = 100_000
"""The longest text that is handed over in a variable: Linux starts no command with more than 128 KB in one."""


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
            waiting = ngettext(
                "waiting for {count} command of --exec; Ctrl-C ends them",
                "waiting for {count} commands of --exec; Ctrl-C ends them",
                len(self._going),
            )
            self._say(waiting)
        while self._going:
            await asyncio.wait(self._going)

    async def close(self) -> None:
        """End what runs, and say how many pictures had no command."""
        self.stop()
        while self._going:
            await asyncio.wait(self._going)
        if self._not_run:
            ended = ngettext(
                "--exec was ended, or not begun, for {count} picture",
                "--exec was ended, or not begun, for {count} pictures",
                self._not_run,
            )
            self._say(ended)
        if (more := self._failures - MAX_FAILURES_SAID) > 0:
            failed = ngettext("--exec failed for {count} more picture", "--exec failed for {count} more pictures", more)
            self._say(failed)

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
                code, output = await self._ended(self._values(task, path, index))
        except asyncio.CancelledError:
            self._not_run += 1
            raise
        except TimeoutError:
            why = Message("it was ended after {seconds:g} s (exec_timeout_s)")
            self._fail(name, why.format(seconds=self._timeout_s))
        except (OSError, ValueError) as error:
            self._fail(name, joined(": ", [self._words[0], cause(error)]))
        else:
            self._tell_of(name, code, _lines(output))

    def _tell_of(self, name: str, code: int, lines: Sequence[str]) -> None:
        if code:
            signalled, exited = Message("it was ended by signal {number}"), Message("exit code {code}")
            ended = signalled.format(number=-code) if code < 0 else exited.format(code=code)
            self._fail(name, joined(": ", [ended, *lines[-1:]]))
        elif self._prints_output:
            for line in lines[:MAX_LINES]:
                self._say(f"{name}: {line}")

    def _fail(self, name: str, why: str) -> None:
        self._failures += 1
        if self._failures <= MAX_FAILURES_SAID:
            message = Message("--exec failed for {name}, the picture is saved: {why}")
            self._say(message.format(name=name, why=masked(why)))

    def _values(self, task: Task, path: str, index: int) -> dict[str, str]:
        request = task.request
        seed = self._seeds.get(task.id) or ("" if request.seed is None else str(request.seed))
        return {
            "path": path, "prompt": request.prompt, "id": str(task.id), "index": str(index), "seed": seed,
            "model": request.model, "provider": request.provider,
        }  # fmt: skip

    async def _ended(self, values: dict[str, str]) -> tuple[int, bytes]:
        """Exit code and output of a command. Raises TimeoutError and OSError; what it started has ended in any case.

        The command has ended when its own process has: what it leaves behind may hold its output open for ever.
        """
        pipe, loop = asyncio.subprocess.PIPE, asyncio.get_running_loop()
        # In a session of its own it reads no keys, gets no Ctrl-C of the terminal, and ends with all that it started.
        session: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}
        transport, command = await loop.subprocess_exec(
            Command, *_filled(self._words, values), stdin=asyncio.subprocess.DEVNULL, stdout=pipe,
            stderr=asyncio.subprocess.STDOUT, env=_environment(values), **session,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._timeout_s):
                await command.exited.wait()
            await _within(command.closed, DRAIN_S)
            return transport.get_returncode() or 0, command.output
        finally:
            await _end(transport, command)


class Command(asyncio.SubprocessProtocol):
    """What is known of a command: its output so far, whether its process has ended, and whether its pipe has."""

    def __init__(self) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.forgotten = asyncio.Event()
        """The event loop holds nothing of it any more."""
        self.output = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - the name is asyncio's
        self.output += data[: MAX_OUTPUT_BYTES - len(self.output)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - see above
        self.closed.set()

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - see above
        self.forgotten.set()


def _filled(words: Sequence[str], values: dict[str, str]) -> list[str]:
    """All at once: a prompt that holds `{path}` keeps it."""
    return [PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in words]


def _environment(values: dict[str, str]) -> dict[str, str]:
    """The environment of a command. A text that is too long for a variable is left out."""
    held = {f"IMAGEGEN_EXEC_{name.upper()}": _holdable(text) for name, text in values.items()}
    return {**os.environ, **{name: text for name, text in held.items() if len(os.fsencode(text)) <= MAX_VARIABLE_BYTES}}


def _holdable(text: str) -> str:
    """A text without what no variable can hold: a NUL, and half of a sign. A path keeps the bytes that it has."""
    return re.sub("[\\0\ud800-\udc7f\udd00-\udfff]", "\ufffd", text)


def _index(task: Task, path: str) -> int:
    """The number of a picture in its task, from 1."""
    for index in range(1, max(len(task.files), task.expected_images) + 1):
        if path.startswith(f"{task.stem(index)}."):
            return index
    return task.files.index(path) + 1


def _lines(output: bytes) -> list[str]:
    found = (line.strip()[:MAX_LINE_CHARACTERS] for line in masked(output.decode(errors="replace")).splitlines())
    return [line for line in found if line]


async def _end(transport: asyncio.SubprocessTransport, command: Command) -> None:
    """End a command that still runs, all that it started, and what the event loop holds of it."""
    try:
        await _end_group(transport, command)
    finally:
        transport.close()
        await _within(command.forgotten, GRACE_S)


async def _end_group(transport: asyncio.SubprocessTransport, command: Command) -> None:
    if not _signal(transport, "SIGTERM"):
        return
    try:
        async with asyncio.timeout(GRACE_S):
            await command.exited.wait()
            while _signal(transport, ""):  # children of a process that has ended tell us nothing  # noqa: ASYNC110
                await asyncio.sleep(GROUP_POLL_S)
    except TimeoutError:
        _signal(transport, "SIGKILL")
        await command.exited.wait()


async def _within(event: asyncio.Event, limit_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()


def _signal(transport: asyncio.SubprocessTransport, name: str) -> bool:
    """Send a signal to the process and to all that it started; "" sends none. Whether any of them was there."""
    try:
        if sys.platform == "win32":
            if transport.get_returncode() is not None:
                return False
            transport.kill()
        else:
            os.killpg(transport.get_pid(), getattr(signal, name) if name else 0)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of processes that have ended
        return False
    return True
