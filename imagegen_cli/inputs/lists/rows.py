"""Splits the text of a prompt list into rows. Its content decides which form it has; doubtful lists are refused."""

import re
from pathlib import Path

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.inputs.lists.as_json import is_json, read_json, value_in
from imagegen_cli.inputs.lists.common import (
    MAX_NAME_CHARACTERS,
    TAKE_LINES,
    UNSENT,
    Listed,
    Reading,
    Row,
    head_of,
    is_remark,
    lines_of,
    placed,
    skipped_remarks,
    unmarked,
)
from imagegen_cli.inputs.lists.refusals import refuse_bare_tables, refuse_documents, refuse_keys, refuse_notes
from imagegen_cli.inputs.lists.table import delimiter_of, read_rows

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip


def rows_of(name: str, text: str, reading: Reading) -> Listed:
    """The rows of a list. Raises UsageError where it is no list of prompts, or where its form is not certain."""
    refuse_keys(name, text)
    form = reading.form or _form(name, text, reading)
    if form in ("json", "jsonl"):
        return read_json(name, text, reading, linewise=form == "jsonl" and bool(reading.form))
    if form in ("csv", "tsv"):
        return read_rows(name, _broken_up(text), reading, tab=form == "tsv")
    if reading.columns:
        number, head = head_of(text)
        message = Message("no column {column!r} is in the first line {line!r}")
        message = message.format(column=reading.columns["prompt"], line=head[:MAX_NAME_CHARACTERS])
        hint = UNSENT.format(way=Message("for a plain list leave --columns out"))
        raise UsageError(placed(f"{name}:{number}", message), hint=hint)
    return _lines(name, _broken_up(text), forced=bool(reading.form))


def _form(name: str, text: str, reading: Reading) -> str:
    suffix = SUFFIXES.get(Path(name).suffix.lower(), "")
    if suffix in ("json", "jsonl") or is_json(text, all_texts=Path(name).suffix.lower() != ".txt"):
        return suffix if suffix in ("json", "jsonl") else "json"
    if suffix:
        return suffix
    text = _broken_up(text)
    refuse_documents(name, text, reading)
    if delimiter := delimiter_of(text, reading):
        return "tsv" if delimiter == "\t" else "csv"
    refuse_bare_tables(name, text, reading)
    refuse_notes(name, text, reading)
    return "lines"


def _broken_up(text: str) -> str:
    """The text with newlines where a program has ended lines with paragraph separators only."""
    return text if "\n" in text.strip() else re.sub("[\u2028\u2029\x85]", "\n", text)


def _lines(name: str, text: str, *, forced: bool) -> Listed:
    rows: list[tuple[int, Row]] = []
    skipped, doubtful = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if is_remark(line):
            skipped.append(number)
            continue
        trouble = "" if forced else _why_no_prompt(line)
        rows.append((number, UsageError(trouble, hint=TAKE_LINES) if trouble else unmarked(line)))
        if re.match(r"\s*#(?![\da-f]{6}\b|[\da-f]{8}\b|\d)", line, re.IGNORECASE):
            doubtful.append(number)
    remarks = []
    if skipped:
        remarks.append(skipped_remarks(name, skipped))
    if doubtful:
        message = ngettext(
            "{name}: # without a space is no remark; sent as prompts: {count} line ({lines})",
            "{name}: # without a space is no remark; sent as prompts: {count} lines ({lines})",
            len(doubtful),
            name=name,
            lines=lines_of(doubtful),
        )
        remarks.append(message)
    return Listed(rows=rows, remarks=remarks)


REMARK_OR_COMMAND = re.compile(r"\s*(?://|/\*|<!--|;|\$?\s*imagegen\s+(?:run|batch)\b)(?:\s|$|\b)")
OBJECT = re.compile(r"\s*(?:\{\s*[\"'][^\"']*[\"']\s*:|\[\s*\{\s*[\"'])")


def _why_no_prompt(line: str) -> str:
    if OBJECT.match(line) or (line.lstrip()[:1] == "[" and isinstance(value_in(line), list)):
        return Message("JSON among plain lines is no prompt")
    if REMARK_OR_COMMAND.match(line):
        return Message("this looks like a remark or a command, not like a prompt; remarks begin with # and a space")
    return ""
