"""Rules that several services have for a request, each with the sentence that a person reads when a request breaks it.

Nothing here speaks HTTP: a provider that only draws uses these rules too.
"""

import math
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.references import is_remote
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.task import ImageRequest

T = TypeVar("T")

Rule = tuple[bool, str]
"""Whether a request breaks the rule, and the sentence."""
RATIO = re.compile(r"(\d{1,5}(?:\.\d{1,5})?):(\d{1,5}(?:\.\d{1,5})?)", re.ASCII)
RATIO_DIGITS = 10**5
"""The factor that makes a whole number of each side of a ratio."""
MAX_SHOWN_CHARS = 40
"""Characters of a wrong value that a message repeats."""
SEEDREAM_SIZES = {
    "1:1": ((1328, 1328), (2048, 2048)),
    "4:3": ((1472, 1104), (2304, 1728)),
    "3:4": ((1104, 1472), (1728, 2304)),
    "3:2": ((1584, 1056), (2496, 1664)),
    "2:3": ((1056, 1584), (1664, 2496)),
    "16:9": ((1664, 936), (2560, 1440)),
    "9:16": ((936, 1664), (1440, 2560)),
    "21:9": ((2016, 864), (3024, 1296)),
}
"""Ratio -> pixels at 1k and 2k in 即梦, Dreamina and Volcengine: the same models behind three kinds of services."""


def check(rules: Iterable[Rule]) -> None:
    """Raise BadRequest with the first rule that is broken."""
    for broken, rule in rules:
        if broken:
            raise BadRequest(rule)


def broken_if(is_broken: object, sentence: Message, **values: object) -> Rule:
    """A rule whose sentence has values; they are put in only where the request breaks it."""
    return bool(is_broken), sentence.format(**values) if is_broken else ""


# Prompt, count, seed


def prompt(request: ImageRequest, max_chars: int = 0, consequence: str = "") -> Iterator[Rule]:
    """`max_chars` 0: no limit. `consequence` says what happens beyond the limit."""
    text = request.prompt
    yield not text.strip(), Message("the prompt is empty")
    is_long = 0 < max_chars < len(text)
    rule = Message("a prompt has at most {limit} characters here, not {count}")
    if consequence:
        rule = Message("a prompt has at most {limit} characters here, not {count}: {consequence}")
    yield broken_if(is_long, rule, limit=max_chars, count=len(text), consequence=consequence)


def no_negative(request: ImageRequest, who: str) -> Rule:
    rule = Message("{who} has no negative prompt: say it in the prompt, leave --negative out")
    return broken_if(request.negative, rule, who=who)


def count(request: ImageRequest, max_images: int) -> Rule:
    one = Message("one request makes one picture here, not {count}")
    several = Message("one request makes 1 to {limit} pictures here, not {count}")
    wrong = request.count is not None and request.count not in range(1, max_images + 1)
    return broken_if(wrong, several if max_images > 1 else one, limit=max_images, count=request.count)


def has_seed(request: ImageRequest) -> bool:
    """Whether the request names a seed: -1 stands for any seed, as no seed does."""
    return request.seed not in (None, -1)


def seed(request: ImageRequest, seeds: range) -> Rule:
    wrong = has_seed(request) and request.seed not in seeds
    rule = Message("a seed is {low} to {high}, or -1 for any; not {seed}")
    return broken_if(wrong, rule, low=seeds[0], high=seeds[-1], seed=request.seed)


def seed_or_drawn(request: ImageRequest, seeds: range) -> int:
    """The seed of the request, else one drawn here: the service would draw one and not name it."""
    return request.seed if request.seed is not None and has_seed(request) else drawn(seeds)


def drawn(seeds: range) -> int:
    return random.SystemRandom().choice(seeds)


# Sizes


def is_sized(request: ImageRequest) -> bool:
    """Whether the request names a size in pixels."""
    return request.width is not None or request.height is not None


def size_or_ratio(request: ImageRequest) -> Rule:
    both = is_sized(request) and bool(request.ratio or request.resolution)
    return both, Message("say either a size, or a ratio and a resolution, not both: a size has its own")


def ratio_of(text: str) -> tuple[int, int]:
    """Width and height of a ratio such as 16:9 or 19.5:9, as the smallest whole numbers. Raises BadRequest."""
    found = RATIO.fullmatch(text)
    wide, high = (round(float(side) * RATIO_DIGITS) for side in found.groups()) if found else (0, 0)
    if not wide or not high:
        raise BadRequest(Message("a ratio is two numbers W:H such as 16:9, not {value}").format(value=shown(text)))
    divisor = math.gcd(wide, high)
    return wide // divisor, high // divisor


