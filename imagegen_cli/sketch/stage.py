"""The canvas of one picture and the means to draw on it. The shorter side measures 1000."""

import itertools
import random
from dataclasses import dataclass, field

from imagegen_cli.sketch.colours import Grade
from imagegen_cli.sketch.light import Light, grade, in_manner
from imagegen_cli.sketch.scene import Scene

UNIT = 1000.0


@dataclass
class Stage:
    """`horizon` and `near` are heights: where the ground begins, and where the foremost things stand.

    `arts`: the art of every subject that found a place.
    """

    scene: Scene
    light: Light
    manner: str
    width: float
    height: float
    horizon: float
    seed: int
    rng: random.Random = field(init=False)
    parts: list[str] = field(default_factory=list)
    defs: list[str] = field(default_factory=list)
    arts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.rng = self.rng_at("")

    @property
    def near(self) -> float:
        return self.horizon + (self.height - self.horizon) * 0.8

    def rng_at(self, place: str) -> random.Random:
        """Random numbers for one part of the picture, so that a change of another part does not change it."""
        return random.Random(f"{self.seed} {place}")

    def grade(self, distance: float = 0.0) -> Grade:
        return grade(self.light, distance, self.manner)

    def tone(self, colour: str, distance: float = 0.0) -> str:
        return self.grade(distance)(colour)

    def sky_tone(self, colour: str) -> str:
        """A colour of a light source: only the manner of painting changes it."""
        return in_manner(colour, self.manner)

    def depth(self, y: float) -> float:
        """0 at the feet of the viewer, 1 at the horizon."""
        return min(1.0, max(0.0, (self.height - y) / max(1.0, self.height - self.horizon)))

    def add(self, *parts: str) -> None:
        self.parts.extend(parts)

    def define(self, kind: str, inner: str, **attributes: object) -> str:
        """Put a gradient, filter or clip into <defs>; gives its address."""
        name = f"d{len(self.defs)}"
        text = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
        self.defs.append(f'<{kind} id="{name}"{text}>{inner}</{kind}>')
        return f"url(#{name})"

    def fall(self, *stops: tuple[float, str] | tuple[float, str, float]) -> str:
        """A gradient from top to bottom."""
        return self.define("linearGradient", _stops(stops), x1=0, y1=0, x2=0, y2=1)

    def glow(self, *stops: tuple[float, str] | tuple[float, str, float]) -> str:
        return self.define("radialGradient", _stops(stops))

    def rect(self, y: float, height: float, fill: str, opacity: float = 1.0) -> None:
        seen = f' opacity="{opacity:g}"' if opacity < 1 else ""
        self.add(f'<rect x="0" y="{y:.1f}" width="{self.width:.1f}" height="{height:.1f}" fill="{fill}"{seen}/>')

    def ellipse(  # noqa: PLR0917 - a place and a size are four numbers
        self, x: float, y: float, rx: float, ry: float, fill: str, opacity: float = 1.0
    ) -> None:
        seen = f' opacity="{opacity:.3g}"' if opacity < 1 else ""
        self.add(f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{rx:.1f}" ry="{ry:.1f}" fill="{fill}"{seen}/>')

    def path(self, outline: str, fill: str, opacity: float = 1.0) -> None:
        seen = f' opacity="{opacity:.3g}"' if opacity < 1 else ""
        self.add(f'<path d="{outline}" fill="{fill}"{seen}/>')

    def image(  # noqa: PLR0917 - a place and a size are four numbers
        self, address: str, x: float, y: float, width: float, height: float, opacity: float = 1.0
    ) -> None:
        self.add(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" opacity="{opacity:.3g}"'
            f' preserveAspectRatio="none" href="{address}"/>'
        )

    def ridge(self, base: float, height: float, steps: int, *, floor: float | None = None) -> str:
        """An outline of hills or peaks whose feet are at `base`."""
        points = [
            (self.width * (at - 0.5) / (steps - 1), base - height * self.rng.uniform(0.15, 1.0))
            for at in range(steps + 1)
        ]
        bottom = self.height if floor is None else floor
        line = f"M{-self.width:.0f} {bottom:.0f}L{points[0][0]:.1f} {points[0][1]:.1f}"
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            line += _wave(x0, y0, x1, y1)
        return line + f"L{self.width * 2:.0f} {bottom:.0f}Z"


def _wave(x0: float, y0: float, x1: float, y1: float) -> str:
    middle = (x0 + x1) / 2
    return f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def _stops(stops: tuple[tuple[float, str] | tuple[float, str, float], ...]) -> str:
    text = ""
    for at, colour, *opacity in stops:
        seen = f' stop-opacity="{opacity[0]:g}"' if opacity else ""
        text += f'<stop offset="{at:g}" stop-color="{colour}"{seen}/>'
    return text
