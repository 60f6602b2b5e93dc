"""JSON into rows: an array, an object with a list, one value a line, or values that take several lines each."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.lists.basics import (
    TAKE_LINES,
    Listed,
    Reading,
    Row,
    canonical,
    counted,
    head_of,
    is_remark,
    place_of,
    shell_word,
    some,
)


def is_json(text: str, *, all_texts: bool) -> bool:
    """Whether a text is JSON, also where it is broken. `all_texts`: lines that are all quoted are JSON texts."""
    head = head_of(text)[1].lstrip()
    if head[:1] in ("{", "["):
        return bool(_JSON_HEAD.match(head)) or isinstance(value_in(head), dict | list) or value_in(text) is not None
    if not (all_texts and head[:1] == '"'):
        return False
    lines = [line for line in text.split("\n") if line.strip()]
    return all(isinstance(value_in(line), str) for line in lines)


_JSON_HEAD = re.compile(r"[\[{]\s*$|\{\s*[\"'][^\"']*[\"']\s*(?::|$)|\[\s*(?:\{\s*[\"']|\{\s*$|[\"'])")


def value_in(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_json(name: str, text: str, reading: Reading, *, linewise: bool) -> Listed:
    linewise = linewise or _one_a_line(text)
    rows = list(_by_line(text) if linewise else _Stream(name, text, reading).rows())
    for number, row in rows[:1]:
        if isinstance(row, dict) and "body" in row and ("custom_id" in row or "url" in row):
            said = "a request for a batch interface is no prompt; the prompt is inside its body"
            hint = f"nothing was sent; jq -c .body{shell_word(name)} | imagegen batch -"
            raise UsageError(f"{name}:{number}: {said}", hint=hint)
    remarks = _chosen(name, rows, reading.columns) if reading.columns else []
    skipped = [number for number, line in enumerate(text.split("\n"), 1) if linewise and is_remark(line)]
    if skipped:
        remarks.append(f"{name}: skipped {counted(skipped, 'remark')}")
    return Listed(rows=rows, remarks=remarks)


def _chosen(name: str, rows: list[tuple[int, Row]], columns: Mapping[str, str]) -> list[str]:
    """Leave in objects only the wanted fields, and say which names are not read."""
    keys = list(dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row))
    read: set[str] = set()
    for at, (number, row) in enumerate(rows):
        if isinstance(row, dict):
            names = [*row]
            places = {field: place_of(names, field, column) for field, column in columns.items()}
            rows[at] = (number, {field: row[names[place]] for field, place in places.items() if place is not None})
            read.update(names[place] for place in places.values() if place is not None)
    for field, column in columns.items():
        if keys and place_of(keys, field, column) is None:
            raise UsageError(f"{name}: no object has {column!r} (names: {some(keys)})", hint="nothing was sent")
    rest = [key for key in keys if key not in read]
    return [f"{name}: not read: {some(rest)}"] if rest else []


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise UsageError(
            f"{next(name for name in names if names.count(name) > 1)} is given twice", hint="write each name once"
        )
    return found


def _one_a_line(text: str) -> bool:
    """Whether each line is a value: unless all of it is one, or the first line is only the beginning of one."""
    head = head_of(text)[1].strip()
    rest = text.strip()
    if head == rest:
        return isinstance(value_in(head), str) or head[:1] not in ("{", "[")
    try:
        json.loads(head)
    except json.JSONDecodeError as error:
        return error.pos < len(head)
    except (ValueError, RecursionError):
        return True
    return True


def _by_line(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or is_remark(line):
            continue
        try:
            yield number, _as_row(_loads(line), "a line")
        except UsageError as error:
            yield number, error
        except (ValueError, RecursionError) as error:
            yield number, UsageError(f"broken JSON: {_brief(error)}", hint=TAKE_LINES)


def _brief(error: Exception) -> str:
    """Without what Python advises to programs."""
    return str(error).partition("; use sys.")[0]


def _as_row(value: Any, what: str) -> Row:
    fits = isinstance(value, dict | str)
    return value if fits else UsageError(f"{what} must be a JSON object or a JSON text")


class _Stream:
    """Values that may take several lines each, as they come one after the other; an array gives its elements."""

    def __init__(self, name: str, text: str, reading: Reading) -> None:
        self.name, self.text, self.reading = name, text, reading
        self.at, self.line = 0, 1

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Ends with a UsageError where the JSON is broken: what follows cannot be told apart."""
        try:
            while self._next():
                yield from self._value()
        except json.JSONDecodeError as error:
            yield error.lineno, UsageError(f"broken JSON: {error.msg} (column {error.colno})", hint=TAKE_LINES)
        except UsageError as error:
            yield self.line, error
        except (ValueError, RecursionError) as error:
            yield self.line, UsageError(f"broken JSON: {_brief(error)}")

    def _value(self) -> Iterator[tuple[int, Row]]:
        if self.text[self.at] == "[":
            yield from self._elements()
            return
        line, at, value = self.line, self.at, self._decoded()
        if not isinstance(value, dict):
            yield line, _as_row(value, "a value")
        elif self._plain_list(value):
            self.at, self.line = at, line
            self._move(_FIRST_KEY.match(self.text, at).end())  # type: ignore[union-attr]
            yield from self._elements()
            self._next("}")
        else:
            yield line, self._object(value)

    def _decoded(self) -> Any:
        value, end = _DECODER.raw_decode(self.text, self.at)
        self._move(end)
        return value

    def _elements(self) -> Iterator[tuple[int, Row]]:
        self._move(self.at + 1)
        if self._next("]"):
            return
        while True:
            line = self.line
            yield line, _as_row(self._decoded(), "an element")
            if self._next("]"):
                return
            if not self._next(","):
                raise json.JSONDecodeError("Expecting ',' delimiter", self.text, self.at)
            self._next()

    def _next(self, sign: str = "") -> bool:
        """Go to the next sign that is no space. Whether there is one; with `sign`, step over it where it is that."""
        found = _SPACE.match(self.text, self.at)
        self._move(found.end() if found else self.at)
        if not sign:
            return self.at < len(self.text)
        if self.text[self.at : self.at + 1] != sign:
            return False
        self._move(self.at + 1)
        return True

    def _move(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    @staticmethod
    def _plain_list(value: dict[str, Any]) -> bool:
        """Whether an object is nothing but a name and its list of prompts."""
        if len(value) != 1:
            return False
        [(key, inner)] = value.items()
        return canonical(key) == "prompt" and isinstance(inner, list)

    def _object(self, value: dict[str, Any]) -> Row:
        if self.reading.columns or "body" in value or any(canonical(key) == "prompt" for key in value):
            plain = not any(isinstance(inner, list) for key, inner in value.items() if canonical(key) == "prompt")
            if plain or self.reading.columns:
                return value
        names = some([*value]) or "none"
        lists = [key for key, inner in value.items() if isinstance(inner, list)] or ["prompts"]
        wanted = shlex.quote(f".[{json.dumps(lists[0], ensure_ascii=False)}][]")
        hint = f"where the prompts are in it: jq -c {wanted}{shell_word(self.name)} | imagegen batch -"
        return UsageError(f"this object is no prompt; its keys are {names}", hint=hint)


_SPACE = re.compile(r"[ \t\n\r\ufeff]*")
_FIRST_KEY = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*')
_DECODER = json.JSONDecoder(object_pairs_hook=_once)
