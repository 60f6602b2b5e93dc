"""What is no list of prompts though it may look like one: each is refused with what it is and what to do."""

import csv
import itertools
import re
from pathlib import Path
from typing import NoReturn

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.lists.basics import (
    FIELDS,
    MOST_HEAD,
    MOST_NAME,
    SAMPLE,
    TAKE_LINES,
    Reading,
    canonical,
    cells_of,
    column_hint,
    head_of,
    is_remark,
    shell_word,
)

DOCUMENTS: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".yaml", ".yml"), ("YAML", "yaml")),
    **dict.fromkeys((".md", ".markdown", ".mdx", ".rst", ".adoc"), ("a formatted text", "marks")),
    **dict.fromkeys((".html", ".htm", ".xhtml", ".mhtml"), ("a web page", "plain")),
    **dict.fromkeys((".rtf", ".rtfd"), ("an RTF document", "plain")),
    **dict.fromkeys((".docx", ".doc", ".odt", ".pages"), ("a text document", "plain")),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), ("a spreadsheet", "sheet")),
    **dict.fromkeys((".pdf", ".pptx", ".ppt", ".odp", ".epub"), ("a document", "plain")),
    **dict.fromkeys((".xml", ".toml", ".ini"), ("a settings file", "rows")),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".heic", ".avif", ".bmp"), ("a picture", "rows")
    ),
    **dict.fromkeys((".zip", ".gz", ".7z", ".rar", ".xz", ".bz2", ".zst", ".tar", ".tgz"), ("an archive", "unpack")),
    **dict.fromkeys((".parquet", ".arrow", ".sqlite", ".db", ".pkl"), ("a data file", "sheet")),
}
"""By suffix: what it is, and how a list is made of it."""
TEXTUAL = ("YAML", "a formatted text", "a settings file")
"""Documents whose lines a person may want as they stand: --format takes them."""
MAGIC: dict[tuple[bytes, ...], tuple[str, str]] = {
    (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh91AY", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!\x1a",
     b"\x28\xb5\x2f\xfd"): ("an archive", "unpack"),
    (b"\xd0\xcf\x11\xe0",): ("an old office document", "plain"),
    (b"%PDF-",): ("a PDF document", "plain"),
    (b"{\\rtf",): ("an RTF document", "plain"),
    (b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"): ("a picture", "rows"),
    (b"SQLite format 3\0", b"PAR1\x15"): ("a data file", "sheet"),
}  # fmt: skip
"""By the first bytes."""
OFFICE: dict[bytes, tuple[str, str]] = {
    b"xl/": ("a spreadsheet (.xlsx)", "sheet"),
    b"word/": ("a text document (.docx)", "plain"),
    b"spreadsheet": ("a spreadsheet (.ods)", "sheet"),
    b"content.xml": ("a text document (.odt)", "plain"),
}
"""What stands in a zip archive that is an office document."""
HOW = {
    "marks": "take the marks off: {strip}",
    "yaml": "write one prompt a line into a .txt file, or make JSON of it: yq -o json{name} > prompts.json",
    "plain": "save it as plain text in UTF-8, one prompt a line",
    "sheet": "save the table as CSV in UTF-8, with a column named prompt",
    "rows": "write one prompt a line into a .txt file",
    "unpack": "unpack it first and name the list that is inside",
}
BULLET = re.compile(r"\s*(?:[-*+•‣▪–]|\d{1,4}[.)、．]|[(（]\d{1,4}[)）])\s+\S")
STRIP = r"sed -E 's/^ *([-*+•]|[0-9]+[.)]) +//'{name} > prompts.txt"


def refuse_by_name_or_bytes(name: str, data: bytes, reading: Reading) -> None:
    """Raise UsageError for what no reading makes a list of prompts, before its text is looked at."""
    for starts, (what, how) in MAGIC.items():
        if data.startswith(starts):
            kind, way = _inside(data, what, how)
            _refuse(name, f"is {kind}, not a list of prompts", way)
    what, how = DOCUMENTS.get(Path(name).suffix.lower(), ("", ""))
    if what and not (reading.form and what in TEXTUAL):
        how = "marks" if BULLET.match(data[:SAMPLE].decode("ascii", "replace")) else how
        _refuse(name, f"is {what}, not a list of prompts", how, forced=what in TEXTUAL)


def _inside(data: bytes, what: str, how: str) -> tuple[str, str]:
    if data.startswith(b"PK"):
        ends = data[:65536] + data[-65536:]
        return next((found for sign, found in OFFICE.items() if sign in ends), (what, how))
    return what, how


def _refuse(name: str, said: str, how: str, *, forced: bool = False, line: int = 0) -> NoReturn:
    place = f"{name}:{line}:" if line else name
    hint = HOW.get(how, how).replace("{strip}", STRIP).replace("{name}", shell_word(name))
    way = f"; {TAKE_LINES}" if forced else ""
    raise UsageError(f"{place} {said}", hint=f"nothing was sent; {hint}{way}")


TAGS = re.compile(
    r"\s*<(?:!doctype|!--|\?xml|/?(?:html|head|body|div|p|ul|ol|li|table|tr|td|script|style|meta|title|span|br|svg|"
    r"h[1-6]|rss|feed|a)[\s/>])",
    re.IGNORECASE,
)
ERROR_PAGE = re.compile(
    r"\W*(?:error\W*)?(?:[45]\d\d\b\W*)?(?:(?:page|file|object)? ?not found|forbidden|unauthorized|bad request|"
    r"bad gateway|access denied|service unavailable|internal server error|gateway time-?out|too many requests|"
    r"nosuchkey)\W*",
    re.IGNORECASE,
)


def refuse_documents(name: str, text: str) -> None:
    """By how the text begins. `name` without a suffix, or stdin, may hold anything."""
    number, head = head_of(text)
    head = head[:MOST_HEAD]
    if head.lstrip().startswith("{\\rtf"):
        _refuse(name, "is an RTF document, not a list of prompts", "plain")
    if TAGS.match(head):
        _refuse(name, "is a web page or XML, not a list of prompts", "plain", forced=True)
    if text.startswith("#!"):
        _refuse(name, "is a script, not a list of prompts", "rows", forced=True)
    if ERROR_PAGE.fullmatch(text.strip()[:100]):
        _refuse(name, f"is what a server says instead of a list: {text.strip()[:MOST_NAME]!r}", "rows", forced=True)
    second = text.split("\n")[number : number + 1]
    if "|" in head and second and re.fullmatch(r"[\s|:-]*-[\s|:-]*", second[0]) and "|" in second[0]:
        _refuse(name, "is a Markdown table, not a list of prompts", "sheet", forced=True)
    if head.startswith(("---", "%YAML")) and re.match(r"\s*(?:- |[\w \"']+:(?:\s|$))", "".join(second)):
        _refuse(name, "is YAML, not a list of prompts", "marks", forced=True)


LABEL = re.compile(
    r"\s*[\"']?(prompts?|positive(?:[ _]prompts?)?|negative(?:[ _]prompts?)?|steps|sampler|cfg(?:[ _]scale)?|seed|"
    r"width|height|提示词|正向提示词|反向提示词|负面提示词)[\"']?\s*(?::(?!//)|：|=(?!=))",
    re.IGNORECASE,
)
KEY = re.compile(r"[^\W\d][\w -]{0,40}:\s*(?:[|>][+-]?)?\s*")
INFOTEXT = re.compile(r"\s*(?:Negative prompt:|Steps: \d+, )")


def refuse_notes(name: str, text: str) -> None:
    """Texts whose lines belong together: settings, notes with bullets, what other programs write beside pictures."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and not is_remark(line)]
    for number, line in lines:
        if INFOTEXT.match(line):
            said = "belongs to the lines above it: these are generation parameters, as A1111 keeps them"
            _refuse(name, said, "make a CSV table of it, as prompt,negative,seed", forced=True, line=number)
        if found := LABEL.match(line):
            said = f"{found[1]!r} names a value: the lines of this text belong together, each is no prompt"
            _refuse(name, said, "make a CSV table of it, as prompt,negative,seed", forced=True, line=number)
        if line.startswith("```"):
            _refuse(name, "is Markdown, not a list of prompts", "marks", forced=True, line=number)
    for (number, line), (_, following) in itertools.pairwise(lines):
        if KEY.fullmatch(line) and re.match(r"\s+\S|- ", following):
            _refuse(name, "is a heading over the lines below it, as in YAML", "rows", forced=True, line=number)
    bullets = sum(bool(BULLET.match(line)) for _, line in lines)
    dashes = sum(bool(re.match(r"\s*- ", line)) for _, line in lines)
    if bullets * 2 >= len(lines) and (bullets > 1 or dashes):
        example = next(line.strip()[:MOST_NAME] for _, line in lines if BULLET.match(line))
        said = f"is a list with marks: {bullets} of {len(lines)} lines begin with one, as {example!r}"
        _refuse(name, said, "marks", forced=True)


def refuse_bare_tables(name: str, text: str) -> None:
    """Tables without a column named prompt: cells would be paid for as words of a prompt."""
    lines = [line for line in text.split("\n")[: SAMPLE * 2] if line.strip() and not is_remark(line)][:SAMPLE]
    if len(lines) < 2 or max(map(len, lines)) > MOST_HEAD:  # noqa: PLR2004 - a head and a row
        return
    for delimiter in "\t,;|":
        if delimiter not in lines[0] or delimiter not in lines[1]:
            continue
        try:
            rows = list(cells_of(lines, delimiter, quoted=delimiter != "\t"))
        except csv.Error:
            continue
        if len(rows) < 2 or len({len(row) for row in rows}) > 1:  # noqa: PLR2004 - a head and a row
            continue
        known = any(canonical(cell) in FIELDS for cell in rows[0])
        numbers = any(all(re.fullmatch(r"\s*-?\d+\s*", row[at]) for row in rows[1:]) for at in range(len(rows[0])))
        if delimiter == "\t" or known or numbers:
            _refuse(
                name, "looks like a table, but no column is named prompt", column_hint(rows[0], rows[1:]), forced=True
            )
