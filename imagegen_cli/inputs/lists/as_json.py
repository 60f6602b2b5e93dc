"""Reads JSON into rows: an array, an object with a list, one value per line, or values of several lines."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.inputs.lists.advice import ROWS, through
from imagegen_cli.inputs.lists.common import (
    FIELDS,
    TAKE_LINES,
    UNSENT,
    Listed,
    Reading,
    Row,
    canonical,
    column_words,
    head_of,
    is_remark,
    not_read,
    place_of,
    placed,
    skipped_remarks,
    some,
)


def is_json(text: str, *, all_texts: bool) -> bool:
    """Whether a text is JSON, even if it is broken. With `all_texts`, lines that are all quoted are JSON strings."""
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
            _refuse_request(name, number, rows, reading)
    remarks = _chosen(name, rows, reading.columns) if reading.columns else []
    skipped = [number for number, line in enumerate(text.split("\n"), 1) if linewise and is_remark(line)]
    skipped += [number for number, row in rows if _is_remark_row(row)]
    if skipped:
        remarks.append(skipped_remarks(name, sorted(skipped)))
    return Listed(rows=[(number, row) for number, row in rows if not _is_remark_row(row)], remarks=remarks)


def _is_remark_row(row: Row) -> bool:
    """Whether `# ` makes a remark of a string or of an object's prompt. A prompt of several lines may begin with it."""
    if isinstance(row, dict):
        row = next((value for key, value in row.items() if canonical(key) == "prompt" and isinstance(value, str)), "")
    return isinstance(row, str) and "\n" not in row and is_remark(row)


def _refuse_request(name: str, number: int, rows: list[tuple[int, Row]], reading: Reading) -> NoReturn:
    bodies = [row.get("body") for _, row in rows if isinstance(row, dict)]
    keys = dict.fromkeys(key for body in bodies if isinstance(body, dict) for key in body)
    known = [key for key in keys if canonical(key) in FIELDS and re.fullmatch(r"[A-Za-z_]+", key)]
    wanted = ".body" if len(known) == len(keys) else f".body | {{{', '.join(known)}}}"
    command = through(f"jq -c {shlex.quote(wanted)}", name, reading)
    left = [key for key in keys if key not in known]
    hint = Message("take the bodies, without {keys}: {command}") if left else Message("take the bodies: {command}")
    hint = hint.format(keys=some(left), command=command) if "prompt" in map(canonical, known) else ROWS
    message = Message("a request for a batch interface is no prompt; the prompt is inside its body")
    raise UsageError(placed(f"{name}:{number}", message), hint=UNSENT.format(way=hint))


def _chosen(name: str, rows: list[tuple[int, Row]], columns: Mapping[str, str]) -> list[str]:
    """Reduce objects to the wanted fields, and return a remark about the names that are not read."""
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
            message = Message("no object has {column!r} (names: {names})").format(column=column, names=some(keys))
            hint = UNSENT.format(way=Message("name one of these: --columns FIELD=NAME"))
            raise UsageError(placed(name, message), hint=hint)
    rest = [key for key in keys if key not in read]
    return [not_read(name, rest)] if rest else []


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        message = Message("{name} is given twice").format(name=next(name for name in names if names.count(name) > 1))
        raise UsageError(message, hint=Message("write each name once"))
    return found


def _one_a_line(text: str) -> bool:
    """Whether each line is a value; not where the whole text is one value, or where a value continues after line 1."""
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
            yield number, _as_row(_loads(line), Message("a line must be a JSON object or a JSON text"))
        except UsageError as error:
            yield number, error
        except (ValueError, RecursionError) as error:
            yield number, broken(error, by_line=True)


def broken(error: Exception, *, by_line: bool = False) -> UsageError:
    """The fault of broken JSON in plain words, with its column where it is known, and what to do."""
    if not isinstance(error, json.JSONDecodeError):
        deep = isinstance(error, RecursionError)
        message = (
            Message("broken JSON: it is nested too deeply")
            if deep
            else Message("broken JSON: a number has thousands of digits")
        )
        return UsageError(message, hint=Message("write a prompt as a text or as a plain object"))
    why, hint = _wrong(error)
    if by_line and error.doc.lstrip()[:1] not in ("{", "[", '"'):
        why, hint = Message("the line is neither an object nor a text in quotation marks"), TAKE_LINES
    message = Message("broken JSON: {why} (column {column})").format(why=why, column=error.colno)
    return UsageError(message, hint=hint)


def _wrong(error: json.JSONDecodeError) -> tuple[str, str]:
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    comma = before[-1:] == "," or after[:1] == ","
    if comma and (after.lstrip(", \t\r\n")[:1] in ("]", "}") or not after.strip(", \t\r\n")):
        return Message("a comma follows the last element"), Message("delete that comma")
    if after[:1] in ("'", "‘", "’", "“", "”"):
        message = Message("JSON does not know the quotation mark {mark}").format(mark=after[0])
        return message, Message('write " instead')
    unknown = Message("it cannot be read"), Message("check it with jq")
    return next((known for word, known in _WRONG if word in error.msg), unknown)


