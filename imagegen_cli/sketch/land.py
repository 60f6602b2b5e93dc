"""The part of a picture below the horizon and behind the subjects: the ground, and the backdrop before the sky."""

# ruff: noqa: E501 - an outline is one word of SVG: broken into pieces it is harder to read

from collections.abc import Callable
from dataclasses import dataclass

from imagegen_cli.sketch.colours import blend
from imagegen_cli.sketch.noise import grain
from imagegen_cli.sketch.sky import lamp_place
from imagegen_cli.sketch.stage import Stage

GREENS = {"": "#6fae43", "spring": "#84bf4c", "summer": "#5fa83a", "autumn": "#b5994a", "winter": "#e3ebf1"}
WALLS = ("#5a6b86", "#77808f", "#8a7a74", "#66788c", "#9a8b7d")
NEON_WALLS = ("#2a2350", "#1d2b55", "#3a1f52")
NEON_LIGHTS = ("#ff5fd2", "#5ff0ff", "#ffd166", "#b78bff")
MASTS = 0.3
"""The share of roofs that have a mast."""

LEAVES = {"": "#2f6b3c", "spring": "#4b8a4a", "summer": "#2b6b36", "autumn": "#b5652c", "winter": "#8fa6a8"}


def paint_backdrop(stage: Stage) -> None:
    BACKDROPS.get(stage.scene.backdrop, _hills)(stage)


def paint_ground(stage: Stage) -> None:
    GROUNDS.get(stage.scene.ground, _meadow)(stage)


def _grain(stage: Stage, y: float, strength: float, white: int = 255) -> None:
    stage.image(grain(stage.rng_at("grain"), white=white), 0, y, stage.width, stage.height - y, strength)


def _hills(stage: Stage) -> None:
    if stage.scene.ground in {"sea", "beach", "desert"}:
        return
    rng_green = (stage.scene.ground == "snow" and "#dfe8ef") or LEAVES[stage.scene.season]
    for height, far in ((110, 1.3), (62, 0.85)):
        stage.path(
            stage.ridge(stage.horizon + 12, height, 6, floor=stage.horizon + 30), stage.tone(rng_green, far), 0.95
        )


def _mountains(stage: Stage) -> None:
    tall = min(stage.horizon * 0.72, 420)
    for height, far, rock in ((tall, 1.25, "#6e7f99"), (tall * 0.66, 0.85, "#5b6b80"), (tall * 0.34, 0.55, "#4a6156")):
        _range(stage, height, far, rock, snow=height > tall * 0.5)


@dataclass(frozen=True, slots=True)
class Peak:
    x: float
    top: float
    base: float
    half: float
    far: float

    def at(self, across: float, down: float) -> str:
        """A corner: `across` from the middle to a foot (-1..1), `down` from the top to the base (0..1)."""
        return f"L{self.x + self.half * across:.0f} {self.top + (self.base - self.top) * down:.0f}"


def _range(stage: Stage, height: float, far: float, rock: str, *, snow: bool) -> None:
    rng = stage.rng
    number = max(3, round(stage.width / (height * 1.5)))
    base = stage.horizon + 25
    for at in rng.sample(range(number), number):
        x = stage.width * (at + 0.5 + rng.uniform(-0.3, 0.3)) / number
        top = base - height * rng.uniform(0.62, 1.0)
        peak = Peak(x, top, base, (base - top) * rng.uniform(0.85, 1.15), far)
        _slopes(stage, peak, rock)
        if snow:
            _cap(stage, peak)


def _slopes(stage: Stage, peak: Peak, rock: str) -> None:
    top = f"M{peak.x:.0f} {peak.top:.0f}"
    spine = peak.at(0.1, 1) + peak.at(-0.06, 0.55) + peak.at(0.09, 0.3) + "Z"
    left = peak.at(-0.45, 0.52) + peak.at(-0.62, 0.58) + peak.at(-1, 1)
    right = peak.at(0.38, 0.42) + peak.at(0.55, 0.6) + peak.at(1, 1)
    stage.path(top + left + spine, stage.tone(rock, peak.far))
    stage.path(top + right + spine, stage.tone(blend(rock, "#1d2740", 0.4), peak.far))


