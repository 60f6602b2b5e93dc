"""The entry point: it answers what needs no import before it imports anything."""

import _signal  # type: ignore[import-not-found]  # `signal` would load `enum`, before --version is told
import gc
import os
import sys

GC_THRESHOLDS = (20_000, 10, 1000)
"""Allocations between two garbage collections: nearly all objects here live until the end.

With ten thousand tasks a full collection would block the loop for a tenth of a second, so it runs almost never.
"""


TYPE_CHECKING = False  # the module `typing` has the same, and is loaded late
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from imagegen_cli.core.errors import ImagegenError


def main() -> None:
    """Entry point of the `imagegen` command."""
    _end_by_code()
    try:
        _start()
    except KeyboardInterrupt:  # Python is still importing modules: there is nothing to clean up
        os._exit(_flushed(130))


def _start() -> None:
    _open_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagegen_cli import __version__  # noqa: PLC0415 - only where it is needed

        _write(f"imagegen {__version__}\n")
        return
    gc.set_threshold(*GC_THRESHOLDS)
    wrong = _choose_language()
    from imagegen_cli.cli import main as run  # noqa: PLC0415 - its words are in the language that is chosen by now

    run(wrong)


def _end_by_code() -> None:
    """Let a signal that comes before a command handles it end this process with the exit code that it stands for."""
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
        number = getattr(_signal, name, None)
        if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _leaving(code))


def _leaving(code: int) -> "Callable[[int, FrameType | None], None]":
    return lambda _number, _frame: os._exit(code)


def _open_streams() -> None:
    """Exit with 2 if stdout or stderr is closed: the history, the next file to be opened, would take its descriptor.

    A closed stdin becomes an empty one.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open until the end
    for name, stream, other in (("stdout", sys.stdout, sys.stderr), ("stderr", sys.stderr, sys.stdout)):
        if stream is None:
            if other is not None:
                from imagegen_cli.core.language import tr  # noqa: PLC0415 - only where something is wrong

                _choose_language()
                closed = tr(
                    "{name} is closed; redirect it to {place} to discard its output", name=name, place=os.devnull
                )
                other.write(f"imagegen: {closed}\n")
            os._exit(_flushed(2))


def _choose_language() -> "ImagegenError | None":
    """Use the language of the person. Returns what is wrong with the choice."""
    from imagegen_cli.settings.language import choose  # noqa: PLC0415 - only where it is needed

    return choose(sys.argv, os.environ)


def _flushed(code: int) -> int:
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    return code


def _write(text: str) -> None:
    """Write to stdout. A reader that has gone away is no error; for a full disk the exit code is 2."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            from imagegen_cli.core.language import tr  # noqa: PLC0415 - only where something is wrong
            from imagegen_cli.core.system_errors import cause  # noqa: PLC0415 - see above

            _choose_language()
            why = tr("stdout cannot be written: {why}; redirect it to another place", why=cause(error))
            sys.stderr.write(f"imagegen: {why}\n")
        os._exit(_flushed(0 if isinstance(error, BrokenPipeError) else 2))


if __name__ == "__main__":
    main()
