"""Which tasks of the history a command is about, as its options say it."""

import re
import time
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from imagegen_cli.commands.options import FilterOptions
from imagegen_cli.core.errors import Reason, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.storage.records import UNFINISHED, Filter
from imagegen_cli.storage.store import Store

STATES = (*UNFINISHED, "done", "failed", "cancelled")
MANY_PROMPTS = 20_000
"""Prompts that take about a second to index."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def filter_of(options: FilterOptions, store: Store, limit: int | None = None) -> Filter:
    """The filter that these options mean. Raises UsageError for words that mean nothing."""
    _check(options.state or (), Message("there is no state {name!r}"), STATES)
    _check(options.reason or (), Message("there is no reason {name!r}"), sorted(map(str, Reason)))
    if options.search and (count := store.unindexed()) > MANY_PROMPTS:
        message = Message("indexing the words of {count} prompts, which is done once; searches are quick afterwards")
        _say(message.format(count=count))
    return Filter(
        states=tuple(options.state or ()),
        reasons=tuple(options.reason or ()),
        models=tuple(options.model or ()),
        providers=tuple(options.provider or ()),
        run=_run(options.run, store),
        since=moment_of(options.since),
        until=moment_of(options.until, "--until"),
        search=options.search,
        favourite=options.favourite,
        has_picture=options.has_picture,
        limit=limit,
    )


def _say(text: str) -> None:
    from imagegen_cli.commands.console import say  # noqa: PLC0415 - few commands say this

    say(text)


def _check(given: Iterable[str], message: Message, known: Iterable[str]) -> None:
    if unknown := next((word for word in given if word not in known), None):
        from imagegen_cli.core.schema import nearest  # noqa: PLC0415 - only for slips

        raise UsageError(message.format(name=unknown), hint=nearest(unknown, known))


def _run(name: str, store: Store) -> int | None:
    if not name:
        return None
    from imagegen_cli.commands.task_ids import run_reference  # noqa: PLC0415 - `list` without --run needs no names

    return run_reference(name, store)


def moment_of(text: str, option: str = "--since") -> float | None:
    """Read a span that ends now (30m), a date, or a date and a time. None for an empty text. Raises UsageError.

    With `--until` a date means the end of that day: its tasks are meant as well.
    """
    if not text:
        return None
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.lower()):
        return time.time() - float(ago[1]) * UNITS[ago[2]]
    try:
        return _moment(text, is_end=option == "--until")
    except (ValueError, OverflowError, OSError):
        what = Message("{option} {text!r} is neither a span like 30m, 12h, 7d nor a date like 2026-11-23")
        raise UsageError(what.format(option=option, text=text)) from None


def _moment(text: str, *, is_end: bool) -> float:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
    moment = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - days are those of the person
    return (moment + timedelta(days=int(is_end))).timestamp()
