"""An order into a PNG: read the words, decide what they leave open, paint from back to front, render."""

import hashlib
from dataclasses import replace

from imagegen_cli import __version__
from imagegen_cli.sketch import inside, land, sky
from imagegen_cli.sketch.art import ARTIST
from imagegen_cli.sketch.inventory import drawn_and_not
from imagegen_cli.sketch.light import light_of
from imagegen_cli.sketch.noise import grain
from imagegen_cli.sketch.order import Drawing, Order
from imagegen_cli.sketch.painting import paint_sprites
from imagegen_cli.sketch.placing import place
from imagegen_cli.sketch.png import with_texts
from imagegen_cli.sketch.reading import LONGEST_PROMPT, MAX_LEFT_OUT, read
from imagegen_cli.sketch.scene import Scene
from imagegen_cli.sketch.stage import UNIT, Stage

MANNERS = ("", "soft", "vivid", "warm")
"""The manners of painting; the model's name chooses one, and never changes what is drawn."""

COLD, HOT = {"🐧", "🐻‍❄️", "⛄", "🦭", "🛷", "🎅", "⛷️", "🏂"}, {"🐪", "🌵", "🦂"}
COAST = {"lighthouse", "🏖️", "🌴", "🐚", "🦀"}
FURNITURE = {"🛋️", "🛏️", "🪑"}
STREET = {"🚗", "🏎️", "🚙", "🚕", "🚓", "🚌", "🚒", "🚑", "🚚", "🛵", "🏍️", "🚋"}


def draw(order: Order) -> Drawing:
    import resvg_py  # noqa: PLC0415 - everything up to here can be tried without the renderer

    scene = decided(read(order.prompt, order.negative))
    stage = painted(scene, order)
    png = resvg_py.svg_to_bytes(
        svg_string=svg_of(stage), width=order.width, height=order.height, skip_system_fonts=True
    )
    drawn, not_drawn = drawn_and_not(scene, stage.arts)
    return Drawing(with_texts(png, _texts(order)), drawn, (*not_drawn, *scene.left_out)[:MAX_LEFT_OUT])


def _texts(order: Order) -> dict[str, str]:
    return {
        "Software": f"imagegen {__version__}, sketch: drawn from word lists, not by an AI model",
        "Description": order.prompt[:LONGEST_PROMPT],
        "Model": order.model or "sketch",
        "Seed": str(order.seed),
        "Copyright": ARTIST,
    }


def decided(scene: Scene) -> Scene:
    """Fill in what the prompt leaves open, by the subjects that it names."""
    ground = scene.ground or _ground_for(scene)
    dark = ground == "space" or scene.manner == "neon" or _has(scene, "fireworks")
    time = scene.time or ("night" if dark else "day")
    return replace(scene, ground=ground, time=time)


def _has(scene: Scene, art: str) -> bool:
    return any(subject.art == art for subject in scene.subjects)


def _ground_for(scene: Scene) -> str:
    if scene.says_nothing:
        return "abstract"
    homes = {subject.home for subject in scene.subjects}
    arts = {subject.art for subject in scene.subjects}
    wintry = scene.weather == "snow" or scene.season == "winter"
    if scene.backdrop == "sky" and homes <= {"sky", "heaven"}:
        return "heights"
    if scene.backdrop:
        return "lake" if homes & {"boat", "swimmer"} else "snow" if wintry else "meadow"
    for ground, matches in (
        ("space", (homes and homes <= {"heaven"}) or "🛰️" in arts),
        ("underwater", homes and homes <= {"sea"}),
        ("sea", "boat" in homes),
        ("beach", arts & COAST),
        ("lake", "swimmer" in homes or "🪷" in arts),
        ("sea", "sea" in homes),
        ("snow", wintry or arts & COLD),
        ("desert", arts & HOT),
        ("street", arts & STREET and not homes & {"tall"}),
        ("room", ("thing" in homes and homes <= {"thing", "flower"}) or arts & FURNITURE),
        ("heights", arts and homes <= {"sky"} and arts & {"✈️", "🛩️", "hot-air-balloon", "🪂"}),
        ("garden", "flower" in homes or scene.season == "spring"),
    ):
        if matches:
            return ground
    return "meadow"


def manner_of(scene: Scene, model: str) -> str:
    """The prompt's own word comes first; names like 4.0 or sketch keep the plain manner, which looks best."""
    if scene.manner or not model or model.lower() in {"sketch", "default"} or model[:1].isdigit():
        return scene.manner
    return MANNERS[hashlib.sha256(model.encode("utf-8", "replace")).digest()[0] % len(MANNERS)]


def horizon_share(scene: Scene) -> float:
    shares = {"room": 0.62, "underwater": 0.78, "heights": 0.8, "sea": 0.5, "street": 0.6, "beach": 0.46, "moon": 0.6}
    return shares.get(scene.ground, 0.54)


def painted(scene: Scene, order: Order) -> Stage:
    """A decided scene, painted."""
    unit = UNIT / min(order.width, order.height)
    width, height = order.width * unit, order.height * unit
    manner = manner_of(scene, order.model)
    light = light_of(scene.time, scene.weather, scene.ground)
    stage = Stage(scene, light, manner, width, height, height * horizon_share(scene), seed=order.seed)
    _paint(stage)
    return stage


def svg_of(stage: Stage) -> str:
    """The whole picture as one SVG text."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {stage.width:.2f} {stage.height:.2f}"'
        f' preserveAspectRatio="none"><defs>{"".join(stage.defs)}</defs>{"".join(stage.parts)}</svg>'
    )


def _paint(stage: Stage) -> None:
    alone = {
        "space": sky.paint_space,
        "room": inside.paint_room,
        "studio": inside.paint_studio,
        "underwater": inside.paint_underwater,
        "heights": inside.paint_heights,
        "abstract": inside.paint_abstract,
    }
    if stage.scene.ground in alone:
        alone[stage.scene.ground](stage)
    else:
        sky.paint_sky(stage)
        land.paint_backdrop(stage)
        land.paint_ground(stage)
    sprites = place(stage)
    stage.arts = frozenset(sprite.subject.art for sprite in sprites)
    paint_sprites(stage, sprites)
    land.paint_foreground(stage)
    sky.paint_weather(stage)
    _finish(stage)


def _finish(stage: Stage) -> None:
    """A darker rim leads the eye inwards; paper and grain belong to the manner."""
    rim = stage.glow((0.55, "#000000", 0), (1, "#060a18", 0.34))
    stage.ellipse(stage.width / 2, stage.height / 2, stage.width * 0.76, stage.height * 0.76, rim)
    if stage.manner in {"soft", "ink"}:
        stage.rect(0, stage.height, "#f6ead3", 0.1)
        stage.image(grain(stage.rng_at("paper"), 200), 0, 0, stage.width, stage.height, 0.07)
        stage.image(grain(stage.rng_at("fibre"), 140, white=30), 0, 0, stage.width, stage.height, 0.06)
