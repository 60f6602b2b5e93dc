"""`sheet`, `gallery` and `open`: pictures compared, looked through, and looked at. Each returns an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_cli.commands.chosen import Chosen, by_number, filtered, last_comparison, of_run, of_runs
from imagegen_cli.commands.console import all_there, numbers, printed, say
from imagegen_cli.commands.earlier_cells import with_earlier_cells
from imagegen_cli.commands.elsewhere import (
    BRING_IT,
    LIES_THERE,
    Pictures,
    is_changed,
    machine_of,
    made_elsewhere,
    other_machine,
)
from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.options import FilterOptions
from imagegen_cli.commands.own_files import Kind, Place, progress_of_pictures, written
from imagegen_cli.commands.pictures import folder_of, is_comparison, pictures_of, title_of, why_missing
from imagegen_cli.commands.task_ids import TaskReference, check_pictures, task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext, tr
from imagegen_cli.core.task import RunId
from imagegen_cli.core.text import Printer, literal
from imagegen_cli.display.links import linked
from imagegen_cli.settings.paths import cache_folder
from imagegen_cli.storage.records import Picture, Record
from imagegen_cli.storage.store import Store

if TYPE_CHECKING:
    from imagegen_cli.gallery.page import Page
    from imagegen_cli.gallery.sheet import Sheet

PAGE, SHEET = Kind("gallery", (".html", ".htm")), Kind("sheet", (".png",))
BOTH = Message("tasks are chosen by their numbers, or by options such as --run; not by both")
NO_PICTURE = Message("none of these tasks has a picture")
AND_MORE = Message("{names} and {count} more")
LIST_SHOWS = Message("imagegen list shows what became of them")
AUTOMATIC = 150
"""Tasks of a run whose sheet is drawn without a word: more take minutes."""
STOPPED = (129, 130, 143)
"""Exit codes of runs that a signal ended."""
MAX_NAMED = 3
"""Files that one line names."""


def sheet(
    ids: Sequence[str], runs: Sequence[str], output: Path | None, *, dark: bool = False, as_json: bool = False
) -> int:
    """Draw one labelled PNG that compares pictures, and print its path."""
    if ids and runs:
        raise UsageError(BOTH)
    with closing(open_history()) as store:
        chosen = by_number(ids, store) if ids else of_runs(runs, store) if runs else last_comparison(store)
        chosen = chosen if ids else _whole_comparison(store, chosen)
        elsewhere, changed = made_elsewhere(store, chosen.records), _changed(store, chosen)
    drawn = _drawn(chosen, elsewhere, output, dark=dark)
    if as_json:
        printed(_sheet_object(drawn))
    else:
        Printer(sys.stdout).line(linked(str(drawn.file), sys.stdout, os.environ))
        say(_sheet_said(drawn))
    _say_elsewhere(chosen, elsewhere)
    _say_changed(changed)
    return 0


def _whole_comparison(store: Store, chosen: Chosen) -> Chosen:
    """With the cells of the same comparison that an earlier run of its list has made, where it is one run."""
    runs = {record.task.run for record in chosen.records}
    if len(runs) != 1 or not any(record.source and record.task.cell for record in chosen.records):
        return chosen
    return chosen._replace(records=with_earlier_cells(store, runs.pop(), chosen.records))


def sheet_after(store: Store, run: RunId, code: int) -> None:
    """Draw the sheet of a run that has ended with this exit code, where it compares anything, and name it on stderr.

    Raises whatever goes wrong. Ctrl-C ends it, and the program.
    """
    if code in STOPPED:
        return
    chosen = _whole_comparison(store, of_run(store, run))
    tasks = [record.task for record in chosen.records]
    if not is_comparison(tasks):
        return
    if len(tasks) > AUTOMATIC:
        many = Message("{count} tasks are many for a sheet: imagegen sheet --run {run} draws one")
        say(many.format(count=len(tasks), run=run))
        return
    if not any(record.task.files for record in chosen.records):
        return
    try:
        drawn = _drawn(chosen, made_elsewhere(store, chosen.records), None)
    except KeyboardInterrupt:
        undrawn = Message("the sheet was not drawn; the pictures are kept; imagegen sheet --run {run} draws it")
        say(undrawn.format(run=run))
        raise
    say(Message("sheet: {path} ({said})").format(path=drawn.file, said=_sheet_said(drawn)))


def gallery(
    ids: Sequence[str],
    options: FilterOptions,
    limit: int | None,
    output: Path | None,
    *,
    single: bool,
    shown: bool,
    as_json: bool,
) -> int:
    """Write one HTML page of many pictures, print its path, and open it where `shown` asks for that."""
    if ids and any(options):
        raise UsageError(BOTH)
    with closing(open_history()) as store:
        chosen = by_number(ids, store) if ids else filtered(options, limit, store)
        elsewhere, changed = made_elsewhere(store, chosen.records), _changed(store, chosen)
    pictures = pictures_of(chosen.records, compared=False, numbers=chosen.numbers, elsewhere=elsewhere)
    if not any(picture.path for picture in pictures):
        raise NothingToDo(NO_PICTURE, hint=LIST_SHOWS)
    from imagegen_cli.gallery.page import write  # noqa: PLC0415 - `open` needs no page

    title = options.search or (title_of(chosen.records) if chosen.name else tr("Pictures"))

    def write_page(file: Path, *, fresh: bool) -> "Page":
        with progress_of_pictures() as progress:
            return write(
                pictures, file, cache_folder() / "thumbnails", title=title, subject=chosen.subject, single=single,
                fresh=fresh, progress=progress,
            )  # fmt: skip

    place = Place(folder_of(chosen.records), f"gallery{chosen.name}", chosen.subject)
    page = written(PAGE, place, output, write_page)
    if as_json:
        printed(_page_object(page))
    else:
        Printer(sys.stdout).line(linked(str(page.file), sys.stdout, os.environ))
        _say_page(page)
    _say_elsewhere(chosen, elsewhere)
    _say_changed(changed)
    return _opened(str(page.file)) if shown else 0


def open_picture(name: str) -> int:
    """Open a picture of a task in the desktop's own program, and print its path."""
    with closing(open_history()) as store:
        wanted = task_reference(name, store)
        record = all_there(store, [wanted.id])[0]
        pictures = store.pictures([wanted.id]).get(record.task.id, [])
    task, path = record.task, picture_path(record, wanted.number, pictures)
    Printer(sys.stdout).line(linked(path, sys.stdout, os.environ))
    code = _opened(path)
    if wanted.number is None and len(task.files) > 1 and not code:
        first = Message("this is picture 1 of {count}: imagegen open {task}/2 opens the next one")
        say(first.format(count=len(task.files), task=task.id))
    return code


