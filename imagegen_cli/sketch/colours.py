"""Arithmetic on colours written #rrggbb."""

import colorsys
from collections.abc import Callable
from functools import cache

Grade = Callable[[str], str]


@cache
def channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def written(red: float, green: float, blue: float) -> str:
    return "#" + "".join(f"{round(min(1.0, max(0.0, part)) * 255):02x}" for part in (red, green, blue))


def blend(one: str, other: str, share: float) -> str:
    """`share` 0 is `one`, 1 is `other`."""
    a, b = channels(one), channels(other)
    return written(*(x + (y - x) * share for x, y in zip(a, b, strict=True)))


def lit(colour: str, light: tuple[float, float, float]) -> str:
    red, green, blue = channels(colour)
    return written(red * light[0], green * light[1], blue * light[2])


def hue(colour: str) -> float:
    return colorsys.rgb_to_hls(*channels(colour))[0]


def lightness(colour: str) -> float:
    return colorsys.rgb_to_hls(*channels(colour))[1]


def saturation(colour: str) -> float:
    return colorsys.rgb_to_hls(*channels(colour))[2]


def with_lightness(colour: str, value: float) -> str:
    hue_, _, saturation_ = colorsys.rgb_to_hls(*channels(colour))
    return written(*colorsys.hls_to_rgb(hue_, value, saturation_))


def turned(colour: str, by: float) -> str:
    """Moved along the colour wheel; 1 is a whole turn."""
    hue_, lightness_, saturation_ = colorsys.rgb_to_hls(*channels(colour))
    return written(*colorsys.hls_to_rgb((hue_ + by) % 1, lightness_, saturation_))
