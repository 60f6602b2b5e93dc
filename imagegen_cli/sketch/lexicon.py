"""The words of `words` and the names of all emoji, ready to be looked up."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from imagegen_cli.sketch import other_words, words
from imagegen_cli.sketch.art import exists

LONGEST_PHRASE = 4
"""English words."""

LONGEST_WORD = 8
"""Chinese characters."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`sort` says which list a word is from; `value` is what stands there for it."""

    sort: str
    value: str = ""
    home: str = ""
    size: float = 0.0


PICTURES = range(0x1F300, 0x1FAFF)
TONES = range(0x1F3FB, 0x1F400)
SIGNS = (
    range(0x1F38C, 0x1F38D),
    range(0x1F3F3, 0x1F3F5),
    range(0x1F4F3, 0x1F4F7),
    range(0x1F500, 0x1F53E),
    range(0x1F549, 0x1F568),
    range(0x1F6A9, 0x1F6AA),
    range(0x1F7E0, 0x1F7F1),
)
"""Flags, buttons, clock faces and coloured discs."""

FILLER = Meaning("filler")
UNDRAWN = Meaning("undrawn")
"""A thing for which there is no art."""


def _names(line: str) -> Iterator[str]:
    for name in re.split(r"[,|]", line):
        if name.strip():
            yield name.strip().replace("-", " ")


@cache
def known() -> Mapping[str, Meaning]:
    """Every curated word; a noun wins over a place, both over a thing without art, and all of them over a filler."""
    found = dict.fromkeys(_fillers(), FILLER)
    found |= dict.fromkeys(_undrawn(), UNDRAWN)
    for sort, table in _tables():
        found |= {name: Meaning(sort, str(value)) for line, value in table.items() for name in _names(line)}
    for line, (ground, backdrop) in words.PLACES.items():
        found |= {name: Meaning("place", ground, backdrop) for name in _names(line)}
    for home, lines in words.NOUNS.items():
        for line in lines.strip().splitlines():
            art, size, names = line.split(" ", 2)
            noun = Meaning("noun", art, home, int(size.removesuffix(" |")) / 100)
            found |= dict.fromkeys(_names(names), noun)
    return found


def _fillers() -> Iterator[str]:
    for line in (words.FILLERS, words.FILLERS_ZH, other_words.FILLERS, other_words.FILLERS_ZH):
        yield from line.replace("-", " ").split() if line.isascii() else line.split()
    yield from _names(other_words.FILLER_PHRASES.strip().replace("\n", "|"))


def _undrawn() -> Iterator[str]:
    yield from other_words.UNDRAWN_ZH.split()
    yield from _names(other_words.UNDRAWN.strip().replace("\n", "|"))


def _tables() -> Iterable[tuple[str, Mapping[str, object]]]:
    return (
        ("time", words.TIMES),
        ("weather", words.WEATHERS),
        ("season", words.SEASONS),
        ("manner", words.MANNERS),
        ("colour", words.COLOURS),
        ("number", words.NUMBERS),
        ("clothes", {words.CLOTHES: ""}),
        ("riding", {words.RIDING: ""}),
        ("above", {words.ABOVE: ""}),
        ("not", {words.NOT: ""}),
    )


@cache
def by_art() -> Mapping[str, Meaning]:
    """The curated noun of a piece of art, for emoji that stand in the prompt itself."""
    return {meaning.value: meaning for meaning in known().values() if meaning.sort == "noun"}


@cache
def emoji_names() -> Mapping[str, Meaning]:
    """The official name of every emoji that is a thing. Loading it is slow: it is needed only for unknown words."""
    import emoji  # noqa: PLC0415

    emoji.config.load_language("zh")
    found: dict[str, Meaning] = {}
    for art, names in emoji.EMOJI_DATA.items():
        if is_thing(art) and exists(art):
            for language in ("en", "zh"):
                name = str(names.get(language, "")).strip(":").lower().replace("_", " ").replace("-", " ")
                found.setdefault(name, of_art(art))
    return found


def of_art(art: str) -> Meaning:
    plain = by_art().get(art) or by_art().get(art.removesuffix("\ufe0f")) or by_art().get(art + "\ufe0f")
    return plain or Meaning("noun", art, "thing", 0.3)


def is_thing(art: str) -> bool:
    """Not a letter, an arrow, a flag, a button or a skin tone: their names are everyday words."""
    first = ord(art[0])
    toned = any(ord(char) in TONES for char in art)
    return first in PICTURES and not toned and not any(first in signs for signs in SIGNS)


def look_up(name: str) -> Meaning | None:
    return known().get(name) or emoji_names().get(name)


def singulars(word: str) -> Iterator[str]:
    """The words of which an English word may be the plural."""
    for ending, instead in (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            yield word.removesuffix(ending) + instead
