"""What a picture says of how it was made, as a prompt specification: only what the service that is to make it takes.

A file is hostile input. It names no file, no address and no service of the person's: of what it says only the known
fields of a request are taken, and of further options only those that the kind of service declares, with plain values.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.language import Message
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.marks.reading import Reading, request_from
from imagegen_cli.marks.values import EXTRA, FACTS, PLAIN_FIELDS
from imagegen_cli.settings.config import Config

A1111_OPTIONS = {
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Distilled CFG Scale": "distilled_cfg_scale",
}
"""Names in the settings line of A1111 -> options of the kind a1111."""
A1111_FORM = ("A1111", "Fooocus")
KNOWN = frozenset((*PLAIN_FIELDS, *FACTS, "requested_model"))
"""Parameters of our own marks that a request has, or that a service told."""
MAX_SHOWN_CHARACTERS = 60
PLAIN_VALUE = re.compile(r"[\w .,+%()-]{1,100}")
"""No sign of a path or an address is in it."""
Refusal = Callable[[PromptSpec], str]
"""Why a specification cannot be sent; empty where it can."""


class Part(NamedTuple):
    """`name` is what a message calls it; `fields` are those of a PromptSpec."""

    name: str
    fields: Mapping[str, Any]
    is_extra: bool = False


class Fitted(NamedTuple):
    """A specification that can be sent, and the names of what was left out of it."""

    spec: PromptSpec
    left_out: tuple[str, ...]


def told_by(reading: Reading, kind: str) -> tuple[PromptSpec, tuple[str, ...]]:
    """What a file says, without a provider, and what of it cannot be used; `kind` is the service that gets it.

    One picture is made where several were asked for: its own seed is known, and not those of the others.
    """
    told = request_from(reading)
    extra = dict(told["extra"]) if reading.marks else dict(_a1111_options(reading, kind))
    unusable = [name for name, text in extra.items() if not PLAIN_VALUE.fullmatch(text)]
    is_sized = told.get("width") and told.get("height")
    spec = PromptSpec(
        prompt=told["prompt"],
        models=(told["model"],) if told["model"] else (),
        ratio=told["ratio"],
        resolution=told["resolution"],
        size=f"{told['width']}x{told['height']}" if is_sized else "",
        count=1 if told["count"] else None,
        seed=told["seed"],
        negative=told["negative"],
        extra={name: text for name, text in extra.items() if name not in unusable},
    )
    omitted = reading.marks.omitted if reading.marks else ()
    names = (*omitted, *_not_taken(reading, told), *unusable)
    return spec, tuple(dict.fromkeys(_without_prefix(name) for name in names))


def _without_prefix(name: str) -> str:
    return name.removeprefix(EXTRA) if name.startswith(EXTRA) else name


def _not_taken(reading: Reading, told: Mapping[str, Any]) -> Iterator[str]:
    """What a file says about the request, and what is no value of it or has no field."""
    made, marks = reading.made, reading.marks
    yield from marks.unread if marks else made.unread
    if (made.width is None) != (made.height is None):
        if made.width is not None:
            yield Message("width {width}").format(width=made.width)
        else:
            yield Message("height {height}").format(height=made.height)
    if (told.get("count") or 1) > 1:
        yield Message("count {count}").format(count=told["count"])
    for name, value in marks.parameters.items() if marks else ():
        if name not in KNOWN and not name.startswith(EXTRA):
            yield f"{name} {value}"[:MAX_SHOWN_CHARACTERS]


def _a1111_options(reading: Reading, kind: str) -> Iterator[tuple[str, str]]:
    if kind == "a1111" and reading.made.tool in A1111_FORM:
        for name, option in A1111_OPTIONS.items():
            if text := str(reading.made.parameters.get(name, "")):
                yield option, text


def fitted(told: PromptSpec, changes: PromptSpec, refusal: Refusal, *, is_same: bool, takes_extra: bool) -> Fitted:
    """What of a picture's parameters can be sent with the changes of the options, which stand before them.

    `is_same`: the picture was made by this kind of service, so that a field is never left out silently, but refused by
    the rule that it breaks; further options are left out where the kind does not know them. `takes_extra`: the kind
    declares its options, so that it can tell which these are.
    """
    parts = [part for part in _parts(told) if not _is_changed(part, changes)]
    left = [part.name for part in parts if part.is_extra and not takes_extra]
    parts = [part for part in parts if not part.is_extra or takes_extra]
    whole = _with(changes, parts)
    if not refusal(whole):
        return Fitted(whole, tuple(left))
    kept = [part for part in parts if is_same and not part.is_extra]
    for part in (part for part in parts if part not in kept):
        if refusal(_with(changes, [*kept, part])):
            left.append(part.name)
        else:
            kept.append(part)
    return Fitted(_with(changes, kept), tuple(left))


def refusal_by(config: Config) -> Refusal:
    """A function that tells why a specification would be refused with these settings."""

    def refusal(spec: PromptSpec) -> str:
        try:
            plan.prepare([replace(spec, vary={}, alternatives=False, repeat=1)], config)
        except ImagegenError as error:
            return error.message
        return ""

    return refusal


def _parts(told: PromptSpec) -> Iterator[Part]:
    if told.models:
        yield Part(Message("model {model}").format(model=told.models[0]), {"models": told.models})
    if told.size:
        yield Part(Message("size {size}").format(size=told.size), {"size": told.size})
    if told.ratio or told.resolution:
        shape = " ".join(filter(None, (told.ratio, told.resolution)))
        yield Part(shape, {"ratio": told.ratio, "resolution": told.resolution})
    if told.seed is not None:
        yield Part(Message("seed {seed}").format(seed=told.seed), {"seed": told.seed})
    if told.negative:
        yield Part(Message("negative prompt"), {"negative": told.negative})
    if told.count is not None:
        yield Part(Message("count {count}").format(count=1), {"count": told.count})
    for name, text in told.extra.items():
        yield Part(f"{name}={text}", {"extra": {name: text}}, is_extra=True)


def _is_changed(part: Part, changes: PromptSpec) -> bool:
    """Whether the options say it otherwise: a size takes the place of a ratio, and a ratio that of a size."""
    if part.is_extra:
        return bool(part.fields["extra"].keys() & changes.extra.keys())
    if "size" in part.fields or "ratio" in part.fields:
        return bool(changes.size or changes.ratio or changes.resolution)
    return any(getattr(changes, name) not in ("", None, ()) for name in part.fields)


def _with(changes: PromptSpec, parts: Sequence[Part]) -> PromptSpec:
    fields: dict[str, Any] = {}
    extra: dict[str, str] = {}
    for part in parts:
        if part.is_extra:
            extra |= part.fields["extra"]
        else:
            fields |= part.fields
    return replace(changes, **fields, extra={**extra, **changes.extra})
