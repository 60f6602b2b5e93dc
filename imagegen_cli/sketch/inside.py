"""The scenes without a horizon: a room, a studio, under water, in the sky, and an abstract picture."""

# ruff: noqa: E501 - an outline is one word of SVG: broken into pieces it is harder to read

from math import cos, pi, sin

from imagegen_cli.sketch.colours import blend, turned
from imagegen_cli.sketch.noise import clouds, grain
from imagegen_cli.sketch.sky import paint_sky
from imagegen_cli.sketch.stage import Stage


def paint_room(stage: Stage) -> None:
    w, h, floor = stage.width, stage.height, stage.horizon
    wall = stage.tone(stage.rng_at("wall").choice(("#e9d8c0", "#d5dfd3", "#dcd3e3", "#cfdde6", "#efd9cf")))
    stage.rect(0, floor, stage.fall((0, blend(wall, "#000000", 0.1)), (1, wall)))
    _window(stage)
    stage.rect(floor - 20, 20, blend(wall, "#ffffff", 0.35))
    wood = stage.tone("#9a6a43")
    stage.rect(floor, h - floor, stage.fall((0, blend(wood, "#000000", 0.25)), (1, wood)))
    boards = "".join(
        f"M{w * (0.5 + (at - 7) * 0.075):.0f} {floor:.0f}L{w * (0.5 + (at - 7) * 0.24):.0f} {h:.0f}" for at in range(15)
    )
    stage.add(f'<path d="{boards}" stroke="{blend(wood, "#000000", 0.35)}" stroke-width="3" opacity="0.6"/>')
    if needs_table(stage):
        _table(stage)


def needs_table(stage: Stage) -> bool:
    return "table" in stage.scene.details or any(subject.home == "thing" for subject in stage.scene.subjects)


def table_top(stage: Stage) -> float:
    return stage.height * 0.68


def _window(stage: Stage) -> None:
    side = stage.rng_at("window").choice((0.34, 0.66))
    wide, high = min(stage.width * 0.46, 460), min(stage.horizon * 0.72, 470)
    x, y = stage.width * side - wide / 2, stage.horizon * 0.1
    top, middle, low = (stage.sky_tone(colour) for colour in stage.light.sky)
    stage.add(
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}" fill="{stage.fall((0, top), (0.6, middle), (1, low))}"/>'
    )
    address = clouds(stage.rng_at("clouds"), cover=stage.light.cloud, white=110 if stage.light.night else 255)
    stage.image(address, x, y, wide, high, 0.7 if not stage.light.night else 0.25)
    _view(stage, x, y, wide, high)
    frame = stage.tone("#fbf7ef")
    bars = f"M{x - 8:.0f} {y - 8:.0f}h{wide + 16:.0f}v{high + 16:.0f}h{-wide - 16:.0f}zM{x + wide / 2:.0f} {y:.0f}v{high:.0f}M{x:.0f} {y + high * 0.45:.0f}h{wide:.0f}"
    stage.add(f'<path d="{bars}" fill="none" stroke="{frame}" stroke-width="18"/>')
    stage.add(
        f'<rect x="{x - 34:.0f}" y="{y + high + 10:.0f}" width="{wide + 68:.0f}" height="24" rx="4" fill="{blend(frame, "#8a7a66", 0.25)}"/>'
    )
    for at, lean in ((x - 46, 1), (x + wide + 46, -1)):
        cloth = stage.tone("#c96f5c")
        stage.path(
            f"M{at - 40:.0f} {y - 26:.0f}h80c{-14 * lean} {high * 0.4:.0f} {10 * lean} {high * 0.7:.0f} {-6 * lean} {high + 70:.0f}h-70c{-8 * lean} {-high * 0.4:.0f} 6 {-high * 0.7:.0f} -4 {-high - 70:.0f}z",
            cloth,
            0.96,
        )
    if not (stage.light.night or stage.light.overcast):
        stage.path(
            f"M{x:.0f} {stage.horizon + 10:.0f}l{-wide * 0.25:.0f} {stage.height:.0f}h{wide * 1.5:.0f}l{-wide * 0.25:.0f} {-stage.height:.0f}z",
            "#fff3cf",
            0.16,
        )


