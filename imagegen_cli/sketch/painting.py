"""Paint the subjects: shadow, reflection, the figure in its light, and the snow, water or grass at its feet."""

from imagegen_cli.sketch.colours import Grade, blend
from imagegen_cli.sketch.placing import Sprite
from imagegen_cli.sketch.sky import lamp_place
from imagegen_cli.sketch.stage import Stage

PANES = {"#55acee", "#bbddf5", "#88c9f9", "#ffe27a"}
"""Fills of windows, which are lit at night."""

LAWNS = {"#5c913b", "#77b255"}
LAMPLIGHT = "#ffd56b"
HOUSES = {"🏠", "🏡", "🏘️"}

INDOORS = {"room", "studio", "underwater", "space", "heights"}


def paint_sprites(stage: Stage, sprites: list[Sprite]) -> None:
    for sprite in sprites:
        if sprite.manner == "stands":
            _shadow(stage, sprite)
        elif sprite.manner == "swims":
            _reflection(stage, sprite)
        elif sprite.manner == "shines":
            _halo(stage, sprite)
        _figure(stage, sprite)
        if sprite.manner == "swims":
            _foam(stage, sprite)


def _frame(sprite: Sprite, *, stretch: float = 1.0, lean: float = 0.0) -> str:
    """From the drawing's own square to its place: middle of the feet at (x, foot)."""
    box, scale = sprite.art.box, sprite.scale
    across = -scale if sprite.flip else scale
    middle = (box.left + box.right) / 2
    turn = ""
    if sprite.turn:
        turn = f"rotate({sprite.turn:.1f} {sprite.x:.1f} {sprite.foot - sprite.height / 2:.1f}) "
    place = f"translate({sprite.x:.2f} {sprite.foot:.2f})"
    shape = f"matrix({across:.4f} 0 {lean:.4f} {scale * stretch:.4f} 0 0)"
    return f"{turn}{place} {shape} translate({-middle:.2f} {-box.bottom:.2f})"


def _far(stage: Stage, sprite: Sprite) -> float:
    if stage.scene.ground in INDOORS or sprite.manner == "poses":
        return 0.0
    if sprite.manner in {"flies", "shines"}:
        return 0.12
    return max(0.0, stage.depth(sprite.foot) - 0.35) * 0.8


def _tones(stage: Stage, sprite: Sprite) -> Grade:
    grade = stage.grade(_far(stage, sprite))
    if sprite.subject.art == "fireworks":
        return stage.sky_tone
    if sprite.subject.art in HOUSES and stage.scene.ground == "snow":
        return _snowed(grade, lit=stage.light.night)
    if sprite.subject.home != "tall" or not stage.light.night:
        return grade
    return lambda colour: LAMPLIGHT if colour.lower() in PANES else grade(colour)


def _snowed(grade: Grade, *, lit: bool) -> Grade:
    """In snow, the lawn in the drawing of a house becomes white."""

    def graded(colour: str) -> str:
        if lit and colour.lower() in PANES:
            return LAMPLIGHT
        return grade("#e6eef6" if colour.lower() in LAWNS else colour)

    return graded


def _figure(stage: Stage, sprite: Sprite) -> None:
    tones = sprite.art.graded(_tones(stage, sprite))
    frame = _frame(sprite)
    stage.add(f'<g transform="{frame}">{tones}</g>')
    name = f"c{len(stage.defs)}"
    if clip := sprite.art.clip(name):
        stage.defs.append(clip)
        stage.add(f'<g transform="{frame}"><g clip-path="url(#{name})">{_modelling(stage, sprite)}</g></g>')


def _modelling(stage: Stage, sprite: Sprite) -> str:
    """Light from the lamp's side and shade below make a flat drawing round."""
    lamp = stage.light.lamp
    left = (lamp_place(stage)[0] < sprite.x) != sprite.flip
    x1, x2 = (0, 1) if left else (1, 0)
    stops = (
        f'<stop offset="0" stop-color="{lamp}" stop-opacity="0.34"/>'
        f'<stop offset="0.45" stop-color="{lamp}" stop-opacity="0"/>'
        '<stop offset="0.6" stop-color="#0a1030" stop-opacity="0"/>'
        '<stop offset="1" stop-color="#0a1030" stop-opacity="0.34"/>'
    )
    shine = stage.define("linearGradient", stops, x1=x1, y1=0, x2=x2, y2=1)
    return f'<rect width="36" height="36" fill="{shine}"/>'


def _shadow(stage: Stage, sprite: Sprite) -> None:
    shade = blend(stage.tone("#20303a"), "#000010", 0.5)
    strength = min(0.6, stage.light.shade * 1.5)
    wide = sprite.width * 0.46
    stage.ellipse(
        sprite.x,
        sprite.foot - 2,
        wide,
        max(6.0, wide * 0.16),
        stage.glow((0, shade, strength), (0.6, shade, strength * 0.6), (1, shade, 0)),
    )
    if stage.light.overcast or stage.scene.ground in INDOORS or sprite.subject.home == "flower":
        return
    lamp = lamp_place(stage)[0]
    lean = max(-1.0, min(1.0, (sprite.x - lamp) / stage.width * 2.2)) * (0.5 + stage.light.low) * sprite.scale
    frame = _frame(sprite, stretch=-0.22 - 0.16 * stage.light.low, lean=-lean)
    stage.add(f'<g transform="{frame}" opacity="{stage.light.shade * 0.75:.2f}">{sprite.art.silhouette(shade)}</g>')


def _reflection(stage: Stage, sprite: Sprite) -> None:
    frame = _frame(sprite, stretch=-0.6)
    stage.add(f'<g transform="{frame}" opacity="0.26">{sprite.art.graded(stage.grade(0.3))}</g>')


def _foam(stage: Stage, sprite: Sprite) -> None:
    water, white = stage.tone("#1f7196", 0.1), stage.tone("#eefaff")
    wide, y = sprite.width * 0.56, sprite.foot
    line = f"M{sprite.x - wide:.0f} {y:.0f}"
    step = wide / 3
    for _ in range(6):
        line += f"q{step / 2:.1f} {-step * 0.28:.1f} {step:.1f} 0"
    stage.path(
        f"{line}q{-wide * 0.3:.0f} {step * 0.5:.0f} {-wide:.0f} {step * 0.5:.0f}t{-wide:.0f} {-step * 0.5:.0f}z",
        water,
        0.8,
    )
    stage.add(f'<path d="{line}" fill="none" stroke="{white}" stroke-width="3" opacity="0.75"/>')


def _halo(stage: Stage, sprite: Sprite) -> None:
    reach = sprite.size * 0.9
    stage.ellipse(
        sprite.x, sprite.foot - sprite.height / 2, reach, reach, stage.glow((0, "#fff3cf", 0.5), (1, "#fff3cf", 0))
    )