def _cap(stage: Stage, peak: Peak) -> None:
    top = f"M{peak.x:.0f} {peak.top:.0f}"
    lit = peak.at(-0.29, 0.335) + peak.at(-0.14, 0.27) + peak.at(-0.06, 0.38) + peak.at(0.06, 0.25) + "Z"
    dark = peak.at(0.305, 0.335) + peak.at(0.155, 0.255) + peak.at(0.08, 0.36) + peak.at(0.06, 0.25) + "Z"
    stage.path(top + lit, stage.tone("#ffffff", peak.far * 0.5))
    stage.path(top + dark, stage.tone("#bccbe2", peak.far * 0.6))


def _forest(stage: Stage) -> None:
    leaf = LEAVES[stage.scene.season]
    snowy = stage.scene.weather == "snow" or stage.scene.season == "winter" or stage.scene.ground == "snow"
    back = stage.tone(leaf, 1.0)
    stage.path(stage.ridge(stage.horizon - 20, 40, 9, floor=stage.horizon + 20), back)
    for far, size, lift in ((1.3, 190, -10), (0.9, 300, 4), (0.5, 430, 20)):
        rng = stage.rng
        shades = (
            ("#c23b22", "#e0a030", "#8f5a34") if stage.scene.season == "autumn" else ("#173d2b", "#5d8a3c", "#2c5a4a")
        )
        step = size * 0.27
        for at in range(-1, int(stage.width / step) + 2):
            x = (at + rng.uniform(0.1, 0.9)) * step
            if far < 0.6 and abs(x - stage.width / 2) < stage.width * 0.2:  # noqa: PLR2004 - a glade for the subjects
                continue
            tall = min(size * rng.uniform(0.75, 1.2), stage.horizon * 0.95)
            _fir(
                stage,
                x,
                stage.horizon + lift + 12,
                tall,
                stage.tone(blend(leaf, rng.choice(shades), rng.uniform(0, 0.45)), far),
                snowy=snowy and far < 1,
            )


def _fir(stage: Stage, x: float, base: float, tall: float, tone: str, *, snowy: bool) -> None:
    half = tall * 0.21
    outline = f"M{x:.0f} {base - tall:.0f}"
    for level in (0.36, 0.64, 0.92):
        outline += f"L{x + half * level:.0f} {base - tall * (1 - level):.0f}L{x + half * level * 0.5:.0f} {base - tall * (1 - level):.0f}"
    outline += f"L{x + 5:.0f} {base:.0f}L{x - 5:.0f} {base:.0f}"
    for level in (0.92, 0.64, 0.36):
        outline += f"L{x - half * level * 0.5:.0f} {base - tall * (1 - level):.0f}L{x - half * level:.0f} {base - tall * (1 - level):.0f}"
    stage.path(outline + "Z", tone)
    lit = "#ffffff" if snowy else blend(tone, "#ffffff", 0.16)
    stage.path(
        f"M{x:.0f} {base - tall:.0f}L{x - half * 0.36:.0f} {base - tall * 0.64:.0f}L{x:.0f} {base - tall * 0.7:.0f}Z",
        stage.tone(lit, 0.4) if snowy else lit,
        0.85,
    )


@dataclass(frozen=True, slots=True)
class Building:
    x: float
    top: float
    width: float
    tall: float
    far: float


def _city(stage: Stage) -> None:
    for far, tall, wide in ((1.15, 330, 70), (0.75, 260, 95), (0.35, 190, 130)):
        x = -stage.rng.uniform(0, wide)
        while x < stage.width:
            width = wide * stage.rng.uniform(0.6, 1.15)
            height = min(tall * stage.rng.uniform(0.55, 1.25), stage.horizon * 0.9)
            building = Building(x, stage.horizon + 14 - height, width, height, far)
            _walls(stage, building)
            _windows(stage, building)
            x += width + stage.rng.uniform(0, 10)


def _walls(stage: Stage, at: Building) -> None:
    tone = stage.tone(stage.rng.choice(NEON_WALLS if stage.manner == "neon" else WALLS), at.far)
    light, dark = blend(tone, "#ffffff", 0.12), blend(tone, "#000000", 0.16)
    stops = f'<stop offset="0" stop-color="{light}"/><stop offset="1" stop-color="{dark}"/>'
    shade = stage.define("linearGradient", stops)
    outline = f"M{at.x:.0f} {at.top:.0f}h{at.width:.0f}v{at.tall + 20:.0f}h{-at.width:.0f}z"
    stage.path(outline, shade)
    if stage.rng.random() < MASTS:
        stage.path(f"M{at.x + at.width * 0.48:.0f} {at.top - 36:.0f}h4v38h-4z", tone)


