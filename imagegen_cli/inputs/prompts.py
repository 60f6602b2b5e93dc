"""Turns argv, stdin and prompt lists into prompt specifications, before any service is chosen."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.task import Parent
from imagegen_cli.inputs.lists.common import (
    FIELDS,
    FILLERS,
    KEY_MATERIAL,
    UNSENT,
    Reading,
    Row,
    UnknownField,
    as_typed,
    canonical,
    lines_of,
    placed,
)

MAX_PROMPT_CHARACTERS = 32_000
"""No service takes a longer prompt."""
MIN_NUMBERED_ROWS = 3
"""A list of fewer rows may have the counts 1, 2, 3 … by chance."""
MAX_BAD_LINES = 20
"""Bad lines that one message names; the rest is counted."""
LEAVE_OUT = Message("correct the line, or take it out with # and a space before it")
MAX_VALUE_CHARACTERS = 60
"""Characters of a wrong value that a message shows."""
LETTERS = re.compile(rf"[^\W_{FILLERS}]")
"""Letters and digits of any script."""
EMOJI = re.compile(
    "[\U0001f000-\U0001faff⌚-⏳☔☕♈-♓♿⚓⚡⚪⚫⚽⚾⛄⛅⛎⛔⛪⛲⛳⛵⛺⛽✅✊✋✨❌❎⬛⬜⭐⭕\u2801-\u28ff]|\\S\ufe0f"
)
"""Pictures, and letters of Braille, which Unicode does not count as letters."""
EMPTY_VALUES = frozenset(
    (
        "null",
        "none",
        "nan",
        "undefined",
        "n/a",
        "#n/a",
        "#ref!",
        "#value!",
        "#name?",
        "#div/0!",
        "#num!",
        "[object object]",
    )
)
"""What programs write in place of a missing value."""
FOREIGN_SYNTAX = re.compile(
    r"(?:^|\s)(--[a-z][\w-]*)|(\{[^{}]*\|[^{}]*\})|(\b__[\w/*-]+__\b)|(<(?:lora|lyco|hypernet):)", re.IGNORECASE
)
"""Options and wildcards that other programs remove from a prompt before they send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpec:
    """A prompt with its parameters, before a provider and a model are resolved.

    `line` counts from 1 in its source; `models` are compared: each becomes a task of its own.
    `place` is the place in a list that messages name, such as "list.csv:3"; empty for a typed prompt.
    `listed` has the names of the fields that a list sets and the person did not type: a list may come from another
    person, and is trusted less. `parents` are the references that are pictures of earlier tasks.

    `vary` has what is varied, by name, with its values; `zipped` pairs them instead of crossing them. `alternatives`
    makes a variation of each `{a|b}`. `repeat`: how often each of them is made. What comes of that has a `cell`, its
    own values of what was varied, and a `shared_seed`, which is used where no seed is named and the service takes one;
    `repetition` counts from 0 how often the same was made before.
    """

    prompt: str
    line: int = 1
    source: str = ""
    provider: str = ""
    models: tuple[str, ...] = ()
    ratio: str = ""
    resolution: str = ""
    size: str = ""
    count: int | None = None
    seed: int | None = None
    negative: str = ""
    references: tuple[str, ...] = ()
    name: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    listed: frozenset[str] = field(default=frozenset(), compare=False)
    parents: tuple[Parent, ...] = field(default=(), compare=False)
    vary: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zipped: bool = False
    alternatives: bool = False
    repeat: int = 1
    cell: Mapping[str, str] = field(default_factory=dict)
    shared_seed: int | None = None
    repetition: int = 0

    @property
    def is_varied(self) -> bool:
        """Whether more than one task may come of it, each with a cell of its own."""
        return bool(self.vary) or len(self.models) > 1 or self.alternatives or self.repeat > 1


def from_arguments(prompts: Iterable[str], common: PromptSpec) -> list[PromptSpec]:
    """One specification per prompt. Raises UsageError for a text that cannot be a prompt."""
    found, bad = [], []
    for number, prompt in enumerate(map(as_typed, prompts), 1):
        if problem := problem_of(prompt):
            bad.append(Message("prompt {number}: {problem}").format(number=number, problem=problem))
        elif problem := problem_in_texts(common):
            raise UsageError(problem)
        found.append(replace(common, prompt=prompt.strip(), line=number))
    _complain(bad)
    return found


