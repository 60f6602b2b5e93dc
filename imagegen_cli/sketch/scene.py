"""The content of a picture, before it is drawn."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Subject:
    """`home` is where such a thing belongs; `on` is the art of the subject that carries it."""

    art: str
    home: str
    size: float
    count: int = 1
    colour: str = ""
    on: str = ""


class Mention(NamedTuple):
    """A word of the prompt that names something to be seen: its list, and what stands there for it."""

    text: str
    sort: str
    value: str = ""
    home: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The scene that a prompt describes. A field that the prompt does not name is empty.

    `details` are further words of the place: table, window, portrait. `left_out` are the words for which there is
    nothing to paint; which of the `mentions` are painted depends on the picture (`inventory`).
    """

    subjects: tuple[Subject, ...] = ()
    ground: str = ""
    backdrop: str = ""
    details: frozenset[str] = frozenset()
    time: str = ""
    weather: str = ""
    season: str = ""
    manner: str = ""
    tones: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def says_nothing(self) -> bool:
        return not (self.subjects or self.ground or self.backdrop or self.time or self.weather or self.season)
