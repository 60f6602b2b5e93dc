"""Which words of the prompt a picture shows, and which it does not.

Every word that names something to be seen is either painted by one of the modules `sky`, `land`, `inside` and
`painting`, or named as not drawn. The rules here say when those modules paint it.
"""

from collections.abc import Collection, Iterator

from imagegen_cli.sketch.scene import Mention, Scene

WITHOUT_HORIZON = frozenset({"space", "room", "studio", "underwater", "heights", "abstract"})
"""Grounds that are painted without a backdrop."""

WITHOUT_SKY = frozenset({"space", "room", "studio", "underwater", "abstract"})
WITHOUT_HILLS = frozenset({"sea", "beach", "desert"})
MOON = frozenset(
    {
        "moon",
        "full moon",
        "moonlight",
        "moonlit",
        "月光",
        "月亮",
        "月夜",
        "明月",
        "圆月",
        "月",
        "皓月",
        "残月",
        "弯月",
        "月色",
    }
)
STARS = frozenset({"stars", "starry", "starry night", "starry sky", "星空", "星星", "繁星", "星河", "星光", "星夜"})
SUN = frozenset(
    {
        "sun",
        "sunlight",
        "sunshine",
        "太阳",
        "阳光",
        "夕阳",
        "落日",
        "朝阳",
        "斜阳",
        "残阳",
        "白日",
        "红日",
        "烈日",
        "旭日",
        "日光",
    }
)
OVERCAST = frozenset({"rain", "storm", "snow", "clouds", "fog"})
"""Weather that hides the sun and the stars; the moon is painted in front of clouds, but not in fog."""


def drawn_and_not(scene: Scene, arts: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of the prompt that the picture shows, and those that it does not, each in the order of the prompt.

    `scene` is decided: its ground and its time are chosen. `arts`: the art of all that has a place in the picture.
    """
    shown = {mention.text for mention in scene.mentions if _is_painted(mention, scene, arts)}
    drawn = tuple(dict.fromkeys(mention.text for mention in scene.mentions if mention.text in shown))
    missing = (mention.text for mention in scene.mentions if mention.text not in shown)
    return drawn, tuple(dict.fromkeys(missing))


def _is_painted(mention: Mention, scene: Scene, arts: Collection[str]) -> bool:
    match mention.sort:
        case "noun":
            return mention.value in arts
        case "place":
            return any(_is_place_painted(mention, scene))
        case "time":
            return mention.value == scene.time and _is_light_painted(mention.text, scene)
        case "weather":
            return mention.value == scene.weather and _is_weather_painted(scene)
        case "manner" | "season":
            is_seen = mention.sort == "manner" or scene.ground not in WITHOUT_SKY
            return mention.value in {scene.manner, scene.season} and is_seen
        case _:
            return bool(mention.value)  # clothes are painted as the colour of a person, if they have one


def _is_place_painted(mention: Mention, scene: Scene) -> Iterator[bool]:
    ground, backdrop = mention.value, mention.home
    has_horizon = scene.ground not in WITHOUT_HORIZON
    yield bool(ground) and ground == scene.ground and (backdrop in {"", scene.backdrop} or not has_horizon)
    yield backdrop == "sky" and scene.ground not in WITHOUT_SKY
    is_behind = bool(backdrop) and backdrop == scene.backdrop and has_horizon
    yield is_behind and not (backdrop == "hills" and scene.ground in WITHOUT_HILLS)


def _is_light_painted(word: str, scene: Scene) -> bool:
    """Whether the sun, the moon or the stars that a word names can be seen; other words name the light alone."""
    if word in SUN:
        return scene.ground not in WITHOUT_SKY and scene.weather not in OVERCAST
    if word in MOON:
        if scene.ground == "room":
            return scene.weather not in {"rain", "storm", "snow"}  # the moon in the window
        return scene.ground not in WITHOUT_SKY and scene.weather != "fog"
    if word in STARS:
        return scene.ground == "space" or (scene.ground not in WITHOUT_SKY and scene.weather not in OVERCAST)
    return scene.ground not in {"underwater", "abstract"}


def _is_weather_painted(scene: Scene) -> bool:
    if scene.ground == "room":
        return scene.weather in {"rain", "storm", "snow", "clouds"}  # in the window
    return scene.ground not in WITHOUT_SKY