def from_list(
    name: str,
    data: bytes,
    common: PromptSpec,
    reading: Reading = Reading(),  # noqa: B008 - it is frozen
) -> tuple[list[PromptSpec], list[str]]:
    """The specifications of a list, whose content decides its form, and remarks about how it was read.

    A value of a line takes precedence over the one in `common`. Raises UsageError that names every bad line.
    """
    from imagegen_cli.inputs.lists.decoding import decoded, detected_encoding  # noqa: PLC0415 - only lists need it
    from imagegen_cli.inputs.lists.refusals import refuse_by_name_or_bytes  # noqa: PLC0415
    from imagegen_cli.inputs.lists.rows import rows_of  # noqa: PLC0415

    refuse_by_name_or_bytes(name, data, reading)
    text, remark = decoded(name, data, reading.encoding)
    listed = rows_of(name, text, replace(reading, encoding=reading.encoding or detected_encoding(data, remark)))
    numbers, places = _places(name, [number for number, _ in listed.rows])
    found: list[PromptSpec] = []
    bad: list[str] = []
    hints: list[str] = []
    unknown: dict[str, list[int]] = {}
    for at, (_, row) in enumerate(listed.rows):
        try:
            found.append(replace(_spec_of(row, numbers[at], common), place=places(at)))
        except UnknownField as error:
            if error.name not in unknown:
                bad.append(placed(places(at), error.message))
            unknown.setdefault(error.name, []).append(numbers[at])
        except UsageError as error:
            bad.append(placed(places(at), error.message))
            hints.append(error.hint)
        except (ValueError, RecursionError):
            bad.append(placed(places(at), Message("a value is too large or too deeply nested")))
    _complain(bad, [*hints, _leave_out(unknown, listed.rows)])
    _refuse_row_numbers(name, found, listed.rows, common, reading)
    return found, [text for text in (remark, *listed.remarks, _remark(name, found)) if text]


def _places(name: str, lines: Sequence[int]) -> tuple[Sequence[int], Callable[[int], str]]:
    """The number of each row, and a function that names it: by its line, or by its position where rows share lines."""
    if len(set(lines)) == len(lines):
        return lines, lambda at: f"{name}:{lines[at]}"
    element = Message("{place}: element {number}")
    return range(1, len(lines) + 1), lambda at: element.format(place=f"{name}:{lines[at]}", number=at + 1)


def _leave_out(unknown: Mapping[str, Sequence[int]], rows: Sequence[tuple[int, Row]]) -> str:
    """An option that reads a list without its unknown names; empty where it has no prompts then."""
    if not unknown:
        return ""
    names = {canonical(key) for _, row in rows if isinstance(row, dict) for key in row}
    offer = ",".join(name for name in FIELDS if name in names)
    if "prompt" not in names:
        return ""
    return Message("to read only these: {option}").format(option=f"--columns {offer}")


def _refuse_row_numbers(
    name: str, found: Sequence[PromptSpec], rows: Sequence[tuple[int, Row]], common: PromptSpec, reading: Reading
) -> None:
    """Raise UsageError where a list seems to number its rows in a column that means the count of pictures."""
    counts = [spec.count for spec in found]
    named = "count" in reading.columns or common.count is not None
    if len(found) < MIN_NUMBERED_ROWS or counts != [*range(1, len(found) + 1)] or named:
        return
    names = list(dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row))
    fields_of = [known for known in dict.fromkeys(map(canonical, names)) if known in FIELDS]
    without = ",".join(known for known in fields_of if known != "count")
    pictures = sum(filter(None, counts))
    message = Message("the count of pictures is 1, 2, 3 … as the rows are numbered; that would be {pictures} pictures")
    way = Message("if it numbers the rows: {without}; or, if it is really the count: {kept}")
    way = way.format(without=f"--columns {without}", kept=f"--columns {','.join(fields_of)}")
    raise UsageError(placed(name, message.format(pictures=pictures)), hint=UNSENT.format(way=way))


def foreign_option(prompt: str, common: PromptSpec) -> str:
    """Text that another program would not send, such as `--ar` or `{red|blue}`; empty where there is none."""
    for found in FOREIGN_SYNTAX.finditer(prompt):
        if not (found[2] and common.alternatives):
            return str(next(filter(None, found.groups())))[:40]
    return ""