def _windows(stage: Stage, at: Building) -> None:
    lit = stage.manner == "neon" or stage.light.lamps
    fill = stage.rng.choice(NEON_LIGHTS) if stage.manner == "neon" else "#ffd98a" if lit else "#a9c2d6"
    across = max(2, int(at.width / 21))
    pane = at.width / across
    panes = "".join(
        f"M{at.x + pane * (column + 0.25):.1f} {at.top + 14 + row * 24:.1f}h{pane * 0.5:.1f}v12h{-pane * 0.5:.1f}z"
        for row in range(int((at.tall - 20) / 24))
        for column in range(across)
        if stage.rng.random() < (0.45 if lit else 0.8)
    )
    if panes:
        stage.path(panes, stage.sky_tone(fill), (1.0 if lit else 0.6) - at.far * 0.4)


def _nothing(_stage: Stage) -> None:
    pass


def _meadow(stage: Stage) -> None:
    green = GREENS[stage.scene.season]
    stage.rect(
        stage.horizon,
        stage.height - stage.horizon,
        stage.fall(
            (0, stage.tone(green, 0.75)), (0.4, stage.tone(green, 0.15)), (1, stage.tone(blend(green, "#1f4d22", 0.5)))
        ),
    )
    for share, mix in ((0.1, 0.1), (0.3, 0.22), (0.58, 0.34)):
        y = stage.horizon + (stage.height - stage.horizon) * share
        near = stage.tone(blend(green, "#2c5a28", mix), 0.5 - share * 0.6 if share < 0.6 else 0)  # noqa: PLR2004
        outline = stage.ridge(y + 26, 52, 5)
        stage.path(
            outline, stage.fall((0, blend(near, "#ffffff", 0.1)), (0.25, near), (1, blend(near, "#0c2410", 0.35)))
        )
    _bushes(stage)
    _grass(stage, green)
    _grain(stage, stage.horizon, 0.05, 0)


def _bushes(stage: Stage) -> None:
    """Clumps of trees along the horizon give the field its width."""
    if stage.scene.backdrop == "forest":
        return
    rng = stage.rng_at("bushes")
    for _ in range(int(5 * max(1.0, stage.width / 1000))):
        x, y = rng.uniform(0, stage.width), stage.horizon + rng.uniform(6, 34)
        tone = stage.tone(LEAVES[stage.scene.season], 0.75 - (y - stage.horizon) / 90)
        for _ in range(rng.randint(4, 8)):
            r = rng.uniform(16, 40)
            fill = blend(tone, rng.choice(("#000000", "#ffffff")), rng.uniform(0, 0.12))
            stage.ellipse(x + rng.uniform(-70, 70), y - r * 0.6, r, r * 0.9, fill)


def _grass(stage: Stage, green: str) -> None:
    rng = stage.rng
    for share in (0.1, 0.35, 0.6):
        blades = ""
        for _ in range(int(stage.width * 0.11)):
            y = stage.horizon + (stage.height - stage.horizon) * rng.uniform(0.12, 1.0)
            near = 1 - stage.depth(y)
            x, tall, lean = rng.uniform(0, stage.width), 7 + 26 * near, rng.uniform(-7, 7)
            blades += f"M{x:.0f} {y:.0f}q{lean * 0.2:.1f} {-tall * 0.6:.1f} {lean:.1f} {-tall:.1f}q{-lean * 0.4 + 3:.1f} {tall * 0.5:.1f} {4 - lean:.1f} {tall:.1f}z"
        stage.path(blades, stage.tone(blend(green, "#173d1b", share)), 0.75)


def _garden(stage: Stage) -> None:
    _meadow(stage)
    rng = stage.rng
    fills = ("#ffffff", "#ffd84d", "#ff8fb0", "#c79bff", "#ff7a59")
    for _ in range(int(stage.width * 0.09)):
        y = stage.horizon + (stage.height - stage.horizon) * rng.uniform(0.12, 1.0)
        size = 2 + 6.5 * (1 - stage.depth(y))
        x = rng.uniform(0, stage.width)
        stage.ellipse(x, y, size, size * 0.8, stage.tone(rng.choice(fills)), 0.95)


