"""`sheet`, `gallery` and `open`: pictures compared, looked through, and looked at. Each returns an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_cli.commands.chosen import Chosen, by_number, filtered, last_comparison, of_run, of_runs
from imagegen_cli.commands.console import all_there, printed, say
from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.options import FilterOptions
from imagegen_cli.commands.own_files import Kind, Place, progress_of, written
from imagegen_cli.commands.pictures import folder_of, is_comparison, pictures_of, title_of, why_missing
from imagegen_cli.commands.task_ids import task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.task import RunId, Task
from imagegen_cli.core.text import Printer, amount, literal
from imagegen_cli.display.links import linked
from imagegen_cli.settings.paths import cache_folder
from imagegen_cli.storage.store import Store

if TYPE_CHECKING:
    from imagegen_cli.gallery.page import Page
    from imagegen_cli.gallery.sheet import Sheet

PAGE, SHEET = Kind("gallery", (".html", ".htm")), Kind("sheet", (".png",))
BOTH = "tasks are chosen by their numbers, or by options such as --run; not by both"
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
    drawn = _drawn(chosen, output, dark=dark)
    if as_json:
        printed(_sheet_object(drawn))
    else:
        Printer(sys.stdout).line(linked(str(drawn.file), sys.stdout, os.environ))
        say(_sheet_said(drawn))
    return 0


def sheet_after(store: Store, run: RunId, tasks: Sequence[Task], code: int) -> None:
    """Draw the sheet of a run that has ended with this exit code, where it compares anything, and name it on stderr.

    Raises whatever goes wrong. Ctrl-C ends it, and the program.
    """
    if code in STOPPED or not is_comparison(tasks):
        return
    again = f"imagegen sheet --run {run}"
    if len(tasks) > AUTOMATIC:
        say(f"{len(tasks)} tasks are many for a sheet: {again} draws one")
        return
    chosen = of_run(store, run)
    if not any(record.task.files for record in chosen.records):
        return
    try:
        drawn = _drawn(chosen, None)
    except KeyboardInterrupt:
        say(f"the sheet was not drawn; the pictures are kept; {again} draws it")
        raise
    say(f"sheet: {drawn.file} ({_sheet_said(drawn)})")


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
    pictures = pictures_of(chosen.records, compared=False, numbers=chosen.numbers)
    if not any(picture.path for picture in pictures):
        raise NothingToDo("none of these tasks has a picture", hint="imagegen list shows what became of them")
    from imagegen_cli.gallery.page import write  # noqa: PLC0415 - `open` needs no page

    title = options.search or (title_of(chosen.records) if chosen.name else "Pictures")

    def write_page(file: Path, *, fresh: bool) -> "Page":
        with progress_of("pictures") as progress:
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
    return _opened(str(page.file)) if shown else 0


def open_picture(name: str) -> int:
    """Open a picture of a task in the desktop's own program, and print its path."""
    with closing(open_history()) as store:
        wanted = task_reference(name, store)
        task = all_there(store, [wanted.id])[0].task
    path = picture_path(task, wanted.number)
    Printer(sys.stdout).line(linked(path, sys.stdout, os.environ))
    code = _opened(path)
    if wanted.number is None and len(task.files) > 1 and not code:
        say(f"this is picture 1 of {len(task.files)}: imagegen open {task.id}/2 opens the next one")
    return code


def picture_path(task: Task, number: int | None) -> str:
    """The file of picture `number` of a task, the first one where it is None. Raises NothingToDo where it is gone."""
    if not task.files:
        raise NothingToDo(
            f"task {task.id} has no picture: {why_missing(task)}", hint=f"imagegen show {task.id} says what to do"
        )
    if number is not None and number > len(task.files):
        raise NothingToDo(
            f"task {task.id} has {amount(len(task.files), 'picture')}, and no picture {number}",
            hint=f"imagegen show {task.id} names them",
        )
    path = task.files[(number or 1) - 1]
    if not os.path.exists(path):  # noqa: PTH110 - a path of the history may hold anything
        hint = "imagegen list --search finds tasks; a file that was moved is known by its content: imagegen info FILE"
        raise NothingToDo(f"{path} is not there any more", hint=hint)
    return path


def _opened(path: str) -> int:
    from imagegen_cli.commands.opening import open_file  # noqa: PLC0415 - a sheet is not opened

    if trouble := open_file(path):
        say(f"not opened: {trouble}; the path is on stdout")
        return 1
    return 0


# What becomes of them


def _drawn(chosen: Chosen, output: Path | None, *, dark: bool = False) -> "Sheet":
    from imagegen_cli.gallery.sheet import draw  # noqa: PLC0415 - the other commands draw none

    pictures = pictures_of(chosen.records, compared=True, numbers=chosen.numbers)
    title = title_of(chosen.records)

    def draw_sheet(file: Path, *, fresh: bool) -> "Sheet":
        with progress_of("pictures") as progress:
            return draw(pictures, file, title=title, subject=chosen.subject, dark=dark, fresh=fresh, progress=progress)

    place = Place(folder_of(chosen.records), f"sheet{chosen.name}", chosen.subject)
    return written(SHEET, place, output, draw_sheet)


# What is said


def _sheet_said(drawn: "Sheet") -> str:
    words = [amount(drawn.drawn, "picture")]
    words += [f"{drawn.missing} missing"] if drawn.missing else []
    words += [f"{drawn.left_out} had no room"] if drawn.left_out else []
    if drawn.undrawn:
        some = literal(drawn.undrawn[:12], sys.stderr.encoding or "utf-8")
        words.append(f"no font here has {some}: {_font_hint(drawn.undrawn)}")
    return ", ".join(words)


def _font_hint(signs: str) -> str:
    if any(sign >= "\u2e80" for sign in signs):
        return "install a Chinese font (Debian: apt-get install fonts-noto-cjk), then draw it again"
    return "install a font that has them, then draw it again"


def _sheet_object(drawn: "Sheet") -> dict[str, object]:
    return {
        "v": 1, "sheet": str(drawn.file), "width": drawn.width, "height": drawn.height, "pictures": drawn.drawn,
        "missing": drawn.missing, "left_out": drawn.left_out, "undrawn": drawn.undrawn,
    }  # fmt: skip


def _say_page(page: "Page") -> None:
    shown = page.pictures - page.missing
    say(f"{amount(shown, 'picture')}, {amount(page.made, 'new thumbnail')}")
    if page.missing:
        say(f"{amount(page.missing, 'place')} without a picture: the page says why")
    if page.broken:
        names = ", ".join(path for path, _ in page.broken[:MAX_NAMED])
        more = f" and {len(page.broken) - MAX_NAMED} more" if len(page.broken) > MAX_NAMED else ""
        say(f"{amount(len(page.broken), 'file')} cannot be shown: {names}{more}; the page says why")
    if page.folder is not None:
        say(f"the thumbnails are in {page.folder.name}, which belongs to the page; --single makes one file")


def _page_object(page: "Page") -> dict[str, object]:
    return {
        "v": 1, "gallery": str(page.file), "folder": str(page.folder) if page.folder else None,
        "pictures": page.pictures - page.missing, "missing": page.missing, "new_thumbnails": page.made,
        "not_shown": [{"path": path, "why": why_} for path, why_ in page.broken],
    }  # fmt: skip
