"""Reads CSV and tab-separated tables: finds the header, the field of each column, and rows to skip."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.schema import nearest
from imagegen_cli.inputs.lists.advice import later_header
from imagegen_cli.inputs.lists.common import (
    FIELDS,
    MAX_HEAD_CHARACTERS,
    MAX_NAME_CHARACTERS,
    UNSENT,
    Listed,
    Reading,
    Row,
    canonical,
    cells_of,
    column_hint,
    column_words,
    head_of,
    is_remark,
    lines_of,
    not_read,
    or_lines,
    place_of,
    placed,
    some,
    unmarked,
)

PROMPT_HEADS = ("prompt", "prompts", "提示词")
"""Names that alone make a first line the header of a table."""


def delimiter_of(text: str, reading: Reading) -> str:
    """The delimiter of a text whose first line is the header of a table; empty where it is none."""
    _, head = head_of(text)
    if found := re.fullmatch(r"sep=([,;|:\t])[\s,;]*", head):
        return found[1]
    if len(head) > MAX_HEAD_CHARACTERS:
        return ""
    for delimiter in "\t,;|":
        cells = _cells(head, delimiter)
        if len(cells) > 1 and _is_head(cells, reading):
            return delimiter
    return "," if _is_head(_cells(head, ","), reading) else ""


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(cells_of([line], delimiter, quoted=delimiter != "\t"), [])
    except csv.Error:
        return []


def _is_head(cells: Sequence[str], reading: Reading) -> bool:
    if wanted := reading.columns.get("prompt"):
        return place_of(cells, "prompt", wanted) is not None
    names = [canonical(cell) for cell in cells]
    plain = [cell.strip().lower() for cell in cells]
    certain = any(name in PROMPT_HEADS for name in plain) and all(len(cell) <= MAX_NAME_CHARACTERS for cell in cells)
    return certain or (len(cells) > 1 and "prompt" in names and all(name in FIELDS for name in names))


def read_rows(name: str, text: str, reading: Reading, *, tab: bool) -> Listed:
    delimiter = "\t" if tab else delimiter_of(text, reading) or max(",;\t", key=head_of(text)[1].count)
    records = list(_records(text, delimiter, quoted=not tab))
    while records and isinstance(records[0][1], list) and _is_remark_or_separator(records[0][1]):
        del records[0]
    if not records:
        return Listed(rows=[])
    number, head = records.pop(0)
    if isinstance(head, UsageError):
        return Listed(rows=[(number, head)])
    rows, skipped = _without_remarks(records, head)
    cells_only = [cells for _, cells in rows if isinstance(cells, list)]
    if not reading.columns and "prompt" not in map(canonical, head):
        hint = later_header(name, text, delimiter, reading) or column_hint(head, cells_only, delimiter)
        message = Message("no column is named prompt (columns: {columns})").format(columns=some(head))
        raise UsageError(placed(f"{name}:{number}", message), hint=UNSENT.format(way=or_lines(hint)))
    columns, remarks = _columns(f"{name}:{number}", head, cells_only, reading)
    at = columns.index("prompt")
    skipped += [line for line, cells in rows if isinstance(cells, list) and _is_remark(cells, at)]
    rows = [row for row in rows if row[0] not in set(skipped)]
    if skipped:
        skipped.sort()
        message = ngettext(
            "{name}: skipped {count} line ({lines}) that are remarks or repeat the header",
            "{name}: skipped {count} lines ({lines}) that are remarks or repeat the header",
            len(skipped),
            name=name,
            lines=lines_of(skipped),
        )
        remarks.append(message)
    return Listed(rows=[(at, _row(cells, columns, tab=tab)) for at, cells in rows], remarks=remarks)


Cells = list[str] | UsageError


def _broken(error: csv.Error) -> UsageError:
    if "end of data" in str(error):
        message = Message("a cell opens a quotation mark, and no later line closes it")
        return UsageError(message, hint=Message('close it there; a mark inside a quoted cell is written twice, as ""'))
    if "expected after" in str(error):
        message = Message("text follows the quotation mark that ends a cell")
        hint = Message('put the whole cell in marks; a mark inside of it is written twice, as ""')
        return UsageError(message, hint=hint)
    if "field larger" in str(error):
        message = Message("a cell has more than 131,072 characters")
        return UsageError(message, hint=Message("shorten it, or close its quotation mark"))
    message = Message("the line is no CSV: {why}").format(why=str(error))
    return UsageError(message, hint=Message("save the table anew as CSV in UTF-8"))


def _records(text: str, delimiter: str, *, quoted: bool) -> Iterator[tuple[int, Cells]]:
    """The records, each with the number of the line on which it begins."""
    rows = cells_of(io.StringIO(text, newline=""), delimiter, quoted=quoted)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield number, _broken(error)
            return
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield number, row


def _is_remark(cells: Sequence[str], prompt: int) -> bool:
    """Whether `# ` before a row or its prompt makes a remark of it. A prompt of several lines may begin with it."""
    texts = [cells[at] for at in (0, prompt) if at < len(cells)]
    return any(is_remark(text) and "\n" not in text for text in texts)


def _is_remark_or_separator(cells: Sequence[str]) -> bool:
    """Whether a row is a remark, or Excel's `sep=;`, which empty cells may follow."""
    if any(cell.strip() for cell in cells[1:]):
        return False
    return (is_remark(cells[0]) and "\n" not in cells[0]) or bool(re.fullmatch(r"sep=.?", cells[0].strip()))


