"""Output that never makes a run wait: a thread writes what a terminal or a pipe does not take at once.

Ctrl-S, a stalled ssh, `| less` and a slow program behind a pipe block a write. Paid work must go on meanwhile, so what
is written waits in memory, in order, at most MAX_WAITING_BYTES for each destination. Streams with the same destination
share one thread, so that their order stays. The thread starts with the first write.
"""

import errno
import io
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO, cast

from imagegen_cli.core.language import Message
from imagegen_cli.core.text import Printer

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""More is refused, as a full disk refuses it: what waits is still written, and the exit code tells that data is cut."""
LAST_LINE_BYTES = 1024 * 1024
"""Room for the last line, which is kept where earlier ones were refused."""
LAST_WAIT_S = 2.0
"""How long the rest may take after a signal that ends the program."""
CHUNK_BYTES = 64 * 1024
POLL_S = 0.05
"""Seconds between two looks for a signal while the rest is written."""


class Writer:
    """The thread that writes to one destination."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[io.RawIOBase, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._limit = MAX_WAITING_BYTES
        self._thread: threading.Thread | None = None
        self.cut: OSError | None = None
        """Why some of it was refused, where more was taken later."""
        self.error: OSError | None = None
        """Why nothing more is taken: the destination is broken, or too much waits."""

    @property
    def is_behind(self) -> bool:
        """Whether the destination has not taken everything yet."""
        return self._bytes > 0

    def write(self, raw: io.RawIOBase, data: bytes) -> int:
        """Keep the data for the thread, which writes it to `raw`. Raises OSError where nothing more is taken."""
        with self._changed:
            if self.error is None and self._bytes + len(data) > self._limit:
                full = Message("{size} MiB waited and its reader took nothing")
                self.error = OSError(errno.ENOBUFS, full.format(size=MAX_WAITING_BYTES // 1024**2))
            if self.error is not None:
                raise OSError(*self.error.args)
            self._waiting.append((raw, data))
            self._bytes += len(data)
        return len(data)

    def has_room_for_last(self) -> bool:
        """Whether one more line is taken: it is, where earlier ones were refused because too much waited."""
        with self._changed:
            if self.error is not None and self.error.errno == errno.ENOBUFS and self.cut is None:
                self.cut, self.error = self.error, None
                self._limit += LAST_LINE_BYTES
            return self.error is None

    def wake(self) -> None:
        """Let the thread write what waits."""
        with self._changed:
            if self._thread is None and self._waiting:
                self._thread = threading.Thread(target=self._work, name="output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until everything is written, at most so long. Returns whether it is."""
        self.wake()
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, seconds)

    def _work(self) -> None:
        try:
            while True:
                self._put(*self._next())
        except OSError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(OSError(errno.EBADF, str(error)))

    def _fail(self, error: OSError) -> None:
        with self._changed:
            self.error = error
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _next(self) -> tuple[io.RawIOBase, bytes]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            raw, data = self._waiting.popleft()
            chunk, size = [data], len(data)
            while self._waiting and self._waiting[0][0] is raw and size < CHUNK_BYTES:
                chunk.append(self._waiting.popleft()[1])
                size += len(chunk[-1])
        return raw, b"".join(chunk)

    def _put(self, raw: io.RawIOBase, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = raw.write(left)
            if written is None:  # another program has made it one that does not wait
                select.select([], [raw], [])
                continue
            left = left[written:]
            with self._changed:
                self._bytes -= written
                if not self._bytes:
                    self._changed.notify_all()


class _Buffer(io.BufferedIOBase):
    """The bytes of a stream on their way to the thread."""

    def __init__(self, writer: Writer, raw: io.RawIOBase, stream: TextIO) -> None:
        self._writer = writer
        self._raw = raw
        self._stream = stream
        self.is_used = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.is_used = True
        return self._writer.write(self._raw, bytes(data))

    def flush(self) -> None:
        self._writer.wake()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


class PatientText(io.TextIOWrapper):
    """A text stream that never blocks: its thread writes."""

    def __init__(self, stream: TextIO, raw: io.RawIOBase, writer: Writer) -> None:
        self.writer = writer
        self.bytes = _Buffer(writer, raw, stream)
        super().__init__(cast("Any", self.bytes), stream.encoding, stream.errors, write_through=True)

    def has_room_for_last(self) -> bool:
        return self.writer.has_room_for_last()


def is_behind(stream: TextIO) -> bool:
    """Whether what was written to the stream is not on its way yet; never for a stream that blocks."""
    return isinstance(stream, PatientText) and stream.writer.is_behind


def await_written(stream: TextIO, seconds: float) -> None:
    """Wait until everything is written, at most so long."""
    if isinstance(stream, PatientText):
        stream.writer.wait(seconds)


class Output:
    """stdout and stderr of a run. Inside of its context they are `sys.stdout` and `sys.stderr` as well.

    The context ends when everything is written, however long the reader takes: `hurry` limits that. A stream that has
    not taken everything then is replaced by one that discards, so that no last message blocks.
    """

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        self._writers: dict[object, Writer] = {}
        self.stdout = self._patient(sys.stdout)
        self.stderr = self._patient(sys.stderr)
        self._is_hurried = False

    def __enter__(self) -> Self:
        for stream in self._before:
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = self.stdout, self.stderr
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_hurried |= error is not None
        try:
            self._finish()
        finally:
            self._note_trouble()
            sys.stdout, sys.stderr = self._after(self.stdout, 0), self._after(self.stderr, 1)

    def hurry(self) -> None:
        """Wait at most LAST_WAIT_S for the streams at the end. A signal handler may call it."""
        self._is_hurried = True

    def _finish(self) -> None:
        until = float("inf")
        for writer in self._writers.values():
            while not writer.wait(POLL_S) and time.monotonic() < until:
                if self._is_hurried and until == float("inf"):
                    until = time.monotonic() + LAST_WAIT_S
                    self._go_on()

    def _go_on(self) -> None:
        """Let a terminal that Ctrl-S has stopped take what gives it back as it was: a signal ends the program."""
        for stream in self._before:
            with suppress(ImportError, OSError, ValueError):
                import termios  # noqa: PLC0415 - not on Windows

                with suppress(termios.error):
                    if os.isatty(fd := stream.fileno()) and os.tcgetpgrp(fd) == os.getpgrp():
                        termios.tcflow(fd, termios.TCOOFF)  # only what was stopped in this way can be started
                        termios.tcflow(fd, termios.TCOON)

    def _note_trouble(self) -> None:
        """Remember why data is missing on stdout, where no later write was told."""
        if not isinstance(self.stdout, PatientText) or not self.stdout.bytes.is_used:
            return
        error = self.stdout.writer.error or self.stdout.writer.cut
        if error is not None and not isinstance(error, BrokenPipeError):
            from imagegen_cli.core.system_errors import cause  # noqa: PLC0415 - only where something is wrong

            Printer.trouble = Printer.trouble or cause(error) or type(error).__name__

    def _after(self, stream: TextIO, number: int) -> TextIO:
        if not is_behind(stream):
            return self._before[number]
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - until the end

    def _patient(self, stream: TextIO) -> TextIO:
        """The stream with a thread; itself where it is none of the operating system's, which tests use."""
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # `python -u` has no buffer between
        try:
            key = _destination(stream.fileno())
        except (OSError, ValueError):
            return stream
        if not isinstance(raw, io.RawIOBase):
            return stream
        return PatientText(stream, raw, self._writers.setdefault(key, Writer()))


def _destination(fd: int) -> object:
    """What is equal for two descriptors of one file. Terminals count as one: a process has only one."""
    status = os.fstat(fd)
    return "terminal" if stat.S_ISCHR(status.st_mode) and os.isatty(fd) else (status.st_dev, status.st_ino)
