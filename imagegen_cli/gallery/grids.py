"""Which picture stands where on a sheet: rows and columns by what was varied, blocks by the rest."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from imagegen_cli.gallery.values import Picture

MAX_ALONG = 10
"""Values of a single axis that stand in one row; more than that, and the longer of two axes goes down the page."""
MAX_ACROSS = 40
"""Columns of pictures that nothing was varied between."""

Cell = tuple[Picture, ...]
"""Pictures of one combination: several where a task made several, none where it was not asked for."""


class Heading(NamedTuple):
    """What was varied, and the value that it has here."""

    name: str
    value: str


class Band(NamedTuple):
    """One row of cells. `block` stands above it where a block begins; `row` beside it."""

    cells: tuple[Cell, ...]
    block: tuple[Heading, ...] = ()
    row: Heading | None = None


class Grid(NamedTuple):
    """`columns` is empty where the columns mean nothing; then each cell is named below."""

    columns: tuple[Heading, ...]
    bands: tuple[Band, ...]


def arranged(pictures: Sequence[Picture]) -> Grid:
    """The first axis goes down and the second across; all others make blocks."""
    axes = _axes(pictures)
    match len(axes):
        case 0:
            return _flowing([(picture,) for picture in pictures])
        case 1 if len(axes[0]) > MAX_ALONG:
            return _flowing(list(_by_place(pictures, axes).values()))
        case 1:
            return _table(pictures, [], axes[0], [])
        case _:
            down, across = axes[:2]
            if len(across) > MAX_ALONG and len(across) > len(down):
                down, across = across, down
            return _table(pictures, down, across, axes[2:])


def shared(pictures: Sequence[Picture]) -> list[Heading]:
    """The options that all of the pictures have in common, so that they are named once."""
    sets = [{*picture.parameters, *picture.axes} for picture in pictures]
    common = set[tuple[str, str]].intersection(*sets) if sets else set()
    first = pictures[0] if pictures else None
    ordered = dict.fromkeys((*first.axes, *first.parameters)) if first else {}
    return [Heading(*pair) for pair in ordered if pair in common]


def _axes(pictures: Iterable[Picture]) -> list[list[Heading]]:
    """Every option that has more than one value, with its values; all in the order in which they came."""
    found: dict[str, dict[Heading, None]] = {}
    for picture in pictures:
        for name, value in picture.axes:
            found.setdefault(name, {})[Heading(name, value)] = None
    return [list(values) for values in found.values() if len(values) > 1]


def _by_place(pictures: Iterable[Picture], axes: Iterable[Iterable[Heading]]) -> dict[frozenset[Heading], Cell]:
    named = {heading for axis in axes for heading in axis}
    found: dict[frozenset[Heading], Cell] = {}
    for picture in pictures:
        place = frozenset(Heading(*pair) for pair in picture.axes) & named
        found[place] = (*found.get(place, ()), picture)
    return found


def _flowing(cells: Sequence[Cell]) -> Grid:
    across = min(MAX_ACROSS, max(1, round((1.3 * len(cells)) ** 0.5)))
    rows = [tuple(cells[first : first + across]) for first in range(0, len(cells), across)]
    return Grid((), tuple(Band(row) for row in rows))


def _table(
    pictures: Sequence[Picture], down: Sequence[Heading], across: Sequence[Heading], others: Sequence[Sequence[Heading]]
) -> Grid:
    """Only the blocks and rows that hold a picture: what was paired has few of all combinations."""
    cells = _by_place(pictures, [down, across, *others])
    rows: Sequence[Heading | None] = down or (None,)
    bands = []
    for block in _blocks(cells, others):
        named = block
        for row in rows:
            places = [frozenset((*block, *([row] if row else []), column)) for column in across]
            if any(place in cells for place in places):
                bands.append(Band(tuple(cells.get(place, ()) for place in places), named, row))
                named = ()
    return Grid(tuple(across), tuple(bands))


def _blocks(places: Iterable[frozenset[Heading]], others: Sequence[Sequence[Heading]]) -> list[tuple[Heading, ...]]:
    """The combinations of the other axes that are there, in the order of their values."""
    order = {heading: at for axis in others for at, heading in enumerate(axis)}
    found = {tuple(h for axis in others for h in axis if h in place) for place in places}
    return sorted(found, key=lambda block: [order[heading] for heading in block])