def sides_of(ratio: str, square: int, step: int) -> tuple[int, int]:
    """Width and height in steps of `step` pixels, about as many in all as a square with sides of `square` has.

    Raises BadRequest where that is not a ratio.
    """
    wide, high = ratio_of(ratio or "1:1")
    slant = math.sqrt(wide / high)
    return round(square * slant / step) * step, round(square / slant / step) * step


def one_of(what: str, value: str, known: Collection[str], who: str) -> Rule:
    """`what` is "ratio", "resolution" or the like; an empty value is none, and breaks nothing."""
    names = ", ".join(name for name in known if name)
    names_of = {"ratio": Message("ratio"), "resolution": Message("resolution")}
    rule = Message("{who} has no {what} {value}; it has {names}")
    is_unknown = bool(value) and value not in known
    return broken_if(is_unknown, rule, who=who, what=names_of.get(what, what), value=shown(value), names=names)


def size_in_words(width: int | None, height: int | None) -> str:
    return f"{width}x{height}"


def sizes_in_words(sizes: Iterable[tuple[int, int]]) -> str:
    return ", ".join(size_in_words(*size) for size in sizes)


# Further options


def options(request: ImageRequest, known: Collection[str], who: str) -> None:
    """Raise BadRequest where an option is not known, with the nearest one as the hint."""
    for name in request.extra:
        if name not in known:
            hint = nearest(name, known) if known else Message("it has no options")
            message = Message("{who} has no option {name}").format(who=who, name=shown(name))
            raise BadRequest(message, hint=hint)


def choice(name: str, value: str, known: Collection[str]) -> Rule:
    rule = Message("{name} is one of {known}; not {value}")
    return broken_if(value not in known, rule, name=name, known=", ".join(known), value=shown(value))


def switch(name: str, value: str) -> Rule:
    rule = Message("{name} is true or false, not {value}")
    return broken_if(value not in ("true", "false"), rule, name=name, value=shown(value))


def number(name: str, value: str, low: float, high: float, *, whole: bool = False) -> Rule:
    """The bounds are included."""
    rule = Message("{name} is a number from {low:g} to {high:g}, not {value}")
    if whole:
        rule = Message("{name} is a whole number from {low:g} to {high:g}, not {value}")
    usable = low <= plain_number(value) <= high and not (whole and "." in value)
    return broken_if(not usable, rule, name=name, low=low, high=high, value=shown(value))


def plain_number(text: str) -> float:
    """A number of digits and one point; anything else is NaN, which lies in no range."""
    return float(text) if re.fullmatch(r"[0-9]{0,6}(?:\.[0-9]{1,9})?", text, re.ASCII) and text else math.nan


# References


def files_only(references: Iterable[str], who: str) -> Iterator[Rule]:
    for reference in references:
        rule = Message("{who} takes reference pictures from files, not from addresses: download them first")
        yield broken_if(is_remote(reference), rule, who=who)


def references(request: ImageRequest, max_number: int, who: str, min_number: int = 0) -> Iterator[Rule]:
    """How many reference pictures a request may have; `max_number` 0: none."""
    number = len(request.references)
    text_alone = Message("{who} makes pictures from text alone: leave out the references")
    yield broken_if(not max_number and number > 0, text_alone, who=who)
    if not min_number <= number <= max_number:
        yield True, _wrong_number(who, number, min_number, max_number)


def _wrong_number(who: str, number: int, low: int, high: int) -> Message:
    if low == high:
        return ngettext(
            "{who} takes exactly {count} reference picture, not {number}",
            "{who} takes exactly {count} reference pictures, not {number}",
            high,
            who=who,
            number=number,
        )
    if low:
        return ngettext(
            "{who} takes {low} to {count} reference picture, not {number}",
            "{who} takes {low} to {count} reference pictures, not {number}",
            high,
            who=who,
            low=low,
            number=number,
        )
    return ngettext(
        "{who} takes at most {count} reference picture, not {number}",
        "{who} takes at most {count} reference pictures, not {number}",
        high,
        who=who,
        number=number,
    )


# Tables


def by_prefix(table: Mapping[str, T], name: str) -> T | None:
    """The entry under the longest beginning of the name; None where none matches."""
    known = [beginning for beginning in table if name.startswith(beginning)]
    return table[max(known, key=len)] if known else None


def shown(value: str) -> str:
    """A wrong value as a message repeats it."""
    return repr(value[:MAX_SHOWN_CHARS])
