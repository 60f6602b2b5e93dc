"""What the page and the sheet are made of, as plain values."""

import re
from collections.abc import Callable
from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are shown."""

Progress = Callable[[int, int], None]
"""Called with how many of how many are done. What it raises ends the work, and nothing is left behind."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What is no character of a text: controls but for the tab and the line break, and halves of a character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of a task, or the place of one that did not come: then `path` is empty and `reason` says why.

    Where there is a path, `reason` says where the file lies if it is not on this machine. What lies at the path here is
    another file then, and is not read.

    `index` counts the pictures of the task from 1. `state` is the word of the history (`done`, `failed`).
    `parameters` are the options of the request but for its prompt; one of the name `model` can be filtered by.
    `axes` are the options that were varied, with the value that this picture has; all pictures name them in one order.
    `command` is copied as it is, so its words must be quoted for a shell.
    Texts may hold anything; they must hold no secret.
    """

    path: str
    prompt: str
    task: int
    run: int
    index: int = 1
    parameters: Pairs = ()
    axes: Pairs = ()
    command: str = ""
    state: str = "done"
    reason: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the file at its path is to be shown."""
        return bool(self.path) and not self.reason


def plain(text: str) -> str:
    """The text with a sign in the place of everything that is no character of a text."""
    return CONTROL.sub("\ufffd", text)


def nothing(done: int, total: int) -> None:
    """Tell no one how far the work is."""
