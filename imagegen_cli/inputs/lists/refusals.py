"""Refuses files that are no list of prompts; each message says what the file is and what to do."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import NoReturn

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.inputs.lists.advice import BULLET, ROWS, later_header, through, without_marks
from imagegen_cli.inputs.lists.common import (
    FIELDS,
    KEY_MATERIAL,
    MAX_HEAD_CHARACTERS,
    MAX_NAME_CHARACTERS,
    SAMPLE_LINES,
    UNSENT,
    Reading,
    canonical,
    cells_of,
    column_hint,
    head_of,
    is_remark,
    or_lines,
    placed,
)

IS = Message("{place} is {kind}")
IS_NO_LIST = Message("{place} is {kind}, not a list of prompts")
YAML = Message("YAML")
FORMATTED = Message("a formatted text")
SETTINGS = Message("a settings file")
PROGRAM = Message("a program")
TEX = Message("a TeX text")
SUBTITLES = Message("a file of subtitles")
OUTPUT = Message("what a program wrote")
MAIL = Message("mail or an address book")
SERVER_MAIL = Message("mail or the answer of a server")
RTF = Message("an RTF document")
PICTURE = Message("a picture")
ARCHIVE = Message("an archive")
DATA = Message("a data file")
DOCUMENTS: dict[str, tuple[Message, str]] = {
    **dict.fromkeys((".yaml", ".yml"), (YAML, "marks")),
    **dict.fromkeys((".md", ".markdown", ".mdx", ".rst", ".adoc"), (FORMATTED, "marks")),
    **dict.fromkeys((".html", ".htm", ".xhtml", ".mhtml"), (Message("a web page"), "plain")),
    **dict.fromkeys((".rtf", ".rtfd"), (RTF, "plain")),
    **dict.fromkeys((".docx", ".doc", ".odt", ".pages"), (Message("a text document"), "plain")),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), (Message("a spreadsheet"), "sheet")),
    **dict.fromkeys((".pdf", ".pptx", ".ppt", ".odp", ".epub"), (Message("a document"), "plain")),
    **dict.fromkeys((".xml", ".toml", ".ini", ".cfg", ".conf", ".env"), (SETTINGS, "rows")),
    **dict.fromkeys(
        (
            ".py",
            ".js",
            ".mjs",
            ".ts",
            ".tsx",
            ".jsx",
            ".sh",
            ".bash",
            ".zsh",
            ".fish",
            ".ps1",
            ".bat",
            ".cmd",
            ".c",
            ".h",
            ".cc",
            ".cpp",
            ".hpp",
            ".cs",
            ".java",
            ".kt",
            ".swift",
            ".go",
            ".rs",
            ".rb",
            ".php",
            ".pl",
            ".lua",
            ".r",
            ".sql",
            ".css",
            ".scss",
            ".vue",
            ".ipynb",
        ),
        (PROGRAM, "rows"),
    ),
    **dict.fromkeys((".tex", ".bib", ".sty"), (TEX, "rows")),
    **dict.fromkeys((".srt", ".vtt", ".ass", ".ssa", ".sub", ".lrc"), (SUBTITLES, "rows")),
    **dict.fromkeys((".diff", ".patch", ".log"), (OUTPUT, "rows")),
    **dict.fromkeys((".eml", ".mbox", ".msg", ".vcf", ".ics"), (MAIL, "rows")),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".heic", ".avif", ".bmp"), (PICTURE, "rows")),
    **dict.fromkeys((".zip", ".gz", ".7z", ".rar", ".xz", ".bz2", ".zst", ".tar", ".tgz"), (ARCHIVE, "unpack")),
    **dict.fromkeys((".parquet", ".arrow", ".sqlite", ".db", ".pkl"), (DATA, "sheet")),
}
"""By suffix: what the file is, and how to make a list of it (a key of HOW)."""
TEXTUAL = (YAML, FORMATTED, SETTINGS, PROGRAM, TEX, SUBTITLES, OUTPUT, MAIL)
"""Documents whose lines a person may want as prompts: --format lines accepts them."""
SIGNATURES: dict[tuple[bytes, ...], tuple[Message, str]] = {
    (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh91AY", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!\x1a",
     b"\x28\xb5\x2f\xfd"): (ARCHIVE, "unpack"),
    (b"\xd0\xcf\x11\xe0",): (Message("an old office document"), "plain"),
    (b"%PDF-",): (Message("a PDF document"), "plain"),
    (b"{\\rtf",): (RTF, "plain"),
    (b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"): (PICTURE, "rows"),
    (b"SQLite format 3\0", b"PAR1\x15"): (DATA, "sheet"),
}  # fmt: skip
"""By the first bytes: what the file is, and how to make a list of it."""
OFFICE: dict[bytes, tuple[Message, str]] = {
    b"xl/": (Message("a spreadsheet (.xlsx)"), "sheet"),
    b"word/": (Message("a text document (.docx)"), "plain"),
    b"spreadsheet": (Message("a spreadsheet (.ods)"), "sheet"),
    b"content.xml": (Message("a text document (.odt)"), "plain"),
}
"""By a name inside of a zip archive: which office document it is."""
HOW = {
    "plain": Message("save it as plain text in UTF-8, one prompt a line"),
    "sheet": Message("save the table as CSV in UTF-8, with a column named prompt"),
    "rows": ROWS,
    "table": Message("make a CSV table of it, with the columns prompt,negative,seed"),
    "unpack": Message("unpack it first and name the list that is inside"),
}
KEY_FILES = (".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".asc", ".gpg", ".age")


def refuse_by_name_or_bytes(name: str, data: bytes, reading: Reading) -> None:
    """Raise UsageError for a file that cannot be a list of prompts, before its text is examined."""
    suffix = Path(name).suffix.lower()
    if suffix in KEY_FILES:
        message = Message("{name} is a file of keys by its name, not a list of prompts").format(name=name)
        raise UsageError(message, hint=NO_KEYS)
    for starts, (what, how) in SIGNATURES.items():
        if data.startswith(starts):
            kind, way = _office_document(data, what, how)
            _refuse(name, _no_list(kind), HOW[way], kind=kind)
    if suffix not in DOCUMENTS:
        return
    what, how = DOCUMENTS[suffix]
    if not (reading.form and what in TEXTUAL):
        way = _marks(name, data.decode("utf-8", "replace"), reading) if how == "marks" else HOW[how]
        _refuse(name, _no_list(what), way, forced=what in TEXTUAL, kind=what)


def _no_list(kind: Message) -> Message:
    """The sentence about a file of this kind. The words "a picture" alone mean a price elsewhere."""
    return Message("{place} is a picture, not a list of prompts") if kind == PICTURE else IS_NO_LIST


NO_KEYS = UNSENT.format(way=Message("name a list of prompts: no key is ever sent to a service"))


def refuse_keys(name: str, text: str) -> None:
    """Raise UsageError for the first line with a key, whatever form the list has."""
    if found := KEY_MATERIAL.search(text):
        number = text.count("\n", 0, found.start()) + 1
        message = Message("the line contains a key or a certificate, not a prompt")
        raise UsageError(placed(f"{name}:{number}", message), hint=NO_KEYS)


def _marks(name: str, text: str, reading: Reading) -> str:
    return without_marks(name, text, reading, _is_plain)


def _is_plain(text: str) -> bool:
    """Whether a text would be read as a plain list."""
    try:
        refuse_documents("stdin", text, Reading())
        refuse_bare_tables("stdin", text, Reading())
        refuse_notes("stdin", text, Reading())
    except UsageError:
        return False
    return True


def _office_document(data: bytes, what: Message, how: str) -> tuple[Message, str]:
    if data.startswith(b"PK"):
        ends = data[:65536] + data[-65536:]
        return next((found for sign, found in OFFICE.items() if sign in ends), (what, how))
    return what, how


def _refuse(
    name: str, message: Message, hint: str, *, forced: bool = False, line: int = 0, **values: object
) -> NoReturn:
    """Raise UsageError with the message, which has a {place}. `forced`: --format lines takes the list."""
    place = f"{name}:{line}:" if line else name
    way = or_lines(hint) if forced else hint
    raise UsageError(message.format(place=place, **values), hint=UNSENT.format(way=way))


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


BEGINNINGS: dict[Message, re.Pattern[str]] = {
    Message("a pointer of Git LFS: `git lfs pull` brings the file"): re.compile(
        r"version https://git-lfs\.github\.com/"
    ),
    SERVER_MAIL: re.compile(
        r"HTTP/\d(?:\.\d)? \d{3}\b|(?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+ HTTP/\d|From \S+@\S+ |BEGIN:V[A-Z]+\b"
    ),
    Message("a diff"): re.compile(r"diff --git |Index: \S+\n|@@ -\d+|--- \S+(?:\s.*)?\n\+\+\+ "),
    Message("a listing of a folder"): re.compile(
        r"total \d+\S?\s*\n[-dlbcps][-rwxsStT]{9}|[-dlbcps][-rwxsStT]{9}[.+@]?\s+\d+ "
    ),
    SUBTITLES: re.compile(r"WEBVTT\b|\[Script Info\]"),
    TEX: re.compile(r"\\(?:documentclass|begin|usepackage|section)\b"),
    PROGRAM: re.compile(r"#include\s*[<\"]|<\?php|package \w+;|using \w+(?:\.\w+)*;|'use strict'|@charset "),
}
"""Texts of other kinds, recognised by their first line that is neither blank nor a remark."""
HEADER = re.compile(
    r"(?:from|to|cc|bcc|subject|date|reply-to|message-id|received|return-path|mime-version|content-[a-z-]+|host|server|"
    r"user-agent|accept(?:-[a-z]+)?|connection|cache-control|set-cookie|cookie|authorization|location|etag|x-[a-z-]+):\s",
    re.IGNORECASE,
)
CODE = re.compile(
    r"(?:import \w+(?:\.\w+)*(?: as \w+)?|from [\w.]+ import .+|(?:async )?def \w+\(.*\).*:|class \w+(?:\(.*\))?:|"
    r"(?:export |async )*function\b.*\{|(?:const|let|var) [\w{}, ]+ =.*|(?:public|private|protected|static) .*[{;]|"
    r"func \w+\(.*\{|fn \w+.*\{|(?:SELECT|INSERT INTO|CREATE TABLE|UPDATE|DELETE FROM) .+|"
    r"(?:if|for|while|elif|else|try|with)\b.*[:{]|return\b.*;?|[\w.\[\]]+\s*[-+*/|]?=\s*.+|.*(?:\{|\)\s*;)|\}.*|"
    r"[\w.]+\(.*\);?|(?:int|char|float|double|void|auto|bool)\b.*;|//.*|/\*.*|\*/?)\s*$"
)
CUE = re.compile(r"\s*(?:\d+:)?\d\d:\d\d[,.]\d{2,3}\s*-->")
LOGGED = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?|[-dlbcps][-rwxsStT]{9}[.+@]?\s+\d+ ")
SETTING = re.compile(
    r"(?:export )?[A-Z][A-Z0-9]*_[A-Z0-9_]*=|\w[\w-]*:[^:\s]*:\d+:\d+:|\[[\w .-]+\]\s*$|[\w.-]+\s*=\s*\S"
)


LINE_FORMS = (
    (OUTPUT, LOGGED, 0.5),
    (Message("a list of settings"), SETTING, 0.7),
    (PROGRAM, CODE, 0.5),
)
"""Kinds of text, with the form of their lines and the share of such lines that proves the kind."""


def refuse_documents(name: str, text: str, reading: Reading) -> None:
    """Raise UsageError for a document, recognised by its beginning: stdin may contain any, as no suffix tells."""
    number, head = head_of(text)
    head = head[:MAX_HEAD_CHARACTERS]
    if head.lstrip().startswith("{\\rtf"):
        _refuse(name, IS_NO_LIST, HOW["plain"], kind=RTF)
    if TAGS.match(head):
        _refuse(name, IS_NO_LIST, HOW["plain"], forced=True, kind=Message("a web page or XML"))
    if text.startswith("#!"):
        _refuse(name, IS_NO_LIST, ROWS, forced=True, kind=Message("a script"))
    if ERROR_PAGE.fullmatch(text.strip()[:100]):
        message = Message("{place} is what a server says instead of a list: {text!r}")
        _refuse(name, message, ROWS, forced=True, text=text.strip()[:MAX_NAME_CHARACTERS])
    rest = text.split("\n")[number : number + 1]
    second = rest[0] if rest else ""
    for what, beginning in BEGINNINGS.items():
        if beginning.match(f"{head}\n{second}"):
            _refuse(name, IS_NO_LIST if ":" not in what else IS, ROWS, forced=True, kind=what)
    if "|" in head and re.fullmatch(r"[\s|:-]*-[\s|:-]*", second) and "|" in second:
        _refuse(name, IS_NO_LIST, HOW["sheet"], forced=True, kind=Message("a Markdown table"))
    if head.startswith(("---", "%YAML")) and re.match(r"\s*(?:- |[\w \"']+:(?:\s|$))", second):
        _refuse(name, IS_NO_LIST, _marks(name, text, reading), forced=True, kind=YAML)


LABEL = re.compile(
    r"\s*[\"']?(prompts?|positive(?:[ _]prompts?)?|negative(?:[ _]prompts?)?|steps|sampler|cfg(?:[ _]scale)?|seed|"
    r"width|height|提示词|正向提示词|反向提示词|负面提示词)[\"']?\s*(?::(?!//)|：|=(?!=))",
    re.IGNORECASE,
)
KEY = re.compile(r"[^\W\d][\w -]{0,40}:\s*(?:[|>][+-]?)?\s*")
GENERATION_PARAMETERS = re.compile(r"\s*(?:Negative prompt:|Steps: \d+, )")


ASSISTANT_TALK = re.compile(
    r"\W*(?:(?:sure|certainly|of course|absolutely|got it)\b\s*[!,.:]|"
    r"(?:here (?:are|is)|here[’']s|below (?:are|is))\b[^:]*:\W*$|"
    r"(?:let me know if|feel free to|would you like me to|hope (?:this|these) help|i hope (?:this|these))\b|"
    r"(?:好的|当然(?:可以)?|没问题|没問題|當然)[，,！!。:：].*(?:以下|下面|提示词|提示詞)|(?:以下|下面)(?:是|为|為).*[:：]\W*$|"
    r"(?:希望(?:这些|這些|对你|對你)|如果(?:你|您)(?:需要|想要|希望)))",
    re.IGNORECASE,
)
"""What a chat assistant writes around the prompts that it made."""
Lines = list[tuple[int, str]]


def refuse_notes(name: str, text: str, reading: Reading) -> None:
    """Raise UsageError for a text whose lines belong together: settings, notes with bullets, generation parameters."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and not is_remark(line)]
    _refuse_strange_lines(name, text, lines, reading)
    _refuse_kinds_of_lines(name, lines)
    _refuse_open_cells(name, text, lines, reading)
    for (number, line), (_, following) in itertools.pairwise(lines):
        if KEY.fullmatch(line) and re.match(r"\s+\S|- ", following):
            message = Message("{place} is a heading over the lines below it, as in YAML")
            _refuse(name, message, ROWS, forced=True, line=number)
    bullets = sum(bool(BULLET.match(line)) for _, line in lines)
    dashes = sum(bool(re.match(r"\s*- ", line)) for _, line in lines)
    if bullets * 2 >= len(lines) and (bullets > 1 or dashes):
        example = next(line.strip()[:MAX_NAME_CHARACTERS] for _, line in lines if BULLET.match(line))
        message = Message("{place} is a list with marks: {count} of {total} lines begin with one, as {example!r}")
        way = _marks(name, text, reading)
        _refuse(name, message, way, forced=True, count=bullets, total=len(lines), example=example)