def picture_path(record: Record, number: int | None, pictures: Sequence[Picture]) -> str:
    """The file of picture `number` of a task, the first one where it is None. One that was changed is told as such.

    Raises NothingToDo where it is gone, or on another machine.
    """
    task = record.task
    if not task.files:
        none = Message("task {task} has no picture: {why}").format(task=task.id, why=why_missing(task))
        raise NothingToDo(none, hint=Message("imagegen show {task} says what to do").format(task=task.id))
    check_pictures([task], [TaskReference(task.id, number)])
    path = task.files[(number or 1) - 1]
    if host := other_machine(record, [path], pictures):
        raise NothingToDo(LIES_THERE.format(path=path, host=host), hint=BRING_IT.format(host=host))
    if not os.path.exists(path):  # noqa: PTH110 - a path of the history may hold anything
        hint = Message(
            "imagegen list --search finds tasks; a file that was moved is known by its content: imagegen info FILE"
        )
        raise NothingToDo(Message("{path} is not there any more").format(path=path), hint=hint)
    _say_changed([one for one in pictures if one.path == path and is_changed(record, one)])
    return path


def _opened(path: str) -> int:
    from imagegen_cli.commands.opening import open_file  # noqa: PLC0415 - a sheet is not opened

    if trouble := open_file(path):
        say(Message("not opened: {why}; the path is on stdout").format(why=trouble))
        return 1
    return 0


# What becomes of them


def _drawn(chosen: Chosen, elsewhere: Pictures, output: Path | None, *, dark: bool = False) -> "Sheet":
    from imagegen_cli.gallery.sheet import draw  # noqa: PLC0415 - the other commands draw none

    pictures = pictures_of(chosen.records, compared=True, numbers=chosen.numbers, elsewhere=elsewhere)
    if not pictures:
        raise NothingToDo(NO_PICTURE, hint=LIST_SHOWS)
    title = title_of(chosen.records)

    def draw_sheet(file: Path, *, fresh: bool) -> "Sheet":
        with progress_of_pictures() as progress:
            return draw(pictures, file, title=title, subject=chosen.subject, dark=dark, fresh=fresh, progress=progress)

    place = Place(folder_of(chosen.records), f"sheet{chosen.name}", chosen.subject)
    return written(SHEET, place, output, draw_sheet)


