"""What a person or a program sees of a run. Displays are told events; they know no runner and no store.

`choose` decides once how much is shown and whether it moves; the session only knows `Display`.
Nothing here imports Rich before something is drawn.
"""

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.events import Event
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import Task
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.display.board import Board, Row, TakenBy, never, no_terms, nothing_taken, unknown
from imagegen_cli.display.lines import JsonLines, PlainLines, Quiet, task_object
from imagegen_cli.display.listing import print_list, print_task

if TYPE_CHECKING:
    from imagegen_cli.display.key_commands import Keys  # `list` and `show` read no keys

__all__ = [
    "Board",
    "Display",
    "JsonLines",
    "PlainLines",
    "Quiet",
    "Row",
    "choose",
    "print_list",
    "print_task",
    "task_object",
]

PROGRESS = ("auto", "live", "plain", "json", "quiet")
CI_VARIABLES = ("CI", "GITHUB_ACTIONS")
MAX_PREVIEWS = 16
"""Running tasks whose latest preview is kept in memory: one is drawn, and a person may choose another."""


class Display(Protocol):
    """`prints_paths`: the display itself shows finished paths on stdout or on the same terminal."""

    @property
    def prints_paths(self) -> bool: ...

    @property
    def takes_keys(self) -> bool:
        """Whether a person can act by keys."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the terminal back, then print the summary."""

    def tell(self, event: Event) -> None: ...

    async def run(self) -> None:
        """Keep the screen up to date until this is cancelled; return at once where nothing moves."""

    async def typed(self) -> None:
        """Return once no prompt is being typed."""

    def interrupt(self) -> bool:
        """Take a Ctrl-C that only clears what is being typed. Returns whether there was something."""
        ...

    def say(self, message: str) -> None:
        """A notice for people, on stderr, above whatever moves."""

    def give_back(self) -> None:
        """Give the terminal back and print nothing."""


def choose(
    progress: str,
    *,
    stdout: TextIO,
    stderr: TextIO,
    environ: Mapping[str, str],
    stdin: TextIO | None = None,
    estimate: Callable[[Task], float | None] = unknown,
    clock: Callable[[], float] = time.time,
    on_wake: Callable[[float], None] | None = None,
    summary: bool = True,
    preview: str = "off",
    keys: "Keys | None" = None,
    since: float = -math.inf,
    taken_by: TakenBy = nothing_taken,
    is_set_back: Callable[[], bool] = never,
    terms_of: Callable[[Task], str] = no_terms,
) -> Display:
    """The display for `progress`, one of `PROGRESS`. Raises UsageError for any other.

    `on_wake` is told how many seconds Ctrl-Z stopped the program. Without `summary` no summary is printed for people.
    `preview` decides about the pictures that services send while they work: a display that draws none keeps none.
    `keys` lets keys act, where there is a keyboard. What ended before `since` is counted and not printed for people.
    `taken_by` is asked at the end which tasks a command takes that names only a run, and `is_set_back` whether the
    history lacks the tasks, so that no command may name them.
    `terms_of` tells what a command has to say that sends a task again: the budget that holds for it.
    """
    board = Board(
        estimate=estimate,
        previews=_previews(progress, preview, stdout=stdout, stderr=stderr, environ=environ),
        taken_by=taken_by,
        is_set_back=is_set_back,
        terms_of=terms_of,
    )
    match progress:
        case "json":
            return JsonLines(board, stdout=stdout, stderr=stderr, clock=clock)
        case "quiet":
            return Quiet(board, stderr=stderr, clock=clock)
        case _ if _is_plain(progress, stderr, environ):
            return PlainLines(board, stderr=stderr, clock=clock, summary=summary, since=since)
        case "auto" | "live":
            from imagegen_cli.display.live import Live  # noqa: PLC0415 - most runs off a terminal never need it

            return Live(
                board,
                stdin=stdin,
                stderr=stderr,
                environ=environ,
                prints_paths=stdout.isatty(),
                summary=summary,
                clock=clock,
                on_wake=on_wake,
                keys=keys,
                since=since,
                pictures=preview != "off",
            )
        case _:
            hint = Message("one of {names}").format(names=", ".join(PROGRESS))
            raise UsageError(Message("no such progress: {name}").format(name=progress), hint=hint)


def _previews(progress: str, preview: str, *, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> int:
    """How many running tasks keep their latest preview: none where the display draws none."""
    from imagegen_cli.display.preview import wanted  # noqa: PLC0415 - see the import of Keys

    is_drawn = progress in ("auto", "live") and wanted(preview, stdout=stdout, stderr=stderr, environ=environ)
    return MAX_PREVIEWS if is_drawn else 0


def _is_plain(progress: str, stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether lines are printed: where they are asked for, and where nothing can move."""
    return (
        progress == "plain"
        or (progress == "auto" and not can_move(stderr, environ))
        or (progress == "live" and not is_capable_terminal(stderr, environ))
    )


def can_move(stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether stderr is a terminal and no CI variable is set. Variables that ask for colour do not make a pipe one."""
    return is_capable_terminal(stderr, environ) and not any(
        environ.get(name, "").lower() not in {"", "0", "false"} for name in CI_VARIABLES
    )
