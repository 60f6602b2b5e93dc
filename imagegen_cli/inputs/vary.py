r"""Variations: one prompt into many, by values of its options or of words in braces.

`NAME=VALUES`, where NAME is an option, one of the service's own, or a `{NAME}` that stands in the prompt. VALUES are
`a,b` (`\,` is a comma), `1..8`, `0..100..25` (both ends count, also downwards) or `@file`, a value a line. A text that
looks like a range and is none is refused; `1\..x` is the text `1..x`. Several variations are crossed, or paired by
`zipped`. Braces whose name is not varied are text.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext

FORM = Message("write it as seed=1..8, ratio=1:1,16:9 or animal=@animals.txt")
UNSENT = Message("nothing was sent; {way}")
SCOPE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?\s*")
BETWEEN = re.compile(r"(?<!\\)\.\.")
"""What stands between the numbers of a range; behind a backslash it is text."""
NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?%?", re.IGNORECASE)
"""What a person may mean as a number."""
NAME = re.compile(r"(?:\d+\.)?[^\W\d][\w.-]*")
IN_LISTS = Message("a list gives the values themselves: a,b or 1..8")
AMONG_OTHERS = Message("--vary {name}: {text} is a range among other values")
NO_RANGE = Message("--vary {name}: {text} is no range")
WRITE_ALONE = Message("write a range alone, as 1..8 or 0..100..25, or {written} is the text itself")
WRITE_RANGE = Message("write it as 1..8 or 0..100..25; {written} is the text itself")
BEHIND_BACKSLASH = r"\\.."
ALTERNATIVES = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")
MAX_TASKS = 10_000
"""Tasks that the variations of one prompt may come to."""
MAX_ALL_TASKS = 100_000
"""Tasks that the variations of all prompts of a command may come to."""
MAX_DIGITS = 18
"""Of a number in a range: more is a slip, and its steps would never end."""


class Steps(Sequence[str]):
    """The numbers from `first` on, `number` of them, `step` apart: as texts, and never all in memory."""

    def __init__(self, first: Decimal, step: Decimal, number: int) -> None:
        self._first = first
        self._step = step
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204 - a slice is never asked for
        if not 0 <= index < self._number:
            raise IndexError(index)
        return f"{(self._first + self._step * index).normalize():f}"


class Axis(NamedTuple):
    """One thing that is varied, and its values in order."""

    name: str
    values: Sequence[str]


def parse_axis(text: str, lines_of: Callable[[str], Sequence[str]]) -> Axis:
    """Read `NAME=VALUES`; `lines_of` gives the lines of a file. Raises UsageError that names the axis."""
    name, equals, values = text.partition("=")
    name = name.strip().strip("{}")
    if not equals or not NAME.fullmatch(name):
        raise UsageError(Message("--vary {text!r} has no name and values").format(text=text), hint=FORM)
    found = _values(name, values, lines_of)
    if not found or not all(value.strip() for value in (found if not isinstance(found, Steps) else ())):
        raise UsageError(Message("--vary {name} has an empty value").format(name=name), hint=FORM)
    return Axis(name, found)


def axes_in(texts: Iterable[str], lines_of: Callable[[str], Sequence[str]]) -> dict[str, Sequence[str]]:
    """Name to values of each `NAME=VALUES`. Raises UsageError that names the axis."""
    axes = [parse_axis(text, lines_of) for text in texts]
    check_distinct(axis.name for axis in axes)
    return {axis.name: axis.values for axis in axes}


def axes_of_row(value: Any) -> dict[str, Sequence[str]]:
    r"""What a row of a list varies: `ratio=1:1,16:9; seed=1..2` (`\;` is a semicolon), or names and values in JSON.

    Values are a text as behind `--vary`, or a list that is taken as it is. A list may come from another person, so it
    names no file. Raises UsageError.
    """
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        parts = (part.replace("\\;", ";") for part in re.split(r"(?<!\\);", value) if part.strip())
        return axes_in(parts, _no_file)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            message = Message("vary holds no JSON object: {text!r}").format(text=value[:60])
            raise UsageError(message, hint=FORM) from None
    if not isinstance(value, dict) or not value:
        message = Message("vary must be a text or an object, not {value!r}")
        raise UsageError(message.format(value=str(value)[:60]), hint=FORM)
    check_distinct(value)
    return {axis.name: axis.values for axis in (_axis_of(str(name), values) for name, values in value.items())}


def _axis_of(name: str, values: Any) -> Axis:
    name = name.strip().strip("{}")
    if isinstance(values, str):
        return parse_axis(f"{name}={values}", _no_file)
    if not isinstance(values, list) or not values or not NAME.fullmatch(name):
        message = Message("vary {name} must have a text or a list of values")
        raise UsageError(message.format(name=name[:60]), hint=FORM)
    if not all(_is_value(value) for value in values):
        raise UsageError(Message("vary {name} must have texts or numbers").format(name=name), hint=FORM)
    return Axis(name, tuple(str(value).strip() for value in values))


def _is_value(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(str(value).strip())


def _no_file(name: str) -> Sequence[str]:
    raise UsageError(Message("vary names the file {name!r}").format(name=name), hint=IN_LISTS)


def _values(name: str, text: str, lines_of: Callable[[str], Sequence[str]]) -> Sequence[str]:
    if text.startswith("@"):
        return tuple(line.strip() for line in lines_of(text[1:]) if line.strip())
    if (found := SCOPE.fullmatch(text)) is not None:
        return _steps(name, found)
    parts = re.split(r"(?<!\\),", text)
    return tuple(_text(name, part.replace("\\,", ",").strip(), alone=len(parts) == 1) for part in parts)


def _text(name: str, text: str, *, alone: bool) -> str:
    """A value as it is. Raises UsageError where it looks like a range: each text would be paid for as a prompt."""
    if _looks_like_range(BETWEEN.split(text)):
        is_range = SCOPE.fullmatch(text) is not None and not alone
        message, way = (AMONG_OTHERS, WRITE_ALONE) if is_range else (NO_RANGE, WRITE_RANGE)
        way = way.format(written=f"{name}={BETWEEN.sub(BEHIND_BACKSLASH, text)}")
        raise UsageError(message.format(name=name, text=text), hint=UNSENT.format(way=way))
    plain = text.replace("\\..", "..")
    return plain if _looks_like_range(plain.split("..")) else text


def _looks_like_range(ends: Sequence[str]) -> bool:
    """Whether one of what stands around `..` is a number, all of them have digits, or they are single letters."""
    ends = [end.strip() for end in ends]
    if len(ends) < 2 or any("/" in end or "\\" in end for end in ends):  # noqa: PLR2004 - both ends of one range
        return False
    has_number = any(NUMBER.fullmatch(end) for end in ends)
    words = all(re.fullmatch(r"\S*\d\S*", end) for end in ends)
    return has_number or words or all(re.fullmatch(r"[^\W\d_]", end) for end in ends)


def _steps(name: str, found: "re.Match[str]") -> Steps:
    scope = found[0].strip()
    if any(len(number) > MAX_DIGITS for number in found.groups("")):
        raise UsageError(Message("--vary {name}: {scope} goes too far").format(name=name, scope=scope), hint=FORM)
    first, last, step = Decimal(found[1]), Decimal(found[2]), Decimal(found[3] or 1)
    if not step:
        raise UsageError(Message("--vary {name}: {scope} has steps of 0").format(name=name, scope=scope), hint=FORM)
    count = int(abs(last - first) // step) + 1
    return Steps(first, step if last >= first else -step, count)


def alternatives(prompt: str) -> list[Axis]:
    """The `{a|b}` of a prompt, each as an axis whose name is the text as it stands; equal ones vary together."""
    found = {one[0]: tuple(one[1].split("|")) for one in ALTERNATIVES.finditer(prompt)}
    return [Axis(name, values) for name, values in found.items()]


def combinations(axes: Sequence[Axis], *, zipped: bool) -> int:
    """How many there will be, without building one. Raises UsageError where axes to be paired differ in length."""
    check_distinct(axis.name for axis in axes)
    lengths = [len(axis.values) for axis in axes]
    if zipped and len(set(lengths)) > 1:
        has = Message("{name} has {count}")
        told = joined(", ", [has.format(name=axis.name, count=len(axis.values)) for axis in axes])
        message = Message("--zip pairs variations of one length, but {lengths}").format(lengths=told)
        raise UsageError(message, hint=Message("give each the same number of values"))
    return (lengths[0] if lengths else 1) if zipped else math.prod(lengths)


def check_typed(texts: Iterable[str], *, zipped: bool, repeat: int) -> None:
    """Refuse what is too much or cannot be read before more of the program is needed. Raises UsageError.

    What a file holds is counted later, with the prompts.
    """
    axes = [parse_axis(text, _no_file) for text in texts if not _is_from_file(text)]
    if not zipped:
        check_number(combinations(axes, zipped=False) * repeat, axes, parts_of(axes, zipped=False, repeat=repeat))


def _is_from_file(text: str) -> bool:
    return text.partition("=")[2].startswith("@")


def parts_of(axes: Sequence[Axis], *, zipped: bool, repeat: int = 1) -> list[str]:
    """`model 2`, `ratio 3` and so on; `ratio+seed 3` where they are paired."""
    groups = [list(axes)] if zipped and axes else [[axis] for axis in axes]
    found = [f"{'+'.join(axis.name for axis in group)} {len(group[0].values):,}" for group in groups]
    return found + ([f"repeat {repeat:,}"] if repeat > 1 else [])


def check_number(tasks: int, axes: Iterable[Axis], parts: Iterable[str], limit: int = MAX_TASKS) -> None:
    """Raise UsageError where these are more tasks than `limit`; it names the longest axis."""
    if tasks <= limit:
        return
    longest = max(axes, key=lambda axis: len(axis.values), default=None)
    message = ngettext(
        "{count:,} task would be sent: {parts}; variations come to at most {limit:,}",
        "{count:,} tasks would be sent: {parts}; variations come to at most {limit:,}",
        tasks,
        parts=joined(" × ", parts),
        limit=limit,
    )
    raise UsageError(message, hint=UNSENT.format(way=_fewer(longest)))


def _fewer(longest: Axis | None) -> Message:
    if longest is None:
        return Message("lower --repeat")
    has = Message("{name} has {count:,} values: give it fewer")
    return has.format(name=longest.name, count=len(longest.values))


def check_distinct(names: Iterable[str]) -> None:
    """Raise UsageError for a name that is varied twice."""
    known: set[str] = set()
    for name in names:
        if name in known:
            hint = Message("write all its values in one: {example}").format(example=f"{name}=a,b")
            raise UsageError(Message("--vary {name} is given twice").format(name=name), hint=hint)
        known.add(name)


def cells(axes: Sequence[Axis], *, zipped: bool) -> Iterator[Mapping[str, str]]:
    """Each combination as name → value; the last axis changes fastest."""
    values = [iter(axis.values) for axis in axes] if zipped else [axis.values for axis in axes]
    rows: Iterable[tuple[str, ...]] = zip(*values, strict=True) if zipped and axes else itertools.product(*values)
    return (dict(zip((axis.name for axis in axes), row, strict=True)) for row in rows)
