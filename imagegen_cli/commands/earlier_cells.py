"""Cells of a comparison that earlier runs of the same list have made: a sheet shows them beside the new ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from imagegen_cli.core.task import ImageRequest, RunId
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

LAST_RUNS = 50
"""Runs in which earlier cells are looked for."""
MAX_CELLS = 500
"""Tasks of one run that are looked through."""
FIELDS = {
    "model": "model", "provider": "provider", "ratio": "ratio", "resolution": "resolution", "count": "count",
    "seed": "seed", "negative": "negative",
}  # fmt: skip
"""What may be varied that each request has by itself, with the name of the field."""


def with_earlier_cells(store: Store, run: RunId, records: Sequence[Record]) -> list[Record]:
    """The tasks of a run of lists, and before them the tasks of its comparisons that it skipped, as far as they go.

    These are tasks of the same list that vary the same names, or whose prompt the run has and whose request says the
    rest. Of tasks for one cell the newest counts.
    """
    names = {record.source: tuple(record.task.cell) for record in records if record.source and record.task.cell}
    prompts = {(record.source, record.task.request.prompt) for record in records}
    if not names:
        return list(records)
    known = {_key(record) for record in records}
    found: list[Record] = []
    for record in _of_lists(store, run, names):
        cell = _cell(record, names[record.source], in_prompts=(record.source, record.task.request.prompt) in prompts)
        if cell is None:
            continue
        one = record._replace(task=replace(record.task, cell=cell))
        if _key(one) not in known:
            known.add(_key(one))
            found.append(one)
    return [*sorted(found, key=lambda record: record.task.id), *records]


def _of_lists(store: Store, run: RunId, sources: Iterable[str]) -> Iterator[Record]:
    """Tasks of these lists in the runs before, the newest first."""
    lists = frozenset(sources)
    for earlier in [one for one in store.run_ids() if one < run][:LAST_RUNS]:
        found = store.find(Filter(run=earlier, limit=MAX_CELLS))
        yield from (record for record in found if record.source in lists)


def _cell(record: Record, names: Sequence[str], *, in_prompts: bool) -> Mapping[str, str] | None:
    """The values that the task has of what is varied; None where it is no cell of this comparison."""
    own = record.task.cell
    if set(own) == set(names):
        is_of_options = all(name in FIELDS for name in names)
        return {name: own[name] for name in names} if in_prompts or not is_of_options else None
    if not in_prompts or not set(own) <= set(names):
        return None
    values = {name: own.get(name) or _value(record.task.request, name) for name in names}
    return values if all(values.values()) else None


def _value(request: ImageRequest, name: str) -> str:
    if name not in FIELDS:
        return str(request.extra.get(name, ""))
    value = getattr(request, FIELDS[name])
    return "" if value is None else str(value)


def _key(record: Record) -> tuple[object, ...]:
    """What makes two tasks the same cell: the part of a request that was split differs in its seed."""
    request = record.task.request
    return record.source, request.prompt, tuple(sorted(record.task.cell.items())), request.seed, request.count