def _without_remarks(
    records: Iterable[tuple[int, Cells]], head: list[str]
) -> tuple[list[tuple[int, Cells]], list[int]]:
    """The rows, and the line numbers of remarks and of repeated headers, as in joined tables."""
    names = [cell.strip() for cell in head]
    rows, skipped = [], []
    for number, cells in records:
        none = isinstance(cells, list) and (_is_remark_or_separator(cells) or [cell.strip() for cell in cells] == names)
        if none:
            skipped.append(number)
        else:
            rows.append((number, cells))
    return rows, skipped


def _row(cells: Cells, columns: Sequence[str], *, tab: bool) -> Row:
    if isinstance(cells, UsageError):
        return cells
    if any(cell.strip() for cell in cells[len(columns) :]):
        message = Message("the row has more cells than the table has columns ({count})").format(count=len(columns))
        return UsageError(message, hint=Message('put a prompt with commas in quotation marks: "a cat, asleep"'))
    if any("\ufeff" in cell for cell in cells):
        return unmarked("\ufeff")
    if tab and any(cell.lstrip().startswith('"') and cell.replace('""', "").count('"') == 1 for cell in cells):
        return UsageError(Message("a cell opens a quote and does not close it; --format csv reads quoted cells"))
    return {name: cell for name, cell in zip(columns, cells, strict=False) if name}


def _columns(
    place: str, head: list[str], rows: Sequence[Sequence[str]], reading: Reading
) -> tuple[list[str], list[str]]:
    """The field of each column, "" for one that is not read, and remarks. Raises UsageError for unknown ones."""
    if reading.columns:
        return _wanted(place, head, reading.columns)
    names = [canonical(column) for column in head]
    if twice := [name for name, times in Counter(names).items() if name in FIELDS and times > 1]:
        both = some([column for column, name in zip(head, names, strict=True) if name == twice[0]])
        same = len({column.strip() for column, name in zip(head, names, strict=True) if name == twice[0]}) == 1
        offer = Message("choose one: {option}").format(option=f"--columns {_offer(head, names, twice[0])}")
        way = Message("give each column another name") if same else offer
        message = Message("two columns are named {name} ({columns})").format(name=twice[0], columns=both)
        raise UsageError(placed(place, message), hint=UNSENT.format(way=way))
    unknown = [
        column or Message("column {number} (no name)").format(number=at + 1)
        for at, (column, name) in enumerate(zip(head, names, strict=True))
        if name not in FIELDS and not _ignored(name, [row[at] for row in rows if len(row) > at])
    ]
    if unknown:
        _refuse_unknown(place, unknown, _offer(head, names))
    return [name if name in FIELDS else "" for name in names], []


def _refuse_unknown(place: str, unknown: Sequence[str], offer: str) -> NoReturn:
    near = nearest(canonical(unknown[0]), FIELDS) if len(unknown) == 1 else ""
    message = ngettext("unknown column {columns}", "unknown columns {columns}", len(unknown), columns=some(unknown))
    if near.startswith("did"):
        message = joined("; ", (message, near))
    way = Message("to read the others and leave these out: {option}").format(option=f"--columns {offer}")
    raise UsageError(placed(place, message), hint=UNSENT.format(way=way))


def _offer(head: Sequence[str], names: Sequence[str], doubled: str = "") -> str:
    """The value of --columns that reads the known columns; of doubled ones the first, under its own name."""
    wanted: dict[str, str] = {}
    for column, name in zip(head, names, strict=True):
        if name in FIELDS:
            wanted.setdefault(name, f"{name}={column.strip()}" if name == doubled else name)
    return column_words(wanted.values())


def _ignored(name: str, cells: Sequence[str]) -> bool:
    """Whether a column has no content, or only the row numbers that pandas writes."""
    if not any(cell.strip() for cell in cells):
        return True
    nameless = not name or re.fullmatch(r"unnamed:_?\d+", name)
    return bool(nameless) and all(re.fullmatch(r"\s*\d*\s*", cell) for cell in cells)


def _wanted(place: str, head: Sequence[str], columns: Mapping[str, str]) -> tuple[list[str], list[str]]:
    found = [""] * len(head)
    for name, column in columns.items():
        at = place_of(head, name, column)
        if at is None:
            known_columns = some([known for known in head if known.strip()])
            near = nearest(column, [known for known in head if known.strip()])
            way = near if near.startswith("did") else Message("name one of these")
            hint = UNSENT.format(way=joined(": ", (way, "--columns FIELD=COLUMN")))
            message = Message("there is no column {column!r} (columns: {columns})")
            raise UsageError(placed(place, message.format(column=column, columns=known_columns)), hint=hint)
        if found[at]:
            hint = UNSENT.format(way=Message("name each column once: --columns FIELD=COLUMN,FIELD=COLUMN"))
            message = Message("--columns reads {column!r} twice").format(column=column)
            raise UsageError(placed(place, message), hint=hint)
        found[at] = name
    rest = [column for column, name in zip(head, found, strict=True) if column.strip() and not name]
    return found, [not_read(place, rest)] if rest else []