_WRONG = (
    ("Unterminated", (Message("a text has no closing quotation mark"), Message('close it with "'))),
    ("control character", (Message("a text contains a line break or a tab"), Message("write \\n or \\t instead"))),
    ("escape", (Message("a backslash stands before a letter"), Message("write it twice: \\\\"))),
    ("surrogate", (Message("a text contains half of a letter"), Message("write the letter itself"))),
    (
        "',' delimiter",
        (
            Message("a comma or a closing bracket is missing"),
            Message("write a comma between elements, and close each bracket"),
        ),
    ),
    ("':' delimiter", (Message("a name has no colon after it"), Message('write "prompt": "a kite"'))),
    ("property name", (Message("a name is not in quotation marks"), Message('write "prompt": "a kite"'))),
    ("Extra data", (Message("something follows after the value"), Message("write one value a line, or all in [ ]"))),
    (
        "Expecting value",
        (Message("a value is missing, or a text is not in quotation marks"), Message('write "a kite"')),
    ),
)
"""For words of Python's message: what our message says, and what to do."""


def _as_row(value: Any, otherwise: Message) -> Row:
    if isinstance(value, dict | str):
        return value
    return UsageError(otherwise, hint=Message('write "a kite" or {"prompt": "a kite"}'))


class _Stream:
    """Values of several lines each, one after the other; an array gives its elements."""

    def __init__(self, name: str, text: str, reading: Reading) -> None:
        self.name, self.text, self.reading = name, text, reading
        self.at, self.line = 0, 1

    def rows(self) -> Iterator[tuple[int, Row]]:
        """All rows. The last one is a UsageError where the JSON is broken, because the rest cannot be separated."""
        try:
            while self._next():
                yield from self._value()
        except json.JSONDecodeError as error:
            yield error.lineno, broken(error)
        except UsageError as error:
            yield self.line, error
        except (ValueError, RecursionError) as error:
            yield self.line, broken(error)

    def _value(self) -> Iterator[tuple[int, Row]]:
        if self.text[self.at] == "[":
            yield from self._elements()
            return
        line, at, value = self.line, self.at, self._decoded()
        if not isinstance(value, dict):
            yield line, _as_row(value, Message("a value must be a JSON object or a JSON text"))
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
            yield line, _as_row(self._decoded(), Message("an element must be a JSON object or a JSON text"))
            if self._next("]"):
                return
            if not self._next(","):
                raise json.JSONDecodeError("Expecting ',' delimiter", self.text, self.at)
            self._next()

    def _next(self, sign: str = "") -> bool:
        """Skip blanks; whether the text goes on. With `sign`, whether it follows; then it is skipped as well."""
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
        """Whether an object has only one name, with a list of prompts."""
        if len(value) != 1:
            return False
        [(key, inner)] = value.items()
        return canonical(key) == "prompt" and isinstance(inner, list)

    def _object(self, value: dict[str, Any]) -> Row:
        if self.reading.columns or "body" in value or any(canonical(key) == "prompt" for key in value):
            plain = not any(isinstance(inner, list) for key, inner in value.items() if canonical(key) == "prompt")
            if plain or self.reading.columns:
                return value
        names = some([*value]) or Message("none")
        message = Message("this object is no prompt; its keys are {names}").format(names=names)
        return UsageError(message, hint=self._hint_for(value))

    def _hint_for(self, value: dict[str, Any]) -> str:
        """How to take prompts out of an object: a command where it contains one list that can be read."""
        lists = {key: inner for key, inner in value.items() if isinstance(inner, list) and inner}
        texts = [key for key, inner in value.items() if isinstance(inner, str) and _CALLED.search(key)]
        if len(lists) == 1:
            [(key, inner)] = lists.items()
            others = [other for other in value if other != key]
            hint = Message("take the list without {keys}: {command}") if others else Message("take the list: {command}")
            if all(_is_prompt(one) for one in inner):
                wanted = shlex.quote(f".[{json.dumps(key, ensure_ascii=False)}][]")
                return hint.format(keys=some(others), command=through(f"jq -c {wanted}", self.name, self.reading))
        if texts and not lists:
            option = f"--columns {column_words([f'prompt={texts[0]}'])}"
            return Message("say which name has the prompt: {option}").format(option=option)
        return Message('write an object for each prompt: {"prompt": "a kite"}')


def _is_prompt(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and any(canonical(key) == "prompt" for key in value))


_CALLED = re.compile("prompt|caption|text|description|提示|描述", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r\ufeff]*")
_FIRST_KEY = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*')
_DECODER = json.JSONDecoder(object_pairs_hook=_once)
