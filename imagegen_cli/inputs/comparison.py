"""Prompts that are varied, as the prompts that come of it: counted before one is built, each with a cell of its own.

Typed variations and those of a list's row are crossed with the models that are compared and with the alternatives of a
prompt; `zipped` pairs the variations alone.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.inputs.lists.common import canonical
from imagegen_cli.inputs.prompts import PromptSpec, problem_in_texts, problem_of
from imagegen_cli.inputs.vary import (
    ALTERNATIVES,
    FORM,
    MAX_ALL_TASKS,
    UNSENT,
    Axis,
    alternatives,
    cells,
    check_distinct,
    check_number,
    combinations,
    parts_of,
)
from imagegen_cli.storage.serialize import identity

SEEDS = range(1, 10**9)
"""What a shared seed is drawn from: every service that takes seeds takes these."""
LEAVE_OUT = UNSENT.format(way=Message("leave one of them out"))
STDIN = "-"
"""The source of a list without a name."""
OPTIONS = {
    "provider": "provider", "model": "model", "ratio": "ratio", "resolution": "resolution", "size": "size",
    "count": "count", "seed": "seed", "negative": "negative", "references": "image", "name": "name",
}  # fmt: skip
"""The fields that `run` has an option for, with its name."""


class Sweep(NamedTuple):
    """What one prompt is varied by: all of `vary` crossed or paired, then the models and the prompt's alternatives."""

    spec: PromptSpec
    models: Sequence[Axis]
    vary: Sequence[Axis]
    words: Sequence[Axis]

    @property
    def axes(self) -> list[Axis]:
        return [*self.models, *self.vary, *self.words]

    @property
    def tasks(self) -> int:
        """How many it comes to, without building one. Raises UsageError where axes to be paired differ in length."""
        crossed = [len(axis.values) for axis in (*self.models, *self.words)]
        return combinations(self.vary, zipped=self.spec.zipped) * prod(crossed) * self.spec.repeat

    def cells(self) -> Iterator[Mapping[str, str]]:
        """Each combination as name → value."""
        for model in cells(self.models, zipped=False):
            for varied in cells(self.vary, zipped=self.spec.zipped):
                for words in cells(self.words, zipped=False):
                    yield {**model, **varied, **words}

    @property
    def parts(self) -> list[str]:
        """`model 2`, `ratio 3` and so on."""
        varied = parts_of(self.vary, zipped=self.spec.zipped)
        words = parts_of(self.words, zipped=False, repeat=self.spec.repeat)
        return [*parts_of(self.models, zipped=False), *varied, *words]


class EqualCells:
    """Finds cells of one comparison that ask for the same: nothing is paid twice unless `repeat` says so."""

    def __init__(self) -> None:
        self._members: dict[Any, int] = {}
        """How many cells ask for these requests."""
        self._seeded: dict[Any, Mapping[str, str]] = {}
        """Each request with a seed, with the cell that it belongs to."""

    def has(self, spec: PromptSpec, requests: Sequence[ImageRequest]) -> bool:
        """Whether an earlier cell asks for the same. Raises UsageError where they have only some pictures in common."""
        origin = (spec.source, spec.place, spec.line)
        names = [identity(request) for request in requests]
        whole = (origin, spec.repetition, *names)
        self._members[whole] = self._members.get(whole, 0) + 1
        if self._members[whole] > 1:
            return True
        for name, request in zip(names, requests, strict=True):
            seeded = request.seed is not None
            first = self._seeded.setdefault((origin, name), spec.cell) if seeded else spec.cell
            if first is not spec.cell:
                _refuse_overlap(first, spec.cell, request.seed or 0)
        return False

    @property
    def remark(self) -> str:
        """What a person is told; empty where all cells differ."""
        several = [number for number in self._members.values() if number > 1]
        if not several:
            return ""
        if len(several) == 1:
            return Message("{count} equal cells are one").format(count=several[0])
        return Message("{count} equal cells are {number}").format(count=sum(several), number=len(several))


def _refuse_overlap(first: Mapping[str, str], second: Mapping[str, str], seed: int) -> None:
    way = Message(
        "each picture takes the next seed: leave room between them, as seed=1..9..4, or ask for one picture each, -n 1"
    )
    if first == second:
        message = Message("--vary {cell} would both pay for the picture with seed {seed}")
        message = message.format(cell=called(first), seed=seed)
    else:
        message = Message("--vary {cell} and {other} would both pay for the picture with seed {seed}")
        message = message.format(cell=called(first), other=called(second), seed=seed)
    raise UsageError(message, hint=UNSENT.format(way=way))