# What is said


def _say_elsewhere(chosen: Chosen, elsewhere: Pictures) -> None:
    """Which machines have the pictures that are not on this one."""
    hosts = {
        record.task.id: other_machine(record, record.task.files, elsewhere.get(record.task.id, ()))
        for record in chosen.records
    }
    for host in sorted({*hosts.values()} - {""}):
        there = Message("the pictures of {ids} are on the machine {host}, and not on this one")
        say(there.format(ids=numbers(id_ for id_, one in hosts.items() if one == host), host=host))


def _changed(store: Store, chosen: Chosen) -> list[Picture]:
    """The chosen pictures whose files were changed since they were saved, or have others in their places."""
    records = {record.task.id: record for record in chosen.records if not machine_of(record)}
    found = (picture for pictures in store.pictures(records).values() for picture in pictures)
    wanted = (one for one in found if one.number in chosen.numbers.get(one.task, [one.number]))
    return [picture for picture in wanted if is_changed(records[picture.task], picture)]


def _say_changed(changed: Sequence[Picture]) -> None:
    """Which files are shown although they are not what was saved."""
    if changed:
        names, more = ", ".join(f"{one.task}/{one.number}" for one in changed[:MAX_NAMED]), len(changed) - MAX_NAMED
        message = ngettext(
            "{count} file was changed or replaced since it was saved, and is shown as it is now: {names}",
            "{count} files were changed or replaced since they were saved, and are shown as they are now: {names}",
            len(changed),
            names=AND_MORE.format(names=names, count=more) if more > 0 else names,
        )
        say(message)


def _sheet_said(drawn: "Sheet") -> str:
    words = [ngettext("{count} picture", "{count} pictures", drawn.drawn)]
    words += [Message("{count} missing").format(count=drawn.missing)] if drawn.missing else []
    words += [Message("{count} had no room").format(count=drawn.left_out)] if drawn.left_out else []
    if drawn.undrawn:
        some = literal(drawn.undrawn[:12], sys.stderr.encoding or "utf-8")
        words.append(Message("no font here has {signs}: {hint}").format(signs=some, hint=_font_hint(drawn.undrawn)))
    return reduce(_and, words)


def _and(message: Message, more: Message) -> Message:
    return Message("{message}, {more}").format(message=message, more=more)


def _font_hint(signs: str) -> str:
    if any(sign >= "\u2e80" for sign in signs):
        return Message("install a Chinese font (Debian: apt-get install fonts-noto-cjk), then draw it again")
    return Message("install a font that has them, then draw it again")


def _sheet_object(drawn: "Sheet") -> dict[str, object]:
    return {
        "v": 1, "sheet": str(drawn.file), "width": drawn.width, "height": drawn.height, "pictures": drawn.drawn,
        "missing": drawn.missing, "left_out": drawn.left_out, "undrawn": drawn.undrawn,
    }  # fmt: skip


def _say_page(page: "Page") -> None:
    shown = page.pictures - page.missing
    pictures = ngettext("{count} picture", "{count} pictures", shown)
    say(_and(pictures, ngettext("{count} new thumbnail", "{count} new thumbnails", page.made)))
    if page.missing:
        say(_empty(page.missing))
    if page.broken:
        say(_broken([path for path, _ in page.broken]))
    if page.folder is not None:
        beside = Message("the thumbnails are in {folder}, which belongs to the page; --single makes one file")
        say(beside.format(folder=page.folder.name))


def _empty(places: int) -> Message:
    return ngettext(
        "{count} place without a picture: the page says why",
        "{count} places without a picture: the page says why",
        places,
    )


def _broken(paths: Sequence[str]) -> Message:
    names, more = ", ".join(paths[:MAX_NAMED]), len(paths) - MAX_NAMED
    return ngettext(
        "{count} file cannot be shown: {names}; the page says why",
        "{count} files cannot be shown: {names}; the page says why",
        len(paths),
        names=AND_MORE.format(names=names, count=more) if more > 0 else names,
    )


def _page_object(page: "Page") -> dict[str, object]:
    return {
        "v": 1, "gallery": str(page.file), "folder": str(page.folder) if page.folder else None,
        "pictures": page.pictures - page.missing, "missing": page.missing, "new_thumbnails": page.made,
        "not_shown": [{"path": path, "why": why_} for path, why_ in page.broken],
    }  # fmt: skip
