"""What commands share: messages, questions, the history and the settings."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.signals import note_end, signals
from imagegen_cli.core.errors import (
    ConfigError,
    HistoryAway,
    HistoryError,
    HistoryUnwritten,
    ImagegenError,
    NothingToDo,
    UsageError,
)
from imagegen_cli.core.language import Message, joined, ngettext, translated
from imagegen_cli.core.task import Task
from imagegen_cli.core.text import Printer, encoded
from imagegen_cli.display.keys import comes_within, drop_typed_ahead
from imagegen_cli.display.notices import print_notice
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.settings.keys import key_of
from imagegen_cli.storage import receipt_lines
from imagegen_cli.storage.processes import more_files
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

T = TypeVar("T")

LIST_TELLS = Message("imagegen list shows what became of every task")
MANY_IDS = 20
"""Task numbers that fit into a line."""
MAX_NAMED_PROMPTS = 5
READING_S = 1.0
"""Seconds that a person needs at least to read a question. The end of a command that is being typed comes sooner."""
TRY_AGAIN_S = 0.5
"""Seconds between two attempts to reach a server that is away."""
HANDFUL = 5
"""Paid tasks that a command sends again without asking."""
CHINESE_ANSWERS = {"是": "yes", "否": "no"}
"""They are taken in every language; a question shows the English letters."""


def say(text: str, *, path: str = "") -> None:
    """One line for people, on stderr; on a terminal as many as its width needs, and `path` in it is a link there."""
    print_notice(text, sys.stderr, os.environ, path=path)


def line_of(text: str) -> str:
    """A line for stdout: in the language of the person on a terminal. Elsewhere programs read it, and it is English."""
    return translated(text) if sys.stdout is not None and sys.stdout.isatty() else text


def answers(question: str, choices: Sequence[str]) -> str:
    """Ask on the terminal. Returns the choice that was typed, as a whole word or its first letter; else an empty text.

    Off a terminal the answer is empty. Keys from before the question do not answer it, nor does the end of a line that
    was being typed when the question came.
    """
    while is_asked():
        drop_typed_ahead(sys.stdin)
        say(question)
        asked_at = time.monotonic()
        is_soon = comes_within(sys.stdin, READING_S)
        typed = _typed_line()
        is_soon = is_soon or time.monotonic() - asked_at < READING_S
        choice = next((choice for choice in choices if typed in (choice, choice[0])), "")
        if not choice or not is_soon:
            return choice
        say(Message("the answer came before the question can have been read, and is not taken"))
    return ""


def _typed_line() -> str:
    """One whole line from the terminal, in lower case and in English; empty if there is none."""
    try:
        line = sys.stdin.readline()
    except (OSError, UnicodeError):
        return ""
    typed = line.strip().lower() if line.endswith("\n") else ""
    return CHINESE_ANSWERS.get(typed, typed)


def is_asked() -> bool:
    """Whether stdin and stderr are terminals, so that a person can answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def history(*, patience_s: float = 0.0) -> Iterator[Store]:
    """Open the history of this user. Raises HistoryUnwritten at the end if the last changes could not be written.

    `patience_s`: seconds for which a server that is away is waited for.
    """
    store = patiently(open_history, patience_s)
    try:
        yield store
    except HistoryError as error:
        if unwritten := _closed(store):
            say(error.message)
            raise _unwritten(store, unwritten) from error
        if store.has_returned:
            raise HistoryUnwritten(error.message, hint=GOES_ON) from error
        raise
    except BaseException:
        if unwritten := _closed(store):
            error_ = _unwritten(store, unwritten)
            for line in (*error_.message.splitlines(), error_.hint):
                _say_whole(line) if line.startswith("{") else say(line)
        raise
    if unwritten := _closed(store):
        raise _unwritten(store, unwritten)


def _say_whole(receipt: str) -> None:
    """A receipt on stderr, unbroken, so that it can be copied."""
    Printer(sys.stderr).line(receipt)


def _closed(store: Store) -> list[Task]:
    """Close the history. Returns the tasks that could not be written, also where a signal ends the wait for them."""

    def hurry(code: int) -> None:
        note_end(code)
        store.hurry()

    with signals(hurry):
        unwritten = store.close()
    if store.made:
        from imagegen_cli.commands.made_anew import go_on  # noqa: PLC0415 - few histories were set back

        for line in go_on(store.made):
            say(line)
    if store.unknown:
        say(_perhaps_sent(store.unknown))
    return unwritten


