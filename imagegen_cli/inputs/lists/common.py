"""Shared by all readers of prompt lists: rows, names of fields, remarks, and how messages name columns."""

import csv
import io
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.schema import nearest

FIELDS = ("prompt", "provider", "model", "ratio", "resolution", "size", "width", "height", "count", "seed", "negative",
          "references", "name", "extra", "vary")  # fmt: skip
FORMS = ("lines", "csv", "tsv", "json", "jsonl")
ALIASES = {
    "prompts": "prompt", "text": "prompt", "n": "count", "image": "references", "images": "references",
    "reference": "references", "negative_prompt": "negative", "aspect_ratio": "ratio", "提示词": "prompt",
    "模型": "model", "比例": "ratio", "分辨率": "resolution", "尺寸": "size", "宽度": "width", "高度": "height",
    "数量": "count", "种子": "seed", "反向提示词": "negative", "负面提示词": "negative", "参考图": "references",
}  # fmt: skip
MAX_LIST_BYTES = 64 * 1024 * 1024
"""A larger file is no list."""
MAX_SHOWN = 8
"""Names, or line numbers, that one message lists."""
MAX_HEAD_CHARACTERS = 4000
"""A longer first line is no header of a table."""
MAX_NAME_CHARACTERS = 40
SAMPLE_LINES = 200
"""Lines that are examined to recognise a table without a header."""
FILLERS = "\u115f\u1160\u3164\uffa0"
"""Letters by their Unicode category that are invisible."""
INVISIBLE = (
    f"\u00ad\u061c\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff{FILLERS}"
)
"""All invisible characters, as a part of a regular expression."""
KEY_MATERIAL = re.compile(
    r"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE|PGP|SSH2)|PuTTY-User-Key-File|AGE-SECRET-KEY-1|"
    r"\bssh-(?:rsa|ed25519|dss) AAAA|\becdsa-sha2-nistp\d+ AAAA|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30}|"
    r"\bgithub_pat_\w{20}|\bsk-[A-Za-z0-9_-]{32}|\bxox[abp]-[\w-]{10}|\bAIza[\w-]{35}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
)
"""Keys in the forms that services and programs use. A list never sends one to a service."""
TAKE_LINES = Message("if each line is a prompt as it stands: --format lines")
UNSENT = Message("nothing was sent; {way}")
Row = str | UsageError | dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the person wants a list to be read. Where a value is empty, the list itself decides.

    `form` is lines, csv, tsv, json or jsonl.
    `columns` has the wanted fields, each with the name of its column; no other column is read then.
    """

    form: str = ""
    encoding: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Rows with the number of the line on which each begins, and remarks about what was skipped."""

    rows: Sequence[tuple[int, Row]]
    remarks: Sequence[str] = ()


class UnknownField(UsageError):
    """An unknown name of a field; a message names it once for the whole list."""

    def __init__(self, name: str) -> None:
        super().__init__(Message("unknown field {name!r}; {known}").format(name=name, known=nearest(name, FIELDS)))
        self.name = name


def as_typed(argument: str) -> str:
    """The argument as typed: in an ASCII locale, Python turns the bytes of other text into surrogates."""
    try:
        return argument.encode("ascii", "surrogateescape").decode()
    except UnicodeError:
        return argument


def form_in(text: str) -> str:
    """Read the value of --format; auto means the same as no value. Raises UsageError."""
    if text not in ("", "auto", *FORMS):
        message = Message("--format takes {forms}, not {text!r}").format(forms=", ".join(FORMS), text=text)
        raise UsageError(message, hint=nearest(text, FORMS))
    return "" if text == "auto" else text


def columns_in(text: str) -> dict[str, str]:
    """Read "prompt=Prompt,seed": fields, each with the name of its column. Raises UsageError."""
    text = as_typed(text)
    try:
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise UsageError(Message("--columns is not valid UTF-8"), hint=_COLUMNS_HINT)
        parts = next(csv.reader([text], strict=True), []) if text else []
    except csv.Error as error:
        message = Message("--columns cannot be read: {why}").format(why=str(error))
        raise UsageError(message, hint=_COLUMNS_HINT) from error
    found: dict[str, str] = {}
    for part in parts:
        name, _, column = part.partition("=")
        known = canonical(name)
        if known not in FIELDS:
            message = Message("--columns: there is no field {name!r}; {known}")
            raise UsageError(message.format(name=name, known=nearest(name, FIELDS)), hint=_COLUMNS_HINT)
        if known in found:
            raise UsageError(Message("--columns names {name} twice").format(name=known))
        found[known] = column or name
    if found and "prompt" not in found:
        raise UsageError(Message("--columns does not say which column has the prompt"), hint=_COLUMNS_HINT)
    return found


_COLUMNS_HINT = Message("write FIELD=COLUMN, with commas between: --columns prompt=Caption,seed=Seed")


def canonical(name: Any) -> str:
    """The field that a column's name means, or the name in small letters with `_` between its words."""
    plain = re.sub(r"[\s_-]+", "_", str(name).strip().lower())
    return ALIASES.get(plain, plain)


def is_remark(line: str) -> bool:
    """`# words` and `###` are remarks; `#2E294E` and `#cat` are words of a prompt."""
    return bool(_REMARK.match(line))


