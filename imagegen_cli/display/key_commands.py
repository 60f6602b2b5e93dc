"""The commands that keys send, as values, and what a display must know to offer keys.

Commands travel one way: a display hands them to `Keys.send` and knows neither session nor runner. Their effects come
back as events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from imagegen_cli.core.language import Message
from imagegen_cli.core.task import TaskId
from imagegen_cli.display.keys import Key

if TYPE_CHECKING:
    from imagegen_cli.display.theme import Line, Theme


class Offer(NamedTuple):
    """`without`: keys that do nothing here. `stop`: what `q` does, in words.

    `keeps`: the table has the focus from the start and never loses it, because its command only shows it. `leaves`: `q`
    only closes the table, so it asks no question.
    """

    without: frozenset[str] = frozenset()
    stop: str = Message("stop")
    keeps: bool = False
    leaves: bool = False


class Typed(NamedTuple):
    """Text that a person may add: one prompt, or if `listed`, a pasted list that is read as `batch` reads one.

    `settings`: what the prompt line had set when it was typed; only the maker of the line can read it.
    """

    text: str
    listed: bool = False
    settings: Any = None


class Outcome(NamedTuple):
    """What adding a typed text would do: `tasks` is how many tasks it would make, `prompts` are those read from a list.

    Not `good`: the text would be refused, and `words` say why. `asks`: why a person is asked before it is added.
    """

    tasks: int = 0
    words: tuple[str, ...] = ()
    good: bool = True
    prompts: tuple[str, ...] = ()
    asks: str = ""


class Choices(NamedTuple):
    """What the tab key can put in place of the text from `start` to the cursor; `shown` stands for the words."""

    start: int = 0
    words: Sequence[str] = ()
    shown: Sequence[str] = ()


class PromptLine(Protocol):
    """What stands behind a prompt line that stays open: what is set for the next prompts. Nothing here waits."""

    def label(self) -> Sequence[str]:
        """What is set, in several lengths, the longest first."""
        ...

    def welcome(self) -> Sequence[tuple[str, str]]:
        """What to type first, and what it does."""
        ...

    def help(self) -> Sequence[tuple[str, str]]:
        """The commands, and what each does."""
        ...

    def choices(self, before: str) -> Choices:
        """How the text before the cursor can go on; none where nothing fits."""
        ...

    def foresee(self, command: str) -> Outcome:
        """What `obey` would do."""
        ...

    def obey(self, command: str) -> Outcome:
        """Change what is set. Not good: nothing was changed, and the words say why."""
        ...

    def typed(self, text: str, *, listed: bool) -> Typed:
        """The text as it would be added, with what is set now."""
        ...

    def earlier(self, number: int) -> str | None:
        """A prompt of the history, as it would be typed: 0 is the newest; None behind the oldest."""
        ...


class Cancel(NamedTuple):
    ids: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class CancelWaiting:
    """Cancel every task that has not been sent."""


class Pause(NamedTuple):
    """Keep back what has not been sent, or let it go on."""

    paused: bool


class Add(NamedTuple):
    typed: Typed


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """Show the folder with the pictures."""


class OpenPicture(NamedTuple):
    """Show a picture in the desktop's own program."""

    path: str


class Retry(NamedTuple):
    """Send tasks again that failed or were not sent, in this run, as new paid work."""

    ids: tuple[TaskId, ...]


class Concurrency(NamedTuple):
    """How many tasks may be at a provider at a time, until the end of this run."""

    provider: str
    limit: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Let what was sent come to its end, and send nothing more."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run as Ctrl-C does."""


Command = Cancel | CancelWaiting | Pause | Add | OpenFolder | OpenPicture | Retry | Concurrency | Drain | Stop


def _nothing(_typed: Typed) -> Outcome:
    return Outcome()


class KeyTaker(Protocol):
    """Takes the keys in place of the table, as a line that stays open does. The table is drawn above its lines."""

    def press(self, key: Key, now: float) -> bool:
        """Take a key; False leaves it to the table. `now`: seconds of a clock that never goes back."""
        ...

    def lines(self, width: int, height: int, theme: "Theme") -> "Sequence[Line]":
        """What is drawn at the bottom of the screen, in place of the keys that act.

        `width` cells and `height` lines: the room that the whole frame has.
        """
        ...


class Keys(NamedTuple):
    """Given to a display when it is made; without it no keys are read.

    `send` takes a command and returns at once. `outcome_of` computes what an `Add` would do, and changes nothing.
    `taker` takes the keys before the table does. `line`: a prompt line stays open below the table.
    """

    send: Callable[[Command], None]
    offer: Offer = Offer()
    outcome_of: Callable[[Typed], Outcome] = _nothing
    line: PromptLine | None = None
    taker: KeyTaker | None = None
