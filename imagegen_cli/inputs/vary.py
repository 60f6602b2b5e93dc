r"""Variations: one prompt into many, by values of its options or of words in braces.

`NAME=VALUES`, where NAME is an option, one of the service's own, or a `{NAME}` that stands in the prompt. VALUES are
`a,b` (`\,` is a comma), `1..8`, `0..100..25` (both ends count, also downwards) or `@file`, a value a line. Several
variations are crossed, or paired by `zipped`. Braces whose name is not varied are text.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.prompts import PromptSpec

FORM = "write it as seed=1..8, ratio=1:1,16:9 or animal=@animals.txt"
OPTIONS = ("provider", "model", "ratio", "resolution", "size", "count", "seed", "negative", "image", "name")
"""What `run` has an option for."""
NUMBERS = ("count", "seed")
SCOPE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?\s*")
NAME = re.compile(r"[^\W\d][\w.-]*")
ALTERNATIVES = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")
MAX_DIGITS = 18
"""Of a number in a range: more is a slip, and its steps would never end."""


@dataclass(frozen=True, slots=True)
class Steps(Sequence[str]):
    """The numbers from `first` on, `number` of them, `step` apart: as texts, and never all in memory."""

    first: Decimal
    step: Decimal
    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204 - a slice is never asked for
        if not 0 <= index < self.number:
            raise IndexError(index)
        return f"{(self.first + self.step * index).normalize():f}"


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied, and its values in order."""

    name: str
    values: Sequence[str]


def parse_axis(text: str, lines_of: Callable[[str], Sequence[str]]) -> Axis:
    """Read `NAME=VALUES`; `lines_of` gives the lines of a file. Raises UsageError that names the axis."""
    name, equals, values = text.partition("=")
    name = name.strip().strip("{}")
    if not equals or not NAME.fullmatch(name):
        raise UsageError(f"--vary {text!r} has no name and values", hint=FORM)
    found = _values(values, lines_of)
    if not found or not all(value.strip() for value in (found if not isinstance(found, Steps) else ())):
        raise UsageError(f"--vary {name} has an empty value", hint=FORM)
    return Axis(name, found)


def _values(text: str, lines_of: Callable[[str], Sequence[str]]) -> Sequence[str]:
    if text.startswith("@"):
        return tuple(line.strip() for line in lines_of(text[1:]) if line.strip())
    if (found := SCOPE.fullmatch(text)) is not None:
        return _steps(found)
    parts = re.split(r"(?<!\\),", text)
    return tuple(part.replace("\\,", ",").strip() for part in parts)


def _steps(found: "re.Match[str]") -> Steps:
    if any(len(number) > MAX_DIGITS for number in found.groups("")):
        raise UsageError(f"{found[0].strip()} goes too far", hint=FORM)
    first, last, step = Decimal(found[1]), Decimal(found[2]), Decimal(found[3] or 1)
    if not step:
        raise UsageError(f"{found[0].strip()} has steps of 0", hint=FORM)
    count = int(abs(last - first) // step) + 1
    return Steps(first, step if last >= first else -step, count)


def alternatives(prompt: str) -> list[Axis]:
    """The `{a|b}` of a prompt, each as an axis; its name is the text as it stands."""
    return [Axis(found[0], tuple(found[1].split("|"))) for found in ALTERNATIVES.finditer(prompt)]


def combinations(axes: Sequence[Axis], *, zipped: bool) -> int:
    """How many there will be, without building one. Raises UsageError where axes to be paired differ in length."""
    _distinct(axes)
    lengths = [len(axis.values) for axis in axes]
    if zipped and len(set(lengths)) > 1:
        told = ", ".join(f"{axis.name} has {len(axis.values)}" for axis in axes)
        raise UsageError(
            f"--zip pairs variations of one length, but {told}", hint="give each the same number of values"
        )
    return (lengths[0] if lengths else 1) if zipped else math.prod(lengths)


def _distinct(axes: Sequence[Axis]) -> None:
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UsageError(f"--vary {twice} is given twice", hint=f"write all its values in one: {twice}=a,b")


def cells(axes: Sequence[Axis], *, zipped: bool) -> Iterator[Mapping[str, str]]:
    """Each combination as name → value; the last axis changes fastest."""
    values = [iter(axis.values) for axis in axes] if zipped else [axis.values for axis in axes]
    rows: Iterable[tuple[str, ...]] = zip(*values, strict=True) if zipped and axes else itertools.product(*values)
    return (dict(zip((axis.name for axis in axes), row, strict=True)) for row in rows)


def applied(spec: PromptSpec, cell: Mapping[str, str]) -> PromptSpec:
    """A prompt with the values of one combination. Raises UsageError that names the axis whose value is none."""
    stands = {name for name in cell if f"{{{name}}}" in spec.prompt or ALTERNATIVES.fullmatch(name)}
    words = {name: value for name, value in cell.items() if name in stands}
    rest = {name: value for name, value in cell.items() if name in OPTIONS or name not in words}
    varied = replace(spec, prompt=_filled(spec.prompt, words))
    for name, value in rest.items():
        varied = _with(varied, name, value)
    return varied


def _filled(prompt: str, words: Mapping[str, str]) -> str:
    """All at once: a value that looks like another's name in braces is text."""
    if not words:
        return prompt
    braces = {(name if ALTERNATIVES.fullmatch(name) else f"{{{name}}}"): value for name, value in words.items()}
    return re.sub("|".join(map(re.escape, braces)), lambda found: braces[found[0]], prompt)


def _with(spec: PromptSpec, name: str, value: str) -> PromptSpec:
    match name:
        case "model":
            return replace(spec, models=(value,))
        case "image":
            return replace(spec, references=(value,))
        case "count" | "seed":
            return replace(spec, **{name: _whole(name, value)})  # type: ignore[arg-type]
        case "size":
            return replace(spec, size=value, ratio="", resolution="")
        case "provider" | "ratio" | "resolution" | "negative" | "name":
            return replace(spec, **{name: value})  # type: ignore[arg-type]
        case _:
            return replace(spec, extra={**spec.extra, name: value})


def _whole(name: str, value: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        raise UsageError(f"--vary {name}: {value!r} is no whole number", hint=FORM)
    return int(value)
