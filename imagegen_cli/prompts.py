"""argv, stdin and prompt lists into wishes: what a person asked for, line by line, before any service is chosen."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imagegen_cli.errors import UsageError
from imagegen_cli.tables import nearest

MOST_CHARACTERS = 32_000
"""No service takes a longer prompt."""
MOST_BYTES = 64 * 1024 * 1024
SAMPLE = 10_000
"""Characters by which an encoding is judged."""
SHOWN = 20
"""Bad lines that are named one by one; the rest is counted."""
ALIASES = {
    "n": "count", "image": "references", "images": "references", "reference": "references", "text": "prompt",
    "negative_prompt": "negative", "提示词": "prompt", "模型": "model", "比例": "ratio", "分辨率": "resolution",
    "数量": "count", "种子": "seed", "反向提示词": "negative",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`line` counts from 1 in its source; `models` are compared: each makes a task of its own.

    `listed` has the names of the fields that a list said and the person did not type: a list may come from another
    person, and is trusted less.
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
    listed: frozenset[str] = field(default=frozenset(), compare=False)


FIELDS = ("prompt", "provider", "model", "ratio", "resolution", "size", "width", "height", "count", "seed", "negative",
          "references", "name", "extra")  # fmt: skip


def from_arguments(prompts: Iterable[str], common: Wish) -> list[Wish]:
    """One wish a prompt. Raises UsageError for one that cannot be a prompt."""
    found, bad = [], []
    for number, prompt in enumerate(map(_as_typed, prompts), 1):
        if trouble := unusable(prompt):
            bad.append(f"prompt {number}: {trouble}")
        elif trouble := _unsound(common):
            raise UsageError(trouble)
        found.append(replace(common, prompt=prompt.strip(), line=number))
    _complain(bad)
    return found


def _as_typed(argument: str) -> str:
    """Under a locale that knows no more than ASCII Python leaves the bytes of other text in half surrogates."""
    try:
        return argument.encode("ascii", "surrogateescape").decode()
    except UnicodeError:
        return argument


def from_list(name: str, data: bytes, common: Wish) -> tuple[list[Wish], str]:
    """The wishes of a list, whose form its name's suffix tells, and a remark about its encoding, if there is one.

    What a line says goes before what `common` says. Raises UsageError that names every bad line.
    """
    text, remark = _text(name, data)
    suffix = Path(name).suffix.lower()
    read = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}.get(suffix, _lines)
    found: list[Wish] = []
    bad: list[str] = []
    for number, row in read(name, text):
        try:
            found.append(_wish(row, number, common))
        except (ValueError, UsageError) as error:
            bad.append(f"{name}:{number}: {error}")
    _complain(bad)
    return found, remark


def unusable(prompt: str) -> str:
    """Why no service could take this as a prompt; empty where nothing is wrong."""
    if not prompt.strip():
        return "the prompt is empty"
    if "\0" in prompt:
        return "the prompt holds a NUL character"
    if len(prompt) > MOST_CHARACTERS:
        return f"the prompt has {len(prompt):,} characters; no service takes more than {MOST_CHARACTERS:,}"
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return "the prompt is not valid UTF-8"
    return ""


def size_in(text: str) -> tuple[int, int]:
    """Read "1024x768" (also × and *). Raises UsageError."""
    parts = text.lower().replace("×", "x").replace("*", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):  # noqa: PLR2004 - width and height
        raise UsageError(f"{text!r} is no size; write it as 1024x768")
    width, height = int(parts[0]), int(parts[1])
    if not (0 < width <= 16384 and 0 < height <= 16384):  # noqa: PLR2004 - no service makes larger ones
        raise UsageError(f"{text!r} is no usable size: each side has 1 to 16384 pixels")
    return width, height


Row = str | UsageError | dict[str, Any]


def _wish(row: Row, number: int, common: Wish) -> Wish:
    if isinstance(row, UsageError):
        raise row
    values: dict[str, Any] = {"prompt": row} if isinstance(row, str) else _named(row)
    prompt = values.pop("prompt", "")
    if not isinstance(prompt, str):
        raise UsageError(f"the prompt must be a text, not {prompt!r}")
    if trouble := unusable(prompt):
        raise UsageError(trouble)
    width, height = values.pop("width", None), values.pop("height", None)
    if (width is None) != (height is None):
        raise UsageError("width and height come together")
    if width is not None:
        values["size"] = f"{width}x{height}"
    if "model" in values:
        values["models"] = (_as_text("model", values.pop("model")),)
    for key, value in values.items():
        values[key] = _AS.get(key, _as_text)(key, value)
    listed = frozenset(key for key, value in values.items() if value != getattr(common, key))
    wish = replace(common, prompt=prompt.strip(), line=number, listed=listed, **values)
    if trouble := _unsound(wish):
        raise UsageError(trouble)
    return wish


def _unsound(wish: Wish) -> str:
    """What no file, history or service could take in its texts; empty where nothing is wrong."""
    for item in fields(wish):
        name = "model" if item.name == "models" else item.name
        for text in _texts(getattr(wish, item.name)):
            if "\0" in text:
                return f"{name} holds a NUL character"
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                return f"{name} is not valid UTF-8"
    return ""


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return (*value, *value.values())
    return value if isinstance(value, tuple) else ()


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """Known names, without what a line leaves empty."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        name = ALIASES.get(str(key).strip().lower(), str(key).strip().lower())
        if name not in FIELDS:
            raise UsageError(f"unknown field {key!r}; {nearest(name, FIELDS)}")
        if value in (None, ""):
            continue
        if name in values:
            raise UsageError(f"{name} is given twice")
        values[name] = value
    return values


