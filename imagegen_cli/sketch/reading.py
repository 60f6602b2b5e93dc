"""A prompt into a Scene: what it names, how many, in which colour, where, when and in what weather.

The text is cut into words that a list knows and words that none does. Chinese has no spaces: the longest known word
wins, and what stands between two known ones is one unknown word.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from imagegen_cli.sketch.art import exists
from imagegen_cli.sketch.lexicon import (
    FILLER,
    LONGEST_PHRASE,
    LONGEST_WORD,
    Meaning,
    by_art,
    emoji_names,
    known,
    look_up,
    of_art,
    singulars,
)
from imagegen_cli.sketch.scene import Mention, Scene, Subject
from imagegen_cli.sketch.words import AMBIGUOUS, FLOWERS, MAX_OF_A_KIND, PLURAL, PLURALS

LONGEST_PROMPT = 4000
MAX_SUBJECTS = 12
MAX_LEFT_OUT = 60
BREAKS = {
    "on",
    "in",
    "at",
    "by",
    "with",
    "near",
    "under",
    "over",
    "to",
    "from",
    "，",
    "。",
    ",",
    ".",
    ";",
    "；",
    ":",
    "!",
    "?",
    "！",
    "？",
    "、",
    "在",
}
NO_NOUN = ("ing", "ed", "ly", "s", "ful", "ous", "less", "able", "ish", "like")
"""Endings of words that are no second half of a name: verbs, adjectives, adverbs."""
SECOND_HALVES = frozenset({"stand"})
"""Words of doing that are the second half of a name directly behind a thing: a noodle stand."""
WRAPPED_ZH = frozenset(
    {"饺子", "包子", "粽子", "馄饨", "汤圆", "春卷", "月饼", "小笼包", "寿司", "红包", "礼物", "糖果"}
)
"""Before these 包 is a verb and no bag."""
PREFIXES = frozenset("天大小长高老新")
"""Small words by themselves, and the beginnings of many."""

PIECE = re.compile(
    r"(?P<latin>[a-z]+(?:['’][a-z]+)*)|(?P<number>[0-9]+)(?![a-z0-9])|(?P<han>[\u3400-\u9fff]+)"
    r"|(?P<emoji>[\u2600-\u27bf\U0001f300-\U0001faff](?:[\ufe0f\U0001f3fb-\U0001f3ff]|\u200d[\u2600-\u27bf\U0001f300-\U0001faff])*)"
    r"|(?P<stop>[,.;:!?，。；：！？、\n])|(?P<other>\w+)"
)


@dataclass(frozen=True, slots=True)
class Token:
    """`meaning` None: no list knows it."""

    text: str
    meaning: Meaning | None
    plural: bool = False


def read(prompt: str, negative: str = "") -> Scene:
    unwanted = _scene(negative) if negative.strip() else Scene()
    return _without(_scene(prompt), unwanted)


def _scene(text: str) -> Scene:
    reader = _Reader()
    for token in tokens(text[:LONGEST_PROMPT].lower()):
        reader.take(token)
    reader.end_of_clause()
    if len(text) > LONGEST_PROMPT:
        reader.left_out.append(f"what follows character {LONGEST_PROMPT}")
    return reader.scene()


def _without(scene: Scene, unwanted: Scene) -> Scene:
    arts = {subject.art for subject in unwanted.subjects}
    names = {mention._replace(text="") for mention in unwanted.mentions}
    return replace(
        scene,
        mentions=tuple(mention for mention in scene.mentions if mention._replace(text="") not in names),
        subjects=tuple(subject for subject in scene.subjects if subject.art not in arts),
        ground="" if scene.ground == unwanted.ground else scene.ground,
        backdrop="" if scene.backdrop == unwanted.backdrop else scene.backdrop,
        time="" if scene.time == unwanted.time else scene.time,
        weather="" if scene.weather == unwanted.weather else scene.weather,
        season="" if scene.season == unwanted.season else scene.season,
        details=scene.details - unwanted.details,
    )


def tokens(text: str) -> Iterator[Token]:
    latin: list[str] = []
    for piece in PIECE.finditer(text.replace("-", " ")):
        if piece.lastgroup == "latin":
            latin.append(piece[0].replace("’", "'"))
            continue
        yield from _english(latin)
        latin.clear()
        yield from _piece(piece.lastgroup or "", piece[0])
    yield from _english(latin)


def _piece(sort: str, text: str) -> Iterator[Token]:
    if sort == "han":
        yield from _chinese(text)
    elif sort == "number":
        yield Token(text, Meaning("number", str(int(text[:9]))) if 0 < int(text[:9]) <= 100 else Meaning("filler"))  # noqa: PLR2004 - larger ones are years and pixels
    elif sort == "emoji":
        yield Token(text, _emoji(text))
    elif sort == "stop":
        yield Token(text, Meaning("stop"))
    elif not text.isascii():
        yield Token(text, None)


def _emoji(text: str) -> Meaning | None:
    for art in (text, text + "\ufe0f", re.sub("[\U0001f3fb-\U0001f3ff]", "", text)):
        if art in by_art() or exists(art):
            return of_art(art)
    return None


def _english(row: list[str]) -> Iterator[Token]:
    """The tokens of a run of words. A known thing directly before an unknown one is one thing with it: a mouse pad."""
    before: Token | None = None
    for token in _words(row):
        if before is not None and _is_first_of(before, token):
            yield Token(f"{before.text} {token.text}", None)
            before = None
            continue
        if before is not None:
            yield before
        before = token
    if before is not None:
        yield before


def _is_first_of(before: Token, token: Token) -> bool:
    """Whether an unknown word is the second half of a name. A person's name or a verb may follow a thing as well."""
    first = before.meaning
    is_thing = first is not None and first.sort == "noun" and first.home != "person" and not before.plural
    word = token.text.removesuffix("'s")
    is_noun = token.meaning is None and word.isalpha() and not word.endswith(NO_NOUN)
    return is_thing and (is_noun or word in SECOND_HALVES)


