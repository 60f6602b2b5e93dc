"""A terminal for tests: a pseudo-terminal with an emulator behind it, fed by a thread, asked with a deadline.

`Program` runs a command in it; `Paper` is the same terminal without a program, for displays of this process.
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import pyte
from wcwidth import wcwidth

from imagegen_cli.display.controls import QUIET_S

DEADLINE = 60.0
LOOK_S = 0.1
"""Seconds between two looks for what no output tells of, such as the modes of the terminal."""
LEADER = str(Path(__file__).with_name("leader.py"))
NOT_TAKEN = "the answer came before the question can have been read"
UNSEEN = dict.fromkeys(map(ord, "\u200c\u200d\u200e\ufe0e\ufe0f"))
"""Characters without a width: the emulator would drop all text that follows one of them."""


FRAME = 2026 << 5
"""The mode of a terminal while a frame comes, as the emulator keeps it."""


class Emulator(pyte.HistoryScreen):
    """It shows a frame whole or not at all: a test that looks while one comes sees the one before."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        self._before: tuple[list[str], int] | None = None
        super().__init__(*sizes, **options)

    def draw(self, data: str) -> None:
        super().draw(data.translate(UNSEEN))

    @property
    def display(self) -> list[str]:
        """The lines of the screen; the second half of a wide sign whose first half is gone is a blank."""
        return [self._line(self.buffer[y]) for y in range(self.lines)]

    def _line(self, row: Mapping[int, Any]) -> str:
        text, x = "", 0
        while x < self.columns:
            sign = row[x].data or " "
            text += sign
            x += 2 if wcwidth(sign[0]) == 2 else 1
        return text

    def set_mode(self, *modes: int, **kinds: Any) -> None:
        super().set_mode(*modes, **kinds)
        if FRAME in self.mode and self._before is None:
            self._before = self.shown()

    def reset_mode(self, *modes: int, **kinds: Any) -> None:
        super().reset_mode(*modes, **kinds)
        if FRAME not in self.mode:
            self._before = None

    def shown(self) -> tuple[list[str], int]:
        """The lines of the screen, and how many have scrolled out above them."""
        return self._before or (self.display, len(self.history.top))

    def end_frame(self) -> None:
        """Show what came of a frame whose program is gone."""
        self.mode.discard(FRAME)
        self._before = None

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Keep the lines that scroll out at the top, as terminals do."""
        lines, columns = lines or self.lines, columns or self.columns
        lost = max(0, self.cursor.y + 1 - lines)
        at, self.cursor.y = self.cursor.y - lost, self.lines - 1
        for _ in range(lost):
            self.index()
        self.cursor.y = at
        self.lines, self.columns = lines, columns
        self.dirty.update(range(self.lines))
        self.set_margins()


class Screen:
    def __init__(self, columns: int, lines: int) -> None:
        self.master, self.slave = pty.openpty()
        self.emulator = Emulator(columns, lines, history=100_000, ratio=0.5)
        self.raw = b""
        self._stream = pyte.ByteStream(self.emulator)
        self._changed = threading.Condition()
        self._closed = False
        self._set_size(columns, lines)
        self.modes_before = termios.tcgetattr(self.slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let everything arrive that was written, then end."""
        if self._closed:
            return
        self._closed = True
        os.close(self.slave)
        self._reader.join(DEADLINE)
        os.close(self.master)

    @property
    def text(self) -> str:
        """What is on the screen now, without blank line ends."""
        with self._changed:
            return "\n".join(line.rstrip() for line in self.emulator.shown()[0]).rstrip()

    @property
    def scrollback(self) -> str:
        """All lines that have scrolled out, and the screen."""
        with self._changed:
            columns, (_, count) = self.emulator.columns, self.emulator.shown()
            rows = islice(self.emulator.history.top, count)
            above = ["".join(row[x].data for x in range(columns)).rstrip() for row in rows]
            return "\n".join([*above, self.text])

    @property
    def cursor_hidden(self) -> bool:
        return bool(self.emulator.cursor.hidden)

    @property
    def title(self) -> str:
        return str(self.emulator.title)

    @property
    def modes_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.modes_before

    @property
    def keys_are_read(self) -> bool:
        """Whether the program takes keys now. What comes after it has set the modes and before this mark is dropped."""
        return self.raw.rfind(b"\x1b[?2004h") > self.raw.rfind(b"\x1b[?2004l")

    def wait(self, predicate: Callable[[], object], what: str = "", seconds: float = DEADLINE) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while not self._changed.wait_for(predicate, LOOK_S):
                if time.monotonic() >= end:
                    raise AssertionError(f"never came: {what or predicate}\n{self.text}")

    def wait_for(self, text: str, seconds: float = DEADLINE) -> None:
        self.wait(lambda: text in self.text, text, seconds)

    def send(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def press(self, keys: str) -> None:
        """Read the screen first, as a person does: the table takes no key as meant that follows another at once."""
        time.sleep(QUIET_S + 0.1)
        self.send(keys)

    def answer(self, keys: str, accepted: Callable[[], object]) -> None:
        """Answer a question as a person does: read it, and answer once more where that is said to have come too soon.

        A busy program may not have looked for an answer before it came, and then it does not take it.
        """
        while not accepted():
            self.press(keys)
            self.wait(partial(self._is_answered, accepted, self.refused), f"what {keys!r} comes to")

    def _is_answered(self, accepted: Callable[[], object], refused_before: int) -> bool:
        return bool(accepted()) or self.refused > refused_before

    @property
    def refused(self) -> int:
        """How many answers have come too soon."""
        return " ".join(self.scrollback.split()).count(NOT_TAKEN)

    def resize(self, columns: int, lines: int) -> None:
        with self._changed:
            self._set_size(columns, lines)
            self.emulator.resize(lines, columns)

    def settle(self) -> None:
        """Wait until everything written so far has been drawn: a mark that shows nothing goes behind it."""
        mark = f"\x1b]9;mark {os.urandom(6).hex()}\x07".encode()  # no code of the program: 4 and a share are progress
        os.write(self.slave, mark)
        self.wait(lambda: mark in self.raw, "the end of what was written")

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while data := self._chunk():
            with self._changed:
                self.raw += data
                self._stream.feed(data)
                self._changed.notify_all()

    def _chunk(self) -> bytes:
        try:
            return os.read(self.master, 65536)
        except OSError:
            return b""


class Program(Screen):
    """A command whose terminal this is, as the one job of a shell. `stdin` and `stdout` may be others."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environ: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdout: int | None = None,
        stdin: int | None = None,
    ) -> None:
        super().__init__(columns, lines)
        self._report, report = os.pipe()
        orders, self._orders = os.pipe()
        base = {"TERM": "xterm-256color", "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": os.environ["HOME"]}
        self._leader = subprocess.Popen(
            [sys.executable, "-S", LEADER, str(report), str(orders), *command],
            stdin=self.slave if stdin is None else stdin,
            stdout=self.slave if stdout is None else stdout,
            stderr=self.slave,
            env={**base, **(environ or {})},
            cwd=cwd,
            pass_fds=(report, orders),
            start_new_session=True,
        )
        os.close(report)
        os.close(orders)
        self._control_bytes = b""
        self.pid = int(self._control_word("pid"))

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def finish(self, seconds: float = DEADLINE) -> int:
        """Its exit code, once it has ended by itself and everything that it wrote has arrived."""
        code = int(self._control_word("exit", seconds))
        self.settle()
        with self._changed:
            self.emulator.end_frame()
        return code

    def stopped(self) -> None:
        """Wait until Ctrl-Z has stopped the program."""
        self._control_word("stopped")
        self.settle()

    def foreground(self) -> None:
        """Continue the stopped program, as `fg` does."""
        os.write(self._orders, b"fg\n")

    def close(self) -> None:
        if self._closed:
            return
        os.close(self._orders)
        if self._leader.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._leader.wait(DEADLINE)
        os.close(self._report)
        super().close()

    def _control_word(self, word: str, seconds: float = DEADLINE) -> str:
        while b"\n" not in self._control_bytes:
            if not select.select([self._report], [], [], seconds)[0]:
                raise AssertionError(f"no {word} within {seconds} s\n{self.text}")
            data = os.read(self._report, 100)
            assert data, f"the leader went away before {word}"
            self._control_bytes += data
        line, self._control_bytes = self._control_bytes.split(b"\n", 1)
        found, _, value = line.decode().partition(" ")
        assert found == word, f"{found} {value} instead of {word}\n{self.text}"
        return value


class Paper(Screen):
    """A terminal that this process writes to (`stream`) and reads keys from (`keys`)."""

    def __init__(self, columns: int = 80, lines: int = 24, encoding: str = "utf-8") -> None:
        super().__init__(columns, lines)
        self.stream: TextIO = os.fdopen(os.dup(self.slave), "w", encoding=encoding)
        self.keys: TextIO = os.fdopen(os.dup(self.slave), encoding="utf-8")

    def settle(self) -> None:
        self.stream.flush()
        super().settle()

    def close(self) -> None:
        self.keys.close()
        self.stream.close()
        super().close()