def _refuse_strange_lines(name: str, text: str, lines: Lines, reading: Reading) -> None:
    """Raise UsageError for a line that shows that the other lines are no prompts either."""
    for number, line in lines:
        if GENERATION_PARAMETERS.match(line):
            message = Message(
                "{place} belongs to the lines above it: these are generation parameters, as A1111 keeps them"
            )
            _refuse(name, message, HOW["table"], forced=True, line=number)
        if found := LABEL.match(line):
            message = Message(
                "{place} {label!r} names a value: the lines of this text belong together, none of them is a prompt"
            )
            _refuse(name, message, HOW["table"], forced=True, line=number, label=found[1])
        if line.startswith("```"):
            _refuse(name, IS_NO_LIST, _marks(name, text, reading), forced=True, line=number, kind=Message("Markdown"))
        if ASSISTANT_TALK.match(line):
            message = Message("{place} is a remark about the prompts, not a prompt: {text!r}")
            way = Message("delete the line, or begin it with # and a space")
            _refuse(name, message, way, forced=True, line=number, text=line.strip()[:MAX_NAME_CHARACTERS])
        if CUE.match(line):
            _refuse(name, Message("{place} is a time of subtitles, not a prompt"), ROWS, forced=True, line=number)


def _refuse_kinds_of_lines(name: str, lines: Lines) -> None:
    """Raise UsageError for a text of which most lines have one of these forms."""
    plain = [line for _, line in lines]
    if len(list(itertools.takewhile(HEADER.match, plain))) > 1:
        _refuse(name, IS_NO_LIST, ROWS, forced=True, kind=SERVER_MAIL)
    for what, form, share in LINE_FORMS:
        if (alike := sum(bool(form.match(line.strip())) for line in plain)) > 1 and alike >= share * len(plain):
            _refuse(name, IS_NO_LIST, ROWS, forced=True, kind=what)


