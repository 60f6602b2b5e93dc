"""Bodies for the drawings that are only a head, and the art of a subject as it stands in a picture."""

# ruff: noqa: E501 - an outline is one word of SVG: broken into pieces it is harder to read

from functools import cache

from imagegen_cli.sketch.art import Art, Box, load
from imagegen_cli.sketch.colours import blend
from imagegen_cli.sketch.words import BODIES

SKIN = "#ffdc5d"
HEADS = {"👩", "👨", "👧", "👦", "👶", "👵", "👴", "👸", "🤴", "🎅"}
"""Drawings of people without shoulders; the other drawings have them."""


@cache
def figure(art: str, colour: str, *, afloat: bool = False, whole: bool = True) -> Art:
    """`whole`: with a body, where the drawing has none and one is known."""
    if not whole or art not in BODIES:
        return load(art, colour, afloat=afloat)
    main, second, cut = BODIES[art]
    if cut in {"dress", "coat"}:
        return _person(art, colour or main, blend(colour, "#000000", 0.2) if colour and cut == "dress" else second, cut)
    return _animal(art, colour, colour or main, blend(colour, "#ffffff", 0.45) if colour else second, cut)


def _person(art: str, main: str, second: str, cut: str) -> Art:
    head = f'<path fill="#eec255" d="M15.500 19h5v5c-1.500 1.500-3.500 1.500-5 0z"/><g transform="translate(7 0) scale(0.61)">{load(art).inner}</g>'
    if art not in HEADS:
        head = f'<g transform="translate(6.300 0) scale(0.65)">{load(art).inner}</g>'
    arms = (
        f'<path fill="{blend(main, "#000000", 0.14)}" d="M11.500 23.500c-4 1-5.500 7-6.500 14.500l3 .6c1.200-5 2.500-8 4.500-9zM24.500 23.500c4 1 5.500 7 6.500 14.500l-3 .6c-1.200-5-2.500-8-4.500-9z"/>'
        f'<circle fill="{SKIN}" cx="6.500" cy="39.500" r="1.900"/><circle fill="{SKIN}" cx="29.500" cy="39.500" r="1.900"/>'
    )
    shoes = '<ellipse fill="#31373d" cx="14" cy="59" rx="3.400" ry="1.800"/><ellipse fill="#31373d" cx="22" cy="59" rx="3.400" ry="1.800"/>'
    if cut == "dress":
        lower = f'<path fill="{SKIN}" d="M13 49h3v9.500h-3zM20 49h3v9.500h-3z"/>{shoes}'
        body = f'<path fill="{main}" d="M12 22.500h12l1 10 6 18c-8 2.500-18 2.500-26 0l6-18z"/><path fill="{second}" d="M11.200 31.500h13.600l.4 2.500H10.800z"/>'
    else:
        lower = f'<path fill="{second}" d="M11.600 39h12.800l-.8 19h-4.400L18 44.500 16.800 58.500h-4.400z"/>{shoes}'
        body = f'<path fill="{main}" d="M12 22.500h12c1.800 3 1.800 14 1 19.500H11c-.8-5.500-.8-16.500 1-19.500z"/><path fill="{blend(main, "#ffffff", 0.28)}" d="M17.500 23h1v18.500h-1z"/>'
    return Art(lower + arms + body + head, Box(4.5, 0, 31.5, 60.5))


def _animal(art: str, colour: str, main: str, second: str, cut: str) -> Art:
    dark = blend(main, "#000000", 0.2)
    head = f'<path fill="#eec255" d="M15.500 19h5v5c-1.500 1.500-3.500 1.500-5 0z"/><g transform="translate(4.500 0) scale(0.75)">{load(art, colour).inner}</g>'
    tail = {
        "bushy": f'<path fill="{dark}" d="M25 45c9 1 13-7 9.500-15-1 6-5 7-10 8z"/><path fill="{second}" d="M34.500 30c1.600 3.600 1.600 7 .4 9.600-1.400-1-2.400-3.400-2.200-5.600.8-.8 1.500-2 1.800-4z"/>',
        "tuft": f'<path fill="{dark}" d="M26 45c5 1 8-3 7-9l1.600-.4c1.400 8-3 12-8.600 11.400z"/><circle fill="#8f5a34" cx="34" cy="34.500" r="2.600"/>',
        "round": f'<circle fill="{dark}" cx="28" cy="43" r="3.200"/>',
    }.get(cut, "")
    body = (
        f'<path fill="{main}" d="M18 21c8 0 11.500 10 11.500 18 0 6-3 8.500-11.500 8.500S6.500 45 6.500 39C6.500 31 10 21 18 21z"/>'
        f'<ellipse fill="{second}" cx="18" cy="36.500" rx="6.200" ry="8.500"/>'
        f'<ellipse fill="{dark}" cx="9" cy="46" rx="4.600" ry="2.600"/><ellipse fill="{dark}" cx="27" cy="46" rx="4.600" ry="2.600"/>'
        f'<path fill="{main}" d="M12.300 31h4.400l-.2 15.500c0 1.500-4.400 1.500-4.400 0zM19.300 31h4.400l.2 15.500c0 1.500-4.400 1.500-4.400 0z"/>'
        f'<ellipse fill="{dark}" cx="14.300" cy="46.800" rx="2.900" ry="1.500"/><ellipse fill="{dark}" cx="21.700" cy="46.800" rx="2.900" ry="1.500"/>'
    )
    return Art(tail + body + head, Box(4, 0, 35 if cut == "bushy" else 32, 48.5))
