"""The sky and what is in it: sun, moon, stars, clouds, rainbow; and rain, snow and leaves that fall."""

# ruff: noqa: E501 - an outline is one word of SVG: broken into pieces it is harder to read

from math import cos, pi, sin

from imagegen_cli.sketch.colours import blend
from imagegen_cli.sketch.noise import clouds
from imagegen_cli.sketch.stage import Stage


def paint_sky(stage: Stage) -> None:
    top, middle, low = (stage.sky_tone(colour) for colour in stage.light.sky)
    stage.rect(0, stage.horizon + 2, stage.fall((0, top), (0.55, middle), (1, low)))
    if stage.light.night and not stage.light.overcast:
        _stars(stage, stage.horizon, 110)
    if stage.scene.weather != "fog" and not (stage.light.overcast and not stage.light.night):
        _lamp(stage)
    _clouds(stage)
    if stage.scene.weather == "rainbow":
        _rainbow(stage)
    elif stage.scene.weather == "storm":
        _lightning(stage)


def lamp_place(stage: Stage) -> tuple[float, float]:
    """Where the sun or the moon stands; shadows fall away from it."""
    side = stage.rng_at("lamp").choice((0.2, 0.28, 0.72, 0.8))
    return stage.width * side, stage.horizon * (0.16 + 0.74 * stage.light.low)


def _lamp(stage: Stage) -> None:
    x, y = lamp_place(stage)
    lamp = stage.sky_tone(stage.light.lamp)
    size = 48.0 if stage.light.night else 40.0 + 26 * stage.light.low
    reach = size * (6 if stage.light.night else 9)
    strength = 0.4 if stage.light.night else 0.75
    stage.ellipse(x, y, reach, reach, stage.glow((0, lamp, strength), (0.25, lamp, strength * 0.45), (1, lamp, 0)))
    stage.ellipse(x, y, size, size, lamp)
    if stage.light.night:
        for across, down, share in ((-0.3, -0.2, 0.2), (0.25, 0.2, 0.26), (0.3, -0.4, 0.12), (-0.25, 0.45, 0.14)):
            stage.ellipse(x + across * size, y + down * size, share * size, share * size, "#d9d2ac", 0.6)


def _stars(stage: Stage, depth: float, number: int) -> None:
    rng = stage.rng_at("stars")
    for _ in range(int(number * max(1.0, stage.width / 1000))):
        size = rng.choice((0.9, 1.1, 1.4, 1.9, 2.6))
        fill = rng.choice(("#ffffff", "#dbe6ff", "#fff3d6"))
        stage.ellipse(rng.uniform(0, stage.width), depth * rng.random() ** 1.3, size, size, fill, rng.uniform(0.35, 1))


def _clouds(stage: Stage) -> None:
    rng = stage.rng_at("clouds")
    white = {"storm": 60, "rain": 150, "clouds": 215}.get(stage.scene.weather, 255)
    if stage.light.night:
        white = min(white, 150)
    strength = 0.34 if stage.light.night else 0.85
    height = stage.horizon * 0.98
    stage.image(clouds(rng, cover=stage.light.cloud, white=white), 0, 0, stage.width, height, strength)
    if stage.light.sun_is_low:
        glow = stage.sky_tone(stage.light.sky[2])
        stage.rect(height * 0.45, stage.horizon - height * 0.45, stage.fall((0, glow, 0), (1, glow, 0.65)))


def _rainbow(stage: Stage) -> None:
    radius = min(stage.width * 0.46, stage.horizon * 0.92)
    middle = stage.width * 0.5
    for at, colour in enumerate(("#e5484d", "#f5a04c", "#f9e26b", "#6fcf7a", "#58a6ff", "#9470dc")):
        r = radius - at * 13
        stage.add(
            f'<path d="M{middle - r:.1f} {stage.horizon:.1f}A{r:.1f} {r:.1f} 0 0 1 {middle + r:.1f} {stage.horizon:.1f}"'
            f' fill="none" stroke="{colour}" stroke-width="14" opacity="0.5"/>'
        )


def paint_space(stage: Stage) -> None:
    stage.rect(0, stage.height, stage.fall((0, "#05060f"), (0.6, "#0b1030"), (1, "#161038")))
    rng = stage.rng_at("nebula")
    for colour, cover in (
        (rng.choice(("#8b3fd6", "#d63f8b", "#3f6fd6")), 0.55),
        (rng.choice(("#2fb6c9", "#e07a3f")), 0.4),
    ):
        x, y = rng.uniform(0.2, 0.8) * stage.width, rng.uniform(0.2, 0.8) * stage.height
        reach = max(stage.width, stage.height) * cover
        stage.ellipse(x, y, reach, reach * 0.6, stage.glow((0, stage.sky_tone(colour), 0.5), (1, colour, 0)))
    stage.image(clouds(rng, cover=0.42, white=190), 0, 0, stage.width, stage.height, 0.2)
    _stars(stage, stage.height, 230)
    if not any(subject.home == "heaven" for subject in stage.scene.subjects):
        _planet(stage)


