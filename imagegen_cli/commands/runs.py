"""Runs as lines: what each was, how its tasks ended, what it brought and what it cost.

JSON, one object a line, newest first: v, id, command, source (the list; empty where there was none), started, ended
(null while a task is unfinished), tasks, done, short (of those done, with fewer pictures than expected), failed,
cancelled, unfinished, pictures, costs {settled, reserved, uncertain: [{amount, unit}]}, which has forgotten tasks too.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import PurePath

from imagegen_cli.commands.filters import moment_of
from imagegen_cli.commands.histories import open_history
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import NothingToDo
from imagegen_cli.core.language import Message, joined, ngettext, tr, translated
from imagegen_cli.core.money import Money, listed, totals
from imagegen_cli.core.text import Printer, age, encoded, is_capable_terminal, literal, printer, seconds
from imagegen_cli.display.fields import moment as local_moment
from imagegen_cli.display.lines import moment
from imagegen_cli.storage.runs import RunSummary

COSTS = (ChargeStatus.SETTLED, ChargeStatus.RESERVED, ChargeStatus.UNCERTAIN)
STDIN = "-"


def runs(since: str, limit: int, *, as_json: bool) -> int:
    """Print the runs, newest first. Raises NothingToDo where there is none."""
    with closing(open_history()) as store:
        found = store.runs(since=moment_of(since), limit=limit)
    if not found:
        since_then = Message("there is no run since {since}").format(since=since)
        raise NothingToDo(since_then if since else Message("there is no run yet"))
    if as_json:
        data = printer(sys.stdout, as_json=True)
        for one in found:
            data.line(encoded(run_object(one), data.encoding))
    elif is_capable_terminal(sys.stdout, os.environ):
        _draw(found)
    else:
        _print_lines(found)
    return 0


def run_object(run: RunSummary) -> dict[str, object]:
    """A run for programs."""
    times = {"started": moment(run.started), "ended": moment(run.ended)}
    counts = {name: getattr(run, name) for name in ("tasks", "done", "short", "failed", "cancelled", "unfinished")}
    costs = {str(status): [one.plainly() for one in _amounts(run, status)] for status in COSTS}
    what = {"v": 1, "id": run.id, "command": run.command, "source": run.source}
    return what | times | counts | {"pictures": run.pictures, "costs": costs}


def _draw(found: Sequence[RunSummary]) -> None:
    from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

    now = time.time()
    items = [Item([translated(text) for text in _texts(run, age(run.started, now))], _sign(run)) for run in found]
    kept = [at for at in range(len(items[0].cells)) if any(item.cells[at] for item in items)]
    print_items(
        [item._replace(cells=[item.cells[at] for at in kept]) for item in items],
        stream=sys.stdout, environ=os.environ, styles=("dim", "dim", "dim", "plain", "dim", "plain"),
    )  # fmt: skip


def _texts(run: RunSummary, started: str) -> Sequence[str]:
    return str(run.id), started, _took(run), _pictures(run), _cost(run), _ends(run), _what(run)


def _print_lines(found: Sequence[RunSummary]) -> None:
    data = Printer(sys.stdout)
    rows = [_texts(run, local_moment(run.started)) for run in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [text.ljust(cells) for text, cells in zip(row, widths, strict=True) if cells]
        data.line(literal("  ".join(cells).rstrip(), data.encoding))


def heading(run: RunSummary, now: float) -> str:
    """`run 6 · p60.txt · 54 of 61 · 4 failed · 45s · 22:03`: for the tasks of a run below it, on a terminal."""
    source = PurePath(run.source).name if run.source and run.source != STDIN else translated(_what(run))
    counts = tr("{done} of {total}", done=run.done, total=run.tasks), *map(translated, _undone(run))
    parts = (tr("run {run}", run=run.id), source, *counts, _took(run), _clock(run.started, now))
    return " · ".join(filter(None, parts))


def _clock(at: float, now: float) -> str:
    """The local time of a moment; the date goes before it where that is not today's."""
    day, clock = local_moment(at)[:16].split(" ")
    return clock if local_moment(now).startswith(day) else f"{day} {clock}"


def _sign(run: RunSummary) -> str:
    if run.unfinished:
        return "absent"
    return "no" if run.failed else "warn" if run.short or run.cancelled or not run.tasks else "ok"


def _took(run: RunSummary) -> str:
    return "" if run.ended is None else seconds(run.ended - run.started)


def _pictures(run: RunSummary) -> str:
    return ngettext("{count} picture", "{count} pictures", run.pictures)


def _ends(run: RunSummary) -> str:
    """`12 done, 1 failed`: how many tasks ended in which way."""
    counts = [*_done(run), *_undone(run)]
    return joined(", ", counts) if counts else Message("no task is left")


def _done(run: RunSummary) -> Iterator[Message]:
    if run.done and run.short:
        yield Message("{count} done ({short} short)").format(count=run.done, short=run.short)
    elif run.done:
        yield Message("{count} done").format(count=run.done)


def _undone(run: RunSummary) -> Iterator[Message]:
    if run.failed:
        yield Message("{count} failed").format(count=run.failed)
    if run.cancelled:
        yield Message("{count} cancelled").format(count=run.cancelled)
    if run.waiting:
        yield ngettext("{count} waits for workers", "{count} wait for workers", run.waiting)
    if going := run.unfinished - run.waiting:
        yield Message("{count} unfinished").format(count=going)


def _what(run: RunSummary) -> str:
    """The command, and the name of its list without its folders."""
    if not run.source or run.source == STDIN:
        return Message("{command} from stdin").format(command=run.command) if run.source else run.command
    return f"{run.command} {PurePath(run.source).name}"


def _cost(run: RunSummary) -> str:
    """What is settled, and after a plus sign what may still be charged; `~` where it is by prices."""
    settled = listed(totals(_amounts(run, ChargeStatus.SETTLED)))
    still = listed(totals([*_amounts(run, ChargeStatus.RESERVED), *_amounts(run, ChargeStatus.UNCERTAIN)]))
    spent = f"{'' if run.is_told else '~'}{settled}" if settled else ""
    return " ".join(filter(None, (spent, f"+{still}" if still else "")))


def _amounts(run: RunSummary, status: ChargeStatus) -> list[Money]:
    return [one for known, one in run.costs if known is status]
