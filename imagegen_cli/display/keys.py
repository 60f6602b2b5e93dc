"""Keys from a terminal, one by one and decoded.

A key is a character, or a name of several letters: up, down, left, right, home, end, pageup, pagedown, delete,
backspace, word, line, enter, tab, escape; for the line that stays open also backtab, close (Ctrl-D), rest, yank,
signleft, signright, wordleft, wordright and wordrest. What is pasted is one key, whatever is in it. The terminal's own
keys (Ctrl-C, Ctrl-Z) stay signals, except that Ctrl-C is the key interrupt where it was asked for.
"""

import codecs
import contextlib
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from imagegen_cli.core.language import Message

NAMES = {
    " ": Message("space"),
    "space": Message("space"),
    "enter": Message("enter"),
    "up": Message("up"),
    "up/down": Message("up/down"),
}
"""What people call keys that are not called by the letters on them."""
SEQUENCE = re.compile(r"\x1b(?:\[([0-9;]*)([~A-Za-z])|O([A-Za-z]))")
UNFINISHED = re.compile(r"\x1b(?:\[[0-9;]*|O)?\Z")
NEWLINE = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f]")
SEQUENCES = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "3~": "delete",
    "Z": "backtab",
    "1;5C": "wordright",
    "1;5D": "wordleft",
    "1;3C": "wordright",
    "1;3D": "wordleft",
    "5~": "pageup",
    "6~": "pagedown",
}
CONTROLS = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x01": "home",
    "\x05": "end",
    "\x10": "up",
    "\x0e": "down",
    "\x15": "line",
    "\x17": "word",
    "\x03": "interrupt",
    "\x04": "close",
    "\x02": "signleft",
    "\x06": "signright",
    "\x0b": "rest",
    "\x19": "yank",
}
ALT = {"b": "wordleft", "f": "wordright", "d": "wordrest", "\x7f": "word"}
"""Keys pressed together with Alt, which comes as an escape before them."""
WINDOWS = {
    "H": "up", "P": "down", "K": "left", "M": "right", "G": "home", "O": "end", "S": "delete", "I": "pageup",
    "Q": "pagedown",
}  # fmt: skip
PASTE, PASTED = "200~", "\x1b[201~"
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
"""Make the terminal mark pasted text, so that nothing in it is taken for a key."""
MAX_PASTE_GAP_S = 2.0
"""A paste whose end mark does not come is over after so long without a byte: the mark was lost."""
ENDING = (b"\x03", b"\x04")
"""Ctrl-C and Ctrl-D, which end such a paste at once when they come alone: a person waits for the keyboard."""
CHUNK_BYTES = 4096
MAX_CHUNKS = 64
"""Maximal reads in a row: a paste of many megabytes must not block the run."""


@dataclass(frozen=True, slots=True)
class Paste:
    """Pasted text without control characters other than newlines. `phrase`: it comes from an input method, typed."""

    text: str
    phrase: bool = field(default=False, compare=False)

    @property
    def on_one_line(self) -> str:
        return self.text.replace("\n", " ")


Key = str | Paste


