"""The light of a scene: what time and weather make of the sky, of distance and of every colour."""

from dataclasses import dataclass, replace

from imagegen_cli.sketch.colours import Grade, blend, lit, with_lightness

Tint = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a scene, which colours everything in it.

    `sky` runs from the zenith to the horizon; `tint` multiplies the colour of everything; `haze` is what distance fades
    into; `lamp` is the sun's or the moon's colour; `low` is how near to the horizon it stands, 0..1.
    """

    sky: tuple[str, str, str]
    tint: Tint
    haze: str
    lamp: str
    low: float
    cloud: float
    shade: float = 0.32
    night: bool = False
    overcast: bool = False
    fog: float = 0.0

    @property
    def lamps(self) -> bool:
        """Whether lamps and windows are lit: the scene is dark enough."""
        return self.night or self.overcast or self.sun_is_low

    @property
    def sun_is_low(self) -> bool:
        return self.low > 0.5  # noqa: PLR2004 - half-way up


TIMES: dict[str, Light] = {
    "day": Light(("#2f86d6", "#7fbdec", "#dcf0f7"), (1.0, 1.0, 0.98), "#c9e2ef", "#fff7d6", 0.25, 0.42),
    "dawn": Light(("#6c8fd0", "#f0b7bd", "#ffe6b5"), (1.0, 0.93, 0.9), "#f3d2c8", "#fff0c9", 0.82, 0.42),
    "sunset": Light(("#2c2f72", "#c4517a", "#ffb45c"), (1.0, 0.82, 0.74), "#e58d74", "#ffe9a8", 0.86, 0.46),
    "night": Light(
        ("#070d28", "#142456", "#3a5a96"), (0.56, 0.63, 0.88), "#22386b", "#f6f1d5", 0.2, 0.32, 0.4, night=True
    ),
}

GREYS: dict[str, tuple[str, str, str]] = {
    "rain": ("#4d5d70", "#7a8b9b", "#b3c0c8"),
    "storm": ("#1f2838", "#3d4a5e", "#75859a"),
    "snow": ("#8fa3b8", "#b9c8d6", "#e6eef4"),
    "fog": ("#a9b7c0", "#c6d0d5", "#dfe5e7"),
    "clouds": ("#6d8399", "#9db0c0", "#d3dde3"),
}
COVERS = {"rain": 0.75, "storm": 0.85, "snow": 0.6, "fog": 0.3, "clouds": 0.72}


def light_of(time: str, weather: str, ground: str) -> Light:
    if ground == "space":
        return replace(TIMES["night"], tint=(0.95, 0.95, 1.0))
    light = TIMES[time or "day"]
    if ground in {"room", "studio"} and light.night:
        light = replace(light, tint=(0.86, 0.76, 0.68))  # a lamp is lit
    if weather not in GREYS:
        return light
    share = {"fog": 0.7, "storm": 0.85}.get(weather, 0.62) * (0.55 if time in {"night", "sunset", "dawn"} else 1)
    dark = 0.28 if light.night else 1.0
    greys = [blend(grey, "#0a1024", 1 - dark) for grey in GREYS[weather]]
    sky = tuple(blend(colour, grey, share) for colour, grey in zip(light.sky, greys, strict=True))
    dim = {"storm": 0.72, "rain": 0.86}.get(weather, 0.95)
    return replace(
        light,
        sky=(sky[0], sky[1], sky[2]),
        tint=(light.tint[0] * dim * 0.97, light.tint[1] * dim, light.tint[2] * dim * 1.03),
        haze=blend(light.haze, greys[2], share),
        cloud=COVERS[weather],
        shade=light.shade * 0.5,
        overcast=True,
        fog=0.4 if weather == "fog" else 0.15 if weather in {"rain", "snow"} else 0.0,
    )


def grade(light: Light, distance: float, manner: str) -> Grade:
    """The colour as it looks at a distance of 0..1, in this light and in this manner of painting."""
    veil = min(0.92, distance * (0.45 + light.fog))

    def graded(colour: str) -> str:
        return in_manner(blend(lit(colour, light.tint), light.haze, veil), manner)

    return graded


def in_manner(colour: str, manner: str) -> str:
    if manner == "vivid":
        return _vivid(colour)
    if manner == "warm":
        return blend(lit(colour, (1.04, 0.99, 0.9)), "#e8a35c", 0.09)
    if manner == "ink":
        return blend(colour, with_lightness("#4a4440", _light(colour)), 0.72)
    if manner == "neon":
        return blend(_vivid(colour), "#a64dff", 0.08)
    if manner == "soft":
        return blend(colour, "#f3e6d4", 0.13)
    return colour


def _light(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.3 * red + 0.59 * green + 0.11 * blue


def _vivid(colour: str) -> str:
    return blend(with_lightness("#808080", _light(colour)), colour, 1.25)
