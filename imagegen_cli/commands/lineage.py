"""Which pictures a picture was made from, and those from which: chains that begin with one made of words alone."""

from collections.abc import Sequence

from imagegen_cli.core.task import Parent
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store

MAX_DEPTH = 50
"""Steps back of a chain that are told."""
MAX_LINES = 20
"""Chains that are told of one task: it may have several parents, and each of these too."""
MAX_STEPS = 1000
"""Steps in all that are looked at."""
Chain = tuple[Parent, ...]


def chains(end: Chain, parents: Sequence[Parent], store: Store) -> list[Chain]:
    """Every way from a first picture to the end, the first parents of each step first; none where it has no parents."""
    found: list[Chain] = []
    left: list[tuple[Chain, Sequence[Parent]]] = [(end, parents)] if parents else []
    known: dict[int, Sequence[Parent]] = {}
    for _ in range(MAX_STEPS):
        if not left or len(found) == MAX_LINES:
            break
        chain, before = left.pop()
        if not before or len(chain) > MAX_DEPTH:
            found.append(chain)
        for parent in reversed(before if len(chain) <= MAX_DEPTH else ()):
            if parent.task not in known:
                records = store.find(Filter(ids=(parent.task,)))
                known[parent.task] = records[0].task.parents if records else ()
            left.append(((parent, *chain), known[parent.task]))
    return found


def in_words(chain: Chain, end: str = "") -> str:
    """`12/2 → 15/1 → 16`; `end` stands behind the last picture."""
    return " → ".join([*map(str, chain), *([end] if end else [])])


def as_objects(found: Sequence[Chain]) -> list[list[dict[str, int]]]:
    """For JSON: each chain as a list of pictures."""
    return [[parent._asdict() for parent in chain] for chain in found]