def _remark(name: str, specs: Sequence[PromptSpec]) -> str:
    found = [(spec.line, example) for spec in specs if (example := foreign_option(spec.prompt, spec))]
    if not found:
        return ""
    return ngettext(
        "{name}: options and wildcards of other programs, such as {example}, are sent as text:"
        " {count} prompt ({lines})",
        "{name}: options and wildcards of other programs, such as {example}, are sent as text:"
        " {count} prompts ({lines})",
        len(found),
        name=name,
        example=found[0][1],
        lines=lines_of([line for line, _ in found]),
    )


def problem_of(prompt: str) -> str:
    """Why no service could take this as a prompt; empty where nothing is wrong."""
    if not prompt.strip():
        return Message("the prompt is empty")
    if "\0" in prompt:
        return Message("the prompt holds a NUL character")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        message = Message("the prompt has {count:,} characters; no service takes more than {limit:,}")
        return message.format(count=len(prompt), limit=MAX_PROMPT_CHARACTERS)
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return Message("the prompt is not valid UTF-8")
    return _problem_of_content(prompt)


def _problem_of_content(prompt: str) -> str:
    if KEY_MATERIAL.search(prompt):
        return Message("the prompt holds a key or a certificate; no key is ever sent to a service")
    return "" if _has_content(prompt) else Message("the prompt has no letter and no digit")


def _has_content(prompt: str) -> bool:
    return bool(LETTERS.search(prompt) or EMOJI.search(prompt))


def size_in(text: str) -> tuple[int, int]:
    """Read "1024x768" (also × and *). Raises UsageError."""
    parts = text.lower().replace("×", "x").replace("*", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):  # noqa: PLR2004 - width and height
        raise UsageError(Message("{text!r} is no size; write it like 1024x768").format(text=text))
    width, height = int(parts[0]), int(parts[1])
    if not (0 < width <= 16384 and 0 < height <= 16384):  # noqa: PLR2004 - no service makes larger ones
        message = Message("{text!r} is no usable size: each side has 1 to 16384 pixels")
        raise UsageError(message.format(text=text))
    return width, height


def _spec_of(row: Row, number: int, common: PromptSpec) -> PromptSpec:
    if isinstance(row, UsageError):
        raise row
    values: dict[str, Any] = {"prompt": row} if isinstance(row, str) else _named(row)
    prompt = values.pop("prompt", "")
    if not isinstance(prompt, str):
        raise UsageError(Message("the prompt must be a text, not {value}").format(value=_brief(prompt)))
    if problem := problem_of(prompt) or _problem_of_origin(prompt):
        raise UsageError(problem, hint=LEAVE_OUT)
    width, height = values.pop("width", None), values.pop("height", None)
    if (width is None) != (height is None):
        hint = Message("fill in both, or write size like 1024x768")
        raise UsageError(Message("width and height come together"), hint=hint)
    if width is not None:
        values["size"] = f"{_as_number('width', width)}x{_as_number('height', height)}"
    if "model" in values:
        values["models"] = (_as_text("model", values.pop("model")),)
    for key, value in values.items():
        values[key] = _AS.get(key, _as_text)(key, value)
    listed = frozenset(key for key, value in values.items() if value != getattr(common, key))
    if common.vary or "vary" in values:
        listed |= _varied_by_row(values, common)
    spec = replace(common, prompt=prompt.strip(), line=number, listed=listed, **values)
    if problem := problem_in_texts(spec):
        raise UsageError(problem)
    return spec


def _varied_by_row(values: dict[str, Any], common: PromptSpec) -> set[str]:
    """Join what the row varies with what was typed. Returns the fields that the row varies. Raises UsageError."""
    own: Mapping[str, Sequence[str]] = values.get("vary", {})
    if both := next((name for name in common.vary if _field_of(name) in values), ""):
        message = Message("the row sets {name}, and --vary {name} varies it")
        raise UsageError(message.format(name=both), hint=Message("leave one of them out"))
    if both := next((name for name in own if name in common.vary or _field_of(name) in values), ""):
        message = Message("the row varies {name}, which is set or varied as well")
        raise UsageError(message.format(name=both), hint=Message("leave one of them out"))
    values["vary"] = {**common.vary, **own}
    return {_field_of(name) for name in own}