def expanded(specs: Sequence[PromptSpec], *, new_seeds: bool = False) -> list[PromptSpec]:
    """The prompts that these come to, in order. Raises UsageError before one is built where they are too many.

    `new_seeds`: the lists are sent once more, so that the seeds of the first time would bring the same pictures.
    """
    sweeps = _sweeps(specs)
    _check_number(sweeps)
    seen: dict[str, int] = {}
    found: list[PromptSpec] = []
    for sweep in sweeps:
        spec = sweep.spec
        seen[spec.prompt] = seen.get(spec.prompt, 0) + 1
        found += _expanded(sweep, _seeds(sweep, seen[spec.prompt], new=new_seeds)) if spec.is_varied else [spec]
    return found


def described(specs: Sequence[PromptSpec]) -> str:
    """`model 2 × ratio 3 × seed 2`. Raises UsageError where they are too many."""
    sweeps = _sweeps(specs)
    _check_number(sweeps)
    return _described(sweeps)


def for_more(common: PromptSpec, specs: Iterable[PromptSpec]) -> PromptSpec:
    """What the options say about a prompt that is typed later, which need not hold the words that these vary."""
    words = {name for spec in specs for name in spec.vary if f"{{{name}}}" in spec.prompt}
    kept = {name: values for name, values in common.vary.items() if canonical(name) in OPTIONS or name not in words}
    return replace(common, vary=kept)


def called(cell: Mapping[str, str]) -> str:
    """What is varied, as it is typed: `ratio=9:x model=4.0`."""
    return " ".join(f"{name}={value}" for name, value in cell.items())


def _described(sweeps: Sequence[Sweep]) -> str:
    shapes = dict.fromkeys(tuple(sweep.parts) for sweep in sweeps)
    prompts = ngettext("{count:,} prompt", "{count:,} prompts", len(sweeps))
    if len(shapes) == 1:
        return joined(" × ", [*([prompts] if len(sweeps) > 1 else []), *next(iter(shapes))])
    names = dict.fromkeys(axis.name for sweep in sweeps for axis in sweep.axes)
    return Message("{prompts}, varied by {names}").format(prompts=prompts, names=", ".join(names))


def _check_number(sweeps: Sequence[Sweep]) -> None:
    """Models that are compared alone may be as many as a list is long."""
    varied = [sweep for sweep in sweeps if sweep.vary or sweep.words or sweep.spec.repeat > 1]
    for sweep in varied:
        check_number(sweep.tasks, sweep.axes, sweep.parts)
    if (total := sum(sweep.tasks for sweep in varied)) > MAX_ALL_TASKS:
        check_number(total, [axis for sweep in varied for axis in sweep.axes], [_described(varied)], MAX_ALL_TASKS)


def _sweeps(specs: Sequence[PromptSpec]) -> list[Sweep]:
    words = {name for spec in specs for name in spec.vary if f"{{{name}}}" in spec.prompt}
    for name, first in {name: spec for spec in specs for name in spec.vary}.items():
        if name not in words and name not in first.extra and canonical(name) not in OPTIONS:
            _refuse_slip(name, specs)
    return [_sweep(spec, words) for spec in specs]


def _refuse_slip(name: str, specs: Sequence[PromptSpec]) -> None:
    """Raise UsageError for what is nearly an option or a word in braces: many services take any name as their own."""
    if near := meant(name, specs, least=0.8):
        way = Message("did you mean {near}? If {name} is the service's own, add -x {name}=VALUE")
        message = Message("--vary {name}: it is no option, and {word} stands in no prompt")
        message = message.format(name=name, word=f"{{{name}}}")
        raise UsageError(message, hint=UNSENT.format(way=way.format(near=near, name=name)))


