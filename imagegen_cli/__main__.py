"""The front door: what needs no imports is answered before there are any."""

import gc
import os
import sys

SELDOM = (20_000, 10, 1000)
"""Objects made between two searches for garbage: modules and tasks are none, and there are thousands of them.

A search through all there is holds the loop for a tenth of a second with ten thousand tasks: as good as never.
"""


def main() -> None:
    """Entry point of the `imagegen` command."""
    try:
        _start()
    except KeyboardInterrupt:  # modules are still being imported: there is nothing to clean up
        os._exit(_flushed(130))


def _start() -> None:
    _open_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagegen_cli import __version__  # noqa: PLC0415 - see above

        _write(f"imagegen {__version__}\n")
        return
    gc.set_threshold(*SELDOM)
    from imagegen_cli.cli import main as run  # noqa: PLC0415 - see above

    run()


def _open_streams() -> None:
    """Leave with 2 where stdout or stderr is closed: the next file that is opened, the history, would take its place.

    A closed stdin is a stdin at its end.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we live
    closed = [name for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)) if stream is None]
    if closed:
        said = (
            f"imagegen: {' and '.join(closed)} is closed; redirect it to {os.devnull} to throw away what it is told\n"
        )
        for stream in (sys.stderr, sys.stdout):
            if stream is not None:
                stream.write(said)
                break
        os._exit(_flushed(2))


def _flushed(code: int) -> int:
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    return code


def _write(text: str) -> None:
    """To stdout. A reader that went away is nothing; a full disk is said, and 2 is the exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"imagegen: stdout cannot be written: {error.strerror}; redirect it to another place\n")
        os._exit(_flushed(0 if isinstance(error, BrokenPipeError) else 2))


if __name__ == "__main__":
    main()