def _sea(stage: Stage) -> None:
    _water(stage, stage.horizon, stage.height)


def _water(stage: Stage, top: float, bottom: float) -> None:
    low, high = stage.light.sky[2], stage.light.sky[0]
    far = stage.sky_tone(blend(blend("#2f8fb8", low, 0.45), high, 0.15))
    near = stage.tone("#0d5378")
    if not stage.light.night:
        near = blend(near, stage.sky_tone(stage.light.sky[1]), 0.16)
    stage.rect(
        top,
        bottom - top,
        stage.fall(
            (0, far if not stage.light.night else stage.tone("#3a76a8", 0.3)),
            (0.35, stage.tone("#23799f", 0.1)),
            (1, near),
        ),
    )
    _waves(stage, top, bottom)
    if not stage.light.overcast:
        _glitter(stage, top, bottom)


def _waves(stage: Stage, top: float, bottom: float) -> None:
    rng = stage.rng
    light, dark = stage.tone("#cdeaf5", 0.1), stage.tone("#083e5c")
    for fill, number, opacity in ((light, 120, 0.34), (dark, 90, 0.3)):
        crests = ""
        for _ in range(int(number * max(1.0, stage.width / 1000))):
            near = rng.random() ** 1.5
            x, y = rng.uniform(-60, stage.width), top + 4 + (bottom - top) * near
            long, high = 24 + 150 * near * rng.uniform(0.5, 1), 1.2 + 7 * near
            crests += f"M{x:.0f} {y:.1f}q{long / 2:.0f} {-high * 2:.1f} {long:.0f} 0q{-long / 2:.0f} {-high:.1f} {-long:.0f} 0z"
        stage.path(crests, fill, opacity)


def _glitter(stage: Stage, top: float, bottom: float) -> None:
    """The reflection of the sun or the moon on the water."""
    rng = stage.rng
    x, _ = lamp_place(stage)
    lamp = stage.sky_tone(stage.light.lamp)
    sparks = ""
    for _ in range(95):
        near = rng.random()
        spread = 26 + 120 * near
        at, y, long = x + rng.gauss(0, spread * 0.55), top + 3 + (bottom - top) * near, 10 + 46 * near * rng.random()
        sparks += f"M{at - long:.0f} {y:.1f}q{long:.0f} {-2 - 4 * near:.1f} {2 * long:.0f} 0q{-long:.0f} {2 + 3 * near:.1f} {-2 * long:.0f} 0z"
    stage.path(sparks, lamp, 0.62 if stage.light.sun_is_low or stage.light.night else 0.4)


def _beach(stage: Stage) -> None:
    shore = stage.horizon + (stage.height - stage.horizon) * 0.36
    _water(stage, stage.horizon, shore + 60)
    sand = "#ecd3a0"
    _shoreline(stage, shore, stage.tone("#ffffff"), 0.85)
    _shoreline(stage, shore + 12, stage.tone(blend(sand, "#9c7a4a", 0.45)), 1.0)
    outline = _coast(stage, shore + 28)
    stage.path(
        outline,
        stage.fall(
            (0, stage.tone(blend(sand, "#b08a55", 0.35))),
            (0.2, stage.tone(sand)),
            (1, stage.tone(blend(sand, "#b88d52", 0.4))),
        ),
    )
    _grain(stage, shore + 34, 0.16, 90)
    _pebbles(stage, shore + 60)


def _coast(stage: Stage, y: float) -> str:
    w = stage.width
    return (
        f"M0 {y + 18:.0f}C{w * 0.18:.0f} {y - 14:.0f} {w * 0.33:.0f} {y + 30:.0f} {w * 0.52:.0f} {y + 8:.0f}"
        f"S{w * 0.84:.0f} {y - 18:.0f} {w:.0f} {y + 12:.0f}L{w:.0f} {stage.height:.0f}L0 {stage.height:.0f}Z"
    )


def _shoreline(stage: Stage, y: float, fill: str, opacity: float) -> None:
    stage.path(_coast(stage, y), fill, opacity)


