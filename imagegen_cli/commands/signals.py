"""Signals that end a command, as exit codes."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
NAMES = {130: "Ctrl-C", 143: "SIGTERM", 129: "SIGHUP"}
"""What a person calls the signal of an exit code."""

_ended_by: list[int] = []


def note_end(code: int) -> None:
    """Remember that a signal of this exit code ends the command, whatever else is to be said."""
    _ended_by.append(code)


def ended_by() -> int:
    """The exit code of the first signal that ends the command; 0 where none does."""
    return _ended_by[0] if _ended_by else 0


@contextmanager
def signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the exit code of a signal. These are plain handlers: an event loop has none on Windows.

    A signal that was ignored at the start stays ignored: `nohup` and `&` in a script rely on it. Where a signal has
    ended the command, one more ends what is left in good order too, so that the history is closed: a terminal that
    goes away is told by its kernel and by its shell, and the second of them may come late.
    """
    before = {}
    for name, code in SIGNALS.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _handler(handle, code))
    try:
        yield
    finally:
        for number, handler in before.items():
            is_python = handler is signal.default_int_handler
            signal.signal(number, _leave if ended_by() and not is_python else handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(ended_by())


def _handler(handle: Callable[[int], None], code: int) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: handle(code)