class Decoder:
    """Turns bytes into keys. A key may be split between two pieces. `clock` counts seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._clock = clock
        self._rest = ""
        self._pasting = False
        self._fed_at = clock()

    def feed(self, data: bytes) -> list[Key]:
        self._fed_at = self._clock()
        ended = self._unmarked() if self._pasting and data in ENDING else []
        self._rest += self._decode(data)
        return [*ended, *self._keys()]

    def idle(self) -> list[Key]:
        """To be called when no bytes follow: an escape that stands alone is the escape key."""
        if self._pasting:
            return self._unmarked() if self._clock() - self._fed_at >= MAX_PASTE_GAP_S else []
        alone, self._rest = self._rest, ""
        return ["escape"] if alone == "\x1b" else []

    def _unmarked(self) -> list[Key]:
        """What came of a paste whose end mark is missing."""
        text, self._rest, self._pasting = plain(self._rest), "", False
        return [Paste(text)] if text else []

    def _keys(self) -> Iterator[Key]:
        while self._rest and not self._unfinished():
            if self._pasting:
                text, _, self._rest = self._rest.partition(PASTED)
                self._pasting = False
                yield Paste(plain(text))
            elif found := SEQUENCE.match(self._rest):
                self._rest = self._rest[found.end() :]
                yield from self._sequence((found[1] or "") + (found[2] or found[3]))
            elif self._rest[0] == "\x1b":
                if alt := ALT.get(self._rest[1:2]):
                    yield alt
                self._rest = self._rest[2:]
            else:
                character, self._rest = self._rest[0], self._rest[1:]
                yield from self._character(character)

    def _unfinished(self) -> bool:
        return PASTED not in self._rest if self._pasting else UNFINISHED.match(self._rest) is not None

    def _sequence(self, code: str) -> Iterator[str]:
        if code == PASTE:
            self._pasting = True
        elif code in SEQUENCES:
            yield SEQUENCES[code]

    def _character(self, character: str) -> Iterator[str]:
        if character in CONTROLS:
            yield CONTROLS[character]
        elif character >= " ":
            yield character


def named(key: str) -> str:
    """The name of a key for people."""
    return NAMES.get(key, key)


def narrow(key: str) -> str:
    """The ASCII key for a full-width sign, as input methods give them; other keys unchanged."""
    if len(key) == 1 and "\uff01" <= key <= "\uff5e":
        return chr(ord(key) - 0xFEE0)
    return " " if key == "\u3000" else key


def plain(text: str) -> str:
    """The text with newlines as the only control characters: other line ends become newlines, tabs become blanks."""
    return CONTROL.sub("", NEWLINE.sub("\n", SEQUENCE.sub("", text)).replace("\t", " "))


class Keyboard(Protocol):
    def enter(self) -> bool:
        """Take the keyboard, if it is not taken. Returns whether something was typed before, which is dropped."""
        ...

    def leave(self) -> None: ...

    def read(self) -> list[Key]:
        """The keys since the last call. Never waits."""
        ...


class PosixKeyboard:
    """`enter` changes the terminal's modes and `leave` restores them; the caller must leave on every way out.

    In the background neither does anything: the modes are then the shell's, and changing them would stop this process.
    `owns`: all that is typed is for this program and none of it for the shell; Ctrl-C is then a key and no signal.
    """

    def __init__(self, fd: int, stderr: TextIO, *, owns: bool = False) -> None:
        self._fd = fd
        self._stderr = stderr
        self._owns = owns
        self._decoder = Decoder()
        self._old: list[Any] | None = None

    def enter(self) -> bool:
        """Start to read keys one by one. Input from before was meant for another program and is dropped.

        It is read, not flushed: a line may be cut in its middle, and its second half is no line of its own.
        NOFLSH keeps the kernel from dropping keys at a Ctrl-C: they could go between the look for keys and the read,
        which would then wait for ever.
        """
        import termios  # noqa: PLC0415 - not on Windows

        if self._old is not None or not in_foreground(self._fd):
            return False
        old = termios.tcgetattr(self._fd)
        modes = termios.tcgetattr(self._fd)
        modes[3] = modes[3] & ~(termios.ICANON | termios.ECHO) | termios.NOFLSH
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        if self._owns:
            modes[6][termios.VINTR] = b"\0"
        termios.tcsetattr(self._fd, termios.TCSANOW, modes)  # the other ways wait for a terminal that may have stopped
        self._old = old
        self._decoder = Decoder()
        dropped = self._drop()
        self._mark(PASTE_ON)
        return dropped

    def _drop(self) -> bool:
        dropped = False
        for _ in range(MAX_CHUNKS):
            if not (self._ready() and os.read(self._fd, CHUNK_BYTES)):
                break
            dropped = True
        return dropped

    def leave(self) -> None:
        """Give the keyboard back. What has not been read was typed for this program, and is dropped."""
        import termios  # noqa: PLC0415 - not on Windows

        old, self._old = self._old, None
        if old is None:
            return
        try:
            self._mark(PASTE_OFF)
        finally:
            if in_foreground(self._fd):
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, old)

    def read(self) -> list[Key]:
        if self._old is None:
            return []
        if not self._ready():
            return self._decoder.idle()
        keys: list[Key] = []
        for _ in range(MAX_CHUNKS):
            data = os.read(self._fd, CHUNK_BYTES)
            keys += self._decoder.feed(data)
            if not (data and self._ready()):
                break
        return keys

    def _ready(self) -> bool:
        return bool(select.select([self._fd], [], [], 0)[0])

    def _mark(self, codes: str) -> None:
        self._stderr.write(codes)
        self._stderr.flush()


class WindowsKeyboard:
    """The Windows console needs no modes. It sends a special key as a mark and a letter."""

    def __init__(self) -> None:
        self._entered = False

    def enter(self) -> bool:
        """Drop what was typed before, once, as the other keyboard does."""
        dropped = not self._entered and bool(self.read())
        self._entered = True
        return dropped

    def leave(self) -> None:
        pass

    def read(self) -> list[Key]:
        import msvcrt  # noqa: PLC0415 - only on Windows

        console: Any = msvcrt
        keys: list[Key] = []
        while console.kbhit():
            key = console.getwch()
            if key in "\x00\xe0":
                name = WINDOWS.get(console.getwch(), "")
            else:
                name = "escape" if key == "\x1b" else CONTROLS.get(key, key if key >= " " else "")
            if name:
                keys.append(name)
        return keys


def keyboard(stdin: TextIO | None, stderr: TextIO, *, owns: bool = False) -> Keyboard | None:
    """The keyboard; None where there is none, or where keys cannot be read one by one.

    Where stdin is a file or a pipe, such as the list of a batch, the keys come from the terminal of this process.
    `owns`: nothing that is typed is for the shell.
    """
    try:
        if stdin is None:
            return None
        if sys.platform == "win32":
            return WindowsKeyboard() if stdin.isatty() else None
        import termios  # noqa: F401, PLC0415 - fails where there is none

        fd = stdin.fileno() if stdin.isatty() else _own_terminal(stdin, stderr)
        return None if fd is None else PosixKeyboard(fd, stderr, owns=owns)
    except (OSError, ValueError, ImportError):
        return None


def _own_terminal(stdin: TextIO, stderr: TextIO) -> int | None:
    """A descriptor of the terminal of this process, if stdin holds data and the table is drawn on that terminal."""
    mode = os.fstat(stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)) or not stderr.isatty():
        return None
    fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    if os.tcgetpgrp(fd) == os.tcgetpgrp(stderr.fileno()):
        return fd
    os.close(fd)
    return None


def drop_typed_ahead(stdin: TextIO) -> None:
    """Drop what was typed at a terminal before a question is asked: it does not answer the question."""
    try:
        if sys.platform == "win32":
            WindowsKeyboard().read()
            return
        import termios  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    with contextlib.suppress(OSError, ValueError, termios.error):
        termios.tcflush(stdin.fileno(), termios.TCIFLUSH)


def comes_within(stdin: TextIO, seconds: float) -> bool:
    """Wait for a line at the terminal for so long; whether there is one in the end. On Windows that cannot be seen.

    A line that came while this process was stopped, or had no turn, counts as well: it cannot tell when that was.
    """
    if sys.platform == "win32":
        return False
    with contextlib.suppress(OSError, ValueError):
        return bool(select.select([stdin], [], [], seconds)[0])
    return False


def in_foreground(fd: int) -> bool:
    """False while the shell runs this process in the background: it may then neither read nor draw on the terminal."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, AttributeError):
        return True