def _as_text(key: str, value: Any) -> Any:
    if key == "models":
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"{key} must be a text, not {value!r}")
    return str(value).strip()


def _as_number(key: str, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", text):
        raise UsageError(f"{key} must be a whole number, not {value!r}")
    return int(text)


def _as_list(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split("|") if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise UsageError(f"{key} must be a file name or a list of them, not {value!r}")


def _as_table(key: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise UsageError(f"{key} must be a JSON object, not {value!r}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{key} must be an object, not {value!r}")
    return {str(name): part if isinstance(part, str) else json.dumps(part) for name, part in value.items()}


_AS: dict[str, Callable[[str, Any], Any]] = {
    "count": _as_number,
    "seed": _as_number,
    "references": _as_list,
    "extra": _as_table,
}


def _lines(_name: str, text: str) -> Iterable[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _csv(name: str, text: str) -> Iterable[tuple[int, Row]]:
    """Each row with the number of the line on which it begins."""
    head = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    columns: list[str] = []
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield number, UsageError(f"broken CSV: {error}")
            return
        if not columns:
            columns = _columns(name, row or [])
        elif row is None:
            return
        elif len(row) > len(columns):
            yield number, UsageError(f"more cells than the {len(columns)} columns; quote a prompt with commas")
        elif any(row):
            yield number, dict(zip(columns, row, strict=False))


def _columns(name: str, row: list[str]) -> list[str]:
    names = [ALIASES.get(column.strip().lower(), column.strip().lower()) for column in row]
    if "prompt" not in names:
        found = ", ".join(repr(column) for column in row) or "none"
        raise UsageError(f"{name}:1: no column is named prompt (columns: {found})")
    if twice := [column for column in names if column and names.count(column) > 1]:
        raise UsageError(f"{name}:1: two columns are named {twice[0]}")
    return row


def _jsonl(_name: str, text: str) -> Iterable[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, UsageError(f"broken JSON: {error}")
            continue
        fits = isinstance(row, dict | str)
        yield number, row if fits else UsageError("a line must be a JSON object or a JSON text")


def _text(name: str, data: bytes) -> tuple[str, str]:
    """UTF-8 with or without a mark, UTF-16 with a mark, else GB18030, which is said. Line ends become newlines."""
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} is larger than {MOST_BYTES >> 20} MB: that is no prompt list")
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data and not wide:
        raise UsageError(f"{name} is no text file: it holds NUL bytes")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "gb18030" and not _chinese(text):
            break
        remark = f"{name} is not UTF-8; it was read as GB18030" if encoding == "gb18030" else ""
        return text.replace("\r\n", "\n").replace("\r", "\n"), remark
    raise UsageError(f"{name} is neither UTF-8 nor GB18030 text", hint="save it as UTF-8")


def _chinese(text: str) -> bool:
    """Whether a decoding as GB18030 makes sense: nearly all that is not ASCII is Chinese, and much of it everyday.

    Nearly every other encoding can be decoded as GB18030 too, into signs that nobody uses.
    """
    foreign = [sign for sign in text if not sign.isascii()][:SAMPLE]
    rows = [sign.encode("gb2312", "ignore")[:1] for sign in foreign]
    marks = sum(b"\xa1" <= row <= b"\xa3" for row in rows)
    everyday = sum(b"\xb0" <= row < b"\xd8" for row in rows)
    chinese = sum("\u4e00" <= sign <= "\u9fff" for sign in foreign)
    makes_sense = marks + chinese >= 0.9 * len(foreign) and marks + everyday >= 0.4 * len(foreign)
    return makes_sense and not re.search(r"[\x00-\x08\x0e-\x1f]", text)


def _complain(bad: list[str]) -> None:
    if bad:
        more = [f"… and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise UsageError("\n".join(bad[:SHOWN] + more), hint="nothing was sent")