def meant(name: str, specs: Iterable[PromptSpec], *, least: float) -> str:
    """The option of `run`, or the word in braces of these prompts, that is like the name; empty where none is."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for slips

    words = {word for spec in specs for word in re.findall(r"\{([^\W\d][\w.-]*)\}", spec.prompt)}
    return next(iter(get_close_matches(name, sorted({*OPTIONS.values(), *words}), n=1, cutoff=least)), "")


def _sweep(spec: PromptSpec, words: set[str]) -> Sweep:
    """A name in braces of other prompts alone does not vary this one."""
    names = {name: OPTIONS.get(canonical(name), name) for name in spec.vary}
    vary = [
        Axis(named if f"{{{name}}}" not in spec.prompt else name, spec.vary[name])
        for name, named in names.items()
        if f"{{{name}}}" in spec.prompt or named in OPTIONS.values() or name not in words
    ]
    models = [Axis("model", spec.models)] if len(spec.models) > 1 else []
    sweep = Sweep(spec, models, vary, alternatives(spec.prompt) if spec.alternatives else [])
    names_varied = {axis.name for axis in sweep.axes}
    check_distinct(axis.name for axis in sweep.axes)
    _check_shape(spec, names_varied)
    if "seed" in names_varied and spec.repeat > 1:
        again = Message(
            "--repeat makes each variation again with another seed, and --vary seed says which seeds there are"
        )
        raise UsageError(again, hint=LEAVE_OUT)
    return sweep


def _check_shape(spec: PromptSpec, varied: set[str]) -> None:
    """Raise UsageError where a size meets a ratio or a resolution, and at least one of them is varied."""
    size = "--vary size" if "size" in varied else "--size" if spec.size else ""
    others = {name: getattr(spec, name) for name in ("ratio", "resolution")}
    named = next((f"--vary {name}" for name in others if name in varied), "")
    named = named or next((f"--{name}" for name, value in others.items() if value), "")
    if size and named and (varied & {"size", *others}):
        message = Message("{size} goes with no {other}: a size has its own").format(size=size, other=named)
        raise UsageError(message, hint=LEAVE_OUT)


def check_options(common: PromptSpec, given: Mapping[str, str]) -> None:
    """Raise UsageError for an option that names a value of what is varied.

    `given` are the values that come from the environment, by option: these are defaults, which a variation replaces.
    """
    values: dict[str, object] = {
        "provider": common.provider, "model": common.models, "ratio": common.ratio, "resolution": common.resolution,
        "size": common.size, "count": common.count, "seed": common.seed, "negative": common.negative,
        "image": common.references,
    }  # fmt: skip
    for name in common.vary:
        option = OPTIONS.get(canonical(name), name)
        if option in common.extra or (_text_of(values.get(option)) not in ("", given.get(option, ""))):
            typed = f"-x {option}" if option in common.extra else f"--{option}"
            message = Message("{option} names one value, and --vary {name} several").format(option=typed, name=name)
            raise UsageError(message, hint=LEAVE_OUT)


def _text_of(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)


def _seeds(sweep: Sweep, occurrence: int, *, new: bool) -> list[int | None]:
    """For each repetition the seed that all of a comparison share; None where nothing is compared, or seeds are named.

    A list that is read again must find the seeds of the first time, so that a value that it varies more joins the same
    comparison: its seeds follow from the prompt.
    """
    spec = sweep.spec
    is_compared = any(len(axis.values) > 1 for axis in sweep.axes if axis.name != "seed")
    if spec.seed is not None or not is_compared or any(axis.name == "seed" for axis in sweep.axes):
        return [None] * spec.repeat
    if new or spec.source in ("", STDIN):
        return list(random.SystemRandom().sample(SEEDS, spec.repeat))
    from hashlib import sha256  # noqa: PLC0415 - few commands compare

    texts = (f"{number} {occurrence} {spec.prompt}" for number in range(spec.repeat))
    return [SEEDS[int.from_bytes(sha256(text.encode()).digest()[:8]) % len(SEEDS)] for text in texts]


def _expanded(sweep: Sweep, seeds: Sequence[int | None]) -> Iterator[PromptSpec]:
    for cell in sweep.cells():
        varied = applied(sweep.spec, cell)
        if problem := problem_of(varied.prompt) or problem_in_texts(varied):
            raise UsageError(joined(": ", (f"--vary {called(cell)}", problem)), hint=Message("nothing was sent"))
        for number, shared in enumerate(seeds):
            yield replace(varied, seed=_following(varied, number), shared_seed=shared, repetition=number)


def _following(spec: PromptSpec, number: int) -> int | None:
    """The seed of a repetition: the same one would bring the same pictures again."""
    if spec.seed is None or spec.seed == -1:
        return spec.seed
    return spec.seed + number * (spec.count or 1)


def applied(spec: PromptSpec, cell: Mapping[str, str]) -> PromptSpec:
    """A prompt with the values of one combination. Raises UsageError that names the axis whose value is none."""
    stands = {name for name in cell if f"{{{name}}}" in spec.prompt or ALTERNATIVES.fullmatch(name)}
    words = {name: value for name, value in cell.items() if name in stands}
    rest = {name: value for name, value in cell.items() if name in OPTIONS.values() or name not in words}
    prompt = _filled(spec.prompt, words)
    varied = replace(spec, prompt=prompt, cell=cell, vary={}, zipped=False, alternatives=False, repeat=1)
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
    change = _CHANGES.get(name)
    return replace(spec, extra={**spec.extra, name: value}) if change is None else change(spec, value)


def _whole(name: str, value: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        message = Message("--vary {name}: {value!r} is no whole number").format(name=name, value=value)
        raise UsageError(message, hint=FORM)
    return int(value)


_CHANGES: dict[str, Callable[[PromptSpec, str], PromptSpec]] = {
    "provider": lambda spec, value: replace(spec, provider=value),
    "model": lambda spec, value: replace(spec, models=(value,)),
    "ratio": lambda spec, value: replace(spec, ratio=value, size=""),
    "resolution": lambda spec, value: replace(spec, resolution=value, size=""),
    "size": lambda spec, value: replace(spec, size=value, ratio="", resolution=""),
    "count": lambda spec, value: replace(spec, count=_whole("count", value)),
    "seed": lambda spec, value: replace(spec, seed=_whole("seed", value)),
    "negative": lambda spec, value: replace(spec, negative=value),
    "image": lambda spec, value: replace(spec, references=(value,)),
    "name": lambda spec, value: replace(spec, name=value),
}