def _refuse_open_cells(name: str, text: str, lines: Lines, reading: Reading) -> None:
    """Raise UsageError for spreadsheet cells with line breaks: each of their lines would be a prompt of its own."""
    odd = [(number, line) for number, line in lines if line.count('"') % 2]
    for (number, line), (end, last) in itertools.pairwise(odd):
        if line.lstrip().startswith('"') and last.rstrip().endswith('"'):
            message = Message(
                "{place} opens a quotation mark that line {end} closes, as a cell of a spreadsheet with line breaks"
            )
            _refuse(name, message, _as_table(name, text, reading), forced=True, line=number, end=end)


def _as_table(name: str, text: str, reading: Reading) -> str:
    """How to read cells: a command where they are a table of one column."""
    try:
        single = all(len(row) <= 1 for row in cells_of(io.StringIO(text, newline=""), ","))
    except csv.Error:
        single = False
    if not single:
        return HOW["sheet"]
    command = "awk 'NR == 1 {print \"prompt\"} {print}'"
    return Message("read it as a table: {command}").format(command=through(command, name, reading))


def refuse_bare_tables(name: str, text: str, reading: Reading) -> None:
    """Raise UsageError for a table without a column named prompt: a whole row would be sent as a prompt."""
    lines = [line for line in text.split("\n")[: SAMPLE_LINES * 2] if line.strip() and not is_remark(line)][
        :SAMPLE_LINES
    ]
    if len(lines) < 2 or max(map(len, lines)) > MAX_HEAD_CHARACTERS:  # noqa: PLR2004 - a head and a row
        return
    for delimiter in "\t,;|":
        if hint := later_header(name, text, delimiter, reading, min_cells=2):
            _refuse(name, Message("{place} looks like a table below a title"), hint, forced=True)
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
            hint = column_hint(rows[0], rows[1:], delimiter)
            message = Message("{place} looks like a table, but no column is named prompt")
            _refuse(name, message, hint, forced=True)