def _words(row: list[str]) -> Iterator[Token]:
    at = 0
    while at < len(row):
        for length in range(min(LONGEST_PHRASE, len(row) - at), 0, -1):
            token = _phrase(row[at : at + length], curated=length > 1)
            if token.meaning is not None or length == 1:
                yield token
                at += length
                break


def _phrase(row: list[str], *, curated: bool) -> Token:
    """`curated`: ask only the lists that are at hand."""
    if row[1:2] == ["of"]:  # cups of tea
        for singular in singulars(row[0]):
            if meaning := known().get(" ".join([singular, *row[1:]])):
                return Token(" ".join(row), meaning, plural=True)
    text = " ".join(row)
    if meaning := known().get(text):
        return Token(text, meaning, plural=text in PLURALS)
    *before, last = row
    for singular in singulars(last):
        if meaning := known().get(" ".join([*before, singular])):
            return Token(text, meaning, plural=True)
    if not curated and len(text) > 1:
        for name in (text, *singulars(text)):
            if meaning := look_up(name):
                return Token(text, meaning, plural=name != text)
    return Token(text, None)


def _chinese(run: str) -> Iterator[Token]:
    """The tokens of a run without spaces. 大 or 天 before an unknown word is its beginning."""
    before: Token | None = None
    for token in _cut(run):
        if before is not None and before.text == "包" and token.text in WRAPPED_ZH:
            before = Token("包", FILLER)
        if token.meaning is None and before is not None and before.text in PREFIXES:
            before = Token(before.text + token.text, None)
            continue
        if before is not None:
            yield before
        before = token
    if before is not None:
        yield before


def _cut(run: str) -> Iterator[Token]:
    at = start = 0
    while at < len(run):
        word = _longest(run, at)
        if not word:
            at += 1
            continue
        if start < at:
            yield Token(run[start:at], None)
        yield Token(word, look_up(word), plural=word in PLURALS)
        at += len(word)
        start = at
    if start < len(run):
        yield Token(run[start:], None)


def _longest(run: str, at: int) -> str:
    """The longest known word at this place. A single character that begins an unknown word is none by itself."""
    if word := _listed(run, at, known()):
        return word
    sort = known()[run[at]].sort if run[at] in known() else ""
    if not sort or (sort in {"noun", "place", "weather", "time", "undrawn"} and _begins_unknown(run, at + 1)):
        return _listed(run, at, emoji_names())
    return run[at]


def _listed(run: str, at: int, names: Mapping[str, Meaning]) -> str:
    sizes = range(min(LONGEST_WORD, len(run) - at), 1, -1)
    return next((run[at : at + size] for size in sizes if run[at : at + size] in names), "")


def _begins_unknown(run: str, at: int) -> bool:
    return at < len(run) and not any(run[at : at + length] in known() for length in range(1, LONGEST_WORD + 1))


