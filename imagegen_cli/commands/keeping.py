"""What a person keeps: favourites, and the history as a file for other programs."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from imagegen_cli.commands.console import all_there, history, say
from imagegen_cli.commands.filters import filter_of
from imagegen_cli.commands.history import objects
from imagegen_cli.commands.options import ExportFormat, FilterOptions
from imagegen_cli.commands.task_ids import check_pictures, task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.text import Printer, encoded, literal
from imagegen_cli.settings.paths import expanded
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store

CSV_NAMES = (
    "id", "run", "state", "reason", "message", "prompt", "provider", "model", "created", "started", "ended", "asked",
    "files", "cost", "unit", "cost_status", "favourite", "seed",
)  # fmt: skip
"""The first line of an export as CSV. Names are added at the end only."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet begins to calculate with; the wide forms are those of Chinese and Japanese keyboards."""
BOM = "\ufeff"
"""Without it, a spreadsheet reads Chinese in a CSV file as another encoding."""


class Lines(Protocol):
    """Where an export goes, a line at a time."""

    def line(self, text: str) -> None: ...


# Favourites


def favourite(names: Sequence[str], *, remove: bool) -> int:
    """Keep tasks or single pictures among the favourites, or no longer. Raises NothingToDo if one does not exist."""
    with history() as store:
        wanted = list(dict.fromkeys(task_reference(name, store) for name in names))
        records = all_there(store, [one.id for one in wanted])
        check_pictures((record.task for record in records), wanted)
        for one in wanted:
            store.set_favourite(one.id, one.number or 0, is_one=not remove)
    named = ", ".join(map(str, wanted))
    if remove:
        say(Message("no favourite any more: {names}").format(names=named))
    else:
        message = Message("kept as a favourite: {names}; imagegen list --favourite shows them all")
        say(message.format(names=named))
    return 0


# Export


def export(options: FilterOptions, form: ExportFormat, output: Path | None) -> int:
    """Write tasks, newest first, as JSON lines or as CSV. Raises NothingToDo if none match."""
    with history() as store:
        wanted = filter_of(options, store)
        if not store.find(wanted._replace(limit=1)):
            raise NothingToDo(Message("no matching tasks"))
        if output is None or str(output) == "-":
            _write(store, wanted, form, Printer(sys.stdout, "utf-8"))
            return 0
        path = expanded(output)
        with _new_file(path) as file:
            file.begin(BOM if form is ExportFormat.CSV else "")
            count = _write(store, wanted, form, file)
    say(ngettext("{count} task in {path}", "{count} tasks in {path}", count, path=path))
    return 0


def _write(store: Store, wanted: Filter, form: ExportFormat, lines: Lines) -> int:
    """Write each task as soon as it is read; how many there were."""
    if form is ExportFormat.CSV:
        lines.line(_csv_line(CSV_NAMES))
    count = 0
    for plain in objects(store, wanted):
        lines.line(encoded(plain) if form is ExportFormat.JSONL else _csv_line(_values(plain)))
        count += 1
    return count


def _values(plain: Mapping[str, Any]) -> Iterator[str]:
    """The values of a task in the order of CSV_NAMES."""
    cost, facts = plain.get("cost", {}), plain["facts"]
    more = {
        "files": "\n".join(plain["files"]), "cost": cost.get("amount"), "unit": cost.get("unit"),
        "cost_status": cost.get("status"), "favourite": "yes" if plain["favourite"] else "", "seed": facts.get("seed"),
    }  # fmt: skip
    for name in CSV_NAMES:
        value = more[name] if name in more else plain[name]
        yield "" if value is None else _harmless(str(value), is_text=isinstance(value, str))


def _harmless(text: str, *, is_text: bool) -> str:
    """A text that neither a terminal obeys nor a spreadsheet calculates; a number may begin with a minus sign."""
    shown = "\n".join(literal(line) for line in text.replace("\r\n", "\n").split("\n"))
    return f"'{shown}" if is_text and text.startswith(FORMULA) else shown


def _csv_line(values: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # what is in it decides what is quoted
    return text.getvalue().removesuffix("\r\n")


class _NewFile:
    """A file that is being written."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file

    def begin(self, text: str) -> None:
        self._file.write(text)

    def line(self, text: str) -> None:
        self._file.write(text + "\n")


@contextmanager
def _new_file(path: Path) -> Iterator[_NewFile]:
    """A file that did not exist before, and that is removed where it could not be written whole. Raises UsageError."""
    try:
        file = path.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        hint = Message("name another file, or delete it; nothing was written")
        message = Message("{path} exists already, and an export replaces no file").format(path=path)
        raise UsageError(message, hint=hint) from None
    except OSError as error:
        raise UsageError(_unwritten(path, error), hint=Message("name another file with -o")) from error
    try:
        with file:
            yield _NewFile(file)
    except BaseException as error:
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            hint = Message("make room or name another file with -o")
            raise UsageError(_unwritten(path, error), hint=hint) from error
        raise


def _unwritten(path: Path, error: OSError) -> Message:
    return Message("{path} cannot be written: {why}").format(path=path, why=cause(error))