def _planet(stage: Stage) -> None:
    rng = stage.rng_at("planet")
    colour = rng.choice(("#d98b5f", "#6fa8dc", "#b08bd9", "#7fc8a9"))
    r = rng.uniform(105, 165)
    x, y = stage.width * rng.choice((0.13, 0.87)), stage.height * rng.uniform(0.12, 0.22)
    stage.ellipse(x, y, r * 1.5, r * 1.5, stage.glow((0.5, colour, 0.35), (1, colour, 0)))
    dark = blend(colour, "#04040c", 0.85)
    shade = stage.define(
        "radialGradient",
        f'<stop offset="0.1" stop-color="{blend(colour, "#ffffff", 0.35)}"/>'
        f'<stop offset="0.55" stop-color="{colour}"/><stop offset="1" stop-color="{dark}"/>',
        cx=0.32,
        cy=0.3,
        r=0.85,
    )
    stage.ellipse(x, y, r, r, shade)
    if rng.random() < 0.5:  # noqa: PLR2004
        stage.add(
            f'<path d="M{x - r * 1.75:.0f} {y + r * 0.35:.0f}C{x - r:.0f} {y + r * 0.9:.0f} {x + r:.0f} {y + r * 0.35:.0f}'
            f' {x + r * 1.75:.0f} {y - r * 0.4:.0f}" fill="none" stroke="#f0dcc0" stroke-width="{r * 0.11:.0f}" opacity="0.7"/>'
        )


def paint_weather(stage: Stage) -> None:
    """Rain, snow, mist and lightning in front of the subjects."""
    weather = stage.scene.weather
    if stage.scene.ground in {"room", "studio", "underwater", "space"}:
        return
    if weather in {"rain", "storm"}:
        _rain(stage, 330 if weather == "storm" else 230)
    elif weather == "snow" or (stage.scene.season == "winter" and not weather):
        _snow(stage)
    elif weather == "fog":
        _fog(stage)
    if stage.scene.season in {"spring", "autumn"}:
        _drift(stage)


def _rain(stage: Stage, number: int) -> None:
    rng = stage.rng_at("rain")
    drops = {0.25: "", 0.5: ""}
    for _ in range(int(number * stage.width * stage.height / 1e6)):
        x, y = rng.uniform(-20, stage.width + 60), rng.uniform(-40, stage.height)
        length = rng.uniform(18, 52)
        drops[0.5 if length > 36 else 0.25] += f"M{x:.0f} {y:.0f}l{-length * 0.2:.1f} {length:.1f}"  # noqa: PLR2004
    for opacity, lines in drops.items():
        stage.add(
            f'<path d="{lines}" stroke="#e4eef7" stroke-width="{1 + 2.4 * opacity:.1f}" fill="none" opacity="{opacity}"/>'
        )
    rings = "".join(
        f'<ellipse cx="{rng.uniform(0, stage.width):.0f}" cy="{y:.0f}" rx="{6 + 16 * (1 - stage.depth(y)):.0f}" ry="{2 + 4 * (1 - stage.depth(y)):.1f}"/>'
        for y in (rng.uniform(stage.horizon + 30, stage.height) for _ in range(46))
    )
    stage.add(f'<g fill="none" stroke="#e9f3fa" stroke-width="1.6" opacity="0.45">{rings}</g>')


def _snow(stage: Stage) -> None:
    rng = stage.rng_at("snow")
    for number, small, large, opacity in ((150, 1.8, 3.2, 0.75), (70, 3.2, 6.0, 0.85), (16, 8.0, 14.0, 0.55)):
        flakes = "".join(
            f'<circle cx="{rng.uniform(0, stage.width):.0f}" cy="{rng.uniform(0, stage.height):.0f}" r="{rng.uniform(small, large):.1f}"/>'
            for _ in range(int(number * stage.width * stage.height / 1e6))
        )
        stage.add(f'<g fill="#ffffff" opacity="{opacity}">{flakes}</g>')


def _fog(stage: Stage) -> None:
    rng = stage.rng_at("fog")
    haze = stage.light.haze
    stage.rect(
        stage.horizon * 0.5,
        stage.height - stage.horizon * 0.5,
        stage.fall((0, haze, 0), (0.35, haze, 0.5), (1, haze, 0.12)),
    )
    for _ in range(5):
        y = rng.uniform(stage.horizon - 60, stage.near)
        reach = stage.width * rng.uniform(0.35, 0.7)
        stage.ellipse(
            rng.uniform(0, stage.width), y, reach, rng.uniform(34, 80), stage.glow((0, "#ffffff", 0.4), (1, haze, 0))
        )


def _lightning(stage: Stage) -> None:
    rng = stage.rng_at("lightning")
    x, y = stage.width * rng.uniform(0.25, 0.75), 0.0
    line = f"M{x:.0f} 0"
    while y < stage.horizon:
        x, y = x + rng.uniform(-55, 55), y + rng.uniform(30, 75)
        line += f"L{x:.0f} {min(y, stage.horizon):.0f}"
    for width, colour, opacity in ((16, "#b9c8ff", 0.28), (4.5, "#ffffff", 0.95)):
        stage.add(
            f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round" opacity="{opacity}"/>'
        )


def _drift(stage: Stage) -> None:
    """Petals in spring, leaves in autumn."""
    rng = stage.rng_at("drift")
    fills = ("#f9bfd2", "#fbd5e1", "#f39bb9") if stage.scene.season == "spring" else ("#d9632a", "#e8a13a", "#b8432a")
    for _ in range(int(34 * stage.width * stage.height / 1e6)):
        x, y, turn, size = (
            rng.uniform(0, stage.width),
            rng.uniform(0, stage.height),
            rng.uniform(0, 2 * pi),
            rng.uniform(5, 11),
        )
        dx, dy = cos(turn) * size, sin(turn) * size
        outline = f"M{x:.0f} {y:.0f}q{dx - dy * 0.6:.1f} {dy + dx * 0.6:.1f} {2 * dx:.1f} {2 * dy:.1f}q{-dx * 0.4 + dy:.1f} {-dy - dx:.1f} {-2 * dx:.1f} {-2 * dy:.1f}z"
        stage.path(outline, stage.tone(rng.choice(fills)), rng.uniform(0.6, 0.95))
