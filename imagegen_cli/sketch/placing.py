"""The place and the size of every subject. Subjects of a row share its width; distant ones are smaller."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from imagegen_cli.sketch.art import Art
from imagegen_cli.sketch.figures import HEADS, figure
from imagegen_cli.sketch.inside import needs_table, table_top
from imagegen_cli.sketch.scene import Subject
from imagegen_cli.sketch.stage import UNIT, Stage
from imagegen_cli.sketch.words import BODIES

FLOATING = {"space", "underwater"}
TREES = {"🌳", "🌲", "🌴", "cherry-tree", "maple-tree", "🎄"}
CROWDED = {1: (0.0, 1.0), 2: (0.1, 0.85), 3: (0.24, 0.66)}
"""How much deeper into the land a crowd of so many lines reaches, and how much smaller each of it is."""

FLOCK = 3
"""If more subjects than this fly, they fly farther away."""

LARGEST_CLIMBER = 0.28

SEATS = {"🛋️": 0.38, "🛏️": 0.42, "🪑": 0.42, "🚲": 0.42, "🏍️": 0.42, "🛵": 0.42, "🛹": 0.7, "🛷": 0.4}
"""The height at which a rider sits on these, as a share of their height."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """`x` is its middle, `foot` its lowest point, `size` its longer side.

    `manner`: stands, floats, swims, flies, shines, sits or poses.
    """

    subject: Subject
    art: Art
    x: float
    foot: float
    size: float
    manner: str = "stands"
    flip: bool = False
    turn: float = 0.0
    order: float = 0.0
    """Those with a lower one are painted first; of equals, those that stand farther away."""

    @property
    def scale(self) -> float:
        return self.size / max(self.art.box.right - self.art.box.left, self.art.box.bottom - self.art.box.top)

    @property
    def width(self) -> float:
        return (self.art.box.right - self.art.box.left) * self.scale

    @property
    def height(self) -> float:
        return (self.art.box.bottom - self.art.box.top) * self.scale


@dataclass(frozen=True, slots=True)
class Row:
    """Subjects side by side between two heights; `size` multiplies theirs.

    The largest subject is at least as large as `min_size`.
    `aside` moves a line by a share of its subjects' width, so that lines do not stand in columns.
    """

    homes: frozenset[str]
    far: float
    near: float
    size: float
    min_size: float
    manner: str = "stands"
    aside: float = 0.0


def place(stage: Stage) -> list[Sprite]:
    if stage.scene.ground == "studio" and (sitter := _sitter(stage)):
        return [sitter]
    carried = {subject.art for subject in stage.scene.subjects if _carrier(stage, subject)}
    placed = [
        sprite
        for row in _rows(stage)
        for sprite in _fill(
            stage, row, [s for s in stage.scene.subjects if s.home in row.homes and s.art not in carried]
        )
    ]
    placed += [
        sprite for subject in stage.scene.subjects if subject.art in carried for sprite in _carried(subject, placed)
    ]
    return sorted(placed, key=lambda sprite: sprite.order)


def _carrier(stage: Stage, subject: Subject) -> bool:
    """Whether another subject carries this one. A carrier is not carried itself, and trees carry no bicycles."""
    if subject.on in TREES and subject.home == "ground" and subject.size > LARGEST_CLIMBER:
        return False
    return any(other.art == subject.on and not other.on for other in stage.scene.subjects)


def _sitter(stage: Stage) -> Sprite | None:
    """The one person of a portrait, large, cut off by the lower edge."""
    subject = next(
        (subject for subject in stage.scene.subjects if subject.home == "person" or subject.art in BODIES), None
    )
    if subject is None:
        return None
    if subject.home == "person" and subject.art not in HEADS:
        bust = figure(subject.art, subject.colour, whole=False)
        return Sprite(subject, bust, stage.width / 2, stage.height + 4, UNIT * 0.82, "poses")
    size = UNIT * (1.62 if subject.home == "person" else 1.25)
    top = stage.height * 0.5 - UNIT * 0.34
    return Sprite(subject, figure(subject.art, subject.colour), stage.width / 2, top + size, size, "poses")


def _rows(stage: Stage) -> list[Row]:
    ground = stage.scene.ground
    if ground in FLOATING:
        return _floating_rows(stage)
    deep = stage.height - stage.horizon
    standing = {"ground", "person", "flower", "sea", "thing"}
    crowd = any(subject.home in standing for subject in stage.scene.subjects)
    top = stage.horizon
    full = crowd or any(subject.home == "tall" for subject in stage.scene.subjects)
    rows = [
        Row(frozenset({"heaven"}), top * 0.3, top * 0.5, 0.5, 0.16, "shines"),
        Row(
            frozenset({"sky"}),
            top * (0.42 if full else 0.55),
            top * (0.68 if full else 0.95),
            0.72,
            0.2 if full else 0.32,
            "flies",
        ),
        Row(
            frozenset({"tall"}),
            top + deep * (0.2 if crowd else 0.36),
            top + deep * (0.28 if crowd else 0.5),
            0.85 if crowd else 1.0,
            0.3,
        ),
    ]
    if ground in {"sea", "lake", "beach"}:
        far, near = (0.2, 0.3) if ground == "beach" else (0.28, 0.66)
        size = 0.7 if ground == "beach" else 1.0
        rows.append(Row(frozenset({"boat", "swimmer"}), top + deep * far, top + deep * near, size, 0.3 * size, "swims"))
    else:
        rows.append(Row(frozenset({"boat", "swimmer"}), top + deep * 0.5, top + deep * 0.7, 1.0, 0.3))
    return [*rows, *_near_rows(stage, deep)]


def _near_rows(stage: Stage, deep: float) -> list[Row]:
    ground, top = stage.scene.ground, stage.horizon
    if ground in {"sea", "lake"}:
        return [
            Row(
                frozenset({"ground", "person", "flower", "sea", "thing"}),
                top + deep * 0.58,
                top + deep * 0.82,
                1.0,
                0.32,
                "swims",
            )
        ]
    if ground == "room" and needs_table(stage):
        table = table_top(stage)
        rest = stage.height - table
        return [
            Row(frozenset({"person", "ground", "sea"}), table + 2, table + rest * 0.3, 1.0, 0.3),
            Row(frozenset({"thing", "flower"}), table + rest * 0.42, table + rest * 0.66, 1.05, 0.36),
        ]
    return [
        Row(frozenset({"flower"}), top + deep * 0.5, stage.height * 0.97, 1.1, 0.2),
        Row(frozenset({"ground", "person", "sea", "thing"}), top + deep * 0.6, top + deep * 0.88, 1.0, 0.4),
    ]


def _floating_rows(stage: Stage) -> list[Row]:
    h = stage.height
    every = frozenset({"heaven", "sky", "ground", "person", "sea", "thing", "boat", "swimmer", "tall", "flower"})
    if stage.scene.ground == "space":
        return [
            Row(frozenset({"heaven"}), h * 0.36, h * 0.45, 1.0, 0.3, "floats"),
            Row(every - {"heaven"}, h * 0.62, h * 0.74, 1.0, 0.5, "floats"),
        ]
    bottom = {"🦀", "🦞", "🐚", "🪸", "🐙"}
    floor = any(subject.art in bottom for subject in stage.scene.subjects)
    return [Row(every, h * 0.34, h * (0.92 if floor else 0.78), 1.0, 0.28, "floats")]


def _fill(stage: Stage, row: Row, subjects: list[Subject]) -> Iterator[Sprite]:
    rng = stage.rng_at("row " + min(row.homes))
    crowd = _shuffled(rng, subjects)
    if not crowd:
        return
    largest = max(subject.size for subject in crowd) * row.size
    grown = max(1.0, row.min_size / largest) * row.size
    if row.manner == "flies" and len(crowd) > FLOCK:
        grown *= 0.62
    lines = 1 if len(crowd) <= max(3, 4 * stage.width / UNIT) else 2 if len(crowd) <= 10 else 3  # noqa: PLR2004
    deeper, smaller = CROWDED[lines]
    for at in range(lines):
        share = (at + 0.5) / lines if lines > 1 else 0.62
        far = row.far - (stage.height - stage.horizon) * deeper * (row.manner == "stands")
        y = far + (row.near - far) * share
        aside = (at % 2 - 0.5) * 0.5 if lines > 1 else 0.0
        line = replace(row, near=y, size=grown * smaller * (0.72 + 0.28 * share), aside=aside)
        yield from _line(stage, rng, line, crowd[at::lines])


def _shuffled(rng: random.Random, subjects: list[Subject]) -> list[Subject]:
    crowd = [subject for subject in subjects for _ in range(subject.count)]
    rng.shuffle(crowd)
    return crowd


def _line(stage: Stage, rng: random.Random, row: Row, crowd: list[Subject]) -> Iterator[Sprite]:
    sprites = [_sprite(stage, rng, row, subject) for subject in crowd]
    free = stage.width * 0.94
    taken = sum(sprite.width for sprite in sprites)
    fit = min(
        1.0,
        free * (1.12 if len(sprites) > 1 else 0.86) / taken,
        (0.42 if row.manner == "flies" else 0.62) * stage.height / max(s.height for s in sprites),
    )
    gap = (free - taken * fit) / len(sprites)
    x = stage.width * 0.03 + row.aside * taken * fit / len(sprites)
    for sprite in sprites:
        wide = sprite.width * fit
        slack = max(0.0, gap)
        middle = x + gap / 2 + wide / 2 + rng.uniform(-0.28, 0.28) * slack
        if len(sprites) == 1:
            middle = stage.width * rng.choice((0.4, 0.45, 0.55, 0.6))
        foot = sprite.foot + rng.uniform(-0.5, 0.5) * (row.near - row.far) * 0.4
        foot = min(max(foot, sprite.height * fit + stage.height * 0.03), stage.height * 0.98)
        yield replace(sprite, x=middle, foot=foot, size=sprite.size * fit, order=sprite.order + foot)
        x += wide + gap


def _sprite(stage: Stage, rng: random.Random, row: Row, subject: Subject) -> Sprite:
    art = figure(subject.art, subject.colour, afloat=subject.home == "boat")
    size = UNIT * subject.size * row.size * rng.uniform(0.93, 1.07)
    loose = row.manner in {"floats", "flies"}
    foot = row.near + (
        rng.uniform(-0.5, 0.5) * stage.height * (0.22 if row.manner == "floats" else 0.1) if loose else 0.0
    )
    if row.manner == "floats":
        foot += size * 0.3
    manner = "flies" if row.manner == "stands" and subject.home == "sky" else row.manner
    turn = rng.uniform(-14, 14) if stage.scene.ground == "space" else rng.uniform(-5, 5) if loose else 0.0
    flip = rng.random() < 0.5 and subject.home not in {"thing", "tall", "heaven"}  # noqa: PLR2004
    order = 0.0 if row.manner == "shines" else stage.height
    return Sprite(subject, art, 0.0, foot, size, manner, flip, turn, order)


def _carried(subject: Subject, placed: list[Sprite]) -> Iterator[Sprite]:
    """The sprites of a carried subject: on the back of a mount, in the crown of a tree, on top of other carriers."""
    mounts = [sprite for sprite in placed if sprite.subject.art == subject.on]
    for at in range(subject.count):
        mount = mounts[at % len(mounts)]
        shift = (at // len(mounts)) - (subject.count - 1) // len(mounts) / 2
        yield _seated(subject, mount, shift)


def _seated(subject: Subject, mount: Sprite, shift: float) -> Sprite:
    size = mount.size * min(1.4, subject.size / mount.subject.size) * 0.85
    rise, order = _seat(mount), mount.order + 0.001
    if mount.subject.art in TREES:
        size = max(size, UNIT * 0.14)
    elif subject.home == "person" and mount.subject.home == "ground" and mount.subject.art not in SEATS:
        rise, size, order = 0.3, mount.size * 0.86, mount.order - 0.001  # the legs hang down behind the beast
    back = mount.width * (-0.06 if mount.flip else 0.06)
    x = mount.x + shift * size * 1.1 + back
    art = figure(subject.art, subject.colour)
    return Sprite(subject, art, x, mount.foot - mount.height * rise, size, "sits", mount.flip, 0.0, order)


def _seat(mount: Sprite) -> float:
    """The height at which a rider sits, as a share of the mount's height."""
    if mount.subject.art in TREES:
        return 0.62
    if mount.subject.art in SEATS:
        return SEATS[mount.subject.art]
    return {"ground": 0.62, "tall": 0.94}.get(mount.subject.home, 0.86)