def _view(stage: Stage, x: float, y: float, wide: float, high: float) -> None:
    """The hills outside of the window, with rain or snow."""
    base = y + high
    stage.path(
        f"M{x:.0f} {base:.0f}v{-high * 0.2:.0f}q{wide * 0.25:.0f} {-high * 0.16:.0f} {wide * 0.5:.0f} {-high * 0.02:.0f}t{wide * 0.5:.0f} {-high * 0.05:.0f}v{high * 0.27:.0f}z",
        stage.tone("#5c9a4b", 0.35),
    )
    rng = stage.rng_at("outside")
    if stage.scene.weather in {"rain", "storm"}:
        drops = "".join(
            f"M{x + rng.uniform(0.02, 0.98) * wide:.0f} {y + rng.uniform(0, 0.92) * high:.0f}l-4 28" for _ in range(90)
        )
        stage.add(f'<path d="{drops}" stroke="#eaf3fa" stroke-width="2" opacity="0.6"/>')
    elif stage.scene.weather == "snow":
        for _ in range(60):
            stage.ellipse(x + rng.uniform(0, wide), y + rng.uniform(0, high), 4, 4, "#ffffff", 0.85)
    elif stage.light.night:
        stage.ellipse(x + wide * 0.75, y + high * 0.22, 30, 30, "#f6f1d5")


def _table(stage: Stage) -> None:
    w, h, top = stage.width, stage.height, table_top(stage)
    wood = stage.tone("#b57f4f")
    stage.rect(top - 30, 60, stage.fall((0, "#000000", 0), (1, "#000000", 0.25)))
    stage.rect(top, h - top, stage.fall((0, blend(wood, "#ffffff", 0.16)), (1, blend(wood, "#3a2010", 0.4))))
    stage.rect(top, 5, blend(wood, "#ffffff", 0.4))
    rng = stage.rng_at("wood")
    veins = "".join(
        f"M0 {y:.0f}C{w * 0.3:.0f} {y + rng.uniform(-14, 14):.0f} {w * 0.6:.0f} {y + rng.uniform(-14, 14):.0f} {w:.0f} {y + rng.uniform(-8, 8):.0f}"
        for y in (top + 20 + at * (h - top) / 9 for at in range(9))
    )
    stage.add(
        f'<path d="{veins}" fill="none" stroke="{blend(wood, "#3a2010", 0.5)}" stroke-width="2.5" opacity="0.35"/>'
    )


def paint_studio(stage: Stage) -> None:
    rng = stage.rng_at("studio")
    colour = (
        stage.scene.tones[0]
        if stage.scene.tones
        else rng.choice(("#6f8fae", "#b08d78", "#7d9a83", "#8f82a8", "#c2a26b"))
    )
    base = stage.tone(colour)
    middle = blend(base, "#ffffff", 0.55)
    stage.rect(0, stage.height, base)
    reach = max(stage.width, stage.height) * 0.75
    stage.ellipse(
        stage.width * 0.5,
        stage.height * 0.4,
        reach,
        reach,
        stage.glow((0, middle), (0.5, blend(base, middle, 0.5)), (1, blend(base, "#10131c", 0.28))),
    )
    stage.image(clouds(rng, cover=0.6), 0, 0, stage.width, stage.height, 0.14)


def paint_underwater(stage: Stage) -> None:
    w, h = stage.width, stage.height
    stage.rect(0, h, stage.fall((0, stage.tone("#5fd0e6")), (0.4, stage.tone("#1c86b8")), (1, stage.tone("#07305e"))))
    rng = stage.rng_at("rays")
    for _ in range(7):
        x, wide, lean = rng.uniform(0, w), rng.uniform(30, 90), rng.uniform(-160, 160)
        ray = stage.fall((0, "#e8fbff", 0.34), (1, "#e8fbff", 0))
        stage.path(f"M{x:.0f} 0h{wide:.0f}L{x + lean + wide * 2.6:.0f} {h * 0.82:.0f}h{-wide * 3.2:.0f}z", ray)
    for share, far in ((0.0, 0.5), (0.35, 0.0)):
        y = stage.horizon + (h - stage.horizon) * share
        sand = blend(stage.tone("#d9c38f"), "#0c4a78", 0.25 + far)
        stage.path(stage.ridge(y + 26, 50, 5), stage.fall((0, sand), (1, blend(sand, "#06284a", 0.45))))
        _weeds(stage, y + 40, far)
    _bubbles(stage)


