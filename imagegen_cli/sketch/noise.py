"""Clouds, mist and grain as small pictures that the renderer scales up.

feTurbulence costs a second for each million pixels; a small grid that is smoothed while it is enlarged costs 30 ms.
"""

import random

from imagegen_cli.sketch.png import alpha_address

Grid = list[list[float]]


def clouds(rng: random.Random, *, width: int = 72, height: int = 48, cover: float = 0.5, white: int = 255) -> str:
    """Soft heaps, wider than high. `cover` 0..1 is how much of the sky they take."""
    field = _fractal(rng, width, height)
    floor = 1 - cover
    samples = bytes(
        round(255 * min(1.0, max(0.0, (field[y][x] - floor * 0.85) * 3.2)) * _edge(y / height))
        for y in range(height)
        for x in range(width)
    )
    return alpha_address(samples, width, white)


def grain(rng: random.Random, side: int = 160, white: int = 255) -> str:
    return alpha_address(rng.randbytes(side * side), side, white)


def _edge(height: float) -> float:
    """Fades out below, where clouds meet the haze, and a little at the very top."""
    return min(1.0, (1 - height) * 3.0) * min(1.0, 0.4 + height * 4)


def _fractal(rng: random.Random, width: int, height: int) -> Grid:
    total = [[0.0] * width for _ in range(height)]
    share = 0.5
    for cells in (4, 8, 16, 32):
        _add(total, _lattice(rng, cells), share)
        share /= 2
    return total


def _lattice(rng: random.Random, cells: int) -> Grid:
    return [[rng.random() for _ in range(cells + 2)] for _ in range(cells + 2)]


def _add(total: Grid, lattice: Grid, share: float) -> None:
    cells = len(lattice) - 2
    columns = [_place(x, len(total[0]), cells) for x in range(len(total[0]))]
    for y, row in enumerate(total):
        at, part = _place(y, len(total), cells)
        blended = [a + (b - a) * part for a, b in zip(lattice[at], lattice[at + 1], strict=True)]
        for x, (left, across) in enumerate(columns):
            row[x] += share * (blended[left] + (blended[left + 1] - blended[left]) * across)


def _place(at: int, size: int, cells: int) -> tuple[int, float]:
    position = at / size * cells
    part = position - int(position)
    return int(position), part * part * (3 - 2 * part)
