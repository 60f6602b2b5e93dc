"""Puts a text onto the clipboard of the person's terminal, also over ssh: by OSC 52, in tmux by tmux itself.

No terminal answers whether it took the text, so the words say what was sent, and name the path where it cannot work.
"""

import base64
import subprocess
from collections.abc import Mapping
from typing import TextIO

from imagegen_cli.core.language import Message

COPIED = Message("copied: {text}")
MAX_WAIT_S = 1.0
"""Seconds that tmux is waited for."""
SILENT = ("linux", "vt")
"""Starts of TERM of terminals that have no clipboard."""


def copied(text: str, stderr: TextIO, environ: Mapping[str, str]) -> str:
    """Send the text to the clipboard; returns what to say about it."""
    if environ.get("TMUX"):
        said = COPIED if _by_tmux(text) else Message("tmux has no clipboard here: {text}")
        return said.format(text=text)
    if environ.get("STY") or _is_without_clipboard(environ):
        return Message("this terminal has no clipboard for programs: {text}").format(text=text)
    stderr.write(f"\x1b]52;c;{base64.b64encode(text.encode()).decode('ascii')}\x07")
    stderr.flush()
    return COPIED.format(text=text)


def _by_tmux(text: str) -> bool:
    """Give the text to tmux, which keeps it and passes it on to its own terminal where it is allowed to."""
    try:
        command = ["tmux", "load-buffer", "-w", "-"]
        quiet = subprocess.DEVNULL  # a pipe would be read until the last child of tmux has closed it
        done = subprocess.run(  # noqa: S603 - our own words
            command, input=text.encode(), stdout=quiet, stderr=quiet, timeout=MAX_WAIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _is_without_clipboard(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is known to ignore OSC 52: Apple's own, and consoles."""
    return environ.get("TERM_PROGRAM") == "Apple_Terminal" or environ.get("TERM", "").startswith(SILENT)