def _field_of(varied: str) -> str:
    """The field of a specification that a variation changes."""
    name = canonical(varied)
    return "models" if name == "model" else name


def _problem_of_origin(prompt: str) -> str:
    """Why a program must have written this prompt by mistake; empty where a person may have meant it."""
    if prompt.strip().lower() in EMPTY_VALUES:
        message = Message("{prompt} is what a program writes in place of a missing prompt")
        return message.format(prompt=prompt.strip())
    if "\ufffd" in prompt:
        return Message("the sign U+FFFD stands for letters that an earlier program lost; write the prompt anew")
    return ""


def problem_in_texts(spec: PromptSpec) -> str:
    """Why no file, history or service could take its texts; empty where nothing is wrong."""
    for item in fields(spec):
        if item.name == "vary":  # its values are examined where they are used, and may be more than fit into memory
            continue
        name = "model" if item.name == "models" else item.name
        for text in _texts(getattr(spec, item.name)):
            if "\0" in text:
                return Message("{name} holds a NUL character").format(name=name)
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                return Message("{name} is not valid UTF-8").format(name=name)
    return ""


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return (*value, *value.values())
    return tuple(part for part in value if isinstance(part, str)) if isinstance(value, tuple) else ()


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row by the names of their fields, without empty ones. Raises UsageError for unknown names."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        name = canonical(key)
        if value is None or (isinstance(value, str) and not value.strip() and name != "prompt"):
            continue
        if name not in FIELDS:
            raise UnknownField(str(key)[:80])
        if name in values:
            raise UsageError(Message("{name} is given twice").format(name=name))
        values[name] = value
    return values


def _as_text(key: str, value: Any) -> Any:
    if key == "models":
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(Message("{name} must be a text, not {value}").format(name=key, value=_brief(value)))
    return str(value).strip()


def _as_number(key: str, value: Any) -> int:
    found = re.fullmatch(r"\s*(-?\d{1,18})(?:[.,]0+)?\s*", str(value))
    if isinstance(value, bool) or not found:
        message = Message("{name} must be a whole number, not {value}")
        raise UsageError(message.format(name=key, value=_brief(value)), hint=_number_hint(key, str(value)))
    return int(found[1])


def _number_hint(key: str, text: str) -> str:
    if re.fullmatch(r"\s*[-+]?\d+(?:[.,]\d+)?[eE][-+]?\d+\s*", text):
        hint = Message(
            "a spreadsheet has shortened it: show {name} as a number without decimals and save the table anew"
        )
        return hint.format(name=key)
    return Message("write {name} in digits, such as 7, or leave it empty").format(name=key)


def _as_list(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split("|") if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    message = Message("{name} must be a file name or a list of them, not {value}")
    raise UsageError(message.format(name=key, value=_brief(value)))


def _as_table(key: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            message = Message("{name} must be a JSON object, not {value}").format(name=key, value=_brief(value))
            raise UsageError(message) from None
    if not isinstance(value, dict):
        raise UsageError(Message("{name} must be an object, not {value}").format(name=key, value=_brief(value)))
    return {str(name): part if isinstance(part, str) else json.dumps(part) for name, part in value.items()}


def _brief(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= MAX_VALUE_CHARACTERS else f"{shown[:MAX_VALUE_CHARACTERS]}…"


def _as_axes(_key: str, value: Any) -> dict[str, Sequence[str]]:
    from imagegen_cli.inputs.vary import axes_of_row  # noqa: PLC0415 - few rows vary anything

    return axes_of_row(value)


_AS: dict[str, Callable[[str, Any], Any]] = {
    "count": _as_number,
    "seed": _as_number,
    "references": _as_list,
    "extra": _as_table,
    "vary": _as_axes,
}


def _complain(bad: Sequence[str], hints: Sequence[str] = ()) -> None:
    if bad:
        rest = len(bad) - MAX_BAD_LINES
        more = [Message("… and {count} more").format(count=rest)] if rest > 0 else []
        ways = [UNSENT.format(way=hint) for hint in hints if hint]
        hint = ways[0] if ways else Message("nothing was sent")
        raise UsageError(joined("\n", [*bad[:MAX_BAD_LINES], *more]), hint=hint)
