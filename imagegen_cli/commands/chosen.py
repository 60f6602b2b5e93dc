"""Which tasks `sheet` and `gallery` show: those that a person names, or what is usual."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from imagegen_cli.commands.console import all_there, say
from imagegen_cli.commands.earlier_cells import with_earlier_cells
from imagegen_cli.commands.filters import filter_of
from imagegen_cli.commands.options import FilterOptions
from imagegen_cli.commands.pictures import is_comparison
from imagegen_cli.commands.task_ids import check_pictures, run_reference, task_reference
from imagegen_cli.core.errors import NothingToDo
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import RunId
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

LAST_RUNS = 50
"""Runs among which the last comparison is looked for."""
LOOKED_AT = 200
"""Tasks of each of them."""
NEWEST = 500
"""Tasks of a gallery for which nothing was chosen."""
EVERYTHING = "all"
"""The subject of a page of no certain run: each such page takes the place of the one before."""
MAX_IDS = 8
"""Numbers of tasks or runs in the name of a file."""
BEGIN = Message("imagegen run makes pictures")


class Chosen(NamedTuple):
    """The records in the order in which they are shown; `numbers`: of these tasks only these pictures.

    `name` is the end of a file's name for it, `subject` the mark of what is shown: see `whole.mark`.
    """

    records: list[Record]
    numbers: Mapping[int, list[int]]
    name: str
    subject: str


def filtered(options: FilterOptions, limit: int | None, store: Store) -> Chosen:
    """The tasks that options choose, the newest first, those of one run in order; without any the newest NEWEST."""
    if not any(options) and limit is None:
        return _newest(store)
    wanted = filter_of(options, store, limit)
    if wanted == Filter(run=wanted.run) and wanted.run is not None:
        return of_run(store, RunId(wanted.run))
    records = store.find(wanted)
    if not records:
        raise NothingToDo(Message("no matching tasks"), hint=Message("imagegen list shows the tasks"))
    return Chosen(records if wanted.run is None else records[::-1], {}, "", _subject(store, EVERYTHING))


def of_runs(names: Sequence[str], store: Store) -> Chosen:
    """The tasks of these runs together. Raises NothingToDo where one has none."""
    runs = list(dict.fromkeys(filter(None, (run_reference(name, store) for name in names))))
    if len(runs) == 1:
        return of_run(store, runs[0])
    records = [record for run in runs for record in of_run(store, run).records]
    return Chosen(records, {}, f"-runs-{_joined(runs)}", _subject(store, f"runs {_joined(runs)}"))


def by_number(names: Sequence[str], store: Store) -> Chosen:
    """The tasks and pictures that are named, in this order. Raises NothingToDo where one is not there."""
    references = [task_reference(name, store) for name in names]
    ids = list(dict.fromkeys(one.id for one in references))
    records = {record.task.id: record for record in all_there(store, ids)}
    check_pictures((record.task for record in records.values()), references)
    numbers: dict[int, list[int]] = {
        id_: [one.number for one in references if one.id == id_ and one.number is not None]
        for id_ in ids
        if all(one.number is not None for one in references if one.id == id_)
    }
    told = " ".join(map(str, references))
    return Chosen(
        [records[id_] for id_ in ids], numbers, f"-tasks-{'-'.join(map(str, ids[:8]))}", _subject(store, told)
    )


def of_run(store: Store, run: RunId) -> Chosen:
    """All tasks of a run. Raises NothingToDo where there are none."""
    records = store.find(Filter(run=run))[::-1]
    if not records:
        hint = Message("imagegen list shows the tasks with their runs")
        raise NothingToDo(Message("there is no run {run}").format(run=run), hint=hint)
    return Chosen(records, {}, f"-run-{run}", _subject(store, f"run {run}"))


def last_comparison(store: Store) -> Chosen:
    """The newest run that varied anything. Raises NothingToDo."""
    runs = store.run_ids()[:LAST_RUNS]
    for run in runs:
        records = store.find(Filter(run=run, limit=LOOKED_AT))
        if is_comparison([record.task for record in records]):
            return of_run(store, run)
        if any(record.source and record.task.cell for record in records):  # it may have made a comparison larger
            whole = with_earlier_cells(store, run, records)
            if is_comparison([record.task for record in whole]):
                return of_run(store, run)
    if not runs:
        raise NothingToDo(Message("the history has no run yet"), hint=BEGIN)
    none = Message("none of the last {count} runs compares anything").format(count=len(runs))
    raise NothingToDo(none, hint=Message("name a run or tasks: imagegen sheet --run LAST, imagegen sheet 12 15"))


def _newest(store: Store) -> Chosen:
    records = store.find(Filter(limit=NEWEST + 1))
    if not records:
        raise NothingToDo(Message("the history has no task yet"), hint=BEGIN)
    if len(records) > NEWEST:
        newest = Message("these are the newest {count} tasks; --limit takes more, --run, --search and --since choose")
        say(newest.format(count=NEWEST))
    return Chosen(records[:NEWEST], {}, "", _subject(store, EVERYTHING))


def _joined(ids: Sequence[int]) -> str:
    return "-".join(map(str, ids[:MAX_IDS]))


def _subject(store: Store, told: str) -> str:
    """Equal for the same choice from the same history: only such a page or sheet is replaced without being named."""
    return sha256(f"{store.token} {told}".encode()).hexdigest()[:16]
