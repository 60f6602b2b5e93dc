"""How large a sheet and its cells are, and where they stand, in pixels."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

from imagegen_cli.gallery.grids import Band, Grid

MAX_PIXELS = 32_000_000
"""Of the sheet; each takes four bytes while it is made."""
MAX_SIDE = 16_000
"""Many programs show no larger picture."""
CELL, SMALLEST_CELL, STEP = 320, 96, 16
"""The width of a cell: where there is room, where there are very many, and what is tried between."""

MARGIN, GAP = 36, 12
TITLE, SHARED, BLOCK, VALUE, NAME, CAPTION, REASON = 26, 14, 18, 15, 11, 12, 13
"""Sizes of the fonts."""
BESIDE = 168
"""The width of what names a row."""
LEAST_WIDTH = 640
"""Of the narrowest sheet, so that its title can be read."""
MIN_RATIO, MAX_RATIO = 0.5, 2.0
"""Of the width of a cell to its height; a picture of another shape leaves room beside it."""


class Box(NamedTuple):
    left: int
    top: int
    width: int
    height: int

    def inside(self, edge: int) -> "Box":
        """Smaller by so many pixels on every side."""
        return Box(self.left + edge, self.top + edge, max(1, self.width - 2 * edge), max(1, self.height - 2 * edge))

    def split(self, parts: int) -> Iterator["Box"]:
        """So many boxes in it, in as many columns as rows or one column more."""
        side = next(side for side in range(1, parts + 1) if side * side >= parts)
        rows, gap = -(-parts // side), 4
        width, height = (self.width - gap * (side - 1)) // side, (self.height - gap * (rows - 1)) // rows
        for at in range(parts):
            left, top = self.left + at % side * (width + gap), self.top + at // side * (height + gap)
            yield Box(left, top, max(1, width), max(1, height))


class Frame(NamedTuple):
    """`top` is the height of title and margin above the first band; `left_out` how many pictures have no room."""

    grid: Grid
    cell: int
    high: int
    top: int
    left_out: int = 0

    @property
    def beside(self) -> int:
        return BESIDE if any(band.row for band in self.grid.bands) else 0

    @property
    def width(self) -> int:
        across = max((len(band.cells) for band in self.grid.bands), default=1)
        return max(LEAST_WIDTH, 2 * MARGIN + self.beside + across * (self.cell + GAP) - GAP)

    @property
    def height(self) -> int:
        note = 3 * CAPTION if self.left_out else 0
        return self.top + sum(self.band_height(band) for band in self.grid.bands) + MARGIN - GAP + note

    @property
    def captions(self) -> int:
        """Lines below each cell: where nothing else names it, one more."""
        return 1 if self.grid.columns else 2

    def above(self, band: Band) -> int:
        """The height of the block's name and of the columns' names, where the band begins a block."""
        if band is not self.grid.bands[0] and not band.block:
            return 0
        return (3 * BLOCK if band.block else 0) + (3 * VALUE if self.grid.columns else 0)

    def band_height(self, band: Band) -> int:
        return self.above(band) + self.high + self.captions * round(1.5 * CAPTION) + 2 * GAP

    def tops(self) -> Iterator[int]:
        """Where each band begins."""
        return accumulate((self.band_height(band) for band in self.grid.bands[:-1]), initial=self.top)

    def box(self, column: int, top: int) -> Box:
        """The cell of a band that begins at `top`, below its headings."""
        return Box(MARGIN + self.beside + column * (self.cell + GAP), top, self.cell, self.high)

    @property
    def fits(self) -> bool:
        return self.width <= MAX_SIDE and self.height <= MAX_SIDE and self.width * self.height <= MAX_PIXELS


def fitted(grid: Grid, ratio: float, cell: int, header: Callable[[int], int]) -> Frame:
    """The largest cells, up to `cell`, with which the sheet keeps its bounds; else as many of the smallest as fit.

    `ratio` is the usual width of a picture over its height. `header` tells the height of what stands above all, for the
    width of the sheet.
    """
    ratio = min(MAX_RATIO, max(MIN_RATIO, ratio))
    sides = (*range(cell, SMALLEST_CELL, -STEP), SMALLEST_CELL)
    frames = [_framed(grid, side, ratio, header) for side in sides]
    return next((frame for frame in frames if frame.fits), None) or _cut(frames[-1])


def _framed(grid: Grid, side: int, ratio: float, header: Callable[[int], int]) -> Frame:
    frame = Frame(grid, side, round(side / ratio), 0)
    return frame._replace(top=MARGIN + header(frame.width))


def _cut(frame: Frame) -> Frame:
    """Without the columns and then without the last bands that have no room."""
    before = pictures_of(frame.grid)
    most = (MAX_SIDE - 2 * MARGIN - frame.beside) // (frame.cell + GAP)
    bands = [band._replace(cells=band.cells[:most]) for band in frame.grid.bands]
    frame = frame._replace(grid=frame.grid._replace(columns=frame.grid.columns[:most], bands=tuple(bands)), left_out=1)
    room = min(MAX_SIDE, MAX_PIXELS // frame.width) - (frame.height - sum(map(frame.band_height, bands)))
    ends = accumulate(map(frame.band_height, bands))
    kept = [band for band, end in zip(bands, ends, strict=True) if end <= room]
    frame = frame._replace(grid=frame.grid._replace(bands=tuple(kept)))
    return frame._replace(left_out=before - pictures_of(frame.grid))


def pictures_of(grid: Grid) -> int:
    return sum(len(cell) for band in grid.bands for cell in band.cells)