_REMARK = re.compile(rf"[\s{INVISIBLE}]*[#＃](?:[\s{INVISIBLE}#＃!=*-]|$)")


def head_of(text: str) -> tuple[int, str]:
    """The first line that is neither blank nor a remark, and its number."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not is_remark(line):
            return number, line
    return 1, ""


def lines_of(numbers: Sequence[int]) -> Message:
    """The first of these numbers of lines, such as "lines 3 4 …"."""
    shown = " ".join(map(str, numbers[:MAX_SHOWN])) + " …" * (len(numbers) > MAX_SHOWN)
    return ngettext("line {numbers}", "lines {numbers}", len(numbers), numbers=shown)


def skipped_remarks(name: str, numbers: Sequence[int]) -> Message:
    return ngettext(
        "{name}: skipped {count} remark ({lines})",
        "{name}: skipped {count} remarks ({lines})",
        len(numbers),
        name=name,
        lines=lines_of(numbers),
    )


def placed(place: str, message: str) -> Message:
    """A message behind the place that it is about, such as "list.csv:3"."""
    return joined(": ", (place, message))


def cells_of(lines: Iterable[str], delimiter: str, *, quoted: bool = True) -> Any:
    """A reader of `csv`, which raises its Error; a tab-separated table does not quote."""
    if quoted:
        return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def some(columns: Sequence[str]) -> str:
    """The first of these names, in quotes."""
    shown = joined(", ", map(_quoted, columns[:MAX_SHOWN]))
    return joined(" ", (shown, "…")) if len(columns) > MAX_SHOWN else shown


def _quoted(column: str) -> str:
    if isinstance(column, Message):  # it stands in place of a name
        return Message("{name!r}").format(name=column)
    return repr(column.strip()[:MAX_NAME_CHARACTERS])


def not_read(place: str, columns: Sequence[str]) -> Message:
    return Message("{place}: not read: {columns}").format(place=place, columns=some(columns))


def or_lines(way: str) -> Message:
    """What to do, or how a list is read whose lines are prompts as they stand."""
    return Message("{way}; or, {other}").format(way=way, other=TAKE_LINES)


def column_hint(head: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    """How to name the column of the prompts: the one with a fitting name, else the one with most text.

    Where the first line is a row like the others, the advice is to add a header: otherwise that row would be lost.
    """
    if not _names_columns(head, rows):
        names = delimiter.join(["prompt", *("seed", "count")[: len(head) - 1]])
        shown = "prompt, seed" if delimiter == "\t" else names
        return Message("write a line above the first that names the columns, such as {example}").format(example=shown)
    called = [column for column in head if re.search("prompt|caption", column.lower())]
    lengths = [sum(len(row[at]) for row in rows[:SAMPLE_LINES] if len(row) > at) for at in range(len(head))]
    best = called[0] if called else head[max(range(len(head)), key=lengths.__getitem__)]
    option = f"--columns {column_words([f'prompt={best.strip()}'])}"
    return Message("say which column has the prompts: {option}").format(option=option)


def _names_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first line names the columns: short, all different, no numbers, and unlike the rows below."""
    names = [cell.strip() for cell in head]
    named = [name for name in names if name]
    if not named or len(set(named)) < len(named):
        return False
    if any(len(name) > MAX_NAME_CHARACTERS or _NUMBER.match(name) for name in named):
        return False
    called = any(canonical(name) in FIELDS or _CALLED.search(name) for name in named)
    sample = rows[:SAMPLE_LINES]
    numbers = any(all(len(row) > at and _NUMBER.match(row[at]) for row in sample) for at in range(len(head)))
    return called or (bool(rows) and numbers)


_NUMBER = re.compile(r"\s*-?\d+(?:[.,]\d+)?\s*$")
_CALLED = re.compile(r"prompt|caption|\btext\b|description|\btitle\b|提示|描述|标题|文本", re.IGNORECASE)


def column_words(words: Iterable[str]) -> str:
    """The words of --columns, ready for a shell."""
    parts = io.StringIO()
    csv.writer(parts, lineterminator="").writerow(words)
    return shlex.quote(parts.getvalue())


def place_of(head: Sequence[Any], name: str, column: str) -> int | None:
    """The position of a column: by its exact name, else by a name of its field where no other was given."""
    exact = [at for at, known in enumerate(head) if str(known).strip() == column.strip()]
    alike = [at for at, known in enumerate(head) if str(known).strip().lower() == column.strip().lower()]
    meant = [at for at, known in enumerate(head) if canonical(known) == name == canonical(column)]
    return next(iter(exact or alike or meant), None)


def shell_word(name: str) -> str:
    """The name of a list as the last word of a command; empty for a list from a pipe, which cannot be read again."""
    if name == "stdin" or name.startswith(("/dev/", "/proc/")):
        return ""
    return f" {shlex.quote(f'./{name}' if name.startswith('-') else name)}"


def unmarked(line: str) -> Row:
    """The line, or the fault that a byte order mark is in it."""
    if "\ufeff" not in line:
        return line
    return UsageError(
        Message("a byte order mark is inside the line, perhaps because files were joined: break the line there")
    )
