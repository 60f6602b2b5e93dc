"""Sheets and pages on the disk: under names that are free or ours, with a count while they are made."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, tr
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.gallery.whole import subject_of

EVERY_S = 0.1
"""Seconds between two numbers of a progress."""
MAX_NAMES = 1000
"""Names that are tried beside the pictures."""
WORDS = {"gallery": Message("gallery"), "sheet": Message("sheet")}

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


class Kind(NamedTuple):
    """What is written: `name` as `whole.subject_of` knows it, and the suffixes that its files may have."""

    name: str
    suffixes: tuple[str, ...]


class Place(NamedTuple):
    """Where a file goes that the person does not name: `stem` in `folder`. `subject` marks what it shows."""

    folder: str
    stem: str
    subject: str


class Writes(Protocol[Made_co]):
    """Write the file and return what came of it; where it is `fresh`, raise FileExistsError rather than replace."""

    def __call__(self, file: Path, *, fresh: bool) -> Made_co: ...


def written(kind: Kind, place: Place, output: Path | None, write: Writes[Made]) -> Made:
    """Write a file of ours: `output`, or in that folder, or in the place, under a name that is free or its own.

    Raises UsageError where it cannot be written, or where the named file is none of ours.
    """
    named = output.expanduser().absolute() if output is not None and not output.expanduser().is_dir() else None
    folder = named.parent if named else (output or Path(place.folder)).expanduser().absolute()
    try:
        with _ended_by_signals():
            return _to_the_name(kind, named, write) if named else _to_a_free_name(kind, place, folder, write)
    except OSError as error:
        other = Message("name another place: -o {name}").format(name=f"{kind.name}{kind.suffixes[0]}")
        wrong = Message("the {what} cannot be written into {folder}: {why}")
        raise UsageError(wrong.format(what=WORDS[kind.name], folder=folder, why=cause(error)), hint=other) from error


def _to_the_name(kind: Kind, file: Path, write: Writes[Made]) -> Made:
    if file.suffix.lower() not in kind.suffixes:
        wanted = f"{file.stem}{kind.suffixes[0]}"
        wrong = Message("{name} should end with {suffix}").format(name=file.name, suffix=kind.suffixes[0])
        raise UsageError(wrong, hint=f"-o {wanted}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(file):
        try:
            return write(file, fresh=True)
        except FileExistsError:
            if not os.path.lexists(file):  # another name was taken: that of the folder beside it
                raise
    if subject_of(file, kind.name) is None:
        there = Message("{path} is there, and is no {what} of imagegen; it was left as it is")
        other = Message("name another file: -o {name}").format(name=f"{file.stem}-2{file.suffix}")
        raise UsageError(there.format(path=file, what=WORDS[kind.name]), hint=other)
    return write(file, fresh=False)  # the last one wins, also where several processes write the same one


def _to_a_free_name(kind: Kind, place: Place, folder: Path, write: Writes[Made]) -> Made:
    for end in ("", *(f"-{number}" for number in range(2, MAX_NAMES))):
        file = folder / f"{place.stem}{end}{kind.suffixes[0]}"
        fresh = not os.path.lexists(file)
        if fresh or subject_of(file, kind.name) == place.subject:
            with suppress(FileExistsError):  # another process took the name meanwhile
                return write(file, fresh=fresh)
    raise FileExistsError(EEXIST, Message("very many files begin with {name}").format(name=place.stem))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the work in good order, as Ctrl-C does: no half file stays."""
    before = {}
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, _leave_with(code))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_with(code: int) -> Callable[[int, FrameType | None], NoReturn]:
    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(code)

    return leave


@contextmanager
def progress_of_pictures() -> Iterator[Callable[[int, int], None]]:
    """A line on the terminal that counts pictures, and is gone at the end; nothing off a terminal."""
    moves = is_capable_terminal(sys.stderr, os.environ)
    last = -math.inf

    def tell(done: int, total: int) -> None:
        nonlocal last
        if moves and time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            from imagegen_cli.display.text_width import cut  # noqa: PLC0415 - not needed off a terminal

            words = tr("{done} of {total} pictures; Ctrl-C stops", done=done, total=total)
            _write(f"\r\x1b[K{cut(words, _columns() - 1)}")

    try:
        yield tell
    finally:
        if moves:
            _write("\r\x1b[K")


def _columns() -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns
    return 80


def _write(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
