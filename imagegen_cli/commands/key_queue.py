"""Commands of keys on their way from the display to what does them, one after the other."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.language import Message, translated
from imagegen_cli.core.task import Cancelled, Failed, Queued, Task, TaskId, may_be_paid
from imagegen_cli.display import Display
from imagegen_cli.display.key_commands import Add, Command, Outcome, Typed
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

Do = Callable[[Command], None]
"""Does a command and returns at once. Raises ImagegenError if it cannot be done."""


class KeyQueue:
    """The display puts commands in; `obey` takes them out in a task of its own, so neither holds the other."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Command] = asyncio.Queue()

    def send(self, command: Command) -> None:
        self._queue.put_nowait(command)

    async def obey(self, do: Do, display: Display) -> None:
        """Do commands until this is cancelled. An error is printed and ends nothing."""
        while True:
            command = await self._queue.get()
            try:
                do(command)
            except ImagegenError as error:
                message = Message("not added: {why}") if isinstance(command, Add) else Message("not done: {why}")
                display.say(message.format(why=on_one_line(error.message)))
            except Exception as error:  # noqa: BLE001 - a bug behind a key must not end paid work
                message = Message("the command of a key failed ({why}); the tasks go on. Please report it")
                display.say(message.format(why=f"{type(error).__name__}: {error}"))
            finally:
                self._queue.task_done()

    async def all_done(self) -> None:
        """Wait until `obey` has done every command that was sent."""
        await self._queue.join()

    def not_added(self) -> Iterator[str]:
        """Take out what `obey` has left: the prompts that came too late for any run."""
        while not self._queue.empty():
            command = self._queue.get_nowait()
            if isinstance(command, Add):
                yield from filter(None, command.typed.text.splitlines())


def refusals_as_outcomes(outcome_of: Callable[[Typed], Outcome]) -> Callable[[Typed], Outcome]:
    """The same function, with an outcome that says why where it would raise ImagegenError."""

    def outcome_or_refusal(typed: Typed) -> Outcome:
        try:
            return outcome_of(typed)
        except ImagegenError as error:
            words = Message("cannot be added: {why}").format(why=on_one_line(error.message))
            return Outcome(words=(words,), good=False)

    return outcome_or_refusal


def on_one_line(message: str) -> str:
    """Text for the screen: a message of one line stays one that can be translated later."""
    return "; ".join(translated(message).splitlines()) if "\n" in message else message


def sent_again(store: Store, ids: Sequence[TaskId], display: Display) -> list[Task]:
    """Make tasks this process' own again, to be sent anew: only those of which it is certain that nothing is paid."""
    fit: list[Record] = []
    for record in store.find(Filter(ids=tuple(ids))):
        state = record.task.state
        is_over = isinstance(state, Failed | Cancelled)
        if not is_over or may_be_paid(state) or "repeats" in record.facts:
            message = Message("not sent again: task {id} may be paid already; imagegen show {id}")
            display.say(message.format(id=record.task.id))
        else:
            fit.append(record)
    tasks, owned, changed = store.claim([(record, Queued()) for record in fit], again=True)
    for record in (*owned, *changed):
        message = Message("not sent again: task {id} has just changed; imagegen show {id}")
        display.say(message.format(id=record.task.id))
    return tasks


def open_folder(folder: str, display: Display) -> None:
    """Open a folder or a picture in the desktop's own program; if there is none, say where it is."""
    import subprocess  # noqa: PLC0415 - few press this key

    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    try:
        quiet = subprocess.DEVNULL
        subprocess.Popen([opener, folder], stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603 - a folder of ours
    except OSError:
        display.say(Message("the pictures are in {folder}").format(folder=folder))