@dataclass
class _Reader:
    """Reads words from left to right. A number or a colour waits for its noun until the clause ends."""

    subjects: list[Subject] = field(default_factory=list)
    certain: set[int] = field(default_factory=set)
    places: list[Meaning] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    tones: list[str] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    number: int = 0
    colour: Token | None = None
    negated: bool = False
    last: int = -1
    rider: int = -1
    before: int = -1
    mount: str = ""

    def take(self, token: Token) -> None:
        if token.text in BREAKS:
            self.end_of_clause()
        meaning = token.meaning
        if meaning is None:
            self.left_out.append(token.text[:24])
            return
        if self.negated and meaning.sort not in {"filler", "number", "colour", "stop"}:
            self.negated = meaning.sort == "not"
            return
        handler = getattr(self, f"_{meaning.sort}", self._remember)
        handler(token, meaning)

    def end_of_clause(self) -> None:
        """Use a colour that belongs to no noun: as a fruit or a flower, or as the tone of the picture."""
        token, self.colour = self.colour, None
        if token is not None and token.text.removesuffix("s") in AMBIGUOUS:
            art = AMBIGUOUS[token.text.removesuffix("s")]
            self._noun(Token(token.text, by_art()[art], token.plural), by_art()[art])
        elif token is not None and token.meaning is not None:
            self.tones.append(token.meaning.value)
        self.number = 0

    def _stop(self, _token: Token, _meaning: Meaning) -> None:
        self.end_of_clause()
        self.negated = False
        self.last = self.rider = self.before = -1
        self.mount = ""

    def _filler(self, token: Token, _meaning: Meaning) -> None:
        if token.text == "on":
            self.rider = self.last
        elif token.text == "在":
            self.before = self.last
        elif token.text in {"上", "上面"} and self.last >= 0:
            self._mounted()

    def _mounted(self) -> None:
        """The last subject carries the one before 在 or, if there is none, the one that comes next."""
        art = self.subjects[self.last].art
        if 0 <= self.before < self.last:
            self.subjects[self.before] = replace(self.subjects[self.before], on=art)
        else:
            self.mount = art
        self.before = -1

    def _not(self, _token: Token, _meaning: Meaning) -> None:
        self.negated = True

    def _number(self, _token: Token, meaning: Meaning) -> None:
        if self.colour is not None and self.colour.text in AMBIGUOUS:
            self.end_of_clause()
        self.number = min(int(meaning.value), MAX_OF_A_KIND)

    def _colour(self, token: Token, _meaning: Meaning) -> None:
        self.colour = token

    def _riding(self, _token: Token, _meaning: Meaning) -> None:
        self.rider = self.last

    def _above(self, _token: Token, _meaning: Meaning) -> None:
        if self.last >= 0:
            self.subjects[self.last] = replace(self.subjects[self.last], home="sky")

    def _clothes(self, token: Token, _meaning: Meaning) -> None:
        people = [at for at, subject in enumerate(self.subjects) if subject.home == "person"]
        colour = self.colour.meaning.value if people and self.colour is not None and self.colour.meaning else ""
        if colour:
            self.subjects[people[-1]] = replace(self.subjects[people[-1]], colour=colour)
        self.mentions.append(Mention(token.text, "clothes", colour))
        self.colour = None
        self.number = 0

    def _undrawn(self, token: Token, _meaning: Meaning) -> None:
        """A thing for which there is no art; a colour or a number before it is its own."""
        self.left_out.append(token.text)
        self.colour, self.number = None, 0
        self.rider = -1

    def _place(self, token: Token, meaning: Meaning) -> None:
        self._mention(token, meaning)
        if self.colour is not None and self.colour.meaning is not None:
            self.tones.append(self.colour.meaning.value)
        self.places.append(meaning)
        self.colour = None
        self.number = 0
        self.rider = -1

    def _mention(self, token: Token, meaning: Meaning) -> None:
        self.mentions.append(Mention(token.text, meaning.sort, meaning.value, meaning.home))

    def _remember(self, token: Token, meaning: Meaning) -> None:
        if meaning.sort in {"time", "weather", "season", "manner"}:
            self._mention(token, meaning)
        self.named.setdefault(meaning.sort, meaning.value)
        if meaning.sort in {"time", "weather"}:
            self.number = 0

    def _noun(self, token: Token, meaning: Meaning) -> None:
        colour = self.colour.meaning.value if self.colour is not None and self.colour.meaning is not None else ""
        at = self._same(meaning.value, colour)
        if at >= 0 and not token.text[0].isalnum():  # an emoji: each one counts
            self.number = min(self.subjects[at].count + 1, MAX_OF_A_KIND)
        several = FLOWERS if meaning.home == "flower" else PLURAL
        count = self.number or (several if token.plural else 1)
        if at < 0 and len(self.subjects) == MAX_SUBJECTS:
            self.left_out.append(token.text)
            return
        self._mention(token, meaning)
        if at < 0:
            self.subjects.append(Subject(meaning.value, meaning.home, meaning.size, count, colour))
            at = len(self.subjects) - 1
        elif not (at in self.certain and self.number == 0):
            old = 0 if self.number and at not in self.certain else self.subjects[at].count
            self.subjects[at] = replace(self.subjects[at], count=max(old, count))
        if self.number:
            self.certain.add(at)
        self._seat(at)
        self.last, self.number, self.colour = at, 0, None

    def _seat(self, at: int) -> None:
        art = self.subjects[at].art
        if self.rider >= 0 and self.subjects[self.rider].art != art:
            self.subjects[self.rider] = replace(self.subjects[self.rider], on=art)
        if self.mount and self.mount != art:
            self.subjects[at] = replace(self.subjects[at], on=self.mount)
        self.rider, self.mount = -1, ""

    def _same(self, art: str, colour: str) -> int:
        return next((at for at, old in enumerate(self.subjects) if (old.art, old.colour) == (art, colour)), -1)

    def scene(self) -> Scene:
        return Scene(
            subjects=tuple(self.subjects),
            ground=next((place.value for place in self.places if place.value), ""),
            backdrop=next((place.home for place in self.places if place.home), ""),
            details=frozenset(place.home for place in self.places if place.home),
            time=self.named.get("time", ""),
            weather=self.named.get("weather", ""),
            season=self.named.get("season", ""),
            manner=self.named.get("manner", ""),
            tones=tuple(dict.fromkeys(self.tones)),
            mentions=tuple(self.mentions),
            left_out=tuple(dict.fromkeys(self.left_out))[:MAX_LEFT_OUT],
        )