def _pebbles(stage: Stage, top: float) -> None:
    for _ in range(26):
        y = stage.rng.uniform(top, stage.height)
        size = 2 + 6 * (1 - stage.depth(y))
        fill = stage.tone(stage.rng.choice(("#fff6e3", "#c9a877", "#e9c7b0")))
        stage.ellipse(stage.rng.uniform(0, stage.width), y, size * 1.4, size * 0.7, fill, 0.9)


def _lake(stage: Stage) -> None:
    bank = stage.height - (stage.height - stage.horizon) * 0.14
    _water(stage, stage.horizon, stage.height)
    green = GREENS[stage.scene.season]
    stage.path(stage.ridge(stage.horizon + 12, 26, 7, floor=stage.horizon + 14), stage.tone(green, 0.7))
    stage.path(stage.ridge(bank + 40, 56, 4), stage.tone(blend(green, "#2c5a28", 0.35)))
    rng = stage.rng
    reeds = ""
    for _ in range(int(stage.width * 0.07)):
        x, tall = rng.choice((rng.uniform(0, 0.22), rng.uniform(0.78, 1))) * stage.width, rng.uniform(50, 130)
        reeds += f"M{x:.0f} {stage.height:.0f}q{rng.uniform(-10, 10):.0f} {-tall * 0.7:.0f} {rng.uniform(-24, 24):.0f} {-tall:.0f}l6 {tall:.0f}z"
    stage.path(reeds, stage.tone(blend(green, "#173d1b", 0.5)))


def _snow(stage: Stage) -> None:
    stage.rect(stage.horizon, stage.height - stage.horizon, stage.tone("#dbe7f3", 0.3))
    for share, far in ((0.0, 0.55), (0.22, 0.25), (0.55, 0.0)):
        y = stage.horizon + (stage.height - stage.horizon) * share
        stage.path(
            stage.ridge(y + 40, 66, 4),
            stage.fall(
                (0, stage.tone("#ffffff", far)), (0.3, stage.tone("#e4eef8", far)), (1, stage.tone("#b7cbe3", far))
            ),
        )
    _grain(stage, stage.horizon + 30, 0.07)


def _desert(stage: Stage) -> None:
    sand = "#e6b56e"
    stage.rect(stage.horizon, stage.height - stage.horizon, stage.tone(sand, 0.6))
    rng = stage.rng
    for share, far in ((0.0, 0.95), (0.1, 0.6), (0.3, 0.3), (0.6, 0.0)):
        y = stage.horizon + (stage.height - stage.horizon) * share
        high = 120 - 40 * share
        crest = stage.width * rng.uniform(0.25, 0.75)
        lit, dark = stage.tone(blend(sand, "#fff0cf", 0.25), far), stage.tone(blend(sand, "#8a4f2a", 0.55), far)
        top = y - high * rng.uniform(0.2, 0.8)
        w, h = stage.width, stage.height
        stage.path(
            f"M0 {y + 30:.0f}C{crest * 0.5:.0f} {y + 24:.0f} {crest * 0.8:.0f} {top + 6:.0f} {crest:.0f} {top:.0f}C{crest + (w - crest) * 0.4:.0f} {top + 30:.0f} {crest + (w - crest) * 0.7:.0f} {y:.0f} {w:.0f} {y + 20:.0f}L{w:.0f} {h:.0f}L0 {h:.0f}Z",
            stage.fall((0, lit), (0.7, stage.tone(sand, far))),
        )
        stage.path(
            f"M{crest:.0f} {top:.0f}C{crest + (w - crest) * 0.4:.0f} {top + 30:.0f} {crest + (w - crest) * 0.7:.0f} {y:.0f} {w:.0f} {y + 20:.0f}L{w:.0f} {y + 90:.0f}C{crest + (w - crest) * 0.5:.0f} {y + 80:.0f} {crest - 30:.0f} {y + 60:.0f} {crest:.0f} {top:.0f}Z",
            dark,
            0.55,
        )
    _grain(stage, stage.horizon + 20, 0.1, 70)


