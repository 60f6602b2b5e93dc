"""A comparison that grows: its new cells take the seed of those that were sent before."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.language import ngettext
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.inputs.plan import Item, offline_provider
from imagegen_cli.settings.config import Config
from imagegen_cli.storage.records import Record

Group = tuple[str, int, int | None]
"""The list, the line and the shared seed of a comparison."""


def joined(fresh: Sequence[Item], sent: Iterable[tuple[Item, Record]], config: Config) -> tuple[list[Item], list[str]]:
    """The new items with the seeds of the cells that were sent before, and what a person should know about seeds."""
    known: dict[Group, list[int | None]] = {}
    for item, record in sent:
        if item.shared_seed is not None:
            known.setdefault(_group(item), []).append(_first_seed(item, record))
    seeds = [known.get(_group(item), ()) for item in fresh]
    found = [_with_known_seed(item, earlier, config) for item, earlier in zip(fresh, seeds, strict=True)]
    others = sum(_differs(item, earlier) for item, earlier in zip(found, seeds, strict=True))
    if not others:
        return found, []
    remark = ngettext(
        "{count} new cell cannot share the seed of the cells sent before",
        "{count} new cells cannot share the seed of the cells sent before",
        others,
    )
    return found, [remark]


def _group(item: Item) -> Group:
    return item.source, item.line, item.shared_seed


def _first_seed(item: Item, record: Record) -> int | None:
    """The seed of a comparison, by a task of it that was sent; None where it is not known.

    A service may tell one for each picture, with commas between.
    """
    told = str(record.facts.get("seed", "")).partition(",")[0].strip()
    seed = int(told) if told.isascii() and told.isdecimal() else record.task.request.seed
    return None if seed is None else seed - _offset(item)


def _offset(item: Item) -> int:
    """How far the seed of a part is from that of the first part, where a request was split."""
    return (item.request.seed or 0) - (item.shared_seed or 0)


def _with_known_seed(item: Item, seeds: Sequence[int | None], config: Config) -> Item:
    """The item with the one seed that is known, where its service takes that; else as it is."""
    seed = seeds[0] if len(set(seeds)) == 1 else None
    if item.shared_seed is None or seed is None or seed == item.shared_seed:
        return item
    requests = [_seeded(request, seed - item.shared_seed) for request in (item.request, *item.alternatives)]
    try:
        for request in requests:
            offline_provider(config.provider(request.provider)).check(request)
    except ImagegenError:
        return item
    return replace(item, request=requests[0], alternatives=tuple(requests[1:]), shared_seed=seed)


def _seeded(request: ImageRequest, more: int) -> ImageRequest:
    return request if request.seed is None else replace(request, seed=request.seed + more)


def _differs(item: Item, seeds: Sequence[int | None]) -> bool:
    return item.shared_seed is not None and any(seed != item.shared_seed for seed in seeds)