def _weeds(stage: Stage, base: float, far: float) -> None:
    rng = stage.rng
    for _ in range(int(13 * max(1.0, stage.width / 1000))):
        x = rng.choice((rng.uniform(0, 0.3), rng.uniform(0.7, 1))) * stage.width
        tall, y = rng.uniform(90, 250) * (1 - far * 0.6), base + rng.uniform(0, 40)
        tone = blend(stage.tone(rng.choice(("#2f9e6b", "#4fb06a", "#b5487a", "#d9774a"))), "#0c4a78", 0.2 + far)
        lean = rng.uniform(-26, 26)
        stage.path(
            f"M{x - 9:.0f} {y:.0f}c{lean:.0f} {-tall * 0.35:.0f} {-lean:.0f} {-tall * 0.65:.0f} 9 {-tall:.0f}c{lean:.0f} {tall * 0.35:.0f} {-lean:.0f} {tall * 0.65:.0f} 11 {tall:.0f}z",
            tone,
        )


def _bubbles(stage: Stage) -> None:
    rng = stage.rng_at("bubbles")
    for _ in range(30):
        x, y, r = rng.uniform(0, stage.width), rng.uniform(0, stage.height * 0.85), rng.uniform(3, 13)
        stage.add(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{r:.1f}" fill="#ffffff" fill-opacity="0.12" stroke="#e8fbff" stroke-width="1.6" stroke-opacity="0.6"/>'
        )
        stage.ellipse(x - r * 0.3, y - r * 0.35, r * 0.25, r * 0.2, "#ffffff", 0.8)


def paint_heights(stage: Stage) -> None:
    """A sky with a sea of clouds below."""
    horizon, stage.horizon = stage.horizon, stage.height
    paint_sky(stage)
    stage.horizon = horizon
    white = stage.tone("#ffffff")
    for share in (0.0, 0.5):
        y = horizon + (stage.height - horizon) * share
        fill = stage.fall((0, white, 0.95), (1, blend(white, stage.light.haze, 0.6), 0.95))
        step = 105
        for at in range(-1, int(stage.width / step) + 2):
            r = stage.rng.uniform(80, 140)
            stage.ellipse(at * step + stage.rng.uniform(-20, 20), y + r * 0.9, r * 1.25, r * 0.8, fill)


def paint_abstract(stage: Stage) -> None:
    """An abstract picture for a prompt that names no thing: bands, discs and arcs in four related colours of the seed."""
    rng = stage.rng
    first = stage.scene.tones[0] if stage.scene.tones else turned("#3b7fc4", rng.random())
    colours = [first, turned(first, 0.08), turned(first, 0.5), turned(first, 0.92), "#f7efe2"]
    w, h = stage.width, stage.height
    stage.rect(
        0,
        h,
        stage.fall(
            (0, stage.sky_tone(blend(colours[0], "#0b1020", 0.55))),
            (1, stage.sky_tone(blend(colours[1], "#ffffff", 0.35))),
        ),
    )
    for at in range(6):
        y = h * (0.2 + at * 0.14)
        stage.path(stage.ridge(y + 90, 190, 5), stage.sky_tone(blend(colours[at % 4], "#ffffff", 0.12 * at)), 0.55)
    for _ in range(9):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(30, 190)
        fill = stage.sky_tone(rng.choice(colours))
        stage.ellipse(x, y, r, r, stage.glow((0, blend(fill, "#ffffff", 0.4), 0.9), (0.85, fill, 0.75), (1, fill, 0)))
    for _ in range(5):
        x, y, r, turn = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(120, 380), rng.uniform(0, 2 * pi)
        ends = (x + r * cos(turn), y + r * sin(turn), x + r * cos(turn + 2), y + r * sin(turn + 2))
        stage.add(
            f'<path d="M{ends[0]:.0f} {ends[1]:.0f}A{r:.0f} {r:.0f} 0 0 1 {ends[2]:.0f} {ends[3]:.0f}" fill="none" stroke="{stage.sky_tone(rng.choice(colours))}" stroke-width="{rng.uniform(4, 26):.0f}" stroke-linecap="round" opacity="0.85"/>'
        )
    stage.image(grain(rng), 0, 0, w, h, 0.08)