def _street(stage: Stage) -> None:
    h, w, top = stage.height, stage.width, stage.horizon
    stage.rect(top, h - top, stage.fall((0, stage.tone("#8b9098", 0.5)), (1, stage.tone("#6f747c"))))
    kerb = top + (h - top) * 0.14
    stage.rect(kerb, h - kerb, stage.fall((0, stage.tone("#4b4f57", 0.25)), (1, stage.tone("#33363d"))))
    stage.rect(kerb, 7, stage.tone("#c4c8cd", 0.1))
    lane = top + (h - top) * 0.6
    dashes = "".join(f"M{x:.0f} {lane:.0f}h100l-10 14h-100z" for x in range(-40, int(w) + 60, 190))
    stage.path(dashes, stage.tone("#e9e4cf"), 0.85)
    if stage.light.lamps or stage.manner == "neon":
        _puddles(stage, kerb)
    _grain(stage, kerb, 0.08)
    _lamps(stage, kerb)


def _puddles(stage: Stage, top: float) -> None:
    fills = ("#ff5fd2", "#5ff0ff", "#b78bff") if stage.manner == "neon" else ("#ffd98a", "#ffc46b", "#bcd4ff")
    for _ in range(15):
        x, y = stage.rng.uniform(0, stage.width), stage.rng.uniform(top + 10, stage.height)
        fill = stage.sky_tone(stage.rng.choice(fills))
        stage.ellipse(
            x, y, stage.rng.uniform(40, 110), stage.rng.uniform(10, 26), stage.glow((0, fill, 0.38), (1, fill, 0))
        )


def _lamps(stage: Stage, kerb: float) -> None:
    tone = stage.tone("#30343b", 0.1)
    for share in (0.1, 0.5, 0.9):
        x, top = stage.width * share, kerb - 250
        stage.add(f'<rect x="{x - 4:.0f}" y="{top:.0f}" width="8" height="250" fill="{tone}"/>')
        stage.path(f"M{x - 30:.0f} {top:.0f}h60l-10 -14h-40z", tone)
        if stage.light.night or stage.light.sun_is_low:
            stage.ellipse(
                x, top + 8, 150, 150, stage.glow((0, "#ffdf9a", 0.6), (0.3, "#ffdf9a", 0.2), (1, "#ffdf9a", 0))
            )
            stage.ellipse(x, top + 6, 22, 9, "#fff1c9")


def _moon(stage: Stage) -> None:
    grey = "#a9a7a4"
    stage.path(stage.ridge(stage.horizon + 30, 60, 5), stage.fall((0, blend(grey, "#ffffff", 0.2)), (1, "#5d5b5e")))
    for _ in range(16):
        y = stage.rng.uniform(stage.horizon + 40, stage.height)
        size = 14 + 70 * (1 - stage.depth(y)) * stage.rng.uniform(0.4, 1)
        x = stage.rng.uniform(0, stage.width)
        stage.ellipse(x, y, size, size * 0.32, "#6d6b6e", 0.8)
        stage.ellipse(x + size * 0.06, y + size * 0.07, size * 0.92, size * 0.25, "#8d8b8c", 0.9)


def paint_foreground(stage: Stage) -> None:
    """Blades that stand between the viewer and the scene, and look dark against it."""
    if stage.scene.ground not in {"meadow", "garden", "lake"}:
        return
    rng = stage.rng_at("foreground")
    green = blend(GREENS[stage.scene.season], "#12301a", 0.62)
    blades = ""
    for _ in range(int(stage.width * 0.075)):
        side = rng.choice((0, 1))
        reach = abs(rng.gauss(0, 0.14))
        x = stage.width * (side + (reach if side == 0 else -reach))
        tall = rng.uniform(60, 170) * max(0.25, 1 - reach * 3)
        lean = rng.uniform(-34, 34)
        foot = stage.height + 6
        blades += f"M{x - 6:.0f} {foot:.0f}q{lean * 0.1:.0f} {-tall * 0.7:.0f} {lean:.0f} {-tall:.0f}q{6 - lean * 0.4:.0f} {tall * 0.5:.0f} {13 - lean:.0f} {tall:.0f}z"
    stage.path(blades, stage.tone(green), 0.92)


BACKDROPS: dict[str, Callable[[Stage], None]] = {
    "mountains": _mountains,
    "forest": _forest,
    "city": _city,
    "hills": _hills,
    "sky": _nothing,
}

GROUNDS: dict[str, Callable[[Stage], None]] = {
    "meadow": _meadow,
    "garden": _garden,
    "sea": _sea,
    "lake": _lake,
    "beach": _beach,
    "snow": _snow,
    "desert": _desert,
    "street": _street,
    "moon": _moon,
}
