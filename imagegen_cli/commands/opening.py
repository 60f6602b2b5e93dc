"""Open a file in the program that the desktop has for it, never through a shell."""

import os
import shutil
import sys

from imagegen_cli.core.language import Message
from imagegen_cli.core.system_errors import cause

OPENERS = ("xdg-open", "wslview", "gio")
WAIT_S = 2.0
"""Seconds in which an opener says that it cannot: some stay until the program that they start has ended."""


def open_file(path: str) -> str:
    """Open a file or a folder. Returns why it could not be opened; empty where it was, as far as can be told."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - a name that begins with - or holds :// is then no option or address
    if sys.platform == "win32":
        return _on_windows(absolute)
    command = _opener()
    return command if isinstance(command, str) else _started([*command, absolute])


def _opener() -> list[str] | str:
    """The words that open a file on this desktop; a sentence where there is none."""
    if sys.platform == "darwin":
        return ["open"]
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and not shutil.which("wslview"):
        return Message("there is no desktop here (neither DISPLAY nor WAYLAND_DISPLAY is set)")
    found = next(filter(shutil.which, OPENERS), "")
    if not found:
        return Message("there is no program here that opens files: {names}").format(names=", ".join(OPENERS))
    return ["gio", "open"] if found == "gio" else [found]


def _started(command: list[str]) -> str:
    import subprocess  # noqa: PLC0415 - few commands open a file

    quiet = subprocess.DEVNULL
    try:
        started = subprocess.Popen(  # noqa: S603 - words of ours and an absolute path, no shell
            command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
    except OSError as error:
        return Message("{command} cannot be started: {why}").format(command=command[0], why=cause(error))
    try:
        code = started.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        started.returncode = 0  # it goes on by itself: Python is not to warn about it
        return ""
    return Message("{command} ended with code {code}").format(command=command[0], code=code) if code else ""


def _on_windows(path: str) -> str:
    try:
        os.startfile(path)  # type: ignore[attr-defined]  # noqa: S606 - it is there on Windows alone
    except OSError as error:
        return Message("it cannot be opened: {why}").format(why=cause(error))
    return ""