def _perhaps_sent(tasks: Sequence[Task]) -> Message:
    """Said of tasks that a history which was set back lacks, and of which no receipt is known."""
    from imagegen_cli.display.lines import shortened  # noqa: PLC0415 - few histories were set back

    prompts = " · ".join(shortened(task.request.prompt) for task in tasks[:MAX_NAMED_PROMPTS])
    return ngettext(
        "{count} task may have been sent, and the history lacks it; look at the service before you send it again:"
        " {prompts}",
        "{count} tasks may have been sent, and the history lacks them; look at the service before you send them again:"
        " {prompts}",
        len(tasks),
        prompts=prompts,
    )


def patiently(attempt: Callable[[], T], patience_s: float) -> T:
    """Do it again for so long while the server of the history is away. Raises HistoryAway in the end."""
    deadline = time.monotonic() + patience_s
    is_said = False
    while True:
        try:
            return attempt()
        except HistoryAway as error:
            if time.monotonic() >= deadline:
                raise
            if not is_said:
                say(Message("{why}; trying for {seconds:.0f} s").format(why=error.message, seconds=patience_s))
            is_said = True
            time.sleep(TRY_AGAIN_S)


UNWRITTEN = Message("the history could not be written; the last state of {count} tasks is not in it: {ids}")
GOES_ON = Message("imagegen resume goes on")
KEEP_RECEIPTS = Message("keep the lines above in a file: imagegen resume --receipts FILE gives them back")


def _unwritten(store: Store, tasks: Sequence[Task]) -> HistoryUnwritten:
    """The error about tasks that could not be written, with the receipts as `imagegen resume --receipts` reads them.

    Where the history was set back, the numbers of tasks may be those of others in it, so that none is named.
    """
    receipts = [receipt_lines.line_of(receipt) for receipt in store.receipts_of(tasks)]
    message, hint = UNWRITTEN.format(count=len(tasks), ids=ids_of(tasks)), GOES_ON
    if store.is_set_back:
        message, hint = _lacking(store, tasks, len(receipts)), GOES_ON if store.has_returned else LIST_TELLS
    return HistoryUnwritten(joined("\n", [message, *receipts]), hint=KEEP_RECEIPTS if receipts else hint)


def _lacking(store: Store, tasks: Sequence[Task], receipts: int) -> Message:
    """What a history that was set back lacks of this process."""
    if receipts:
        return ngettext(
            "the history {name} was set back; {count} receipt may not be in it:",
            "the history {name} was set back; {count} receipts may not be in it:",
            receipts,
            name=store.name,
        )
    return ngettext(
        "the history {name} was set back; the last state of {count} task is not in it",
        "the history {name} was set back; the last states of {count} tasks are not in it",
        len(tasks),
        name=store.name,
    )


def settings() -> Config:
    """Load the settings and print the remarks about their files. Raises ConfigError."""
    config = load_config()
    for remark in config.remarks:
        say(remark)
    return config


def check_keys(config: Config, providers: Iterable[str]) -> None:
    """Check the keys of these providers and the way to them, before anything is sent. Raises ConfigError."""
    more_files()
    for name in sorted(set(providers)):
        _check(config.provider(name))


def unusable(config: Config, providers: Iterable[str]) -> Mapping[str, ImagegenError]:
    """The providers among these that cannot be used, with the error: missing from the settings, no key, or no way."""
    more_files()
    found: dict[str, ImagegenError] = {}
    for name in set(providers):
        try:
            _check(config.provider(name))
        except (ConfigError, UsageError) as error:
            found[name] = error
    return found


def _check(one: Configured) -> None:
    key_of(one)
    if not one.type.local:
        from imagegen_cli.net.proxies import check_network  # noqa: PLC0415 - what draws for itself needs none

        check_network(one.settings.base_url)


def all_there(store: Store, ids: Sequence[int]) -> list[Record]:
    """The records of these tasks. Raises NothingToDo if one does not exist."""
    if missing := store.missing(ids):
        message = Message("there is no task {ids}").format(ids=numbers(missing))
        raise NothingToDo(message, hint=Message("imagegen list shows the tasks"))
    return store.find(Filter(ids=tuple(ids)))


def ids_of(tasks: Iterable[Task]) -> str:
    return numbers(task.id for task in tasks)


def numbers(ids: Iterable[int]) -> str:
    """Task numbers for one line, in order; of many, the first ones and how many follow."""
    known = sorted(ids)
    shown = " ".join(str(id_) for id_ in known[:MANY_IDS])
    if len(known) <= MANY_IDS:
        return shown
    return Message("{ids} and {count} more").format(ids=shown, count=len(known) - MANY_IDS)


def printed(value: Any) -> None:
    """One JSON object on stdout."""
    data = Printer(sys.stdout, "utf-8")
    data.line(encoded(value, data.encoding))
